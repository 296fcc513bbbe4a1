// What a model can do by itself: be made and closed, count its weights, look up a row of its embedding.
#include "model/parts.h"
#include "model/slots.h"

orion_status orion_model_create(const orion_allocator *a, const orion_config *config, const char *path, const char *dir,
                                orion_model **out, orion_error *err) {
  a = orion_allocator_or_default(a);
  orion_model *m = orion_alloc_zero(a, 1, sizeof *m);
  if (!m) return ORION_OOM(err, path);
  m->allocator = a;
  m->config = *config;
  m->path = orion_strdup(a, path);
  m->dir = orion_strdup(a, dir);
  m->layers = orion_alloc_zero(a, (size_t)config->layers, sizeof *m->layers);
  orion_status status = m->path && m->dir && m->layers ? ORION_OK : ORION_OOM(err, path);
  if (status == ORION_OK) status = orion_data_store_create(a, &m->data, err);
  if (status == ORION_OK) {
    *out = m;
  } else {
    orion_model_close(m);
  }
  return status;
}

static void release_store(void *store) { orion_data_store_release(store); }

orion_status orion_model_share(const orion_model *m, orion_model **out, orion_error *err) {
  orion_model *copy;
  ORION_TRY(orion_model_create(m->allocator, &m->config, m->path, m->dir, &copy, err));
  orion_data_store *theirs = orion_data_store_retain(m->data);
  orion_status status = orion_data_store_keep(copy->data, theirs, release_store, err);
  if (status != ORION_OK) {
    orion_data_store_release(theirs);
    orion_model_close(copy);
    return status;
  }
  memcpy(copy->layers, m->layers, (size_t)m->config.layers * sizeof *m->layers);
  copy->embedding = m->embedding;
  copy->positions = m->positions;
  copy->norm = m->norm;
  copy->norm_bias = m->norm_bias;
  copy->classifier = m->classifier;
  copy->file_bytes = m->file_bytes;
  *out = copy;
  return ORION_OK;
}

void orion_model_close(orion_model *m) {
  if (!m) return;
  orion_data_store_release(m->data);
  orion_free(m->allocator, m->layers, (size_t)m->config.layers, sizeof *m->layers);
  orion_strfree(m->allocator, m->path);
  orion_strfree(m->allocator, m->dir);
  orion_free(m->allocator, m, 1, sizeof *m);
}

orion_status orion_model_check_finite(const char *file, const char *tensor, uint64_t offset, orion_dtype dtype,
                                      const void *elements, size_t n, orion_error *err) {
  size_t at = orion_find_nonfinite(dtype, elements, n);
  if (at == n) return ORION_OK;
  double v = orion_load_double(dtype, elements, at);
  return ORION_FAIL(err, ORION_FORMAT, "%s (byte %llu): tensor '%.100s': element %zu is %s (damaged weights?)", file,
                    (unsigned long long)(offset + at * (orion_dtype_bits(dtype) / 8)), tensor, at,
                    v != v ? "NaN" : "infinite");
}

static uint64_t count_table(const orion_config *c, const orion_slot *slots, size_t n) {
  uint64_t total = 0;
  for (size_t i = 0; i < n; i++) {
    if (!orion_slot_needed(c, &slots[i])) continue;
    total += (uint64_t)orion_slot_extent(c, slots[i].rows) * (uint64_t)orion_slot_extent(c, slots[i].cols);
  }
  return total;
}

uint64_t orion_config_parameters(const orion_config *c) {
  size_t n_layer, n_model;
  const orion_slot *layer = orion_slots_layer(c->family, &n_layer), *model = orion_slots_model(c->family, &n_model);
  return count_table(c, model, n_model) + count_table(c, &orion_slot_classifier, 1) +
         (uint64_t)c->layers * count_table(c, layer, n_layer);
}

// out += row of x. Leaves, which is what files give, need no memory for that.
static orion_status add_row(const orion_model *m, const orion_data *x, int64_t row, float *out, orion_error *err) {
  size_t cols = x->cols, first = (size_t)row * cols;
  if (x->kind == ORION_DATA_BYTES) {
    for (size_t i = 0; i < cols; i++) out[i] += (float)orion_load_double(x->dtype, x->bytes, first + i);
    return ORION_OK;
  }
  float *line = orion_alloc(m->allocator, cols, sizeof *line);
  if (!line) return ORION_OOM(err, "embedding");
  orion_status status = orion_data_read(x, ORION_FP32, (size_t)row, 1, line, err);
  if (status == ORION_OK) {
    for (size_t i = 0; i < cols; i++) out[i] += line[i];
  }
  orion_free(m->allocator, line, cols, sizeof *line);
  return status;
}

orion_status orion_model_embed(const orion_model *m, int64_t token, int64_t position, float *out, orion_error *err) {
  const orion_config *c = &m->config;
  if (token < 0 || token >= c->vocab) {
    return ORION_FAIL(err, ORION_INVALID, "token %lld is outside the vocabulary of %lld", (long long)token,
                      (long long)c->vocab);
  }
  if (position < 0 || position >= c->context) {
    return ORION_FAIL(err, ORION_LIMIT, "position %lld is outside the model's context of %lld", (long long)position,
                      (long long)c->context);
  }
  ORION_TRY(orion_data_read(m->embedding, ORION_FP32, (size_t)token, 1, out, err));
  return m->positions ? add_row(m, m->positions, position, out, err) : ORION_OK;
}

void orion_model_describe(const orion_model *m, orion_model_info *out) {
  const orion_config *c = &m->config;
  *out = (orion_model_info){.type = c->model_type, .tokenizer = m->dir, .vocab = c->vocab, .context = c->context,
                            .dim = c->dim, .hidden = c->hidden, .layers = c->layers, .heads = c->heads,
                            .kv_heads = c->kv_heads, .head_dim = c->head_dim, .file_bytes = m->file_bytes};
  out->parameters = orion_config_parameters(c);
  out->bos = (int32_t)c->bos;
  out->n_eos = c->n_eos;
  for (int i = 0; i < c->n_eos; i++) out->eos[i] = (int32_t)c->eos[i];
}
