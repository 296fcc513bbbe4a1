// Inside token data: one file's ids.
#ifndef ORION_TRAIN_TOKENS_IMPL_H
#define ORION_TRAIN_TOKENS_IMPL_H

#include "base/file.h"
#include "train/tokens.h"

typedef struct orion_token_file {
  orion_file_map map;       // of a file of ids
  int32_t *ids;             // of a text: owned, cap_ids of them
  size_t cap_ids;
  const uint8_t *bytes;     // of the map (little-endian) or of `ids`
  int width;
  uint64_t n;
  uint64_t *begins;         // with `documents`: where windows begin, n_windows of cap_begins
  size_t cap_begins;
  uint64_t n_windows, first_window;
} orion_token_file;

// Bytes of an id in files that do not say.
static inline int orion_token_width(int64_t vocab) { return vocab <= 65536 ? 2 : 4; }

// Encodes a text file by the rules of tokens.h.
orion_status orion_token_file_encode(const orion_allocator *a, const char *path, const orion_tokenizer *tokenizer,
                                     orion_token_file *out, orion_error *err);

static inline int32_t orion_token_file_id(const orion_token_file *f, uint64_t i) {
  if (f->ids) return f->ids[i];
  const uint8_t *p = f->bytes + i * (uint64_t)f->width;
  uint32_t low = p[0] | (uint32_t)p[1] << 8;
  return (int32_t)(f->width == 2 ? low : low | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

#endif
