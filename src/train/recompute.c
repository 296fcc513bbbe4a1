#include "train/recompute.h"

#include <string.h>

static const char *const names[] = {"none", "cheap", "most", "auto"};

bool orion_recompute_parse(const char *name, orion_recompute *out) {
  for (int i = 0; i < 4; i++) {
    if (strcmp(name, names[i]) != 0) continue;
    *out = (orion_recompute)i;
    return true;
  }
  return false;
}

const char *orion_recompute_name(orion_recompute r) { return names[r]; }

static bool has_argument(const orion_op *op, orion_value_id v) {
  for (uint32_t i = 0; i < op->n_args; i++) {
    for (uint32_t r = 0; r < op->args[i].n_refs; r++) {
      if (op->args[i].refs[r] == v) return true;
    }
  }
  return false;
}

// The logits, and the activations that meet the classifier: backward begins with them, so nothing is gained, and one step of
// the cpu device goes through classifier, loss and both their gradients only while it is one value that they share.
static bool meets_loss(const orion_function *f, orion_value_id v) {
  ORION_EACH_OP(f, id) {
    const orion_op *loss = &f->ops[id];
    if (loss->code != ORION_OP_orion_cross_entropy) continue;
    orion_value_id logits = orion_op_value(loss, "logits");
    if (logits == v) return true;
    const orion_op_id def = logits == ORION_NONE ? ORION_NONE : f->values[logits].def;
    if (def != ORION_NONE) return has_argument(&f->ops[def], v);
  }
  return false;
}

static bool is_cheap(void *ctx, const orion_function *f, const orion_op *op) {
  return orion_grad_recompute_cheap(ctx, f, op) && !meets_loss(f, op->results[0]);
}

static bool may_round(void *ctx, const orion_function *f, const orion_op *op) {
  return !meets_loss(f, op->results[0]);
}

void orion_recompute_apply(orion_recompute r, orion_dtype kept_as, orion_grad_options *o) {
  o->kept_as = kept_as;
  o->may_round = may_round;
  o->far = r == ORION_RECOMPUTE_MOST;
  o->recompute = r == ORION_RECOMPUTE_NONE ? NULL : o->far ? orion_grad_recompute_all : is_cheap;
}
