// The parser's table of names: every distinct identifier of a text once, with what it means at the moment. Lookups take
// constant time, so that a text is parsed in time proportional to its length.
#ifndef ORION_MIL_NAMES_H
#define ORION_MIL_NAMES_H

#include "base/arena.h"
#include "ir/ir.h"

typedef struct orion_mil_name {
  const char *text;         // terminated
  size_t n;
  uint64_t hash;
  bool looked_up;           // the two below are known: most names are neither, so they are looked for on demand
  orion_opcode opcode;      // ORION_OP_OTHER if it is no operation's name
  orion_dtype dtype;        // ORION_DTYPE_NONE if it is no element type's name
  uint32_t function;        // number of the function that `value` belongs to; 0: of none
  orion_value_id value;
  bool is_function;         // a function has this name
} orion_mil_name;

typedef struct orion_mil_names {
  const orion_allocator *allocator;
  orion_arena arena;
  orion_mil_name **slots;   // open addressing, a power of two
  size_t n_slots, n_names;
} orion_mil_names;

void orion_mil_names_init(orion_mil_names *names, const orion_allocator *a);
void orion_mil_names_deinit(orion_mil_names *names);
orion_mil_name *orion_mil_names_get(orion_mil_names *names, const char *text, size_t n);  // NULL when out of memory
orion_opcode orion_mil_name_opcode(orion_mil_name *name);
orion_dtype orion_mil_name_dtype(orion_mil_name *name);

#endif
