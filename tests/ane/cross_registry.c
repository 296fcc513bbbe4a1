// The devices of the small library that cross.sh builds for another processor: those that need no kernels, and none of what
// needs libraries that are not there for it (JSON).
#include <string.h>

#include "device/registry.h"
#include "target/target.h"

static const orion_device_vtable *const devices[] = {&orion_device_sim, &orion_device_ane, &orion_device_null};
static const char *const names[] = {"sim", "ane", "null", NULL};

const char *const *orion_device_names(void) { return names; }

const orion_device_vtable *orion_device_find(const char *name) {
  for (size_t i = 0; name && i < sizeof devices / sizeof *devices; i++) {
    if (strcmp(devices[i]->name, name) == 0) return devices[i];
  }
  return NULL;
}

orion_status orion_target_read(const orion_allocator *a, const char *path, orion_target *out, orion_error *err) {
  return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: no targets are read here", path);
}
