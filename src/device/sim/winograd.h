// 3x3 convolutions of m5 and m6 (winograd.c).
#ifndef ORION_DEVICE_SIM_WINOGRAD_H
#define ORION_DEVICE_SIM_WINOGRAD_H

#include "device/sim/sim.h"

typedef struct orion_sim_winograd {
  const float *weight, *bias;   // [outs, ins, 3, 3], [outs] or NULL
  size_t ins, outs;
  int64_t in_height, in_width, out_height, out_width, top, left;  // padding before
} orion_sim_winograd;

size_t orion_sim_winograd_scratch(size_t outs, size_t ins, int64_t width);  // bytes; SIZE_MAX: too many
// x [samples, ins, in_height, in_width] -> y [samples, outs, out_height, out_width]
void orion_sim_winograd_run(const orion_sim_ctx *c, const orion_sim_winograd *w, size_t samples, const float *x,
                            float *y);

#endif
