// Prompts, which are bound by arithmetic: a matrix that is read once serves all tokens. The ceiling is what the same
// threads multiply and add in registers at the device's instruction set level, by the instructions that its products take.
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "bench/subject.h"

static const int64_t default_lengths[] = {32, 128, 512};
enum { N_DEFAULTS = 3 };

// The first prompt of a length compiles its program, and is the first to need its memory.
static orion_status measure_first(bench_subject *s, int64_t n, orion_bench_report *r, orion_error *err) {
  char name[64];
  if (n == 0) return ORION_FAIL(err, ORION_INVALID, "--length: 0 is not 1 or more");
  double begin = orion_now();
  ORION_TRY(orion_bench_feed(s, n, err));
  snprintf(name, sizeof name, "first@%lld", (long long)n);
  return orion_bench_add_value(r, name, "ms", 1e3 * (orion_now() - begin), err);
}

static orion_status measure_length(const orion_bench_options *o, bench_subject *s, orion_ceiling *ceiling, int64_t n,
                                   double *seconds, double *peaks, orion_bench_report *r, orion_error *err) {
  char name[64];
  size_t repeat = (size_t)o->repeat;
  double flops = orion_bench_prefill_flops(&s->model->config, n), best = 0;
  const bool quantised = o->weights && strncmp(o->weights, "int", 3) == 0;
  const orion_multiplier by = orion_bench_multiplier(o, ceiling, quantised);
  for (size_t i = 0; i < repeat; i++) {
    if (ceiling) peaks[i] = orion_ceiling_multiply(ceiling, by);
    double begin = orion_now();
    ORION_TRY(orion_bench_feed(s, n, err));
    seconds[i] = orion_now() - begin;
  }
  if (ceiling) {
    snprintf(name, sizeof name, "%s@%lld", orion_multiplier_name(by), (long long)n);
    ORION_TRY(orion_bench_add(r, name, "GFLOP/s", peaks, repeat, err));
    best = r->figures[r->n - 1].stat.best;
    snprintf(name, sizeof name, "floor@%lld", (long long)n);
    ORION_TRY(orion_bench_add_value(r, name, "ms", flops / best * 1e-6, err));
  }
  for (size_t i = 0; i < repeat; i++) seconds[i] *= 1e3;
  snprintf(name, sizeof name, "prefill@%lld", (long long)n);
  ORION_TRY(orion_bench_add(r, name, "ms", seconds, repeat, err));
  for (size_t i = 0; i < repeat; i++) seconds[i] = 1e3 * (double)n / seconds[i];
  snprintf(name, sizeof name, "prefill_rate@%lld", (long long)n);
  ORION_TRY(orion_bench_add(r, name, "tok/s", seconds, repeat, err));
  for (size_t i = 0; i < repeat; i++) seconds[i] *= flops / (double)n * 1e-9;
  snprintf(name, sizeof name, "prefill_compute@%lld", (long long)n);
  ORION_TRY(orion_bench_add(r, name, "GFLOP/s", seconds, repeat, err));
  if (ceiling) orion_bench_set_ceiling(r, orion_multiplier_name(by), best);
  return ORION_OK;
}

orion_status orion_bench_prefill(const orion_bench_options *o, orion_bench_report *r, orion_error *err) {
  int64_t lengths[ORION_BENCH_MOST];
  size_t n = 0, repeat = (size_t)o->repeat;
  orion_ceiling *ceiling = NULL;
  bench_subject s;
  ORION_TRY(orion_bench_open(o, &s, err));
  orion_bench_note_device(r, s.device);
  double *samples = orion_alloc(r->allocator, 2 * repeat, sizeof *samples);
  orion_status status = samples ? ORION_OK : ORION_OOM(err, "samples");
  if (status == ORION_OK) {
    status = orion_bench_choose(o, default_lengths, N_DEFAULTS, orion_session_context(s.session), lengths, &n, err);
  }
  for (size_t i = 0; i < n && status == ORION_OK; i++) status = measure_first(&s, lengths[i], r, err);
  if (status == ORION_OK) status = orion_bench_add_value(r, "peak_memory", "MB", orion_peak_rss_mb() * 1.048576, err);
  if (status == ORION_OK) status = orion_bench_ceiling_of(o, s.device, &ceiling, err);
  for (size_t i = 0; i < n && status == ORION_OK; i++) {
    status = measure_length(o, &s, ceiling, lengths[i], samples, samples + repeat, r, err);
  }
  orion_ceiling_destroy(ceiling);
  orion_free(r->allocator, samples, 2 * repeat, sizeof *samples);
  orion_bench_close(&s);
  return status;
}
