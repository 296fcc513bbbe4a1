// Which rules a device plays, and what they say of a program: the check's findings, made fatal or not by the mode, and
// what switched-off rules of the kind "this works" refuse.
#include "device/sim/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/options.h"

// ---- options ----

static orion_status parse_mode(const char *text, orion_sim_mode *out, orion_error *err) {
  static const char *const names[] = {"strict", "faithful", "numbers"};
  for (int i = 0; i < 3; i++) {
    if (strcmp(text, names[i]) != 0) continue;
    *out = (orion_sim_mode)i;
    return ORION_OK;
  }
  return ORION_FAIL(err, ORION_INVALID, "device sim: mode=%s (want strict, faithful or numbers)", text);
}

static orion_status parse_off(const char *text, bool *off, orion_error *err) {
  while (*text) {
    char name[64];
    size_t n = strcspn(text, "+");
    snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), text);
    orion_rule_id id = orion_rule_find(name);
    if (id == ORION_RULES) {
      return ORION_FAIL(err, ORION_INVALID, "device sim: off=%s: there is no rule of that id (docs/rules.md lists them)", name);
    }
    if (orion_rule_row(id)->play == ORION_PLAY_NONE) {
      return ORION_FAIL(err, ORION_INVALID, "device sim: off=%s: the simulator does not play this rule", name);
    }
    off[id] = true;
    text += n + (text[n] == '+');
  }
  return ORION_OK;
}

orion_status orion_sim_rules_parse(const orion_allocator *a, const orion_device_options *o, const char *family,
                                   orion_sim_rules *out, orion_error *err) {
  const char *mode = orion_device_option(o, "mode"), *off = orion_device_option(o, "off");
  const char *file = orion_device_option(o, "target");
  *out = (orion_sim_rules){.target = strcmp(family, "ideal") == 0 ? NULL : orion_target_find(family)};
  if (!out->target && (mode || off || file)) {
    return ORION_FAIL(err, ORION_INVALID, "device sim:%s: it plays no rules (mode, off and target are for m1 to m6)", family);
  }
  if (file) {
    ORION_TRY(orion_target_read(a, file, &out->measured, err));
    if (strcmp(out->measured.name, family) != 0) {
      return ORION_FAIL(err, ORION_INVALID, "device sim:%s: %s is a target of %s", family, file, out->measured.name);
    }
    out->target = &out->measured;
  }
  long budget;
  ORION_TRY(orion_device_option_number("sim", o, "compiles", 1, 1 << 20, 0, &budget, err));
  out->budget = (int)budget;
  if (mode) ORION_TRY(parse_mode(mode, &out->mode, err));
  return off ? parse_off(off, out->off, err) : ORION_OK;
}

static bool concerns(const orion_sim_rules *r, orion_rule_id id) {
  return r->target && r->mode != ORION_SIM_NUMBERS && orion_rule_holds(orion_rule_row(id), r->target->name);
}

bool orion_sim_rules_play(const orion_sim_rules *r, orion_rule_id id) { return concerns(r, id) && !r->off[id]; }
bool orion_sim_rules_off(const orion_sim_rules *r, orion_rule_id id) { return concerns(r, id) && r->off[id]; }

// ---- programs ----

// Does a finding of this rule stop a program here?
static bool stops(const orion_sim_rules *r, orion_rule_id id) {
  switch (orion_rule_row(id)->play) {
    case ORION_PLAY_COMPILE: case ORION_PLAY_LOAD: case ORION_PLAY_RUN: return true;
    case ORION_PLAY_SILENT: return r->mode == ORION_SIM_STRICT;
    default: return false;
  }
}

// Keeps of the findings from `first` on those of rules that are played.
static void keep_played(const orion_sim_rules *r, orion_findings *l, size_t first) {
  size_t kept = first;
  for (size_t i = first; i < l->n; i++) {
    orion_finding x = l->items[i];
    orion_rule_id id = orion_rule_find(x.rule);
    if (id != ORION_RULES && r->off[id]) continue;
    x.fatal = x.fatal && (id == ORION_RULES || stops(r, id));
    l->items[kept++] = x;
  }
  l->n = kept;
}

static bool is_reduction(const orion_op *op) { return op && orion_opcode_info(op->code)->cls == ORION_CLASS_REDUCE; }

static bool is_odd_softmax(const orion_function *f, const orion_op *op) {
  const orion_type *x = orion_ref_type(f, orion_op_ref(op, "x"));
  int64_t axis;
  if (op->code != ORION_OP_softmax || !orion_type_is_tensor(x) || !orion_op_int(f, op, "axis", &axis)) return false;
  if (axis < 0) axis += x->rank;
  return axis == 1 && x->rank > 2 && (x->dims[1] & (x->dims[1] - 1)) != 0;
}

// The rule, of those that say that an operation works, which this one needs; ORION_RULES: none.
static orion_rule_id works_by(const orion_function *f, const orion_op *op) {
  switch (op->code) {
    case ORION_OP_sqrt: return is_reduction(orion_op_source(f, op, "x")) ? ORION_RULE_D01 : ORION_RULES;
    case ORION_OP_reduce_mean: return ORION_RULE_D02;
    case ORION_OP_softmax: return is_odd_softmax(f, op) ? ORION_RULE_D03 : ORION_RULES;
    case ORION_OP_concat: {
      const orion_arg *values = orion_op_arg(op, "values");
      return values && values->n_refs > 2 ? ORION_RULE_D04 : ORION_RULES;
    }
    default: return ORION_RULES;
  }
}

orion_status orion_sim_rules_check(const orion_sim_rules *r, orion_program *p, orion_findings *out, orion_error *err) {
  if (!r->target || r->mode == ORION_SIM_NUMBERS) return ORION_OK;
  size_t first = out->n;
  ORION_TRY(orion_target_check(r->target, p, out, err));
  keep_played(r, out, first);
  for (size_t i = 0; i < p->n_functions; i++) {
    const orion_function *f = p->functions[i];
    ORION_EACH_OP(f, id) {
      orion_rule_id rule = works_by(f, &f->ops[id]);
      if (rule == ORION_RULES || !orion_sim_rules_off(r, rule)) continue;
      orion_findings_add(out, orion_rule_row(rule)->name, true, f, id, NULL, orion_rule_row(rule)->way_out,
                         "%s: refused, for the rule that it works is switched off", f->ops[id].spelling);
    }
  }
  return out->failed ? ORION_OOM(err, "rules") : ORION_OK;
}

// ---- what goes wrong in a compiled program ----

static bool is_last_axis_gather(const orion_function *f, const orion_op *op) {
  const orion_type *x = orion_ref_type(f, orion_op_ref(op, "x"));
  int64_t axis = 0;
  if (op->code != ORION_OP_gather || !orion_type_is_tensor(x)) return false;
  orion_op_int(f, op, "axis", &axis);
  return axis == -1 || axis == x->rank - 1;
}

static bool is_runtime_conv(const orion_function *f, const orion_op *op) {
  return op->code == ORION_OP_conv && !orion_ref_is_const(f, orion_op_ref(op, "weight"));
}

orion_sim_flaw orion_sim_rules_flaw(const orion_sim_rules *r, const orion_function *f, const orion_op *op) {
  if (op->code == ORION_OP_scaled_dot_product_attention && orion_sim_rules_play(r, ORION_RULE_C06)) return ORION_SIM_NO_MASK;
  if (is_last_axis_gather(f, op) && orion_sim_rules_play(r, ORION_RULE_D12)) return ORION_SIM_FIRST_ELEMENT;
  if (is_runtime_conv(f, op) && orion_sim_rules_off(r, ORION_RULE_D20)) return ORION_SIM_NO_WEIGHTS;
  return ORION_SIM_SOUND;
}

bool orion_sim_rules_tapped(const orion_sim_rules *r, const orion_function *f, orion_value_id v) {
  orion_op_id def = f->values[v].def;
  bool alone = f->n_outputs == 1 && def != ORION_NONE && f->ops[def].code == ORION_OP_identity;
  if (alone && orion_sim_rules_play(r, ORION_RULE_D19)) return true;
  if (!orion_sim_rules_off(r, ORION_RULE_C39)) return false;
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    for (uint32_t a = 0; a < op->n_args; a++) {
      for (uint32_t i = 0; i < op->args[a].n_refs; i++) {
        if (op->args[a].refs[i] == v) return true;
      }
    }
  }
  return false;
}

// ---- budgets ----

orion_status orion_sim_rules_refuse(const orion_sim_rules *r, orion_rule_id id, orion_error *err) {
  const orion_rule *row = orion_rule_row(id);
  char statement[384], status[32] = "";
  orion_rule_statement(row, r->target, statement, sizeof statement);
  if (row->status) snprintf(status, sizeof status, "status 0x%x: ", row->status);
  return ORION_FAIL(err, ORION_REFUSED, "sim:%s: %s%s%s%s (rule %s)", r->target->name, status, statement,
                    row->way_out ? "; " : "", row->way_out ? row->way_out : "", row->name);
}

int orion_sim_rules_budget(const orion_sim_rules *r) {
  return r->budget ? r->budget : orion_sim_rules_play(r, ORION_RULE_C05) ? r->target->compile_budget : 0;
}

orion_status orion_sim_rules_compile(orion_sim_rules *r, orion_error *err) {
  const int budget = orion_sim_rules_budget(r);
  if (budget && r->compiles >= budget) {
    if (!r->budget) return orion_sim_rules_refuse(r, ORION_RULE_C05, err);
    return ORION_FAIL(err, ORION_REFUSED, "sim: %d programs are compiled, and compiles=%d allows no more in one process",
                      r->compiles, budget);
  }
  r->compiles++;
  return ORION_OK;
}

orion_status orion_sim_rules_load(orion_sim_rules *r, orion_error *err) {
  if (orion_sim_rules_play(r, ORION_RULE_C40) && r->loaded >= r->target->load_slots) {
    return orion_sim_rules_refuse(r, ORION_RULE_C40, err);
  }
  r->loaded++;
  return ORION_OK;
}
