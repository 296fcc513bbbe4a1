// A model to a Hugging Face directory: its weights under the family's names and in the family's layout, then its
// config.json, so that a directory with a config.json is whole.
#include <stdio.h>

#include "model/config.h"
#include "model/parts.h"
#include "model/safetensors.h"
#include "model/slots.h"

typedef struct saver {
  const orion_model *model;
  orion_arena names;
  orion_tensor_source *tensors;
  size_t n, cap;
  orion_dtype dtype;
} saver;

// The tensor as the file has it: parts joined, Conv1D matrices back to [in, out].
static const orion_data *stored(const saver *s, const orion_slot *slot, void *base) {
  orion_data_store *store = s->model->data;
  const orion_data *x = *orion_slot_at(base, slot);
  if (slot->parts) {
    const orion_data *parts[4];  // their rows in the table follow one another
    for (unsigned i = 0; i < slot->parts; i++) parts[i] = *orion_slot_at(base, &slot[i]);
    x = orion_data_join(store, slot->parts, parts);
  }
  return slot->conv1d ? orion_data_transpose(store, x) : x;
}

static orion_status add_table(saver *s, const char *prefix, const orion_slot *slots, size_t n, const void *base,
                              orion_error *err) {
  for (size_t i = 0; i < n; i++) {
    if (!orion_slot_needed(&s->model->config, &slots[i]) || slots[i].part > 0) continue;
    const orion_data *x = stored(s, &slots[i], (void *)(uintptr_t)base);
    const char *name = orion_arena_printf(&s->names, "%s%s", prefix, slots[i].name);
    if (!x || !name || !ORION_GROW(s->names.allocator, &s->tensors, &s->cap, s->n + 1)) return ORION_OOM(err, "weights");
    bool vector = slots[i].cols == ORION_EXTENT_NONE;
    s->tensors[s->n++] = (orion_tensor_source){name, s->dtype, vector ? 1 : 2, {(int64_t)x->rows, (int64_t)x->cols}, x};
  }
  return ORION_OK;
}

static orion_status add_all(saver *s, orion_error *err) {
  const orion_model *m = s->model;
  const orion_config *c = &m->config;
  const char *family = orion_family_prefix(c->family);
  size_t n;
  const orion_slot *slots = orion_slots_model(c->family, &n);
  ORION_TRY(add_table(s, family, slots, n, m, err));
  ORION_TRY(add_table(s, "", &orion_slot_classifier, 1, m, err));
  slots = orion_slots_layer(c->family, &n);
  for (int64_t i = 0; i < c->layers; i++) {
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s%s%d.", family, orion_family_layers(c->family), (int)i);
    ORION_TRY(add_table(s, prefix, slots, n, &m->layers[i], err));
  }
  return ORION_OK;
}

static orion_status write_weights(const orion_model *m, const char *dir, orion_dtype dtype, orion_error *err) {
  static const orion_text_pair metadata[] = {{"format", "pt"}};
  const orion_allocator *a = m->allocator;
  saver s = {.model = m, .dtype = dtype};
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
  if (dtype != ORION_FP16 && dtype != ORION_FP32 && dtype != ORION_BF16) {
    return ORION_FAIL(err, ORION_INVALID, "%s: weights cannot be saved as %s (want fp16, fp32 or bf16)", dir,
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
