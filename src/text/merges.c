// See merges.h.
//
// The heap holds one 64-bit key per candidate pair and is never cleaned: a popped key counts only if the pair that
// starts at its symbol still has that rank, else it is stale and dropped. Every merge pushes at most two keys, so the
// work is O(n log n) whatever the text.
#include "text/merges.h"

void orion_merges_init(orion_merges *m, const orion_allocator *a) {
  *m = (orion_merges){.allocator = orion_allocator_or_default(a)};
}

void orion_merges_deinit(orion_merges *m) {
  orion_free(m->allocator, m->slots, m->slot_count, sizeof *m->slots);
  *m = (orion_merges){.allocator = m->allocator};
}

static size_t pair_hash(int32_t left, int32_t right) {
  uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
  h ^= h >> 32;
  return (size_t)(h * 0xff51afd7ed558ccdu >> 20);
}

static orion_merge *slot_of(const orion_merges *m, int32_t left, int32_t right) {
  size_t mask = m->slot_count - 1;
  for (size_t i = pair_hash(left, right) & mask;; i = (i + 1) & mask) {
    orion_merge *s = &m->slots[i];
    if (s->result < 0 || (s->left == left && s->right == right)) return s;
  }
}

bool orion_merges_reserve(orion_merges *m, size_t count) {
  size_t need, slot_count = m->slot_count ? m->slot_count : 1024;
  if (!orion_mul_ok(count, 2, &need)) return false;
  while (slot_count < need) {
    if (!orion_mul_ok(slot_count, 2, &slot_count)) return false;
  }
  if (slot_count == m->slot_count) return true;
  orion_merges bigger = {.allocator = m->allocator, .slot_count = slot_count, .used = m->used};
  bigger.slots = orion_alloc(m->allocator, slot_count, sizeof *bigger.slots);
  if (!bigger.slots) return false;
  for (size_t i = 0; i < slot_count; i++) bigger.slots[i] = (orion_merge){0, 0, 0, -1};
  for (size_t i = 0; i < m->slot_count; i++) {
    if (m->slots[i].result >= 0) *slot_of(&bigger, m->slots[i].left, m->slots[i].right) = m->slots[i];
  }
  orion_merges_deinit(m);
  *m = bigger;
  return true;
}

bool orion_merges_add(orion_merges *m, orion_merge merge) {
  if ((m->used + 1) * 2 > m->slot_count && !orion_merges_reserve(m, (m->used + 1) * 2)) return false;
  orion_merge *s = slot_of(m, merge.left, merge.right);
  if (s->result >= 0) return true;
  *s = merge;
  m->used++;
  return true;
}

static const orion_merge *find(const orion_merges *m, int32_t left, int32_t right) {  // NULL: none
  if (m->slot_count == 0 || left < 0 || right < 0) return NULL;
  const orion_merge *s = slot_of(m, left, right);
  return s->result >= 0 ? s : NULL;
}

void orion_merge_work_deinit(orion_merge_work *w) {
  orion_free(w->allocator, w->symbols, w->symbols_cap, sizeof *w->symbols);
  orion_free(w->allocator, w->heap, w->heap_cap, sizeof *w->heap);
  *w = (orion_merge_work){.allocator = w->allocator};
}

// The caller has made room: at most 3 keys per symbol ever enter.
static void push(orion_merge_work *w, uint64_t key) {
  size_t i = w->heap_count++;
  while (i > 0 && w->heap[(i - 1) / 2] > key) {
    w->heap[i] = w->heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  w->heap[i] = key;
}

static uint64_t pop(orion_merge_work *w) {
  uint64_t top = w->heap[0], last = w->heap[--w->heap_count];
  size_t i = 0, n = w->heap_count;
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && w->heap[child + 1] < w->heap[child]) child++;
    if (w->heap[child] >= last) break;
    w->heap[i] = w->heap[child];
  }
  w->heap[i] = last;
  return top;
}

static void consider(const orion_merges *m, orion_merge_work *w, uint32_t left) {
  if (left == ORION_SYMBOL_END || w->symbols[left].next == ORION_SYMBOL_END) return;
  const orion_merge *merge = find(m, w->symbols[left].id, w->symbols[w->symbols[left].next].id);
  if (merge) push(w, (uint64_t)merge->rank << 32 | left);
}

bool orion_merges_apply(const orion_merges *m, orion_merge_work *w) {
  size_t n = w->count, room;
  if (n < 2) {
    if (n) w->symbols[0].prev = w->symbols[0].next = ORION_SYMBOL_END;
    return true;
  }
  if (!orion_mul_ok(n, 3, &room) || !ORION_GROW(w->allocator, &w->heap, &w->heap_cap, room)) return false;
  w->heap_count = 0;
  for (size_t i = 0; i < n; i++) {
    w->symbols[i].prev = i ? (uint32_t)i - 1 : ORION_SYMBOL_END;
    w->symbols[i].next = i + 1 < n ? (uint32_t)i + 1 : ORION_SYMBOL_END;
  }
  for (size_t i = 0; i + 1 < n; i++) consider(m, w, (uint32_t)i);
  while (w->heap_count) {
    uint64_t key = pop(w);
    uint32_t left = (uint32_t)key;
    orion_symbol *a = &w->symbols[left];
    if (a->id < 0 || a->next == ORION_SYMBOL_END) continue;
    orion_symbol *b = &w->symbols[a->next];
    const orion_merge *merge = find(m, a->id, b->id);
    if (!merge || merge->rank != (uint32_t)(key >> 32)) continue;
    a->id = merge->result;
    a->next = b->next;
    b->id = ORION_SYMBOL_DEAD;
    if (a->next != ORION_SYMBOL_END) w->symbols[a->next].prev = left;
    consider(m, w, a->prev);
    consider(m, w, left);
  }
  return true;
}
