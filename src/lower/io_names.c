// Uniform inputs and outputs. The engine binds surfaces in the byte order of their names (rules C03, C19), so names get a
// prefix that makes this order the declared one. A value that is returned and also used inside may come back wrong
// (C39), so its return goes through an identity of its own.
#include <stdio.h>
#include <string.h>

#include "lower/lower_internal.h"

static bool rename_ports(orion_part *part, const char *from, const char *to, bool input) {
  bool found = false;
  for (size_t i = 0; i < part->n_ports; i++) {
    if (part->ports[i].input != input || strcmp(part->ports[i].name, from) != 0) continue;
    part->ports[i].name = to;
    found = true;
  }
  return found;
}

// The ports of outputs follow the value's name, so the new name is given to both.
static bool rename_value(orion_plan *plan, orion_part *part, orion_value_id v, const char *prefix, size_t index,
                         bool input) {
  orion_function *f = part->program->functions[0];
  const char *old = f->values[v].name;
  char name[200];
  snprintf(name, sizeof name, "%s%02zu_%.150s", prefix, index, old);
  const char *in_plan = orion_arena_strdup(&plan->arena, name);
  return in_plan && rename_ports(part, old, in_plan, input) && orion_value_rename(f, v, name);
}

static bool separate_return(orion_function *f, size_t index, const uint32_t *uses) {
  orion_value_id v = f->outputs[index];
  if (uses[v] < 2) return true;  // partition.c never returns an input
  orion_builder b;
  orion_builder_init(&b, f);
  const char *name = f->values[v].name, *inner = orion_function_unique_name(f, "kept");
  if (!inner) return false;
  orion_value_id copy = orion_build_op(&b, "returned", ORION_OP_identity, (const orion_in[]){{"x", v}, {0}});
  if (copy == ORION_NONE) return false;
  f->outputs[index] = copy;
  return orion_value_rename(f, v, inner) && orion_value_rename(f, copy, name);
}

orion_status orion_name_ios(orion_plan *plan, orion_error *err) {
  for (size_t i = 0; i < plan->n_parts; i++) {
    orion_part *part = &plan->parts[i];
    orion_function *f = part->program->functions[0];
    orion_arena scratch;
    orion_arena_init(&scratch, plan->allocator);
    const uint32_t *uses = orion_function_count_uses(f, &scratch);
    bool ok = uses != NULL;
    size_t n = f->n_outputs;
    for (size_t o = 0; ok && o < n; o++) ok = separate_return(f, o, uses);
    orion_arena_deinit(&scratch);
    for (size_t p = 0; ok && p < f->n_params; p++) ok = rename_value(plan, part, f->params[p], "i", p, true);
    for (size_t o = 0; ok && o < f->n_outputs; o++) ok = rename_value(plan, part, f->outputs[o], "o", o, false);
    if (!ok) return ORION_OOM(err, "naming of inputs and outputs");
  }
  return ORION_OK;
}
