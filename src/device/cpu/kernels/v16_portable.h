// Sixteen fp32 lanes in plain C (GCC and clang vector extensions, four by four so that any 128-bit unit fits).
//
// Every level offers this same set of inline functions; the kernel bodies are written once over it. Meaning, where an
// instruction set leaves room: v16_max(a, b) is a > b ? a : b lane by lane, so the second operand comes through when
// either is NaN (min alike); v16_round takes halves to even; v16_sum adds lanes i and i+8, then i and i+4, i+2, i+1;
// v16_sum_four does so with four; v16_across gives lane i what lane i ^ half holds, half 8, 4, 2 or 1. v16_fma rounds
// once wherever the target has a fused instruction, twice elsewhere. Functions ending in _n touch only the first n
// lanes of memory (0 < n < 16) and fill the others with zero. i16_byte_up brings byte i of each lane to the top of it,
// with zeros beneath. i16_dot4 adds to each lane of `sum` the exact sum of four products: the lane's four bytes, made
// ready by w4_of, times those of x, which are -127 or more. Where W4_ABOVE is not zero each byte counts for so much
// more than it is, which the caller has to take off. p16_dot4 does the same for bytes 0 to 15 of the lanes, as they
// are, in sums of a kind of their own (p16), which hold eight such additions; p16_sum gives them. transpose_16 turns a
// square of 16 x 16 over.
#ifndef ORION_DEVICE_CPU_KERNELS_V16_PORTABLE_H
#define ORION_DEVICE_CPU_KERNELS_V16_PORTABLE_H

#include <math.h>
#include <string.h>

#include "device/cpu/kernels/level.h"

#define LEVEL_NAME "portable"
#define TILE_ROWS 4         // rows of the product tile
#define TILE_WIDE_ROWS 2    // rows at which two panels side by side still fit the registers
#define TILE_WIDE_HALVES 2  // the same of halves, which need some to be converted in

typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));
typedef struct v16 { f4 a, b, c, d; } v16;
#define V16_VECS(x) {(x).a, (x).b, (x).c, (x).d}  // as registers
typedef struct v16i { i4 a, b, c, d; } v16i;
typedef v16i v16m;  // all ones or all zeros

#define V16_EACH(T, op) (T){op(a), op(b), op(c), op(d)}

INLINE f4 f4_set(float x) { return (f4){x, x, x, x}; }
INLINE i4 i4_set(int32_t x) { return (i4){x, x, x, x}; }
INLINE f4 f4_of(i4 x) { return (f4)x; }
INLINE i4 f4_bits(f4 x) { return (i4)x; }
INLINE f4 f4_select(i4 m, f4 x, f4 y) { return f4_of((m & f4_bits(x)) | (~m & f4_bits(y))); }
INLINE f4 f4_fma(f4 x, f4 y, f4 z) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return (f4){__builtin_fmaf(x[0], y[0], z[0]), __builtin_fmaf(x[1], y[1], z[1]), __builtin_fmaf(x[2], y[2], z[2]),
              __builtin_fmaf(x[3], y[3], z[3])};
#else
  return x * y + z;
#endif
}
INLINE f4 f4_sqrt(f4 x) { return (f4){sqrtf(x[0]), sqrtf(x[1]), sqrtf(x[2]), sqrtf(x[3])}; }
INLINE f4 f4_floor(f4 x) { return (f4){floorf(x[0]), floorf(x[1]), floorf(x[2]), floorf(x[3])}; }
INLINE f4 f4_ceil(f4 x) { return (f4){ceilf(x[0]), ceilf(x[1]), ceilf(x[2]), ceilf(x[3])}; }
INLINE f4 f4_trunc(f4 x) { return (f4){truncf(x[0]), truncf(x[1]), truncf(x[2]), truncf(x[3])}; }
INLINE f4 f4_round(f4 x) { return (f4){rintf(x[0]), rintf(x[1]), rintf(x[2]), rintf(x[3])}; }

typedef f4 vec;
enum { VEC_LANES = 4, STRIP_ROWS = 4 };
INLINE vec vec_set(float x) { return f4_set(x); }
INLINE vec vec_load(const float *p) {
  vec r;
  memcpy(&r, p, sizeof r);
  return r;
}
INLINE vec vec_load_half(const orion_half *p) {
  return (vec){orion_half_to_float(p[0]), orion_half_to_float(p[1]), orion_half_to_float(p[2]), orion_half_to_float(p[3])};
}
INLINE void vec_store(float *p, vec x) { memcpy(p, &x, sizeof x); }
INLINE vec vec_add(vec x, vec y) { return x + y; }
INLINE vec vec_fma(vec x, vec y, vec z) { return f4_fma(x, y, z); }
INLINE void vec_fma_to(vec *sum, vec x, vec y) { *sum = vec_fma(x, y, *sum); }

INLINE v16 v16_set(float x) { return (v16){f4_set(x), f4_set(x), f4_set(x), f4_set(x)}; }
INLINE v16 v16_zero(void) { return v16_set(0.0f); }
INLINE v16 v16_load(const float *p) {
  v16 r;
  memcpy(&r, p, sizeof r);
  return r;
}
INLINE void v16_store(float *p, v16 x) { memcpy(p, &x, sizeof x); }
INLINE v16 v16_load_n(const float *p, size_t n) {
  v16 r = v16_zero();
  memcpy(&r, p, n * sizeof *p);
  return r;
}
INLINE void v16_store_n(float *p, v16 x, size_t n) { memcpy(p, &x, n * sizeof *p); }

#define OP2(name, expr)                              \
  INLINE v16 name(v16 x, v16 y) { return V16_EACH(v16, expr); }
#define ADD(l) x.l + y.l
#define SUB(l) x.l - y.l
#define MUL(l) x.l *y.l
#define DIV(l) x.l / y.l
#define MAX(l) f4_select(x.l > y.l, x.l, y.l)
#define MIN(l) f4_select(x.l < y.l, x.l, y.l)
OP2(v16_add, ADD)
OP2(v16_sub, SUB)
OP2(v16_mul, MUL)
OP2(v16_div, DIV)
OP2(v16_max, MAX)
OP2(v16_min, MIN)
#define FMA(l) f4_fma(x.l, y.l, z.l)
INLINE v16 v16_fma(v16 x, v16 y, v16 z) { return V16_EACH(v16, FMA); }

#define OP1(name, expr)                              \
  INLINE v16 name(v16 x) { return V16_EACH(v16, expr); }
#define SQRT(l) f4_sqrt(x.l)
#define FLOOR(l) f4_floor(x.l)
#define CEIL(l) f4_ceil(x.l)
#define TRUNC(l) f4_trunc(x.l)
#define ROUND(l) f4_round(x.l)
OP1(v16_sqrt, SQRT)
OP1(v16_floor, FLOOR)
OP1(v16_ceil, CEIL)
OP1(v16_trunc, TRUNC)
OP1(v16_round, ROUND)

#define COMPARE(name, expr)                          \
  INLINE v16m name(v16 x, v16 y) { return V16_EACH(v16m, expr); }
#define LT(l) x.l < y.l
#define LE(l) x.l <= y.l
#define EQ(l) x.l == y.l
COMPARE(v16_lt, LT)
COMPARE(v16_le, LE)
COMPARE(v16_eq, EQ)
#define SELECT(l) f4_select(m.l, x.l, y.l)
INLINE v16 v16_select(v16m m, v16 x, v16 y) { return V16_EACH(v16, SELECT); }
#define AND(l) x.l & y.l
#define OR(l) x.l | y.l
#define NOT(l) ~x.l
INLINE v16m m16_and(v16m x, v16m y) { return V16_EACH(v16m, AND); }
INLINE v16m m16_or(v16m x, v16m y) { return V16_EACH(v16m, OR); }
INLINE v16m m16_not(v16m x) { return V16_EACH(v16m, NOT); }
INLINE bool m16_any(v16m x) {
  i4 r = x.a | x.b | x.c | x.d;
  return (r[0] | r[1] | r[2] | r[3]) != 0;
}

#define BITS(l) f4_bits(x.l)
#define OF(l) f4_of(x.l)
#define XOR(l) x.l ^ y.l
INLINE v16i v16_bits(v16 x) { return V16_EACH(v16i, BITS); }
INLINE v16 v16_of(v16i x) { return V16_EACH(v16, OF); }
INLINE v16i i16_set(int32_t x) { return (v16i){i4_set(x), i4_set(x), i4_set(x), i4_set(x)}; }
INLINE v16i i16_add(v16i x, v16i y) { return V16_EACH(v16i, ADD); }
INLINE v16i i16_sub(v16i x, v16i y) { return V16_EACH(v16i, SUB); }
INLINE v16i i16_and(v16i x, v16i y) { return V16_EACH(v16i, AND); }
INLINE v16i i16_or(v16i x, v16i y) { return V16_EACH(v16i, OR); }
INLINE v16i i16_xor(v16i x, v16i y) { return V16_EACH(v16i, XOR); }
#define SHL(l) (i4)((u4)x.l << n)
#define SRA(l) x.l >> n
typedef uint32_t u4 __attribute__((vector_size(16)));
INLINE v16i i16_shl(v16i x, int n) { return V16_EACH(v16i, SHL); }
INLINE v16i i16_sra(v16i x, int n) { return V16_EACH(v16i, SRA); }
#define NONZERO(l) x.l != 0
INLINE v16m i16_nonzero(v16i x) { return V16_EACH(v16m, NONZERO); }
#define CONVERT(l) __builtin_convertvector(x.l, f4)
INLINE v16 i16_to_float(v16i x) { return V16_EACH(v16, CONVERT); }
INLINE v16i i16_byte_up(v16i x, int i) { return i16_and(i16_shl(x, 24 - 8 * i), i16_set((int32_t)0xFF000000)); }
INLINE v16i i16_load(const int32_t *p) {
  v16i r;
  memcpy(&r, p, sizeof r);
  return r;
}

// Four bytes, made ready to be multiplied by those of each lane.
typedef struct x4 { int32_t a, b, c, d; } x4;
INLINE x4 x4_load(const int8_t *p) { return (x4){p[0], p[1], p[2], p[3]}; }
enum { W4_ABOVE = 0 };
INLINE v16i w4_of(v16i w) { return w; }
#define BYTE(l, n) (n == 3 ? w.l >> 24 : (i4)((u4)w.l << (24 - 8 * n)) >> 24)
#define DOT4(l) sum.l + BYTE(l, 0) * x.a + BYTE(l, 1) * x.b + BYTE(l, 2) * x.c + BYTE(l, 3) * x.d
INLINE v16i i16_dot4(v16i sum, v16i w, x4 x) { return V16_EACH(v16i, DOT4); }
typedef v16i p16;
INLINE p16 p16_zero(void) { return i16_set(0); }
INLINE p16 p16_dot4(p16 sum, v16i w, x4 x) { return i16_dot4(sum, w, x); }
INLINE v16i p16_sum(p16 x) { return x; }

INLINE f4 f4_across(f4 x, int half) { return half == 2 ? (f4){x[2], x[3], x[0], x[1]} : (f4){x[1], x[0], x[3], x[2]}; }
INLINE v16 v16_across(v16 x, int half) {
  if (half == 8) return (v16){x.c, x.d, x.a, x.b};
  if (half == 4) return (v16){x.b, x.a, x.d, x.c};
  return (v16){f4_across(x.a, half), f4_across(x.b, half), f4_across(x.c, half), f4_across(x.d, half)};
}
INLINE float v16_first(v16 x) { return x.a[0]; }
INLINE float v16_sum(v16 x) {
  f4 r = (x.a + x.c) + (x.b + x.d);
  return (r[0] + r[2]) + (r[1] + r[3]);
}
INLINE void v16_sum_four(float *out, const v16 *x) {
  for (int i = 0; i < 4; i++) out[i] = v16_sum(x[i]);
}
INLINE v16 v16_load_half(const orion_half *p) {
  float r[16];
  for (int i = 0; i < 16; i++) r[i] = orion_half_to_float(p[i]);
  return v16_load(r);
}
INLINE void v16_store_half(orion_half *p, v16 x) {
  float r[16];
  v16_store(r, x);
  for (int i = 0; i < 16; i++) p[i] = orion_float_to_half(r[i]);
}

enum { TURN_ROWS = 4, TURN_COLS = 4 };
INLINE void turn_piece(float *dst, size_t dst_stride, const float *src, size_t src_stride) {
  for (size_t c = 0; c < TURN_COLS; c++) {
    for (size_t r = 0; r < TURN_ROWS; r++) dst[c * dst_stride + r] = src[r * src_stride + c];
  }
}
INLINE void transpose_16(float *dst, size_t dst_stride, const float *src, size_t src_stride) {
  for (size_t c = 0; c < 16; c++) {
    for (size_t r = 0; r < 16; r++) dst[c * dst_stride + r] = src[r * src_stride + c];
  }
}

#undef OP1
#undef OP2
#undef COMPARE
#undef ADD
#undef SUB
#undef MUL
#undef DIV
#undef MAX
#undef MIN
#undef FMA
#undef SQRT
#undef FLOOR
#undef CEIL
#undef TRUNC
#undef ROUND
#undef LT
#undef LE
#undef EQ
#undef SELECT
#undef AND
#undef OR
#undef XOR
#undef NOT
#undef BITS
#undef OF
#undef SHL
#undef SRA
#undef BYTE
#undef DOT4
#undef NONZERO
#undef CONVERT

#endif
