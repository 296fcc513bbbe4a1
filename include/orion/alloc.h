/// The allocator that callers may pass to every create function; NULL means the C library's.
#ifndef ORION_ALLOC_H
#define ORION_ALLOC_H

#include <stddef.h>

#include "orion/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Both functions may be called from any thread. `align` is a power of two; `size` is never 0.
/// alloc returns NULL when out of memory. free gets the size and alignment that alloc was given.
typedef struct orion_allocator {
  void *ctx;
  void *(*alloc)(void *ctx, size_t size, size_t align);
  void (*free)(void *ctx, void *ptr, size_t size, size_t align);
} orion_allocator;

/// The C library's allocator. Never NULL, static.
ORION_API const orion_allocator *orion_default_allocator(void);

#ifdef __cplusplus
}
#endif
#endif
