// Rules of products. For y = x W^T over N positions: dx = dy W, dW = dy^T x [out, in], as the weight lies, never its
// transpose; biases take sums over positions. Weights enter by the same value as in forward, so that an update of the
// constant reaches both.
#include "grad/backward.h"

// [a, b, ..., c] -> [a*b*..., c]
static orion_ref rows_of(orion_backward *w, orion_ref x, const orion_type *t) {
  int64_t dims[2] = {1, t->dims[t->rank - 1]};
  for (int i = 0; i + 1 < t->rank; i++) dims[0] *= t->dims[i];
  return orion_back_reshape(w, x, 2, dims);
}

void orion_grad_linear(orion_backward *w, const orion_op *op, orion_ref dy) {
  const orion_type *x = orion_back_type(w, op, "x"), *y = orion_back_result_type(w, op);
  if (orion_back_wants(w, op, "x")) {
    orion_back_give(w, op, "x", orion_back_matmul(w, dy, orion_back_arg(w, op, "weight"), false, false));
  }
  orion_ref rows = rows_of(w, dy, y);
  if (orion_back_wants(w, op, "weight")) {
    orion_ref d = orion_back_matmul(w, rows, rows_of(w, orion_back_arg(w, op, "x"), x), true, false);
    orion_back_give(w, op, "weight", d);
  }
  if (orion_back_wants(w, op, "bias")) {
    orion_back_give(w, op, "bias", orion_back_reduce(w, ORION_OP_reduce_sum, rows, 1, (int64_t[]){0}, false));
  }
}

// Both operands and the gradient as matrices: a vector on the left is a row, on the right a column.
typedef struct product {
  orion_ref x, y, d;
  bool tx, ty;
} product;

static product matrices(orion_backward *w, const orion_op *op, orion_ref d) {
  const orion_type *x = orion_back_type(w, op, "x"), *y = orion_back_type(w, op, "y"),
                   *z = orion_back_result_type(w, op);
  product p = {orion_back_arg(w, op, "x"), orion_back_arg(w, op, "y"), d, false, false};
  orion_op_bool(w->from, op, "transpose_x", &p.tx);
  orion_op_bool(w->from, op, "transpose_y", &p.ty);
  p.tx = p.tx && x->rank > 1;
  p.ty = p.ty && y->rank > 1;
  if (x->rank > 1 && y->rank > 1) return p;
  int64_t dims[ORION_MAX_RANK];
  int rank = x->rank > 1 || y->rank > 1 ? z->rank - 1 : 0;  // the batch: all but the one matrix dimension left
  memcpy(dims, z->dims, sizeof dims);
  int64_t left = z->rank ? z->dims[z->rank - 1] : 1;
  dims[rank++] = x->rank == 1 ? 1 : left;
  dims[rank++] = y->rank == 1 ? 1 : left;
  p.d = orion_back_reshape(w, d, rank, dims);
  if (x->rank == 1) p.x = orion_back_reshape(w, p.x, 2, (int64_t[]){1, x->dims[0]});
  if (y->rank == 1) p.y = orion_back_reshape(w, p.y, 2, (int64_t[]){y->dims[0], 1});
  return p;
}

// Sums over the batch first, as matrices; a vector's gradient then loses the dimension it had gained.
static void give_matrix(orion_backward *w, const orion_op *op, const char *arg, orion_ref d) {
  const orion_type *t = orion_back_type(w, op, arg);
  if (t->rank == 1) {
    orion_type matrix = *t;
    bool left = strcmp(arg, "x") == 0;
    matrix.rank = 2;
    matrix.dims[0] = left ? 1 : t->dims[0];
    matrix.dims[1] = left ? t->dims[0] : 1;
    d = orion_back_reshape(w, orion_back_sum_to(w, d, &matrix), 1, t->dims);
  }
  orion_back_give(w, op, arg, d);
}

// z = A B, A = x or x^T, B = y or y^T: dA = dz B^T, dB = A^T dz, transposed again where the argument was.
void orion_grad_matmul(orion_backward *w, const orion_op *op, orion_ref dz) {
  product p = matrices(w, op, dz);
  const orion_type *x = orion_back_type(w, op, "x"), *y = orion_back_type(w, op, "y");
  if (orion_back_wants(w, op, "x")) {
    give_matrix(w, op, "x",
                p.tx ? orion_back_matmul(w, p.y, p.d, p.ty, true) : orion_back_matmul(w, p.d, p.y, false, !p.ty));
  }
  if (!orion_back_wants(w, op, "y")) return;
  if (y->rank == 2 && x->rank > 2 && !p.tx) {  // one matrix for the whole batch: its positions are rows of one product
    p.x = rows_of(w, p.x, x);
    p.d = rows_of(w, p.d, orion_back_result_type(w, op));
  }
  give_matrix(w, op, "y",
              p.ty ? orion_back_matmul(w, p.d, p.x, true, p.tx) : orion_back_matmul(w, p.x, p.d, !p.tx, false));
}

// ---- convolution ----

// Whether the vector argument is absent or `v` throughout.
static bool all_are(const orion_backward *w, const orion_op *op, const char *arg, int64_t v) {
  int64_t got[2 * ORION_MAX_RANK];
  size_t n = 0;
  if (!orion_op_arg(op, arg)) return true;
  if (!orion_op_ints(w->from, op, arg, 2 * ORION_MAX_RANK, got, &n)) return false;
  for (size_t i = 0; i < n; i++) {
    if (got[i] != v) return false;
  }
  return true;
}

// Whether each output position sees one input position, the same: a product over channels.
static bool is_pointwise(const orion_backward *w, const orion_op *op) {
  const orion_type *weight = orion_back_type(w, op, "weight");
  int64_t groups = 1;
  const char *type = orion_op_string(w->from, op, "pad_type");
  if (!orion_op_int(w->from, op, "groups", &groups) || groups != 1) return false;
  for (int i = 2; i < weight->rank; i++) {
    if (weight->dims[i] != 1) return false;
  }
  bool padded = type && strcmp(type, "custom") == 0 && !all_are(w, op, "pad", 0);
  return all_are(w, op, "strides", 1) && !padded;
}

// [B, C, ...] -> [B, C, positions]
static orion_ref positions_of(orion_backward *w, orion_ref x, const orion_type *t) {
  int64_t dims[3] = {t->dims[0], t->dims[1], 1};
  for (int i = 2; i < t->rank; i++) dims[2] *= t->dims[i];
  return orion_back_reshape(w, x, 3, dims);
}

// dx is a convolution with the transposed weight, dW = dy x^T a matmul over positions.
void orion_grad_conv(orion_backward *w, const orion_op *op, orion_ref dy) {
  const orion_type *x = orion_back_type(w, op, "x"), *y = orion_back_result_type(w, op);
  const orion_type *weight = orion_back_type(w, op, "weight");
  if (!is_pointwise(w, op)) {
    orion_back_refuse(w, op,
                      "only convolutions of one position with stride 1, no padding and one group have a gradient");
    return;
  }
  if (orion_back_wants(w, op, "x")) {
    int64_t perm[ORION_MAX_RANK] = {1, 0, 2, 3, 4};
    orion_ref turned = orion_back_transpose(w, orion_back_arg(w, op, "weight"), weight->rank, perm);
    int64_t ones[] = {1, 1, 1}, zeros[6] = {0};
    size_t n = (size_t)x->rank - 2;
    orion_builder *b = &w->b;
    orion_ref dx = ORION_BUILD(
        b, NULL, ORION_OP_conv, {"x", dy}, {"weight", turned}, {"strides", orion_build_ints(b, "strides", n, ones)},
        {"pad_type", orion_build_string(b, "pad_type", "valid")}, {"pad", orion_build_ints(b, "pad", 2 * n, zeros)},
        {"dilations", orion_build_ints(b, "dilations", n, ones)}, {"groups", orion_build_int(b, "groups", 1)});
    orion_back_give(w, op, "x", dx);
  }
  orion_ref rows = positions_of(w, dy, y);
  if (orion_back_wants(w, op, "weight")) {
    orion_ref d = orion_back_matmul(w, rows, positions_of(w, orion_back_arg(w, op, "x"), x), false, true);
    orion_type matrix = {.kind = ORION_TYPE_TENSOR, .dtype = y->dtype, .rank = 2, .dims = {y->dims[1], x->dims[1]}};
    orion_back_give(w, op, "weight",
                    orion_back_reshape(w, orion_back_sum_to(w, d, &matrix), weight->rank, weight->dims));
  }
  if (orion_back_wants(w, op, "bias")) {
    orion_back_give(w, op, "bias", orion_back_reduce(w, ORION_OP_reduce_sum, rows, 2, (int64_t[]){0, 2}, false));
  }
}

// ---- attention ----

#define HIDDEN_FP32 (-1e30)  // score of a position that a bool mask hides: its weight underflows to zero
#define HIDDEN_FP16 (-6e4)

// Weights of every position, as forward had them: softmax(q k^T / sqrt(E) + mask).
static orion_ref probabilities(orion_backward *w, const orion_op *op, double scale) {
  const orion_type *mask = orion_back_type(w, op, "attn_mask"), *q = orion_back_type(w, op, "query");
  orion_ref s = orion_back_matmul(w, orion_back_arg(w, op, "query"), orion_back_arg(w, op, "key"), false, true);
  s = orion_back_times(w, s, scale);
  if (mask && mask->dtype == ORION_BOOL) {
    orion_ref hidden = orion_back_number(w, q->dtype, q->dtype == ORION_FP16 ? HIDDEN_FP16 : HIDDEN_FP32);
    s = ORION_BUILD(&w->b, NULL, ORION_OP_select, {"cond", orion_back_arg(w, op, "attn_mask")}, {"a", s},
                    {"b", hidden});
  } else if (mask) {
    s = add(w, s, orion_back_arg(w, op, "attn_mask"));
  }
  return ORION_BUILD(&w->b, NULL, ORION_OP_softmax, {"x", s}, {"axis", orion_build_int(&w->b, "axis", -1)});
}

// y = P v: dv = P^T dy, dP = dy v^T, dS = P (dP - sum of dy y), dq = dS k scale, dk = dS^T q scale. P is computed
// again: it is as large as the sequence is long, squared.
void orion_grad_sdpa(orion_backward *w, const orion_op *op, orion_ref dy) {
  const orion_type *q = orion_back_type(w, op, "query");
  double scale = 1 / sqrt((double)q->dims[q->rank - 1]);
  orion_ref p = probabilities(w, op, scale);
  if (orion_back_wants(w, op, "value")) orion_back_give(w, op, "value", orion_back_matmul(w, p, dy, true, false));
  bool wants_q = orion_back_wants(w, op, "query"), wants_k = orion_back_wants(w, op, "key");
  bool wants_mask = orion_back_wants(w, op, "attn_mask");
  if (!wants_q && !wants_k && !wants_mask) return;
  orion_ref dp = orion_back_matmul(w, dy, orion_back_arg(w, op, "value"), false, true);
  orion_ref sum =
      orion_back_reduce(w, ORION_OP_reduce_sum, mul(w, dy, orion_back_result(w, op)), 1, (int64_t[]){-1}, true);
  orion_ref ds = mul(w, p, sub(w, dp, sum));
  if (wants_mask) orion_back_give(w, op, "attn_mask", ds);
  if (!wants_q && !wants_k) return;
  ds = orion_back_times(w, ds, scale);
  if (wants_q) orion_back_give(w, op, "query", orion_back_matmul(w, ds, orion_back_arg(w, op, "key"), false, false));
  if (wants_k) orion_back_give(w, op, "key", orion_back_matmul(w, ds, orion_back_arg(w, op, "query"), true, false));
}
