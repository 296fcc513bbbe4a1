// A stand-in for the parts of macOS that the bridge to the Neural Engine calls: one shared library with the same C entry
// points, classes, selectors, directory contents, order rules, status codes and budgets as are documented, which runs
// programs by the sim. It proves that the bridge does what the documents say; what the documents are wrong about, it
// cannot know. Where public sources contradict each other a switch chooses the world (see worlds.c).
//
//   object.c     the Objective-C runtime's C functions: classes, selectors, methods, retain counts, autorelease pools
//   cf.c         CoreFoundation's strings, numbers, data, arrays, dictionaries, errors
//   iosurface.c  IOSurface, the temporary directory, sysctl
//   engine.c     programs: compiled in directories, loaded into slots, run by the sim
//   source.c     a program's directory, read
//   classes.c    _ANEInMemoryModel and its like
//   e5rt.c       Espresso's C functions
#ifndef TESTS_STANDIN_STANDIN_H
#define TESTS_STANDIN_STANDIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "orion/device.h"
#include "orion/program.h"

#define EXPORT __attribute__((visibility("default")))
#define PATH 1024

// ---- objects ----

typedef struct object object;
typedef struct class class;

typedef struct selector {
  char name[120];
  struct selector *next;
} selector;

typedef struct method {
  const char *selector;
  void (*implementation)(void);
} method;

struct object {
  class *isa;
  long refs;   // 0: lives for ever (classes, constants)
};

struct class {
  object head;
  const char *name;
  const method *methods;      // ended by {NULL}
  void (*destroy)(object *);  // of what an object holds, not the object itself
};

// A class with methods of its objects, and its metaclass with those of the class itself.
#define CLASS(variable, text, class_methods, object_methods, destroy)                   \
  static class variable##_meta = {{NULL, 0}, text, class_methods, NULL};                \
  class variable = {{&variable##_meta, 0}, text, object_methods, destroy};

object *object_new(class *isa, size_t size);   // one reference, the rest zero
object *object_retain(object *o);              // NULL is ignored
void object_release(object *o);
object *object_autorelease(object *o);
static inline bool object_is(const object *o, const class *isa) { return o && o->isa == isa; }

// ---- CoreFoundation ----

typedef struct string { object head; char *text; } string;
typedef struct number { object head; int64_t value; } number;
typedef struct data { object head; const void *bytes; size_t n; } data;
typedef struct array { object head; object **items; size_t n; } array;
typedef struct dictionary { object head; object **keys, **values; size_t n; } dictionary;
typedef struct error { object head; string *domain; long code; string *text; } error;

extern class class_string, class_number, class_data, class_array, class_dictionary, class_error, class_surface;

string *string_new(const char *text);
number *number_new(int64_t value);
array *array_new(void);
void array_add(array *a, object *item);                       // takes the reference over
dictionary *dictionary_new(void);
void dictionary_put(dictionary *d, const char *key, object *value);  // takes the reference over
object *dictionary_get(const dictionary *d, const char *key);
error *error_new(const char *domain, long code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void fail(error **out, error *e);                             // stores it autoreleased, as methods do

typedef struct surface { object head; char *memory; size_t bytes; int locks; } surface;

// ---- worlds ----

const char *world(const char *key);
bool world_is(const char *key, const char *value);
long world_number(const char *key);
bool rule_off(const char *id);  // is it among those switched off?

typedef enum counter {
  COUNT_OBJECTS, COUNT_COMPILES, COUNT_LOADS, COUNT_LOADED, COUNT_EVALUATIONS, COUNT_REQUESTS, COUNT_UNPOOLED, COUNT_LOCKED,
  COUNT_LEAKED,  // slots of programs that were dropped without being unloaded
  COUNTERS
} counter;
extern long counts[COUNTERS];

// For tests, by dlsym.
EXPORT void standin_reset(void);                               // switches and budgets as in a fresh process
EXPORT void standin_set(const char *key, const char *value);
EXPORT long standin_count(const char *name);  // "objects", "compiles", "loads", "loaded", "evaluations", "requests", ...
typedef void (*standin_reset_fn)(void);
typedef void (*standin_set_fn)(const char *key, const char *value);
typedef long (*standin_count_fn)(const char *name);

// ---- the engine ----

typedef struct port {
  char name[128];          // of the MIL value
  const orion_io *io;      // of the sim's executable
  size_t row_bytes;        // as the engine has it
  size_t bytes;
} port;

typedef struct procedure {
  char name[128];
  orion_executable *executable;
  orion_bindings *bindings;
  orion_surface **surfaces;  // of the sim, in the order of its ios
  port *inputs, *outputs;  // in the order of symbols
  size_t n_inputs, n_outputs;
  size_t first_input, first_output;  // index of their first symbol in the program's tables
} procedure;

typedef struct program {
  orion_program *mil;
  procedure *procedures;
  size_t n;
} program;

// Compiles what is in `dir` (model.mil, weights/): leaves net.plist and data. `id`: under which the daemon keeps its copy.
bool engine_compile(const char *dir, const char *id, error **out);
// Loads what was compiled; NULL with *out if not. Takes a slot.
program *engine_load(const char *dir, const char *id, size_t row_align, error **out);
// The same without a compile before it, from the text itself (e5rt); NULL: no slot, refused, or no program.
program *engine_open(const char *dir, size_t row_align, bool *out_slots, bool *out_refused);
void engine_unload(program *p);
void engine_drop(program *p);  // its object is gone and nobody unloaded it
// Status of one evaluation; surfaces in the order of the procedure's ports.
int engine_run(program *p, size_t procedure, char *const *inputs, const size_t *input_bytes, char *const *outputs,
               const size_t *output_bytes);
void engine_text_id(const void *text, size_t n, const dictionary *weights, char *out, size_t size);
const char *temporary_directory(void);  // without a slash at the end

#endif
