// Turning a function into a plan, op by op. Emitters (one family per steps_*.c file) ask for views of their arguments,
// make results and add steps.
//
// Results may be lazy: an elementwise op, a linear, or the join of keys and values whose only user can do the work
// itself is remembered as a pending op and emitted by that user, or by anyone who asks for its elements.
#ifndef ORION_DEVICE_CPU_BUILD_H
#define ORION_DEVICE_CPU_BUILD_H

#include "device/cpu/chain.h"
#include "ir/infer.h"

typedef enum orion_cpu_state {
  ORION_CPU_UNKNOWN,
  ORION_CPU_CONST,    // a literal; its elements become a weight when somebody asks
  ORION_CPU_PENDING,  // not emitted yet
  ORION_CPU_READY,    // `view` holds it
} orion_cpu_state;

typedef struct orion_cpu_value {
  orion_cpu_state state;
  orion_cpu_view view;
  bool lazy;               // PENDING: a constant seen differently (a cast, a reshape, integers with scales)
  bool summed;             // PENDING: a product that waits for the addition to a parameter
  uint8_t instrs;          // PENDING elementwise: of the chain so far
  uint32_t io;             // plus 1: the output surface that it is written to, 0 = none
} orion_cpu_value;

typedef struct orion_cpu_rms {  // a root-mean-square norm spelled out (fuse_rms.c), by its last op
  orion_ref x, gamma;           // gamma may be ORION_NONE
  float epsilon;
} orion_cpu_rms;

typedef struct orion_cpu_join {  // the two ops that join keys, and values, of one attention (fuse_join.c)
  const orion_op *key, *value;
} orion_cpu_join;

typedef struct orion_cpu_attention_grad {  // of an attention spelled out (fuse_attention_grad.c), by the op that makes dv
  orion_ref q, k, v, y, dy, mask;           // y: what attention gave; dy: its gradient
  float score_scale, grad_scale;
  const orion_op *dq, *dk;
} orion_cpu_attention_grad;

typedef struct orion_cpu_norm_grad {  // of a norm over the last axis (fuse_norm_grad.c), by the first op of those that make its results
  orion_ref x, dy, gamma;               // gamma may be ORION_NONE
  float epsilon;
  bool centred;                         // the norm takes the mean away
  const orion_op *dx, *dgamma, *dbeta;  // the last two may be NULL
  const orion_op *sum;                  // adds dx to `other`; NULL: nothing does
  orion_ref other;
} orion_cpu_norm_grad;

enum { ORION_CPU_EARLY = 4 };

typedef struct orion_cpu_classifier {  // with its loss and gradients (fuse_classifier.c), by the op that makes `log`
  orion_ref x, weight, index;
  orion_ref each;                       // the gradient of a row's loss; ORION_NONE: no gradients
  const orion_op *log, *at, *dx, *dw;
  orion_op_id early[ORION_CPU_EARLY];   // what makes `each` out of what is there before `log`, in order
  int n_early;
} orion_cpu_classifier;

typedef struct orion_cpu_mask {  // an attention mask made ready, shared by the layers that use it
  struct orion_cpu_mask *next;
  orion_cpu_view raw, mask, lengths;
  size_t keys[2], rows;
} orion_cpu_mask;

typedef struct orion_cpu_joined {  // concats emitted so far
  const struct orion_cpu_joined *next;
  const orion_op *op;
} orion_cpu_joined;

typedef struct orion_cpu_build {
  const orion_function *f;
  orion_cpu_plan *plan;
  const orion_kernels *k;
  orion_arena scratch;  // dies with the build
  bool fuse, fast;
  uint32_t *uses;     // by value
  orion_op_id *user;  // by value: its only user, where uses is 1 and that is an op
  orion_cpu_value *values;
  const orion_cpu_rms **rms;     // by op: set on the last op of a pattern
  const orion_cpu_join **joins;  // by op: set on attentions that read cache and new tokens where they are
  const orion_cpu_attention_grad **attention_grads;  // by op
  const orion_cpu_classifier **classifiers;          // by op
  const orion_cpu_norm_grad **norm_grads;            // by op
  uint32_t *places;              // by op: its place in the function's order
  bool *absorbed;                // by op: part of a pattern, emits nothing
  orion_cpu_mask *masks;
  const orion_cpu_joined *joined;
  orion_op_id op;  // being emitted
} orion_cpu_build;

typedef orion_status (*orion_cpu_emit_fn)(orion_cpu_build *b, const orion_op *op, orion_error *err);

// ---- arguments ----
// The elements of a ref, emitted now if they were pending.
orion_status orion_cpu_ref_view(orion_cpu_build *b, orion_ref ref, orion_cpu_view *out, orion_error *err);
orion_status orion_cpu_arg(orion_cpu_build *b, const orion_op *op, const char *name, orion_cpu_view *out,
                           orion_error *err);
// The same copied where needed, so that elements are packed fp32 / packed in their own type.
orion_status orion_cpu_arg_f32(orion_cpu_build *b, const orion_op *op, const char *name, orion_cpu_view *out,
                               orion_error *err);
orion_status orion_cpu_to_f32(orion_cpu_build *b, orion_cpu_view *v, orion_error *err);
orion_status orion_cpu_to_float_rows(orion_cpu_build *b, orion_cpu_view *v, orion_error *err);  // last dimension packed
orion_status orion_cpu_to_packed(orion_cpu_build *b, orion_cpu_view *v, orion_error *err);
bool orion_cpu_has(const orion_op *op, const char *name);
bool orion_cpu_ref_constant(const orion_cpu_build *b, orion_ref ref);
bool orion_cpu_is_lazy(const orion_cpu_build *b, orion_ref ref);  // a constant that waits to be seen
// Whether a plan may depend on the numbers of the constant: axes, shapes, flags, single numbers. Of all others it holds the
// place only, so that an update need not make a new plan.
bool orion_cpu_taken_by_value(const orion_literal *l);
// Axes of a constant argument, made positive; `all` when it is absent.
orion_status orion_cpu_axes(orion_cpu_build *b, const orion_op *op, const char *name, int rank, bool *out_marked,
                            orion_error *err);
orion_status orion_cpu_int(orion_cpu_build *b, const orion_op *op, const char *name, int64_t *out, orion_error *err);
orion_status orion_cpu_axis(orion_cpu_build *b, const orion_op *op, const char *name, int rank, int64_t *out,
                            orion_error *err);

// ---- results ----
const orion_type *orion_cpu_result_type(const orion_cpu_build *b, const orion_op *op, uint32_t i);
// A packed buffer for result i (its output surface, if it has one), in the type of the value.
orion_status orion_cpu_result(orion_cpu_build *b, const orion_op *op, uint32_t i, orion_cpu_view *out,
                              orion_error *err);
// Strides of the first `own` dimensions of `v`, spread over batch dimensions; false: they do not broadcast to these.
bool orion_cpu_batch_strides(int rank, const int64_t *batch, const orion_cpu_view *v, int own, int64_t *out_strides);
// Result i is a view of what exists already.
void orion_cpu_alias(orion_cpu_build *b, const orion_op *op, uint32_t i, const orion_cpu_view *v);
orion_status orion_cpu_new_view(orion_cpu_build *b, orion_dtype dtype, int rank, const int64_t *dims,
                                orion_cpu_view *out, orion_error *err);
orion_status orion_cpu_temp(orion_cpu_build *b, size_t bytes, uint32_t *out, orion_error *err);  // for one step

// ---- steps ----
// Copies the description into the plan; whether the step is constant follows from its inputs.
orion_status orion_cpu_add_step(orion_cpu_build *b, const orion_cpu_step *step, orion_error *err);
// More inputs and outputs for a step, which may be the last one or have only constant steps after it, and is not constant.
orion_status orion_cpu_extend_step(orion_cpu_build *b, orion_cpu_step *step, const orion_cpu_view *ins, size_t n_in,
                                   const orion_cpu_view *outs, size_t n_out, size_t scratch, orion_error *err);
orion_status orion_cpu_add_copy(orion_cpu_build *b, const orion_cpu_view *from, const orion_cpu_view *to,
                                orion_error *err);
bool orion_cpu_view_constant(const orion_cpu_build *b, const orion_cpu_view *v);
void *orion_cpu_data(orion_cpu_build *b, size_t size);  // zeroed, of the plan

// ---- weights ----
orion_status orion_cpu_weight_buffer(orion_cpu_build *b, const orion_cpu_weight_key *key, uint32_t *out,
                                     orion_error *err);
// Panels of a matrix [n, k] given by a ref of that many elements (transposed: of [k, n]): packed by the cache where it
// is a constant of the program, by a constant step where it is computed from constants. False in *out_ok: neither.
typedef struct orion_cpu_panels_ref {
  uint32_t buffer;
  orion_kernel_type type;
  size_t rows, cols;
  size_t block;  // columns that share a scale; 0: not quantised
} orion_cpu_panels_ref;
orion_status orion_cpu_panels(orion_cpu_build *b, orion_ref ref, bool transposed, size_t groups, size_t group, size_t n,
                              size_t k, orion_cpu_panels_ref *out, bool *out_ok, orion_error *err);

// ---- chains (fuse_chain.c) ----
// Can `op` be part of an elementwise chain computed in floats?
bool orion_cpu_chainable(const orion_cpu_build *b, const orion_op *op);
orion_status orion_cpu_emit_chain(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *dest, orion_error *err);
// A matrix product whose finished tiles go through a chain (steps_linear.c, steps_conv.c). The chain's dimensions are
// merged to [rows, columns] of the product; `ins` are its operands' views.
typedef struct orion_cpu_epilogue {
  const orion_chain *chain;
  const orion_cpu_view *ins;
  size_t n_ins;
  orion_cpu_view out;
} orion_cpu_epilogue;
bool orion_cpu_is_product(orion_opcode code);
orion_status orion_cpu_emit_linear_product(orion_cpu_build *b, const orion_op *op, const orion_cpu_epilogue *e,
                                           orion_error *err);
orion_status orion_cpu_emit_conv_product(orion_cpu_build *b, const orion_op *op, const orion_cpu_epilogue *e,
                                         orion_error *err);
int orion_cpu_product_split(const orion_cpu_build *b, const orion_op *op);  // first dimension of the columns
orion_status orion_cpu_emit_product(orion_cpu_build *b, const orion_op *op, const orion_cpu_epilogue *e,
                                    orion_error *err);
// A product of run-time matrices whose only user adds it to a parameter of the function (a sum over micro-batches) waits for
// that: the sum is where the product's chains start (steps_matmul.c).
bool orion_cpu_product_waits(const orion_cpu_build *b, const orion_op *op);
// `op` adds such a product to *out_sum: the product. NULL: it does not.
const orion_op *orion_cpu_summed_product(const orion_cpu_build *b, const orion_op *op, orion_ref *out_sum);
orion_status orion_cpu_emit_product_sum(orion_cpu_build *b, const orion_op *product, const orion_op *add, orion_ref sum,
                                        orion_error *err);
// The data of a scatter that may add where the data lies (steps_scatter.c), or ORION_NONE.
orion_value_id orion_cpu_scatter_source(const orion_cpu_build *b, const orion_op *op);
// Emits a pending value; `dest` (may be NULL) is where its elements must go.
orion_status orion_cpu_force(orion_cpu_build *b, orion_value_id v, const orion_cpu_view *dest, orion_error *err);
// May the value wait for its only user?
bool orion_cpu_may_wait(const orion_cpu_build *b, const orion_op *op);
// Has it several, which all end in one chain (fuse_meet.c)?
bool orion_cpu_users_meet(const orion_cpu_build *b, const orion_op *op);
// Whether the chain that ends in `op`, with all that waits below, is within the limits of chain.h; how many instructions it has.
bool orion_cpu_chain_fits(const orion_cpu_build *b, const orion_op *op, uint8_t *out_instrs);
bool orion_cpu_same_dims(const orion_type *a, const orion_type *b);
orion_status orion_cpu_find_rms(orion_cpu_build *b, orion_error *err);
orion_status orion_cpu_find_joins(orion_cpu_build *b, orion_error *err);
orion_status orion_cpu_find_attention_grads(orion_cpu_build *b, orion_error *err);
orion_status orion_cpu_find_classifiers(orion_cpu_build *b, orion_error *err);
orion_status orion_cpu_find_norm_grads(orion_cpu_build *b, orion_error *err);

// ---- emitters ----
orion_cpu_emit_fn orion_cpu_emitter(orion_opcode code);  // NULL: the device lacks the op

typedef struct orion_cpu_choices {  // of the device
  bool fuse;
  bool fast;  // activations may be rounded, to integers or bf16
} orion_cpu_choices;
orion_status orion_cpu_build_plan(const orion_function *f, const orion_kernels *k, const orion_allocator *a,
                                  const orion_cpu_choices *choices, orion_findings *findings, orion_cpu_plan *out,
                                  orion_error *err);
void orion_cpu_plan_deinit(orion_cpu_plan *p);

orion_status orion_cpu_emit_linear(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_conv(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_attention_grad(orion_cpu_build *b, const orion_op *dv, const orion_cpu_attention_grad *g,
                                           orion_error *err);
orion_status orion_cpu_emit_classifier(orion_cpu_build *b, const orion_cpu_classifier *g, orion_error *err);
orion_status orion_cpu_emit_norm_grad(orion_cpu_build *b, const orion_cpu_norm_grad *g, orion_error *err);
orion_status orion_cpu_emit_matmul(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_attention(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_softmax(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_layer_norm(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_rms(orion_cpu_build *b, const orion_op *op, const orion_cpu_rms *rms, orion_error *err);
orion_status orion_cpu_emit_reduce(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_view(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_split(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_concat(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_einsum(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_lstm(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_gather(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_scatter(orion_cpu_build *b, const orion_op *op, orion_error *err);
orion_status orion_cpu_emit_elementwise(orion_cpu_build *b, const orion_op *op, orion_error *err);
bool orion_cpu_generic_has(orion_opcode code);
orion_status orion_cpu_emit_generic(orion_cpu_build *b, const orion_op *op, orion_error *err);

#endif
