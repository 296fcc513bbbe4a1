// Chooses the level. Portable first, so that a level may leave out what it does not improve.
#include "device/cpu/kernels/kernels.h"

#include "base/cpu.h"
#include "device/cpu/kernels/level.h"

#define NAME(NAME, name, arity) #name,
#define ARITY(NAME, name, arity) arity,
static const char *const map_names[] = {ORION_MAP_OPS(NAME)};
static const int map_arities[] = {ORION_MAP_OPS(ARITY)};
#undef NAME
#undef ARITY

const char *orion_map_name(orion_map_op op) { return map_names[op]; }
int orion_map_arity(orion_map_op op) { return map_arities[op]; }

void orion_kernels_init(orion_kernels *k, uint32_t cpu_features) {
  *k = (orion_kernels){0};
  orion_kernels_install_portable(k);
#ifdef __x86_64__
  if (cpu_features & ORION_CPU_AVX2) {
    orion_kernels_install_avx2(k);
    if (cpu_features & ORION_CPU_AVX_VNNI) orion_kernels_install_avx2_vnni(k);
  }
  if (cpu_features & ORION_CPU_AVX512) {
    orion_kernels_install_avx512(k);
    if (cpu_features & ORION_CPU_AVX512_VNNI) orion_kernels_install_avx512_vnni(k);
    if (cpu_features & ORION_CPU_AVX512_BF16) orion_kernels_install_avx512_bf16(k);
    const uint32_t tiles = ORION_CPU_AMX | ORION_CPU_AVX512_BF16;  // which rounds what `fast` gives to tiles
    if ((cpu_features & tiles) == tiles) {
      orion_kernels_install_amx(k);
      if (cpu_features & ORION_CPU_AVX512_VNNI) orion_kernels_install_amx_int8(k);
    }
  }
#endif
#ifdef __aarch64__
  if (cpu_features & ORION_CPU_NEON) {
    orion_kernels_install_neon(k);
    if (cpu_features & ORION_CPU_NEON_DOTPROD) {
      orion_kernels_install_neon_dotprod(k);
      if (cpu_features & ORION_CPU_NEON_I8MM) orion_kernels_install_neon_i8mm(k);
    }
    if (cpu_features & ORION_CPU_NEON_BF16) orion_kernels_install_neon_bf16(k);
  }
#endif
}
