// Weights changed without compiling: the blob files in the program's directory are patched, and the program is unloaded and
// loaded again. Most who measured it found the engine computing on with the old weights (rule C07), one project builds on it.
// So it is not believed: before the first update a small program of our own is patched, run, and looked at. Where its outputs
// stay as they were, updating is refused, and callers pass weights as inputs or compile again.
//
// The compiler leaves the weights of a program with one blob file in `data` beside it, byte for byte; that is patched too.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "device/ane/ane.h"
#include "device/layout.h"
#include "ir/builder.h"
#include "mil/bind.h"
#include "mil/blob.h"

// ---- patching ----

typedef struct spot {       // where a constant's elements are
  char file[ORION_ANE_PATH_MAX];
  uint64_t offset;
  size_t size;
} spot;

static const orion_literal *find_constant(const orion_program *p, const char *name) {
  for (size_t i = 0; i < p->n_functions; i++) {
    const orion_function *f = p->functions[i];
    orion_value_id v = orion_function_find(f, name);
    if (v == ORION_NONE) continue;
    ORION_EACH_OP(f, id) {
      const orion_op *op = &f->ops[id];
      if (op->code == ORION_OP_const && op->results[0] == v) return orion_op_attr(op, "val");
    }
  }
  return NULL;
}

static orion_status find_spot(const orion_allocator *a, const orion_ane_model *m, const orion_literal *l, const char *value,
                              spot *out, orion_error *err) {
  static const char mark[] = "@model_path/";
  if (!l) return ORION_FAIL(err, ORION_NOT_FOUND, "update '%s': the program has no such constant", value);
  if (l->kind != ORION_LIT_BLOB || strncmp(l->blob_path, mark, sizeof mark - 1) != 0) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "update '%s': a constant so small is part of the text (compile again)", value);
  }
  int n = snprintf(out->file, sizeof out->file, "%s/%s", m->dir.path, l->blob_path + sizeof mark - 1);
  if (n < 0 || (size_t)n >= sizeof out->file) return ORION_FAIL(err, ORION_LIMIT, "%s: its path is too long", m->dir.path);
  orion_blob_file *file;
  orion_blob_tensor tensor;
  ORION_TRY(orion_blob_open(a, out->file, &file, err));
  orion_status status = orion_blob_find(file, l->blob_offset, &tensor, err);
  if (status == ORION_OK) {
    out->offset = tensor.offset;
    out->size = tensor.size;
  }
  orion_blob_close(file);
  return status;
}

static orion_status patch_file(const char *path, uint64_t offset, const void *bytes, size_t n, orion_error *err) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  size_t done = 0;
  while (fd >= 0 && done < n) {
    ssize_t k = pwrite(fd, (const char *)bytes + done, n - done, (off_t)(offset + done));
    if (k <= 0) break;
    done += (size_t)k;
  }
  bool ok = fd >= 0 && done == n;
  orion_status status = ok ? ORION_OK : ORION_FAIL(err, ORION_IO, "%s: cannot be patched: %s", path, strerror(errno));
  if (fd >= 0) close(fd);
  return status;
}

static long long file_size(const char *path) {
  orion_file_map map;
  if (orion_file_open_map(path, &map, NULL) != ORION_OK) return -1;
  long long size = (long long)map.size;
  orion_file_close_map(&map);
  return size;
}

static orion_status patch(orion_ane_device *d, orion_ane_model *m, const char *value, const void *bytes, size_t n,
                          orion_error *err) {
  char text[ORION_ANE_PATH_MAX + 16], data[ORION_ANE_PATH_MAX + 16];
  snprintf(text, sizeof text, "%s/model.mil", m->dir.path);
  snprintf(data, sizeof data, "%s/data", m->dir.path);
  orion_program *p;
  spot at = {0};
  ORION_TRY(orion_mil_open(d->base.allocator, text, &(orion_mil_open_options){.unbound = true}, &p, err));
  orion_status status = find_spot(d->base.allocator, m, find_constant(p, value), value, &at, err);
  orion_program_destroy(p);
  if (status == ORION_OK && n != at.size) {
    status = ORION_FAIL(err, ORION_INVALID, "update '%s': %zu bytes for a constant of %zu", value, n, at.size);
  }
  if (status != ORION_OK) return status;
  // From here on the directory is not what its name says: nobody else may take it.
  if (!m->patched) ORION_TRY(orion_ane_workdir_mark(d->base.allocator, &m->dir, "patched", NULL, err));
  m->patched = m->stale = true;
  ORION_TRY(patch_file(at.file, at.offset, bytes, n, err));
  if (file_size(data) == file_size(at.file)) ORION_TRY(patch_file(data, at.offset, bytes, n, err));
  return ORION_OK;
}

// ---- the canary ----

enum { SIDE = 32 };

// y = conv(x, w), w of ones.
static orion_status canary_program(const orion_allocator *a, orion_program **out, orion_error *err) {
  static const int64_t dims[] = {1, SIDE, 1, SIDE}, square[] = {SIDE, SIDE, 1, 1}, ones[] = {1, 1}, zeros[] = {0, 0, 0, 0};
  orion_function *f;
  void *bytes;
  ORION_TRY(orion_program_create(a, NULL, out, err));
  orion_status status = orion_program_add_function(*out, "main", "ios18", &f, err);
  const orion_data *w = status == ORION_OK ? orion_data_new((*out)->data, ORION_FP16, SIDE, SIDE, &bytes) : NULL;
  if (status == ORION_OK && !w) status = ORION_OOM(err, "canary");
  if (status == ORION_OK) {
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
    status = orion_builder_finish(&b, err);
  }
  if (status != ORION_OK) orion_program_destroy(*out);
  return status;
}

static orion_status first_output(orion_bindings *b, orion_surface *y, float *out, orion_error *err) {
  ORION_TRY(orion_run(b, err));
  float values[SIDE * SIDE];
  orion_layout_to_floats(orion_surface_layout(y), orion_surface_lock(y), values);
  orion_surface_unlock(y);
  *out = values[0];
  return ORION_OK;
}

typedef struct canary {
  orion_executable *e;
  orion_bindings *b;
  orion_surface *x, *y;
} canary;

static orion_status ask_canary(orion_ane_device *d, canary *c, bool *out_works, orion_error *err) {
  ORION_TRY(orion_bindings_create(c->e, &c->b, err));
  ORION_TRY(orion_surface_create(&d->base, &orion_executable_io(c->e, "x")->layout, &c->x, err));
  ORION_TRY(orion_surface_create(&d->base, &orion_executable_io(c->e, "y")->layout, &c->y, err));
  ORION_TRY(orion_bind(c->b, "x", c->x, err));
  ORION_TRY(orion_bind(c->b, "y", c->y, err));
  float ones[SIDE * SIDE], before, after;
  uint16_t twos[SIDE * SIDE];
  for (size_t i = 0; i < SIDE * SIDE; i++) {
    ones[i] = 1;
    orion_store_double(ORION_FP16, twos, i, 2);
  }
  orion_layout_from_floats(orion_surface_layout(c->x), orion_surface_lock(c->x), ones);
  orion_surface_unlock(c->x);
  ORION_TRY(first_output(c->b, c->y, &before, err));
  ORION_TRY(patch(d, ((orion_ane_executable *)c->e)->model, "w", twos, sizeof twos, err));
  ORION_TRY(first_output(c->b, c->y, &after, err));
  *out_works = before == SIDE && after == 2 * SIDE;
  return ORION_OK;
}

static orion_status prove(orion_ane_device *d, orion_error *err) {
  orion_program *p;
  canary c = {0};
  bool works = false;
  ORION_TRY(canary_program(d->base.allocator, &p, err));
  orion_status status = orion_device_compile(&d->base, p, NULL, &c.e, err);
  if (status == ORION_OK) status = ask_canary(d, &c, &works, err);
  orion_bindings_destroy(c.b);
  orion_surface_destroy(c.x);
  orion_surface_destroy(c.y);
  orion_executable_release(c.e);
  orion_program_destroy(p);
  if (status == ORION_OK) d->delta = works ? ORION_ANE_DELTA_WORKS : ORION_ANE_DELTA_STALE;
  return status;
}

orion_status orion_ane_update(orion_executable *base, const char *value, const void *bytes, size_t n, orion_error *err) {
  orion_ane_executable *e = (orion_ane_executable *)base;
  orion_ane_device *d = (orion_ane_device *)base->device;
  if (d->route != &orion_ane_route_a) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "update '%s': route %s has no files to patch (compile again)", value, d->route->name);
  }
  if (d->delta == ORION_ANE_DELTA_UNKNOWN) ORION_TRY(prove(d, err));
  if (d->delta == ORION_ANE_DELTA_STALE) {
    return ORION_FAIL(err, ORION_UNSUPPORTED,
                      "update '%s': on this system patched weights do not reach the engine (rule C07; a canary was run: pass "
                      "weights as inputs, or compile again)", value);
  }
  if (e->model->users > 1) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "update '%s': the program is shared by %zu executables (release the others)",
                      value, e->model->users);
  }
  return patch(d, e->model, value, bytes, n, err);
}
