// The graph of a model: composites where a family has its own arithmetic (RMS norm, rotation, attention), MIL's own
// operations elsewhere.
//
//   x ── norm1 ── q, k, v ── (q, k norm) ── (rotation) ── attention ── wo ── + ── norm2 ── feed-forward ── + ──> next
//   └──────────────────────────────────────────────────────────────────────┘ └────────────────────────────┘
//
// Names say the layer: "l3_q"; weights are called as their fields are: "l3_wq". Matrices are constants in the dtype they
// are kept in, cast in the graph where that is not the dtype of the arithmetic; vectors are small and kept in the latter.
// For training every weight is in the dtype that is asked for, and may be a parameter.
#include "model/graph.h"

#include <math.h>
#include <stdio.h>

#include "ir/builder.h"

#define MAX_TOKENS (1 << 20)  // of one program; more than the context is well: buckets are padded

typedef struct graph {
  const orion_model *model;
  const orion_graph_spec *spec;    // of training graphs: the part they share
  int64_t batch;                   // sequences
  bool training, inputs;
  const orion_unit_spec *unit;     // of training in pieces
  orion_builder b;
  double lora_scale;               // of training graphs
  orion_value_id cos, sin, mask, gate;  // ORION_NONE where there is none
} graph;

typedef struct named {  // a weight and the name of its field
  const char *key;
  const orion_data *data;
} named;
#define WEIGHT(w, field) ((named){#field, (w)->field})

// ---- constants ---- What is optional is ORION_NONE, which the builder leaves out.

static orion_ref cast(graph *g, const char *stem, orion_ref x, orion_dtype from, orion_dtype to) {
  if (from == to || x == ORION_NONE) return x;
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

// A weight as it is kept, matrix or vector; ORION_NONE where there is none.
static orion_ref stored(graph *g, named w, int rank, orion_dtype dtype) {
  if (!w.data) return ORION_NONE;
  if (!g->inputs) return constant(g, w.key, w.data, dtype, rank);
  char name[96];
  snprintf(name, sizeof name, "%s%s", g->b.prefix, w.key);
  return orion_build_param(&g->b, name, dtype, rank, (int64_t[]){(int64_t)w.data->rows, (int64_t)w.data->cols});
}

static orion_ref as_computed(graph *g, const char *key, orion_ref x, orion_dtype from) {
  char name[48];
  snprintf(name, sizeof name, "%s_as_%s", key, orion_dtype_name(g->spec->compute));
  return cast(g, name, x, from, g->spec->compute);
}

static orion_ref matrix(graph *g, named w) {
  return as_computed(g, w.key, stored(g, w, 2, g->spec->weights), g->spec->weights);
}

static orion_ref vector(graph *g, named w) {
  orion_dtype dtype = g->training ? g->spec->weights : g->spec->compute;
  return as_computed(g, w.key, stored(g, w, 1, dtype), dtype);
}

// In fp32 whatever the arithmetic: 1e-6 in fp16 would be off by a hundredth.
static orion_ref epsilon(graph *g) {
  return orion_build_float(&g->b, "eps", ORION_FP32, g->model->config.norm_eps);
}

// ---- blocks ---- x and results are [T, C].

static orion_value_id linear(graph *g, const char *stem, orion_value_id x, named w, named bias) {
  orion_ref weight = matrix(g, w), b = vector(g, bias);
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
static orion_value_id norm(graph *g, const char *stem, orion_value_id x, named gamma, named beta) {
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

static orion_value_id layer(graph *g, orion_value_id x, int i) {
  orion_builder *b = &g->b;
  const orion_layer_weights *w = &g->model->layers[i];
  orion_value_id h = norm(g, "h1", x, WEIGHT(w, norm1), WEIGHT(w, norm1_bias));
  orion_value_id y = attention(g, h, w, i);
  x = ORION_BUILD(b, "x1", ORION_OP_add, {"x", x}, {"y", y});
  y = feed_forward(g, norm(g, "h2", x, WEIGHT(w, norm2), WEIGHT(w, norm2_bias)), w, i);
  return ORION_BUILD(b, "x2", ORION_OP_add, {"x", x}, {"y", y});
}

static orion_value_id layers(graph *g, orion_value_id x) {
  for (int i = 0; i < (int)g->model->config.layers && g->b.status == ORION_OK; i++) {
    snprintf(g->b.prefix, sizeof g->b.prefix, "l%d_", i);
    x = layer(g, x, i);
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
  orion_build_output(b, layers(g, x), "y");
}

static void head(graph *g) {
  const orion_model *m = g->model;
  orion_value_id y = orion_build_param(&g->b, "y", g->spec->compute, 2, (int64_t[]){g->spec->tokens, m->config.dim});
  orion_value_id h = norm(g, "h", y, WEIGHT(m, norm), WEIGHT(m, norm_bias));
  orion_build_output(&g->b, linear(g, "logits", h, WEIGHT(m, classifier), (named){0}), "logits");
}

// ---- training -------------------------------------------------------------------------------------------------------

static orion_value_id take_rows(graph *g, const char *stem, orion_ref table, orion_ref rows) {
  orion_value_id x = ORION_BUILD(&g->b, stem, ORION_OP_gather, {"x", table}, {"indices", rows},
                                 {"axis", orion_build_int(&g->b, "axis", 0)});
  return as_computed(g, stem, x, g->spec->weights);
}

// The position of each of the B*T tokens in its sequence.
static orion_ref position_of_each(graph *g) {
  int64_t n = g->batch * g->spec->tokens;
  void *bytes;
  const orion_data *data = orion_data_new(g->model->data, ORION_INT32, (size_t)n, 1, &bytes);
  for (int64_t i = 0; data && i < n; i++) ((int32_t *)bytes)[i] = (int32_t)(i % g->spec->tokens);
  return orion_build_weight(&g->b, "position", data, 1, &n);
}

// Rotary tables of every token, constants [B*T, head_dim/2].
static void rotary_tables(graph *g) {
  const orion_config *c = &g->model->config;
  int64_t T = g->spec->tokens, half = c->head_dim / 2, dims[2] = {g->batch * T, half};
  void *cosines, *sines;
  const orion_data *cos = orion_data_new(g->model->data, ORION_FP32, (size_t)dims[0], (size_t)half, &cosines);
  const orion_data *sin = orion_data_new(g->model->data, ORION_FP32, (size_t)dims[0], (size_t)half, &sines);
  for (int64_t i = 0; cos && sin && i < dims[0]; i++) {
    orion_config_rope(c, i % T, (float *)cosines + i * half, (float *)sines + i * half);
  }
  if (!cos || !sin) {
    orion_builder_fail(&g->b, ORION_NO_MEMORY, "rotary tables: out of memory");
    return;
  }
  g->cos = constant(g, "cos", cos, g->spec->compute, 2);
  g->sin = constant(g, "sin", sin, g->spec->compute, 2);
}

static void training(graph *g) {
  const orion_model *m = g->model;
  orion_builder *b = &g->b;
  int64_t n = g->batch * g->spec->tokens;
  orion_value_id tokens = orion_build_param(b, "tokens", ORION_INT32, 1, &n);
  orion_value_id targets = orion_build_param(b, "targets", ORION_INT32, 1, &n);
  orion_ref embedding = stored(g, WEIGHT(m, embedding), 2, g->spec->weights);
  orion_value_id x = take_rows(g, "embedded", embedding, tokens);
  if (m->positions) {
    orion_ref positions = stored(g, WEIGHT(m, positions), 2, g->spec->weights);
    x = ORION_BUILD(b, "x", ORION_OP_add, {"x", x}, {"y", take_rows(g, "placed", positions, position_of_each(g))});
  }
  if (m->config.rope) rotary_tables(g);
  orion_value_id h = norm(g, "h", layers(g, x), WEIGHT(m, norm), WEIGHT(m, norm_bias));
  orion_ref classifier = m->config.tied ? as_computed(g, "embedding", embedding, g->spec->weights)
                                        : matrix(g, WEIGHT(m, classifier));
  orion_value_id logits = ORION_BUILD(b, "logits", ORION_OP_linear, {"x", h}, {"weight", classifier});
  orion_build_output(b, ORION_BUILD(b, "loss", ORION_OP_orion_cross_entropy, {"logits", logits}, {"targets", targets}), "loss");
}

// ---- training in pieces ----------------------------------------------------------------------------------------------

static orion_value_id binary(graph *g, const char *stem, orion_opcode code, orion_ref x, orion_ref y) {
  return ORION_BUILD(&g->b, stem, code, {"x", x}, {"y", y});
}

static orion_value_id over_classes(graph *g, const char *stem, orion_opcode code, orion_ref x) {
  return ORION_BUILD(&g->b, stem, code, {"x", x}, {"axes", orion_build_ints(&g->b, "axes", 1, (int64_t[]){-1})},
                     {"keep_dims", orion_build_bool(&g->b, "keep", true)});
}

static orion_value_id product(graph *g, const char *stem, orion_ref x, orion_ref y, bool tx) {
  return ORION_BUILD(&g->b, stem, ORION_OP_matmul, {"x", x}, {"y", y}, {"transpose_x", orion_build_bool(&g->b, "tx", tx)},
                     {"transpose_y", orion_build_bool(&g->b, "ty", false)});
}

static orion_value_id unit_input(graph *g, const char *name, int64_t cols) {
  int64_t dims[2] = {g->batch * g->spec->tokens, cols};
  return orion_build_param(&g->b, name, g->spec->compute, 2, dims);
}

// |digit of the target - digit of the class|, [N, classes].
static orion_value_id digit_distance(graph *g, const char *input, bool high) {
  int64_t n = g->unit->classes;
  void *bytes;
  const orion_data *data = orion_data_new(g->model->data, g->spec->compute, (size_t)n, 1, &bytes);
  for (int64_t i = 0; data && i < n; i++) {
    int64_t digit = high ? i / ORION_CLASS_BASE : i % ORION_CLASS_BASE;
    orion_store_double(g->spec->compute, bytes, (size_t)i, (double)digit);
  }
  if (!data) {
    orion_builder_fail(&g->b, ORION_NO_MEMORY, "classes: out of memory");
    return ORION_NONE;
  }
  orion_ref digits = orion_build_weight(&g->b, high ? "high" : "low", data, 1, &n);
  orion_value_id apart = binary(g, high ? "high_apart" : "low_apart", ORION_OP_sub, unit_input(g, input, 1), digits);
  return ORION_BUILD(&g->b, high ? "high_off" : "low_off", ORION_OP_abs, {"x", apart});
}

// 1 at the target, else 0, without a comparison: max(0, 1 - distance of the digits).
static orion_value_id hot(graph *g) {
  orion_value_id high = digit_distance(g, "target_high", true), low = digit_distance(g, "target_low", false);
  orion_value_id off = binary(g, "off", ORION_OP_add, high, low);
  orion_value_id near = binary(g, "near", ORION_OP_sub, orion_build_float(&g->b, "one", g->spec->compute, 1), off);
  return ORION_BUILD(&g->b, "hot", ORION_OP_relu, {"x", near});
}

static orion_ref class_weights(graph *g) {
  const orion_unit_spec *u = g->unit;
  uint32_t *index = ORION_ARENA_ARRAY(&g->b.f->program->arena, uint32_t, (size_t)u->classes);
  for (int64_t i = 0; index && i < u->classes; i++) index[i] = (uint32_t)(u->first + i);
  const orion_data *all = g->model->classifier;
  const orion_data *some = index ? orion_data_take_rows(g->model->data, all, (size_t)u->classes, index) : NULL;
  if (some) return matrix(g, (named){"classifier", some});
  orion_builder_fail(&g->b, ORION_NO_MEMORY, "classes: out of memory");
  return ORION_NONE;
}

static void layer_unit(graph *g) {
  orion_value_id x = unit_input(g, "x", g->model->config.dim);
  if (g->model->config.rope) rotary_tables(g);
  orion_build_output(&g->b, layer(g, x, (int)g->unit->layer), "y");
}

static void norm_unit(graph *g) {
  const orion_model *m = g->model;
  orion_value_id x = unit_input(g, "x", m->config.dim);
  orion_build_output(&g->b, norm(g, "y", x, WEIGHT(m, norm), WEIGHT(m, norm_bias)), "y");
}

// exp(logit - peak) of each class.
static orion_value_id powers(graph *g, orion_ref logits, orion_ref peak) {
  return ORION_BUILD(&g->b, "e", ORION_OP_exp, {"x", binary(g, "z", ORION_OP_sub, logits, peak)});
}

static void loss_unit(graph *g) {
  orion_builder *b = &g->b;
  orion_value_id h = unit_input(g, "h", g->model->config.dim);
  orion_value_id logits = ORION_BUILD(b, "logits", ORION_OP_linear, {"x", h}, {"weight", class_weights(g)});
  orion_value_id max = over_classes(g, "max", ORION_OP_reduce_max, logits);
  orion_value_id sum = over_classes(g, "sum", ORION_OP_reduce_sum, powers(g, logits, max));
  orion_value_id picked = over_classes(g, "picked", ORION_OP_reduce_sum, binary(g, "at_target", ORION_OP_mul, logits, hot(g)));
  orion_build_output(b, max, "max");
  orion_build_output(b, sum, "sum");
  orion_build_output(b, picked, "picked");
}

static void loss_grad_unit(graph *g) {
  orion_builder *b = &g->b;
  int64_t dim = g->model->config.dim;
  orion_value_id h = unit_input(g, "h", dim), dh_in = unit_input(g, "dh_in", dim), peak = unit_input(g, "peak", 1);
  orion_value_id share = unit_input(g, "share", 1), weight = unit_input(g, "weight", 1);
  orion_ref classes = class_weights(g);
  orion_value_id logits = ORION_BUILD(b, "logits", ORION_OP_linear, {"x", h}, {"weight", classes});
  orion_value_id p = binary(g, "p", ORION_OP_mul, powers(g, logits, peak), share);
  orion_value_id d = binary(g, "d", ORION_OP_sub, p, binary(g, "target", ORION_OP_mul, hot(g), weight));
  orion_build_output(b, binary(g, "dh", ORION_OP_add, dh_in, product(g, "dh_part", d, classes, false)), "dh");
  orion_build_output(b, product(g, "d_classifier", d, h, true), "d_classifier");
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
  if (s->lora.rank < 0 || s->lora.rank > ORION_LORA_MAX_RANK) {
    return ORION_FAIL(err, ORION_INVALID, "graph: slots for adapters of rank %lld (want 0 to %d)", (long long)s->lora.rank,
                      ORION_LORA_MAX_RANK);
  }
  return ORION_OK;
}

static orion_status build(graph *g, void (*make)(graph *g), orion_program **out, orion_error *err) {
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
  ORION_TRY(check_spec(spec, err));
  graph g = {.model = m, .spec = spec, .batch = 1, .lora_scale = 1};
  return build(&g, spec->kind == ORION_GRAPH_BODY ? body : head, out, err);
}

orion_status orion_model_train_graph(const orion_model *m, const orion_train_graph_spec *spec, orion_program **out,
                                     orion_error *err) {
  const orion_graph_spec shared = {
      .tokens = spec->tokens, .compute = spec->compute, .weights = spec->weights, .cache = spec->compute,
      .lora = spec->lora};
  ORION_TRY(check_spec(&shared, err));
  if (spec->tokens > m->config.context) {
    return ORION_FAIL(err, ORION_INVALID, "graph: sequences of %lld tokens (want 1 to the model's context of %lld)",
                      (long long)spec->tokens, (long long)m->config.context);
  }
  if (spec->batch < 1 || spec->batch > (1 << 24) / spec->tokens) {
    return ORION_FAIL(err, ORION_INVALID, "graph: %lld sequences of %lld tokens at once (want 1 to %d)",
                      (long long)spec->batch, (long long)spec->tokens, (1 << 24) / (int)spec->tokens);
  }
  graph g = {.model = m, .spec = &shared, .batch = spec->batch, .training = true, .inputs = spec->inputs,
             .lora_scale = spec->lora_scale};
  return build(&g, training, out, err);
}

static orion_status check_unit(const orion_config *c, const orion_unit_spec *u, orion_error *err) {
  if (u->batch < 1 || u->tokens < 1 || u->batch > (1 << 24) / u->tokens) {
    return ORION_FAIL(err, ORION_INVALID, "graph: %lld sequences of %lld tokens at once", (long long)u->batch,
                      (long long)u->tokens);
  }
  bool loss = u->kind == ORION_UNIT_LOSS || u->kind == ORION_UNIT_LOSS_GRAD;
  bool classes = u->first >= 0 && u->classes > 0 && u->classes <= ORION_MAX_UNIT_CLASSES && u->first + u->classes <= c->vocab;
  if ((loss && !classes) || (u->kind == ORION_UNIT_LAYER && (u->layer < 0 || u->layer >= c->layers))) {
    return ORION_FAIL(err, ORION_INVALID, "graph: no such layer, or classes [%lld, %lld) of %lld", (long long)u->first,
                      (long long)(u->first + u->classes), (long long)c->vocab);
  }
  return ORION_OK;
}

orion_status orion_model_unit_graph(const orion_model *m, const orion_unit_spec *spec, orion_program **out,
                                    orion_error *err) {
  const orion_graph_spec shared = {
      .tokens = spec->tokens, .compute = spec->compute, .weights = spec->weights, .cache = spec->compute};
  ORION_TRY(check_spec(&shared, err));
  ORION_TRY(check_unit(&m->config, spec, err));
  graph g = {.model = m, .spec = &shared, .batch = spec->batch, .training = true, .inputs = spec->inputs, .unit = spec};
  static void (*const units[])(graph *g) = {layer_unit, norm_unit, loss_unit, loss_grad_unit};
  return build(&g, units[spec->kind], out, err);
}
