// A plan: what the cpu device makes of a program. A list of steps over views of buffers, ready to run.
//
//   buffer  memory with a lifetime: a place in the arena, an input or output surface, or constants
//   view    a tensor in a buffer: element type *in memory*, dimensions, strides in elements (0 repeats, negative goes
//           backwards). Reshapes, slices, transposes and widening casts are views and cost nothing; the type in memory
//           may therefore be narrower than the MIL type of the value
//   step    one function call over views, with parameters of its own
//
// Steps whose inputs are all constant run once, when the plan is made ("constant steps"); the others in every run.
// A step never allocates: what it needs beyond its views is planned as buffers (seen by all workers) or taken from the
// worker's scratch. Work is cut into pieces that depend on shapes only, so results do not depend on the thread count.
#ifndef ORION_DEVICE_CPU_PLAN_H
#define ORION_DEVICE_CPU_PLAN_H

#include "base/thread.h"
#include "device/cpu/kernels/kernels.h"
#include "ir/ir.h"
#include "orion/device.h"

#define ORION_CPU_NO_BUFFER UINT32_MAX
#define ORION_CPU_TILE 512      // elements of one fp32 tile of an elementwise chain (2 KiB)
#define ORION_CPU_SERIAL 16384  // element operations below which waking the pool costs more than it gives

typedef struct orion_cpu_view {
  uint32_t buffer;
  orion_dtype dtype;  // of the elements in memory
  int rank;
  int64_t dims[ORION_MAX_RANK];
  int64_t strides[ORION_MAX_RANK];
  int64_t offset;  // of element (0, ..., 0)
} orion_cpu_view;

typedef enum orion_cpu_space {
  ORION_CPU_ARENA,     // planned by lifetime
  ORION_CPU_KEPT,      // made by constant steps, lives as long as the plan
  ORION_CPU_SURFACE,   // bound by the caller
  ORION_CPU_CONSTANT,  // a weight of the device's cache
} orion_cpu_space;

typedef struct orion_cpu_buffer {
  orion_cpu_space space;
  size_t bytes;
  size_t offset;         // ARENA, KEPT
  size_t io;             // SURFACE: index among the executable's ios
  uint32_t weight;       // CONSTANT: index among the plan's weights
  bool constant;         // contents are the same in every run
  bool written;          // by a step added so far
  bool read;             // by a step that cannot be told that it is zeros
  uint32_t first, last;  // steps that touch it; first > last: none
} orion_cpu_buffer;

typedef enum orion_cpu_kind {  // families, for the profile
  ORION_CPU_MAP,
  ORION_CPU_LINEAR,
  ORION_CPU_CONV,
  ORION_CPU_MATMUL,
  ORION_CPU_ATTENTION,
  ORION_CPU_ROWS,
  ORION_CPU_REDUCE,
  ORION_CPU_COPY,
  ORION_CPU_GATHER,
  ORION_CPU_GENERIC,
  ORION_CPU_KINDS
} orion_cpu_kind;

// What a step sees while it runs.
typedef struct orion_cpu_exec {
  const orion_kernels *k;
  orion_pool *pool;
  void *const *base;  // memory of each buffer
  const bool *zero;   // by buffer: an input that this run takes as zeros, whatever it holds
  uint8_t *scratch;   // threads * scratch_stride bytes
  size_t scratch_stride;
} orion_cpu_exec;

typedef struct orion_cpu_step orion_cpu_step;
typedef orion_status (*orion_cpu_step_fn)(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err);

struct orion_cpu_step {
  orion_cpu_step_fn run;
  orion_cpu_kind kind;
  bool constant;     // a constant step
  orion_op_id op;    // where it comes from
  const char *name;  // spelling of that op
  uint32_t start;    // input that is a sum so far, and need not be read where it is zeros; 0: none
  uint32_t n_in, n_out, n_tmp;
  const orion_cpu_view *in, *out;  // out: all that it writes
  const uint32_t *tmp;             // buffers that live during this step only
  const void *data;                // parameters, of the family's own type
  size_t scratch;                  // bytes for each worker
};

// A constant as the plan wants it: packed once for the device, shared between its plans (weights.h).
typedef enum orion_cpu_format { ORION_CPU_PLAIN, ORION_CPU_PANELS, ORION_CPU_QUANTISED } orion_cpu_format;

typedef struct orion_cpu_weight_key {
  const orion_data *data;
  orion_cpu_format format;
  orion_dtype dtype;  // of the elements stored: fp16 or fp32 for panels, int8 or int4 for quantised ones
  bool transposed;    // panels of the transposed matrix
  size_t rows, cols;  // panels: N, K; the data seen as [rows, cols], or [cols, rows] when transposed
  size_t first;       // panels of one group: first row of the data
  const orion_data *scales;  // quantised: fp16 [rows, cols / block]
  size_t block;              // quantised: columns that share a scale
} orion_cpu_weight_key;

static inline bool orion_cpu_weight_key_equal(const orion_cpu_weight_key *a, const orion_cpu_weight_key *b) {
  return a->data == b->data && a->format == b->format && a->dtype == b->dtype && a->transposed == b->transposed &&
         a->rows == b->rows && a->cols == b->cols && a->first == b->first && a->scales == b->scales &&
         a->block == b->block;
}

typedef struct orion_cpu_plan {
  orion_arena arena;  // everything below
  orion_cpu_buffer *buffers;
  size_t n_buffers, cap_buffers;
  orion_cpu_step *steps;
  size_t n_steps, cap_steps;
  orion_cpu_weight_key *keys;
  struct orion_cpu_weight **weights;  // NULL until the plan is bound to memory
  size_t n_weights, cap_weights;
  size_t n_weights_held;
  const orion_allocator *allocator;
  void **base;
  bool *zero;
  uint8_t *memory, *kept, *scratch;
  size_t memory_bytes, kept_bytes, scratch_bytes, scratch_stride, weight_bytes;
  uint32_t *surfaces;  // buffer of each io
  size_t n_surfaces;
  double *seconds;  // per step, when profiling
} orion_cpu_plan;

// ---- helpers of steps ----

// Panels as they lie in memory: quantised ones (block > 0) are followed by their scales.
static inline orion_panels orion_cpu_panels_at(const void *memory, orion_kernel_type type, size_t rows, size_t cols,
                                               size_t block) {
  orion_panels w = {memory, type, rows, cols, NULL, block};
  if (block) {
    size_t bytes = orion_panel_count(rows) * orion_quantised_panel_bytes(type, cols, block);
    w.scale = (const orion_half *)((const uint8_t *)memory + bytes);
  }
  return w;
}

static inline bool orion_cpu_contiguous(const orion_cpu_view *v) {
  int64_t want = 1;
  for (int i = v->rank - 1; i >= 0; i--) {
    if (v->dims[i] != 1 && v->strides[i] != want) return false;
    want *= v->dims[i];
  }
  return true;
}

static inline size_t orion_cpu_elements(const orion_cpu_view *v) {
  size_t n = 1;
  for (int i = 0; i < v->rank; i++) n *= (size_t)v->dims[i];
  return n;
}

// Start of the view's first element; views of sub-byte types start at their buffer.
static inline void *orion_cpu_at(const orion_cpu_exec *x, const orion_cpu_view *v) {
  return (uint8_t *)x->base[v->buffer] + v->offset * (int64_t)(orion_dtype_bits(v->dtype) / 8);
}

static inline void *orion_cpu_scratch(const orion_cpu_exec *x, int worker) {
  return x->scratch + (size_t)worker * x->scratch_stride;
}

// Pieces of `grain` out of n; `work` is the whole in element operations.
static inline void orion_cpu_for(const orion_cpu_exec *x, size_t n, size_t grain, size_t work, orion_range_fn fn,
                                 void *ctx) {
  orion_parallel_for(work < ORION_CPU_SERIAL ? NULL : x->pool, n, grain, fn, ctx);
}

// n elements from memory of any type, `stride` apart, into floats and back (convert.c). Integers above 2^24 round.
void orion_cpu_load(const orion_kernels *k, float *dst, orion_dtype dtype, const void *base, int64_t offset,
                    int64_t stride, size_t n);
void orion_cpu_store(const orion_kernels *k, orion_dtype dtype, void *base, int64_t offset, int64_t stride,
                     const float *src, size_t n);

// Offset that row `row` of the dims before axis `rank` has in a view.
static inline int64_t orion_cpu_row_offset(int rank, const int64_t *dims, const int64_t *strides, size_t row) {
  if (rank == 1) return (int64_t)row * strides[0];
  int64_t at = 0;
  for (int i = rank - 1; i >= 0; i--) {
    at += (int64_t)(row % (size_t)dims[i]) * strides[i];
    row /= (size_t)dims[i];
  }
  return at;
}

// Keys that a row of an attention mask lets be seen: one more than the last that is not hidden (-10000, or less). NaN is not.
static inline size_t orion_cpu_visible(const float *row, size_t n) {
  while (n > 0 && row[n - 1] <= -9999.0f) n--;
  return n;
}

// Gives every buffer its place by lifetime; sets memory_bytes and kept_bytes (memory.c).
orion_status orion_cpu_plan_memory(orion_cpu_plan *p, const orion_allocator *scratch, orion_error *err);

#endif
