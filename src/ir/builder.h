// Writing programs by hand: one call an operation, constants made on the way, types inferred.
//
// The first failure sticks: later calls return ORION_NONE and do nothing, so that a frontend checks once, at the end,
// with orion_builder_finish. Names are `prefix` + stem, made unique.
#ifndef ORION_IR_BUILDER_H
#define ORION_IR_BUILDER_H

#include "ir/ir.h"

typedef struct orion_builder {
  orion_function *f;
  orion_op_id before;      // insertion point; ORION_NONE = end
  char prefix[64];         // e.g. "l3_"; set freely
  orion_status status;
  orion_error error;
} orion_builder;

// One argument of a call. Values and constants mix freely; the list ends with {0}. An argument whose ref is ORION_NONE
// is left out (an optional bias, say).
typedef struct orion_in {
  const char *name;
  orion_ref ref;
} orion_in;

void orion_builder_init(orion_builder *b, orion_function *f);
orion_status orion_builder_finish(orion_builder *b, orion_error *err);
orion_status orion_builder_fail(orion_builder *b, orion_status code, const char *format, ...) ORION_PRINTF(3, 4);

orion_value_id orion_build_param(orion_builder *b, const char *name, orion_dtype dtype, int rank, const int64_t *dims);
void orion_build_output(orion_builder *b, orion_value_id v, const char *name);  // renames v to `name`

// Constants, each a const op named prefix+stem (NULL stem: "c").
orion_ref orion_build_int(orion_builder *b, const char *stem, int64_t v);                                  // int32
orion_ref orion_build_ints(orion_builder *b, const char *stem, size_t n, const int64_t *v);                // tensor<int32,[n]>
orion_ref orion_build_bool(orion_builder *b, const char *stem, bool v);
orion_ref orion_build_string(orion_builder *b, const char *stem, const char *v);
orion_ref orion_build_float(orion_builder *b, const char *stem, orion_dtype dtype, double v);             // scalar
orion_ref orion_build_weight(orion_builder *b, const char *stem, const orion_data *data, int rank, const int64_t *dims);
orion_ref orion_build_floats(orion_builder *b, const char *stem, orion_dtype dtype, int rank, const int64_t *dims,
                             const double *v);

// An operation with one result, its type inferred (ir/infer.h). ORION_OP(b, "h", ORION_OP_add, {"x", a}, {"y", c})
orion_value_id orion_build_op(orion_builder *b, const char *stem, orion_opcode code, const orion_in *in);
#define ORION_BUILD(b, stem, code, ...) orion_build_op((b), (stem), (code), (const orion_in[]){__VA_ARGS__, {0}})
// The same with several results (split, topk, lstm): out[n_results], named after the stem with _0, _1, ... False, and all
// ORION_NONE, after a failure.
bool orion_build_multi(orion_builder *b, const char *stem, orion_opcode code, const orion_in *in, size_t n_results,
                       orion_value_id *out);
// The same as orion_build_op with one argument `tuple_name` = (refs...).
orion_value_id orion_build_tuple_op(orion_builder *b, const char *stem, orion_opcode code, const char *tuple_name,
                                    size_t n, const orion_ref *refs, const orion_in *in);

#endif
