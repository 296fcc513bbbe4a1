#include "mil/walk.h"

static orion_status walk_literal(const orion_literal *l, const orion_mil_place *at, orion_mil_visit visit, void *ctx,
                                 orion_error *err) {
  if (l->kind == ORION_LIT_DATA || l->kind == ORION_LIT_BLOB) {
    // Programs hand out their literals as const, but make them as ordinary memory of the arena.
    return visit(ctx, at, (orion_literal *)(uintptr_t)l, err);
  }
  for (uint32_t i = 0; l->items && i < l->n_items; i++) ORION_TRY(walk_literal(l->items[i], at, visit, ctx, err));
  return ORION_OK;
}

static orion_status walk_attrs(const orion_attr *attrs, size_t n, const orion_mil_place *at, orion_mil_visit visit,
                               void *ctx, orion_error *err) {
  for (size_t i = 0; i < n; i++) ORION_TRY(walk_literal(attrs[i].value, at, visit, ctx, err));
  return ORION_OK;
}

static orion_status walk_op(const orion_function *f, orion_op_id id, orion_mil_visit visit, void *ctx,
                            orion_error *err) {
  const orion_op *op = &f->ops[id];
  orion_mil_place at = {f, id, op->n_results ? f->values[op->results[0]].name : op->spelling, op->loc};
  for (uint32_t a = 0; a < op->n_args; a++) {
    for (uint32_t r = 0; r < op->args[a].n_refs; r++) {
      orion_ref ref = op->args[a].refs[r];
      if (orion_ref_is_literal(ref)) ORION_TRY(walk_literal(orion_ref_literal(f, ref), &at, visit, ctx, err));
    }
  }
  return walk_attrs(op->attrs, op->n_attrs, &at, visit, ctx, err);
}

orion_status orion_mil_walk(const orion_program *p, orion_mil_visit visit, void *ctx, orion_error *err) {
  orion_mil_place at = {.op = ORION_NONE, .name = "program"};
  ORION_TRY(walk_attrs(p->attrs, p->n_attrs, &at, visit, ctx, err));
  for (size_t i = 0; i < p->n_functions; i++) {
    const orion_function *f = p->functions[i];
    at = (orion_mil_place){f, ORION_NONE, f->name, f->loc};
    ORION_TRY(walk_attrs(f->attrs, f->n_attrs, &at, visit, ctx, err));
    ORION_EACH_OP(f, id) ORION_TRY(walk_op(f, id, visit, ctx, err));
  }
  return ORION_OK;
}
