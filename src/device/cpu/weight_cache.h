// Packed weights on disk, one file for each, under a name that is the key of what was packed and how. See weight_cache.c.
#ifndef ORION_DEVICE_CPU_WEIGHT_CACHE_H
#define ORION_DEVICE_CPU_WEIGHT_CACHE_H

#include "base/thread.h"
#include "ir/data.h"

typedef struct orion_weight_cache orion_weight_cache;

// Memory of a cache file: `bytes` of contents, read-only, aligned to a page.
typedef struct orion_cached_weight {
  const void *bytes;
  void *map;  // NULL: none
  size_t map_size;
} orion_cached_weight;

// Of the bytes that packing writes (kernels.h): to be raised with every change of them.
#define ORION_PANEL_LAYOUT 3
#define ORION_WEIGHT_CACHE_LEAST (256u << 10)  // smaller weights are packed sooner than a file is opened

// In directory `dir`, which is made when something is stored; NULL: the user's (ORION_CACHE, XDG_CACHE_HOME or what the system
// has). ORION_CACHE=off, or no such place: *out is NULL, which the calls below take for an empty cache. All files
// together stay below `limit` bytes.
orion_status orion_weight_cache_open(const orion_allocator *a, const char *dir, uint64_t limit, orion_weight_cache **out,
                                     orion_error *err);
void orion_weight_cache_close(orion_weight_cache *c);

// The contents stored under `key` if they are whole, `bytes` long and ours; checked by all threads of the pool.
bool orion_weight_cache_find(orion_weight_cache *c, const orion_data_key *key, size_t bytes, orion_pool *pool,
                             orion_cached_weight *out);
// Best effort: a full disk or a directory of somebody else's is no error. true: it can be found from now on.
bool orion_weight_cache_store(orion_weight_cache *c, const orion_data_key *key, const void *contents, size_t bytes,
                              orion_pool *pool);
void orion_weight_cache_release(orion_cached_weight *w);

#endif
