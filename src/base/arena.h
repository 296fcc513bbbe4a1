// A bump arena: many small things that die together (a program's nodes, a parser's names). Nothing is freed singly.
// Not thread-safe. Memory is zeroed.
#ifndef ORION_BASE_ARENA_H
#define ORION_BASE_ARENA_H

#include "base/alloc.h"

typedef struct orion_arena_block orion_arena_block;

typedef struct orion_arena {
  const orion_allocator *allocator;
  orion_arena_block *blocks;  // newest first
  size_t block_size;          // payload of an ordinary block
  size_t total;               // bytes taken from the allocator
} orion_arena;

void orion_arena_init(orion_arena *arena, const orion_allocator *allocator);
void orion_arena_deinit(orion_arena *arena);  // frees everything; the arena can be used again

// NULL when out of memory or when count*size overflows. Aligned to 16 bytes (orion_arena_aligned: to `align` <= 64).
void *orion_arena_alloc(orion_arena *arena, size_t count, size_t size);
void *orion_arena_aligned(orion_arena *arena, size_t size, size_t align);
char *orion_arena_strdup(orion_arena *arena, const char *s);
char *orion_arena_strndup(orion_arena *arena, const char *s, size_t n);
char *orion_arena_printf(orion_arena *arena, const char *format, ...) ORION_PRINTF(2, 3);
void *orion_arena_copy(orion_arena *arena, const void *src, size_t count, size_t size);

#define ORION_ARENA_NEW(arena, type) ((type *)orion_arena_alloc((arena), 1, sizeof(type)))
#define ORION_ARENA_ARRAY(arena, type, n) ((type *)orion_arena_alloc((arena), (n), sizeof(type)))

#endif
