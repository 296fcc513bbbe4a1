// Copying operations, functions and programs from one arena to another.
#include <string.h>

#include "ir/ir.h"

static const orion_type *clone_type(orion_program *p, const orion_type *t) {
  if (!t) return NULL;
  orion_type *copy = orion_arena_copy(&p->arena, t, 1, sizeof *t);
  if (!copy || !t->n_parts) return copy;
  const orion_type **parts = ORION_ARENA_ARRAY(&p->arena, const orion_type *, t->n_parts);
  if (!parts) return NULL;
  for (uint32_t i = 0; i < t->n_parts; i++) {
    parts[i] = clone_type(p, t->parts[i]);
    if (!parts[i]) return NULL;
  }
  copy->parts = parts;
  return copy;
}

static const orion_literal *clone_literal(orion_program *p, const orion_literal *l) {
  orion_literal *copy = orion_arena_copy(&p->arena, l, 1, sizeof *l);
  if (!copy) return NULL;
  copy->type = clone_type(p, l->type);
  if (!copy->type) return NULL;
  if (l->blob_path) copy->blob_path = orion_arena_strdup(&p->arena, l->blob_path);
  if (l->blob_path && !copy->blob_path) return NULL;
  if (l->strings) {
    const orion_literal *strings = orion_literal_strings(p, copy->type, l->n_items, l->strings);
    if (!strings) return NULL;
    copy->strings = strings->strings;
  }
  if (l->items) {
    const orion_literal **items = ORION_ARENA_ARRAY(&p->arena, const orion_literal *, l->n_items);
    if (!items) return NULL;
    for (uint32_t i = 0; i < l->n_items; i++) {
      items[i] = clone_literal(p, l->items[i]);
      if (!items[i]) return NULL;
    }
    copy->items = items;
  }
  return copy;
}

static orion_attr *clone_attrs(orion_program *p, const orion_attr *attrs, size_t n) {
  orion_attr *copy = ORION_ARENA_ARRAY(&p->arena, orion_attr, n);
  if (!copy) return NULL;
  for (size_t i = 0; i < n; i++) {
    copy[i].name = orion_arena_strdup(&p->arena, attrs[i].name);
    copy[i].value = clone_literal(p, attrs[i].value);
    if (!copy[i].name || !copy[i].value) return NULL;
  }
  return copy;
}

bool orion_copy_op(orion_function *to, const orion_function *from, orion_op_id id,
                   orion_ref (*map_ref)(void *ctx, orion_ref ref), void *ctx, orion_ref *map) {
  orion_program *p = to->program;
  const orion_op *op = &from->ops[id];
  orion_arg *args = ORION_ARENA_ARRAY(&p->arena, orion_arg, op->n_args);
  const char **names = ORION_ARENA_ARRAY(&p->arena, const char *, op->n_results);
  const orion_type **types = ORION_ARENA_ARRAY(&p->arena, const orion_type *, op->n_results);
  orion_attr *attrs = clone_attrs(p, op->attrs, op->n_attrs);
  if (!args || !names || !types || !attrs) return false;
  for (uint32_t a = 0; a < op->n_args; a++) {
    args[a] = op->args[a];
    args[a].refs = ORION_ARENA_ARRAY(&p->arena, orion_ref, op->args[a].n_refs);
    if (!args[a].refs) return false;
    for (uint32_t r = 0; r < op->args[a].n_refs; r++) {
      orion_ref ref = op->args[a].refs[r];
      args[a].refs[r] = orion_ref_is_literal(ref)
                            ? orion_function_literal_ref(to, clone_literal(p, orion_ref_literal(from, ref)))
                            : map_ref ? map_ref(ctx, ref) : map[ref];
    }
  }
  for (uint32_t i = 0; i < op->n_results; i++) {
    names[i] = from->values[op->results[i]].name;
    types[i] = clone_type(p, from->values[op->results[i]].type);
    if (!types[i]) return false;
  }
  orion_op_spec spec = {op->code, op->spelling, args, op->n_args, attrs, op->n_attrs, names, types, op->n_results,
                        ORION_NONE, op->loc};
  orion_op_id copy = orion_function_add_op(to, &spec);
  if (copy == ORION_NONE) return false;
  for (uint32_t i = 0; i < op->n_results; i++) map[op->results[i]] = to->ops[copy].results[i];
  return true;
}

static bool clone_function(orion_program *p, const orion_function *from, orion_function *to) {
  orion_value_id *map = ORION_ARENA_ARRAY(&p->arena, orion_value_id, from->n_values + 1);
  if (!map) return false;
  for (size_t i = 0; i < from->n_values; i++) map[i] = ORION_NONE;
  to->loc = from->loc;
  to->attrs = clone_attrs(p, from->attrs, from->n_attrs);
  to->n_attrs = from->n_attrs;
  if (!to->attrs) return false;
  for (size_t i = 0; i < from->n_params; i++) {
    const orion_value *v = &from->values[from->params[i]];
    map[from->params[i]] = orion_function_add_param(to, v->name, clone_type(p, v->type));
    if (map[from->params[i]] == ORION_NONE) return false;
  }
  for (size_t i = 0; i < from->n_values; i++) {
    const orion_value *v = &from->values[i];
    if (v->def != ORION_NONE || v->index != ORION_NONE) continue;
    map[i] = orion_function_add_undefined(to, v->name);
    if (map[i] == ORION_NONE) return false;
  }
  ORION_EACH_OP(from, id) {
    if (!orion_copy_op(to, from, id, NULL, NULL, map)) return false;
  }
  for (size_t i = 0; i < from->n_outputs; i++) {
    if (orion_function_add_output(to, map[from->outputs[i]], NULL) != ORION_OK) return false;
  }
  return true;
}

orion_status orion_program_clone(const orion_program *p, orion_program **out, orion_error *err) {
  orion_program *copy;
  ORION_TRY(orion_program_create(p->allocator, p->data, &copy, err));
  copy->version = orion_arena_strdup(&copy->arena, p->version);
  copy->bare_end = p->bare_end;
  copy->attrs = clone_attrs(copy, p->attrs, p->n_attrs);
  copy->n_attrs = p->n_attrs;
  bool ok = copy->version && copy->attrs;
  for (size_t i = 0; ok && i < p->n_functions; i++) {
    orion_function *to;
    ok = orion_program_add_function(copy, p->functions[i]->name, p->functions[i]->opset, &to, err) == ORION_OK &&
         clone_function(copy, p->functions[i], to);
  }
  if (!ok) {
    orion_program_destroy(copy);
    return ORION_OOM(err, "program");
  }
  *out = copy;
  return ORION_OK;
}
