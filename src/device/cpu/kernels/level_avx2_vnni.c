// Products of rounded activations by VNNI, on top of the AVX2 level whose bits they have: compiled with flags of their
// own, and empty where the compiler has no such flag.
#include "device/cpu/kernels/level.h"

#ifdef __AVXVNNI__
#include "device/cpu/kernels/v16_avx2.h"

#include "device/cpu/kernels/body_lanes.h"
#include "device/cpu/kernels/body_rounded.h"
#include "device/cpu/kernels/body_ceiling_bytes.h"

void orion_kernels_install_avx2_vnni(orion_kernels *k) {
  install_rounded(k);
  install_ceiling_bytes(k);
}
#else
void orion_kernels_install_avx2_vnni(orion_kernels *k) {}
#endif
