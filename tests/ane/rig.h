// A device on the stand-in, with the stand-in's switches at hand, and programs to run on it.
#ifndef TESTS_ANE_RIG_H
#define TESTS_ANE_RIG_H

#include <dlfcn.h>
#include <unistd.h>

#include "device/layout.h"
#include "ir/builder.h"
#include "mil/mil.h"
#include "orion/device.h"
#include "standin/standin.h"
#include "support/support.h"

typedef struct rig {
  char dir[TEST_PATH_MAX];  // temporary directory of the world
  void *library;
  standin_reset_fn reset;
  standin_set_fn set;
  standin_count_fn count;
  orion_device *device;
} rig;

// A fresh world with an empty temporary directory. `switches`: "key=value,key=value" or NULL.
static inline void rig_world(rig *r, const char *switches) {
  *r = (rig){0};
  test_temp_dir_create(r->dir, sizeof r->dir);
  setenv("TMPDIR", r->dir, 1);
  if (switches) setenv("ORION_STANDIN", switches, 1);
  const char *path = getenv("ORION_ANE_FRAMEWORK");
  if (!path) fail_msg("ORION_ANE_FRAMEWORK: not set (meson sets it to the stand-in)");
  r->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!r->library) fail_msg("%s", dlerror());
  r->reset = (standin_reset_fn)dlsym(r->library, "standin_reset");
  r->set = (standin_set_fn)dlsym(r->library, "standin_set");
  r->count = (standin_count_fn)dlsym(r->library, "standin_count");
  r->reset();
  unsetenv("ORION_STANDIN");
}

static inline void rig_open(rig *r, const char *spec) {
  orion_error err;
  assert_ok(orion_device_open(spec, 1, NULL, &r->device, &err), &err);
}

// The bridge gave everything back, and had a pool wherever it needed one.
static inline void rig_close(rig *r) {
  orion_device_close(r->device);
  r->device = NULL;
  assert_int_equal(r->count("objects"), 0);
  assert_int_equal(r->count("loaded"), 0);
  assert_int_equal(r->count("unpooled"), 0);
  assert_int_equal(r->count("locked"), 0);
}

static inline void rig_end(rig *r) {
  rig_close(r);
  dlclose(r->library);
  test_temp_dir_remove(r->dir);
  unsetenv("TMPDIR");
}

// ---- programs ----

static inline orion_program *rig_parse(const char *text) {
  orion_error err;
  orion_program *p;
  assert_ok(orion_mil_parse(NULL, text, strlen(text), "test", &p, &err), &err);
  return p;
}

// y = conv(x, w), [1, 32, 1, 32], w of `value` everywhere: one weight in one blob file.
static inline orion_program *rig_conv(double value) {
  static const int64_t dims[] = {1, 32, 1, 32}, square[] = {32, 32, 1, 1}, ones[] = {1, 1}, zeros[] = {0, 0, 0, 0};
  orion_error err;
  orion_program *p;
  orion_function *f;
  void *bytes;
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  const orion_data *w = orion_data_new(p->data, ORION_FP16, 32, 32, &bytes);
  for (size_t i = 0; i < 32 * 32; i++) orion_store_double(ORION_FP16, bytes, i, value);
  orion_builder b;
  orion_builder_init(&b, f);
  orion_value_id x = orion_build_param(&b, "x", ORION_FP16, 4, dims);
  orion_value_id y = ORION_BUILD(&b, "y", ORION_OP_conv, {"x", x}, {"weight", orion_build_weight(&b, "w", w, 4, square)},
                                 {"strides", orion_build_ints(&b, "st", 2, ones)},
                                 {"dilations", orion_build_ints(&b, "di", 2, ones)},
                                 {"pad", orion_build_ints(&b, "pa", 4, zeros)},
                                 {"pad_type", orion_build_string(&b, "pt", "valid")}, {"groups", orion_build_int(&b, "gr", 1)});
  orion_build_output(&b, y, "y");
  assert_ok(orion_builder_finish(&b, &err), &err);
  return p;
}

// ---- running ----

typedef struct ride {  // an executable with its surfaces, all bound
  orion_executable *e;
  orion_bindings *b;
  orion_surface *surfaces[64];
  const orion_io *ios;
  size_t n;
} ride;

static inline void ride_surfaces(rig *r, ride *x) {
  orion_error err;
  assert_ok(orion_bindings_create(x->e, &x->b, &err), &err);
  x->ios = orion_executable_ios(x->e, &x->n);
  for (size_t i = 0; i < x->n; i++) {
    assert_ok(orion_surface_create(r->device, &x->ios[i].layout, &x->surfaces[i], &err), &err);
    assert_ok(orion_bind(x->b, x->ios[i].name, x->surfaces[i], &err), &err);
  }
}

static inline void ride_open_function(rig *r, ride *x, orion_program *p, const char *function) {
  orion_error err;
  orion_compile_options options = {.function = function};
  *x = (ride){0};
  assert_ok(orion_device_compile(r->device, p, &options, &x->e, &err), &err);
  ride_surfaces(r, x);
}

static inline void ride_open(rig *r, ride *x, orion_program *p) { ride_open_function(r, x, p, NULL); }

static inline void ride_close(ride *x) {
  orion_bindings_destroy(x->b);
  for (size_t i = 0; i < x->n; i++) orion_surface_destroy(x->surfaces[i]);
  orion_executable_release(x->e);
}

static inline size_t ride_at(const ride *x, const char *name) {
  for (size_t i = 0; i < x->n; i++) {
    if (strcmp(x->ios[i].name, name) == 0) return i;
  }
  fail_msg("no input or output %s", name);
  return 0;
}

// Element k of the input is first + step * k.
static inline void ride_fill(ride *x, const char *name, float first, float step) {
  size_t i = ride_at(x, name), n = orion_layout_elements(&x->ios[i].layout);
  float *v = malloc(n * sizeof *v);
  for (size_t k = 0; k < n; k++) v[k] = first + step * (float)k;
  orion_layout_from_floats(&x->ios[i].layout, orion_surface_lock(x->surfaces[i]), v);
  orion_surface_unlock(x->surfaces[i]);
  free(v);
}

static inline float ride_get(ride *x, const char *name, size_t element) {
  size_t i = ride_at(x, name), n = orion_layout_elements(&x->ios[i].layout);
  float *v = malloc(n * sizeof *v);
  orion_layout_to_floats(&x->ios[i].layout, orion_surface_lock(x->surfaces[i]), v);
  orion_surface_unlock(x->surfaces[i]);
  assert_true(element < n);
  float value = v[element];
  free(v);
  return value;
}

static inline void ride_run(ride *x) {
  orion_error err;
  assert_ok(orion_run(x->b, &err), &err);
}

#endif
