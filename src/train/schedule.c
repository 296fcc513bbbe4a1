#include "train/schedule.h"

#include <math.h>
#include <string.h>

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

static const char *const names[] = {"cosine", "linear", "constant"};

bool orion_schedule_parse(const char *name, orion_schedule_kind *out) {
  for (int i = 0; i < 3; i++) {
    if (strcmp(name, names[i]) != 0) continue;
    *out = (orion_schedule_kind)i;
    return true;
  }
  return false;
}

const char *orion_schedule_name(orion_schedule_kind kind) { return names[kind]; }

double orion_schedule_lr(const orion_schedule *s, int64_t step) {
  if (step < s->warmup) return s->lr * (double)(step + 1) / (double)s->warmup;
  if (s->kind == ORION_SCHEDULE_CONSTANT) return s->lr;
  if (step >= s->steps) return s->min_lr;
  double progress = (double)(step - s->warmup) / (double)(s->steps - s->warmup);
  double share = s->kind == ORION_SCHEDULE_LINEAR ? 1 - progress : 0.5 * (1 + cos(M_PI * progress));
  return s->min_lr + (s->lr - s->min_lr) * share;
}
