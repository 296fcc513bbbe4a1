// Symmetric quantisation: x ~ q s with an integer q and a scale s in fp16 for each group.
//
//   int8  s = max|x| / 127
//   int4  q is -8..7. Of a few candidates, from max|x| / 7 down since the others round more finely when the largest are
//         cut off a little, and of both signs since there is one step more below zero than above, each with the scale
//         that fits the integers best, the one with the least squared error over the group is taken.
//
// Scales are rounded to fp16 before elements are divided by them, so that rounding them adds no error of its own. A NaN
// or an infinity among the elements makes the scale one too: it must not vanish.
#include "ir/data_quantise.h"

#include <math.h>
#include <string.h>

enum { GROUP = 32, GROUP_LEAST = 16, GROUP_MOST = 64 };

// The divisor of `cols` nearest to GROUP, of two the smaller; without one within bounds the whole row.
size_t orion_quantise_group(orion_dtype d, size_t cols) {
  if (d != ORION_INT4) return cols;
  for (size_t at = 0; at <= GROUP_MOST - GROUP; at++) {
    if (at <= GROUP - GROUP_LEAST && cols % (GROUP - at) == 0) return GROUP - at;
    if (cols % (GROUP + at) == 0) return GROUP + at;
  }
  return cols;
}

// By bits: those of magnitudes are ordered as these are, NaN above all.
static float largest(const float *x, size_t n) {
  uint32_t top = 0;
  for (size_t i = 0; i < n; i++) {
    union { float f; uint32_t u; } a = {x[i]};
    uint32_t magnitude = a.u & 0x7fffffffu;
    top = magnitude > top ? magnitude : top;
  }
  return (union { uint32_t u; float f; }){top}.f;
}

// fp16; where there is anything to scale, not 0.
static float round_scale(float s, orion_half *out) {
  *out = orion_float_to_half(s);
  if ((*out & 0x7fff) == 0 && s != 0) *out |= 1;  // the least of all
  return orion_half_to_float(*out);
}

// x / s as an integer within [lo, hi]: adding 1.5 * 2^23 rounds to nearest even, and leaves the integer in the lowest
// bits. Scales are such that |x / s| is far below 2^22. Bounded as integers, which compilers do without branches; what
// a NaN gives does not matter, for its scale is one too.
static inline int32_t steps(float x, float inverse, int32_t lo, int32_t hi) {
  union { float f; uint32_t u; } sum = {x * inverse + 12582912.0f};
  int32_t n = (int32_t)(sum.u - 0x4b400000u);
  n = n > lo ? n : lo;
  return n < hi ? n : hi;
}

enum { CANDIDATES = 16, BLOCK = 32 };

// What the best scale for some integers q needs to be known: the sums of x q and of q q.
typedef struct fit {
  float xq, qq;
} fit;

// Loops of a fixed length, and sums in halves, are what compilers turn into vector code.
static float sum_of(float *v) {
  for (size_t i = 0; i < BLOCK / 2; i++) v[i] += v[i + BLOCK / 2];
  for (size_t i = 0; i < BLOCK / 4; i++) v[i] += v[i + BLOCK / 4];
  float sum = 0;
  for (size_t i = 0; i < BLOCK / 4; i++) sum += v[i];
  return sum;
}

// Adds BLOCK elements rounded to multiples of 1 / inverse.
static void add_block(fit *f, const float *x, float inverse) {
  float xq[BLOCK], qq[BLOCK];
  for (size_t i = 0; i < BLOCK; i++) {
    float q = (float)steps(x[i], inverse, -8, 7);
    xq[i] = x[i] * q;
    qq[i] = q * q;
  }
  f->xq += sum_of(xq);
  f->qq += sum_of(qq);
}

static orion_half scale_int4(const float *x, size_t n) {
  static const float steps_to_top[CANDIDATES] = {7,  7.35f,  7.7f,  8,  8.4f,  8.9f,  9.5f,  10.5f,
                                                 -7, -7.35f, -7.7f, -8, -8.4f, -8.9f, -9.5f, -10.5f};
  float top = largest(x, n), least = INFINITY;
  orion_half best, half;
  float s = round_scale(top / steps_to_top[0], &best);
  if (!(s > 0) || !isfinite(s)) return best;
  fit fits[CANDIDATES] = {{0, 0}};
  for (size_t i = 0; i < n; i += BLOCK) {
    float padded[BLOCK] = {0};
    const float *block = x + i;
    if (n - i < BLOCK) block = memcpy(padded, x + i, (n - i) * sizeof *x);
    for (size_t c = 0; c < CANDIDATES; c++) add_block(&fits[c], block, steps_to_top[c] / top);
  }
  for (size_t c = 0; c < CANDIDATES; c++) {
    if (!(fits[c].qq > 0)) continue;
    s = round_scale(fits[c].xq / fits[c].qq, &half);
    float error = s * (s * fits[c].qq - 2 * fits[c].xq);  // less the sum of x x, which all share
    if (!(error < least) || s == 0) continue;
    least = error;
    best = half;
  }
  return best;
}

void orion_quantise_scales(orion_dtype d, const float *x, size_t n, size_t group, orion_half *scales) {
  for (size_t g = 0; g < n; g++) {
    const float *at = x + g * group;
    if (d == ORION_INT4) {
      scales[g] = scale_int4(at, group);
    } else {
      round_scale(largest(at, group) / 127, &scales[g]);
    }
  }
}

void orion_quantise(orion_dtype d, const float *x, size_t n, size_t group, const orion_half *scales, int8_t *out) {
  int32_t lo = d == ORION_INT4 ? -8 : -127, hi = d == ORION_INT4 ? 7 : 127;
  for (size_t g = 0; g < n; g++) {
    float s = orion_half_to_float(scales[g]), inverse = s != 0 ? 1 / s : 0;
    const float *from = x + g * group;
    int8_t *to = out + g * group;
    for (size_t i = 0; i < group; i++) to[i] = (int8_t)steps(from[i], inverse, lo, hi);
  }
}

void orion_expand(const int8_t *q, const float *scales, size_t rows, size_t cols, size_t groups, float *out) {
  size_t group = cols / groups;
  for (size_t g = 0; g < rows * groups; g++, q += group, out += group) {
    for (size_t i = 0; i < group; i++) out[i] = (float)q[i] * scales[g];
  }
}

void orion_nibbles_to_words(const int8_t *q, size_t cols, uint32_t *out) {
  for (size_t i = 0; i < cols; i += 8) {
    uint32_t word = 0;
    for (size_t k = 0; k < 8 && i + k < cols; k++) word |= (uint32_t)((q[i + k] + 8) & 15) << 4 * k;
    out[i / 8] = word;
  }
}

void orion_words_to_nibbles(const uint32_t *words, size_t cols, int8_t *out) {
  for (size_t i = 0; i < cols; i++) out[i] = (int8_t)((int)((words[i / 8] >> 4 * (i % 8)) & 15) - 8);
}
