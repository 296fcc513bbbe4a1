// Elementwise arithmetic of integers (exact, wrapping never: results are stored saturated) and casts between any types.
#include <math.h>

#include "device/cpu/generic.h"

static orion_status check_broadcast(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in,
                                    orion_generic_step *d, orion_error *err) {
  const orion_type *t = orion_cpu_result_type(b, op, 0);
  for (int i = 0; i < 3; i++) {
    if (d->has[i] && !orion_generic_broadcasts(&in[i], t))
      return ORION_FAIL(err, ORION_FORMAT, "shapes do not broadcast");
  }
  double v;
  if (orion_cpu_has(op, "alpha") && orion_op_float(b->f, op, "alpha", &v)) d->d[0] = v;
  if (orion_cpu_has(op, "beta") && orion_op_float(b->f, op, "beta", &v)) d->d[1] = v;
  return ORION_OK;
}

static int64_t floor_div(int64_t a, int64_t c) {
  if (c == 0) return 0;
  if (c == -1) return a == INT64_MIN ? INT64_MAX : -a;
  int64_t q = a / c;
  return q - (a % c != 0 && (a % c < 0) != (c < 0));
}

static int64_t int_pow(int64_t a, int64_t e) {
  if (e < 0) return a == 1 ? 1 : a == -1 ? (e % 2 ? -1 : 1) : 0;
  uint64_t r = 1, base = (uint64_t)a;
  for (; e; e >>= 1, base *= base) {
    if (e & 1) r *= base;
  }
  return (int64_t)r;
}

static int64_t int_binary(orion_opcode code, int64_t a, int64_t c) {
  int64_t r;
  switch (code) {
    case ORION_OP_add:
      return __builtin_add_overflow(a, c, &r) ? (a < 0 ? INT64_MIN : INT64_MAX) : r;
    case ORION_OP_sub:
      return __builtin_sub_overflow(a, c, &r) ? (a < 0 ? INT64_MIN : INT64_MAX) : r;
    case ORION_OP_mul:
      return __builtin_mul_overflow(a, c, &r) ? ((a < 0) != (c < 0) ? INT64_MIN : INT64_MAX) : r;
    case ORION_OP_maximum:
      return a > c ? a : c;
    case ORION_OP_minimum:
      return a < c ? a : c;
    case ORION_OP_floor_div:
      return floor_div(a, c);
    case ORION_OP_real_div:
      return c == 0 || (a == INT64_MIN && c == -1) ? 0 : a / c;
    case ORION_OP_mod:
      return c == 0 || c == -1 ? 0 : ((a % c) + c) % c;
    case ORION_OP_pow:
      return int_pow(a, c);
    case ORION_OP_equal:
      return a == c;
    case ORION_OP_not_equal:
      return a != c;
    case ORION_OP_less:
      return a < c;
    case ORION_OP_less_equal:
      return a <= c;
    case ORION_OP_greater:
      return a > c;
    case ORION_OP_greater_equal:
      return a >= c;
    case ORION_OP_logical_and:
      return a && c;
    case ORION_OP_logical_or:
      return a || c;
    case ORION_OP_logical_xor:
      return !a != !c;
    default:
      return 0;
  }
}

static double float_binary(orion_opcode code, double a, double c) {
  switch (code) {
    case ORION_OP_add:
      return a + c;
    case ORION_OP_sub:
      return a - c;
    case ORION_OP_mul:
      return a * c;
    case ORION_OP_real_div:
      return a / c;
    case ORION_OP_floor_div:
      return floor(a / c);
    case ORION_OP_mod:
      return a - floor(a / c) * c;
    case ORION_OP_pow:
      return pow(a, c);
    case ORION_OP_maximum:
      return a != a || a > c ? a : c;
    case ORION_OP_minimum:
      return a != a || a < c ? a : c;
    case ORION_OP_equal:
      return a == c;
    case ORION_OP_not_equal:
      return a != c;
    case ORION_OP_less:
      return a < c;
    case ORION_OP_less_equal:
      return a <= c;
    case ORION_OP_greater:
      return a > c;
    case ORION_OP_greater_equal:
      return a >= c;
    case ORION_OP_logical_and:
      return a != 0 && c != 0;
    case ORION_OP_logical_or:
      return a != 0 || c != 0;
    case ORION_OP_logical_xor:
      return (a != 0) != (c != 0);
    default:
      return NAN;
  }
}

static orion_status run_binary(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                               orion_error *err) {
  const orion_cpu_view *out = &s->out[0];
  size_t n = orion_cpu_elements(out);
  bool floats = orion_dtype_is_float(s->in[0].dtype) || orion_dtype_is_float(s->in[1].dtype);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK];
    orion_generic_coords(out, i, c);
    size_t a = orion_generic_broadcast(&s->in[0], c, out->rank), y = orion_generic_broadcast(&s->in[1], c, out->rank);
    if (floats) {
      orion_generic_set(x, out, i,
                        float_binary(d->code, orion_generic_get(x, &s->in[0], a), orion_generic_get(x, &s->in[1], y)));
    } else {
      orion_generic_set_int(
          x, out, i, int_binary(d->code, orion_generic_int(x, &s->in[0], a), orion_generic_int(x, &s->in[1], y)));
    }
  }
  return ORION_OK;
}

static orion_status run_select(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                               orion_error *err) {
  const orion_cpu_view *out = &s->out[0];
  size_t n = orion_cpu_elements(out);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK];
    orion_generic_coords(out, i, c);
    bool yes = orion_generic_get(x, &s->in[0], orion_generic_broadcast(&s->in[0], c, out->rank)) != 0;
    const orion_cpu_view *v = &s->in[yes ? 1 : 2];
    size_t j = orion_generic_broadcast(v, c, out->rank);
    if (v->dtype == out->dtype && orion_dtype_bits(out->dtype) >= 8) {
      orion_generic_move_element(x, out, i, v, j);
    } else {
      orion_generic_set(x, out, i, orion_generic_get(x, v, j));
    }
  }
  return ORION_OK;
}

static orion_status run_cast(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                             orion_error *err) {
  const orion_cpu_view *in = &s->in[0], *out = &s->out[0];
  size_t n = orion_cpu_elements(out);
  for (size_t i = 0; i < n; i++) {
    if (out->dtype == ORION_BOOL) {
      orion_generic_set_int(x, out, i, orion_generic_get(x, in, i) != 0);
    } else if (orion_dtype_is_float(in->dtype) || orion_dtype_is_float(out->dtype)) {
      double v = orion_generic_get(x, in, i);
      orion_generic_set(x, out, i, orion_dtype_is_float(out->dtype) ? v : trunc(v));
    } else {
      orion_generic_set_int(x, out, i, orion_generic_int(x, in, i));
    }
  }
  return ORION_OK;
}

static orion_status run_unary(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                              orion_error *err) {
  const orion_cpu_view *in = &s->in[0], *out = &s->out[0];
  size_t n = orion_cpu_elements(out);
  for (size_t i = 0; i < n; i++) {
    double v = orion_generic_get(x, in, i);
    switch (d->code) {
      case ORION_OP_abs:
        v = fabs(v);
        break;
      case ORION_OP_sign:
        v = v > 0 ? 1 : v < 0 ? -1 : v;
        break;
      case ORION_OP_square:
        v *= v;
        break;
      case ORION_OP_threshold:
        v = v > d->d[0] ? v : d->d[0];
        break;
      default:
        v = v == 0;
        break;  // logical_not
    }
    orion_generic_set(x, out, i, v);
  }
  return ORION_OK;
}

#define BINARY(name) \
  { ORION_OP_##name, {"x", "y"}, check_broadcast, run_binary }
#define UNARY(name) \
  { ORION_OP_##name, {"x"}, check_broadcast, run_unary }
const orion_generic_op orion_generic_elementwise[] = {
    BINARY(add),
    BINARY(sub),
    BINARY(mul),
    BINARY(real_div),
    BINARY(floor_div),
    BINARY(mod),
    BINARY(pow),
    BINARY(maximum),
    BINARY(minimum),
    BINARY(equal),
    BINARY(not_equal),
    BINARY(less),
    BINARY(less_equal),
    BINARY(greater),
    BINARY(greater_equal),
    BINARY(logical_and),
    BINARY(logical_or),
    BINARY(logical_xor),
    UNARY(abs),
    UNARY(sign),
    UNARY(square),
    UNARY(threshold),
    UNARY(logical_not),
    {ORION_OP_select, {"cond", "a", "b"}, check_broadcast, run_select},
    {ORION_OP_cast, {"x"}, NULL, run_cast},
    {0},
};
