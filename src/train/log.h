// The log of a run: a file of JSON lines, one a step, and what can be read from it again.
#ifndef ORION_TRAIN_LOG_H
#define ORION_TRAIN_LOG_H

#include "base/strbuf.h"
#include "orion/train.h"

typedef struct orion_train_log orion_train_log;

// Appends to `path`, after dropping lines of steps beyond `step` (of a run that went on after the checkpoint it is now
// resumed from); step 0: begins anew.
orion_status orion_train_log_open(const orion_allocator *a, const char *path, int64_t step, orion_train_log **out,
                                  orion_error *err);
void orion_train_log_close(orion_train_log *log);  // NULL is ignored
// One line, written at once. `eval_loss` is NULL where none was taken after this step.
orion_status orion_train_log_step(orion_train_log *log, const orion_train_metrics *m, double rss_mb, const double *eval_loss,
                                  orion_error *err);

// ---- reading ----

typedef struct orion_curve_point {
  int64_t step;
  double loss;
} orion_curve_point;

typedef struct orion_curve {
  const orion_allocator *allocator;
  orion_curve_point *train, *eval;
  size_t n_train, cap_train, n_eval, cap_eval;
} orion_curve;

// A last line that is cut off (a killed run) is left out; any other malformed line is ORION_FORMAT with its number.
orion_status orion_curve_read(const orion_allocator *a, const char *path, orion_curve *out, orion_error *err);
void orion_curve_free(orion_curve *c);
// The curve as an SVG picture of 900 x 420: training loss (the mean of the steps that fall on one column), evaluations.
orion_status orion_curve_svg(const orion_curve *c, const char *title, orion_strbuf *out, orion_error *err);

#endif
