// Writing.
#include "train/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "model/safetensors.h"
#include "train/checkpoint_dir.h"
#include "train/checkpoint_hash.h"

#define PATH_MAX_BYTES 4096

static orion_status make_path(char *out, const char *dir, const char *name, orion_error *err) {
  int n = snprintf(out, PATH_MAX_BYTES, "%s/%s", dir, name);
  if (n > 0 && n < PATH_MAX_BYTES) return ORION_OK;
  return ORION_FAIL(err, ORION_INVALID, "%s: the path is too long", dir);
}

// ---- files of a checkpoint ----

static orion_status write_moments(const orion_params *p, const char *path, orion_error *err) {
  const orion_allocator *a = p->allocator;
  orion_arena names;
  orion_arena_init(&names, a);
  orion_data_store *store = NULL;
  orion_tensor_source *tensors = orion_alloc_zero(a, 2 * p->n, sizeof *tensors);
  orion_status status = tensors ? orion_data_store_create(a, &store, err) : ORION_OOM(err, path);
  for (size_t i = 0; status == ORION_OK && i < 2 * p->n; i++) {
    const orion_param *x = &p->list[i / 2];
    orion_tensor_source *t = &tensors[i];
    *t = (orion_tensor_source){.dtype = ORION_FP32, .rank = x->matrix ? 2 : 1, .dims = {(int64_t)x->rows, (int64_t)x->cols}};
    t->name = orion_arena_printf(&names, "%c.%s", i % 2 ? 'v' : 'm', x->name);
    t->data = orion_data_borrow(store, ORION_FP32, x->rows, x->cols, i % 2 ? x->v : x->m, NULL);
    if (!t->name || !t->data) status = ORION_OOM(err, path);
  }
  if (status == ORION_OK) status = orion_safetensors_write(a, path, 2 * p->n, tensors, 0, NULL, err);
  orion_data_store_release(store);
  orion_free(a, tensors, 2 * p->n, sizeof *tensors);
  orion_arena_deinit(&names);
  return status;
}

static orion_status write_state(const orion_allocator *a, const char *dir, bool adapter, json_t *state, orion_error *err) {
  static const char *const model[] = {"model.safetensors", "optimizer.safetensors", "config.json"};
  static const char *const lora[] = {"adapter_model.safetensors", "optimizer.safetensors", "adapter_config.json"};
  const char *const *hashed = adapter ? lora : model;
  json_t *files = json_object();
  orion_status status = files ? ORION_OK : ORION_OOM(err, dir);
  for (size_t i = 0; status == ORION_OK && i < 3; i++) {
    char path[PATH_MAX_BYTES], hash[ORION_HASH_TEXT];
    status = make_path(path, dir, hashed[i], err);
    if (status == ORION_OK) status = orion_file_hash(path, hash, err);
    if (status == ORION_OK && json_object_set_new(files, hashed[i], json_string(hash)) != 0) status = ORION_OOM(err, dir);
  }
  if (json_object_set_new(state, "files", files) != 0 && status == ORION_OK) status = ORION_OOM(err, dir);
  if (json_object_set_new(state, "format", json_integer(1)) != 0 && status == ORION_OK) status = ORION_OOM(err, dir);
  char path[PATH_MAX_BYTES];
  if (status == ORION_OK) status = make_path(path, dir, ORION_CHECKPOINT_STATE, err);
  orion_strbuf text;
  orion_strbuf_init(&text, a);
  if (status == ORION_OK) status = orion_json_text(state, &text, err);
  if (status == ORION_OK) status = orion_file_write(a, path, text.data, text.size, err);
  orion_strbuf_deinit(&text);
  return status;
}

static orion_status write_files(const orion_params *p, const char *dir, json_t *state, const orion_tokenizer_files *tokenizer,
                                orion_error *err) {
  char path[PATH_MAX_BYTES];
  ORION_TRY(orion_dir_make(dir, err));
  ORION_TRY(p->adapter ? orion_adapter_save(p->adapter, dir, false, err) : orion_model_save(p->model, dir, ORION_FP32, err));
  ORION_TRY(make_path(path, dir, "optimizer.safetensors", err));
  ORION_TRY(write_moments(p, path, err));
  for (size_t i = 0; tokenizer && i < tokenizer->n; i++) {
    ORION_TRY(make_path(path, dir, tokenizer->names[i], err));
    ORION_TRY(orion_file_write(p->allocator, path, tokenizer->maps[i].data, tokenizer->maps[i].size, err));
  }
  ORION_TRY(write_state(p->allocator, dir, p->adapter != NULL, state, err));
  return orion_checkpoint_sync_dir(dir, err);
}

// ---- putting it in place ----

// A checkpoint of the same step may stand there (of a run that was resumed from an earlier one): it goes aside first.
static orion_status put_in_place(const char *run, const char *temp, const char *final, orion_error *err) {
  char aside[PATH_MAX_BYTES], name[64];
  snprintf(name, sizeof name, ".removed-%ld", (long)getpid());
  ORION_TRY(make_path(aside, run, name, err));
  bool moved = orion_dir_exists(final) && rename(final, aside) == 0;
  if (rename(temp, final) != 0) {
    int e = errno;
    if (moved) rename(aside, final);
    return ORION_FAIL(err, ORION_IO, "%s: cannot rename into place: %s", final, strerror(e));
  }
  if (moved) orion_checkpoint_remove(aside);
  return ORION_OK;
}

// Those of later steps, which a run that was resumed from further back has not reached again, are left alone.
static orion_status remove_older(const orion_allocator *a, const char *run, const char *stem, int64_t step, int64_t keep,
                                 orion_error *err) {
  orion_checkpoint_list list;
  orion_status status = orion_checkpoint_list_read(a, run, stem, &list, err);
  for (size_t i = 0; status == ORION_OK && i < list.n; i++) {
    if (list.steps[i] > step || keep-- > 0) continue;
    char path[PATH_MAX_BYTES], name[64];
    snprintf(name, sizeof name, "%s-%08" PRId64, stem, list.steps[i]);
    if (make_path(path, run, name, NULL) == ORION_OK) orion_checkpoint_remove(path);
  }
  orion_checkpoint_list_free(&list);
  return status;
}

orion_status orion_checkpoint_write(const orion_params *p, const char *run, const char *stem, int64_t step, json_t *state,
                                    const orion_tokenizer_files *tokenizer, int64_t keep, orion_error *err) {
  char temp[PATH_MAX_BYTES], final[PATH_MAX_BYTES], name[64];
  snprintf(name, sizeof name, ".writing-%s-%08" PRId64, stem, step);
  ORION_TRY(make_path(temp, run, name, err));
  ORION_TRY(make_path(final, run, strchr(name, '-') + 1, err));
  orion_status status = orion_dir_make(run, err);
  if (status == ORION_OK) orion_checkpoint_clean(run);
  if (status == ORION_OK) status = write_files(p, temp, state, tokenizer, err);
  if (status == ORION_OK) status = put_in_place(run, temp, final, err);
  if (status != ORION_OK) {
    orion_checkpoint_remove(temp);
    orion_error_prefix(err, "checkpoint of step %" PRId64 " is not saved, earlier ones stand", step);
    return status;
  }
  ORION_TRY(orion_checkpoint_sync_dir(run, err));
  return keep > 0 ? remove_older(p->allocator, run, stem, step, keep, err) : ORION_OK;
}
