// Running a program once on a device, inputs filled from a seed, all outputs as numbers one after another.
#ifndef TEST_CPU_RUNS_H
#define TEST_CPU_RUNS_H

#include "programs.h"

typedef struct run {
  orion_device *device;
  orion_executable *e;
  orion_bindings *b;
  orion_surface *surfaces[32];
  size_t n;
} run;

static inline void run_close(run *r) {
  orion_bindings_destroy(r->b);
  for (size_t i = 0; i < r->n; i++) orion_surface_destroy(r->surfaces[i]);
  orion_executable_release(r->e);
  r->b = NULL;
  r->e = NULL;
  r->n = 0;
}

static inline orion_status run_compile(run *r, orion_device *d, orion_program *p, orion_error *err) {
  *r = (run){.device = d};
  size_t n;
  orion_status status = orion_device_compile(d, p, NULL, &r->e, err);
  if (status == ORION_OK) status = orion_bindings_create(r->e, &r->b, err);
  const orion_io *ios = status == ORION_OK ? orion_executable_ios(r->e, &n) : NULL;
  for (size_t i = 0; status == ORION_OK && i < n; i++) {
    status = orion_surface_create(d, &ios[i].layout, &r->surfaces[i], err);
    if (status != ORION_OK) break;
    r->n = i + 1;
    status = orion_bind(r->b, ios[i].name, r->surfaces[i], err);
  }
  if (status != ORION_OK) run_close(r);
  return status;
}

static inline size_t elements_of(const orion_layout *l) {
  size_t n = 1;
  for (int i = 0; i < l->rank; i++) n *= (size_t)l->dims[i];
  return n;
}

static inline double *at_row(const orion_layout *l, void *memory, size_t i, size_t *out_col) {
  size_t cols = l->rank ? (size_t)l->dims[l->rank - 1] : 1;
  *out_col = i % cols;
  return (double *)(void *)((char *)memory + i / cols * l->row_bytes);
}

static inline void run_fill(run *r, uint64_t seed) {
  orion_rng rng;
  orion_rng_seed(&rng, seed, 3);
  size_t n, col;
  const orion_io *ios = orion_executable_ios(r->e, &n);
  for (size_t i = 0; i < n; i++) {
    if (ios[i].direction != ORION_INPUT) continue;
    void *memory = orion_surface_lock(r->surfaces[i]);
    for (size_t k = 0; k < elements_of(&ios[i].layout); k++) {
      void *row = at_row(&ios[i].layout, memory, k, &col);
      orion_store_double((orion_dtype)ios[i].layout.dtype, row, col, (orion_rng_float(&rng) - 0.5) * 2);
    }
    orion_surface_unlock(r->surfaces[i]);
  }
}

static inline double *run_outputs(run *r, size_t *out_n) {
  size_t n, col, total = 0;
  const orion_io *ios = orion_executable_ios(r->e, &n);
  for (size_t i = 0; i < n; i++) total += ios[i].direction == ORION_OUTPUT ? elements_of(&ios[i].layout) : 0;
  double *out = malloc((total + 1) * sizeof *out);
  *out_n = 0;
  for (size_t i = 0; i < n; i++) {
    if (ios[i].direction != ORION_OUTPUT) continue;
    void *memory = orion_surface_lock(r->surfaces[i]);
    for (size_t k = 0; k < elements_of(&ios[i].layout); k++) {
      void *row = at_row(&ios[i].layout, memory, k, &col);
      out[(*out_n)++] = orion_load_double((orion_dtype)ios[i].layout.dtype, row, col);
    }
    orion_surface_unlock(r->surfaces[i]);
  }
  return out;
}

static inline orion_device *open_device(const char *spec, const orion_allocator *a) {
  orion_device *d;
  orion_error err = {0};
  assert_ok(orion_device_open(spec, 0, a, &d, &err), &err);
  return d;
}

// All outputs of one run.
static inline double *run_once(const char *spec, orion_program *p, uint64_t seed, size_t *out_n) {
  orion_device *d = open_device(spec, NULL);
  orion_error err = {0};
  run r;
  assert_ok(run_compile(&r, d, p, &err), &err);
  run_fill(&r, seed);
  assert_ok(orion_run(r.b, &err), &err);
  double *out = run_outputs(&r, out_n);
  run_close(&r);
  orion_device_close(d);
  return out;
}

#endif
