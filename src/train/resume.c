// A trainer's state in checkpoints: what state.json holds, and continuing from it.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "train/checkpoint.h"
#include "train/trainer.h"

// ---- writing ----

static json_t *list_json(const char *const *paths, size_t n) {
  json_t *list = json_array();
  for (size_t i = 0; i < n; i++) json_array_append_new(list, json_string(paths[i]));
  return list;
}

// The batch is that of all processes: a run is the same whatever their number.
static json_t *options_json(const orion_train_options *o) {
  json_t *all = json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o, s:i, s:b, s:I, s:I, s:s?, "
                   "s:s?, s:s?, s:s?}",
                   "steps", (json_int_t)o->steps, "batch",
                   (json_int_t)(o->batch * orion_comm_size(o->comm)), "seq", (json_int_t)o->seq, "accum",
                   (json_int_t)o->accum, "lr", o->lr, "min_lr", o->min_lr, "warmup", (json_int_t)o->warmup, "schedule",
                   o->schedule, "beta1", o->beta1, "beta2", o->beta2, "eps", o->eps, "weight_decay", o->weight_decay, "clip",
                   o->clip, "loss_scale", o->loss_scale, "data", list_json(o->data, o->n_data), "eval_data",
                   list_json(o->eval_data, o->n_eval_data), "token_width", o->token_width, "documents", o->documents,
                   "eval_windows", (json_int_t)o->eval_windows, "seed", (json_int_t)o->seed, "update", o->update, "target",
                   o->target, "compute", o->compute, "activations", o->activations);
  if (!all || o->lora_rank == 0) return all;
  json_t *lora = json_pack("{s:I, s:f, s:s, s:s?, s:s?}", "lora_rank", (json_int_t)o->lora_rank, "lora_alpha", o->lora_alpha,
                           "lora_targets", o->lora_targets, "lora_weights", o->lora_weights, "lora_base", o->lora_base);
  json_object_update(all, lora);
  json_decref(lora);
  return all;
}

static json_t *state_json(const orion_trainer *t) {
  char hash[17];
  snprintf(hash, sizeof hash, "%016" PRIx64, orion_tokens_hash(t->data));
  json_t *state = json_pack("{s:I, s:I, s:I, s:{s:I, s:I, s:s}, s:{s:f, s:I, s:I}, s:o}", "step", (json_int_t)t->step,
                            "updates", (json_int_t)t->updates, "tokens", (json_int_t)t->tokens, "position", "epoch",
                            (json_int_t)t->position.epoch, "window", (json_int_t)t->position.index, "data_hash", hash,
                            "loss_scale", "scale", t->scaler.scale, "good", (json_int_t)t->scaler.good, "skipped",
                            (json_int_t)t->scaler.skipped, "options", options_json(&t->options));
  if (state && isfinite(t->best_loss)) json_object_set_new(state, "best_loss", json_real(t->best_loss));
  if (state && t->eval_at >= 0) {
    json_object_set_new(state, "eval_loss", json_real(t->eval_loss));
    json_object_set_new(state, "eval_step", json_integer(t->eval_at));
  }
  return state;
}

static orion_status write_checkpoint(orion_trainer *t, const char *run, const char *stem, int64_t keep, orion_error *err) {
  json_t *state = state_json(t);
  if (!state) return ORION_OOM(err, "state");
  orion_status status = orion_checkpoint_write(t->params, run, stem, t->step, state, &t->tokenizer, keep, err);
  json_decref(state);
  return status;
}

// Of several processes the first writes.
static orion_status save(orion_trainer *t, const char *run, const char *stem, int64_t keep, orion_error *err) {
  orion_status status = orion_comm_rank(t->options.comm) == 0 ? write_checkpoint(t, run, stem, keep, err) : ORION_OK;
  return orion_comm_agree(t->options.comm, status, err);
}

orion_status orion_trainer_save(orion_trainer *t, const char *run, int64_t keep, orion_error *err) {
  return save(t, run, "step", keep, err);
}

orion_status orion_trainer_save_best(orion_trainer *t, const char *run, bool *out_saved, orion_error *err) {
  *out_saved = false;
  if (t->eval_at != t->step || !(t->eval_loss < t->best_loss)) return ORION_OK;
  t->best_loss = t->eval_loss;
  *out_saved = true;
  return save(t, run, "best", 1, err);
}

// ---- reading ----

// Reads state.json's members; `path` is the checkpoint's, for messages.
static orion_status read_state(orion_trainer *t, const char *path, const json_t *state, orion_error *err) {
  orion_json_reader r = {.object = state, .name = path, .path = "state.json: ", .err = err};
  t->step = orion_json_int(&r, "step", ORION_JSON_REQUIRED, 0, (int64_t)1 << 50);
  t->updates = orion_json_int(&r, "updates", ORION_JSON_REQUIRED, 0, (int64_t)1 << 50);
  t->tokens = (uint64_t)orion_json_int(&r, "tokens", ORION_JSON_REQUIRED, 0, INT64_MAX);
  t->best_loss = orion_json_number(&r, "best_loss", INFINITY, -1e300, 1e300);
  t->eval_loss = orion_json_number(&r, "eval_loss", INFINITY, -1e300, 1e300);
  t->eval_at = orion_json_int(&r, "eval_step", -1, -1, (int64_t)1 << 50);
  orion_json_reader p = r;
  p.object = json_object_get(state, "position");
  p.path = "state.json: position.";
  t->position.epoch = (uint64_t)orion_json_int(&p, "epoch", ORION_JSON_REQUIRED, 0, (int64_t)1 << 50);
  t->position.index = (uint64_t)orion_json_int(&p, "window", ORION_JSON_REQUIRED, 0, (int64_t)orion_tokens_windows(t->data));
  const char *hash = orion_json_string(&p, "data_hash", NULL);
  orion_json_reader s = p;
  s.object = json_object_get(state, "loss_scale");
  s.path = "state.json: loss_scale.";
  double scale = orion_json_number(&s, "scale", NAN, 0, ORION_SCALER_MAX);
  t->scaler.good = orion_json_int(&s, "good", ORION_JSON_REQUIRED, 0, INT64_MAX);
  t->scaler.skipped = orion_json_int(&s, "skipped", ORION_JSON_REQUIRED, 0, INT64_MAX);
  if (t->scaler.automatic) t->scaler.scale = scale;
  if (r.status != ORION_OK || s.status != ORION_OK) return r.status != ORION_OK ? r.status : s.status;
  char own[17];
  snprintf(own, sizeof own, "%016" PRIx64, orion_tokens_hash(t->data));
  if (strcmp(own, hash) == 0) return ORION_OK;
  return ORION_FAIL(err, ORION_INVALID, "%s: the data, their order or --seq are not those of the run (give the same --data, "
                    "--seq and --seed; to go on with other data, start anew with -m %s)", path, path);
}

orion_status orion_trainer_resume(orion_trainer *t, const char *path, orion_error *err) {
  char *checkpoint = NULL;
  json_t *state = NULL;
  orion_status status = orion_checkpoint_find(t->allocator, path, &checkpoint, &state, &t->notes, err);
  if (status == ORION_OK) status = read_state(t, checkpoint, state, err);
  if (status == ORION_OK) status = orion_checkpoint_load(t->params, checkpoint, err);
  double ms;
  if (status == ORION_OK) status = orion_updater_apply(t->updater, &ms, err);
  json_decref(state);
  orion_strfree(t->allocator, checkpoint);
  return orion_trainer_agree(t, status, err);
}

struct orion_train_saved {
  json_t *state;        // what the strings of the options point into
  const char *lists[2][256];
};

static size_t read_list(const json_t *options, const char *name, const char **out) {
  const json_t *list = json_object_get(options, name), *item;
  size_t i, n = 0;
  json_array_foreach(list, i, item) {
    if (n < 256 && json_is_string(item)) out[n++] = json_string_value(item);
  }
  return n;
}

static orion_status read_options(const char *path, const json_t *options, orion_train_saved *s, orion_train_options *o,
                                 orion_error *err) {
  orion_json_reader r = {.object = options, .name = path, .path = "state.json: options.", .err = err};
  const int64_t big = (int64_t)1 << 50;
  o->steps = orion_json_int(&r, "steps", o->steps, 1, big);
  o->batch = orion_json_int(&r, "batch", o->batch, 1, big);
  o->seq = orion_json_int(&r, "seq", o->seq, 1, big);
  o->accum = orion_json_int(&r, "accum", o->accum, 1, big);
  o->warmup = orion_json_int(&r, "warmup", o->warmup, 0, big);
  o->eval_windows = orion_json_int(&r, "eval_windows", o->eval_windows, 0, big);
  o->token_width = (int)orion_json_int(&r, "token_width", o->token_width, 0, 4);
  o->seed = (uint64_t)orion_json_int(&r, "seed", (int64_t)o->seed, INT64_MIN + 1, INT64_MAX);
  o->lr = orion_json_number(&r, "lr", o->lr, -1, 1e300);
  o->min_lr = orion_json_number(&r, "min_lr", o->min_lr, -1, 1e300);
  o->beta1 = orion_json_number(&r, "beta1", o->beta1, -1, 1);
  o->beta2 = orion_json_number(&r, "beta2", o->beta2, -1, 1);
  o->eps = orion_json_number(&r, "eps", o->eps, 0, 1);
  o->weight_decay = orion_json_number(&r, "weight_decay", o->weight_decay, -1, 1e300);
  o->clip = orion_json_number(&r, "clip", o->clip, -1, 1e300);
  o->loss_scale = orion_json_number(&r, "loss_scale", o->loss_scale, -1, 1e300);
  o->documents = orion_json_bool(&r, "documents", o->documents);
  o->schedule = orion_json_string(&r, "schedule", o->schedule);
  if (orion_json_member(&r, "update")) o->update = orion_json_string(&r, "update", NULL);
  if (orion_json_member(&r, "target")) o->target = orion_json_string(&r, "target", NULL);
  if (orion_json_member(&r, "compute")) o->compute = orion_json_string(&r, "compute", NULL);
  if (orion_json_member(&r, "activations")) o->activations = orion_json_string(&r, "activations", NULL);
  o->lora_rank = orion_json_int(&r, "lora_rank", 0, 0, ORION_LORA_MAX_RANK);
  o->lora_alpha = orion_json_number(&r, "lora_alpha", 0, -1e300, 1e300);
  if (orion_json_member(&r, "lora_targets")) o->lora_targets = orion_json_string(&r, "lora_targets", NULL);
  if (orion_json_member(&r, "lora_weights")) o->lora_weights = orion_json_string(&r, "lora_weights", NULL);
  if (orion_json_member(&r, "lora_base")) o->lora_base = orion_json_string(&r, "lora_base", NULL);
  o->n_data = read_list(options, "data", s->lists[0]);
  o->n_eval_data = read_list(options, "eval_data", s->lists[1]);
  o->data = s->lists[0];
  o->eval_data = s->lists[1];
  return r.status;
}

orion_status orion_train_options_read(const char *path, orion_train_options *o, char *out_checkpoint, size_t size,
                                      orion_train_saved **out, orion_error *err) {
  orion_train_saved *s = orion_alloc_zero(NULL, 1, sizeof *s);
  if (!s) return ORION_OOM(err, path);
  orion_strbuf warnings;
  orion_strbuf_init(&warnings, NULL);
  char *checkpoint = NULL;
  orion_status status = orion_checkpoint_find(NULL, path, &checkpoint, &s->state, &warnings, err);
  if (status == ORION_OK) status = read_options(checkpoint, json_object_get(s->state, "options"), s, o, err);
  if (status == ORION_OK && strlen(checkpoint) >= size) status = ORION_FAIL(err, ORION_INVALID, "%s: the path is too long", path);
  if (status == ORION_OK) memcpy(out_checkpoint, checkpoint, strlen(checkpoint) + 1);
  orion_strfree(NULL, checkpoint);
  orion_strbuf_deinit(&warnings);
  if (status == ORION_OK) {
    *out = s;
  } else {
    orion_train_options_free(s);
  }
  return status;
}

void orion_train_options_free(orion_train_saved *s) {
  if (!s) return;
  json_decref(s->state);
  orion_free(NULL, s, 1, sizeof *s);
}
