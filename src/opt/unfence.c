// unfence: takes away the fences behind which a gradient computes again what is not kept (grad/grad.h).
//
// To the other passes orion_fence is an operation that they do not know: equal operations on both sides of it have different
// arguments, so none is merged and each is computed where it is needed. Lowering runs this one after them, once. Exact.
#include "opt/passes.h"
#include "opt/rewrite.h"

static void visit(orion_rewrite *r, orion_op_id id) {
  const orion_op *op = orion_rewrite_op(r, id);
  orion_value_id x = op->code == ORION_OP_orion_fence ? orion_op_value(op, "x") : ORION_NONE;
  if (x != ORION_NONE) orion_rewrite_replace(r, id, x);
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  return orion_rewrite_run(ctx, p, &(orion_visitor){.visit = visit}, err);
}

const orion_pass orion_pass_unfence = {"unfence", "takes away the fences between what is kept and what is computed again", run};
