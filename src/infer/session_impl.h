// Inside the infer room: a session, and the programs that it has compiled for one model.
//
//   step     T positions at once (1 on cpu, the target's smallest width on the engine) that see the cache: decoding, and
//            the rest of a prompt that no bucket holds
//   extend   the same with more positions (cpu only): drafts to be verified, later parts of long prompts
//   prefill  T = 8..1024 positions from the start of the text, without a cache; none wider than the context
//   head     final norm and classifier for T positions
//
// Step and the narrowest head are there from the beginning, the others when first needed. All share the tensors of step.
#ifndef ORION_INFER_SESSION_IMPL_H
#define ORION_INFER_SESSION_IMPL_H

#include "infer/mix.h"
#include "orion/session.h"
#include "runtime/runner.h"

#define ORION_SESSION_BUCKETS 16
#define ORION_SESSION_WIDTHS 4  // of the programs for some tokens at once, body and head

typedef struct orion_session_program {  // one compiled width of the body, or of the head
  orion_runner *runner;         // NULL until needed
  int64_t tokens;               // T
  bool cached;                  // sees the cache
  int64_t filled;               // rows of x that hold something, from earlier runs
  orion_tensor *x, *y;          // body: [T, dim] both; head: the body's y, logits
  orion_tensor *cos, *sin, *mask;
  orion_tensor **k, **v;        // per layer, [T, K]
} orion_session_program;

struct orion_session {
  const orion_allocator *allocator;
  orion_model *model;
  orion_device *device;
  const orion_target *target;
  orion_arena arena;
  orion_dtype weights;          // of the graph: caches and, unless quantised, matrices
  orion_dtype quantise;         // int8, int4 or NONE
  bool keep_integers;           // that the model's file holds
  char *passes;
  int64_t context, cache_rows;  // cache_rows: context rounded up to the target's width
  int64_t position, masked_to;  // tokens fed; mask entries [0, masked_to) are open
  orion_session_program step, extend[ORION_SESSION_WIDTHS];
  orion_session_program prefill[ORION_SESSION_BUCKETS];
  size_t n_prefill;
  orion_session_program head, wide_head[ORION_SESSION_WIDTHS];
  size_t n_widths;              // of extend and wide_head, narrowest first
  orion_tensor **k_cache, **v_cache;
  float *row, *half_cos, *half_sin, *logits;
  orion_mixes mixes;
  const double *scales;         // of the feed under way: those of the next token, [parts of the mix]
  bool has_logits;
  size_t runs;                  // program runs of the feed under way
  size_t prefill_runs;
  int64_t last_bucket;
  double body_seconds;          // that the last program of the body took to compile
};

// n positions, in the target's steps of width.
static inline int64_t orion_session_round(const orion_session *s, int64_t n) {
  int64_t width = s->target->width_multiple;
  return (n + width - 1) / width * width;
}

// ---- session_programs.c ----

// Compiles step and head, and chooses how wide the others will be. What was made before a failure is closed with the rest.
orion_status orion_session_open_programs(orion_session *s, orion_error *err);
void orion_session_close_programs(orion_session *s);
// The program of the body that takes the next tokens of a run of n, and how many of them; compiled.
orion_status orion_session_choose_body(orion_session *s, size_t n, orion_session_program **out, int64_t *out_n,
                                       orion_error *err);
// The head for n rows, compiled; a narrower one where none is wide enough.
orion_status orion_session_choose_head(orion_session *s, int64_t n, orion_session_program **out, orion_error *err);

#endif
