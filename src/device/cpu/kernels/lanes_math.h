// exp, log, sine, tanh, erf and what is made of them, on sixteen lanes. Include after a v16 header.
//
// All are range reduction to a short interval and a polynomial there, whose coefficients minimise the largest weighted
// error (Remez exchange in high precision, then rounded to fp32; the stated polynomial errors are relative to the
// function). No table, no branch except for huge sine arguments. Largest errors against fp64, over the whole range
// (the test walks it), in units of the last place: exp 1.1, exp2 1.1, log 1, tanh 2, sigmoid 3, erf 2, expm1 3, softplus 3,
// sine and cosine 2 up to |x| = 8192 (C library beyond).
#ifndef ORION_DEVICE_CPU_KERNELS_LANES_MATH_H
#define ORION_DEVICE_CPU_KERNELS_LANES_MATH_H

INLINE v16 v16_abs(v16 x) { return v16_of(i16_and(v16_bits(x), i16_set(0x7fffffff))); }
INLINE v16 v16_neg(v16 x) { return v16_of(i16_xor(v16_bits(x), i16_set(INT32_MIN))); }
INLINE v16 v16_copysign(v16 magnitude, v16 sign) {  // magnitude >= 0
  return v16_of(i16_or(v16_bits(magnitude), i16_and(v16_bits(sign), i16_set(INT32_MIN))));
}
INLINE v16m v16_is_nan(v16 x) { return m16_not(v16_eq(x, x)); }
// Polynomial with coefficients from the constant term up.
INLINE v16 v16_poly(v16 x, const float *c, int degree) {
  v16 r = v16_set(c[degree]);
UNROLL(16)
  for (int i = degree - 1; i >= 0; i--) r = v16_fma(r, x, v16_set(c[i]));
  return r;
}

// x = n ln2 + r with |r| <= ln2/2. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits, which needs no
// float-to-integer conversion (undefined in C for NaN) and is the same on every level.
typedef struct exp_parts { v16i n; v16 r; } exp_parts;
INLINE exp_parts exp_reduce(v16 x) {
  const v16 magic = v16_set(0x1.8p23f);
  v16 shifted = v16_fma(x, v16_set(0x1.715476p+0f), magic), n = v16_sub(shifted, magic);
  v16 r = v16_fma(n, v16_set(-0x1.62e400p-1f), x);  // ln2 in two parts; n times the first is exact
  r = v16_fma(n, v16_set(-0x1.7f7d1cp-20f), r);
  return (exp_parts){i16_sub(v16_bits(shifted), i16_set(0x4b400000)), r};
}
// (e^r - 1 - r) / r^2, error 2^-28.
INLINE v16 exp_tail(v16 r) {
  static const float c[] = {0.5f, 0.166665167f, 0.0416662022f, 0.00836909376f, 0.00139508385f};
  return v16_poly(r, c, 4);
}
// x * 2^n for n in [-252, 254]: in two steps, so that subnormal results round once and overflow gives infinity.
INLINE v16 scale_by_power(v16 x, v16i n) {
  v16i half = i16_sra(n, 1), rest = i16_sub(n, half), bias = i16_set(127);
  x = v16_mul(x, v16_of(i16_shl(i16_add(half, bias), 23)));
  return v16_mul(x, v16_of(i16_shl(i16_add(rest, bias), 23)));
}
INLINE v16 v16_clamp(v16 x, float lo, float hi) {  // NaN stays
  return v16_min(v16_set(hi), v16_max(v16_set(lo), x));
}

INLINE v16 v16_exp(v16 x) {
  exp_parts e = exp_reduce(v16_clamp(x, -104.0f, 89.0f));
  v16 p = v16_add(v16_fma(v16_mul(e.r, e.r), exp_tail(e.r), e.r), v16_set(1.0f));
  return scale_by_power(p, e.n);
}
INLINE v16 v16_exp2(v16 x) {
  const v16 magic = v16_set(0x1.8p23f);
  x = v16_clamp(x, -151.0f, 129.0f);
  v16 shifted = v16_add(x, magic), n = v16_sub(shifted, magic), f = v16_sub(x, n);  // exact
  v16 r = v16_mul(f, v16_set(0x1.62e430p-1f));
  v16 p = v16_add(v16_fma(v16_mul(r, r), exp_tail(r), r), v16_set(1.0f));
  return scale_by_power(p, i16_sub(v16_bits(shifted), i16_set(0x4b400000)));
}
// e^x - 1. Where n is 0 the 1 never enters, so small arguments keep their digits.
INLINE v16 v16_expm1(v16 x) {
  exp_parts e = exp_reduce(v16_clamp(x, -104.0f, 89.0f));
  v16 p = v16_fma(v16_mul(e.r, e.r), exp_tail(e.r), e.r), one = v16_set(1.0f);
  v16 big = v16_sub(scale_by_power(v16_add(p, one), e.n), one);
  return v16_select(i16_nonzero(e.n), big, p);
}

// x = m 2^e with m in [sqrt(1/2), sqrt(2)); log m = f - f^2/2 + f^3 P(f), f = m - 1, error of P's term 2^-30.
INLINE v16 v16_log(v16 x) {
  static const float c[] = {0.333333105f, -0.249999866f, 0.200022265f,  -0.166692525f, 0.142186657f,
                            -0.123843372f, 0.118729167f, -0.117898479f, 0.069155395f};
  const v16 zero = v16_zero(), infinity = v16_set(INFINITY);
  v16m tiny = v16_lt(x, v16_set(0x1p-126f));
  v16 scaled = v16_select(tiny, v16_mul(x, v16_set(0x1p23f)), x);
  v16i bits = v16_bits(scaled), e = i16_sra(i16_sub(bits, i16_set(0x3f3504f3)), 23);
  v16 f = v16_sub(v16_of(i16_sub(bits, i16_shl(e, 23))), v16_set(1.0f));
  v16 n = v16_sub(i16_to_float(e), v16_select(tiny, v16_set(23.0f), zero));
  v16 f2 = v16_mul(f, f), tail = v16_mul(v16_mul(f2, f), v16_poly(f, c, 8));
  tail = v16_fma(n, v16_set(0x1.7f7d1cp-20f), tail);  // the lower part of ln2, as in exp_reduce
  tail = v16_fma(f2, v16_set(-0.5f), tail);
  v16 r = v16_fma(n, v16_set(0x1.62e400p-1f), v16_add(f, tail));
  r = v16_select(v16_eq(x, infinity), infinity, r);
  r = v16_select(v16_eq(x, zero), v16_set(-INFINITY), r);
  return v16_select(v16_le(zero, x), r, v16_set(NAN));  // below zero, and NaN
}
// log(1 + x) for x >= 0: the rounding error of 1 + x is put back to first order.
INLINE v16 v16_log1p(v16 x) {
  v16 one = v16_set(1.0f), u = v16_add(one, x);
  v16 lost = v16_sub(x, v16_sub(u, one));
  return v16_add(v16_log(u), v16_div(lost, u));
}

// x + x^3 P(x^2) below 0.625 (error 2^-32), 1 - 2 / (e^2x + 1) above.
INLINE v16 v16_tanh(v16 x) {
  static const float c[] = {-0.333333313f, 0.133332074f, -0.0539469682f, 0.0217016041f, -0.00817916635f, 0.00214420841f};
  v16 a = v16_abs(x), u = v16_mul(x, x), one = v16_set(1.0f);
  v16 small = v16_fma(v16_mul(x, u), v16_poly(u, c, 5), x);
  v16 e = v16_exp(v16_add(a, a));
  v16 big = v16_sub(one, v16_div(v16_set(2.0f), v16_add(e, one)));
  return v16_select(v16_lt(a, v16_set(0.625f)), small, v16_copysign(big, x));
}

// With e = exp(-|x|): 1 / (1 + e) or e / (1 + e). No overflow, and small values keep their digits.
INLINE v16 v16_sigmoid(v16 x) {
  v16 one = v16_set(1.0f), e = v16_exp(v16_neg(v16_abs(x)));
  return v16_div(v16_select(v16_lt(x, v16_zero()), e, one), v16_add(one, e));
}

// x (1 + P(x^2)) below 0.9277 (error 2^-31); above, 1 - exp(-x Q(x)) with Q fitted to -log(erfc(x)) / x up to 4, where
// erf has rounded to 1.
INLINE v16 v16_erf(v16 x) {
  static const float p[] = {0.128379166f,   -0.376126349f,    0.11283695f,   -0.0268593356f,
                            0.00520079676f, -0.000813928025f, 8.3529987e-05f};
  static const float q[] = {1.12865651f,     0.635118246f,    0.106292203f,  -0.0238102209f,
                            0.00366545515f, -0.00032851164f, 1.18063745e-05f};
  v16 a = v16_min(v16_set(4.0f), v16_abs(x)), u = v16_mul(x, x);
  v16 small = v16_fma(x, v16_poly(u, p, 6), x);
  v16 big = v16_sub(v16_set(1.0f), v16_exp(v16_neg(v16_mul(a, v16_poly(a, q, 6)))));
  return v16_select(v16_lt(a, v16_set(0.9277f)), small, v16_copysign(big, x));
}

// max(x, 0) + log(1 + exp(-|x|))
INLINE v16 v16_softplus(v16 x) {
  return v16_add(v16_max(v16_zero(), x), v16_log1p(v16_exp(v16_neg(v16_abs(x)))));
}

// x = n pi/2 + r; quarter n chooses sine or cosine and the sign. pi/2 in four parts, n times each of the first three is
// exact for n < 2^13, fused or not, which keeps the digits of sines near zero. Cosine is sine a quarter further.
INLINE v16 v16_sine(v16 x, int quarter) {
  static const float s[] = {-0.166666672f, 0.00833332911f, -0.000198393333f, 2.71830208e-06f};
  static const float c[] = {0.0416666679f, -0.00138888834f, 2.47995195e-05f, -2.72101488e-07f};
  const v16 magic = v16_set(0x1.8p23f), limit = v16_set(8192.0f);
  v16 shifted = v16_add(v16_mul(x, v16_set(0x1.45f306p-1f)), magic), n = v16_sub(shifted, magic);
  v16 r = v16_sub(x, v16_mul(n, v16_set(0x1.92p+0f)));
  r = v16_sub(r, v16_mul(n, v16_set(0x1.fb4p-12f)));
  r = v16_sub(r, v16_mul(n, v16_set(0x1.444p-24f)));
  r = v16_sub(r, v16_mul(n, v16_set(0x1.68c234p-39f)));
  v16i k = i16_add(v16_bits(shifted), i16_set(quarter));
  v16 u = v16_mul(r, r);
  v16 sine = v16_fma(v16_mul(r, u), v16_poly(u, s, 3), r);
  v16 cosine = v16_fma(v16_mul(u, u), v16_poly(u, c, 3), v16_fma(u, v16_set(-0.5f), v16_set(1.0f)));
  v16 y = v16_select(i16_nonzero(i16_and(k, i16_set(1))), cosine, sine);
  y = v16_of(i16_xor(v16_bits(y), i16_shl(i16_and(k, i16_set(2)), 30)));
  if (m16_any(v16_lt(limit, v16_abs(x)))) {
    float in[16], out[16];
    v16_store(in, x);
    v16_store(out, y);
    for (int i = 0; i < 16; i++) {
      if (fabsf(in[i]) > 8192.0f) out[i] = quarter ? cosf(in[i]) : sinf(in[i]);
    }
    y = v16_load(out);
  }
  return y;
}

#endif
