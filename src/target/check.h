// One place of a program under the eyes of one rule. Checks are functions named by the rows (rules.inc): each looks at
// the place that its scope gives it and reports what it finds; the row says everything else.
#ifndef ORION_TARGET_CHECK_H
#define ORION_TARGET_CHECK_H

#include "target/target.h"

typedef struct orion_checker {
  const orion_target *t;
  orion_program *p;
  orion_function *f;
  orion_findings *out;
  const orion_rule *rule;
  bool no_memory;
  // the place
  orion_op_id id;          // OP and VALUE: the operation, or ORION_NONE for parameters
  const orion_op *op;      // the same, or NULL
  const char *name;        // VALUE and IO: the value's
  const orion_type *type;
  bool input;              // IO
} orion_checker;

// Reports the rule at the place, with the value's name where there is one. The text says what was met and, where the rule
// has a number, what is allowed.
void orion_check_report(orion_checker *c, const char *format, ...) ORION_PRINTF(2, 3);

#define ORION_CHECK(what) void orion_check_##what(orion_checker *c)
// check.c: values, inputs and outputs, functions
ORION_CHECK(rank);
ORION_CHECK(unknown_dimension);
ORION_CHECK(channels);
ORION_CHECK(axis);
ORION_CHECK(batch);
ORION_CHECK(io_type);
ORION_CHECK(fp32_io);
ORION_CHECK(row_stride);
ORION_CHECK(surfaces);
ORION_CHECK(input_order);
ORION_CHECK(output_order);
ORION_CHECK(input_returned);
ORION_CHECK(identity_output);
ORION_CHECK(returned_names);
// check_weights.c
ORION_CHECK(weight_bytes);
ORION_CHECK(blob_files);
ORION_CHECK(scalar_slot);
// check_ops.c: arguments, and what the engine has
ORION_CHECK(known_op);
ORION_CHECK(state);
ORION_CHECK(no_path);
ORION_CHECK(from_m2);
ORION_CHECK(from_m3);
ORION_CHECK(integer_compute);
ORION_CHECK(named_constants);
ORION_CHECK(concat);
ORION_CHECK(epsilon);
ORION_CHECK(gelu_mode);
ORION_CHECK(sdpa_mask);
ORION_CHECK(sdpa_size);
ORION_CHECK(tile);
ORION_CHECK(width_slice);
ORION_CHECK(last_axis_gather);
ORION_CHECK(zero_times_reduce);
ORION_CHECK(layer_norm_affine);
ORION_CHECK(constexpr_use);
// check_products.c: convolutions and matrix products
ORION_CHECK(conv_bias);
ORION_CHECK(conv_in);
ORION_CHECK(conv_out);
ORION_CHECK(conv_rank);
ORION_CHECK(kernel_width);
ORION_CHECK(groups);
ORION_CHECK(runtime_groups);
ORION_CHECK(runtime_conv);
ORION_CHECK(wide_contraction);
ORION_CHECK(weight_stride);
ORION_CHECK(matmul_rank);
ORION_CHECK(matmul_size);

#endif
