// Rules of elementwise operations. Where a function's own value makes its derivative cheaper (exp, tanh, sigmoid,
// square roots), the result is asked for instead of the argument.
#include <string.h>

#include "grad/backward.h"

// 1 - x
static orion_ref one_minus(orion_backward *w, orion_ref x) { return orion_back_plus(w, orion_back_times(w, x, -1), 1); }

// ---- one tensor ----

// d(x s(x))/dx with s = sigmoid(k x): s (1 + k x (1 - s))
static orion_ref gated_slope(orion_backward *w, orion_ref x, double k) {
  orion_ref kx = orion_back_times(w, x, k), s = unary(w, ORION_OP_sigmoid, kx);
  return mul(w, s, orion_back_plus(w, mul(w, kx, one_minus(w, s)), 1));
}

static orion_ref unary_slope(orion_backward *w, const orion_op *op) {
  orion_dtype dtype = orion_back_result_type(w, op)->dtype;
  orion_ref x, y;
  double epsilon = 0;
  switch (op->code) {
    case ORION_OP_exp:
      return orion_back_result(w, op);
    case ORION_OP_sqrt:
      y = orion_back_result(w, op);
      return binary(w, ORION_OP_real_div, orion_back_number(w, dtype, 0.5), y);
    case ORION_OP_rsqrt:
      y = orion_back_result(w, op);
      return orion_back_times(w, mul(w, y, mul(w, y, y)), -0.5);
    case ORION_OP_inverse:
      y = orion_back_result(w, op);
      return orion_back_times(w, mul(w, y, y), -1);
    case ORION_OP_tanh:
      y = orion_back_result(w, op);
      return one_minus(w, mul(w, y, y));
    case ORION_OP_sigmoid:
      y = orion_back_result(w, op);
      return mul(w, y, one_minus(w, y));
    case ORION_OP_square:
      return orion_back_times(w, orion_back_arg(w, op, "x"), 2);
    case ORION_OP_sin:
      return unary(w, ORION_OP_cos, orion_back_arg(w, op, "x"));
    case ORION_OP_cos:
      return orion_back_times(w, unary(w, ORION_OP_sin, orion_back_arg(w, op, "x")), -1);
    case ORION_OP_silu:
      return gated_slope(w, orion_back_arg(w, op, "x"), 1);
    case ORION_OP_log:
      x = orion_back_arg(w, op, "x");
      orion_op_float(w->from, op, "epsilon", &epsilon);
      return ORION_BUILD(&w->b, NULL, ORION_OP_inverse, {"x", x}, {"epsilon", orion_back_number(w, dtype, epsilon)});
    default:
      return ORION_NONE;
  }
}

void orion_grad_unary(orion_backward *w, const orion_op *op, orion_ref dy) {
  if (op->code == ORION_OP_relu) {  // by select, so that an infinite gradient of a dead unit is no NaN
    orion_dtype dtype = orion_back_result_type(w, op)->dtype;
    orion_ref zero = orion_back_number(w, dtype, 0);
    orion_ref alive = binary(w, ORION_OP_greater, orion_back_arg(w, op, "x"), zero);
    dy = ORION_BUILD(&w->b, NULL, ORION_OP_select, {"cond", alive}, {"a", dy}, {"b", zero});
  } else if (op->code != ORION_OP_identity) {
    dy = mul(w, dy, unary_slope(w, op));
  }
  orion_back_give(w, op, "x", dy);
}

#define FAR 8.0  // beyond +-8 each form of gelu is 0 or x to the last bit of fp32

// x limited to [-FAR, FAR] in fp16, where its powers would overflow; the slopes are 0 and 1 there all the same.
static orion_ref limited(orion_backward *w, orion_ref x, orion_dtype dtype) {
  if (dtype != ORION_FP16) return x;
  x = binary(w, ORION_OP_minimum, x, orion_back_number(w, dtype, FAR));
  return binary(w, ORION_OP_maximum, x, orion_back_number(w, dtype, -FAR));
}

// (1 + erf(x/sqrt 2))/2 + x exp(-x^2/2)/sqrt(2 pi)
static orion_ref erf_slope(orion_backward *w, orion_ref x) {
  orion_ref cdf = unary(w, ORION_OP_erf, orion_back_times(w, x, M_SQRT1_2));
  cdf = orion_back_times(w, orion_back_plus(w, cdf, 1), 0.5);
  orion_ref pdf = unary(w, ORION_OP_exp, orion_back_times(w, mul(w, x, x), -0.5));
  return add(w, cdf, orion_back_times(w, mul(w, x, pdf), M_2_SQRTPI * M_SQRT1_2 / 2));
}

// With t = tanh(c (x + a x^3)): (1 + t)/2 + x (1 - t^2) c (1 + 3 a x^2)/2
static orion_ref tanh_slope(orion_backward *w, orion_ref x) {
  const double a = 0.044715, c = M_2_SQRTPI * M_SQRT1_2;
  orion_ref square = mul(w, x, x);
  orion_ref inner = mul(w, x, orion_back_plus(w, orion_back_times(w, square, a * c), c));
  orion_ref t = unary(w, ORION_OP_tanh, inner);
  orion_ref slope = mul(w, x, orion_back_plus(w, orion_back_times(w, square, 3 * a * c), c));
  slope = mul(w, slope, one_minus(w, mul(w, t, t)));
  return orion_back_times(w, orion_back_plus(w, add(w, t, slope), 1), 0.5);
}

void orion_grad_gelu(orion_backward *w, const orion_op *op, orion_ref dy) {
  const char *mode = orion_op_string(w->from, op, "mode");
  orion_ref x = limited(w, orion_back_arg(w, op, "x"), orion_back_result_type(w, op)->dtype);
  orion_ref slope = !mode || strcmp(mode, "EXACT") == 0          ? erf_slope(w, x)
                    : strcmp(mode, "TANH_APPROXIMATION") == 0    ? tanh_slope(w, x)
                    : strcmp(mode, "SIGMOID_APPROXIMATION") == 0 ? gated_slope(w, x, 1.702)
                                                                 : ORION_NONE;
  if (slope == ORION_NONE) {
    orion_back_refuse(w, op, "the mode has no gradient");
    return;
  }
  orion_back_give(w, op, "x", mul(w, dy, slope));
}

void orion_grad_cast(orion_backward *w, const orion_op *op, orion_ref dy) { orion_back_give(w, op, "x", dy); }

// ---- two tensors ---- Gradients have the result's shape; orion_back_give sums them over what was broadcast.

void orion_grad_sum(orion_backward *w, const orion_op *op, orion_ref dy) {
  orion_back_give(w, op, "x", dy);
  if (orion_back_wants(w, op, "y"))
    orion_back_give(w, op, "y", op->code == ORION_OP_sub ? orion_back_times(w, dy, -1) : dy);
}

void orion_grad_mul(orion_backward *w, const orion_op *op, orion_ref dy) {
  if (orion_back_wants(w, op, "x")) orion_back_give(w, op, "x", mul(w, dy, orion_back_arg(w, op, "y")));
  if (orion_back_wants(w, op, "y")) orion_back_give(w, op, "y", mul(w, dy, orion_back_arg(w, op, "x")));
}

// z = x/y: dx = dz/y, dy = -dx z
void orion_grad_real_div(orion_backward *w, const orion_op *op, orion_ref dz) {
  orion_ref dx = binary(w, ORION_OP_real_div, dz, orion_back_arg(w, op, "y"));
  orion_back_give(w, op, "x", dx);
  if (orion_back_wants(w, op, "y")) {
    orion_back_give(w, op, "y", orion_back_times(w, mul(w, dx, orion_back_result(w, op)), -1));
  }
}

// z = x^y: dx = dz y x^(y-1), dy = dz z log x
void orion_grad_pow(orion_backward *w, const orion_op *op, orion_ref dz) {
  orion_ref x = orion_back_arg(w, op, "x"), y = orion_back_arg(w, op, "y");
  if (orion_back_wants(w, op, "x")) {
    orion_ref slope = binary(w, ORION_OP_pow, x, orion_back_plus(w, y, -1));
    orion_back_give(w, op, "x", mul(w, dz, mul(w, y, slope)));
  }
  if (orion_back_wants(w, op, "y")) {
    orion_dtype dtype = orion_back_result_type(w, op)->dtype;
    orion_ref log =
        ORION_BUILD(&w->b, NULL, ORION_OP_log, {"x", x}, {"epsilon", orion_back_number(w, dtype, 0x1p-149)});
    orion_back_give(w, op, "y", mul(w, dz, mul(w, orion_back_result(w, op), log)));
  }
}

// The larger (smaller) argument takes all; equal ones share.
void orion_grad_extremum(orion_backward *w, const orion_op *op, orion_ref dz) {
  orion_ref x = orion_back_arg(w, op, "x"), y = orion_back_arg(w, op, "y");
  orion_dtype dtype = orion_back_result_type(w, op)->dtype;
  orion_ref wins = binary(w, op->code == ORION_OP_maximum ? ORION_OP_greater : ORION_OP_less, x, y);
  orion_ref ties = binary(w, ORION_OP_equal, x, y);
  orion_ref half = ORION_BUILD(&w->b, NULL, ORION_OP_select, {"cond", ties}, {"a", orion_back_times(w, dz, 0.5)},
                               {"b", orion_back_number(w, dtype, 0)});
  orion_ref dx = ORION_BUILD(&w->b, NULL, ORION_OP_select, {"cond", wins}, {"a", dz}, {"b", half});
  orion_back_give(w, op, "x", dx);
  if (orion_back_wants(w, op, "y")) orion_back_give(w, op, "y", sub(w, dz, dx));
}

void orion_grad_select(orion_backward *w, const orion_op *op, orion_ref dz) {
  orion_ref cond = orion_back_arg(w, op, "cond");
  orion_ref zero = orion_back_number(w, orion_back_result_type(w, op)->dtype, 0);
  if (orion_back_wants(w, op, "a")) {
    orion_back_give(w, op, "a", ORION_BUILD(&w->b, NULL, ORION_OP_select, {"cond", cond}, {"a", dz}, {"b", zero}));
  }
  if (orion_back_wants(w, op, "b")) {
    orion_back_give(w, op, "b", ORION_BUILD(&w->b, NULL, ORION_OP_select, {"cond", cond}, {"a", zero}, {"b", dz}));
  }
}
