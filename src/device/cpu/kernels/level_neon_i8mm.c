// Products of two rounded rows and more by the matrix instruction for bytes (I8MM), with the bits of the NEON level; a
// single row stays with dot products. Compiled with flags of its own, and empty where the compiler has no such flag.
#include "device/cpu/kernels/level.h"

#if defined(__ARM_FEATURE_MATMUL_INT8) && defined(__ARM_FEATURE_DOTPROD)
#include "device/cpu/kernels/v16_neon.h"

#include "device/cpu/kernels/body_lanes.h"
#include "device/cpu/kernels/body_rounded.h"
#include "device/cpu/kernels/body_rounded_squares.h"

void orion_kernels_install_neon_i8mm(orion_kernels *k) {
  install_rounded(k);
  install_rounded_squares(k);
}
#else
void orion_kernels_install_neon_i8mm(orion_kernels *k) {}
#endif
