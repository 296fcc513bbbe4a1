// The loss scale: gradients in fp16 vanish below 6e-8, so the loss is multiplied before backward and the gradients divided
// after it. Automatic: as large as does not overflow. Powers of two, so that scaling alone changes no bit in fp32.
#ifndef ORION_TRAIN_SCALER_H
#define ORION_TRAIN_SCALER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct orion_scaler {
  bool automatic;
  double scale;
  int64_t good;      // steps since it changed or overflowed
  int64_t skipped;   // steps skipped one after another
} orion_scaler;

#define ORION_SCALER_START 65536.0
#define ORION_SCALER_MAX 16777216.0
#define ORION_SCALER_PATIENCE 1000   // good steps before it is doubled
#define ORION_SCALER_GIVE_UP 40      // skipped steps in a row: something else is wrong

static inline void orion_scaler_init(orion_scaler *s, double wanted, bool fp16) {
  *s = (orion_scaler){.automatic = wanted == 0 && fp16, .scale = wanted != 0 ? wanted : fp16 ? ORION_SCALER_START : 1};
}

// After a step whose gradients were finite, or were not. False: there is no hope in going on.
static inline bool orion_scaler_note(orion_scaler *s, bool finite) {
  if (finite) {
    s->skipped = 0;
    s->good++;
    if (s->automatic && s->good >= ORION_SCALER_PATIENCE) {
      if (s->scale < ORION_SCALER_MAX) s->scale *= 2;
      s->good = 0;
    }
    return true;
  }
  s->good = 0;
  s->skipped++;
  if (s->automatic && s->scale > 1) {
    s->scale /= 2;
    return s->skipped <= ORION_SCALER_GIVE_UP;
  }
  return !s->automatic && s->scale != 1 && s->skipped <= ORION_SCALER_GIVE_UP;
}

#endif
