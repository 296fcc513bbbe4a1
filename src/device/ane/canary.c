#include "device/ane/canary.h"

#include "device/layout.h"
#include "ir/builder.h"

enum { SIDE = ORION_ANE_CANARY };

static orion_status build(orion_program *p, orion_error *err) {
  static const int64_t dims[] = {1, SIDE, 1, SIDE}, square[] = {SIDE, SIDE, 1, 1}, ones[] = {1, 1}, zeros[] = {0, 0, 0, 0};
  orion_function *f;
  void *bytes;
  ORION_TRY(orion_program_add_function(p, "main", "ios18", &f, err));
  const orion_data *w = orion_data_new(p->data, ORION_FP16, SIDE, SIDE, &bytes);
  if (!w) return ORION_OOM(err, "canary");
  for (size_t i = 0; i < SIDE * SIDE; i++) orion_store_double(ORION_FP16, bytes, i, 1);
  orion_builder b;
  orion_builder_init(&b, f);
  orion_value_id x = orion_build_param(&b, "x", ORION_FP16, 4, dims);
  orion_ref weight = orion_build_weight(&b, "w", w, 4, square);
  orion_value_id y = ORION_BUILD(&b, "y", ORION_OP_conv, {"x", x}, {"weight", weight},
                                 {"strides", orion_build_ints(&b, "strides", 2, ones)},
                                 {"dilations", orion_build_ints(&b, "dilations", 2, ones)},
                                 {"pad", orion_build_ints(&b, "pad", 4, zeros)},
                                 {"pad_type", orion_build_string(&b, "pad_type", "valid")},
                                 {"groups", orion_build_int(&b, "groups", 1)});
  orion_build_output(&b, y, "y");
  return orion_builder_finish(&b, err);
}

typedef struct cage {
  orion_program *program;
  orion_executable *e;
  orion_bindings *b;
  orion_surface *x, *y;
} cage;

static orion_status open_cage(cage *c, orion_device *d, orion_error *err) {
  ORION_TRY(orion_program_create(d->allocator, NULL, &c->program, err));
  ORION_TRY(build(c->program, err));
  ORION_TRY(orion_device_compile(d, c->program, NULL, &c->e, err));
  ORION_TRY(orion_bindings_create(c->e, &c->b, err));
  ORION_TRY(orion_surface_create(d, &orion_executable_io(c->e, "x")->layout, &c->x, err));
  ORION_TRY(orion_surface_create(d, &orion_executable_io(c->e, "y")->layout, &c->y, err));
  ORION_TRY(orion_bind(c->b, "x", c->x, err));
  ORION_TRY(orion_bind(c->b, "y", c->y, err));
  float ones[SIDE * SIDE];
  for (size_t i = 0; i < SIDE * SIDE; i++) ones[i] = 1;
  orion_layout_from_floats(orion_surface_layout(c->x), orion_surface_lock(c->x), ones);
  orion_surface_unlock(c->x);
  return ORION_OK;
}

static orion_status sing(cage *c, float *out, orion_error *err) {
  float values[SIDE * SIDE];
  ORION_TRY(orion_run(c->b, err));
  orion_layout_to_floats(orion_surface_layout(c->y), orion_surface_lock(c->y), values);
  orion_surface_unlock(c->y);
  *out = values[0];
  return ORION_OK;
}

orion_status orion_ane_canary(orion_device *d, orion_status (*change)(orion_executable *e, orion_error *err),
                              float *out_before, float *out_after, orion_error *err) {
  cage c = {0};
  orion_status status = open_cage(&c, d, err);
  if (status == ORION_OK) status = sing(&c, out_before, err);
  if (status == ORION_OK && change) status = change(c.e, err);
  if (status == ORION_OK && change) status = sing(&c, out_after, err);
  orion_bindings_destroy(c.b);
  orion_surface_destroy(c.x);
  orion_surface_destroy(c.y);
  orion_executable_release(c.e);
  orion_program_destroy(c.program);
  return status;
}

orion_status orion_ane_answers(orion_device *d, orion_error *err) {
  float got;
  ORION_TRY(orion_ane_canary(d, NULL, &got, NULL, err));
  if (got == SIDE) return ORION_OK;
  return ORION_FAIL(err, ORION_DEVICE, "ane: a sum of %d ones came out as %g: the engine does not compute what it is given", SIDE,
                    (double)got);
}
