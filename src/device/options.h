// Device specifications as text: "name", "name:family", "name:key=value,key=value", "name:family,key=value".
#ifndef ORION_DEVICE_OPTIONS_H
#define ORION_DEVICE_OPTIONS_H

#include "device/device.h"

#define ORION_DEVICE_SPEC_MAX 512  // characters of a specification

typedef struct orion_device_spec {
  const char *name;               // into `text`, like the options
  orion_device_options options;
  char text[ORION_DEVICE_SPEC_MAX];
} orion_device_spec;

// Errors quote the part that makes no sense.
orion_status orion_device_spec_parse(const char *spec, orion_device_spec *out, orion_error *err);

// Value of an option, or NULL.
const char *orion_device_option(const orion_device_options *o, const char *key);
// A whole number within [low, high]; `fallback` where the option is not given.
orion_status orion_device_option_number(const char *device, const orion_device_options *o, const char *key, long low, long high,
                                        long fallback, long *out, orion_error *err);
// Fails with the name of the first option that is not in the NULL-terminated list.
orion_status orion_device_options_check(const char *device, const orion_device_options *o, const char *const *known,
                                        orion_error *err);

#endif
