// Parsing device specifications. The text is copied into the result and cut in place, so that names, keys and values
// are plain strings that live as long as the result.
#include "device/options.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool is_word(const char *s) {
  if (!*s) return false;
  for (; *s; s++) {
    if (!isalnum((unsigned char)*s) && *s != '_' && *s != '-' && *s != '.') return false;
  }
  return true;
}

// "sim:m4" of "record:sim:m4,file=x": the device that another wraps.
static bool wraps(const char *name, const char *part) {
  char inner[64];
  const char *colon = strchr(part, ':');
  if (strcmp(name, "record") != 0 || !colon || (size_t)(colon - part) >= sizeof inner) return false;
  memcpy(inner, part, (size_t)(colon - part));
  inner[colon - part] = 0;
  return is_word(inner) && is_word(colon + 1);
}

// One part between commas; `at` counts them from 0.
static orion_status parse_part(orion_device_spec *out, const char *spec, char *part, int at, orion_error *err) {
  orion_device_options *o = &out->options;
  char *equals = strchr(part, '=');
  if (!equals) {
    if (at > 0 || !(is_word(part) || wraps(out->name, part))) {
      return ORION_FAIL(err, ORION_INVALID, "device '%s': '%s' is not an option (write key=value)", spec, part);
    }
    o->family = part;
    return ORION_OK;
  }
  *equals = 0;
  if (!is_word(part)) {
    return ORION_FAIL(err, ORION_INVALID, "device '%s': '%s' is no option name (letters, digits, '_', '-', '.')", spec,
                      part);
  }
  if (!equals[1]) {
    return ORION_FAIL(err, ORION_INVALID, "device '%s': option '%s' has no value (write %s=value)", spec, part, part);
  }
  if (orion_device_option(o, part)) {
    return ORION_FAIL(err, ORION_INVALID, "device '%s': option '%s' is given twice", spec, part);
  }
  size_t max = sizeof o->keys / sizeof *o->keys;
  if (o->n == max) return ORION_FAIL(err, ORION_LIMIT, "device '%s': more than %zu options", spec, max);
  o->keys[o->n] = part;
  o->values[o->n++] = equals + 1;
  return ORION_OK;
}

orion_status orion_device_spec_parse(const char *spec, orion_device_spec *out, orion_error *err) {
  *out = (orion_device_spec){0};
  size_t size = strlen(spec);
  if (size >= sizeof out->text) {
    return ORION_FAIL(err, ORION_LIMIT, "device '%.40s...': more than %d characters", spec, ORION_DEVICE_SPEC_MAX - 1);
  }
  memcpy(out->text, spec, size + 1);
  out->name = out->text;
  char *rest = strchr(out->text, ':');
  if (rest) *rest++ = 0;
  if (!is_word(out->name)) {
    return ORION_FAIL(err, ORION_INVALID, "device '%s': '%s' is no device name (write name:family,key=value)", spec,
                      out->name);
  }
  for (int at = 0; rest; at++) {
    char *next = strchr(rest, ',');
    if (next) *next++ = 0;
    ORION_TRY(parse_part(out, spec, rest, at, err));
    rest = next;
  }
  return ORION_OK;
}

const char *orion_device_option(const orion_device_options *o, const char *key) {
  for (size_t i = 0; i < o->n; i++) {
    if (strcmp(o->keys[i], key) == 0) return o->values[i];
  }
  return NULL;
}

orion_status orion_device_option_number(const char *device, const orion_device_options *o, const char *key, long low, long high,
                                        long fallback, long *out, orion_error *err) {
  const char *text = orion_device_option(o, key);
  *out = fallback;
  if (!text) return ORION_OK;
  char *end;
  long v = strtol(text, &end, 10);
  if (*end || v < low || v > high) {
    return ORION_FAIL(err, ORION_INVALID, "device %s: %s=%s (want %ld to %ld)", device, key, text, low, high);
  }
  *out = v;
  return ORION_OK;
}

orion_status orion_device_options_check(const char *device, const orion_device_options *o, const char *const *known,
                                        orion_error *err) {
  for (size_t i = 0; i < o->n; i++) {
    size_t k = 0;
    while (known[k] && strcmp(known[k], o->keys[i]) != 0) k++;
    if (!known[k]) return ORION_FAIL(err, ORION_INVALID, "device %s: unknown option '%s'", device, o->keys[i]);
  }
  return ORION_OK;
}
