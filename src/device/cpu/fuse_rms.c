// Root-mean-square norms spelled out, as MIL has no op for them:
//
//   s = mul(x, x) or square(x);  m = reduce_mean(s, axes = [-1], keep_dims);  r = rsqrt(m, e1) or rsqrt(m + e2) or
//   pow(m + e2, -0.5);  y = mul(x, r);  z = mul(y, gamma)          (factors in any order, gamma optional)
//
// One row kernel does it all. Values in between must have no other users.
#include "device/cpu/fuse.h"

// x of the squares under the mean; they have one user, or x itself is what is multiplied.
static bool squares(orion_cpu_match *m, const orion_op *mean, orion_ref *out_x) {
  orion_value_id s = orion_op_value(mean, "x");
  if (s == ORION_NONE || m->b->uses[s] != 1 || m->b->f->values[s].def == ORION_NONE) return false;
  const orion_op *op = &m->b->f->ops[m->b->f->values[s].def];
  *out_x = orion_op_ref(op, "x");
  if (op->code == ORION_OP_mul ? *out_x != orion_op_ref(op, "y") : op->code != ORION_OP_square) return false;
  return orion_cpu_take(m, op) && !orion_ref_is_literal(*out_x);
}

// From the mean to the reciprocal root: the op that makes it, adding up epsilons.
static const orion_op *reciprocal_root(orion_cpu_match *m, const orion_op *mean, double *epsilon) {
  const orion_op *op = orion_cpu_user_of(m->b, mean->results[0]);
  *epsilon = 0;
  if (op && op->code == ORION_OP_add) {
    if (!orion_ref_float(m->b->f, orion_cpu_other_factor(op, mean->results[0]), epsilon)) return NULL;
    if (!orion_cpu_take(m, op)) return NULL;
    op = orion_cpu_user_of(m->b, op->results[0]);
  }
  double e;
  if (op && op->code == ORION_OP_rsqrt && orion_op_float(m->b->f, op, "epsilon", &e)) {
    *epsilon += e;
    return orion_cpu_take(m, op) ? op : NULL;
  }
  if (op && op->code == ORION_OP_pow && orion_ref_float(m->b->f, orion_op_ref(op, "y"), &e) && e == -0.5) {
    return orion_cpu_take(m, op) ? op : NULL;
  }
  return NULL;
}

static bool find_from(orion_cpu_build *b, const orion_op *mean, orion_cpu_match *m, orion_cpu_rms *out, orion_op_id *root) {
  *m = (orion_cpu_match){.b = b};
  *out = (orion_cpu_rms){.gamma = ORION_NONE};
  if (!squares(m, mean, &out->x)) return false;
  const orion_type *t = orion_ref_type(b->f, out->x);
  if (!orion_type_is_tensor(t) || t->rank < 1 || !orion_dtype_is_float(t->dtype) || !orion_cpu_over_last_axis(b, mean, t->rank))
    return false;
  double epsilon;
  if (!orion_cpu_take(m, mean)) return false;
  const orion_op *root_op = reciprocal_root(m, mean, &epsilon);
  if (!root_op) return false;
  out->epsilon = (float)epsilon;
  const orion_op *scaled = orion_cpu_user_of(m->b, root_op->results[0]);
  if (!scaled || scaled->code != ORION_OP_mul || orion_cpu_other_factor(scaled, root_op->results[0]) != out->x) return false;
  *root = b->f->values[scaled->results[0]].def;
  const orion_op *last = orion_cpu_user_of(m->b, scaled->results[0]);
  if (!last || last->code != ORION_OP_mul) return true;
  orion_ref gamma = orion_cpu_other_factor(last, scaled->results[0]);
  const orion_type *g = orion_ref_type(b->f, gamma);
  size_t n;
  if (!g || !orion_ref_is_const(b->f, gamma) || !orion_type_elements(g, &n) || g->rank < 1) return true;
  if ((int64_t)n != t->dims[t->rank - 1] || g->dims[g->rank - 1] != t->dims[t->rank - 1]) return true;
  if (!orion_cpu_take(m, scaled)) return true;
  out->gamma = gamma;
  *root = b->f->values[last->results[0]].def;
  return true;
}

orion_status orion_cpu_find_rms(orion_cpu_build *b, orion_error *err) {
  ORION_EACH_OP(b->f, id) {
    const orion_op *mean = &b->f->ops[id];
    orion_cpu_match m;
    orion_cpu_rms found;
    orion_op_id root;
    if (mean->code != ORION_OP_reduce_mean || !find_from(b, mean, &m, &found, &root)) continue;
    orion_cpu_rms *rms = orion_arena_copy(&b->scratch, &found, 1, sizeof found);
    if (!rms) return ORION_OOM(err, "plan");
    orion_cpu_absorb(&m);
    b->rms[root] = rms;
  }
  return ORION_OK;
}
