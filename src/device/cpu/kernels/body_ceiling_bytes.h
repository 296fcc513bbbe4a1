// What a level with instructions for products of bytes can reach with them: in registers, and nothing else. Include after
// the v16 header of such a level.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_CEILING_BYTES_H
#define ORION_DEVICE_CPU_KERNELS_BODY_CEILING_BYTES_H

enum { BYTE_CHAINS = VEC_LANES == 16 ? 14 : 6 };  // that hide the latency and stay in the registers

static float multiply_int8(size_t n, double *out_ops) {
  static const int8_t three[4] = {1, 2, 1, 2};
  const x4 x = x4_load(three);
  const v16i w = i16_set(0x01020102);
  v16i sum[BYTE_CHAINS];
  for (int c = 0; c < BYTE_CHAINS; c++) sum[c] = i16_set(c);
  for (size_t i = 0; i < n; i++) {
UNROLL(16)
    for (int c = 0; c < BYTE_CHAINS; c++) sum[c] = i16_dot4(sum[c], w, x);
  }
  v16i all = sum[0];
  for (int c = 1; c < BYTE_CHAINS; c++) all = i16_add(all, sum[c]);
  *out_ops = 2.0 * 4 * 16 * BYTE_CHAINS * (double)n;
  return v16_sum(i16_to_float(all));
}

static void install_ceiling_bytes(orion_kernels *k) { k->multiply_int8 = multiply_int8; }

#endif
