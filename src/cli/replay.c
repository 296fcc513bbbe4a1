// orion run FILE.record: what was done with one device, done again on another, outputs compared.
#include "cli/replay.h"

#include <math.h>
#include <stdio.h>

#include "device/record/record.h"

typedef struct comparison {
  const cli_args *a;
  json_t *list;                // --json: one object for each output of each run
  double worst;                // largest difference, relative to the output's scale
  size_t outputs, same;
} comparison;

static orion_status compare(void *ctx, const orion_replay_tensor *t, orion_error *err) {
  comparison *c = ctx;
  double relative = t->largest > 0 ? t->largest / (t->scale > 0 ? t->scale : 1) : 0;
  if (t->nonfinite) relative = 1;
  if (relative > c->worst) c->worst = relative;
  c->outputs++;
  c->same += t->differing == 0;
  if (c->list) {
    json_array_append_new(c->list, json_pack("{s:I, s:I, s:s, s:I, s:I, s:I, s:f, s:f}", "program", (json_int_t)t->program, "run",
                                             (json_int_t)t->run, "output", t->name, "elements", (json_int_t)t->elements,
                                             "differing", (json_int_t)t->differing, "nonfinite", (json_int_t)t->nonfinite,
                                             "largest", t->largest, "scale", t->scale));
  } else if (!c->a->quiet && t->differing) {
    printf("run %zu, program %u: %s: %zu of %zu differ, by up to %.3g of %.3g\n", t->run, t->program, t->name, t->differing,
           t->elements, t->largest, t->scale);
  }
  return ORION_OK;
}

static orion_status finish(comparison *c, const orion_replay_counts *n, orion_error *err) {
  double tolerance = cli_number(c->a, "tolerance", INFINITY);
  if (c->list) {
    json_t *list = c->list;
    c->list = NULL;
    cli_print_json(json_pack("{s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:b}", "outputs", list, "programs", (json_int_t)n->programs,
                             "runs", (json_int_t)n->runs, "updates", (json_int_t)n->updates, "same", (json_int_t)c->same, "worst",
                             c->worst, "recorded_ms", 1e3 * n->recorded_seconds, "run_ms", 1e3 * n->seconds, "cut", n->cut));
  } else {
    printf("%zu programs, %zu runs, %zu updates: %zu of %zu outputs the same, largest difference %.3g of the scale; %.1f ms, "
           "recorded %.1f ms%s\n",
           n->programs, n->runs, n->updates, c->same, c->outputs, c->worst, 1e3 * n->seconds, 1e3 * n->recorded_seconds,
           n->cut ? "; the record ends inside a call" : "");
  }
  if (c->worst <= tolerance) return ORION_OK;
  return ORION_FAIL(err, ORION_NUMERIC, "replay: an output differs by %.3g of its scale (--tolerance %g)", c->worst, tolerance);
}

orion_status cli_replay(const cli_args *a, orion_error *err) {
  comparison c = {.a = a, .list = a->json ? json_array() : NULL};
  orion_record *record = NULL;
  orion_device *device = NULL;
  orion_replay_counts counts = {0};
  orion_status status = orion_record_open(NULL, a->rest[0], &record, err);
  if (status == ORION_OK) status = cli_open_device(a, &device, err);
  if (status == ORION_OK) status = orion_record_replay(record, device, compare, &c, &counts, err);
  if (status == ORION_OK) status = finish(&c, &counts, err);
  json_decref(c.list);
  orion_device_close(device);
  orion_record_close(record);
  return status;
}
