// transpose_merge: fewer transposes.
//
//   transpose of transpose         one, with the permutations composed; also when elementwise operations lie between
//   transpose that moves only ones a reshape: the elements stay in order
//   transpose feeding matmul       absorbed in transpose_x / transpose_y where it swaps just the last two axes
//
// Exact. Must not touch: shapes known at run time only, matmul flags that are not constant.
#include "opt/passes.h"
#include "opt/sink.h"

static bool perm_of(const orion_rewrite *r, const orion_op *op, int64_t *perm, int *rank) {
  size_t n;
  if (op->code != ORION_OP_transpose || !orion_op_ints(r->f, op, "perm", ORION_MAX_RANK, perm, &n)) return false;
  const orion_type *t = orion_value_type(r->f, op->results[0]);
  if (!orion_type_is_static(t) || (size_t)t->rank != n) return false;
  *rank = (int)n;
  for (size_t i = 0; i < n; i++) {
    if (perm[i] < 0) perm[i] += (int64_t)n;
  }
  return true;
}

static bool is_transpose(const orion_rewrite *r, const orion_op *op) {
  int64_t perm[ORION_MAX_RANK];
  int rank;
  return perm_of(r, op, perm, &rank);
}

// Whether the axes longer than one keep their order.
static bool moves_only_ones(int rank, const int64_t *perm, const int64_t *result_dims) {
  int64_t last = -1;
  for (int i = 0; i < rank; i++) {
    if (result_dims[i] == 1) continue;
    if (perm[i] < last) return false;
    last = perm[i];
  }
  return true;
}

static void merge(orion_rewrite *r, orion_op_id id) {
  orion_function *f = r->f;
  int64_t outer[ORION_MAX_RANK], inner_perm[ORION_MAX_RANK], perm[ORION_MAX_RANK];
  int rank;
  if (!perm_of(r, &f->ops[id], outer, &rank)) return;
  orion_value_id x = orion_op_value(&f->ops[id], "x"), result = f->ops[id].results[0];
  if (x == ORION_NONE) return;
  const orion_type *type = orion_value_type(f, result);
  if (moves_only_ones(rank, outer, type->dims)) {
    bool nothing = true;
    for (int i = 0; i < rank; i++) nothing = nothing && outer[i] == i;
    if (nothing) return;  // identity's
    orion_ref shape = orion_build_ints(&r->b, "shape", (size_t)rank, type->dims);
    orion_value_id y = ORION_BUILD(&r->b, f->values[result].name, ORION_OP_reshape, {"x", x}, {"shape", shape});
    if (y != ORION_NONE) orion_rewrite_replace(r, id, y);
    return;
  }
  orion_op_id inner = f->values[x].def;
  bool direct = inner != ORION_NONE && is_transpose(r, &f->ops[inner]);
  if (!direct) inner = orion_sink_find(r, x, is_transpose);
  if (inner == ORION_NONE || !perm_of(r, &f->ops[inner], inner_perm, &rank)) return;
  orion_value_id source = orion_op_value(&f->ops[inner], "x");
  if (source == ORION_NONE) return;
  for (int i = 0; i < rank; i++) perm[i] = inner_perm[outer[i]];
  orion_ref composed = orion_build_ints(&r->b, "perm", (size_t)rank, perm);
  if (composed == ORION_NONE || (!direct && !orion_sink_past(r, x, inner))) return;
  orion_rewrite_set_arg(r, id, "perm", composed);
  if (direct) orion_rewrite_set_arg(r, id, "x", source);
  r->ctx->changes++;
}

static void absorb(orion_rewrite *r, orion_op_id id, const char *operand, const char *flag) {
  orion_function *f = r->f;
  int64_t perm[ORION_MAX_RANK];
  int rank;
  bool turned;
  orion_op_id def = orion_rewrite_def(r, orion_op_ref(&f->ops[id], operand), ORION_OP_transpose);
  if (def == ORION_NONE || !perm_of(r, &f->ops[def], perm, &rank) || rank < 2) return;
  if (perm[rank - 1] != rank - 2 || perm[rank - 2] != rank - 1) return;
  for (int i = 0; i < rank - 2; i++) {
    if (perm[i] != i) return;
  }
  orion_value_id source = orion_op_value(&f->ops[def], "x");
  if (source == ORION_NONE || !orion_op_bool(f, &f->ops[id], flag, &turned)) return;
  orion_ref now = orion_build_bool(&r->b, flag, !turned);
  if (now == ORION_NONE) return;
  orion_rewrite_set_arg(r, id, flag, now);
  orion_rewrite_set_arg(r, id, operand, source);
  r->ctx->changes++;
}

static void visit(orion_rewrite *r, orion_op_id id) {
  if (r->f->ops[id].code == ORION_OP_transpose) merge(r, id);
  if (r->f->ops[id].code != ORION_OP_matmul) return;
  absorb(r, id, "x", "transpose_x");
  absorb(r, id, "y", "transpose_y");
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  return orion_rewrite_run(ctx, p, &(orion_visitor){.visit = visit}, err);
}

const orion_pass orion_pass_transpose_merge = {"transpose_merge", "joins transposes, turns them to reshapes or flags", run};
