// The matrices of an adapter under training. B lies transposed, [r, out], as programs take it.
#include <math.h>
#include <stdio.h>

#include "base/rng.h"
#include "model/parts.h"
#include "train/params.h"

typedef struct filling {
  orion_params *p;
  orion_device *device;
  uint64_t seed;
} filling;

// Uniform within 1/sqrt(in), as PyTorch begins a linear layer of A's shape.
static void start_at_random(const filling *f, orion_param *x) {
  orion_rng r;
  orion_rng_seed(&r, f->seed, f->p->n);
  float bound = 1 / sqrtf((float)x->cols);
  for (size_t i = 0; i < x->n; i++) x->value[i] = (2 * orion_rng_float(&r) - 1) * bound;
}

static orion_status add_half(filling *f, int layer, orion_projection p, orion_lora_half half, size_t cols, const orion_data **out,
                             orion_error *err) {
  char text[ORION_LORA_NAME];
  orion_lora_name(text, f->p->model->config.family, layer, p, half);
  orion_param *x = orion_params_find(f->p, text);  // a of a joint matrix is there already
  if (!x) {
    const char *name = orion_arena_strdup(&f->p->arena, text);
    ORION_TRY(orion_params_add(f->p, f->device, name, (size_t)f->p->lora.rank, cols, true, &x, err));
    if (half == ORION_LORA_A) start_at_random(f, x);
    x->data = orion_data_borrow(f->p->adapter->data, ORION_FP32, x->rows, x->cols, x->value, x->name);
  }
  *out = x->data && half == ORION_LORA_B ? orion_data_transpose(f->p->adapter->data, x->data) : x->data;
  return *out ? ORION_OK : ORION_OOM(err, "adapter");
}

static orion_status add_all(filling *f, orion_error *err) {
  orion_params *p = f->p;
  const orion_config *c = &p->model->config;
  for (int layer = 0; layer < (int)c->layers; layer++) {
    for (int k = 0; k < ORION_PROJECTIONS; k++) {
      if (!(p->lora.targets >> k & 1)) continue;
      orion_projection projection = (orion_projection)k;
      int64_t in, out;
      orion_projection_shape(c, projection, &in, &out);
      orion_adapter_part *part = orion_adapter_at(p->adapter, layer, projection);
      ORION_TRY(add_half(f, layer, projection, ORION_LORA_A, (size_t)in, &part->a, err));
      ORION_TRY(add_half(f, layer, projection, ORION_LORA_B, (size_t)out, &part->b, err));
      part->rank = p->lora.rank;
      part->scale = p->lora_scale;
    }
  }
  p->adapter->rank = p->lora.rank;
  p->adapter->targets = p->lora.targets;
  return ORION_OK;
}

// The scale that all parts of `a` get: what differs from it goes into B.
static double common_scale(const orion_adapter *a) {
  for (int64_t i = 0; i < a->config.layers * ORION_PROJECTIONS; i++) {
    if (a->parts[i].a && a->parts[i].scale != 0) return a->parts[i].scale;
  }
  return 1;
}

static orion_status copy_half(orion_params *p, int layer, orion_projection projection, orion_lora_half half,
                              const orion_adapter_part *from, orion_error *err) {
  char name[ORION_LORA_NAME];
  orion_lora_name(name, p->model->config.family, layer, projection, half);
  orion_param *x = orion_params_find(p, name);
  memset(x->value, 0, x->n * sizeof(float));
  if (!from->a) return ORION_OK;
  if (half == ORION_LORA_A) return orion_data_read(from->a, ORION_FP32, 0, from->a->rows, x->value, err);
  size_t rank = (size_t)from->rank, n = from->b->rows * rank;
  float *b = orion_alloc(p->allocator, n, sizeof *b);
  if (!b) return ORION_OOM(err, "adapter");
  orion_status status = orion_data_read(from->b, ORION_FP32, 0, from->b->rows, b, err);
  double scale = from->scale / p->lora_scale;
  for (size_t i = 0; status == ORION_OK && i < n; i++) x->value[i % rank * x->cols + i / rank] = (float)(scale * (double)b[i]);
  orion_free(p->allocator, b, n, sizeof *b);
  return status;
}

orion_status orion_params_copy_adapter(orion_params *p, const orion_adapter *from, orion_error *err) {
  if (from->rank > p->lora.rank || (from->targets & ~p->lora.targets)) {
    char have[32], want[32];
    orion_projection_text(from->targets, have);
    orion_projection_text(p->lora.targets, want);
    return ORION_FAIL(err, ORION_INVALID, "%s: an adapter of rank %lld on %s (want rank %lld on %s)", from->path,
                      (long long)from->rank, have, (long long)p->lora.rank, want);
  }
  for (int layer = 0; layer < (int)p->model->config.layers; layer++) {
    for (int k = 0; k < ORION_PROJECTIONS; k++) {
      if (!(p->lora.targets >> k & 1)) continue;
      const orion_adapter_part *part = orion_adapter_at(from, layer, (orion_projection)k);
      ORION_TRY(copy_half(p, layer, (orion_projection)k, ORION_LORA_A, part, err));
      ORION_TRY(copy_half(p, layer, (orion_projection)k, ORION_LORA_B, part, err));
    }
  }
  return ORION_OK;
}

orion_status orion_params_create_lora(const orion_model *from, orion_device *device, const orion_lora_slots *slots,
                                      double scale, const orion_adapter *start, uint64_t seed, orion_params **out,
                                      orion_error *err) {
  const orion_allocator *a = from->allocator;
  if (start && start->head) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: brings a classifier of its own, which is not trained on (merge it first)",
                      start->path);
  }
  orion_params *p = orion_alloc_zero(a, 1, sizeof *p);
  if (!p) return ORION_OOM(err, "adapter");
  p->allocator = a;
  p->lora = start ? (orion_lora_slots){start->rank, start->targets} : *slots;
  p->lora_scale = start ? common_scale(start) : scale;
  orion_arena_init(&p->arena, a);
  filling f = {.p = p, .device = device, .seed = seed};
  orion_status status = orion_model_share(from, &p->model, err);
  if (status == ORION_OK) status = orion_adapter_create(a, &from->config, "adapter", &p->adapter, err);
  if (status == ORION_OK) status = add_all(&f, err);
  if (status == ORION_OK && start) status = orion_params_copy_adapter(p, start, err);
  if (status == ORION_OK) status = orion_params_make_moments(p, err);
  if (status != ORION_OK) {
    orion_params_destroy(p);
    return status;
  }
  *out = p;
  return ORION_OK;
}
