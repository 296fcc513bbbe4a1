// Which emitter takes which operation.
#include "device/cpu/build.h"

orion_cpu_emit_fn orion_cpu_emitter(orion_opcode code) {
  switch (code) {
    case ORION_OP_linear:
      return orion_cpu_emit_linear;
    case ORION_OP_matmul:
      return orion_cpu_emit_linear;
    case ORION_OP_lstm:
      return orion_cpu_emit_lstm;
    case ORION_OP_einsum:
      return orion_cpu_emit_einsum;
    case ORION_OP_conv:
      return orion_cpu_emit_conv;
    case ORION_OP_scaled_dot_product_attention:
      return orion_cpu_emit_attention;
    case ORION_OP_softmax:
      return orion_cpu_emit_softmax;
    case ORION_OP_layer_norm:
      return orion_cpu_emit_layer_norm;
    case ORION_OP_reshape:
    case ORION_OP_expand_dims:
    case ORION_OP_squeeze:
    case ORION_OP_flatten2d:
    case ORION_OP_identity:
    case ORION_OP_transpose:
    case ORION_OP_slice_by_index:
    case ORION_OP_slice_by_size:
    case ORION_OP_reverse:
      return orion_cpu_emit_view;
    case ORION_OP_split:
      return orion_cpu_emit_split;
    case ORION_OP_concat:
    case ORION_OP_stack:
      return orion_cpu_emit_concat;
    case ORION_OP_gather:
      return orion_cpu_emit_gather;
    case ORION_OP_scatter:
    case ORION_OP_scatter_along_axis:
      return orion_cpu_emit_scatter;
    case ORION_OP_reduce_sum:
    case ORION_OP_reduce_mean:
    case ORION_OP_reduce_max:
    case ORION_OP_reduce_min:
    case ORION_OP_reduce_prod:
    case ORION_OP_reduce_sum_square:
    case ORION_OP_reduce_l1_norm:
    case ORION_OP_reduce_l2_norm:
    case ORION_OP_reduce_log_sum:
    case ORION_OP_reduce_log_sum_exp:
      return orion_cpu_emit_reduce;
    default:
      break;
  }
  switch (orion_opcode_info(code)->cls) {
    case ORION_CLASS_UNARY:
    case ORION_CLASS_BINARY:
    case ORION_CLASS_SELECT:
    case ORION_CLASS_CAST:
      return orion_cpu_emit_elementwise;
    default:
      return orion_cpu_generic_has(code) ? orion_cpu_emit_generic : NULL;
  }
}
