// `--device auto`: the Neural Engine where one answers, else cpu.
#ifndef ORION_DEVICE_AUTO_H
#define ORION_DEVICE_AUTO_H

#include "device/device.h"

orion_status orion_device_open_auto(const orion_allocator *a, int threads, orion_device **out, orion_error *err);

#endif
