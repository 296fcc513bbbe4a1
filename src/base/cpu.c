// Asking the processor: cpuid and the operating system's enabled registers on x86-64, the kernel's flags on aarch64.
#include "base/cpu.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

static uint64_t read_xcr0(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

// Linux hands out the AMX tile registers only on request (arch_prctl ARCH_REQ_XCOMP_PERM, tile data = 18).
static bool amx_permission(void) {
#ifdef __linux__
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
  return false;
#endif
}

uint32_t orion_cpu_features(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  bool osxsave = c & bit_OSXSAVE, fma = c & bit_FMA, f16c = c & bit_F16C;
  if (!osxsave || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  uint64_t xcr0 = read_xcr0();
  bool ymm = (xcr0 & 0x6) == 0x6, zmm = (xcr0 & 0xe6) == 0xe6, tiles = (xcr0 & 0x60000) == 0x60000;
  if (!ymm || !(b & bit_AVX2) || !fma || !f16c) return 0;
  uint32_t features = ORION_CPU_AVX2;
  bool avx512 = zmm && (b & bit_AVX512F) && (b & bit_AVX512BW) && (b & bit_AVX512DQ) && (b & bit_AVX512VL);
  if (avx512) {
    features |= ORION_CPU_AVX512;
    if (c & (1u << 11)) features |= ORION_CPU_AVX512_VNNI;
    if (d & (1u << 23)) features |= ORION_CPU_AVX512_FP16;
    bool amx = tiles && (d & (1u << 22)) && (d & (1u << 24)) && (d & (1u << 25));
    if (amx && amx_permission()) features |= ORION_CPU_AMX;
  }
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) {
    if (a & (1u << 4)) features |= ORION_CPU_AVX_VNNI;
    if (avx512 && (a & (1u << 5))) features |= ORION_CPU_AVX512_BF16;
  }
  return features;
}

#elif defined(__aarch64__)
#ifdef __linux__
#include <sys/auxv.h>
#endif
#ifdef __APPLE__
#include <sys/sysctl.h>
static bool has(const char *name) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, 0, 0) == 0 && value;
}
#endif

uint32_t orion_cpu_features(void) {
  uint32_t features = ORION_CPU_NEON;
#if defined(__linux__)
  unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
  if (cap & (1ul << 20)) features |= ORION_CPU_NEON_DOTPROD;  // HWCAP_ASIMDDP
  if (cap & (1ul << 10)) features |= ORION_CPU_NEON_FP16;     // HWCAP_ASIMDHP
  if (cap2 & (1ul << 14)) features |= ORION_CPU_NEON_BF16;    // HWCAP2_BF16
  if (cap2 & (1ul << 13)) features |= ORION_CPU_NEON_I8MM;    // HWCAP2_I8MM
#elif defined(__APPLE__)
  if (has("hw.optional.arm.FEAT_DotProd")) features |= ORION_CPU_NEON_DOTPROD;
  if (has("hw.optional.arm.FEAT_FP16")) features |= ORION_CPU_NEON_FP16;
  if (has("hw.optional.arm.FEAT_BF16")) features |= ORION_CPU_NEON_BF16;
  if (has("hw.optional.arm.FEAT_I8MM")) features |= ORION_CPU_NEON_I8MM;
#endif
  return features;
}

#else
uint32_t orion_cpu_features(void) { return 0; }
#endif

#define ALL_AVX2 (ORION_CPU_AVX2 | ORION_CPU_AVX_VNNI)
#define ALL_AVX512 (ALL_AVX2 | ORION_CPU_AVX512 | ORION_CPU_AVX512_VNNI | ORION_CPU_AVX512_BF16 | ORION_CPU_AVX512_FP16)
#define ALL_NEON \
  (ORION_CPU_NEON | ORION_CPU_NEON_DOTPROD | ORION_CPU_NEON_FP16 | ORION_CPU_NEON_BF16 | ORION_CPU_NEON_I8MM)

static const struct {
  const char *name;
  uint32_t mask, key;  // key: the bit whose presence names the level
} levels[] = {
    {"amx", ALL_AVX512 | ORION_CPU_AMX, ORION_CPU_AMX},
    {"avx512", ALL_AVX512, ORION_CPU_AVX512},
    {"avx2", ALL_AVX2, ORION_CPU_AVX2},
    {"neon", ALL_NEON, ORION_CPU_NEON},
    {"portable", 0, 0},
};

bool orion_cpu_level(const char *name, uint32_t *out_mask) {
  if (strcmp(name, "native") == 0) {
    *out_mask = UINT32_MAX;
    return true;
  }
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
    if (strcmp(name, levels[i].name) == 0) {
      *out_mask = levels[i].mask;
      return true;
    }
  }
  *out_mask = 0;
  return false;
}

const char *orion_cpu_level_name(uint32_t features) {
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
    if (levels[i].key && (features & levels[i].key)) return levels[i].name;
  }
  return "portable";
}
