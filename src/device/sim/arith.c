// Arithmetic of the "ideal" family: what the operations mean, with as little rounding as is cheap.
//
//   sums of products, sums      in double, terms in their natural order, rounded once to fp32
//   elementwise functions       in double from fp32 arguments, rounded once to fp32 (+ - * / sqrt: IEEE fp32)
//   softmax, normalisations     wholly in double, rounded once to fp32
//   every result                then rounded to its dtype, to nearest even; overflow gives infinity
//
// NaN and infinity are neither made nor hidden beyond what IEEE 754 says. Threads do not change results.
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "device/sim/sim.h"

enum { COLUMNS = 64 };  // accumulators held at once

static void ideal_mac(size_t k, const float *w, const float *x, size_t ldx, size_t n, float bias, float *out,
                      size_t step) {
  double acc[COLUMNS];
  for (size_t j0 = 0; j0 < n; j0 += COLUMNS) {
    size_t m = n - j0 < COLUMNS ? n - j0 : COLUMNS;
    for (size_t j = 0; j < m; j++) acc[j] = bias;
    for (size_t i = 0; i < k; i++) {
      double a = w[i];
      const float *row = x + i * ldx + j0;
      for (size_t j = 0; j < m; j++) acc[j] += a * (double)row[j];
    }
    for (size_t j = 0; j < m; j++) out[(j0 + j) * step] = (float)acc[j];
  }
}

static void ideal_product(const orion_sim_product *p, size_t begin, size_t end) {
  for (size_t r = begin; r < end; r++) {
    ideal_mac(p->k, p->rows + r * p->row_stride, p->panel, p->ldx, p->n, p->bias ? p->bias[r] : 0,
              p->out + r * p->row_step, p->column_step);
  }
}

static double sigmoid(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }

static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

static double trigonometric(orion_opcode code, double x) {
  switch (code) {
    case ORION_OP_acos: return acos(x);
    case ORION_OP_asin: return asin(x);
    case ORION_OP_atan: return atan(x);
    case ORION_OP_atanh: return atanh(x);
    case ORION_OP_cos: return cos(x);
    case ORION_OP_cosh: return cosh(x);
    case ORION_OP_sin: return sin(x);
    case ORION_OP_sinh: return sinh(x);
    case ORION_OP_tan: return tan(x);
    default: return NAN;
  }
}

static double activation(orion_opcode code, double x, double a, double b) {
  switch (code) {
    case ORION_OP_clamped_relu: return isnan(x) ? x : fmin(x >= 0 ? x : x * a, b);
    case ORION_OP_elu: return x > 0 ? x : a * expm1(x);
    case ORION_OP_leaky_relu: return x >= 0 ? x : x * a;
    case ORION_OP_linear_activation: return x * a + b;
    case ORION_OP_relu: return x < 0 ? 0 : x;
    case ORION_OP_relu6: return x < 0 ? 0 : x > 6 ? 6 : x;
    case ORION_OP_scaled_tanh: return a * tanh(x * b);
    case ORION_OP_sigmoid: return sigmoid(x);
    case ORION_OP_sigmoid_hard: return isnan(x) ? x : fmin(fmax(x * a + b, 0), 1);
    case ORION_OP_silu: return x * sigmoid(x);
    case ORION_OP_softplus: return softplus(x);
    case ORION_OP_softsign: return x / (1 + fabs(x));
    case ORION_OP_tanh: return tanh(x);
    case ORION_OP_threshold: return x < a ? a : x;
    case ORION_OP_thresholded_relu: return x >= a ? x : isnan(x) ? x : 0;
    default: return trigonometric(code, x);
  }
}

static float ideal_unary(orion_opcode code, float v, float alpha, float beta) {
  double x = v;
  switch (code) {
    case ORION_OP_abs: return fabsf(v);
    case ORION_OP_ceil: return ceilf(v);
    case ORION_OP_clip: return v < alpha ? alpha : v > beta ? beta : v;
    case ORION_OP_erf: return (float)erf(x);
    case ORION_OP_exp: return (float)exp(x);
    case ORION_OP_exp2: return (float)exp2(x);
    case ORION_OP_floor: return floorf(v);
    case ORION_OP_inverse: return (float)(1 / (x + (double)alpha));
    case ORION_OP_log: return (float)log(x + (double)alpha);
    case ORION_OP_round: return rintf(v);
    case ORION_OP_rsqrt: return (float)(1 / sqrt(x + (double)alpha));
    case ORION_OP_sign: return v > 0 ? 1.f : v < 0 ? -1.f : v;
    case ORION_OP_sqrt: return sqrtf(v);
    case ORION_OP_square: return v * v;
    default: return (float)activation(code, x, alpha, beta);
  }
}

static float ideal_gelu(char mode, float v) {
  double x = v;
  if (mode == 'T') return (float)(0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))));
  if (mode == 'S') return (float)(x * sigmoid(1.702 * x));
  return (float)(0.5 * x * erfc(-x * 0.70710678118654752440));
}

static float ideal_binary(orion_opcode code, float x, float y) {
  switch (code) {
    case ORION_OP_add: return x + y;
    case ORION_OP_sub: return x - y;
    case ORION_OP_mul: return x * y;
    case ORION_OP_real_div: return x / y;
    case ORION_OP_floor_div: return (float)floor((double)x / (double)y);
    case ORION_OP_maximum: return isnan(x) ? x : isnan(y) ? y : x > y ? x : y;
    case ORION_OP_minimum: return isnan(x) ? x : isnan(y) ? y : x < y ? x : y;
    case ORION_OP_pow: return (float)pow(x, y);
    case ORION_OP_mod: {  // the sign of the divisor, as in Python
      float r = fmodf(x, y);
      return r != 0 && (r < 0) != (y < 0) ? r + y : r;
    }
    default: return NAN;
  }
}

static float ideal_divide(float x, float by) { return x / by; }
static float ideal_narrow(double x) { return (float)x; }

static void ideal_round(orion_dtype dtype, float *x, size_t n) {
  if (dtype == ORION_FP16) {
    for (size_t i = 0; i < n; i++) x[i] = orion_half_to_float(orion_float_to_half(x[i]));
  } else if (dtype == ORION_BF16) {
    for (size_t i = 0; i < n; i++) x[i] = orion_bf16_to_float(orion_float_to_bf16(x[i]));
  }
}

const orion_sim_arith orion_sim_arith_ideal = {
    .family = "ideal",
    .numerics = "IEEE fp32; sums of products in double, rounded once; results rounded to their type, ties to even",
    .product = ideal_product,
    .unary = ideal_unary,
    .gelu = ideal_gelu,
    .binary = ideal_binary,
    .divide = ideal_divide,
    .round = ideal_round,
    .narrow = ideal_narrow,
};

const orion_sim_arith *orion_sim_arith_find(const char *family) {
  for (size_t i = 0; i < sizeof orion_sim_arith_ane / sizeof *orion_sim_arith_ane; i++) {
    if (strcmp(family, orion_sim_arith_ane[i].family) == 0) return &orion_sim_arith_ane[i];
  }
  return strcmp(family, "ideal") == 0 ? &orion_sim_arith_ideal : NULL;
}

// Recurrent layers name their activations; those with parameters take Core ML's defaults.
static const struct {
  const char *name;
  orion_opcode code;
  float alpha, beta;
} activations[] = {
    {"sigmoid", ORION_OP_sigmoid, 0, 0},   {"tanh", ORION_OP_tanh, 0, 0},
    {"relu", ORION_OP_relu, 0, 0},         {"linear", ORION_OP_linear_activation, 1, 0},
    {"sigmoid_hard", ORION_OP_sigmoid_hard, 0.2f, 0.5f}, {"hard_sigmoid", ORION_OP_sigmoid_hard, 0.2f, 0.5f},
    {"scaled_tanh", ORION_OP_scaled_tanh, 1, 1},
};

static int find_activation(const char *name) {
  for (int i = 0; i < (int)(sizeof activations / sizeof *activations); i++) {
    if (strcmp(activations[i].name, name) == 0) return i;
  }
  return -1;
}

bool orion_sim_activation_known(const char *name) { return find_activation(name) >= 0; }

float orion_sim_activation(const orion_sim_arith *a, const char *name, float x) {
  int i = find_activation(name);
  return i < 0 ? NAN : a->unary(activations[i].code, x, activations[i].alpha, activations[i].beta);
}
