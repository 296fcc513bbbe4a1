// What a device implements: one table of functions. The public calls (include/orion/device.h) check arguments and keep
// the bookkeeping that all devices share (names, layouts, bindings, times), so that a device only does its own work.
#ifndef ORION_DEVICE_DEVICE_H
#define ORION_DEVICE_DEVICE_H

#include "base/thread.h"
#include "ir/infer.h"
#include "ir/ir.h"
#include "orion/device.h"

typedef struct orion_device_options {  // from "name:family,key=value,..."
  const char *family;                  // text before the first comma if it has no '=', else NULL
  size_t n;
  const char *keys[16], *values[16];
} orion_device_options;

struct orion_raw_vtable;

typedef struct orion_device_vtable {
  const char *name;
  // Sets *out to a device whose first member is struct orion_device. Unknown options are ORION_INVALID.
  orion_status (*open)(const orion_allocator *a, const orion_device_options *options, int threads, orion_device **out,
                       orion_error *err);
  void (*close)(orion_device *d);
  void (*describe)(const orion_device *d, orion_device_info *out);
  orion_status (*supports)(orion_device *d, orion_program *p, orion_findings *out, orion_error *err);
  // Makes an executable whose first member is struct orion_executable, with ios filled (orion_executable_init).
  orion_status (*compile)(orion_device *d, orion_program *p, orion_function *f, orion_executable **out,
                          orion_error *err);
  void (*release)(orion_executable *e);  // frees all, calling orion_executable_deinit
  orion_status (*run)(orion_executable *e, orion_surface *const *surfaces, orion_error *err);  // in order of ios
  orion_status (*update)(orion_executable *e, const char *value, const void *bytes, size_t n, orion_error *err);
  orion_status (*count)(orion_device *d, bool on, orion_error *err);  // orion_device_count; NULL: it cannot
  const orion_tally *(*tallies)(const orion_device *d, size_t *out_n);
  // A surface whose layout is not the io's: ORION_OK takes it all the same. NULL: refused as an invalid argument.
  orion_status (*bind_other)(orion_executable *e, const orion_io *io, const orion_layout *given, orion_error *err);
  bool sums_in_place;  // an output may be made where the input lies that it is a sum with (orion_bind)
  // As run, with the marked inputs all zeros whatever their surfaces hold; they are outputs too. NULL: zeros are written first.
  orion_status (*run_anew)(orion_executable *e, orion_surface *const *surfaces, const bool *zeros, orion_error *err);
  const struct orion_raw_vtable *raw;  // device/raw.h, for probes; NULL: none
  // Devices with budgets of their own. Both or neither.
  void (*usage)(const orion_device *d, orion_device_usage *out);
  void (*on_exhausted)(orion_device *d, orion_exhausted_fn fn, void *ctx);
  // Devices whose surfaces are not host memory: all four, or none. Created zeroed, with a struct whose first member is
  // struct orion_surface; the layout is checked already.
  orion_status (*surface_create)(orion_device *d, const orion_layout *layout, orion_surface **out, orion_error *err);
  void (*surface_destroy)(orion_surface *s);
  void *(*surface_lock)(orion_surface *s);
  void (*surface_unlock)(orion_surface *s);
} orion_device_vtable;

struct orion_device {
  const orion_device_vtable *vtable;
  const orion_allocator *allocator;
};

struct orion_executable {
  orion_device *device;
  orion_data_store *data;    // retained
  orion_arena arena;         // io names
  orion_io *ios;
  size_t n_ios, n_inputs;
  size_t *sum_of;            // of an output: 1 + the input that it may be made in; 0: none
  orion_run_times times;
};

struct orion_surface {
  orion_device *device;
  orion_layout layout;
  void *memory;              // 64-byte aligned
};

// Fills the shared part: device, retained store, ios from the function's parameters and outputs with rows padded to a
// multiple of `row_align` bytes (1: packed). Output names are the names of the returned values.
orion_status orion_executable_init(orion_executable *e, orion_device *d, const orion_function *f, size_t row_align,
                                   orion_error *err);
void orion_executable_deinit(orion_executable *e);

// As orion_run, where each sum that is made in the place of its input begins anew, as if the surface held zeros.
orion_status orion_run_anew(orion_bindings *b, orion_error *err);

extern const orion_device_vtable orion_device_null, orion_device_record, orion_device_cpu, orion_device_sim, orion_device_ane,
    orion_device_auto;

#endif
