// Cutting one long program into parts that a target takes: constants, inputs and outputs of each within its limits.
//
// Parts are runs of operations in order. From the start of a part the run is extended as far as the limits hold; if that
// is not the end, the cut goes to the last place with the fewest values crossing it: in a transformer, between two
// layers, where only the residual stream crosses. As few parts as possible: every run of a program costs a dispatch.
// Constants belong to no part; each part gets copies of those it uses (the data itself is shared).
#include <stdio.h>
#include <string.h>

#include "lower/lower_internal.h"

typedef struct cutter {
  lowering *l;
  orion_function *f;
  orion_op_id *order;        // operations that are not constants
  size_t n;
  size_t *last_use;          // per value: position of the last use, n if returned, 0 if unused (positions count from 1)
  size_t *defined;           // per value: position of its definition (from 1), 0 for parameters
  bool *constant;            // per value
  bool *returned;            // per value
  uint32_t *stamp;           // per value: last part (from 1) that counted it
} cutter;

static bool is_const_op(const orion_op *op) {
  orion_op_class cls = orion_opcode_info(op->code)->cls;
  return cls == ORION_CLASS_CONST || cls == ORION_CLASS_CONSTEXPR;
}

static bool analyse(cutter *c) {
  orion_function *f = c->f;
  orion_arena *a = &c->l->scratch;
  c->order = ORION_ARENA_ARRAY(a, orion_op_id, f->n_ops + 1);
  c->last_use = ORION_ARENA_ARRAY(a, size_t, f->n_values + 1);
  c->defined = ORION_ARENA_ARRAY(a, size_t, f->n_values + 1);
  c->constant = ORION_ARENA_ARRAY(a, bool, f->n_values + 1);
  c->returned = ORION_ARENA_ARRAY(a, bool, f->n_values + 1);
  c->stamp = ORION_ARENA_ARRAY(a, uint32_t, f->n_values + 1);
  if (!c->order || !c->last_use || !c->defined || !c->constant || !c->returned || !c->stamp) return false;
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    bool constant = is_const_op(op);
    if (!constant) c->order[c->n++] = id;
    for (uint32_t i = 0; i < op->n_results; i++) {
      c->constant[op->results[i]] = constant;
      c->defined[op->results[i]] = c->n;
    }
    if (constant) continue;
    for (uint32_t i = 0; i < op->n_args; i++) {
      for (uint32_t r = 0; r < op->args[i].n_refs; r++) {
        orion_ref ref = op->args[i].refs[r];
        if (!orion_ref_is_literal(ref)) c->last_use[ref] = c->n;
      }
    }
  }
  for (size_t i = 0; i < f->n_outputs; i++) c->returned[f->outputs[i]] = true;
  return true;
}

static size_t constant_bytes(const cutter *c, orion_value_id v) {
  size_t bytes = 0;
  orion_type_bytes(orion_value_type(c->f, v), &bytes);
  return bytes;
}

// Values defined at or before position p (from 1), within the part or earlier, that something after p uses.
static size_t crossing(const cutter *c, size_t p) {
  size_t n = 0;
  for (size_t v = 0; v < c->f->n_values; v++) {
    if (!c->constant[v] && c->defined[v] && c->defined[v] <= p && c->last_use[v] > p) n++;
  }
  return n;
}

// What operation at position p (from 1) adds to the part that starts at position `first`: constants and inputs.
static void count_op(cutter *c, uint32_t part, size_t first, size_t p, size_t *bytes, size_t *inputs) {
  const orion_op *op = &c->f->ops[c->order[p - 1]];
  for (uint32_t i = 0; i < op->n_args; i++) {
    for (uint32_t r = 0; r < op->args[i].n_refs; r++) {
      orion_ref ref = op->args[i].refs[r];
      if (orion_ref_is_literal(ref) || c->stamp[ref] == part) continue;
      c->stamp[ref] = part;
      if (c->constant[ref]) {
        *bytes += constant_bytes(c, ref);
      } else if (c->defined[ref] < first) {
        (*inputs)++;
      }
    }
  }
}

// Position after the last operation of the part that starts at `first`; 0 if not even one operation fits.
static size_t find_end(cutter *c, uint32_t part, size_t first) {
  const orion_target *t = c->l->target;
  size_t bytes = 0, inputs = 0, returned = 0, best = 0, best_crossing = SIZE_MAX;
  for (size_t p = first; p <= c->n; p++) {
    count_op(c, part, first, p, &bytes, &inputs);
    const orion_op *op = &c->f->ops[c->order[p - 1]];
    for (uint32_t i = 0; i < op->n_results; i++) returned += c->returned[op->results[i]];
    if (bytes > t->max_weight_bytes || inputs > (size_t)t->max_inputs || returned > (size_t)t->max_outputs) return best;
    if (p == c->n) return p + 1;
    size_t now = t->ane ? crossing(c, p) : 0;
    if (now <= best_crossing && returned + now <= (size_t)t->max_outputs) {
      best = p + 1;
      best_crossing = now;
    }
  }
  return best;
}

// ---- building a part ------------------------------------------------------------------------------------------------

typedef struct part_builder {
  cutter *c;
  orion_part *part;
  orion_function *to;
  orion_ref *map;     // per value of the whole program
  orion_port *ports;
  size_t n_ports, cap_ports;
  orion_plan *plan;
} part_builder;

static bool add_port(part_builder *b, const orion_port *port) {
  if (!ORION_GROW(b->plan->allocator, &b->ports, &b->cap_ports, b->n_ports + 1)) return false;
  orion_port copy = *port;
  copy.logical = orion_arena_strdup(&b->plan->arena, port->logical);
  copy.name = orion_arena_strdup(&b->plan->arena, port->name);
  if (!copy.logical || !copy.name) return false;
  b->ports[b->n_ports++] = copy;
  return true;
}

static const orion_port *find_port(const lowering *l, const char *name, bool input) {
  for (size_t i = 0; i < l->n_ports; i++) {
    if (l->ports[i].input == input && strcmp(l->ports[i].name, name) == 0) return &l->ports[i];
  }
  return NULL;
}

// The port of a parameter or result of the whole program, as noted when it was opened.
static bool add_noted_port(part_builder *b, orion_value_id v, bool input) {
  const orion_port *port = find_port(b->c->l, b->c->f->values[v].name, input);
  return port && add_port(b, port);
}

// A value handed from one part to a later one.
static bool add_link_port(part_builder *b, orion_value_id v, bool input) {
  const char *name = b->c->f->values[v].name;
  char logical[160];
  snprintf(logical, sizeof logical, "link.%.140s", name);
  orion_port port = {.logical = logical, .name = name, .input = input, .arrangement = ORION_OPAQUE, .heads = 1};
  return add_port(b, &port);
}

static bool copy_op(part_builder *b, orion_op_id id);

// Constants are copied into the part when the first operation that uses them is.
static orion_ref copy_ref(void *ctx, orion_ref ref) {
  part_builder *b = ctx;
  if (b->map[ref] == ORION_NONE && b->c->constant[ref]) copy_op(b, b->c->f->values[ref].def);
  return b->map[ref];
}

static bool copy_op(part_builder *b, orion_op_id id) {
  return orion_copy_op(b->to, b->c->f, id, copy_ref, b, b->map);
}

static orion_status build_part(cutter *c, orion_plan *plan, orion_part *part, uint32_t number, size_t first, size_t end,
                               orion_error *err) {
  lowering *l = c->l;
  part_builder b = {.c = c, .part = part, .plan = plan};
  orion_status status = orion_program_create(plan->allocator, l->program->data, &part->program, err);
  if (status != ORION_OK) return status;
  status = orion_program_add_function(part->program, "main", l->to->opset, &b.to, err);
  if (status != ORION_OK) return status;
  part->program->version = l->target->version;
  b.map = ORION_ARENA_ARRAY(&l->scratch, orion_ref, c->f->n_values + 1);
  bool ok = b.map != NULL;
  for (size_t v = 0; ok && v < c->f->n_values; v++) b.map[v] = ORION_NONE;
  // Inputs: parameters and values of earlier parts that this one uses, in the order of their definition.
  uint32_t stamp = number + 0x40000000u;
  for (size_t p = first; ok && p < end; p++) {
    const orion_op *op = &c->f->ops[c->order[p - 1]];
    for (uint32_t i = 0; i < op->n_args; i++) {
      for (uint32_t r = 0; r < op->args[i].n_refs; r++) {
        orion_ref ref = op->args[i].refs[r];
        if (!orion_ref_is_literal(ref) && !c->constant[ref] && c->defined[ref] < first) c->stamp[ref] = stamp;
      }
    }
  }
  for (size_t v = 0; ok && v < c->f->n_values; v++) {
    if (c->stamp[v] != stamp) continue;
    const orion_value *value = &c->f->values[v];
    b.map[v] = orion_function_add_param(b.to, value->name, orion_type_tensor(part->program, value->type->dtype,
                                                                             value->type->rank, value->type->dims));
    ok = b.map[v] != ORION_NONE && (c->defined[v] == 0 ? add_noted_port(&b, (orion_value_id)v, true)
                                                       : add_link_port(&b, (orion_value_id)v, true));
  }
  for (size_t p = first; ok && p < end; p++) ok = copy_op(&b, c->order[p - 1]);
  for (size_t v = 0; ok && v < c->f->n_values; v++) {
    if (c->constant[v] || c->defined[v] < first || c->defined[v] >= end || c->defined[v] == 0) continue;
    bool later = c->last_use[v] >= end;
    if (!later && !c->returned[v]) continue;
    ok = orion_function_add_output(b.to, b.map[v], err) == ORION_OK;
    if (ok && c->returned[v]) ok = add_noted_port(&b, (orion_value_id)v, false);
    if (ok && later) ok = add_link_port(&b, (orion_value_id)v, false);
  }
  if (ok) {
    part->ports = orion_arena_copy(&plan->arena, b.ports, b.n_ports, sizeof *b.ports);
    part->n_ports = b.n_ports;
    ok = part->ports != NULL;
  }
  orion_free(plan->allocator, b.ports, b.cap_ports, sizeof *b.ports);
  return ok ? ORION_OK : ORION_OOM(err, "partition");
}

orion_status orion_partition(lowering *l, orion_plan *plan, orion_error *err) {
  cutter c = {.l = l, .f = l->to};
  if (!analyse(&c)) return ORION_OOM(err, "partition");
  size_t cap = 0;
  orion_part *parts = NULL;
  orion_status status = ORION_OK;
  for (size_t first = 1; status == ORION_OK && first <= c.n;) {
    uint32_t number = (uint32_t)plan->n_parts + 1;
    size_t end = find_end(&c, number, first);
    if (end <= first) {
      const orion_op *op = &c.f->ops[c.order[first - 1]];
      status = ORION_FAIL(err, ORION_LIMIT, "%s: this one operation alone exceeds the limits of %s", op->spelling,
                          l->target->name);
      break;
    }
    if (!ORION_GROW(plan->allocator, &parts, &cap, plan->n_parts + 1)) {
      status = ORION_OOM(err, "partition");
      break;
    }
    parts[plan->n_parts] = (orion_part){0};
    plan->parts = parts;
    status = build_part(&c, plan, &parts[plan->n_parts++], number, first, end, err);
    first = end;
  }
  // The array moves into the plan's arena so that the plan need not remember its capacity.
  orion_part *kept = orion_arena_copy(&plan->arena, parts, plan->n_parts, sizeof *parts);
  if (!kept) {
    for (size_t i = 0; i < plan->n_parts; i++) orion_program_destroy(parts[i].program);
    plan->n_parts = 0;
    if (status == ORION_OK) status = ORION_OOM(err, "partition");
  }
  orion_free(plan->allocator, parts, cap, sizeof *parts);
  plan->parts = kept;
  return status;
}
