// Pair merging: the core of BPE, the same for rank lists (GPT-2, Llama 3) and for scores (SentencePiece, where the
// score of the merged piece, sorted, is the rank). Always the lowest rank first, the leftmost among equals.
#ifndef ORION_TEXT_MERGES_H
#define ORION_TEXT_MERGES_H

#include "base/alloc.h"

typedef struct orion_merge {
  int32_t left, right;
  uint32_t rank;
  int32_t result;  // -1: an empty slot
} orion_merge;

typedef struct orion_merges {
  const orion_allocator *allocator;
  orion_merge *slots;  // open addressing on (left, right); a power of two, at most half full
  size_t slot_count, used;
} orion_merges;

void orion_merges_init(orion_merges *m, const orion_allocator *a);
void orion_merges_deinit(orion_merges *m);
bool orion_merges_reserve(orion_merges *m, size_t count);
bool orion_merges_add(orion_merges *m, orion_merge merge);  // false: out of memory; the first of equal pairs stays

// One symbol of a piece under work. Symbols form a linked list in place; id ORION_SYMBOL_DEAD marks a merged one.
typedef struct orion_symbol {
  int32_t id;      // token; below 0: never merges
  uint32_t start;  // byte offset in the piece
  uint32_t prev, next;  // ORION_SYMBOL_END at either end
} orion_symbol;

#define ORION_SYMBOL_END UINT32_MAX
#define ORION_SYMBOL_DEAD INT32_MIN

typedef struct orion_merge_work {
  const orion_allocator *allocator;
  orion_symbol *symbols;
  size_t count, symbols_cap;
  uint64_t *heap;  // rank << 32 | index of the left symbol, smallest first
  size_t heap_count, heap_cap;
} orion_merge_work;

void orion_merge_work_deinit(orion_merge_work *w);

// Merges w->symbols (prev and next set here) until no pair is left. O(n log n). False when out of memory.
bool orion_merges_apply(const orion_merges *m, orion_merge_work *w);

#endif
