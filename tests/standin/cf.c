// CoreFoundation's containers. As in the original, the arrays and dictionaries retain what is put in.
#include <stdarg.h>

#include "standin.h"

enum { TYPE_STRING = 7, TYPE_DATA = 20, TYPE_NUMBER = 22, TYPE_ARRAY = 19, TYPE_DICTIONARY = 18, TYPE_ERROR = 27 };
enum { UTF8 = 0x08000100, INT64 = 4 };

static void destroy_string(object *o) { free(((string *)o)->text); }
static void destroy_array(object *o) {
  array *a = (array *)o;
  for (size_t i = 0; i < a->n; i++) object_release(a->items[i]);
  free(a->items);
}
static void destroy_dictionary(object *o) {
  dictionary *d = (dictionary *)o;
  for (size_t i = 0; i < d->n; i++) {
    object_release(d->keys[i]);
    object_release(d->values[i]);
  }
  free(d->keys);
  free(d->values);
}
static void destroy_error(object *o) {
  object_release(&((error *)o)->domain->head);
  object_release(&((error *)o)->text->head);
}

CLASS(class_string, "__NSCFString", NULL, NULL, destroy_string)
CLASS(class_number, "__NSCFNumber", NULL, NULL, NULL)
CLASS(class_data, "__NSCFData", NULL, NULL, NULL)
CLASS(class_array, "__NSCFArray", NULL, NULL, destroy_array)
CLASS(class_dictionary, "__NSCFDictionary", NULL, NULL, destroy_dictionary)
CLASS(class_error, "__NSCFError", NULL, NULL, destroy_error)

string *string_new(const char *text) {
  string *s = (string *)object_new(&class_string, sizeof *s);
  s->text = strdup(text);
  return s;
}

number *number_new(int64_t value) {
  number *n = (number *)object_new(&class_number, sizeof *n);
  n->value = value;
  return n;
}

array *array_new(void) { return (array *)object_new(&class_array, sizeof(array)); }

void array_add(array *a, object *item) {
  a->items = realloc(a->items, (a->n + 1) * sizeof *a->items);
  a->items[a->n++] = item;
}

dictionary *dictionary_new(void) { return (dictionary *)object_new(&class_dictionary, sizeof(dictionary)); }

static void put(dictionary *d, object *key, object *value) {
  d->keys = realloc(d->keys, (d->n + 1) * sizeof *d->keys);
  d->values = realloc(d->values, (d->n + 1) * sizeof *d->values);
  d->keys[d->n] = key;
  d->values[d->n++] = value;
}

void dictionary_put(dictionary *d, const char *key, object *value) { put(d, &string_new(key)->head, value); }

object *dictionary_get(const dictionary *d, const char *key) {
  for (size_t i = 0; d && i < d->n; i++) {
    if (object_is(d->keys[i], &class_string) && strcmp(((string *)d->keys[i])->text, key) == 0) return d->values[i];
  }
  return NULL;
}

error *error_new(const char *domain, long code, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  error *e = (error *)object_new(&class_error, sizeof *e);
  e->domain = string_new(domain);
  e->code = code;
  e->text = string_new(text);
  return e;
}

void fail(error **out, error *e) {
  object_autorelease(&e->head);
  if (out) *out = e;
}

// ---- what CoreFoundation exports ----

EXPORT const char kCFTypeArrayCallBacks[8] = "array", kCFTypeDictionaryKeyCallBacks[8] = "keys",
                  kCFTypeDictionaryValueCallBacks[8] = "values";
static object null_allocator;
EXPORT object *const kCFAllocatorNull = &null_allocator;

EXPORT void CFRelease(object *o);
EXPORT unsigned long CFGetTypeID(const object *o);
EXPORT unsigned long CFStringGetTypeID(void), CFNumberGetTypeID(void), CFArrayGetTypeID(void), CFDictionaryGetTypeID(void);
EXPORT string *CFStringCreateWithCString(object *allocator, const char *text, uint32_t encoding);
EXPORT unsigned char CFStringGetCString(const string *s, char *out, long size, uint32_t encoding);
EXPORT data *CFDataCreateWithBytesNoCopy(object *allocator, const void *bytes, long n, object *owner);
EXPORT number *CFNumberCreate(object *allocator, long type, const void *value);
EXPORT unsigned char CFNumberGetValue(const number *n, long type, void *out);
EXPORT array *CFArrayCreate(object *allocator, const void **values, long n, const void *callbacks);
EXPORT long CFArrayGetCount(const array *a);
EXPORT const void *CFArrayGetValueAtIndex(const array *a, long index);
EXPORT dictionary *CFDictionaryCreate(object *allocator, const void **keys, const void **values, long n, const void *key_callbacks,
                                      const void *value_callbacks);
EXPORT const void *CFDictionaryGetValue(const dictionary *d, const void *key);
EXPORT string *CFErrorGetDomain(const error *e);
EXPORT long CFErrorGetCode(const error *e);
EXPORT string *CFErrorCopyDescription(const error *e);

// What the original ends the process for.
static void insist(bool ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "stand-in: %s\n", what);
  abort();
}

void CFRelease(object *o) {
  insist(o != NULL, "CFRelease of NULL");
  object_release(o);
}

unsigned long CFGetTypeID(const object *o) {
  static const struct { const class *c; unsigned long id; } types[] = {
      {&class_string, TYPE_STRING}, {&class_data, TYPE_DATA},   {&class_number, TYPE_NUMBER},
      {&class_array, TYPE_ARRAY},   {&class_dictionary, TYPE_DICTIONARY}, {&class_error, TYPE_ERROR}};
  insist(o != NULL, "CFGetTypeID of NULL");
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (o->isa == types[i].c) return types[i].id;
  }
  return 1;
}

unsigned long CFStringGetTypeID(void) { return TYPE_STRING; }
unsigned long CFNumberGetTypeID(void) { return TYPE_NUMBER; }
unsigned long CFArrayGetTypeID(void) { return TYPE_ARRAY; }
unsigned long CFDictionaryGetTypeID(void) { return TYPE_DICTIONARY; }

string *CFStringCreateWithCString(object *allocator, const char *text, uint32_t encoding) {
  insist(encoding == UTF8, "an encoding that is not UTF-8");
  return string_new(text);
}

unsigned char CFStringGetCString(const string *s, char *out, long size, uint32_t encoding) {
  insist(object_is(&s->head, &class_string), "CFStringGetCString of what is no string");
  long n = (long)strlen(s->text);
  if (encoding != UTF8 || n >= size) return 0;
  memcpy(out, s->text, (size_t)n + 1);
  return 1;
}

data *CFDataCreateWithBytesNoCopy(object *allocator, const void *bytes, long n, object *owner) {
  insist(owner == kCFAllocatorNull, "data that would be freed by CoreFoundation");
  data *d = (data *)object_new(&class_data, sizeof *d);
  d->bytes = bytes;
  d->n = (size_t)n;
  return d;
}

number *CFNumberCreate(object *allocator, long type, const void *value) {
  insist(type == INT64, "a number that is not of 64 bits");
  return number_new(*(const int64_t *)value);
}

unsigned char CFNumberGetValue(const number *n, long type, void *out) {
  insist(object_is(&n->head, &class_number) && type == INT64, "CFNumberGetValue of what is no number");
  *(int64_t *)out = n->value;
  return 1;
}

array *CFArrayCreate(object *allocator, const void **values, long n, const void *callbacks) {
  insist(callbacks == kCFTypeArrayCallBacks, "an array that does not retain");
  array *a = array_new();
  for (long i = 0; i < n; i++) array_add(a, object_retain((object *)values[i]));
  return a;
}

long CFArrayGetCount(const array *a) { return (long)a->n; }

const void *CFArrayGetValueAtIndex(const array *a, long index) {
  insist(index >= 0 && (size_t)index < a->n, "an index beyond the array");
  return a->items[index];
}

dictionary *CFDictionaryCreate(object *allocator, const void **keys, const void **values, long n, const void *key_callbacks,
                               const void *value_callbacks) {
  insist(key_callbacks == kCFTypeDictionaryKeyCallBacks && value_callbacks == kCFTypeDictionaryValueCallBacks,
         "a dictionary that does not retain");
  dictionary *d = dictionary_new();
  for (long i = 0; i < n; i++) put(d, object_retain((object *)keys[i]), object_retain((object *)values[i]));
  return d;
}

const void *CFDictionaryGetValue(const dictionary *d, const void *key) {
  insist(object_is(&d->head, &class_dictionary) && object_is(key, &class_string), "CFDictionaryGetValue of something else");
  return dictionary_get(d, ((const string *)key)->text);
}

string *CFErrorGetDomain(const error *e) { return e->domain; }
long CFErrorGetCode(const error *e) { return e->code; }
string *CFErrorCopyDescription(const error *e) { return (string *)object_retain(&e->text->head); }
