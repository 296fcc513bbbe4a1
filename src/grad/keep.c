// What of forward is kept for backward, and what is computed again.
//
// Near: in program order, a tap whose arguments are at hand is computed again where the rule allows. So much is kept that
// nothing but taps is needed.
//
// Far: a cut is a value that alone is alive after its operation: all that comes later hangs on it and on nothing else of what
// came before. Cuts are kept, the rest is computed again from the cut before it, with whatever lies between. In a transformer
// the cuts are the sums of the residual stream, two a layer, and at the end the last norm and the logits.
#include "grad/backward.h"

#define MAX_DEPTH 64  // operations computed again on top of each other; bounds recursion

bool orion_grad_is_tap(const orion_function *f, const bool *needed, orion_value_id v) {
  return needed[v] && f->values[v].def != ORION_NONE && !orion_ref_is_const(f, v);
}

bool orion_grad_recompute_cheap(void *ctx, const orion_function *f, const orion_op *op) {
  switch (orion_opcode_info(op->code)->cls) {
    case ORION_CLASS_UNARY:
    case ORION_CLASS_BINARY:
    case ORION_CLASS_SELECT:
    case ORION_CLASS_CAST:
    case ORION_CLASS_SHAPE:
    case ORION_CLASS_MOVE:
      return op->code != ORION_OP_scatter;
    case ORION_CLASS_NORM:
      return true;
    default:
      return op->code == ORION_OP_orion_rms_norm || op->code == ORION_OP_orion_rope;
  }
}

bool orion_grad_recompute_all(void *ctx, const orion_function *f, const orion_op *op) { return true; }

// What compute_again (backward.c) can build.
static bool can_run_again(const orion_op *op) {
  if (op->n_results != 1 || op->n_args > 16 || op->code == ORION_OP_OTHER) return false;
  for (uint32_t i = 0; i < op->n_args; i++) {
    if (op->args[i].n_refs > 256) return false;
  }
  return (orion_opcode_info(op->code)->flags & ORION_F_EFFECT) == 0;
}

// Calls `visit` for each argument that an operation makes in every run.
static bool each_made(const orion_function *f, const orion_op *op, bool (*visit)(void *ctx, orion_value_id v), void *ctx) {
  for (uint32_t i = 0; i < op->n_args; i++) {
    for (uint32_t r = 0; r < op->args[i].n_refs; r++) {
      orion_ref ref = op->args[i].refs[r];
      if (orion_ref_is_literal(ref) || orion_ref_is_const(f, ref) || f->values[ref].def == ORION_NONE) continue;
      if (!visit(ctx, ref)) return false;
    }
  }
  return true;
}

typedef struct planning {
  const orion_function *f;
  bool *needed;     // taps, and what is needed to compute taps again
  bool *again;
  uint8_t *depth;   // of what is computed again
  uint32_t *last;   // place of the last operation that uses the value
  uint32_t place, alive;
  int most;         // depth among an operation's arguments
} planning;

static bool is_at_hand(void *ctx, orion_value_id v) { return ((planning *)ctx)->needed[v]; }

static bool note_depth(void *ctx, orion_value_id v) {
  planning *p = ctx;
  if (p->again[v] && p->depth[v] > p->most) p->most = p->depth[v];
  return true;
}

// False, and it is kept, where it would be too far up.
static bool limit_depth(planning *p, const orion_op *op) {
  p->most = 0;
  each_made(p->f, op, note_depth, p);
  p->depth[op->results[0]] = (uint8_t)(p->most + 1);
  return p->most < MAX_DEPTH;
}

static void plan_near(planning *p, const orion_grad_options *o) {
  ORION_EACH_OP(p->f, id) {
    const orion_op *op = &p->f->ops[id];
    if (!can_run_again(op) || !orion_grad_is_tap(p->f, p->needed, op->results[0])) continue;
    if (!each_made(p->f, op, is_at_hand, p) || !limit_depth(p, op)) continue;
    p->again[op->results[0]] = o->recompute(o->recompute_ctx, p->f, op);
  }
}

// ---- far ------------------------------------------------------------------------------------------------------------

static bool note_use(void *ctx, orion_value_id v) {
  planning *p = ctx;
  p->last[v] = p->place;
  return true;
}

static bool end_life(void *ctx, orion_value_id v) {
  planning *p = ctx;
  if (p->last[v] == p->place) {
    p->alive--;
    p->last[v] = UINT32_MAX;  // it may be an argument twice
  }
  return true;
}

static void find_cuts(planning *p, bool *cut) {
  p->place = 0;
  ORION_EACH_OP(p->f, id) {
    p->place++;
    each_made(p->f, &p->f->ops[id], note_use, p);
  }
  p->place = 0;
  ORION_EACH_OP(p->f, id) {
    const orion_op *op = &p->f->ops[id];
    p->place++;
    each_made(p->f, op, end_life, p);
    bool made = op->n_results > 0 && !orion_ref_is_const(p->f, op->results[0]);
    for (uint32_t i = 0; made && i < op->n_results; i++) p->alive += p->last[op->results[i]] > 0;
    if (made && op->n_results == 1 && p->alive == 1) cut[op->results[0]] = p->last[op->results[0]] > 0;
  }
}

static bool need(void *ctx, orion_value_id v) { return ((planning *)ctx)->needed[v] = true; }

static void plan_far(planning *p, const orion_grad_options *o, const bool *cut) {
  const orion_function *f = p->f;
  for (orion_op_id id = f->last; id != ORION_NONE; id = f->ops[id].prev) {
    const orion_op *op = &f->ops[id];
    if (!can_run_again(op) || cut[op->results[0]] || !orion_grad_is_tap(f, p->needed, op->results[0])) continue;
    if (!o->recompute(o->recompute_ctx, f, op)) continue;
    p->again[op->results[0]] = true;
    each_made(f, op, need, p);
  }
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    if (op->n_results == 1 && p->again[op->results[0]]) p->again[op->results[0]] = limit_depth(p, op);
  }
}

// What is kept then, of fp32 tensors.
static void plan_rounding(const planning *p, const orion_grad_options *o, bool *round) {
  ORION_EACH_OP(p->f, id) {
    const orion_op *op = &p->f->ops[id];
    if (op->n_results != 1 || !orion_grad_is_tap(p->f, p->needed, op->results[0]) || p->again[op->results[0]]) continue;
    const orion_type *t = p->f->values[op->results[0]].type;
    if (!orion_type_is_tensor(t) || t->scalar || t->dtype != ORION_FP32) continue;
    round[op->results[0]] = !o->may_round || o->may_round(o->recompute_ctx, p->f, op);
  }
}

orion_status orion_grad_plan(const orion_function *f, const orion_grad_options *o, const bool *needed, orion_arena *scratch,
                             bool *out_again, bool *out_round, orion_error *err) {
  size_t n = f->n_values + 1;
  planning p = {.f = f, .again = out_again};
  p.needed = ORION_ARENA_ARRAY(scratch, bool, n);
  p.depth = ORION_ARENA_ARRAY(scratch, uint8_t, n);
  p.last = ORION_ARENA_ARRAY(scratch, uint32_t, n);
  bool *cut = ORION_ARENA_ARRAY(scratch, bool, n);
  if (!p.needed || !p.depth || !p.last || !cut) return ORION_OOM(err, "gradient");
  memcpy(p.needed, needed, f->n_values * sizeof *needed);
  if (o->recompute && !o->far) plan_near(&p, o);
  if (o->recompute && o->far) {
    find_cuts(&p, cut);
    plan_far(&p, o, cut);
  }
  if (o->kept_as) plan_rounding(&p, o, out_round);
  return ORION_OK;
}
