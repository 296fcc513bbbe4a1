// What the bridge needs of macOS: the Objective-C runtime, CoreFoundation, IOSurface and two private frameworks, all
// found at run time by name, so that Orion compiles and starts anywhere and says what is missing.
//
// Objective-C is spoken through the runtime's C functions. A method is looked up once (class_getMethodImplementation) and
// then called through a pointer of exactly its type: the calling convention of arm64 passes variadic arguments elsewhere,
// so a message must never go out through a variadic or untyped function. Whether the class has the method is asked
// first; calling one that is not there would end the process.
//
// Strings, numbers, arrays, dictionaries, data and errors are CoreFoundation's, which are Foundation's objects too.
#ifndef ORION_DEVICE_ANE_SYSTEM_H
#define ORION_DEVICE_ANE_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orion/status.h"

typedef struct orion_objc_object *orion_id;
typedef struct orion_objc_selector *orion_sel;
typedef const void *orion_cf;
typedef void (*orion_imp)(void);

typedef enum orion_ane_library {
  ORION_ANE_OBJC,
  ORION_ANE_CF,
  ORION_ANE_FOUNDATION,
  ORION_ANE_IOSURFACE,
  ORION_ANE_SYSTEM,
  ORION_ANE_PRIVATE,    // AppleNeuralEngine: classes only
  ORION_ANE_ESPRESSO,
  ORION_ANE_LIBRARIES
} orion_ane_library;

// Pointers to functions and constants; NULL where the library or the symbol is missing.
typedef struct orion_ane_functions {
#define FUNCTION(library, result, name, arguments) result (*name) arguments;
#define CONSTANT(library, name) const void *name;
#include "device/ane/functions.inc"
#undef FUNCTION
#undef CONSTANT
} orion_ane_functions;

// A method: call it as m->name.call(receiver, m->name.sel, arguments...). `call` is NULL where there is none.
#define ORION_ANE_ARGUMENTS(...) (orion_id receiver, orion_sel selector, ##__VA_ARGS__)
typedef struct orion_ane_methods {
#define METHOD(field, class, kind, needed, selector, result, arguments) \
  struct {                                                              \
    orion_id owner;                                                     \
    orion_sel sel;                                                      \
    result(*call) ORION_ANE_ARGUMENTS arguments;                        \
  } field;
#include "device/ane/methods.inc"
#undef METHOD
} orion_ane_methods;

typedef struct orion_ane_system {
  void *libraries[ORION_ANE_LIBRARIES];
  orion_ane_functions f;
  orion_ane_methods m;
  orion_cf options;        // an empty dictionary
} orion_ane_system;

// Opens the libraries; `stand_in` (may be NULL) is one shared library that takes the place of all of them. ORION_NOT_FOUND
// where they are not, which is everywhere but on macOS. Missing symbols of Espresso or the private classes are no error
// here but of the route that needs them.
orion_status orion_ane_system_open(orion_ane_system *s, const char *stand_in, orion_error *err);
void orion_ane_system_close(orion_ane_system *s);  // also when half open
// That all that a route needs is there.
orion_status orion_ane_system_check_classes(const orion_ane_system *s, orion_error *err);
orion_status orion_ane_system_check_e5rt(const orion_ane_system *s, orion_error *err);

// ---- CoreFoundation in C's terms ---- What is made must be released with s->f.CFRelease. NULL: out of memory.

orion_cf orion_cf_string(const orion_ane_system *s, const char *text);
orion_cf orion_cf_integer(const orion_ane_system *s, int64_t value);
orion_cf orion_cf_bytes(const orion_ane_system *s, const void *bytes, size_t n);  // not copied: they outlive it
orion_cf orion_cf_array(const orion_ane_system *s, const void **values, size_t n);
orion_cf orion_cf_dictionary(const orion_ane_system *s, const void **keys, const void **values, size_t n);
void orion_cf_release(const orion_ane_system *s, orion_cf object);  // NULL is ignored

// Reading what somebody else made, whatever it is: NULL or false where it is not of that kind.
bool orion_cf_text(const orion_ane_system *s, orion_cf string, char *out, size_t size);
bool orion_cf_integer_of(const orion_ane_system *s, orion_cf number, int64_t *out);
size_t orion_cf_count(const orion_ane_system *s, orion_cf array);  // 0 for what is no array
orion_cf orion_cf_at(const orion_ane_system *s, orion_cf array, size_t index);
orion_cf orion_cf_get(const orion_ane_system *s, orion_cf dictionary, const char *key);
bool orion_cf_get_integer(const orion_ane_system *s, orion_cf dictionary, const char *key, int64_t *out);
bool orion_cf_get_text(const orion_ane_system *s, orion_cf dictionary, const char *key, char *out, size_t size);

#endif
