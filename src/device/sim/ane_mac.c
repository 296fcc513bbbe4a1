// Multiply-accumulate of the ANE: linear, matmul, conv.
//
//   product   exact, then to a multiple of 2^-16, ties away from zero; but 0 when the factors' exponents sum to -17 or
//             less (subnormals counted as -14), even where it would have rounded to one step or two
//   sum       starts at the bias (on the same grid); terms are added exactly, in order
//   overflow  when |sum| reaches 2^15 at any moment the result is infinity of that sign, and stays so
//   result    to fp16, ties away from zero; so a sum above 32760 gives 32768, finite
//
// The fast path adds in 32 bits, which hold every sum that does not overflow; a bound of the magnitudes says which
// columns that may be.
#include "device/sim/ane.h"
#include "device/sim/fixed.h"

static const double overflow = 0x1p31;  // in steps

float orion_sim_ane_mac_column(size_t k, const float *w, const float *x, size_t step, float bias) {
  int64_t sum = orion_fixed_steps(orion_fixed_factor(bias));
  if (sum >= INT64_C(1) << 31 || sum <= -(INT64_C(1) << 31)) return sum < 0 ? -INFINITY : INFINITY;
  for (size_t i = 0; i < k; i++) {
    if (orion_fixed_exponent(w[i]) + orion_fixed_exponent(x[i * step]) <= ORION_FIXED_DROP) continue;
    sum += orion_fixed_steps(orion_fixed_factor(w[i]) * orion_fixed_factor(x[i * step]));
    if (sum >= INT64_C(1) << 31 || sum <= -(INT64_C(1) << 31)) return sum < 0 ? -INFINITY : INFINITY;
  }
  return orion_fixed_half((double)sum * 0x1p-16);
}

// Asked for every row: the compiler's run-time library found the features at start, where asking the processor itself
// is slow (in virtual machines, very).
const orion_sim_ane_lanes *orion_sim_ane_lanes_here(void) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return &orion_sim_ane_lanes_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &orion_sim_ane_lanes_avx2;
#endif
  return &orion_sim_ane_lanes_portable;
}

// A bound below this proves that a sum cannot have reached 2^31. The bound lacks the half step that rounding adds to each
// term, and float addition may have made it smaller by a part in 2^23 for each term.
static float limit_of(size_t k, int64_t start) {
  double limit = (overflow - 0.5 * (double)k - fabs((double)start)) / (1 + (double)k * 0x1p-23);
  return limit > 0 ? (float)limit * (1 - 0x1p-22f) : 0;
}

enum { COLUMNS = 256, PAIRS = COLUMNS / 8 };  // sums of a row held at once; pairs of vectors among them, at most
enum { NARROW = 64, RUNS = 32 };              // terms gathered at once; peaks of a column

// One column of a panel: gathered, so that its terms lie side by side.
static float single(const orion_sim_ane_lanes *l, size_t k, const float *w, const float *x, size_t ldx, float bias) {
  const int64_t start = orion_fixed_steps(orion_fixed_factor(bias));
  uint32_t sum = 0;
  float bound = 0;
  if (ldx == 1) {
    sum = (uint32_t)l->dot(k, w, x, &bound);
  } else {
    for (size_t i0 = 0; i0 < k; i0 += NARROW) {
      float column[NARROW], part;
      size_t m = k - i0 < NARROW ? k - i0 : NARROW;
      for (size_t i = 0; i < m; i++) column[i] = x[(i0 + i) * ldx];
      sum += (uint32_t)l->dot(m, w + i0, column, &part);
      bound += part;
    }
  }
  if (!(bound < limit_of(k, start))) return orion_sim_ane_mac_column(k, w, x, ldx, bias);
  return orion_fixed_half((double)((int32_t)sum + start) * 0x1p-16);
}

// The sums of one row to fp16; pairs of vectors whose bound does not hold again, column by column.
static void finish_row(const orion_sim_ane_lanes *l, const orion_sim_product *p, size_t r, size_t first, size_t n,
                       const int32_t *sum, const float *bound) {
  const float bias = p->bias ? p->bias[r] : 0, *w = p->rows + r * p->row_stride;
  const int64_t start = orion_fixed_steps(orion_fixed_factor(bias));
  const float limit = limit_of(p->k, start), narrow = limit - (0x1p31f - 0x1p24f);
  const size_t pair = 2 * l->width;
  float *out = p->out + r * p->row_step + first * p->column_step, result[COLUMNS];
  bool direct = p->column_step == 1;
  float most = 0;
  for (size_t c = 0; c < n; c += pair) most = bound[c / pair] <= most ? most : bound[c / pair];
  l->finish(sum, limit > 0 ? (int32_t)start : 0, most < narrow, direct ? out : result, n);
  for (size_t c = 0; c < n && !direct; c++) out[c * p->column_step] = result[c];
  for (size_t c = 0; c < n && !(most < limit); c++) {
    if (bound[c / pair] < limit) continue;
    out[c * p->column_step] = single(l, p->k, w, p->panel + first + c, p->ldx, bias);
  }
}

// Columns [first, first + n) of all rows from begin to end. Peaks are taken over runs of terms, so that one large number
// does not spoil the bound of a whole column.
static void product_columns(const orion_sim_ane_lanes *l, const orion_sim_product *p, size_t begin, size_t end, size_t first,
                            size_t n) {
  enum { ROWS = ORION_SIM_ANE_ROWS };
  int32_t sum[ROWS * COLUMNS];
  float bound[ROWS * PAIRS], peak[RUNS * PAIRS];
  const size_t run = orion_round_up((p->k + RUNS - 1) / RUNS, ORION_SIM_ANE_CHUNK);
  for (size_t i = 0; i < p->k; i += run) {
    l->peaks(p->k - i < run ? p->k - i : run, p->panel + i * p->ldx + first, p->ldx, n, peak + i / run * PAIRS);
  }
  for (size_t r0 = begin; r0 < end; r0 += ROWS) {
    for (size_t r = 0; r < ROWS; r++) memset(sum + r * COLUMNS, 0, n * sizeof *sum);
    memset(bound, 0, sizeof bound);
    for (size_t i = 0; i < p->k; i += run) {
      const float *w[ROWS];
      for (size_t r = 0; r < ROWS; r++) w[r] = p->rows + (r0 + r < end ? r0 + r : end - 1) * p->row_stride + i;
      l->block(p->k - i < run ? p->k - i : run, w, p->panel + i * p->ldx + first, p->ldx, peak + i / run * PAIRS, n,
               sum, COLUMNS, bound, PAIRS);
    }
    for (size_t r = 0; r < ROWS && r0 + r < end; r++) {
      finish_row(l, p, r0 + r, first, n, sum + r * COLUMNS, bound + r * PAIRS);
    }
  }
}

void orion_sim_ane_product(const orion_sim_product *p, size_t begin, size_t end) {
  const orion_sim_ane_lanes *l = orion_sim_ane_lanes_here();
  size_t j = 0;
  while (p->n - j >= l->width) {
    size_t m = (p->n - j < COLUMNS ? p->n - j : COLUMNS) / l->width * l->width;
    product_columns(l, p, begin, end, j, m);
    j += m;
  }
  for (; j < p->n; j++) {
    for (size_t r = begin; r < end; r++) {
      p->out[r * p->row_step + j * p->column_step] =
          single(l, p->k, p->rows + r * p->row_stride, p->panel + j, p->ldx, p->bias ? p->bias[r] : 0);
    }
  }
}
