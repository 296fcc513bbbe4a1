// The list of devices. A new device adds its row to both tables (docs/add-a-device.md); `auto` stands for one of the others,
// and is not listed.
#include "device/registry.h"

#include <string.h>

static const orion_device_vtable *const devices[] = {&orion_device_cpu, &orion_device_sim, &orion_device_ane,
                                                   &orion_device_record, &orion_device_null, &orion_device_auto};
static const char *const names[] = {"cpu", "sim", "ane", "record", "null", NULL};

const char *const *orion_device_names(void) { return names; }

const orion_device_vtable *orion_device_find(const char *name) {
  for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
    if (strcmp(devices[i]->name, name) == 0) return devices[i];
  }
  return NULL;
}
