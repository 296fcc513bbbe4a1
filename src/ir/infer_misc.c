// Type rules of what is left: generated tensors, sorting, recurrent layers, states.
#include <math.h>
#include <string.h>

#include "ir/infer_rules.h"

// Element type of an optional scalar argument, e.g. `value` of fill.
static orion_dtype dtype_of(const orion_infer *c, const char *name, orion_dtype otherwise) {
  const orion_type *t = orion_infer_arg(c, name);
  return t ? t->dtype : otherwise;
}

orion_status orion_rule_fill(orion_infer *c) {
  const orion_type *shape = orion_infer_arg(c, "shape");
  int64_t dims[ORION_MAX_RANK];
  size_t n = 0;
  if (orion_infer_ints(c, "shape", ORION_MAX_RANK, dims, &n) != ORION_KNOWN) {
    int64_t length = shape->rank == 0 ? 1 : shape->rank == 1 ? shape->dims[0] : -1;
    if (length < 0 || length > ORION_MAX_RANK) {
      return ORION_FAIL(c->err, ORION_UNSUPPORTED, "the rank of the result is known at run time only");
    }
    n = (size_t)length;
    for (size_t i = 0; i < n; i++) dims[i] = ORION_DIM_UNKNOWN;
  } else {
    for (size_t i = 0; i < n; i++) {
      if (dims[i] < 0) return ORION_RULE_FAIL(c, "argument shape: %lld is no size", (long long)dims[i]);
    }
  }
  return orion_infer_emit(c, dtype_of(c, "value", ORION_FP32), (int)n, dims);
}

orion_status orion_rule_fill_like(orion_infer *c) {
  return orion_infer_emit_like(c, orion_infer_arg(c, "ref_tensor"), dtype_of(c, "value", ORION_FP32));
}

orion_status orion_rule_range_1d(orion_infer *c) {
  static const char *const names[] = {"start", "end", "step"};
  double v[3];
  bool known = true;
  const orion_type *start = orion_infer_arg(c, "start");
  for (int i = 0; i < 3; i++) {
    const orion_type *t = orion_infer_arg(c, names[i]);
    if (t->rank != 0 || t->dtype != start->dtype) {
      return ORION_RULE_FAIL(c, "argument %s: is %s (want a number of the type of start, %s)", names[i],
                             orion_type_text(t).text, orion_dtype_name(start->dtype));
    }
    known = orion_op_float(c->f, c->op, names[i], &v[i]) && known;
  }
  int64_t n = ORION_DIM_UNKNOWN;
  if (known) {
    if (v[2] == 0) return ORION_RULE_FAIL(c, "argument step: is 0");
    double count = ceil((v[1] - v[0]) / v[2]);
    n = count > 0 && count < 0x1p53 ? (int64_t)count : 0;
  }
  return orion_infer_emit(c, start->dtype, 1, &n);
}

orion_status orion_rule_one_hot(orion_infer *c) {
  const orion_type *indices = orion_infer_arg(c, "indices");
  int64_t size = ORION_DIM_UNKNOWN, dims[ORION_MAX_RANK + 1];
  int axis;
  ORION_TRY(orion_infer_axis_arg(c, "axis", indices->rank + 1, &axis));
  if (orion_infer_int(c, "one_hot_vector_size", &size) == ORION_KNOWN && size < 1) {
    return ORION_RULE_FAIL(c, "argument one_hot_vector_size: is %lld (want 1 or more)", (long long)size);
  }
  memcpy(dims, indices->dims, sizeof indices->dims);
  memmove(dims + axis + 1, dims + axis, (size_t)(indices->rank - axis) * sizeof *dims);
  dims[axis] = size;
  orion_dtype dtype = dtype_of(c, "on_value", dtype_of(c, "off_value", ORION_INT32));
  return orion_infer_emit(c, dtype, indices->rank + 1, dims);
}

orion_status orion_rule_non_zero(orion_infer *c) {
  int64_t dims[2] = {ORION_DIM_UNKNOWN, orion_infer_arg(c, "x")->rank};
  return orion_infer_emit(c, ORION_INT32, 2, dims);
}

// ---- sorting --------------------------------------------------------------------------------------------------------

static orion_status index_dtype(orion_infer *c, const char *name, orion_dtype *out) {
  ORION_TRY(orion_infer_dtype_arg(c, name, out));
  if (*out == ORION_INT32 || *out == ORION_UINT16) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: is \"%s\" (want int32 or uint16)", name, orion_dtype_name(*out));
}

orion_status orion_rule_argsort(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int axis;
  orion_dtype dtype;
  ORION_TRY(orion_infer_axis_arg(c, "axis", x->rank, &axis));
  ORION_TRY(index_dtype(c, "output_dtype", &dtype));
  return orion_infer_emit_like(c, x, dtype);
}

// Values, and their places unless return_indices is false. k = -1 takes all.
orion_status orion_rule_topk(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int axis;
  bool with_indices;
  int64_t k, dims[ORION_MAX_RANK];
  orion_dtype dtype;
  ORION_TRY(orion_infer_axis_arg(c, "axis", x->rank, &axis));
  ORION_TRY(orion_infer_bool(c, "return_indices", &with_indices));
  ORION_TRY(index_dtype(c, "output_indices_dtype", &dtype));
  memcpy(dims, x->dims, sizeof dims);
  if (orion_infer_int(c, "k", &k) != ORION_KNOWN) {
    dims[axis] = ORION_DIM_UNKNOWN;
  } else if (k != -1) {
    if (k < 1 || (dims[axis] >= 0 && k > dims[axis])) {
      return ORION_RULE_FAIL(c, "argument k: %lld of axis %d of x %s", (long long)k, axis,
                             orion_shape_text(x->rank, x->dims).text);
    }
    dims[axis] = k;
  }
  ORION_TRY(orion_infer_emit(c, x->dtype, x->rank, dims));
  return with_indices ? orion_infer_emit(c, dtype, x->rank, dims) : ORION_OK;
}

// ---- recurrent layers -----------------------------------------------------------------------------------------------

static orion_status want_matrix(orion_infer *c, const char *name, int64_t rows, int64_t cols) {
  const orion_type *t = orion_infer_arg(c, name);
  int64_t merged;
  if (!t || (t->rank == 2 && orion_dim_agree(t->dims[0], rows, &merged) && orion_dim_agree(t->dims[1], cols, &merged))) {
    return ORION_OK;
  }
  return ORION_RULE_FAIL(c, "argument %s: shape %s (want [%lld, %lld])", name, orion_shape_text(t->rank, t->dims).text,
                         (long long)rows, (long long)cols);
}

// x [S, B, I], initial states [B, D*H], weight_ih [4H, I], weight_hh [4H, H]; D is 2 when bidirectional.
// Results: all (or the last) hidden states [S or 1, B, D*H], the last hidden state, the last cell state.
orion_status orion_rule_lstm(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x"), *hh = orion_infer_arg(c, "weight_hh");
  const char *direction;
  bool sequence;
  ORION_TRY(orion_infer_need_string(c, "direction", &direction));
  ORION_TRY(orion_infer_bool(c, "output_sequence", &sequence));
  bool both = strcmp(direction, "bidirectional") == 0;
  if (!both && strcmp(direction, "forward") != 0 && strcmp(direction, "reverse") != 0) {
    return ORION_RULE_FAIL(c, "argument direction: \"%s\" (want forward, reverse or bidirectional)", direction);
  }
  if (x->rank != 3 || hh->rank != 2) {
    return ORION_RULE_FAIL(c, "arguments x and weight_hh: ranks %d and %d (want 3 and 2)", x->rank, hh->rank);
  }
  int64_t hidden = hh->dims[1], gates = orion_dim_mul(hidden, 4), width = orion_dim_mul(hidden, both ? 2 : 1);
  ORION_TRY(want_matrix(c, "weight_hh", gates, hidden));
  ORION_TRY(want_matrix(c, "weight_ih", gates, x->dims[2]));
  ORION_TRY(want_matrix(c, "weight_hh_back", gates, hidden));
  ORION_TRY(want_matrix(c, "weight_ih_back", gates, x->dims[2]));
  ORION_TRY(want_matrix(c, "initial_h", x->dims[1], width));
  ORION_TRY(want_matrix(c, "initial_c", x->dims[1], width));
  int64_t dims[3] = {sequence ? x->dims[0] : 1, x->dims[1], width};
  ORION_TRY(orion_infer_emit(c, x->dtype, 3, dims));
  ORION_TRY(orion_infer_emit(c, x->dtype, 2, dims + 1));
  return orion_infer_emit(c, x->dtype, 2, dims + 1);
}

// ---- states ---------------------------------------------------------------------------------------------------------

orion_status orion_rule_read_state(orion_infer *c) {
  const orion_type *held = orion_infer_arg(c, "input")->parts[0];
  return orion_infer_emit_like(c, held, held->dtype);
}

static orion_status fits_state(orion_infer *c, const char *state, const char *name) {
  const orion_type *held = orion_infer_arg(c, state)->parts[0], *value = orion_infer_arg(c, name);
  int64_t merged;
  bool ok = held->dtype == value->dtype && held->rank == value->rank;
  for (int i = 0; ok && i < held->rank; i++) ok = orion_dim_agree(held->dims[i], value->dims[i], &merged);
  if (ok) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: is %s, the state holds %s", name, orion_type_text(value).text,
                         orion_type_text(held).text);
}

// coreml_update_state yields the new contents; write_state, as compiled programs spell it, yields nothing.
orion_status orion_rule_update_state(orion_infer *c) {
  const orion_type *value = orion_infer_arg(c, "value");
  ORION_TRY(fits_state(c, "state", "value"));
  return orion_infer_emit_like(c, value, value->dtype);
}

orion_status orion_rule_write_state(orion_infer *c) { return fits_state(c, "input", "data"); }
