// The table of tokens: id -> spelling and flags, spelling -> id. Ids may have gaps. Grows while a file is read, is
// read-only afterwards.
#ifndef ORION_TEXT_VOCAB_H
#define ORION_TEXT_VOCAB_H

#include "base/alloc.h"

enum {
  ORION_VOCAB_MAX = 1 << 22,        // ids below this; the largest vocabularies known have 2^18
  ORION_TOKEN_USED = 1,
  ORION_TOKEN_SPECIAL = 2,          // steers the model: begin, end, roles
  ORION_TOKEN_BYTE = 4,             // "<0x0A>": one byte
  ORION_TOKEN_PLAIN = 8,            // may come out of merging (SentencePiece: normal)
  ORION_TOKEN_ADDED = 16,           // matched in the text before everything else
};

// A part of a pool of bytes.
typedef struct orion_token_span {
  uint32_t offset, size;
} orion_token_span;

typedef struct orion_vocab {
  const orion_allocator *allocator;
  char *pool;  // spellings one after another
  size_t pool_size, pool_cap;
  orion_token_span *spans;  // [size]
  uint8_t *flags;           // [size]
  size_t size, spans_cap, flags_cap;  // size: highest id + 1
  uint32_t *slots;  // open addressing, id + 1; a power of two, at most half full
  size_t slot_count, used;
} orion_vocab;

void orion_vocab_init(orion_vocab *v, const orion_allocator *a);
void orion_vocab_deinit(orion_vocab *v);

// Adds a token. ORION_FORMAT, with `name` in front, for an id out of range or taken, or a spelling that is there.
orion_status orion_vocab_add(orion_vocab *v, int64_t id, const char *text, size_t n, unsigned flags, const char *name,
                             orion_error *err);

// As above, but a spelling that is there already keeps its first id for look-ups (llama2.c files hold such).
orion_status orion_vocab_add_shadowed(orion_vocab *v, int64_t id, const char *text, size_t n, unsigned flags,
                                      const char *name, orion_error *err);

int32_t orion_vocab_find(const orion_vocab *v, const void *text, size_t n);  // -1: none

static inline const char *orion_vocab_text(const orion_vocab *v, int32_t id, size_t *out_n) {
  *out_n = v->spans[id].size;
  return v->pool + v->spans[id].offset;
}

static inline bool orion_vocab_has(const orion_vocab *v, int64_t id) {
  return id >= 0 && (uint64_t)id < v->size && (v->flags[id] & ORION_TOKEN_USED) != 0;
}

// A spelling made safe for a message: at most 40 bytes, unprintable ones as \xNN. Returns `out`.
const char *orion_token_quote(const char *text, size_t n, char out[180]);

// A hash of any bytes; good for tables, not against enemies.
uint64_t orion_text_hash(const void *bytes, size_t n);

#endif
