// Measurements: what a piece of work takes, how far the samples spread, and what the machine could do at best in the
// same minute. Everything that is measured becomes a figure of a report; the command line only prints it.
//
// On a shared machine a neighbour's work is in every sample, so a figure is a median with its quartiles, and the
// ceilings are measured in between the samples by the same number of threads. A ceiling is the best of its samples: a
// machine cannot do better than it can, only worse.
#ifndef ORION_BENCH_BENCH_H
#define ORION_BENCH_BENCH_H

#include "base/thread.h"
#include "device/cpu/kernels/kernels.h"
#include "orion/device.h"

// ---- figures ----

typedef struct orion_bench_stat {
  double median, low, high;  // quartiles
  double best;
  size_t samples;
} orion_bench_stat;

typedef struct orion_bench_figure {
  char name[64], unit[12];
  orion_bench_stat stat;
  bool more_is_better;
  const char *ceiling;       // name of the figure that bounds this one, static; NULL: none
  double fraction;           // of that figure's best that the median reaches,
  double best_fraction;      // and that the best sample reaches
} orion_bench_figure;

typedef struct orion_bench_report {
  const orion_allocator *allocator;
  orion_bench_figure *figures;
  size_t n, cap;
  char device[96];           // what was measured on, "cpu:avx2"
  int threads;
} orion_bench_report;

void orion_bench_report_init(orion_bench_report *r, const orion_allocator *a);
void orion_bench_report_deinit(orion_bench_report *r);

// Appends a figure made of samples, which are put in order. "ms" and "us" are better small, all other units large;
// fixed quantities ("MB") are a single sample.
orion_status orion_bench_add(orion_bench_report *r, const char *name, const char *unit, double *samples, size_t n,
                             orion_error *err);
orion_status orion_bench_add_value(orion_bench_report *r, const char *name, const char *unit, double value,
                                   orion_error *err);
// Sets the fractions of the figure added last, of `best`, the ceiling's.
void orion_bench_set_ceiling(orion_bench_report *r, const char *ceiling, double best);
// Smallest value that a share of the sorted samples does not exceed, between neighbours by proportion.
double orion_bench_quantile(const double *sorted, size_t n, double share);

// ---- the machine ----

typedef struct orion_bench_machine {
  char processor[96];        // "" where the system does not say
  const char *level;         // of its instruction set
  int processors;            // that this process may use
  size_t cache_bytes;        // last level; 0: unknown
  double load[3];            // averages over 1, 5 and 15 minutes; negative: unknown
} orion_bench_machine;

void orion_bench_machine_describe(orion_bench_machine *out);

// A pool, a block of memory well beyond the caches, and the kernels of one level: what ceilings are measured with.
typedef struct orion_ceiling orion_ceiling;

// `level` as base/cpu.h names it, NULL or unknown for the processor's own. `block` bytes are what one pass reads; 0:
// four times the last cache, within 256 and 512 MiB.
orion_status orion_ceiling_create(const orion_allocator *a, const char *level, int threads, size_t block,
                                  orion_ceiling **out, orion_error *err);
void orion_ceiling_destroy(orion_ceiling *c);  // NULL is ignored
const orion_kernels *orion_ceiling_kernels(const orion_ceiling *c);
orion_pool *orion_ceiling_pool(const orion_ceiling *c);
// The best of some 30 ms of short measurements: GB/s of reading the first `bytes` of the block over and over (all of it if 0 or
// more than it has), and GFLOP/s of multiply-adds in fp32.
double orion_ceiling_read(orion_ceiling *c, size_t bytes);
double orion_ceiling_multiply_add(orion_ceiling *c);

// What multiplies: instructions for fp32 everywhere; for bf16 and for bytes where the level has them, on tiles if it can.
typedef enum orion_multiplier { ORION_MULTIPLY_ADD, ORION_MULTIPLY_BF16, ORION_MULTIPLY_INT8, ORION_MULTIPLIERS } orion_multiplier;
const char *orion_multiplier_name(orion_multiplier m);  // of its figure, "multiply_add"
bool orion_ceiling_has(const orion_ceiling *c, orion_multiplier m);
double orion_ceiling_multiply(orion_ceiling *c, orion_multiplier m);  // of one that it has, as above

// ---- what is measured; each appends to the report ----

#define ORION_BENCH_MOST 8      // positions, or lengths

typedef struct orion_bench_options {
  const char *model;            // path; kernels: NULL for the shapes of common models
  const char *device;           // as orion_device_open takes it
  int threads;
  const char *weights;          // as of orion_session_options
  const char *precision;        // of the cpu device: "exact" or "fast"; NULL: as the device was asked for
  int64_t context;              // 0: the model's
  int repeat;                   // samples of each figure
  bool quick;                   // small blocks and short runs: to try the command, not to measure
  int64_t prompt_tokens;        // infer: of the prompt that the first token waits for
  int64_t new_tokens;           // infer: decoded at each position in each repetition
  int64_t at[ORION_BENCH_MOST]; // infer: positions to decode at; prefill: lengths
  int64_t batch, accum;         // train, update: sequences of a micro-batch, micro-batches of a step; `context` tokens each
  const char *recompute, *activations;  // train: as of orion_train_options
  size_t n_at;                  // 0: positions 32 and 900, lengths 32, 128 and 512, as far as the context goes
} orion_bench_options;

// Load, first token, decoding by position, bytes read, memory.
orion_status orion_bench_infer(const orion_bench_options *o, orion_bench_report *r, orion_error *err);
// Prompts by length.
orion_status orion_bench_prefill(const orion_bench_options *o, orion_bench_report *r, orion_error *err);
// The product and attention kernels of the device's level at the shapes of a model.
orion_status orion_bench_kernels(const orion_bench_options *o, orion_bench_report *r, orion_error *err);
// Steps of training, and what handing over new weights costs by each way of doing it.
orion_status orion_bench_train(const orion_bench_options *o, orion_bench_report *r, orion_error *err);
orion_status orion_bench_update(const orion_bench_options *o, orion_bench_report *r, orion_error *err);
// What running a program costs that does next to nothing.
orion_status orion_bench_dispatch(const orion_bench_options *o, orion_bench_report *r, orion_error *err);

#endif
