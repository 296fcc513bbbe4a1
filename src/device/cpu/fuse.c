// Looking around a value of the program, and noting what a match takes: see fuse.h.
#include "device/cpu/fuse.h"

orion_op_id orion_cpu_id_of(const orion_cpu_build *b, const orion_op *op) { return b->f->values[op->results[0]].def; }

const orion_op *orion_cpu_def_of(const orion_cpu_build *b, orion_ref ref, orion_opcode code) {
  if (ref == ORION_NONE || orion_ref_is_literal(ref) || b->f->values[ref].def == ORION_NONE) return NULL;
  const orion_op *op = &b->f->ops[b->f->values[ref].def];
  return op->code == code && op->n_results == 1 ? op : NULL;
}

const orion_op *orion_cpu_user_of(const orion_cpu_build *b, orion_value_id v) {
  if (b->uses[v] != 1 || b->user[v] == ORION_NONE) return NULL;
  const orion_op *op = &b->f->ops[b->user[v]];
  return op->n_results == 1 ? op : NULL;
}

bool orion_cpu_take(orion_cpu_match *m, const orion_op *op) {
  if (m->n == ORION_CPU_MATCH_OPS) return false;
  m->ops[m->n++] = orion_cpu_id_of(m->b, op);
  return true;
}

const orion_op *orion_cpu_take_def(orion_cpu_match *m, orion_ref ref, orion_opcode code, uint32_t uses) {
  const orion_op *op = orion_cpu_def_of(m->b, ref, code);
  return op && m->b->uses[ref] == uses && orion_cpu_take(m, op) ? op : NULL;
}

void orion_cpu_absorb(const orion_cpu_match *m) {
  for (int i = 0; i < m->n; i++) m->b->absorbed[m->ops[i]] = true;
}

orion_ref orion_cpu_other_factor(const orion_op *op, orion_ref v) {
  orion_ref x = orion_op_ref(op, "x"), y = orion_op_ref(op, "y");
  return x == v && y != v ? y : y == v && x != v ? x : ORION_NONE;
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

bool orion_cpu_comes_before(const orion_cpu_build *b, orion_ref ref, const orion_op *op) {
  if (ref == ORION_NONE) return false;
  if (orion_ref_is_literal(ref) || b->f->values[ref].def == ORION_NONE) return true;
  return b->places[b->f->values[ref].def] < b->places[b->f->values[op->results[0]].def];
}
