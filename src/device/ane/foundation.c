// CoreFoundation's containers in C's terms. What others made is read with suspicion: dictionaries of a private framework
// may change with any release, so every value is asked for its kind before it is used.
#include "device/ane/system.h"

enum { UTF8 = 0x08000100, INT64 = 4 };  // kCFStringEncodingUTF8, kCFNumberSInt64Type

orion_cf orion_cf_string(const orion_ane_system *s, const char *text) {
  return s->f.CFStringCreateWithCString(NULL, text, UTF8);
}

orion_cf orion_cf_integer(const orion_ane_system *s, int64_t value) { return s->f.CFNumberCreate(NULL, INT64, &value); }

orion_cf orion_cf_bytes(const orion_ane_system *s, const void *bytes, size_t n) {
  return s->f.CFDataCreateWithBytesNoCopy(NULL, bytes, (long)n, *(const orion_cf *)s->f.kCFAllocatorNull);
}

orion_cf orion_cf_array(const orion_ane_system *s, const void **values, size_t n) {
  return s->f.CFArrayCreate(NULL, values, (long)n, s->f.kCFTypeArrayCallBacks);
}

orion_cf orion_cf_dictionary(const orion_ane_system *s, const void **keys, const void **values, size_t n) {
  return s->f.CFDictionaryCreate(NULL, keys, values, (long)n, s->f.kCFTypeDictionaryKeyCallBacks,
                                 s->f.kCFTypeDictionaryValueCallBacks);
}

void orion_cf_release(const orion_ane_system *s, orion_cf object) {
  if (object) s->f.CFRelease(object);
}

static bool is(const orion_ane_system *s, orion_cf object, unsigned long (*type)(void)) {
  return object && s->f.CFGetTypeID(object) == type();
}

bool orion_cf_text(const orion_ane_system *s, orion_cf string, char *out, size_t size) {
  if (!is(s, string, s->f.CFStringGetTypeID)) return false;
  return s->f.CFStringGetCString(string, out, (long)size, UTF8);
}

bool orion_cf_integer_of(const orion_ane_system *s, orion_cf number, int64_t *out) {
  return is(s, number, s->f.CFNumberGetTypeID) && s->f.CFNumberGetValue(number, INT64, out);
}

size_t orion_cf_count(const orion_ane_system *s, orion_cf array) {
  return is(s, array, s->f.CFArrayGetTypeID) ? (size_t)s->f.CFArrayGetCount(array) : 0;
}

orion_cf orion_cf_at(const orion_ane_system *s, orion_cf array, size_t index) {
  return index < orion_cf_count(s, array) ? s->f.CFArrayGetValueAtIndex(array, (long)index) : NULL;
}

orion_cf orion_cf_get(const orion_ane_system *s, orion_cf dictionary, const char *key) {
  if (!is(s, dictionary, s->f.CFDictionaryGetTypeID)) return NULL;
  orion_cf name = orion_cf_string(s, key);
  if (!name) return NULL;
  orion_cf value = s->f.CFDictionaryGetValue(dictionary, name);
  s->f.CFRelease(name);
  return value;
}

bool orion_cf_get_integer(const orion_ane_system *s, orion_cf dictionary, const char *key, int64_t *out) {
  return orion_cf_integer_of(s, orion_cf_get(s, dictionary, key), out);
}

bool orion_cf_get_text(const orion_ane_system *s, orion_cf dictionary, const char *key, char *out, size_t size) {
  return orion_cf_text(s, orion_cf_get(s, dictionary, key), out, size);
}
