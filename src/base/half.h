// IEEE binary16 and bfloat16 as bit patterns. Portable and exact: round to nearest, ties to even; subnormals, inf and
// NaN kept (NaN quieted, the upper bits of its payload stay, as processors do).
#ifndef ORION_BASE_HALF_H
#define ORION_BASE_HALF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t orion_half;   // binary16
typedef uint16_t orion_bf16;   // upper half of a binary32

static inline float orion_bits_to_float(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static inline uint32_t orion_float_to_bits(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

static inline float orion_half_to_float(orion_half h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 0x1fu, fraction = h & 0x3ffu;
  if (exponent == 0x1f) return orion_bits_to_float(sign | 0x7f800000u | (fraction ? 0x400000u | fraction << 13 : 0));
  if (exponent) return orion_bits_to_float(sign | (exponent + 112) << 23 | fraction << 13);
  float magnitude = (float)fraction * 0x1p-24f;  // subnormal: exact
  return orion_bits_to_float(sign | orion_float_to_bits(magnitude));
}

static inline orion_half orion_float_to_half(float f) {
  uint32_t bits = orion_float_to_bits(f), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (orion_half)(sign | 0x7e00u | (magnitude >> 13 & 0x1ffu));  // NaN
  if (magnitude >= 0x477ff000u) return (orion_half)(sign | 0x7c00u);  // 65520 and more
  if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 aligns the grid of 2^-24 with the float's last bit
    float shifted = orion_bits_to_float(magnitude) + 0.5f;
    return (orion_half)(sign | (orion_float_to_bits(shifted) - 0x3f000000u));
  }
  uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return (orion_half)(sign | (rounded - 0x38000000u) >> 13);
}

static inline float orion_bf16_to_float(orion_bf16 b) { return orion_bits_to_float((uint32_t)b << 16); }

static inline orion_bf16 orion_float_to_bf16(float f) {
  uint32_t bits = orion_float_to_bits(f);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (orion_bf16)(bits >> 16 | 0x40u);
  return (orion_bf16)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// n elements at a time, with the machine's instructions where it has them; the same bits as above. `in` need not be
// aligned; the portable ones are for comparing.
void orion_floats_to_half(orion_half *out, const void *in, size_t n);
void orion_half_to_floats(float *out, const void *in, size_t n);
void orion_floats_to_half_portable(orion_half *out, const void *in, size_t n);
void orion_half_to_floats_portable(float *out, const void *in, size_t n);
void orion_floats_to_bf16(orion_bf16 *out, const void *in, size_t n);
void orion_bf16_to_floats(float *out, const void *in, size_t n);

#endif
