// What tests of fused steps share: a program lowered for the cpu device, what it computes, and the size of its plan.
#ifndef ORION_TESTS_CPU_FUSED_H
#define ORION_TESTS_CPU_FUSED_H

#include <math.h>

#include "device/cpu/build.h"
#include "grad/grad.h"
#include "lower/lower.h"
#include "runs.h"

// The plan of one part for `p`, which is destroyed.
static orion_plan *lowered(orion_program *p) {
  const orion_lower_options lower = {.target = orion_target_find("cpu")};
  orion_error err = {0};
  orion_plan *plan;
  assert_ok(orion_lower(p, &lower, &plan, &err), &err);
  orion_program_destroy(p);
  assert_int_equal(plan->n_parts, 1);
  return plan;
}

// An empty program with a function to build into.
static inline void begin_program(orion_builder *b, orion_program **out) {
  orion_error err = {0};
  orion_function *f;
  assert_ok(orion_program_create(NULL, NULL, out, &err), &err);
  assert_ok(orion_program_add_function(*out, "main", "ios18", &f, &err), &err);
  orion_builder_init(b, f);
}

// The program together with the gradients of `of`, from an input named `seed`; `forward` is destroyed.
static inline orion_program *with_gradients(orion_program *forward, const char *of, const char *seed, const char *const *wrt,
                                            size_t n) {
  const orion_grad_seed seeds = {of, seed};
  const orion_grad_options options = {.seeds = &seeds, .n_seeds = 1, .wrt = wrt, .n_wrt = n};
  orion_error err = {0};
  orion_program *both;
  assert_ok(orion_grad(forward, &options, &both, NULL, &err), &err);
  orion_program_destroy(forward);
  return both;
}

// Of the portable level's plan, with fused steps and without: bytes that it needs for values, and its steps.
static void plan_sizes(const orion_plan *plan, bool fuse, size_t *out_bytes, size_t *out_steps) {
  orion_kernels k;
  orion_kernels_init(&k, 0);
  orion_cpu_plan p;
  orion_error err = {0};
  orion_cpu_choices choices = {.fuse = fuse};
  const orion_function *f = plan->parts[0].program->functions[0];
  assert_ok(orion_cpu_build_plan(f, &k, orion_default_allocator(), &choices, NULL, &p, &err), &err);
  *out_bytes = p.memory_bytes;
  *out_steps = p.n_steps;
  orion_cpu_plan_deinit(&p);
}

// Fused steps against the operations that they stand for, and against the simulator.
static inline void fused_equals_spelt(const orion_plan *plan, size_t which) {
  static const char *const others[] = {"cpu:fusion=off", "sim:ideal"};
  orion_program *p = plan->parts[0].program;
  size_t n, m;
  double *got = run_once("cpu", p, 5, &n);
  for (int o = 0; o < 2; o++) {
    double *want = run_once(others[o], p, 5, &m), size = 0;
    assert_int_equal(n, m);
    for (size_t k = 0; k < n; k++) size = fmax(size, fabs(want[k]));
    for (size_t k = 0; k < n; k++) {
      if (!(fabs(got[k] - want[k]) <= 2e-6 * size)) fail_msg("%zu: [%zu] is %g, %s has %g", which, k, got[k], others[o], want[k]);
    }
    free(want);
  }
  free(got);
}

static inline void threads_agree(const orion_plan *plan) {
  size_t n, m;
  double *one = run_once("cpu:threads=1", plan->parts[0].program, 9, &n);
  double *three = run_once("cpu:threads=3", plan->parts[0].program, 9, &m);
  assert_int_equal(n, m);
  assert_memory_equal(one, three, n * sizeof *one);
  free(one);
  free(three);
}

static inline size_t memory_of(const orion_plan *plan, bool fuse) {
  size_t bytes, steps;
  plan_sizes(plan, fuse, &bytes, &steps);
  return bytes;
}

static inline size_t steps_of(const orion_plan *plan, bool fuse) {
  size_t bytes, steps;
  plan_sizes(plan, fuse, &bytes, &steps);
  return steps;
}

#endif
