#include "device/cpu/elementwise.h"

#include "device/cpu/chain.h"

// op, kernel, scalar parameters p and q by the names of their arguments (NULL: none)
static const struct unary {
  orion_opcode code;
  orion_map_op map;
  const char *p, *q;
} unaries[] = {
    {ORION_OP_abs, ORION_MAP_ABS, NULL, NULL},
    {ORION_OP_acos, ORION_MAP_ACOS, NULL, NULL},
    {ORION_OP_asin, ORION_MAP_ASIN, NULL, NULL},
    {ORION_OP_atan, ORION_MAP_ATAN, NULL, NULL},
    {ORION_OP_atanh, ORION_MAP_ATANH, NULL, NULL},
    {ORION_OP_ceil, ORION_MAP_CEIL, NULL, NULL},
    {ORION_OP_clip, ORION_MAP_CLIP, "alpha", "beta"},
    {ORION_OP_cos, ORION_MAP_COS, NULL, NULL},
    {ORION_OP_cosh, ORION_MAP_COSH, NULL, NULL},
    {ORION_OP_erf, ORION_MAP_ERF, NULL, NULL},
    {ORION_OP_exp, ORION_MAP_EXP, NULL, NULL},
    {ORION_OP_exp2, ORION_MAP_EXP2, NULL, NULL},
    {ORION_OP_floor, ORION_MAP_FLOOR, NULL, NULL},
    {ORION_OP_inverse, ORION_MAP_INVERSE, "epsilon", NULL},
    {ORION_OP_log, ORION_MAP_LOG, "epsilon", NULL},
    {ORION_OP_round, ORION_MAP_ROUND, NULL, NULL},
    {ORION_OP_rsqrt, ORION_MAP_RSQRT, "epsilon", NULL},
    {ORION_OP_sign, ORION_MAP_SIGN, NULL, NULL},
    {ORION_OP_sin, ORION_MAP_SIN, NULL, NULL},
    {ORION_OP_sinh, ORION_MAP_SINH, NULL, NULL},
    {ORION_OP_sqrt, ORION_MAP_SQRT, NULL, NULL},
    {ORION_OP_square, ORION_MAP_SQUARE, NULL, NULL},
    {ORION_OP_tan, ORION_MAP_TAN, NULL, NULL},
    {ORION_OP_threshold, ORION_MAP_MAX_SCALAR, "alpha", NULL},
    {ORION_OP_elu, ORION_MAP_ELU, "alpha", NULL},
    {ORION_OP_leaky_relu, ORION_MAP_LEAKY_RELU, "alpha", NULL},
    {ORION_OP_linear_activation, ORION_MAP_LINEAR, "alpha", "beta"},
    {ORION_OP_relu, ORION_MAP_RELU, NULL, NULL},
    {ORION_OP_scaled_tanh, ORION_MAP_SCALED_TANH, "alpha", "beta"},
    {ORION_OP_sigmoid, ORION_MAP_SIGMOID, NULL, NULL},
    {ORION_OP_sigmoid_hard, ORION_MAP_SIGMOID_HARD, "alpha", "beta"},
    {ORION_OP_silu, ORION_MAP_SILU, NULL, NULL},
    {ORION_OP_softplus, ORION_MAP_SOFTPLUS, NULL, NULL},
    {ORION_OP_softsign, ORION_MAP_SOFTSIGN, NULL, NULL},
    {ORION_OP_tanh, ORION_MAP_TANH, NULL, NULL},
    {ORION_OP_thresholded_relu, ORION_MAP_THRESHOLDED_RELU, "alpha", NULL},
};

// op, kernel of two tensors, with y a number, with x a number (COUNT: has none)
static const struct binary {
  orion_opcode code;
  orion_map_op map, y_scalar, x_scalar;
} binaries[] = {
    {ORION_OP_add, ORION_MAP_ADD, ORION_MAP_ADD_SCALAR, ORION_MAP_ADD_SCALAR},
    {ORION_OP_sub, ORION_MAP_SUB, ORION_MAP_SUB_SCALAR, ORION_MAP_SCALAR_SUB},
    {ORION_OP_mul, ORION_MAP_MUL, ORION_MAP_MUL_SCALAR, ORION_MAP_MUL_SCALAR},
    {ORION_OP_real_div, ORION_MAP_DIV, ORION_MAP_DIV_SCALAR, ORION_MAP_SCALAR_DIV},
    {ORION_OP_maximum, ORION_MAP_MAX, ORION_MAP_MAX_SCALAR, ORION_MAP_MAX_SCALAR},
    {ORION_OP_minimum, ORION_MAP_MIN, ORION_MAP_MIN_SCALAR, ORION_MAP_MIN_SCALAR},
    {ORION_OP_pow, ORION_MAP_POW, ORION_MAP_POW_SCALAR, ORION_MAP_SCALAR_POW},
    {ORION_OP_mod, ORION_MAP_MOD, ORION_MAP_COUNT, ORION_MAP_COUNT},
    {ORION_OP_floor_div, ORION_MAP_FLOOR_DIV, ORION_MAP_COUNT, ORION_MAP_COUNT},
    {ORION_OP_equal, ORION_MAP_EQUAL, ORION_MAP_COUNT, ORION_MAP_COUNT},
    {ORION_OP_not_equal, ORION_MAP_NOT_EQUAL, ORION_MAP_COUNT, ORION_MAP_COUNT},
    {ORION_OP_less, ORION_MAP_LESS, ORION_MAP_COUNT, ORION_MAP_COUNT},
    {ORION_OP_less_equal, ORION_MAP_LESS_EQUAL, ORION_MAP_COUNT, ORION_MAP_COUNT},
    {ORION_OP_greater, ORION_MAP_GREATER, ORION_MAP_COUNT, ORION_MAP_COUNT},
    {ORION_OP_greater_equal, ORION_MAP_GREATER_EQUAL, ORION_MAP_COUNT, ORION_MAP_COUNT},
    {ORION_OP_logical_and, ORION_MAP_LOGICAL_AND, ORION_MAP_COUNT, ORION_MAP_COUNT},
    {ORION_OP_logical_or, ORION_MAP_LOGICAL_OR, ORION_MAP_COUNT, ORION_MAP_COUNT},
    {ORION_OP_logical_xor, ORION_MAP_LOGICAL_XOR, ORION_MAP_COUNT, ORION_MAP_COUNT},
};

static bool floating(orion_dtype d) { return d == ORION_FP16 || d == ORION_FP32 || d == ORION_BF16; }
static bool floating_or_bool(orion_dtype d) { return floating(d) || d == ORION_BOOL; }

static orion_dtype dtype_of(const orion_function *f, orion_ref ref) {
  const orion_type *t = orion_ref_type(f, ref);
  return t && orion_type_is_tensor(t) ? t->dtype : ORION_DTYPE_NONE;
}

static bool parameter(const orion_function *f, const orion_op *op, const char *name, float *out) {
  double v = 0;
  if (name && !orion_op_float(f, op, name, &v)) return false;
  *out = (float)v;
  return true;
}

static bool one(orion_cpu_elementwise *out, orion_ref x, orion_map_op map, float p, float q) {
  *out = (orion_cpu_elementwise){.n_refs = 1, .refs = {x}, .n = 1};
  out->steps[0] = (orion_cpu_map_step){.op = (uint16_t)map, .reads = 1, .p = p, .q = q};
  return true;
}

static void then(orion_cpu_elementwise *out, orion_map_op map, float p, float q) {
  out->steps[out->n++] = (orion_cpu_map_step){.op = (uint16_t)map, .reads = 1, .p = p, .q = q};
}

static bool unary_of(const orion_function *f, const orion_op *op, orion_ref x, orion_cpu_elementwise *out) {
  float p, q;
  for (size_t i = 0; i < sizeof unaries / sizeof *unaries; i++) {
    if (unaries[i].code != op->code) continue;
    return parameter(f, op, unaries[i].p, &p) && parameter(f, op, unaries[i].q, &q) &&
           one(out, x, unaries[i].map, p, q);
  }
  if (op->code == ORION_OP_relu6) return one(out, x, ORION_MAP_CLIP, 0, 6);
  if (op->code == ORION_OP_clamped_relu) {
    if (!parameter(f, op, "alpha", &p) || !parameter(f, op, "beta", &q)) return false;
    one(out, x, ORION_MAP_LEAKY_RELU, p, 0);
    then(out, ORION_MAP_MIN_SCALAR, q, 0);
    return true;
  }
  if (op->code == ORION_OP_gelu) {
    const char *mode = orion_op_string(f, op, "mode");
    if (!mode) return false;
    if (strcmp(mode, "EXACT") == 0) return one(out, x, ORION_MAP_GELU, 0, 0);
    if (strcmp(mode, "TANH_APPROXIMATION") == 0) return one(out, x, ORION_MAP_GELU_TANH, 0, 0);
    if (strcmp(mode, "SIGMOID_APPROXIMATION") == 0) return one(out, x, ORION_MAP_GELU_SIGMOID, 0, 0);
  }
  return false;
}

static bool cast_of(const orion_function *f, const orion_op *op, orion_ref x, orion_cpu_elementwise *out) {
  orion_dtype from = dtype_of(f, x), to = f->values[op->results[0]].type->dtype;
  bool from_ok = floating_or_bool(from) || from == ORION_INT32;
  if (!from_ok) return false;
  if (to == ORION_FP32) return one(out, x, ORION_MAP_COPY, 0, 0);
  if (to == ORION_FP16) return one(out, x, ORION_MAP_TO_HALF, 0, 0);
  if (to == ORION_BF16) return one(out, x, ORION_MAP_COPY, 0, 0);  // rounded where it is stored, which it is at once
  if (to == ORION_INT32 && from != ORION_INT32) return one(out, x, ORION_MAP_TRUNC, 0, 0);
  if (to == ORION_BOOL && from != ORION_BOOL) {
    one(out, x, ORION_MAP_LOGICAL_NOT, 0, 0);
    then(out, ORION_MAP_LOGICAL_NOT, 0, 0);
    return true;
  }
  return false;
}

static bool scalar_const(const orion_function *f, orion_ref ref, float *out) {
  double v;
  const orion_type *t = orion_ref_type(f, ref);
  if (!t || t->rank > 0 || !orion_ref_float(f, ref, &v)) return false;
  *out = (float)v;
  return true;
}

static bool binary_of(const orion_function *f, const orion_op *op, orion_cpu_elementwise *out) {
  orion_ref x = orion_op_ref(op, "x"), y = orion_op_ref(op, "y");
  orion_dtype dx = dtype_of(f, x), dy = dtype_of(f, y);
  bool logic = op->code == ORION_OP_logical_and || op->code == ORION_OP_logical_or ||
               op->code == ORION_OP_logical_xor || op->code == ORION_OP_equal || op->code == ORION_OP_not_equal;
  if (logic ? !floating_or_bool(dx) || !floating_or_bool(dy) : !floating(dx) || !floating(dy)) return false;
  for (size_t i = 0; i < sizeof binaries / sizeof *binaries; i++) {
    const struct binary *r = &binaries[i];
    if (r->code != op->code) continue;
    float p;
    if (r->y_scalar != ORION_MAP_COUNT && scalar_const(f, y, &p)) return one(out, x, r->y_scalar, p, 0);
    if (r->x_scalar != ORION_MAP_COUNT && scalar_const(f, x, &p)) return one(out, y, r->x_scalar, p, 0);
    *out = (orion_cpu_elementwise){.n_refs = 2, .refs = {x, y}, .n = 1};
    out->steps[0] = (orion_cpu_map_step){.op = (uint16_t)r->map, .reads = 2};
    return true;
  }
  return false;
}

static bool select_of(const orion_function *f, const orion_op *op, orion_cpu_elementwise *out) {
  orion_ref cond = orion_op_ref(op, "cond"), a = orion_op_ref(op, "a"), b = orion_op_ref(op, "b");
  if (!floating_or_bool(dtype_of(f, cond)) || !floating(dtype_of(f, a)) || !floating(dtype_of(f, b))) return false;
  *out = (orion_cpu_elementwise){.n_refs = 3, .refs = {cond, a, b}, .n = 1};
  out->steps[0] = (orion_cpu_map_step){.op = ORION_CHAIN_SELECT, .reads = 3};
  return true;
}

bool orion_cpu_elementwise_of(const orion_function *f, const orion_op *op, orion_cpu_elementwise *out) {
  orion_op_class cls = orion_opcode_info(op->code)->cls;
  if (cls == ORION_CLASS_BINARY) return binary_of(f, op, out);
  if (cls == ORION_CLASS_SELECT) return select_of(f, op, out);
  orion_ref x = orion_op_ref(op, "x");
  if (x == ORION_NONE) return false;
  if (op->code == ORION_OP_cast) return cast_of(f, op, x, out);
  if (op->code == ORION_OP_logical_not) {
    return floating_or_bool(dtype_of(f, x)) && one(out, x, ORION_MAP_LOGICAL_NOT, 0, 0);
  }
  return cls == ORION_CLASS_UNARY && floating(dtype_of(f, x)) && unary_of(f, op, x, out);
}
