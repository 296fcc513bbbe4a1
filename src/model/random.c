// Fresh weights: normal numbers as GPT-2 and Llama begin training with, ones and zeros where those do.
//
// Every block of a tensor has a random stream of its own, so that the numbers depend on the seed alone and not on the
// number of threads that drew them.
#include <math.h>

#include "base/rng.h"
#include "base/strbuf.h"
#include "base/thread.h"
#include "model/config.h"
#include "model/parts.h"
#include "model/slots.h"

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

#define BLOCK 65536
#define STD 0.02

typedef struct filler {
  orion_model *model;
  orion_pool *pool;
  uint64_t seed;
  uint64_t tensor;  // counts tensors; which streams the next one has
  float *out;
  double std;
} filler;

// Uniform in (0, 1), 53 bits.
static double uniform(orion_rng *r) {
  uint64_t bits = (uint64_t)orion_rng_u32(r) << 32 | orion_rng_u32(r);
  return ((double)(bits >> 11) + 0.5) * 0x1p-53;
}

static void fill_range(void *ctx, size_t begin, size_t end, int worker) {
  (void)worker;
  const filler *f = ctx;
  orion_rng r;
  uint64_t stream = f->tensor << 32 | begin / BLOCK;
  orion_rng_seed(&r, f->seed + (stream + 1) * 0x9e3779b97f4a7c15u, stream);
  for (size_t i = begin; i < end; i += 2) {  // Box and Muller: two at a time
    double radius = f->std * sqrt(-2 * log(uniform(&r))), angle = 2 * M_PI * uniform(&r);
    f->out[i] = (float)(radius * cos(angle));
    if (i + 1 < end) f->out[i + 1] = (float)(radius * sin(angle));
  }
}

static orion_status fill_table(filler *f, const orion_slot *slots, size_t n, void *base, orion_error *err) {
  const orion_config *c = &f->model->config;
  for (size_t i = 0; i < n; i++) {
    if (!orion_slot_needed(c, &slots[i])) continue;
    size_t rows = (size_t)orion_slot_extent(c, slots[i].rows), cols = (size_t)orion_slot_extent(c, slots[i].cols);
    void *bytes;
    const orion_data *x = orion_data_new(f->model->data, ORION_FP32, rows, cols, &bytes);
    if (!x) return ORION_OOM(err, slots[i].name);
    *orion_slot_at(base, &slots[i]) = x;
    f->out = bytes;
    f->std = slots[i].start == ORION_START_RESIDUAL ? STD / sqrt(2.0 * (double)c->layers) : STD;
    if (slots[i].start == ORION_START_NORMAL || slots[i].start == ORION_START_RESIDUAL) {
      orion_parallel_for(f->pool, rows * cols, BLOCK, fill_range, f);
    } else if (slots[i].start == ORION_START_ONES) {
      for (size_t k = 0; k < rows * cols; k++) f->out[k] = 1;
    }
    f->tensor++;
  }
  return ORION_OK;
}

static orion_status fill_all(filler *f, orion_error *err) {
  orion_model *m = f->model;
  size_t n;
  const orion_slot *slots = orion_slots_model(m->config.family, &n);
  ORION_TRY(fill_table(f, slots, n, m, err));
  m->classifier = m->embedding;
  ORION_TRY(fill_table(f, &orion_slot_classifier, 1, m, err));
  slots = orion_slots_layer(m->config.family, &n);
  for (int64_t i = 0; i < m->config.layers; i++) ORION_TRY(fill_table(f, slots, n, &m->layers[i], err));
  return ORION_OK;
}

// The limits of configurations are those of their files.
static orion_status check_config(const orion_allocator *a, const orion_config *c, orion_error *err) {
  orion_strbuf text;
  orion_strbuf_init(&text, a);
  orion_status status = orion_config_text(c, ORION_FP32, &text, err);
  orion_strbuf_deinit(&text);
  return status;
}

orion_status orion_model_random(const orion_allocator *a, const orion_config *config, uint64_t seed, orion_model **out,
                                orion_error *err) {
  a = orion_allocator_or_default(a);
  ORION_TRY(check_config(a, config, err));
  filler f = {.seed = seed};
  orion_status status = orion_model_create(a, config, "random", ".", &f.model, err);
  if (status == ORION_OK && orion_config_parameters(config) > BLOCK) {
    status = orion_pool_create(a, 0, &f.pool, err);
  }
  if (status == ORION_OK) status = fill_all(&f, err);
  orion_pool_destroy(f.pool);
  if (status == ORION_OK) {
    *out = f.model;
  } else {
    orion_model_close(f.model);
  }
  return status;
}
