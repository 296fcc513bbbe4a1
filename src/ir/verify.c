// The verifier: one walk over each function in order, noting all that is wrong. It trusts nothing but the arrays'
// bounds, which the functions that build programs keep, so that it can be run on whatever a parser made of a text.
#include <stdio.h>
#include <string.h>

#include "ir/infer.h"

enum { MAX_NESTING = 32 };  // of literals

typedef struct verifier {
  orion_function *f;
  orion_findings *out;
  bool *defined;  // by value id
  orion_op_id op;
} verifier;

// ---- names ----------------------------------------------------------------------------------------------------------

static bool valid_name(const char *name) {
  size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.");
  return n > 0 && !name[n] && !(name[0] >= '0' && name[0] <= '9');
}

static void define(verifier *v, orion_value_id id) {
  const char *name = v->f->values[id].name;
  if (!valid_name(name)) {
    orion_findings_add(v->out, "name", true, v->f, v->op, name, "use letters, digits and _",
                       "\"%.100s\" is no valid name", name);
  }
  orion_value_id other = orion_function_find(v->f, name);
  if (other != id && other != ORION_NONE && v->defined[other]) {
    orion_findings_add(v->out, "name", true, v->f, v->op, name, "rename one of them", "%.100s is defined twice", name);
  }
  v->defined[id] = true;
}

// ---- constants ------------------------------------------------------------------------------------------------------

static void bad_constant(verifier *v, const char *where, const char *why) {
  orion_findings_add(v->out, "constant", true, v->f, v->op, where, NULL, "constant %s: %s", where, why);
}

static void check_elements(verifier *v, const orion_literal *l, const char *where, bool nested) {
  size_t n, have = l->kind == ORION_LIT_STRINGS ? l->n_items : l->data ? orion_data_elements(l->data) : 0;
  char text[320];
  if (!orion_type_elements(l->type, &n)) {
    if (nested && l->data) return;  // an element of a list: the list says no size
    snprintf(text, sizeof text, "%s has no definite number of elements", orion_type_text(l->type).text);
    bad_constant(v, where, text);
  } else if ((l->type->dtype == ORION_STRING) != (l->kind == ORION_LIT_STRINGS)) {
    bad_constant(v, where, "strings and numbers are mixed up");
  } else if (l->kind == ORION_LIT_BLOB && !l->data) {
    if (!l->blob_path || !*l->blob_path) bad_constant(v, where, "its blob file has no name");
  } else if (l->kind == ORION_LIT_DATA && !l->data) {
    bad_constant(v, where, "has no elements");
  } else if (have != n) {
    snprintf(text, sizeof text, "has %zu elements (%s wants %zu)", have, orion_type_text(l->type).text, n);
    bad_constant(v, where, text);
  } else if (l->data && l->data->dtype != l->type->dtype) {
    snprintf(text, sizeof text, "its elements are %s, its type is %s", orion_dtype_name(l->data->dtype),
             orion_type_text(l->type).text);
    bad_constant(v, where, text);
  }
}

static void check_literal(verifier *v, const orion_literal *l, const char *where, int depth) {
  static const orion_type_kind kinds[] = {[ORION_LIT_DATA] = ORION_TYPE_TENSOR, [ORION_LIT_STRINGS] = ORION_TYPE_TENSOR,
                                          [ORION_LIT_BLOB] = ORION_TYPE_TENSOR, [ORION_LIT_LIST] = ORION_TYPE_LIST,
                                          [ORION_LIT_TUPLE] = ORION_TYPE_TUPLE, [ORION_LIT_DICT] = ORION_TYPE_DICT};
  if (!l || !l->type || l->kind > ORION_LIT_DICT || l->type->kind != kinds[l->kind]) {
    bad_constant(v, where, "its value is not of its type");
    return;
  }
  if (l->type->kind == ORION_TYPE_TENSOR) {
    check_elements(v, l, where, depth > 0);
    return;
  }
  size_t per_item = l->kind == ORION_LIT_DICT ? 2 : 1;
  bool count_ok = l->kind == ORION_LIT_LIST    ? l->type->length < 0 || l->type->length == (int64_t)l->n_items
                  : l->kind == ORION_LIT_TUPLE ? l->type->n_parts == l->n_items
                                               : l->n_items % per_item == 0;
  if (!count_ok) bad_constant(v, where, "its element count is not that of its type");
  if (depth == MAX_NESTING) {
    bad_constant(v, where, "is nested too deeply");
    return;
  }
  for (uint32_t i = 0; i < l->n_items; i++) check_literal(v, l->items[i], where, depth + 1);
}

static void check_attrs(verifier *v, const orion_attr *attrs, size_t n, const char *where) {
  for (size_t i = 0; i < n; i++) check_literal(v, attrs[i].value, strcmp(attrs[i].name, "val") == 0 ? where : attrs[i].name, 0);
}

// ---- operations -----------------------------------------------------------------------------------------------------

// Values an operation refers to; false when one is unusable, so that types cannot be inferred.
static bool check_refs(verifier *v, const orion_op *op) {
  const orion_function *f = v->f;
  bool ok = true;
  for (uint32_t a = 0; a < op->n_args; a++) {
    const orion_arg *arg = &op->args[a];
    if (a > 0 && strcmp(arg->name, op->args[a - 1].name) == 0) {
      orion_findings_add(v->out, "argument", true, f, v->op, NULL, NULL, "argument %s is given twice", arg->name);
      ok = false;
    }
    for (uint32_t r = 0; r < arg->n_refs; r++) {
      orion_ref ref = arg->refs[r];
      if (orion_ref_is_literal(ref)) {
        check_literal(v, orion_ref_literal(f, ref), arg->name, 0);
      } else if (ref == ORION_NONE || ref >= f->n_values || !v->defined[ref]) {
        const char *name = ref < f->n_values ? f->values[ref].name : "?";
        bool later = orion_function_find(f, name) != ORION_NONE && f->values[orion_function_find(f, name)].index != ORION_NONE;
        orion_findings_add(v->out, "name", true, f, v->op, name, NULL, "argument %s: %.100s is %s", arg->name, name,
                           later ? "used before it is defined" : "not defined");
        ok = false;
      }
    }
  }
  return ok;
}

static bool check_args(verifier *v, const orion_op *op) {
  char text[512];
  bool ok = true;
  for (size_t i = 0; i < orion_op_arg_checks(op); i++) {
    if (!orion_op_arg_problem(v->f, op, i, text, sizeof text)) continue;
    orion_findings_add(v->out, "argument", true, v->f, v->op, NULL, NULL, "%s", text);
    ok = false;
  }
  return ok;
}

static orion_status check_types(verifier *v, const orion_op *op, orion_error *err) {
  const orion_type *types[ORION_MAX_RESULTS];
  size_t n;
  orion_error why = {0};
  orion_status status = orion_infer_op(v->f, op, types, &n, &why);
  if (status == ORION_NO_MEMORY) {
    if (err) *err = why;
    return status;
  }
  if (status != ORION_OK) {
    orion_findings_add(v->out, "type", true, v->f, v->op, NULL, NULL, "%s", why.message);
    return ORION_OK;
  }
  if (n != op->n_results) {
    orion_findings_add(v->out, "type", true, v->f, v->op, NULL, NULL, "has %u results (%s gives %zu)", op->n_results,
                       op->spelling, n);
    return ORION_OK;
  }
  for (size_t i = 0; i < n; i++) {
    const orion_value *value = &v->f->values[op->results[i]];
    if (orion_type_agrees(value->type, types[i])) continue;
    bool shape = orion_type_is_tensor(value->type) && orion_type_is_tensor(types[i]) &&
                 value->type->dtype == types[i]->dtype;
    orion_findings_add(v->out, shape ? "shape" : "type", true, v->f, v->op, value->name, NULL,
                       "%.100s is declared %s, but the operation gives %s", value->name,
                       orion_type_text(value->type).text, orion_type_text(types[i]).text);
  }
  return ORION_OK;
}

static orion_status check_op(verifier *v, orion_error *err) {
  const orion_op *op = &v->f->ops[v->op];
  bool known = op->code != ORION_OP_OTHER;
  bool usable = check_refs(v, op);
  check_attrs(v, op->attrs, op->n_attrs, op->n_results ? v->f->values[op->results[0]].name : "val");
  if (!known) {
    orion_findings_add(v->out, "op", false, v->f, v->op, NULL, NULL,
                       "operation %.100s is not in the op table; its types are taken as declared", op->spelling);
  }
  if (known && usable && check_args(v, op)) ORION_TRY(check_types(v, op, err));
  for (uint32_t i = 0; i < op->n_results; i++) define(v, op->results[i]);
  return ORION_OK;
}

// ---- functions ------------------------------------------------------------------------------------------------------

static orion_status check_function(orion_function *f, orion_findings *out, orion_error *err) {
  const orion_allocator *a = f->program->allocator;
  verifier v = {.f = f, .out = out, .op = ORION_NONE};
  v.defined = orion_alloc_zero(a, f->n_values, sizeof *v.defined);
  if (!v.defined) return ORION_OOM(err, "verifier");
  orion_status status = ORION_OK;
  if (!valid_name(f->name)) {
    orion_findings_add(out, "name", true, f, ORION_NONE, f->name, NULL, "\"%.100s\" is no valid function name", f->name);
  }
  check_attrs(&v, f->attrs, f->n_attrs, f->name);
  for (size_t i = 0; i < f->n_params; i++) define(&v, f->params[i]);
  for (v.op = f->first; v.op != ORION_NONE && status == ORION_OK; v.op = f->ops[v.op].next) status = check_op(&v, err);
  for (size_t i = 0; i < f->n_outputs; i++) {
    orion_value_id id = f->outputs[i];
    if (id < f->n_values && v.defined[id]) continue;
    const char *name = id < f->n_values ? f->values[id].name : "?";
    orion_findings_add(out, "name", true, f, ORION_NONE, name, NULL, "result %.100s is not defined", name);
  }
  orion_free(a, v.defined, f->n_values, sizeof *v.defined);
  return status;
}

orion_status orion_verify(orion_program *p, orion_findings *out, orion_error *err) {
  for (size_t i = 0; i < p->n_functions; i++) {
    if (orion_program_function(p, p->functions[i]->name) != p->functions[i]) {
      orion_findings_add(out, "name", true, p->functions[i], ORION_NONE, p->functions[i]->name, NULL,
                         "there are two functions %.100s", p->functions[i]->name);
    }
    ORION_TRY(check_function(p->functions[i], out, err));
  }
  return out->failed ? ORION_OOM(err, "findings") : ORION_OK;
}

orion_status orion_verify_ok(orion_program *p, orion_error *err) {
  orion_findings found;
  orion_findings_init(&found, p->allocator);
  orion_status status = orion_verify(p, &found, err);
  for (size_t i = 0; status == ORION_OK && i < found.n; i++) {
    const orion_finding *x = &found.items[i];
    if (!x->fatal) continue;
    const orion_function *f = orion_program_function(p, x->function);
    const char *what = f && x->op != ORION_NONE ? f->ops[x->op].spelling : x->function;
    status = x->loc.line ? ORION_FAIL(err, ORION_FORMAT, "line %u:%u: %s: %s", x->loc.line, x->loc.column, what, x->message)
                         : ORION_FAIL(err, ORION_FORMAT, "%s: %s", what, x->message);
  }
  orion_findings_deinit(&found);
  return status;
}
