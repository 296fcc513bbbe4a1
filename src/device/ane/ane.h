// The Neural Engine as a device: what its files share.
//
//   system.h      macOS, found by name                 workdir.h   directories that programs are compiled in
//   route_a.c     the in-memory model of the private    model.c    programs in the process: shared, evicted, counted
//   route_b.c     Espresso's e5rt functions             executable.c  ports, requests, runs
//   failure.c     what the system says, in our words    delta.c    weights patched in place, and whether that works
//
// A model is one program (all its functions) as the system holds it; executables are functions of models. Programs with
// the same text and weights are one model. A model is loaded when it is needed and may be unloaded when slots are short;
// what is compiled stays compiled.
#ifndef ORION_DEVICE_ANE_ANE_H
#define ORION_DEVICE_ANE_ANE_H

#include "base/file.h"
#include "device/ane/system.h"
#include "device/ane/workdir.h"
#include "device/device.h"
#include "target/target.h"

#define ORION_ANE_QOS 21          // any value does; everybody passes this one
#define ORION_ANE_MAX_PORTS 256   // inputs and outputs of one function
#define ORION_ANE_MAX_BLOBS 64    // weight files of one program
#define ORION_ANE_REQUESTS 8      // kept per executable: sets of surfaces that it was run with

typedef struct orion_ane_device orion_ane_device;
typedef struct orion_ane_model orion_ane_model;
typedef struct orion_ane_executable orion_ane_executable;

typedef struct orion_ane_surface {
  orion_surface base;             // memory: where the host sees it
  uint64_t serial;                // never given twice: requests are found by it
  orion_cf surface;               // route a: IOSurface
  orion_id object;                //          and the private framework's wrapper of it
  void *buffer;                   // route b
  size_t bytes;                   // as allocated
} orion_ane_surface;

// Where one input or output lies, as the loaded program says.
typedef struct orion_ane_port {
  int64_t symbol;                 // route a: index in the symbol table; -1: the compiler dropped this input
  size_t row_bytes;
} orion_ane_port;

typedef struct orion_ane_request {
  uint64_t serials[ORION_ANE_MAX_PORTS];  // of the surfaces; [0] == 0: none
  uint64_t generation;            // of the model when it was made
  uint64_t used;
  void *object;                   // the route's
} orion_ane_request;

typedef struct orion_ane_route {
  const char *name;               // "a", "b"
  const char *text;
  size_t row_align;               // of surfaces, where the program does not say
  const char *no_slot;            // in the error of a load: all slots are taken
  orion_status (*open)(orion_ane_device *d, orion_error *err);
  void (*close)(orion_ane_device *d);
  // The system's name for the program in `dir` (a staging directory), of ORION_ANE_ID_MAX characters. Makes m->object.
  orion_status (*identify)(orion_ane_device *d, orion_ane_model *m, const char *dir, char *out_id, orion_error *err);
  // The files are in m->dir. `load` fills m->attributes or the route's own.
  orion_status (*compile)(orion_ane_device *d, orion_ane_model *m, orion_error *err);
  orion_status (*load)(orion_ane_device *d, orion_ane_model *m, orion_error *err);
  void (*unload)(orion_ane_device *d, orion_ane_model *m);
  void (*forget)(orion_ane_device *d, orion_ane_model *m);  // releases m->object and all that is with it
  // Fills ports[i] for e->base.ios[i], and e->procedure. Rows come with what `row_align` makes of them.
  orion_status (*describe)(orion_ane_device *d, orion_ane_executable *e, const char *function, orion_error *err);
  void (*drop)(orion_ane_device *d, orion_ane_executable *e);  // what describe made; NULL: nothing
  orion_status (*make_surface)(orion_ane_device *d, orion_ane_surface *s, orion_error *err);
  void (*free_surface)(orion_ane_device *d, orion_ane_surface *s);
  orion_status (*make_request)(orion_ane_device *d, orion_ane_executable *e, orion_surface *const *surfaces, void **out,
                               orion_error *err);
  void (*free_request)(orion_ane_device *d, void *request);
  orion_status (*evaluate)(orion_ane_device *d, orion_ane_executable *e, void *request, orion_error *err);
} orion_ane_route;

extern const orion_ane_route orion_ane_route_a, orion_ane_route_b;

typedef struct orion_ane_limits {
  int compiles;                   // per process; the system itself stops somewhere above
  int loaded;                     // programs at once
} orion_ane_limits;

struct orion_ane_device {
  orion_device base;
  orion_ane_system system;
  const orion_ane_route *route;
  const orion_target *target;
  bool stand_in;                  // not Apple's framework
  char description[256];
  char chip[32];                  // as the system says it: "h16g"
  char build[32];                 // of the operating system: what is compiled holds for one build
  char temporary[ORION_ANE_PATH_MAX];
  int keep;                       // compiled programs that stay on disk for the next process
  size_t row_align;               // option rows=; 0: the route's
  orion_ane_limits limits;
  int compiles, loaded;
  uint64_t serial, clock;         // last given to a surface; of uses
  orion_ane_model *models;
  orion_ane_executable *executables;
  enum { ORION_ANE_DELTA_UNKNOWN, ORION_ANE_DELTA_WORKS, ORION_ANE_DELTA_STALE } delta;
  void *stream;                   // route b
  orion_exhausted_fn exhausted;
  void *exhausted_ctx;
};

struct orion_ane_model {
  orion_ane_model *next;
  size_t users;                   // executables
  char content[ORION_ANE_ID_MAX]; // hash of text and weights, ours
  char id[ORION_ANE_ID_MAX];      // the system's
  orion_ane_workdir dir;
  uint64_t generation;            // counts loads; 0: never
  uint64_t used;
  bool compiled, loaded;
  bool patched;                   // its weights are no longer those of `content`
  bool stale;                     // and have changed since it was loaded
  orion_program *program;         // its text, without weights; NULL until one is updated
  // route a
  orion_id object;                // retained
  orion_file_map files[ORION_ANE_MAX_BLOBS + 1];  // the text, the blobs: `object` refers to their bytes
  size_t n_files;
  // route b
  void *library;
};

struct orion_ane_executable {
  orion_executable base;
  orion_ane_executable *next;
  orion_ane_model *model;
  int64_t procedure;              // route a
  void *operation;                // route b: NULL when unloaded
  const void *bound;              // the request whose buffers its ports have
  void *port_handles[ORION_ANE_MAX_PORTS];
  orion_ane_port ports[ORION_ANE_MAX_PORTS];
  char *function;                 // in the arena
  orion_ane_request requests[ORION_ANE_REQUESTS];
};

// ---- model.c ----

// The model of a program: one that is here already, or a new one, compiled (or taken from an earlier process) and loaded.
orion_status orion_ane_model_obtain(orion_ane_device *d, const orion_program *p, orion_ane_model **out,
                                    orion_error *err);
void orion_ane_model_release(orion_ane_device *d, orion_ane_model *m);  // by one user
// Loads it if it is not, unloading others where slots are short.
orion_status orion_ane_model_ready(orion_ane_device *d, orion_ane_model *m, orion_error *err);

// What compiled programs on disk hold for: this route, chip and system.
void orion_ane_cache_key(const orion_ane_device *d, char *out, size_t size);

// ---- executable.c ----
orion_status orion_ane_compile(orion_device *device, orion_program *p, orion_function *f, orion_executable **out,
                               orion_error *err);
void orion_ane_release(orion_executable *base);
orion_status orion_ane_run(orion_executable *base, orion_surface *const *surfaces, orion_error *err);
void orion_ane_drop_requests(orion_ane_device *d, orion_ane_executable *e, uint64_t serial);  // 0: all

// ---- delta.c ----
orion_status orion_ane_update(orion_executable *base, const char *value, const void *bytes, size_t n, orion_error *err);

// ---- failure.c ----

typedef enum orion_ane_stage {
  ORION_ANE_DESCRIBE, ORION_ANE_COMPILE, ORION_ANE_LOAD, ORION_ANE_EVALUATE, ORION_ANE_STAGES
} orion_ane_stage;

// Turns the system's error object (may be NULL; consumed, not released: it is autoreleased) or status into ours: what was
// being done, domain, code, the system's words, and the rule that most likely lies behind. *out_status (may be NULL) gets
// the number in "status=0x1d" or of the code, 0 if there is none.
orion_status orion_ane_fail(const orion_ane_system *s, orion_ane_stage stage, const char *what, orion_cf error,
                            int64_t *out_status, orion_error *err);
orion_status orion_ane_fail_status(orion_ane_stage stage, const char *what, int64_t status, const char *text,
                                   orion_error *err);

#endif
