/// Choosing the next token from logits. Deterministic: the same logits, options and seed give the same tokens on every
/// machine (the random numbers are integers, the exponential is our own).
#ifndef ORION_SAMPLER_H
#define ORION_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "orion/alloc.h"
#include "orion/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct orion_sampler_options {
  size_t struct_size;      ///< sizeof(orion_sampler_options)
  float temperature;       ///< 0: always the largest logit (greedy)
  int32_t top_k;           ///< keep the k likeliest; 0: all
  float top_p;             ///< keep the likeliest whose probabilities sum to p; 1: all
  float min_p;             ///< keep those with at least min_p times the largest probability; 0: all
  float repeat_penalty;    ///< divides positive (multiplies negative) logits of recent tokens; 1: none
  int32_t repeat_window;   ///< how many recent tokens that looks at
  uint64_t seed;
} orion_sampler_options;

/// Greedy: temperature 0, everything else off, window 64.
ORION_API void orion_sampler_options_init(orion_sampler_options *o);

typedef struct orion_sampler orion_sampler;

/// Checks the options (ORION_INVALID names the bad one). `vocab` logits are expected from then on.
ORION_API orion_status orion_sampler_create(const orion_allocator *a, const orion_sampler_options *o, int64_t vocab,
                                            orion_sampler **out, orion_error *err);
ORION_API void orion_sampler_destroy(orion_sampler *s);
/// Tells the sampler a token that is part of the text, for the repeat penalty.
ORION_API void orion_sampler_accept(orion_sampler *s, int32_t token);
/// logits [vocab] are not changed. ORION_NUMERIC if one is NaN or +inf, naming the token. Allocates nothing.
ORION_API orion_status orion_sampler_choose(orion_sampler *s, const float *logits, int32_t *out_token,
                                            orion_error *err);

#ifdef __cplusplus
}
#endif
#endif
