// Orion in bench/products: programs of one matmul on the cpu device, so that what is measured is what a model gets, the
// cutting among threads included. Weights known ahead are constants of the program, one program for each copy; else
// inputs.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/half.h"
#include "device/cpu/kernels/kernels.h"
#include "ir/builder.h"
#include "orion/device.h"
#include "products.h"

enum { FP16 = 1, FAST = 2 };  // bits of a variant: weights known ahead are halves; precision=fast

typedef struct state {
  const work *w;
  orion_device *device;
  orion_half *halves;           // all copies of W, where they are wanted
  orion_executable **e;         // for each copy of a constant, else one
  orion_bindings **bindings;    // for each copy
  orion_surface *a, **b, **c;   // for each copy
  size_t n_e, n_b, n_c;
} state;

static void check(orion_status status, const orion_error *err) {
  if (status != ORION_OK) products_fail("orion", err->message);
}

static void *zeroed(size_t n, size_t size) {
  void *p = calloc(n, size);
  if (!p) products_fail("orion", "out of memory");
  return p;
}

// The program: c = matmul(a, b). `weights` NULL: b is an input.
static orion_executable *compile(const state *s, const void *weights, bool half) {
  const work *w = s->w;
  orion_error err = {0};
  orion_program *p;
  orion_function *f;
  orion_data_store *store;
  orion_builder b;
  orion_executable *e;
  bool a_turned = w->a_col != 1, b_turned = w->b_col != 1;
  int64_t as[] = {(int64_t)w->m, (int64_t)w->k}, at[] = {(int64_t)w->k, (int64_t)w->m};
  int64_t bs[] = {(int64_t)w->k, (int64_t)w->n}, bt[] = {(int64_t)w->n, (int64_t)w->k};
  check(orion_data_store_create(NULL, &store, &err), &err);
  check(orion_program_create(NULL, store, &p, &err), &err);
  check(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  orion_builder_init(&b, f);
  orion_ref x = orion_build_param(&b, "a", ORION_FP32, 2, a_turned ? at : as), y;
  if (weights) {
    orion_dtype type = half ? ORION_FP16 : ORION_FP32;
    y = orion_build_weight(&b, "w", orion_data_borrow(store, type, w->n, w->k, weights, NULL), 2, bt);
    if (half) y = ORION_BUILD(&b, "b", ORION_OP_cast, {"x", y}, {"dtype", orion_build_string(&b, "fp32", "fp32")});
  } else {
    y = orion_build_param(&b, "b", ORION_FP32, 2, b_turned ? bt : bs);
  }
  orion_ref tx = orion_build_bool(&b, "tx", a_turned), ty = orion_build_bool(&b, "ty", b_turned);
  orion_ref z = ORION_BUILD(&b, "z", ORION_OP_matmul, {"x", x}, {"y", y}, {"transpose_x", tx}, {"transpose_y", ty});
  orion_build_output(&b, z, "c");
  check(orion_builder_finish(&b, &err), &err);
  check(orion_device_compile(s->device, p, NULL, &e, &err), &err);
  orion_program_destroy(p);
  orion_data_store_release(store);
  return e;
}

static orion_surface *surface(const state *s, const char *name, const float *values, size_t n) {
  orion_error err = {0};
  orion_surface *out;
  check(orion_surface_create(s->device, &orion_executable_io(s->e[0], name)->layout, &out, &err), &err);
  if (values) memcpy(orion_surface_lock(out), values, n * sizeof *values);
  if (values) orion_surface_unlock(out);
  return out;
}

static void compile_all(state *s, bool half) {
  const work *w = s->w;
  bool constant = w->kind == WORK_FORWARD;
  size_t n = w->N * w->K;
  s->n_e = constant ? w->copies : 1;
  s->e = zeroed(s->n_e, sizeof *s->e);
  if (half) s->halves = zeroed(n * w->copies, sizeof *s->halves);
  for (size_t i = 0; half && i < n * w->copies; i++) s->halves[i] = orion_float_to_half(w->b[i]);
  for (size_t i = 0; i < s->n_e; i++) {
    const float *floats = w->b + i * w->b_step;
    s->e[i] = compile(s, !constant ? NULL : half ? (const void *)(s->halves + i * n) : floats, half);
  }
}

static bool begin(contestant *self, const work *w) {
  bool half = self->variant & FP16;
  if (half && w->kind != WORK_FORWARD) return false;
  orion_error err = {0};
  state *s = self->state = zeroed(1, sizeof *s);
  s->w = w;
  const char *spec = self->variant & FAST ? "cpu:precision=fast" : "cpu";
  check(orion_device_open(spec, self->threads, NULL, &s->device, &err), &err);
  compile_all(s, half);
  s->n_b = w->kind == WORK_FORWARD ? 0 : w->b_step ? w->copies : 1;
  s->n_c = w->c_step ? w->copies : 1;
  s->b = zeroed(s->n_b + 1, sizeof *s->b);
  s->c = zeroed(s->n_c, sizeof *s->c);
  s->bindings = zeroed(w->copies, sizeof *s->bindings);
  s->a = surface(s, "a", w->a, w->m * w->k);
  for (size_t i = 0; i < s->n_b; i++) s->b[i] = surface(s, "b", w->b + i * w->b_step, w->k * w->n);
  for (size_t i = 0; i < s->n_c; i++) s->c[i] = surface(s, "c", NULL, 0);
  for (size_t i = 0; i < w->copies; i++) {
    check(orion_bindings_create(s->e[i % s->n_e], &s->bindings[i], &err), &err);
    check(orion_bind(s->bindings[i], "a", s->a, &err), &err);
    if (s->n_b) check(orion_bind(s->bindings[i], "b", s->b[i % s->n_b], &err), &err);
    check(orion_bind(s->bindings[i], "c", s->c[i % s->n_c], &err), &err);
  }
  return true;
}

static void run(contestant *self, size_t copy) {
  orion_error err = {0};
  check(orion_run(((state *)self->state)->bindings[copy], &err), &err);
}

static const float *result(contestant *self, size_t copy) {
  const state *s = self->state;
  const float *c = orion_surface_lock(s->c[copy % s->n_c]);
  orion_surface_unlock(s->c[copy % s->n_c]);
  return c;
}

static void end(contestant *self) {
  state *s = self->state;
  if (!s) return;
  for (size_t i = 0; i < s->w->copies; i++) orion_bindings_destroy(s->bindings[i]);
  orion_surface_destroy(s->a);
  for (size_t i = 0; i < s->n_b; i++) orion_surface_destroy(s->b[i]);
  for (size_t i = 0; i < s->n_c; i++) orion_surface_destroy(s->c[i]);
  for (size_t i = 0; i < s->n_e; i++) orion_executable_release(s->e[i]);
  orion_device_close(s->device);
  free(s->halves);
  free(s->e);
  free(s->bindings);
  free(s->b);
  free(s->c);
  free(s);
  self->state = NULL;
}

size_t orion_contestants(contestant *out, int threads) {
  static const char *const names[] = {"fp32", "fp16", "fast fp32", "fast fp16"};
  orion_kernels k;
  orion_kernels_init(&k, orion_cpu_features());
  size_t n = k.linear_many ? 4 : 2;  // elsewhere precision=fast changes nothing about floats
  for (size_t i = 0; i < n; i++) {
    out[i] = (contestant){.name = names[i], .half = i > 0, .begin = begin, .run = run, .result = result, .end = end,
                          .variant = (int)i, .threads = threads};
  }
  return n;
}
