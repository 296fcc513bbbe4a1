// Arguments, dimensions and results as the type rules see them.
#include <string.h>

#include "ir/infer_rules.h"

const orion_type *orion_infer_arg(const orion_infer *c, const char *name) {
  return orion_op_arg_type(c->f, c->op, name);
}

static bool given(const orion_infer *c, const char *name) {
  return orion_op_arg(c->op, name) || orion_op_attr(c->op, name);
}

orion_known orion_infer_int(const orion_infer *c, const char *name, int64_t *out) {
  if (orion_op_int(c->f, c->op, name, out)) return ORION_KNOWN;
  return given(c, name) ? ORION_RUNTIME : ORION_ABSENT;
}

orion_known orion_infer_ints(const orion_infer *c, const char *name, size_t max, int64_t *out, size_t *out_n) {
  if (!given(c, name)) return ORION_ABSENT;
  return orion_op_ints(c->f, c->op, name, max, out, out_n) ? ORION_KNOWN : ORION_RUNTIME;
}

orion_status orion_infer_ints_n(orion_infer *c, const char *name, size_t n, int64_t fallback, int64_t *out) {
  size_t got = 0;
  switch (orion_infer_ints(c, name, 2 * ORION_MAX_RANK, out, &got)) {
    case ORION_RUNTIME: return ORION_RULE_FAIL(c, "argument %s: must be a constant of %zu integers", name, n);
    case ORION_ABSENT:
      for (size_t i = 0; i < n; i++) out[i] = fallback;
      return ORION_OK;
    case ORION_KNOWN: break;
  }
  if (got == n) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: has %zu elements (want %zu)", name, got, n);
}

orion_status orion_infer_bool(orion_infer *c, const char *name, bool *out) {
  if (orion_op_bool(c->f, c->op, name, out)) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: must be a constant bool", name);
}

orion_status orion_infer_need_int(orion_infer *c, const char *name, int64_t *out) {
  if (orion_infer_int(c, name, out) == ORION_KNOWN) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: must be a constant integer", name);
}

orion_status orion_infer_need_string(orion_infer *c, const char *name, const char **out) {
  *out = orion_op_string(c->f, c->op, name);
  if (*out) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: must be a constant string", name);
}

orion_status orion_infer_dtype_arg(orion_infer *c, const char *name, orion_dtype *out) {
  const char *text;
  ORION_TRY(orion_infer_need_string(c, name, &text));
  *out = orion_dtype_parse(text, strlen(text));
  if (*out != ORION_DTYPE_NONE && *out != ORION_STRING) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: \"%s\" is no element type (want fp16, fp32, int32, bool, ...)", name, text);
}

orion_status orion_infer_axis(orion_infer *c, const char *name, int64_t axis, int rank, int *out) {
  if (axis < -rank || axis >= rank) {
    return ORION_RULE_FAIL(c, "argument %s: axis %lld is outside rank %d", name, (long long)axis, rank);
  }
  *out = (int)(axis < 0 ? axis + rank : axis);
  return ORION_OK;
}

orion_status orion_infer_axis_arg(orion_infer *c, const char *name, int rank, int *out) {
  int64_t axis;
  ORION_TRY(orion_infer_need_int(c, name, &axis));
  return orion_infer_axis(c, name, axis, rank, out);
}

orion_status orion_infer_emit(orion_infer *c, orion_dtype dtype, int rank, const int64_t *dims) {
  if (c->n == ORION_MAX_RESULTS) return ORION_RULE_FAIL(c, "more than %d results", ORION_MAX_RESULTS);
  if (rank > ORION_MAX_RANK) {
    return ORION_RULE_FAIL(c, "the result has rank %d (at most %d)", rank, ORION_MAX_RANK);
  }
  // A declared type that says just this is taken as it is: verifying a program makes no types.
  if (c->n < c->op->n_results) {
    const orion_type *t = orion_value_type(c->f, c->op->results[c->n]);
    bool same = orion_type_is_tensor(t) && t->dtype == dtype && t->rank == rank;
    for (int i = 0; same && i < rank; i++) same = t->dims[i] == dims[i];
    if (same) {
      c->out[c->n++] = t;
      return ORION_OK;
    }
  }
  // Programs of version 1.0 spell rank 0 as tensor<fp16, []>, later ones as fp16.
  bool bare = rank == 0 && strcmp(c->f->program->version, "1.0") != 0;
  const orion_type *t = bare ? orion_type_scalar(c->f->program, dtype)
                             : orion_type_tensor(c->f->program, dtype, rank, dims);
  if (!t) return ORION_OOM(c->err, "result type");
  c->out[c->n++] = t;
  return ORION_OK;
}

orion_status orion_infer_emit_like(orion_infer *c, const orion_type *t, orion_dtype dtype) {
  return orion_infer_emit(c, dtype, t->rank, t->dims);
}

// ---- dimensions -----------------------------------------------------------------------------------------------------

int64_t orion_dim_mul(int64_t a, int64_t b) {
  int64_t product;
  if (a == 0 || b == 0) return 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product)) return ORION_DIM_UNKNOWN;
  return product;
}

int64_t orion_dims_product(const int64_t *dims, int n) {
  int64_t product = 1;
  for (int i = 0; i < n; i++) product = orion_dim_mul(product, dims[i]);
  return product;
}

bool orion_dim_agree(int64_t a, int64_t b, int64_t *out_merged) {
  *out_merged = a < 0 ? b : a;
  return a < 0 || b < 0 || a == b;
}

bool orion_dims_broadcast(int rank_a, const int64_t *a, int rank_b, const int64_t *b, int *out_rank, int64_t *out) {
  int rank = rank_a > rank_b ? rank_a : rank_b;
  int64_t dims[ORION_MAX_RANK];
  for (int i = 0; i < rank; i++) {
    int ia = i - (rank - rank_a), ib = i - (rank - rank_b);
    int64_t da = ia >= 0 ? a[ia] : 1, db = ib >= 0 ? b[ib] : 1;
    if (da == 1 || db == 1) {
      dims[i] = da == 1 ? db : da;
    } else if (!orion_dim_agree(da, db, &dims[i])) {
      return false;
    }
  }
  memcpy(out, dims, (size_t)rank * sizeof *dims);
  *out_rank = rank;
  return true;
}
