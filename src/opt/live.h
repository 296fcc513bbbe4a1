// The working set of a program: which bytes are alive while each operation runs.
#ifndef ORION_OPT_LIVE_H
#define ORION_OPT_LIVE_H

#include "ir/ir.h"

typedef struct orion_live {
  size_t n;          // positions: the operations that are not constants, in order
  orion_op_id *ops;
  size_t *bytes;     // alive at each position: values made and still needed, inputs between their first and last use,
                     // and the constants that the operation reads
  size_t peak;       // the largest of them
  size_t peak_at;    // its position
} orion_live;

// A reshape counts as the tensor it renames; values of unknown size as nothing. Arrays live in `scratch`. False: out of
// memory.
bool orion_live_analyse(const orion_function *f, orion_arena *scratch, orion_live *out);

#endif
