// The chip families m1 to m6 of the simulated ANE (H13 to H18): one arithmetic with a few switches. Its rules reproduce
// published outputs of these machines bit for bit where docs/numerics.md says so; what is not known of the hardware is
// listed by family and shown by `orion devices`.
//
//   ane.c          the families, elementwise functions
//   ane_lut.c      activation functions by table, ane_tables.c their records
//   ane_mac.c      multiply-accumulate; ane_mac_lanes.c its fast path, once per processor level
//   ane_norm.c     softmax and normalisation, step by step
//   winograd.c     3x3 convolutions of m5 and m6
#ifndef ORION_DEVICE_SIM_ANE_H
#define ORION_DEVICE_SIM_ANE_H

#include "device/sim/sim.h"

// ---- activation tables ----

// As the compiler emits them (macOS 26.6; the same bytes for H13 to H18), all fp16 words.
typedef struct orion_sim_ane_table {
  uint16_t lo, hi, out_lo, out_hi;  // results beyond the ends
  uint16_t knot[33];
  uint16_t left[2], right[2];       // slope, intercept beyond the knots
  int shift;                        // knots are 2^-shift apart
  int mode;                         // low nibble: how it is walked; high: symmetry
} orion_sim_ane_table;

typedef enum orion_sim_ane_function {
  ORION_SIM_ANE_SIGMOID, ORION_SIM_ANE_TANH, ORION_SIM_ANE_GELU, ORION_SIM_ANE_SILU, ORION_SIM_ANE_EXP2,
  ORION_SIM_ANE_LOG2, ORION_SIM_ANE_SQRT, ORION_SIM_ANE_RSQRT, ORION_SIM_ANE_INVERSE, ORION_SIM_ANE_ERF,
  ORION_SIM_ANE_SIN, ORION_SIM_ANE_FUNCTIONS
} orion_sim_ane_function;

extern const orion_sim_ane_table orion_sim_ane_tables[ORION_SIM_ANE_FUNCTIONS];

float orion_sim_ane_curve(orion_sim_ane_function f, float x);  // sigmoid, tanh, gelu, silu, erf
float orion_sim_ane_exp(float x);
float orion_sim_ane_exp2(float x);
float orion_sim_ane_log(float x);
float orion_sim_ane_sqrt(float x);
float orion_sim_ane_rsqrt(float x);
float orion_sim_ane_inverse(float x);
float orion_sim_ane_sin(float x);  // within 6.4e-4 of the hardware; its range reduction is not known

// ---- elementwise unit ----

float orion_sim_ane_binary(orion_opcode code, float x, float y);

// ---- multiply-accumulate ----

void orion_sim_ane_product(const orion_sim_product *p, size_t begin, size_t end);
// One column, term by term in order: the definition. `step` is between the x of neighbouring terms.
float orion_sim_ane_mac_column(size_t k, const float *w, const float *x, size_t step, float bias);

// Sums of products, in steps of 2^-16, and an upper bound of the sum of their magnitudes (in steps, without rounding).
// Sums are right where the bound is below 2^31 by more than the errors of its own making.
//   peaks: of the norms of `lanes` columns, by pair of vectors, never too small
//   block: ROWS rows of weights w[r] times `lanes` columns, whose peaks are given; adds to the sums of row r at r * lds
//          and to one bound for each pair of vectors at r * ldb
//   panel: `lanes` columns side by side, rows of x `ldx` apart; adds to sum and bound.
//   dot:   one column whose elements lie side by side.
enum { ORION_SIM_ANE_ROWS = 4, ORION_SIM_ANE_CHUNK = 128 };  // rows of a block; terms whose weights are made ready at once
typedef struct orion_sim_ane_lanes {
  size_t width;  // columns of a panel are multiples of this
  void (*peaks)(size_t k, const float *x, size_t ldx, size_t lanes, float *out);
  void (*block)(size_t k, const float *const *w, const float *x, size_t ldx, const float *peak, size_t lanes,
                int32_t *sum, size_t lds, float *bound, size_t ldb);
  void (*panel)(size_t k, const float *w, const float *x, size_t ldx, size_t lanes, int32_t *sum, float *bound);
  int32_t (*dot)(size_t k, const float *w, const float *x, float *bound);
  // fp16 of start + sum[i], each below 2^31 (in steps); narrow: below 2^24.
  void (*finish)(const int32_t *sum, int32_t start, bool narrow, float *out, size_t n);
  // Whole rows of the elementwise unit: z = x + y, x - y or x * y, steps of x and y 0 or 1; and x rounded in place.
  void (*row)(orion_opcode code, const float *x, size_t x_step, const float *y, size_t y_step, float *z, size_t n);
  void (*round)(float *x, size_t n);
} orion_sim_ane_lanes;

extern const orion_sim_ane_lanes orion_sim_ane_lanes_portable;
#ifdef __x86_64__
extern const orion_sim_ane_lanes orion_sim_ane_lanes_avx2, orion_sim_ane_lanes_avx512;
#endif
const orion_sim_ane_lanes *orion_sim_ane_lanes_here(void);  // the best that the processor has

// ---- integers ----

// A sum of int8 products as fp16.
float orion_sim_ane_int8(const orion_sim_arith *a, int64_t sum, double scale);

// ---- softmax, normalisation ----

// A line of n elements, `step` apart; y may be x.
void orion_sim_ane_softmax(const float *x, float *y, size_t n, size_t step);

#endif
