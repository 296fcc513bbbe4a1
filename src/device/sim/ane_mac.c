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

// Could a sum have reached 2^31? `bound` lacks the half step that rounding adds to each term, and float addition may
// have made it smaller by a part in 2^23 for each term.
static bool safe(float bound, size_t k, int64_t bias) {
  double most = (double)bound * (1 + (double)k * 0x1p-23) + 0.5 * (double)k + fabs((double)bias);
  return most < overflow;  // false for NaN and infinity too
}

// The result of a column whose sum, without the bias, the fast path found.
static float finish(size_t k, const float *w, const float *x, size_t step, float bias, int64_t start, int32_t sum,
                    float bound) {
  if (!safe(bound, k, start)) return orion_ane_mac_column(k, w, x, step, bias);
  return orion_fixed_half((double)(sum + start) * 0x1p-16);
}

enum { COLUMNS = 256, NARROW = 64 };  // sums held at once; terms gathered at once

// One column of a panel: gathered, so that its terms lie side by side.
static float single(const orion_ane_lanes *l, size_t k, const float *w, const float *x, size_t ldx, float bias,
                    int64_t start) {
  if (ldx == 1) {
    float bound;
    int32_t sum = l->dot(k, w, x, &bound);
    return finish(k, w, x, 1, bias, start, sum, bound);
  }
  uint32_t sum = 0;
  float bound = 0;
  for (size_t i0 = 0; i0 < k; i0 += NARROW) {
    float column[NARROW], part;
    size_t m = k - i0 < NARROW ? k - i0 : NARROW;
    for (size_t i = 0; i < m; i++) column[i] = x[(i0 + i) * ldx];
    sum += (uint32_t)l->dot(m, w + i0, column, &part);
    bound += part;
  }
  return finish(k, w, x, ldx, bias, start, (int32_t)sum, bound);
}

void orion_ane_mac(size_t k, const float *w, const float *x, size_t ldx, size_t n, float bias, float *out,
                   size_t step) {
  const orion_ane_lanes *l = orion_ane_lanes_here();
  const int64_t start = orion_fixed_steps(orion_fixed_factor(bias));
  size_t j = 0;
  while (n - j >= l->width) {
    int32_t sum[COLUMNS] = {0};
    float bound[COLUMNS] = {0};
    size_t m = (n - j < COLUMNS ? n - j : COLUMNS) / l->width * l->width;
    l->panel(k, w, x + j, ldx, m, sum, bound);
    for (size_t c = 0; c < m; c++, j++) out[j * step] = finish(k, w, x + j, ldx, bias, start, sum[c], bound[c]);
  }
  for (; j < n; j++) out[j * step] = single(l, k, w, x + j, ldx, bias, start);
}
