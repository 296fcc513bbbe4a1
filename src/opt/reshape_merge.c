// reshape_merge: of reshapes in a row only the last one stays.
//
// reshape, expand_dims, squeeze and flatten2d keep the elements in order, so any number of them is one reshape to the
// last shape. A reshape above elementwise operations sinks to the reshape below them (sink.h). Exact.
//
// Must not touch: shapes known at run time only. A reshape that only elementwise operations follow stays where it is.
#include "opt/passes.h"
#include "opt/sink.h"

static bool is_reshape(const orion_rewrite *r, const orion_op *op) {
  bool one = op->code == ORION_OP_reshape || op->code == ORION_OP_expand_dims || op->code == ORION_OP_squeeze ||
             op->code == ORION_OP_flatten2d;
  return one && orion_type_is_static(orion_value_type(r->f, op->results[0]));
}

// Whether the operation says its result's shape in full, whatever its argument's.
static bool says_shape(const orion_rewrite *r, const orion_op *op) {
  int64_t dims[ORION_MAX_RANK];
  size_t n;
  if (op->code != ORION_OP_reshape || !orion_op_ints(r->f, op, "shape", ORION_MAX_RANK, dims, &n)) return false;
  for (size_t i = 0; i < n; i++) {
    if (dims[i] == 0) return false;  // "as the argument has it"
  }
  return true;
}

static void visit(orion_rewrite *r, orion_op_id id) {
  orion_function *f = r->f;
  if (!is_reshape(r, &f->ops[id])) return;
  orion_value_id x = orion_op_value(&f->ops[id], "x");
  orion_value_id result = f->ops[id].results[0];
  if (x == ORION_NONE) return;
  const orion_type *type = orion_value_type(f, result);
  orion_op_id inner = f->values[x].def;
  orion_value_id source = ORION_NONE;
  bool direct = inner != ORION_NONE && is_reshape(r, &f->ops[inner]);
  if (direct) {
    source = orion_op_value(&f->ops[inner], "x");
    if (source == ORION_NONE || !orion_type_is_static(orion_value_type(f, source))) return;
  } else {
    inner = orion_sink_find(r, x, is_reshape);
    if (inner == ORION_NONE || !orion_sink_past(r, x, inner)) return;
    source = x;
  }
  if (says_shape(r, &f->ops[id])) {
    orion_rewrite_set_arg(r, id, "x", source);
    r->ctx->changes++;
    return;
  }
  orion_ref shape = orion_build_ints(&r->b, "shape", type->rank, type->dims);
  orion_value_id y = ORION_BUILD(&r->b, f->values[result].name, ORION_OP_reshape, {"x", source}, {"shape", shape});
  if (y != ORION_NONE) orion_rewrite_replace(r, id, y);
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  return orion_rewrite_run(ctx, p, &(orion_visitor){.visit = visit}, err);
}

const orion_pass orion_pass_reshape_merge = {"reshape_merge", "makes one reshape of several in a row", run};
