// What searches for fused steps share: looking around a value of the program, and noting the operations that a match takes.
// They are absorbed once the whole pattern has been found.
#ifndef ORION_DEVICE_CPU_FUSE_H
#define ORION_DEVICE_CPU_FUSE_H

#include "device/cpu/build.h"

enum { ORION_CPU_MATCH_OPS = 20 };

typedef struct orion_cpu_match {
  orion_cpu_build *b;
  orion_op_id ops[ORION_CPU_MATCH_OPS];
  int n;
} orion_cpu_match;

orion_op_id orion_cpu_id_of(const orion_cpu_build *b, const orion_op *op);  // by its first result
// The operation that makes `ref`, with no other result, if it is of that kind; else NULL.
const orion_op *orion_cpu_def_of(const orion_cpu_build *b, orion_ref ref, orion_opcode code);
// The only user of `v`; NULL where there are several, or none.
const orion_op *orion_cpu_user_of(const orion_cpu_build *b, orion_value_id v);

bool orion_cpu_take(orion_cpu_match *m, const orion_op *op);  // false: the match has no room for it
// The same for the operation that makes `ref`, which must be of that kind and have that many uses; NULL if not.
const orion_op *orion_cpu_take_def(orion_cpu_match *m, orion_ref ref, orion_opcode code, uint32_t uses);
void orion_cpu_absorb(const orion_cpu_match *m);

// The other operand of op(v, other); NONE where there is none.
orion_ref orion_cpu_other_factor(const orion_op *op, orion_ref v);
// The operations that use `v`, in order, `most` at most; false where it has other uses, or one of them uses it twice.
bool orion_cpu_users_of(const orion_cpu_build *b, orion_value_id v, uint32_t most, const orion_op *out[], uint32_t *out_n);
// Whether a reduction goes over the last axis alone and keeps it.
bool orion_cpu_over_last_axis(const orion_cpu_build *b, const orion_op *reduction, int rank);
// Whether `ref` is there before the operation: it is none of the function's results, or one of an earlier operation.
bool orion_cpu_comes_before(const orion_cpu_build *b, orion_ref ref, const orion_op *op);

#endif
