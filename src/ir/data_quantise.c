// Symmetric quantisation: x ~ q s with an integer q and a scale s in fp16 for each group.
//
//   int8  s = max|x| / 127
//   int4  q is -8..7. Cutting the largest elements off a little pays, since the others then round more finely: of a few
//         candidates, from max|x| / 7 down, the scale with the least squared error over the group is taken.
//
// Scales are rounded to fp16 before elements are divided by them, so that rounding them adds no error of its own. A NaN
// or an infinity among the elements makes the scale one too: it must not vanish.
#include "ir/data_quantise.h"

#include <math.h>

static float largest(const float *x, size_t n) {
  float top = 0;
  for (size_t i = 0; i < n; i++) {
    float a = fabsf(x[i]);
    top = !(a <= top) ? a : top;  // a NaN comes through,
    if (top != top) break;        // and stays
  }
  return top;
}

// fp16; where there is anything to scale, not 0.
static float round_scale(float s, orion_half *out) {
  *out = orion_float_to_half(s);
  if (*out == 0 && s > 0) *out = 1;  // the least of all
  return orion_half_to_float(*out);
}

// x / s as an integer within [lo, hi]: adding 1.5 * 2^23 rounds to nearest even. A NaN gives lo.
static inline float steps(float x, float inverse, float lo, float hi) {
  float t = x * inverse;
  t = t > lo ? t : lo;
  t = t < hi ? t : hi;
  return (t + 12582912.0f) - 12582912.0f;
}

// Several sums side by side, which the compiler can keep in one register.
static float squared_error(const float *x, size_t n, float s) {
  enum { LANES = 8 };
  float sum[LANES] = {0}, inverse = 1 / s, total = 0;
  size_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    for (size_t j = 0; j < LANES; j++) {
      float e = x[i + j] - steps(x[i + j], inverse, -8, 7) * s;
      sum[j] += e * e;
    }
  }
  for (; i < n; i++) {
    float e = x[i] - steps(x[i], inverse, -8, 7) * s;
    total += e * e;
  }
  for (size_t j = 0; j < LANES; j++) total += sum[j];
  return total;
}

static orion_half scale_int4(const float *x, size_t n) {
  static const float steps_to_top[] = {7, 7.4f, 7.8f, 8.2f, 8.7f, 9.3f, 10};
  float top = largest(x, n), least = INFINITY;
  orion_half best, half;
  float s = round_scale(top / steps_to_top[0], &best);
  if (!(s > 0) || !isfinite(s)) return best;
  for (size_t i = 0; i < sizeof steps_to_top / sizeof *steps_to_top; i++) {
    float error = squared_error(x, n, round_scale(top / steps_to_top[i], &half));
    if (error < least) {
      least = error;
      best = half;
    }
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
  float lo = d == ORION_INT4 ? -8 : -127, hi = d == ORION_INT4 ? 7 : 127;
  for (size_t g = 0; g < n; g++) {
    float s = orion_half_to_float(scales[g]), inverse = s != 0 ? 1 / s : 0;
    for (size_t i = g * group; i < (g + 1) * group; i++) out[i] = (int8_t)steps(x[i], inverse, lo, hi);
  }
}
