// Programs and functions: making, cloning, and changing the list of operations.
#include <string.h>

#include "ir/ir.h"
#include "ir/names.h"

// What our printer writes into buildInfo: the components that Core ML's compiler names, which the ANE's own compiler
// wants to see although it does not care for the values.
static orion_status set_build_info(orion_program *p, orion_error *err) {
  static const char *const pairs[][2] = {{"coremlc-component-MIL", "3510.2.1"},
                                         {"coremlc-version", "3505.4.1"},
                                         {"coremltools-component-milinternal", ""},
                                         {"coremltools-version", "9.0"}};
  enum { N = sizeof pairs / sizeof *pairs };
  const orion_literal *items[2 * N];
  for (int i = 0; i < 2 * N; i++) {
    items[i] = orion_literal_string(p, pairs[i / 2][i % 2]);
    if (!items[i]) return ORION_OOM(err, "program");
  }
  const orion_type *str = orion_type_scalar(p, ORION_STRING);
  const orion_type *dict = orion_type_composite(p, ORION_TYPE_DICT, 0, 2, (const orion_type *const[]){str, str});
  const orion_literal *value = dict ? orion_literal_items(p, ORION_LIT_DICT, dict, (size_t)2 * N, items) : NULL;
  p->attrs = ORION_ARENA_NEW(&p->arena, orion_attr);
  if (!str || !value || !p->attrs) return ORION_OOM(err, "program");
  p->attrs[0] = (orion_attr){"buildInfo", value};
  p->n_attrs = 1;
  return ORION_OK;
}

orion_status orion_program_create(const orion_allocator *a, orion_data_store *data, orion_program **out,
                                  orion_error *err) {
  a = orion_allocator_or_default(a);
  orion_program *p = orion_alloc_zero(a, 1, sizeof *p);
  if (!p) return ORION_OOM(err, "program");
  p->allocator = a;
  orion_arena_init(&p->arena, a);
  p->version = "1.3";
  orion_status status = ORION_OK;
  if (data) {
    p->data = orion_data_store_retain(data);
  } else {
    status = orion_data_store_create(a, &p->data, err);
  }
  if (status == ORION_OK) status = set_build_info(p, err);
  if (status != ORION_OK) {
    orion_program_destroy(p);
    return status;
  }
  *out = p;
  return ORION_OK;
}

static void free_function(const orion_allocator *a, orion_function *f) {
  orion_free(a, f->params, f->cap_params, sizeof *f->params);
  orion_free(a, f->outputs, f->cap_outputs, sizeof *f->outputs);
  orion_free(a, f->values, f->cap_values, sizeof *f->values);
  orion_free(a, f->ops, f->cap_ops, sizeof *f->ops);
  orion_free(a, f->literals, f->cap_literals, sizeof *f->literals);
  orion_names_free(a, f);
}

void orion_program_destroy(orion_program *p) {
  if (!p) return;
  for (size_t i = 0; i < p->n_functions; i++) free_function(p->allocator, p->functions[i]);
  orion_free(p->allocator, p->functions, p->cap_functions, sizeof *p->functions);
  orion_data_store_release(p->data);
  orion_arena_deinit(&p->arena);
  orion_free(p->allocator, p, 1, sizeof *p);
}

orion_function *orion_program_function(const orion_program *p, const char *name) {
  for (size_t i = 0; i < p->n_functions; i++) {
    if (strcmp(p->functions[i]->name, name) == 0) return p->functions[i];
  }
  return NULL;
}

orion_status orion_program_add_function(orion_program *p, const char *name, const char *opset, orion_function **out,
                                        orion_error *err) {
  orion_function *f = ORION_ARENA_NEW(&p->arena, orion_function);
  if (!f || !ORION_GROW(p->allocator, &p->functions, &p->cap_functions, p->n_functions + 1)) {
    return ORION_OOM(err, "function");
  }
  f->program = p;
  f->name = orion_arena_strdup(&p->arena, name);
  f->opset = orion_arena_strdup(&p->arena, opset);
  f->first = f->last = ORION_NONE;
  if (!f->name || !f->opset) return ORION_OOM(err, "function");
  p->functions[p->n_functions++] = f;
  *out = f;
  return ORION_OK;
}

// ---- values ---------------------------------------------------------------------------------------------------------

static orion_value_id add_value(orion_function *f, const char *name, const orion_type *type, orion_op_id def,
                                uint32_t index) {
  orion_program *p = f->program;
  if (f->n_values >= ORION_REF_LITERAL || !ORION_GROW(p->allocator, &f->values, &f->cap_values, f->n_values + 1)) {
    return ORION_NONE;
  }
  const char *copy = orion_arena_strdup(&p->arena, name);
  if (!copy) return ORION_NONE;
  f->values[f->n_values] = (orion_value){copy, type, def, index};
  bool findable = def != ORION_NONE || index != ORION_NONE;  // undefined ones would hide the real one of that name
  if (findable && !orion_names_add(f, (orion_value_id)f->n_values)) return ORION_NONE;
  return (orion_value_id)f->n_values++;
}

orion_value_id orion_function_add_param(orion_function *f, const char *name, const orion_type *type) {
  if (!type || !ORION_GROW(f->program->allocator, &f->params, &f->cap_params, f->n_params + 1)) return ORION_NONE;
  orion_value_id v = add_value(f, name, type, ORION_NONE, (uint32_t)f->n_params);
  if (v != ORION_NONE) f->params[f->n_params++] = v;
  return v;
}

orion_value_id orion_function_add_undefined(orion_function *f, const char *name) {
  const orion_type *type = orion_type_tensor(f->program, ORION_DTYPE_NONE, 0, NULL);
  return type ? add_value(f, name, type, ORION_NONE, ORION_NONE) : ORION_NONE;
}

orion_status orion_function_add_output(orion_function *f, orion_value_id value, orion_error *err) {
  if (value == ORION_NONE || !ORION_GROW(f->program->allocator, &f->outputs, &f->cap_outputs, f->n_outputs + 1)) {
    return ORION_OOM(err, "function outputs");
  }
  f->outputs[f->n_outputs++] = value;
  return ORION_OK;
}

orion_ref orion_function_literal_ref(orion_function *f, const orion_literal *literal) {
  if (!literal || f->n_literals >= ORION_REF_LITERAL - 1 ||
      !ORION_GROW(f->program->allocator, &f->literals, &f->cap_literals, f->n_literals + 1)) {
    return ORION_NONE;
  }
  f->literals[f->n_literals] = literal;
  return (orion_ref)f->n_literals++ | ORION_REF_LITERAL;
}

// ---- operations -----------------------------------------------------------------------------------------------------

static void link_before(orion_function *f, orion_op_id id, orion_op_id before) {
  orion_op *op = &f->ops[id];
  op->next = before;
  op->prev = before == ORION_NONE ? f->last : f->ops[before].prev;
  if (op->prev == ORION_NONE) {
    f->first = id;
  } else {
    f->ops[op->prev].next = id;
  }
  if (before == ORION_NONE) {
    f->last = id;
  } else {
    f->ops[before].prev = id;
  }
  op->linked = true;
}

static void unlink_op(orion_function *f, orion_op_id id) {
  orion_op *op = &f->ops[id];
  if (op->prev == ORION_NONE) {
    f->first = op->next;
  } else {
    f->ops[op->prev].next = op->next;
  }
  if (op->next == ORION_NONE) {
    f->last = op->prev;
  } else {
    f->ops[op->next].prev = op->prev;
  }
  op->prev = op->next = ORION_NONE;
  op->linked = false;
}

static bool copy_args(orion_function *f, orion_op *op, const orion_op_spec *spec) {
  orion_arena *arena = &f->program->arena;
  op->args = ORION_ARENA_ARRAY(arena, orion_arg, spec->n_args);
  if (!op->args) return false;
  for (size_t i = 0; i < spec->n_args; i++) {
    orion_arg arg = spec->args[i];
    arg.name = orion_arena_strdup(arena, arg.name);
    arg.refs = orion_arena_copy(arena, arg.refs, arg.n_refs, sizeof *arg.refs);
    if (!arg.name || !arg.refs) return false;
    for (uint32_t r = 0; r < arg.n_refs; r++) {
      if (arg.refs[r] == ORION_NONE) return false;  // an earlier failure of the caller's
    }
    size_t at = op->n_args++;
    for (; at > 0 && strcmp(op->args[at - 1].name, arg.name) > 0; at--) op->args[at] = op->args[at - 1];
    op->args[at] = arg;
  }
  return true;
}

static bool copy_attrs(orion_function *f, orion_op *op, const orion_op_spec *spec) {
  orion_arena *arena = &f->program->arena;
  op->attrs = ORION_ARENA_ARRAY(arena, orion_attr, spec->n_attrs);
  if (!op->attrs) return false;
  for (size_t i = 0; i < spec->n_attrs; i++) {
    orion_attr attr = {orion_arena_strdup(arena, spec->attrs[i].name), spec->attrs[i].value};
    if (!attr.name || !attr.value) return false;
    size_t at = op->n_attrs++;
    for (; at > 0 && strcmp(op->attrs[at - 1].name, attr.name) > 0; at--) op->attrs[at] = op->attrs[at - 1];
    op->attrs[at] = attr;
  }
  return true;
}

orion_op_id orion_function_add_op(orion_function *f, const orion_op_spec *spec) {
  orion_arena *arena = &f->program->arena;
  if (!ORION_GROW(f->program->allocator, &f->ops, &f->cap_ops, f->n_ops + 1)) return ORION_NONE;
  orion_op op = {.code = spec->code, .loc = spec->loc, .prev = ORION_NONE, .next = ORION_NONE};
  op.spelling = spec->spelling ? orion_arena_strdup(arena, spec->spelling) : orion_opcode_name(spec->code);
  op.results = ORION_ARENA_ARRAY(arena, orion_value_id, spec->n_results);
  if (!op.spelling || !op.results || !copy_args(f, &op, spec) || !copy_attrs(f, &op, spec)) return ORION_NONE;
  orion_op_id id = (orion_op_id)f->n_ops;
  f->ops[f->n_ops++] = op;  // unlinked until its results exist: a failure leaves their names free
  for (size_t i = 0; i < spec->n_results; i++) {
    if (!spec->result_types[i]) return ORION_NONE;
    op.results[i] = add_value(f, spec->result_names[i], spec->result_types[i], id, (uint32_t)i);
    if (op.results[i] == ORION_NONE) return ORION_NONE;
  }
  f->ops[id].n_results = (uint32_t)spec->n_results;
  link_before(f, id, spec->before);
  return id;
}

void orion_function_remove_op(orion_function *f, orion_op_id op) {
  if (f->ops[op].linked) unlink_op(f, op);
}

void orion_function_replace_uses(orion_function *f, orion_value_id from, orion_value_id to) {
  ORION_EACH_OP(f, id) {
    orion_op *op = &f->ops[id];
    for (uint32_t a = 0; a < op->n_args; a++) {
      for (uint32_t r = 0; r < op->args[a].n_refs; r++) {
        if (op->args[a].refs[r] == from) op->args[a].refs[r] = to;
      }
    }
  }
  for (size_t i = 0; i < f->n_outputs; i++) {
    if (f->outputs[i] == from) f->outputs[i] = to;
  }
}

bool orion_op_set_arg(orion_function *f, orion_op_id id, const char *name, orion_ref ref) {
  orion_arena *arena = &f->program->arena;
  orion_op *op = &f->ops[id];
  orion_ref *refs = orion_arena_copy(arena, &ref, 1, sizeof ref);
  if (!refs || ref == ORION_NONE) return false;
  for (uint32_t i = 0; i < op->n_args; i++) {
    if (strcmp(op->args[i].name, name) == 0) {
      op->args[i].refs = refs;
      op->args[i].n_refs = 1;
      op->args[i].tuple = false;
      return true;
    }
  }
  orion_arg *args = ORION_ARENA_ARRAY(arena, orion_arg, op->n_args + 1u);
  const char *copy = orion_arena_strdup(arena, name);
  if (!args || !copy) return false;
  uint32_t at = 0, from = 0;
  while (from < op->n_args && strcmp(op->args[from].name, name) < 0) args[at++] = op->args[from++];
  args[at++] = (orion_arg){copy, refs, 1, false};
  while (from < op->n_args) args[at++] = op->args[from++];
  op->args = args;
  op->n_args++;
  return true;
}

bool orion_op_drop_arg(orion_function *f, orion_op_id id, const char *name) {
  orion_op *op = &f->ops[id];
  for (uint32_t i = 0; i < op->n_args; i++) {
    if (strcmp(op->args[i].name, name) != 0) continue;
    for (uint32_t j = i + 1; j < op->n_args; j++) op->args[j - 1] = op->args[j];
    op->n_args--;
    return true;
  }
  return false;
}

uint32_t *orion_function_count_uses(const orion_function *f, orion_arena *scratch) {
  uint32_t *uses = ORION_ARENA_ARRAY(scratch, uint32_t, f->n_values + 1);
  if (!uses) return NULL;
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    for (uint32_t a = 0; a < op->n_args; a++) {
      for (uint32_t r = 0; r < op->args[a].n_refs; r++) {
        orion_ref ref = op->args[a].refs[r];
        if (!orion_ref_is_literal(ref)) uses[ref]++;
      }
    }
  }
  for (size_t i = 0; i < f->n_outputs; i++) uses[f->outputs[i]]++;
  return uses;
}
