// The programs of a session: which widths there are, and each compiled when it is first wanted.
#include "infer/session_impl.h"

#include <stdio.h>

#include "base/clock.h"
#include "model/graph.h"

#define LARGEST_BUCKET 1024

// ---- compiling ------------------------------------------------------------------------------------------------------

static orion_status compile(orion_session *s, const orion_graph_spec *spec, orion_runner *beside, orion_runner **out,
                            orion_error *err) {
  orion_program *graph;
  ORION_TRY(orion_model_graph(s->model, spec, &graph, err));
  orion_opt_options passes = {.passes = s->passes};
  orion_lower_options options = {.target = s->target, .passes = s->passes ? &passes : NULL,
                                .quantise = s->quantise, .keep_integers = s->keep_integers};
  orion_plan *plan;
  orion_status status = orion_lower(graph, &options, &plan, err);
  orion_program_destroy(graph);
  if (status != ORION_OK) return status;
  return orion_runner_create(s->device, plan, beside, out, err);
}

static orion_status find_tensor(const orion_runner *r, const char *name, orion_tensor **out, orion_error *err) {
  *out = orion_runner_tensor(r, name);
  return *out ? ORION_OK : ORION_FAIL(err, ORION_INTERNAL, "session: the program has no value %s", name);
}

static orion_status find_layer_tensors(orion_session *s, const orion_runner *r, const char *stem, orion_tensor **out,
                                       orion_error *err) {
  for (int64_t i = 0; i < s->model->config.layers; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s_%lld", stem, (long long)i);
    ORION_TRY(find_tensor(r, name, &out[i], err));
  }
  return ORION_OK;
}

static orion_graph_spec body_spec(const orion_session *s, int64_t tokens, bool cached) {
  orion_graph_spec spec = {.kind = ORION_GRAPH_BODY, .tokens = tokens, .past = cached ? s->cache_rows : 0};
  spec.compute = s->target->ane ? ORION_FP16 : ORION_FP32;
  spec.lora = s->mixes.slots;
  spec.weights = spec.cache = s->weights;
  return spec;
}

static orion_status compile_body(orion_session *s, orion_session_program *p, int64_t tokens, bool cached,
                                 orion_error *err) {
  const orion_config *c = &s->model->config;
  orion_graph_spec spec = body_spec(s, tokens, cached);
  double begin = orion_now();
  p->tokens = tokens;
  p->cached = cached;
  p->k = ORION_ARENA_ARRAY(&s->arena, orion_tensor *, (size_t)c->layers);
  p->v = ORION_ARENA_ARRAY(&s->arena, orion_tensor *, (size_t)c->layers);
  if (!p->k || !p->v) return ORION_OOM(err, "session");
  ORION_TRY(compile(s, &spec, s->step.runner, &p->runner, err));
  s->body_seconds = orion_now() - begin;
  ORION_TRY(find_tensor(p->runner, "x", &p->x, err));
  ORION_TRY(find_tensor(p->runner, "y", &p->y, err));
  if (c->rope) {
    ORION_TRY(find_tensor(p->runner, "cos", &p->cos, err));
    ORION_TRY(find_tensor(p->runner, "sin", &p->sin, err));
  }
  if (cached) ORION_TRY(find_tensor(p->runner, "mask", &p->mask, err));
  ORION_TRY(find_layer_tensors(s, p->runner, "k", p->k, err));
  ORION_TRY(find_layer_tensors(s, p->runner, "v", p->v, err));
  return orion_mixes_add(&s->mixes, p->runner, err);
}

static orion_status compile_head(orion_session *s, orion_session_program *p, int64_t tokens, orion_error *err) {
  orion_graph_spec spec = body_spec(s, tokens, false);
  spec.kind = ORION_GRAPH_HEAD;
  p->tokens = tokens;
  ORION_TRY(compile(s, &spec, s->step.runner, &p->runner, err));
  ORION_TRY(find_tensor(p->runner, "y", &p->x, err));
  return find_tensor(p->runner, "logits", &p->y, err);
}

// A program that failed half-way must not look compiled.
static orion_status ensure_body(orion_session *s, orion_session_program *p, int64_t tokens, bool cached,
                                orion_error *err) {
  if (p->runner) return ORION_OK;
  orion_status status = compile_body(s, p, tokens, cached, err);
  if (status != ORION_OK) {
    orion_runner_destroy(p->runner);
    *p = (orion_session_program){.tokens = tokens, .cached = cached};
  }
  return status;
}

// A head that failed half-way must not look compiled either.
static orion_status ensure_head(orion_session *s, orion_session_program *p, orion_error *err) {
  if (p->runner) return ORION_OK;
  orion_status status = compile_head(s, p, p->tokens, err);
  if (status != ORION_OK) {
    orion_runner_destroy(p->runner);
    *p = (orion_session_program){.tokens = p->tokens};
  }
  return status;
}

// ---- widths ---------------------------------------------------------------------------------------------------------

// `tokens` as the target wants it, but no wider than the whole context.
static int64_t width_within(const orion_session *s, int64_t tokens) {
  int64_t wanted = orion_session_round(s, tokens);
  return wanted < s->cache_rows ? wanted : s->cache_rows;
}

static void choose_buckets(orion_session *s) {
  for (int64_t t = orion_session_round(s, 8); s->n_prefill < ORION_SESSION_BUCKETS; t *= 2) {
    s->prefill[s->n_prefill++].tokens = width_within(s, t);
    if (t >= s->context || t >= LARGEST_BUCKET) break;
  }
}

// Some tokens at once cost less in a program that is not much wider. The engine's step is wide enough already: 0 widths.
static void choose_widths(orion_session *s) {
  for (int64_t t = 4; !s->target->ane && s->n_widths < ORION_SESSION_WIDTHS; t *= 2) {
    int64_t tokens = width_within(s, t);
    s->extend[s->n_widths].tokens = s->wide_head[s->n_widths].tokens = tokens;
    s->n_widths++;
    if (tokens < t) break;
  }
}

// The narrowest of these programs that takes n tokens, else the widest.
static orion_session_program *width_for(const orion_session *s, orion_session_program *of, size_t n) {
  size_t w = 0;
  while (w + 1 < s->n_widths && of[w].tokens < (int64_t)n) w++;
  return &of[w];
}

orion_status orion_session_open_programs(orion_session *s, orion_error *err) {
  ORION_TRY(compile_body(s, &s->step, s->target->width_multiple, true, err));
  ORION_TRY(compile_head(s, &s->head, s->target->width_multiple, err));
  ORION_TRY(find_layer_tensors(s, s->step.runner, "k_cache", s->k_cache, err));
  ORION_TRY(find_layer_tensors(s, s->step.runner, "v_cache", s->v_cache, err));
  choose_buckets(s);
  choose_widths(s);
  return ORION_OK;
}

void orion_session_close_programs(orion_session *s) {
  for (size_t i = 0; i < s->n_prefill; i++) orion_runner_destroy(s->prefill[i].runner);
  for (size_t i = 0; i < s->n_widths; i++) {
    orion_runner_destroy(s->wide_head[i].runner);
    orion_runner_destroy(s->extend[i].runner);
  }
  orion_runner_destroy(s->head.runner);
  orion_runner_destroy(s->step.runner);  // last: the others share its tensors
}

orion_status orion_session_choose_body(orion_session *s, size_t n, orion_session_program **out, int64_t *out_n,
                                       orion_error *err) {
  orion_session_program *p = &s->step;
  if (n > (size_t)s->step.tokens && s->position == 0) {
    size_t b = 0;
    while (b + 1 < s->n_prefill && s->prefill[b].tokens < (int64_t)n) b++;
    p = &s->prefill[b];
    ORION_TRY(ensure_body(s, p, p->tokens, false, err));
  } else if (n > (size_t)s->step.tokens && !s->target->ane) {
    p = width_for(s, s->extend, n);
    ORION_TRY(ensure_body(s, p, p->tokens, true, err));
  }
  *out = p;
  *out_n = (int64_t)n < p->tokens ? (int64_t)n : p->tokens;
  return ORION_OK;
}

orion_status orion_session_choose_head(orion_session *s, int64_t n, orion_session_program **out, orion_error *err) {
  *out = n <= s->head.tokens || s->n_widths == 0 ? &s->head : width_for(s, s->wide_head, (size_t)n);
  return ensure_head(s, *out, err);
}
