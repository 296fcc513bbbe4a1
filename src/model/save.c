// A model to a Hugging Face directory: its weights under the family's names and in the family's layout, then its
// config.json, so that a directory with a config.json is whole.
//
// As int8 or int4, the layers' matrices and an untied classifier are integers with scales, in the convention that
// hf_quantised.c reads; all else is fp16.
#include <stdio.h>

#include "ir/data_quantise.h"
#include "model/config.h"
#include "model/parts.h"
#include "model/safetensors.h"
#include "model/slots.h"

typedef struct saver {
  const orion_model *model;
  orion_arena names;
  orion_tensor_source *tensors;
  size_t n, cap;
  orion_dtype dtype;     // of floats
  orion_dtype integers;  // of matrices: int8, int4 or NONE
} saver;

// The tensor as the file has it: parts joined, Conv1D matrices back to [in, out] where they are floats.
static const orion_data *stored(const saver *s, const orion_slot *slot, bool integers, void *base) {
  orion_data_store *store = s->model->data;
  const orion_data *x = *orion_slot_at(base, slot);
  if (slot->parts) {
    const orion_data *parts[4];  // their rows in the table follow one another
    for (unsigned i = 0; i < slot->parts; i++) parts[i] = *orion_slot_at(base, &slot[i]);
    x = orion_data_join(store, slot->parts, parts);
  }
  return slot->conv1d && !integers ? orion_data_transpose(store, x) : x;
}

static orion_status add_tensor(saver *s, const char *prefix, const char *name, const char *suffix, orion_dtype dtype,
                               int rank, const orion_data *x, orion_error *err) {
  const char *whole = orion_arena_printf(&s->names, "%s%s%s", prefix, name, suffix);
  if (!x || !whole || !ORION_GROW(s->names.allocator, &s->tensors, &s->cap, s->n + 1)) return ORION_OOM(err, "weights");
  s->tensors[s->n++] = (orion_tensor_source){whole, dtype, rank, {(int64_t)x->rows, (int64_t)x->cols}, x};
  return ORION_OK;
}

// The integers that x is made of, if they are of the type wanted, or fresh ones.
static orion_status add_integers(saver *s, const char *prefix, const char *name, const orion_data *x, orion_error *err) {
  orion_data_store *store = s->model->data;
  const orion_data *q = NULL, *scales = NULL;
  bool have = x && orion_data_integers(store, x, &q, &scales) && q->dtype == s->integers;
  if (x && !have) q = orion_data_quantise(store, x, s->integers, orion_quantise_group(s->integers, x->cols), &scales);
  if (!q) return ORION_OOM(err, "weights");
  ORION_TRY(add_tensor(s, prefix, name, "_scale", ORION_FP16, 2, scales, err));
  if (s->integers == ORION_INT8) return add_tensor(s, prefix, name, "", ORION_INT8, 2, q, err);
  void *shape;
  const orion_data *dims = orion_data_new(store, ORION_INT64, 2, 1, &shape);
  if (!dims) return ORION_OOM(err, "weights");
  memcpy(shape, (int64_t[]){(int64_t)q->rows, (int64_t)q->cols}, 2 * sizeof(int64_t));
  ORION_TRY(add_tensor(s, prefix, name, "_shape", ORION_INT64, 1, dims, err));
  return add_tensor(s, prefix, name, "_packed", ORION_INT32, 2, orion_data_words(store, q), err);
}

static orion_status add_table(saver *s, const char *prefix, const orion_slot *slots, size_t n, bool quantised,
                              const void *base, orion_error *err) {
  for (size_t i = 0; i < n; i++) {
    if (!orion_slot_needed(&s->model->config, &slots[i]) || slots[i].part > 0) continue;
    bool vector = slots[i].cols == ORION_EXTENT_NONE, integers = quantised && !vector && s->integers;
    const orion_data *x = stored(s, &slots[i], integers, (void *)(uintptr_t)base);
    ORION_TRY(integers ? add_integers(s, prefix, slots[i].name, x, err)
                       : add_tensor(s, prefix, slots[i].name, "", s->dtype, vector ? 1 : 2, x, err));
  }
  return ORION_OK;
}

static orion_status add_all(saver *s, orion_error *err) {
  const orion_model *m = s->model;
  const orion_config *c = &m->config;
  const char *family = orion_family_prefix(c->family);
  size_t n;
  const orion_slot *slots = orion_slots_model(c->family, &n);
  ORION_TRY(add_table(s, family, slots, n, false, m, err));
  ORION_TRY(add_table(s, "", &orion_slot_classifier, 1, true, m, err));
  slots = orion_slots_layer(c->family, &n);
  for (int64_t i = 0; i < c->layers; i++) {
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s%s%d.", family, orion_family_layers(c->family), (int)i);
    ORION_TRY(add_table(s, prefix, slots, n, true, &m->layers[i], err));
  }
  return ORION_OK;
}

static orion_status write_weights(const orion_model *m, const char *dir, orion_dtype dtype, orion_error *err) {
  static const orion_text_pair metadata[] = {{"format", "pt"}};
  const orion_allocator *a = m->allocator;
  bool floats = orion_dtype_is_float(dtype);
  saver s = {.model = m, .dtype = floats ? dtype : ORION_FP16, .integers = floats ? ORION_DTYPE_NONE : dtype};
  orion_arena_init(&s.names, a);
  char *path = orion_path_join(a, dir, "model.safetensors");
  orion_status status = path ? add_all(&s, err) : ORION_OOM(err, dir);
  if (status == ORION_OK) status = orion_safetensors_write(a, path, s.n, s.tensors, 1, metadata, err);
  orion_strfree(a, path);
  orion_free(a, s.tensors, s.cap, sizeof *s.tensors);
  orion_arena_deinit(&s.names);
  return status;
}

orion_status orion_model_save(const orion_model *m, const char *dir, orion_dtype dtype, orion_error *err) {
  bool known = dtype == ORION_FP16 || dtype == ORION_FP32 || dtype == ORION_BF16 || dtype == ORION_INT8 || dtype == ORION_INT4;
  if (!known) {
    return ORION_FAIL(err, ORION_INVALID, "%s: weights cannot be saved as %s (want fp16, fp32, bf16, int8 or int4)", dir,
                      orion_dtype_name(dtype));
  }
  const orion_allocator *a = m->allocator;
  orion_strbuf text;
  orion_strbuf_init(&text, a);
  char *path = orion_path_join(a, dir, "config.json");
  orion_status status = path ? orion_config_text(&m->config, dtype, &text, err) : ORION_OOM(err, dir);
  if (status == ORION_OK) status = orion_dir_make(dir, err);
  if (status == ORION_OK) status = write_weights(m, dir, dtype, err);
  if (status == ORION_OK) status = orion_file_write(a, path, text.data, text.size, err);
  orion_strfree(a, path);
  orion_strbuf_deinit(&text);
  return status;
}
