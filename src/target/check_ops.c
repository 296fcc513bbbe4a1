// Checks of single operations: whether the engine has them, and how their arguments must be given.
#include <string.h>

#include "target/check.h"

static orion_op_class class_of(const orion_op *op) { return orion_opcode_info(op->code)->cls; }

// ---- what the engine has ----

void orion_check_known_op(orion_checker *c) {
  if (c->op->code != ORION_OP_OTHER && class_of(c->op) != ORION_CLASS_COMPOSITE) return;
  orion_check_report(c, "operation %s is not one that the engine is known to take", c->op->spelling);
}

void orion_check_state(orion_checker *c) {
  if (class_of(c->op) == ORION_CLASS_STATE) orion_check_report(c, "%s: state operations run in Core ML only", c->op->spelling);
}

void orion_check_no_path(orion_checker *c) {
  switch (c->op->code) {
    case ORION_OP_reduce_prod: case ORION_OP_mod: case ORION_OP_floor_div: case ORION_OP_scatter:
    case ORION_OP_scatter_along_axis: case ORION_OP_scatter_nd: case ORION_OP_one_hot: case ORION_OP_non_zero:
    case ORION_OP_band_part: case ORION_OP_shape: case ORION_OP_logical_and: case ORION_OP_logical_or:
    case ORION_OP_logical_xor: case ORION_OP_lstm: case ORION_OP_tan: case ORION_OP_asin: case ORION_OP_acos:
    case ORION_OP_sinh: case ORION_OP_cosh: case ORION_OP_atanh:
      orion_check_report(c, "no generation of the engine has %s", c->op->spelling);
      return;
    default: return;
  }
}

void orion_check_from_m2(orion_checker *c) {
  const char *mode = c->op->code == ORION_OP_pad ? orion_op_string(c->f, c->op, "mode") : NULL;
  if (mode && strcmp(mode, "constant") != 0) {
    orion_check_report(c, "padding of mode %s begins with m2", mode);
  } else if (c->op->code == ORION_OP_topk || c->op->code == ORION_OP_argsort) {
    orion_check_report(c, "%s begins with m2", c->op->spelling);
  }
}

void orion_check_from_m3(orion_checker *c) {
  if (c->op->code == ORION_OP_sin || c->op->code == ORION_OP_cos) {
    orion_check_report(c, "%s begins with m3", c->op->spelling);
  }
}

void orion_check_integer_compute(orion_checker *c) {
  orion_op_class cls = class_of(c->op);
  if (cls != ORION_CLASS_UNARY && cls != ORION_CLASS_BINARY && cls != ORION_CLASS_MATMUL && cls != ORION_CLASS_REDUCE) return;
  const orion_type *x = orion_op_arg_type(c->f, c->op, "x");
  if (!orion_type_is_tensor(x) || orion_dtype_is_float(x->dtype) || x->dtype == ORION_BOOL) return;
  orion_check_report(c, "%s of %s; the engine computes in fp16", c->op->spelling, orion_dtype_name(x->dtype));
}

// ---- arguments that must be there, as constants of their own ----

void orion_check_named_constants(orion_checker *c) {
  for (uint32_t a = 0; a < c->op->n_args; a++) {
    bool in_place = false;
    for (uint32_t r = 0; r < c->op->args[a].n_refs; r++) {
      in_place = in_place || orion_ref_is_literal(c->op->args[a].refs[r]);
    }
    if (in_place) orion_check_report(c, "argument %s is written in place", c->op->args[a].name);
  }
}

void orion_check_concat(orion_checker *c) {
  int64_t axis;
  bool interleave;
  if (c->op->code != ORION_OP_concat) return;
  if (orion_op_int(c->f, c->op, "axis", &axis) && orion_op_arg(c->op, "interleave") &&
      orion_op_bool(c->f, c->op, "interleave", &interleave)) {
    return;
  }
  orion_check_report(c, "concat without constant axis and interleave is rejected");
}

void orion_check_epsilon(orion_checker *c) {
  bool wants = c->op->code == ORION_OP_rsqrt || c->op->code == ORION_OP_inverse || c->op->code == ORION_OP_log;
  if (wants && !orion_op_arg(c->op, "epsilon")) orion_check_report(c, "%s without epsilon is rejected", c->op->spelling);
}

void orion_check_gelu_mode(orion_checker *c) {
  if (c->op->code == ORION_OP_gelu && !orion_op_arg(c->op, "mode")) orion_check_report(c, "gelu without mode is rejected");
}

// ---- attention ----

void orion_check_sdpa_mask(orion_checker *c) {
  if (c->op->code == ORION_OP_scaled_dot_product_attention && orion_op_arg(c->op, "attn_mask")) {
    orion_check_report(c, "the engine ignores attn_mask");
  }
}

void orion_check_sdpa_size(orion_checker *c) {
  const orion_type *q = orion_op_arg_type(c->f, c->op, "query"), *k = orion_op_arg_type(c->f, c->op, "key");
  if (c->op->code != ORION_OP_scaled_dot_product_attention || !q || !k || q->rank < 2 || k->rank < 2) return;
  int64_t queries = q->dims[q->rank - 2], keys = k->dims[k->rank - 2];
  int64_t fewer = queries < keys ? queries : keys, most = 4 * c->t->max_sdpa;
  if (fewer < c->t->max_sdpa && queries <= most && keys <= most) return;
  orion_check_report(c, "%lld queries and %lld keys; reliable with fewer than %lld of the one and at most %lld of the other",
                     (long long)queries, (long long)keys, (long long)c->t->max_sdpa, (long long)most);
}

// ---- movement ----

void orion_check_tile(orion_checker *c) {
  int64_t reps[ORION_MAX_RANK];
  size_t n;
  if (c->op->code != ORION_OP_tile || !orion_op_ints(c->f, c->op, "reps", ORION_MAX_RANK, reps, &n)) return;
  for (size_t i = 0; i < n; i++) {
    if (reps[i] == 1 || reps[i] == 2 || reps[i] == 3 || reps[i] == 4 || reps[i] == 8) continue;
    orion_check_report(c, "axis %zu is repeated %lld times; 2, 3, 4 and 8 are known to work", i, (long long)reps[i]);
  }
}

// A slice along the last axis that does not begin at 0 goes through the part of M1 and M2 that multiplies by 16.
void orion_check_width_slice(orion_checker *c) {
  int64_t begin[ORION_MAX_RANK];
  size_t n;
  if (c->op->code != ORION_OP_slice_by_size && c->op->code != ORION_OP_slice_by_index) return;
  if (orion_op_ints(c->f, c->op, "begin", ORION_MAX_RANK, begin, &n) && n > 0 && begin[n - 1] == 0) return;
  orion_check_report(c, "a slice of the last axis that does not begin at 0: magnitudes above 4094 become infinite on %s",
                     c->t->name);
}

void orion_check_last_axis_gather(orion_checker *c) {
  int64_t axis;
  const orion_type *x = orion_op_arg_type(c->f, c->op, "x");
  if ((c->op->code != ORION_OP_gather && c->op->code != ORION_OP_gather_along_axis) || !x) return;
  if (!orion_op_int(c->f, c->op, "axis", &axis) || (axis != -1 && axis != x->rank - 1)) return;
  orion_check_report(c, "%s along the last axis takes wrong elements on %s", c->op->spelling, c->t->name);
}

// ---- combinations ----

static bool is_zero(const orion_checker *c, const char *arg) {
  double v;
  return orion_op_float(c->f, c->op, arg, &v) && v == 0;
}

static bool is_reduced(const orion_checker *c, const char *arg) {
  const orion_op *op = orion_op_source(c->f, c->op, arg);
  return op && class_of(op) == ORION_CLASS_REDUCE;
}

void orion_check_zero_times_reduce(orion_checker *c) {
  if (c->op->code != ORION_OP_mul) return;
  if ((is_zero(c, "x") && is_reduced(c, "y")) || (is_zero(c, "y") && is_reduced(c, "x"))) {
    orion_check_report(c, "a reduction is multiplied by the constant 0");
  }
}

static bool at_run_time(const orion_checker *c, const char *arg) {
  orion_ref ref = orion_op_ref(c->op, arg);
  return ref != ORION_NONE && !orion_ref_is_const(c->f, ref);
}

void orion_check_layer_norm_affine(orion_checker *c) {
  const orion_type *g = orion_op_arg_type(c->f, c->op, at_run_time(c, "gamma") ? "gamma" : "beta");
  size_t n;
  if (c->op->code != ORION_OP_layer_norm || at_run_time(c, "gamma") == at_run_time(c, "beta")) return;
  if (!orion_type_is_tensor(g) || !orion_type_elements(g, &n) || n < 1024) return;
  orion_check_report(c, "layer_norm over %zu elements with one of gamma and beta known only at run time", n);
}

void orion_check_constexpr_use(orion_checker *c) {
  if (c->op->code != ORION_OP_reshape && c->op->code != ORION_OP_matmul) return;
  for (int i = 0; i < 2; i++) {
    const orion_op *from = orion_op_source(c->f, c->op, i ? "y" : "x");
    if (!from || class_of(from) != ORION_CLASS_CONSTEXPR) continue;
    orion_check_report(c, "%s of a packed constant (%s)", c->op->spelling, from->spelling);
    return;
  }
}
