// AdamW (Loshchilov and Hutter 2019) over all weights, with the global norm of the gradients and clipping to it.
//
//   g = gradient * unscale * min(1, clip / (norm + 1e-6))
//   m = beta1*m + (1-beta1)*g      v = beta2*v + (1-beta2)*g*g
//   w = w - lr * (m/(1-beta1^t) / (sqrt(v/(1-beta2^t)) + eps) + decay*w)        decay on matrices only
//
// Work is cut into blocks of fixed size. Each element is computed alike wherever it is (no contraction, no reassociation)
// and the norm adds block sums, made in a fixed order in double, one after another: the same bits for any number of
// threads and any vector width. One pass over memory for the norm and one for the update, at the speed of memory; nothing is
// allocated in a step.
#ifndef ORION_TRAIN_OPTIMIZER_H
#define ORION_TRAIN_OPTIMIZER_H

#include "base/thread.h"
#include "train/params.h"

typedef struct orion_adamw {
  double beta1, beta2, eps, weight_decay;
  double clip;              // largest global norm; 0: none
} orion_adamw;

typedef struct orion_optimizer orion_optimizer;

// `p` must outlive the optimizer. `threads` as for orion_pool_create.
orion_status orion_optimizer_create(orion_params *p, const orion_adamw *settings, int threads, orion_optimizer **out,
                                    orion_error *err);
void orion_optimizer_destroy(orion_optimizer *o);  // NULL is ignored

// sqrt of the sum of squares of all gradients times `unscale`. grads[i] has as many elements as weight i. When one is NaN or
// infinite, so is the result, and *out_bad is the first weight that has such; else *out_bad is the number of weights.
double orion_optimizer_norm(orion_optimizer *o, const float *const *grads, double unscale, size_t *out_bad);

// One update with learning rate `lr`; it is update number t >= 1; `norm` is what orion_optimizer_norm said. Returns the
// first weight that is no longer finite, or the number of weights.
size_t orion_optimizer_step(orion_optimizer *o, const float *const *grads, double unscale, double norm, double lr,
                            int64_t t);

#endif
