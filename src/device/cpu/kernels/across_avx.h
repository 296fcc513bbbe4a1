// What crosses lanes in registers of 256 bits, shared by the levels that have AVX: squares of floats turned over, eight by
// eight, and the lanes of four registers added up.
#ifndef ORION_DEVICE_CPU_KERNELS_ACROSS_AVX_H
#define ORION_DEVICE_CPU_KERNELS_ACROSS_AVX_H

#include <immintrin.h>

#include "device/cpu/kernels/level.h"

// dst[c * dst_stride + r] = src[r * src_stride + c] for r, c < 8. Pairs, then fours, then halves change places.
INLINE void transpose_8(float *dst, size_t dst_stride, const float *src, size_t src_stride) {
  __m256 x[8], y[8];
UNROLL(8)
  for (size_t i = 0; i < 8; i++) x[i] = _mm256_loadu_ps(src + i * src_stride);
UNROLL(4)
  for (size_t i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
  }
UNROLL(2)
  for (size_t i = 0; i < 8; i += 4) {
    x[i] = _mm256_shuffle_ps(y[i], y[i + 2], 0x44);
    x[i + 1] = _mm256_shuffle_ps(y[i], y[i + 2], 0xee);
    x[i + 2] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0x44);
    x[i + 3] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0xee);
  }
UNROLL(4)
  for (size_t i = 0; i < 4; i++) {
    _mm256_storeu_ps(dst + i * dst_stride, _mm256_permute2f128_ps(x[i], x[i + 4], 0x20));
    _mm256_storeu_ps(dst + (i + 4) * dst_stride, _mm256_permute2f128_ps(x[i], x[i + 4], 0x31));
  }
}

// Of 4 rows by 8 columns: the halves of a register are columns 4 apart.
INLINE void transpose_4(float *dst, size_t dst_stride, const float *src, size_t src_stride) {
  __m256 a = _mm256_loadu_ps(src), b = _mm256_loadu_ps(src + src_stride);
  __m256 c = _mm256_loadu_ps(src + 2 * src_stride), d = _mm256_loadu_ps(src + 3 * src_stride);
  __m256 ab = _mm256_unpacklo_ps(a, b), cd = _mm256_unpacklo_ps(c, d);
  __m256 ef = _mm256_unpackhi_ps(a, b), gh = _mm256_unpackhi_ps(c, d);
  __m256 y[] = {_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee), _mm256_shuffle_ps(ef, gh, 0x44),
                _mm256_shuffle_ps(ef, gh, 0xee)};
UNROLL(4)
  for (size_t i = 0; i < 4; i++) {
    _mm_storeu_ps(dst + i * dst_stride, _mm256_castps256_ps128(y[i]));
    _mm_storeu_ps(dst + (i + 4) * dst_stride, _mm256_extractf128_ps(y[i], 1));
  }
}

INLINE void transpose_16(float *dst, size_t dst_stride, const float *src, size_t src_stride) {
  for (size_t c = 0; c < 16; c += 8) {
    transpose_8(dst + c * dst_stride, dst_stride, src + c, src_stride);
    transpose_8(dst + c * dst_stride + 8, dst_stride, src + 8 * src_stride + c, src_stride);
  }
}

// Element i: the lanes of register i added up as v16_sum does, once eight are left.
INLINE __m128 sum_four(__m256 a, __m256 b, __m256 c, __m256 d) {
  // of two registers each: lanes j + (j + 4), the first's in the lower half
  __m256 ab = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  __m256 cd = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
  // then j + (j + 2): two lanes of a (above: b), two of c (above: d); then these two, in whichever order
  __m256 two = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
  __m256 one = _mm256_add_ps(two, _mm256_permute_ps(two, 0xb1));
  return _mm_blend_ps(_mm256_castps256_ps128(one), _mm256_extractf128_ps(one, 1), 0xa);
}

#endif
