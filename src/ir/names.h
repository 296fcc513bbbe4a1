// The table of names behind orion_function_find. Private to the ir room.
#ifndef ORION_IR_NAMES_H
#define ORION_IR_NAMES_H

#include "ir/ir.h"

bool orion_names_add(orion_function *f, orion_value_id v);  // by its present name; false: out of memory
void orion_names_free(const orion_allocator *a, orion_function *f);

#endif
