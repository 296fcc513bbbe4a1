// Elementwise kernels of one level: an inline function of lanes per operation, and one loop around each. Include after
// a v16 header.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_MAP_H
#define ORION_DEVICE_CPU_KERNELS_BODY_MAP_H

#include "device/cpu/kernels/lanes_math.h"

#define LANES(name, expr) \
  INLINE v16 lanes_##name(v16 a, v16 b, v16 p, v16 q) { return expr; }

INLINE v16 truth(v16m m) { return v16_select(m, v16_set(1.0f), v16_zero()); }
INLINE v16m is_true(v16 x) { return m16_not(v16_eq(x, v16_zero())); }
// The plain v16_max lets a NaN in b through; this one also a NaN in a.
INLINE v16 max_or_nan(v16 a, v16 b) { return v16_select(v16_eq(a, a), v16_max(a, b), a); }
INLINE v16 min_or_nan(v16 a, v16 b) { return v16_select(v16_eq(a, a), v16_min(a, b), a); }
INLINE v16 round_to_half(v16 x) {
  orion_half h[16];
  v16_store_half(h, x);
  return v16_load_half(h);
}
INLINE v16 gelu_exact(v16 x) {
  v16 half = v16_mul(x, v16_set(0.5f));
  return v16_fma(half, v16_erf(v16_mul(x, v16_set(0x1.6a09e6p-1f))), half);
}
// x/2 (1 + tanh(u)) is x sigmoid(2u); u = sqrt(2/pi) (x + 0.044715 x^3).
INLINE v16 gelu_tanh(v16 x) {
  v16 cubic = v16_fma(v16_mul(x, x), v16_set(0x1.2444f2p-4f), v16_set(0x1.988454p+0f));
  return v16_mul(x, v16_sigmoid(v16_mul(x, cubic)));
}
INLINE v16 divide_floor(v16 a, v16 b) { return v16_floor(v16_div(a, b)); }
INLINE v16 sign_of(v16 x) {
  return v16_select(is_true(x), v16_select(v16_eq(x, x), v16_copysign(v16_set(1.0f), x), x), x);
}

LANES(copy, a)
LANES(fill, p)
LANES(add, v16_add(a, b))
LANES(sub, v16_sub(a, b))
LANES(mul, v16_mul(a, b))
LANES(div, v16_div(a, b))
LANES(max, max_or_nan(a, b))
LANES(min, min_or_nan(a, b))
LANES(mod, v16_sub(a, v16_mul(divide_floor(a, b), b)))
LANES(floor_div, divide_floor(a, b))
LANES(prelu, v16_select(v16_lt(v16_zero(), a), a, v16_mul(a, b)))
LANES(equal, truth(v16_eq(a, b)))
LANES(not_equal, truth(m16_not(v16_eq(a, b))))
LANES(less, truth(v16_lt(a, b)))
LANES(less_equal, truth(v16_le(a, b)))
LANES(greater, truth(v16_lt(b, a)))
LANES(greater_equal, truth(v16_le(b, a)))
LANES(logical_and, truth(m16_and(is_true(a), is_true(b))))
LANES(logical_or, truth(m16_or(is_true(a), is_true(b))))
LANES(logical_xor, truth(m16_not(v16_eq(truth(is_true(a)), truth(is_true(b)))))) /* unequal truths */
LANES(logical_not, truth(m16_not(is_true(a))))
LANES(mul_add, v16_fma(p, b, a))
LANES(add_scalar, v16_add(a, p))
LANES(sub_scalar, v16_sub(a, p))
LANES(scalar_sub, v16_sub(p, a))
LANES(mul_scalar, v16_mul(a, p))
LANES(div_scalar, v16_div(a, p))
LANES(scalar_div, v16_div(p, a))
LANES(max_scalar, max_or_nan(a, p))
LANES(min_scalar, min_or_nan(a, p))
LANES(linear, v16_add(v16_mul(a, p), q))
LANES(abs, v16_abs(a))
LANES(neg, v16_neg(a))
LANES(square, v16_mul(a, a))
LANES(sqrt, v16_sqrt(a))
LANES(rsqrt, v16_div(v16_set(1.0f), v16_sqrt(v16_add(a, p))))
LANES(inverse, v16_div(v16_set(1.0f), v16_add(a, p)))
LANES(clip, v16_min(q, v16_max(p, a)))
LANES(sign, sign_of(a))
LANES(floor, v16_floor(a))
LANES(ceil, v16_ceil(a))
LANES(round, v16_round(a))
LANES(trunc, v16_trunc(a))
LANES(to_half, round_to_half(a))
LANES(exp, v16_exp(a))
LANES(exp2, v16_exp2(a))
LANES(log, v16_log(v16_add(a, p)))
LANES(sin, v16_sine(a, 0))
LANES(cos, v16_sine(a, 1))
LANES(tanh, v16_tanh(a))
LANES(erf, v16_erf(a))
LANES(sigmoid, v16_sigmoid(a))
LANES(gelu, gelu_exact(a))
LANES(gelu_tanh, gelu_tanh(a))
LANES(gelu_sigmoid, v16_mul(a, v16_sigmoid(v16_mul(a, v16_set(1.702f)))))
LANES(silu, v16_mul(a, v16_sigmoid(a)))
LANES(relu, v16_max(v16_zero(), a))
LANES(leaky_relu, v16_select(v16_lt(v16_zero(), a), a, v16_mul(a, p)))
LANES(thresholded_relu, v16_select(v16_lt(a, p), v16_zero(), a))
LANES(elu, v16_select(v16_lt(v16_zero(), a), a, v16_mul(p, v16_expm1(a))))
LANES(sigmoid_hard, v16_clamp(v16_add(v16_mul(a, p), q), 0.0f, 1.0f))
LANES(scaled_tanh, v16_mul(p, v16_tanh(v16_mul(q, a))))
LANES(softplus, v16_softplus(a))
LANES(softsign, v16_div(a, v16_add(v16_set(1.0f), v16_abs(a))))

// pow of -0 and -inf differ from the root's: +0 and +inf.
INLINE v16 pow_half(v16 x) {
  v16m down = v16_eq(x, v16_set(-INFINITY));
  return v16_select(down, v16_set(INFINITY), v16_sqrt(v16_add(x, v16_zero())));
}
LANES(power_half, pow_half(a))
LANES(power_minus_half, v16_div(v16_set(1.0f), pow_half(a)))
LANES(power_3, v16_mul(v16_mul(a, a), a))

// One copy of the operation for whole vectors and the rest: the branch is foreseen, and the code half as large.
INLINE v16 load_up_to_16(const float *p, size_t n) { return n < 16 ? v16_load_n(p, n) : v16_load(p); }
#define MAP(NAME, name, arity)                                                                     \
  static void map_##name(float *dst, const float *a, const float *b, size_t n, float p, float q) { \
    const v16 vp = v16_set(p), vq = v16_set(q), none = v16_zero();                                 \
    for (size_t i = 0; i < n; i += 16) {                                                           \
      v16 x = arity > 0 ? load_up_to_16(a + i, n - i) : none;                                      \
      v16 y = arity > 1 ? load_up_to_16(b + i, n - i) : none;                                      \
      v16 r = lanes_##name(x, y, vp, vq);                                                          \
      if (n - i < 16) v16_store_n(dst + i, r, n - i);                                              \
      else v16_store(dst + i, r);                                                                  \
    }                                                                                              \
  }
ORION_MAP_VECTOR_OPS(MAP)
MAP(, power_half, 1)
MAP(, power_minus_half, 1)
MAP(, power_3, 1)
#undef MAP

static void map_pow_scalar(float *dst, const float *a, const float *b, size_t n, float p, float q) {
  if (p == 2.0f) map_square(dst, a, NULL, n, 0.0f, 0.0f);
  else if (p == 0.5f) map_power_half(dst, a, NULL, n, 0.0f, 0.0f);
  else if (p == -0.5f) map_power_minus_half(dst, a, NULL, n, 0.0f, 0.0f);
  else if (p == -1.0f) map_scalar_div(dst, a, NULL, n, 1.0f, 0.0f);
  else if (p == 1.0f) map_copy(dst, a, NULL, n, 0.0f, 0.0f);
  else if (p == 3.0f) map_power_3(dst, a, NULL, n, 0.0f, 0.0f);
  else for (size_t i = 0; i < n; i++) dst[i] = powf(a[i], p);
}

static void map_select(float *dst, const float *cond, const float *a, const float *b, size_t n) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16)
    v16_store(dst + i, v16_select(is_true(v16_load(cond + i)), v16_load(a + i), v16_load(b + i)));
  if (i < n) {
    size_t m = n - i;
    v16 c = v16_load_n(cond + i, m);
    v16_store_n(dst + i, v16_select(is_true(c), v16_load_n(a + i, m), v16_load_n(b + i, m)), m);
  }
}

static void install_map(orion_kernels *k) {
#define INSTALL(NAME, name, arity) k->map[ORION_MAP_##NAME] = map_##name;
  ORION_MAP_VECTOR_OPS(INSTALL)
  ORION_MAP_POWER_OP(INSTALL)
#undef INSTALL
  k->select = map_select;
}

#endif
