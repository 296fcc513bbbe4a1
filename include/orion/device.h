/// The device contract: a device takes a MIL program with its constants, and nothing else.
///
/// open -> supports? -> compile (packs weights) -> surfaces -> bind by name -> run, run, run -> release -> close.
/// A step loop only binds and runs; neither allocates. One thread at a time per device unless stated otherwise.
///
/// Devices open by name and options: "cpu", "cpu:isa=avx2,threads=2", "sim:m4", "ane", "ane:route=b", "null"; "auto".
#ifndef ORION_DEVICE_H
#define ORION_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orion/alloc.h"
#include "orion/program.h"
#include "orion/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ORION_DEVICE_API 1     ///< version of the contract below
#define ORION_SURFACE_RANK 8   ///< dimensions of a surface at most

typedef struct orion_device orion_device;
typedef struct orion_executable orion_executable;
typedef struct orion_surface orion_surface;
typedef struct orion_bindings orion_bindings;

typedef struct orion_device_info {
  const char *name;        ///< "cpu", "sim", "null"
  const char *family;      ///< instruction set level of cpu ("avx2"), chip family of sim and ane ("m4", "ideal")
  const char *numerics;    ///< one line: in what arithmetic results are computed
  const char *description; ///< one line for people
  int threads;             ///< host threads it uses
  /// What of a chip family's arithmetic is not known and stands in by the nearest known; NULL-terminated, NULL: nothing.
  const char *const *unknown;
} orion_device_info;

/// Shape and memory layout of one input or output. Row-major; rows (runs along the last axis) start every `row_bytes`.
typedef struct orion_layout {
  int dtype;                          ///< orion_dtype: fp16, fp32, int32, ...
  int rank;
  int64_t dims[ORION_SURFACE_RANK];
  size_t row_bytes;                   ///< >= dims[rank-1] * element size; equal when packed
  size_t bytes;                       ///< of the whole surface
} orion_layout;

typedef enum orion_direction { ORION_INPUT, ORION_OUTPUT } orion_direction;

/// One named input or output of a compiled function. Strings live as long as the executable.
typedef struct orion_io {
  const char *name;
  orion_direction direction;
  orion_layout layout;
} orion_io;

typedef struct orion_compile_options {
  const char *function;    ///< NULL: "main", or the only one
} orion_compile_options;

typedef struct orion_run_times {   ///< since the executable was made
  uint64_t runs;
  double run_seconds;              ///< total
  double compile_seconds;
  size_t weight_bytes;             ///< packed constants that one run reads
  size_t memory_bytes;             ///< all memory of the executable, shared weights included
} orion_run_times;

/// ---- devices ----

/// `spec` as above; NULL or "auto" picks the best present. `threads` 0: one per processor. The caller closes.
ORION_API orion_status orion_device_open(const char *spec, int threads, const orion_allocator *a, orion_device **out,
                                         orion_error *err);
ORION_API void orion_device_close(orion_device *device);  ///< NULL ignored; executables and surfaces are gone before
ORION_API void orion_device_describe(const orion_device *device, orion_device_info *out);
/// Names of all device kinds of this build, NULL-terminated static array.
ORION_API const char *const *orion_device_names(void);

/// Why the device would not run the program: every reason, with rule, place and way out. Empty findings: it will.
ORION_API orion_status orion_device_supports(orion_device *device, orion_program *program, orion_findings *out,
                                             orion_error *err);

/// What only a new process gets back: some systems compile so many programs in a process and no more, and hold so many at
/// once. A limit of 0: none. Loaded programs make room for each other by themselves.
typedef struct orion_device_usage {
  int compiles, max_compiles;
  int loaded, max_loaded;
} orion_device_usage;
ORION_API void orion_device_usage_get(const orion_device *device, orion_device_usage *out);
/// Called when a program must be compiled and the limit is reached: the moment to save everything and start this process
/// anew (exec), where programs that were compiled before are taken from disk. If it returns, compiling fails with
/// ORION_LIMIT. NULL: nothing is called.
typedef void (*orion_exhausted_fn)(void *ctx);
ORION_API void orion_device_on_exhausted(orion_device *device, orion_exhausted_fn fn, void *ctx);

/// ---- programs ---- The program's constants must stay alive (the executable retains its data store).
ORION_API orion_status orion_device_compile(orion_device *device, orion_program *program,
                                            const orion_compile_options *options, orion_executable **out,
                                            orion_error *err);
ORION_API void orion_executable_release(orion_executable *e);
ORION_API const orion_io *orion_executable_ios(const orion_executable *e, size_t *out_n);  ///< inputs first
ORION_API const orion_io *orion_executable_io(const orion_executable *e, const char *name);  ///< NULL if absent
ORION_API void orion_executable_times(const orion_executable *e, orion_run_times *out);

/// Puts new values into a constant (by the name of its MIL value) without compiling; takes effect with the next run.
/// `bytes`: all elements in the constant's dtype, row-major. ORION_UNSUPPORTED where the device cannot.
ORION_API orion_status orion_executable_update(orion_executable *e, const char *value, const void *bytes, size_t n,
                                               orion_error *err);

/// ---- what happens to numbers ---- by kind of operation and layer, over all runs of programs compiled while counting.
typedef struct orion_tally {
  const char *op;          ///< "conv"
  const char *layer;       ///< "l3" where the names of the program's values say it, else ""
  uint64_t runs, results;  ///< of the operation; numbers that it made
  uint64_t infinite;       ///< of them: sums that reached the accumulator's limit, fp16 overflow, infinity passed on
  uint64_t products, dropped;  ///< multiplied pairs; of them: not zero, and too small to be added
  uint64_t vanished;       ///< results that underflowed to zero
  uint64_t out_of_range;   ///< arguments beyond the ends of an activation's table
  double max_error;        ///< of a table, against the exact function
} orion_tally;
/// Counts from now on, or stops. ORION_UNSUPPORTED where the device cannot.
ORION_API orion_status orion_device_count(orion_device *device, bool on, orion_error *err);
ORION_API const orion_tally *orion_device_tallies(const orion_device *device, size_t *out_n);  ///< until the next compile

/// ---- surfaces ---- memory shared with the device. Zeroed when made.
ORION_API orion_status orion_surface_create(orion_device *device, const orion_layout *layout, orion_surface **out,
                                            orion_error *err);
ORION_API void orion_surface_destroy(orion_surface *s);
ORION_API const orion_layout *orion_surface_layout(const orion_surface *s);
/// Host access: between lock and unlock the pointer is valid and the device is not using the surface.
ORION_API void *orion_surface_lock(orion_surface *s);
ORION_API void orion_surface_unlock(orion_surface *s);

/// ---- running ---- A bindings object holds one surface per name; several may exist per executable.
ORION_API orion_status orion_bindings_create(orion_executable *e, orion_bindings **out, orion_error *err);
ORION_API void orion_bindings_destroy(orion_bindings *b);
/// The surface's layout must equal the io's. One surface may be bound in many places; an output must not be bound to a
/// surface that is also an input of the same run. Sums are excepted on `cpu` and `sim`: where an output is add(x, INPUT), or
/// that with rows scattered into it, and INPUT is used nowhere else, both may be one surface, and the sum is made there.
ORION_API orion_status orion_bind(orion_bindings *b, const char *name, orion_surface *s, orion_error *err);
ORION_API orion_status orion_run(orion_bindings *b, orion_error *err);  ///< blocking; all names must be bound

#ifdef __cplusplus
}
#endif
#endif
