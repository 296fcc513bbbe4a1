// Checkpoints of a few kilobytes, written byte by byte here so that the project's own writer plays no part. The value of
// every element follows from the tensor's name and the element's index, and is exact in fp16 and bf16 alike.
#ifndef TEST_MODEL_TINY_H
#define TEST_MODEL_TINY_H

#include "support/support.h"

typedef struct tiny_tensor {
  char name[96];
  const char *dtype;  // "F32", "F16", "BF16" or another spelling, which is then written as zeros of 4 bytes
  int rank;
  int64_t dims[3];
} tiny_tensor;

typedef struct tiny {
  tiny_tensor tensors[64];
  int n;
  char config[2048];
  const char *metadata;  // JSON text of "__metadata__", or NULL
  int skew;              // blanks after the header, beyond what alignment needs
} tiny;

enum { TINY_VOCAB = 24, TINY_CONTEXT = 16, TINY_DIM = 16, TINY_HIDDEN = 40, TINY_LAYERS = 2, TINY_HEADS = 4, TINY_KV = 2 };

void tiny_gpt2(tiny *t, const char *prefix);
// "llama", "mistral", "qwen2" or "qwen3"; `more` is put into config.json ("\"rope_theta\": 5, " or ""). Tied.
void tiny_llama(tiny *t, const char *type, const char *prefix, const char *more);
tiny_tensor *tiny_find(tiny *t, const char *name);  // fails the test if absent
void tiny_add(tiny *t, const char *name, int rank, int64_t a, int64_t b);
void tiny_remove(tiny *t, const char *name);
void tiny_set_dtype(tiny *t, const char *dtype);
float tiny_value(const char *name, size_t i);

void tiny_write(const tiny *t, const char *dir);  // model.safetensors and config.json
void tiny_write_config(const tiny *t, const char *dir);
void tiny_write_tensors(const tiny *t, const char *path, int first, int step);  // every step-th tensor

#endif
