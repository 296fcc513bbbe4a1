// What of the forward part is kept for the backward part, and what is computed again: memory against time.
//
//   none    everything is kept
//   cheap   what follows from kept values by elementwise operations, norms and rotation is computed again: the inputs of most
//           products, for about a hundredth more time
//   most    only the sums of the residual stream are kept, two a layer; a layer's half is computed again from the one before
//           it, products and attention too, for about a fifth more time
//   auto    the first of these with which the step's program holds no more than a given amount of memory
//
// The same operations run on the same values, so gradients are the same to the bit, and which of them is used is no part of what
// a run is: it is not in checkpoints.
#ifndef ORION_TRAIN_RECOMPUTE_H
#define ORION_TRAIN_RECOMPUTE_H

#include "grad/grad.h"

typedef enum orion_recompute {
  ORION_RECOMPUTE_NONE,
  ORION_RECOMPUTE_CHEAP,
  ORION_RECOMPUTE_MOST,
  ORION_RECOMPUTE_AUTO,
} orion_recompute;

bool orion_recompute_parse(const char *name, orion_recompute *out);  // false for an unknown name
const char *orion_recompute_name(orion_recompute r);

// Sets what the gradient of a training graph is to do (not AUTO), and in which type it keeps fp32 values; NONE: as they are.
void orion_recompute_apply(orion_recompute r, orion_dtype kept_as, orion_grad_options *o);

#endif
