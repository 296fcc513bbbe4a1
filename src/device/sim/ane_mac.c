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

float orion_ane_mac_column(size_t k, const float *w, const float *x, size_t step, float bias) {
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
const orion_ane_lanes *orion_ane_lanes_here(void) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return &orion_ane_lanes_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &orion_ane_lanes_avx2;
#endif
  return &orion_ane_lanes_portable;
}

// A bound below this proves that a sum cannot have reached 2^31. The bound lacks the half step that rounding adds to each
// term, and float addition may have made it smaller by a part in 2^23 for each term.
static float limit_of(size_t k, int64_t start) {
  double limit = (overflow - 0.5 * (double)k - fabs((double)start)) / (1 + (double)k * 0x1p-23);
  return limit > 0 ? (float)limit * (1 - 0x1p-22f) : 0;
}

enum { COLUMNS = 256, NARROW = 64 };  // sums held at once; terms gathered at once

// One column of a panel: gathered, so that its terms lie side by side.
static float single(const orion_ane_lanes *l, size_t k, const float *w, const float *x, size_t ldx, float bias,
                    int64_t start, float limit) {
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
  if (!(bound < limit)) return orion_ane_mac_column(k, w, x, ldx, bias);
  return orion_fixed_half((double)((int32_t)sum + start) * 0x1p-16);
}

void orion_ane_mac(size_t k, const float *w, const float *x, size_t ldx, size_t n, float bias, float *out,
                   size_t step) {
  const orion_ane_lanes *l = orion_ane_lanes_here();
  const int64_t start = orion_fixed_steps(orion_fixed_factor(bias));
  const float limit = limit_of(k, start);
  size_t j = 0;
  while (n - j >= l->width) {
    int32_t sum[COLUMNS];
    float bound[COLUMNS], result[COLUMNS];
    size_t m = (n - j < COLUMNS ? n - j : COLUMNS) / l->width * l->width;
    memset(sum, 0, m * sizeof *sum);
    memset(bound, 0, m * sizeof *bound);
    l->panel(k, w, x + j, ldx, m, sum, bound);
    l->finish(sum, limit > 0 ? (int32_t)start : 0, result, m);
    for (size_t c = 0; c < m; c++, j++) {
      out[j * step] = bound[c] < limit ? result[c] : orion_ane_mac_column(k, w, x + j, ldx, bias);
    }
  }
  for (; j < n; j++) out[j * step] = single(l, k, w, x + j, ldx, bias, start, limit);
}
