// Opening a model: what the path is, then the reader of that format.
#include "base/file.h"
#include "model/config.h"
#include "model/parts.h"

#define MAX_CONFIG (16u << 20)

// ---- llama2.c ----

typedef struct kept_map {
  const orion_allocator *allocator;
  orion_file_map map;
} kept_map;

static void release_map(void *ctx) {
  kept_map *k = ctx;
  orion_file_close_map(&k->map);
  orion_free(k->allocator, k, 1, sizeof *k);
}

static orion_status open_llama2c(const orion_allocator *a, const char *path, orion_model **out, orion_error *err) {
  const char *slash = strrchr(path, '/');
  char *dir = slash ? orion_strndup(a, path, slash == path ? 1 : (size_t)(slash - path)) : orion_strdup(a, ".");
  kept_map *k = orion_alloc_zero(a, 1, sizeof *k);
  orion_model *m = NULL;
  orion_status status = dir && k ? ORION_OK : ORION_OOM(err, path);
  if (k) k->allocator = a;
  if (status == ORION_OK) status = orion_file_open_map(path, &k->map, err);
  if (status == ORION_OK) status = orion_llama2c_parse(a, path, dir, k->map.data, k->map.size, &m, err);
  if (status == ORION_OK) status = orion_data_store_map(m->data, k->map.data, k->map.size, k->map.identity, err);
  if (status == ORION_OK) status = orion_data_store_keep(m->data, k, release_map, err);
  orion_strfree(a, dir);
  if (status == ORION_OK) {
    *out = m;
    return ORION_OK;
  }
  orion_model_close(m);
  if (k) release_map(k);
  return status;
}

// ---- Hugging Face ----

static orion_status read_config(const orion_allocator *a, const char *dir, orion_config *c, bool *tied_stated,
                                orion_error *err) {
  char *path = orion_path_join(a, dir, "config.json"), *text = NULL;
  size_t n = 0;
  if (!path) return ORION_OOM(err, dir);
  orion_status status = orion_file_read(a, path, MAX_CONFIG, &text, &n, err);
  if (status == ORION_OK) status = orion_config_read(text, n, path, c, tied_stated, err);
  if (status == ORION_NOT_FOUND) {
    status = ORION_FAIL(err, ORION_NOT_FOUND, "%s: no config.json in it (want a Hugging Face model directory)", dir);
  }
  if (text) orion_free(a, text, n + 1, 1);
  orion_strfree(a, path);
  return status;
}

static orion_status read_generation(const orion_allocator *a, const char *dir, orion_config *c, orion_error *err) {
  char *path = orion_path_join(a, dir, "generation_config.json"), *text = NULL;
  size_t n = 0;
  if (!path) return ORION_OOM(err, dir);
  orion_status status = ORION_OK;
  if (orion_file_exists(path)) {  // many directories have none
    status = orion_file_read(a, path, MAX_CONFIG, &text, &n, err);
    if (status == ORION_OK) status = orion_config_read_generation(text, n, path, c, err);
  }
  if (text) orion_free(a, text, n + 1, 1);
  orion_strfree(a, path);
  return status;
}

static orion_status open_directory(const orion_allocator *a, const char *dir, orion_model **out, orion_error *err) {
  orion_config c;
  bool tied_stated = false;
  ORION_TRY(read_config(a, dir, &c, &tied_stated, err));
  ORION_TRY(read_generation(a, dir, &c, err));
  orion_model *m;
  ORION_TRY(orion_model_create(a, &c, dir, dir, &m, err));
  orion_status status = orion_hf_load(m, dir, tied_stated, err);
  if (status == ORION_OK) {
    *out = m;
  } else {
    orion_model_close(m);
  }
  return status;
}

orion_status orion_model_open(const orion_allocator *a, const char *path, orion_model **out, orion_error *err) {
  a = orion_allocator_or_default(a);
  if (orion_dir_exists(path)) return open_directory(a, path, out, err);
  if (orion_path_ends(path, ".safetensors")) {
    return ORION_FAIL(err, ORION_INVALID, "%s: weights alone are no model (give the directory with config.json)", path);
  }
  orion_status status = open_llama2c(a, path, out, err);
  if (status != ORION_NOT_FOUND) return status;
  return ORION_FAIL(err, status, "%s: there is no such model (want a Hugging Face directory, or FILE.bin of llama2.c)", path);
}
