// Constants: read once from the program's data, four bytes an element. Large ones are shared by the executables of a
// device (prefill and decode of one model) until one of them updates its own. What only constexpr_* operations read is
// freed as soon as these are computed, and read again when one of them is updated.
#include <string.h>

#include "device/sim/plan.h"

enum { SHARED_FROM = 4096 };  // elements; smaller ones are not worth looking up

static const orion_allocator *allocator_of(const orion_sim_executable *e) { return e->base.device->allocator; }

static orion_status give_memory(const orion_sim_executable *e, orion_sim_tensor *t, orion_error *err) {
  size_t bytes;
  if (!orion_mul_ok(t->n, 4, &bytes) || bytes > PTRDIFF_MAX) {
    return ORION_FAIL(err, ORION_LIMIT, "sim: a constant of %zu elements is too large", t->n);
  }
  if (!t->data) t->data = orion_alloc_aligned(allocator_of(e), bytes, ORION_ALIGN_CACHE);
  return t->data ? ORION_OK : ORION_OOM(err, "sim: constants");
}

static void take_memory(const orion_sim_executable *e, orion_sim_tensor *t) {
  if (!t) return;
  orion_free_aligned(allocator_of(e), t->data, t->n * 4, ORION_ALIGN_CACHE);
  t->data = NULL;
}

// Chip families hold no more than fp16.
static void accept(const orion_sim_executable *e, orion_sim_tensor *t) {
  const orion_sim_arith *arith = ((const orion_sim_device *)e->base.device)->arith;
  if (arith->accept && orion_dtype_is_float(t->dtype)) arith->accept(t->dtype, t->f, t->n);
}

static orion_status read_constant(const orion_sim_executable *e, const orion_sim_constant *c, orion_error *err) {
  orion_sim_tensor *t = c->tensor;
  if (c->update) {
    memcpy(t->data, c->update, t->n * 4);
    return ORION_OK;
  }
  if (!c->data) {
    orion_sim_set(t, 0, c->fallback);
    return ORION_OK;
  }
  orion_dtype as = orion_dtype_is_float(t->dtype) ? ORION_FP32 : ORION_INT32;
  ORION_TRY(orion_data_read(c->data, as, 0, c->data->rows, t->data, err));
  accept(e, t);
  return ORION_OK;
}

// ---- sharing ----

static orion_status share(const orion_sim_executable *e, orion_sim_constant *c, orion_error *err) {
  orion_sim_device *d = (orion_sim_device *)e->base.device;
  orion_sim_shared *s = d->shared;
  while (s && s->data != c->data) s = s->next;
  if (!s) {
    s = orion_alloc_zero(allocator_of(e), 1, sizeof *s);
    if (!s) return ORION_OOM(err, "sim: constants");
    orion_status status = give_memory(e, c->tensor, err);
    if (status == ORION_OK) status = read_constant(e, c, err);
    if (status != ORION_OK) {
      orion_free(allocator_of(e), s, 1, sizeof *s);
      return status;
    }
    *s = (orion_sim_shared){c->data, c->tensor->data, c->tensor->n, 0, d->shared};
    d->shared = s;
  }
  s->users++;
  c->shared = s;
  c->tensor->data = s->memory;
  return ORION_OK;
}

// Gives up the shared memory; the tensor has none afterwards.
static void unshare(const orion_sim_executable *e, orion_sim_constant *c) {
  orion_sim_device *d = (orion_sim_device *)e->base.device;
  orion_sim_shared *s = c->shared, **link = &d->shared;
  c->shared = NULL;
  c->tensor->data = NULL;
  if (--s->users > 0) return;
  while (*link != s) link = &(*link)->next;
  *link = s->next;
  orion_free_aligned(allocator_of(e), s->memory, s->n * 4, ORION_ALIGN_CACHE);
  orion_free(allocator_of(e), s, 1, sizeof *s);
}

// Before a shared constant changes: memory of its own, its present value in it.
static orion_status make_own(const orion_sim_executable *e, orion_sim_constant *c, orion_error *err) {
  void *own = orion_alloc_aligned(allocator_of(e), c->tensor->n * 4, ORION_ALIGN_CACHE);
  if (!own) return ORION_OOM(err, "update");
  memcpy(own, c->tensor->data, c->tensor->n * 4);
  unshare(e, c);
  c->tensor->data = own;
  return ORION_OK;
}

// ---- compressed forms ----

// Runs the constexpr_* operations, in order; their constants have memory only meanwhile.
static orion_status fold(orion_sim_executable *e, orion_error *err) {
  orion_status status = ORION_OK;
  const orion_sim_device *d = (const orion_sim_device *)e->base.device;
  for (size_t i = 0; i < e->n_constants && status == ORION_OK && e->n_folds; i++) {
    const orion_sim_constant *c = &e->constants[i];
    if (!c->folded || c->kept) continue;
    status = give_memory(e, c->tensor, err);
    if (status == ORION_OK) status = read_constant(e, c, err);
  }
  orion_sim_ctx ctx = {.arith = d->arith, .pool = d->pool};
  for (size_t i = 0; i < e->n_folds && status == ORION_OK; i++) {
    const orion_sim_op *op = &e->folds[i];
    status = op->kernel->run(&ctx, op, err);
    for (size_t r = 0; r < op->n_out; r++) {
      if (orion_dtype_is_float(op->out[r]->dtype)) d->arith->round(op->out[r]->dtype, op->out[r]->f, op->out[r]->n);
    }
  }
  for (size_t i = 0; i < e->n_constants; i++) {
    if (e->constants[i].folded && !e->constants[i].kept) take_memory(e, e->constants[i].tensor);
  }
  return status;
}

orion_status orion_sim_constants_make(orion_sim_executable *e, orion_error *err) {
  for (size_t i = 0; i < e->n_constants; i++) {
    orion_sim_constant *c = &e->constants[i];
    if (c->data && orion_data_elements(c->data) != c->tensor->n) {
      return ORION_FAIL(err, ORION_REFUSED, "sim: constant %s has %zu elements of data for %zu", c->name,
                        orion_data_elements(c->data), c->tensor->n);
    }
    if (!c->kept) continue;
    if (c->data && c->tensor->n >= SHARED_FROM) {
      ORION_TRY(share(e, c, err));
    } else {
      ORION_TRY(give_memory(e, c->tensor, err));
      ORION_TRY(read_constant(e, c, err));
    }
    if (c->data) orion_data_forget_pages(c->data);
  }
  for (size_t i = 0; i < e->n_owned; i++) ORION_TRY(give_memory(e, e->owned[i], err));
  ORION_TRY(fold(e, err));
  size_t weights = 0;
  for (size_t i = 0; i < e->n_constants; i++) weights += e->constants[i].kept ? e->constants[i].tensor->n * 4 : 0;
  for (size_t i = 0; i < e->n_owned; i++) weights += e->owned[i]->n * 4;
  e->base.times.weight_bytes = weights;
  return ORION_OK;
}

void orion_sim_constants_free(orion_sim_executable *e) {
  for (size_t i = 0; i < e->n_constants; i++) {
    orion_sim_constant *c = &e->constants[i];
    if (c->shared) unshare(e, c);
    take_memory(e, c->tensor);
    if (c->tensor) orion_free(allocator_of(e), c->update, c->tensor->n, 4);
  }
  for (size_t i = 0; i < e->n_owned; i++) take_memory(e, e->owned[i]);
}

orion_status orion_sim_constants_update(orion_sim_executable *e, const char *name, const void *bytes, size_t n,
                                        orion_error *err) {
  orion_sim_constant *c = NULL;
  for (size_t i = 0; i < e->n_constants && !c && *name; i++) {
    if (strcmp(e->constants[i].name, name) == 0) c = &e->constants[i];
  }
  if (!c) return ORION_FAIL(err, ORION_NOT_FOUND, "update '%s': the program has no constant of that name", name);
  if (c->shaping) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "update '%s': it decides shapes or axes (compile again)", name);
  }
  orion_sim_tensor *t = c->tensor;
  size_t want;
  if (!orion_dtype_bytes(t->dtype, t->n, &want) || want != n) {
    return ORION_FAIL(err, ORION_INVALID, "update '%s': %zu bytes (want %zu)", name, n, want);
  }
  if (c->folded && !c->update) {
    c->update = orion_alloc(allocator_of(e), t->n, 4);
    if (!c->update) return ORION_OOM(err, "update");
  }
  if (!c->kept && !c->folded) return ORION_OK;  // nothing reads it
  if (c->shared) ORION_TRY(make_own(e, c, err));
  orion_sim_tensor to = *t;
  to.data = c->folded ? c->update : t->data;
  for (size_t i = 0; i < t->n; i++) {
    if (orion_dtype_is_float(t->dtype)) {
      to.f[i] = (float)orion_load_double(t->dtype, bytes, i);
    } else {
      int64_t v = orion_load_int(t->dtype, bytes, i);
      to.i[i] = v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
    }
  }
  accept(e, &to);
  if (!c->folded) return ORION_OK;
  if (c->kept) memcpy(t->data, c->update, t->n * 4);
  return fold(e, err);
}
