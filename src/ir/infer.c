// Entry of type inference: checks the arguments of an operation against the op table, then runs its type rule.
#include "ir/infer.h"

#include <stdio.h>
#include <string.h>

#include "ir/infer_rules.h"

static const orion_rule rules[ORION_OP_COUNT] = {
    NULL,
#define ORION_OP(name, cls, rule, flags, ...) orion_rule_##rule,
#include "ir/ops.inc"
#undef ORION_OP
};

// ---- arguments one by one -------------------------------------------------------------------------------------------

static bool vector_or_scalar(const orion_type *t, char cls_a, char cls_b) {
  char cls = orion_dtype_class(t->dtype);
  return t->rank <= 1 && (cls == cls_a || cls == cls_b);
}

static bool number_like(orion_dtype d) { return d != ORION_STRING && d != ORION_DTYPE_NONE; }

// The dtype that ORION_ARG_SAME asks for: of the first tensor argument that the table lists.
static orion_dtype leading_dtype(const orion_function *f, const orion_op *op) {
  const orion_op_info *info = orion_opcode_info(op->code);
  const orion_type *t = info->n_args ? orion_op_arg_type(f, op, info->args[0].name) : NULL;
  return orion_type_is_tensor(t) ? t->dtype : ORION_DTYPE_NONE;
}

// From iOS 17 on, weights and the parameters of normalisations may be of another floating type than the input.
static bool may_mix_floats(const orion_function *f, const orion_op *op) {
  orion_op_class cls = orion_opcode_info(op->code)->cls;
  bool old = strcmp(f->opset, "ios15") == 0 || strcmp(f->opset, "ios16") == 0;
  return !old && (cls == ORION_CLASS_CONV || cls == ORION_CLASS_NORM || op->code == ORION_OP_linear ||
                  op->code == ORION_OP_matmul);
}

// What is wrong with the type `t` of an argument, as words after "argument x", or NULL.
static const char *kind_problem(const orion_function *f, const orion_op *op, const orion_arg_info *info,
                                const orion_type *t) {
  if (info->kind == ORION_ARG_STATE) {
    return t->kind == ORION_TYPE_STATE && orion_type_is_tensor(t->parts[0]) ? NULL : "must be a state of a tensor";
  }
  if (!orion_type_is_tensor(t)) return "must be a tensor";
  switch (info->kind) {
    case ORION_ARG_TENSOR: case ORION_ARG_TUPLE: case ORION_ARG_CONST:
      return number_like(t->dtype) ? NULL : "must hold numbers or bools";
    case ORION_ARG_FLOAT: return orion_dtype_is_float(t->dtype) ? NULL : "must hold floating-point numbers";
    case ORION_ARG_SAME: {
      orion_dtype want = leading_dtype(f, op);
      if (want == ORION_DTYPE_NONE || want == t->dtype) return NULL;
      if (orion_dtype_is_float(want) && orion_dtype_is_float(t->dtype) && may_mix_floats(f, op)) return NULL;
      return "must have the element type of the first argument";
    }
    case ORION_ARG_INT: return t->rank == 0 && orion_dtype_is_int(t->dtype) ? NULL : "must be an integer";
    case ORION_ARG_INTS: return vector_or_scalar(t, 'i', 'u') ? NULL : "must be a vector of integers";
    case ORION_ARG_NUM: return t->rank == 0 && number_like(t->dtype) ? NULL : "must be a single number";
    case ORION_ARG_BOOL: return t->rank == 0 && t->dtype == ORION_BOOL ? NULL : "must be a bool";
    case ORION_ARG_BOOLS: return vector_or_scalar(t, 'b', 'b') ? NULL : "must be a vector of bools";
    case ORION_ARG_STR: return t->rank == 0 && t->dtype == ORION_STRING ? NULL : "must be a string";
    case ORION_ARG_INDEX: return orion_dtype_is_int(t->dtype) ? NULL : "must hold integers";
    case ORION_ARG_STATE: break;
  }
  return NULL;
}

static bool must_be_const(orion_arg_kind kind) {
  return kind == ORION_ARG_BOOL || kind == ORION_ARG_BOOLS || kind == ORION_ARG_STR || kind == ORION_ARG_CONST;
}

static bool in_brackets(const orion_op *op, const char *name) {  // iOS 16 writes constexpr arguments as attributes
  return orion_opcode_info(op->code)->cls == ORION_CLASS_CONSTEXPR && orion_op_attr(op, name);
}

static bool given_problem(const orion_function *f, const orion_op *op, const orion_arg_info *info,
                          const orion_arg *arg, char *out, size_t size) {
  if (arg->n_refs == 0 || (arg->n_refs > 1 && info->kind != ORION_ARG_TUPLE)) {
    snprintf(out, size, "argument %s: has %u values (want %s)", info->name, arg->n_refs,
             info->kind == ORION_ARG_TUPLE ? "one or more" : "one");
    return true;
  }
  for (uint32_t i = 0; i < arg->n_refs; i++) {
    const orion_type *t = orion_ref_type(f, arg->refs[i]);
    const char *why = t ? kind_problem(f, op, info, t) : "has no type";
    if (!why && must_be_const(info->kind) && !orion_ref_is_const(f, arg->refs[i])) why = "must be a constant";
    if (why) {
      snprintf(out, size, "argument %s: is %s (%s)", info->name, orion_type_text(t).text, why);
      return true;
    }
  }
  return false;
}

bool orion_op_arg_problem(const orion_function *f, const orion_op *op, size_t i, char *out, size_t size) {
  const orion_op_info *info = orion_opcode_info(op->code);
  if (op->code == ORION_OP_const) return false;
  if (i < info->n_args) {
    const orion_arg *arg = orion_op_arg(op, info->args[i].name);
    if (arg) return given_problem(f, op, &info->args[i], arg, out, size);
    if (!info->args[i].required) return false;
    if (in_brackets(op, info->args[i].name)) return false;
    snprintf(out, size, "argument %s: missing (operation %s needs it)", info->args[i].name, op->spelling);
    return true;
  }
  const orion_arg *arg = &op->args[i - info->n_args];
  if (op->code == ORION_OP_OTHER || orion_opcode_arg(op->code, arg->name)) return false;
  snprintf(out, size, "argument %s: operation %s has no argument of that name", arg->name, op->spelling);
  return true;
}

size_t orion_op_arg_checks(const orion_op *op) { return orion_opcode_info(op->code)->n_args + op->n_args; }

// ---- results --------------------------------------------------------------------------------------------------------

static orion_status declared(orion_function *f, const orion_op *op, const orion_type **out, size_t *out_n,
                             orion_error *err, const char *why) {
  if (op->n_results == 0 || op->n_results > ORION_MAX_RESULTS) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "the result types of %s cannot be inferred: %s (declare them)",
                      op->spelling, why);
  }
  for (uint32_t i = 0; i < op->n_results; i++) out[i] = orion_value_type(f, op->results[i]);
  *out_n = op->n_results;
  return ORION_OK;
}

orion_status orion_infer_op(orion_function *f, const orion_op *op, const orion_type **out_types, size_t *out_n,
                            orion_error *err) {
  *out_n = 0;
  if (op->code == ORION_OP_OTHER || op->code >= ORION_OP_COUNT) {
    return declared(f, op, out_types, out_n, err, "the operation is not in the op table");
  }
  char text[512];
  for (size_t i = 0; i < orion_op_arg_checks(op); i++) {
    if (orion_op_arg_problem(f, op, i, text, sizeof text)) return ORION_FAIL(err, ORION_FORMAT, "%s", text);
  }
  orion_error own = {0};
  orion_infer c = {f, op, out_types, 0, err ? err : &own};
  orion_status status = rules[op->code](&c);
  if (status == ORION_UNSUPPORTED) return declared(f, op, out_types, out_n, err, c.err->message);
  if (status == ORION_OK) *out_n = c.n;
  return status;
}
