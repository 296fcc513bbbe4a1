// The canonical text. Every space here is Core ML's compiler's.
//
// Scalars are tensor<T, []> in programs of version 1.0 and plain T in 1.3; in between, about which nothing is known, as
// the type says.
#include "mil/number.h"
#include "mil/printer.h"

static void print_dim(orion_strbuf *out, int64_t dim) {
  if (dim == ORION_DIM_UNKNOWN) {
    orion_strbuf_addc(out, '?');
  } else {
    char text[ORION_MIL_NUMBER_MAX];
    orion_strbuf_add(out, text, orion_mil_format_number(ORION_INT64, &dim, 0, text));
  }
}

static bool bare_scalar(const orion_mil_printer *p, const orion_type *t) {
  const char *version = p->program->version;
  return strcmp(version, "1.0") == 0 ? false : strcmp(version, "1.3") == 0 ? true : t->scalar;
}

void orion_mil_print_type(orion_mil_printer *p, const orion_type *t) {
  static const char *const words[] = {"tensor", "list", "tuple", "dict", "state"};
  orion_strbuf *out = p->out;
  if (t->kind == ORION_TYPE_TENSOR && t->rank == 0 && bare_scalar(p, t)) {
    orion_strbuf_adds(out, orion_dtype_name(t->dtype));
    return;
  }
  orion_strbuf_adds(out, words[t->kind]);
  orion_strbuf_addc(out, '<');
  if (t->kind == ORION_TYPE_TENSOR) {
    orion_strbuf_adds(out, orion_dtype_name(t->dtype));
    orion_strbuf_adds(out, ", [");
    for (int i = 0; i < t->rank; i++) {
      if (i) orion_strbuf_adds(out, ", ");
      print_dim(out, t->dims[i]);
    }
    orion_strbuf_addc(out, ']');
  }
  for (uint32_t i = 0; i < t->n_parts; i++) {
    if (i) orion_strbuf_adds(out, ", ");
    orion_mil_print_type(p, t->parts[i]);
  }
  if (t->kind == ORION_TYPE_LIST) {
    orion_strbuf_adds(out, ", ");
    print_dim(out, t->length);
  }
  orion_strbuf_addc(out, '>');
}

static orion_status print_attrs(orion_mil_printer *p, const orion_attr *attrs, size_t n, orion_error *err) {
  orion_strbuf_addc(p->out, '[');
  for (size_t i = 0; i < n; i++) {
    if (i) orion_strbuf_adds(p->out, ", ");
    orion_strbuf_adds(p->out, attrs[i].name);
    orion_strbuf_adds(p->out, " = ");
    ORION_TRY(orion_mil_print_literal(p, attrs[i].value, err));
  }
  orion_strbuf_addc(p->out, ']');
  return ORION_OK;
}

static orion_status print_ref(orion_mil_printer *p, const orion_function *f, orion_ref ref, orion_error *err) {
  if (orion_ref_is_literal(ref)) return orion_mil_print_literal(p, orion_ref_literal(f, ref), err);
  orion_strbuf_adds(p->out, f->values[ref].name);
  return ORION_OK;
}

static void print_value(orion_mil_printer *p, const orion_function *f, orion_value_id v) {
  orion_mil_print_type(p, f->values[v].type);
  orion_strbuf_addc(p->out, ' ');
  orion_strbuf_adds(p->out, f->values[v].name);
}

static orion_status print_op(orion_mil_printer *p, const orion_function *f, const orion_op *op, orion_error *err) {
  orion_strbuf *out = p->out;
  orion_strbuf_adds(out, "            ");
  for (uint32_t i = 0; i < op->n_results; i++) {
    if (i) orion_strbuf_adds(out, ", ");
    print_value(p, f, op->results[i]);
  }
  if (op->n_results) orion_strbuf_adds(out, " = ");
  orion_strbuf_adds(out, op->spelling);
  orion_strbuf_addc(out, '(');
  for (uint32_t i = 0; i < op->n_args; i++) {
    const orion_arg *arg = &op->args[i];
    if (i) orion_strbuf_adds(out, ", ");
    orion_strbuf_adds(out, arg->name);
    orion_strbuf_adds(out, arg->tuple ? " = (" : " = ");
    for (uint32_t r = 0; r < arg->n_refs; r++) {
      if (r) orion_strbuf_adds(out, ", ");
      ORION_TRY(print_ref(p, f, arg->refs[r], err));
    }
    if (arg->tuple) orion_strbuf_addc(out, ')');
  }
  orion_strbuf_addc(out, ')');
  if (op->n_attrs) ORION_TRY(print_attrs(p, op->attrs, op->n_attrs, err));
  orion_strbuf_adds(out, ";\n");
  return ORION_OK;
}

static orion_status print_function(orion_mil_printer *p, const orion_function *f, orion_error *err) {
  orion_strbuf *out = p->out;
  orion_strbuf_addf(out, "    func %s<%s>(", f->name, f->opset);
  for (size_t i = 0; i < f->n_params; i++) {
    if (i) orion_strbuf_adds(out, ", ");
    print_value(p, f, f->params[i]);
  }
  orion_strbuf_adds(out, ") ");
  if (f->n_attrs) {
    ORION_TRY(print_attrs(p, f->attrs, f->n_attrs, err));
    orion_strbuf_addc(out, ' ');
  }
  orion_strbuf_adds(out, "{\n");
  ORION_EACH_OP(f, id) ORION_TRY(print_op(p, f, &f->ops[id], err));
  orion_strbuf_adds(out, "        } -> (");
  for (size_t i = 0; i < f->n_outputs; i++) {
    if (i) orion_strbuf_adds(out, ", ");
    orion_strbuf_adds(out, f->values[f->outputs[i]].name);
  }
  orion_strbuf_adds(out, ");\n");
  return ORION_OK;
}

orion_status orion_mil_print_placed(const orion_program *program, const orion_mil_placement *placement,
                                    orion_strbuf *out, orion_error *err) {
  orion_mil_printer p = {.program = program, .placement = placement, .out = out};
  orion_strbuf_addf(out, "program(%s)\n", program->version);
  if (program->n_attrs) {
    ORION_TRY(print_attrs(&p, program->attrs, program->n_attrs, err));
    orion_strbuf_addc(out, '\n');
  }
  orion_strbuf_adds(out, "{\n");
  for (size_t i = 0; i < program->n_functions; i++) ORION_TRY(print_function(&p, program->functions[i], err));
  orion_strbuf_adds(out, program->bare_end ? "}" : "}\n");
  return orion_strbuf_status(out, err);
}

orion_status orion_mil_print(const orion_program *p, orion_strbuf *out, orion_error *err) {
  return orion_mil_print_placed(p, NULL, out, err);
}
