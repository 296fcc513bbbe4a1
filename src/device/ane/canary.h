// A small program of our own, sent ahead to see whether the engine does what it is believed to do.
#ifndef ORION_DEVICE_ANE_CANARY_H
#define ORION_DEVICE_ANE_CANARY_H

#include "device/device.h"

#define ORION_ANE_CANARY 32  // side of its matrices, and what every output is

// Runs y = conv(x, w) of ones and gives y[0], which is ORION_ANE_CANARY; then, where `change` is not NULL, calls it and runs
// again for *out_after.
orion_status orion_ane_canary(orion_device *d, orion_status (*change)(orion_executable *e, orion_error *err),
                              float *out_before, float *out_after, orion_error *err);
// That the device computes: ORION_DEVICE with what it gave if not.
orion_status orion_ane_answers(orion_device *d, orion_error *err);

#endif
