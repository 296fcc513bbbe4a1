// Graphviz: one node an operation, one edge a tensor that flows; constants would only clutter.
#include "mil/mil.h"
#include "mil/printer.h"

static void quoted(orion_strbuf *out, const char *s) {
  for (; *s; s++) {
    if (*s == '"' || *s == '\\') orion_strbuf_addc(out, '\\');
    orion_strbuf_addc(out, *s);
  }
}

static void print_edges(const orion_function *f, size_t number, orion_op_id id, orion_strbuf *out) {
  const orion_op *op = &f->ops[id];
  for (uint32_t a = 0; a < op->n_args; a++) {
    for (uint32_t r = 0; r < op->args[a].n_refs; r++) {
      orion_ref ref = op->args[a].refs[r];
      if (orion_ref_is_const(f, ref)) continue;
      orion_op_id def = f->values[ref].def;
      if (def == ORION_NONE) {
        orion_strbuf_addf(out, "    f%zu_v%u -> f%zu_%u", number, ref, number, id);
      } else {
        orion_strbuf_addf(out, "    f%zu_%u -> f%zu_%u", number, def, number, id);
      }
      orion_strbuf_adds(out, " [label=\"");
      quoted(out, op->args[a].name);
      orion_strbuf_adds(out, "\"];\n");
    }
  }
}

static void print_value_node(orion_mil_printer *p, const orion_function *f, size_t number, orion_value_id v) {
  orion_strbuf_addf(p->out, "    f%zu_v%u [shape=ellipse, label=\"", number, v);
  quoted(p->out, f->values[v].name);
  orion_strbuf_adds(p->out, "\\n");
  orion_mil_print_type(p, f->values[v].type);
  orion_strbuf_adds(p->out, "\"];\n");
}

static void print_op_node(orion_mil_printer *p, const orion_function *f, size_t number, orion_op_id id) {
  const orion_op *op = &f->ops[id];
  orion_strbuf_addf(p->out, "    f%zu_%u [label=\"", number, id);
  quoted(p->out, op->spelling);
  for (uint32_t i = 0; i < op->n_results; i++) {
    orion_strbuf_adds(p->out, "\\n");
    quoted(p->out, f->values[op->results[i]].name);
    orion_strbuf_adds(p->out, ": ");
    orion_mil_print_type(p, f->values[op->results[i]].type);
  }
  orion_strbuf_adds(p->out, "\"];\n");
}

static void print_function(orion_mil_printer *p, const orion_function *f, size_t number) {
  orion_strbuf_addf(p->out, "  subgraph cluster_%zu {\n    label=\"", number);
  quoted(p->out, f->name);
  orion_strbuf_adds(p->out, "\";\n    node [shape=box, fontname=\"monospace\"];\n");
  for (size_t i = 0; i < f->n_params; i++) print_value_node(p, f, number, f->params[i]);
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    if (op->n_results && orion_ref_is_const(f, op->results[0])) continue;
    print_op_node(p, f, number, id);
    print_edges(f, number, id, p->out);
  }
  for (size_t i = 0; i < f->n_outputs; i++) {
    orion_op_id def = f->values[f->outputs[i]].def;
    orion_strbuf_addf(p->out, "    f%zu_out%zu [shape=ellipse, label=\"", number, i);
    quoted(p->out, f->values[f->outputs[i]].name);
    orion_strbuf_adds(p->out, "\"];\n");
    if (def == ORION_NONE) {
      orion_strbuf_addf(p->out, "    f%zu_v%u -> f%zu_out%zu;\n", number, f->outputs[i], number, i);
    } else {
      orion_strbuf_addf(p->out, "    f%zu_%u -> f%zu_out%zu;\n", number, def, number, i);
    }
  }
  orion_strbuf_adds(p->out, "  }\n");
}

orion_status orion_mil_print_dot(const orion_program *program, orion_strbuf *out, orion_error *err) {
  orion_mil_printer p = {.program = program, .out = out};
  orion_strbuf_adds(out, "digraph program {\n");
  for (size_t i = 0; i < program->n_functions; i++) print_function(&p, program->functions[i], i);
  orion_strbuf_adds(out, "}\n");
  return orion_strbuf_status(out, err);
}
