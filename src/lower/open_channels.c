// Opening composites for the Neural Engine: every [T, C] value becomes [1, C, 1, T], fp16.
//
//   linear      1x1 convolution with weight [O, C, 1, 1], then the bias as an add of [1, O, 1, 1]; a classifier wider
//               than one convolution may be becomes several, each an output of its own
//   norms       over the channels, scaled so that nothing overflows: with a = max(max|x|, floor) and u = x / a every
//               square is at most 1, and eps becomes eps / a^2. The floor keeps 1/a and eps/a^2 within fp16. LayerNorm
//               starts from x / 2, for x less its mean may be twice as large as fp16 goes.
//   rope        [1, H, n, T], halves along the height axis (no slice along the last axis: it saturates on M1 and M2)
//   lora        a and b are inputs [1, 1, C, R] and [1, 1, N, R], whose rows of R are as wide as the target wants them: h = a^T x
//               and y = b h, both matmul over [.., T]; the gate [1, 1, R, T] meets h
//   attention   per group of query heads: scores = q^T k as matmul over [1, KV, n, T]; the cached and the new positions
//               keep separate scores and share one maximum and one sum, so that nothing is concatenated along S;
//               values are summed as v p^T, which lands in [n, T] without a transpose
#include "lower/channels.h"

#include <math.h>
#include <stdio.h>

#define NORM_FLOOR 0x1p-8  // of max|x| in norms: eps / floor^2 stays below 65504 for eps up to 0.99

// The constant data behind a graph value, through the casts that the graph puts after narrow weights.
static const orion_data *weight_of(lowering *l, const orion_op *op, const char *arg) {
  orion_ref ref = orion_op_ref(op, arg);
  while (ref != ORION_NONE && !orion_ref_is_literal(ref)) {
    orion_op_id def = l->from->values[ref].def;
    if (def == ORION_NONE || l->from->ops[def].code != ORION_OP_cast) break;
    ref = orion_op_ref(&l->from->ops[def], "x");
  }
  const orion_literal *val = orion_ref_literal(l->from, ref);
  return val ? val->data : NULL;
}

// A constant as fp16 tensor of the given dims (rank 4).
static orion_ref fp16_weight(lowering *l, const char *stem, const orion_data *data, int64_t d0, int64_t d1, int64_t d2,
                             int64_t d3) {
  if (!data) {
    orion_builder_fail(&l->b, ORION_UNSUPPORTED, "%s: weights of a graph are constants", stem);
    return ORION_NONE;
  }
  const orion_data *half = orion_data_cast(l->program->data, data, ORION_FP16);
  if (!half) {
    orion_builder_fail(&l->b, ORION_NO_MEMORY, "%s: out of memory", stem);
    return ORION_NONE;
  }
  return orion_build_weight(&l->b, stem, half, 4, (int64_t[]){d0, d1, d2, d3});
}

static orion_ref open_conv(lowering *l, const char *stem, orion_ref x, const orion_data *weight, const orion_data *bias) {
  orion_builder *b = &l->b;
  int64_t out = weight ? (int64_t)weight->rows : 0, in = weight ? (int64_t)weight->cols : 0;
  const int64_t ones[] = {1, 1}, zeros[] = {0, 0, 0, 0};
  orion_ref y = ORION_BUILD(b, stem, ORION_OP_conv, {"x", x}, {"weight", fp16_weight(l, "weight", weight, out, in, 1, 1)},
                            {"strides", orion_build_ints(b, "strides", 2, ones)},
                            {"pad_type", orion_build_string(b, "pad_type", "valid")},
                            {"pad", orion_build_ints(b, "pad", 4, zeros)},
                            {"dilations", orion_build_ints(b, "dilations", 2, ones)},
                            {"groups", orion_build_int(b, "groups", 1)});
  if (bias) y = binary(l, "biased", ORION_OP_add, y, fp16_weight(l, "bias", bias, 1, out, 1, 1));
  return y;
}

orion_ref orion_channels_vector(lowering *l, const orion_op *op, const char *arg, int64_t d1, int64_t d2) {
  if (!orion_op_arg(op, arg)) return ORION_NONE;
  if (mapped(l, op, arg) != ORION_NONE) return reshape(l, arg, mapped(l, op, arg), 1, d1, d2, 1);
  return fp16_weight(l, arg, weight_of(l, op, arg), 1, d1, d2, 1);
}

static orion_ref open_linear(lowering *l, const orion_op *op) {
  if (mapped(l, op, "weight") != ORION_NONE) return orion_channels_open_product(l, op);
  const orion_data *bias = weight_of(l, op, "bias");
  if (orion_op_arg(op, "bias") && !bias) {
    orion_builder_fail(&l->b, ORION_UNSUPPORTED, "bias: weights of a graph are constants");
    return ORION_NONE;
  }
  return open_conv(l, "conv", mapped(l, op, "x"), weight_of(l, op, "weight"), bias);
}

// u = x / a with a = max(max|x| over `axis`, floor), and e = eps / a^2.
static void prescale(lowering *l, orion_ref x, int64_t axis, double epsilon, orion_ref *out_u, orion_ref *out_e,
                     orion_ref *out_inverse) {
  orion_ref top = reduce(l, "norm_max", ORION_OP_reduce_max, unary(l, "norm_abs", ORION_OP_abs, x), axis);
  top = binary(l, "norm_top", ORION_OP_maximum, top, constant(l, "floor", NORM_FLOOR));
  orion_ref inverse = binary(l, "norm_inv", ORION_OP_real_div, constant(l, "one", 1), top);
  *out_u = binary(l, "norm_u", ORION_OP_mul, x, inverse);
  orion_ref root = binary(l, "norm_se", ORION_OP_mul, inverse, constant(l, "root_eps", sqrt(epsilon)));
  *out_e = binary(l, "norm_e", ORION_OP_mul, root, root);
  *out_inverse = inverse;
}

// u / sqrt(mean(u^2) + e). LayerNorm works on x / 2, so its eps is a quarter.
channels_norm orion_channels_norm(lowering *l, orion_ref x, int64_t axis, double epsilon, bool centred) {
  channels_norm n;
  orion_ref u, e;
  if (centred) {
    x = binary(l, "norm_half", ORION_OP_mul, x, constant(l, "half", 0.5));
    x = binary(l, "norm_c", ORION_OP_sub, x, reduce(l, "norm_mean", ORION_OP_reduce_mean, x, axis));
  }
  prescale(l, x, axis, centred ? epsilon / 4 : epsilon, &u, &e, &n.inverse);
  orion_ref mean = reduce(l, "norm_ms", ORION_OP_reduce_mean, binary(l, "norm_sq", ORION_OP_mul, u, u), axis);
  orion_ref sum = binary(l, "norm_mse", ORION_OP_add, mean, e);
  n.r = binary(l, "norm_r", ORION_OP_pow, sum, constant(l, "power", -0.5));
  n.hat = binary(l, "norm_n", ORION_OP_mul, u, n.r);
  return n;
}

static orion_ref open_layer_norm(lowering *l, const orion_op *op, const orion_type *type) {
  double epsilon = 1e-5;
  int64_t C = type->dims[1];
  orion_op_float(l->from, op, "epsilon", &epsilon);
  orion_ref y = orion_channels_norm(l, mapped(l, op, "x"), 1, epsilon, true).hat;
  orion_ref gamma = orion_channels_vector(l, op, "gamma", C, 1);
  if (gamma != ORION_NONE) y = binary(l, "norm_g", ORION_OP_mul, y, gamma);
  orion_ref beta = orion_channels_vector(l, op, "beta", C, 1);
  if (beta != ORION_NONE) y = binary(l, "norm_b", ORION_OP_add, y, beta);
  return y;
}

static orion_ref open_rms_norm(lowering *l, const orion_op *op, const orion_type *type) {
  double epsilon = 1e-5;
  int64_t groups = 1, T = type->dims[0], C = type->dims[1];
  orion_op_float(l->from, op, "epsilon", &epsilon);
  orion_op_int(l->from, op, "groups", &groups);
  int64_t n = C / groups, axis = groups > 1 ? 2 : 1;
  orion_ref x = mapped(l, op, "x");
  if (groups > 1) x = reshape(l, "norm_in", x, 1, groups, n, T);
  orion_ref hat = orion_channels_norm(l, x, axis, epsilon, false).hat;
  orion_ref gamma = groups > 1 ? orion_channels_vector(l, op, "gamma", 1, n) : orion_channels_vector(l, op, "gamma", C, 1);
  orion_ref y = binary(l, "norm_g", ORION_OP_mul, hat, gamma);
  return groups > 1 ? reshape(l, "norm_out", y, 1, C, 1, T) : y;
}

orion_ref orion_channels_concat_rows(lowering *l, const char *stem, size_t n, const orion_ref *parts) {
  orion_builder *b = &l->b;
  if (n == 1) return parts[0];
  orion_in rest[] = {{"axis", orion_build_int(b, "axis", 2)}, {"interleave", orion_build_bool(b, "interleave", false)}, {0}};
  return orion_build_tuple_op(b, stem, ORION_OP_concat, "values", n, parts, rest);
}

static orion_ref open_rope(lowering *l, const orion_op *op, const orion_type *type) {
  int64_t heads = 1, T = type->dims[0], C = type->dims[1];
  orion_op_int(l->from, op, "heads", &heads);
  int64_t n = C / heads, half = n / 2;
  orion_ref x = reshape(l, "rope_in", mapped(l, op, "x"), 1, heads, n, T);
  orion_ref cos = mapped(l, op, "cos"), sin = mapped(l, op, "sin");  // [1, 1, n/2, T], see open_params
  orion_ref a = rows(l, "rope_a", x, heads, 0, half, T), c = rows(l, "rope_b", x, heads, half, half, T);
  orion_ref first = binary(l, "rope_lo", ORION_OP_sub, binary(l, "rope_ac", ORION_OP_mul, a, cos),
                           binary(l, "rope_bs", ORION_OP_mul, c, sin));
  orion_ref second = binary(l, "rope_hi", ORION_OP_add, binary(l, "rope_bc", ORION_OP_mul, c, cos),
                            binary(l, "rope_as", ORION_OP_mul, a, sin));
  return reshape(l, "rope_out", orion_channels_concat_rows(l, "rope_y", 2, (orion_ref[]){first, second}), 1, C, 1, T);
}

typedef struct group {        // one group of query heads: one head for each KV head
  orion_ref q;                // [1, KV, n, T]
  orion_ref k, v;             // [1, KV, n, T]
  orion_ref k_cache, v_cache; // [1, KV, n, S] or ORION_NONE
  orion_ref mask, causal;     // [1, 1, 1, S], [1, 1, T, T]
} group;

// Weighted values of one group, [1, KV, n, T].
static orion_ref attend(lowering *l, const group *g) {
  orion_builder *b = &l->b;
  orion_ref s = binary(l, "scores_m", ORION_OP_add, matmul(l, "scores", g->q, g->k, true, false), g->causal);
  if (g->k_cache == ORION_NONE) {
    return matmul(l, "mix", g->v, softmax(l, "probs", s), false, true);
  }
  orion_ref c = binary(l, "past_scores_m", ORION_OP_add, matmul(l, "past_scores", g->q, g->k_cache, true, false), g->mask);
  orion_ref top = binary(l, "top", ORION_OP_maximum, reduce(l, "past_top", ORION_OP_reduce_max, c, -1),
                         reduce(l, "new_top", ORION_OP_reduce_max, s, -1));
  orion_ref ec = ORION_BUILD(b, "past_exp", ORION_OP_exp, {"x", binary(l, "past_rel", ORION_OP_sub, c, top)});
  orion_ref es = ORION_BUILD(b, "new_exp", ORION_OP_exp, {"x", binary(l, "new_rel", ORION_OP_sub, s, top)});
  orion_ref sum = binary(l, "sum", ORION_OP_add, reduce(l, "past_sum", ORION_OP_reduce_sum, ec, -1),
                         reduce(l, "new_sum", ORION_OP_reduce_sum, es, -1));
  orion_ref r = binary(l, "inv_sum", ORION_OP_real_div, constant(l, "one", 1), sum);
  orion_ref past = matmul(l, "past_mix", g->v_cache, binary(l, "past_probs", ORION_OP_mul, ec, r), false, true);
  orion_ref now = matmul(l, "new_mix", g->v, binary(l, "new_probs", ORION_OP_mul, es, r), false, true);
  return binary(l, "mix", ORION_OP_add, past, now);
}

channels_heads orion_channels_heads_of(const lowering *l, const orion_op *op) {
  const orion_type *q = orion_ref_type(l->from, orion_op_ref(op, "q"));
  channels_heads h = {.B = 1, .KV = 1};
  int64_t heads = 1;
  orion_op_int(l->from, op, "batch", &h.B);
  orion_op_int(l->from, op, "heads", &heads);
  orion_op_int(l->from, op, "kv_heads", &h.KV);
  h.T = q->dims[0] / h.B;
  h.G = heads / h.KV;
  h.n = q->dims[1] / heads;
  return h;
}

orion_ref orion_channels_split_heads(lowering *l, const char *stem, orion_ref x, const channels_heads *h, int64_t rows) {
  if (h->B > 1) x = transpose(l, stem, reshape(l, stem, x, h->KV, rows, h->B, h->T), (int64_t[]){0, 2, 1, 3});
  return reshape(l, stem, x, 1, h->KV * h->B, rows, h->T);
}

orion_ref orion_channels_join_heads(lowering *l, const char *stem, orion_ref x, const channels_heads *h, int64_t rows) {
  if (h->B > 1) x = transpose(l, stem, reshape(l, stem, x, h->KV, h->B, rows, h->T), (int64_t[]){0, 2, 1, 3});
  return reshape(l, stem, x, 1, h->KV * rows, 1, h->B * h->T);
}

static orion_ref open_attention(lowering *l, const orion_op *op) {
  const channels_heads h = orion_channels_heads_of(l, op);
  double scale = 1;
  orion_op_float(l->from, op, "scale", &scale);
  const orion_type *cache = orion_ref_type(l->from, orion_op_ref(op, "k_cache"));
  int64_t S = cache ? cache->dims[0] : 0;
  // Scaling the query, not the scores: it is the smaller tensor, and the pass that folds scales moves it into wq.
  orion_ref scaled = binary(l, "q_scaled", ORION_OP_mul, mapped(l, op, "q"), constant(l, "scale", scale));
  orion_ref q = orion_channels_split_heads(l, "q_heads", scaled, &h, h.G * h.n);
  group g = {.k = orion_channels_split_heads(l, "k_heads", mapped(l, op, "k"), &h, h.n),
             .v = orion_channels_split_heads(l, "v_heads", mapped(l, op, "v"), &h, h.n),
             .k_cache = ORION_NONE,
             .v_cache = ORION_NONE,
             .causal = orion_lowering_causal(l, ORION_FP16, h.T, 4)};
  if (S) {
    g.k_cache = reshape(l, "k_past", mapped(l, op, "k_cache"), 1, h.KV, h.n, S);
    g.v_cache = reshape(l, "v_past", mapped(l, op, "v_cache"), 1, h.KV, h.n, S);
    g.mask = mapped(l, op, "mask");
  }
  orion_ref parts[CHANNELS_GROUPS];
  if (h.G > CHANNELS_GROUPS) {
    orion_builder_fail(&l->b, ORION_UNSUPPORTED, "attention: %lld query heads for each key head (at most %d)", (long long)h.G,
                       CHANNELS_GROUPS);
    return ORION_NONE;
  }
  for (int64_t i = 0; i < h.G; i++) {
    g.q = h.G == 1 ? q : rows(l, "q_group", q, h.KV * h.B, i * h.n, h.n, h.T);
    parts[i] = attend(l, &g);
  }
  orion_ref all = orion_channels_concat_rows(l, "groups", (size_t)h.G, parts);
  return orion_channels_join_heads(l, "attention_out", all, &h, h.G * h.n);
}

static orion_ref open_lora(lowering *l, const orion_op *op, const orion_type *type) {
  const orion_type *from = orion_ref_type(l->from, orion_op_ref(op, "x"));
  double scale = 1;
  orion_op_float(l->from, op, "scale", &scale);
  orion_ref x = reshape(l, "lora_x", mapped(l, op, "x"), 1, 1, from->dims[1], from->dims[0]);
  orion_ref h = matmul(l, "lora_h", mapped(l, op, "a"), x, true, false);
  if (orion_op_arg(op, "gate")) h = binary(l, "lora_g", ORION_OP_mul, h, mapped(l, op, "gate"));
  if (scale != 1) h = binary(l, "lora_s", ORION_OP_mul, h, constant(l, "lora_scale", scale));
  return reshape(l, "lora_out", matmul(l, "lora_y", mapped(l, op, "b"), h, false, false), 1, type->dims[1], 1, type->dims[0]);
}

// Scalars that elementwise operations of the graph use. Weights are rebuilt where they are used, in the form that the use
// wants; strings and integers are only read.
static orion_ref open_const(lowering *l, const orion_op *op) {
  if (l->training) return orion_channels_open_const(l, op);
  const orion_literal *val = orion_op_attr(op, "val");
  const orion_type *t = val->type;
  double v;
  if (val->kind != ORION_LIT_DATA || t->rank != 0 || !orion_dtype_is_float(t->dtype)) return ORION_NONE;
  if (!orion_ref_float(l->from, op->results[0], &v)) return ORION_NONE;
  return constant(l, l->from->values[op->results[0]].name, v);
}

static orion_ref open_elementwise(lowering *l, const orion_op *op) {
  orion_builder *b = &l->b;
  const char *stem = "v";
  switch (op->code) {
    case ORION_OP_add: case ORION_OP_sub: case ORION_OP_mul: case ORION_OP_real_div:
      return binary(l, stem, op->code, mapped(l, op, "x"), mapped(l, op, "y"));
    case ORION_OP_gelu: {
      const char *mode = orion_op_string(l->from, op, "mode");
      return ORION_BUILD(b, stem, op->code, {"x", mapped(l, op, "x")},
                         {"mode", orion_build_string(b, "mode", mode ? mode : "EXACT")});
    }
    case ORION_OP_silu: case ORION_OP_relu: case ORION_OP_tanh: case ORION_OP_sigmoid:
      return unary(l, stem, op->code, mapped(l, op, "x"));
    case ORION_OP_cast: return mapped(l, op, "x");  // everything is fp16
    default:
      orion_builder_fail(b, ORION_UNSUPPORTED, "%s: graphs for the engine do not contain this operation", op->spelling);
      return ORION_NONE;
  }
}

static void open_op(lowering *l, const orion_op *op) {
  const orion_type *type = orion_value_type(l->from, op->results[0]);
  orion_ref *y = &l->map[op->results[0]];
  if (op->code == ORION_OP_const) {
    *y = open_const(l, op);
    return;
  }
  snprintf(l->b.prefix, sizeof l->b.prefix, "%.50s_", l->from->values[op->results[0]].name);
  switch (op->code) {
    case ORION_OP_linear: *y = open_linear(l, op); break;
    case ORION_OP_layer_norm: *y = open_layer_norm(l, op, type); break;
    case ORION_OP_orion_rms_norm: *y = open_rms_norm(l, op, type); break;
    case ORION_OP_orion_rope: *y = open_rope(l, op, type); break;
    case ORION_OP_orion_lora: *y = open_lora(l, op, type); break;
    case ORION_OP_orion_attention: *y = open_attention(l, op); break;
    default:
      if (!l->training || !orion_channels_open_training(l, op)) *y = open_elementwise(l, op);
  }
}

// ---- outputs --------------------------------------------------------------------------------------------------------

// A classifier [V, C] wider than one convolution may be: equal pieces, each an output of its own.
static orion_status open_wide_output(lowering *l, const orion_op *op, const char *name, int64_t T, orion_error *err) {
  const orion_data *weight = weight_of(l, op, "weight");
  if (!weight || orion_op_arg(op, "bias")) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: a wide output layer has constant weights and no bias", name);
  }
  int64_t V = (int64_t)weight->rows, limit = l->target->max_conv_out;
  int64_t pieces = (V + limit - 1) / limit, piece = (V + pieces - 1) / pieces;
  if ((piece + 31) / 32 * 32 <= limit) piece = (piece + 31) / 32 * 32;
  uint32_t *index = ORION_ARENA_ARRAY(&l->scratch, uint32_t, (size_t)piece);
  if (!index) return ORION_OOM(err, "lowering");
  for (int64_t first = 0, k = 0; first < V; first += piece, k++) {
    int64_t n = V - first < piece ? V - first : piece;
    for (int64_t i = 0; i < n; i++) index[i] = (uint32_t)(first + i);
    const orion_data *part = orion_data_take_rows(l->program->data, weight, (size_t)n, index);
    char port[96];
    snprintf(port, sizeof port, "%.60s_%02lld", name, (long long)k);
    snprintf(l->b.prefix, sizeof l->b.prefix, "%.50s_", port);
    orion_ref y = open_conv(l, "conv", mapped(l, op, "x"), part, NULL);
    orion_channels_output(l, y, name, port, CHANNELS_POSITIONS, T, n, first);
  }
  return ORION_OK;
}

static bool is_wide_linear(const lowering *l, const orion_op *op, const orion_type *type) {
  return !l->training && op->code == ORION_OP_linear && type->dims[1] > l->target->max_conv_out;
}

orion_status orion_open_channels(lowering *l, orion_error *err) {
  ORION_TRY(orion_channels_find_forms(l, err));
  ORION_TRY(orion_channels_open_params(l, err));
  for (orion_op_id id = l->from->first; id != ORION_NONE; id = l->from->ops[id].next) {
    const orion_op *op = &l->from->ops[id];
    if (is_wide_linear(l, op, orion_value_type(l->from, op->results[0]))) continue;  // at the outputs
    open_op(l, op);
    if (l->b.status != ORION_OK) return orion_builder_finish(&l->b, err);
  }
  for (size_t i = 0; i < l->from->n_outputs; i++) {
    orion_value_id v = l->from->outputs[i];
    const orion_type *t = orion_value_type(l->from, v);
    const char *name = l->from->values[v].name;
    orion_op_id def = l->from->values[v].def;
    if (def != ORION_NONE && is_wide_linear(l, &l->from->ops[def], t)) {
      ORION_TRY(open_wide_output(l, &l->from->ops[def], name, t->dims[0], err));
    } else {
      channels_form form = (channels_form)l->form[v];
      int64_t n_rows = t->rank == 2 ? t->dims[0] : 1, n_cols = t->dims[t->rank - 1];
      orion_channels_output(l, l->map[v], name, name, form, n_rows, n_cols, 0);
    }
    if (l->b.status != ORION_OK) return orion_builder_finish(&l->b, err);
  }
  return orion_builder_finish(&l->b, err);
}
