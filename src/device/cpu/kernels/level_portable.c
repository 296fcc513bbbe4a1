// The portable level: complete, for any processor, and the reference that the other levels are tested against.
#include "device/cpu/kernels/v16_portable.h"

#include "device/cpu/kernels/body_convert.h"
#include "device/cpu/kernels/body_map.h"
#include "device/cpu/kernels/body_rows.h"
#include "device/cpu/kernels/body_lanes.h"
#include "device/cpu/kernels/body_product.h"
#include "device/cpu/kernels/body_quantised.h"
#include "device/cpu/kernels/body_rounded.h"
#include "device/cpu/kernels/body_strips.h"
#include "device/cpu/kernels/body_linear_strips.h"
#include "device/cpu/kernels/body_matmul.h"
#include "device/cpu/kernels/body_attention_weights.h"
#include "device/cpu/kernels/body_attention_few.h"
#include "device/cpu/kernels/body_attention.h"
#include "device/cpu/kernels/body_ceiling.h"
#include "device/cpu/kernels/body_install.h"

static void map_pow(float *dst, const float *a, const float *b, size_t n, float p, float q) {
  for (size_t i = 0; i < n; i++) dst[i] = powf(a[i], b[i]);
}

static void map_scalar_pow(float *dst, const float *a, const float *b, size_t n, float p, float q) {
  for (size_t i = 0; i < n; i++) dst[i] = powf(p, a[i]);
}

#define LIBRARY(name)                                                                                 \
  static void map_##name(float *dst, const float *a, const float *b, size_t n, float p, float q) {    \
    for (size_t i = 0; i < n; i++) dst[i] = name##f(a[i]);                                            \
  }
LIBRARY(tan)
LIBRARY(asin)
LIBRARY(acos)
LIBRARY(atan)
LIBRARY(sinh)
LIBRARY(cosh)
LIBRARY(asinh)
LIBRARY(acosh)
LIBRARY(atanh)
#undef LIBRARY

void orion_kernels_install_portable(orion_kernels *k) {
  install_all(k);
#define INSTALL(NAME, name, arity) k->map[ORION_MAP_##NAME] = map_##name;
  ORION_MAP_SCALAR_OPS(INSTALL)
#undef INSTALL
}
