// Random numbers that are the same on every machine: PCG32 (O'Neill 2014, pcg-random.org, the XSH-RR variant with a
// 64-bit state). Integer arithmetic only; the conversion to float is exact.
#ifndef ORION_BASE_RNG_H
#define ORION_BASE_RNG_H

#include <stdint.h>

typedef struct orion_rng {
  uint64_t state;
  uint64_t increment;  // odd; selects the stream
} orion_rng;

static inline uint32_t orion_rng_u32(orion_rng *r) {
  uint64_t old = r->state;
  r->state = old * 6364136223846793005u + r->increment;
  uint32_t shifted = (uint32_t)((old >> 18 ^ old) >> 27), turn = (uint32_t)(old >> 59);
  return shifted >> turn | shifted << (-turn & 31);
}

static inline void orion_rng_seed(orion_rng *r, uint64_t seed, uint64_t stream) {
  r->state = 0;
  r->increment = stream << 1 | 1;
  orion_rng_u32(r);
  r->state += seed;
  orion_rng_u32(r);
}

// Uniform in [0, 1), a multiple of 2^-24.
static inline float orion_rng_float(orion_rng *r) { return (float)(orion_rng_u32(r) >> 8) * 0x1p-24f; }

#endif
