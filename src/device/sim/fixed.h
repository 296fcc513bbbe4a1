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

static inline double orion_fixed_from_bits(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// x * 2^n, n from -1000 to 1000
static inline double orion_fixed_scale(double x, int n) {
  return x * orion_fixed_from_bits((uint64_t)(1023 + n) << 52);
}

// To the nearest fp16, ties away from zero; subnormals kept, 65520 and more gives infinity, zero is +0. Exact for any x
// of at most 51 significant bits. NaN counts as infinity. Without branches, so that loops of it become vectors.
static inline float orion_fixed_half(double x) {
  double a = fabs(x), top = a < 65536 ? a : 65536;
  uint64_t power = orion_fixed_bits(top > 0x1p-14 ? top : 0x1p-14) & UINT64_C(0x7ff0000000000000);
  double unit = orion_fixed_from_bits(power - (UINT64_C(10) << 52));  // between neighbours of this size
  double inverse = orion_fixed_from_bits((UINT64_C(2056) << 52) - power);
  double y = (double)(int32_t)(top * inverse + 0.5) * unit;
  y = y < 65536 ? y : (double)INFINITY;
  return (float)copysign(y, x) + 0.0f;  // -0 + 0 is +0
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
