// identity: removes operations that return their argument as it is.
//
// identity, cast to the same dtype, reshape and its relatives to the same shape, transpose that moves nothing, slices of
// everything, concat of one, pad by nothing, tile once, split in one; multiplication and division by 1, subtraction of 0.
// Exact to the bit: adding 0 is left alone where it could turn -0 into 0 (only -0 may be added away).
//
// Must not touch: an operation whose result is an output and whose argument is a parameter, a constant, another output,
// or used elsewhere too. There the identity is what gives the output a value of its own.
#include <math.h>

#include "opt/passes.h"
#include "opt/rewrite.h"

static bool all_equal(const orion_function *f, const orion_op *op, const char *arg, int64_t want) {
  int64_t v[2 * ORION_MAX_RANK];
  size_t n;
  if (!orion_op_arg(op, arg) || !orion_op_ints(f, op, arg, 2 * ORION_MAX_RANK, v, &n)) return false;
  for (size_t i = 0; i < n; i++) {
    if (v[i] != want) return false;
  }
  return true;
}

static bool is_identity_perm(const orion_function *f, const orion_op *op) {
  int64_t perm[ORION_MAX_RANK];
  size_t n;
  const orion_type *x = orion_op_arg_type(f, op, "x");
  if (!orion_op_ints(f, op, "perm", ORION_MAX_RANK, perm, &n)) return false;
  for (size_t i = 0; i < n; i++) {
    if ((perm[i] < 0 ? perm[i] + x->rank : perm[i]) != (int64_t)i) return false;
  }
  return true;
}

// x op c == x for every x.
static bool is_neutral(orion_rewrite *r, const orion_op *op, const char *arg) {
  double v;
  if (!orion_rewrite_splat(r, orion_op_ref(op, arg), &v)) return false;
  const orion_type *t = orion_op_arg_type(r->f, op, arg);
  bool is_float = orion_dtype_is_float(t->dtype), right = arg[0] == 'y';
  switch (op->code) {
    case ORION_OP_mul: return v == 1;
    case ORION_OP_real_div: return right && is_float && v == 1;
    case ORION_OP_add: return v == 0 && (!is_float || signbit(v));
    case ORION_OP_sub: return right && v == 0 && (!is_float || !signbit(v));
    default: return false;
  }
}

// Which argument the operation returns unchanged, or ORION_NONE. Types are equal already.
static orion_ref returned(orion_rewrite *r, const orion_op *op) {
  const orion_function *f = r->f;
  orion_ref x = orion_op_ref(op, "x");
  switch (op->code) {
    case ORION_OP_identity: case ORION_OP_cast: case ORION_OP_reshape: case ORION_OP_expand_dims:
    case ORION_OP_squeeze: case ORION_OP_flatten2d: case ORION_OP_slice_by_size: case ORION_OP_split:
      return x;
    case ORION_OP_transpose: return is_identity_perm(f, op) ? x : ORION_NONE;
    case ORION_OP_slice_by_index:
      return !orion_op_arg(op, "stride") || all_equal(f, op, "stride", 1) ? x : ORION_NONE;
    case ORION_OP_pad: return all_equal(f, op, "pad", 0) ? x : ORION_NONE;
    case ORION_OP_tile: return all_equal(f, op, "reps", 1) ? x : ORION_NONE;
    case ORION_OP_concat: {
      const orion_arg *values = orion_op_arg(op, "values");
      return values && values->n_refs == 1 ? values->refs[0] : ORION_NONE;
    }
    case ORION_OP_add: case ORION_OP_mul: case ORION_OP_sub: case ORION_OP_real_div:
      return is_neutral(r, op, "y") ? x : is_neutral(r, op, "x") ? orion_op_ref(op, "y") : ORION_NONE;
    default: return ORION_NONE;
  }
}

static void visit(orion_rewrite *r, orion_op_id id) {
  const orion_op *op = orion_rewrite_op(r, id);
  if (op->n_results != 1) return;
  orion_ref same = returned(r, op);
  if (same == ORION_NONE || orion_ref_is_literal(same)) return;
  const orion_type *type = orion_value_type(r->f, op->results[0]);
  if (!orion_type_is_static(type) || !orion_type_equal(type, orion_value_type(r->f, same))) return;
  if (r->values[op->results[0]].output && orion_rewrite_uses(r, same) > 1) return;
  orion_rewrite_replace(r, id, same);
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  return orion_rewrite_run(ctx, p, &(orion_visitor){.visit = visit}, err);
}

const orion_pass orion_pass_identity = {"identity", "removes operations that return their argument as it is", run};
