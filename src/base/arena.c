// Blocks of growing size, newest first; the newest is bumped, something big gets a block of its own behind it.
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>

struct orion_arena_block {
  orion_arena_block *next;
  size_t size;  // whole allocation, header included
  size_t used;  // header included
};

#define HEADER orion_round_up(sizeof(orion_arena_block), ORION_ALIGN_CACHE)

void orion_arena_init(orion_arena *arena, const orion_allocator *allocator) {
  *arena = (orion_arena){.allocator = orion_allocator_or_default(allocator), .block_size = 16 * 1024};
}

void orion_arena_deinit(orion_arena *arena) {
  while (arena->blocks) {
    orion_arena_block *block = arena->blocks;
    arena->blocks = block->next;
    orion_free_aligned(arena->allocator, block, block->size, ORION_ALIGN_CACHE);
  }
  arena->total = 0;
}

static orion_arena_block *new_block(orion_arena *arena, size_t payload) {
  size_t size;
  if (!orion_add_ok(payload, HEADER, &size)) return NULL;
  orion_arena_block *block = orion_alloc_aligned(arena->allocator, size, ORION_ALIGN_CACHE);
  if (!block) return NULL;
  memset(block, 0, size);
  block->size = size;
  block->used = HEADER;
  arena->total += size;
  return block;
}

void *orion_arena_aligned(orion_arena *arena, size_t size, size_t align) {
  orion_arena_block *block = arena->blocks;
  if (block) {
    size_t at = orion_round_up(block->used, align);
    if (at <= block->size && size <= block->size - at) {
      block->used = at + size;
      return (char *)block + at;
    }
  }
  // Something big gets a block of its own behind the current one, so that the current one's rest is not lost.
  bool big = size > arena->block_size / 4;
  block = new_block(arena, big ? size : arena->block_size);
  if (!block) return NULL;
  block->used = HEADER + size;
  if (big && arena->blocks) {
    block->next = arena->blocks->next;
    arena->blocks->next = block;
  } else {
    block->next = arena->blocks;
    arena->blocks = block;
  }
  if (!big && arena->block_size < 1024 * 1024) arena->block_size *= 2;
  return (char *)block + HEADER;
}

void *orion_arena_alloc(orion_arena *arena, size_t count, size_t size) {
  size_t bytes;
  if (!orion_mul_ok(count, size, &bytes)) return NULL;
  return orion_arena_aligned(arena, bytes, ORION_ALIGN_DEFAULT);
}

char *orion_arena_strndup(orion_arena *arena, const char *s, size_t n) {
  size_t size;
  char *copy = orion_add_ok(n, 1, &size) ? orion_arena_aligned(arena, size, 1) : NULL;
  if (copy) memcpy(copy, s, n);
  return copy;
}

char *orion_arena_strdup(orion_arena *arena, const char *s) { return orion_arena_strndup(arena, s, strlen(s)); }

char *orion_arena_printf(orion_arena *arena, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (n < 0) return NULL;
  char *text = orion_arena_aligned(arena, (size_t)n + 1, 1);
  if (!text) return NULL;
  va_start(args, format);
  vsnprintf(text, (size_t)n + 1, format, args);
  va_end(args);
  return text;
}

void *orion_arena_copy(orion_arena *arena, const void *src, size_t count, size_t size) {
  void *copy = orion_arena_alloc(arena, count, size);
  if (copy && count && size) memcpy(copy, src, count * size);
  return copy;
}
