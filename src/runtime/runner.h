// Running a plan: each part compiled for a device, one surface for each logical value, everything bound once. After that
// a step writes inputs, runs, and reads outputs; nothing is allocated.
#ifndef ORION_RUNTIME_RUNNER_H
#define ORION_RUNTIME_RUNNER_H

#include "lower/lower.h"
#include "orion/device.h"

// A logical [T, C] value (or columns first_col.. of it) in a surface. Rows are positions, whatever the arrangement.
typedef struct orion_tensor {
  const char *logical;
  orion_arrangement arrangement;
  int64_t rows, cols, heads, first_col;
  orion_surface *surface;
  orion_layout layout;
  bool owned;                      // by this runner; else shared with the one it was created beside
} orion_tensor;

typedef struct orion_runner orion_runner;

// Takes the plan over, also on failure. Tensors that `beside` (may be NULL, must live longer) has under the same logical
// name and with the same layout are shared with it.
orion_status orion_runner_create(orion_device *device, orion_plan *plan, orion_runner *beside, orion_runner **out,
                                 orion_error *err);
// The same with surfaces of the caller's for some logical values, used wherever the layout is the same (a surface of
// another layout is left aside). They must live longer than the runner.
typedef struct orion_given_surface {
  const char *logical;
  orion_surface *surface;
} orion_given_surface;
orion_status orion_runner_create_with(orion_device *device, orion_plan *plan, orion_runner *beside, size_t n_given,
                                      const orion_given_surface *given, orion_runner **out, orion_error *err);
// A second set of tensors over the compiled programs of `like`, which must live longer: one program for many layers.
orion_status orion_runner_create_like(orion_runner *like, orion_runner *beside, size_t n_given,
                                      const orion_given_surface *given, orion_runner **out, orion_error *err);
void orion_runner_destroy(orion_runner *r);  // NULL is ignored
orion_status orion_runner_run(orion_runner *r, orion_error *err);
orion_status orion_runner_run_anew(orion_runner *r, orion_error *err);  // by orion_run_anew (device/device.h)
// Puts new values into a constant of every part that has it (orion_executable_update). NOT_FOUND if none has.
orion_status orion_runner_update(orion_runner *r, const char *value, const void *bytes, size_t n, orion_error *err);
size_t orion_runner_parts(const orion_runner *r);  // program runs that one call of orion_runner_run costs
size_t orion_runner_weight_bytes(const orion_runner *r);
size_t orion_runner_memory(const orion_runner *r);  // of its compiled programs, all they hold beside surfaces
const orion_plan *orion_runner_plan(const orion_runner *r);

// The first tensor of that name, or NULL; the next one of the same name (a value in column pieces), or NULL.
orion_tensor *orion_runner_tensor(const orion_runner *r, const char *logical);
orion_tensor *orion_runner_next(const orion_runner *r, const orion_tensor *t);

// Host access to rows of fp16 or fp32, converted from or to fp32 (int32: lock the surface). `n_cols`
// values from column `first_col` on are what the tensor holds.
void orion_tensor_put(orion_tensor *t, int64_t row, const float *values);
void orion_tensor_get(orion_tensor *t, int64_t row, float *out_values);
void orion_tensor_fill(orion_tensor *t, int64_t row, int64_t col, int64_t n_cols, float value);
// Rows of one tensor into rows of another of the same logical width, whatever the two arrangements.
void orion_tensor_copy(const orion_tensor *from, int64_t from_row, int64_t n_rows, orion_tensor *to, int64_t to_row);
// First value of the rows that is NaN or infinite: its row and column. False if all are finite.
bool orion_tensor_find_nonfinite(orion_tensor *t, int64_t n_rows, int64_t *out_row, int64_t *out_col);

#endif
