// Elementwise operations: one number in, one out. Broadcast runs over rows of the result, each argument with strides
// that are 0 along the dimensions it lacks. Integers wrap around at the width of their dtype; division by zero gives 0.
#include <math.h>
#include <string.h>

#include "device/sim/sim.h"

static int32_t wrap(orion_dtype dtype, int64_t v) {
  unsigned bits = orion_dtype_bits(dtype);
  if (dtype == ORION_BOOL) return v != 0;
  uint64_t low = (uint64_t)v & ((UINT64_C(1) << bits) - 1);
  if (orion_dtype_class(dtype) == 'i' && low >> (bits - 1)) low |= ~((UINT64_C(1) << bits) - 1);
  return (int32_t)(int64_t)low;
}

// ---- one tensor ----

static int32_t unary_int(orion_opcode code, int32_t x, double alpha, double beta) {
  switch (code) {
    case ORION_OP_abs: return x == INT32_MIN ? x : x < 0 ? -x : x;
    case ORION_OP_sign: return (x > 0) - (x < 0);
    case ORION_OP_square: return (int32_t)((int64_t)x * x);
    case ORION_OP_logical_not: return !x;
    case ORION_OP_threshold: return x < alpha ? (int32_t)alpha : x;
    case ORION_OP_clip: return x < alpha ? (int32_t)alpha : x > beta ? (int32_t)beta : x;
    default: return x;
  }
}

typedef struct unary_job {
  const orion_sim_arith *arith;
  orion_opcode code;
  float alpha, beta;
  char mode;
  const uint16_t *curve;
  const float *x;
  float *y;
} unary_job;

static void unary_range(void *ctx, size_t begin, size_t end, int worker) {
  const unary_job *j = ctx;
  if (j->curve) {
    orion_sim_curve_apply(j->curve, j->x + begin, j->y + begin, end - begin);
  } else if (j->mode) {
    for (size_t i = begin; i < end; i++) j->y[i] = j->arith->gelu(j->mode, j->x[i]);
  } else {
    for (size_t i = begin; i < end; i++) j->y[i] = j->arith->unary(j->code, j->x[i], j->alpha, j->beta);
  }
}

ORION_SIM_RUN(orion_sim_run_unary) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  orion_sim_tensor *y = op->out[0];
  double alpha = orion_sim_num(op, orion_sim_arg_of(op, "epsilon") ? "epsilon" : "alpha");
  double beta = orion_sim_num(op, "beta");
  if (!orion_dtype_is_float(x->dtype)) {
    for (size_t i = 0; i < y->n; i++) y->i[i] = wrap(y->dtype, unary_int(op->code, x->i[i], alpha, beta));
    return ORION_OK;
  }
  if (op->code == ORION_OP_logical_not) {
    for (size_t i = 0; i < y->n; i++) orion_sim_set(y, i, x->f[i] == 0);
    return ORION_OK;
  }
  unary_job j = {c->arith, op->code, (float)alpha, (float)beta, 0, op->curve, x->f, y->f};
  orion_parallel_for(c->pool, y->n, 4096, unary_range, &j);
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_gelu) {
  char mode = orion_sim_text(op, "mode")[0];
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  unary_job j = {c->arith, op->code, 0, 0, mode ? mode : 'E', op->curve, x->f, op->out[0]->f};
  orion_parallel_for(c->pool, x->n, 4096, unary_range, &j);
  return ORION_OK;
}

// prelu and softplus_parametric: parameters by channel, dimension 1 (of rank 1 and 2 tensors: the one there is).
ORION_SIM_RUN(orion_sim_run_prelu) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *alpha = orion_sim_in(op, "alpha");
  const orion_sim_tensor *beta = orion_sim_in(op, "beta");
  orion_sim_lines l = orion_sim_lines_of(x, x->rank > 1 ? 1 : 0);
  for (size_t i = 0; i < x->n; i++) {
    size_t channel = i / l.inner % l.n;
    float v = x->f[i], a = alpha->f[alpha->n == 1 ? 0 : channel];
    if (op->code == ORION_OP_prelu) {
      op->out[0]->f[i] = v >= 0 ? v : c->arith->binary(ORION_OP_mul, v, a);
    } else {
      float b = beta->f[beta->n == 1 ? 0 : channel];
      float soft = c->arith->unary(ORION_OP_softplus, c->arith->binary(ORION_OP_mul, v, b), 0, 0);
      op->out[0]->f[i] = c->arith->binary(ORION_OP_mul, soft, a);
    }
  }
  return ORION_OK;
}

// Between all types; to integers by cutting towards zero, saturating.
ORION_SIM_RUN(orion_sim_run_cast) {
  const orion_sim_tensor *x = orion_sim_in(op, op->code == ORION_OP_cast ? "x" : "source_val");
  orion_sim_tensor *y = op->out[0];
  if (orion_dtype_is_float(x->dtype) && orion_dtype_is_float(y->dtype)) {
    memcpy(y->data, x->data, y->n * 4);
  } else {
    for (size_t i = 0; i < y->n; i++) orion_sim_set(y, i, orion_sim_value(x, i));
  }
  return ORION_OK;
}

// ---- two tensors ----

static int64_t floor_div(int64_t x, int64_t y) {
  if (y == 0) return 0;
  int64_t q = x / y;
  return x % y != 0 && (x < 0) != (y < 0) ? q - 1 : q;
}

static int64_t power(int64_t x, int64_t y) {  // modulo 2^64, so that wrapping stays exact
  if (y < 0) return x == 1 ? 1 : x == -1 ? (y % 2 ? -1 : 1) : 0;
  uint64_t r = 1, b = (uint64_t)x;
  for (; y; y >>= 1, b *= b) {
    if (y & 1) r *= b;
  }
  return (int64_t)r;
}

static int64_t binary_int(orion_opcode code, int64_t x, int64_t y) {
  switch (code) {
    case ORION_OP_add: return x + y;
    case ORION_OP_sub: return x - y;
    case ORION_OP_mul: return x * y;
    case ORION_OP_real_div: return y ? x / y : 0;
    case ORION_OP_floor_div: return floor_div(x, y);
    case ORION_OP_mod: return y ? x - floor_div(x, y) * y : 0;
    case ORION_OP_maximum: return x > y ? x : y;
    case ORION_OP_minimum: return x < y ? x : y;
    case ORION_OP_pow: return power(x, y);
    default: return 0;
  }
}

static bool compare(orion_opcode code, double x, double y) {
  switch (code) {
    case ORION_OP_equal: return x == y;
    case ORION_OP_not_equal: return x != y;
    case ORION_OP_greater: return x > y;
    case ORION_OP_greater_equal: return x >= y;
    case ORION_OP_less: return x < y;
    case ORION_OP_less_equal: return x <= y;
    case ORION_OP_logical_and: return x != 0 && y != 0;
    case ORION_OP_logical_or: return x != 0 || y != 0;
    case ORION_OP_logical_xor: return (x != 0) != (y != 0);
    default: return false;
  }
}

enum { LONG_ROW = 4096 };         // long enough to pay for its start, short enough to leave rows for all threads

// Walks the result row by row. Dimensions that lie one after the other in the result and in each argument are walked as one.
// `at` are the element offsets of the arguments at the row's start, `step` along it.
typedef struct rows {
  int rank, n_args;
  int64_t dims[ORION_MAX_RANK];
  int64_t strides[3][ORION_MAX_RANK];
  int64_t index[ORION_MAX_RANK];
  int64_t at[3], step[3];
  size_t n;                       // elements of a row
} rows;

// Whether a step of the dimension before is all of dimension i, for each argument.
static bool continues(const rows *r, int64_t strides[][ORION_MAX_RANK], int i, int64_t size) {
  if (r->dims[r->rank - 1] * size > LONG_ROW) return false;
  for (int a = 0; a < r->n_args; a++) {
    if (r->strides[a][r->rank - 1] != strides[a][i] * size) return false;
  }
  return true;
}

static void rows_start(rows *r, const orion_sim_tensor *y, int n_args, const orion_sim_tensor *const *args) {
  int64_t strides[3][ORION_MAX_RANK];
  *r = (rows){.n_args = n_args, .n = 1};
  for (int a = 0; a < n_args; a++) orion_sim_broadcast(args[a], y->rank, y->dims, strides[a]);
  for (int i = 0; i < y->rank; i++) {
    if (y->dims[i] == 1) continue;
    if (r->rank && continues(r, strides, i, y->dims[i])) {
      r->dims[r->rank - 1] *= y->dims[i];
    } else {
      r->dims[r->rank++] = y->dims[i];
    }
    for (int a = 0; a < n_args; a++) r->strides[a][r->rank - 1] = strides[a][i];
  }
  if (r->rank) r->n = (size_t)r->dims[r->rank - 1];
  for (int a = 0; a < n_args && r->rank; a++) r->step[a] = r->strides[a][r->rank - 1];
}

static bool rows_next(rows *r) {
  if (!orion_sim_next(r->rank - 1, r->dims, r->index)) return false;
  for (int a = 0; a < r->n_args; a++) {
    r->at[a] = 0;
    for (int i = 0; i + 1 < r->rank; i++) r->at[a] += r->index[i] * r->strides[a][i];
  }
  return true;
}

// Puts the walk on a row of its own.
static void rows_seek(rows *r, size_t row) {
  for (int i = r->rank - 2; i >= 0; i--) {
    r->index[i] = (int64_t)(row % (size_t)r->dims[i]);
    row /= (size_t)r->dims[i];
  }
  for (int a = 0; a < r->n_args; a++) {
    r->at[a] = 0;
    for (int i = 0; i + 1 < r->rank; i++) r->at[a] += r->index[i] * r->strides[a][i];
  }
}

typedef struct binary_job {
  const orion_sim_arith *arith;
  orion_opcode code;
  const orion_sim_tensor *x, *y;
  orion_sim_tensor *z;
  rows r;
  bool by_constant;             // a division
} binary_job;

static void binary_row(const binary_job *j, const rows *r, size_t done) {
  const float *x = j->x->f + r->at[0], *y = j->y->f + r->at[1];
  float *z = j->z->f + done;
  if (j->by_constant) {
    for (size_t i = 0; i < r->n; i++) z[i] = j->arith->divide(x[(int64_t)i * r->step[0]], *y);
  } else if (!j->arith->row || !j->arith->row(j->code, x, (size_t)r->step[0], y, (size_t)r->step[1], z, r->n)) {
    for (size_t i = 0; i < r->n; i++) {
      z[i] = j->arith->binary(j->code, x[(int64_t)i * r->step[0]], y[(int64_t)i * r->step[1]]);
    }
  }
}

static void binary_range(void *ctx, size_t begin, size_t end, int worker) {  // rows
  const binary_job *j = ctx;
  rows r = j->r;
  rows_seek(&r, begin);
  for (size_t row = begin; row < end; row++) {
    size_t done = row * r.n;
    if (orion_dtype_is_float(j->z->dtype)) {
      binary_row(j, &r, done);
    } else {
      for (size_t i = 0; i < r.n; i++) {
        int32_t a = j->x->i[r.at[0] + (int64_t)i * r.step[0]], b = j->y->i[r.at[1] + (int64_t)i * r.step[1]];
        j->z->i[done + i] = wrap(j->z->dtype, binary_int(j->code, a, b));
      }
    }
    rows_next(&r);
  }
}

ORION_SIM_RUN(orion_sim_run_binary) {
  binary_job j = {.arith = c->arith, .code = op->code, .x = orion_sim_in(op, "x"), .y = orion_sim_in(op, "y"),
                  .z = op->out[0]};
  if (!j.z->n) return ORION_OK;
  j.by_constant = op->code == ORION_OP_real_div && j.y->constant && j.y->n == 1;
  rows_start(&j.r, j.z, 2, (const orion_sim_tensor *[]){j.x, j.y});
  orion_parallel_for(c->pool, j.z->n / j.r.n, 1 + 8192 / j.r.n, binary_range, &j);
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_compare) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *y = orion_sim_in(op, "y");
  orion_sim_tensor *z = op->out[0];
  if (!z->n) return ORION_OK;
  size_t done = 0;
  rows r;
  rows_start(&r, z, 2, (const orion_sim_tensor *[]){x, y});
  do {
    for (size_t i = 0; i < r.n; i++, done++) {
      double a = orion_sim_value(x, (size_t)(r.at[0] + (int64_t)i * r.step[0]));
      double b = orion_sim_value(y, (size_t)(r.at[1] + (int64_t)i * r.step[1]));
      orion_sim_set(z, done, compare(op->code, a, b));
    }
  } while (rows_next(&r));
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_select) {
  const orion_sim_tensor *cond = orion_sim_in(op, "cond"), *a = orion_sim_in(op, "a"), *b = orion_sim_in(op, "b");
  orion_sim_tensor *z = op->out[0];
  if (!z->n) return ORION_OK;
  size_t done = 0;
  rows r;
  rows_start(&r, z, 3, (const orion_sim_tensor *[]){cond, a, b});
  do {
    for (size_t i = 0; i < r.n; i++, done++) {
      bool yes = orion_sim_value(cond, (size_t)(r.at[0] + (int64_t)i * r.step[0])) != 0;
      z->word[done] = yes ? a->word[r.at[1] + (int64_t)i * r.step[1]] : b->word[r.at[2] + (int64_t)i * r.step[2]];
    }
  } while (rows_next(&r));
  return ORION_OK;
}
