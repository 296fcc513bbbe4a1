// How a text goes through the programs of a session (session_impl.h).
//
// Every program of the body returns the new keys and values; the session copies them into the cache surfaces, which all
// programs share. The mask tells which cached positions count. Padding positions compute results that nobody reads: the
// causal mask keeps them from the real ones. They must be finite all the same, for no mask stops a NaN, so rows that an
// earlier run filled are cleared.
#include "infer/session_impl.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MASKED (-1e4f)

void orion_session_options_init(orion_session_options *o) { *o = (orion_session_options){.struct_size = sizeof *o}; }

// What the device runs best: the programs of the chip family that it stands for, else those for cpu.
static const char *default_target(const orion_session *s) {
  orion_device_info info;
  orion_device_describe(s->device, &info);
  return info.family && orion_target_find(info.family) ? info.family : "cpu";
}

// Slots as wide as the target wants rows to be.
static orion_status choose_slots(orion_session *s, const orion_session_options *o, orion_error *err) {
  const orion_config *c = &s->model->config;
  s->mixes = (orion_mixes){.allocator = s->allocator, .device = s->device, .config = c};
  if (o->lora_rank < 0 || o->lora_rank > ORION_LORA_MAX_RANK) {
    return ORION_FAIL(err, ORION_INVALID, "lora_rank: %lld is not within 0 to %d", (long long)o->lora_rank, ORION_LORA_MAX_RANK);
  }
  if (o->lora_rank == 0) return ORION_OK;
  s->mixes.slots.rank = orion_session_round(s, o->lora_rank);
  return orion_projection_parse(c, o->lora_targets, &s->mixes.slots.targets, err);
}

static orion_status check_options(orion_session *s, const orion_session_options *o, orion_error *err) {
  const orion_config *c = &s->model->config;
  if (o->struct_size < sizeof *o) {
    return ORION_FAIL(err, ORION_INVALID, "session options: struct_size is %zu (want %zu)", o->struct_size, sizeof *o);
  }
  if (o->context < 0 || o->context > c->context) {
    return ORION_FAIL(err, ORION_INVALID, "context: %lld is not within 1 to the model's %lld", (long long)o->context,
                      (long long)c->context);
  }
  s->context = o->context ? o->context : c->context;
  const char *target = o->target ? o->target : default_target(s);
  s->target = orion_target_find(target);
  if (!s->target) return ORION_FAIL(err, ORION_INVALID, "target: there is no \"%s\" (m1 to m6, or cpu)", target);
  const char *weights = o->weights ? o->weights : "fp16";
  s->quantise = strcmp(weights, "int8") == 0 ? ORION_INT8 : strcmp(weights, "int4") == 0 ? ORION_INT4 : ORION_DTYPE_NONE;
  s->keep_integers = !o->weights || s->quantise;
  bool half = s->quantise || strcmp(weights, "fp16") == 0;
  s->weights = half ? ORION_FP16 : strcmp(weights, "fp32") == 0 ? ORION_FP32 : ORION_DTYPE_NONE;
  if (!s->weights) {
    return ORION_FAIL(err, ORION_INVALID, "weights: \"%s\" is none of fp32, fp16, int8 and int4", weights);
  }
  if (s->target->ane && s->weights != ORION_FP16) {
    return ORION_FAIL(err, ORION_INVALID, "weights: programs for %s are fp16, int8 or int4 (leave the option out)",
                      target);
  }
  if (o->passes && !(s->passes = orion_arena_strdup(&s->arena, o->passes))) return ORION_OOM(err, "session");
  s->cache_rows = orion_session_round(s, s->context);
  return choose_slots(s, o, err);
}

static orion_status allocate(orion_session *s, orion_error *err) {
  const orion_config *c = &s->model->config;
  s->k_cache = ORION_ARENA_ARRAY(&s->arena, orion_tensor *, (size_t)c->layers);
  s->v_cache = ORION_ARENA_ARRAY(&s->arena, orion_tensor *, (size_t)c->layers);
  s->row = ORION_ARENA_ARRAY(&s->arena, float, (size_t)c->dim);
  s->half_cos = ORION_ARENA_ARRAY(&s->arena, float, (size_t)c->head_dim);
  s->half_sin = ORION_ARENA_ARRAY(&s->arena, float, (size_t)c->head_dim);
  s->logits = ORION_ARENA_ARRAY(&s->arena, float, (size_t)c->vocab);
  bool ok = s->k_cache && s->v_cache && s->row && s->half_cos && s->half_sin && s->logits;
  return ok ? ORION_OK : ORION_OOM(err, "session");
}

orion_status orion_session_create(orion_model *model, orion_device *device, const orion_session_options *o,
                                  orion_session **out, orion_error *err) {
  orion_session_options defaults;
  orion_session_options_init(&defaults);
  if (!o) o = &defaults;
  orion_session *s = orion_alloc_zero(model->allocator, 1, sizeof *s);
  if (!s) return ORION_OOM(err, "session");
  s->allocator = model->allocator;
  s->model = model;
  s->device = device;
  orion_arena_init(&s->arena, s->allocator);
  orion_status status = check_options(s, o, err);
  if (status == ORION_OK) status = allocate(s, err);
  if (status == ORION_OK) status = orion_session_open_programs(s, err);
  if (status != ORION_OK) {
    orion_session_destroy(s);
    return status;
  }
  orion_tensor_fill(s->step.mask, 0, 0, s->cache_rows, MASKED);
  *out = s;
  return ORION_OK;
}

void orion_session_destroy(orion_session *s) {
  if (!s) return;
  orion_session_close_programs(s);
  orion_arena_deinit(&s->arena);
  orion_free(s->allocator, s, 1, sizeof *s);
}

// ---- running --------------------------------------------------------------------------------------------------------

static void open_mask(orion_session *s, int64_t position) {
  if (position > s->masked_to) orion_tensor_fill(s->step.mask, 0, s->masked_to, position - s->masked_to, 0);
  if (position < s->masked_to) orion_tensor_fill(s->step.mask, 0, position, s->masked_to - position, MASKED);
  s->masked_to = position;
}

static bool all_finite(const float *v, int64_t n) {
  int bad = 0;
  for (int64_t i = 0; i < n; i++) bad |= !(fabsf(v[i]) <= FLT_MAX);
  return !bad;
}

// A NaN most often comes from the model's file: then the weight is named too.
static orion_status blame(const orion_session *s, orion_error *err) {
  char what[256];
  orion_error weight = {0};
  if (!err || orion_model_check_weights(s->model, s->weights, &weight) != ORION_NUMERIC) return ORION_NUMERIC;
  snprintf(what, sizeof what, "%.255s", err->message);
  *err = weight;
  orion_error_prefix(err, "%s", what);
  return ORION_NUMERIC;
}

static orion_status write_inputs(orion_session *s, orion_session_program *p, const int32_t *tokens, int64_t n,
                                 orion_error *err) {
  const orion_config *c = &s->model->config;
  int64_t *filled = p->x->surface == s->step.x->surface ? &s->step.filled : &p->filled;
  for (int64_t t = 0; t < n; t++) {
    int64_t position = s->position + t;
    ORION_TRY(orion_model_embed(s->model, tokens[t], position, s->row, err));
    if (!all_finite(s->row, c->dim)) {
      (void)ORION_FAIL(err, ORION_NUMERIC, "position %lld: the embedding of token %d is NaN or infinite",
                       (long long)position, tokens[t]);
      return blame(s, err);
    }
    orion_tensor_put(p->x, t, s->row);
    if (t >= *filled) *filled = t + 1;
    if (!c->rope) continue;
    orion_config_rope(c, position, s->half_cos, s->half_sin);
    orion_tensor_put(p->cos, t, s->half_cos);
    orion_tensor_put(p->sin, t, s->half_sin);
  }
  for (; *filled > n; --*filled) orion_tensor_fill(p->x, *filled - 1, 0, c->dim, 0);
  return ORION_OK;
}

static orion_status check_finite(const orion_session *s, const orion_session_program *p, int64_t n, orion_error *err) {
  int64_t row, col;
  if (!orion_tensor_find_nonfinite(p->y, n, &row, &col)) return ORION_OK;
  (void)ORION_FAIL(err, ORION_NUMERIC, "position %lld: feature %lld of the last layer's output is NaN or infinite",
                   (long long)(s->position + row), (long long)col);
  return blame(s, err);
}

// Runs n <= p->tokens tokens through the body and stores their keys and values.
static orion_status run_body(orion_session *s, orion_session_program *p, const int32_t *tokens, int64_t n,
                             orion_error *err) {
  ORION_TRY(write_inputs(s, p, tokens, n, err));
  if (p->cached) open_mask(s, s->position);
  ORION_TRY(orion_mixes_run(&s->mixes, p->runner, n, s->scales, err));
  s->runs += orion_runner_parts(p->runner);
  ORION_TRY(check_finite(s, p, n, err));
  for (int64_t i = 0; i < s->model->config.layers; i++) {
    orion_tensor_copy(p->k[i], 0, n, s->k_cache[i], s->position);
    orion_tensor_copy(p->v[i], 0, n, s->v_cache[i], s->position);
  }
  s->position += n;
  return ORION_OK;
}

static orion_status read_logits(orion_session *s, const orion_session_program *head, int64_t row, int64_t position,
                                orion_error *err) {
  for (orion_tensor *t = head->y; t; t = orion_runner_next(head->runner, t)) {
    orion_tensor_get(t, row, s->logits + t->first_col);
  }
  if (!all_finite(s->logits, s->model->config.vocab)) {
    (void)ORION_FAIL(err, ORION_NUMERIC, "position %lld: a logit is NaN or infinite", (long long)position);
    return blame(s, err);
  }
  s->has_logits = true;
  return ORION_OK;
}

// Logits of row `row` of the body's output. Where body and head share the surface, nothing is copied.
static orion_status run_head(orion_session *s, const orion_session_program *body, int64_t row, orion_error *err) {
  bool shared = body->y->surface == s->head.x->surface;
  if (!shared) orion_tensor_copy(body->y, row, 1, s->head.x, 0);
  ORION_TRY(orion_runner_run(s->head.runner, err));
  s->runs += orion_runner_parts(s->head.runner);
  return read_logits(s, &s->head, shared ? row : 0, s->position - 1, err);
}

static orion_status check_tokens(const orion_session *s, const int32_t *tokens, size_t n, orion_error *err) {
  if (n > (size_t)(s->context - s->position)) {
    return ORION_FAIL(err, ORION_LIMIT,
                      "context: %lld positions are used and %zu more do not fit in %lld (truncate, or open a longer one)",
                      (long long)s->position, n, (long long)s->context);
  }
  for (size_t i = 0; i < n; i++) {
    if (tokens[i] < 0 || tokens[i] >= s->model->config.vocab) {
      return ORION_FAIL(err, ORION_INVALID, "token %d is outside the vocabulary of %lld", tokens[i],
                        (long long)s->model->config.vocab);
    }
  }
  return ORION_OK;
}

// Feeds in pieces; after each, `after` sees the body's program and how many rows of its output are real. A feed that
// fails under way leaves the position as it was; what it wrote lies behind the mask.
typedef orion_status (*after_fn)(orion_session *s, orion_session_program *p, size_t done, int64_t n, bool last,
                                 void *ctx, orion_error *err);

static orion_status feed(orion_session *s, const int32_t *tokens, size_t n, after_fn after, void *ctx,
                         orion_error *err) {
  ORION_TRY(check_tokens(s, tokens, n, err));
  int64_t start = s->position;
  orion_status status = ORION_OK;
  s->runs = 0;
  for (size_t done = 0; status == ORION_OK && done < n;) {
    orion_session_program *p;
    int64_t m;
    status = orion_session_choose_body(s, n - done, &p, &m, err);
    if (status == ORION_OK) status = run_body(s, p, tokens + done, m, err);
    if (status == ORION_OK) status = after(s, p, done, m, done + (size_t)m == n, ctx, err);
    if (status != ORION_OK) break;
    done += (size_t)m;
    if (s->scales) s->scales += (size_t)m * orion_mix_parts(s->mixes.used);
    if (n > 1) s->last_bucket = p->tokens;
  }
  if (status != ORION_OK) {
    s->position = start;
    s->has_logits = false;
  } else if (n > 1) {
    s->prefill_runs = s->runs;
  }
  return status;
}

static orion_status after_feed(orion_session *s, orion_session_program *p, size_t done, int64_t n, bool last, void *ctx,
                               orion_error *err) {
  return last ? run_head(s, p, n - 1, err) : ORION_OK;
}

orion_status orion_session_feed(orion_session *s, const int32_t *tokens, size_t n, orion_error *err) {
  return n ? feed(s, tokens, n, after_feed, NULL, err) : ORION_OK;
}

orion_status orion_session_feed_scaled(orion_session *s, const int32_t *tokens, size_t n, const double *scales,
                                       orion_error *err) {
  if (!s->mixes.used) return ORION_FAIL(err, ORION_INVALID, "scales: no mix of adapters is in use");
  for (size_t i = 0; i < n * orion_mix_parts(s->mixes.used); i++) {
    if (!isfinite(scales[i])) return ORION_FAIL(err, ORION_INVALID, "scales: number %zu is %g", i, scales[i]);
  }
  s->scales = scales;
  orion_status status = orion_session_feed(s, tokens, n, err);
  s->scales = NULL;
  return status;
}

orion_mixes *orion_session_mixes(orion_session *s) { return &s->mixes; }

typedef struct each_logits {
  orion_logits_fn fn;
  void *ctx;
} each_logits;

static orion_status after_feed_all(orion_session *s, orion_session_program *p, size_t done, int64_t n, bool last,
                                   void *ctx, orion_error *err) {
  each_logits *each = ctx;
  orion_session_program *head;
  ORION_TRY(orion_session_choose_head(s, n, &head, err));
  for (int64_t row = 0; row < n; row += head->tokens) {
    int64_t m = n - row < head->tokens ? n - row : head->tokens;
    bool shared = p->y->surface == head->x->surface;
    if (!shared) orion_tensor_copy(p->y, row, m, head->x, 0);
    ORION_TRY(orion_runner_run(head->runner, err));
    s->runs += orion_runner_parts(head->runner);
    for (int64_t i = 0; i < m; i++) {
      ORION_TRY(read_logits(s, head, i, s->position - n + row + i, err));
      ORION_TRY(each->fn(each->ctx, done + (size_t)(row + i), s->logits, err));
    }
  }
  return ORION_OK;
}

orion_status orion_session_feed_all(orion_session *s, const int32_t *tokens, size_t n, orion_logits_fn each, void *ctx,
                                    orion_error *err) {
  each_logits e = {each, ctx};
  return feed(s, tokens, n, after_feed_all, &e, err);
}

void orion_session_truncate(orion_session *s, int64_t position) {
  if (position < 0) position = 0;
  if (position >= s->position) return;
  s->position = position;
  s->has_logits = false;
}

int64_t orion_session_context(const orion_session *s) { return s->context; }
int64_t orion_session_position(const orion_session *s) { return s->position; }
int64_t orion_session_vocab(const orion_session *s) { return s->model->config.vocab; }
const float *orion_session_logits(const orion_session *s) { return s->has_logits ? s->logits : NULL; }

void orion_session_describe(const orion_session *s, orion_session_info *out) {
  *out = (orion_session_info){
      .target = s->target->name,
      .decode_runs = orion_runner_parts(s->step.runner) + orion_runner_parts(s->head.runner),
      .prefill_runs = s->prefill_runs,
      .weight_bytes = orion_runner_weight_bytes(s->step.runner) + orion_runner_weight_bytes(s->head.runner),
      .width_seconds = s->n_widths ? s->body_seconds : 0,
      .last_bucket = s->last_bucket,
  };
}
