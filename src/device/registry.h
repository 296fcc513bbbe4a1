// Which devices this build has, best first; "auto" is the first of them.
#ifndef ORION_DEVICE_REGISTRY_H
#define ORION_DEVICE_REGISTRY_H

#include "device/device.h"

const orion_device_vtable *orion_device_find(const char *name);  // NULL if absent; "auto" and NULL: the best

#endif
