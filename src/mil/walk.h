// Every literal of a program that may hold a tensor, in the order of the text.
#ifndef ORION_MIL_WALK_H
#define ORION_MIL_WALK_H

#include "ir/ir.h"

typedef struct orion_mil_place {  // where a literal stands
  const orion_function *function;  // NULL: among the program's attributes
  orion_op_id op;                  // ORION_NONE: among the function's attributes
  const char *name;                // of the op's first result, else of the function; never NULL
  orion_loc loc;
} orion_mil_place;

// The literals belong to the program's arena, where visitors may fill in `data`. The first failure ends the walk.
typedef orion_status (*orion_mil_visit)(void *ctx, const orion_mil_place *at, orion_literal *l, orion_error *err);
orion_status orion_mil_walk(const orion_program *p, orion_mil_visit visit, void *ctx, orion_error *err);

#endif
