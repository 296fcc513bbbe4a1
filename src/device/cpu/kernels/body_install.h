// Puts one level's kernels into the table. Include after the other bodies.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_INSTALL_H
#define ORION_DEVICE_CPU_KERNELS_BODY_INSTALL_H

static void install_all(orion_kernels *k) {
  k->level = LEVEL_NAME;
  install_map(k);
  install_rows(k);
  install_convert(k);
  install_quantised(k);
  install_strips(k);
  install_rounded(k);
  install_matmul(k);
  install_attention(k);
  install_ceiling(k);
}

#endif
