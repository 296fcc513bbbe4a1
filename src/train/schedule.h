// The learning rate of each step: a linear warm-up, then down to `min_lr` along a cosine or a line, or not at all.
#ifndef ORION_TRAIN_SCHEDULE_H
#define ORION_TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum orion_schedule_kind {
  ORION_SCHEDULE_COSINE,
  ORION_SCHEDULE_LINEAR,
  ORION_SCHEDULE_CONSTANT,
} orion_schedule_kind;

typedef struct orion_schedule {
  orion_schedule_kind kind;
  double lr, min_lr;       // at the end of the warm-up, and after `steps`
  int64_t warmup, steps;   // 0 <= warmup <= steps
} orion_schedule;

bool orion_schedule_parse(const char *name, orion_schedule_kind *out);  // false for an unknown name
const char *orion_schedule_name(orion_schedule_kind kind);
// Of step number `step`, counted from 0. The warm-up takes lr/warmup, 2*lr/warmup ... lr; from step `steps` on it is min_lr.
double orion_schedule_lr(const orion_schedule *s, int64_t step);

#endif
