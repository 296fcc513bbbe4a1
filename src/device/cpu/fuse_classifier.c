// The classifier and cross-entropy, as the model's graph and lowering spell them (lower/open_training.c), for rows x [T, C]
// and a weight W [V, C] that is no constant:
//
//   logits = linear(x, W)       log = reduce_log_sum_exp(logits)       at = gather_along_axis(logits, index)
//   d  = scatter_along_axis(mul(softmax(logits), each), index, mul(each, -1))
//   dx = matmul(d, W)           dW = matmul(d^T, x), perhaps added to a sum over micro-batches
//
// One step makes log, at, dx and dW (steps_classifier.c), where log is made, so that logits and d, [T, V] each, never exist
// whole; without gradients log and at alone. `each` comes after log in the program: the few elementwise operations that it
// consists of are emitted early.
#include "device/cpu/fuse.h"

enum { MOST_DEPTH = 4 };

static const orion_op *user_of(const orion_cpu_build *b, const orion_op *op, orion_opcode code) {
  const orion_op *user = orion_cpu_user_of(b, op->results[0]);
  return user && user->code == code ? user : NULL;
}

static bool along_columns(const orion_cpu_build *b, const orion_op *op) {
  int64_t axis;
  return orion_op_int(b->f, op, "axis", &axis) && (axis == 1 || axis == -1);
}

static bool is_product(const orion_cpu_build *b, const orion_op *op, orion_value_id d, orion_ref y, bool turn) {
  bool tx, ty;
  return op->code == ORION_OP_matmul && orion_op_ref(op, "x") == d && orion_op_ref(op, "y") == y &&
         orion_op_bool(b->f, op, "transpose_x", &tx) && tx == turn && orion_op_bool(b->f, op, "transpose_y", &ty) && !ty;
}

// Whether `ref` is there before `place`, or made of such by elementwise operations, which go to g->early in order.
static bool at_hand(orion_cpu_match *m, orion_ref ref, const orion_op *place, int depth, orion_cpu_classifier *g) {
  const orion_cpu_build *b = m->b;
  if (orion_cpu_comes_before(b, ref, place)) return true;
  const orion_op *op = &b->f->ops[b->f->values[ref].def];
  if (depth == 0 || op->n_results != 1 || orion_opcode_info(op->code)->cls != ORION_CLASS_BINARY) return false;
  if (!at_hand(m, orion_op_ref(op, "x"), place, depth - 1, g) || !at_hand(m, orion_op_ref(op, "y"), place, depth - 1, g)) {
    return false;
  }
  if (g->n_early == ORION_CPU_EARLY) return false;
  g->early[g->n_early++] = b->f->values[ref].def;
  return true;
}

// From softmax on: each, dx and dW.
static bool find_gradient(orion_cpu_match *m, const orion_op *softmax, orion_cpu_classifier *g) {
  const orion_cpu_build *b = m->b;
  const orion_op *mul = user_of(b, softmax, ORION_OP_mul), *users[2];
  uint32_t n;
  if (!mul || !along_columns(b, softmax) || !orion_cpu_take(m, softmax) || !orion_cpu_take(m, mul)) return false;
  g->each = orion_cpu_other_factor(mul, softmax->results[0]);
  const orion_op *scatter = user_of(b, mul, ORION_OP_scatter_along_axis);
  if (!scatter || orion_op_value(scatter, "data") != mul->results[0] || orion_op_ref(scatter, "indices") != g->index) return false;
  const char *mode = orion_op_string(b->f, scatter, "mode");
  if (!mode || strcmp(mode, "add") != 0 || !along_columns(b, scatter) || !orion_cpu_take(m, scatter)) return false;
  orion_value_id minus = orion_op_value(scatter, "updates");
  if (minus == ORION_NONE || b->uses[minus] != 1 || b->f->values[minus].def == ORION_NONE) return false;
  const orion_op *negated = &b->f->ops[b->f->values[minus].def];
  double factor;
  orion_ref number = negated->code == ORION_OP_mul ? orion_cpu_other_factor(negated, g->each) : ORION_NONE;
  if (number == ORION_NONE || !orion_ref_float(b->f, number, &factor) || factor != -1 || !orion_cpu_take(m, negated)) return false;
  if (!orion_cpu_users_of(b, scatter->results[0], 2, users, &n) || n != 2) return false;
  bool first = is_product(b, users[0], scatter->results[0], g->weight, false);
  g->dx = users[!first];
  g->dw = users[first];
  return is_product(b, g->dx, scatter->results[0], g->weight, false) &&
         is_product(b, g->dw, scatter->results[0], g->x, true) && orion_cpu_take(m, g->dx) && orion_cpu_take(m, g->dw) &&
         at_hand(m, g->each, g->log, MOST_DEPTH, g);
}

static bool is_column(const orion_cpu_build *b, orion_ref ref, int64_t rows) {
  const orion_type *t = orion_ref_type(b->f, ref);
  return orion_type_is_tensor(t) && t->rank == 2 && t->dims[0] == rows && t->dims[1] == 1;
}

static bool is_floats(const orion_type *t) {
  return orion_type_is_tensor(t) && orion_type_is_static(t) && t->dtype == ORION_FP32 && t->rank == 2;
}

// x, W and the two that read logits, from log back.
static bool find_from(orion_cpu_match *m, const orion_op *log, orion_cpu_classifier *g) {
  const orion_cpu_build *b = m->b;
  orion_value_id logits = orion_op_value(log, "x");
  const orion_op *users[3], *softmax = NULL;
  uint32_t n;
  if (logits == ORION_NONE || b->f->values[logits].def == ORION_NONE || !orion_cpu_over_last_axis(b, log, 2)) return false;
  const orion_op *linear = &b->f->ops[b->f->values[logits].def];
  if (linear->code != ORION_OP_linear || orion_op_arg(linear, "bias") || !orion_cpu_take(m, linear)) return false;
  *g = (orion_cpu_classifier){.x = orion_op_ref(linear, "x"), .weight = orion_op_ref(linear, "weight"), .log = log,
                              .each = ORION_NONE};
  const orion_type *t = orion_ref_type(b->f, logits);
  if (!is_floats(t) || !is_floats(orion_ref_type(b->f, g->x)) || !is_floats(orion_ref_type(b->f, g->weight))) return false;
  if (orion_ref_is_const(b->f, g->weight) || !orion_cpu_users_of(b, logits, 3, users, &n) || n < 2) return false;
  for (uint32_t i = 0; i < n; i++) {
    if (users[i]->code == ORION_OP_gather_along_axis) g->at = users[i];
    if (users[i]->code == ORION_OP_softmax) softmax = users[i];
  }
  if (!g->at || !along_columns(b, g->at) || !orion_cpu_take(m, g->at) || (n == 3) != (softmax != NULL)) return false;
  g->index = orion_op_ref(g->at, "indices");
  if (!is_column(b, g->index, t->dims[0]) || !orion_cpu_comes_before(b, g->index, log)) return false;
  if (!softmax) return true;
  return find_gradient(m, softmax, g) && is_column(b, g->each, t->dims[0]) &&
         orion_ref_type(b->f, g->each)->dtype == ORION_FP32;
}

orion_status orion_cpu_find_classifiers(orion_cpu_build *b, orion_error *err) {
  ORION_EACH_OP(b->f, id) {
    orion_cpu_match m = {.b = b};
    orion_cpu_classifier g;
    if (b->f->ops[id].code != ORION_OP_reduce_log_sum_exp || !find_from(&m, &b->f->ops[id], &g)) continue;
    orion_cpu_classifier *kept = orion_arena_copy(&b->scratch, &g, 1, sizeof g);
    if (!kept) return ORION_OOM(err, "plan");
    orion_cpu_absorb(&m);
    b->classifiers[id] = kept;
  }
  return ORION_OK;
}
