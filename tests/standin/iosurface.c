// IOSurface, and the two small things of other libraries: the temporary directory, and the system's build.
#include <errno.h>
#include <unistd.h>

#include "standin.h"

static void destroy_surface(object *o) { free(((surface *)o)->memory); }
CLASS(class_surface, "IOSurface", NULL, NULL, destroy_surface)

// Keys are strings that live for ever.
#define KEY(name)                                                         \
  static string name##_object = {{&class_string, 0}, (char *)#name};      \
  EXPORT object *const name = &name##_object.head;
KEY(kIOSurfaceWidth)
KEY(kIOSurfaceHeight)
KEY(kIOSurfaceBytesPerElement)
KEY(kIOSurfaceBytesPerRow)
KEY(kIOSurfaceAllocSize)
KEY(kIOSurfacePixelFormat)

EXPORT surface *IOSurfaceCreate(const dictionary *properties);
EXPORT int IOSurfaceLock(surface *s, uint32_t options, uint32_t *seed);
EXPORT int IOSurfaceUnlock(surface *s, uint32_t options, uint32_t *seed);
EXPORT void *IOSurfaceGetBaseAddress(surface *s);
EXPORT string *NSTemporaryDirectory(void);
EXPORT int sysctlbyname(const char *name, void *out, size_t *size, void *in, size_t in_size);

static int64_t property(const dictionary *d, const char *key) {
  object *o = dictionary_get(d, key);
  return object_is(o, &class_number) ? ((number *)o)->value : -1;
}

surface *IOSurfaceCreate(const dictionary *d) {
  int64_t bytes = property(d, "kIOSurfaceAllocSize"), row = property(d, "kIOSurfaceBytesPerRow");
  if (bytes <= 0 || row * property(d, "kIOSurfaceHeight") > bytes || property(d, "kIOSurfaceWidth") > row ||
      property(d, "kIOSurfaceBytesPerElement") != 1 || property(d, "kIOSurfacePixelFormat") != 0) {
    return NULL;
  }
  surface *s = (surface *)object_new(&class_surface, sizeof *s);
  s->bytes = (size_t)bytes;
  s->memory = malloc(s->bytes);  // exactly as large: a sanitizer sees whoever goes beyond
  memset(s->memory, 0xA5, s->bytes);
  return s;
}

int IOSurfaceLock(surface *s, uint32_t options, uint32_t *seed) {
  s->locks++;
  return 0;
}

int IOSurfaceUnlock(surface *s, uint32_t options, uint32_t *seed) {
  s->locks--;
  return 0;
}

void *IOSurfaceGetBaseAddress(surface *s) { return s->memory; }

const char *temporary_directory(void) {
  const char *dir = getenv("TMPDIR");
  return dir && *dir ? dir : P_tmpdir;
}

string *NSTemporaryDirectory(void) {
  char text[PATH];
  snprintf(text, sizeof text, "%s/", temporary_directory());
  string *s = string_new(text);
  object_autorelease(&s->head);
  return s;
}

int sysctlbyname(const char *name, void *out, size_t *size, void *in, size_t in_size) {
  size_t n = strlen(world("build")) + 1;
  if (strcmp(name, "kern.osversion") != 0 || *size < n) {
    errno = ENOENT;
    return -1;
  }
  memcpy(out, world("build"), n);
  *size = n;
  return 0;
}
