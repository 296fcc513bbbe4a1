// Programs checked against the rules of a target: each row's check is asked about each place of its scope. Here are the
// walk, and the checks of values, of inputs and outputs, and of functions.
#include "target/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// ---- reports ----

static void add(orion_checker *c, const char *value, const char *format, va_list args) {
  char text[512];
  vsnprintf(text, sizeof text, format, args);
  bool fatal = c->rule->fatal & orion_family_bit(c->t->name);
  orion_findings_add(c->out, c->rule->name, fatal, c->f, c->id, value, c->rule->way_out, "%s", text);
}

void orion_check_report(orion_checker *c, const char *format, ...) {
  va_list args;
  va_start(args, format);
  add(c, c->name, format, args);
  va_end(args);
}

// The same about another value of the function (FUNCTION scope).
ORION_PRINTF(3, 4)
static void report_value(orion_checker *c, orion_value_id v, const char *format, ...) {
  va_list args;
  va_start(args, format);
  add(c, c->f->values[v].name, format, args);
  va_end(args);
}

// ---- values ----

void orion_check_rank(orion_checker *c) {
  if (c->type->rank > c->t->max_rank) {
    orion_check_report(c, "rank %d; %s takes at most %d", c->type->rank, c->t->name, c->t->max_rank);
  }
}

void orion_check_unknown_dimension(orion_checker *c) {
  for (int i = 0; i < c->type->rank; i++) {
    if (c->type->dims[i] != ORION_DIM_UNKNOWN) continue;
    orion_check_report(c, "dimension %d is unknown; every shape is fixed on %s", i, c->t->name);
  }
}

// Dimensions from `first` to before `last`, counted from the end, against a limit.
static void check_dims(orion_checker *c, int first, int last, int64_t limit) {
  int rank = c->type->rank;
  for (int i = rank - first < 0 ? 0 : rank - first; i < rank - last; i++) {
    if (c->type->dims[i] <= limit) continue;
    orion_check_report(c, "dimension %d is %lld; %s takes at most %lld", i, (long long)c->type->dims[i], c->t->name,
                       (long long)limit);
  }
}

void orion_check_axis(orion_checker *c) { check_dims(c, 2, 0, c->t->max_axis); }
void orion_check_channels(orion_checker *c) { check_dims(c, 3, 2, c->t->max_channels); }
void orion_check_batch(orion_checker *c) { check_dims(c, ORION_MAX_RANK, 3, c->t->max_batch); }

// ---- inputs and outputs ----

static const char *side(const orion_checker *c) { return c->input ? "input" : "output"; }

void orion_check_io_type(orion_checker *c) {
  if (!orion_type_is_tensor(c->type)) {
    orion_check_report(c, "%s is not a tensor", side(c));
  } else if (c->type->dtype != ORION_FP16 && c->type->dtype != ORION_FP32) {
    orion_check_report(c, "%s of type %s; the engine exchanges fp16 (or fp32, slower)", side(c),
                       orion_dtype_name(c->type->dtype));
  }
}

// Elsewhere than on the families that refuse it, it is a matter of speed.
void orion_check_fp32_io(orion_checker *c) {
  if (!orion_type_is_tensor(c->type) || c->type->dtype != ORION_FP32) return;
  bool refused = c->rule->families & orion_family_bit(c->t->name);
  orion_check_report(c, "fp32 %s: %s", side(c), refused ? "refused on this generation" : "slower than fp16");
}

void orion_check_row_stride(orion_checker *c) {
  if (!orion_type_is_tensor(c->type)) return;
  size_t element = orion_dtype_bits(c->type->dtype) / 8;
  int64_t width = c->type->rank ? c->type->dims[c->type->rank - 1] : 1;
  if (!element || width < 1 || (size_t)width * element % c->t->row_bytes == 0) return;
  orion_check_report(c, "rows of %zu bytes; the engine strides rows by multiples of %zu, so the surface is not packed",
                     (size_t)width * element, c->t->row_bytes);
}

// ---- functions ----

void orion_check_surfaces(orion_checker *c) {
  if (c->f->n_params <= (size_t)c->t->max_inputs && c->f->n_outputs <= (size_t)c->t->max_outputs) return;
  orion_check_report(c, "%zu inputs and %zu outputs; one request holds %d and %d", c->f->n_params, c->f->n_outputs,
                     c->t->max_inputs, c->t->max_outputs);
}

static void check_order(orion_checker *c, const orion_value_id *v, size_t n, const char *what, const char *how) {
  for (size_t i = 1; i < n; i++) {
    if (strcmp(c->f->values[v[i - 1]].name, c->f->values[v[i]].name) <= 0) continue;
    report_value(c, v[i], "%s are bound in sorted order of their names, not as %s", what, how);
  }
}

void orion_check_input_order(orion_checker *c) { check_order(c, c->f->params, c->f->n_params, "inputs", "declared"); }
void orion_check_output_order(orion_checker *c) { check_order(c, c->f->outputs, c->f->n_outputs, "outputs", "returned"); }

void orion_check_input_returned(orion_checker *c) {
  for (size_t i = 0; i < c->f->n_outputs; i++) {
    if (c->f->values[c->f->outputs[i]].def != ORION_NONE) continue;
    report_value(c, c->f->outputs[i], "an input is returned as it is");
  }
}

void orion_check_returned_names(orion_checker *c) {
  for (size_t i = 0; i < c->f->n_outputs; i++) {
    const orion_value *v = &c->f->values[c->f->outputs[i]];
    if (v->def != ORION_NONE || v->index != ORION_NONE) continue;
    report_value(c, c->f->outputs[i], "what is returned is not defined");
  }
}

void orion_check_identity_output(orion_checker *c) {
  if (c->f->n_outputs != 1) return;
  orion_op_id def = c->f->values[c->f->outputs[0]].def;
  if (def == ORION_NONE || c->f->ops[def].code != ORION_OP_identity) return;
  report_value(c, c->f->outputs[0], "the only output is an identity");
}

// ---- the walk ----

static bool applies(const orion_checker *c, const orion_rule *r) {
  return r->check && ((r->families | r->elsewhere) & orion_family_bit(c->t->name));
}

static void ask(orion_checker *c, int scope) {
  for (int i = 0; i < ORION_RULES; i++) {
    c->rule = orion_rule_row((orion_rule_id)i);
    if ((int)c->rule->scope == scope && applies(c, c->rule)) c->rule->check(c);
  }
}

static void ask_value(orion_checker *c, orion_value_id v) {
  c->name = c->f->values[v].name;
  c->type = orion_value_type(c->f, v);
  if (orion_type_is_tensor(c->type)) ask(c, ORION_SCOPE_VALUE);
}

static void ask_io(orion_checker *c, orion_value_id v, bool input) {
  c->input = input;
  c->name = c->f->values[v].name;
  c->type = orion_value_type(c->f, v);
  ask(c, ORION_SCOPE_IO);
}

// Constants, packed or not, are no tensors of the engine: only their bytes count.
static void ask_op(orion_checker *c, orion_op_id id) {
  c->id = id;
  c->op = &c->f->ops[id];
  orion_op_class cls = orion_opcode_info(c->op->code)->cls;
  bool constant = cls == ORION_CLASS_CONST || cls == ORION_CLASS_CONSTEXPR;
  for (uint32_t i = 0; i < c->op->n_results && !constant; i++) ask_value(c, c->op->results[i]);
  c->name = NULL;
  c->type = NULL;
  ask(c, ORION_SCOPE_OP);
  c->id = ORION_NONE;
  c->op = NULL;
}

static void ask_function(orion_checker *c) {
  ask(c, ORION_SCOPE_FUNCTION);
  for (size_t i = 0; i < c->f->n_params; i++) {
    ask_io(c, c->f->params[i], true);
    ask_value(c, c->f->params[i]);
  }
  for (size_t i = 0; i < c->f->n_outputs; i++) ask_io(c, c->f->outputs[i], false);
  c->name = NULL;
  for (orion_op_id id = c->f->first; id != ORION_NONE; id = c->f->ops[id].next) ask_op(c, id);
}

orion_status orion_target_check(const orion_target *t, orion_program *p, orion_findings *out, orion_error *err) {
  if (!t->ane) return ORION_OK;
  for (size_t i = 0; i < p->n_functions; i++) {
    orion_checker c = {.t = t, .p = p, .f = p->functions[i], .out = out, .id = ORION_NONE};
    ask_function(&c);
    if (c.no_memory) return ORION_OOM(err, "check");
  }
  return out->failed ? ORION_OOM(err, "check") : ORION_OK;
}

// Rules that the verifier breaks off at, under their own names.
orion_status orion_target_check_unsound(const orion_target *t, orion_program *p, orion_findings *out, orion_error *err) {
  for (size_t i = 0; i < p->n_functions && t->ane; i++) {
    orion_checker c = {.t = t, .p = p, .f = p->functions[i], .out = out, .id = ORION_NONE};
    c.rule = orion_rule_row(ORION_RULE_C14);
    orion_check_returned_names(&c);
    c.rule = orion_rule_row(ORION_RULE_C13);
    ORION_EACH_OP(c.f, id) {
      c.id = id;
      c.op = &c.f->ops[id];
      orion_check_conv_bias(&c);
    }
  }
  return out->failed ? ORION_OOM(err, "check") : ORION_OK;
}

orion_status orion_program_check(orion_program *p, const char *target, orion_findings *list, orion_error *err) {
  const orion_target *t = orion_target_find(target);
  if (!t) return ORION_FAIL(err, ORION_INVALID, "target: there is no \"%s\" (m1 to m6, or cpu)", target);
  ORION_TRY(orion_verify(p, list, err));
  return orion_findings_fatal(list) ? orion_target_check_unsound(t, p, list, err) : orion_target_check(t, p, list, err);
}
