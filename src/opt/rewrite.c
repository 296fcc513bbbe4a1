// The walk and its bookkeeping; see the header for the rules.
#include "opt/rewrite.h"

#include <string.h>

#include "base/alloc.h"

void orion_rewrite_out_of_memory(orion_rewrite *r) { orion_builder_fail(&r->b, ORION_NO_MEMORY, "pass: out of memory"); }

static orion_value_id resolve(const orion_rewrite *r, orion_value_id v) {
  while (v < r->n_values && r->values[v].to != v) v = r->values[v].to;
  return v;
}

static bool grow_values(orion_rewrite *r) {
  if (!ORION_GROW(r->ctx->allocator, &r->values, &r->cap_values, r->f->n_values + 1)) return false;
  for (; r->n_values < r->f->n_values; r->n_values++) {
    r->values[r->n_values] = (orion_rewrite_value){.to = (orion_value_id)r->n_values};
  }
  return true;
}

// Counts the uses of operations made since the last call.
static void track(orion_rewrite *r) {
  if (!grow_values(r)) {
    orion_rewrite_out_of_memory(r);
    return;
  }
  for (; r->n_ops < r->f->n_ops; r->n_ops++) {
    const orion_op *op = &r->f->ops[r->n_ops];
    if (!op->linked) continue;
    for (uint32_t a = 0; a < op->n_args; a++) {
      for (uint32_t i = 0; i < op->args[a].n_refs; i++) {
        if (!orion_ref_is_literal(op->args[a].refs[i])) r->values[op->args[a].refs[i]].uses++;
      }
    }
  }
}

static void drop_use(orion_rewrite *r, orion_value_id ref) {
  orion_rewrite_value *v = &r->values[ref];
  if (v->uses && --v->uses) return;
  if (!ORION_GROW(r->ctx->allocator, &r->dead, &r->cap_dead, r->n_dead + 1)) {
    orion_rewrite_out_of_memory(r);
    return;
  }
  r->dead[r->n_dead++] = ref;
}

static void drop_args(orion_rewrite *r, const orion_op *op) {
  for (uint32_t a = 0; a < op->n_args; a++) {
    for (uint32_t i = 0; i < op->args[a].n_refs; i++) {
      orion_ref ref = op->args[a].refs[i];
      if (!orion_ref_is_literal(ref)) drop_use(r, resolve(r, ref));  // an operation not visited yet may name old values
    }
  }
}

static bool removable(const orion_rewrite *r, const orion_op *op) {
  if (!op->linked || op->code == ORION_OP_OTHER || orion_opcode_info(op->code)->flags & ORION_F_EFFECT) return false;
  for (uint32_t i = 0; i < op->n_results; i++) {
    if (r->values[op->results[i]].uses) return false;
  }
  return true;
}

static void remove_dead(orion_rewrite *r) {
  while (r->n_dead) {
    orion_op_id def = r->f->values[r->dead[--r->n_dead]].def;
    if (def == ORION_NONE || !removable(r, &r->f->ops[def])) continue;
    orion_function_remove_op(r->f, def);
    drop_args(r, &r->f->ops[def]);
  }
}

uint32_t orion_rewrite_uses(orion_rewrite *r, orion_value_id v) {
  track(r);
  return v < r->n_values ? r->values[v].uses : 0;
}

bool orion_rewrite_may_replace(const orion_rewrite *r, orion_value_id v, orion_value_id with) {
  if (with == ORION_NONE || v == with) return false;
  if (v >= r->n_values || !r->values[v].output) return true;
  orion_op_id def = r->f->values[with].def;
  if (def == ORION_NONE || (with < r->n_values && r->values[with].output)) return false;
  return !orion_ref_is_const(r->f, with);
}

bool orion_rewrite_replace_all(orion_rewrite *r, orion_op_id id, const orion_value_id *with) {
  track(r);
  if (r->b.status != ORION_OK) return false;
  orion_function *f = r->f;
  const orion_op *op = &f->ops[id];
  for (uint32_t i = 0; i < op->n_results; i++) {
    if (!orion_rewrite_may_replace(r, op->results[i], with[i])) return false;
  }
  orion_function_remove_op(f, id);
  for (uint32_t i = 0; i < op->n_results; i++) {
    orion_value_id v = op->results[i];
    bool hand_name = r->values[v].output || (with[i] >= r->n_old_values && !r->values[with[i]].output);
    if (hand_name && !orion_value_rename(f, with[i], f->values[v].name)) orion_rewrite_out_of_memory(r);
    r->values[with[i]].uses += r->values[v].uses;
    r->values[with[i]].output |= r->values[v].output;
    r->values[v] = (orion_rewrite_value){.to = with[i]};
  }
  drop_args(r, op);
  remove_dead(r);
  r->ctx->changes++;
  return true;
}

bool orion_rewrite_replace(orion_rewrite *r, orion_op_id op, orion_value_id with) {
  return r->f->ops[op].n_results == 1 && orion_rewrite_replace_all(r, op, &with);
}

void orion_rewrite_set_arg(orion_rewrite *r, orion_op_id id, const char *name, orion_ref ref) {
  track(r);
  if (r->b.status != ORION_OK) return;
  orion_ref old = orion_op_ref(&r->f->ops[id], name);
  if (ref == ORION_NONE) {
    orion_op_drop_arg(r->f, id, name);
  } else if (!orion_op_set_arg(r->f, id, name, ref)) {
    orion_rewrite_out_of_memory(r);
    return;
  } else if (!orion_ref_is_literal(ref)) {
    r->values[ref].uses++;
  }
  if (old != ORION_NONE && !orion_ref_is_literal(old)) drop_use(r, resolve(r, old));
  remove_dead(r);
}

// ---- constants ------------------------------------------------------------------------------------------------------

orion_value_id orion_rewrite_const(orion_rewrite *r, const char *stem, const orion_literal *val) {
  orion_function *f = r->f;
  if (r->b.status != ORION_OK) return ORION_NONE;
  const char *name = val ? orion_function_unique_name(f, stem) : NULL;
  orion_attr attrs[] = {{"name", name ? orion_literal_string(f->program, name) : NULL}, {"val", val}};
  if (!attrs[0].value) {
    orion_rewrite_out_of_memory(r);
    return ORION_NONE;
  }
  orion_op_spec spec = {.code = ORION_OP_const, .attrs = attrs, .n_attrs = 2, .result_names = &name,
                        .result_types = &val->type, .n_results = 1, .before = r->b.before};
  orion_op_id id = orion_function_add_op(f, &spec);
  if (id == ORION_NONE) {
    orion_rewrite_out_of_memory(r);
    return ORION_NONE;
  }
  return f->ops[id].results[0];
}

const orion_data *orion_rewrite_data(const orion_rewrite *r, orion_ref ref, const orion_type **out_type) {
  const orion_literal *val = orion_ref_literal(r->f, ref);
  size_t n;
  if (!val || !val->data || !orion_type_elements(val->type, &n) || n != orion_data_elements(val->data)) return NULL;
  *out_type = val->type;
  return val->data;
}

const void *orion_rewrite_bytes(orion_rewrite *r, orion_ref ref, size_t max_bytes, const orion_type **out_type) {
  const orion_type *type;
  const orion_data *data = orion_rewrite_data(r, ref, &type);
  size_t bytes;
  if (!data || data->dtype != type->dtype || !orion_type_bytes(type, &bytes) || bytes > max_bytes) return NULL;
  *out_type = type;
  const void *packed = orion_data_bytes(r->f->program->data, data);
  if (!packed) orion_rewrite_out_of_memory(r);
  return packed;
}

bool orion_rewrite_splat(orion_rewrite *r, orion_ref ref, double *out) {
  const orion_type *type;
  const void *bytes = orion_rewrite_bytes(r, ref, 4096, &type);
  size_t n;
  if (!bytes || !orion_type_elements(type, &n) || n == 0) return false;
  *out = orion_load_double(type->dtype, bytes, 0);
  for (size_t i = 1; i < n; i++) {
    double v = orion_load_double(type->dtype, bytes, i);
    if (memcmp(&v, out, sizeof v) != 0) return false;
  }
  return true;
}

orion_op_id orion_rewrite_def(const orion_rewrite *r, orion_ref ref, orion_opcode code) {
  if (ref == ORION_NONE || orion_ref_is_literal(ref)) return ORION_NONE;
  orion_op_id def = r->f->values[ref].def;
  return def != ORION_NONE && r->f->ops[def].code == code ? def : ORION_NONE;
}

// ---- the walk -------------------------------------------------------------------------------------------------------

static void resolve_args(orion_rewrite *r, orion_op *op) {
  for (uint32_t a = 0; a < op->n_args; a++) {
    for (uint32_t i = 0; i < op->args[a].n_refs; i++) {
      orion_ref *ref = &op->args[a].refs[i];
      if (!orion_ref_is_literal(*ref)) *ref = resolve(r, *ref);
    }
  }
}

static void walk(orion_rewrite *r, const orion_visitor *visitor) {
  orion_function *f = r->f;
  track(r);
  r->n_old_values = f->n_values;
  orion_op_id *order = ORION_ARENA_ARRAY(&r->scratch, orion_op_id, f->n_ops + 1);
  if (r->b.status != ORION_OK || !order) {
    orion_rewrite_out_of_memory(r);
    return;
  }
  for (size_t i = 0; i < f->n_outputs; i++) {
    r->values[f->outputs[i]].uses++;
    r->values[f->outputs[i]].output = true;
  }
  size_t n = 0;
  for (orion_op_id id = f->first; id != ORION_NONE; id = f->ops[id].next) order[n++] = id;
  if (visitor->start && !visitor->start(r)) orion_rewrite_out_of_memory(r);
  for (size_t i = 0; i < n && r->b.status == ORION_OK; i++) {
    if (!f->ops[order[i]].linked) continue;
    resolve_args(r, &f->ops[order[i]]);
    r->b.before = order[i];
    visitor->visit(r, order[i]);
  }
  track(r);
  for (size_t i = 0; i < f->n_outputs; i++) f->outputs[i] = resolve(r, f->outputs[i]);
}

orion_status orion_rewrite_run(orion_pass_context *ctx, orion_program *p, const orion_visitor *visitor, orion_error *err) {
  orion_status status = ORION_OK;
  for (size_t i = 0; status == ORION_OK && i < p->n_functions; i++) {
    orion_rewrite r = {.ctx = ctx, .f = p->functions[i]};
    orion_arena_init(&r.scratch, ctx->allocator);
    orion_builder_init(&r.b, r.f);
    walk(&r, visitor);
    status = orion_builder_finish(&r.b, err);
    orion_free(ctx->allocator, r.values, r.cap_values, sizeof *r.values);
    orion_free(ctx->allocator, r.dead, r.cap_dead, sizeof *r.dead);
    orion_arena_deinit(&r.scratch);
  }
  return status;
}
