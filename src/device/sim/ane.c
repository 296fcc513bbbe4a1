// The families, and the elementwise unit: every step exact, then one rounding to fp16, ties away from zero. Functions
// without a table are put together from steps that have one; where the hardware's own steps are not known the nearest
// known ones stand, and the family's list says so.
#include "device/sim/ane.h"

#include "device/sim/fixed.h"

static float half(double x) { return orion_fixed_half(x); }
static float to_half_even(float x) { return orion_half_to_float(orion_float_to_half(x)); }

// x + epsilon as the bias of a multiply-accumulate step gives it: epsilon on the grid of 2^-16.
static float add_epsilon(float x, float epsilon) {
  double steps = (double)orion_fixed_steps((double)to_half_even(epsilon));
  return half((double)orion_fixed_operand(x) + steps * 0x1p-16);
}

// ---- two numbers ----

// Away from the ANE's own steps (no data): the exact function, rounded.
static double other_binary(orion_opcode code, double x, double y) {
  switch (code) {
    case ORION_OP_floor_div: return floor(x / y);
    case ORION_OP_pow: return pow(x, y);
    case ORION_OP_mod: {
      double r = fmod(x, y);
      return r != 0 && (r < 0) != (y < 0) ? r + y : r;
    }
    default: return 0;
  }
}

float orion_sim_ane_binary(orion_opcode code, float a, float b) {
  float x = orion_fixed_operand(a), y = orion_fixed_operand(b);
  double v;
  switch (code) {
    case ORION_OP_add: v = (double)x + (double)y; break;
    case ORION_OP_sub: v = (double)x - (double)y; break;
    case ORION_OP_mul: v = (double)x * (double)y; break;
    case ORION_OP_real_div: return orion_sim_ane_binary(ORION_OP_mul, x, orion_sim_ane_inverse(y));
    case ORION_OP_maximum: return x > y ? x : y;
    case ORION_OP_minimum: return x < y ? x : y;
    default: v = other_binary(code, (double)x, (double)y);
  }
  return v != v ? 0 : half(v);  // inf - inf and 0 * inf are zero
}

static float add(float x, float y) { return orion_sim_ane_binary(ORION_OP_add, x, y); }
static float mul(float x, float y) { return orion_sim_ane_binary(ORION_OP_mul, x, y); }

// Division by a number that the compiler knows: it stores the reciprocal.
static float divide(float x, float by) { return mul(x, to_half_even(1 / by)); }

// ---- one number ----

// Half away from zero by way of |x| + 0.5 in fp16: one too many for odd numbers between 1024 and 2048.
static float round_away(float x) {
  float y = floorf(half(fabs((double)x) + 0.5));
  return x < 0 && y != 0 ? -y : y;
}

// log(1 + exp(x)), the sum by multiply-accumulate: beyond 2^15 it is infinite, and its logarithm 0.
static float softplus(float x) {
  const float one = 1, e = orion_sim_ane_exp(x);
  return orion_sim_ane_log(orion_sim_ane_mac_column(1, &one, &e, 1, 1));
}

static float clamp(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

static float piecewise(orion_opcode code, float x, float alpha, float beta) {
  const float a = to_half_even(alpha), b = to_half_even(beta);
  switch (code) {
    case ORION_OP_abs: return fabsf(x);
    case ORION_OP_ceil: return ceilf(x);
    case ORION_OP_clamped_relu: return fminf(x >= 0 ? x : mul(x, a), b);
    case ORION_OP_clip: return clamp(x, a, b);
    case ORION_OP_floor: return floorf(x);
    case ORION_OP_leaky_relu: return x >= 0 ? x : mul(x, a);
    case ORION_OP_linear_activation: return add(mul(x, a), b);
    case ORION_OP_relu: return x < 0 ? 0 : x;
    case ORION_OP_relu6: return clamp(x, 0, 6);
    case ORION_OP_round: return round_away(x);
    case ORION_OP_sigmoid_hard: return clamp(add(mul(x, a), b), 0, 1);
    case ORION_OP_sign: return (float)((x > 0) - (x < 0));
    case ORION_OP_square: return mul(x, x);
    case ORION_OP_threshold: return x < a ? a : x;
    case ORION_OP_thresholded_relu: return x >= a ? x : 0;
    default: return half((double)orion_sim_arith_ideal.unary(code, x, alpha, beta));  // not of the ANE
  }
}

static float ane_unary(orion_opcode code, float v, float alpha, float beta) {
  float x = orion_fixed_operand(v);
  switch (code) {
    case ORION_OP_cos: return orion_sim_ane_sin(add(x, 1.5703125f));
    case ORION_OP_elu: return x > 0 ? x : mul(add(orion_sim_ane_exp(x), -1), to_half_even(alpha));
    case ORION_OP_erf: return orion_sim_ane_curve(ORION_SIM_ANE_ERF, x);
    case ORION_OP_exp: return orion_sim_ane_exp(x);
    case ORION_OP_exp2: return orion_sim_ane_exp2(x);
    case ORION_OP_inverse: return orion_sim_ane_inverse(add_epsilon(x, alpha));
    case ORION_OP_log: return orion_sim_ane_log(add_epsilon(x, alpha));
    case ORION_OP_rsqrt: return orion_sim_ane_rsqrt(add_epsilon(x, alpha));
    case ORION_OP_scaled_tanh:
      return mul(orion_sim_ane_curve(ORION_SIM_ANE_TANH, mul(x, to_half_even(beta))), to_half_even(alpha));
    case ORION_OP_sigmoid: return orion_sim_ane_curve(ORION_SIM_ANE_SIGMOID, x);
    case ORION_OP_silu: return orion_sim_ane_curve(ORION_SIM_ANE_SILU, x);
    case ORION_OP_sin: return orion_sim_ane_sin(x);
    case ORION_OP_softplus: return softplus(x);
    case ORION_OP_softsign: return mul(x, orion_sim_ane_inverse(add(fabsf(x), 1)));
    case ORION_OP_sqrt: return orion_sim_ane_sqrt(x);
    case ORION_OP_tanh: return orion_sim_ane_curve(ORION_SIM_ANE_TANH, x);
    default: {
      float y = piecewise(code, x, alpha, beta);
      return y == 0 ? 0 : y;
    }
  }
}

static float ane_gelu(char mode, float x) {
  if (mode == 'S') return mul(orion_fixed_operand(x), orion_sim_ane_curve(ORION_SIM_ANE_SIGMOID, mul(x, 1.7021484375f)));
  return orion_sim_ane_curve(ORION_SIM_ANE_GELU, x);
}

// ---- storage ---- fp16 for every floating type.

static void ane_round(orion_dtype dtype, float *x, size_t n) { orion_sim_ane_lanes_here()->round(x, n); }

static bool ane_row(orion_opcode code, const float *x, size_t x_step, const float *y, size_t y_step, float *z,
                    size_t n) {
  if (code != ORION_OP_add && code != ORION_OP_sub && code != ORION_OP_mul) return false;
  orion_sim_ane_lanes_here()->row(code, x, x_step, y, y_step, z, n);
  return true;
}

static void ane_accept(orion_dtype dtype, float *x, size_t n) {
  if (dtype == ORION_FP16) return;
  for (size_t i = 0; i < n; i++) x[i] = to_half_even(x[i]);
}

float orion_sim_ane_int8(const orion_sim_arith *a, int64_t sum, double scale) {
  if (sum >= INT64_C(1) << 31 || sum < -(INT64_C(1) << 31)) return sum < 0 ? -INFINITY : INFINITY;
  return half((a->int8_twice ? (double)half((double)sum) : (double)sum) * scale);
}

// ---- families ----

#define UNKNOWN_EVERYWHERE                                                                                    \
  "reduce_sum, reduce_mean and other reductions over long axes: order and inner rounding",                    \
  "softmax, layer_norm, instance_norm: their reductions; the norms' steps are a guess",                       \
  "sin, cos: range reduction (error bound 6.4e-4)", "cast from fp32 inside a program: its rounding",           \
  "real_div of two tensors: rounding between the reciprocal table and the product",                           \
  "overflow order across taps, passes and engines of a convolution",                                          \
  "scaled_dot_product_attention, einsum, conv_transpose, pools, lstm: computed exactly, rounded once",         \
  "pow, floor_div, mod, elu, softsign, tan and other functions without a published table"

static const char *const unknown_m1[] = {
    UNKNOWN_EVERYWHERE, "bias: measured on m6 only", "int8 sums: measured on m5 and m6 only",
    "tables other than gelu: same bytes as m6, evaluation assumed", NULL};
static const char *const unknown_m2[] = {
    UNKNOWN_EVERYWHERE, "bias: measured on m6 only", "int8 sums: measured on m5 and m6 only",
    "tables other than gelu: same bytes as m6, evaluation assumed", NULL};
static const char *const unknown_m3[] = {
    UNKNOWN_EVERYWHERE, "everything at bit level: no m3 was measured, the arithmetic is that of m4", NULL};
static const char *const unknown_m4[] = {
    UNKNOWN_EVERYWHERE, "bias: measured on m6 only", "int8 sums: measured on m5 and m6 only",
    "elementwise unit: single values measured on m5 and m6 only", "tables: same bytes as m6, evaluation assumed", NULL};
static const char *const unknown_m5[] = {
    UNKNOWN_EVERYWHERE, "which shapes of 3x3 convolutions are done by Winograd; overflow within it",
    "int8 sums: two roundings rest on one measured vector", "bias: measured on m6 only",
    "tables other than gelu: same bytes as m6, evaluation assumed", NULL};
static const char *const unknown_m6[] = {
    UNKNOWN_EVERYWHERE, "which shapes of 3x3 convolutions are done by Winograd; overflow within it",
    "maximum, minimum: edge cases", NULL};

#define FAMILY(NAME, ARCH, ...)                                                                                   \
  {                                                                                                               \
    .family = #NAME,                                                                                              \
    .numerics = ARCH ": sums of products in steps of 2^-16 up to 2^15, results in fp16, ties away from zero, "    \
                     "functions by table",                                                                        \
    .product = orion_sim_ane_product, .unary = ane_unary, .gelu = ane_gelu, .binary = orion_sim_ane_binary,         \
    .row = ane_row, .round = ane_round, .accept = ane_accept, .narrow = orion_fixed_half, .divide = divide,       \
    .int8 = orion_sim_ane_int8,                                                                                       \
    .softmax = orion_sim_ane_softmax, .unknown = unknown_##NAME, .ane = true, __VA_ARGS__                             \
  }

const orion_sim_arith orion_sim_arith_ane[] = {
    FAMILY(m1, "H13", .width_crop = true),
    FAMILY(m2, "H14", .width_crop = true),
    FAMILY(m3, "H15", ),
    FAMILY(m4, "H16", ),
    FAMILY(m5, "H17", .winograd = true, .int8_twice = true),
    FAMILY(m6, "H18", .winograd = true),
};
