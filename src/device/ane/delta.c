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
#include <sys/stat.h>
#include <unistd.h>

#include "device/ane/ane.h"
#include "device/ane/canary.h"
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
  if (!orion_ane_below(out->file, sizeof out->file, m->dir.path, l->blob_path + sizeof mark - 1)) {
    return ORION_FAIL(err, ORION_LIMIT, "%s: its path is too long", m->dir.path);
  }
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
  struct stat info;
  return stat(path, &info) == 0 ? (long long)info.st_size : -1;
}

static orion_status patch(orion_ane_device *d, orion_ane_model *m, const char *value, const void *bytes, size_t n,
                          orion_error *err) {
  char text[ORION_ANE_PATH_MAX], data[ORION_ANE_PATH_MAX];
  if (!orion_ane_below(text, sizeof text, m->dir.path, "model.mil") || !orion_ane_below(data, sizeof data, m->dir.path, "data")) {
    return ORION_FAIL(err, ORION_LIMIT, "%s: its path is too long", m->dir.path);
  }
  const orion_mil_open_options unbound = {.unbound = true};
  if (!m->program) ORION_TRY(orion_mil_open(d->base.allocator, text, &unbound, &m->program, err));
  spot at = {0};
  ORION_TRY(find_spot(d->base.allocator, m, find_constant(m->program, value), value, &at, err));
  if (n != at.size) {
    return ORION_FAIL(err, ORION_INVALID, "update '%s': %zu bytes for a constant of %zu", value, n, at.size);
  }
  // From here on the directory is not what its name says: nobody else may take it.
  if (!m->patched) ORION_TRY(orion_ane_workdir_mark(d->base.allocator, &m->dir, "patched", NULL, err));
  m->patched = m->stale = true;
  ORION_TRY(patch_file(at.file, at.offset, bytes, n, err));
  if (file_size(data) == file_size(at.file)) ORION_TRY(patch_file(data, at.offset, bytes, n, err));
  return ORION_OK;
}

// ---- whether it works ----

static orion_status change(orion_executable *e, orion_error *err) {
  uint16_t twos[ORION_ANE_CANARY * ORION_ANE_CANARY];
  for (size_t i = 0; i < ORION_ANE_CANARY * ORION_ANE_CANARY; i++) orion_store_double(ORION_FP16, twos, i, 2);
  return patch((orion_ane_device *)e->device, ((orion_ane_executable *)e)->model, "w", twos, sizeof twos, err);
}

static orion_status prove(orion_ane_device *d, orion_error *err) {
  float before, after;
  ORION_TRY(orion_ane_canary(&d->base, change, &before, &after, err));
  bool works = before == ORION_ANE_CANARY && after == 2 * ORION_ANE_CANARY;
  d->delta = works ? ORION_ANE_DELTA_WORKS : ORION_ANE_DELTA_STALE;
  return ORION_OK;
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
