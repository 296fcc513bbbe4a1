// Reading operations: arguments by name, and the small constants behind them.
#include <stdlib.h>
#include <string.h>

#include "ir/ir.h"

const orion_arg *orion_op_arg(const orion_op *op, const char *name) {
  for (uint32_t i = 0; i < op->n_args; i++) {
    if (strcmp(op->args[i].name, name) == 0) return &op->args[i];
  }
  return NULL;
}

orion_ref orion_op_ref(const orion_op *op, const char *name) {
  const orion_arg *arg = orion_op_arg(op, name);
  return arg && arg->n_refs ? arg->refs[0] : ORION_NONE;
}

orion_value_id orion_op_value(const orion_op *op, const char *name) {
  orion_ref ref = orion_op_ref(op, name);
  return orion_ref_is_literal(ref) ? ORION_NONE : ref;
}

const orion_op *orion_op_source(const orion_function *f, const orion_op *op, const char *name) {
  orion_value_id v = orion_op_value(op, name);
  return v == ORION_NONE || f->values[v].def == ORION_NONE ? NULL : &f->ops[f->values[v].def];
}

const orion_literal *orion_op_attr(const orion_op *op, const char *name) {
  for (uint32_t i = 0; i < op->n_attrs; i++) {
    if (strcmp(op->attrs[i].name, name) == 0) return op->attrs[i].value;
  }
  return NULL;
}

const orion_type *orion_value_type(const orion_function *f, orion_value_id v) {
  return v == ORION_NONE ? NULL : f->values[v].type;
}

const orion_type *orion_ref_type(const orion_function *f, orion_ref ref) {
  if (ref == ORION_NONE) return NULL;
  if (orion_ref_is_literal(ref)) return f->literals[ref & ~ORION_REF_LITERAL]->type;
  return f->values[ref].type;
}

const orion_literal *orion_ref_literal(const orion_function *f, orion_ref ref) {
  if (ref == ORION_NONE) return NULL;
  if (orion_ref_is_literal(ref)) return f->literals[ref & ~ORION_REF_LITERAL];
  orion_op_id def = f->values[ref].def;
  if (def == ORION_NONE || f->ops[def].code != ORION_OP_const) return NULL;
  return orion_op_attr(&f->ops[def], "val");
}

const orion_type *orion_op_arg_type(const orion_function *f, const orion_op *op, const char *name) {
  orion_ref ref = orion_op_ref(op, name);
  if (ref != ORION_NONE) return orion_ref_type(f, ref);
  const orion_literal *l = orion_op_attr(op, name);
  return l ? l->type : NULL;
}

bool orion_ref_is_const(const orion_function *f, orion_ref ref) {
  if (ref == ORION_NONE) return false;
  if (orion_ref_is_literal(ref)) return true;
  orion_op_id def = f->values[ref].def;
  if (def == ORION_NONE) return false;
  orion_op_class cls = orion_opcode_info(f->ops[def].code)->cls;
  if (cls == ORION_CLASS_CONST) return true;
  if (cls != ORION_CLASS_CONSTEXPR) return false;
  const orion_op *op = &f->ops[def];
  for (uint32_t i = 0; i < op->n_args; i++) {
    for (uint32_t r = 0; r < op->args[i].n_refs; r++) {
      if (!orion_ref_is_const(f, op->args[i].refs[r])) return false;
    }
  }
  return true;
}

const orion_literal *orion_op_const(const orion_function *f, const orion_op *op, const char *name) {
  orion_ref ref = orion_op_ref(op, name);
  return ref != ORION_NONE ? orion_ref_literal(f, ref) : orion_op_attr(op, name);
}

// Elements of a numeric literal of known size that holds its data; false if it is none.
static bool number_count(const orion_literal *l, size_t *out_n) {
  return l && l->data && orion_type_elements(l->type, out_n) && *out_n == orion_data_elements(l->data);
}

static bool literal_ints(const orion_literal *l, size_t max, int64_t *out, size_t *out_n) {
  size_t n;
  if (!number_count(l, &n) || n > max || orion_dtype_is_float(l->type->dtype)) return false;
  if (orion_data_read(l->data, ORION_INT64, 0, l->data->rows, out, NULL) != ORION_OK) return false;
  *out_n = n;
  return true;
}

static bool literal_float(const orion_literal *l, double *out) {
  size_t n;
  return number_count(l, &n) && n == 1 &&
         orion_data_read(l->data, ORION_FP64, 0, l->data->rows, out, NULL) == ORION_OK;
}

bool orion_ref_float(const orion_function *f, orion_ref ref, double *out) {
  return literal_float(orion_ref_literal(f, ref), out);
}

static const char *fallback(const orion_op *op, const char *arg) {
  const orion_arg_info *info = orion_opcode_arg(op->code, arg);
  return info ? info->fallback : NULL;
}

static bool present(const orion_op *op, const char *arg) { return orion_op_arg(op, arg) || orion_op_attr(op, arg); }

bool orion_op_int(const orion_function *f, const orion_op *op, const char *arg, int64_t *out) {
  size_t n;
  if (present(op, arg)) return literal_ints(orion_op_const(f, op, arg), 1, out, &n) && n == 1;
  const char *text = fallback(op, arg);
  if (!text) return false;
  *out = strtoll(text, NULL, 10);
  return true;
}

bool orion_op_ints(const orion_function *f, const orion_op *op, const char *arg, size_t max, int64_t *out, size_t *n) {
  return literal_ints(orion_op_const(f, op, arg), max, out, n);
}

bool orion_op_float(const orion_function *f, const orion_op *op, const char *arg, double *out) {
  if (present(op, arg)) return literal_float(orion_op_const(f, op, arg), out);
  const char *text = fallback(op, arg);
  if (!text) return false;
  *out = strtod(text, NULL);
  return true;
}

bool orion_op_bool(const orion_function *f, const orion_op *op, const char *arg, bool *out) {
  int64_t v;
  size_t n;
  if (present(op, arg)) {
    if (!literal_ints(orion_op_const(f, op, arg), 1, &v, &n) || n != 1) return false;
    *out = v != 0;
    return true;
  }
  const char *text = fallback(op, arg);
  if (!text) return false;
  *out = strcmp(text, "true") == 0;
  return true;
}

const char *orion_op_string(const orion_function *f, const orion_op *op, const char *arg) {
  if (!present(op, arg)) return fallback(op, arg);
  const orion_literal *l = orion_op_const(f, op, arg);
  return l && l->kind == ORION_LIT_STRINGS && l->n_items == 1 ? l->strings[0] : NULL;
}
