// Numbers of the ANE: fp16 rounded half away from zero, and the accumulator's grid of 2^-16.
//
// Values travel as floats that fp16 can hold. Where an fp16 pattern has exponent field 31, the multiply-accumulate path
// sees an ordinary number of 65536 and more, the elementwise unit infinity. Nothing makes a NaN or a negative zero.
#ifndef ORION_DEVICE_SIM_FIXED_H
#define ORION_DEVICE_SIM_FIXED_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/half.h"

static inline uint64_t orion_fixed_bits(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

// To the nearest fp16, ties away from zero; subnormals kept, 65520 and more gives infinity, zero is +0. Exact for any x
// of at most 51 significant bits. NaN counts as infinity.
static inline float orion_fixed_half(double x) {
  double a = fabs(x);
  if (a < 0x1p-14) {
    double steps = (double)(int32_t)(a * 0x1p24 + 0.5);
    return steps == 0 ? 0 : (float)copysign(steps * 0x1p-24, x);
  }
  if (!(a < 65520)) return copysignf(INFINITY, (float)x);
  uint64_t bits = (orion_fixed_bits(x) + (UINT64_C(1) << 41)) & ~((UINT64_C(1) << 42) - 1);
  double rounded;
  memcpy(&rounded, &bits, sizeof rounded);
  return (float)rounded;
}

// What the elementwise unit reads: NaN as infinity, -0 as +0.
static inline float orion_fixed_operand(float x) {
  if (x != x) return orion_float_to_bits(x) >> 31 ? -INFINITY : INFINITY;
  return x == 0 ? 0 : x;
}

// What the multiply-accumulate path reads: exponent field 31 as an ordinary exponent.
static inline double orion_fixed_factor(float x) {
  uint32_t bits = orion_float_to_bits(x);
  if ((bits & 0x7f800000u) != 0x7f800000u) return (double)x;
  double magnitude = 65536 + 64 * (double)(bits >> 13 & 0x3ffu);
  return bits >> 31 ? -magnitude : magnitude;
}

// Unbiased exponent of an fp16 number as that path sees it; subnormals and zero count as -14.
static inline int orion_fixed_exponent(float x) {
  int e = (int)(orion_float_to_bits(x) >> 23 & 0xffu);
  return e == 255 ? 16 : e < 113 ? -14 : e - 127;
}

enum { ORION_FIXED_DROP = -17 };  // products whose exponents sum to this or less vanish

// x * 65536 to the nearest integer, ties away from zero.
static inline int64_t orion_fixed_steps(double x) { return (int64_t)(x * 65536 + (x < 0 ? -0.5 : 0.5)); }

#endif
