// Type rules of operations that cut and join: slices, concat, split, stack, pad, tile, gather.
#include <string.h>

#include "ir/infer_rules.h"

// ---- slices ---------------------------------------------------------------------------------------------------------

typedef struct slice {
  bool begin_known, end_known;
  int64_t begin[2 * ORION_MAX_RANK], end[2 * ORION_MAX_RANK], stride[2 * ORION_MAX_RANK];
  int64_t begin_mask[2 * ORION_MAX_RANK], end_mask[2 * ORION_MAX_RANK], squeeze[2 * ORION_MAX_RANK];
} slice;

// One vector of a slice, which may be known at run time only.
static orion_status slice_vector(orion_infer *c, const char *name, int rank, int64_t *out, bool *out_known) {
  size_t n = 0;
  *out_known = orion_infer_ints(c, name, 2 * ORION_MAX_RANK, out, &n) == ORION_KNOWN;
  const orion_type *t = orion_infer_arg(c, name);
  int64_t length = *out_known ? (int64_t)n : t && t->rank == 1 ? t->dims[0] : ORION_DIM_UNKNOWN;
  if (length < 0 || length == rank) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: has %lld elements (want %d, the rank of x)", name, (long long)length, rank);
}

static orion_status read_slice(orion_infer *c, int rank, slice *s) {
  ORION_TRY(slice_vector(c, "begin", rank, s->begin, &s->begin_known));
  ORION_TRY(slice_vector(c, "end", rank, s->end, &s->end_known));
  ORION_TRY(orion_infer_ints_n(c, "stride", (size_t)rank, 1, s->stride));
  ORION_TRY(orion_infer_ints_n(c, "begin_mask", (size_t)rank, 0, s->begin_mask));
  ORION_TRY(orion_infer_ints_n(c, "end_mask", (size_t)rank, 0, s->end_mask));
  return orion_infer_ints_n(c, "squeeze_mask", (size_t)rank, 0, s->squeeze);
}

// First and last+1 position, clamped as in Python; negative ones count from the end.
static int64_t clamp_position(int64_t at, int64_t size, int64_t low, int64_t high) {
  if (at < 0) at = at < -size ? low : at + size;
  return at < low ? low : at > high ? high : at;
}

static int64_t slice_length(const slice *s, int i, int64_t size) {
  int64_t stride = s->stride[i], low = stride > 0 ? 0 : -1, high = stride > 0 ? size : size - 1;
  bool begin_open = s->begin_mask[i] != 0, end_open = s->end_mask[i] != 0;
  if (size < 0 || (!begin_open && !s->begin_known) || (!end_open && !s->end_known)) return ORION_DIM_UNKNOWN;
  int64_t begin = begin_open ? (stride > 0 ? low : high) : clamp_position(s->begin[i], size, low, high);
  int64_t end = end_open ? (stride > 0 ? high : low) : clamp_position(s->end[i], size, low, high);
  int64_t distance = stride > 0 ? end - begin : begin - end;
  uint64_t step = stride > 0 ? (uint64_t)stride : -(uint64_t)stride;
  return distance <= 0 ? 0 : (int64_t)(((uint64_t)distance - 1) / step + 1);
}

static orion_status slice_dims(orion_infer *c, const orion_type *x, int *out_rank, int64_t *dims) {
  slice s;
  int rank = 0;
  ORION_TRY(read_slice(c, x->rank, &s));
  for (int i = 0; i < x->rank; i++) {
    if (s.stride[i] == 0) return ORION_RULE_FAIL(c, "argument stride: is 0 at axis %d", i);
    if (s.squeeze[i]) {
      int64_t at = s.begin_known && !s.begin_mask[i] ? s.begin[i] : 0;
      if (x->dims[i] >= 0 && (at >= x->dims[i] || at < -x->dims[i])) {
        return ORION_RULE_FAIL(c, "argument begin: %lld at axis %d is outside x %s", (long long)at, i,
                               orion_shape_text(x->rank, x->dims).text);
      }
      continue;
    }
    dims[rank++] = slice_length(&s, i, x->dims[i]);
  }
  *out_rank = rank;
  return ORION_OK;
}

orion_status orion_rule_slice_by_index(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int rank;
  int64_t dims[ORION_MAX_RANK];
  ORION_TRY(slice_dims(c, x, &rank, dims));
  return orion_infer_emit(c, x->dtype, rank, dims);
}

orion_status orion_rule_slice_update(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x"), *update = orion_infer_arg(c, "update");
  int rank, both_rank;
  int64_t dims[ORION_MAX_RANK], both[ORION_MAX_RANK], merged;
  ORION_TRY(slice_dims(c, x, &rank, dims));
  bool ok = orion_dims_broadcast(update->rank, update->dims, rank, dims, &both_rank, both) && both_rank == rank;
  for (int i = 0; ok && i < rank; i++) ok = orion_dim_agree(both[i], dims[i], &merged);
  if (!ok) {
    return ORION_RULE_FAIL(c, "argument update: shape %s does not fit the slice %s",
                           orion_shape_text(update->rank, update->dims).text, orion_shape_text(rank, dims).text);
  }
  return orion_infer_emit_like(c, x, x->dtype);
}

orion_status orion_rule_slice_by_size(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int64_t begin[2 * ORION_MAX_RANK], size[2 * ORION_MAX_RANK], dims[ORION_MAX_RANK];
  bool begin_known, size_known;
  ORION_TRY(slice_vector(c, "begin", x->rank, begin, &begin_known));
  ORION_TRY(slice_vector(c, "size", x->rank, size, &size_known));
  for (int i = 0; i < x->rank; i++) {
    int64_t whole = x->dims[i], at = begin_known ? begin[i] : 0;
    dims[i] = ORION_DIM_UNKNOWN;
    if (at < 0 && whole >= 0) at += whole;
    if (!size_known) continue;
    if (size[i] >= 0) dims[i] = size[i];
    if (size[i] == -1 && begin_known && whole >= 0) dims[i] = whole - at;  // to the end
    bool inside = size[i] >= -1 && (whole < 0 || (at >= 0 && at <= whole && dims[i] <= whole - at));
    if (!inside) {
      return ORION_RULE_FAIL(c, "arguments begin and size: %lld and %lld at axis %d leave x %s", (long long)at,
                             (long long)size[i], i, orion_shape_text(x->rank, x->dims).text);
    }
  }
  return orion_infer_emit(c, x->dtype, x->rank, dims);
}

// ---- joining and cutting --------------------------------------------------------------------------------------------

// Merges the types of all `values`: equal rank and dtype, sizes agreeing except (where >= 0) along `free_axis`.
static orion_status merge_values(orion_infer *c, int free_axis, int *rank, int64_t *dims, orion_dtype *dtype) {
  const orion_arg *values = orion_op_arg(c->op, "values");
  const orion_type *first = orion_ref_type(c->f, values->refs[0]);
  *rank = first->rank;
  *dtype = first->dtype;
  memcpy(dims, first->dims, sizeof first->dims);
  for (uint32_t i = 1; i < values->n_refs; i++) {
    const orion_type *t = orion_ref_type(c->f, values->refs[i]);
    bool ok = t->rank == *rank && t->dtype == *dtype;
    for (int d = 0; ok && d < *rank; d++) {
      if (d != free_axis) ok = orion_dim_agree(dims[d], t->dims[d], &dims[d]);
    }
    if (!ok) {
      return ORION_RULE_FAIL(c, "argument values: element %u is %s, which does not fit the first, %s", i,
                             orion_type_text(t).text, orion_type_text(first).text);
    }
  }
  return ORION_OK;
}

orion_status orion_rule_concat(orion_infer *c) {
  const orion_arg *values = orion_op_arg(c->op, "values");
  int first_rank = orion_ref_type(c->f, values->refs[0])->rank, axis, rank;
  bool interleave;
  int64_t dims[ORION_MAX_RANK], total = 0;
  orion_dtype dtype;
  ORION_TRY(orion_infer_bool(c, "interleave", &interleave));
  // Numbers join to a vector.
  ORION_TRY(orion_infer_axis_arg(c, "axis", first_rank ? first_rank : 1, &axis));
  ORION_TRY(merge_values(c, interleave ? -1 : axis, &rank, dims, &dtype));
  for (uint32_t i = 0; i < values->n_refs; i++) {
    const orion_type *t = orion_ref_type(c->f, values->refs[i]);
    int64_t d = rank ? t->dims[axis] : 1;
    if (d < 0 || total < 0 || __builtin_add_overflow(total, d, &total)) total = ORION_DIM_UNKNOWN;
  }
  dims[axis] = total;
  return orion_infer_emit(c, dtype, rank ? rank : 1, dims);
}

orion_status orion_rule_stack(orion_infer *c) {
  const orion_arg *values = orion_op_arg(c->op, "values");
  int axis, rank;
  int64_t dims[ORION_MAX_RANK + 1];
  orion_dtype dtype;
  ORION_TRY(merge_values(c, -1, &rank, dims, &dtype));
  ORION_TRY(orion_infer_axis_arg(c, "axis", rank + 1, &axis));
  memmove(dims + axis + 1, dims + axis, (size_t)(rank - axis) * sizeof *dims);
  dims[axis] = values->n_refs;
  return orion_infer_emit(c, dtype, rank + 1, dims);
}

orion_status orion_rule_split(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int64_t sizes[ORION_MAX_RESULTS], number = 0, total = 0, dims[ORION_MAX_RANK];
  size_t n_sizes = 0;
  int axis;
  ORION_TRY(orion_infer_axis_arg(c, "axis", x->rank, &axis));
  orion_known by_sizes = orion_infer_ints(c, "split_sizes", ORION_MAX_RESULTS, sizes, &n_sizes);
  orion_known by_number = orion_infer_int(c, "num_splits", &number);
  if (by_sizes == ORION_ABSENT && by_number == ORION_ABSENT) {
    return ORION_RULE_FAIL(c, "arguments num_splits and split_sizes: both missing");
  }
  if (by_sizes == ORION_RUNTIME || by_number == ORION_RUNTIME) {
    return ORION_RULE_FAIL(c, "arguments num_splits and split_sizes: must be constants of at most %d parts",
                           ORION_MAX_RESULTS);
  }
  int64_t whole = x->dims[axis];
  if (by_sizes == ORION_ABSENT) {
    bool fits = number >= 1 && number <= ORION_MAX_RESULTS && (whole < 0 || whole % number == 0);
    if (!fits) {
      return ORION_RULE_FAIL(c, "argument num_splits: %lld does not divide axis %d of x %s", (long long)number, axis,
                             orion_shape_text(x->rank, x->dims).text);
    }
    n_sizes = (size_t)number;
    for (size_t i = 0; i < n_sizes; i++) sizes[i] = whole < 0 ? ORION_DIM_UNKNOWN : whole / number;
  } else {
    for (size_t i = 0; i < n_sizes; i++) {
      if (sizes[i] < 0 || __builtin_add_overflow(total, sizes[i], &total)) {
        return ORION_RULE_FAIL(c, "argument split_sizes: %lld is no size", (long long)sizes[i]);
      }
    }
    if ((whole >= 0 && total != whole) || (by_number == ORION_KNOWN && number != (int64_t)n_sizes)) {
      return ORION_RULE_FAIL(c, "argument split_sizes: sum is %lld in %zu parts, axis %d of x is %lld",
                             (long long)total, n_sizes, axis, (long long)whole);
    }
  }
  memcpy(dims, x->dims, sizeof dims);
  for (size_t i = 0; i < n_sizes; i++) {
    dims[axis] = sizes[i];
    ORION_TRY(orion_infer_emit(c, x->dtype, x->rank, dims));
  }
  return ORION_OK;
}

orion_status orion_rule_pad(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int64_t pads[2 * ORION_MAX_RANK], dims[ORION_MAX_RANK];
  size_t n = 0;
  const char *mode;
  ORION_TRY(orion_infer_need_string(c, "mode", &mode));
  if (strcmp(mode, "constant") != 0 && strcmp(mode, "reflect") != 0 && strcmp(mode, "replicate") != 0) {
    return ORION_RULE_FAIL(c, "argument mode: \"%s\" (want constant, reflect or replicate)", mode);
  }
  memcpy(dims, x->dims, sizeof dims);
  if (orion_infer_ints(c, "pad", 2 * ORION_MAX_RANK, pads, &n) != ORION_KNOWN) {
    for (int i = 0; i < x->rank; i++) dims[i] = ORION_DIM_UNKNOWN;
    return orion_infer_emit(c, x->dtype, x->rank, dims);
  }
  if (n % 2 || (int)n / 2 > x->rank) {
    return ORION_RULE_FAIL(c, "argument pad: has %zu elements (want two for each padded axis of %d)", n, x->rank);
  }
  for (size_t i = 0; i < n / 2; i++) {  // the last axes
    int64_t *d = &dims[x->rank - (int)(n / 2) + (int)i];
    if (*d < 0) continue;
    if (__builtin_add_overflow(*d, pads[2 * i], d) || __builtin_add_overflow(*d, pads[2 * i + 1], d) || *d < 0) {
      return ORION_RULE_FAIL(c, "argument pad: %lld and %lld leave no size", (long long)pads[2 * i],
                             (long long)pads[2 * i + 1]);
    }
  }
  return orion_infer_emit(c, x->dtype, x->rank, dims);
}

orion_status orion_rule_tile(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  int64_t reps[2 * ORION_MAX_RANK], dims[ORION_MAX_RANK];
  bool known;
  ORION_TRY(slice_vector(c, "reps", x->rank, reps, &known));
  for (int i = 0; i < x->rank; i++) {
    if (known && reps[i] < 1) return ORION_RULE_FAIL(c, "argument reps: %lld at axis %d", (long long)reps[i], i);
    dims[i] = known ? orion_dim_mul(x->dims[i], reps[i]) : ORION_DIM_UNKNOWN;
  }
  return orion_infer_emit(c, x->dtype, x->rank, dims);
}

// ---- gather ---------------------------------------------------------------------------------------------------------

static orion_status batch_dims(orion_infer *c, const orion_type *x, const orion_type *indices, int *out) {
  int64_t batch, merged;
  ORION_TRY(orion_infer_need_int(c, "batch_dims", &batch));
  bool ok = batch >= 0 && batch <= x->rank && batch <= indices->rank;
  for (int i = 0; ok && i < batch; i++) ok = orion_dim_agree(x->dims[i], indices->dims[i], &merged);
  if (!ok) {
    return ORION_RULE_FAIL(c, "argument batch_dims: the first %lld sizes of x %s and indices %s are not the same",
                           (long long)batch, orion_shape_text(x->rank, x->dims).text,
                           orion_shape_text(indices->rank, indices->dims).text);
  }
  *out = (int)batch;
  return ORION_OK;
}

// Adds n sizes to a shape; false when it grows too long.
static bool append(int64_t *dims, int *rank, int n, const int64_t *more) {
  if (*rank + n > ORION_MAX_RANK) return false;
  memcpy(dims + *rank, more, (size_t)n * sizeof *dims);
  *rank += n;
  return true;
}

orion_status orion_rule_gather(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x"), *indices = orion_infer_arg(c, "indices");
  int axis, batch, rank = 0;
  int64_t dims[ORION_MAX_RANK];
  ORION_TRY(orion_infer_axis_arg(c, "axis", x->rank, &axis));
  ORION_TRY(batch_dims(c, x, indices, &batch));
  if (axis < batch) return ORION_RULE_FAIL(c, "argument axis: %d is among the %d batch axes", axis, batch);
  if (!append(dims, &rank, axis, x->dims) || !append(dims, &rank, indices->rank - batch, indices->dims + batch) ||
      !append(dims, &rank, x->rank - axis - 1, x->dims + axis + 1)) {
    return ORION_RULE_FAIL(c, "argument indices: the result has more than %d axes", ORION_MAX_RANK);
  }
  return orion_infer_emit(c, x->dtype, rank, dims);
}

orion_status orion_rule_gather_along_axis(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x"), *indices = orion_infer_arg(c, "indices");
  int axis;
  int64_t dims[ORION_MAX_RANK];
  ORION_TRY(orion_infer_axis_arg(c, "axis", x->rank, &axis));
  bool ok = x->rank == indices->rank;
  for (int i = 0; ok && i < x->rank; i++) {
    dims[i] = indices->dims[i];
    if (i != axis) ok = orion_dim_agree(x->dims[i], indices->dims[i], &dims[i]);
  }
  if (!ok) {
    return ORION_RULE_FAIL(c, "argument indices: shape %s does not fit x %s (equal but along axis %d)",
                           orion_shape_text(indices->rank, indices->dims).text,
                           orion_shape_text(x->rank, x->dims).text, axis);
  }
  return orion_infer_emit(c, x->dtype, x->rank, dims);
}

// The last axis of indices holds places in the axes of x behind the batch.
orion_status orion_rule_gather_nd(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x"), *indices = orion_infer_arg(c, "indices");
  int batch, rank = 0;
  int64_t dims[ORION_MAX_RANK];
  ORION_TRY(batch_dims(c, x, indices, &batch));
  if (indices->rank < 1) return ORION_RULE_FAIL(c, "argument indices: must have rank 1 or more");
  int64_t depth = indices->dims[indices->rank - 1];
  if (depth < 0) return ORION_FAIL(c->err, ORION_UNSUPPORTED, "the last size of indices is unknown");
  if (batch > indices->rank - 1 || depth > x->rank - batch) {
    return ORION_RULE_FAIL(c, "argument indices: shape %s is too deep for x %s",
                           orion_shape_text(indices->rank, indices->dims).text,
                           orion_shape_text(x->rank, x->dims).text);
  }
  int from = batch + (int)depth;
  if (!append(dims, &rank, indices->rank - 1, indices->dims) || !append(dims, &rank, x->rank - from, x->dims + from)) {
    return ORION_RULE_FAIL(c, "argument indices: the result has more than %d axes", ORION_MAX_RANK);
  }
  return orion_infer_emit(c, x->dtype, rank, dims);
}
