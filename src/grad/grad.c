// The passes over a function: what is live, what is active, the walk backwards, the sweep.
//
// With a rule for computing again, everything is built twice: the first time shows which forward values the rules need,
// from that it is decided which of them are kept, and the second time builds the result.
#include "grad/grad.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "grad/backward.h"

orion_grad_rule orion_grad_rule_of(orion_opcode code) {
  static const orion_grad_rule rules[ORION_OP_COUNT] = {
#define ORION_GRAD(op, rule) [ORION_OP_##op] = orion_grad_##rule,
#include "grad/rules.inc"
#undef ORION_GRAD
  };
  return code < ORION_OP_COUNT ? rules[code] : NULL;
}

bool orion_grad_has_rule(orion_opcode code) { return orion_grad_rule_of(code) != NULL; }

typedef struct pass {  // one building of the result
  orion_backward w;
  const orion_program *source;
  orion_program *program;
  orion_arena *scratch;
  orion_ref *seeds;     // gradient that each seed puts in
  size_t n_forward;     // ids below are forward operations; in one function with the backward ones unless split
  orion_value_id *wrt;  // source values
} pass;

// ---- names ----------------------------------------------------------------------------------------------------------

static orion_status find_value(const orion_function *f, const char *name, const char *what, orion_value_id *out,
                               orion_error *err) {
  *out = orion_function_find(f, name);
  if (*out != ORION_NONE) return ORION_OK;
  return ORION_FAIL(err, ORION_NOT_FOUND, "gradient: %s %s is no value of function %s", what, name, f->name);
}

static orion_status find_wrt(pass *p, orion_error *err) {
  const orion_grad_options *o = p->w.options;
  p->wrt = ORION_ARENA_ARRAY(p->scratch, orion_value_id, o->n_wrt);
  if (!p->wrt) return ORION_OOM(err, "gradient");
  for (size_t i = 0; i < o->n_wrt; i++) {
    ORION_TRY(find_value(p->w.from, o->wrt[i], "wrt", &p->wrt[i], err));
    const orion_type *t = orion_value_type(p->w.from, p->wrt[i]);
    if (!orion_type_is_static(t) || !orion_dtype_is_float(t->dtype)) {
      return ORION_FAIL(err, ORION_INVALID, "gradient: %s is %s (want a floating tensor of known shape)", o->wrt[i],
                        orion_type_text(t).text);
    }
  }
  return ORION_OK;
}

// ---- what is live, what is active -----------------------------------------------------------------------------------

static bool any_marked(const orion_op *op, const bool *marked) {
  for (uint32_t i = 0; i < op->n_args; i++) {
    for (uint32_t r = 0; r < op->args[i].n_refs; r++) {
      orion_ref ref = op->args[i].refs[r];
      if (!orion_ref_is_literal(ref) && marked[ref]) return true;
    }
  }
  return false;
}

// Values that a value of wrt influences, through floating values only.
static void mark_active(pass *p) {
  const orion_function *f = p->w.from;
  for (size_t i = 0; i < p->w.options->n_wrt; i++) p->w.active[p->wrt[i]] = true;
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    if (!any_marked(op, p->w.active)) continue;
    for (uint32_t i = 0; i < op->n_results; i++) {
      const orion_type *t = orion_value_type(f, op->results[i]);
      if (orion_type_is_tensor(t) && orion_dtype_is_float(t->dtype)) p->w.active[op->results[i]] = true;
    }
  }
}

static orion_op_id last_of(const orion_function *f) { return f->last; }

// Forward operations that the outputs asked for, and the seeds' values, come from.
static orion_status mark_live(pass *p, bool *live, orion_error *err) {
  const orion_grad_options *o = p->w.options;
  const orion_function *f = p->w.from;
  orion_value_id v;
  for (size_t i = 0; o->outputs && i < o->n_outputs; i++) {
    ORION_TRY(find_value(f, o->outputs[i], "output", &v, err));
    live[v] = true;
  }
  for (size_t i = 0; !o->outputs && i < f->n_outputs; i++) live[f->outputs[i]] = true;
  for (size_t i = 0; i < o->n_seeds; i++) {
    ORION_TRY(find_value(f, o->seeds[i].value, "seed", &v, err));
    live[v] = true;
  }
  for (size_t i = 0; i < o->n_wrt; i++) live[p->wrt[i]] = true;
  for (orion_op_id id = last_of(f); id != ORION_NONE; id = f->ops[id].prev) {
    const orion_op *op = &f->ops[id];
    bool used = (orion_opcode_info(op->code)->flags & ORION_F_EFFECT) != 0;
    for (uint32_t i = 0; i < op->n_results; i++) used = used || live[op->results[i]];
    if (!used) continue;
    for (uint32_t i = 0; i < op->n_results; i++) live[op->results[i]] = true;
    for (uint32_t i = 0; i < op->n_args; i++) {
      for (uint32_t r = 0; r < op->args[i].n_refs; r++) {
        if (!orion_ref_is_literal(op->args[i].refs[r])) live[op->args[i].refs[r]] = true;
      }
    }
  }
  return ORION_OK;
}

// ---- building -------------------------------------------------------------------------------------------------------

// Made as soon as the value is there, so that the value itself need not live longer than forward wants it.
static void hold_narrow(orion_backward *w, orion_value_id v) {
  snprintf(w->b.prefix, sizeof w->b.prefix, "%s", "kept_");
  w->held[v] = ORION_BUILD(&w->b, w->from->values[v].name, ORION_OP_cast, {"x", w->map[v]},
                           {"dtype", orion_build_string(&w->b, "dtype", orion_dtype_name(w->options->kept_as))});
}

static orion_status copy_forward(pass *p, const bool *live, orion_error *err) {
  const orion_function *f = p->w.from;
  orion_function *to = p->w.forward;
  for (size_t i = 0; i < f->n_params; i++) {
    const orion_value *v = &f->values[f->params[i]];
    const orion_type *t = v->type;
    if (!orion_type_is_tensor(t)) {
      return ORION_FAIL(err, ORION_UNSUPPORTED, "gradient: parameter %s is no tensor", v->name);
    }
    const orion_type *copy = t->scalar ? orion_type_scalar(to->program, t->dtype)
                                       : orion_type_tensor(to->program, t->dtype, t->rank, t->dims);
    p->w.map[f->params[i]] = copy ? orion_function_add_param(to, v->name, copy) : ORION_NONE;
    if (p->w.map[f->params[i]] == ORION_NONE) return ORION_OOM(err, "gradient");
  }
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    bool wanted = op->n_results == 0 || live[op->results[0]];
    if (wanted && !orion_copy_op(to, f, id, NULL, NULL, p->w.map)) return ORION_OOM(err, "gradient");
    if (wanted && op->n_results == 1 && p->w.round[op->results[0]]) hold_narrow(&p->w, op->results[0]);
  }
  p->n_forward = to->n_ops;
  return orion_builder_finish(&p->w.b, err);
}

// A seed's parameter: a new one, or one that is there already and fits.
static orion_ref seed_parameter(pass *p, const char *name, const orion_type *t) {
  orion_builder *b = &p->w.b;
  orion_value_id v = orion_function_find(b->f, name);
  if (v == ORION_NONE && p->w.forward != b->f) {  // split: perhaps a parameter that backward has not asked for yet
    orion_value_id source = orion_function_find(p->w.from, name);
    if (source != ORION_NONE && p->w.from->values[source].def == ORION_NONE) v = orion_back_value(&p->w, source);
  }
  if (v == ORION_NONE) return orion_build_param(b, name, t->dtype, t->rank, t->dims);
  if (b->f->values[v].def == ORION_NONE && orion_type_equal(b->f->values[v].type, t)) return v;
  orion_builder_fail(b, ORION_INVALID, "gradient: seed parameter %s: the name is taken by %s", name,
                     orion_type_text(b->f->values[v].type).text);
  return ORION_NONE;
}

static orion_status plant_seeds(pass *p, orion_error *err) {
  const orion_grad_options *o = p->w.options;
  for (size_t i = 0; i < o->n_seeds; i++) {
    orion_value_id v;
    ORION_TRY(find_value(p->w.from, o->seeds[i].value, "seed", &v, err));
    const orion_type *t = orion_value_type(p->w.from, v);
    if (!orion_type_is_static(t) || !orion_dtype_is_float(t->dtype)) {
      return ORION_FAIL(err, ORION_INVALID, "gradient: seed %s is %s (want a floating tensor of known shape)",
                        o->seeds[i].value, orion_type_text(t).text);
    }
    snprintf(p->w.b.prefix, sizeof p->w.b.prefix, "%s", "seed_");
    orion_ref d = o->seeds[i].parameter ? seed_parameter(p, o->seeds[i].parameter, t) : orion_back_fill(&p->w, t, 1);
    orion_back_give_ref(&p->w, v, d);
  }
  return orion_builder_finish(&p->w.b, err);
}

static void walk_back(pass *p) {
  orion_backward *w = &p->w;
  const orion_function *f = w->from;
  for (orion_op_id id = last_of(f); id != ORION_NONE && w->b.status == ORION_OK; id = f->ops[id].prev) {
    const orion_op *op = &f->ops[id];
    if (op->n_results == 0 || !any_marked(op, w->active)) continue;
    orion_ref dy = w->gradient[op->results[0]];
    for (uint32_t i = 1; i < op->n_results && dy == ORION_NONE; i++) dy = w->gradient[op->results[i]];
    if (dy == ORION_NONE) continue;
    orion_grad_rule rule = orion_grad_rule_of(op->code);
    snprintf(w->b.prefix, sizeof w->b.prefix, "bwd_%.50s_", f->values[op->results[0]].name);
    if (rule) {
      rule(w, op, dy);
    } else {
      orion_back_refuse(w, op, "the operation has no gradient");
    }
  }
}

// ---- results --------------------------------------------------------------------------------------------------------

// Every result is a value of its own, made by an operation.
static orion_ref own_value(orion_backward *w, orion_function *f, orion_ref x) {
  bool taken = f->values[x].def == ORION_NONE || orion_ref_is_const(f, x);
  for (size_t i = 0; i < f->n_outputs; i++) taken = taken || f->outputs[i] == x;
  return taken ? ORION_BUILD(&w->b, "copy", ORION_OP_identity, {"x", x}) : x;
}

static orion_status add_gradients(pass *p, orion_error *err) {
  orion_backward *w = &p->w;
  snprintf(w->b.prefix, sizeof w->b.prefix, "%s", "");
  for (size_t i = 0; i < w->options->n_wrt && w->b.status == ORION_OK; i++) {
    char name[256];
    snprintf(name, sizeof name, "d_%.250s", w->options->wrt[i]);
    orion_ref d = w->gradient[p->wrt[i]];
    if (d == ORION_NONE) d = orion_back_fill(w, orion_value_type(w->from, p->wrt[i]), 0);
    if (w->b.status == ORION_OK) d = own_value(w, w->b.f, d);
    orion_build_output(&w->b, d, name);
  }
  return orion_builder_finish(&w->b, err);
}

static orion_status add_forward_output(pass *p, orion_value_id v, orion_error *err) {
  orion_function *f = p->w.forward;
  for (size_t i = 0; i < f->n_outputs; i++) {
    if (f->outputs[i] == p->w.map[v]) return ORION_OK;
  }
  return orion_function_add_output(f, p->w.map[v], err);
}

static orion_status add_outputs(pass *p, orion_error *err) {
  const orion_grad_options *o = p->w.options;
  const orion_function *f = p->w.from;
  for (size_t i = 0; o->outputs && i < o->n_outputs; i++) {
    ORION_TRY(add_forward_output(p, orion_function_find(f, o->outputs[i]), err));
  }
  for (size_t i = 0; !o->outputs && i < f->n_outputs; i++) ORION_TRY(add_forward_output(p, f->outputs[i], err));
  return ORION_OK;
}

static bool is_kept(const pass *p, orion_value_id v) {
  return orion_grad_is_tap(p->w.from, p->w.needed, v) && !p->w.again[v];
}

// Split: what is kept is handed over.
static orion_status add_taps(pass *p, orion_error *err) {
  if (p->w.forward == p->w.b.f) return ORION_OK;
  for (size_t v = 0; v < p->w.from->n_values; v++) {
    if (is_kept(p, (orion_value_id)v)) ORION_TRY(add_forward_output(p, (orion_value_id)v, err));
  }
  return ORION_OK;
}

// Operations whose results nothing uses go, from the end; so do parameters.
static orion_status sweep(orion_function *f, orion_arena *scratch, orion_error *err) {
  uint32_t *uses = orion_function_count_uses(f, scratch);
  if (!uses) return ORION_OOM(err, "gradient");
  for (orion_op_id id = f->last, previous; id != ORION_NONE; id = previous) {
    const orion_op *op = &f->ops[id];
    previous = op->prev;
    bool used = (orion_opcode_info(op->code)->flags & ORION_F_EFFECT) != 0;
    for (uint32_t i = 0; i < op->n_results; i++) used = used || uses[op->results[i]];
    if (used) continue;
    for (uint32_t i = 0; i < op->n_args; i++) {
      for (uint32_t r = 0; r < op->args[i].n_refs; r++) {
        if (!orion_ref_is_literal(op->args[i].refs[r])) uses[op->args[i].refs[r]]--;
      }
    }
    orion_function_remove_op(f, id);
  }
  size_t n = 0;
  for (size_t i = 0; i < f->n_params; i++) {
    if (!uses[f->params[i]]) continue;
    f->values[f->params[i]].index = (uint32_t)n;
    f->params[n++] = f->params[i];
  }
  f->n_params = n;
  return ORION_OK;
}

// ---- one building ---------------------------------------------------------------------------------------------------

static bool allocate(pass *p, size_t n) {
  orion_backward *w = &p->w;
  w->map = ORION_ARENA_ARRAY(p->scratch, orion_ref, n);
  w->at = ORION_ARENA_ARRAY(p->scratch, orion_ref, n);
  w->gradient = ORION_ARENA_ARRAY(p->scratch, orion_ref, n);
  w->active = ORION_ARENA_ARRAY(p->scratch, bool, n);
  w->needed = ORION_ARENA_ARRAY(p->scratch, bool, n);
  w->fence = ORION_ARENA_ARRAY(p->scratch, orion_ref, n);
  w->held = ORION_ARENA_ARRAY(p->scratch, orion_ref, n);
  if (!w->map || !w->at || !w->gradient || !w->active || !w->needed || !w->fence || !w->held) return false;
  for (size_t i = 0; i < n; i++) w->map[i] = w->at[i] = w->gradient[i] = w->fence[i] = w->held[i] = ORION_NONE;
  return true;
}

static orion_status start_program(pass *p, orion_error *err) {
  const orion_function *f = p->w.from;
  bool split = p->w.options->split;
  ORION_TRY(orion_program_create(p->source->allocator, p->source->data, &p->program, err));
  p->program->version = orion_arena_strdup(&p->program->arena, p->source->version);
  if (!p->program->version) return ORION_OOM(err, "gradient");
  ORION_TRY(orion_program_add_function(p->program, split ? "main" : f->name, f->opset, &p->w.forward, err));
  orion_function *backward = p->w.forward;
  if (split) ORION_TRY(orion_program_add_function(p->program, "backward", f->opset, &backward, err));
  orion_builder_init(&p->w.b, backward);
  return ORION_OK;
}

// Builds p->program by the plan p->w.again; leaves in p->w.needed which forward values backward asked for.
static orion_status build(pass *p, orion_error *err) {
  size_t n = p->w.from->n_values + 1;
  bool *live = ORION_ARENA_ARRAY(p->scratch, bool, n);
  if (!live || !allocate(p, n)) return ORION_OOM(err, "gradient");
  ORION_TRY(start_program(p, err));
  ORION_TRY(find_wrt(p, err));
  mark_active(p);
  ORION_TRY(mark_live(p, live, err));
  ORION_TRY(copy_forward(p, live, err));
  ORION_TRY(plant_seeds(p, err));
  walk_back(p);
  ORION_TRY(orion_builder_finish(&p->w.b, err));
  ORION_TRY(add_outputs(p, err));
  ORION_TRY(add_gradients(p, err));
  ORION_TRY(add_taps(p, err));
  ORION_TRY(sweep(p->w.b.f, p->scratch, err));
  return p->w.forward == p->w.b.f ? ORION_OK : sweep(p->w.forward, p->scratch, err);
}

// ---- all of it ------------------------------------------------------------------------------------------------------

static size_t count_ops(const orion_function *f, size_t from, size_t to) {
  size_t n = 0;
  ORION_EACH_OP(f, id) { n += id >= from && id < to && orion_opcode_info(f->ops[id].code)->cls != ORION_CLASS_CONST; }
  return n;
}

static void report(const pass *p, orion_grad_report *out) {
  *out = (orion_grad_report){0};
  for (size_t v = 0; v < p->w.from->n_values; v++) {
    size_t bytes = 0;
    orion_type_bytes(p->w.from->values[v].type, &bytes);
    if (p->w.again[v]) {
      out->recomputed++;
      out->recomputed_bytes += bytes;
    } else if (is_kept(p, (orion_value_id)v)) {
      out->kept++;
      out->kept_bytes += p->w.round[v] ? bytes / 32 * (size_t)orion_dtype_bits(p->w.options->kept_as) : bytes;
    }
  }
  bool split = p->w.forward != p->w.b.f;
  out->forward_ops = count_ops(p->w.forward, 0, p->n_forward);
  out->backward_ops = count_ops(p->w.b.f, split ? 0 : p->n_forward, p->w.b.f->n_ops);
}

static const orion_function *find_function(const orion_program *p, const char *name) {
  if (name) return orion_program_function(p, name);
  const orion_function *f = orion_program_function(p, "main");
  return f || p->n_functions != 1 ? f : p->functions[0];
}

orion_status orion_grad(const orion_program *source, const orion_grad_options *options, orion_program **out,
                        orion_grad_report *out_report, orion_error *err) {
  const orion_function *f = find_function(source, options->function);
  if (!f) {
    return ORION_FAIL(err, ORION_NOT_FOUND, "gradient: the program has no function %s",
                      options->function ? options->function : "main");
  }
  assert(!options->split || !options->kept_as);
  orion_arena scratch;
  orion_arena_init(&scratch, source->allocator);
  pass p = {.w = {.options = options, .from = f}, .source = source, .scratch = &scratch};
  bool *again = ORION_ARENA_ARRAY(&scratch, bool, f->n_values + 1);
  bool *round = ORION_ARENA_ARRAY(&scratch, bool, f->n_values + 1);
  orion_status status = again && round ? ORION_OK : ORION_OOM(err, "gradient");
  p.w.again = again;
  p.w.round = round;
  if (status == ORION_OK) status = build(&p, err);
  if (status == ORION_OK && (options->recompute || options->kept_as)) {
    orion_program_destroy(p.program);
    p.program = NULL;
    status = orion_grad_plan(f, options, p.w.needed, &scratch, again, round, err);
    if (status == ORION_OK) status = build(&p, err);
  }
  if (status == ORION_OK && out_report) report(&p, out_report);
  orion_arena_deinit(&scratch);
  if (status == ORION_OK) {
    *out = p.program;
  } else {
    orion_program_destroy(p.program);
  }
  return status;
}
