// Lifetimes from one walk: where each tensor begins and ends, then a running sum over the differences.
#include "opt/live.h"

typedef struct lifetimes {
  const orion_function *f;
  orion_value_id *root;  // the tensor that a value is a view of
  size_t *first, *last;  // positions from 1; 0 = not alive
} lifetimes;

static size_t bytes_of(const orion_function *f, orion_ref ref) {
  size_t n = 0;
  const orion_type *t = orion_ref_type(f, ref);
  return orion_type_is_static(t) && orion_type_bytes(t, &n) ? n : 0;
}

static bool is_constant(const orion_op *op) {
  orion_op_class cls = orion_opcode_info(op->code)->cls;
  return cls == ORION_CLASS_CONST || cls == ORION_CLASS_CONSTEXPR;
}

static bool is_view(const orion_op *op) {
  return orion_opcode_info(op->code)->cls == ORION_CLASS_SHAPE && op->code != ORION_OP_shape;
}

static void touch(lifetimes *l, orion_value_id v, size_t at) {
  v = l->root[v];
  if (!l->first[v]) l->first[v] = at;
  l->last[v] = at;
}

// Notes the uses and results of one operation; returns the bytes of its constants.
static size_t note_op(lifetimes *l, const orion_op *op, size_t at) {
  const orion_function *f = l->f;
  size_t constants = 0;
  for (uint32_t a = 0; a < op->n_args; a++) {
    for (uint32_t i = 0; i < op->args[a].n_refs; i++) {
      orion_ref ref = op->args[a].refs[i];
      if (orion_ref_is_const(f, ref)) {
        constants += bytes_of(f, ref);
      } else {
        touch(l, ref, at);
      }
    }
  }
  orion_value_id x = orion_op_value(op, "x");
  for (uint32_t i = 0; i < op->n_results; i++) {
    if (is_view(op) && x != ORION_NONE && !orion_ref_is_const(f, x)) l->root[op->results[i]] = l->root[x];
    touch(l, op->results[i], at);
  }
  return constants;
}

bool orion_live_analyse(const orion_function *f, orion_arena *scratch, orion_live *out) {
  lifetimes l = {.f = f,
                 .root = ORION_ARENA_ARRAY(scratch, orion_value_id, f->n_values + 1),
                 .first = ORION_ARENA_ARRAY(scratch, size_t, f->n_values + 1),
                 .last = ORION_ARENA_ARRAY(scratch, size_t, f->n_values + 1)};
  size_t *begin = ORION_ARENA_ARRAY(scratch, size_t, f->n_ops + 2), *end = ORION_ARENA_ARRAY(scratch, size_t, f->n_ops + 2);
  *out = (orion_live){.ops = ORION_ARENA_ARRAY(scratch, orion_op_id, f->n_ops + 1),
                      .bytes = ORION_ARENA_ARRAY(scratch, size_t, f->n_ops + 1)};
  if (!l.root || !l.first || !l.last || !begin || !end || !out->ops || !out->bytes) return false;
  for (size_t v = 0; v < f->n_values; v++) l.root[v] = (orion_value_id)v;
  ORION_EACH_OP(f, id) {
    if (is_constant(&f->ops[id])) continue;
    out->ops[out->n] = id;
    out->bytes[out->n] = note_op(&l, &f->ops[id], out->n + 1);
    out->n++;
  }
  for (size_t v = 0; v < f->n_values; v++) {
    if (!l.first[v]) continue;
    begin[l.first[v]] += bytes_of(f, (orion_ref)v);
    end[l.last[v]] += bytes_of(f, (orion_ref)v);
  }
  size_t now = 0;
  for (size_t i = 0; i < out->n; i++) {
    now += begin[i + 1];
    out->bytes[i] += now;
    now -= end[i + 1];
    if (out->bytes[i] > out->peak) {
      out->peak = out->bytes[i];
      out->peak_at = i;
    }
  }
  return true;
}
