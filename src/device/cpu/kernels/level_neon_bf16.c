// What `fast` makes of products of many rows by the matrix instruction for bf16, on top of the NEON level: compiled with
// flags of its own, and empty where the compiler has no such flag.
#include "device/cpu/kernels/level.h"

#ifdef __ARM_FEATURE_BF16_VECTOR_ARITHMETIC
#include "device/cpu/kernels/v16_neon.h"

#include "device/cpu/kernels/body_lanes.h"
#include "device/cpu/kernels/body_vectors.h"
#include "device/cpu/kernels/body_squares.h"

void orion_kernels_install_neon_bf16(orion_kernels *k) { install_squares(k); }
#else
void orion_kernels_install_neon_bf16(orion_kernels *k) {}
#endif
