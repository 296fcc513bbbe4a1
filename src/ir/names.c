// Values by name: an open hash table of value ids. Nothing is taken out of it: a slot counts only while its value still
// bears the name and its operation is linked, so removing an operation frees its names and linking it again takes them
// back. Renaming adds a slot; the old one goes stale and is dropped when the table grows.
#include "ir/names.h"

#include <stdio.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct orion_name_slot {
  uint32_t hash;
  orion_value_id value;   // ORION_NONE: empty
  uint32_t next_suffix;   // where orion_function_unique_name goes on counting for this name
} orion_name_slot;

static uint32_t hash_of(const char *name) { return (uint32_t)XXH3_64bits(name, strlen(name)); }

static void put(orion_name_slot *slots, size_t cap, orion_name_slot slot) {
  size_t at = slot.hash & (cap - 1);
  while (slots[at].value != ORION_NONE) at = (at + 1) & (cap - 1);
  slots[at] = slot;
}

static bool stale(const orion_function *f, const orion_name_slot *s) {
  return s->value == ORION_NONE || hash_of(f->values[s->value].name) != s->hash;
}

static bool grow(orion_function *f) {
  const orion_allocator *a = f->program->allocator;
  size_t live = 0, cap = 64;
  for (size_t i = 0; i < f->cap_names; i++) live += !stale(f, &f->names[i]);
  while (cap < live * 3 + 2) cap *= 2;
  orion_name_slot *slots = orion_alloc(a, cap, sizeof *slots);
  if (!slots) return false;
  for (size_t i = 0; i < cap; i++) slots[i] = (orion_name_slot){.value = ORION_NONE};
  for (size_t i = 0; i < f->cap_names; i++) {
    if (!stale(f, &f->names[i])) put(slots, cap, f->names[i]);
  }
  orion_free(a, f->names, f->cap_names, sizeof *slots);
  f->names = slots;
  f->cap_names = cap;
  f->n_names = live;
  return true;
}

bool orion_names_add(orion_function *f, orion_value_id v) {
  if ((f->n_names + 1) * 3 > f->cap_names * 2 && !grow(f)) return false;
  put(f->names, f->cap_names, (orion_name_slot){hash_of(f->values[v].name), v, 1});
  f->n_names++;
  return true;
}

void orion_names_free(const orion_allocator *a, orion_function *f) {
  orion_free(a, f->names, f->cap_names, sizeof *f->names);
}

// The slot of the first living value called `name`, or NULL.
static orion_name_slot *find(const orion_function *f, const char *name) {
  if (!f->cap_names) return NULL;
  uint32_t hash = hash_of(name);
  orion_name_slot *best = NULL;
  for (size_t at = hash & (f->cap_names - 1); f->names[at].value != ORION_NONE; at = (at + 1) & (f->cap_names - 1)) {
    orion_name_slot *s = &f->names[at];
    const orion_value *v = &f->values[s->value];
    if (s->hash != hash || strcmp(v->name, name) != 0) continue;
    if (v->def != ORION_NONE && !f->ops[v->def].linked) continue;
    if (!best || s->value < best->value) best = s;
  }
  return best;
}

orion_value_id orion_function_find(const orion_function *f, const char *name) {
  const orion_name_slot *s = find(f, name);
  return s ? s->value : ORION_NONE;
}

const char *orion_function_unique_name(orion_function *f, const char *stem) {
  orion_name_slot *taken = find(f, stem);
  if (!taken) return orion_arena_strdup(&f->program->arena, stem);
  char name[256];
  for (uint32_t i = taken->next_suffix; i < UINT32_MAX; i++) {
    snprintf(name, sizeof name, "%.230s_%u", stem, i);
    if (find(f, name)) continue;
    taken->next_suffix = i;
    return orion_arena_strdup(&f->program->arena, name);
  }
  return NULL;
}

bool orion_value_rename(orion_function *f, orion_value_id v, const char *name) {
  orion_value *value = &f->values[v];
  if (strcmp(value->name, name) == 0) return true;
  const char *old = value->name;
  orion_program *p = f->program;
  orion_attr *attr = NULL;
  const orion_literal *text = NULL;
  if (value->def != ORION_NONE && f->ops[value->def].n_results == 1) {
    orion_op *op = &f->ops[value->def];
    for (uint32_t i = 0; i < op->n_attrs; i++) {
      if (strcmp(op->attrs[i].name, "name") == 0) attr = &op->attrs[i];
    }
  }
  const char *copy = orion_arena_strdup(&p->arena, name);
  if (attr) text = orion_literal_string(p, name);
  if (!copy || (attr && !text)) return false;
  value->name = copy;
  if (!orion_names_add(f, v)) {
    value->name = old;
    return false;
  }
  if (attr) attr->value = text;
  return true;
}
