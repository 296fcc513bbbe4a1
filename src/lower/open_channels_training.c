// Opening for the engine what only training graphs have: products with weights that are inputs, and gradients.
//
//   y = W x              matmul(W [1,1,O,I], x [1,1,I,T])
//   dx = W^T dy          matmul(W, dy), W transposed by the flag: one orientation of each weight serves both
//   dW = dy x^T          matmul(dy, x), [O, I] as the weight lies
//   db, dgamma           sums over the positions
//   norm gradient        x^ as in forward; g = dy gamma. The mean of g x^ is taken of g / max|g|, so that it stays within
//                        fp16 however large the loss scale; only that mean sees the division's rounding:
//                        dx = (g - x^ mean(g x^)) r, less mean(g) for LayerNorm
//   attention gradient   P = softmax(q^T k scale + mask) again; dv = dy P, dP = dy^T v, dS = P (dP - sum of P dP),
//                        dq = k dS^T scale, dk = q dS scale; key heads sum over the query heads that share them
#include "lower/channels.h"

#include <math.h>

// ---- products -------------------------------------------------------------------------------------------------------

// [1, C, 1, T] as the matrix [1, 1, C, T].
static orion_ref as_matrix(lowering *l, const char *stem, orion_ref x) {
  const orion_type *t = orion_ref_type(l->to, x);
  return t ? reshape(l, stem, x, 1, 1, t->dims[1] * t->dims[2], t->dims[3]) : ORION_NONE;
}

static orion_ref as_channels(lowering *l, const char *stem, orion_ref y) {
  const orion_type *t = orion_ref_type(l->to, y);
  return t ? reshape(l, stem, y, 1, t->dims[2], 1, t->dims[3]) : ORION_NONE;
}

orion_ref orion_channels_open_product(lowering *l, const orion_op *op) {
  orion_ref x = as_matrix(l, "in", mapped(l, op, "x"));
  orion_ref y = as_channels(l, "out", matmul(l, "product", mapped(l, op, "weight"), x, false, false));
  const orion_type *t = orion_ref_type(l->to, y);
  if (!orion_op_arg(op, "bias") || !t) return y;
  return binary(l, "biased", ORION_OP_add, y, orion_channels_vector(l, op, "bias", t->dims[1], 1));
}

// The two products of linear's gradient; nothing else of a training graph is a matmul.
static orion_ref open_matmul(lowering *l, const orion_op *op) {
  bool tx = false, ty = false;
  orion_op_bool(l->from, op, "transpose_x", &tx);
  orion_op_bool(l->from, op, "transpose_y", &ty);
  orion_value_id x = orion_op_value(op, "x"), y = orion_op_value(op, "y");
  if (x == ORION_NONE || y == ORION_NONE || l->form[x] != CHANNELS_POSITIONS || ty) {
    orion_builder_fail(&l->b, ORION_UNSUPPORTED, "matmul: graphs for the engine have it in gradients of linear only");
    return ORION_NONE;
  }
  orion_ref left = as_matrix(l, "left", l->map[x]);
  if (!tx) return as_channels(l, "out", matmul(l, "back", l->map[y], left, true, false));
  l->form[op->results[0]] = CHANNELS_MATRIX;
  return matmul(l, "outer", left, as_matrix(l, "right", l->map[y]), false, true);
}

// ---- sums -----------------------------------------------------------------------------------------------------------

// Over the features, which stay as one; or over the positions, which makes a vector.
static orion_ref open_reduce(lowering *l, const orion_op *op) {
  int64_t axes[2];
  size_t n = 0;
  const orion_type *t = orion_ref_type(l->from, orion_op_ref(op, "x"));
  bool ok = t && t->rank == 2 && orion_op_ints(l->from, op, "axes", 2, axes, &n) && n == 1;
  if (!ok) {
    orion_builder_fail(&l->b, ORION_UNSUPPORTED, "%s: graphs for the engine have it along one axis of [T, C]", op->spelling);
    return ORION_NONE;
  }
  bool features = axes[0] == 1 || axes[0] == -1;
  if (!features) l->form[op->results[0]] = CHANNELS_VECTOR;
  return reduce(l, "over", op->code, mapped(l, op, "x"), features ? 1 : 3);
}

// ---- norms ----------------------------------------------------------------------------------------------------------

#define GRADIENT_FLOOR 0x1p-14  // of max|g|: its inverse stays within fp16

// mean(g x^) along `axis`, of g / b; and b.
static orion_ref scaled_mean(lowering *l, orion_ref g, orion_ref hat, int64_t axis, orion_ref *out_b, orion_ref *out_v) {
  orion_ref b = reduce(l, "grad_max", ORION_OP_reduce_max, unary(l, "grad_abs", ORION_OP_abs, g), axis);
  b = binary(l, "grad_top", ORION_OP_maximum, b, constant(l, "grad_floor", GRADIENT_FLOOR));
  orion_ref inverse = binary(l, "grad_inv", ORION_OP_real_div, constant(l, "one", 1), b);
  *out_b = b;
  *out_v = binary(l, "grad_v", ORION_OP_mul, g, inverse);
  return reduce(l, "grad_along", ORION_OP_reduce_mean, binary(l, "grad_vx", ORION_OP_mul, *out_v, hat), axis);
}

static void open_norm_grad(lowering *l, const orion_op *op, const orion_type *type) {
  bool centred = op->code == ORION_OP_orion_layer_norm_grad;
  double epsilon = 0;
  int64_t groups = 1, T = type->dims[0], C = type->dims[1];
  orion_op_float(l->from, op, "epsilon", &epsilon);
  if (!centred) orion_op_int(l->from, op, "groups", &groups);
  int64_t n = C / groups, axis = groups > 1 ? 2 : 1;
  int64_t channels = groups > 1 ? groups : C, height = groups > 1 ? n : 1;
  orion_ref x = reshape(l, "x", mapped(l, op, "x"), 1, channels, height, T);
  orion_ref dy = reshape(l, "dy", mapped(l, op, "dy"), 1, channels, height, T), b, v;
  orion_ref gamma = groups > 1 ? orion_channels_vector(l, op, "gamma", 1, n) : orion_channels_vector(l, op, "gamma", C, 1);
  channels_norm norm = orion_channels_norm(l, x, axis, epsilon, centred);
  orion_ref g = binary(l, "grad_g", ORION_OP_mul, dy, gamma);
  orion_ref along = scaled_mean(l, g, norm.hat, axis, &b, &v);
  along = binary(l, "grad_m", ORION_OP_mul, along, b);
  orion_ref d = binary(l, "grad_d", ORION_OP_sub, g, binary(l, "grad_p", ORION_OP_mul, norm.hat, along));
  if (centred) {
    orion_ref mean = binary(l, "grad_mean", ORION_OP_mul, reduce(l, "grad_mv", ORION_OP_reduce_mean, v, axis), b);
    d = binary(l, "grad_c", ORION_OP_sub, d, mean);
    norm.inverse = binary(l, "grad_half", ORION_OP_mul, norm.inverse, constant(l, "half", 0.5));
  }
  d = binary(l, "grad_dx", ORION_OP_mul, d, binary(l, "grad_r", ORION_OP_mul, norm.r, norm.inverse));
  orion_ref each = reduce(l, "grad_sum", ORION_OP_reduce_sum, binary(l, "grad_dyx", ORION_OP_mul, dy, norm.hat), 3);
  if (groups > 1) each = reduce(l, "grad_groups", ORION_OP_reduce_sum, each, 1);
  l->map[op->results[0]] = reshape(l, "grad_out", d, 1, C, 1, T);
  l->map[op->results[1]] = reshape(l, "grad_gamma", each, 1, n, 1, 1);
  l->form[op->results[1]] = CHANNELS_VECTOR;
}

// ---- attention ------------------------------------------------------------------------------------------------------

typedef struct attention {
  channels_heads h;
  orion_ref k, v;     // [1, KV*B, n, T]
  double scale;
} attention;

// Of one query head for each key head: its dq, and its part of dk and dv.
static void attention_group(lowering *l, const attention *a, orion_ref q, orion_ref dy, orion_ref *dq, orion_ref *dk,
                            orion_ref *dv) {
  orion_ref scaled = binary(l, "q_scaled", ORION_OP_mul, q, constant(l, "scale", a->scale));
  orion_ref s = matmul(l, "scores", scaled, a->k, true, false);
  orion_ref p = softmax(l, "probs", binary(l, "scores_m", ORION_OP_add, s, orion_lowering_causal(l, ORION_FP16, a->h.T, 4)));
  orion_ref dp = matmul(l, "dp", dy, a->v, true, false);
  orion_ref sum = reduce(l, "dp_sum", ORION_OP_reduce_sum, binary(l, "dp_p", ORION_OP_mul, p, dp), -1);
  orion_ref ds = binary(l, "ds", ORION_OP_mul, p, binary(l, "dp_less", ORION_OP_sub, dp, sum));
  *dq = binary(l, "dq_scaled", ORION_OP_mul, matmul(l, "dq", a->k, ds, false, true), constant(l, "scale", a->scale));
  *dk = matmul(l, "dk", scaled, ds, false, false);
  *dv = matmul(l, "dv", dy, p, false, false);
}

static void open_attention_grad(lowering *l, const orion_op *op) {
  attention a = {.h = orion_channels_heads_of(l, op), .scale = 1};
  const channels_heads *h = &a.h;
  orion_op_float(l->from, op, "scale", &a.scale);
  if (h->G > CHANNELS_GROUPS) {
    orion_builder_fail(&l->b, ORION_UNSUPPORTED, "attention: %lld query heads for each key head (at most %d)", (long long)h->G,
                       CHANNELS_GROUPS);
    return;
  }
  orion_ref q = orion_channels_split_heads(l, "q_heads", mapped(l, op, "q"), h, h->G * h->n);
  orion_ref dy = orion_channels_split_heads(l, "dy_heads", mapped(l, op, "dy"), h, h->G * h->n);
  a.k = orion_channels_split_heads(l, "k_heads", mapped(l, op, "k"), h, h->n);
  a.v = orion_channels_split_heads(l, "v_heads", mapped(l, op, "v"), h, h->n);
  orion_ref dq[CHANNELS_GROUPS], dk = ORION_NONE, dv = ORION_NONE;
  for (int64_t i = 0; i < h->G; i++) {
    orion_ref qi = h->G == 1 ? q : rows(l, "q_group", q, h->KV * h->B, i * h->n, h->n, h->T);
    orion_ref di = h->G == 1 ? dy : rows(l, "dy_group", dy, h->KV * h->B, i * h->n, h->n, h->T), dki, dvi;
    attention_group(l, &a, qi, di, &dq[i], &dki, &dvi);
    dk = i ? binary(l, "dk_sum", ORION_OP_add, dk, dki) : dki;
    dv = i ? binary(l, "dv_sum", ORION_OP_add, dv, dvi) : dvi;
  }
  orion_ref all = orion_channels_concat_rows(l, "dq_groups", (size_t)h->G, dq);
  l->map[op->results[0]] = orion_channels_join_heads(l, "dq_out", all, h, h->G * h->n);
  l->map[op->results[1]] = orion_channels_join_heads(l, "dk_out", dk, h, h->n);
  l->map[op->results[2]] = orion_channels_join_heads(l, "dv_out", dv, h, h->n);
}

// ---- the rest: what the gradients of activations, and the loss, are made of -----------------------------------------

static uint8_t form_of(const lowering *l, const orion_op *op, const char *arg) {
  orion_value_id v = orion_op_value(op, arg);
  return v == ORION_NONE || orion_value_type(l->from, v)->rank == 0 ? CHANNELS_VECTOR : l->form[v];
}

static orion_ref open_binary(lowering *l, const orion_op *op) {
  uint8_t x = form_of(l, op, "x"), y = form_of(l, op, "y");
  bool weight = orion_value_type(l->from, op->results[0])->rank > 0;
  if (weight) l->form[op->results[0]] = x == CHANNELS_VECTOR ? y : x;  // of a vector and another the other
  return binary(l, "v", op->code, mapped(l, op, "x"), mapped(l, op, "y"));
}

static orion_ref open_select(lowering *l, const orion_op *op) {
  return ORION_BUILD(&l->b, "v", op->code, {"cond", mapped(l, op, "cond")}, {"a", mapped(l, op, "a")},
                     {"b", mapped(l, op, "b")});
}

bool orion_channels_open_training(lowering *l, const orion_op *op) {
  const orion_type *type = orion_value_type(l->from, op->results[0]);
  orion_ref *y = &l->map[op->results[0]];
  switch (op->code) {
    case ORION_OP_matmul: *y = open_matmul(l, op); return true;
    case ORION_OP_reduce_sum: case ORION_OP_reduce_max: *y = open_reduce(l, op); return true;
    case ORION_OP_orion_rms_norm_grad: case ORION_OP_orion_layer_norm_grad: open_norm_grad(l, op, type); return true;
    case ORION_OP_orion_attention_grad: open_attention_grad(l, op); return true;
    case ORION_OP_add: case ORION_OP_sub: case ORION_OP_mul: case ORION_OP_real_div: case ORION_OP_maximum:
    case ORION_OP_minimum: case ORION_OP_greater: *y = open_binary(l, op); return true;
    case ORION_OP_select: *y = open_select(l, op); return true;
    case ORION_OP_abs: case ORION_OP_exp: case ORION_OP_erf: case ORION_OP_identity:
      l->form[op->results[0]] = form_of(l, op, "x");
      *y = unary(l, "v", op->code, mapped(l, op, "x"));
      return true;
    default: return false;
  }
}
