// The cpu device and its executables, as its own files and benchmarks see them.
#ifndef ORION_DEVICE_CPU_CPU_H
#define ORION_DEVICE_CPU_CPU_H

#include "device/cpu/build.h"
#include "device/cpu/weights.h"
#include "device/device.h"

typedef struct orion_cpu_device {
  orion_device base;
  orion_kernels k;
  orion_pool *pool;
  orion_cpu_weights weights;
  const char *level;
  orion_cpu_choices choices;
  bool profile, cache;
  double seconds[ORION_CPU_KINDS];  // of all plans' runs, by kind of step, when profiling
} orion_cpu_device;

// A constant that was updated: bytes of our own in the place of the program's.
typedef struct orion_cpu_override {
  struct orion_cpu_override *next;
  orion_op_id op;  // the const, in the executable's copy of the program
  orion_data data;
  size_t bytes;
} orion_cpu_override;

typedef struct orion_cpu_executable {
  orion_executable base;
  orion_program *program;  // a copy (constants shared): updates replace constants in it
  const orion_function *f;
  orion_cpu_plan plan;
  orion_cpu_override *overrides;
} orion_cpu_executable;

// Packed weights are kept on disk from now on (weight_cache.h), as with the option cache=on. Other devices are left alone.
orion_status orion_cpu_keep_weights(orion_device *device, orion_error *err);
// "exact" or "fast", as the option precision=; for programs compiled from now on. Other devices know exact only.
orion_status orion_cpu_set_precision(orion_device *device, const char *precision, orion_error *err);

// Memory, weights and constant steps of a built plan (exec.c).
orion_status orion_cpu_plan_bind(orion_cpu_device *d, orion_cpu_plan *p, orion_error *err);
void orion_cpu_plan_unbind(orion_cpu_device *d, orion_cpu_plan *p);
orion_status orion_cpu_plan_constants(orion_cpu_device *d, orion_cpu_plan *p, orion_error *err);
orion_status orion_cpu_plan_run(orion_cpu_device *d, orion_cpu_plan *p, orion_surface *const *surfaces, const bool *zeros,
                                orion_error *err);  // zeros: by surface, inputs to be taken as such; NULL: none

// Seconds and calls by kind of step since the plan was made; all 0 unless the device was opened with profile=on.
typedef struct orion_cpu_profile {
  const char *name;
  size_t steps;  // of this kind in the plan
  double seconds;
} orion_cpu_profile;
void orion_cpu_profile_read(const orion_executable *e, orion_cpu_profile out[ORION_CPU_KINDS]);
// Seconds of all its executables, by kind, since the device was opened. False: it is no cpu device that takes times.
bool orion_cpu_profile_device(const orion_device *device, double out_seconds[ORION_CPU_KINDS]);
const char *orion_cpu_kind_name(orion_cpu_kind kind);

#endif
