// What executables of all devices share: their named inputs and outputs, bindings of surfaces to them, times.
#include <string.h>

#include "base/clock.h"
#include "device/device.h"
#include "device/layout.h"

struct orion_bindings {
  orion_executable *e;
  orion_surface **surfaces;  // [n_ios], NULL until bound
  bool *zeros;               // [n_ios], of a run that begins sums anew
};

static orion_status add_io(orion_executable *e, const orion_function *f, orion_value_id v, orion_direction direction,
                           size_t row_align, orion_error *err) {
  const char *name = f->values[v].name;
  for (size_t i = 0; i < e->n_ios; i++) {
    if (strcmp(e->ios[i].name, name) != 0) continue;
    return ORION_FAIL(err, ORION_REFUSED, "function %s: '%s' is an input or output twice (return a copy of its own)",
                      f->name, name);
  }
  orion_io *io = &e->ios[e->n_ios];
  io->name = orion_arena_strdup(&e->arena, name);
  if (!io->name) return ORION_OOM(err, "executable");
  io->direction = direction;
  if (orion_layout_of_type(f->values[v].type, row_align, &io->layout, err) != ORION_OK) {
    if (err) err->code = ORION_REFUSED;
    orion_error_prefix(err, "function %s: '%s'", f->name, name);
    return ORION_REFUSED;
  }
  e->n_ios++;
  return ORION_OK;
}

// The parameter that output `v` is a sum with, made where it lies: add(x, parameter), or what is scattered into that or into
// the parameter; nothing else uses the parameter, or what is on the way. ORION_NONE: there is none.
static orion_value_id summed_parameter(const orion_function *f, orion_value_id v, const uint32_t *uses) {
  const orion_type *t = f->values[v].type;
  while (v != ORION_NONE && uses[v] == 1 && f->values[v].def != ORION_NONE) {
    const orion_op *op = &f->ops[f->values[v].def];
    orion_value_id x = orion_op_value(op, "x"), y = orion_op_value(op, "y");
    if (op->code == ORION_OP_add) {
      v = x != ORION_NONE && f->values[x].def == ORION_NONE ? x : y;
      break;
    }
    if (op->code != ORION_OP_scatter && op->code != ORION_OP_scatter_along_axis) return ORION_NONE;
    v = orion_op_value(op, "data");
  }
  bool fits = v != ORION_NONE && f->values[v].def == ORION_NONE && uses[v] == 1 && orion_type_equal(f->values[v].type, t);
  return fits ? v : ORION_NONE;
}

static orion_status note_sums(orion_executable *e, const orion_function *f, orion_error *err) {
  orion_arena scratch;
  orion_arena_init(&scratch, e->device->allocator);
  const uint32_t *uses = orion_function_count_uses(f, &scratch);
  for (size_t o = 0; uses && o < f->n_outputs; o++) {
    orion_value_id p = summed_parameter(f, f->outputs[o], uses);
    for (size_t i = 0; p != ORION_NONE && i < f->n_params; i++) {
      if (f->params[i] == p) e->sum_of[e->n_inputs + o] = i + 1;
    }
  }
  orion_arena_deinit(&scratch);
  return uses ? ORION_OK : ORION_OOM(err, "executable");
}

orion_status orion_executable_init(orion_executable *e, orion_device *d, const orion_function *f, size_t row_align,
                                   orion_error *err) {
  *e = (orion_executable){.device = d};
  orion_arena_init(&e->arena, d->allocator);
  e->data = orion_data_store_retain(f->program->data);
  e->ios = ORION_ARENA_ARRAY(&e->arena, orion_io, f->n_params + f->n_outputs);
  e->sum_of = ORION_ARENA_ARRAY(&e->arena, size_t, f->n_params + f->n_outputs);
  if (!e->ios || !e->sum_of) return ORION_OOM(err, "executable");
  for (size_t i = 0; i < f->n_params; i++) ORION_TRY(add_io(e, f, f->params[i], ORION_INPUT, row_align, err));
  e->n_inputs = e->n_ios;
  for (size_t i = 0; i < f->n_outputs; i++) ORION_TRY(add_io(e, f, f->outputs[i], ORION_OUTPUT, row_align, err));
  return d->vtable->sums_in_place ? note_sums(e, f, err) : ORION_OK;
}

void orion_executable_deinit(orion_executable *e) {
  orion_data_store_release(e->data);
  orion_arena_deinit(&e->arena);
  e->data = NULL;
}

void orion_executable_release(orion_executable *e) {
  if (e) e->device->vtable->release(e);
}

const orion_io *orion_executable_ios(const orion_executable *e, size_t *out_n) {
  *out_n = e->n_ios;
  return e->ios;
}

const orion_io *orion_executable_io(const orion_executable *e, const char *name) {
  for (size_t i = 0; i < e->n_ios; i++) {
    if (strcmp(e->ios[i].name, name) == 0) return &e->ios[i];
  }
  return NULL;
}

void orion_executable_times(const orion_executable *e, orion_run_times *out) { *out = e->times; }

orion_status orion_executable_update(orion_executable *e, const char *value, const void *bytes, size_t n,
                                     orion_error *err) {
  const orion_device_vtable *vtable = e->device->vtable;
  if (!vtable->update) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "device %s: constants cannot change (compile again)", vtable->name);
  }
  return vtable->update(e, value, bytes, n, err);
}

// ---- bindings ----

orion_status orion_bindings_create(orion_executable *e, orion_bindings **out, orion_error *err) {
  const orion_allocator *a = e->device->allocator;
  orion_bindings *b = orion_alloc_zero(a, 1, sizeof *b);
  if (!b) return ORION_OOM(err, "bindings");
  b->e = e;
  b->surfaces = orion_alloc_zero(a, e->n_ios, sizeof *b->surfaces);
  b->zeros = orion_alloc_zero(a, e->n_ios, sizeof *b->zeros);
  if (!b->surfaces || !b->zeros) {
    orion_bindings_destroy(b);
    return ORION_OOM(err, "bindings");
  }
  *out = b;
  return ORION_OK;
}

void orion_bindings_destroy(orion_bindings *b) {
  if (!b) return;
  const orion_allocator *a = b->e->device->allocator;
  orion_free(a, b->surfaces, b->e->n_ios, sizeof *b->surfaces);
  orion_free(a, b->zeros, b->e->n_ios, sizeof *b->zeros);
  orion_free(a, b, 1, sizeof *b);
}

orion_status orion_bind(orion_bindings *b, const char *name, orion_surface *s, orion_error *err) {
  const orion_io *io = orion_executable_io(b->e, name);
  if (!io) return ORION_FAIL(err, ORION_NOT_FOUND, "bind '%s': the program has no input or output of that name", name);
  if (s->device != b->e->device) {
    return ORION_FAIL(err, ORION_INVALID, "bind '%s': the surface is another device's", name);
  }
  bool other = !orion_layout_equal(&io->layout, &s->layout);
  const orion_device_vtable *vtable = b->e->device->vtable;
  if (other && vtable->bind_other) {
    ORION_TRY(vtable->bind_other(b->e, io, &s->layout, err));
  } else if (other) {
    char want[160], got[160];
    orion_layout_text(&io->layout, want, sizeof want);
    orion_layout_text(&s->layout, got, sizeof got);
    return ORION_FAIL(err, ORION_INVALID, "bind '%s': the surface is %s (want %s)", name, got, want);
  }
  b->surfaces[io - b->e->ios] = s;
  return ORION_OK;
}

static orion_status check_bindings(const orion_bindings *b, orion_error *err) {
  const orion_executable *e = b->e;
  for (size_t i = 0; i < e->n_ios; i++) {
    if (!b->surfaces[i]) return ORION_FAIL(err, ORION_INVALID, "run: '%s' is not bound", e->ios[i].name);
  }
  for (size_t o = e->n_inputs; o < e->n_ios; o++) {
    for (size_t i = 0; i < o; i++) {
      if (b->surfaces[o] != b->surfaces[i] || e->sum_of[o] == i + 1) continue;
      return ORION_FAIL(err, ORION_INVALID, "run: output '%s' is bound to the surface of '%s' (give it its own)",
                        e->ios[o].name, e->ios[i].name);
    }
  }
  return ORION_OK;
}

static void clear(orion_surface *s) {
  memset(orion_surface_lock(s), 0, s->layout.bytes);
  orion_surface_unlock(s);
}

// Marks inputs whose sums are made in their place; where the device cannot be told of them, they are cleared.
static void begin_sums(orion_bindings *b, bool *zeros) {
  const orion_executable *e = b->e;
  memset(zeros, 0, e->n_ios * sizeof *zeros);
  for (size_t o = e->n_inputs; o < e->n_ios; o++) {
    size_t input = e->sum_of[o];
    if (!input || b->surfaces[o] != b->surfaces[input - 1]) continue;
    zeros[input - 1] = true;
    if (!e->device->vtable->run_anew) clear(b->surfaces[o]);
  }
}

static orion_status run(orion_bindings *b, bool anew, orion_error *err) {
  ORION_TRY(check_bindings(b, err));
  orion_executable *e = b->e;
  const orion_device_vtable *vtable = e->device->vtable;
  double start = orion_now();
  if (anew) begin_sums(b, b->zeros);
  if (anew && vtable->run_anew) ORION_TRY(vtable->run_anew(e, b->surfaces, b->zeros, err));
  else ORION_TRY(vtable->run(e, b->surfaces, err));
  e->times.run_seconds += orion_now() - start;
  e->times.runs++;
  return ORION_OK;
}

orion_status orion_run(orion_bindings *b, orion_error *err) { return run(b, false, err); }
orion_status orion_run_anew(orion_bindings *b, orion_error *err) { return run(b, true, err); }
