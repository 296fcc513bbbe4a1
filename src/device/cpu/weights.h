// The device's constants, packed. One entry per (constant, format), counted, shared by all plans of the device: the
// prefill and decode programs of a model keep one copy of its weights.
#ifndef ORION_DEVICE_CPU_WEIGHTS_H
#define ORION_DEVICE_CPU_WEIGHTS_H

#include "device/cpu/plan.h"
#include "device/cpu/weight_cache.h"

typedef struct orion_cpu_weight {
  struct orion_cpu_weight *next;
  orion_cpu_weight_key key;
  size_t uses;
  void *memory;  // owned, unless borrowed
  size_t bytes;
  bool borrowed;  // the constant's own bytes
  orion_cached_weight cached;  // where `memory` is, if it came from the cache: read-only
} orion_cpu_weight;

enum { ORION_CPU_WEIGHT_BUCKETS = 256 };

typedef struct orion_cpu_weights {
  const orion_allocator *allocator;
  const orion_kernels *k;
  orion_pool *pool;
  orion_weight_cache *cache;  // NULL: none
  orion_cpu_weight *buckets[ORION_CPU_WEIGHT_BUCKETS];
} orion_cpu_weights;

// Finds or packs. The caller releases.
orion_status orion_cpu_weight_acquire(orion_cpu_weights *w, const orion_cpu_weight_key *key, orion_cpu_weight **out,
                                      orion_error *err);
void orion_cpu_weight_release(orion_cpu_weights *w, orion_cpu_weight *e);
// Packs all entries of a constant again, after its bytes changed.
orion_status orion_cpu_weights_refresh(orion_cpu_weights *w, const orion_data *data, orion_error *err);

#endif
