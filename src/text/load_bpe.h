// What tokenizer.json and vocab.json + merges.txt have in common: a vocabulary object and lines of two tokens.
#ifndef ORION_TEXT_LOAD_BPE_H
#define ORION_TEXT_LOAD_BPE_H

#include "text/impl.h"
#include "base/json.h"

// {"token": id, ...}
orion_status orion_load_vocab_object(orion_tokenizer *t, const json_t *object, const char *where, orion_error *err);

// One merge of two tokens by rank: "left right", or both given. Messages do not say which merge it is: the caller puts
// that in front (orion_error_prefix), and only when it is needed, for there are many merges.
orion_status orion_load_merge(orion_tokenizer *t, const char *left, size_t left_n, const char *right, size_t right_n,
                              uint32_t rank, orion_error *err);
orion_status orion_load_merge_text(orion_tokenizer *t, const char *text, size_t n, uint32_t rank, orion_error *err);

#endif
