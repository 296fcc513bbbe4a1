// dce: removes operations and constants whose results nothing uses.
//
// One walk from the end to the start: uses come after definitions, so an operation is judged when all its users are.
// Exact. Stays: operations with an effect, operations unknown to the table (they may have one), parameters (the
// signature is the caller's) and whatever is returned.
#include "opt/passes.h"

static bool removable(const orion_op *op, const uint32_t *uses) {
  if (op->code == ORION_OP_OTHER || orion_opcode_info(op->code)->flags & ORION_F_EFFECT) return false;
  for (uint32_t i = 0; i < op->n_results; i++) {
    if (uses[op->results[i]]) return false;
  }
  return true;
}

static void sweep(orion_pass_context *ctx, orion_function *f, uint32_t *uses) {
  for (orion_op_id id = f->last, before; id != ORION_NONE; id = before) {
    const orion_op *op = &f->ops[id];
    before = op->prev;
    if (!removable(op, uses)) continue;
    orion_function_remove_op(f, id);
    ctx->changes++;
    for (uint32_t a = 0; a < op->n_args; a++) {
      for (uint32_t i = 0; i < op->args[a].n_refs; i++) {
        if (!orion_ref_is_literal(op->args[a].refs[i])) uses[op->args[a].refs[i]]--;
      }
    }
  }
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  for (size_t i = 0; i < p->n_functions; i++) {
    orion_arena scratch;
    orion_arena_init(&scratch, ctx->allocator);
    uint32_t *uses = orion_function_count_uses(p->functions[i], &scratch);
    if (uses) sweep(ctx, p->functions[i], uses);
    orion_arena_deinit(&scratch);
    if (!uses) return ORION_OOM(err, "dce");
  }
  return ORION_OK;
}

const orion_pass orion_pass_dce = {"dce", "removes operations and constants that nothing uses", run};
