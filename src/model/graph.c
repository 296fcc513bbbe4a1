// The graph of a model: composites where a family has its own arithmetic (RMS norm, rotation, attention), MIL's own
// operations elsewhere.
//
//   x ── norm1 ── q, k, v ── (q, k norm) ── (rotation) ── attention ── wo ── + ── norm2 ── feed-forward ── + ──> next
//   └──────────────────────────────────────────────────────────────────────┘ └────────────────────────────┘
//
// Names say the layer: "l3_q"; weights are called as their fields are: "l3_wq". Matrices are constants in the dtype they
// are kept in, cast in the graph where that is not the dtype of the arithmetic; vectors are small and kept in the latter.
// For training (graph_train.c) every weight is in the dtype that is asked for, and may be a parameter.
#include "model/graph_impl.h"

#include <math.h>
#include <stdio.h>

#define MAX_TOKENS (1 << 20)  // of one program; more than the context is well: buckets are padded

// ---- constants ---- What is optional is ORION_NONE, which the builder leaves out.

static orion_ref cast(graph *g, const char *stem, orion_ref x, orion_dtype from, orion_dtype to) {
  if (from == to || x == ORION_NONE) return x;
  orion_ref dtype = orion_build_string(&g->b, "dtype", orion_dtype_name(to));
  return ORION_BUILD(&g->b, stem, ORION_OP_cast, {"x", x}, {"dtype", dtype});
}

orion_ref orion_graph_constant(graph *g, const char *stem, const orion_data *x, orion_dtype dtype, int rank) {
  const orion_data *data = orion_data_cast(g->model->data, x, dtype);
  if (!data) {
    orion_builder_fail(&g->b, ORION_NO_MEMORY, "weights: out of memory");
    return ORION_NONE;
  }
  return orion_build_weight(&g->b, stem, data, rank, (int64_t[]){(int64_t)x->rows, (int64_t)x->cols});
}

// A weight as it is kept, matrix or vector; ORION_NONE where there is none.
orion_ref orion_graph_stored(graph *g, named w, int rank, orion_dtype dtype) {
  if (!w.data) return ORION_NONE;
  if (!g->inputs) return orion_graph_constant(g, w.key, w.data, dtype, rank);
  char name[96];
  snprintf(name, sizeof name, "%s%s", g->b.prefix, w.key);
  return orion_build_param(&g->b, name, dtype, rank, (int64_t[]){(int64_t)w.data->rows, (int64_t)w.data->cols});
}

orion_ref orion_graph_as_computed(graph *g, const char *key, orion_ref x, orion_dtype from) {
  char name[48];
  snprintf(name, sizeof name, "%s_as_%s", key, orion_dtype_name(g->spec->compute));
  return cast(g, name, x, from, g->spec->compute);
}

orion_ref orion_graph_matrix(graph *g, named w) {
  return orion_graph_as_computed(g, w.key, orion_graph_stored(g, w, 2, g->spec->weights), g->spec->weights);
}

static orion_ref vector(graph *g, named w) {
  orion_dtype dtype = g->training ? g->spec->weights : g->spec->compute;
  return orion_graph_as_computed(g, w.key, orion_graph_stored(g, w, 1, dtype), dtype);
}

// In fp32 whatever the arithmetic: 1e-6 in fp16 would be off by a hundredth.
static orion_ref epsilon(graph *g) {
  return orion_build_float(&g->b, "eps", ORION_FP32, g->model->config.norm_eps);
}

// ---- blocks ---- x and results are [T, C].

static orion_value_id linear(graph *g, const char *stem, orion_value_id x, named w, named bias) {
  orion_ref weight = orion_graph_matrix(g, w), b = vector(g, bias);
  return ORION_BUILD(&g->b, stem, ORION_OP_linear, {"x", x}, {"weight", weight}, {"bias", b});
}

// ---- slots for adapters ----

static orion_value_id slot_input(graph *g, int layer, orion_projection p, orion_lora_half half, int64_t cols) {
  char name[ORION_LORA_NAME];
  orion_lora_name(name, g->model->config.family, layer, p, half);
  orion_value_id v = orion_function_find(g->b.f, name);  // the projections of a joint matrix share one input a
  if (v != ORION_NONE) return v;
  return orion_build_param(&g->b, name, g->spec->compute, 2, (int64_t[]){g->spec->lora.rank, cols});
}

// A projection, and what adapters add to it where it has a slot.
static orion_value_id projection(graph *g, const char *stem, orion_value_id x, named w, named bias, orion_projection p,
                                 int layer) {
  orion_value_id y = linear(g, stem, x, w, bias);
  const orion_lora_slots *slots = &g->spec->lora;
  if (slots->rank == 0 || !(slots->targets >> p & 1) || !w.data) return y;
  orion_value_id a = slot_input(g, layer, p, ORION_LORA_A, (int64_t)w.data->cols);
  orion_value_id b = slot_input(g, layer, p, ORION_LORA_B, (int64_t)w.data->rows);
  char added[32], sum[32];
  snprintf(added, sizeof added, "%s_lora", stem);
  snprintf(sum, sizeof sum, "%s_adapted", stem);
  orion_ref scale = g->lora_scale != 1 ? orion_build_float(&g->b, "lora_scale", g->spec->compute, g->lora_scale) : ORION_NONE;
  orion_value_id d = ORION_BUILD(&g->b, added, ORION_OP_orion_lora, {"x", x}, {"a", a}, {"b", b}, {"gate", g->gate},
                                 {"scale", scale});
  return ORION_BUILD(&g->b, sum, ORION_OP_add, {"x", y}, {"y", d});
}

static orion_value_id rms_norm(graph *g, const char *stem, orion_value_id x, named gamma, int64_t groups) {
  orion_ref weight = vector(g, gamma), eps = epsilon(g);
  orion_ref n = groups > 1 ? orion_build_int(&g->b, "groups", groups) : ORION_NONE;
  return ORION_BUILD(&g->b, stem, ORION_OP_orion_rms_norm, {"x", x}, {"gamma", weight}, {"epsilon", eps},
                     {"groups", n});
}

// `stem` is not the weight's name: the result must not take it.
orion_value_id orion_graph_norm(graph *g, const char *stem, orion_value_id x, named gamma, named beta) {
  if (g->model->config.family != ORION_FAMILY_GPT2) return rms_norm(g, stem, x, gamma, 1);
  orion_ref weight = vector(g, gamma), bias = vector(g, beta);
  orion_ref axes = orion_build_ints(&g->b, "axes", 1, (int64_t[]){-1}), eps = epsilon(g);
  return ORION_BUILD(&g->b, stem, ORION_OP_layer_norm, {"x", x}, {"axes", axes}, {"gamma", weight}, {"beta", bias},
                     {"epsilon", eps});
}

static orion_value_id rotate(graph *g, const char *stem, orion_value_id x, int64_t heads) {
  if (!g->model->config.rope) return x;
  orion_ref n = orion_build_int(&g->b, "heads", heads);
  return ORION_BUILD(&g->b, stem, ORION_OP_orion_rope, {"x", x}, {"cos", g->cos}, {"sin", g->sin}, {"heads", n});
}

static orion_value_id cache_input(graph *g, const char *stem, int layer) {
  const orion_config *c = &g->model->config;
  char name[32];
  snprintf(name, sizeof name, "%s_%d", stem, layer);
  int64_t dims[2] = {g->spec->past, c->kv_heads * c->head_dim};
  orion_value_id x = orion_build_param(&g->b, name, g->spec->cache, 2, dims);
  return cast(g, stem, x, g->spec->cache, g->spec->compute);
}

// New keys and values as the cache will hold them, which is also how this token sees them: a text gives the same result
// whichever of its tokens go together.
static orion_value_id cache_output(graph *g, const char *stem, orion_value_id x, int layer) {
  char name[32];
  snprintf(name, sizeof name, "%s_%d", stem, layer);
  orion_value_id stored = cast(g, name, x, g->spec->compute, g->spec->cache);
  orion_build_output(&g->b, stored, name);
  return cast(g, stem, stored, g->spec->cache, g->spec->compute);
}

static orion_value_id attention(graph *g, orion_value_id x, const orion_layer_weights *w, int layer) {
  const orion_config *c = &g->model->config;
  orion_builder *b = &g->b;
  orion_value_id q = projection(g, "q", x, WEIGHT(w, wq), WEIGHT(w, bq), ORION_PROJECTION_Q, layer);
  orion_value_id k = projection(g, "k", x, WEIGHT(w, wk), WEIGHT(w, bk), ORION_PROJECTION_K, layer);
  orion_value_id v = projection(g, "v", x, WEIGHT(w, wv), WEIGHT(w, bv), ORION_PROJECTION_V, layer);
  if (c->qk_norm) {
    q = rms_norm(g, "q_normed", q, WEIGHT(w, q_norm), c->heads);
    k = rms_norm(g, "k_normed", k, WEIGHT(w, k_norm), c->kv_heads);
  }
  q = rotate(g, "q_rope", q, c->heads);
  k = rotate(g, "k_rope", k, c->kv_heads);
  orion_ref heads = orion_build_int(b, "heads", c->heads), kv_heads = orion_build_int(b, "kv_heads", c->kv_heads);
  orion_ref scale = orion_build_float(b, "scale", g->spec->compute, 1 / sqrt((double)c->head_dim));
  orion_ref batch = g->batch > 1 ? orion_build_int(b, "batch", g->batch) : ORION_NONE;
  if (!g->training) {
    k = cache_output(g, "k", k, layer);
    v = cache_output(g, "v", v, layer);
  }
  orion_value_id old_k = ORION_NONE, old_v = ORION_NONE;
  if (g->spec->past) {
    old_k = cache_input(g, "k_cache", layer);
    old_v = cache_input(g, "v_cache", layer);
  }
  orion_value_id y = ORION_BUILD(b, "attention", ORION_OP_orion_attention, {"q", q}, {"k", k}, {"v", v},
                                 {"k_cache", old_k}, {"v_cache", old_v}, {"mask", g->mask}, {"heads", heads},
                                 {"kv_heads", kv_heads}, {"scale", scale}, {"batch", batch});
  return projection(g, "o", y, WEIGHT(w, wo), WEIGHT(w, bo), ORION_PROJECTION_O, layer);
}

static orion_value_id activate(graph *g, orion_value_id x) {
  switch (g->model->config.activation) {
    case ORION_ACT_SILU: return ORION_BUILD(&g->b, "act", ORION_OP_silu, {"x", x});
    case ORION_ACT_RELU: return ORION_BUILD(&g->b, "act", ORION_OP_relu, {"x", x});
    case ORION_ACT_GELU_TANH:
    case ORION_ACT_GELU_ERF: break;
  }
  bool tanh = g->model->config.activation == ORION_ACT_GELU_TANH;
  orion_ref mode = orion_build_string(&g->b, "mode", tanh ? "TANH_APPROXIMATION" : "EXACT");
  return ORION_BUILD(&g->b, "act", ORION_OP_gelu, {"x", x}, {"mode", mode});
}

static orion_value_id feed_forward(graph *g, orion_value_id x, const orion_layer_weights *w, int layer) {
  orion_value_id h;
  if (g->model->config.gated) {
    h = activate(g, projection(g, "gated_in", x, WEIGHT(w, gate), WEIGHT(w, gate_bias), ORION_PROJECTION_GATE, layer));
    orion_value_id wide = projection(g, "wide", x, WEIGHT(w, up), WEIGHT(w, up_bias), ORION_PROJECTION_UP, layer);
    h = ORION_BUILD(&g->b, "gated", ORION_OP_mul, {"x", h}, {"y", wide});
  } else {
    h = activate(g, projection(g, "wide", x, WEIGHT(w, up), WEIGHT(w, up_bias), ORION_PROJECTION_UP, layer));
  }
  return projection(g, "narrow", h, WEIGHT(w, down), WEIGHT(w, down_bias), ORION_PROJECTION_DOWN, layer);
}

// ---- programs ----

orion_value_id orion_graph_layer(graph *g, orion_value_id x, int i) {
  orion_builder *b = &g->b;
  const orion_layer_weights *w = &g->model->layers[i];
  orion_value_id h = orion_graph_norm(g, "h1", x, WEIGHT(w, norm1), WEIGHT(w, norm1_bias));
  orion_value_id y = attention(g, h, w, i);
  x = ORION_BUILD(b, "x1", ORION_OP_add, {"x", x}, {"y", y});
  y = feed_forward(g, orion_graph_norm(g, "h2", x, WEIGHT(w, norm2), WEIGHT(w, norm2_bias)), w, i);
  return ORION_BUILD(b, "x2", ORION_OP_add, {"x", x}, {"y", y});
}

orion_value_id orion_graph_layers(graph *g, orion_value_id x) {
  for (int i = 0; i < (int)g->model->config.layers && g->b.status == ORION_OK; i++) {
    snprintf(g->b.prefix, sizeof g->b.prefix, "l%d_", i);
    x = orion_graph_layer(g, x, i);
  }
  g->b.prefix[0] = 0;
  return x;
}

static void body(graph *g) {
  const orion_config *c = &g->model->config;
  const orion_graph_spec *s = g->spec;
  orion_builder *b = &g->b;
  orion_value_id x = orion_build_param(b, "x", s->compute, 2, (int64_t[]){s->tokens, c->dim});
  if (c->rope) {
    int64_t dims[2] = {s->tokens, c->head_dim / 2};
    g->cos = orion_build_param(b, "cos", s->compute, 2, dims);
    g->sin = orion_build_param(b, "sin", s->compute, 2, dims);
  }
  if (s->lora.rank) g->gate = orion_build_param(b, ORION_LORA_GATE, s->compute, 2, (int64_t[]){s->tokens, s->lora.rank});
  if (s->past) g->mask = orion_build_param(b, "mask", s->compute, 2, (int64_t[]){1, s->past});
  orion_build_output(b, orion_graph_layers(g, x), "y");
}

static void head(graph *g) {
  const orion_model *m = g->model;
  orion_value_id y = orion_build_param(&g->b, "y", g->spec->compute, 2, (int64_t[]){g->spec->tokens, m->config.dim});
  orion_value_id h = orion_graph_norm(g, "h", y, WEIGHT(m, norm), WEIGHT(m, norm_bias));
  orion_build_output(&g->b, linear(g, "logits", h, WEIGHT(m, classifier), (named){0}), "logits");
}

orion_status orion_graph_check(const orion_graph_spec *s, orion_error *err) {
  if (s->tokens < 1 || s->tokens > MAX_TOKENS) {
    return ORION_FAIL(err, ORION_INVALID, "graph: %lld tokens at once (want 1 to %d)", (long long)s->tokens, MAX_TOKENS);
  }
  if (s->past < 0 || s->past > (1 << 26)) {
    return ORION_FAIL(err, ORION_INVALID, "graph: %lld cached positions", (long long)s->past);
  }
  if (s->compute != ORION_FP32 && s->compute != ORION_FP16) {
    return ORION_FAIL(err, ORION_INVALID, "graph: cannot compute in %s (want fp32 or fp16)",
                      orion_dtype_name(s->compute));
  }
  if (!orion_dtype_is_float(s->weights) || !orion_dtype_is_float(s->cache)) {
    return ORION_FAIL(err, ORION_INVALID, "graph: weights in %s and cache in %s (want floating-point types)",
                      orion_dtype_name(s->weights), orion_dtype_name(s->cache));
  }
  if (s->lora.rank < 0 || s->lora.rank > ORION_LORA_MAX_RANK) {
    return ORION_FAIL(err, ORION_INVALID, "graph: slots for adapters of rank %lld (want 0 to %d)", (long long)s->lora.rank,
                      ORION_LORA_MAX_RANK);
  }
  return ORION_OK;
}

orion_status orion_graph_build(graph *g, void (*make)(graph *g), orion_program **out, orion_error *err) {
  orion_program *p;
  ORION_TRY(orion_program_create(g->model->allocator, g->model->data, &p, err));
  orion_function *f;
  orion_status status = orion_program_add_function(p, "main", "ios18", &f, err);
  if (status == ORION_OK) {
    g->cos = g->sin = g->mask = g->gate = ORION_NONE;
    orion_builder_init(&g->b, f);
    make(g);
    status = orion_builder_finish(&g->b, err);
  }
  if (status == ORION_OK) {
    *out = p;
  } else {
    orion_program_destroy(p);
  }
  return status;
}

orion_status orion_model_graph(const orion_model *m, const orion_graph_spec *spec, orion_program **out,
                               orion_error *err) {
  ORION_TRY(orion_graph_check(spec, err));
  graph g = {.model = m, .spec = spec, .batch = 1, .lora_scale = 1};
  return orion_graph_build(&g, spec->kind == ORION_GRAPH_BODY ? body : head, out, err);
}

