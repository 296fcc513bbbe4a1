// The words that rules are written in: see backward.h.
#include "grad/backward.h"

static orion_dtype dtype_of(const orion_backward *w, orion_ref x) {
  const orion_type *t = orion_ref_type(w->b.f, x);
  return t ? t->dtype : ORION_FP32;  // none after a failure: nothing is built any more
}

orion_ref orion_back_number(orion_backward *w, orion_dtype dtype, double v) {
  return orion_build_float(&w->b, NULL, dtype, v);
}

orion_ref orion_back_times(orion_backward *w, orion_ref x, double v) {
  return v == 1 ? x : mul(w, x, orion_back_number(w, dtype_of(w, x), v));
}

orion_ref orion_back_plus(orion_backward *w, orion_ref x, double v) {
  return add(w, x, orion_back_number(w, dtype_of(w, x), v));
}

orion_ref orion_back_cast(orion_backward *w, orion_ref x, orion_dtype dtype) {
  if (dtype_of(w, x) == dtype) return x;
  return ORION_BUILD(&w->b, NULL, ORION_OP_cast, {"x", x},
                     {"dtype", orion_build_string(&w->b, "dtype", orion_dtype_name(dtype))});
}

// An operation, not a constant: an embedding's gradient starts as vocabulary x width zeros.
orion_ref orion_back_fill(orion_backward *w, const orion_type *like, double v) {
  orion_ref value = orion_back_number(w, like->dtype, v);
  if (like->rank == 0) return value;
  return ORION_BUILD(&w->b, NULL, ORION_OP_fill, {"shape", orion_build_ints(&w->b, "shape", like->rank, like->dims)},
                     {"value", value});
}

orion_ref orion_back_reshape(orion_backward *w, orion_ref x, int rank, const int64_t *dims) {
  const orion_type *t = orion_ref_type(w->b.f, x);
  if (t && t->rank == rank && memcmp(t->dims, dims, (size_t)rank * sizeof *dims) == 0) return x;
  return ORION_BUILD(&w->b, NULL, ORION_OP_reshape, {"x", x},
                     {"shape", orion_build_ints(&w->b, "shape", (size_t)rank, dims)});
}

orion_ref orion_back_transpose(orion_backward *w, orion_ref x, int rank, const int64_t *perm) {
  return ORION_BUILD(&w->b, NULL, ORION_OP_transpose, {"x", x},
                     {"perm", orion_build_ints(&w->b, "perm", (size_t)rank, perm)});
}

orion_ref orion_back_reduce(orion_backward *w, orion_opcode code, orion_ref x, size_t n, const int64_t *axes,
                            bool keep) {
  if (n == 0) return x;
  return ORION_BUILD(&w->b, NULL, code, {"x", x}, {"axes", orion_build_ints(&w->b, "axes", n, axes)},
                     {"keep_dims", orion_build_bool(&w->b, "keep", keep)});
}

orion_ref orion_back_matmul(orion_backward *w, orion_ref x, orion_ref y, bool tx, bool ty) {
  return ORION_BUILD(&w->b, NULL, ORION_OP_matmul, {"x", x}, {"y", y},
                     {"transpose_x", orion_build_bool(&w->b, "tx", tx)},
                     {"transpose_y", orion_build_bool(&w->b, "ty", ty)});
}

orion_ref orion_back_sum_to(orion_backward *w, orion_ref d, const orion_type *t) {
  const orion_type *from = orion_ref_type(w->b.f, d);
  if (!from) return ORION_NONE;
  int64_t axes[ORION_MAX_RANK];
  size_t n = 0;
  int extra = from->rank - t->rank;
  for (int i = 0; i < from->rank; i++) {
    if (i < extra || (t->dims[i - extra] == 1 && from->dims[i] != 1)) axes[n++] = i;
  }
  if (t->rank == 0) return orion_back_reduce(w, ORION_OP_reduce_sum, d, n, axes, false);
  d = orion_back_reduce(w, ORION_OP_reduce_sum, d, n, axes, true);
  return orion_back_reshape(w, d, t->rank, t->dims);
}

size_t orion_back_axes(const orion_backward *w, const orion_op *op, int rank, int64_t *out) {
  int64_t axes[ORION_MAX_RANK];
  size_t n = 0, k = 0;
  bool marked[ORION_MAX_RANK] = {0}, given = orion_op_arg(op, "axes") != NULL;
  if (given && !orion_op_ints(w->from, op, "axes", ORION_MAX_RANK, axes, &n)) n = 0;
  for (size_t i = 0; i < n; i++) marked[axes[i] < 0 ? axes[i] + rank : axes[i]] = true;
  for (int i = 0; i < rank; i++) {
    if (!given || marked[i]) out[k++] = i;
  }
  return k;
}

int orion_back_axis(const orion_backward *w, const orion_op *op, int rank) {
  int64_t axis = 0;
  orion_op_int(w->from, op, "axis", &axis);
  return (int)(axis < 0 ? axis + rank : axis);
}
