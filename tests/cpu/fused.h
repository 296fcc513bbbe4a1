// What tests of fused steps share: a program lowered for the cpu device, and the size of its plan.
#ifndef ORION_TESTS_CPU_FUSED_H
#define ORION_TESTS_CPU_FUSED_H

#include "device/cpu/build.h"
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
