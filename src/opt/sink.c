// See the header. Only result types change on the way, so the operations are changed where they stand.
#include "opt/sink.h"

enum { MAX_CHAIN = 16 };

// The name of the operand through which an elementwise operation may be passed; NULL if it may not.
static const char *passed_operand(const orion_rewrite *r, const orion_op *op) {
  const orion_op_info *info = orion_opcode_info(op->code);
  if (op->n_results != 1) return NULL;
  if (info->cls == ORION_CLASS_CAST || (info->cls == ORION_CLASS_UNARY && info->flags & ORION_F_ELEMENTWISE)) return "x";
  if (info->cls != ORION_CLASS_BINARY) return NULL;
  for (int side = 0; side < 2; side++) {
    orion_ref other = orion_op_ref(op, side ? "x" : "y");
    const orion_type *t = orion_ref_type(r->f, other);
    if (orion_ref_is_const(r->f, other) && orion_type_is_tensor(t) && t->rank == 0) return side ? "y" : "x";
  }
  return NULL;
}

orion_op_id orion_sink_find(orion_rewrite *r, orion_value_id v, bool (*wanted)(const orion_rewrite *r, const orion_op *op)) {
  const orion_function *f = r->f;
  for (int depth = 0; depth < MAX_CHAIN; depth++) {
    if (v == ORION_NONE || orion_ref_is_literal(v) || f->values[v].def == ORION_NONE) return ORION_NONE;
    if (r->values[v].output || orion_rewrite_uses(r, v) != 1) return ORION_NONE;
    orion_op_id def = f->values[v].def;
    if (wanted(r, &f->ops[def])) {
      orion_value_id x = orion_op_value(&f->ops[def], "x");
      return x != ORION_NONE && orion_type_is_static(orion_value_type(f, x)) ? def : ORION_NONE;
    }
    const char *operand = passed_operand(r, &f->ops[def]);
    if (!operand) return ORION_NONE;
    v = orion_op_value(&f->ops[def], operand);
  }
  return ORION_NONE;
}

bool orion_sink_past(orion_rewrite *r, orion_value_id v, orion_op_id inner) {
  orion_function *f = r->f;
  orion_value_id moved = f->ops[inner].results[0], source = orion_op_value(&f->ops[inner], "x");
  const orion_type *shape = orion_value_type(f, source);
  while (v != moved) {
    const orion_type *old = orion_value_type(f, v);
    const orion_type *type = orion_type_tensor(f->program, old->dtype, shape->rank, shape->dims);
    if (!type) {
      orion_rewrite_out_of_memory(r);
      return false;
    }
    f->values[v].type = type;
    orion_op_id def = f->values[v].def;
    const char *operand = passed_operand(r, &f->ops[def]);
    v = orion_op_value(&f->ops[def], operand);
    if (v == moved) orion_rewrite_set_arg(r, def, operand, source);
  }
  return r->b.status == ORION_OK;
}
