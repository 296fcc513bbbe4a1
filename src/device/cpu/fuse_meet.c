// What may wait to become part of an elementwise chain (fuse_chain.c), beyond values of one user.
//
// A value of several users may wait where these meet again: where all that is made of it, by elementwise operations of its shape,
// ends in one of them. t = tanh(u) in the slope of gelu is such a value, read by 1 - t t and by 1 + t: one pass over the tensors
// makes the whole slope then, and t is never stored. Floats only, since halves are rounded where they are stored.
//
// Whether a chain fits its limits is found by going through it as the one who makes it will.
#include "device/cpu/build.h"
#include "device/cpu/elementwise.h"

enum {
  MOST_OPEN = 12, MOST_STEPS = 24,  // of the search for a meeting place
  MAX_LEAVES = ORION_CHAIN_OPERANDS - 2, MAX_INSTRS = ORION_CHAIN_INSTRS - 6,
};

bool orion_cpu_same_dims(const orion_type *a, const orion_type *b) {
  if (a->rank != b->rank) return false;
  for (int i = 0; i < a->rank; i++) {
    if (a->dims[i] != b->dims[i]) return false;
  }
  return true;
}

// ---- where users meet ----

typedef struct open_ops {  // that have been reached, and not gone on from
  orion_op_id ops[MOST_OPEN];
  int n;
} open_ops;

static uint32_t uses_in(const orion_op *op, orion_value_id v) {
  uint32_t n = 0;
  for (uint32_t a = 0; a < op->n_args; a++) {
    for (uint32_t r = 0; r < op->args[a].n_refs; r++) n += op->args[a].refs[r] == v;
  }
  return n;
}

// The users of what `id` makes; false where one of them is no part of such a chain, or it is a result of the function.
static bool add_users(const orion_cpu_build *b, orion_op_id id, const orion_type *shape, open_ops *open) {
  const orion_function *f = b->f;
  const orion_value_id v = f->ops[id].results[0];
  uint32_t left = b->uses[v];
  for (orion_op_id at = f->ops[id].next; left > 0 && at != ORION_NONE; at = f->ops[at].next) {
    const orion_op *op = &f->ops[at];
    const uint32_t n = uses_in(op, v);
    if (!n) continue;
    left -= n;
    if (b->absorbed[at] || !orion_cpu_chainable(b, op) || !orion_cpu_same_dims(orion_cpu_result_type(b, op, 0), shape)) return false;
    if (orion_cpu_result_type(b, op, 0)->dtype != ORION_FP32) return false;
    bool there = false;
    for (int i = 0; i < open->n; i++) there = there || open->ops[i] == at;
    if (there) continue;
    if (open->n == MOST_OPEN) return false;
    open->ops[open->n++] = at;
  }
  return left == 0;
}

bool orion_cpu_users_meet(const orion_cpu_build *b, const orion_op *op) {
  const orion_value_id v = op->results[0];
  const orion_type *shape = orion_cpu_result_type(b, op, 0);
  open_ops open = {.n = 0};
  if (!b->fuse || op->n_results != 1 || b->uses[v] < 2 || b->values[v].io || shape->dtype != ORION_FP32) return false;
  if (!add_users(b, b->f->values[v].def, shape, &open)) return false;
  for (int step = 0; step < MOST_STEPS; step++) {
    if (open.n == 1) return true;
    int first = 0;
    for (int i = 1; i < open.n; i++) {
      if (b->places[open.ops[i]] < b->places[open.ops[first]]) first = i;
    }
    const orion_op_id id = open.ops[first];
    open.ops[first] = open.ops[--open.n];
    if (b->values[b->f->ops[id].results[0]].io || !add_users(b, id, shape, &open)) return false;
  }
  return false;
}

// ---- how large a chain is ----

typedef struct sizing {
  const orion_cpu_build *b;
  const orion_type *shape;
  orion_ref leaves[MAX_LEAVES];
  struct {
    orion_value_id value;
    uint32_t left;  // uses to come
  } made[MAX_INSTRS];
  int n_leaves, n_made, instrs, live, most_live;
  bool fits;
} sizing;

static void size_op(sizing *s, const orion_op *op);

static void size_ref(sizing *s, orion_ref ref) {
  const orion_cpu_value *v = orion_ref_is_literal(ref) ? NULL : &s->b->values[ref];
  if (v && v->state == ORION_CPU_PENDING && !v->lazy && orion_cpu_same_dims(s->b->f->values[ref].type, s->shape)) {
    const orion_op *def = &s->b->f->ops[s->b->f->values[ref].def];
    if (orion_cpu_chainable(s->b, def)) {
      for (int i = 0; i < s->n_made; i++) {
        if (s->made[i].value == ref) return;
      }
      size_op(s, def);
      if (s->fits) s->made[s->n_made].value = ref, s->made[s->n_made++].left = s->b->uses[ref];
      return;
    }
  }
  for (int i = 0; i < s->n_leaves; i++) {
    if (s->leaves[i] == ref) return;
  }
  if (s->n_leaves < MAX_LEAVES) s->leaves[s->n_leaves++] = ref;
  else s->fits = false;
}

static void size_op(sizing *s, const orion_op *op) {
  orion_cpu_elementwise e;
  s->fits = s->fits && orion_cpu_elementwise_of(s->b->f, op, &e) && s->instrs + e.n <= MAX_INSTRS && s->n_made < MAX_INSTRS;
  for (int i = 0; s->fits && i < e.n_refs; i++) size_ref(s, e.refs[i]);
  if (!s->fits) return;
  for (int i = 0; i < e.n_refs; i++) {
    for (int k = 0; k < s->n_made; k++) {
      if (s->made[k].value == e.refs[i] && s->made[k].left > 0 && --s->made[k].left == 0) s->live--;
    }
  }
  s->instrs += e.n;
  if (++s->live > s->most_live) s->most_live = s->live;
  s->fits = s->instrs <= MAX_INSTRS && s->most_live <= ORION_CHAIN_TEMPS;
}

bool orion_cpu_chain_fits(const orion_cpu_build *b, const orion_op *op, uint8_t *out_instrs) {
  sizing s = {.b = b, .shape = orion_cpu_result_type(b, op, 0), .fits = true};
  size_op(&s, op);
  *out_instrs = (uint8_t)s.instrs;
  return s.fits;
}
