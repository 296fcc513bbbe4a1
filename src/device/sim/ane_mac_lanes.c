// The fast path of multiply-accumulate. A sum of integers below 2^31 does not depend on the order of its terms, so
// vectors of 32-bit sums run side by side, with a float bound of the magnitudes beside them that tells afterwards
// whether any sum could have come near 2^31; the caller then repeats such a column term by term.
//
// A product of two fp16 numbers has 22 bits: exact in a float. A product is dropped when the powers of two below its
// factors multiply to 2^-17 or less; others become terms, products in steps rounded half away from zero, in one of two
// ways:
//
//   any product    scaled by 2^16, half added away from zero and cut (adding the half is exact, or is swallowed where
//                  the number is an integer already); the bound is the sum of the magnitudes
//   below 2^21     as nearly all are, which norms of the factors prove for whole blocks: added to 1.5 * 2^23, a float
//                  whose last bit is worth 1, so that the addition rounds, and its bits are that of the term plus a
//                  constant. It rounds ties to even, therefore the weight is one unit in its last place too large: the
//                  product grows by two at most, of 24 bits of which it uses 22, and never stays on a tie; the bound is
//                  the product of the norms
//
// The elementwise unit's sums and products are here too. Compiled once per processor level, LEVEL and WIDTH set.
#include "device/sim/ane.h"
#include "device/sim/fixed.h"

typedef float vf __attribute__((vector_size(WIDTH * 4)));
typedef int32_t vi __attribute__((vector_size(WIDTH * 4)));
typedef uint32_t vu __attribute__((vector_size(WIDTH * 4)));

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

enum { CHUNK = ORION_SIM_ANE_CHUNK };

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

// ---- blocks of rows and columns ----

static inline vi select(vi mask, vi yes, vi no) { return (mask & yes) | (~mask & no); }

typedef int32_t half __attribute__((vector_size(WIDTH * 2)));

static inline bool any(vi mask) {
  half low, high;
  uint64_t words[sizeof(half) / 8], all = 0;
  __builtin_memcpy(&low, &mask, sizeof low);
  __builtin_memcpy(&high, (const char *)&mask + sizeof low, sizeof high);
  low |= high;
  __builtin_memcpy(words, &low, sizeof words);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) all |= words[i];
  return all != 0;
}

static void peaks(size_t k, const float *x, size_t ldx, size_t lanes, float *out) {
  for (size_t j = 0; j < lanes; j += 2 * WIDTH) {
    vf sum[2] = {{0}, {0}};
    size_t pairs = lanes - j < 2 * WIDTH ? 1 : 2;
    for (size_t i = 0; i < k; i++) {
      for (size_t g = 0; g < pairs; g++) {
        vf v = load(x + i * ldx + j + g * WIDTH);
        sum[g] += v * v;
      }
    }
    float most = 0;
    for (size_t l = 0; l < pairs * WIDTH; l++) {
      float v = sum[l / WIDTH][l % WIDTH];
      most = v <= most ? most : v;  // a NaN stays
    }
    *out++ = __builtin_sqrtf(most) * (1 + 0x1p-10f);
  }
}

enum { ROWS = ORION_SIM_ANE_ROWS };

typedef struct weights {          // of one chunk
  float scaled[ROWS][CHUNK], limit[ROWS][CHUNK];
  float norm[ROWS], top;          // of a row; largest magnitude of all, infinite where a weight is not finite: in steps
} weights;

static void prepare(weights *p, const float *const *w, size_t m) {
  p->top = 0;
  for (int r = 0; r < ROWS; r++) {
    vf most = {0}, squares = {0};
    for (size_t i = 0; i < m; i += WIDTH) {
      float cut[WIDTH] = {0};
      if (m - i < WIDTH) __builtin_memcpy(cut, w[r] + i, (m - i) * sizeof *cut);
      vf v = load(m - i < WIDTH ? cut : w[r] + i) * 65536, a = magnitude(v);
      vi e = (vi)a >> 23, least = 129 + (vi){0};              // 16 more than of the weight
      e = 254 - select(e > least, e, least);                  // 2^(-16 - E(w)), biased
      vi limit = (e > 113) & (e << 23), larger = (vi)v - (a != 0);
      __builtin_memcpy(p->limit[r] + i, &limit, sizeof limit);
      __builtin_memcpy(p->scaled[r] + i, &larger, sizeof larger);
      most = (vf)select(a > most, (vi)a, (vi)most);
      squares += v * v;
    }
    float sum = 0;
    for (int l = 0; l < WIDTH; l++) {
      p->top = most[l] > p->top ? most[l] : p->top;
      sum += squares[l];
    }
    p->norm[r] = __builtin_sqrtf(sum) * (1 + 0x1p-10f);
    if (!(p->norm[r] < 0x1p60f)) p->top = __builtin_inff();
  }
}

// GROUP vectors of columns, all rows: products below 2^21 only.
#define DEFINE_BLOCK(NAME, GROUP)                                                                                \
  static void NAME(const weights *p, size_t m, const float *x, size_t ldx, int32_t *sum, size_t lds) {           \
    const vf magic = splat(0x1.8p23f);                                                                           \
    vu acc[ROWS][GROUP];                                                                                         \
    _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++) {                                                     \
      _Pragma("GCC unroll 4") for (int g = 0; g < GROUP; g++) {                                                  \
        __builtin_memcpy(&acc[r][g], sum + (size_t)r * lds + g * WIDTH, sizeof(vu));                             \
      }                                                                                                          \
    }                                                                                                            \
    for (size_t i = 0; i < m; i++, x += ldx) {                                                                   \
      vf a[GROUP], size[GROUP];                                                                                  \
      _Pragma("GCC unroll 4") for (int g = 0; g < GROUP; g++) {                                                  \
        a[g] = load(x + g * WIDTH);                                                                              \
        size[g] = magnitude(a[g]);                                                                               \
      }                                                                                                          \
      _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++) {                                                   \
        vf w = splat(p->scaled[r][i]), limit = splat(p->limit[r][i]);                                            \
        _Pragma("GCC unroll 4") for (int g = 0; g < GROUP; g++) {                                                \
          acc[r][g] += (vu)((vf)((vi)a[g] & (size[g] >= limit)) * w + magic);                                    \
        }                                                                                                        \
      }                                                                                                          \
    }                                                                                                            \
    const vu constants = (uint32_t)m * 0x4b400000u + (vu){0};                                                    \
    _Pragma("GCC unroll 8") for (int r = 0; r < ROWS; r++) {                                                     \
      _Pragma("GCC unroll 4") for (int g = 0; g < GROUP; g++) {                                                  \
        acc[r][g] -= constants;                                                                                  \
        __builtin_memcpy(sum + (size_t)r * lds + g * WIDTH, &acc[r][g], sizeof(vu));                             \
      }                                                                                                          \
    }                                                                                                            \
  }
DEFINE_BLOCK(block1, 1)
DEFINE_BLOCK(block2, 2)

// Columns with a product that may be larger: row by row.
static void large(const float *w, size_t m, const float *x, size_t ldx, size_t lanes, int32_t *sum, float *bound) {
  float bounds[2 * WIDTH] = {0};
  panel(m, w, x, ldx, lanes, sum, bounds);
  float most = 0;
  for (size_t l = 0; l < lanes; l++) most = bounds[l] <= most ? most : bounds[l];
  *bound += most;
}

static void block(size_t k, const float *const *w, const float *x, size_t ldx, const float *peak, size_t lanes,
                  int32_t *sum, size_t lds, float *bound, size_t ldb) {
  weights p;
  for (size_t i0 = 0; i0 < k; i0 += CHUNK) {
    const float *rows[ROWS], *from = x + i0 * ldx;
    size_t m = k - i0 < CHUNK ? k - i0 : CHUNK;
    for (int r = 0; r < ROWS; r++) rows[r] = w[r] + i0;
    prepare(&p, rows, m);
    for (size_t j = 0, pair = 0; j < lanes; j += 2 * WIDTH, pair++) {
      size_t n = lanes - j < 2 * WIDTH ? WIDTH : 2 * WIDTH;
      if (!(p.top * peak[pair] < 0x1p21f)) {
        for (size_t r = 0; r < ROWS; r++) large(rows[r], m, from + j, ldx, n, sum + r * lds + j, bound + r * ldb + pair);
        continue;
      }
      if (n == WIDTH) {
        block1(&p, m, from + j, ldx, sum + j, lds);
      } else {
        block2(&p, m, from + j, ldx, sum + j, lds);
      }
      for (size_t r = 0; r < ROWS; r++) bound[r * ldb + pair] += p.norm[r] * peak[pair];
    }
  }
}

// ---- one column ----

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

// Steps are coarser than subnormals, so that only numbers of 2048 steps and more are rounded. Sums of 25 bits and more
// are cut to 24, the last of them odd if anything was lost.
static inline __attribute__((always_inline)) void finish_as(bool narrow, const int32_t *sum, int32_t start, float *out,
                                                            size_t n) {
  for (size_t i = 0; i < n; i += WIDTH) {
    vi v;
    __builtin_memcpy(&v, sum + i, sizeof v);
    v += start;
    if (!narrow) {
      vi large = (v >= 1 << 24) | (v <= -(1 << 24)), lost = (v & 255) != 0;
      v = select(large, (v & ~255) | (lost & 256), v);
    }
    vi bits = (vi)__builtin_convertvector(v, vf);
    vf f = (vf)((bits + 0x1000) & ~0x1fff) * 0x1p-16f;
    __builtin_memcpy(out + i, &f, sizeof f);
  }
}

static void finish(const int32_t *sum, int32_t start, bool narrow, float *out, size_t n) {
  if (narrow) {
    finish_as(true, sum, start, out, n);
  } else {
    finish_as(false, sum, start, out, n);
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

// The same where all goes well: results are zero or normal, and none is near infinity (so that no operand was NaN or
// infinite). A lane of *bad is set where that does not hold.
static inline vf apply_plain(orion_opcode code, vf a, vf b, vi *bad) {
  vf v;
  vi bits;
  if (code == ORION_OP_mul) {
    v = a * b;
    bits = (vi)v;
  } else {
    vf c = code == ORION_OP_sub ? -b : b;
    v = a + c;
    vf part = v - a, error = (a - (v - part)) + (c - part);
    bits = (vi)v + (error * v < 0);  // back below a tie that the float addition rounded up to
  }
  const vi lowest = 113 << 23 | (vi){0};                  // 2^-14
  const vi range = ((0x477ff000 - (113 << 23)) ^ INT32_MIN) | (vi){0};  // to 65520
  *bad |= ((((vi)magnitude(v) - lowest) ^ INT32_MIN) >= range) & (v != 0);
  return (vf)((bits + 0x1000) & ~0x1fff) + 0.0f;
}

enum { VECTORS = 4 };             // tested together

static inline __attribute__((always_inline)) void row_of(orion_opcode code, const float *x, size_t x_step,
                                                         const float *y, size_t y_step, float *z, size_t n) {
  size_t i = 0;
  for (; i + VECTORS * WIDTH <= n; i += VECTORS * WIDTH) {
    vf v[VECTORS];
    vi bad = {0};
    _Pragma("GCC unroll 4") for (int g = 0; g < VECTORS; g++) {
      vf a = x_step ? load(x + i + g * WIDTH) : splat(*x), b = y_step ? load(y + i + g * WIDTH) : splat(*y);
      v[g] = apply_plain(code, a, b, &bad);
    }
    if (any(bad)) {
      _Pragma("GCC unroll 4") for (int g = 0; g < VECTORS; g++) {
        v[g] = apply(code, x_step ? load(x + i + g * WIDTH) : splat(*x), y_step ? load(y + i + g * WIDTH) : splat(*y));
      }
    }
    _Pragma("GCC unroll 4") for (int g = 0; g < VECTORS; g++) __builtin_memcpy(z + i + g * WIDTH, &v[g], sizeof(vf));
  }
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

const orion_sim_ane_lanes JOIN(orion_sim_ane_lanes_, LEVEL) = {WIDTH, peaks, block, panel, dot, finish, row, round_row};
