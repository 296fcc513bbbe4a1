// Elementwise chains: a few instructions over tiles of floats that stay in the first-level cache. A chain runs by
// itself over a tensor, or at the end of a matrix product over each finished tile.
#ifndef ORION_DEVICE_CPU_CHAIN_H
#define ORION_DEVICE_CPU_CHAIN_H

#include "device/cpu/plan.h"

enum { ORION_CHAIN_OPERANDS = 12, ORION_CHAIN_INSTRS = 40, ORION_CHAIN_TEMPS = 10 };

#define ORION_CHAIN_SELECT ORION_MAP_COUNT  // dst = a ? b : c

// One tensor that a chain reads or writes, its strides spread over the chain's dimensions (0 where it repeats).
typedef struct orion_chain_operand {
  uint32_t buffer;
  orion_dtype dtype;
  int64_t offset;
  int64_t strides[ORION_MAX_RANK];
} orion_chain_operand;

// Registers: operands first, then temporaries of one tile each.
typedef struct orion_chain_instr {
  uint16_t op;
  uint8_t dst, a, b, c;
  float p, q;
} orion_chain_instr;

typedef struct orion_chain {
  int rank;  // >= 1; the last dimension is the inner one
  int64_t dims[ORION_MAX_RANK];
  int n_operands, n_instrs, n_temps;
  int injected;  // operand given by the caller of orion_chain_span, or -1
  int result;    // register
  orion_chain_operand operands[ORION_CHAIN_OPERANDS], out;
  orion_chain_instr instrs[ORION_CHAIN_INSTRS];
} orion_chain;

// Bytes of scratch for one worker.
static inline size_t orion_chain_scratch(const orion_chain *c) {
  return (size_t)(c->n_operands + c->n_temps) * ORION_CPU_TILE * sizeof(float);
}

// Computes n <= ORION_CPU_TILE elements from column `col` of row `row` (of all dimensions but the last, flattened).
void orion_chain_span(const orion_cpu_exec *x, const orion_chain *c, size_t row, size_t col, size_t n,
                      const float *injected, float *scratch);

// The step that runs a chain over all its dimensions: data is the orion_chain.
orion_status orion_chain_run(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err);

// Merges neighbouring dimensions that every operand walks evenly; the dimensions before `split` are not merged with
// those from it on (pass 0 for no such border).
void orion_chain_merge(orion_chain *c, int split);

#endif
