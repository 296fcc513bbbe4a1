// Which devices this build has.
#ifndef ORION_DEVICE_REGISTRY_H
#define ORION_DEVICE_REGISTRY_H

#include "device/device.h"

const orion_device_vtable *orion_device_find(const char *name);  // NULL if absent

#endif
