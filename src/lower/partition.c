// Cutting one long program into parts that a target takes: constants, inputs and outputs of each within its limits.
//
// Parts are runs of operations in order. From the start of a part the run is extended as far as the limits hold; if that
// is not the end, the cut goes to the place in the later half of the run that the fewest values cross, the last of
// several: in a transformer, between two layers, where only the residual stream crosses. The later half, because every
// run of a program costs a dispatch: parts are to be few.
//
// Constants belong to no part; each part gets copies of those it uses (the data itself is shared).
#include <stdio.h>
#include <string.h>

#include "lower/lower_internal.h"

typedef struct cutter {
  lowering *l;
  orion_function *f;
  orion_op_id *order;        // operations that are not constants
  size_t n;
  size_t *last_use;          // per value: position of the last use, 0 if unused (positions count from 1)
  size_t *defined;           // per value: position of its definition (from 1), 0 for parameters
  bool *constant;            // per value
  bool *returned;            // per value
  size_t *crossing;          // per position: values defined at or before it that something after it uses
  uint32_t *stamp;           // per value: the last walk (from 1) that met it
  uint32_t walks;
} cutter;

static bool is_const_op(const orion_op *op) {
  orion_op_class cls = orion_opcode_info(op->code)->cls;
  return cls == ORION_CLASS_CONST || cls == ORION_CLASS_CONSTEXPR;
}

static bool allocate(cutter *c) {
  orion_arena *a = &c->l->scratch;
  c->order = ORION_ARENA_ARRAY(a, orion_op_id, c->f->n_ops + 1);
  c->last_use = ORION_ARENA_ARRAY(a, size_t, c->f->n_values + 1);
  c->defined = ORION_ARENA_ARRAY(a, size_t, c->f->n_values + 1);
  c->constant = ORION_ARENA_ARRAY(a, bool, c->f->n_values + 1);
  c->returned = ORION_ARENA_ARRAY(a, bool, c->f->n_values + 1);
  c->crossing = ORION_ARENA_ARRAY(a, size_t, c->f->n_ops + 2);
  c->stamp = ORION_ARENA_ARRAY(a, uint32_t, c->f->n_values + 1);
  return c->order && c->last_use && c->defined && c->constant && c->returned && c->crossing && c->stamp;
}

static void number_op(cutter *c, orion_op_id id) {
  const orion_op *op = &c->f->ops[id];
  bool constant = is_const_op(op);
  if (!constant) c->order[c->n++] = id;
  for (uint32_t i = 0; i < op->n_results; i++) {
    c->constant[op->results[i]] = constant;
    c->defined[op->results[i]] = c->n;
  }
  for (uint32_t i = 0; i < op->n_args && !constant; i++) {
    for (uint32_t r = 0; r < op->args[i].n_refs; r++) {
      orion_ref ref = op->args[i].refs[r];
      if (!orion_ref_is_literal(ref)) c->last_use[ref] = c->n;
    }
  }
}

static orion_status analyse(cutter *c, orion_error *err) {
  orion_function *f = c->f;
  if (!allocate(c)) return ORION_OOM(err, "partition");
  ORION_EACH_OP(f, id) number_op(c, id);
  for (size_t i = 0; i < f->n_outputs; i++) {
    orion_value_id v = f->outputs[i];
    if (c->constant[v] || c->defined[v] == 0) {
      return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: the program returns an input or a constant as it is", f->values[v].name);
    }
    c->returned[v] = true;
  }
  // A value crosses every position from its definition up to, not including, its last use.
  for (size_t v = 0; v < f->n_values; v++) {
    if (c->constant[v] || c->defined[v] == 0 || c->last_use[v] <= c->defined[v]) continue;
    c->crossing[c->defined[v]]++;
    c->crossing[c->last_use[v]]--;  // wraps below 0 until the sums are made
  }
  for (size_t p = 1; p <= c->n; p++) c->crossing[p] += c->crossing[p - 1];
  return ORION_OK;
}

static size_t constant_bytes(const cutter *c, orion_value_id v) {
  size_t bytes = 0;
  orion_type_bytes(orion_value_type(c->f, v), &bytes);
  return bytes;
}

typedef struct load {  // what a part holds so far
  size_t bytes, inputs, outputs;
} load;

// Adds the operation at position p to the part that starts at `first`: its constants and inputs; its results are outputs
// as long as something later uses them.
static void add_op(cutter *c, load *sum, size_t first, size_t p) {
  const orion_op *op = &c->f->ops[c->order[p - 1]];
  for (uint32_t i = 0; i < op->n_results; i++) {
    orion_value_id v = op->results[i];
    sum->outputs += c->returned[v] || c->last_use[v] > p;
  }
  for (uint32_t i = 0; i < op->n_args; i++) {
    for (uint32_t r = 0; r < op->args[i].n_refs; r++) {
      orion_ref ref = op->args[i].refs[r];
      if (orion_ref_is_literal(ref)) continue;
      bool inside = !c->constant[ref] && c->defined[ref] >= first;
      if (inside ? c->last_use[ref] != p : c->stamp[ref] == c->walks) continue;
      if (inside) {  // used up, unless a sibling argument has seen to that
        sum->outputs -= !c->returned[ref] && c->stamp[ref] != c->walks;
      } else if (c->constant[ref]) {
        sum->bytes += constant_bytes(c, ref);
      } else {
        sum->inputs++;
      }
      c->stamp[ref] = c->walks;
    }
  }
}

static bool within_limits(const orion_target *t, const load *sum) {
  return sum->bytes <= t->max_weight_bytes && sum->inputs <= (size_t)t->max_inputs;
}

// Position after the last operation of the part that starts at `first`; `first` itself if not even one operation fits.
static size_t find_end(cutter *c, size_t first) {
  const orion_target *t = c->l->target;
  load sum = {0};
  size_t end = first, best;  // [first, end) fits and may be cut off
  c->walks++;
  for (size_t p = first; p <= c->n; p++) {
    add_op(c, &sum, first, p);
    if (!within_limits(t, &sum)) break;
    if (sum.outputs <= (size_t)t->max_outputs) end = p + 1;
  }
  if (end > c->n || end == first) return end;
  best = end;
  load again = {0};
  c->walks++;
  for (size_t p = first; p + 1 < end; p++) {
    add_op(c, &again, first, p);
    bool late = p + 1 - first >= (end - first) / 2;
    bool fewer = c->crossing[p] < c->crossing[best - 1] || (best != end && c->crossing[p] == c->crossing[best - 1]);
    if (late && fewer && again.outputs <= (size_t)t->max_outputs) best = p + 1;
  }
  return best;
}

// ---- building a part ------------------------------------------------------------------------------------------------

typedef struct part_builder {
  cutter *c;
  orion_plan *plan;
  orion_function *to;
  orion_ref *map;     // per value of the whole program
  orion_port *ports;
  size_t n_ports, cap_ports;
  size_t first, end;  // positions [first, end)
} part_builder;

// The port of a parameter or result of the whole program, as noted when it was opened.
static const orion_port *noted_port(const lowering *l, const char *name, bool input) {
  for (size_t i = 0; i < l->n_ports; i++) {
    if (l->ports[i].input == input && strcmp(l->ports[i].name, name) == 0) return &l->ports[i];
  }
  return NULL;
}

static orion_status add_port(part_builder *b, orion_value_id v, bool input, bool link, orion_error *err) {
  const char *name = b->c->f->values[v].name;
  orion_port port = {.input = input, .arrangement = ORION_OPAQUE, .heads = 1};
  if (link) {  // a value handed from one part to a later one
    port.logical = orion_arena_printf(&b->plan->arena, "link.%s", name);
  } else {
    const orion_port *noted = noted_port(b->c->l, name, input);
    if (!noted) return ORION_FAIL(err, ORION_INTERNAL, "partition: nobody knows how %s lies", name);
    port = *noted;
    port.logical = orion_arena_strdup(&b->plan->arena, noted->logical);
  }
  port.name = orion_arena_strdup(&b->plan->arena, name);
  if (!port.logical || !port.name || !ORION_GROW(b->plan->allocator, &b->ports, &b->cap_ports, b->n_ports + 1)) {
    return ORION_OOM(err, "partition");
  }
  b->ports[b->n_ports++] = port;
  return ORION_OK;
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

// Inputs: parameters and values of earlier parts that this one uses, in the order of their definition.
static orion_status add_inputs(part_builder *b, orion_error *err) {
  cutter *c = b->c;
  load sum = {0};
  c->walks++;
  for (size_t p = b->first; p < b->end; p++) add_op(c, &sum, b->first, p);
  for (size_t v = 0; v < c->f->n_values; v++) {
    if (c->stamp[v] != c->walks || c->constant[v] || c->defined[v] >= b->first) continue;
    const orion_type *from = c->f->values[v].type;
    const orion_type *type = orion_type_tensor(b->to->program, from->dtype, from->rank, from->dims);
    b->map[v] = type ? orion_function_add_param(b->to, c->f->values[v].name, type) : ORION_NONE;
    if (b->map[v] == ORION_NONE) return ORION_OOM(err, "partition");
    ORION_TRY(add_port(b, (orion_value_id)v, true, c->defined[v] > 0, err));
  }
  return ORION_OK;
}

// Outputs: results of the whole program, and what later parts use. One value may be both: one output, two ports.
static orion_status add_outputs(part_builder *b, orion_error *err) {
  const cutter *c = b->c;
  for (size_t v = 0; v < c->f->n_values; v++) {
    if (c->constant[v] || c->defined[v] < b->first || c->defined[v] >= b->end) continue;
    bool later = c->last_use[v] >= b->end;
    if (!later && !c->returned[v]) continue;
    ORION_TRY(orion_function_add_output(b->to, b->map[v], err));
    if (c->returned[v]) ORION_TRY(add_port(b, (orion_value_id)v, false, false, err));
    if (later) ORION_TRY(add_port(b, (orion_value_id)v, false, true, err));
  }
  return ORION_OK;
}

static orion_status fill_part(part_builder *b, orion_error *err) {
  b->map = ORION_ARENA_ARRAY(&b->c->l->scratch, orion_ref, b->c->f->n_values + 1);
  if (!b->map) return ORION_OOM(err, "partition");
  for (size_t v = 0; v < b->c->f->n_values; v++) b->map[v] = ORION_NONE;
  ORION_TRY(add_inputs(b, err));
  for (size_t p = b->first; p < b->end; p++) {
    if (!copy_op(b, b->c->order[p - 1])) return ORION_OOM(err, "partition");
  }
  return add_outputs(b, err);
}

static orion_status build_part(cutter *c, orion_plan *plan, orion_part *part, size_t first, size_t end, orion_error *err) {
  const orion_target *t = c->l->target;
  part_builder b = {.c = c, .plan = plan, .first = first, .end = end};
  ORION_TRY(orion_program_create(plan->allocator, c->l->program->data, &part->program, err));
  part->program->version = t->version;
  ORION_TRY(orion_program_add_function(part->program, "main", t->opset, &b.to, err));
  orion_status status = fill_part(&b, err);
  if (status == ORION_OK) {
    part->ports = orion_arena_copy(&plan->arena, b.ports, b.n_ports, sizeof *b.ports);
    part->n_ports = b.n_ports;
    if (!part->ports) status = ORION_OOM(err, "partition");
  }
  orion_free(plan->allocator, b.ports, b.cap_ports, sizeof *b.ports);
  return status;
}

orion_status orion_partition(lowering *l, orion_plan *plan, orion_error *err) {
  cutter c = {.l = l, .f = l->to};
  ORION_TRY(analyse(&c, err));
  size_t *ends = ORION_ARENA_ARRAY(&l->scratch, size_t, c.n + 1), n = 0;
  if (!ends) return ORION_OOM(err, "partition");
  for (size_t first = 1; first <= c.n; first = ends[n++]) {
    ends[n] = find_end(&c, first);
    if (ends[n] == first) {
      return ORION_FAIL(err, ORION_LIMIT, "%s: this one operation alone exceeds the limits of %s",
                        c.f->ops[c.order[first - 1]].spelling, l->target->name);
    }
  }
  plan->parts = ORION_ARENA_ARRAY(&plan->arena, orion_part, n);
  if (!plan->parts) return ORION_OOM(err, "partition");
  for (size_t first = 1; plan->n_parts < n; first = ends[plan->n_parts - 1]) {
    orion_part *part = &plan->parts[plan->n_parts];
    ORION_TRY(build_part(&c, plan, part, first, ends[plan->n_parts++], err));
  }
  return ORION_OK;
}
