// Rotary angles, as transformers computes them: in double here, rounded to float once.
#include <math.h>

#include "model/model.h"

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

// Llama 3.1: waves longer than the original context / low_freq_factor are slowed down by `factor`, those shorter than
// context / high_freq_factor are left, between them the two are blended.
static double llama3(const orion_rope_scaling *s, double frequency) {
  double wavelength = 2 * M_PI / frequency, context = (double)s->original_context;
  if (wavelength < context / s->high_freq_factor) return frequency;
  if (wavelength > context / s->low_freq_factor) return frequency / s->factor;
  double t = (context / wavelength - s->low_freq_factor) / (s->high_freq_factor - s->low_freq_factor);
  return (1 - t) * frequency / s->factor + t * frequency;
}

void orion_config_rope(const orion_config *c, int64_t position, float *out_cos, float *out_sin) {
  for (int64_t i = 0; i < c->head_dim / 2; i++) {
    double frequency = pow(c->rope_theta, -2.0 * (double)i / (double)c->head_dim);
    if (c->rope_scaling.llama3) {
      frequency = llama3(&c->rope_scaling, frequency);
    } else {
      frequency /= c->rope_scaling.linear;
    }
    double angle = (double)position * frequency;
    out_cos[i] = (float)cos(angle);
    out_sin[i] = (float)sin(angle);
  }
}
