// Type rules of compressed weights and of run-time quantisation. Two spellings of the constexpr family exist: iOS 16 puts
// everything in brackets, packs indices and masks into uint8 vectors and says the shape apart; iOS 18 takes arguments
// with sub-byte element types of the full shape.
#include <string.h>

#include "ir/infer_rules.h"

// The shape argument of the old spelling; false when it is absent.
static bool old_shape(const orion_infer *c, int64_t *dims, size_t *rank) {
  return orion_infer_ints(c, "shape", ORION_MAX_RANK, dims, rank) == ORION_KNOWN;
}

static orion_status want_float(orion_infer *c, const char *name) {
  const orion_type *t = orion_infer_arg(c, name);
  if (orion_dtype_is_float(t->dtype)) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: is %s (must hold floating-point numbers)", name, orion_type_text(t).text);
}

// A scalar, or one element for each position along `axis` of `data`.
static orion_status per_axis(orion_infer *c, const char *name, const orion_type *data, int axis) {
  const orion_type *t = orion_infer_arg(c, name);
  int64_t merged;
  if (!t || t->rank == 0) return ORION_OK;
  bool ok = t->rank == 1 && axis >= 0 && (t->dims[0] == 1 || orion_dim_agree(t->dims[0], data->dims[axis], &merged));
  if (ok) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: shape %s does not fit axis %d of %s", name,
                         orion_shape_text(t->rank, t->dims).text, axis, orion_shape_text(data->rank, data->dims).text);
}

orion_status orion_rule_constexpr_affine(orion_infer *c) {
  const orion_type *data = orion_infer_arg(c, "quantized_data"), *scale = orion_infer_arg(c, "scale");
  int axis;
  ORION_TRY(want_float(c, "scale"));
  if (!orion_dtype_is_int(data->dtype)) {
    return ORION_RULE_FAIL(c, "argument quantized_data: is %s (must hold integers)", orion_type_text(data).text);
  }
  ORION_TRY(orion_infer_axis_arg(c, "axis", data->rank ? data->rank : 1, &axis));
  ORION_TRY(per_axis(c, "scale", data, axis));
  ORION_TRY(per_axis(c, "zero_point", data, axis));
  return orion_infer_emit_like(c, data, scale->dtype);
}

// Blocks: every size of `part` divides that of the whole.
static orion_status divides(orion_infer *c, const char *name, const orion_type *part, int rank, const int64_t *whole) {
  bool ok = part->rank == rank;
  for (int i = 0; ok && i < rank; i++) {
    ok = part->dims[i] < 0 || whole[i] < 0 || (part->dims[i] > 0 && whole[i] % part->dims[i] == 0);
  }
  if (ok) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: shape %s does not divide %s into blocks", name,
                         orion_shape_text(part->rank, part->dims).text, orion_shape_text(rank, whole).text);
}

static orion_status scale_and_offset(orion_infer *c, int rank, const int64_t *dims) {
  const orion_type *scale = orion_infer_arg(c, "scale"), *offset = orion_infer_arg(c, "offset");
  ORION_TRY(want_float(c, "scale"));
  ORION_TRY(divides(c, "scale", scale, rank, dims));
  return offset ? divides(c, "offset", offset, scale->rank, scale->dims) : ORION_OK;
}

orion_status orion_rule_constexpr_blockwise(orion_infer *c) {
  const orion_type *data = orion_infer_arg(c, "data");
  ORION_TRY(scale_and_offset(c, data->rank, data->dims));
  return orion_infer_emit_like(c, data, orion_infer_arg(c, "scale")->dtype);
}

static orion_status want_mask(orion_infer *c, const char *name) {
  const orion_type *mask = orion_infer_arg(c, name);
  if (mask->dtype == ORION_UINT1 || mask->dtype == ORION_BOOL) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: is %s (must hold uint1)", name, orion_type_text(mask).text);
}

orion_status orion_rule_constexpr_sparse_blockwise(orion_infer *c) {
  const orion_type *mask = orion_infer_arg(c, "data_mask"), *data = orion_infer_arg(c, "nonzero_data");
  ORION_TRY(want_mask(c, "data_mask"));
  ORION_TRY(scale_and_offset(c, mask->rank, mask->dims));
  ORION_TRY(orion_infer_emit_like(c, mask, mask->dtype));
  return orion_infer_emit_like(c, data, orion_infer_arg(c, "scale")->dtype);
}

// log2 of the entry count, or -1 if that is no power of two up to 256.
static int index_bits(int64_t entries) {
  for (int bits = 1; bits <= 8; bits++) {
    if (entries == (int64_t)1 << bits) return bits;
  }
  return -1;
}

static orion_status old_lut(orion_infer *c, size_t rank, const int64_t *dims) {
  const orion_type *indices = orion_infer_arg(c, "indices"), *lut = orion_infer_arg(c, "lut");
  int bits = lut->rank == 1 ? index_bits(lut->dims[0]) : -1;
  int64_t n = orion_dims_product(dims, (int)rank), bytes = orion_dims_product(indices->dims, indices->rank);
  if (bits < 0 || indices->dtype != ORION_UINT8 || n < 0 || n > INT64_MAX / 16 || (bytes >= 0 && bytes != (n * bits + 7) / 8)) {
    return ORION_RULE_FAIL(c, "argument indices: %s does not hold %lld indices into lut %s",
                           orion_type_text(indices).text, (long long)n, orion_type_text(lut).text);
  }
  return orion_infer_emit(c, lut->dtype, (int)rank, dims);
}

// lut [groups along each axis..., entries, vector length]; the vector extends the result along `vector_axis`.
static orion_status lut_shape(orion_infer *c, const orion_type *full, orion_dtype index, int64_t *dims, int64_t *length) {
  const orion_type *lut = orion_infer_arg(c, "lut");
  if (lut->rank != full->rank + 2) {
    return ORION_RULE_FAIL(c, "argument lut: has rank %d (want %d: rank of the indices and 2)", lut->rank,
                           full->rank + 2);
  }
  int64_t entries = lut->dims[full->rank];
  *length = lut->dims[full->rank + 1];
  if (orion_dtype_class(index) != 'u' || (entries >= 0 && index_bits(entries) != (int)orion_dtype_bits(index))) {
    return ORION_RULE_FAIL(c, "argument lut: %lld entries do not fit indices of %s", (long long)entries,
                           orion_dtype_name(index));
  }
  orion_type groups = *lut;
  groups.rank = full->rank;
  ORION_TRY(divides(c, "lut", &groups, full->rank, full->dims));
  memcpy(dims, full->dims, sizeof full->dims);
  int64_t value;
  int axis;
  if (orion_infer_int(c, "vector_axis", &value) == ORION_KNOWN) {
    ORION_TRY(orion_infer_axis(c, "vector_axis", value, full->rank, &axis));
    dims[axis] = orion_dim_mul(dims[axis], *length);
  } else if (*length > 1) {
    return ORION_RULE_FAIL(c, "argument vector_axis: missing (lut holds vectors of %lld)", (long long)*length);
  }
  return ORION_OK;
}

orion_status orion_rule_constexpr_lut(orion_infer *c) {
  const orion_type *indices = orion_infer_arg(c, "indices"), *lut = orion_infer_arg(c, "lut");
  int64_t dims[ORION_MAX_RANK], length;
  size_t rank;
  if (old_shape(c, dims, &rank)) return old_lut(c, rank, dims);
  ORION_TRY(lut_shape(c, indices, indices->dtype, dims, &length));
  return orion_infer_emit(c, lut->dtype, indices->rank, dims);
}

orion_status orion_rule_constexpr_lut_sparse(orion_infer *c) {
  const orion_type *mask = orion_infer_arg(c, "indices_mask"), *indices = orion_infer_arg(c, "indices_nonzero_data");
  const orion_type *lut = orion_infer_arg(c, "lut");
  int64_t dims[ORION_MAX_RANK], length;
  ORION_TRY(want_mask(c, "indices_mask"));
  ORION_TRY(lut_shape(c, mask, indices->dtype, dims, &length));
  if (indices->rank != 1) return ORION_RULE_FAIL(c, "argument indices_nonzero_data: must be a vector");
  int64_t n = orion_dim_mul(indices->dims[0], length);
  ORION_TRY(orion_infer_emit(c, mask->dtype, mask->rank, dims));
  return orion_infer_emit(c, lut->dtype, 1, &n);
}

orion_status orion_rule_constexpr_sparse(orion_infer *c) {
  const orion_type *data = orion_infer_arg(c, "nonzero_data"), *mask = orion_infer_arg(c, "mask");
  int64_t dims[ORION_MAX_RANK];
  size_t rank;
  if (data->rank != 1) return ORION_RULE_FAIL(c, "argument nonzero_data: must be a vector");
  if (!old_shape(c, dims, &rank)) {
    ORION_TRY(want_mask(c, "mask"));
    return orion_infer_emit_like(c, mask, data->dtype);
  }
  int64_t n = orion_dims_product(dims, (int)rank), bytes = orion_dims_product(mask->dims, mask->rank);
  if (mask->dtype != ORION_UINT8 || n < 0 || (bytes >= 0 && bytes != n / 8 + (n % 8 != 0))) {
    return ORION_RULE_FAIL(c, "argument mask: %s does not hold %lld bits", orion_type_text(mask).text, (long long)n);
  }
  return orion_infer_emit(c, data->dtype, (int)rank, dims);
}

orion_status orion_rule_constexpr_cast(orion_infer *c) {
  orion_dtype dtype;
  ORION_TRY(orion_infer_dtype_arg(c, "output_dtype", &dtype));
  return orion_infer_emit_like(c, orion_infer_arg(c, "source_val"), dtype);
}

// ---- at run time ----------------------------------------------------------------------------------------------------

static orion_status scale_axis(orion_infer *c, const orion_type *input) {
  int64_t value;
  int axis = -1;
  if (orion_infer_int(c, "axis", &value) == ORION_KNOWN) {
    ORION_TRY(orion_infer_axis(c, "axis", value, input->rank, &axis));
  }
  ORION_TRY(want_float(c, "scale"));
  ORION_TRY(per_axis(c, "scale", input, axis));
  return per_axis(c, "zero_point", input, axis);
}

orion_status orion_rule_quantize(orion_infer *c) {
  const orion_type *input = orion_infer_arg(c, "input"), *zero = orion_infer_arg(c, "zero_point");
  orion_dtype dtype;
  ORION_TRY(scale_axis(c, input));
  ORION_TRY(orion_infer_dtype_arg(c, "output_dtype", &dtype));
  if (!orion_dtype_is_int(dtype) || (zero && zero->dtype != dtype)) {
    return ORION_RULE_FAIL(c, "argument output_dtype: is \"%s\" (want int8 or uint8, as zero_point)",
                           orion_dtype_name(dtype));
  }
  return orion_infer_emit_like(c, input, dtype);
}

orion_status orion_rule_dequantize(orion_infer *c) {
  const orion_type *input = orion_infer_arg(c, "input"), *zero = orion_infer_arg(c, "zero_point");
  ORION_TRY(scale_axis(c, input));
  if (!orion_dtype_is_int(input->dtype) || (zero && zero->dtype != input->dtype)) {
    return ORION_RULE_FAIL(c, "argument input: is %s (must hold integers, as zero_point)", orion_type_text(input).text);
  }
  return orion_infer_emit_like(c, input, orion_infer_arg(c, "scale")->dtype);
}
