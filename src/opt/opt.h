// Optimisation passes: each a real transformation of a program, verified after every run.
#ifndef ORION_OPT_OPT_H
#define ORION_OPT_OPT_H

#include "ir/infer.h"

// What passes need to know of the target, as plain numbers (lower fills it from target/target.h; passes know no chips).
typedef struct orion_opt_limits {
  bool ane;                         // channel-first fp16 programs for the engine; else the cpu device's
  size_t sram_bytes;                // on-chip working set of one operand
  int64_t split_conv_in;            // convolutions over more input channels run faster in pieces
  int64_t max_conv_out;             // output channels of one convolution
  size_t max_weight_bytes;          // constants of one program
} orion_opt_limits;

typedef struct orion_pass_context {
  const orion_allocator *allocator;
  const orion_opt_limits *limits;
  size_t changes;                   // rewrites made, for statistics
} orion_pass_context;

typedef struct orion_pass {
  const char *name;                 // "dce"
  const char *help;                 // one line
  orion_status (*run)(orion_pass_context *ctx, orion_program *p, orion_error *err);
} orion_pass;

const orion_pass *orion_pass_find(const char *name);
const orion_pass *const *orion_passes(void);  // all, NULL-terminated

typedef struct orion_pass_stats {
  const char *pass;
  size_t changes;
  size_t ops_before, ops_after;
  double seconds;
} orion_pass_stats;

typedef struct orion_opt_options {
  const char *passes;               // comma-separated names; NULL: the target's pipeline; "": none
  const char *dump_after;           // pass name, or "all"; NULL: no dumps
  void (*dump)(void *ctx, const char *pass, const orion_program *p);
  void *dump_ctx;
  void (*stats)(void *ctx, const orion_pass_stats *s);
  void *stats_ctx;
} orion_opt_options;

// Runs the pipeline until it is through; the list repeats (at most 8 times) while it changes something. The verifier
// runs after each pass that changed the program; a finding there is ORION_INTERNAL and names the pass.
orion_status orion_optimize(orion_program *p, const orion_opt_limits *limits, const orion_opt_options *options,
                            orion_error *err);
const char *orion_default_pipeline(bool ane);  // comma-separated names

#endif
