// The fast path of multiply-accumulate. A sum of integers below 2^31 does not depend on the order of its terms, so
// vectors of 32-bit sums run side by side, with a float bound of the magnitudes beside them that tells afterwards
// whether any sum could have come near 2^31; the caller then repeats such a column term by term.
//
// A product of two fp16 numbers has 22 bits: exact in a float. Scaled by 2^16, half added away from zero and cut, it is
// the rounded term (adding the half is exact, or is swallowed where the number is an integer already). A product is
// dropped when the powers of two below its factors multiply to 2^-17 or less.
//
// Compiled once per processor level with LEVEL and WIDTH set.
#include "device/sim/ane.h"

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

const orion_ane_lanes JOIN(orion_ane_lanes_, LEVEL) = {WIDTH, panel, dot};
