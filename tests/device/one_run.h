// Compiles a text, fills its inputs with numbers, runs it, and reads an output: what tests of the sim need most.
#ifndef TEST_DEVICE_ONE_RUN_H
#define TEST_DEVICE_ONE_RUN_H

#include "device/layout.h"
#include "ir/builder.h"
#include "ir/infer.h"
#include "mil/mil.h"
#include "orion/device.h"
#include "support/support.h"

typedef struct one_run {
  orion_device *device;
  orion_program *program;
  orion_executable *e;
  orion_bindings *b;
  orion_surface *surfaces[8];
  size_t n;
} one_run;

// Whatever the status, one_run_close frees what was made.
static inline orion_status one_run_open(one_run *r, const orion_allocator *a, const char *spec, int threads,
                                        orion_program *program, orion_error *err) {
  *r = (one_run){0};
  ORION_TRY(orion_device_open(spec, threads, a, &r->device, err));
  ORION_TRY(orion_device_compile(r->device, program, NULL, &r->e, err));
  ORION_TRY(orion_bindings_create(r->e, &r->b, err));
  size_t n;
  const orion_io *ios = orion_executable_ios(r->e, &n);
  for (; r->n < n; r->n++) {
    ORION_TRY(orion_surface_create(r->device, &ios[r->n].layout, &r->surfaces[r->n], err));
    ORION_TRY(orion_bind(r->b, ios[r->n].name, r->surfaces[r->n], err));
  }
  return ORION_OK;
}

static inline void one_run_close(one_run *r) {
  orion_bindings_destroy(r->b);
  orion_executable_release(r->e);
  for (size_t i = 0; i < r->n; i++) orion_surface_destroy(r->surfaces[i]);
  orion_device_close(r->device);
  orion_program_destroy(r->program);
}

static inline orion_program *one_run_parse(const char *text) {
  orion_error err;
  orion_program *p;
  assert_ok(orion_mil_parse(NULL, text, strlen(text), "test", &p, &err), &err);
  return p;
}

static inline void one_run_floats(one_run *r, size_t io, const float *v) {
  orion_layout_from_floats(orion_surface_layout(r->surfaces[io]), orion_surface_lock(r->surfaces[io]), v);
}

static inline void one_run_ints(one_run *r, size_t io, const int32_t *v) {
  orion_layout_from_ints(orion_surface_layout(r->surfaces[io]), orion_surface_lock(r->surfaces[io]), v);
}

static inline void one_run_read(one_run *r, size_t io, float *out) {
  orion_layout_to_floats(orion_surface_layout(r->surfaces[io]), orion_surface_lock(r->surfaces[io]), out);
}

// y = x w, w [n, n] of ones.
static inline orion_program *one_run_linear(int64_t n) {
  orion_error err;
  orion_program *p;
  orion_function *f;
  void *bytes;
  const int64_t rows[] = {1, n}, square[] = {n, n};
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  const orion_data *data = orion_data_new(p->data, ORION_FP16, (size_t)n, (size_t)n, &bytes);
  for (size_t i = 0; i < (size_t)(n * n); i++) orion_store_double(ORION_FP16, bytes, i, 1);
  orion_builder b;
  orion_builder_init(&b, f);
  orion_value_id x = orion_build_param(&b, "x", ORION_FP16, 2, rows);
  orion_ref w = orion_build_weight(&b, "w", data, 2, square);
  orion_build_output(&b, ORION_BUILD(&b, "y", ORION_OP_linear, {"x", x}, {"weight", w}), "y");
  assert_ok(orion_builder_finish(&b, &err), &err);
  return p;
}

#endif
