// Figures: samples to medians and quartiles, kept in a list under names that stay the same from run to run.
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench.h"

void orion_bench_report_init(orion_bench_report *r, const orion_allocator *a) { *r = (orion_bench_report){.allocator = a}; }

void orion_bench_report_deinit(orion_bench_report *r) {
  orion_free(r->allocator, r->figures, r->cap, sizeof *r->figures);
  orion_bench_report_init(r, r->allocator);
}

static bool is_time(const char *unit) { return strcmp(unit, "ms") == 0 || strcmp(unit, "us") == 0; }

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

double orion_bench_quantile(const double *sorted, size_t n, double share) {
  double at = share * (double)(n - 1);
  size_t i = (size_t)at;
  return i + 1 < n ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

orion_status orion_bench_add(orion_bench_report *r, const char *name, const char *unit, double *samples, size_t n,
                             orion_error *err) {
  if (n == 0) return ORION_FAIL(err, ORION_INTERNAL, "%s: nothing was measured", name);
  if (!ORION_GROW(r->allocator, &r->figures, &r->cap, r->n + 1)) return ORION_OOM(err, "figures");
  qsort(samples, n, sizeof *samples, by_value);
  orion_bench_figure *f = &r->figures[r->n++];
  *f = (orion_bench_figure){.more_is_better = !is_time(unit)};
  snprintf(f->name, sizeof f->name, "%s", name);
  snprintf(f->unit, sizeof f->unit, "%s", unit);
  f->stat.median = orion_bench_quantile(samples, n, 0.5);
  f->stat.low = orion_bench_quantile(samples, n, 0.25);
  f->stat.high = orion_bench_quantile(samples, n, 0.75);
  f->stat.best = f->more_is_better ? samples[n - 1] : samples[0];
  f->stat.samples = n;
  return ORION_OK;
}

orion_status orion_bench_add_value(orion_bench_report *r, const char *name, const char *unit, double value,
                                   orion_error *err) {
  ORION_TRY(orion_bench_add(r, name, unit, &value, 1, err));
  if (strcmp(unit, "MB") == 0 || strcmp(unit, "ms") == 0) r->figures[r->n - 1].more_is_better = false;
  return ORION_OK;
}

void orion_bench_set_ceiling(orion_bench_report *r, const char *ceiling, double best) {
  orion_bench_figure *f = &r->figures[r->n - 1];
  f->ceiling = ceiling;
  f->fraction = best > 0 ? f->stat.median / best : 0;
  f->best_fraction = best > 0 ? f->stat.best / best : 0;
}
