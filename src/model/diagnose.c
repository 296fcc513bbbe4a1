// Which weight is to blame for a NaN. Large models are not scanned when they are opened (it would double the time of a
// start), so this is asked when a result has turned out bad.
#include <stdio.h>

#include "model/model.h"

#define BLOCK (1u << 16)  // elements

static orion_status scan(const orion_data *x, orion_dtype dtype, const char *what, int64_t layer, void *block,
                         orion_error *err) {
  if (!x || x->cols == 0) return ORION_OK;
  size_t step = x->cols < BLOCK ? BLOCK / x->cols : 1;
  for (size_t row = 0; row < x->rows; row += step) {
    size_t n = x->rows - row < step ? x->rows - row : step;
    if (n * x->cols > BLOCK) return ORION_OK;  // a row longer than any model's: not looked into
    ORION_TRY(orion_data_read(x, dtype, row, n, block, err));
    size_t bad = orion_find_nonfinite(dtype, block, n * x->cols);
    if (bad == n * x->cols) continue;
    char where[48] = "weights";
    if (layer >= 0) snprintf(where, sizeof where, "weights of layer %lld", (long long)layer);
    return ORION_FAIL(err, ORION_NUMERIC, "%s: %s: element [%zu, %zu] is not finite as %s", where,
                      x->origin ? x->origin : what, row + bad / x->cols, bad % x->cols, orion_dtype_name(dtype));
  }
  return ORION_OK;
}

orion_status orion_model_check_weights(const orion_model *m, orion_dtype dtype, orion_error *err) {
  void *block = orion_alloc(m->allocator, BLOCK, sizeof(float));
  if (!block) return ORION_OOM(err, "weights");
  orion_status status = scan(m->embedding, dtype, "embedding", -1, block, err);
  if (status == ORION_OK) status = scan(m->positions, dtype, "positions", -1, block, err);
  for (int64_t i = 0; status == ORION_OK && i < m->config.layers; i++) {
    const orion_layer_weights *l = &m->layers[i];
    const struct {
      const orion_data *x;
      const char *what;
    } all[] = {{l->norm1, "norm1"}, {l->norm1_bias, "norm1 bias"}, {l->wq, "wq"}, {l->bq, "bq"}, {l->wk, "wk"},
               {l->bk, "bk"}, {l->wv, "wv"}, {l->bv, "bv"}, {l->wo, "wo"}, {l->bo, "bo"}, {l->q_norm, "q norm"},
               {l->k_norm, "k norm"}, {l->norm2, "norm2"}, {l->norm2_bias, "norm2 bias"}, {l->gate, "gate"},
               {l->gate_bias, "gate bias"}, {l->up, "up"}, {l->up_bias, "up bias"}, {l->down, "down"},
               {l->down_bias, "down bias"}};
    for (size_t k = 0; status == ORION_OK && k < sizeof all / sizeof *all; k++) {
      status = scan(all[k].x, dtype, all[k].what, i, block, err);
    }
  }
  if (status == ORION_OK) status = scan(m->norm, dtype, "final norm", -1, block, err);
  if (status == ORION_OK) status = scan(m->norm_bias, dtype, "final norm bias", -1, block, err);
  if (status == ORION_OK) status = scan(m->classifier, dtype, "classifier", -1, block, err);
  orion_free(m->allocator, block, BLOCK, sizeof(float));
  return status;
}
