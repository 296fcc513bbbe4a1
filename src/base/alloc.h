// Memory: the only room that calls malloc. Every other file allocates through these helpers, whose sizes are checked.
#ifndef ORION_BASE_ALLOC_H
#define ORION_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "orion/alloc.h"

#define ORION_ALIGN_DEFAULT 16
#define ORION_ALIGN_CACHE 64

// out = a*b or a+b; false (and out untouched) on overflow.
static inline bool orion_mul_ok(size_t a, size_t b, size_t *out) {
  size_t product;
  if (__builtin_mul_overflow(a, b, &product)) return false;
  *out = product;
  return true;
}

static inline bool orion_add_ok(size_t a, size_t b, size_t *out) {
  size_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return false;
  *out = sum;
  return true;
}

// Rounds up to a multiple of a power of two; the caller knows that n is far from SIZE_MAX.
static inline size_t orion_round_up(size_t n, size_t multiple) { return (n + multiple - 1) & ~(multiple - 1); }

// NULL stands for the default allocator everywhere.
static inline const orion_allocator *orion_allocator_or_default(const orion_allocator *a) {
  return a ? a : orion_default_allocator();
}

// Uninitialised / zeroed memory; NULL when out of memory or when count*size overflows. A size of 0 gives a unique
// pointer to at least one byte. `align` a power of two.
void *orion_alloc(const orion_allocator *a, size_t count, size_t size);
void *orion_alloc_zero(const orion_allocator *a, size_t count, size_t size);
void *orion_alloc_aligned(const orion_allocator *a, size_t size, size_t align);

// Frees what the calls above gave, with the same count and size (or size and align). NULL is ignored.
void orion_free(const orion_allocator *a, void *ptr, size_t count, size_t size);
void orion_free_aligned(const orion_allocator *a, void *ptr, size_t size, size_t align);

// Copies of strings; orion_strfree frees either (it measures the string).
char *orion_strdup(const orion_allocator *a, const char *s);
char *orion_strndup(const orion_allocator *a, const char *s, size_t n);
void orion_strfree(const orion_allocator *a, char *s);

// Makes room for `need` elements of `size` bytes in the array *ptr of capacity *cap (doubling). False when out of
// memory; the array is then unchanged. Use through ORION_GROW, which takes the element size from the pointer.
bool orion_grow(const orion_allocator *a, void **ptr, size_t *cap, size_t need, size_t size);
#define ORION_GROW(a, ptr, cap, need) orion_grow((a), (void **)(ptr), (cap), (need), sizeof **(ptr))

// Status helper for the commonest failure. `what` names the thing that there was no room for.
#define ORION_OOM(err, what) ORION_FAIL((err), ORION_NO_MEMORY, "%s: out of memory", (what))

#endif
