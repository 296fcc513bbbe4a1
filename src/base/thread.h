// A pool of worker threads and one way to use it: split [0, n) into pieces and wait. Work is cut into the same pieces
// whatever the number of threads, so that results do not depend on it.
#ifndef ORION_BASE_THREAD_H
#define ORION_BASE_THREAD_H

#include "base/alloc.h"

typedef struct orion_pool orion_pool;

// `threads` counts the calling thread, so 1 starts none; 0 means one per processor that this process may use.
orion_status orion_pool_create(const orion_allocator *a, int threads, orion_pool **out, orion_error *err);
void orion_pool_destroy(orion_pool *pool);           // NULL is ignored; no call may be running
int orion_pool_threads(const orion_pool *pool);      // 1 for NULL
int orion_cpu_count(void);                           // processors that this process may use, at least 1

// Runs fn(ctx, begin, end, worker) over pieces of `grain` indices covering [0, n) and returns when all are done. Pieces
// start at multiples of grain; `worker` is 0..threads-1 (for scratch memory), never used by two calls at once. A NULL
// pool, or n <= grain, runs in the calling thread. One thread at a time may call this on a pool; calls do not nest.
typedef void (*orion_range_fn)(void *ctx, size_t begin, size_t end, int worker);
void orion_parallel_for(orion_pool *pool, size_t n, size_t grain, orion_range_fn fn, void *ctx);

#endif
