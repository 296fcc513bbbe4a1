// What operations cost on a target, roughly: enough to choose between two ways of doing the same.
#ifndef ORION_TARGET_COST_H
#define ORION_TARGET_COST_H

#include "target/target.h"

// Whether the result of the operation, of which a later program has the arguments at hand, is computed again there rather
// than handed over. `ctx` is a target; fits orion_grad_options.recompute. Without a cost model (cpu): never.
bool orion_cost_recompute(void *ctx, const orion_function *f, const orion_op *op);

#endif
