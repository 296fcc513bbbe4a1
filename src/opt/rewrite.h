// What the passes share: one walk over a function in program order, with replacements applied on the way.
//
// A pass is a visitor. The walk goes over the operations that were there at its start; before an operation is visited its
// arguments are put through the replacements made so far, so that a pass is linear however much it replaces. Use counts
// are kept up to date, and operations that lose their last use go at once. New operations are built before the one under
// view with `r->b`; a visitor builds first and replaces last, because a replaced operation is gone.
//
// Outputs: a replaced output hands its name on. A replacement is refused where it would make an output a parameter, a
// constant, or the same value as another output.
#ifndef ORION_OPT_REWRITE_H
#define ORION_OPT_REWRITE_H

#include "ir/builder.h"
#include "opt/opt.h"

typedef struct orion_rewrite_value {
  orion_value_id to;  // itself, or what stands for it now
  uint32_t uses;      // by linked operations and outputs
  bool output;
} orion_rewrite_value;

typedef struct orion_rewrite {
  orion_pass_context *ctx;
  orion_function *f;
  orion_builder b;      // its status is the walk's: a failure ends the pass
  orion_arena scratch;  // for the visitor too; dies with the walk
  void *state;          // the visitor's
  orion_rewrite_value *values;
  size_t n_values, cap_values, n_old_values;
  size_t n_ops;         // operations whose uses are counted
  orion_value_id *dead; // stack of values that lost their last use
  size_t n_dead, cap_dead;
} orion_rewrite;

typedef struct orion_visitor {
  bool (*start)(orion_rewrite *r);  // NULL, or makes r->state; false: out of memory
  void (*visit)(orion_rewrite *r, orion_op_id op);
} orion_visitor;

// Runs the visitor over each function of the program.
orion_status orion_rewrite_run(orion_pass_context *ctx, orion_program *p, const orion_visitor *visitor, orion_error *err);

// Puts `with` (n_results values) in the place of the operation's results and removes it. False where that is refused.
bool orion_rewrite_replace_all(orion_rewrite *r, orion_op_id op, const orion_value_id *with);
bool orion_rewrite_replace(orion_rewrite *r, orion_op_id op, orion_value_id with);  // of the only result
bool orion_rewrite_may_replace(const orion_rewrite *r, orion_value_id v, orion_value_id with);
// Sets one argument, or takes it away (ref ORION_NONE), with the uses.
void orion_rewrite_set_arg(orion_rewrite *r, orion_op_id op, const char *name, orion_ref ref);
void orion_rewrite_out_of_memory(orion_rewrite *r);

// A constant of any literal, before the operation under view.
orion_value_id orion_rewrite_const(orion_rewrite *r, const char *stem, const orion_literal *val);

static inline orion_op *orion_rewrite_op(const orion_rewrite *r, orion_op_id id) { return &r->f->ops[id]; }

// Uses, brought up to date with what the builder made since.
uint32_t orion_rewrite_uses(orion_rewrite *r, orion_value_id v);

// The operation that defines `ref` if it has this code; else ORION_NONE.
orion_op_id orion_rewrite_def(const orion_rewrite *r, orion_ref ref, orion_opcode code);

// The elements of a small constant (at most max_bytes) as packed bytes with their type; NULL if it is none, or
// when out of memory, which ends the walk.
const void *orion_rewrite_bytes(orion_rewrite *r, orion_ref ref, size_t max_bytes, const orion_type **out_type);
// Whether `ref` is a constant of elements that all equal each other; their value.
bool orion_rewrite_splat(orion_rewrite *r, orion_ref ref, double *out);
// The data of a constant tensor, with its type; NULL if it is none, or not numbers in memory.
const orion_data *orion_rewrite_data(const orion_rewrite *r, orion_ref ref, const orion_type **out_type);

#endif
