// Type rules of operations that only rename positions: reshape and its relatives, transpose, shape.
#include <string.h>

#include "ir/infer_rules.h"

// Number of elements of a vector argument, or -1.
static int64_t vector_length(const orion_infer *c, const char *name) {
  const orion_type *t = orion_infer_arg(c, name);
  return t->rank == 0 ? 1 : t->rank == 1 ? t->dims[0] : -1;
}

// Shape known at run time only: as many unknown dimensions as the vector has elements.
static orion_status reshape_unknown(orion_infer *c, const orion_type *x) {
  int64_t n = vector_length(c, "shape"), dims[ORION_MAX_RANK];
  if (n < 0) return ORION_FAIL(c->err, ORION_UNSUPPORTED, "the rank of the result is known at run time only");
  if (n > ORION_MAX_RANK) return ORION_RULE_FAIL(c, "argument shape: rank %lld (at most %d)", (long long)n, ORION_MAX_RANK);
  for (int i = 0; i < n; i++) dims[i] = ORION_DIM_UNKNOWN;
  return orion_infer_emit(c, x->dtype, (int)n, dims);
}

orion_status orion_rule_reshape(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int64_t dims[ORION_MAX_RANK], elements = orion_dims_product(x->dims, x->rank), known = 1;
  size_t n = 0;
  int inferred = -1;
  if (orion_infer_ints(c, "shape", ORION_MAX_RANK, dims, &n) != ORION_KNOWN) return reshape_unknown(c, x);
  for (size_t i = 0; i < n; i++) {
    if (dims[i] == 0) {  // keeps the size of x at this place
      if ((int)i >= x->rank) return ORION_RULE_FAIL(c, "argument shape: 0 at %zu, where x of rank %d has no size", i, x->rank);
      dims[i] = x->dims[i];
    } else if (dims[i] == -1) {
      if (inferred >= 0) return ORION_RULE_FAIL(c, "argument shape: -1 at both %d and %zu", inferred, i);
      inferred = (int)i;
      continue;
    } else if (dims[i] < 0) {
      return ORION_RULE_FAIL(c, "argument shape: %lld is no size", (long long)dims[i]);
    }
    known = orion_dim_mul(known, dims[i]);
  }
  if (inferred >= 0) {
    dims[inferred] = elements >= 0 && known > 0 && elements % known == 0 ? elements / known : ORION_DIM_UNKNOWN;
  }
  bool fits = elements < 0 || known < 0 || (inferred >= 0 ? known > 0 && elements % known == 0 : elements == known);
  if (!fits) {
    return ORION_RULE_FAIL(c, "argument shape: %s does not hold the %lld elements of x %s",
                           orion_shape_text((int)n, dims).text, (long long)elements,
                           orion_shape_text(x->rank, x->dims).text);
  }
  return orion_infer_emit(c, x->dtype, (int)n, dims);
}

orion_status orion_rule_expand_dims(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int64_t axes[ORION_MAX_RANK], dims[ORION_MAX_RANK];
  bool added[ORION_MAX_RANK] = {0};
  size_t n = 0;
  if (orion_infer_ints(c, "axes", ORION_MAX_RANK, axes, &n) != ORION_KNOWN) {
    return ORION_RULE_FAIL(c, "argument axes: must be a constant vector of axes");
  }
  int rank = x->rank + (int)n, from = 0;
  if (rank > ORION_MAX_RANK) return ORION_RULE_FAIL(c, "argument axes: rank %d (at most %d)", rank, ORION_MAX_RANK);
  for (size_t i = 0; i < n; i++) {
    int axis;
    ORION_TRY(orion_infer_axis(c, "axes", axes[i], rank, &axis));
    if (added[axis]) return ORION_RULE_FAIL(c, "argument axes: axis %d is named twice", axis);
    added[axis] = true;
  }
  for (int i = 0; i < rank; i++) dims[i] = added[i] ? 1 : x->dims[from++];
  return orion_infer_emit(c, x->dtype, rank, dims);
}

orion_status orion_rule_squeeze(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int64_t axes[ORION_MAX_RANK], dims[ORION_MAX_RANK];
  bool gone[ORION_MAX_RANK] = {0};
  size_t n = 0;
  int rank = 0;
  orion_known known = orion_infer_ints(c, "axes", ORION_MAX_RANK, axes, &n);
  if (known == ORION_RUNTIME) return ORION_RULE_FAIL(c, "argument axes: must be a constant vector of axes");
  if (known == ORION_ABSENT) {
    if (!orion_type_is_static(x)) {
      return ORION_FAIL(c->err, ORION_UNSUPPORTED, "x has unknown sizes and argument axes is absent");
    }
    for (int i = 0; i < x->rank; i++) gone[i] = x->dims[i] == 1;
  }
  for (size_t i = 0; i < n; i++) {
    int axis;
    ORION_TRY(orion_infer_axis(c, "axes", axes[i], x->rank, &axis));
    if (x->dims[axis] >= 0 && x->dims[axis] != 1) {
      return ORION_RULE_FAIL(c, "argument axes: axis %d of x %s is not 1", axis, orion_shape_text(x->rank, x->dims).text);
    }
    gone[axis] = true;
  }
  for (int i = 0; i < x->rank; i++) {
    if (!gone[i]) dims[rank++] = x->dims[i];
  }
  return orion_infer_emit(c, x->dtype, rank, dims);
}

orion_status orion_rule_flatten2d(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int64_t axis;
  ORION_TRY(orion_infer_need_int(c, "axis", &axis));
  if (axis < 0) axis += x->rank;
  if (axis < 0 || axis > x->rank) return ORION_RULE_FAIL(c, "argument axis: is outside rank %d", x->rank);
  int64_t dims[2] = {orion_dims_product(x->dims, (int)axis), orion_dims_product(x->dims + axis, x->rank - (int)axis)};
  return orion_infer_emit(c, x->dtype, 2, dims);
}

orion_status orion_rule_shape(orion_infer *c) {
  int64_t rank = orion_infer_arg(c, "x")->rank;
  return orion_infer_emit(c, ORION_INT32, 1, &rank);
}

orion_status orion_rule_transpose(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int64_t perm[2 * ORION_MAX_RANK], dims[ORION_MAX_RANK];
  bool seen[ORION_MAX_RANK] = {0};
  if (!orion_op_arg(c->op, "perm")) return ORION_RULE_FAIL(c, "argument perm: missing");
  ORION_TRY(orion_infer_ints_n(c, "perm", x->rank, 0, perm));
  for (int i = 0; i < x->rank; i++) {
    int axis;
    ORION_TRY(orion_infer_axis(c, "perm", perm[i], x->rank, &axis));
    if (seen[axis]) return ORION_RULE_FAIL(c, "argument perm: axis %d is named twice", axis);
    seen[axis] = true;
    dims[i] = x->dims[axis];
  }
  return orion_infer_emit(c, x->dtype, x->rank, dims);
}

// Space and depth: blocks of b x b positions against b*b channels, on [batch, channels, height, width].
static orion_status blocks(orion_infer *c, const char *arg, bool to_space) {
  const orion_type *x = orion_infer_arg(c, "x");
  int64_t b, dims[4];
  ORION_TRY(orion_infer_need_int(c, arg, &b));
  if (x->rank != 4 || b < 1 || b > 32768) {
    return ORION_RULE_FAIL(c, "arguments x and %s: rank %d and %lld (want rank 4 and 1 or more)", arg, x->rank,
                           (long long)b);
  }
  memcpy(dims, x->dims, sizeof dims);
  int64_t divided[3] = {x->dims[1], x->dims[2], x->dims[3]};
  bool fits = to_space ? divided[0] < 0 || divided[0] % (b * b) == 0
                       : (divided[1] < 0 || divided[1] % b == 0) && (divided[2] < 0 || divided[2] % b == 0);
  if (!fits) {
    return ORION_RULE_FAIL(c, "argument %s: %lld does not divide x %s", arg, (long long)b,
                           orion_shape_text(4, x->dims).text);
  }
  dims[1] = to_space ? (dims[1] < 0 ? dims[1] : dims[1] / (b * b)) : orion_dim_mul(dims[1], b * b);
  for (int i = 2; i < 4; i++) dims[i] = to_space ? orion_dim_mul(dims[i], b) : dims[i] < 0 ? dims[i] : dims[i] / b;
  return orion_infer_emit(c, x->dtype, 4, dims);
}

orion_status orion_rule_depth_to_space(orion_infer *c) { return blocks(c, "block_size", true); }
orion_status orion_rule_space_to_depth(orion_infer *c) { return blocks(c, "block_size", false); }
orion_status orion_rule_pixel_shuffle(orion_infer *c) { return blocks(c, "upscale_factor", true); }
orion_status orion_rule_pixel_unshuffle(orion_infer *c) { return blocks(c, "downscale_factor", false); }
