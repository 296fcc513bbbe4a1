// What the processor can do, as bits, found once by asking it. Tests lower the set to run each kernel level.
#ifndef ORION_BASE_CPU_H
#define ORION_BASE_CPU_H

#include <stdbool.h>
#include <stdint.h>

typedef enum orion_cpu_feature {
  ORION_CPU_AVX2 = 1 << 0,         // with FMA and F16C, which every AVX2 machine of interest has
  ORION_CPU_AVX512 = 1 << 1,       // F, BW, DQ, VL
  ORION_CPU_AVX512_VNNI = 1 << 2,
  ORION_CPU_AVX512_BF16 = 1 << 3,
  ORION_CPU_AVX512_FP16 = 1 << 4,
  ORION_CPU_AMX = 1 << 5,          // tile, int8, bf16, and the operating system's permission
  ORION_CPU_NEON = 1 << 6,         // Advanced SIMD (every aarch64)
  ORION_CPU_NEON_DOTPROD = 1 << 7,
  ORION_CPU_NEON_FP16 = 1 << 8,
  ORION_CPU_NEON_BF16 = 1 << 9,
  ORION_CPU_NEON_I8MM = 1 << 10,
  ORION_CPU_AVX_VNNI = 1 << 11,    // VNNI in the encoding of AVX2
} orion_cpu_feature;

uint32_t orion_cpu_features(void);  // union of orion_cpu_feature bits that may be used here

// Bits allowed by a level name: portable, avx2, avx512, amx, neon (each with all below it), or native. 0 and false for
// an unknown name; portable is 0 and true.
bool orion_cpu_level(const char *name, uint32_t *out_mask);
const char *orion_cpu_level_name(uint32_t features);  // best level within the bits, e.g. "avx2"

#endif
