// Products are counted by powers of two: for each term, how many weights and how many numbers have which exponent; pairs
// whose exponents sum to -17 or less are dropped. That costs as much as reading both sides once.
#include "device/sim/tally.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "device/sim/ane.h"
#include "device/sim/fixed.h"

enum { LOWEST = -14, EXPONENTS = 31 };  // of fp16 as the multiply-accumulate path sees it: -14 to 16

// "l12" of "l12_h1_norm"; "" where the name says no layer.
static void layer_of(const char *value, char out[16]) {
  size_t digits = value[0] == 'l' ? strspn(value + 1, "0123456789") : 0;
  bool layer = digits > 0 && digits < 10 && value[1 + digits] == '_';
  snprintf(out, 16, "%.*s", layer ? (int)digits + 1 : 0, value);
}

size_t orion_sim_tally_row(orion_sim_tallies *t, const orion_allocator *a, const char *op, const char *value) {
  char layer[16];
  layer_of(value, layer);
  for (size_t i = 0; i < t->n; i++) {
    if (strcmp(t->rows[i].op, op) == 0 && strcmp(t->layers[i], layer) == 0) return i;
  }
  if (!ORION_GROW(a, &t->rows, &t->cap, t->n + 1) || !ORION_GROW(a, &t->layers, &t->cap_layers, t->n + 1)) return SIZE_MAX;
  t->rows[t->n] = (orion_tally){.op = op};
  memcpy(t->layers[t->n], layer, sizeof layer);
  for (size_t i = 0; i <= t->n; i++) t->rows[i].layer = t->layers[i];  // growing may have moved them
  return t->n++;
}

void orion_sim_tallies_free(orion_sim_tallies *t, const orion_allocator *a) {
  orion_free(a, t->rows, t->cap, sizeof *t->rows);
  orion_free(a, t->layers, t->cap_layers, sizeof *t->layers);
  *t = (orion_sim_tallies){0};
}

// ---- products ----

static void add_exponents(uint64_t *count, const float *x, size_t n, size_t step) {
  for (size_t i = 0; i < n; i++) {
    float v = x[i * step];
    if (v != 0) count[orion_fixed_exponent(v) - LOWEST]++;
  }
}

void orion_sim_tally_product(orion_tally *t, const orion_sim_product *p, size_t rows) {
  t->products += (uint64_t)p->k * p->n * rows;
  for (size_t i = 0; i < p->k; i++) {
    uint64_t w[EXPONENTS] = {0}, x[EXPONENTS] = {0}, below = 0;
    add_exponents(w, p->rows + i, rows, p->row_stride);
    add_exponents(x, p->panel + i * p->ldx, p->n, 1);
    int next = 0;  // of x: exponents below it are in `below`
    for (int e = EXPONENTS - 1; e >= 0; e--) {
      while (next < EXPONENTS && next + e + 2 * LOWEST <= ORION_FIXED_DROP) below += x[next++];
      t->dropped += w[e] * below;
    }
  }
}

// ---- results ----

static bool is_table(orion_opcode code, orion_sim_ane_function *out) {
  switch (code) {
    case ORION_OP_sigmoid: *out = ORION_SIM_ANE_SIGMOID; return true;
    case ORION_OP_tanh: *out = ORION_SIM_ANE_TANH; return true;
    case ORION_OP_gelu: *out = ORION_SIM_ANE_GELU; return true;
    case ORION_OP_silu: *out = ORION_SIM_ANE_SILU; return true;
    case ORION_OP_erf: *out = ORION_SIM_ANE_ERF; return true;
    case ORION_OP_exp2: *out = ORION_SIM_ANE_EXP2; return true;
    case ORION_OP_exp: *out = ORION_SIM_ANE_EXP2; return true;
    case ORION_OP_log: *out = ORION_SIM_ANE_LOG2; return true;
    case ORION_OP_sqrt: *out = ORION_SIM_ANE_SQRT; return true;
    case ORION_OP_rsqrt: *out = ORION_SIM_ANE_RSQRT; return true;
    case ORION_OP_inverse: *out = ORION_SIM_ANE_INVERSE; return true;
    default: return false;
  }
}

// How far the table is from the function, and arguments beyond its ends.
static void tally_table(orion_tally *t, const orion_sim_op *op, orion_sim_ane_function f) {
  const orion_sim_ane_table *table = &orion_sim_ane_tables[f];
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *y = op->out[0];
  const float lo = orion_half_to_float(table->lo), hi = orion_half_to_float(table->hi);
  bool odd = table->mode >> 4 == 6, epsilon = op->code == ORION_OP_log || op->code == ORION_OP_rsqrt || op->code == ORION_OP_inverse;
  float alpha = epsilon ? (float)orion_sim_num(op, "epsilon") : 0;
  for (size_t i = 0; i < y->n; i++) {
    float v = op->code == ORION_OP_exp ? x->f[i] * 1.442695f : x->f[i], at = odd ? fabsf(v) : v;
    float want = op->code == ORION_OP_gelu ? orion_sim_arith_ideal.gelu('E', x->f[i])
                                           : orion_sim_arith_ideal.unary(op->code, x->f[i], alpha, 0);
    double error = fabs((double)y->f[i] - (double)want);
    t->out_of_range += at != 0 && (at < lo || at > hi);
    if (isfinite(error) && error > t->max_error) t->max_error = error;
  }
}

// Zeros that two factors other than zero gave, and those of functions that are never zero.
static uint64_t underflows(const orion_sim_op *op) {
  const orion_sim_tensor *y = op->out[0];
  uint64_t n = 0;
  if (op->code == ORION_OP_mul || op->code == ORION_OP_real_div) {
    const orion_sim_tensor *a = orion_sim_in(op, "x"), *b = orion_sim_in(op, "y");
    if (!orion_dtype_is_float(a->dtype) || !orion_dtype_is_float(b->dtype)) return 0;
    int64_t as[ORION_MAX_RANK], bs[ORION_MAX_RANK], index[ORION_MAX_RANK] = {0};
    orion_sim_broadcast(a, y->rank, y->dims, as);
    orion_sim_broadcast(b, y->rank, y->dims, bs);
    for (size_t i = 0; i < y->n; i++) {
      int64_t ai = 0, bi = 0;
      for (int d = 0; d < y->rank && y->f[i] == 0; d++) {
        ai += index[d] * as[d];
        bi += index[d] * bs[d];
      }
      n += y->f[i] == 0 && a->f[ai] != 0 && b->f[bi] != 0;
      orion_sim_next(y->rank, y->dims, index);
    }
  } else if (op->code == ORION_OP_exp || op->code == ORION_OP_exp2 || op->code == ORION_OP_softmax) {
    for (size_t i = 0; i < y->n; i++) n += y->f[i] == 0;
  }
  return n;
}

void orion_sim_tally_op(orion_tally *t, const orion_sim_op *op) {
  const orion_sim_tensor *y = op->n_out ? op->out[0] : NULL;
  orion_sim_ane_function f;
  t->runs++;
  if (!y || !orion_dtype_is_float(y->dtype)) return;
  t->results += y->n;
  for (size_t i = 0; i < y->n; i++) t->infinite += isinf(y->f[i]) != 0;
  t->vanished += underflows(op);
  if (op->arith->ane && is_table(op->code, &f)) tally_table(t, op, f);
}
