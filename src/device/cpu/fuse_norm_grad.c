// The gradient of a norm over the last axis, as gradients (grad/rules_reduce.c) and lowering (lower/open_training.c) spell it,
// for rows x and dy [..., n] in fp32:
//
//   c  = sub(x, reduce_mean(x)), or x itself (root mean square)      r = rsqrt(reduce_mean(mul(c, c)), epsilon)
//   x^ = mul(c, r)                 g = mul(dy, gamma), or dy          a = reduce_mean(mul(g, x^))
//   dx = mul(sub(g - reduce_mean(g), mul(x^, a)), r), where c is x without its mean, else without reduce_mean(g)
//   dgamma = reduce_sum(mul(dy, x^))                                  dbeta = reduce_sum(dy)
//
// One step makes dx, dgamma and dbeta in one pass over the rows (steps_norm_grad.c). dx may be added to what came past the norm
// (the residual stream): that sum is then made instead, if its other half is there by then. What lies between must have no
// other users.
#include "device/cpu/fuse.h"

static int rank_of(const orion_cpu_build *b, orion_ref ref) {
  const orion_type *t = orion_ref_type(b->f, ref);
  return orion_type_is_tensor(t) && t->dtype == ORION_FP32 && orion_type_is_static(t) ? t->rank : 0;
}

// What the mean `ref`, of one use, is taken of; NONE where it is none.
static orion_ref mean_of(orion_cpu_match *m, orion_ref ref, int rank) {
  const orion_op *mean = orion_cpu_take_def(m, ref, ORION_OP_reduce_mean, 1);
  return mean && orion_cpu_over_last_axis(m->b, mean, rank) ? orion_op_ref(mean, "x") : ORION_NONE;
}

// x, c and epsilon, from r back.
static bool find_statistics(orion_cpu_match *m, const orion_op *root, orion_cpu_norm_grad *g, orion_ref *out_c) {
  double epsilon;
  const int rank = rank_of(m->b, root->results[0]);
  const orion_op *square = orion_cpu_take_def(m, mean_of(m, orion_op_ref(root, "x"), rank), ORION_OP_mul, 1);
  if (rank < 2 || !square || !orion_op_float(m->b->f, root, "epsilon", &epsilon)) return false;
  const orion_ref c = *out_c = g->x = orion_op_ref(square, "x");
  g->epsilon = (float)epsilon;
  if (orion_ref_is_literal(c) || orion_op_ref(square, "y") != c || rank_of(m->b, c) != rank) return false;
  const orion_op *centred = orion_cpu_def_of(m->b, c, ORION_OP_sub);
  if (!centred || m->b->uses[c] != 3) return true;  // a root mean square; twice by the square, once by x^
  const int before = m->n;
  g->x = orion_op_ref(centred, "x");
  g->centred = orion_cpu_take_def(m, c, ORION_OP_sub, 3) && mean_of(m, orion_op_ref(centred, "y"), rank) == g->x;
  if (g->centred) return true;
  m->n = before;
  g->x = c;
  return true;
}

// Sums over all axes but the last, which are left out.
static bool down_the_rows(const orion_cpu_build *b, const orion_op *sum) {
  int64_t axes[ORION_MAX_RANK];
  size_t n;
  bool keep;
  const int rank = rank_of(b, orion_op_ref(sum, "x"));
  if (!orion_op_ints(b->f, sum, "axes", ORION_MAX_RANK, axes, &n) || n + 1 != (size_t)rank) return false;
  for (size_t i = 0; i < n; i++) {
    if (axes[i] != (int64_t)i) return false;
  }
  return orion_op_bool(b->f, sum, "keep_dims", &keep) && !keep;
}

// A sum over the rows of dy x^ is dgamma.
static bool is_dgamma(orion_cpu_match *m, const orion_op *sum, orion_ref dy, orion_cpu_norm_grad *g) {
  if (sum->code != ORION_OP_reduce_sum || !down_the_rows(m->b, sum)) return false;
  g->dgamma = sum;
  g->dy = dy;
  return true;
}

// What is made of x^: a (by way of the product with g), the product with a, and perhaps dgamma, of the same product where there
// is no gamma. `down`: the difference that dx is made of.
static bool find_users_of_hat(orion_cpu_match *m, orion_value_id hat, const orion_op *down, orion_ref scaled, orion_cpu_norm_grad *g) {
  const orion_cpu_build *b = m->b;
  const orion_op *users[3], *sums[2], *product = orion_cpu_take_def(m, orion_op_ref(down, "y"), ORION_OP_mul, 1);
  uint32_t n, n_sums;
  if (!product || !orion_cpu_users_of(b, hat, 3, users, &n) || n < 2) return false;
  orion_ref terms = mean_of(m, orion_cpu_other_factor(product, hat), rank_of(b, hat));
  const orion_op *along = orion_cpu_def_of(b, terms, ORION_OP_mul);
  if (!along || !orion_cpu_take_def(m, terms, ORION_OP_mul, b->uses[terms]) || orion_cpu_other_factor(along, hat) != scaled) return false;
  if (!orion_cpu_users_of(b, along->results[0], 2, sums, &n_sums)) return false;
  if (n_sums == 2) {
    const orion_op *sum = sums[0]->code == ORION_OP_reduce_sum ? sums[0] : sums[1];
    return n == 2 && is_dgamma(m, sum, scaled, g);
  }
  for (uint32_t i = 0; i < n; i++) {
    if (users[i] == along || users[i] == product) continue;
    const orion_op *mul = orion_cpu_take_def(m, users[i]->results[0], ORION_OP_mul, 1);
    if (!mul || b->user[mul->results[0]] == ORION_NONE) return false;
    if (!is_dgamma(m, &b->f->ops[b->user[mul->results[0]]], orion_cpu_other_factor(mul, hat), g)) return false;
  }
  return true;
}

// dy and gamma, out of g; or g is dy, where gamma is ones that the program does without.
static bool find_factors(orion_cpu_match *m, orion_ref scaled, orion_cpu_norm_grad *g) {
  const orion_cpu_build *b = m->b;
  const orion_type *x = orion_ref_type(b->f, g->x);
  const int before = m->n;
  const orion_op *mul = g->dy == scaled ? NULL : orion_cpu_take_def(m, scaled, ORION_OP_mul, g->centred ? 3 : 2);
  g->gamma = ORION_NONE;
  if (mul && g->dy == ORION_NONE) {
    g->dy = orion_op_ref(mul, orion_cpu_same_dims(orion_ref_type(b->f, orion_op_ref(mul, "x")), x) ? "x" : "y");
  }
  orion_ref other = mul ? orion_cpu_other_factor(mul, g->dy) : ORION_NONE;
  const orion_type *gamma = orion_ref_type(b->f, other);
  size_t n;
  if (gamma && orion_type_elements(gamma, &n) && gamma->rank > 0 && gamma->dims[gamma->rank - 1] == x->dims[x->rank - 1] &&
      (int64_t)n == x->dims[x->rank - 1]) {
    const orion_op *shaped = orion_cpu_def_of(b, other, ORION_OP_reshape);  // perhaps later than the step, which wants the n alone
    g->gamma = shaped ? orion_op_ref(shaped, "x") : other;
  } else if (g->dgamma && g->dy != scaled) {
    return false;
  } else {
    m->n = before;
    g->dy = scaled;
  }
  return rank_of(b, g->dy) && orion_cpu_same_dims(orion_ref_type(b->f, g->dy), x);
}

// The sum over the rows of dy itself, of those that nothing else has taken.
static const orion_op *find_dbeta(const orion_cpu_build *b, orion_ref dy) {
  ORION_EACH_OP(b->f, id) {
    const orion_op *op = &b->f->ops[id];
    if (op->code == ORION_OP_reduce_sum && orion_op_ref(op, "x") == dy && !b->absorbed[id] && down_the_rows(b, op)) return op;
  }
  return NULL;
}

// add(dx, other), dx perhaps seen in another shape.
static void find_sum(orion_cpu_match *m, const orion_op *place, orion_cpu_norm_grad *g) {
  const orion_cpu_build *b = m->b;
  const orion_op *op = g->dx;
  const int before = m->n;
  for (int depth = 0; depth < 2; depth++) {
    orion_value_id v = op->results[0];
    if (b->uses[v] != 1 || b->user[v] == ORION_NONE) break;
    op = &b->f->ops[b->user[v]];
    if (op->code == ORION_OP_reshape && orion_cpu_take(m, op)) continue;
    orion_ref other = op->code == ORION_OP_add ? orion_cpu_other_factor(op, v) : ORION_NONE;
    if (other == ORION_NONE || !rank_of(b, other) || !orion_cpu_comes_before(b, other, place)) break;
    if (!orion_cpu_same_dims(orion_ref_type(b->f, other), orion_ref_type(b->f, v)) || !orion_cpu_take(m, op)) break;
    g->sum = op;
    g->other = other;
    return;
  }
  m->n = before;
}

static const orion_op *earlier(const orion_cpu_build *b, const orion_op *x, const orion_op *y) {
  if (!x || !y) return x ? x : y;
  return b->places[orion_cpu_id_of(b, x)] < b->places[orion_cpu_id_of(b, y)] ? x : y;
}

static bool find_from(orion_cpu_match *m, const orion_op *root, orion_cpu_norm_grad *g, const orion_op **out_place) {
  const orion_cpu_build *b = m->b;
  const orion_op *of_r[2];
  orion_ref c;
  uint32_t n;
  *g = (orion_cpu_norm_grad){.dy = ORION_NONE, .other = ORION_NONE};
  if (!orion_cpu_take_def(m, root->results[0], ORION_OP_rsqrt, 2) || !find_statistics(m, root, g, &c)) return false;
  if (!orion_cpu_users_of(b, root->results[0], 2, of_r, &n) || n != 2) return false;
  const bool first = orion_cpu_other_factor(of_r[0], root->results[0]) == c;
  const orion_op *hat = of_r[!first], *dx = of_r[first];
  if (hat->code != ORION_OP_mul || dx->code != ORION_OP_mul) return false;
  if (orion_cpu_other_factor(hat, root->results[0]) != c) return false;
  if (!orion_cpu_same_dims(orion_cpu_result_type(b, hat, 0), orion_ref_type(b->f, c)) || !orion_cpu_take(m, hat)) return false;
  g->dx = dx;
  const orion_op *down = orion_cpu_take_def(m, orion_cpu_other_factor(dx, root->results[0]), ORION_OP_sub, 1);
  if (!down) return false;
  orion_ref scaled = orion_op_ref(down, "x");
  if (g->centred) {
    const orion_op *less = orion_cpu_take_def(m, scaled, ORION_OP_sub, 1);
    if (!less) return false;
    scaled = orion_op_ref(less, "x");
    if (mean_of(m, orion_op_ref(less, "y"), rank_of(b, scaled)) != scaled) return false;
  }
  if (!find_users_of_hat(m, hat->results[0], down, scaled, g) || !find_factors(m, scaled, g)) return false;
  g->dbeta = g->centred ? find_dbeta(b, g->dy) : NULL;
  *out_place = earlier(b, earlier(b, dx, g->dgamma), g->dbeta);
  const orion_ref reads[] = {g->x, g->dy, g->gamma};
  for (int i = 0; i < 3; i++) {
    if (reads[i] != ORION_NONE && !orion_cpu_comes_before(b, reads[i], *out_place)) return false;
  }
  find_sum(m, *out_place, g);
  return true;
}

orion_status orion_cpu_find_norm_grads(orion_cpu_build *b, orion_error *err) {
  ORION_EACH_OP(b->f, id) {
    orion_cpu_match m = {.b = b};
    orion_cpu_norm_grad g;
    const orion_op *place;
    if (b->f->ops[id].code != ORION_OP_rsqrt || b->absorbed[id] || !find_from(&m, &b->f->ops[id], &g, &place)) continue;
    orion_cpu_norm_grad *kept = orion_arena_copy(&b->scratch, &g, 1, sizeof g);
    if (!kept) return ORION_OOM(err, "plan");
    orion_cpu_absorb(&m);
    const orion_op *made[] = {g.dx, g.dgamma, g.dbeta};
    for (int i = 0; i < 3; i++) {
      if (made[i]) b->absorbed[orion_cpu_id_of(b, made[i])] = true;
    }
    b->absorbed[orion_cpu_id_of(b, place)] = false;
    b->norm_grads[orion_cpu_id_of(b, place)] = kept;
  }
  return ORION_OK;
}
