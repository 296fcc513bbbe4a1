#include "mil/names.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

void orion_mil_names_init(orion_mil_names *names, const orion_allocator *a) {
  *names = (orion_mil_names){.allocator = orion_allocator_or_default(a)};
  orion_arena_init(&names->arena, a);
}

void orion_mil_names_deinit(orion_mil_names *names) {
  orion_free(names->allocator, names->slots, names->n_slots, sizeof *names->slots);
  orion_arena_deinit(&names->arena);
}

static bool grow(orion_mil_names *names) {
  size_t n = names->n_slots ? names->n_slots * 2 : 256;
  orion_mil_name **slots = orion_alloc_zero(names->allocator, n, sizeof *slots);
  if (!slots) return false;
  for (size_t i = 0; i < names->n_slots; i++) {
    if (!names->slots[i]) continue;
    size_t at = names->slots[i]->hash & (n - 1);
    while (slots[at]) at = (at + 1) & (n - 1);
    slots[at] = names->slots[i];
  }
  orion_free(names->allocator, names->slots, names->n_slots, sizeof *names->slots);
  names->slots = slots;
  names->n_slots = n;
  return true;
}

orion_mil_name *orion_mil_names_get(orion_mil_names *names, const char *text, size_t n) {
  if (names->n_names * 2 >= names->n_slots && !grow(names)) return NULL;
  uint64_t hash = XXH3_64bits(text, n);
  size_t at = hash & (names->n_slots - 1);
  for (; names->slots[at]; at = (at + 1) & (names->n_slots - 1)) {
    orion_mil_name *name = names->slots[at];
    if (name->hash == hash && name->n == n && memcmp(name->text, text, n) == 0) return name;
  }
  orion_mil_name *name = ORION_ARENA_NEW(&names->arena, orion_mil_name);
  const char *copy = orion_arena_strndup(&names->arena, text, n);
  if (!name || !copy) return NULL;
  *name = (orion_mil_name){.text = copy, .n = n, .hash = hash, .value = ORION_NONE};
  names->slots[at] = name;
  names->n_names++;
  return name;
}

static void look_up(orion_mil_name *name) {
  if (name->looked_up) return;
  name->opcode = orion_opcode_parse(name->text, name->n);
  name->dtype = orion_dtype_parse(name->text, name->n);
  name->looked_up = true;
}

orion_opcode orion_mil_name_opcode(orion_mil_name *name) {
  look_up(name);
  return name->opcode;
}

orion_dtype orion_mil_name_dtype(orion_mil_name *name) {
  look_up(name);
  return name->dtype;
}
