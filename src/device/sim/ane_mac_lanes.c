// The fast path of multiply-accumulate. A sum of integers below 2^31 does not depend on the order of its terms, so
// vectors of 32-bit sums run side by side, with a float bound of the magnitudes beside them that tells afterwards
// whether any sum could have come near 2^31; the caller then repeats such a column term by term.
//
// A product of two fp16 numbers has 22 bits: exact in a float. Scaled by 2^16, half added away from zero and cut, it is
// the rounded term (adding the half is exact, or is swallowed where the number is an integer already). A product is
// dropped when the powers of two below its factors multiply to 2^-17 or less.
//
// The elementwise unit's sums and products are here too. Compiled once per processor level, LEVEL and WIDTH set.
#include "device/sim/ane.h"
#include "device/sim/fixed.h"

typedef float vf __attribute__((vector_size(WIDTH * 4)));
typedef int32_t vi __attribute__((vector_size(WIDTH * 4)));

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

static inline vf load(const float *p) {
  vf v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

static inline vf splat(float x) { return x - (vf){0}; }

static inline vf magnitude(vf v) { return (vf)((vi)v & 0x7fffffff); }

// The rounded terms of products v, in steps, where `keep`.
static inline vi terms(vf v, vi keep) {
  vf half = (vf)(((vi)v & INT32_MIN) | 0x3f000000);
  return __builtin_convertvector((vf)((vi)(v + half) & keep), vi);
}

// For a weight: keep an x of at least this magnitude. Subnormal x count as 2^-14, so that a limit of 2^-14 keeps all.
static inline float limit_of(float w) {
  uint32_t bits;
  __builtin_memcpy(&bits, &w, sizeof bits);
  uint32_t e = bits >> 23 & 0xff;
  if (e < 113) e = 113;
  uint32_t limit = 238 - e;  // 2^(-16 - E(w)), biased
  bits = limit <= 113 ? 0 : limit << 23;
  float out;
  __builtin_memcpy(&out, &bits, sizeof out);
  return out;
}

enum { CHUNK = 128 };

// GROUP vectors of columns over k terms.
#define DEFINE_GROUP(NAME, GROUP)                                                                                \
  static void NAME(size_t k, const float *scaled, const float *limits, const float *x, size_t ldx, int32_t *sum, \
                   float *bound) {                                                                               \
    vi acc[GROUP];                                                                                               \
    vf most[GROUP];                                                                                              \
    __builtin_memcpy(acc, sum, sizeof acc);                                                                      \
    __builtin_memcpy(most, bound, sizeof most);                                                                  \
    for (size_t i = 0; i < k; i++, x += ldx) {                                                                   \
      vf w = splat(scaled[i]), limit = splat(limits[i]);                                                         \
      _Pragma("GCC unroll 4") for (int g = 0; g < GROUP; g++) {                                                  \
        vf a = load(x + g * WIDTH), v = a * w;                                                                   \
        acc[g] += terms(v, magnitude(a) >= limit);                                                               \
        most[g] += magnitude(v);                                                                                 \
      }                                                                                                          \
    }                                                                                                            \
    __builtin_memcpy(sum, acc, sizeof acc);                                                                      \
    __builtin_memcpy(bound, most, sizeof most);                                                                  \
  }
DEFINE_GROUP(group1, 1)
DEFINE_GROUP(group4, 4)

static void panel(size_t k, const float *w, const float *x, size_t ldx, size_t lanes, int32_t *sum, float *bound) {
  float scaled[CHUNK], limits[CHUNK];
  for (size_t i0 = 0; i0 < k; i0 += CHUNK) {
    size_t m = k - i0 < CHUNK ? k - i0 : CHUNK;
    for (size_t i = 0; i < m; i++) {
      scaled[i] = w[i0 + i] * 65536;
      limits[i] = limit_of(w[i0 + i]);
    }
    const float *from = x + i0 * ldx;
    size_t j = 0;
    for (; j + 4 * WIDTH <= lanes; j += 4 * WIDTH) group4(m, scaled, limits, from + j, ldx, sum + j, bound + j);
    for (; j < lanes; j += WIDTH) group1(m, scaled, limits, from + j, ldx, sum + j, bound + j);
  }
}

// Terms side by side: both factors vary, so their powers of two are multiplied.
static inline vf power(vf v) {
  vi e = (vi)v & 0x7f800000, least = 113 << 23 | (vi){0};
  vi below = e < least;
  return (vf)((e & ~below) | (least & below));
}

static inline vi dot_terms(const float *w, const float *x, vf *most) {
  vf a = load(x), b = load(w), v = a * (b * 65536);
  *most += magnitude(v);
  return terms(v, power(a) * power(b) >= splat(0x1p-16f));
}

static int32_t dot(size_t k, const float *w, const float *x, float *bound) {
  vi acc0 = {0}, acc1 = {0};
  vf most0 = {0}, most1 = {0};
  size_t i = 0;
  for (; i + 2 * WIDTH <= k; i += 2 * WIDTH) {
    acc0 += dot_terms(w + i, x + i, &most0);
    acc1 += dot_terms(w + i + WIDTH, x + i + WIDTH, &most1);
  }
  for (; i < k; i += WIDTH) {
    float a[WIDTH] = {0}, b[WIDTH] = {0};
    size_t m = k - i < WIDTH ? k - i : WIDTH;
    __builtin_memcpy(a, w + i, m * sizeof *a);
    __builtin_memcpy(b, x + i, m * sizeof *b);
    acc0 += dot_terms(a, b, &most0);
  }
  acc0 += acc1;
  most0 += most1;
  uint32_t sum = 0;
  float most = 0;
  for (int l = 0; l < WIDTH; l++) {
    sum += (uint32_t)acc0[l];
    most += most0[l];
  }
  *bound = most;
  return (int32_t)sum;
}

// ---- rows of the elementwise unit ---- see fixed.h for the same, one number at a time

static inline vi select(vi mask, vi yes, vi no) { return (mask & yes) | (~mask & no); }

// To fp16, ties away from zero, where v has at most 22 bits, or is odd in its last bit (of 24) when it was cut there.
static inline vf to_half(vf v) {
  vf a = magnitude(v), most = splat(65536);
  a = (vf)select(a < most, (vi)a, (vi)most);
  vi power = (vi)a & 0x7f800000, least = 113 << 23 | (vi){0};
  power = select(power > least, power, least);
  vf unit = (vf)(power - (10 << 23)), inverse = (vf)((264 << 23) - power);
  vf y = __builtin_convertvector(__builtin_convertvector(a * inverse + 0.5f, vi), vf) * unit;
  y = (vf)select(y < most, (vi)y, 0x7f800000 | (vi){0});
  y = (vf)(((vi)y | ((vi)v & INT32_MIN)) & (v == v));  // NaN, of inf - inf or 0 * inf, is zero
  return y + 0.0f;                                     // and so is -0
}

// Sums of 25 bits and more are cut to 24, the last of them odd if anything was lost.
static void finish(const int32_t *sum, int32_t start, float *out, size_t n) {
  for (size_t i = 0; i < n; i += WIDTH) {
    vi v;
    __builtin_memcpy(&v, sum + i, sizeof v);
    v += start;
    vi high = (v >> 8) | (((v & 255) != 0) & 1);
    vi large = (v >= 1 << 24) | (v <= -(1 << 24));
    vf f = (vf)select(large, (vi)(__builtin_convertvector(high, vf) * 0x1p-8f),
                      (vi)(__builtin_convertvector(v, vf) * 0x1p-16f));
    f = to_half(f);
    __builtin_memcpy(out + i, &f, sizeof f);
  }
}

static inline vf operand(vf v) {  // NaN as infinity
  vi special = ((vi)v & 0x7f800000) == 0x7f800000;
  return (vf)((vi)v & ~(special & 0x7fffff));
}

// a + b to 24 bits, the last of them odd if anything was cut: rounding once more is then as rounding once.
static inline vf sum_odd(vf a, vf b) {
  vf s = a + b, part = s - a, error = (a - (s - part)) + (b - part);
  vi cut = (error != 0) & (magnitude(s) < splat(131072)), away = ((vi)error ^ (vi)s) < 0;
  return (vf)select(cut, ((vi)s + away) | 1, (vi)s);  // `away` is -1 where s was rounded up
}

static inline vf apply(orion_opcode code, vf a, vf b) {
  a = operand(a);
  b = operand(b);
  return to_half(code == ORION_OP_mul ? a * b : sum_odd(a, code == ORION_OP_sub ? -b : b));
}

static inline __attribute__((always_inline)) void row_of(orion_opcode code, const float *x, size_t x_step,
                                                         const float *y, size_t y_step, float *z, size_t n) {
  size_t i = 0;
  for (; i + WIDTH <= n; i += WIDTH) {
    vf v = apply(code, x_step ? load(x + i) : splat(*x), y_step ? load(y + i) : splat(*y));
    __builtin_memcpy(z + i, &v, sizeof v);
  }
  for (; i < n; i++) {
    vf v = apply(code, splat(x[i * x_step]), splat(y[i * y_step]));
    z[i] = v[0];
  }
}

static void row(orion_opcode code, const float *x, size_t x_step, const float *y, size_t y_step, float *z, size_t n) {
  if (code == ORION_OP_mul) {
    row_of(ORION_OP_mul, x, x_step, y, y_step, z, n);
  } else if (code == ORION_OP_add) {
    row_of(ORION_OP_add, x, x_step, y, y_step, z, n);
  } else {
    row_of(ORION_OP_sub, x, x_step, y, y_step, z, n);
  }
}

static void round_row(float *x, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] = orion_fixed_half((double)x[i]);
}

const orion_ane_lanes JOIN(orion_ane_lanes_, LEVEL) = {WIDTH, panel, dot, finish, row, round_row};
