// Which kernel runs which operation, and reading an operation's arguments. An operation without a row is lacking, and
// supports() says so. The constexpr_* operations run once, at compile; `const` is handled by the plan itself.
#include <math.h>
#include <string.h>

#include "device/sim/sim.h"

#define ROW(op, f, ...) [ORION_OP_##op] = {.run = f, __VA_ARGS__}
#define UNARY(op) ROW(op, orion_sim_run_unary)
#define BINARY(op) ROW(op, orion_sim_run_binary)
#define COMPARE(op) ROW(op, orion_sim_run_compare)
#define REDUCE(op) ROW(op, orion_sim_run_reduce)

static const orion_sim_kernel kernels[ORION_OP_COUNT] = {
    ROW(constexpr_affine_dequantize, orion_sim_run_affine),
    ROW(constexpr_blockwise_shift_scale, orion_sim_run_blockwise),
    ROW(constexpr_lut_to_dense, orion_sim_run_lut, .lacks = orion_sim_lacks_lut),
    ROW(constexpr_sparse_to_dense, orion_sim_run_sparse),
    ROW(constexpr_cast, orion_sim_run_cast),
    ROW(constexpr_lut_to_sparse, orion_sim_run_lut_sparse, .lacks = orion_sim_lacks_lut),
    ROW(constexpr_sparse_blockwise_shift_scale, orion_sim_run_sparse_blockwise),
    ROW(conv, orion_sim_run_conv, .scratch = orion_sim_scratch_conv),
    ROW(conv_transpose, orion_sim_run_conv_transpose),
    ROW(linear, orion_sim_run_linear, .scratch = orion_sim_scratch_linear),
    ROW(matmul, orion_sim_run_matmul, .scratch = orion_sim_scratch_matmul),
    ROW(einsum, orion_sim_run_einsum, .lacks = orion_sim_lacks_einsum),
    ROW(scaled_dot_product_attention, orion_sim_run_sdpa, .scratch = orion_sim_scratch_sdpa),
    UNARY(abs), UNARY(acos), UNARY(asin), UNARY(atan), UNARY(atanh), UNARY(ceil), UNARY(clip), UNARY(cos),
    UNARY(cosh), UNARY(erf), UNARY(exp), UNARY(exp2), UNARY(floor), UNARY(inverse), UNARY(log), UNARY(logical_not),
    UNARY(round), UNARY(rsqrt), UNARY(sign), UNARY(sin), UNARY(sinh), UNARY(sqrt), UNARY(square), UNARY(tan),
    UNARY(threshold), UNARY(clamped_relu), UNARY(elu), UNARY(leaky_relu), UNARY(linear_activation), UNARY(relu),
    UNARY(relu6), UNARY(scaled_tanh), UNARY(sigmoid), UNARY(sigmoid_hard), UNARY(silu), UNARY(softplus),
    UNARY(softsign), UNARY(tanh), UNARY(thresholded_relu),
    ROW(gelu, orion_sim_run_gelu),
    ROW(prelu, orion_sim_run_prelu),
    ROW(softplus_parametric, orion_sim_run_prelu),
    ROW(cast, orion_sim_run_cast),
    BINARY(add), BINARY(floor_div), BINARY(maximum), BINARY(minimum), BINARY(mod), BINARY(mul), BINARY(pow),
    BINARY(real_div), BINARY(sub),
    COMPARE(equal), COMPARE(greater), COMPARE(greater_equal), COMPARE(less), COMPARE(less_equal),
    COMPARE(logical_and), COMPARE(logical_or), COMPARE(logical_xor), COMPARE(not_equal),
    ROW(select, orion_sim_run_select),
    ROW(reduce_argmax, orion_sim_run_reduce_arg),
    ROW(reduce_argmin, orion_sim_run_reduce_arg),
    REDUCE(reduce_l1_norm), REDUCE(reduce_l2_norm), REDUCE(reduce_log_sum), REDUCE(reduce_log_sum_exp),
    REDUCE(reduce_max), REDUCE(reduce_mean), REDUCE(reduce_min), REDUCE(reduce_prod), REDUCE(reduce_sum),
    REDUCE(reduce_sum_square),
    ROW(softmax, orion_sim_run_softmax),
    ROW(layer_norm, orion_sim_run_layer_norm),
    ROW(instance_norm, orion_sim_run_instance_norm),
    ROW(batch_norm, orion_sim_run_batch_norm),
    ROW(l2_norm, orion_sim_run_l2_norm),
    ROW(local_response_norm, orion_sim_run_lrn),
    ROW(avg_pool, orion_sim_run_pool),
    ROW(l2_pool, orion_sim_run_pool),
    ROW(max_pool, orion_sim_run_pool),
    ROW(identity, orion_sim_run_reshape),
    ROW(reshape, orion_sim_run_reshape),
    ROW(expand_dims, orion_sim_run_reshape),
    ROW(squeeze, orion_sim_run_reshape),
    ROW(flatten2d, orion_sim_run_reshape),
    ROW(shape, orion_sim_run_shape),
    ROW(transpose, orion_sim_run_transpose),
    ROW(slice_by_index, orion_sim_run_slice),
    ROW(slice_by_size, orion_sim_run_slice),
    ROW(slice_update, orion_sim_run_slice_update),
    ROW(concat, orion_sim_run_concat),
    ROW(split, orion_sim_run_split),
    ROW(stack, orion_sim_run_stack),
    ROW(pad, orion_sim_run_pad, .lacks = orion_sim_lacks_pad),
    ROW(tile, orion_sim_run_tile),
    ROW(reverse, orion_sim_run_reverse),
    ROW(depth_to_space, orion_sim_run_blocks),
    ROW(space_to_depth, orion_sim_run_blocks),
    ROW(pixel_shuffle, orion_sim_run_blocks),
    ROW(pixel_unshuffle, orion_sim_run_blocks),
    ROW(band_part, orion_sim_run_band_part),
    ROW(gather, orion_sim_run_gather),
    ROW(gather_along_axis, orion_sim_run_gather_along_axis),
    ROW(gather_nd, orion_sim_run_gather_nd),
    ROW(scatter, orion_sim_run_scatter, .lacks = orion_sim_lacks_scatter),
    ROW(scatter_along_axis, orion_sim_run_scatter_along_axis, .lacks = orion_sim_lacks_scatter),
    ROW(scatter_nd, orion_sim_run_scatter_nd, .lacks = orion_sim_lacks_scatter),
    ROW(cumsum, orion_sim_run_cumsum),
    ROW(fill, orion_sim_run_fill),
    ROW(fill_like, orion_sim_run_fill),
    ROW(range_1d, orion_sim_run_range),
    ROW(one_hot, orion_sim_run_one_hot),
    ROW(argsort, orion_sim_run_argsort, .scratch = orion_sim_scratch_sort),
    ROW(topk, orion_sim_run_topk, .scratch = orion_sim_scratch_sort),
    ROW(lstm, orion_sim_run_lstm, .scratch = orion_sim_scratch_lstm, .lacks = orion_sim_lacks_lstm),
    ROW(quantize, orion_sim_run_quantize),
    ROW(dequantize, orion_sim_run_dequantize),
};

const orion_sim_kernel *orion_sim_kernel_of(orion_opcode code) {
  return &kernels[code < ORION_OP_COUNT ? code : ORION_OP_OTHER];
}

// ---- arguments ----

const orion_sim_arg *orion_sim_arg_of(const orion_sim_op *op, const char *name) {
  for (size_t i = 0; i < op->n_args; i++) {
    if (strcmp(op->args[i].name, name) == 0) return &op->args[i];
  }
  return NULL;
}

orion_sim_tensor *orion_sim_in(const orion_sim_op *op, const char *name) {
  const orion_sim_arg *arg = orion_sim_arg_of(op, name);
  return arg && arg->n ? arg->t[0] : NULL;
}

double orion_sim_value(const orion_sim_tensor *t, size_t i) {
  return orion_dtype_is_float(t->dtype) ? (double)t->f[i] : (double)t->i[i];
}

// Integers saturate at the limits of the dtype and NaN gives 0, fractions are cut towards zero; a bool is "not zero".
void orion_sim_set(orion_sim_tensor *t, size_t i, double v) {
  if (orion_dtype_is_float(t->dtype)) {
    t->f[i] = (float)v;
  } else if (t->dtype == ORION_BOOL) {
    t->i[i] = v != 0;
  } else {
    unsigned bits = orion_dtype_bits(t->dtype);
    bool is_signed = orion_dtype_class(t->dtype) == 'i';
    double top = ldexp(1, (int)(bits > 32 ? 32 : bits) - is_signed) - 1, bottom = is_signed ? -top - 1 : 0;
    if (top > INT32_MAX) top = INT32_MAX;
    t->i[i] = isnan(v) ? 0 : (int32_t)trunc(v < bottom ? bottom : v > top ? top : v);
  }
}

int64_t orion_sim_int(const orion_sim_op *op, const char *name) {
  const orion_sim_tensor *t = orion_sim_in(op, name);
  return t && t->n ? (int64_t)orion_sim_value(t, 0) : 0;
}

double orion_sim_num(const orion_sim_op *op, const char *name) {
  const orion_sim_tensor *t = orion_sim_in(op, name);
  return t && t->n ? orion_sim_value(t, 0) : 0;
}

const char *orion_sim_text(const orion_sim_op *op, const char *name) {
  const orion_sim_arg *arg = orion_sim_arg_of(op, name);
  return arg && arg->text ? arg->text : "";
}

bool orion_sim_ints(const orion_sim_op *op, const char *name, size_t n, int64_t *out) {
  const orion_sim_arg *arg = orion_sim_arg_of(op, name);
  if (!arg || !arg->n || (arg->given && arg->t[0]->n != n)) return false;
  for (size_t i = 0; i < n; i++) out[i] = (int64_t)orion_sim_value(arg->t[0], arg->given ? i : 0);
  return true;
}

int orion_sim_axis(const orion_sim_op *op, const char *name, int rank) {
  int64_t axis = orion_sim_int(op, name);
  if (axis < 0) axis += rank;
  return axis < 0 || rank == 0 ? 0 : axis >= rank ? rank - 1 : (int)axis;
}

void orion_sim_axes(const orion_sim_op *op, const char *name, int rank, bool *out_marked) {
  const orion_sim_tensor *t = orion_sim_in(op, name);
  for (int i = 0; i < rank; i++) out_marked[i] = !t;
  for (size_t i = 0; t && i < t->n; i++) {
    int64_t axis = t->i[i] < 0 ? t->i[i] + rank : t->i[i];
    if (axis >= 0 && axis < rank) out_marked[axis] = true;
  }
}

orion_sim_lines orion_sim_lines_of(const orion_sim_tensor *t, int axis) {
  orion_sim_lines l = {1, t->rank ? (size_t)t->dims[axis] : 1, 1};
  for (int i = 0; i < t->rank; i++) {
    if (i < axis) l.outer *= (size_t)t->dims[i];
    if (i > axis) l.inner *= (size_t)t->dims[i];
  }
  return l;
}
