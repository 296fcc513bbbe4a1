// Opcodes and what the op table (ops.inc) says of each.
#ifndef ORION_IR_OPCODE_H
#define ORION_IR_OPCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum orion_opcode {
  ORION_OP_OTHER = 0,  // parsed and kept, unknown to the table
#define ORION_OP(name, cls, rule, flags, ...) ORION_OP_##name,
#include "ir/ops.inc"
#undef ORION_OP
  ORION_OP_COUNT
} orion_opcode;

typedef enum orion_op_class {  // what a device or a cost model needs to tell apart
  ORION_CLASS_CONST,         // const
  ORION_CLASS_CONSTEXPR,     // constexpr_*: weights in compressed form
  ORION_CLASS_CONV,          // multiply-accumulate with a kernel
  ORION_CLASS_MATMUL,        // matmul, linear, attention, einsum
  ORION_CLASS_UNARY,         // elementwise, one tensor
  ORION_CLASS_BINARY,        // elementwise with broadcast, two tensors
  ORION_CLASS_SELECT,        // elementwise, three tensors
  ORION_CLASS_REDUCE,
  ORION_CLASS_NORM,          // softmax and normalisations
  ORION_CLASS_SHAPE,         // reshape and friends: no arithmetic, no movement
  ORION_CLASS_MOVE,          // transpose, slice, concat, pad, gather, tile: movement only
  ORION_CLASS_CAST,
  ORION_CLASS_QUANT,         // quantize, dequantize
  ORION_CLASS_POOL,
  ORION_CLASS_STATE,
  ORION_CLASS_COMPOSITE,     // of our model graphs; removed by lowering
  ORION_CLASS_MISC,
} orion_op_class;

enum {  // flags
  ORION_F_COMMUTATIVE = 1 << 0,
  ORION_F_ELEMENTWISE = 1 << 1,
  ORION_F_EFFECT = 1 << 2,      // may not be removed or merged
  ORION_F_DIFF = 1 << 3,        // has a gradient
};

typedef enum orion_arg_kind {
  ORION_ARG_TENSOR,   // any tensor
  ORION_ARG_FLOAT,    // floating tensor
  ORION_ARG_SAME,     // tensor of the dtype of the first tensor argument
  ORION_ARG_INT,      // scalar int32 constant
  ORION_ARG_INTS,     // int32 vector constant
  ORION_ARG_NUM,      // scalar number constant
  ORION_ARG_BOOL,     // scalar bool constant
  ORION_ARG_BOOLS,    // bool vector constant
  ORION_ARG_STR,      // string constant
  ORION_ARG_INDEX,    // integer tensor, may be a run-time value
  ORION_ARG_TUPLE,    // several tensors
  ORION_ARG_CONST,    // tensor that must be constant
  ORION_ARG_STATE,
} orion_arg_kind;

typedef struct orion_arg_info {
  const char *name;
  orion_arg_kind kind;
  bool required;
  const char *fallback;   // default as MIL text ("-1", "true", "valid", "[0, 0]"), or NULL
} orion_arg_info;

typedef struct orion_op_info {
  const char *name;
  orion_op_class cls;
  uint32_t flags;
  const orion_arg_info *args;
  size_t n_args;
} orion_op_info;

// Never NULL; ORION_OP_OTHER has class MISC and no arguments.
const orion_op_info *orion_opcode_info(orion_opcode code);
const char *orion_opcode_name(orion_opcode code);             // "conv"; "?" for OTHER
orion_opcode orion_opcode_parse(const char *name, size_t n);  // ORION_OP_OTHER if the table lacks it
const orion_arg_info *orion_opcode_arg(orion_opcode code, const char *arg);  // NULL if it has none of that name

#endif
