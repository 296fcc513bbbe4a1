// The gradient of attention, as lowering spells it (lower/open_training.c), for queries, keys and values [..., T, n]:
//
//   p  = softmax(matmul(mul(q, a), k^T) + mask)        dv = matmul(p^T, dy)
//   ds = mul(mul(p, matmul(dy, v^T) - reduce_sum(mul(dy, y))), c)
//   dq = matmul(ds, k)                                  dk = matmul(ds^T, q)
//
// One step makes all three (steps_attention_grad.c), where dv is made; so p and ds, [..., T, T] each, never exist whole.
// What lies between must have no other users, and what goes in must be there by then.
#include <string.h>

#include "device/cpu/fuse.h"

static bool is_product(const orion_cpu_build *b, const orion_op *op, bool turn_x, bool turn_y) {
  bool tx, ty;
  return op && op->code == ORION_OP_matmul && orion_op_bool(b->f, op, "transpose_x", &tx) && tx == turn_x &&
         orion_op_bool(b->f, op, "transpose_y", &ty) && ty == turn_y;
}

// The two operations that use `v`, in order.
static bool two_users(const orion_cpu_build *b, orion_value_id v, const orion_op *out[2]) {
  uint32_t n;
  return orion_cpu_users_of(b, v, 2, out, &n) && n == 2;
}

// mul(x, number), in any order.
static bool scaled(const orion_cpu_build *b, const orion_op *op, orion_ref *out_x, float *out_scale) {
  double scale;
  orion_ref x = orion_op_ref(op, "x"), y = orion_op_ref(op, "y");
  if (!orion_ref_float(b->f, y, &scale)) {
    if (!orion_ref_float(b->f, x, &scale)) return false;
    x = y;
  }
  *out_x = x;
  *out_scale = (float)scale;
  return !orion_ref_is_literal(x);
}

// q, k, mask and the scale of the scores, from p back.
static bool find_scores(orion_cpu_match *m, const orion_op *softmax, orion_cpu_attention_grad *g) {
  const orion_cpu_build *b = m->b;
  const orion_op *add = orion_cpu_take_def(m, orion_op_ref(softmax, "x"), ORION_OP_add, 1);
  if (!add) return false;
  orion_ref s = orion_op_ref(add, "x");
  g->mask = orion_op_ref(add, "y");
  if (!orion_cpu_def_of(b, s, ORION_OP_matmul)) {
    g->mask = s;
    s = orion_op_ref(add, "y");
  }
  const orion_op *product = orion_cpu_take_def(m, s, ORION_OP_matmul, 1);
  if (!is_product(b, product, false, true)) return false;
  g->k = orion_op_ref(product, "y");
  const orion_op *mul = orion_cpu_take_def(m, orion_op_ref(product, "x"), ORION_OP_mul, 1);
  return mul && scaled(b, mul, &g->q, &g->score_scale);
}

// dy, v and y, from the difference that p is multiplied by.
static bool find_difference(orion_cpu_match *m, orion_ref difference, orion_ref dy, int rank, orion_cpu_attention_grad *g) {
  const orion_op *sub = orion_cpu_take_def(m, difference, ORION_OP_sub, 1);
  const orion_op *product = sub ? orion_cpu_take_def(m, orion_op_ref(sub, "x"), ORION_OP_matmul, 1) : NULL;
  const orion_op *sum = product ? orion_cpu_take_def(m, orion_op_ref(sub, "y"), ORION_OP_reduce_sum, 1) : NULL;
  const orion_op *mul = sum ? orion_cpu_take_def(m, orion_op_ref(sum, "x"), ORION_OP_mul, 1) : NULL;
  if (!mul || !is_product(m->b, product, false, true) || orion_op_ref(product, "x") != dy) return false;
  g->dy = dy;
  g->v = orion_op_ref(product, "y");
  g->y = orion_cpu_other_factor(mul, dy);
  return g->y != ORION_NONE && orion_cpu_over_last_axis(m->b, sum, rank);
}

static bool same_tail(const orion_cpu_build *b, orion_ref ref, int64_t rows, int64_t columns) {
  const orion_type *t = orion_ref_type(b->f, ref);
  return orion_type_is_tensor(t) && t->dtype == ORION_FP32 && t->rank >= 2 && t->dims[t->rank - 2] == rows &&
         t->dims[t->rank - 1] == columns;
}

// All three gradients and p have the same batches, and nothing but batches is broadcast.
static bool sizes_fit(const orion_cpu_build *b, const orion_type *p, const orion_op *dv, const orion_cpu_attention_grad *g) {
  const orion_op *made[] = {dv, g->dq, g->dk};
  for (int i = 0; i < 3; i++) {
    const orion_type *t = orion_cpu_result_type(b, made[i], 0);
    if (!orion_type_is_static(t) || t->dtype != ORION_FP32 || t->rank != p->rank) return false;
    if (memcmp(t->dims, p->dims, (size_t)(p->rank - 2) * sizeof *t->dims) != 0) return false;
  }
  const int64_t T = p->dims[p->rank - 2], S = p->dims[p->rank - 1];
  const int64_t n = orion_cpu_result_type(b, g->dq, 0)->dims[p->rank - 1], nv = orion_cpu_result_type(b, dv, 0)->dims[p->rank - 1];
  return same_tail(b, g->mask, T, S) && same_tail(b, g->q, T, n) && same_tail(b, g->k, S, n) && same_tail(b, g->v, S, nv) &&
         same_tail(b, g->y, T, nv) && same_tail(b, g->dy, T, nv);
}

static bool find_from(orion_cpu_match *m, const orion_op *softmax, orion_cpu_attention_grad *g, const orion_op **out_dv) {
  const orion_cpu_build *b = m->b;
  const orion_type *t = orion_ref_type(b->f, softmax->results[0]);
  const orion_op *of_p[2], *of_ds[2];
  int64_t axis;
  if (!t || t->dtype != ORION_FP32 || t->rank < 3 || !orion_op_int(b->f, softmax, "axis", &axis)) return false;
  if ((axis != -1 && axis != t->rank - 1) || !two_users(b, softmax->results[0], of_p)) return false;
  if (!orion_cpu_take_def(m, softmax->results[0], ORION_OP_softmax, 2) || !find_scores(m, softmax, g)) return false;
  const orion_op *dv = of_p[0]->code == ORION_OP_matmul ? of_p[0] : of_p[1], *mul = of_p[dv == of_p[0]];
  if (!is_product(b, dv, true, false) || orion_op_ref(dv, "x") != softmax->results[0] || mul->code != ORION_OP_mul) return false;
  orion_ref difference = orion_cpu_other_factor(mul, softmax->results[0]);
  if (!find_difference(m, difference, orion_op_ref(dv, "y"), t->rank, g)) return false;
  if (!orion_cpu_take_def(m, mul->results[0], ORION_OP_mul, 1)) return false;
  const orion_op *last = &b->f->ops[b->user[mul->results[0]]];
  orion_ref ds;
  if (last->code != ORION_OP_mul || !scaled(b, last, &ds, &g->grad_scale) || ds != mul->results[0]) return false;
  if (!orion_cpu_take_def(m, last->results[0], ORION_OP_mul, 2) || !two_users(b, last->results[0], of_ds)) return false;
  g->dq = is_product(b, of_ds[0], false, false) ? of_ds[0] : of_ds[1];
  g->dk = of_ds[g->dq == of_ds[0]];
  *out_dv = dv;
  return is_product(b, g->dq, false, false) && orion_op_ref(g->dq, "x") == last->results[0] &&
         orion_op_ref(g->dq, "y") == g->k && is_product(b, g->dk, true, false) &&
         orion_op_ref(g->dk, "x") == last->results[0] && orion_op_ref(g->dk, "y") == g->q && sizes_fit(b, t, dv, g);
}

orion_status orion_cpu_find_attention_grads(orion_cpu_build *b, orion_error *err) {
  ORION_EACH_OP(b->f, id) {
    orion_cpu_match m = {.b = b};
    orion_cpu_attention_grad g;
    const orion_op *dv;
    if (b->f->ops[id].code != ORION_OP_softmax || !find_from(&m, &b->f->ops[id], &g, &dv)) continue;
    orion_op_id root = b->f->values[dv->results[0]].def;
    const orion_ref reads[] = {g.q, g.k, g.v, g.y, g.dy, g.mask};
    bool there = true;
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) there = there && orion_cpu_comes_before(b, reads[i], dv);
    if (!there) continue;
    orion_cpu_attention_grad *kept = orion_arena_copy(&b->scratch, &g, 1, sizeof g);
    if (!kept) return ORION_OOM(err, "plan");
    orion_cpu_absorb(&m);
    b->absorbed[b->f->values[g.dq->results[0]].def] = b->absorbed[b->f->values[g.dk->results[0]].def] = true;
    b->attention_grads[root] = kept;
  }
  return ORION_OK;
}
