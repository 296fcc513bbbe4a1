// Reverse-mode gradients: from a function to one that also computes how its outputs depend on chosen values.
//
//   for each operation, last to first:   gradient of its result  --rule-->  gradients of its arguments
//
// One rule per operation that the op table marks with G (rules.inc); rules build ordinary operations, so the result is
// a program like any other: it verifies, lowers, optimises, runs. What no chosen value influences, and what no seed
// depends on, gets no backward part; forward operations that nothing needs are not copied. Composites of model graphs
// have composites as gradients (end of ops.inc), which lowering opens for each layout.
//
// A value that backward needs of forward is a tap. Each is kept until then, or computed again (keep.c) where the caller's
// rule says so: near, where its arguments are there anyway, or far, from the last value on which everything later hangs. What
// is kept may be kept in a narrower type (`kept_as`): forward uses the value as it is, backward what the narrow copy holds. With
// `split` forward and backward become two functions, the taps being outputs of the one and parameters of the other.
#ifndef ORION_GRAD_GRAD_H
#define ORION_GRAD_GRAD_H

#include "ir/ir.h"

typedef struct orion_grad_seed {
  const char *value;  // name of an output, or of any other value
  const char
      *parameter;  // new parameter (or existing one) that holds d(loss)/d(value), of the value's type; NULL: ones
} orion_grad_seed;

// Whether the operation is cheap enough to run a second time. Unless `far`, asked only of operations whose arguments are at
// hand in the backward part: parameters, constants, kept, or computed again themselves.
typedef bool (*orion_grad_recompute)(void *ctx, const orion_function *f, const orion_op *op);

typedef struct orion_grad_options {
  const char *function;        // NULL: "main", or the only one
  const char *const *outputs;  // forward outputs wanted; NULL: all that the function has
  size_t n_outputs;
  const orion_grad_seed *seeds;
  size_t n_seeds;
  const char *const *wrt;  // parameters, constants or other values, of floating type
  size_t n_wrt;
  orion_grad_recompute recompute;  // NULL: everything is kept
  void *recompute_ctx;
  bool far;    // arguments that are not at hand are kept or computed again too; what is never computed again is cuts
  orion_dtype kept_as;  // fp32 taps are kept in this type; NONE: as they are. Not with `split`
  orion_grad_recompute may_round;  // of which taps, to be asked with recompute_ctx; NULL: all
  bool split;  // two functions, "main" and "backward", instead of one
} orion_grad_options;

typedef struct orion_grad_report {
  size_t kept, kept_bytes;              // taps held from forward to backward
  size_t recomputed, recomputed_bytes;  // taps that are not held for it
  size_t forward_ops, backward_ops;     // constants not counted
} orion_grad_report;

// The new program has one function of the source's name: the source's parameters that are still used, then the seeds';
// results are the outputs asked for, then `d_NAME` for each name of `wrt`, of NAME's type (zeros where nothing depends
// on it). The program shares the source's constants. With split: "main" returns the outputs asked for and then the
// taps, each under its own name; "backward" takes taps, the source's parameters it needs, and seeds, and returns the
// gradients. ORION_NOT_FOUND: a name is unknown. ORION_UNSUPPORTED: an operation on the way has no rule, or not for
// these arguments.
orion_status orion_grad(const orion_program *p, const orion_grad_options *options, orion_program **out,
                        orion_grad_report *out_report, orion_error *err);  // out_report may be NULL

// In one function, what is computed again reads what is kept through `orion_fence`, lest passes merge it with the first time.
//
// Two rules. Cheap: elementwise operations, movement, norms, and rotation run again; products, attention, sums and everything
// that reads much to make little is kept. All: everything, for `far`. `ctx` is not used.
bool orion_grad_recompute_cheap(void *ctx, const orion_function *f, const orion_op *op);
bool orion_grad_recompute_all(void *ctx, const orion_function *f, const orion_op *op);

bool orion_grad_has_rule(orion_opcode code);

#endif
