#include "train/params.h"

#include <stdio.h>

#include "model/parts.h"
#include "model/slots.h"

#define ALIGN_FLOATS (ORION_ALIGN_CACHE / sizeof(float))

typedef struct filling {
  orion_params *p;
  const orion_model *from;
  orion_device *device;
} filling;

static orion_status make_surface(orion_device *device, orion_param *x, bool matrix, orion_error *err) {
  orion_layout layout = {.dtype = ORION_FP32, .rank = matrix ? 2 : 1, .dims = {(int64_t)x->rows, (int64_t)x->cols}};
  layout.row_bytes = (matrix ? x->cols : x->rows) * sizeof(float);
  layout.bytes = x->n * sizeof(float);
  if (!matrix) layout.dims[1] = 0;
  ORION_TRY(orion_surface_create(device, &layout, &x->surface, err));
  x->value = orion_surface_lock(x->surface);
  orion_surface_unlock(x->surface);
  return ORION_OK;
}

orion_status orion_params_add(orion_params *p, orion_device *device, const char *name, size_t rows, size_t cols, bool matrix,
                              orion_param **out, orion_error *err) {
  if (!name || !ORION_GROW(p->allocator, &p->list, &p->cap, p->n + 1)) return ORION_OOM(err, "weights");
  orion_param *x = *out = &p->list[p->n++];
  *x = (orion_param){.name = name, .rows = rows, .cols = cols, .n = rows * cols, .matrix = matrix};
  p->elements += x->n;
  p->moment_count += 2 * orion_round_up(x->n, ALIGN_FLOATS);
  return make_surface(device, x, matrix, err);
}

static orion_status add(filling *f, const char *prefix, const orion_slot *slot, const orion_data *source,
                        const orion_data **to, orion_error *err) {
  orion_params *p = f->p;
  orion_param *x;
  const char *name = slot->parts ? orion_arena_printf(&p->arena, "%s%s.%u", prefix, slot->name, slot->part)
                                 : orion_arena_printf(&p->arena, "%s%s", prefix, slot->name);
  ORION_TRY(orion_params_add(p, f->device, name, source->rows, source->cols, slot->cols != ORION_EXTENT_NONE, &x, err));
  ORION_TRY(orion_data_read(source, ORION_FP32, 0, source->rows, x->value, err));
  orion_data_forget_pages(source);  // else the file is in memory beside all that training makes of it
  size_t bad = orion_find_nonfinite(ORION_FP32, x->value, x->n);
  if (bad < x->n) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%s': element %zu is NaN or infinite (damaged weights?)",
                      f->from->path, x->name, bad);
  }
  *to = x->data = orion_data_borrow(p->model->data, ORION_FP32, x->rows, x->cols, x->value, x->name);
  return x->data ? ORION_OK : ORION_OOM(err, "weights");
}

static orion_status add_table(filling *f, const char *prefix, const orion_slot *slots, size_t n, const void *from,
                              void *to, orion_error *err) {
  for (size_t i = 0; i < n; i++) {
    if (!orion_slot_needed(&f->from->config, &slots[i])) continue;
    const orion_data *source = *orion_slot_at((void *)(uintptr_t)from, &slots[i]);
    ORION_TRY(add(f, prefix, &slots[i], source, orion_slot_at(to, &slots[i]), err));
  }
  return ORION_OK;
}

static orion_status add_all(filling *f, orion_error *err) {
  orion_model *to = f->p->model;
  const orion_config *c = &to->config;
  const char *family = orion_family_prefix(c->family);
  size_t n;
  const orion_slot *slots = orion_slots_model(c->family, &n);
  ORION_TRY(add_table(f, family, slots, n, f->from, to, err));
  to->classifier = to->embedding;
  ORION_TRY(add_table(f, "", &orion_slot_classifier, 1, f->from, to, err));
  slots = orion_slots_layer(c->family, &n);
  for (int64_t i = 0; i < c->layers; i++) {
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s%s%d.", family, orion_family_layers(c->family), (int)i);
    ORION_TRY(add_table(f, prefix, slots, n, &f->from->layers[i], &to->layers[i], err));
  }
  return ORION_OK;
}

orion_status orion_params_make_moments(orion_params *p, orion_error *err) {
  size_t bytes;
  if (!orion_mul_ok(p->moment_count, sizeof(float), &bytes)) return ORION_OOM(err, "optimizer");
  p->moments = orion_alloc_aligned(p->allocator, bytes, ORION_ALIGN_CACHE);
  if (!p->moments) return ORION_OOM(err, "optimizer");
  memset(p->moments, 0, bytes);
  float *at = p->moments;
  for (size_t i = 0; i < p->n; i++) {
    size_t step = orion_round_up(p->list[i].n, ALIGN_FLOATS);
    p->list[i].m = at;
    p->list[i].v = at + step;
    at += 2 * step;
  }
  return ORION_OK;
}

orion_status orion_params_create(const orion_model *from, orion_device *device, orion_params **out, orion_error *err) {
  const orion_allocator *a = from->allocator;
  orion_params *p = orion_alloc_zero(a, 1, sizeof *p);
  if (!p) return ORION_OOM(err, "weights");
  p->allocator = a;
  orion_arena_init(&p->arena, a);
  filling f = {.p = p, .from = from, .device = device};
  orion_status status = orion_model_create(a, &from->config, from->path, from->dir, &p->model, err);
  if (status == ORION_OK) status = add_all(&f, err);
  if (status == ORION_OK) status = orion_params_make_moments(p, err);
  if (status != ORION_OK) {
    orion_params_destroy(p);
    return status;
  }
  *out = p;
  return ORION_OK;
}

void orion_params_destroy(orion_params *p) {
  if (!p) return;
  orion_adapter_close(p->adapter);
  orion_model_close(p->model);
  for (size_t i = 0; i < p->n; i++) orion_surface_destroy(p->list[i].surface);
  orion_free(p->allocator, p->list, p->cap, sizeof *p->list);
  if (p->moments) orion_free_aligned(p->allocator, p->moments, p->moment_count * sizeof(float), ORION_ALIGN_CACHE);
  orion_arena_deinit(&p->arena);
  orion_free(p->allocator, p, 1, sizeof *p);
}

// Calls fn for every weight of `m` in order: models of one configuration have the same weights in the same order.
typedef orion_status (*each_fn)(void *ctx, size_t index, const orion_data **at, orion_error *err);

static orion_status each_table(const orion_config *c, const orion_slot *slots, size_t n, void *base, size_t *index,
                               each_fn fn, void *ctx, orion_error *err) {
  for (size_t i = 0; i < n; i++) {
    if (orion_slot_needed(c, &slots[i])) ORION_TRY(fn(ctx, (*index)++, orion_slot_at(base, &slots[i]), err));
  }
  return ORION_OK;
}

static orion_status each_weight(orion_model *m, each_fn fn, void *ctx, orion_error *err) {
  const orion_config *c = &m->config;
  size_t n, index = 0;
  const orion_slot *slots = orion_slots_model(c->family, &n);
  ORION_TRY(each_table(c, slots, n, m, &index, fn, ctx, err));
  ORION_TRY(each_table(c, &orion_slot_classifier, 1, m, &index, fn, ctx, err));
  slots = orion_slots_layer(c->family, &n);
  for (int64_t i = 0; i < c->layers; i++) ORION_TRY(each_table(c, slots, n, &m->layers[i], &index, fn, ctx, err));
  return ORION_OK;
}

static orion_status copy_weight(void *ctx, size_t index, const orion_data **at, orion_error *err) {
  const orion_params *p = ctx;
  const orion_param *x = &p->list[index];
  if ((*at)->rows != x->rows || (*at)->cols != x->cols) {
    return ORION_FAIL(err, ORION_FORMAT, "tensor '%s' is [%zu, %zu] (want [%zu, %zu])", x->name, (*at)->rows, (*at)->cols,
                      x->rows, x->cols);
  }
  return orion_data_read(*at, ORION_FP32, 0, x->rows, x->value, err);
}

orion_status orion_params_copy(orion_params *p, const orion_model *from, orion_error *err) {
  return each_weight((orion_model *)(uintptr_t)from, copy_weight, p, err);
}

typedef struct viewing {
  const orion_params *params;
  orion_model *view;
  const orion_data **leaves;
} viewing;

static orion_status view_weight(void *ctx, size_t index, const orion_data **at, orion_error *err) {
  viewing *v = ctx;
  const orion_param *x = &v->params->list[index];
  *at = v->leaves[index] = orion_data_borrow(v->view->data, ORION_FP32, x->rows, x->cols, x->value, x->name);
  return *at ? ORION_OK : ORION_OOM(err, "weights");
}

orion_status orion_params_view(const orion_params *p, const orion_data **out_leaves, orion_model **out, orion_error *err) {
  viewing v = {.params = p, .leaves = out_leaves};
  ORION_TRY(orion_model_create(p->allocator, &p->model->config, p->model->path, p->model->dir, &v.view, err));
  orion_status status = each_weight(v.view, view_weight, &v, err);
  if (v.view->config.tied) v.view->classifier = v.view->embedding;
  if (status == ORION_OK) {
    *out = v.view;
  } else {
    orion_model_close(v.view);
  }
  return status;
}

orion_param *orion_params_find(const orion_params *p, const char *name) {
  for (size_t i = 0; i < p->n; i++) {
    if (strcmp(p->list[i].name, name) == 0) return &p->list[i];
  }
  return NULL;
}
