// A small random model and its weights under training, for tests of this room.
#ifndef TEST_TRAIN_SMALL_H
#define TEST_TRAIN_SMALL_H

#include "support/support.h"
#include "train/params.h"

typedef struct small {
  orion_device *device;
  orion_model *model;
  orion_params *params;
} small;

orion_config small_config(bool gpt2);
orion_config small_family(int kind);  // 0: Llama, 1: GPT-2, 2: Qwen 3, 3: Qwen 2 with biases and an exact GELU
void small_open(small *s, bool gpt2, uint64_t seed);
void small_close(small *s);
// Any numbers, the same for the same seed, within (-1, 1).
void small_noise(float *out, size_t n, uint64_t seed);

#endif
