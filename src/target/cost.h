// What operations cost on a target, roughly: enough to choose between two ways of doing the same.
#ifndef ORION_TARGET_COST_H
#define ORION_TARGET_COST_H

#include "target/target.h"

// Seconds that the engine spends on the operation: arithmetic at the rate that is sustained, and operands from and to the
// on-chip memory. Operations of model graphs ([T, C], composites) and of opened programs alike.
double orion_cost_op(const orion_target *t, const orion_function *f, const orion_op *op);
// Seconds to write `bytes` to memory by one program and to read them by another.
double orion_cost_handover(const orion_target *t, size_t bytes);

// Whether the result of the operation, of which a later program has the arguments at hand, is computed again there rather
// than handed over. `ctx` is a target; fits orion_grad_options.recompute. Without a cost model (cpu): never.
bool orion_cost_recompute(void *ctx, const orion_function *f, const orion_op *op);

#endif
