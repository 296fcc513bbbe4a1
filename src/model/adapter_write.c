// Writing a PEFT directory: tensors as PEFT names them, then adapter_config.json, so that a directory with one is whole.
#include <stdio.h>

#include "base/file.h"
#include "model/adapter.h"
#include "model/parts.h"
#include "model/peft_config.h"
#include "model/slots.h"

typedef struct writer {
  const orion_adapter *adapter;
  orion_arena names;
  orion_tensor_source *tensors;
  orion_peft_module *modules;
  size_t n, n_modules;
  orion_dtype dtype;
} writer;

// B of a stored matrix [out of all parts, rank]; projections of a joint one that the adapter leaves alone are zeros.
static const orion_data *joined(const writer *w, int64_t layer, const orion_slot *slot, orion_projection first) {
  const orion_adapter *a = w->adapter;
  unsigned n = slot->parts ? slot->parts : 1;
  const orion_data *parts[4];
  const orion_data *any = NULL;
  for (unsigned i = 0; i < n; i++) {
    parts[i] = orion_adapter_at(a, layer, (orion_projection)(first + i))->b;
    if (parts[i]) any = parts[i];
  }
  for (unsigned i = 0; i < n; i++) {
    int64_t in, out;
    void *zeros;
    orion_projection_shape(&a->config, (orion_projection)(first + i), &in, &out);
    if (!parts[i]) parts[i] = orion_data_new(a->data, any->dtype, (size_t)out, any->cols, &zeros);
    if (!parts[i]) return NULL;
  }
  return n == 1 ? parts[0] : orion_data_join(a->data, n, parts);
}

static orion_status add_tensor(writer *w, const char *module, char half, const orion_data *x, orion_error *err) {
  const char *name = orion_arena_printf(&w->names, "base_model.model.%s.lora_%c.weight", module, half);
  if (!name || !x) return ORION_OOM(err, w->adapter->path);
  w->tensors[w->n++] = (orion_tensor_source){name, w->dtype, 2, {(int64_t)x->rows, (int64_t)x->cols}, x};
  return ORION_OK;
}

static orion_status add_module(writer *w, int64_t layer, const orion_slot *slot, orion_projection first, orion_error *err) {
  const orion_adapter *a = w->adapter;
  const orion_adapter_part *part = NULL;
  for (unsigned i = slot->parts ? slot->parts : 1; i-- > 0;) {
    const orion_adapter_part *p = orion_adapter_at(a, layer, (orion_projection)(first + i));
    if (p->a) part = p;
  }
  if (!part) return ORION_OK;
  orion_family family = a->config.family;
  int n = (int)(strlen(slot->name) - strlen(".weight"));
  char *module = orion_arena_printf(&w->names, "%s%s%d.%.*s", orion_family_prefix(family), orion_family_layers(family),
                                    (int)layer, n, slot->name);
  if (!module) return ORION_OOM(err, a->path);
  ORION_TRY(add_tensor(w, module, 'A', part->a, err));
  ORION_TRY(add_tensor(w, module, 'B', joined(w, layer, slot, first), err));
  w->modules[w->n_modules++] = (orion_peft_module){module, strrchr(module, '.') + 1, part->rank,
                                                   part->scale * (double)part->rank};
  return ORION_OK;
}

static orion_status add_all(writer *w, orion_error *err) {
  const orion_adapter *a = w->adapter;
  size_t n;
  const orion_slot *slots = orion_slots_layer(a->config.family, &n);
  for (int64_t layer = 0; layer < a->config.layers; layer++) {
    for (size_t i = 0; i < n; i++) {
      int p = orion_projection_of(slots[i].key);
      if (p < 0 || slots[i].part > 0 || !orion_slot_needed(&a->config, &slots[i])) continue;
      ORION_TRY(add_module(w, layer, &slots[i], (orion_projection)p, err));
    }
  }
  if (a->head) w->tensors[w->n++] = (orion_tensor_source){"base_model.model.lm_head.weight", w->dtype, 2,
                                                          {(int64_t)a->head->rows, (int64_t)a->head->cols}, a->head};
  return ORION_OK;
}

static orion_status write_files(writer *w, const char *dir, orion_error *err) {
  static const orion_text_pair metadata[] = {{"format", "pt"}};
  const orion_allocator *a = w->adapter->allocator;
  orion_strbuf text;
  orion_strbuf_init(&text, a);
  char *tensors = orion_path_join(a, dir, "adapter_model.safetensors"), *config = orion_path_join(a, dir, "adapter_config.json");
  bool conv1d = w->adapter->config.family == ORION_FAMILY_GPT2;
  orion_status status = tensors && config ? orion_dir_make(dir, err) : ORION_OOM(err, dir);
  if (status == ORION_OK) status = orion_safetensors_write(a, tensors, w->n, w->tensors, 1, metadata, err);
  if (status == ORION_OK) {
    status = orion_peft_config_text(w->modules, w->n_modules, conv1d, w->adapter->head != NULL, &text, err);
  }
  if (status == ORION_OK) status = orion_file_write(a, config, text.data, text.size, err);
  orion_strfree(a, config);
  orion_strfree(a, tensors);
  orion_strbuf_deinit(&text);
  return status;
}

orion_status orion_adapter_save(const orion_adapter *a, const char *dir, bool half, orion_error *err) {
  size_t modules = (size_t)a->config.layers * ORION_PROJECTIONS, tensors = 2 * modules + 1;
  writer w = {.adapter = a, .dtype = half ? ORION_FP16 : ORION_FP32};
  orion_arena_init(&w.names, a->allocator);
  w.tensors = orion_alloc_zero(a->allocator, tensors, sizeof *w.tensors);
  w.modules = orion_alloc_zero(a->allocator, modules, sizeof *w.modules);
  orion_status status = w.tensors && w.modules ? add_all(&w, err) : ORION_OOM(err, dir);
  if (status == ORION_OK) status = write_files(&w, dir, err);
  orion_free(a->allocator, w.modules, modules, sizeof *w.modules);
  orion_free(a->allocator, w.tensors, tensors, sizeof *w.tensors);
  orion_arena_deinit(&w.names);
  return status;
}
