// Activation functions of the ANE, as its tables give them: a straight line between two of 33 knots, each of the three
// steps rounded to fp16; exp, log and the roots around it take the number's exponent apart first.
#include "device/sim/ane.h"
#include "device/sim/fixed.h"

static float word(uint16_t w) { return orion_half_to_float(w); }

static float step(float from, float to, double fraction) {
  float d = orion_fixed_half((double)to - (double)from);
  float p = orion_fixed_half(fraction * (double)d);
  return orion_fixed_half((double)from + (double)p);
}

static float between(const orion_sim_ane_table *t, int from, int to, double fraction) {
  return step(word(t->knot[from]), word(t->knot[to]), fraction);
}

static float line(const uint16_t *slope_intercept, float x) {
  float p = orion_fixed_half((double)word(slope_intercept[0]) * (double)x);
  return orion_fixed_half((double)p + (double)word(slope_intercept[1]));
}

static bool is_odd(const orion_sim_ane_table *t) { return t->mode >> 4 == 6; }

// Walked outward from zero: the middle knot of 33, or the first of an odd function, which has knots for one side only.
float orion_sim_ane_curve(orion_sim_ane_function f, float v) {
  const orion_sim_ane_table *t = &orion_sim_ane_tables[f];
  float x = orion_fixed_operand(v);
  bool odd = is_odd(t), negative = x < 0;
  float a = fabsf(x), at = odd ? a : x;
  float y;
  if (at <= word(t->lo)) {
    y = word(t->out_lo);
  } else if (at >= word(t->hi)) {
    y = word(t->out_hi);
  } else {
    double place = orion_fixed_scale((double)a, t->shift), whole = floor(place);
    int centre = odd ? 0 : 16, last = odd ? 32 : 16;
    int direction = !odd && negative ? -1 : 1;
    if (place > last) {
      y = line(!odd && negative ? t->left : t->right, at);
    } else if (place == last) {
      y = word(t->knot[centre + direction * last]);
    } else {
      int i = centre + direction * (int)whole;
      y = between(t, i, i + direction, place - whole);
    }
  }
  return odd && negative && y != 0 ? -y : y;
}

// 2^z by its whole and fractional parts; below zero from the other end of the table.
float orion_sim_ane_exp2(float v) {
  const orion_sim_ane_table *t = &orion_sim_ane_tables[ORION_SIM_ANE_EXP2];
  float z = orion_fixed_operand(v);
  if (z <= word(t->lo)) return word(t->out_lo);
  if (z >= word(t->hi)) return word(t->out_hi);
  double a = fabs((double)z), n = floor(a), place = orion_fixed_scale(a - n, t->shift), i = floor(place);
  int k = (int)i;
  if (z >= 0) return orion_fixed_half(orion_fixed_scale((double)between(t, k, k + 1, place - i), (int)n));
  return orion_fixed_half(orion_fixed_scale((double)between(t, 32 - k, 31 - k, place - i), -(int)n - 1));
}

float orion_sim_ane_exp(float x) {
  const double log2_e = 0x1.714p0;  // fp16 3dc5
  return orion_sim_ane_exp2(orion_fixed_half((double)orion_fixed_operand(x) * log2_e));
}

// m of x = m * 2^e as a place among the knots, m in [0.5, 1), or in [0.5, 2) with an even e.
static float mantissa(const orion_sim_ane_table *t, double x, bool even, int *out_e) {
  const uint64_t bits = orion_fixed_bits(x);
  int e = (int)(bits >> 52) - 1022;
  double m = orion_fixed_from_bits((bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1022) << 52);
  if (even && e % 2 != 0) {
    m *= 2;
    e--;
  }
  double place = even ? m * 16 : (m - 0.5) * 64, i = floor(place);
  *out_e = e;
  return between(t, (int)i, (int)i + 1, place - i);
}

float orion_sim_ane_log(float v) {
  const orion_sim_ane_table *t = &orion_sim_ane_tables[ORION_SIM_ANE_LOG2];
  const double log_2 = 0.693359375;  // fp16 398c
  float x = orion_fixed_operand(v);
  if (x < 0) return 0;
  if (x == 0) return orion_fixed_half(orion_fixed_factor(word(t->out_lo)) * log_2);  // fc00: -65536
  if (x >= word(t->hi)) return word(t->out_hi);
  int e;
  float y = mantissa(t, (double)x, false, &e);
  return orion_fixed_half((double)orion_fixed_half((double)y + e) * log_2);
}

static float root(orion_sim_ane_function f, float v, int sign) {
  const orion_sim_ane_table *t = &orion_sim_ane_tables[f];
  float x = orion_fixed_operand(v);
  if (x < 0) return 0;
  if (x == 0) return word(t->out_lo);
  if (x >= word(t->hi)) return word(t->out_hi);
  int e;
  float y = mantissa(t, (double)x, true, &e);
  return orion_fixed_half(orion_fixed_scale((double)y, sign * e / 2));
}

float orion_sim_ane_sqrt(float x) { return root(ORION_SIM_ANE_SQRT, x, 1); }
float orion_sim_ane_rsqrt(float x) { return root(ORION_SIM_ANE_RSQRT, x, -1); }

float orion_sim_ane_inverse(float v) {
  const orion_sim_ane_table *t = &orion_sim_ane_tables[ORION_SIM_ANE_INVERSE];
  float x = orion_fixed_operand(v), a = fabsf(x);
  float y = a == 0 ? word(t->out_lo) : word(t->out_hi);
  if (a > 0 && a < word(t->hi)) {
    int e;
    float m = mantissa(t, (double)a, false, &e);
    y = orion_fixed_half(orion_fixed_scale((double)m, -e));
  }
  return x < 0 && y != 0 ? -y : y;
}

float orion_sim_ane_sin(float v) {
  const orion_sim_ane_table *t = &orion_sim_ane_tables[ORION_SIM_ANE_SIN];
  float x = orion_fixed_operand(v);
  if (isinf(x)) return 0;
  double quarters = fabs((double)x) * 0.63661977236758134308, whole = floor(quarters);
  double place = orion_fixed_scale(quarters - whole, t->shift);
  int quadrant = (int)fmod(whole, 4);
  if (quadrant & 1) place = 32 - place;
  double i = place < 31 ? floor(place) : 31;
  float y = between(t, (int)i, (int)i + 1, place - i);
  return (quadrant >= 2) != (x < 0) && y != 0 ? -y : y;
}
