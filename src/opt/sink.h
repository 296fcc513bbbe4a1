// Taking a movement (reshape, transpose) down through elementwise operations until it meets its like.
//
//   a = reshape(x); b = relu(a); c = mul(b, 2); y = reshape(c)     ->     b = relu(x); c = mul(b, 2); y = reshape(c)
//
// The operations between have one tensor operand (constants of one element aside) and no other use, so that the first
// movement goes and nothing new comes.
#ifndef ORION_OPT_SINK_H
#define ORION_OPT_SINK_H

#include "opt/rewrite.h"

// The nearest operation above value `v` that `wanted` accepts, reached through such operations only, its own result having
// no other use either; ORION_NONE if there is none.
orion_op_id orion_sink_find(orion_rewrite *r, orion_value_id v, bool (*wanted)(const orion_rewrite *r, const orion_op *op));
// Lets the operations between `v` and the movement `inner` work on the movement's own argument. `inner` is gone then.
// False: out of memory.
bool orion_sink_past(orion_rewrite *r, orion_value_id v, orion_op_id inner);

#endif
