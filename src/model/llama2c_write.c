// A model as llama2.c's first file format (llama2c.c), fp32. The format has no names and no settings: what it cannot say
// is refused, so that whoever opens the file computes the same numbers. It says nothing of tokens that begin and end a
// text either; llama2.c takes 1 for both.
#include "base/file.h"
#include "model/parts.h"
#include "model/slots.h"

#define BLOCK_BYTES (4u << 20)

typedef struct writer {
  const orion_model *model;
  orion_file_writer *file;
  uint32_t *index;  // scratch for the permutation, Q of them
} writer;

static const char *unsayable(const orion_config *c) {
  if (c->family != ORION_FAMILY_LLAMA || !c->gated || c->activation != ORION_ACT_SILU) return "another family or activation";
  if (c->qkv_bias || c->out_bias || c->mlp_bias) return "biases";
  if (c->qk_norm) return "norms of queries and keys";
  if (c->head_dim * c->heads != c->dim) return "heads that do not divide its width";
  if (c->rope_theta != 10000 || c->rope_scaling.llama3 || c->rope_scaling.linear != 1) return "other rotary positions";
  if ((float)c->norm_eps != 1e-5f) return "another epsilon of its norms";
  bool small = c->dim <= INT32_MAX && c->hidden <= INT32_MAX && c->vocab <= INT32_MAX && c->context <= INT32_MAX;
  return small ? NULL : "sizes beyond 32 bits";
}

static orion_status put_header(writer *w, orion_error *err) {
  const orion_config *c = &w->model->config;
  int32_t v[7] = {(int32_t)c->dim, (int32_t)c->hidden, (int32_t)c->layers, (int32_t)c->heads, (int32_t)c->kv_heads,
                  (int32_t)(c->tied ? c->vocab : -c->vocab), (int32_t)c->context};
  return orion_file_writer_put(w->file, v, sizeof v, err);
}

static orion_status put(writer *w, const orion_data *x, orion_error *err) {
  const orion_allocator *a = w->model->allocator;
  if (!x) return ORION_OOM(err, "weights");
  size_t row = x->cols * sizeof(float), step = row < BLOCK_BYTES ? BLOCK_BYTES / row : 1;
  if (step > x->rows) step = x->rows;
  float *block = orion_alloc(a, step * x->cols, sizeof *block);
  orion_status status = block ? ORION_OK : ORION_OOM(err, "weights");
  for (size_t r = 0; status == ORION_OK && r < x->rows; r += step) {
    size_t n = x->rows - r < step ? x->rows - r : step;
    status = orion_data_read(x, ORION_FP32, r, n, block, err);
    if (status == ORION_OK) status = orion_file_writer_put(w->file, block, n * row, err);
  }
  orion_free(a, block, step * x->cols, sizeof *block);
  return status;
}

// Row h*n + 2i of the file is row h*n + i here, row h*n + 2i + 1 is row h*n + n/2 + i.
static const orion_data *by_neighbours(writer *w, const orion_data *x) {
  uint32_t n = (uint32_t)w->model->config.head_dim;
  for (uint32_t row = 0; row < x->rows; row++) w->index[row] = row / n * n + row % n / 2 + row % 2 * (n / 2);
  return orion_data_take_rows(w->model->data, x, x->rows, w->index);
}

static orion_status put_layers(writer *w, orion_error *err) {
  for (size_t i = 0; i < ORION_LLAMA2C_FIELDS; i++) {
    size_t field = orion_llama2c_fields[i];
    for (int64_t layer = 0; layer < w->model->config.layers; layer++) {
      const orion_data *x = *(const orion_data **)(void *)((char *)&w->model->layers[layer] + field);
      ORION_TRY(put(w, orion_llama2c_rotated(field) ? by_neighbours(w, x) : x, err));
    }
  }
  return ORION_OK;
}

// Cosines of all positions, then sines: old programs read them.
static orion_status put_tables(writer *w, orion_error *err) {
  const orion_config *c = &w->model->config;
  const orion_allocator *a = w->model->allocator;
  size_t half = (size_t)c->head_dim / 2;
  float *both = orion_alloc(a, 2 * half, sizeof *both);
  orion_status status = both ? ORION_OK : ORION_OOM(err, "rotary tables");
  for (int table = 0; table < 2; table++) {
    for (int64_t p = 0; status == ORION_OK && p < c->context; p++) {
      orion_config_rope(c, p, both, both + half);
      status = orion_file_writer_put(w->file, both + (size_t)table * half, half * sizeof *both, err);
    }
  }
  orion_free(a, both, 2 * half, sizeof *both);
  return status;
}

static orion_status put_all(writer *w, orion_error *err) {
  const orion_model *m = w->model;
  ORION_TRY(put_header(w, err));
  ORION_TRY(put(w, m->embedding, err));
  ORION_TRY(put_layers(w, err));
  ORION_TRY(put(w, m->norm, err));
  ORION_TRY(put_tables(w, err));
  return m->config.tied ? ORION_OK : put(w, m->classifier, err);
}

orion_status orion_model_save_llama2c(const orion_model *m, const char *path, orion_error *err) {
  const char *why = unsayable(&m->config);
  if (why) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: a llama2.c file cannot hold this model: it has %s (convert to a "
                      "directory instead)", path, why);
  }
  size_t n = (size_t)(m->config.heads * m->config.head_dim);
  writer w = {.model = m, .index = orion_alloc(m->allocator, n, sizeof(uint32_t))};
  orion_status status = w.index ? orion_file_writer_open(m->allocator, path, &w.file, err) : ORION_OOM(err, path);
  if (status == ORION_OK) {
    status = put_all(&w, err);
    if (status == ORION_OK) {
      status = orion_file_writer_commit(w.file, err);
    } else {
      orion_file_writer_abort(w.file);
    }
  }
  orion_free(m->allocator, w.index, n, sizeof(uint32_t));
  return status;
}
