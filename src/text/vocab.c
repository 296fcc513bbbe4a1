// See vocab.h. Linear probing over ids, so that a probe compares 4 bytes before it looks at a spelling.
#include "text/vocab.h"

#include <stdio.h>

#include "text/utf8.h"

uint64_t orion_text_hash(const void *bytes, size_t n) {
  const uint8_t *p = bytes;
  uint64_t h = n * 0x9e3779b97f4a7c15u, word;
  for (; n >= 8; p += 8, n -= 8) {
    memcpy(&word, p, 8);
    h = (h ^ word) * 0xff51afd7ed558ccdu;
    h ^= h >> 32;
  }
  word = 0;
  memcpy(&word, p, n);
  h = (h ^ word) * 0xff51afd7ed558ccdu;
  h ^= h >> 29;
  h *= 0xc4ceb9fe1a85ec53u;
  return h ^ h >> 32;
}

const char *orion_token_quote(const char *text, size_t n, char out[180]) {
  size_t k = 0, limit = n < 40 ? n : 40;
  for (size_t i = 0; i < limit;) {
    uint32_t c;
    size_t step = orion_utf8_next((const uint8_t *)text + i, n - i, &c);
    if (step == 0 || c < 0x20 || c == 0x7f) {
      k += (size_t)snprintf(out + k, 5, "\\x%02X", (uint8_t)text[i]);
      i++;
    } else {
      memcpy(out + k, text + i, step);
      k += step;
      i += step;
    }
  }
  memcpy(out + k, n > limit ? "..." : "", n > limit ? 4 : 1);
  return out;
}

void orion_vocab_init(orion_vocab *v, const orion_allocator *a) {
  *v = (orion_vocab){.allocator = orion_allocator_or_default(a)};
}

void orion_vocab_deinit(orion_vocab *v) {
  const orion_allocator *a = v->allocator;
  orion_free(a, v->pool, v->pool_cap, 1);
  orion_free(a, v->spans, v->spans_cap, sizeof *v->spans);
  orion_free(a, v->flags, v->flags_cap, sizeof *v->flags);
  orion_free(a, v->slots, v->slot_count, sizeof *v->slots);
  *v = (orion_vocab){.allocator = a};
}

// The slot that holds the spelling, or the empty one where it belongs.
static uint32_t *slot_of(const orion_vocab *v, const void *text, size_t n) {
  size_t mask = v->slot_count - 1;
  for (size_t i = (size_t)orion_text_hash(text, n) & mask;; i = (i + 1) & mask) {
    uint32_t id = v->slots[i];
    if (id == 0) return &v->slots[i];
    const orion_token_span *s = &v->spans[id - 1];
    if (s->size == n && memcmp(v->pool + s->offset, text, n) == 0) return &v->slots[i];
  }
}

static bool rehash(orion_vocab *v) {
  size_t old_count = v->slot_count, count = old_count ? old_count * 4 : 4096;
  uint32_t *old = v->slots, *slots = orion_alloc_zero(v->allocator, count, sizeof *slots);
  if (!slots) return false;
  v->slots = slots;
  v->slot_count = count;
  for (size_t i = 0; i < old_count; i++) {
    if (old[i] == 0) continue;
    const orion_token_span *s = &v->spans[old[i] - 1];
    *slot_of(v, v->pool + s->offset, s->size) = old[i];
  }
  orion_free(v->allocator, old, old_count, sizeof *old);
  return true;
}

static bool make_room(orion_vocab *v, size_t ids, size_t bytes) {
  if (!ORION_GROW(v->allocator, &v->spans, &v->spans_cap, ids)) return false;
  if (!ORION_GROW(v->allocator, &v->flags, &v->flags_cap, ids)) return false;
  if (!ORION_GROW(v->allocator, &v->pool, &v->pool_cap, bytes)) return false;
  return v->used * 2 < v->slot_count || rehash(v);
}

static orion_status add(orion_vocab *v, int64_t id, const char *text, size_t n, unsigned flags, bool shadowed,
                        const char *name, orion_error *err) {
  char quoted[180], other[180];
  if (id < 0 || id >= ORION_VOCAB_MAX) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: token \"%s\" has id %lld (want 0 to %d)", name,
                      orion_token_quote(text, n, quoted), (long long)id, ORION_VOCAB_MAX - 1);
  }
  if (orion_vocab_has(v, id)) {
    const orion_token_span *s = &v->spans[id];
    return ORION_FAIL(err, ORION_FORMAT, "%s: tokens \"%s\" and \"%s\" have the same id %lld", name,
                      orion_token_quote(v->pool + s->offset, s->size, other), orion_token_quote(text, n, quoted),
                      (long long)id);
  }
  size_t ids = (size_t)id + 1 > v->size ? (size_t)id + 1 : v->size, bytes;
  if (!orion_add_ok(v->pool_size, n, &bytes) || bytes >= UINT32_MAX) {
    return ORION_FAIL(err, ORION_LIMIT, "%s: more than 4 GiB of token text", name);
  }
  if (!make_room(v, ids, bytes + 1)) return ORION_OOM(err, name);
  uint32_t *slot = slot_of(v, text, n);
  if (*slot && !shadowed) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: token \"%s\" has two ids, %u and %lld", name,
                      orion_token_quote(text, n, quoted), *slot - 1, (long long)id);
  }
  memset(v->flags + v->size, 0, ids - v->size);
  v->size = ids;
  memcpy(v->pool + v->pool_size, text, n);
  v->spans[id] = (orion_token_span){(uint32_t)v->pool_size, (uint32_t)n};
  v->flags[id] = (uint8_t)(flags | ORION_TOKEN_USED);
  v->pool_size += n;
  if (*slot == 0) {
    *slot = (uint32_t)id + 1;
    v->used++;
  }
  return ORION_OK;
}

orion_status orion_vocab_add(orion_vocab *v, int64_t id, const char *text, size_t n, unsigned flags, const char *name,
                             orion_error *err) {
  return add(v, id, text, n, flags, false, name, err);
}

orion_status orion_vocab_add_shadowed(orion_vocab *v, int64_t id, const char *text, size_t n, unsigned flags,
                                      const char *name, orion_error *err) {
  return add(v, id, text, n, flags, true, name, err);
}

int32_t orion_vocab_find(const orion_vocab *v, const void *text, size_t n) {
  if (v->slot_count == 0) return -1;
  return (int32_t)*slot_of(v, text, n) - 1;
}
