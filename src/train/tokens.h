// Token data: files of ids or of text, cut into windows that are visited in a shuffled order.
//
//   Files      *.bin, *.u16, *.u32: little-endian ids, checked against the vocabulary when the file is opened.
//              Anything else is text, encoded when it is opened. Documents of a text are separated by "<|endoftext|>":
//              where the tokenizer has that token it stays, one after each document; where it has not, the separator is
//              left out, blanks around documents too, and each document begins with the begin token.
//   Windows    seq inputs and, one further on, seq targets: seq + 1 ids, a new window every seq ids, so that each id but a
//              file's first is a target once an epoch. What remains at a file's end makes one more window, moved back until
//              it is full: nothing is lost, a few ids are targets twice. No window spans two files.
//   Documents  with `documents` windows begin at the first id of each document and every seq ids within it; they run on
//              into the next document (or are moved back at the file's end). Then position 0 sees begin tokens, as it
//              will when the model is used; the first id of a document need not be a target.
//   Order      epoch e visits all windows in an order that depends on (seed, e) only. A position is (epoch, index): saved
//              with a checkpoint, it continues exactly.
#ifndef ORION_TRAIN_TOKENS_H
#define ORION_TRAIN_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orion/alloc.h"
#include "orion/status.h"
#include "orion/tokenizer.h"

typedef struct orion_tokens orion_tokens;

typedef struct orion_tokens_options {
  const char *const *paths;
  size_t n_paths;
  int width;                         // bytes of an id in .bin files: 2 or 4; 0: 2 for a vocabulary of up to 65,536
  int64_t vocab, seq;
  bool documents, shuffle;
  int32_t separator;                 // id that begins or ends documents, for `documents`; -1: the tokenizer's
  uint64_t seed;
  const orion_tokenizer *tokenizer;  // for text; may be NULL where all files are of ids
} orion_tokens_options;

typedef struct orion_tokens_position {
  uint64_t epoch, index;             // next window is number `index` in epoch `epoch`
} orion_tokens_position;

orion_status orion_tokens_open(const orion_allocator *a, const orion_tokens_options *options, orion_tokens **out,
                               orion_error *err);
void orion_tokens_close(orion_tokens *t);                 // NULL is ignored
uint64_t orion_tokens_windows(const orion_tokens *t);     // of one epoch, at least 1
uint64_t orion_tokens_count(const orion_tokens *t);       // ids in all files
uint64_t orion_tokens_hash(const orion_tokens *t);        // of all ids and of how they are cut: the same data, the same hash

// Window number `window` as the files have them: seq + 1 ids.
void orion_tokens_window(const orion_tokens *t, uint64_t window, int32_t *out_ids);
// The next n windows from `position` on, which moves: inputs and targets [n, seq]. The next epoch begins where one ends.
void orion_tokens_next(const orion_tokens *t, orion_tokens_position *position, int64_t n, int32_t *out_inputs,
                       int32_t *out_targets);
// Moves the position as orion_tokens_next does.
void orion_tokens_skip(const orion_tokens *t, orion_tokens_position *position, int64_t n);

#endif
