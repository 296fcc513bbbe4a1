// Weights of a Hugging Face directory: which files, which names, which shapes.
//
// Names come with the prefix of the whole model ("transformer.", "model.") or without, as the class that saved them had
// it. A tensor that is stored once under two names is listed in "__metadata__" (missing name: stored name). Tensors
// that nobody asks for (attention-mask buffers, rotary frequencies) are left alone. The files stay mapped as long as
// the model's data store lives.
#include <stdio.h>

#include "base/file.h"
#include "base/json.h"
#include "model/parts.h"
#include "model/slots.h"

#define MAX_SHARDS 4096
#define MAX_INDEX (256u << 20)
#define NAME_MAX_BYTES 160

typedef struct shard {
  const char *name;               // as the index has it
  const orion_safetensors *file;  // owned by the data store
} shard;

typedef struct loader {
  orion_model *model;
  const char *dir;
  json_t *index;                  // of model.safetensors.index.json, or NULL
  shard *shards;
  size_t n_shards, cap_shards;
  const char *prefix;
  const orion_stored_tensor *last;       // the tensor used last and its leaf: the parts of a joint one come in a row
  const orion_data *last_leaf;
} loader;

// ---- files ----

static void release_file(void *file) { orion_safetensors_close(file); }

static orion_status add_shard(loader *l, const char *name, orion_error *err) {
  const orion_allocator *a = l->model->allocator;
  if (l->n_shards == MAX_SHARDS) {
    return ORION_FAIL(err, ORION_LIMIT, "%s: more than %d weight files", l->dir, MAX_SHARDS);
  }
  if (!ORION_GROW(a, &l->shards, &l->cap_shards, l->n_shards + 1)) return ORION_OOM(err, l->dir);
  char *path = orion_path_join(a, l->dir, name);
  if (!path) return ORION_OOM(err, l->dir);
  orion_safetensors *file = NULL;
  orion_status status = orion_safetensors_open(a, path, &file, err);
  orion_strfree(a, path);
  if (status != ORION_OK) return status;
  status = orion_data_store_keep(l->model->data, file, release_file, err);
  if (status != ORION_OK) {
    orion_safetensors_close(file);
    return status;
  }
  ORION_TRY(orion_data_store_map(l->model->data, file->map.data, file->size, file->map.identity, err));
  l->shards[l->n_shards++] = (shard){name, file};
  l->model->file_bytes += file->size;
  return ORION_OK;
}

static const orion_safetensors *find_shard(const loader *l, const char *name) {
  for (size_t i = l->n_shards; i-- > 0;) {  // neighbours in the index are mostly in the file opened last
    if (strcmp(l->shards[i].name, name) == 0) return l->shards[i].file;
  }
  return NULL;
}

// A file of this directory, nothing that leads out of it.
static bool plain_name(const char *s) { return *s && *s != '.' && !strchr(s, '/') && !strchr(s, '\\'); }

static orion_status open_indexed(loader *l, const char *path, orion_error *err) {
  const orion_allocator *a = l->model->allocator;
  char *text;
  size_t n;
  ORION_TRY(orion_file_read(a, path, MAX_INDEX, &text, &n, err));
  orion_status status = orion_json_parse(text, n, path, &l->index, err);
  orion_free(a, text, n + 1, 1);
  if (status != ORION_OK) return status;
  json_t *map = json_object_get(l->index, "weight_map"), *value;
  if (!json_is_object(map) || json_object_size(map) == 0) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: 'weight_map' is missing or empty (want tensor names with their files)", path);
  }
  const char *tensor;
  json_object_foreach(map, tensor, value) {
    const char *name = json_string_value(value);
    if (!name || !plain_name(name)) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%.100s': '%.100s' is no name of a file in this directory", path,
                        tensor, name ? name : "(no string)");
    }
    if (!find_shard(l, name)) ORION_TRY(add_shard(l, name, err));
  }
  return ORION_OK;
}

static orion_status open_files(loader *l, orion_error *err) {
  const orion_allocator *a = l->model->allocator;
  char *single = orion_path_join(a, l->dir, "model.safetensors");
  char *index = orion_path_join(a, l->dir, "model.safetensors.index.json");
  orion_status status = ORION_OK;
  if (!single || !index) {
    status = ORION_OOM(err, l->dir);
  } else if (orion_file_exists(single)) {
    status = add_shard(l, "model.safetensors", err);
  } else if (orion_file_exists(index)) {
    status = open_indexed(l, index, err);
  } else {
    status = ORION_FAIL(err, ORION_NOT_FOUND,
                        "%s: neither model.safetensors nor model.safetensors.index.json in it (other weight formats "
                        "must be converted)", l->dir);
  }
  orion_strfree(a, single);
  orion_strfree(a, index);
  return status;
}

// ---- names ----

static const orion_stored_tensor *lookup(const loader *l, const char *name, const orion_safetensors **out_file) {
  const orion_safetensors *file = l->shards[0].file;
  if (l->index) {
    const char *in = json_string_value(json_object_get(json_object_get(l->index, "weight_map"), name));
    file = in ? find_shard(l, in) : NULL;
  }
  *out_file = file;
  return file ? orion_safetensors_find(file, name) : NULL;
}

static const orion_stored_tensor *find(const loader *l, const char *name, const orion_safetensors **out_file) {
  const orion_stored_tensor *t = lookup(l, name, out_file);
  for (size_t i = 0; !t && i < l->n_shards; i++) {
    const char *alias = orion_safetensors_meta(l->shards[i].file, name);
    if (alias) t = lookup(l, alias, out_file);
  }
  return t;
}

static void detect_prefix(loader *l) {
  orion_family family = l->model->config.family;
  const char *prefixes[] = {orion_family_prefix(family), ""};
  size_t n;
  const orion_slot *slots = orion_slots_layer(family, &n);
  l->prefix = prefixes[0];
  for (size_t i = 0; i < 2; i++) {
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "%s%s0.%s", prefixes[i], orion_family_layers(family), slots[0].name);
    const orion_safetensors *file;
    if (!find(l, name, &file)) continue;
    l->prefix = prefixes[i];
    return;
  }
}

// ---- tensors ----

// The tensor as [rows, cols] of the file; vectors have cols 1.
static orion_status make_leaf(loader *l, const orion_safetensors *file, const orion_stored_tensor *t, const orion_data **out,
                              orion_error *err) {
  if (l->last == t) {
    *out = l->last_leaf;
    return ORION_OK;
  }
  const orion_data *leaf = orion_stored_leaf(l->model->data, t);
  if (!leaf) return ORION_OOM(err, file->name);
  if (l->model->file_bytes <= ORION_SCAN_BYTES) {
    size_t n = orion_data_elements(leaf);
    ORION_TRY(orion_model_check_finite(file->name, t->name, t->offset, t->dtype, leaf->bytes, n, err));
  }
  l->last = t;
  l->last_leaf = *out = leaf;
  return ORION_OK;
}

// Rows [rows * part, rows * (part + 1)): of a vector as a leaf of its own, of a matrix as a pick of rows.
static const orion_data *take_part(loader *l, const orion_data *x, size_t rows, unsigned part) {
  orion_data_store *store = l->model->data;
  const orion_allocator *a = l->model->allocator;
  size_t first = rows * part;
  if (x->kind == ORION_DATA_BYTES) {
    const char *bytes = (const char *)x->bytes + first * x->cols * (orion_dtype_bits(x->dtype) / 8);
    return x->mapped ? orion_data_borrow_mapped(store, x->dtype, rows, x->cols, bytes, x->origin)
                     : orion_data_borrow(store, x->dtype, rows, x->cols, bytes, x->origin);
  }
  uint32_t *index = orion_alloc(a, rows, sizeof *index);
  if (!index) return NULL;
  for (size_t i = 0; i < rows; i++) index[i] = (uint32_t)(first + i);
  const orion_data *y = orion_data_take_rows(store, x, rows, index);
  orion_free(a, index, rows, sizeof *index);
  return y;
}

// Whether the matrix `name` is kept as integers; `t` is what the file has under that name.
static bool find_integers(const loader *l, const char *name, const orion_stored_tensor *t, orion_hf_quantised *out) {
  char other[NAME_MAX_BYTES + 16];
  const orion_safetensors *ignored;
  snprintf(other, sizeof other, "%s_packed", name);
  out->integers = t ? t->dtype == ORION_INT8 ? t : NULL : find(l, other, &out->file);
  if (!out->integers || (!t && out->integers->dtype != ORION_INT32)) return false;
  snprintf(other, sizeof other, "%s_scale", name);
  out->scales = find(l, other, &ignored);
  snprintf(other, sizeof other, "%s_shape", name);
  out->shape = find(l, other, &ignored);
  snprintf(other, sizeof other, "%s_zero_point", name);
  out->refused = find(l, other, &ignored);
  snprintf(other, sizeof other, "%s_g_idx", name);
  if (!out->refused) out->refused = find(l, other, &ignored);
  return true;
}

static orion_status load_slot(loader *l, const orion_slot *slot, const char *name, const orion_data **out,
                              orion_error *err) {
  const orion_config *c = &l->model->config;
  int64_t rows = orion_slot_extent(c, slot->rows), cols = orion_slot_extent(c, slot->cols);
  int64_t stored = slot->parts ? rows * slot->parts : rows;  // Q, K and V are equal where they are joint
  int64_t dims[2] = {slot->conv1d ? cols : stored, slot->conv1d ? stored : cols};
  const orion_safetensors *file;
  const orion_stored_tensor *t = find(l, name, &file);
  orion_hf_quantised integers = {.file = file};
  if (slot->cols != ORION_EXTENT_NONE && find_integers(l, name, t, &integers)) {
    return orion_hf_integers(l->model, &integers, stored, cols, slot->part, slot->parts, out, err);
  }
  if (!t) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%.100s' is missing from its weights (an incomplete download, or "
                      "another model's config.json)", l->dir, name);
  }
  ORION_TRY(orion_stored_check(file, t, slot->cols == ORION_EXTENT_NONE ? 1 : 2, dims, "config.json asks for", err));
  const orion_data *x;
  ORION_TRY(make_leaf(l, file, t, &x, err));
  if (slot->conv1d) x = orion_data_transpose(l->model->data, x);
  if (x && slot->parts) x = take_part(l, x, (size_t)rows, slot->part);
  *out = x;
  return x ? ORION_OK : ORION_OOM(err, l->dir);
}

static orion_status load_table(loader *l, const char *prefix, const orion_slot *slots, size_t n, void *base,
                               orion_error *err) {
  for (size_t i = 0; i < n; i++) {
    if (!orion_slot_needed(&l->model->config, &slots[i])) continue;
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "%s%s", prefix, slots[i].name);
    ORION_TRY(load_slot(l, &slots[i], name, orion_slot_at(base, &slots[i]), err));
  }
  return ORION_OK;
}

// Embedding and classifier may be one tensor, stored under either name. Where config.json does not say so, they are one
// if there is no classifier.
static orion_status load_ends(loader *l, bool tied_stated, orion_error *err) {
  orion_model *m = l->model;
  const orion_safetensors *file;
  size_t n;
  const orion_slot *slots = orion_slots_model(m->config.family, &n);
  char embedding[NAME_MAX_BYTES], classifier[NAME_MAX_BYTES];
  snprintf(embedding, sizeof embedding, "%s%s", l->prefix, slots[0].name);
  snprintf(classifier, sizeof classifier, "%s", orion_slot_classifier.name);
  bool has_classifier = find(l, classifier, &file) != NULL;
  if (!m->config.tied && !tied_stated && !has_classifier) m->config.tied = true;
  bool swap = m->config.tied && has_classifier && !find(l, embedding, &file);
  ORION_TRY(load_slot(l, &slots[0], swap ? classifier : embedding, &m->embedding, err));
  ORION_TRY(load_table(l, l->prefix, slots + 1, n - 1, m, err));
  m->classifier = m->embedding;
  return m->config.tied ? ORION_OK : load_slot(l, &orion_slot_classifier, classifier, &m->classifier, err);
}

static orion_status load_all(loader *l, bool tied_stated, orion_error *err) {
  const orion_config *c = &l->model->config;
  ORION_TRY(open_files(l, err));
  detect_prefix(l);
  ORION_TRY(load_ends(l, tied_stated, err));
  size_t n;
  const orion_slot *slots = orion_slots_layer(c->family, &n);
  for (int64_t i = 0; i < c->layers; i++) {
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s%s%d.", l->prefix, orion_family_layers(c->family), (int)i);
    ORION_TRY(load_table(l, prefix, slots, n, &l->model->layers[i], err));
  }
  return ORION_OK;
}

orion_status orion_hf_load(orion_model *m, const char *dir, bool tied_stated, orion_error *err) {
  loader l = {.model = m, .dir = dir};
  orion_status status = load_all(&l, tied_stated, err);
  json_decref(l.index);  // NULL is fine; the shards' names end here
  orion_free(m->allocator, l.shards, l.cap_shards, sizeof *l.shards);
  return status;
}
