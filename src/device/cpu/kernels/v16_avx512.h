// Sixteen lanes as one AVX-512 register (F, BW, DQ, VL). See v16_portable.h for what each function means.
#ifndef ORION_DEVICE_CPU_KERNELS_V16_AVX512_H
#define ORION_DEVICE_CPU_KERNELS_V16_AVX512_H

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "device/cpu/kernels/level.h"
#include "device/cpu/kernels/across_avx.h"

#define LEVEL_NAME "avx512"
#define TILE_ROWS 12      // of 32 registers; two panels of 12 rows would leave none for weights
#define TILE_WIDE_ROWS 3
#define TILE_WIDE_HALVES 3

// One register, and a piece turned over at once: see v16_avx2.h.
typedef __m512 vec;
enum { VEC_LANES = 16, STRIP_ROWS = 8 };
INLINE vec vec_set(float x) { return _mm512_set1_ps(x); }
INLINE vec vec_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE vec vec_load_half(const orion_half *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }
INLINE void vec_store(float *p, vec x) { _mm512_storeu_ps(p, x); }
INLINE vec vec_add(vec x, vec y) { return _mm512_add_ps(x, y); }
INLINE vec vec_fma(vec x, vec y, vec z) { return _mm512_fmadd_ps(x, y, z); }
INLINE void vec_fma_to(vec *sum, vec x, vec y) { *sum = vec_fma(x, y, *sum); }
enum { TURN_ROWS = 8, TURN_COLS = 8 };
INLINE void turn_piece(float *dst, size_t dst_stride, const float *src, size_t src_stride) {
  transpose_8(dst, dst_stride, src, src_stride);
}

typedef __m512 v16;
#define V16_VECS(x) {x}
typedef __m512i v16i;
typedef __mmask16 v16m;

INLINE v16m first_lanes(size_t n) { return (v16m)((1u << n) - 1); }

INLINE v16 v16_set(float x) { return _mm512_set1_ps(x); }
INLINE v16 v16_zero(void) { return _mm512_setzero_ps(); }
INLINE v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void v16_store(float *p, v16 x) { _mm512_storeu_ps(p, x); }
INLINE v16 v16_load_n(const float *p, size_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
INLINE void v16_store_n(float *p, v16 x, size_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }

INLINE v16 v16_add(v16 x, v16 y) { return _mm512_add_ps(x, y); }
INLINE v16 v16_sub(v16 x, v16 y) { return _mm512_sub_ps(x, y); }
INLINE v16 v16_mul(v16 x, v16 y) { return _mm512_mul_ps(x, y); }
INLINE v16 v16_div(v16 x, v16 y) { return _mm512_div_ps(x, y); }
INLINE v16 v16_max(v16 x, v16 y) { return _mm512_max_ps(x, y); }
INLINE v16 v16_min(v16 x, v16 y) { return _mm512_min_ps(x, y); }
INLINE v16 v16_fma(v16 x, v16 y, v16 z) { return _mm512_fmadd_ps(x, y, z); }
INLINE v16 v16_sqrt(v16 x) { return _mm512_sqrt_ps(x); }
INLINE v16 v16_floor(v16 x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
INLINE v16 v16_ceil(v16 x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
INLINE v16 v16_trunc(v16 x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
INLINE v16 v16_round(v16 x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

INLINE v16m v16_lt(v16 x, v16 y) { return _mm512_cmp_ps_mask(x, y, _CMP_LT_OQ); }
INLINE v16m v16_le(v16 x, v16 y) { return _mm512_cmp_ps_mask(x, y, _CMP_LE_OQ); }
INLINE v16m v16_eq(v16 x, v16 y) { return _mm512_cmp_ps_mask(x, y, _CMP_EQ_OQ); }
INLINE v16 v16_select(v16m m, v16 x, v16 y) { return _mm512_mask_blend_ps(m, y, x); }
INLINE v16m m16_and(v16m x, v16m y) { return (v16m)(x & y); }
INLINE v16m m16_or(v16m x, v16m y) { return (v16m)(x | y); }
INLINE v16m m16_not(v16m x) { return (v16m)~x; }
INLINE bool m16_any(v16m x) { return x != 0; }

INLINE v16i v16_bits(v16 x) { return _mm512_castps_si512(x); }
INLINE v16 v16_of(v16i x) { return _mm512_castsi512_ps(x); }
INLINE v16i i16_set(int32_t x) { return _mm512_set1_epi32(x); }
INLINE v16i i16_add(v16i x, v16i y) { return _mm512_add_epi32(x, y); }
INLINE v16i i16_sub(v16i x, v16i y) { return _mm512_sub_epi32(x, y); }
INLINE v16i i16_and(v16i x, v16i y) { return _mm512_and_si512(x, y); }
INLINE v16i i16_or(v16i x, v16i y) { return _mm512_or_si512(x, y); }
INLINE v16i i16_xor(v16i x, v16i y) { return _mm512_xor_si512(x, y); }
INLINE v16i i16_shl(v16i x, int n) { return _mm512_slli_epi32(x, (unsigned)n); }
INLINE v16i i16_sra(v16i x, int n) { return _mm512_srai_epi32(x, (unsigned)n); }
INLINE v16m i16_nonzero(v16i x) { return _mm512_test_epi32_mask(x, x); }
INLINE v16 i16_to_float(v16i x) { return _mm512_cvtepi32_ps(x); }
INLINE v16i i16_byte_up(v16i x, int i) {
  const __m512i from = _mm512_set1_epi32((int)(0x00808080u | (uint32_t)i << 24));
  const __m512i lane = _mm512_set4_epi32(0x0C000000, 0x08000000, 0x04000000, 0);
  return _mm512_shuffle_epi8(x, _mm512_add_epi32(from, lane));
}
INLINE v16i i16_load(const int32_t *p) { return _mm512_loadu_si512(p); }

// As in v16_avx2.h; the sign goes to x by a mask here.
typedef __m512i x4;
INLINE x4 x4_load(const int8_t *p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  return _mm512_set1_epi32(four);
}
#ifdef __AVX512VNNI__
enum { W4_ABOVE = 128 };
INLINE v16i w4_of(v16i w) { return i16_xor(w, i16_set(-0x7f7f7f80)); }
INLINE v16i i16_dot4(v16i sum, v16i w, x4 x) { return _mm512_dpbusd_epi32(sum, w, x); }
typedef v16i p16;
INLINE p16 p16_zero(void) { return i16_set(0); }
INLINE p16 p16_dot4(p16 sum, v16i w, x4 x) { return i16_dot4(sum, w, x); }
INLINE v16i p16_sum(p16 x) { return x; }
#else
enum { W4_ABOVE = 0 };
INLINE v16i w4_of(v16i w) { return w; }
INLINE v16i i16_dot4(v16i sum, v16i w, x4 x) {
  __m512i turned = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
  __m512i pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(w), turned);
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
typedef __m512i p16;  // two sums of 16 bits in each lane
INLINE p16 p16_zero(void) { return _mm512_setzero_si512(); }
INLINE p16 p16_dot4(p16 sum, v16i w, x4 x) { return _mm512_add_epi16(sum, _mm512_maddubs_epi16(w, x)); }
INLINE v16i p16_sum(p16 x) { return _mm512_madd_epi16(x, _mm512_set1_epi16(1)); }
#endif

INLINE v16 v16_across(v16 x, int half) {
  if (half == 8) return _mm512_shuffle_f32x4(x, x, 0x4e);
  if (half == 4) return _mm512_shuffle_f32x4(x, x, 0xb1);
  return half == 2 ? _mm512_permute_ps(x, 0x4e) : _mm512_permute_ps(x, 0xb1);
}
INLINE float v16_first(v16 x) { return _mm512_cvtss_f32(x); }
INLINE float v16_sum(v16 x) {
  __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
INLINE void v16_sum_four(float *out, const v16 *x) {
  __m256 eight[4];
UNROLL(4)
  for (int i = 0; i < 4; i++) eight[i] = _mm256_add_ps(_mm512_castps512_ps256(x[i]), _mm512_extractf32x8_ps(x[i], 1));
  _mm_storeu_ps(out, sum_four(eight[0], eight[1], eight[2], eight[3]));
}
INLINE v16 v16_load_half(const orion_half *p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
INLINE void v16_store_half(orion_half *p, v16 x) {
  _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

#endif
