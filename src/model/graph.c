// The graph of a model: composites where a family has its own arithmetic (RMS norm, rotation, attention), MIL's own
// operations elsewhere.
//
//   x ── norm1 ── q, k, v ── (q, k norm) ── (rotation) ── attention ── wo ── + ── norm2 ── feed-forward ── + ──> next
//   └──────────────────────────────────────────────────────────────────────┘ └────────────────────────────┘
//
// Names say the layer: "l3_q". Matrices are constants in the dtype they are kept in, cast in the graph where that is
// not the dtype of the arithmetic; vectors are small and kept in the latter.
#include "model/graph.h"

#include <math.h>
#include <stdio.h>

#include "ir/builder.h"

#define MAX_TOKENS (1 << 20)  // of one program; more than the context is well: buckets are padded

typedef struct graph {
  const orion_model *model;
  const orion_graph_spec *spec;
  orion_builder b;
  orion_value_id cos, sin, mask;  // ORION_NONE where there is none
} graph;

// ---- constants ---- What is optional is ORION_NONE, which the builder leaves out.

static orion_ref cast(graph *g, const char *stem, orion_ref x, orion_dtype from, orion_dtype to) {
  if (from == to) return x;
  orion_ref dtype = orion_build_string(&g->b, "dtype", orion_dtype_name(to));
  return ORION_BUILD(&g->b, stem, ORION_OP_cast, {"x", x}, {"dtype", dtype});
}

static orion_ref constant(graph *g, const char *stem, const orion_data *x, orion_dtype dtype, int rank) {
  const orion_data *data = orion_data_cast(g->model->data, x, dtype);
  if (!data) {
    orion_builder_fail(&g->b, ORION_NO_MEMORY, "weights: out of memory");
    return ORION_NONE;
  }
  return orion_build_weight(&g->b, stem, data, rank, (int64_t[]){(int64_t)x->rows, (int64_t)x->cols});
}

static orion_ref vector(graph *g, const char *stem, const orion_data *x) {
  return constant(g, stem, x, g->spec->compute, 1);
}

static orion_ref epsilon(graph *g) {
  return orion_build_float(&g->b, "eps", g->spec->compute, g->model->config.norm_eps);
}

// ---- blocks ---- x and results are [T, C].

static orion_value_id linear(graph *g, const char *stem, orion_value_id x, const orion_data *w, const orion_data *bias) {
  char name[32];
  snprintf(name, sizeof name, "%s_weight", stem);
  orion_ref weight = constant(g, name, w, g->spec->weights, 2);
  snprintf(name, sizeof name, "%s_weight_as_%s", stem, orion_dtype_name(g->spec->compute));
  weight = cast(g, name, weight, g->spec->weights, g->spec->compute);
  snprintf(name, sizeof name, "%s_bias", stem);
  orion_ref b = bias ? vector(g, name, bias) : ORION_NONE;
  return ORION_BUILD(&g->b, stem, ORION_OP_linear, {"x", x}, {"weight", weight}, {"bias", b});
}

static orion_value_id rms_norm(graph *g, const char *stem, orion_value_id x, const orion_data *gamma, int64_t groups) {
  char name[32];
  snprintf(name, sizeof name, "%s_gamma", stem);
  orion_ref weight = vector(g, name, gamma), eps = epsilon(g);
  orion_ref n = groups > 1 ? orion_build_int(&g->b, "groups", groups) : ORION_NONE;
  return ORION_BUILD(&g->b, stem, ORION_OP_orion_rms_norm, {"x", x}, {"gamma", weight}, {"epsilon", eps},
                     {"groups", n});
}

static orion_value_id norm(graph *g, const char *stem, orion_value_id x, const orion_data *gamma,
                           const orion_data *beta) {
  if (g->model->config.family != ORION_FAMILY_GPT2) return rms_norm(g, stem, x, gamma, 1);
  char name[32];
  snprintf(name, sizeof name, "%s_gamma", stem);
  orion_ref weight = vector(g, name, gamma);
  snprintf(name, sizeof name, "%s_beta", stem);
  orion_ref bias = vector(g, name, beta);
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

static void cache_output(graph *g, const char *stem, orion_value_id x, int layer) {
  char name[32];
  snprintf(name, sizeof name, "%s_%d", stem, layer);
  x = cast(g, name, x, g->spec->compute, g->spec->cache);
  orion_build_output(&g->b, x, name);
}

static orion_value_id attention(graph *g, orion_value_id x, const orion_layer_weights *w, int layer) {
  const orion_config *c = &g->model->config;
  orion_builder *b = &g->b;
  orion_value_id q = linear(g, "q", x, w->wq, w->bq), k = linear(g, "k", x, w->wk, w->bk);
  orion_value_id v = linear(g, "v", x, w->wv, w->bv);
  if (c->qk_norm) {
    q = rms_norm(g, "q_norm", q, w->q_norm, c->heads);
    k = rms_norm(g, "k_norm", k, w->k_norm, c->kv_heads);
  }
  q = rotate(g, "q_rope", q, c->heads);
  k = rotate(g, "k_rope", k, c->kv_heads);
  orion_ref heads = orion_build_int(b, "heads", c->heads), kv_heads = orion_build_int(b, "kv_heads", c->kv_heads);
  orion_ref scale = orion_build_float(b, "scale", g->spec->compute, 1 / sqrt((double)c->head_dim));
  orion_value_id old_k = ORION_NONE, old_v = ORION_NONE;
  if (g->spec->past) {
    old_k = cache_input(g, "k_cache", layer);
    old_v = cache_input(g, "v_cache", layer);
  }
  orion_value_id y = ORION_BUILD(b, "attention", ORION_OP_orion_attention, {"q", q}, {"k", k}, {"v", v},
                                 {"k_cache", old_k}, {"v_cache", old_v}, {"mask", g->mask}, {"heads", heads},
                                 {"kv_heads", kv_heads}, {"scale", scale});
  cache_output(g, "k", k, layer);
  cache_output(g, "v", v, layer);
  return linear(g, "o", y, w->wo, w->bo);
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

static orion_value_id feed_forward(graph *g, orion_value_id x, const orion_layer_weights *w) {
  orion_value_id h;
  if (g->model->config.gated) {
    orion_value_id gate = activate(g, linear(g, "gate", x, w->gate, w->gate_bias));
    orion_value_id up = linear(g, "up", x, w->up, w->up_bias);
    h = ORION_BUILD(&g->b, "gated", ORION_OP_mul, {"x", gate}, {"y", up});
  } else {
    h = activate(g, linear(g, "up", x, w->up, w->up_bias));
  }
  return linear(g, "down", h, w->down, w->down_bias);
}

// ---- programs ----

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
  if (s->past) g->mask = orion_build_param(b, "mask", s->compute, 2, (int64_t[]){1, s->past});
  for (int i = 0; i < (int)c->layers && b->status == ORION_OK; i++) {
    const orion_layer_weights *w = &g->model->layers[i];
    snprintf(b->prefix, sizeof b->prefix, "l%d_", i);
    orion_value_id y = attention(g, norm(g, "norm1", x, w->norm1, w->norm1_bias), w, i);
    x = ORION_BUILD(b, "x1", ORION_OP_add, {"x", x}, {"y", y});
    y = feed_forward(g, norm(g, "norm2", x, w->norm2, w->norm2_bias), w);
    x = ORION_BUILD(b, "x2", ORION_OP_add, {"x", x}, {"y", y});
  }
  orion_build_output(b, x, "y");
}

static void head(graph *g) {
  const orion_model *m = g->model;
  orion_value_id y = orion_build_param(&g->b, "y", g->spec->compute, 2, (int64_t[]){g->spec->tokens, m->config.dim});
  orion_value_id x = norm(g, "norm", y, m->norm, m->norm_bias);
  orion_build_output(&g->b, linear(g, "logits", x, m->classifier, NULL), "logits");
}

static orion_status check_spec(const orion_graph_spec *s, orion_error *err) {
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
  return ORION_OK;
}

orion_status orion_model_graph(const orion_model *m, const orion_graph_spec *spec, orion_program **out,
                               orion_error *err) {
  ORION_TRY(check_spec(spec, err));
  orion_program *p;
  ORION_TRY(orion_program_create(m->allocator, m->data, &p, err));
  orion_function *f;
  orion_status status = orion_program_add_function(p, "main", "ios18", &f, err);
  if (status == ORION_OK) {
    graph g = {.model = m, .spec = spec, .cos = ORION_NONE, .sin = ORION_NONE, .mask = ORION_NONE};
    orion_builder_init(&g.b, f);
    if (spec->kind == ORION_GRAPH_BODY) {
      body(&g);
    } else {
      head(&g);
    }
    status = orion_builder_finish(&g.b, err);
  }
  if (status == ORION_OK) {
    *out = p;
  } else {
    orion_program_destroy(p);
  }
  return status;
}
