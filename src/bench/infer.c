// Decoding one token at a time, which is bound by reading: every token reads all weights once and the keys and values so
// far. So the floor of a token is its bytes over what the same threads read at best from a block of that size, measured
// between the samples. (Of that size: a small model lives in a cache, and memory's bandwidth says nothing about it.)
#include <stdio.h>

#include "base/clock.h"
#include "bench/subject.h"

static const int64_t default_positions[] = {32, 900};
enum { N_DEFAULTS = 2, MOST_LOADS = 5 };

typedef struct inference {
  const orion_bench_options *o;
  orion_bench_report *report;
  bench_subject subject;
  orion_ceiling *ceiling;
  int64_t at[ORION_BENCH_MOST];
  size_t n_at;
  double load[MOST_LOADS], first[MOST_LOADS];
  double *samples, *reads;
  double memory_read;    // best, GB/s
  size_t n_samples;
} inference;

// From nothing to the logits after the prompt. Leaves the subject open.
static orion_status start(inference *b, size_t i, orion_error *err) {
  double begin = orion_now();
  ORION_TRY(orion_bench_open(b->o, &b->subject, err));
  b->load[i] = 1e3 * (orion_now() - begin);
  ORION_TRY(orion_bench_feed(&b->subject, b->o->prompt_tokens, err));
  b->first[i] = 1e3 * (orion_now() - begin);
  return ORION_OK;
}

static orion_status decode(inference *b, int64_t position, double *out_ms, orion_error *err) {
  orion_session_truncate(b->subject.session, position);
  for (int64_t k = 0; k < b->o->new_tokens; k++) {
    double begin = orion_now();
    ORION_TRY(orion_session_feed(b->subject.session, b->subject.tokens + position + k, 1, err));
    if (out_ms) out_ms[k] = 1e3 * (orion_now() - begin);
  }
  return ORION_OK;
}

static orion_status check(inference *b, orion_error *err) {
  int64_t context = orion_session_context(b->subject.session), most = context - b->o->new_tokens;
  if (most < 0) {
    return ORION_FAIL(err, ORION_INVALID, "-n: %lld tokens do not fit the context of %lld", (long long)b->o->new_tokens,
                      (long long)context);
  }
  return orion_bench_choose(b->o, default_positions, N_DEFAULTS, most, b->at, &b->n_at, err);
}

// The first run of everything, before blocks of our own count as memory of the model's.
static orion_status measure_memory(inference *b, orion_error *err) {
  for (size_t i = 0; i < b->n_at; i++) {
    ORION_TRY(orion_bench_feed(&b->subject, b->at[i], err));
    ORION_TRY(decode(b, b->at[i], NULL, err));
  }
  const orion_config *c = &b->subject.model->config;
  orion_session_info info;
  orion_session_describe(b->subject.session, &info);
  double cache = orion_bench_kv_bytes(c, orion_session_context(b->subject.session), b->o->weights);
  ORION_TRY(orion_bench_add_value(b->report, "peak_memory", "MB", orion_peak_rss_mb() * 1.048576, err));
  ORION_TRY(orion_bench_add_value(b->report, "weights", "MB", 1e-6 * (double)info.weight_bytes, err));
  return orion_bench_add_value(b->report, "kv_cache", "MB", 1e-6 * cache, err);
}

static orion_status measure_loads(inference *b, orion_error *err) {
  size_t n = b->o->repeat < MOST_LOADS ? (size_t)b->o->repeat : MOST_LOADS;
  for (size_t i = 1; i < n; i++) {
    orion_bench_close(&b->subject);
    ORION_TRY(start(b, i, err));
  }
  ORION_TRY(orion_bench_add_value(b->report, "load_cold", "ms", b->load[0], err));
  ORION_TRY(orion_bench_add(b->report, "load", "ms", b->load, n, err));
  return orion_bench_add(b->report, "first_token", "ms", b->first, n, err);
}

static orion_status add_decode(inference *b, int64_t position, double bytes, orion_error *err) {
  char name[64], read_name[64];
  size_t n = b->n_samples, repeat = (size_t)b->o->repeat;
  double best = 0;
  snprintf(read_name, sizeof read_name, "plain_read@%lld", (long long)position);
  if (b->ceiling) {
    ORION_TRY(orion_bench_add(b->report, read_name, "GB/s", b->reads, repeat, err));
    best = b->report->figures[b->report->n - 1].stat.best;
    best = best > b->memory_read ? best : b->memory_read;  // a cache is not slower than memory
    snprintf(name, sizeof name, "floor@%lld", (long long)position);
    ORION_TRY(orion_bench_add_value(b->report, name, "ms", bytes / best * 1e-6, err));
  }
  snprintf(name, sizeof name, "bytes_read@%lld", (long long)position);
  ORION_TRY(orion_bench_add_value(b->report, name, "MB", 1e-6 * bytes, err));
  snprintf(name, sizeof name, "decode@%lld", (long long)position);
  ORION_TRY(orion_bench_add(b->report, name, "ms", b->samples, n, err));
  for (size_t i = 0; i < n; i++) b->samples[i] = 1e3 / b->samples[i];
  snprintf(name, sizeof name, "decode_rate@%lld", (long long)position);
  ORION_TRY(orion_bench_add(b->report, name, "tok/s", b->samples, n, err));
  for (size_t i = 0; i < n; i++) b->samples[i] *= 1e-9 * bytes;
  snprintf(name, sizeof name, "decode_read@%lld", (long long)position);
  ORION_TRY(orion_bench_add(b->report, name, "GB/s", b->samples, n, err));
  if (b->ceiling) orion_bench_set_ceiling(b->report, "plain_read", best);
  return ORION_OK;
}

static orion_status measure_decode(inference *b, int64_t position, orion_error *err) {
  orion_session_info info;
  orion_session_describe(b->subject.session, &info);
  int64_t middle = position + b->o->new_tokens / 2;
  double bytes = (double)info.weight_bytes + orion_bench_kv_bytes(&b->subject.model->config, middle, b->o->weights);
  ORION_TRY(orion_bench_feed(&b->subject, position, err));
  ORION_TRY(decode(b, position, NULL, err));
  for (int i = 0; i < b->o->repeat; i++) {
    if (b->ceiling) b->reads[i] = orion_ceiling_read(b->ceiling, (size_t)bytes);
    ORION_TRY(decode(b, position, b->samples + i * b->o->new_tokens, err));
  }
  return add_decode(b, position, bytes, err);
}

static orion_status measure(inference *b, orion_error *err) {
  ORION_TRY(start(b, 0, err));
  orion_bench_note_device(b->report, b->subject.device);
  ORION_TRY(check(b, err));
  ORION_TRY(measure_memory(b, err));
  ORION_TRY(measure_loads(b, err));
  ORION_TRY(orion_bench_ceiling_of(b->o, b->subject.device, &b->ceiling, err));
  if (b->ceiling) {
    for (int i = 0; i < b->o->repeat; i++) b->reads[i] = orion_ceiling_read(b->ceiling, 0);
    ORION_TRY(orion_bench_add(b->report, "memory_read", "GB/s", b->reads, (size_t)b->o->repeat, err));
    b->memory_read = b->report->figures[b->report->n - 1].stat.best;
  }
  for (size_t i = 0; i < b->n_at; i++) ORION_TRY(measure_decode(b, b->at[i], err));
  return ORION_OK;
}

orion_status orion_bench_infer(const orion_bench_options *o, orion_bench_report *r, orion_error *err) {
  inference b = {.o = o, .report = r};
  if (!orion_mul_ok((size_t)o->repeat, (size_t)o->new_tokens, &b.n_samples)) return ORION_OOM(err, "samples");
  b.samples = orion_alloc(r->allocator, b.n_samples, sizeof *b.samples);
  b.reads = orion_alloc(r->allocator, (size_t)o->repeat, sizeof *b.reads);
  orion_status status = b.samples && b.reads ? measure(&b, err) : ORION_OOM(err, "samples");
  orion_ceiling_destroy(b.ceiling);
  orion_bench_close(&b.subject);
  orion_free(r->allocator, b.samples, b.n_samples, sizeof *b.samples);
  orion_free(r->allocator, b.reads, (size_t)o->repeat, sizeof *b.reads);
  return status;
}
