// Softmax of the ANE in the passes its compiler is known to make: maximum, difference, exp table, sum, reciprocal
// table, product. How the hardware sums is not known: the sum here is exact and rounded once.
#include "device/sim/ane.h"
#include "device/sim/fixed.h"

void orion_sim_ane_softmax(const float *x, float *y, size_t n, size_t step) {
  float top = -INFINITY;
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    float v = orion_fixed_operand(x[i * step]);
    if (v > top) top = v;
  }
  for (size_t i = 0; i < n; i++) {
    float e = orion_sim_ane_exp(orion_sim_ane_binary(ORION_OP_sub, x[i * step], top));
    y[i * step] = e;
    sum += (double)e;
  }
  float scale = orion_sim_ane_inverse(orion_fixed_half(sum));
  for (size_t i = 0; i < n; i++) y[i * step] = orion_sim_ane_binary(ORION_OP_mul, y[i * step], scale);
}
