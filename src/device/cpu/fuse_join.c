// Attention over a cache: keys = concat(cache, new) along the positions, perhaps widened and reshaped, used by nothing
// else. Such joins emit nothing; the attention reads both parts where they are.
#include "device/cpu/build.h"

static const orion_op *only_def(const orion_cpu_build *b, orion_ref ref) {
  if (ref == ORION_NONE || orion_ref_is_literal(ref) || b->uses[ref] != 1) return NULL;
  orion_op_id def = b->f->values[ref].def;
  return def == ORION_NONE || b->f->ops[def].n_results != 1 ? NULL : &b->f->ops[def];
}

// Whether both types have the same dimensions, ones apart.
static bool same_but_ones(const orion_type *a, const orion_type *b) {
  int i = 0, j = 0;
  for (;;) {
    while (i < a->rank && a->dims[i] == 1) i++;
    while (j < b->rank && b->dims[j] == 1) j++;
    if (i == a->rank || j == b->rank) return i == a->rank && j == b->rank;
    if (a->dims[i++] != b->dims[j++]) return false;
  }
}

// The concat behind a key or value; NULL if there is none that may be read in two parts. The ops between are in the way
// of nobody: casts that widen and reshapes by ones.
static const orion_op *find_join(const orion_cpu_build *b, orion_ref ref) {
  const orion_type *seen = orion_ref_type(b->f, ref);
  const orion_op *op = only_def(b, ref);
  for (int depth = 0; op && depth < 8; depth++) {
    const orion_type *t = orion_cpu_result_type(b, op, 0);
    if (op->code == ORION_OP_concat) break;
    orion_ref x = orion_op_ref(op, "x");
    const orion_type *from = orion_ref_type(b->f, x);
    bool reshapes = op->code == ORION_OP_reshape || op->code == ORION_OP_expand_dims || op->code == ORION_OP_squeeze;
    bool widens = op->code == ORION_OP_cast && t->dtype == ORION_FP32 && from && from->dtype == ORION_FP16;
    if (!from || (!widens && !(reshapes && same_but_ones(from, t)))) return NULL;
    op = only_def(b, x);
  }
  int64_t axis;
  bool interleave;
  if (!op || op->code != ORION_OP_concat || !orion_op_int(b->f, op, "axis", &axis)) return NULL;
  if (!orion_op_bool(b->f, op, "interleave", &interleave) || interleave) return NULL;
  const orion_type *t = orion_cpu_result_type(b, op, 0);
  const orion_arg *parts = orion_op_arg(op, "values");
  if (axis < 0) axis += t->rank;
  if (!parts || parts->n_refs != 2 || axis < 1 || axis >= t->rank || seen->rank < 2 || t->dims[axis] < 2) return NULL;
  if (!orion_type_is_static(t) || !same_but_ones(t, seen)) return NULL;
  int64_t behind = 1, seen_behind = seen->dims[seen->rank - 1];
  for (int i = (int)axis + 1; i < t->rank; i++) behind *= t->dims[i];
  // The joined dimension must be the positions: what follows it is one row of features.
  return behind == seen_behind && seen->dims[seen->rank - 2] == t->dims[axis] ? op : NULL;
}

static void absorb(orion_cpu_build *b, orion_ref ref) {
  for (;;) {
    const orion_op *op = &b->f->ops[b->f->values[ref].def];
    b->absorbed[b->f->values[ref].def] = true;
    if (op->code == ORION_OP_concat) return;
    ref = orion_op_ref(op, "x");
  }
}

orion_status orion_cpu_find_joins(orion_cpu_build *b, orion_error *err) {
  ORION_EACH_OP(b->f, id) {
    const orion_op *op = &b->f->ops[id];
    if (op->code != ORION_OP_scaled_dot_product_attention) continue;
    orion_ref k = orion_op_ref(op, "key"), v = orion_op_ref(op, "value");
    const orion_op *jk = find_join(b, k), *jv = find_join(b, v);
    if (!jk || !jv || jk == jv) continue;
    orion_cpu_join *join = ORION_ARENA_NEW(&b->scratch, orion_cpu_join);
    if (!join) return ORION_OOM(err, "plan");
    *join = (orion_cpu_join){jk, jv};
    b->joins[id] = join;
    absorb(b, k);
    absorb(b, v);
  }
  return ORION_OK;
}
