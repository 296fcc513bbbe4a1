// Inputs and outputs in the form that the engine's surfaces want, and the map from what they were to what they are.
//
//   own values     an output is neither a parameter nor a constant, is returned once and used by nothing inside: else an
//                  identity makes a copy that is (a value both returned and used may come back wrong)
//   sorted names   "i00_x", "o01_k": the byte order of the names, in which surfaces are bound, is the declared order
//   equal sizes    outputs [1, C, 1, T] are padded with zero channels to the widest
#ifndef ORION_OPT_UNIFORM_IO_H
#define ORION_OPT_UNIFORM_IO_H

#include "ir/ir.h"

enum {
  ORION_IO_OWN_VALUES = 1 << 0,
  ORION_IO_SORTED_NAMES = 1 << 1,
  ORION_IO_EQUAL_SIZES = 1 << 2,
};

typedef struct orion_io_entry {  // of each parameter, then of each output, in order
  const char *from, *to;         // name before and after
  bool input;
  int64_t channels;              // that count, of a padded output; else 0
} orion_io_entry;

typedef struct orion_io_map {
  orion_io_entry *items;  // in the arena given
  size_t n;
  size_t changes;         // identities, pads, and new names
} orion_io_map;

orion_status orion_uniform_io(orion_function *f, unsigned what, orion_arena *arena, orion_io_map *out, orion_error *err);

#endif
