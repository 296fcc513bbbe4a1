// What infer and prefill measure: a model opened on a device, the work that its shape implies, and the ceilings beside it.
#ifndef ORION_BENCH_SUBJECT_H
#define ORION_BENCH_SUBJECT_H

#include "bench/bench.h"
#include "model/model.h"
#include "orion/session.h"

typedef struct bench_subject {
  orion_model *model;
  orion_device *device;
  orion_session *session;
  int32_t *tokens;       // context of them, the same in every run
  size_t n_tokens;
} bench_subject;

orion_status orion_bench_open(const orion_bench_options *o, bench_subject *out, orion_error *err);
void orion_bench_close(bench_subject *s);
// Forgets the text and feeds the first n tokens.
orion_status orion_bench_feed(bench_subject *s, int64_t n, orion_error *err);

void orion_bench_note_device(orion_bench_report *r, orion_device *device);
// Ceilings for that device; NULL, and ORION_OK, where it is none whose programs run on the processor at full speed.
orion_status orion_bench_ceiling_of(const orion_bench_options *o, orion_device *device, orion_ceiling **out,
                                    orion_error *err);

// What multiplies in the device's products of many rows: the bytes of rounded rows, bf16, or the parts of it that exact
// ones are made of, else fp32.
orion_multiplier orion_bench_multiplier(const orion_bench_options *o, const orion_ceiling *ceiling, bool quantised);

// Positions or lengths to measure: those of the options, or else the defaults that `most` leaves room for.
orion_status orion_bench_choose(const orion_bench_options *o, const int64_t *defaults, size_t n_defaults, int64_t most,
                                int64_t *out, size_t *out_n, orion_error *err);

// Bytes of keys and values that a token at `position` reads, stored in `weights`.
double orion_bench_kv_bytes(const orion_config *c, int64_t position, const char *weights);
// Floating-point operations of a prompt of n tokens: the products of every layer, causal attention, one row of logits.
double orion_bench_prefill_flops(const orion_config *c, int64_t n);

#endif
