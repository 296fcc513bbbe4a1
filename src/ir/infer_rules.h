// What the type rules share (infer_*.c). One rule per class of operations that type alike; ops.inc names it.
//
// A rule reads the argument types of one operation and emits the types of its results. It runs after the arguments were
// checked one by one (present where required, of the right kind), so it asks only about shapes and about agreement
// between arguments. Dimensions may be unknown at any place: an unknown dimension agrees with all others, and a result
// dimension that depends on one, or on a value known at run time only, is unknown.
#ifndef ORION_IR_INFER_RULES_H
#define ORION_IR_INFER_RULES_H

#include "ir/infer.h"

typedef struct orion_infer {
  orion_function *f;
  const orion_op *op;
  const orion_type **out;
  size_t n;
  orion_error *err;
} orion_infer;

typedef orion_status (*orion_rule)(orion_infer *c);

#define ORION_RULE_FAIL(c, ...) ORION_FAIL((c)->err, ORION_FORMAT, __VA_ARGS__)

// What is known of an argument's value while compiling.
typedef enum orion_known {
  ORION_ABSENT,   // not given, and the op table has no default
  ORION_KNOWN,
  ORION_RUNTIME,  // given as a value that only running tells
} orion_known;

// Type of a tensor argument (first of several), or of a constant in brackets; NULL if absent.
const orion_type *orion_infer_arg(const orion_infer *c, const char *name);
orion_known orion_infer_int(const orion_infer *c, const char *name, int64_t *out);
orion_known orion_infer_ints(const orion_infer *c, const char *name, size_t max, int64_t *out, size_t *out_n);
// Exactly n constants. Absent: all `fallback`; one given where n are wanted is an error, as in Core ML.
orion_status orion_infer_ints_n(orion_infer *c, const char *name, size_t n, int64_t fallback, int64_t *out);
orion_status orion_infer_bool(orion_infer *c, const char *name, bool *out);
// Constant integer or string that must be known.
orion_status orion_infer_need_int(orion_infer *c, const char *name, int64_t *out);
orion_status orion_infer_need_string(orion_infer *c, const char *name, const char **out);
orion_status orion_infer_dtype_arg(orion_infer *c, const char *name, orion_dtype *out);  // "fp16" as a string constant
// An axis in [-rank, rank), made non-negative. `name` is for the message.
orion_status orion_infer_axis(orion_infer *c, const char *name, int64_t axis, int rank, int *out);
orion_status orion_infer_axis_arg(orion_infer *c, const char *name, int rank, int *out);

// Adds a result. dims may be NULL for rank 0.
orion_status orion_infer_emit(orion_infer *c, orion_dtype dtype, int rank, const int64_t *dims);
orion_status orion_infer_emit_like(orion_infer *c, const orion_type *t, orion_dtype dtype);

// Dimensions. mul gives unknown when a factor is unknown, or when the product does not fit.
int64_t orion_dim_mul(int64_t a, int64_t b);
int64_t orion_dims_product(const int64_t *dims, int n);
bool orion_dim_agree(int64_t a, int64_t b, int64_t *out_merged);  // equal, or one unknown
// numpy broadcast of two shapes into out (may alias either), false if they do not fit.
bool orion_dims_broadcast(int rank_a, const int64_t *a, int rank_b, const int64_t *b, int *out_rank, int64_t *out);

#define ORION_OP(name, cls, rule, flags, ...) orion_status orion_rule_##rule(orion_infer *c);
#include "ir/ops.inc"
#undef ORION_OP

#endif
