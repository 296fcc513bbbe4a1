// What an elementwise MIL operation is in kernels: one to three map calls. The table of the MIL language's elementwise
// part, as far as it computes in floats; integer arithmetic is exact and done elsewhere (steps_integer.c).
#ifndef ORION_DEVICE_CPU_ELEMENTWISE_H
#define ORION_DEVICE_CPU_ELEMENTWISE_H

#include "device/cpu/kernels/kernels.h"
#include "ir/ir.h"

typedef struct orion_cpu_map_step {
  uint16_t op;     // orion_map_op, or ORION_CHAIN_SELECT
  uint8_t reads;   // registers: 1, 2 or 3
  uint8_t second;  // steps after the first take their second operand from this ref
  float p, q;
} orion_cpu_map_step;

typedef struct orion_cpu_elementwise {
  int n_refs;  // tensors read
  orion_ref refs[3];
  int n;  // steps; the first reads refs[0..reads), each later one the result so far
  orion_cpu_map_step steps[3];
} orion_cpu_elementwise;

// False: not elementwise, not in floats, or a parameter is not constant.
bool orion_cpu_elementwise_of(const orion_function *f, const orion_op *op, orion_cpu_elementwise *out);

#endif
