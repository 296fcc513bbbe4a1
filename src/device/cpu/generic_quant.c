// Quantisation: at run time (quantize, dequantize), and constants in compressed form (constexpr_*), which constant
// steps open once. number = (quantised - zero point) * scale, in fp32.
#include <math.h>

#include "device/cpu/generic.h"

static orion_status read_axis(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in, orion_generic_step *d,
                              orion_error *err) {
  d->i[0] = 0;
  if (!orion_cpu_has(op, "axis")) return ORION_OK;
  ORION_TRY(orion_cpu_axis(b, op, "axis", in[0].rank, &d->i[0], err));
  int64_t n = in[0].dims[d->i[0]];
  for (int i = 1; i < 3; i++) {
    size_t own = d->has[i] ? orion_cpu_elements(&in[i]) : 1;
    if (own != 1 && (int64_t)own != n)
      return ORION_FAIL(err, ORION_FORMAT, "scale or zero_point does not fit the axis");
  }
  return ORION_OK;
}

// The parameter's element for element i of v: one for all, or one per index along the axis.
static size_t channel(const orion_cpu_view *v, int64_t axis, const orion_cpu_view *parameter, size_t i) {
  if (orion_cpu_elements(parameter) == 1) return 0;
  for (int k = v->rank - 1; k > axis; k--) i /= (size_t)v->dims[k];
  return i % (size_t)v->dims[axis];
}

static orion_status run_quantize(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                 orion_error *err) {
  const orion_cpu_view *in = &s->in[0];
  size_t n = orion_cpu_elements(in);
  for (size_t i = 0; i < n; i++) {
    float scale = (float)orion_generic_get(x, &s->in[1], channel(in, d->i[0], &s->in[1], i));
    double zero = d->has[2] ? orion_generic_get(x, &s->in[2], channel(in, d->i[0], &s->in[2], i)) : 0;
    orion_generic_set(x, &s->out[0], i, (double)rintf((float)orion_generic_get(x, in, i) / scale) + zero);
  }
  return ORION_OK;
}

// in: quantised, scale, zero point (optional)
static orion_status run_dequantize(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                   orion_error *err) {
  const orion_cpu_view *in = &s->in[0];
  size_t n = orion_cpu_elements(in);
  for (size_t i = 0; i < n; i++) {
    float scale = (float)orion_generic_get(x, &s->in[1], channel(in, d->i[0], &s->in[1], i));
    double zero = d->has[2] ? orion_generic_get(x, &s->in[2], channel(in, d->i[0], &s->in[2], i)) : 0;
    orion_generic_set(x, &s->out[0], i, (float)(orion_generic_get(x, in, i) - zero) * scale);
  }
  return ORION_OK;
}

// ---- blocks: each dimension of the parameter cuts the data's into equal parts ----

static orion_status check_blocks(const orion_cpu_view *parameter, const orion_cpu_view *data, int rank,
                                 orion_error *err) {
  for (int k = 0; k < rank; k++) {
    int64_t parts = parameter->dims[k];
    if (k >= data->rank || parts < 1 || data->dims[k] % parts)
      return ORION_FAIL(err, ORION_FORMAT, "blocks do not cut the data evenly");
  }
  return ORION_OK;
}

static size_t block_of(const orion_cpu_view *parameter, const orion_cpu_view *data, const int64_t *c) {
  size_t at = 0;
  for (int k = 0; k < data->rank; k++) {
    int64_t parts = parameter->dims[k], size = data->dims[k] / parts;
    at = at * (size_t)parts + (size_t)(size ? c[k] / size : 0);
  }
  return at;
}

static orion_status check_blockwise(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in,
                                    orion_generic_step *d, orion_error *err) {
  if (in[1].rank != in[0].rank) return ORION_FAIL(err, ORION_FORMAT, "scale has another rank than the data");
  if (d->has[2] && orion_cpu_elements(&in[2]) != orion_cpu_elements(&in[1])) {
    return ORION_FAIL(err, ORION_FORMAT, "offset has another shape than scale");
  }
  return check_blocks(&in[1], &in[0], in[0].rank, err);
}

static orion_status run_blockwise(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                  orion_error *err) {
  const orion_cpu_view *in = &s->in[0];
  size_t n = orion_cpu_elements(in);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK];
    orion_generic_coords(in, i, c);
    size_t block = block_of(&s->in[1], in, c);
    double zero = d->has[2] ? orion_generic_get(x, &s->in[2], block) : 0;
    orion_generic_set(x, &s->out[0], i,
                      (float)(orion_generic_get(x, in, i) - zero) * (float)orion_generic_get(x, &s->in[1], block));
  }
  return ORION_OK;
}

// ---- palettes and masks ----

// `bits` bits from position i * bits of packed bytes, least significant first.
static uint32_t packed_at(const orion_cpu_exec *x, const orion_cpu_view *bytes, size_t i, unsigned bits) {
  uint32_t v = 0;
  size_t n = orion_cpu_elements(bytes);
  for (unsigned b = 0; b < bits; b++) {
    size_t at = i * bits + b;
    if (at / 8 < n) v |= ((uint32_t)orion_generic_int(x, bytes, at / 8) >> (at % 8) & 1u) << b;
  }
  return v;
}

static orion_status check_lut(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in, orion_generic_step *d,
                              orion_error *err) {
  d->i[0] = in[0].rank - 1;
  if (orion_cpu_has(op, "shape")) return ORION_OK;
  if (in[1].rank != in[0].rank + 2)
    return ORION_FAIL(err, ORION_FORMAT, "lut must have two dimensions more than indices");
  if (orion_cpu_has(op, "vector_axis")) ORION_TRY(orion_cpu_axis(b, op, "vector_axis", in[0].rank, &d->i[0], err));
  return check_blocks(&in[1], &in[0], in[0].rank, err);
}

// in: indices, lut, shape (older programs: indices are packed bytes, one palette)
static orion_status run_lut(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                            orion_error *err) {
  const orion_cpu_view *in = &s->in[0], *lut = &s->in[1], *out = &s->out[0];
  if (d->has[2]) {
    unsigned bits = 0;
    size_t entries = orion_cpu_elements(lut), n = orion_cpu_elements(out);
    while ((size_t)1 << bits < entries) bits++;
    for (size_t i = 0; i < n; i++) {
      uint32_t at = packed_at(x, in, i, bits);
      if (at >= entries) return ORION_FAIL(err, ORION_FORMAT, "index %u is outside the palette", at);
      orion_generic_move_element(x, out, i, lut, at);
    }
    return ORION_OK;
  }
  int64_t entries = lut->dims[lut->rank - 2], width = lut->dims[lut->rank - 1], c[ORION_MAX_RANK];
  size_t n = orion_cpu_elements(in);
  for (size_t i = 0; i < n; i++) {
    orion_generic_coords(in, i, c);
    int64_t entry = orion_generic_int(x, in, i);
    if (entry < 0 || entry >= entries)
      return ORION_FAIL(err, ORION_FORMAT, "index %lld is outside the palette", (long long)entry);
    size_t from = (block_of(lut, in, c) * (size_t)entries + (size_t)entry) * (size_t)width;
    int64_t place = c[d->i[0]] * width;  // vectors widen one axis
    for (int64_t e = 0; e < width; e++) {
      c[d->i[0]] = place + e;
      orion_generic_move_element(x, out, orion_generic_index_of(out, c), lut, from + (size_t)e);
    }
  }
  return ORION_OK;
}

// in: nonzero data, mask, shape (older programs: the mask is packed bits of bytes)
static orion_status run_sparse(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                               orion_error *err) {
  const orion_cpu_view *data = &s->in[0], *mask = &s->in[1], *out = &s->out[0];
  size_t n = orion_cpu_elements(out), have = orion_cpu_elements(data), used = 0;
  for (size_t i = 0; i < n; i++) {
    bool there = d->has[2] ? packed_at(x, mask, i, 1) != 0 : orion_generic_int(x, mask, i) != 0;
    if (there && used == have) return ORION_FAIL(err, ORION_FORMAT, "the mask asks for more numbers than there are");
    if (there)
      orion_generic_move_element(x, out, i, data, used++);
    else
      orion_generic_set(x, out, i, 0);
  }
  return ORION_OK;
}

static orion_status run_constexpr_cast(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                       orion_error *err) {
  size_t n = orion_cpu_elements(&s->out[0]);
  for (size_t i = 0; i < n; i++) orion_generic_set(x, &s->out[0], i, orion_generic_get(x, &s->in[0], i));
  return ORION_OK;
}

const orion_generic_op orion_generic_quant[] = {
    {ORION_OP_quantize, {"input", "scale", "?zero_point"}, read_axis, run_quantize},
    {ORION_OP_dequantize, {"input", "scale", "?zero_point"}, read_axis, run_dequantize},
    {ORION_OP_constexpr_affine_dequantize, {"quantized_data", "scale", "?zero_point"}, read_axis, run_dequantize},
    {ORION_OP_constexpr_blockwise_shift_scale, {"data", "scale", "?offset"}, check_blockwise, run_blockwise},
    {ORION_OP_constexpr_lut_to_dense, {"indices", "lut", "?shape"}, check_lut, run_lut},
    {ORION_OP_constexpr_sparse_to_dense, {"nonzero_data", "mask", "?shape"}, NULL, run_sparse},
    {ORION_OP_constexpr_cast, {"source_val"}, NULL, run_constexpr_cast},
    {0},
};
