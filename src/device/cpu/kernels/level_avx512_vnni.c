// Products of rounded activations by VNNI, on top of the AVX-512 level whose bits they have, and of many rows by AMX, on top
// of those: compiled with flags of their own, and empty where the compiler has no such flag.
#include "device/cpu/kernels/level.h"

#ifdef __AVX512VNNI__
#include "device/cpu/kernels/v16_avx512.h"

#include "device/cpu/kernels/body_lanes.h"
#include "device/cpu/kernels/body_rounded.h"
#include "device/cpu/kernels/body_ceiling_bytes.h"
#include "device/cpu/kernels/body_rounded_tiles.h"

void orion_kernels_install_avx512_vnni(orion_kernels *k) {
  install_rounded(k);
  install_ceiling_bytes(k);
}
void orion_kernels_install_amx_int8(orion_kernels *k) { install_rounded_tiles(k); }
#else
void orion_kernels_install_avx512_vnni(orion_kernels *k) {}
void orion_kernels_install_amx_int8(orion_kernels *k) {}
#endif
