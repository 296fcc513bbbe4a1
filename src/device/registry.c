// The list of devices. A new device adds its row to both tables, in the same place (docs/add-a-device.md).
#include "device/registry.h"

#include <string.h>

static const orion_device_vtable *const devices[] = {&orion_device_cpu, &orion_device_sim, &orion_device_ane,
                                                   &orion_device_record, &orion_device_null};
static const char *const names[] = {"cpu", "sim", "ane", "record", "null", NULL};

const char *const *orion_device_names(void) { return names; }

const orion_device_vtable *orion_device_find(const char *name) {
  if (!name || strcmp(name, "auto") == 0) return devices[0];
  for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
    if (strcmp(devices[i]->name, name) == 0) return devices[i];
  }
  return NULL;
}
