// Root-mean-square norms spelled out, as MIL has no op for them:
//
//   s = mul(x, x) or square(x);  m = reduce_mean(s, axes = [-1], keep_dims);  r = rsqrt(m, e1) or rsqrt(m + e2) or
//   pow(m + e2, -0.5);  y = mul(x, r);  z = mul(y, gamma)          (factors in any order, gamma optional)
//
// One row kernel does it all. Values in between must have no other users.
#include "device/cpu/build.h"

typedef struct match {
  orion_cpu_build *b;
  orion_op_id ops[6];
  int n;
} match;

static const orion_op *user_of(match *m, orion_value_id v) {
  if (m->b->uses[v] != 1 || m->b->user[v] == ORION_NONE) return NULL;
  const orion_op *op = &m->b->f->ops[m->b->user[v]];
  return op->n_results == 1 && orion_ref_type(m->b->f, op->results[0]) ? op : NULL;
}

static void take(match *m, const orion_op *op) { m->ops[m->n++] = m->b->f->values[op->results[0]].def; }

orion_ref orion_cpu_other_factor(const orion_op *op, orion_ref v) {
  orion_ref x = orion_op_ref(op, "x"), y = orion_op_ref(op, "y");
  return x == v && y != v ? y : y == v && x != v ? x : ORION_NONE;
}

// x of the squares under the mean; they have one user, or x itself is what is multiplied.
static bool squares(match *m, const orion_op *mean, orion_ref *out_x) {
  orion_value_id s = orion_op_value(mean, "x");
  if (s == ORION_NONE || m->b->uses[s] != 1 || m->b->f->values[s].def == ORION_NONE) return false;
  const orion_op *op = &m->b->f->ops[m->b->f->values[s].def];
  *out_x = orion_op_ref(op, "x");
  if (op->code == ORION_OP_mul ? *out_x != orion_op_ref(op, "y") : op->code != ORION_OP_square) return false;
  take(m, op);
  return !orion_ref_is_literal(*out_x);
}

bool orion_cpu_users_of(const orion_cpu_build *b, orion_value_id v, uint32_t most, const orion_op *out[], uint32_t *out_n) {
  *out_n = 0;
  ORION_EACH_OP(b->f, id) {
    const orion_op *op = &b->f->ops[id];
    bool uses = false;
    for (uint32_t a = 0; a < op->n_args; a++) {
      for (uint32_t r = 0; r < op->args[a].n_refs; r++) uses = uses || op->args[a].refs[r] == v;
    }
    if (!uses) continue;
    if (*out_n == most || op->n_results != 1) return false;
    out[(*out_n)++] = op;
  }
  return *out_n == b->uses[v];
}

bool orion_cpu_over_last_axis(const orion_cpu_build *b, const orion_op *reduction, int rank) {
  int64_t axes[ORION_MAX_RANK];
  size_t n;
  bool keep;
  return orion_op_ints(b->f, reduction, "axes", ORION_MAX_RANK, axes, &n) && n == 1 &&
         (axes[0] == -1 || axes[0] == rank - 1) && orion_op_bool(b->f, reduction, "keep_dims", &keep) && keep;
}

// From the mean to the reciprocal root: the op that makes it, adding up epsilons.
static const orion_op *reciprocal_root(match *m, const orion_op *mean, double *epsilon) {
  const orion_op *op = user_of(m, mean->results[0]);
  *epsilon = 0;
  if (op && op->code == ORION_OP_add) {
    if (!orion_ref_float(m->b->f, orion_cpu_other_factor(op, mean->results[0]), epsilon)) return NULL;
    take(m, op);
    op = user_of(m, op->results[0]);
  }
  double e;
  if (op && op->code == ORION_OP_rsqrt && orion_op_float(m->b->f, op, "epsilon", &e)) {
    *epsilon += e;
    take(m, op);
    return op;
  }
  if (op && op->code == ORION_OP_pow && orion_ref_float(m->b->f, orion_op_ref(op, "y"), &e) && e == -0.5) {
    take(m, op);
    return op;
  }
  return NULL;
}

static bool find_from(orion_cpu_build *b, const orion_op *mean, match *m, orion_cpu_rms *out, orion_op_id *root) {
  *m = (match){.b = b};
  *out = (orion_cpu_rms){.gamma = ORION_NONE};
  if (!squares(m, mean, &out->x)) return false;
  const orion_type *t = orion_ref_type(b->f, out->x);
  if (!orion_type_is_tensor(t) || t->rank < 1 || !orion_dtype_is_float(t->dtype) || !orion_cpu_over_last_axis(b, mean, t->rank))
    return false;
  m->ops[m->n++] = b->f->values[mean->results[0]].def;
  double epsilon;
  const orion_op *root_op = reciprocal_root(m, mean, &epsilon);
  if (!root_op) return false;
  out->epsilon = (float)epsilon;
  const orion_op *scaled = user_of(m, root_op->results[0]);
  if (!scaled || scaled->code != ORION_OP_mul || orion_cpu_other_factor(scaled, root_op->results[0]) != out->x) return false;
  *root = b->f->values[scaled->results[0]].def;
  const orion_op *last = user_of(m, scaled->results[0]);
  if (!last || last->code != ORION_OP_mul) return true;
  orion_ref gamma = orion_cpu_other_factor(last, scaled->results[0]);
  const orion_type *g = orion_ref_type(b->f, gamma);
  size_t n;
  if (!g || !orion_ref_is_const(b->f, gamma) || !orion_type_elements(g, &n) || g->rank < 1) return true;
  if ((int64_t)n != t->dims[t->rank - 1] || g->dims[g->rank - 1] != t->dims[t->rank - 1]) return true;
  out->gamma = gamma;
  m->ops[m->n++] = *root;
  *root = b->f->values[last->results[0]].def;
  return true;
}

orion_status orion_cpu_find_rms(orion_cpu_build *b, orion_error *err) {
  ORION_EACH_OP(b->f, id) {
    const orion_op *mean = &b->f->ops[id];
    match m;
    orion_cpu_rms found;
    orion_op_id root;
    if (mean->code != ORION_OP_reduce_mean || !find_from(b, mean, &m, &found, &root)) continue;
    orion_cpu_rms *rms = orion_arena_copy(&b->scratch, &found, 1, sizeof found);
    if (!rms) return ORION_OOM(err, "plan");
    for (int i = 0; i < m.n; i++) b->absorbed[m.ops[i]] = true;
    b->rms[root] = rms;
  }
  return ORION_OK;
}
