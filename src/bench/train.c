// Training: what a step costs beside what its products must cost, and what it costs to give a device new weights. Both
// train a copy of the model on token ids that mean nothing, through the trainer that `orion train` uses.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "bench/subject.h"
#include "device/cpu/cpu.h"
#include "orion/train.h"

enum { MOST_SAMPLES = 1024 };

typedef struct training {
  orion_model *model;
  orion_config config; // of the model, which may be gone
  orion_device *device;
  orion_trainer *trainer;
  orion_train_options options;
  char data[256];      // a file of ids; "" until it is there
} training;

// Four windows of ids for each sequence of a step, from the whole vocabulary.
static orion_status write_ids(training *t, orion_error *err) {
  size_t n = (size_t)(t->options.batch * t->options.accum * t->options.seq) * 4 + 1;
  uint32_t *ids = orion_alloc(NULL, n, sizeof *ids);
  if (!ids) return ORION_OOM(err, "tokens");
  for (size_t i = 0; i < n; i++) ids[i] = (uint32_t)(i * 2654435761u >> 7) % (uint32_t)t->config.vocab;
  const char *dir = getenv("TMPDIR");
  snprintf(t->data, sizeof t->data, "%.200s/orion-bench-%ld.u32", dir ? dir : P_tmpdir, (long)getpid());
  orion_status status = orion_file_write(NULL, t->data, ids, n * sizeof *ids, err);
  orion_free(NULL, ids, n, sizeof *ids);
  return status;
}

static orion_status start(training *t, const orion_bench_options *o, const char *update, orion_error *err) {
  const char *files[] = {t->data};
  orion_train_options_init(&t->options);
  t->options.batch = o->batch;
  t->options.accum = o->accum;
  t->options.seq = o->context;
  t->options.steps = MOST_SAMPLES;
  t->options.update = update;
  t->options.recompute = o->recompute;
  t->options.activations = o->activations;
  t->options.data = files;
  t->options.n_data = 1;
  if (!t->options.seq) t->options.seq = t->config.context < 256 ? t->config.context : 256;
  if (!t->data[0]) ORION_TRY(write_ids(t, err));
  orion_status status = orion_trainer_create(t->model, t->device, NULL, &t->options, &t->trainer, err);
  t->options.data = NULL;
  return status;
}

static void stop(training *t) {
  orion_trainer_destroy(t->trainer);
  t->trainer = NULL;
}

static orion_status open_training(const orion_bench_options *o, training *t, orion_bench_report *r, orion_error *err) {
  *t = (training){0};
  ORION_TRY(orion_model_open(NULL, o->model, &t->model, err));
  t->config = t->model->config;
  ORION_TRY(orion_device_open(o->device, o->threads, NULL, &t->device, err));
  if (o->precision) ORION_TRY(orion_cpu_set_precision(t->device, o->precision, err));
  orion_bench_note_device(r, t->device);
  return ORION_OK;
}

static void close_training(training *t) {
  stop(t);
  if (t->data[0]) unlink(t->data);
  orion_device_close(t->device);
  orion_model_close(t->model);
}

// Forward, and backward for activations and for weights: three times the products of every matrix, the classifier's too,
// and of causal attention.
static double step_flops(const training *t) {
  const orion_config *c = &t->config;
  double seq = (double)t->options.seq, sequences = (double)(t->options.batch * t->options.accum);
  double classifier = 2 * (double)c->vocab * (double)c->dim;
  return 3 * sequences * (orion_bench_prefill_flops(c, t->options.seq) + classifier * (seq - 1));
}

// Of a device that takes times (cpu:profile=on): milliseconds of a step in each kind of the plan's steps, means.
static orion_status add_kinds(const training *t, const double *before, size_t steps, orion_bench_report *r, orion_error *err) {
  double after[ORION_CPU_KINDS];
  if (!orion_cpu_profile_device(t->device, after)) return ORION_OK;
  for (int i = 0; i < ORION_CPU_KINDS; i++) {
    char name[32];
    double ms = (after[i] - before[i]) / (double)steps * 1e3;
    snprintf(name, sizeof name, "in_%s", orion_cpu_kind_name((orion_cpu_kind)i));
    if (ms > 0) ORION_TRY(orion_bench_add_value(r, name, "ms", ms, err));
  }
  return ORION_OK;
}

// Samples of one quantity after another: steps, milliseconds of the optimiser, peaks.
static orion_status add_steps(const orion_bench_options *o, training *t, orion_ceiling *ceiling, double *samples,
                              orion_bench_report *r, orion_error *err) {
  size_t n = (size_t)o->repeat;
  double *step = samples, *optimizer = samples + n, *peaks = samples + 2 * n, *share = samples + 3 * n;
  double flops = step_flops(t), tokens = (double)(t->options.batch * t->options.accum * t->options.seq);
  double before[ORION_CPU_KINDS] = {0};
  const orion_multiplier by = orion_bench_multiplier(o, ceiling, false);
  orion_train_metrics m;
  orion_cpu_profile_device(t->device, before);
  for (size_t i = 0; i < n; i++) {
    peaks[i] = ceiling ? orion_ceiling_multiply(ceiling, by) : 0;
    ORION_TRY(orion_trainer_step(t->trainer, &m, err));
    step[i] = m.step_ms;
    optimizer[i] = m.optimizer_ms + m.update_ms;
    share[i] = 100 * optimizer[i] / m.step_ms;
  }
  double best = 0;
  if (ceiling) {
    ORION_TRY(orion_bench_add(r, orion_multiplier_name(by), "GFLOP/s", peaks, n, err));
    best = r->figures[r->n - 1].stat.best;
    ORION_TRY(orion_bench_add_value(r, "floor", "ms", flops / best * 1e-6, err));
  }
  ORION_TRY(orion_bench_add(r, "step", "ms", step, n, err));
  ORION_TRY(orion_bench_add(r, "update", "ms", optimizer, n, err));
  ORION_TRY(orion_bench_add(r, "update_share", "% step", share, n, err));
  for (size_t i = 0; i < n; i++) step[i] = tokens / step[i] * 1e3;
  ORION_TRY(orion_bench_add(r, "train_rate", "tok/s", step, n, err));
  for (size_t i = 0; i < n; i++) step[i] *= flops / tokens * 1e-9;
  ORION_TRY(orion_bench_add(r, "train_compute", "GFLOP/s", step, n, err));
  if (ceiling) orion_bench_set_ceiling(r, orion_multiplier_name(by), best);
  return add_kinds(t, before, n, r, err);
}

// The first step touches all memory there is; the model that the weights came from is no part of it, nor are ceilings.
static orion_status first_step(training *t, orion_bench_report *r, orion_error *err) {
  orion_train_metrics m;
  orion_model_close(t->model);
  t->model = NULL;
  ORION_TRY(orion_trainer_step(t->trainer, &m, err));
  orion_train_info info;
  orion_trainer_describe(t->trainer, &info);
  if (info.memory) ORION_TRY(orion_bench_add_value(r, "planned_memory", "MB", (double)info.memory * 1e-6, err));
  return orion_bench_add_value(r, "peak_memory", "MB", orion_peak_rss_mb() * 1.048576, err);
}

orion_status orion_bench_train(const orion_bench_options *o, orion_bench_report *r, orion_error *err) {
  training t;
  orion_ceiling *ceiling = NULL;
  double *samples = orion_alloc(r->allocator, (size_t)o->repeat, 4 * sizeof *samples);
  orion_status status = open_training(o, &t, r, err);
  if (status == ORION_OK && !samples) status = ORION_OOM(err, "samples");
  if (status == ORION_OK) status = start(&t, o, NULL, err);
  if (status == ORION_OK) status = first_step(&t, r, err);
  if (status == ORION_OK) status = orion_bench_ceiling_of(o, t.device, &ceiling, err);
  if (status == ORION_OK) status = add_steps(o, &t, ceiling, samples, r, err);
  orion_ceiling_destroy(ceiling);
  orion_free(r->allocator, samples, (size_t)o->repeat, 4 * sizeof *samples);
  close_training(&t);
  return status;
}

// Milliseconds in which new weights get to the device, by each way of doing it.
orion_status orion_bench_update(const orion_bench_options *o, orion_bench_report *r, orion_error *err) {
  static const char *const ways[] = {"input", "delta", "recompile"};
  training t;
  size_t n = (size_t)o->repeat;
  double *samples = orion_alloc(r->allocator, n, sizeof *samples), medians[3] = {0};
  orion_status status = open_training(o, &t, r, err);
  if (status == ORION_OK && !samples) status = ORION_OOM(err, "samples");
  for (int way = 0; way < 3 && status == ORION_OK; way++) {
    orion_train_metrics m;
    status = start(&t, o, ways[way], err);
    if (status == ORION_OK) status = orion_trainer_step(t.trainer, &m, err);  // the first makes room
    for (size_t i = 0; i < n && status == ORION_OK; i++) {
      status = orion_trainer_step(t.trainer, &m, err);
      samples[i] = m.update_ms;
    }
    stop(&t);
    if (status == ORION_OK) status = orion_bench_add(r, ways[way], "ms", samples, n, err);
    if (status == ORION_OK) medians[way] = r->figures[r->n - 1].stat.median;
  }
  if (status == ORION_OK) {
    status = orion_bench_add_value(r, "recompile_over_delta", "times", medians[2] / medians[1], err);
  }
  orion_free(r->allocator, samples, n, sizeof *samples);
  close_training(&t);
  return status;
}
