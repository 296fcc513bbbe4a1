/// A model: configuration and weights, read where they lie (files are mapped, not copied).
#ifndef ORION_MODEL_H
#define ORION_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orion/alloc.h"
#include "orion/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct orion_model orion_model;

/// Opens a Hugging Face directory (config.json; model.safetensors or its shards by index), or a llama2.c FILE.bin.
/// The caller closes it, after every session made of it. Fails with ORION_NOT_FOUND, ORION_FORMAT (malformed; the message
/// names file, byte, key or tensor), ORION_UNSUPPORTED (a family or setting that Orion does not do), ORION_NO_MEMORY.
ORION_API orion_status orion_model_open(const orion_allocator *a, const char *path, orion_model **out,
                                        orion_error *err);
ORION_API void orion_model_close(orion_model *m);  ///< NULL is ignored

typedef struct orion_model_info {
  const char *type;          ///< "gpt2", "llama", "qwen2", "qwen3", "mistral"
  const char *tokenizer;     ///< path where a tokenizer may be found: what orion_tokenizer_open takes
  int64_t vocab, context;    ///< tokens known; positions at most
  int64_t dim, hidden, layers, heads, kv_heads, head_dim;
  uint64_t parameters;       ///< number of weights
  uint64_t file_bytes;       ///< size of the weight files
  int32_t bos;               ///< begin token, -1: none
  int32_t eos[8];            ///< end tokens
  int n_eos;
} orion_model_info;

/// Strings live as long as the model.
ORION_API void orion_model_describe(const orion_model *m, orion_model_info *out);

#ifdef __cplusplus
}
#endif
#endif
