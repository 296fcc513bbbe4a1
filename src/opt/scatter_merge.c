// scatter_merge: what is added to scattered sums is what they are scattered into.
//
//   x + scatter(d, i, u)      becomes  scatter(x + d, i, u)
//   x + scatter(zeros, i, u)  becomes  scatter(x, i, u)
//
// The gradient of an embedding that is also the classifier has both kinds: a table of zeros with few rows filled, added to
// a whole matrix. So no table of zeros is made, and a device that scatters in place touches those few rows only. Sums are
// taken in another order: each addition rounds as before, but not at the same places.
#include <string.h>

#include "opt/passes.h"
#include "opt/rewrite.h"

static bool is_zero(orion_rewrite *r, orion_ref ref) {
  double v;
  orion_op_id fill = orion_rewrite_def(r, ref, ORION_OP_fill);
  if (fill != ORION_NONE) ref = orion_op_ref(orion_rewrite_op(r, fill), "value");
  return ref != ORION_NONE && orion_rewrite_splat(r, ref, &v) && v == 0;
}

// The scatter behind `ref` that adds up and has no other use, or ORION_NONE.
static orion_op_id scattered(orion_rewrite *r, orion_ref ref, const orion_type *type) {
  orion_op_id id = orion_rewrite_def(r, ref, ORION_OP_scatter);
  if (id == ORION_NONE || orion_rewrite_uses(r, ref) != 1 || r->values[ref].output) return ORION_NONE;
  const orion_op *op = orion_rewrite_op(r, id);
  const char *mode = orion_op_string(r->f, op, "mode");
  if (!mode || strcmp(mode, "add") != 0) return ORION_NONE;
  return orion_type_equal(orion_value_type(r->f, op->results[0]), type) ? id : ORION_NONE;
}

static void visit(orion_rewrite *r, orion_op_id id) {
  const orion_op *op = orion_rewrite_op(r, id);
  if (op->code != ORION_OP_add) return;
  const orion_type *type = orion_value_type(r->f, op->results[0]);
  orion_ref x = orion_op_ref(op, "x"), y = orion_op_ref(op, "y");
  if (!orion_type_is_static(type) || orion_ref_is_literal(x) || orion_ref_is_literal(y)) return;
  orion_op_id from = scattered(r, y, type);
  if (from == ORION_NONE) {
    from = scattered(r, x, type);
    x = y;
  }
  if (from == ORION_NONE || !orion_type_equal(orion_value_type(r->f, x), type)) return;
  const orion_op *s = orion_rewrite_op(r, from);
  orion_ref data = orion_op_ref(s, "data"), indices = orion_op_ref(s, "indices"), updates = orion_op_ref(s, "updates");
  orion_ref axis = orion_op_ref(s, "axis"), mode = orion_op_ref(s, "mode"), check = orion_op_ref(s, "validate_indices");
  if (!is_zero(r, data)) x = ORION_BUILD(&r->b, NULL, ORION_OP_add, {"x", x}, {"y", data});
  orion_ref sum = ORION_BUILD(&r->b, NULL, ORION_OP_scatter, {"data", x}, {"indices", indices}, {"updates", updates},
                              {"axis", axis}, {"mode", mode}, {"validate_indices", check});
  if (sum != ORION_NONE) orion_rewrite_replace(r, id, sum);
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  return orion_rewrite_run(ctx, p, &(orion_visitor){.visit = visit}, err);
}

const orion_pass orion_pass_scatter_merge = {"scatter_merge", "scatters into what is added to scattered sums", run};
