// Elements of any type to and from tiles of floats. The pairs that models use go through kernels; the rest through the
// scalar accessors of ir/dtype.h.
#include "device/cpu/plan.h"

static void load_f16(const orion_kernels *k, float *dst, const orion_half *src, int64_t stride, size_t n) {
  if (stride == 1) {
    k->half_to_float(dst, src, n);
  } else if (stride == 0) {
    float v = orion_half_to_float(*src);
    k->map[ORION_MAP_FILL](dst, NULL, NULL, n, v, 0);
  } else {
    for (size_t i = 0; i < n; i++) dst[i] = orion_half_to_float(src[(int64_t)i * stride]);
  }
}

static void load_f32(const orion_kernels *k, float *dst, const float *src, int64_t stride, size_t n) {
  if (stride == 1) {
    memcpy(dst, src, n * sizeof *dst);
  } else if (stride == 0) {
    k->map[ORION_MAP_FILL](dst, NULL, NULL, n, *src, 0);
  } else {
    for (size_t i = 0; i < n; i++) dst[i] = src[(int64_t)i * stride];
  }
}

void orion_cpu_load(const orion_kernels *k, float *dst, orion_dtype dtype, const void *base, int64_t offset,
                    int64_t stride, size_t n) {
  switch (dtype) {
    case ORION_FP32:
      load_f32(k, dst, (const float *)base + offset, stride, n);
      return;
    case ORION_FP16:
      load_f16(k, dst, (const orion_half *)base + offset, stride, n);
      return;
    case ORION_BF16: {
      const orion_bf16 *x = (const orion_bf16 *)base + offset;
      if (stride == 1) {
        orion_bf16_to_floats(dst, x, n);
        return;
      }
      for (size_t i = 0; i < n; i++) dst[i] = orion_bf16_to_float(x[(int64_t)i * stride]);
      return;
    }
    case ORION_BOOL: {
      const uint8_t *x = (const uint8_t *)base + offset;
      for (size_t i = 0; i < n; i++) dst[i] = x[(int64_t)i * stride] != 0 ? 1.0f : 0.0f;
      return;
    }
    case ORION_INT32: {
      const int32_t *x = (const int32_t *)base + offset;
      for (size_t i = 0; i < n; i++) dst[i] = (float)x[(int64_t)i * stride];
      return;
    }
    default:
      for (size_t i = 0; i < n; i++)
        dst[i] = (float)orion_load_double(dtype, base, (size_t)(offset + (int64_t)i * stride));
  }
}

void orion_cpu_store(const orion_kernels *k, orion_dtype dtype, void *base, int64_t offset, int64_t stride,
                     const float *src, size_t n) {
  switch (dtype) {
    case ORION_FP32: {
      float *y = (float *)base + offset;
      if (stride == 1) {
        memcpy(y, src, n * sizeof *y);
      } else {
        for (size_t i = 0; i < n; i++) y[(int64_t)i * stride] = src[i];
      }
      return;
    }
    case ORION_FP16: {
      orion_half *y = (orion_half *)base + offset;
      if (stride == 1) {
        k->float_to_half(y, src, n);
      } else {
        for (size_t i = 0; i < n; i++) y[(int64_t)i * stride] = orion_float_to_half(src[i]);
      }
      return;
    }
    case ORION_BF16: {
      orion_bf16 *y = (orion_bf16 *)base + offset;
      if (stride == 1) {
        orion_floats_to_bf16(y, src, n);
      } else {
        for (size_t i = 0; i < n; i++) y[(int64_t)i * stride] = orion_float_to_bf16(src[i]);
      }
      return;
    }
    case ORION_BOOL: {
      uint8_t *y = (uint8_t *)base + offset;
      for (size_t i = 0; i < n; i++) y[(int64_t)i * stride] = src[i] != 0;
      return;
    }
    default:
      for (size_t i = 0; i < n; i++) orion_store_double(dtype, base, (size_t)(offset + (int64_t)i * stride), src[i]);
  }
}
