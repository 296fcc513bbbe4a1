// One micro-batch on a device: token ids in; the loss, and a gradient for each weight, out.
//
// For the Neural Engine it goes in pieces, layer by layer (layered.h). Else it is one program: a source makes it; it is one
// function with
//   inputs   tokens, targets  int32, as many elements as the batch has positions; loss_scale fp32 (or the program's float
//                             type), one element, where the source has one
//            NAME             for each weight, where weights are inputs
//   outputs  loss             one element, the mean over all positions in nats, not scaled
//            d_NAME           for each weight, in the weight's shape, times loss_scale
// with NAME as the source calls the weight. Where gradients are to be summed, the step adds that to it (gradient_sums.h).
#ifndef ORION_TRAIN_STEP_H
#define ORION_TRAIN_STEP_H

#include "runtime/runner.h"
#include "train/params.h"
#include "train/recompute.h"

typedef struct orion_step_spec {
  int64_t batch, seq;
  orion_dtype compute, weights;  // fp32 or fp16: of the arithmetic, and in which weights are given to the program
  bool weights_as_inputs;
  bool constants_change;         // orion_step_refresh will be used with weights that are constants
  bool gradients;                // else the loss alone
  bool sums;                     // orion_step_add will be used
  orion_dtype quantise;          // INT8, INT4: matrices that are not trained; NONE: as `weights` says
  orion_recompute recompute;     // of one program (in pieces, the cost model decides); never AUTO once it is made
  orion_dtype kept_as;           // BF16: in which backward gets what fp32 programs, not in pieces, keep for it; NONE: fp32
  size_t memory;                 // for AUTO: bytes that the compiled program may hold; 0: any number
} orion_step_spec;

typedef struct orion_step_source {
  // The program for `m`, whose weights it may hold as constants, and the name of each weight in it (in the memory of
  // `names`; in the order in which orion_params has the weights of `m`).
  orion_status (*make)(void *ctx, const orion_params *params, const orion_step_spec *spec, orion_arena *names,
                       orion_program **out, const char **out_names, orion_error *err);
  void *ctx;
} orion_step_source;

typedef struct orion_step orion_step;

// Lowers for `target` and compiles. Weights that are inputs in fp32 are bound to the masters themselves.
orion_status orion_step_create(orion_params *params, orion_device *device, const orion_target *target,
                               const orion_step_source *source, const orion_step_spec *spec, orion_step **out,
                               orion_error *err);
void orion_step_destroy(orion_step *s);  // NULL is ignored

// Runs tokens and targets [batch, seq]. Gradients, where the program has them, are then in grads(): fp32, one array for
// each weight in order, the same arrays every time, valid until the next run.
orion_status orion_step_run(orion_step *s, const int32_t *tokens, const int32_t *targets, double loss_scale,
                            double *out_loss, orion_error *err);
const float *const *orion_step_gradients(const orion_step *s);
float *orion_step_gradient(orion_step *s, size_t i);  // of one weight, to change
// The same, its gradients added to what is in grads(). Wants spec.sums.
orion_status orion_step_add(orion_step *s, const int32_t *tokens, const int32_t *targets, double loss_scale, double *out_loss,
                            orion_error *err);
// The loss alone, where that costs less; else as orion_step_run with a scale of 1.
orion_status orion_step_loss(orion_step *s, const int32_t *tokens, const int32_t *targets, double *out_loss, orion_error *err);
bool orion_step_has_loss(const orion_step *s);  // it costs less: no other program is needed for evaluation
// Where, in the last run, something was first NaN or infinite, as far as the step knows; NULL: nowhere.
const char *orion_step_overflow(const orion_step *s);

// Puts the masters' current values into the constants, or inputs, of the program. ORION_UNSUPPORTED or NOT_FOUND where
// constants cannot change.
orion_status orion_step_refresh(orion_step *s, orion_error *err);
const orion_step_spec *orion_step_spec_of(const orion_step *s);
size_t orion_step_parts(const orion_step *s);
size_t orion_step_memory(const orion_step *s);  // bytes that the compiled program holds; 0: in pieces

#endif
