// Reading a PEFT directory. Every tensor of the file must find its place, and every matrix its other half: an adapter that
// was read in part would be another adapter.
//
//   base_model.model.  model.layers.3.self_attn.q_proj  .lora_A  .weight
//   (or absent)        module, as the model's files      (or      (or .default.weight)
//                      name it, with or without prefix    lora_B)
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "model/adapter.h"
#include "model/parts.h"
#include "model/peft_config.h"
#include "model/slots.h"

#define MAX_CONFIG (1u << 20)

typedef struct module {            // a matrix of a layer as it is stored
  const orion_slot *slot;          // of a joint one the first part; NULL: none
  orion_projection first;          // its projection, or its first
  int n;                           // projections it holds
} module;

typedef struct reader {
  orion_adapter *adapter;
  const orion_peft_config *config;
  const orion_safetensors *file;
  module modules[ORION_PROJECTIONS];
  size_t n_modules;
  const orion_stored_tensor **halves;  // [layers][n_modules][2]
  size_t n_halves;
} reader;

static void list_modules(reader *r) {
  size_t n;
  const orion_slot *slots = orion_slots_layer(r->adapter->config.family, &n);
  for (size_t i = 0; i < n; i++) {
    int p = orion_projection_of(slots[i].key);
    if (p < 0 || slots[i].part > 0 || !orion_slot_needed(&r->adapter->config, &slots[i])) continue;
    r->modules[r->n_modules++] = (module){&slots[i], (orion_projection)p, slots[i].parts ? slots[i].parts : 1};
  }
}

// ---- names ----

static bool skip(const char **at, const char *text) {
  size_t n = strlen(text);
  if (strncmp(*at, text, n) != 0) return false;
  *at += n;
  return true;
}

static orion_status refuse(const reader *r, const orion_stored_tensor *t, orion_status code, const char *why, orion_error *err) {
  return ORION_FAIL(err, code, "%s (byte %llu): tensor '%.140s': %s", r->file->name, (unsigned long long)t->offset, t->name, why);
}

// What is neither A nor B of a projection, and what it is instead.
static orion_status refuse_unknown(const reader *r, const orion_stored_tensor *t, orion_error *err) {
  if (strstr(t->name, "lora_magnitude_vector")) {
    return refuse(r, t, ORION_UNSUPPORTED, "is a magnitude of DoRA (merge the adapter where it was made)", err);
  }
  if (strstr(t->name, "lora_embedding_")) {
    return refuse(r, t, ORION_UNSUPPORTED, "changes the embedding (only projections of layers can be adapted)", err);
  }
  size_t n = strlen(t->name);
  if (n > 5 && strcmp(t->name + n - 5, ".bias") == 0) {
    return refuse(r, t, ORION_UNSUPPORTED, "is a trained bias (train with bias \"none\")", err);
  }
  if (strstr(t->name, ".lora_A.") || strstr(t->name, ".lora_B.")) {
    return refuse(r, t, ORION_FORMAT, "names no projection of this model (an adapter of another model?)", err);
  }
  return refuse(r, t, ORION_UNSUPPORTED, "is neither lora_A nor lora_B (a module saved whole?)", err);
}

// Where a tensor belongs. *out_half: its place among the halves.
static orion_status place(const reader *r, const orion_stored_tensor *t, size_t *out_half, orion_error *err) {
  const orion_config *c = &r->adapter->config;
  const char *at = t->name, *half = strstr(t->name, ".lora_");
  skip(&at, "base_model.model.");
  skip(&at, orion_family_prefix(c->family));
  bool is_a = half && strncmp(half, ".lora_A.", 8) == 0, is_b = half && strncmp(half, ".lora_B.", 8) == 0;
  bool ends = half && (strcmp(half + 8, "weight") == 0 || strcmp(half + 8, "default.weight") == 0);
  char *end;
  if ((!is_a && !is_b) || !ends || !skip(&at, orion_family_layers(c->family)) || *at < '0' || *at > '9') {
    return refuse_unknown(r, t, err);
  }
  unsigned long layer = strtoul(at, &end, 10);
  if (*end++ != '.') return refuse_unknown(r, t, err);
  for (size_t m = 0; m < r->n_modules; m++) {
    const char *name = r->modules[m].slot->name;  // "self_attn.q_proj.weight"
    size_t n = strlen(name) - strlen(".weight");
    if (end >= half || (size_t)(half - end) != n || strncmp(end, name, n) != 0) continue;
    if (layer >= (unsigned long)c->layers) {
      char why[96];
      snprintf(why, sizeof why, "the model has %lld layers (an adapter of another model?)", (long long)c->layers);
      return refuse(r, t, ORION_FORMAT, why, err);
    }
    *out_half = (layer * r->n_modules + m) * 2 + is_b;
    return ORION_OK;
  }
  return refuse_unknown(r, t, err);
}

static bool is_head(const orion_stored_tensor *t) {
  const char *at = t->name;
  skip(&at, "base_model.model.");
  if (!skip(&at, "lm_head.")) return false;
  skip(&at, "modules_to_save.");
  skip(&at, "default.");
  return strcmp(at, "weight") == 0;
}

// ---- tensors ----

static orion_status take(reader *r, const orion_stored_tensor *t, int64_t rows, int64_t cols, const orion_data **out,
                         orion_error *err) {
  int64_t dims[2] = {rows, cols};
  ORION_TRY(orion_stored_check(r->file, t, 2, dims, "the model and adapter_config.json ask for", err));
  const orion_data *x = orion_stored_leaf(r->adapter->data, t);
  if (!x) return ORION_OOM(err, r->file->name);
  ORION_TRY(orion_model_check_finite(r->file->name, t->name, t->offset, t->dtype, x->bytes, orion_data_elements(x), err));
  *out = x;
  return ORION_OK;
}

static orion_status fill_module(reader *r, int64_t layer, const module *m, const orion_stored_tensor *const *half,
                                orion_error *err) {
  if (!half[0] && !half[1]) return ORION_OK;
  if (!half[0] || !half[1]) {
    const orion_stored_tensor *t = half[half[0] ? 0 : 1];
    return refuse(r, t, ORION_FORMAT, half[0] ? "its other half, lora_B, is missing (an incomplete file?)"
                                              : "its other half, lora_A, is missing (an incomplete file?)", err);
  }
  const orion_config *c = &r->adapter->config;
  char name[200];
  const char *start = half[0]->name;
  skip(&start, "base_model.model.");
  snprintf(name, sizeof name, "%.*s", (int)(strstr(start, ".lora_") - start), start);
  int64_t in, out, all = 0, rank = orion_peft_rank(r->config, name);
  for (int i = 0; i < m->n; i++) {
    orion_projection_shape(c, (orion_projection)(m->first + i), &in, &out);
    all += out;
  }
  const orion_data *a, *b;
  ORION_TRY(take(r, half[0], rank, in, &a, err));
  ORION_TRY(take(r, half[1], all, rank, &b, err));
  for (int i = 0, first = 0; i < m->n; i++) {
    orion_projection p = (orion_projection)(m->first + i);
    orion_projection_shape(c, p, &in, &out);
    const char *rows = (const char *)b->bytes + (size_t)first * b->cols * (orion_dtype_bits(b->dtype) / 8);
    const orion_data *part = m->n == 1 ? b : orion_data_borrow(r->adapter->data, b->dtype, (size_t)out, b->cols, rows, b->origin);
    if (!part) return ORION_OOM(err, r->file->name);
    *orion_adapter_at(r->adapter, layer, p) = (orion_adapter_part){a, part, rank, orion_peft_scale(r->config, name, rank)};
    r->adapter->targets |= 1u << p;
    first += (int)out;
  }
  if (rank > r->adapter->rank) r->adapter->rank = rank;
  return ORION_OK;
}

static orion_status read_head(reader *r, const orion_stored_tensor *t, orion_error *err) {
  if (!r->config->saves_head) {
    return refuse(r, t, ORION_FORMAT, "adapter_config.json does not list it in modules_to_save", err);
  }
  const orion_config *c = &r->adapter->config;
  return take(r, t, c->vocab, c->dim, &r->adapter->head, err);
}

static orion_status read_tensors(reader *r, orion_error *err) {
  for (size_t i = 0; i < r->file->n_tensors; i++) {
    const orion_stored_tensor *t = &r->file->tensors[i];
    size_t half = 0;
    if (is_head(t)) {
      ORION_TRY(read_head(r, t, err));
      continue;
    }
    ORION_TRY(place(r, t, &half, err));
    if (r->halves[half]) return refuse(r, t, ORION_FORMAT, "the file has it twice, under two names", err);
    r->halves[half] = t;
  }
  for (size_t i = 0; i < r->n_halves; i += 2) {
    size_t m = i / 2 % r->n_modules;
    ORION_TRY(fill_module(r, (int64_t)(i / 2 / r->n_modules), &r->modules[m], &r->halves[i], err));
  }
  if (!r->adapter->targets) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: no lora_A or lora_B is in it (an incomplete file?)", r->file->name);
  }
  if (r->config->saves_head && !r->adapter->head) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: tensor 'lm_head.weight' is missing, which modules_to_save lists", r->file->name);
  }
  return ORION_OK;
}

static orion_status fill(orion_adapter *a, const orion_peft_config *config, const orion_safetensors *file, orion_error *err) {
  reader r = {.adapter = a, .config = config, .file = file};
  list_modules(&r);
  r.n_halves = (size_t)a->config.layers * r.n_modules * 2;
  r.halves = orion_alloc_zero(a->allocator, r.n_halves, sizeof *r.halves);
  orion_status status = r.halves ? read_tensors(&r, err) : ORION_OOM(err, a->path);
  orion_free(a->allocator, r.halves, r.n_halves, sizeof *r.halves);
  a->file_bytes = file->size;
  return status;
}

// ---- entry points ----

static void release_file(void *file) { orion_safetensors_close(file); }

// Takes the file over, also on failure.
static orion_status make(const orion_allocator *allocator, const orion_config *c, const char *path,
                         const orion_peft_config *config, orion_safetensors *file, orion_adapter **out, orion_error *err) {
  orion_adapter *a = NULL;
  orion_status status = orion_adapter_create(allocator, c, path, &a, err);
  if (status == ORION_OK) status = orion_data_store_keep(a->data, file, release_file, err);
  if (status == ORION_OK) {
    status = fill(a, config, file, err);
  } else {
    orion_safetensors_close(file);
  }
  if (status == ORION_OK) {
    *out = a;
  } else {
    orion_adapter_close(a);
  }
  return status;
}

orion_status orion_adapter_parse(const orion_allocator *allocator, const orion_config *c, const char *config_name,
                                 const char *config, size_t config_size, const char *tensors_name, const void *tensors,
                                 size_t tensors_size, orion_adapter **out, orion_error *err) {
  orion_peft_config peft;
  orion_safetensors *file;
  ORION_TRY(orion_peft_config_read(config, config_size, config_name, &peft, err));
  orion_status status = orion_safetensors_parse(allocator, tensors_name, tensors, tensors_size, &file, err);
  if (status == ORION_OK) status = make(allocator, c, tensors_name, &peft, file, out, err);
  orion_peft_config_free(&peft);
  return status;
}

static orion_status open_files(const orion_model *m, const char *path, const char *config, const char *tensors,
                               orion_adapter **out, orion_error *err) {
  const orion_allocator *a = m->allocator;
  char *text;
  size_t n;
  if (!orion_file_exists(config)) {
    return ORION_FAIL(err, ORION_NOT_FOUND, "%s: no adapter_config.json in it (want a PEFT directory)", path);
  }
  if (!orion_file_exists(tensors)) {
    return ORION_FAIL(err, ORION_NOT_FOUND, "%s: no adapter_model.safetensors in it (adapter_model.bin is not read: save it anew)",
                      path);
  }
  orion_peft_config peft = {0};
  orion_safetensors *file;
  ORION_TRY(orion_file_read(a, config, MAX_CONFIG, &text, &n, err));
  orion_status status = orion_peft_config_read(text, n, config, &peft, err);
  orion_free(a, text, n + 1, 1);
  if (status != ORION_OK) return status;
  status = orion_safetensors_open(a, tensors, &file, err);
  if (status == ORION_OK) status = make(a, &m->config, path, &peft, file, out, err);
  orion_peft_config_free(&peft);
  return status;
}

orion_status orion_adapter_open(const orion_model *m, const char *path, orion_adapter **out, orion_error *err) {
  if (!orion_dir_exists(path)) {
    bool there = orion_file_exists(path);
    return ORION_FAIL(err, there ? ORION_FORMAT : ORION_NOT_FOUND, "%s: %s (want a PEFT directory, with adapter_config.json)",
                      path, there ? "is a file" : "there is no such directory");
  }
  char *config = orion_path_join(m->allocator, path, "adapter_config.json");
  char *tensors = orion_path_join(m->allocator, path, "adapter_model.safetensors");
  orion_status status = config && tensors ? open_files(m, path, config, tensors, out, err) : ORION_OOM(err, path);
  orion_strfree(m->allocator, config);
  orion_strfree(m->allocator, tensors);
  return status;
}
