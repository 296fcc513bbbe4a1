// Merging: W + scale * B A, computed in double and kept in fp32, so that what merged weights give can differ from what the
// adapter gave beside them only by rounding.
#include "model/adapter.h"
#include "model/parts.h"
#include "model/slots.h"

// out [rows, cols] holds W and receives what the part adds.
static orion_status add_part(const orion_adapter *adapter, const orion_adapter_part *p, double scale, size_t rows, size_t cols,
                             float *out, orion_error *err) {
  const orion_allocator *al = adapter->allocator;
  size_t rank = (size_t)p->rank;
  float *a = orion_alloc(al, rank * cols, sizeof *a), *b = orion_alloc(al, rows * rank, sizeof *b);
  double *sum = orion_alloc(al, cols, sizeof *sum);
  orion_status status = a && b && sum ? ORION_OK : ORION_OOM(err, adapter->path);
  if (status == ORION_OK) status = orion_data_read(p->a, ORION_FP32, 0, rank, a, err);
  if (status == ORION_OK) status = orion_data_read(p->b, ORION_FP32, 0, rows, b, err);
  for (size_t i = 0; status == ORION_OK && i < rows; i++) {
    for (size_t k = 0; k < cols; k++) sum[k] = (double)out[i * cols + k];
    for (size_t r = 0; r < rank; r++) {
      double factor = scale * p->scale * (double)b[i * rank + r];
      for (size_t k = 0; k < cols; k++) sum[k] += factor * (double)a[r * cols + k];
    }
    for (size_t k = 0; k < cols; k++) out[i * cols + k] = (float)sum[k];
  }
  orion_free(al, sum, cols, sizeof *sum);
  orion_free(al, b, rows * rank, sizeof *b);
  orion_free(al, a, rank * cols, sizeof *a);
  return status;
}

static orion_status merge_layer(orion_model *m, const orion_adapter *adapter, double scale, int64_t layer, orion_error *err) {
  size_t n;
  const orion_slot *slots = orion_slots_layer(m->config.family, &n);
  for (size_t i = 0; i < n; i++) {
    int projection = orion_projection_of(slots[i].key);
    if (projection < 0 || !orion_slot_needed(&m->config, &slots[i])) continue;
    const orion_adapter_part *p = orion_adapter_at(adapter, layer, (orion_projection)projection);
    if (!p->a) continue;
    const orion_data **at = orion_slot_at(&m->layers[layer], &slots[i]);
    void *bytes;
    const orion_data *x = orion_data_new(m->data, ORION_FP32, (*at)->rows, (*at)->cols, &bytes);
    if (!x) return ORION_OOM(err, adapter->path);
    ORION_TRY(orion_data_read(*at, ORION_FP32, 0, x->rows, bytes, err));
    ORION_TRY(add_part(adapter, p, scale, x->rows, x->cols, bytes, err));
    *at = x;
  }
  return ORION_OK;
}

static orion_status take_head(orion_model *m, const orion_adapter *adapter, orion_error *err) {
  void *bytes;
  const orion_data *head = orion_data_new(m->data, ORION_FP32, adapter->head->rows, adapter->head->cols, &bytes);
  if (!head) return ORION_OOM(err, adapter->path);
  m->classifier = head;
  m->config.tied = false;
  return orion_data_read(adapter->head, ORION_FP32, 0, head->rows, bytes, err);
}

orion_status orion_model_merge(const orion_model *m, const orion_adapter *adapter, double scale, orion_model **out,
                               orion_error *err) {
  const orion_config *a = &m->config, *b = &adapter->config;
  if (a->family != b->family || a->layers != b->layers || a->dim != b->dim || a->hidden != b->hidden || a->heads != b->heads ||
      a->kv_heads != b->kv_heads || a->head_dim != b->head_dim || a->vocab != b->vocab) {
    return ORION_FAIL(err, ORION_INVALID, "%s: was opened for a model of other shapes", adapter->path);
  }
  orion_model *merged;
  ORION_TRY(orion_model_share(m, &merged, err));
  orion_status status = ORION_OK;
  for (int64_t i = 0; status == ORION_OK && i < m->config.layers; i++) status = merge_layer(merged, adapter, scale, i, err);
  if (status == ORION_OK && adapter->head) status = take_head(merged, adapter, err);
  if (status == ORION_OK) {
    *out = merged;
  } else {
    orion_model_close(merged);
  }
  return status;
}
