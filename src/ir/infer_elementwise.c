// Type rules of elementwise operations, reductions and normalisations: the shape of the input, broadcast or reduced.
#include "ir/infer_rules.h"

orion_status orion_rule_const(orion_infer *c) {
  const orion_literal *val = orion_op_attr(c->op, "val");
  if (!val) return ORION_RULE_FAIL(c, "attribute val: missing (a const needs its value)");
  c->out[c->n++] = val->type;
  return ORION_OK;
}

orion_status orion_rule_same(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int axis;
  if (orion_opcode_arg(c->op->code, "axis")) ORION_TRY(orion_infer_axis_arg(c, "axis", x->rank, &axis));
  return orion_infer_emit_like(c, x, x->dtype);
}

orion_status orion_rule_gelu(orion_infer *c) {
  static const char *const modes[] = {"EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"};
  const char *mode;
  ORION_TRY(orion_infer_need_string(c, "mode", &mode));
  for (int i = 0; i < 3; i++) {
    if (strcmp(mode, modes[i]) == 0) return orion_rule_same(c);
  }
  return ORION_RULE_FAIL(c, "argument mode: \"%s\" (want EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION)", mode);
}

orion_status orion_rule_same_as_data(orion_infer *c) {
  const orion_type *data = orion_infer_arg(c, "data"), *updates = orion_infer_arg(c, "updates");
  if (updates->dtype != data->dtype) {
    return ORION_RULE_FAIL(c, "argument updates: is %s (want the element type of data, %s)",
                           orion_type_text(updates).text, orion_dtype_name(data->dtype));
  }
  int axis;
  if (orion_opcode_arg(c->op->code, "axis")) ORION_TRY(orion_infer_axis_arg(c, "axis", data->rank, &axis));
  return orion_infer_emit_like(c, data, data->dtype);
}

orion_status orion_rule_cast(orion_infer *c) {
  orion_dtype dtype;
  ORION_TRY(orion_infer_dtype_arg(c, "dtype", &dtype));
  return orion_infer_emit_like(c, orion_infer_arg(c, "x"), dtype);
}

// Broadcast of two arguments into rank and dims.
static orion_status broadcast(orion_infer *c, const char *a, const char *b, int *rank, int64_t *dims) {
  const orion_type *x = orion_infer_arg(c, a), *y = orion_infer_arg(c, b);
  if (orion_dims_broadcast(x->rank, x->dims, y->rank, y->dims, rank, dims)) return ORION_OK;
  return ORION_RULE_FAIL(c, "arguments %s and %s: shapes %s and %s do not broadcast", a, b,
                         orion_shape_text(x->rank, x->dims).text, orion_shape_text(y->rank, y->dims).text);
}

orion_status orion_rule_binary(orion_infer *c) {
  int rank;
  int64_t dims[ORION_MAX_RANK];
  ORION_TRY(broadcast(c, "x", "y", &rank, dims));
  return orion_infer_emit(c, orion_infer_arg(c, "x")->dtype, rank, dims);
}

orion_status orion_rule_compare(orion_infer *c) {
  int rank;
  int64_t dims[ORION_MAX_RANK];
  ORION_TRY(broadcast(c, "x", "y", &rank, dims));
  return orion_infer_emit(c, ORION_BOOL, rank, dims);
}

orion_status orion_rule_select(orion_infer *c) {
  const orion_type *cond = orion_infer_arg(c, "cond"), *a = orion_infer_arg(c, "a"), *b = orion_infer_arg(c, "b");
  if (cond->dtype != ORION_BOOL) {
    return ORION_RULE_FAIL(c, "argument cond: is %s (must hold bools)", orion_type_text(cond).text);
  }
  if (a->dtype != b->dtype) {
    return ORION_RULE_FAIL(c, "arguments a and b: element types %s and %s differ", orion_dtype_name(a->dtype),
                           orion_dtype_name(b->dtype));
  }
  int rank;
  int64_t dims[ORION_MAX_RANK];
  ORION_TRY(broadcast(c, "a", "b", &rank, dims));
  if (!orion_dims_broadcast(cond->rank, cond->dims, rank, dims, &rank, dims)) {
    return ORION_RULE_FAIL(c, "argument cond: shape %s does not broadcast with %s",
                           orion_shape_text(cond->rank, cond->dims).text, orion_shape_text(rank, dims).text);
  }
  return orion_infer_emit(c, a->dtype, rank, dims);
}

// ---- reductions -----------------------------------------------------------------------------------------------------

// Marks the axes that the argument `axes` names; all of them when it is absent.
static orion_status marked_axes(orion_infer *c, int rank, bool *marked) {
  int64_t axes[ORION_MAX_RANK];
  size_t n = 0;
  orion_known known = orion_infer_ints(c, "axes", ORION_MAX_RANK, axes, &n);
  if (known == ORION_RUNTIME) return ORION_RULE_FAIL(c, "argument axes: must be a constant vector of axes");
  for (int i = 0; i < rank; i++) marked[i] = known == ORION_ABSENT;
  for (size_t i = 0; i < n; i++) {
    int axis;
    ORION_TRY(orion_infer_axis(c, "axes", axes[i], rank, &axis));
    if (marked[axis]) return ORION_RULE_FAIL(c, "argument axes: axis %d is named twice", axis);
    marked[axis] = true;
  }
  return ORION_OK;
}

static orion_status emit_reduced(orion_infer *c, const orion_type *x, const bool *marked, orion_dtype dtype) {
  bool keep;
  ORION_TRY(orion_infer_bool(c, "keep_dims", &keep));
  int64_t dims[ORION_MAX_RANK];
  int rank = 0;
  for (int i = 0; i < x->rank; i++) {
    if (!marked[i]) {
      dims[rank++] = x->dims[i];
    } else if (keep) {
      dims[rank++] = 1;
    }
  }
  return orion_infer_emit(c, dtype, rank, dims);
}

orion_status orion_rule_reduce(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  bool marked[ORION_MAX_RANK];
  ORION_TRY(marked_axes(c, x->rank, marked));
  return emit_reduced(c, x, marked, x->dtype);
}

orion_status orion_rule_reduce_arg(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  bool marked[ORION_MAX_RANK] = {0};
  int axis;
  orion_dtype dtype;
  ORION_TRY(orion_infer_axis_arg(c, "axis", x->rank, &axis));
  ORION_TRY(orion_infer_dtype_arg(c, "output_dtype", &dtype));
  if (dtype != ORION_INT32 && dtype != ORION_UINT16) {
    return ORION_RULE_FAIL(c, "argument output_dtype: is \"%s\" (want int32 or uint16)", orion_dtype_name(dtype));
  }
  marked[axis] = true;
  return emit_reduced(c, x, marked, dtype);
}

// ---- normalisations -------------------------------------------------------------------------------------------------

orion_status orion_rule_softmax(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int axis;
  ORION_TRY(orion_infer_axis_arg(c, "axis", x->rank, &axis));
  return orion_infer_emit_like(c, x, x->dtype);
}

// An optional argument that must have exactly this shape.
static orion_status want_shape(orion_infer *c, const char *name, int rank, const int64_t *dims) {
  const orion_type *t = orion_infer_arg(c, name);
  if (!t) return ORION_OK;
  bool ok = t->rank == rank;
  int64_t merged;
  for (int i = 0; ok && i < rank; i++) ok = orion_dim_agree(t->dims[i], dims[i], &merged);
  if (ok) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: shape %s (want %s)", name, orion_shape_text(t->rank, t->dims).text,
                         orion_shape_text(rank, dims).text);
}

orion_status orion_rule_norm_axes(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  bool marked[ORION_MAX_RANK];
  ORION_TRY(marked_axes(c, x->rank, marked));
  int64_t dims[ORION_MAX_RANK];
  int rank = 0;
  for (int i = 0; i < x->rank; i++) {
    if (marked[i]) dims[rank++] = x->dims[i];
  }
  ORION_TRY(want_shape(c, "gamma", rank, dims));
  ORION_TRY(want_shape(c, "beta", rank, dims));
  return orion_infer_emit_like(c, x, x->dtype);
}

orion_status orion_rule_norm_channel(orion_infer *c) {
  static const char *const names[] = {"mean", "variance", "gamma", "beta"};
  const orion_type *x = orion_infer_arg(c, "x");
  if (x->rank < 3 || x->rank > 5) {
    return ORION_RULE_FAIL(c, "argument x: has rank %d (want 3 to 5: batch, channels, space)", x->rank);
  }
  for (int i = 0; i < 4; i++) ORION_TRY(want_shape(c, names[i], 1, &x->dims[1]));
  return orion_infer_emit_like(c, x, x->dtype);
}
