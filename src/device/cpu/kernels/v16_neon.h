// Sixteen lanes as four Advanced SIMD registers of aarch64. See v16_portable.h for what each function means.
#ifndef ORION_DEVICE_CPU_KERNELS_V16_NEON_H
#define ORION_DEVICE_CPU_KERNELS_V16_NEON_H

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "device/cpu/kernels/level.h"

#define LEVEL_NAME "neon"
#define TILE_ROWS 6       // 24 registers of sums, 4 of weights
#define TILE_WIDE_ROWS 3
#define TILE_WIDE_HALVES 3

// One register: see v16_avx2.h.
typedef float32x4_t vec;
enum { VEC_LANES = 4, STRIP_ROWS = 8 };
INLINE vec vec_set(float x) { return vdupq_n_f32(x); }
INLINE vec vec_load(const float *p) { return vld1q_f32(p); }
INLINE void vec_store(float *p, vec x) { vst1q_f32(p, x); }
INLINE vec vec_add(vec x, vec y) { return vaddq_f32(x, y); }
INLINE vec vec_fma(vec x, vec y, vec z) { return vfmaq_f32(z, x, y); }
INLINE void vec_fma_to(vec *sum, vec x, vec y) { *sum = vec_fma(x, y, *sum); }

typedef struct v16 { float32x4_t a, b, c, d; } v16;
#define V16_VECS(x) {(x).a, (x).b, (x).c, (x).d}
typedef struct v16i { int32x4_t a, b, c, d; } v16i;
typedef struct v16m { uint32x4_t a, b, c, d; } v16m;  // all ones or all zeros

#define EACH1(T, f) (T){f(x.a), f(x.b), f(x.c), f(x.d)}
#define EACH2(T, f) (T){f(x.a, y.a), f(x.b, y.b), f(x.c, y.c), f(x.d, y.d)}
#define EACH3(T, f) (T){f(x.a, y.a, z.a), f(x.b, y.b, z.b), f(x.c, y.c, z.c), f(x.d, y.d, z.d)}

INLINE v16 v16_set(float x) { return (v16){vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x)}; }
INLINE v16 v16_zero(void) { return v16_set(0.0f); }
INLINE v16 v16_load(const float *p) {
  return (v16){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
INLINE void v16_store(float *p, v16 x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
INLINE v16 v16_load_n(const float *p, size_t n) {
  float r[16] = {0};
  memcpy(r, p, n * sizeof *p);
  return v16_load(r);
}
INLINE void v16_store_n(float *p, v16 x, size_t n) {
  float r[16];
  v16_store(r, x);
  memcpy(p, r, n * sizeof *p);
}

// The instruction for max returns NaN when either is; ours is a > b ? a : b as on the other levels.
INLINE float32x4_t f4_max(float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }
INLINE float32x4_t f4_min(float32x4_t x, float32x4_t y) { return vbslq_f32(vcltq_f32(x, y), x, y); }
INLINE float32x4_t f4_fma(float32x4_t x, float32x4_t y, float32x4_t z) { return vfmaq_f32(z, x, y); }

INLINE v16 v16_add(v16 x, v16 y) { return EACH2(v16, vaddq_f32); }
INLINE v16 v16_sub(v16 x, v16 y) { return EACH2(v16, vsubq_f32); }
INLINE v16 v16_mul(v16 x, v16 y) { return EACH2(v16, vmulq_f32); }
INLINE v16 v16_div(v16 x, v16 y) { return EACH2(v16, vdivq_f32); }
INLINE v16 v16_max(v16 x, v16 y) { return EACH2(v16, f4_max); }
INLINE v16 v16_min(v16 x, v16 y) { return EACH2(v16, f4_min); }
INLINE v16 v16_fma(v16 x, v16 y, v16 z) { return EACH3(v16, f4_fma); }
INLINE v16 v16_sqrt(v16 x) { return EACH1(v16, vsqrtq_f32); }
INLINE v16 v16_floor(v16 x) { return EACH1(v16, vrndmq_f32); }
INLINE v16 v16_ceil(v16 x) { return EACH1(v16, vrndpq_f32); }
INLINE v16 v16_trunc(v16 x) { return EACH1(v16, vrndq_f32); }
INLINE v16 v16_round(v16 x) { return EACH1(v16, vrndnq_f32); }

INLINE v16m v16_lt(v16 x, v16 y) { return EACH2(v16m, vcltq_f32); }
INLINE v16m v16_le(v16 x, v16 y) { return EACH2(v16m, vcleq_f32); }
INLINE v16m v16_eq(v16 x, v16 y) { return EACH2(v16m, vceqq_f32); }
INLINE v16 v16_select(v16m x, v16 y, v16 z) { return EACH3(v16, vbslq_f32); }
INLINE v16m m16_and(v16m x, v16m y) { return EACH2(v16m, vandq_u32); }
INLINE v16m m16_or(v16m x, v16m y) { return EACH2(v16m, vorrq_u32); }
INLINE v16m m16_not(v16m x) { return EACH1(v16m, vmvnq_u32); }
INLINE bool m16_any(v16m x) {
  return vmaxvq_u32(vorrq_u32(vorrq_u32(x.a, x.b), vorrq_u32(x.c, x.d))) != 0;
}

INLINE v16i v16_bits(v16 x) { return EACH1(v16i, vreinterpretq_s32_f32); }
INLINE v16 v16_of(v16i x) { return EACH1(v16, vreinterpretq_f32_s32); }
INLINE v16i i16_set(int32_t x) { return (v16i){vdupq_n_s32(x), vdupq_n_s32(x), vdupq_n_s32(x), vdupq_n_s32(x)}; }
INLINE v16i i16_add(v16i x, v16i y) { return EACH2(v16i, vaddq_s32); }
INLINE v16i i16_sub(v16i x, v16i y) { return EACH2(v16i, vsubq_s32); }
INLINE v16i i16_and(v16i x, v16i y) { return EACH2(v16i, vandq_s32); }
INLINE v16i i16_or(v16i x, v16i y) { return EACH2(v16i, vorrq_s32); }
INLINE v16i i16_xor(v16i x, v16i y) { return EACH2(v16i, veorq_s32); }
INLINE v16i i16_shl(v16i x, int n) {
  v16i y = i16_set(n);
  return EACH2(v16i, vshlq_s32);
}
INLINE v16i i16_sra(v16i x, int n) {  // a shift by a negative count goes right
  v16i y = i16_set(-n);
  return EACH2(v16i, vshlq_s32);
}
INLINE uint32x4_t i4_nonzero(int32x4_t x) { return vtstq_s32(x, x); }
INLINE v16m i16_nonzero(v16i x) { return EACH1(v16m, i4_nonzero); }
INLINE v16 i16_to_float(v16i x) { return EACH1(v16, vcvtq_f32_s32); }
INLINE v16i i16_byte_up(v16i x, int i) { return i16_and(i16_shl(x, 24 - 8 * i), i16_set((int32_t)0xFF000000)); }
INLINE v16i i16_load(const int32_t *p) {
  return (v16i){vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)};
}

typedef int8x16_t x4;
INLINE x4 x4_load(const int8_t *p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
INLINE int32x4_t i4_dot4(int32x4_t sum, int32x4_t words, int8x16_t x) {
  int8x16_t w = vreinterpretq_s8_s32(words);
#ifdef __ARM_FEATURE_DOTPROD
  return vdotq_s32(sum, w, x);
#else
  int32x4_t lo = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x))), hi = vpaddlq_s16(vmull_high_s8(w, x));
  return vaddq_s32(sum, vpaddq_s32(lo, hi));
#endif
}
enum { W4_ABOVE = 0 };
INLINE v16i w4_of(v16i w) { return w; }
INLINE v16i i16_dot4(v16i sum, v16i w, x4 x) {
  return (v16i){i4_dot4(sum.a, w.a, x), i4_dot4(sum.b, w.b, x), i4_dot4(sum.c, w.c, x), i4_dot4(sum.d, w.d, x)};
}
typedef v16i p16;
INLINE p16 p16_zero(void) { return i16_set(0); }
INLINE p16 p16_dot4(p16 sum, v16i w, x4 x) { return i16_dot4(sum, w, x); }
INLINE v16i p16_sum(p16 x) { return x; }

INLINE v16 v16_across(v16 x, int half) {
  if (half == 8) return (v16){x.c, x.d, x.a, x.b};
  if (half == 4) return (v16){x.b, x.a, x.d, x.c};
  if (half == 2) return (v16){vextq_f32(x.a, x.a, 2), vextq_f32(x.b, x.b, 2), vextq_f32(x.c, x.c, 2), vextq_f32(x.d, x.d, 2)};
  return (v16){vrev64q_f32(x.a), vrev64q_f32(x.b), vrev64q_f32(x.c), vrev64q_f32(x.d)};
}
INLINE float v16_first(v16 x) { return vgetq_lane_f32(x.a, 0); }
INLINE float32x2_t add_to_two(v16 x) {
  float32x4_t four = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
  return vadd_f32(vget_low_f32(four), vget_high_f32(four));
}
INLINE float v16_sum(v16 x) {
  float32x2_t two = add_to_two(x);
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
INLINE void v16_sum_four(float *out, const v16 *x) {
  vst1q_f32(out, vpaddq_f32(vcombine_f32(add_to_two(x[0]), add_to_two(x[1])),
                            vcombine_f32(add_to_two(x[2]), add_to_two(x[3]))));
}
INLINE float32x4_t f4_load_half(const orion_half *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
INLINE void f4_store_half(orion_half *p, float32x4_t x) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
INLINE vec vec_load_half(const orion_half *p) { return f4_load_half(p); }
INLINE v16 v16_load_half(const orion_half *p) {
  return (v16){f4_load_half(p), f4_load_half(p + 4), f4_load_half(p + 8), f4_load_half(p + 12)};
}
INLINE void v16_store_half(orion_half *p, v16 x) {
  f4_store_half(p, x.a);
  f4_store_half(p + 4, x.b);
  f4_store_half(p + 8, x.c);
  f4_store_half(p + 12, x.d);
}

// A square of 4 x 4: pairs, then halves change places.
INLINE void transpose_4(float *dst, size_t dst_stride, const float *src, size_t src_stride) {
  float32x4_t a = vld1q_f32(src), b = vld1q_f32(src + src_stride);
  float32x4_t c = vld1q_f32(src + 2 * src_stride), d = vld1q_f32(src + 3 * src_stride);
  float32x4x2_t ab = vtrnq_f32(a, b), cd = vtrnq_f32(c, d);
  vst1q_f32(dst, vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0])));
  vst1q_f32(dst + dst_stride, vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1])));
  vst1q_f32(dst + 2 * dst_stride, vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0])));
  vst1q_f32(dst + 3 * dst_stride, vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1])));
}
enum { TURN_ROWS = 4, TURN_COLS = 4 };
INLINE void turn_piece(float *dst, size_t dst_stride, const float *src, size_t src_stride) {
  transpose_4(dst, dst_stride, src, src_stride);
}
INLINE void transpose_16(float *dst, size_t dst_stride, const float *src, size_t src_stride) {
  for (size_t r = 0; r < 16; r += 4) {
    for (size_t c = 0; c < 16; c += 4) transpose_4(dst + c * dst_stride + r, dst_stride, src + r * src_stride + c, src_stride);
  }
}

#undef EACH1
#undef EACH2
#undef EACH3

#endif
