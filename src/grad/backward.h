// What rules work with: the state of one backward pass, and short words for building operations.
//
// A rule gets an operation of the source function and the gradient of its result; it asks for forward values
// (orion_back_arg, orion_back_result), builds, and hands gradients to the arguments that want one (orion_back_give).
// Shapes come from the source's types, which are known to be static for arguments that want a gradient and for results.
// After a failure the builder sticks, every ref is ORION_NONE, and rules run on without harm.
#ifndef ORION_GRAD_BACKWARD_H
#define ORION_GRAD_BACKWARD_H

#include <math.h>

#include "grad/grad.h"
#include "ir/builder.h"

typedef struct orion_backward {
  const orion_grad_options *options;
  const orion_function *from;  // source
  orion_function *forward;     // of the result; the same as b.f unless split
  orion_builder b;             // where the backward part is built
  orion_ref *map;              // source value -> forward's; indexed by source value id, as all that follow
  orion_ref *at;               // source value -> backward's, where it was asked for
  orion_ref *gradient;         // source value -> sum of the gradients so far
  bool *active;                // a value of wrt influences it
  bool *needed;                // a rule asked for it
  const bool *again;           // the plan: computed a second time, not kept
  const bool *round;           // the plan: kept in a narrower type
  orion_ref *fence;            // kept source value -> what is computed again reads in its place
  orion_ref *held;             // source value -> its narrow copy
} orion_backward;

typedef void (*orion_grad_rule)(orion_backward *w, const orion_op *op, orion_ref dy);
orion_grad_rule orion_grad_rule_of(orion_opcode code);  // NULL: none

#define ORION_GRAD(op, rule) void orion_grad_##rule(orion_backward *w, const orion_op *op, orion_ref dy);
#include "grad/rules.inc"
#undef ORION_GRAD

// The plan of what is computed again, and what of the rest is kept in a narrower type (keep.c), from what the rules asked for.
orion_status orion_grad_plan(const orion_function *f, const orion_grad_options *o, const bool *needed, orion_arena *scratch,
                             bool *out_again, bool *out_round, orion_error *err);
bool orion_grad_is_tap(const orion_function *f, const bool *needed, orion_value_id v);  // needed, and made by an operation

orion_ref orion_back_value(orion_backward *w, orion_ref source);  // a forward value; ORION_NONE for ORION_NONE
bool orion_back_wants(const orion_backward *w, const orion_op *op, const char *arg);
// Adds to the gradient of a source value; sums over the dimensions it was broadcast along, casts to its type.
void orion_back_give_ref(orion_backward *w, orion_ref source, orion_ref d);
void orion_back_give(orion_backward *w, const orion_op *op, const char *arg, orion_ref d);
// Refuses the operation with the reason.
void orion_back_refuse(orion_backward *w, const orion_op *op, const char *why);

static inline orion_ref orion_back_arg(orion_backward *w, const orion_op *op, const char *arg) {
  return orion_back_value(w, orion_op_ref(op, arg));
}
static inline orion_ref orion_back_result(orion_backward *w, const orion_op *op) {
  return orion_back_value(w, op->results[0]);
}
static inline const orion_type *orion_back_type(const orion_backward *w, const orion_op *op, const char *arg) {
  return orion_ref_type(w->from, orion_op_ref(op, arg));
}
static inline const orion_type *orion_back_result_type(const orion_backward *w, const orion_op *op) {
  return orion_value_type(w->from, op->results[0]);
}

// ---- building ---- Stems name the operation only; the prefix says of which gradient it is part.

static inline orion_ref unary(orion_backward *w, orion_opcode code, orion_ref x) {
  return ORION_BUILD(&w->b, NULL, code, {"x", x});
}
static inline orion_ref binary(orion_backward *w, orion_opcode code, orion_ref x, orion_ref y) {
  return ORION_BUILD(&w->b, NULL, code, {"x", x}, {"y", y});
}
static inline orion_ref add(orion_backward *w, orion_ref x, orion_ref y) { return binary(w, ORION_OP_add, x, y); }
static inline orion_ref sub(orion_backward *w, orion_ref x, orion_ref y) { return binary(w, ORION_OP_sub, x, y); }
static inline orion_ref mul(orion_backward *w, orion_ref x, orion_ref y) { return binary(w, ORION_OP_mul, x, y); }

orion_ref orion_back_number(orion_backward *w, orion_dtype dtype, double v);     // a scalar constant
orion_ref orion_back_times(orion_backward *w, orion_ref x, double v);            // v * x
orion_ref orion_back_plus(orion_backward *w, orion_ref x, double v);             // v + x
orion_ref orion_back_cast(orion_backward *w, orion_ref x, orion_dtype dtype);    // x itself where it has the type
orion_ref orion_back_fill(orion_backward *w, const orion_type *like, double v);  // a tensor of one number
orion_ref orion_back_reshape(orion_backward *w, orion_ref x, int rank, const int64_t *dims);
orion_ref orion_back_transpose(orion_backward *w, orion_ref x, int rank, const int64_t *perm);
orion_ref orion_back_reduce(orion_backward *w, orion_opcode code, orion_ref x, size_t n, const int64_t *axes,
                            bool keep);
orion_ref orion_back_matmul(orion_backward *w, orion_ref x, orion_ref y, bool tx, bool ty);
// Sums of d so that it has the shape of `t`, which broadcasts to d's.
orion_ref orion_back_sum_to(orion_backward *w, orion_ref d, const orion_type *t);

// The axes that the argument `axes` names, in ascending order (all when absent); how many.
size_t orion_back_axes(const orion_backward *w, const orion_op *op, int rank, int64_t *out);
int orion_back_axis(const orion_backward *w, const orion_op *op, int rank);  // argument `axis`, counted from 0

#endif
