// Keys of constants that hold across processes. A leaf of a file is its identity, type and shape; small leaves of other
// memory (tables that the compiler made) are their content; a node is its kind, shape, side array and sources' keys.
#include "ir/data.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { MAX_DEPTH = 64, MAX_SOURCES = 64, MAX_CONTENT = 1 << 16 };

static bool key_of(const orion_data *x, int depth, orion_data_key *out);

typedef struct record {  // no padding: it is hashed as bytes
  uint64_t kind, dtype, rows, cols, group, identity, n_sources;
  orion_data_key side, sources[MAX_SOURCES];
} record;

static orion_data_key hash(const void *bytes, size_t n) {
  XXH128_hash_t h = XXH3_128bits(bytes, n);
  return (orion_data_key){h.low64, h.high64};
}

static bool leaf_content(const orion_data *x, orion_data_key *out) {
  size_t size;
  if (x->changes || !orion_dtype_bytes(x->dtype, orion_data_elements(x), &size) || size > MAX_CONTENT) return false;
  *out = hash(x->bytes, size);
  return true;
}

static bool key_of(const orion_data *x, int depth, orion_data_key *out) {
  record r = {.kind = (uint64_t)x->kind, .dtype = (uint64_t)x->dtype, .rows = x->rows, .cols = x->cols, .group = x->group,
              .identity = x->identity, .n_sources = x->n_sources};
  if (depth == MAX_DEPTH || x->n_sources > MAX_SOURCES) return false;
  if (x->kind == ORION_DATA_BYTES && !x->identity && !leaf_content(x, &r.side)) return false;
  if (x->kind == ORION_DATA_SCALE) r.side = hash(x->scale, x->n_scale * sizeof *x->scale);
  if (x->kind == ORION_DATA_ROWS) r.side = hash(x->index, x->rows * sizeof *x->index);
  if (x->kind == ORION_DATA_COLS) r.side = hash(x->index, x->cols * sizeof *x->index);
  for (size_t i = 0; i < x->n_sources; i++) {
    if (!key_of(x->sources[i], depth + 1, &r.sources[i])) return false;
  }
  *out = hash(&r, offsetof(record, sources) + x->n_sources * sizeof r.sources[0]);
  return true;
}

bool orion_data_make_key(const orion_data *x, orion_data_key *out) { return key_of(x, 0, out); }
