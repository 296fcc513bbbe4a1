#include "device/ane/system.h"

#include <dlfcn.h>
#include <string.h>

static const char *const paths[ORION_ANE_LIBRARIES] = {
    [ORION_ANE_OBJC] = "/usr/lib/libobjc.A.dylib",
    [ORION_ANE_CF] = "/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation",
    [ORION_ANE_FOUNDATION] = "/System/Library/Frameworks/Foundation.framework/Foundation",
    [ORION_ANE_IOSURFACE] = "/System/Library/Frameworks/IOSurface.framework/IOSurface",
    [ORION_ANE_SYSTEM] = "/usr/lib/libSystem.B.dylib",
    [ORION_ANE_PRIVATE] = "/System/Library/PrivateFrameworks/AppleNeuralEngine.framework/AppleNeuralEngine",
    [ORION_ANE_ESPRESSO] = "/System/Library/PrivateFrameworks/Espresso.framework/Espresso",
};

// Both routes do without the other's framework.
static bool optional(orion_ane_library library) {
  return library == ORION_ANE_PRIVATE || library == ORION_ANE_ESPRESSO;
}

static orion_status open_libraries(orion_ane_system *s, const char *stand_in, orion_error *err) {
  for (int i = 0; i < ORION_ANE_LIBRARIES; i++) {
    const char *path = stand_in ? stand_in : paths[i];
    s->libraries[i] = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (s->libraries[i] || (!stand_in && optional((orion_ane_library)i))) continue;
    if (stand_in) return ORION_FAIL(err, ORION_NOT_FOUND, "ane: framework=%s: %s", path, dlerror());
    return ORION_FAIL(err, ORION_NOT_FOUND, "ane: no %s here (the Neural Engine is reached on macOS only)", path);
  }
  return ORION_OK;
}

static void *find(const orion_ane_system *s, orion_ane_library library, const char *name) {
  return s->libraries[library] ? dlsym(s->libraries[library], name) : NULL;
}

static orion_status find_functions(orion_ane_system *s, orion_error *err) {
  const char *missing = NULL;
#define FUNCTION(library, result, name, arguments)                               \
  s->f.name = (result(*) arguments)find(s, ORION_ANE_##library, #name);          \
  if (!s->f.name && !optional(ORION_ANE_##library) && !missing) missing = #name;
#define CONSTANT(library, name)                              \
  s->f.name = find(s, ORION_ANE_##library, #name);           \
  if (!s->f.name && !missing) missing = #name;
#include "device/ane/functions.inc"
#undef FUNCTION
#undef CONSTANT
  if (missing) return ORION_FAIL(err, ORION_NOT_FOUND, "ane: this system has no %s", missing);
  return ORION_OK;
}

// The implementation of a method, or NULL. Methods of a class are those of its own class, the metaclass.
static orion_imp find_method(const orion_ane_system *s, orion_id class, bool of_class, orion_sel selector) {
  if (!class) return NULL;
  orion_id owner = of_class ? s->f.object_getClass(class) : class;
  if (!s->f.class_getInstanceMethod(owner, selector)) return NULL;
  return s->f.class_getMethodImplementation(owner, selector);
}

static void find_methods(orion_ane_system *s) {
  enum { CLASS = 1, INSTANCE = 0 };
#define METHOD(field, class, kind, needed, selector, result, arguments) \
  s->m.field.owner = s->f.objc_getClass(#class);                        \
  s->m.field.sel = s->f.sel_registerName(selector);                     \
  s->m.field.call = (result(*) ORION_ANE_ARGUMENTS arguments)find_method(s, s->m.field.owner, kind, s->m.field.sel);
#include "device/ane/methods.inc"
#undef METHOD
}

orion_status orion_ane_system_open(orion_ane_system *s, const char *stand_in, orion_error *err) {
  *s = (orion_ane_system){0};
  ORION_TRY(open_libraries(s, stand_in, err));
  ORION_TRY(find_functions(s, err));
  find_methods(s);
  s->options = orion_cf_dictionary(s, NULL, NULL, 0);
  return s->options ? ORION_OK : ORION_FAIL(err, ORION_NO_MEMORY, "ane: out of memory");
}

void orion_ane_system_close(orion_ane_system *s) {
  if (s->options) s->f.CFRelease(s->options);
  for (int i = ORION_ANE_LIBRARIES; i-- > 0;) {
    if (s->libraries[i]) dlclose(s->libraries[i]);
  }
  *s = (orion_ane_system){0};
}

orion_status orion_ane_system_check_classes(const orion_ane_system *s, orion_error *err) {
  if (!s->libraries[ORION_ANE_PRIVATE]) {
    return ORION_FAIL(err, ORION_NOT_FOUND, "ane: route a: no %s here", paths[ORION_ANE_PRIVATE]);
  }
  const char *class_name = NULL, *selector_name = NULL;
  bool class_missing = false;
#define METHOD(field, class, kind, needed, selector, result, arguments) \
  if (needed && !s->m.field.call && !class_name) {                      \
    class_name = #class;                                                \
    selector_name = selector;                                           \
    class_missing = !s->m.field.owner;                                  \
  }
#include "device/ane/methods.inc"
#undef METHOD
  if (!class_name) return ORION_OK;
  return ORION_FAIL(err, ORION_NOT_FOUND, "ane: route a: this macOS has no %s%s%s (try route=b)", class_name,
                    class_missing ? "" : " ", class_missing ? "" : selector_name);
}

orion_status orion_ane_system_check_e5rt(const orion_ane_system *s, orion_error *err) {
  if (!s->libraries[ORION_ANE_ESPRESSO]) {
    return ORION_FAIL(err, ORION_NOT_FOUND, "ane: route b: no %s here", paths[ORION_ANE_ESPRESSO]);
  }
  const char *missing = NULL;
  enum { OBJC, CF, FOUNDATION, IOSURFACE, SYSTEM, ESPRESSO };
#define FUNCTION(library, result, name, arguments) \
  if (library == ESPRESSO && !s->f.name && !missing && strcmp(#name, "e5rt_get_last_error_message") != 0) missing = #name;
#define CONSTANT(library, name)
#include "device/ane/functions.inc"
#undef FUNCTION
#undef CONSTANT
  if (missing) return ORION_FAIL(err, ORION_NOT_FOUND, "ane: route b: this macOS has no %s (try route=a)", missing);
  return ORION_OK;
}
