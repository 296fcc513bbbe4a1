// Sliding windows: how convolution and pooling walk their input. One to three spatial dimensions.
#ifndef ORION_DEVICE_CPU_POOL_SHAPE_H
#define ORION_DEVICE_CPU_POOL_SHAPE_H

#include "device/cpu/plan.h"

typedef struct orion_pool_shape {
  int n;  // spatial dimensions
  int64_t in[3], out[3], kernel[3], stride[3], dilation[3], before[3], after[3];
  size_t taps, positions;
} orion_pool_shape;

// Reads strides, dilations, pad_type and pad of conv or a pooling op; `kernel` has one size per spatial dimension.
orion_status orion_pool_shape_read(const orion_function *f, const orion_op *op, const orion_cpu_view *x,
                                   const int64_t *kernel, const orion_type *out_type, orion_pool_shape *out,
                                   orion_error *err);
bool orion_pool_trivial(const orion_pool_shape *g);  // stride 1, no padding: position i is input i

// First input coordinate (may be negative) of an output position.
void orion_pool_start(const orion_pool_shape *g, size_t position, int64_t start[3]);
// Offset of a tap's input element by the spatial strides; false outside the input.
bool orion_pool_tap(const orion_pool_shape *g, const int64_t start[3], size_t tap, const int64_t *strides,
                    int64_t *out);

#endif
