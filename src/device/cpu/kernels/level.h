// What the files of all levels share: installers, and the inlining that the vector wrappers rely on.
#ifndef ORION_DEVICE_CPU_KERNELS_LEVEL_H
#define ORION_DEVICE_CPU_KERNELS_LEVEL_H

#include <stdbool.h>

#include "device/cpu/kernels/kernels.h"

#define INLINE static inline __attribute__((always_inline, unused))

// Ahead of a loop whose bound is a constant at every call: gcc is to unroll it whole. clang does that by itself, while the
// pragma makes it unroll the loop before it inlines it, by a bound that it does not know yet, and never again: sums that
// should be registers then lie on the stack.
#ifdef __clang__
#define UNROLL(n)
#else
#define UNROLL_TEXT(n) #n
#define UNROLL(n) _Pragma(UNROLL_TEXT(GCC unroll n))
#endif

// Each overwrites what it has. A level that the library was built without has no definition and is not called.
void orion_kernels_install_portable(orion_kernels *k);
void orion_kernels_install_avx2(orion_kernels *k);
void orion_kernels_install_avx2_vnni(orion_kernels *k);  // on top of AVX2
void orion_kernels_install_avx512(orion_kernels *k);
void orion_kernels_install_avx512_vnni(orion_kernels *k);  // on top of AVX-512, as those that follow
void orion_kernels_install_avx512_bf16(orion_kernels *k);
void orion_kernels_install_amx(orion_kernels *k);
void orion_kernels_install_amx_int8(orion_kernels *k);     // on top of AMX and VNNI
void orion_kernels_install_neon(orion_kernels *k);
void orion_kernels_install_neon_dotprod(orion_kernels *k);  // on top of NEON, as those that follow
void orion_kernels_install_neon_i8mm(orion_kernels *k);     // needs dot products too
void orion_kernels_install_neon_bf16(orion_kernels *k);

#endif
