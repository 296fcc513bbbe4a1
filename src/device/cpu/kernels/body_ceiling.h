// What a level can reach at best: loads and nothing else, multiply-adds in registers and nothing else. Measurements put
// the other kernels beside these. Include after the level's v16 header.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_CEILING_H
#define ORION_DEVICE_CPU_KERNELS_BODY_CEILING_H

// Vectors of sums that hide the latency of a multiply-add and stay in the registers beside two operands.
#if defined(__AVX512F__)
enum { CHAINS = 14 };
#elif defined(__AVX2__)
enum { CHAINS = 6 };  // two registers each
#elif defined(__aarch64__)
enum { CHAINS = 6 };  // four registers each, of 32
#else
enum { CHAINS = 3 };  // four registers each, of 16
#endif

// Four places of the block at once, which the prefetchers of most processors read faster than one; the rest below
// 1 KiB is left out. The result only keeps the loads alive.
static int32_t read_bytes(const void *data, size_t bytes) {
  size_t quarter = bytes / 1024 * 64;  // in int32
  const int32_t *p = data;
  v16i a = i16_set(0), b = a, c = a, d = a;
  for (size_t i = 0; i < quarter; i += 64) {
    for (size_t k = i; k < i + 64; k += 16) {
      a = i16_or(a, i16_load(p + k));
      b = i16_or(b, i16_load(p + quarter + k));
      c = i16_or(c, i16_load(p + 2 * quarter + k));
      d = i16_or(d, i16_load(p + 3 * quarter + k));
    }
  }
  return m16_any(i16_nonzero(i16_or(i16_or(a, b), i16_or(c, d))));
}

// Chains start at different values, or the compiler would compute one of them.
static float multiply_add(const float *two, size_t n, double *out_flops) {
  const v16 m = v16_set(two[0]), s = v16_set(two[1]);
  v16 x[CHAINS];
  for (int c = 0; c < CHAINS; c++) x[c] = v16_set(two[1] * (float)c);
  for (size_t i = 0; i < n; i++) {
    for (int c = 0; c < CHAINS; c++) x[c] = v16_fma(x[c], m, s);
  }
  v16 sum = x[0];
  for (int c = 1; c < CHAINS; c++) sum = v16_add(sum, x[c]);
  *out_flops = 2.0 * 16 * CHAINS * (double)n;
  return v16_sum(sum);
}

static void install_ceiling(orion_kernels *k) {
  k->read_bytes = read_bytes;
  k->multiply_add = multiply_add;
}

#endif
