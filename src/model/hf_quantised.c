// Matrices that a safetensors file holds as integers with scales, under the names of the compressed-tensors convention:
//
//   int-quantized   X.weight I8 [N, K]                                  X.weight_scale [N, G]
//   pack-quantized  X.weight_packed I32 [N, (K + 7) / 8], int4 as q + 8,  X.weight_scale [N, G], X.weight_shape [2]
//                   eight to a word, the first in its lowest bits
//
// G scales to a row, each for K / G neighbours; symmetric, no zero points, no order of groups of its own. Matrices are
// [out, in] here, GPT-2's too, though it keeps them [in, out] as floats: scales belong to outputs.
#include <stdio.h>

#include "model/parts.h"
#include "model/safetensors.h"

static orion_status expect_shape(const orion_safetensors *file, const orion_stored_tensor *t, int64_t rows, int64_t cols,
                                 orion_error *err) {
  if (t->rank == 2 && t->dims[0] == rows && t->dims[1] == cols) return ORION_OK;
  return ORION_FAIL(err, ORION_FORMAT, "%s (byte %llu): tensor '%.100s' has another shape than [%lld, %lld], which "
                    "config.json asks for", file->name, (unsigned long long)t->offset, t->name, (long long)rows,
                    (long long)cols);
}

// What "weight_shape" says, as far as it is there.
static orion_status check_stated_shape(const orion_safetensors *file, const orion_stored_tensor *t, int64_t rows,
                                       int64_t cols, orion_error *err) {
  if (!t) return ORION_OK;
  bool known = t->dtype == ORION_INT64 || t->dtype == ORION_INT32;
  if (known && t->rank == 1 && t->dims[0] == 2 && orion_load_int(t->dtype, t->bytes, 0) == rows &&
      orion_load_int(t->dtype, t->bytes, 1) == cols) {
    return ORION_OK;
  }
  return ORION_FAIL(err, ORION_FORMAT, "%s (byte %llu): tensor '%.100s' does not say [%lld, %lld], which config.json asks "
                    "for", file->name, (unsigned long long)t->offset, t->name, (long long)rows, (long long)cols);
}

// Scales of each row; at least one, and each for as many columns as the others.
static orion_status check_scales(const orion_safetensors *file, const orion_stored_tensor *t, int64_t rows, int64_t cols,
                                 orion_error *err) {
  int64_t groups = t->rank == 2 ? t->dims[1] : 1;
  bool shaped = (t->rank == 1 || t->rank == 2) && t->dims[0] == rows && groups >= 1 && cols % groups == 0;
  if (!shaped || (t->dtype != ORION_FP16 && t->dtype != ORION_BF16 && t->dtype != ORION_FP32)) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s (byte %llu): tensor '%.100s': scales must be F16, BF16 or F32 of shape "
                      "[%lld, G], G dividing %lld", file->name, (unsigned long long)t->offset, t->name, (long long)rows,
                      (long long)cols);
  }
  return orion_model_check_finite(file->name, t->name, t->offset, t->dtype, t->bytes, (size_t)(rows * groups), err);
}

// Rows [first, first + n) of a tensor as a leaf.
static const orion_data *leaf_of(orion_model *m, const orion_stored_tensor *t, size_t first, size_t n) {
  size_t cols = t->rank == 2 ? (size_t)t->dims[1] : 1, width = orion_dtype_bits(t->dtype) / 8;
  const uint8_t *bytes = t->bytes + first * cols * width;
  if ((uintptr_t)bytes % width != 0) return orion_data_copy(m->data, t->dtype, n, cols, bytes);
  return orion_data_borrow_mapped(m->data, t->dtype, n, cols, bytes, t->name);
}

orion_status orion_hf_integers(orion_model *m, const orion_hf_quantised *in, int64_t rows, int64_t cols, unsigned part,
                               unsigned parts, const orion_data **out, orion_error *err) {
  const orion_safetensors *file = in->file;
  bool packed = in->integers->dtype == ORION_INT32;
  if (!in->scales || in->refused) {
    return ORION_FAIL(err, in->refused ? ORION_UNSUPPORTED : ORION_FORMAT, "%s: tensor '%.100s': %s", file->name,
                      in->refused ? in->refused->name : in->integers->name,
                      in->refused ? "zero points and groups in an order of their own are not supported"
                                  : "integers without a tensor of scales");
  }
  ORION_TRY(expect_shape(file, in->integers, rows, packed ? (cols + 7) / 8 : cols, err));
  ORION_TRY(check_stated_shape(file, in->shape, rows, cols, err));
  ORION_TRY(check_scales(file, in->scales, rows, cols, err));
  size_t n = (size_t)rows / (parts ? parts : 1), first = n * part;
  const orion_data *q = leaf_of(m, in->integers, first, n);
  if (packed) q = orion_data_nibbles(m->data, q, (size_t)cols);
  *out = orion_data_expand(m->data, q, leaf_of(m, in->scales, first, n));
  return *out ? ORION_OK : ORION_OOM(err, file->name);
}
