// llama2.c's first file format: seven 32-bit integers, then fp32 arrays without names.
//
//   dim hidden layers heads kv_heads vocab context        (a negative vocab: the classifier is stored, at the end)
//   embedding; for all layers: norm1, wq, wk, wv, wo, norm2, gate (w1), down (w2), up (w3); norm;
//   two rotary tables of context * head_dim / 2, which nobody reads any more; [classifier]
//
// Nothing marks the file as such, so its size must be exactly what the header says. It rotates neighbours (2i, 2i+1);
// the rows of wq and wk are put in the order of halves.
#include <stdio.h>

#include "model/parts.h"
#include "model/slots.h"

typedef struct cursor {
  const uint8_t *bytes;   // the next array
  uint64_t offset;        // where that is in the file
  const char *name;
  orion_model *model;
  uint32_t *index;        // scratch for the permutation
} cursor;

static orion_status read_header(const char *name, const uint8_t *bytes, size_t n, orion_config *c, orion_error *err) {
  static const char *const fields[7] = {"dim", "hidden", "layers", "heads", "kv_heads", "vocab", "context"};
  static const int32_t limits[7] = {1 << 20, 1 << 22, 1000, 4096, 4096, 1 << 24, 1 << 26};
  if (n < 28) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: %zu bytes, too short for the header of a llama2.c model", name, n);
  }
  int32_t v[7];
  memcpy(v, bytes, sizeof v);
  bool untied = v[5] < 0 && v[5] != INT32_MIN;
  if (untied) v[5] = -v[5];
  for (int i = 0; i < 7; i++) {
    if (v[i] >= 1 && v[i] <= limits[i]) continue;
    return ORION_FAIL(err, ORION_FORMAT, "%s (byte %d): %s is %d (want 1 to %d; is this a llama2.c model?)", name, 4 * i,
                      fields[i], v[i], limits[i]);
  }
  if (v[0] % v[3] != 0 || v[0] / v[3] % 2 != 0) {
    return ORION_FAIL(err, ORION_FORMAT, "%s (byte 12): %d heads do not divide dim %d into even parts", name, v[3], v[0]);
  }
  if (v[3] % v[4] != 0) {
    return ORION_FAIL(err, ORION_FORMAT, "%s (byte 16): kv_heads %d does not divide heads %d", name, v[4], v[3]);
  }
  *c = (orion_config){.family = ORION_FAMILY_LLAMA, .model_type = "llama", .dim = v[0], .hidden = v[1], .layers = v[2],
                      .heads = v[3], .kv_heads = v[4], .vocab = v[5], .context = v[6], .head_dim = v[0] / v[3],
                      .norm_eps = 1e-5, .rope = true, .rope_theta = 10000, .rope_scaling = {.linear = 1},
                      .tied = !untied, .gated = true, .activation = ORION_ACT_SILU,
                      // Its models were trained on texts that each begin with BOS, and llama2.c ends where one comes.
                      .bos = 1, .eos = {1, 2, -1, -1, -1, -1, -1, -1}, .n_eos = 2};
  return ORION_OK;
}

// The limits above keep this far below 2^63.
static uint64_t file_size(const orion_config *c) {
  uint64_t tables = (uint64_t)c->context * (uint64_t)c->head_dim;
  return 28 + 4 * (orion_config_parameters(c) + tables);
}

static orion_status take(cursor *at, int64_t rows, int64_t cols, const char *tensor, const orion_data **out,
                         orion_error *err) {
  size_t n = (size_t)rows * (size_t)cols;
  if (at->model->file_bytes <= ORION_SCAN_BYTES) {
    ORION_TRY(orion_model_check_finite(at->name, tensor, at->offset, ORION_FP32, at->bytes, n, err));
  }
  *out = orion_data_borrow_mapped(at->model->data, ORION_FP32, (size_t)rows, (size_t)cols, at->bytes, tensor);
  if (!*out) return ORION_OOM(err, at->name);
  at->bytes += 4 * n;
  at->offset += 4 * n;
  return ORION_OK;
}

// Row h*n + i of the result is row h*n + 2i of the file, row h*n + n/2 + i is row h*n + 2i + 1.
static const orion_data *by_halves(cursor *at, const orion_data *x, int64_t head_dim) {
  uint32_t n = (uint32_t)head_dim;
  for (uint32_t row = 0; row < x->rows; row++) {
    uint32_t head = row / n * n, i = row % n;
    at->index[row] = head + (i < n / 2 ? 2 * i : 2 * (i - n / 2) + 1);
  }
  return orion_data_take_rows(at->model->data, x, x->rows, at->index);
}

#define FIELD(f) offsetof(orion_layer_weights, f)
const size_t orion_llama2c_fields[ORION_LLAMA2C_FIELDS] = {FIELD(norm1), FIELD(wq), FIELD(wk), FIELD(wv), FIELD(wo),
                                                           FIELD(norm2), FIELD(gate), FIELD(down), FIELD(up)};
bool orion_llama2c_rotated(size_t field) { return field == FIELD(wq) || field == FIELD(wk); }
#undef FIELD

static orion_status take_all(cursor *at, orion_error *err) {
  orion_model *m = at->model;
  const orion_config *c = &m->config;
  ORION_TRY(take(at, c->vocab, c->dim, "embedding", &m->embedding, err));
  size_t n_slots;
  const orion_slot *slots = orion_slots_layer(c->family, &n_slots);
  for (size_t i = 0; i < ORION_LLAMA2C_FIELDS; i++) {
    const orion_slot *slot = slots;
    while (slot->field != orion_llama2c_fields[i]) slot++;
    for (int64_t layer = 0; layer < c->layers; layer++) {
      char tensor[64];
      snprintf(tensor, sizeof tensor, "layers.%d.%s", (int)layer, slot->name);
      const orion_data **x = orion_slot_at(&m->layers[layer], slot);
      ORION_TRY(take(at, orion_slot_extent(c, slot->rows), orion_slot_extent(c, slot->cols), tensor, x, err));
      if (orion_llama2c_rotated(slot->field)) *x = by_halves(at, *x, c->head_dim);
      if (!*x) return ORION_OOM(err, at->name);
    }
  }
  ORION_TRY(take(at, c->dim, 1, "norm", &m->norm, err));
  uint64_t tables = 4 * (uint64_t)c->context * (uint64_t)c->head_dim;
  at->bytes += tables;
  at->offset += tables;
  m->classifier = m->embedding;
  return c->tied ? ORION_OK : take(at, c->vocab, c->dim, "classifier", &m->classifier, err);
}

orion_status orion_llama2c_parse(const orion_allocator *a, const char *name, const char *dir, const void *bytes,
                                 size_t n, orion_model **out, orion_error *err) {
  orion_config c;
  ORION_TRY(read_header(name, bytes, n, &c, err));
  uint64_t want = file_size(&c);
  if (want != n) {
    return ORION_FAIL(err, ORION_FORMAT,
                      "%s: %zu bytes, but its header (dim %d, layers %d, vocab %d...) asks for %llu (cut short, or no "
                      "llama2.c model)", name, n, (int)c.dim, (int)c.layers, (int)c.vocab, (unsigned long long)want);
  }
  orion_model *m;
  ORION_TRY(orion_model_create(a, &c, name, dir, &m, err));
  m->file_bytes = n;
  size_t rows = (size_t)c.dim;  // of wq, the most that are permuted
  cursor at = {(const uint8_t *)bytes + 28, 28, name, m, orion_alloc(m->allocator, rows, sizeof(uint32_t))};
  orion_status status = at.index ? take_all(&at, err) : ORION_OOM(err, name);
  orion_free(m->allocator, at.index, rows, sizeof(uint32_t));
  if (status == ORION_OK) {
    *out = m;
  } else {
    orion_model_close(m);
  }
  return status;
}
