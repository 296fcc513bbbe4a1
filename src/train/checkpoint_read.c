// Finding and loading.
#include <inttypes.h>
#include <stdio.h>

#include "base/file.h"
#include "model/config.h"
#include "model/safetensors.h"
#include "train/checkpoint.h"
#include "train/checkpoint_dir.h"
#include "train/checkpoint_hash.h"

#define MAX_STATE (1u << 20)

// ---- finding ----

static orion_status check_files(const orion_allocator *a, const char *dir, const json_t *state, orion_error *err) {
  const json_t *files = json_object_get(state, "files");
  if (!json_is_object(files) || json_object_size(files) == 0) {
    return ORION_FAIL(err, ORION_FORMAT, "%s/" ORION_CHECKPOINT_STATE ": 'files' is missing", dir);
  }
  const char *name;
  json_t *want;
  json_object_foreach((json_t *)(uintptr_t)files, name, want) {
    if (strchr(name, '/') || !json_is_string(want)) {
      return ORION_FAIL(err, ORION_FORMAT, "%s/" ORION_CHECKPOINT_STATE ": 'files' names '%.60s'", dir, name);
    }
    char *path = orion_path_join(a, dir, name);
    if (!path) return ORION_OOM(err, dir);
    char hash[ORION_HASH_TEXT];
    orion_status status = orion_file_hash(path, hash, err);
    if (status == ORION_OK && strcmp(hash, json_string_value(want)) != 0) {
      status = ORION_FAIL(err, ORION_FORMAT, "%s: its hash is %s, but " ORION_CHECKPOINT_STATE
                          " says %.40s (damaged or changed; use an earlier checkpoint)", path, hash, json_string_value(want));
    }
    orion_strfree(a, path);
    if (status != ORION_OK) return status;
  }
  return ORION_OK;
}

static orion_status read_state(const orion_allocator *a, const char *dir, json_t **out, orion_error *err) {
  char *path = orion_path_join(a, dir, ORION_CHECKPOINT_STATE), *text = NULL;
  size_t size;
  if (!path) return ORION_OOM(err, dir);
  json_t *state = NULL;
  orion_status status = orion_file_read(a, path, MAX_STATE, &text, &size, err);
  if (status == ORION_OK) status = orion_json_parse(text, size, path, &state, err);
  if (status == ORION_OK) {
    orion_json_reader r = {.object = state, .name = path, .path = "", .err = err};
    orion_json_int(&r, "format", ORION_JSON_REQUIRED, 1, 1);
    status = r.status;
  }
  if (text) orion_free(a, text, size + 1, 1);
  orion_strfree(a, path);
  if (status == ORION_OK) status = check_files(a, dir, state, err);
  if (status == ORION_OK) {
    *out = state;
  } else {
    json_decref(state);
  }
  return status;
}

orion_status orion_checkpoint_find(const orion_allocator *a, const char *path, char **out_path, json_t **out_state,
                                   orion_strbuf *warnings, orion_error *err) {
  a = orion_allocator_or_default(a);
  char *own = orion_path_join(a, path, ORION_CHECKPOINT_STATE);
  if (!own) return ORION_OOM(err, path);
  bool itself = orion_file_exists(own);
  orion_strfree(a, own);
  if (itself) {
    ORION_TRY(read_state(a, path, out_state, err));
    *out_path = orion_strdup(a, path);
    if (*out_path) return ORION_OK;
    json_decref(*out_state);
    return ORION_OOM(err, path);
  }
  orion_checkpoint_list list;
  orion_status status = orion_checkpoint_list_read(a, path, "step", &list, err);
  bool found = false;
  for (size_t i = 0; status == ORION_OK && !found && i < list.n; i++) {
    char name[64];
    snprintf(name, sizeof name, "step-%08" PRId64, list.steps[i]);
    char *dir = orion_path_join(a, path, name);
    orion_error why = {0};
    orion_status one = dir ? read_state(a, dir, out_state, &why) : ORION_OOM(&why, path);
    if (one == ORION_OK) {
      found = true;
      *out_path = dir;
      break;
    }
    if (one == ORION_NO_MEMORY) status = ORION_OOM(err, path);
    orion_strbuf_addf(warnings, "%s: passed over: %s\n", name, why.message);
    orion_strfree(a, dir);
  }
  orion_checkpoint_list_free(&list);
  if (status == ORION_OK && !found) {
    status = ORION_FAIL(err, ORION_NOT_FOUND, "%s: no complete checkpoint is there%s%s", path, warnings->size ? ": " : "",
                        orion_strbuf_text(warnings));
    for (char *p = err ? err->message : NULL; p && *p; p++) *p = *p == '\n' ? ' ' : *p;
  }
  return status;
}

// ---- loading ----

static orion_status check_config(const orion_params *p, const orion_model *m, const char *path, orion_error *err) {
  orion_strbuf ours, theirs;
  orion_strbuf_init(&ours, p->allocator);
  orion_strbuf_init(&theirs, p->allocator);
  orion_status status = orion_config_text(&p->model->config, ORION_FP32, &ours, err);
  if (status == ORION_OK) status = orion_config_text(&m->config, ORION_FP32, &theirs, err);
  if (status == ORION_OK && strcmp(ours.data, theirs.data) != 0) {
    status = ORION_FAIL(err, ORION_INVALID, "%s/config.json: is not the configuration of the model under training", path);
  }
  orion_strbuf_deinit(&ours);
  orion_strbuf_deinit(&theirs);
  return status;
}

static orion_status load_moment(const orion_params *p, const orion_param *x, const orion_safetensors *s, char which,
                                float *out, orion_error *err) {
  orion_strbuf name;
  orion_strbuf_init(&name, p->allocator);
  orion_strbuf_addf(&name, "%c.%s", which, x->name);
  orion_status status = orion_strbuf_status(&name, err);
  if (status == ORION_OK) {
    const orion_stored_tensor *t = orion_safetensors_find(s, name.data);
    int64_t cols = x->matrix ? (int64_t)x->cols : 0;
    if (!t) {
      status = ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%s' is missing", s->name, name.data);
    } else if (t->dtype != ORION_FP32 || t->rank != (x->matrix ? 2 : 1) || t->dims[0] != (int64_t)x->rows ||
               (x->matrix && t->dims[1] != cols)) {
      status = ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%s' is %s of rank %d, %lld first (want F32 [%zu%s%.0lld])", s->name,
                          name.data, t->spelling, t->rank, (long long)(t->rank ? t->dims[0] : 0), x->rows,
                          x->matrix ? ", " : "", (long long)cols);
    } else if (orion_find_nonfinite(ORION_FP32, t->bytes, x->n) != x->n) {
      status = ORION_FAIL(err, ORION_FORMAT, "%s: tensor '%s' holds NaN or infinity", s->name, name.data);
    } else {
      memcpy(out, t->bytes, x->n * sizeof *out);
    }
  }
  orion_strbuf_deinit(&name);
  return status;
}

static orion_status load_moments(orion_params *p, const char *path, orion_error *err) {
  char *file = orion_path_join(p->allocator, path, "optimizer.safetensors");
  if (!file) return ORION_OOM(err, path);
  orion_safetensors *s = NULL;
  orion_status status = orion_safetensors_open(p->allocator, file, &s, err);
  for (size_t i = 0; status == ORION_OK && i < p->n; i++) {
    status = load_moment(p, &p->list[i], s, 'm', p->list[i].m, err);
    if (status == ORION_OK) status = load_moment(p, &p->list[i], s, 'v', p->list[i].v, err);
  }
  if (status == ORION_OK && s->n_tensors != 2 * p->n) {
    status = ORION_FAIL(err, ORION_FORMAT, "%s: %zu tensors, the model wants %zu", file, s->n_tensors, 2 * p->n);
  }
  orion_safetensors_close(s);
  orion_strfree(p->allocator, file);
  return status;
}

static orion_status load_adapter(orion_params *p, const char *path, orion_error *err) {
  orion_adapter *a;
  ORION_TRY(orion_adapter_open(p->model, path, &a, err));
  orion_status status = ORION_OK;
  if (a->rank != p->lora.rank || a->targets != p->lora.targets) {
    status = ORION_FAIL(err, ORION_INVALID, "%s: holds an adapter of another rank or other projections than the one under training",
                        path);
  }
  if (status == ORION_OK) status = orion_params_copy_adapter(p, a, err);
  orion_adapter_close(a);
  return status == ORION_OK ? load_moments(p, path, err) : status;
}

orion_status orion_checkpoint_load(orion_params *p, const char *path, orion_error *err) {
  if (p->adapter) return load_adapter(p, path, err);
  orion_model *m;
  ORION_TRY(orion_model_open(p->allocator, path, &m, err));
  orion_status status = check_config(p, m, path, err);
  if (status == ORION_OK) status = orion_params_copy(p, m, err);
  if (status == ORION_OK) status = load_moments(p, path, err);
  orion_model_close(m);
  return status;
}
