// Products of rounded activations by the dot products of bytes that processors have from Armv8.2 on, with the bits of the
// NEON level: compiled with flags of their own, and empty where the compiler has no such flag.
#include "device/cpu/kernels/level.h"

#ifdef __ARM_FEATURE_DOTPROD
#include "device/cpu/kernels/v16_neon.h"

#include "device/cpu/kernels/body_lanes.h"
#include "device/cpu/kernels/body_rounded.h"
#include "device/cpu/kernels/body_ceiling_bytes.h"

void orion_kernels_install_neon_dotprod(orion_kernels *k) {
  install_rounded(k);
  install_ceiling_bytes(k);
}
#else
void orion_kernels_install_neon_dotprod(orion_kernels *k) {}
#endif
