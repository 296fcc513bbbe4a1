// Quantisation at run time, and constants in compressed form (constexpr_*), which run once, at compile.
//
//   number = (quantised - zero point) * scale, with scale and zero point by tensor, by channel or by block
#include <math.h>
#include <string.h>

#include "device/sim/sim.h"

// Channel of element i: its place along `axis`, or 0 when there is one parameter for all.
static size_t channel_of(const orion_sim_lines *l, const orion_sim_tensor *parameter, size_t i) {
  return parameter->n == 1 ? 0 : i / l->inner % l->n;
}

static orion_sim_lines lines_of_axis(const orion_sim_op *op, const orion_sim_tensor *t) {
  return orion_sim_lines_of(t, orion_sim_arg_of(op, "axis")->n ? orion_sim_axis(op, "axis", t->rank) : 0);
}

ORION_SIM_RUN(orion_sim_run_quantize) {
  const orion_sim_tensor *x = orion_sim_in(op, "input"), *scale = orion_sim_in(op, "scale");
  const orion_sim_tensor *zero = orion_sim_in(op, "zero_point");
  orion_sim_lines l = lines_of_axis(op, x);
  for (size_t i = 0; i < x->n; i++) {
    float q = c->arith->divide(x->f[i], scale->f[channel_of(&l, scale, i)]);
    q = c->arith->unary(ORION_OP_round, q, 0, 0);
    orion_sim_set(op->out[0], i, (double)q + (zero ? zero->i[channel_of(&l, zero, i)] : 0));
  }
  return ORION_OK;
}

static void dequantize(const orion_sim_ctx *c, const orion_sim_op *op, const orion_sim_tensor *q) {
  const orion_sim_tensor *scale = orion_sim_in(op, "scale"), *zero = orion_sim_in(op, "zero_point");
  orion_sim_lines l = lines_of_axis(op, q);
  for (size_t i = 0; i < q->n; i++) {
    double v = orion_sim_value(q, i) - (zero ? orion_sim_value(zero, channel_of(&l, zero, i)) : 0);
    op->out[0]->f[i] = c->arith->binary(ORION_OP_mul, (float)v, scale->f[channel_of(&l, scale, i)]);
  }
}

ORION_SIM_RUN(orion_sim_run_dequantize) {
  dequantize(c, op, orion_sim_in(op, "input"));
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_affine) {
  dequantize(c, op, orion_sim_in(op, "quantized_data"));
  return ORION_OK;
}

// Address in a parameter of the block that holds `index`: each of its dimensions cuts the data's into equal parts.
static size_t block_at(const orion_sim_tensor *parameter, const int64_t *dims, int rank, const int64_t *index) {
  size_t at = 0;
  for (int i = 0; i < rank; i++) {
    int64_t parts = parameter->dims[i], size = parts ? dims[i] / parts : 1;
    int64_t part = size ? index[i] / size : 0;
    at = at * (size_t)parts + (size_t)(part < parts ? part : parts - 1);
  }
  return at;
}

ORION_SIM_RUN(orion_sim_run_blockwise) {
  const orion_sim_tensor *data = orion_sim_in(op, "data"), *scale = orion_sim_in(op, "scale");
  const orion_sim_tensor *offset = orion_sim_in(op, "offset");
  int64_t index[ORION_MAX_RANK] = {0};
  for (size_t i = 0; i < data->n; i++) {
    size_t block = block_at(scale, data->dims, data->rank, index);
    double v = orion_sim_value(data, i) - (offset ? orion_sim_value(offset, block) : 0);
    op->out[0]->f[i] = c->arith->binary(ORION_OP_mul, (float)v, scale->f[block]);
    orion_sim_next(data->rank, data->dims, index);
  }
  return ORION_OK;
}

// ---- palettes ----

const char *orion_sim_lacks_lut(const orion_function *f, const orion_op *op) {
  const orion_type *lut = orion_ref_type(f, orion_op_ref(op, "lut"));
  bool sparse = op->code == ORION_OP_constexpr_lut_to_sparse;
  if (sparse && lut && lut->rank && lut->dims[lut->rank - 1] != 1) return "palettes of vectors are not done here";
  return NULL;
}

// `bits` bits at position i of bytes, least significant first (bits may cross a byte's border).
static uint32_t packed_at(const orion_sim_tensor *bytes, size_t i, unsigned bits) {
  uint32_t v = 0;
  for (unsigned b = 0; b < bits; b++) {
    size_t at = i * bits + b;
    uint32_t byte = at / 8 < bytes->n ? (uint32_t)bytes->i[at / 8] : 0;
    v |= (byte >> (at % 8) & 1u) << b;
  }
  return v;
}

static unsigned log2_of(size_t n) {
  unsigned bits = 0;
  while ((size_t)1 << bits < n) bits++;
  return bits;
}

// The first form (iOS 16): indices packed into bytes, one palette, the result's shape as an argument.
static orion_status lut_packed(const orion_sim_op *op, orion_error *err) {
  const orion_sim_tensor *indices = orion_sim_in(op, "indices"), *lut = orion_sim_in(op, "lut");
  orion_sim_tensor *y = op->out[0];
  unsigned bits = log2_of(lut->n);
  for (size_t i = 0; i < y->n; i++) {
    uint32_t at = packed_at(indices, i, bits);
    if (at >= lut->n) return ORION_FAIL(err, ORION_FORMAT, "%s: index %u is outside its palette", op->name, at);
    y->word[i] = lut->word[at];
  }
  return ORION_OK;
}

// The second form (iOS 18): indices [d...], lut [blocks..., entries, v]; v > 1 widens vector_axis.
ORION_SIM_RUN(orion_sim_run_lut) {
  if (orion_sim_in(op, "shape")) return lut_packed(op, err);
  const orion_sim_tensor *indices = orion_sim_in(op, "indices"), *lut = orion_sim_in(op, "lut");
  orion_sim_tensor *y = op->out[0];
  int64_t entries = lut->dims[lut->rank - 2], v = lut->dims[lut->rank - 1], index[ORION_MAX_RANK] = {0};
  bool has_axis = orion_sim_arg_of(op, "vector_axis")->n > 0;
  int axis = has_axis ? orion_sim_axis(op, "vector_axis", indices->rank) : indices->rank - 1;
  orion_sim_lines l = orion_sim_lines_of(indices, axis);
  for (size_t i = 0; i < indices->n; i++) {
    size_t block = block_at(lut, indices->dims, indices->rank, index);
    int64_t entry = indices->i[i];
    if (entry < 0 || entry >= entries) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: index %lld is outside its palette", op->name, (long long)entry);
    }
    size_t line = i / l.inner;  // outer * n + place along the axis
    for (size_t e = 0; e < (size_t)v; e++) {
      size_t from = (block * (size_t)entries + (size_t)entry) * (size_t)v + e;
      y->word[(line * (size_t)v + e) * l.inner + i % l.inner] = lut->word[from];
    }
    orion_sim_next(indices->rank, indices->dims, index);
  }
  return ORION_OK;
}

// ---- sparse ----

static orion_status short_of(const orion_sim_op *op, orion_error *err) {
  return ORION_FAIL(err, ORION_FORMAT, "%s: its mask asks for more numbers than there are", op->name);
}

// The mask is packed bits of bytes (iOS 16, with a shape) or a tensor of uint1.
ORION_SIM_RUN(orion_sim_run_sparse) {
  const orion_sim_tensor *data = orion_sim_in(op, "nonzero_data"), *mask = orion_sim_in(op, "mask");
  orion_sim_tensor *y = op->out[0];
  bool packed = orion_sim_in(op, "shape") != NULL;
  size_t used = 0;
  for (size_t i = 0; i < y->n; i++) {
    bool there = packed ? packed_at(mask, i, 1) != 0 : mask->i[i] != 0;
    if (there && used >= data->n) return short_of(op, err);
    y->word[i] = there ? data->word[used++] : 0;
  }
  return ORION_OK;
}

// Results: the mask, and the numbers of its ones, each found through the block that it lies in.
ORION_SIM_RUN(orion_sim_run_lut_sparse) {
  const orion_sim_tensor *mask = orion_sim_in(op, "indices_mask"), *data = orion_sim_in(op, "indices_nonzero_data");
  const orion_sim_tensor *lut = orion_sim_in(op, "lut");
  int64_t index[ORION_MAX_RANK] = {0}, entries = lut->dims[lut->rank - 2];
  size_t used = 0;
  memcpy(op->out[0]->data, mask->data, mask->n * 4);
  for (size_t i = 0; i < mask->n; i++) {
    size_t block = block_at(lut, mask->dims, mask->rank, index);
    if (mask->i[i]) {
      if (used >= data->n || used >= op->out[1]->n) return short_of(op, err);
      int64_t entry = data->i[used];
      if (entry < 0 || entry >= entries) {
        return ORION_FAIL(err, ORION_FORMAT, "%s: index %lld is outside its palette", op->name, (long long)entry);
      }
      op->out[1]->word[used++] = lut->word[block * (size_t)entries + (size_t)entry];
    }
    orion_sim_next(mask->rank, mask->dims, index);
  }
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_sparse_blockwise) {
  const orion_sim_tensor *mask = orion_sim_in(op, "data_mask"), *data = orion_sim_in(op, "nonzero_data");
  const orion_sim_tensor *scale = orion_sim_in(op, "scale"), *offset = orion_sim_in(op, "offset");
  int64_t index[ORION_MAX_RANK] = {0};
  size_t used = 0;
  memcpy(op->out[0]->data, mask->data, mask->n * 4);
  for (size_t i = 0; i < mask->n; i++) {
    size_t block = block_at(scale, mask->dims, mask->rank, index);
    if (mask->i[i]) {
      if (used >= data->n || used >= op->out[1]->n) return short_of(op, err);
      double v = orion_sim_value(data, used) - (offset ? orion_sim_value(offset, block) : 0);
      op->out[1]->f[used++] = c->arith->binary(ORION_OP_mul, (float)v, scale->f[block]);
    }
    orion_sim_next(mask->rank, mask->dims, index);
  }
  return ORION_OK;
}
