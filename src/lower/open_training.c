// Opening for the cpu device what only training graphs have: cross-entropy, and the gradients of composites. Rows, as
// in open_rows.c. Statistics and the loss are in fp32 whatever the type of the activations.
//
//   cross_entropy       l = log(sum exp logits) - logits[target], mean of l over the positions that count
//   ... gradient        (softmax - one at the target) * dloss / n; the one is taken away in place by a scatter
//   rms_norm gradient   x^ = x r, g = dy gamma: dx = r (g - x^ mean(g x^)), dgamma = sum of dy x^
//   layer_norm gradient (in fp16) the same of x less its mean, and less mean g
//   attention gradient  P = softmax(q k^T scale + mask) again; dv = P^T dy, dS = P (dy v^T - sum of dy y), dq = dS k
//   scale,
//                       dk = dS^T q scale, over [B, KV, G, T, n]; groups of query heads that share a key head are
//                       summed
#include <string.h>

#include "lower/lower_internal.h"

static orion_ref binary(lowering *l, orion_opcode code, orion_ref x, orion_ref y) {
  return ORION_BUILD(&l->b, NULL, code, {"x", x}, {"y", y});
}

static orion_ref number(lowering *l, orion_dtype dtype, double v) { return orion_build_float(&l->b, NULL, dtype, v); }

static orion_ref cast(lowering *l, orion_ref x, orion_dtype dtype) {
  const orion_type *t = orion_ref_type(l->to, x);
  if (!t || t->dtype == dtype) return x;
  return ORION_BUILD(&l->b, NULL, ORION_OP_cast, {"x", x},
                     {"dtype", orion_build_string(&l->b, "dtype", orion_dtype_name(dtype))});
}

static orion_ref reshape(lowering *l, orion_ref x, int rank, const int64_t *dims) {
  return ORION_BUILD(&l->b, NULL, ORION_OP_reshape, {"x", x},
                     {"shape", orion_build_ints(&l->b, "shape", (size_t)rank, dims)});
}

static orion_ref transpose(lowering *l, orion_ref x, int rank, const int64_t *perm) {
  return ORION_BUILD(&l->b, NULL, ORION_OP_transpose, {"x", x},
                     {"perm", orion_build_ints(&l->b, "perm", (size_t)rank, perm)});
}

static orion_ref reduce(lowering *l, orion_opcode code, orion_ref x, size_t n, const int64_t *axes, bool keep) {
  return ORION_BUILD(&l->b, NULL, code, {"x", x}, {"axes", orion_build_ints(&l->b, "axes", n, axes)},
                     {"keep_dims", orion_build_bool(&l->b, "keep", keep)});
}

static orion_ref reduce_last(lowering *l, orion_opcode code, orion_ref x) {
  return reduce(l, code, x, 1, (int64_t[]){-1}, true);
}

static orion_ref matmul(lowering *l, orion_ref x, orion_ref y, bool tx, bool ty) {
  return ORION_BUILD(&l->b, NULL, ORION_OP_matmul, {"x", x}, {"y", y},
                     {"transpose_x", orion_build_bool(&l->b, "tx", tx)},
                     {"transpose_y", orion_build_bool(&l->b, "ty", ty)});
}

// ---- cross-entropy --------------------------------------------------------------------------------------------------

typedef struct loss {
  int64_t T, V;
  orion_ref logits;  // fp32 [T, V]
  orion_ref index;   // int32 [T, 1]: the target, 0 where there is none
  orion_ref counts;  // fp32 [T, 1]: 1 where there is a target
  orion_ref n;       // fp32 [1, 1]: how many, at least 1
} loss;

static loss open_loss(lowering *l, const orion_op *op) {
  const orion_type *t = orion_ref_type(l->from, orion_op_ref(op, "logits"));
  loss s = {.T = t->dims[0], .V = t->dims[1], .logits = cast(l, mapped(l, op, "logits"), ORION_FP32)};
  orion_ref zero = orion_build_int(&l->b, "none", 0), targets = cast(l, mapped(l, op, "targets"), ORION_INT32);
  targets = reshape(l, targets, 2, (int64_t[]){s.T, 1});
  s.index = binary(l, ORION_OP_maximum, targets, zero);
  s.counts = cast(l, binary(l, ORION_OP_greater_equal, targets, zero), ORION_FP32);
  orion_ref n = reduce(l, ORION_OP_reduce_sum, s.counts, 1, (int64_t[]){0}, true);
  s.n = binary(l, ORION_OP_maximum, n, number(l, ORION_FP32, 1));
  return s;
}

static orion_ref open_cross_entropy(lowering *l, const orion_op *op) {
  loss s = open_loss(l, op);
  orion_builder *b = &l->b;
  orion_ref log = reduce_last(l, ORION_OP_reduce_log_sum_exp, s.logits);
  orion_ref at = ORION_BUILD(b, NULL, ORION_OP_gather_along_axis, {"x", s.logits}, {"indices", s.index},
                             {"axis", orion_build_int(b, "axis", 1)},
                             {"validate_indices", orion_build_bool(b, "validate", false)});
  orion_ref each = binary(l, ORION_OP_mul, binary(l, ORION_OP_sub, log, at), s.counts);
  orion_ref total = reduce(l, ORION_OP_reduce_sum, each, 1, (int64_t[]){0}, true);
  return reshape(l, binary(l, ORION_OP_real_div, total, s.n), 1, (int64_t[]){1});
}

static orion_ref open_cross_entropy_grad(lowering *l, const orion_op *op, const orion_type *type) {
  loss s = open_loss(l, op);
  orion_builder *b = &l->b;
  orion_ref each = binary(l, ORION_OP_real_div, binary(l, ORION_OP_mul, s.counts, mapped(l, op, "dloss")), s.n);
  orion_ref p = ORION_BUILD(b, NULL, ORION_OP_softmax, {"x", s.logits}, {"axis", orion_build_int(b, "axis", -1)});
  orion_ref d = binary(l, ORION_OP_mul, p, each);
  orion_ref minus = binary(l, ORION_OP_mul, each, number(l, ORION_FP32, -1));
  d = ORION_BUILD(b, NULL, ORION_OP_scatter_along_axis, {"data", d}, {"indices", s.index}, {"updates", minus},
                  {"axis", orion_build_int(b, "axis", 1)}, {"mode", orion_build_string(b, "mode", "add")},
                  {"validate_indices", orion_build_bool(b, "validate", false)});
  return cast(l, d, type->dtype);
}

// ---- norms ----------------------------------------------------------------------------------------------------------

static void open_norm_grad(lowering *l, const orion_op *op, const orion_type *type, orion_ref *dx, orion_ref *dgamma) {
  bool centred = op->code == ORION_OP_orion_layer_norm_grad;
  double epsilon = 0;
  int64_t groups = 1, T = type->dims[0], C = type->dims[1];
  orion_op_float(l->from, op, "epsilon", &epsilon);
  orion_op_int(l->from, op, "groups", &groups);
  int64_t dims[] = {T, groups, C / groups};
  orion_ref x = reshape(l, cast(l, mapped(l, op, "x"), ORION_FP32), 3, dims),
            dy = reshape(l, mapped(l, op, "dy"), 3, dims);
  if (centred) x = binary(l, ORION_OP_sub, x, reduce_last(l, ORION_OP_reduce_mean, x));
  orion_ref mean = reduce_last(l, ORION_OP_reduce_mean, binary(l, ORION_OP_mul, x, x));
  orion_ref r = ORION_BUILD(&l->b, NULL, ORION_OP_rsqrt, {"x", mean}, {"epsilon", number(l, ORION_FP32, epsilon)});
  orion_ref hat = cast(l, binary(l, ORION_OP_mul, x, r), type->dtype);
  orion_ref g = binary(l, ORION_OP_mul, dy, mapped(l, op, "gamma"));
  orion_ref along = reduce_last(l, ORION_OP_reduce_mean, binary(l, ORION_OP_mul, g, hat));
  orion_ref d = binary(l, ORION_OP_sub, g, binary(l, ORION_OP_mul, hat, along));
  if (centred) d = binary(l, ORION_OP_sub, d, reduce_last(l, ORION_OP_reduce_mean, g));
  d = binary(l, ORION_OP_mul, d, cast(l, r, type->dtype));
  *dx = reshape(l, d, 2, type->dims);
  *dgamma = reduce(l, ORION_OP_reduce_sum, binary(l, ORION_OP_mul, dy, hat), 2, (int64_t[]){0, 1}, false);
}

// ---- attention ------------------------------------------------------------------------------------------------------

typedef struct heads {
  int64_t B, T, KV, G, n;
} heads;

// [B*T, KV*G*n] -> [B, KV, G, T, n] and back. Keys and values have G = 1.
static orion_ref split_heads(lowering *l, orion_ref x, const heads *h, int64_t G) {
  x = reshape(l, x, 5, (int64_t[]){h->B, h->T, h->KV, G, h->n});
  return transpose(l, x, 5, (int64_t[]){0, 2, 3, 1, 4});
}

static orion_ref join_heads(lowering *l, orion_ref x, const heads *h, int64_t G) {
  if (G < h->G) x = reduce(l, ORION_OP_reduce_sum, x, 1, (int64_t[]){2}, true);
  x = transpose(l, x, 5, (int64_t[]){0, 3, 1, 2, 4});
  return reshape(l, x, 2, (int64_t[]){h->B * h->T, h->KV * G * h->n});
}

static void open_attention_grad(lowering *l, const orion_op *op, const orion_type *type, orion_ref *dq, orion_ref *dk,
                                orion_ref *dv) {
  heads h = {.B = 1};
  int64_t all = 1;
  double scale = 1;
  orion_op_int(l->from, op, "batch", &h.B);
  orion_op_int(l->from, op, "heads", &all);
  orion_op_int(l->from, op, "kv_heads", &h.KV);
  orion_op_float(l->from, op, "scale", &scale);
  h.T = type->dims[0] / h.B;
  h.G = all / h.KV;
  h.n = type->dims[1] / all;
  orion_builder *b = &l->b;
  orion_ref q = split_heads(l, mapped(l, op, "q"), &h, h.G), y = split_heads(l, mapped(l, op, "y"), &h, h.G);
  orion_ref k = split_heads(l, mapped(l, op, "k"), &h, 1), v = split_heads(l, mapped(l, op, "v"), &h, 1);
  orion_ref dy = split_heads(l, mapped(l, op, "dy"), &h, h.G), factor = number(l, type->dtype, scale);
  orion_ref s = matmul(l, binary(l, ORION_OP_mul, q, factor), k, false, true);
  if (h.T > 1) s = binary(l, ORION_OP_add, s, orion_lowering_causal(l, type->dtype, h.T, 2));
  orion_ref p = ORION_BUILD(b, NULL, ORION_OP_softmax, {"x", s}, {"axis", orion_build_int(b, "axis", -1)});
  *dv = join_heads(l, matmul(l, p, dy, true, false), &h, 1);
  orion_ref sum = reduce_last(l, ORION_OP_reduce_sum, binary(l, ORION_OP_mul, dy, y));
  orion_ref ds = binary(l, ORION_OP_mul, p, binary(l, ORION_OP_sub, matmul(l, dy, v, false, true), sum));
  ds = binary(l, ORION_OP_mul, ds, factor);
  *dq = join_heads(l, matmul(l, ds, k, false, false), &h, h.G);
  *dk = join_heads(l, matmul(l, ds, q, true, false), &h, 1);
}

void orion_open_rows_training(lowering *l, const orion_op *op) {
  const orion_type *type = orion_value_type(l->from, op->results[0]);
  orion_ref y[3] = {ORION_NONE, ORION_NONE, ORION_NONE};
  switch (op->code) {
    case ORION_OP_orion_cross_entropy:
      y[0] = open_cross_entropy(l, op);
      break;
    case ORION_OP_orion_cross_entropy_grad:
      y[0] = open_cross_entropy_grad(l, op, type);
      break;
    case ORION_OP_orion_rms_norm_grad:
    case ORION_OP_orion_layer_norm_grad:
      open_norm_grad(l, op, type, &y[0], &y[1]);
      break;
    case ORION_OP_orion_attention_grad:
      open_attention_grad(l, op, type, &y[0], &y[1], &y[2]);
      break;
    default:
      orion_builder_fail(&l->b, ORION_INTERNAL, "%s: lowering does not open it", op->spelling);
  }
  for (uint32_t i = 0; i < op->n_results && i < 3; i++) l->map[op->results[i]] = y[i];
}
