// Sixteen lanes as two AVX2 registers, with FMA and F16C. See v16_portable.h for what each function means.
#ifndef ORION_DEVICE_CPU_KERNELS_V16_AVX2_H
#define ORION_DEVICE_CPU_KERNELS_V16_AVX2_H

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "device/cpu/kernels/level.h"
#include "device/cpu/kernels/across_avx.h"

#define LEVEL_NAME "avx2"
#define TILE_ROWS 6       // 12 registers of sums, 2 of weights, 1 of activation
#define TILE_WIDE_ROWS 3
#define TILE_WIDE_HALVES 2

// One register, of which products of many rows are made (body_strips.h).
typedef __m256 vec;
enum { VEC_LANES = 8, STRIP_ROWS = 4 };
INLINE vec vec_set(float x) { return _mm256_set1_ps(x); }
INLINE vec vec_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE vec vec_load_half(const orion_half *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)); }
INLINE void vec_store(float *p, vec x) { _mm256_storeu_ps(p, x); }
INLINE vec vec_add(vec x, vec y) { return _mm256_add_ps(x, y); }
INLINE vec vec_fma(vec x, vec y, vec z) { return _mm256_fmadd_ps(x, y, z); }
// *sum += x * y. A tile fills all 16 registers: left to choose among the instruction's forms, gcc lets sums wander from one to
// another, and has to put some of them on the stack.
INLINE void vec_fma_to(vec *sum, vec x, vec y) { __asm__("vfmadd231ps %2, %1, %0" : "+x"(*sum) : "x"(x), "x"(y)); }
enum { TURN_ROWS = 4, TURN_COLS = 8 };
INLINE void turn_piece(float *dst, size_t dst_stride, const float *src, size_t src_stride) {
  transpose_4(dst, dst_stride, src, src_stride);
}

typedef struct v16 { __m256 a, b; } v16;
#define V16_VECS(x) {(x).a, (x).b}
typedef struct v16i { __m256i a, b; } v16i;
typedef v16 v16m;  // all ones or all zeros

#define BOTH(T, f, ...) (T){f(x.a, ##__VA_ARGS__), f(x.b, ##__VA_ARGS__)}
#define PAIR(T, f, ...) (T){f(x.a, y.a, ##__VA_ARGS__), f(x.b, y.b, ##__VA_ARGS__)}

// Ones in the first n of eight, n in 0..16 counted over both halves.
INLINE __m256i first_lanes(size_t n, int from) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n - from), lane);
}

INLINE v16 v16_set(float x) { return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE v16 v16_zero(void) { return (v16){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
INLINE v16 v16_load(const float *p) { return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void v16_store(float *p, v16 x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
INLINE v16 v16_load_n(const float *p, size_t n) {  // a masked-out lane is not touched, even on an unmapped page
  return (v16){_mm256_maskload_ps(p, first_lanes(n, 0)), _mm256_maskload_ps(p + 8, first_lanes(n, 8))};
}
INLINE void v16_store_n(float *p, v16 x, size_t n) {
  _mm256_maskstore_ps(p, first_lanes(n, 0), x.a);
  _mm256_maskstore_ps(p + 8, first_lanes(n, 8), x.b);
}

INLINE v16 v16_add(v16 x, v16 y) { return PAIR(v16, _mm256_add_ps); }
INLINE v16 v16_sub(v16 x, v16 y) { return PAIR(v16, _mm256_sub_ps); }
INLINE v16 v16_mul(v16 x, v16 y) { return PAIR(v16, _mm256_mul_ps); }
INLINE v16 v16_div(v16 x, v16 y) { return PAIR(v16, _mm256_div_ps); }
INLINE v16 v16_max(v16 x, v16 y) { return PAIR(v16, _mm256_max_ps); }
INLINE v16 v16_min(v16 x, v16 y) { return PAIR(v16, _mm256_min_ps); }
INLINE v16 v16_fma(v16 x, v16 y, v16 z) {
  return (v16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
INLINE v16 v16_sqrt(v16 x) { return BOTH(v16, _mm256_sqrt_ps); }
INLINE v16 v16_floor(v16 x) { return BOTH(v16, _mm256_floor_ps); }
INLINE v16 v16_ceil(v16 x) { return BOTH(v16, _mm256_ceil_ps); }
INLINE v16 v16_trunc(v16 x) { return BOTH(v16, _mm256_round_ps, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
INLINE v16 v16_round(v16 x) { return BOTH(v16, _mm256_round_ps, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

INLINE v16m v16_lt(v16 x, v16 y) { return PAIR(v16m, _mm256_cmp_ps, _CMP_LT_OQ); }
INLINE v16m v16_le(v16 x, v16 y) { return PAIR(v16m, _mm256_cmp_ps, _CMP_LE_OQ); }
INLINE v16m v16_eq(v16 x, v16 y) { return PAIR(v16m, _mm256_cmp_ps, _CMP_EQ_OQ); }
INLINE v16 v16_select(v16m m, v16 x, v16 y) {
  return (v16){_mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b)};
}
INLINE v16m m16_and(v16m x, v16m y) { return PAIR(v16m, _mm256_and_ps); }
INLINE v16m m16_or(v16m x, v16m y) { return PAIR(v16m, _mm256_or_ps); }
INLINE v16m m16_not(v16m x) {
  const v16 y = {_mm256_castsi256_ps(_mm256_set1_epi32(-1)), _mm256_castsi256_ps(_mm256_set1_epi32(-1))};
  return PAIR(v16m, _mm256_xor_ps);
}
INLINE bool m16_any(v16m x) { return _mm256_movemask_ps(_mm256_or_ps(x.a, x.b)) != 0; }

INLINE v16i v16_bits(v16 x) { return BOTH(v16i, _mm256_castps_si256); }
INLINE v16 v16_of(v16i x) { return BOTH(v16, _mm256_castsi256_ps); }
INLINE v16i i16_set(int32_t x) { return (v16i){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INLINE v16i i16_add(v16i x, v16i y) { return PAIR(v16i, _mm256_add_epi32); }
INLINE v16i i16_sub(v16i x, v16i y) { return PAIR(v16i, _mm256_sub_epi32); }
INLINE v16i i16_and(v16i x, v16i y) { return PAIR(v16i, _mm256_and_si256); }
INLINE v16i i16_or(v16i x, v16i y) { return PAIR(v16i, _mm256_or_si256); }
INLINE v16i i16_xor(v16i x, v16i y) { return PAIR(v16i, _mm256_xor_si256); }
INLINE v16i i16_shl(v16i x, int n) { return BOTH(v16i, _mm256_slli_epi32, n); }
INLINE v16i i16_sra(v16i x, int n) { return BOTH(v16i, _mm256_srai_epi32, n); }
INLINE v16m i16_nonzero(v16i x) {
  const v16i y = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  v16i zero = PAIR(v16i, _mm256_cmpeq_epi32);
  return m16_not(v16_of(zero));
}
INLINE v16 i16_to_float(v16i x) { return BOTH(v16, _mm256_cvtepi32_ps); }
INLINE v16i i16_byte_up(v16i x, int i) {
  const __m256i from = _mm256_set1_epi32((int)(0x00808080u | (uint32_t)i << 24));
  const __m256i lane = _mm256_setr_epi32(0, 0x04000000, 0x08000000, 0x0C000000, 0, 0x04000000, 0x08000000, 0x0C000000);
  const v16i y = {_mm256_add_epi32(from, lane), _mm256_add_epi32(from, lane)};
  return PAIR(v16i, _mm256_shuffle_epi8);
}
// A byte, or four bits, of the words at p on top of its word, with zeros beneath: by one instruction that reads it from where it
// is on top already, or so near that a product of 16 bits brings it there. Up to V16_ASTRAY bytes before and behind the 64
// are read too. (Of words in registers, these would be two instructions, most of them for the same two of the four ports.)
#define V16_ASTRAY 3
INLINE v16i i16_masked_at(const uint8_t *p, uint32_t mask) {
  const __m256i bits = _mm256_set1_epi32((int)mask);
  return (v16i){_mm256_and_si256(bits, _mm256_loadu_si256((const __m256i *)(const void *)p)),
                _mm256_and_si256(bits, _mm256_loadu_si256((const __m256i *)(const void *)(p + 32)))};
}
INLINE v16i i16_byte_at(const uint8_t *p, int i) { return i16_masked_at(p + i - 3, 0xFF000000); }
INLINE v16i i16_nibble_at(const uint8_t *p, int i) {
  if (i % 2) return i16_masked_at(p + i / 2 - 3, 0xF0000000);
  const __m256i up = _mm256_set1_epi32(0x10000000);  // 2^12 for a word's upper half, 0 for the lower one
  p += i / 2 - 2;
  return (v16i){_mm256_mullo_epi16(up, _mm256_loadu_si256((const __m256i *)(const void *)p)),
                _mm256_mullo_epi16(up, _mm256_loadu_si256((const __m256i *)(const void *)(p + 32)))};
}
INLINE v16i i16_load(const int32_t *p) {
  return (v16i){_mm256_loadu_si256((const __m256i *)(const void *)p),
                _mm256_loadu_si256((const __m256i *)(const void *)(p + 8))};
}

// The instructions that multiply bytes take one side unsigned. VNNI's adds four products to 32 bits, so w + 128 may be that
// side. The older one sums pairs to 16 bits, which 2 * 128 * 127 fits: the side is |w|, whose sign goes to x.
typedef __m256i x4;
INLINE x4 x4_load(const int8_t *p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  return _mm256_set1_epi32(four);
}
#ifdef __AVXVNNI__
enum { W4_ABOVE = 128 };
INLINE v16i w4_of(v16i w) { return i16_xor(w, i16_set(-0x7f7f7f80)); }
INLINE v16i i16_dot4(v16i sum, v16i w, x4 x) {
  return (v16i){_mm256_dpbusd_avx_epi32(sum.a, w.a, x), _mm256_dpbusd_avx_epi32(sum.b, w.b, x)};
}
typedef v16i p16;
INLINE p16 p16_zero(void) { return i16_set(0); }
INLINE p16 p16_dot4(p16 sum, v16i w, x4 x) { return i16_dot4(sum, w, x); }
INLINE v16i p16_sum(p16 x) { return x; }
#else
enum { W4_ABOVE = 0 };
INLINE v16i w4_of(v16i w) { return w; }
INLINE __m256i dot4(__m256i sum, __m256i w, __m256i x) {
  __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
INLINE v16i i16_dot4(v16i sum, v16i w, x4 x) { return (v16i){dot4(sum.a, w.a, x), dot4(sum.b, w.b, x)}; }
typedef v16i p16;  // two sums of 16 bits in each lane: 8 * 2 * 15 * 127 fits
INLINE p16 p16_zero(void) { return i16_set(0); }
INLINE p16 p16_dot4(p16 sum, v16i w, x4 x) {
  return (p16){_mm256_add_epi16(sum.a, _mm256_maddubs_epi16(w.a, x)),
               _mm256_add_epi16(sum.b, _mm256_maddubs_epi16(w.b, x))};
}
INLINE v16i p16_sum(p16 x) {
  const __m256i ones = _mm256_set1_epi16(1);
  return (v16i){_mm256_madd_epi16(x.a, ones), _mm256_madd_epi16(x.b, ones)};
}
#endif

INLINE v16 v16_across(v16 x, int half) {
  if (half == 8) return (v16){x.b, x.a};
  if (half == 4) return (v16){_mm256_permute2f128_ps(x.a, x.a, 1), _mm256_permute2f128_ps(x.b, x.b, 1)};
  if (half == 2) return (v16){_mm256_permute_ps(x.a, 0x4e), _mm256_permute_ps(x.b, 0x4e)};
  return (v16){_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)};
}
INLINE float v16_first(v16 x) { return _mm256_cvtss_f32(x.a); }
INLINE float v16_sum(v16 x) {
  __m256 eight = _mm256_add_ps(x.a, x.b);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
INLINE void v16_sum_four(float *out, const v16 *x) {
  __m256 eight[4];
UNROLL(4)
  for (int i = 0; i < 4; i++) eight[i] = _mm256_add_ps(x[i].a, x[i].b);
  _mm_storeu_ps(out, sum_four(eight[0], eight[1], eight[2], eight[3]));
}
INLINE v16 v16_load_half(const orion_half *p) {
  return (v16){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)),
               _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 8)))};
}
INLINE void v16_store_half(orion_half *p, v16 x) {
  _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128((__m128i *)(void *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}

#undef BOTH
#undef PAIR

#endif
