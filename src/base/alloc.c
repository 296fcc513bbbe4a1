// The only file that touches the C library's heap.
#include "base/alloc.h"

#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#define LARGE_PAGE ((size_t)2 << 20)

// Tensors of megabytes begin on a large page, and all large pages that they fill are asked for: products read many rows of
// a matrix at once, and a walk through page tables for each would cost more than the reading. Where the system does not
// hear of it, small pages do.
static void *default_alloc(void *ctx, size_t size, size_t align) {
  (void)ctx;
  if (align <= ORION_ALIGN_DEFAULT) return malloc(size);
  void *ptr = NULL;
  if (size >= LARGE_PAGE && align < LARGE_PAGE) align = LARGE_PAGE;
  if (posix_memalign(&ptr, align, size) != 0) return NULL;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (size >= LARGE_PAGE && align >= LARGE_PAGE) madvise(ptr, size / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE);
#endif
  return ptr;
}

static void default_free(void *ctx, void *ptr, size_t size, size_t align) {
  (void)ctx;
  (void)size;
  (void)align;
  free(ptr);
}

const orion_allocator *orion_default_allocator(void) {
  static const orion_allocator allocator = {NULL, default_alloc, default_free};
  return &allocator;
}

// One place decides how many bytes an array of count*size takes, so that alloc and free agree.
static bool array_bytes(size_t count, size_t size, size_t *out) {
  size_t bytes;
  if (!orion_mul_ok(count, size, &bytes)) return false;
  *out = bytes ? bytes : 1;
  return true;
}

void *orion_alloc(const orion_allocator *a, size_t count, size_t size) {
  size_t bytes;
  if (!array_bytes(count, size, &bytes)) return NULL;
  a = orion_allocator_or_default(a);
  return a->alloc(a->ctx, bytes, ORION_ALIGN_DEFAULT);
}

void *orion_alloc_zero(const orion_allocator *a, size_t count, size_t size) {
  void *ptr = orion_alloc(a, count, size);
  if (ptr) memset(ptr, 0, count * size);
  return ptr;
}

void *orion_alloc_aligned(const orion_allocator *a, size_t size, size_t align) {
  a = orion_allocator_or_default(a);
  return a->alloc(a->ctx, size ? size : 1, align);
}

void orion_free(const orion_allocator *a, void *ptr, size_t count, size_t size) {
  if (!ptr) return;
  size_t bytes = 1;
  array_bytes(count, size, &bytes);  // cannot overflow: the same product was allocated
  a = orion_allocator_or_default(a);
  a->free(a->ctx, ptr, bytes, ORION_ALIGN_DEFAULT);
}

void orion_free_aligned(const orion_allocator *a, void *ptr, size_t size, size_t align) {
  if (!ptr) return;
  a = orion_allocator_or_default(a);
  a->free(a->ctx, ptr, size ? size : 1, align);
}

char *orion_strndup(const orion_allocator *a, const char *s, size_t n) {
  size_t size;
  char *copy = orion_add_ok(n, 1, &size) ? orion_alloc(a, size, 1) : NULL;
  if (!copy) return NULL;
  memcpy(copy, s, n);
  copy[n] = 0;
  return copy;
}

char *orion_strdup(const orion_allocator *a, const char *s) { return orion_strndup(a, s, strlen(s)); }

void orion_strfree(const orion_allocator *a, char *s) {
  if (s) orion_free(a, s, strlen(s) + 1, 1);
}

bool orion_grow(const orion_allocator *a, void **ptr, size_t *cap, size_t need, size_t size) {
  if (need <= *cap) return true;
  size_t want = *cap ? *cap : 8;
  while (want < need) {
    if (!orion_mul_ok(want, 2, &want)) return false;
  }
  void *bigger = orion_alloc(a, want, size);
  if (!bigger) return false;
  if (*ptr) memcpy(bigger, *ptr, *cap * size);
  orion_free(a, *ptr, *cap, size);
  *ptr = bigger;
  *cap = want;
  return true;
}
