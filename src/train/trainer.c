// The step, and what is needed for it.
//
//   data ── micro-batches ──> device: loss, gradients ──> sum ──> norm, clip ──> AdamW on the masters ──> device
//
// Of several processes each takes its part of every micro-batch: a micro-batch is `batch` windows of each, one process after
// another, as one process would take size * batch. Their sum is the same in all, and so is all that follows from it: the
// norm, whether the step is skipped, the weights. Nothing but the sum is ever sent.
//
// The order of everything is fixed by (options, seed), nothing depends on time or on the number of threads, and the state
// is small: step, updates, position in the data, loss scale, masters and moments. That is what checkpoints hold.
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <xxhash.h>

#include "base/clock.h"
#include "model/parts.h"

void orion_train_options_init(orion_train_options *o) {
  *o = (orion_train_options){.struct_size = sizeof *o, .steps = 1000, .batch = 8, .seq = 256, .accum = 1, .lr = 3e-4,
                             .min_lr = 3e-5, .warmup = 100, .schedule = "cosine", .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8,
                             .weight_decay = 0.1, .clip = 1, .seed = 1};
}

// ---- options ----------------------------------------------------------------------------------------------------------

static orion_status check_count(const char *name, int64_t value, int64_t min, int64_t max, orion_error *err) {
  if (value >= min && value <= max) return ORION_OK;
  return ORION_FAIL(err, ORION_INVALID, "%s: %lld is not within %lld to %lld", name, (long long)value, (long long)min,
                    (long long)max);
}

static orion_status check_number(const char *name, double value, double min, double max, orion_error *err) {
  if (value >= min && value <= max) return ORION_OK;  // false for NaN
  return ORION_FAIL(err, ORION_INVALID, "%s: %g is not within %g to %g", name, value, min, max);
}

static orion_status check_options(const orion_train_options *o, const orion_config *c, orion_error *err) {
  ORION_TRY(check_count("seq", o->seq, 1, c->context, err));
  ORION_TRY(check_count("batch", o->batch, 1, 65536, err));
  ORION_TRY(check_count("accum", o->accum, 1, 65536, err));
  ORION_TRY(check_count("steps", o->steps, 1, (int64_t)1 << 40, err));
  ORION_TRY(check_count("warmup", o->warmup, 0, o->steps, err));
  ORION_TRY(check_number("lr", o->lr, 0, 1e3, err));
  ORION_TRY(check_number("min-lr", o->min_lr, 0, o->lr, err));
  ORION_TRY(check_number("beta1", o->beta1, 0, 1 - 1e-9, err));
  ORION_TRY(check_number("beta2", o->beta2, 0, 1 - 1e-9, err));
  ORION_TRY(check_number("eps", o->eps, 1e-30, 1, err));
  ORION_TRY(check_number("weight-decay", o->weight_decay, 0, 1e3, err));
  ORION_TRY(check_number("clip", o->clip, 0, 1e30, err));
  if (o->loss_scale != 0) ORION_TRY(check_number("loss-scale", o->loss_scale, 1, ORION_SCALER_MAX, err));
  return ORION_OK;
}

// Copies what the options point to.
static orion_status keep_options(orion_trainer *t, const orion_train_options *o, orion_error *err) {
  t->options = *o;
  struct { const char *const *from; size_t n; const char *const **to; } lists[] = {
      {o->data, o->n_data, &t->options.data}, {o->eval_data, o->n_eval_data, &t->options.eval_data}};
  for (int k = 0; k < 2; k++) {
    const char **copy = ORION_ARENA_ARRAY(&t->arena, const char *, lists[k].n + 1);
    if (!copy) return ORION_OOM(err, "trainer");
    for (size_t i = 0; i < lists[k].n; i++) {
      if (!(copy[i] = orion_arena_strdup(&t->arena, lists[k].from[i]))) return ORION_OOM(err, "trainer");
    }
    *lists[k].to = copy;
  }
  const char **texts[] = {&t->options.schedule, &t->options.update, &t->options.target, &t->options.compute,
                          &t->options.tokenizer_path, &t->options.lora_targets, &t->options.lora_weights,
                          &t->options.lora_base, &t->options.recompute, &t->options.activations};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    if (*texts[i] && !(*texts[i] = orion_arena_strdup(&t->arena, *texts[i]))) return ORION_OOM(err, "trainer");
  }
  return ORION_OK;
}

static orion_status read_recompute(const orion_trainer *t, orion_step_spec *spec, orion_error *err) {
  const char *name = t->options.recompute ? t->options.recompute : "auto";
  if (!orion_recompute_parse(name, &spec->recompute)) {
    return ORION_FAIL(err, ORION_INVALID, "recompute: there is no \"%s\" (none, cheap, most or auto)", name);
  }
  if (!t->target->ane || spec->recompute == ORION_RECOMPUTE_AUTO) return ORION_OK;
  return ORION_FAIL(err, ORION_INVALID, "recompute: the cost model decides for %s (leave the option out)", t->target->name);
}

static orion_status read_activations(const orion_trainer *t, orion_step_spec *spec, orion_error *err) {
  const char *name = t->options.activations;
  if (!name || strcmp(name, "fp32") == 0) return ORION_OK;
  if (strcmp(name, "bf16") != 0) return ORION_FAIL(err, ORION_INVALID, "activations: \"%s\" is neither fp32 nor bf16", name);
  if (spec->compute != ORION_FP32) {
    return ORION_FAIL(err, ORION_INVALID, "activations: programs that compute in fp16 keep what they have (leave the option out)");
  }
  spec->kept_as = ORION_BF16;
  return ORION_OK;
}

static orion_status read_names(orion_trainer *t, orion_step_spec *spec, orion_update_kind *update, orion_error *err) {
  orion_train_options *o = &t->options;
  if (!o->target) {  // an engine's own programs on an engine; what runs anywhere elsewhere
    orion_device_info info;
    orion_device_describe(t->device, &info);
    const orion_target *own = info.family ? orion_target_find(info.family) : NULL;
    bool adapter = o->lora_rank > 0 || o->lora_start;  // trained by programs for cpu
    o->target = own && own->ane && !adapter ? own->name : "cpu";
  }
  t->target = orion_target_find(o->target);
  if (!t->target) return ORION_FAIL(err, ORION_INVALID, "target: there is no \"%s\" (m1 to m6, or cpu)", o->target);
  bool half = o->compute ? strcmp(o->compute, "fp16") == 0 : t->target->ane;
  if (o->compute && !half && strcmp(o->compute, "fp32") != 0) {
    return ORION_FAIL(err, ORION_INVALID, "compute: \"%s\" is neither fp32 nor fp16", o->compute);
  }
  if (t->target->ane && !half) {
    return ORION_FAIL(err, ORION_INVALID, "compute: programs for %s are fp16 (leave the option out)", o->target);
  }
  *spec = (orion_step_spec){.batch = o->batch, .seq = o->seq, .compute = half ? ORION_FP16 : ORION_FP32,
                            .weights = t->target->ane ? ORION_FP16 : ORION_FP32, .gradients = true,
                            .sums = o->accum > 1};
  ORION_TRY(read_recompute(t, spec, err));
  ORION_TRY(read_activations(t, spec, err));
  t->schedule = (orion_schedule){.lr = o->lr, .min_lr = o->min_lr, .warmup = o->warmup, .steps = o->steps};
  if (!orion_schedule_parse(o->schedule, &t->schedule.kind)) {
    return ORION_FAIL(err, ORION_INVALID, "schedule: there is no \"%s\" (cosine, linear or constant)", o->schedule);
  }
  *update = ORION_UPDATE_INPUT;  // masters are read in place: nothing is cheaper
  if (o->update && !orion_update_parse(o->update, update)) {
    return ORION_FAIL(err, ORION_INVALID, "update: there is no \"%s\" (delta, input or recompile)", o->update);
  }
  orion_scaler_init(&t->scaler, o->loss_scale, half);
  return ORION_OK;
}

// ---- creating ---------------------------------------------------------------------------------------------------------

static orion_status open_data(orion_trainer *t, const orion_tokenizer *tokenizer, orion_error *err) {
  const orion_train_options *o = &t->options;
  orion_tokens_options data = {.paths = o->data, .n_paths = o->n_data, .width = o->token_width, .seq = o->seq,
                               .vocab = t->params->model->config.vocab, .documents = o->documents, .shuffle = true,
                               .separator = -1, .seed = o->seed, .tokenizer = tokenizer};
  ORION_TRY(orion_tokens_open(t->allocator, &data, &t->data, err));
  if (o->n_eval_data == 0) return ORION_OK;
  data.paths = o->eval_data;
  data.n_paths = o->n_eval_data;
  data.shuffle = false;
  return orion_tokens_open(t->allocator, &data, &t->eval_data, err);
}

static orion_status allocate(orion_trainer *t, orion_error *err) {
  size_t n = (size_t)(t->options.batch * t->options.seq);
  t->inputs = ORION_ARENA_ARRAY(&t->arena, int32_t, n);
  t->targets = ORION_ARENA_ARRAY(&t->arena, int32_t, n);
  return t->inputs && t->targets ? ORION_OK : ORION_OOM(err, "trainer");
}

// How the model under an adapter is kept.
static orion_status read_base(const orion_train_options *o, orion_step_spec *spec, orion_error *err) {
  const char *w = o->lora_weights ? o->lora_weights : "fp16";
  spec->weights = strcmp(w, "fp32") == 0 ? ORION_FP32 : ORION_FP16;
  spec->quantise = strcmp(w, "int8") == 0 ? ORION_INT8 : strcmp(w, "int4") == 0 ? ORION_INT4 : ORION_DTYPE_NONE;
  if (spec->quantise || strcmp(w, "fp16") == 0 || strcmp(w, "fp32") == 0) return ORION_OK;
  return ORION_FAIL(err, ORION_INVALID, "weights: \"%s\" is none of fp32, fp16, int8 and int4", w);
}

static orion_status prepare_lora(orion_trainer *t, const orion_model *model, orion_step_spec *spec, orion_update_kind update,
                                 orion_error *err) {
  const orion_train_options *o = &t->options;
  if (t->target->ane) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "train: adapters are trained by programs for cpu (want --target cpu)");
  }
  if (update != ORION_UPDATE_INPUT) {
    return ORION_FAIL(err, ORION_INVALID, "update: adapters are inputs of their programs (leave the option out)");
  }
  ORION_TRY(read_base(o, spec, err));
  orion_lora_slots slots = {.rank = o->lora_rank};
  if (!o->lora_start) {
    ORION_TRY(check_count("lora-rank", o->lora_rank, 1, ORION_LORA_MAX_RANK, err));
    ORION_TRY(check_number("lora-alpha", o->lora_alpha, 0, 1e6, err));
    ORION_TRY(orion_projection_parse(&model->config, o->lora_targets ? o->lora_targets : "q,v", &slots.targets, err));
  }
  double scale = o->lora_alpha > 0 ? o->lora_alpha / (double)o->lora_rank : 2;
  ORION_TRY(orion_params_create_lora(model, t->device, &slots, scale, o->lora_start, o->seed, &t->params, err));
  t->options.lora_rank = t->params->lora.rank;
  t->options.lora_alpha = t->params->lora_scale * (double)t->params->lora.rank;
  char targets[32];
  orion_projection_text(t->params->lora.targets, targets);
  t->options.lora_targets = orion_arena_strdup(&t->arena, targets);
  return t->options.lora_targets ? ORION_OK : ORION_OOM(err, "trainer");
}

// Weights, gradients and moments, in fp32.
static uint64_t state_bytes(const orion_trainer *t) { return 16 * t->params->elements; }

// What is left for the step's program, at least a byte.
static size_t program_bytes(const orion_trainer *t) {
  uint64_t bound = t->options.memory, state = state_bytes(t);
  return bound == 0 ? 0 : bound > state ? (size_t)(bound - state) : 1;
}

static void note_recompute(orion_trainer *t) {
  static const char *const what[] = {[ORION_RECOMPUTE_CHEAP] = "what is cheap", [ORION_RECOMPUTE_MOST] = "most of it"};
  const orion_step *step = orion_updater_step(t->updater);
  const orion_step_spec *spec = orion_step_spec_of(step);
  if (spec->recompute != ORION_RECOMPUTE_CHEAP && spec->recompute != ORION_RECOMPUTE_MOST) return;
  if (t->options.recompute && strcmp(t->options.recompute, "auto") != 0) return;
  orion_strbuf_addf(&t->notes, "memory is short: of what the backward part reads %s is computed again (%s, %.0f MB of %.0f)\n",
                    what[spec->recompute], orion_recompute_name(spec->recompute),
                    (double)(state_bytes(t) + orion_step_memory(step)) / 1e6, (double)t->options.memory / 1e6);
}

static orion_status prepare(orion_trainer *t, const orion_model *model, const orion_tokenizer *tokenizer,
                            const orion_train_options *o, orion_error *err) {
  orion_step_spec spec;
  orion_update_kind update;
  ORION_TRY(check_options(o, &model->config, err));
  ORION_TRY(keep_options(t, o, err));
  ORION_TRY(read_names(t, &spec, &update, err));
  bool lora = o->lora_rank > 0 || o->lora_start;
  ORION_TRY(lora ? prepare_lora(t, model, &spec, update, err) : orion_params_create(model, t->device, &t->params, err));
  ORION_TRY(open_data(t, tokenizer, err));
  if (o->tokenizer_path) ORION_TRY(orion_tokenizer_files_open(o->tokenizer_path, &t->tokenizer, err));
  ORION_TRY(allocate(t, err));
  orion_adamw adamw = {o->beta1, o->beta2, o->eps, o->weight_decay, o->clip};
  orion_device_info info;
  orion_device_describe(t->device, &info);
  ORION_TRY(orion_optimizer_create(t->params, &adamw, info.threads, &t->optimizer, err));
  spec.memory = program_bytes(t);
  ORION_TRY(orion_updater_create(t->params, t->device, t->target, &t->source, &spec, update, &t->updater, err));
  if (orion_updater_note(t->updater)[0]) orion_strbuf_addf(&t->notes, "%s\n", orion_updater_note(t->updater));
  note_recompute(t);
  return orion_strbuf_status(&t->notes, err);
}

// All processes are where this one is, with the same weights, data and options; else all fail.
orion_status orion_trainer_agree(orion_trainer *t, orion_status status, orion_error *err) {
  const orion_train_options *o = &t->options;
  ORION_TRY(orion_comm_agree(o->comm, status, err));
  if (t->processes == 1) return ORION_OK;
  XXH3_state_t *state = XXH3_createState();
  status = orion_comm_agree(o->comm, state ? ORION_OK : ORION_OOM(err, "hash"), err);
  if (status != ORION_OK) {
    XXH3_freeState(state);
    return status;
  }
  XXH3_64bits_reset(state);
  int64_t counts[] = {o->steps, o->batch, o->seq, o->accum, o->warmup, t->step, t->updates, (int64_t)orion_tokens_hash(t->data),
                      orion_step_spec_of(orion_updater_step(t->updater))->kept_as};
  double numbers[] = {o->lr, o->min_lr, o->beta1, o->beta2, o->eps, o->weight_decay, o->clip, t->scaler.scale};
  XXH3_64bits_update(state, counts, sizeof counts);
  XXH3_64bits_update(state, numbers, sizeof numbers);
  for (size_t i = 0; i < t->params->n; i++) {
    XXH3_64bits_update(state, t->params->list[i].value, t->params->list[i].n * sizeof(float));
  }
  bool same = orion_comm_same(o->comm, XXH3_64bits_digest(state));
  XXH3_freeState(state);
  if (same) return ORION_OK;
  status = ORION_FAIL(err, ORION_INVALID, "train: the processes do not have the same weights, data and options (are the files "
                      "the same on all machines?)");
  return orion_comm_agree(o->comm, status, err);
}

orion_status orion_trainer_create_with(const orion_model *model, orion_device *device, const orion_tokenizer *tokenizer,
                                       const orion_train_options *o, const orion_step_source *source, orion_trainer **out,
                                       orion_error *err) {
  orion_trainer *t = orion_alloc_zero(model->allocator, 1, sizeof *t);
  if (!t) return ORION_OOM(err, "trainer");
  t->allocator = model->allocator;
  t->device = device;
  t->source = *source;
  t->options.comm = o->comm;
  t->processes = orion_comm_size(o->comm);
  t->eval_at = -1;
  t->best_loss = INFINITY;
  orion_arena_init(&t->arena, t->allocator);
  orion_strbuf_init(&t->notes, t->allocator);
  orion_status status = prepare(t, model, tokenizer, o, err);
  status = orion_trainer_agree(t, status, err);
  if (status != ORION_OK) {
    orion_trainer_destroy(t);
    return status;
  }
  *out = t;
  return ORION_OK;
}

void orion_trainer_destroy(orion_trainer *t) {
  if (!t) return;
  orion_step_destroy(t->eval_step);
  orion_updater_destroy(t->updater);
  orion_optimizer_destroy(t->optimizer);
  orion_tokens_close(t->data);
  orion_tokens_close(t->eval_data);
  orion_tokenizer_files_close(&t->tokenizer);
  orion_params_destroy(t->params);
  orion_strbuf_deinit(&t->notes);
  orion_arena_deinit(&t->arena);
  orion_free(t->allocator, t, 1, sizeof *t);
}

// ---- a step -----------------------------------------------------------------------------------------------------------

// The loss is NaN or infinite: say where that begins. The weights are finite (every update looks), so it is the program.
static orion_status bad_loss(const orion_trainer *t, double loss, size_t bad, orion_error *err) {
  const char *where = orion_step_overflow(orion_updater_step(t->updater));
  if (where) {
    return ORION_FAIL(err, ORION_NUMERIC, "step %lld: the loss is %s; all weights are finite, %s is not (lower --lr, or raise "
                      "--warmup)", (long long)t->step + 1, isnan(loss) ? "NaN" : "infinite", where);
  }
  const char *what = bad < t->params->n ? t->params->list[bad].name : NULL;
  return ORION_FAIL(err, ORION_NUMERIC, "step %lld: the loss is %s; all weights are finite%s%s (lower --lr, or raise --warmup)",
                    (long long)t->step + 1, isnan(loss) ? "NaN" : "infinite",
                    what ? ", the first gradient that is not is that of " : ", and so are all gradients", what ? what : "");
}

// This process's windows of the next micro-batch of all.
static void next_batch(orion_trainer *t) {
  const int64_t batch = t->options.batch, rank = orion_comm_rank(t->options.comm);
  orion_tokens_skip(t->data, &t->position, rank * batch);
  orion_tokens_next(t->data, &t->position, batch, t->inputs, t->targets);
  orion_tokens_skip(t->data, &t->position, (t->processes - 1 - rank) * batch);
}

static const float *const *gradients(const orion_trainer *t) {
  return orion_step_gradients(orion_updater_step(t->updater));
}

// All micro-batches of this process. *out_loss: the sum of their losses; the step has that of their gradients.
static orion_status run_batches(orion_trainer *t, double *out_loss, orion_error *err) {
  orion_step *step = orion_updater_step(t->updater);
  *out_loss = 0;
  t->overflow[0] = 0;
  for (int64_t k = 0; k < t->options.accum; k++) {
    double loss;
    next_batch(t);
    ORION_TRY((k ? orion_step_add : orion_step_run)(step, t->inputs, t->targets, t->scaler.scale, &loss, err));
    if (!isfinite(loss)) {
      size_t bad;
      orion_optimizer_norm(t->optimizer, gradients(t), 1, &bad);
      return bad_loss(t, loss, bad, err);
    }
    const char *where = orion_step_overflow(step);
    if (where && !t->overflow[0]) snprintf(t->overflow, sizeof t->overflow, "%s", where);
    *out_loss += loss;
  }
  return ORION_OK;
}

// What all processes together have; the loss becomes the mean over all micro-batches.
static orion_status gather(orion_trainer *t, orion_status status, orion_train_metrics *m, orion_error *err) {
  orion_comm *comm = t->options.comm;
  double start = orion_now();
  ORION_TRY(orion_comm_agree(comm, status, err));
  m->loss = orion_comm_sum(comm, m->loss) / (double)(t->options.accum * t->processes);
  orion_step *step = orion_updater_step(t->updater);
  for (size_t i = 0; t->processes > 1 && i < t->params->n; i++) {
    orion_comm_sum_floats(comm, orion_step_gradient(step, i), t->params->list[i].n);
  }
  m->comm_ms = t->processes > 1 ? (orion_now() - start) * 1e3 : 0;
  return ORION_OK;
}

// Gradients that are not finite: the step is skipped, if a smaller scale gives hope.
static orion_status skip(orion_trainer *t, size_t bad, orion_train_metrics *m, orion_error *err) {
  m->skipped = true;
  m->skipped_weight = t->overflow[0] ? t->overflow : t->params->list[bad].name;
  if (orion_scaler_note(&t->scaler, false)) return ORION_OK;
  return ORION_FAIL(err, ORION_NUMERIC, "step %lld: the gradient of %s is NaN or infinite at a loss scale of %g (lower --lr)",
                    (long long)t->step + 1, m->skipped_weight, m->loss_scale);
}

static orion_status update(orion_trainer *t, double unscale, orion_train_metrics *m, orion_error *err) {
  const float *const *grads = gradients(t);
  size_t bad;
  double start = orion_now();
  m->grad_norm = orion_optimizer_norm(t->optimizer, grads, unscale, &bad);
  if (bad < t->params->n) return skip(t, bad, m, err);
  bad = orion_optimizer_step(t->optimizer, grads, unscale, m->grad_norm, m->lr, t->updates + 1);
  m->optimizer_ms = (orion_now() - start) * 1e3;
  if (bad < t->params->n) {
    return ORION_FAIL(err, ORION_NUMERIC, "step %lld: the update made %s NaN or infinite (lower --lr)", (long long)t->step + 1,
                      t->params->list[bad].name);
  }
  t->updates++;
  orion_scaler_note(&t->scaler, true);
  return orion_updater_apply(t->updater, &m->update_ms, err);
}

orion_status orion_trainer_step(orion_trainer *t, orion_train_metrics *out, orion_error *err) {
  const orion_train_options *o = &t->options;
  double start = orion_now();
  orion_train_metrics m = {.lr = orion_schedule_lr(&t->schedule, t->step), .loss_scale = t->scaler.scale};
  orion_status status = run_batches(t, &m.loss, err);
  m.device_ms = (orion_now() - start) * 1e3;
  ORION_TRY(gather(t, status, &m, err));
  status = update(t, 1 / (m.loss_scale * (double)(o->accum * t->processes)), &m, err);
  ORION_TRY(orion_comm_agree(o->comm, status, err));
  uint64_t seen = (uint64_t)(o->batch * o->seq * o->accum * t->processes);
  t->tokens += seen;
  m.step = ++t->step;
  m.tokens = t->tokens;
  double seconds = orion_now() - start;
  m.step_ms = seconds * 1e3;
  m.tok_s = (double)seen / seconds;
  *out = m;
  return ORION_OK;
}

// ---- evaluation -------------------------------------------------------------------------------------------------------

// Where weights are inputs, a program of the loss alone reads the same masters; else the training program serves.
static orion_status eval_program(orion_trainer *t, orion_step **out, orion_error *err) {
  orion_step *step = orion_updater_step(t->updater);
  if (orion_updater_kind(t->updater) == ORION_UPDATE_INPUT && !orion_step_has_loss(step)) {
    if (!t->eval_step) {
      orion_step_spec spec = *orion_step_spec_of(step);
      spec.gradients = false;
      ORION_TRY(orion_step_create(t->params, t->device, t->target, &t->source, &spec, &t->eval_step, err));
    }
    ORION_TRY(orion_step_refresh(t->eval_step, err));
    step = t->eval_step;
  }
  *out = step;
  return ORION_OK;
}

static uint64_t eval_windows(const orion_trainer *t) {
  uint64_t windows = orion_tokens_windows(t->eval_data), wanted = (uint64_t)t->options.eval_windows;
  return wanted > 0 && wanted < windows ? wanted : windows;
}

// Windows go in batches, dealt out to the processes; the last batch is filled up with windows from the start, whose positions
// do not count: their targets are -1.
static orion_status evaluate(orion_trainer *t, double *out_total, orion_error *err) {
  const orion_train_options *o = &t->options;
  orion_step *step;
  ORION_TRY(eval_program(t, &step, err));
  const uint64_t windows = eval_windows(t), rank = (uint64_t)orion_comm_rank(o->comm);
  orion_tokens_position at = {0, 0};
  *out_total = 0;
  for (uint64_t done = 0, turn = 0; done < windows; turn++) {
    uint64_t n = windows - done < (uint64_t)o->batch ? windows - done : (uint64_t)o->batch;
    done += n;
    if (turn % (uint64_t)t->processes != rank) {
      orion_tokens_skip(t->eval_data, &at, o->batch);
      continue;
    }
    orion_tokens_next(t->eval_data, &at, o->batch, t->inputs, t->targets);
    for (int64_t i = (int64_t)n * o->seq; i < o->batch * o->seq; i++) t->targets[i] = -1;
    double loss;
    ORION_TRY(orion_step_loss(step, t->inputs, t->targets, &loss, err));
    if (!isfinite(loss)) return bad_loss(t, loss, t->params->n, err);
    *out_total += loss * (double)n;
  }
  return ORION_OK;
}

orion_status orion_trainer_evaluate(orion_trainer *t, double *out_loss, orion_error *err) {
  if (!t->eval_data) return ORION_FAIL(err, ORION_INVALID, "evaluation: there are no evaluation data");
  double total = 0;
  ORION_TRY(orion_comm_agree(t->options.comm, evaluate(t, &total, err), err));
  *out_loss = t->eval_loss = orion_comm_sum(t->options.comm, total) / (double)eval_windows(t);
  t->eval_at = t->step;
  return ORION_OK;
}

// ---- what is there ----------------------------------------------------------------------------------------------------

void orion_trainer_describe(const orion_trainer *t, orion_train_info *out) {
  const orion_step *step = orion_updater_step(t->updater);
  const size_t program = orion_step_memory(step);
  double windows = (double)orion_tokens_windows(t->data);
  *out = (orion_train_info){
      .step = t->step,
      .parameters = t->params->elements,
      .tokens = t->tokens,
      .windows = orion_tokens_windows(t->data),
      .epoch = (double)t->position.epoch + (double)t->position.index / windows,
      .update = orion_update_name(orion_updater_kind(t->updater)),
      .target = t->target->name,
      .programs = orion_step_parts(step),
      .recompute = t->target->ane ? NULL : orion_recompute_name(orion_step_spec_of(step)->recompute),
      .memory = program ? state_bytes(t) + program : 0,
      .best_loss = t->best_loss,
  };
}

bool orion_trainer_spent(const orion_trainer *t) { return orion_updater_spent(t->updater); }

const char *orion_trainer_notes(const orion_trainer *t) { return orion_strbuf_text(&t->notes); }
