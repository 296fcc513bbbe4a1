// The Objective-C runtime, as far as C sees it.
#include "standin.h"

extern class _ANEInMemoryModelDescriptor, _ANEInMemoryModel, _ANERequest, _ANEIOSurfaceObject, _ANEDeviceInfo;

static class *const classes[] = {&_ANEInMemoryModelDescriptor, &_ANEInMemoryModel, &_ANERequest, &_ANEIOSurfaceObject,
                                 &_ANEDeviceInfo};
static selector *selectors;

object *object_new(class *isa, size_t size) {
  object *o = calloc(1, size);
  o->isa = isa;
  o->refs = 1;
  counts[COUNT_OBJECTS]++;
  return o;
}

object *object_retain(object *o) {
  if (o && o->refs) o->refs++;
  return o;
}

void object_release(object *o) {
  if (!o || !o->refs || --o->refs) return;
  if (o->isa->destroy) o->isa->destroy(o);
  free(o);
  counts[COUNT_OBJECTS]--;
}

// ---- pools ---- a stack of objects; a pool is a depth of it.

static object **pooled;
static size_t n_pooled, cap_pooled;
static long depth;

object *object_autorelease(object *o) {
  if (!depth) counts[COUNT_UNPOOLED]++;  // macOS would say so in its log, and leak
  if (n_pooled == cap_pooled) pooled = realloc(pooled, (cap_pooled = cap_pooled ? 2 * cap_pooled : 64) * sizeof *pooled);
  if (o) pooled[n_pooled++] = o;
  return o;
}

EXPORT void *objc_autoreleasePoolPush(void);
EXPORT void objc_autoreleasePoolPop(void *pool);
void *objc_autoreleasePoolPush(void) {
  depth++;
  return (void *)(n_pooled + 1);
}

void objc_autoreleasePoolPop(void *pool) {
  depth--;
  while (n_pooled > (size_t)pool - 1) object_release(pooled[--n_pooled]);
  if (depth || n_pooled) return;
  free(pooled);
  pooled = NULL;
  cap_pooled = 0;
}

// ---- the runtime's functions ----

EXPORT object *objc_getClass(const char *name);
EXPORT selector *sel_registerName(const char *name);
EXPORT class *object_getClass(object *o);
EXPORT const method *class_getInstanceMethod(class *c, selector *s);
EXPORT void (*class_getMethodImplementation(class *c, selector *s))(void);
EXPORT object *objc_retain(object *o);
EXPORT void objc_release(object *o);

object *objc_getClass(const char *name) {
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
    if (strcmp(classes[i]->name, name) == 0 && !world_is("missing", name)) return &classes[i]->head;
  }
  return NULL;
}

static void free_selectors(void) __attribute__((destructor));
static void free_selectors(void) {
  while (selectors) {
    selector *next = selectors->next;
    free(selectors);
    selectors = next;
  }
}

selector *sel_registerName(const char *name) {
  for (selector *s = selectors; s; s = s->next) {
    if (strcmp(s->name, name) == 0) return s;
  }
  selector *s = calloc(1, sizeof *s);
  snprintf(s->name, sizeof s->name, "%s", name);
  s->next = selectors;
  return selectors = s;
}

class *object_getClass(object *o) { return o ? o->isa : NULL; }

const method *class_getInstanceMethod(class *c, selector *s) {
  for (const method *m = c ? c->methods : NULL; m && m->selector; m++) {
    if (strcmp(m->selector, s->name) == 0 && !world_is("missing", s->name)) return m;
  }
  return NULL;
}

static void unrecognized(void) {
  fprintf(stderr, "stand-in: unrecognized selector\n");  // what macOS says before it ends the process
  abort();
}

void (*class_getMethodImplementation(class *c, selector *s))(void) {
  const method *m = class_getInstanceMethod(c, s);
  return m ? m->implementation : unrecognized;
}

object *objc_retain(object *o) { return object_retain(o); }
void objc_release(object *o) { object_release(o); }
