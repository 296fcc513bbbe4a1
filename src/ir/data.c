// Nodes are hash-consed: asking a store twice for the same cast of the same tensor gives the same node. That is what
// lets two programs (prefill and decode) share one packed copy of a weight on a device.
#include "ir/data.h"

#include <assert.h>
#include <string.h>

#include "base/arena.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct kept {
  void *ctx;
  void (*release)(void *ctx);
} kept;

typedef struct computed {  // bytes of lazy nodes that somebody asked for whole
  const orion_data *node;
  void *bytes;
  size_t size;
} computed;

typedef struct file_range {
  uintptr_t begin, end;
  uint64_t identity;
} file_range;

struct orion_data_store {
  const orion_allocator *allocator;
  int references;
  orion_arena arena;
  kept *kept;
  size_t n_kept, cap_kept;
  file_range *files;
  size_t n_files, cap_files;
  computed *computed;
  size_t n_computed, cap_computed;
  const orion_data **table;  // open addressing, by node_hash
  size_t n_nodes, cap_table;
};

orion_status orion_data_store_create(const orion_allocator *a, orion_data_store **out, orion_error *err) {
  a = orion_allocator_or_default(a);
  orion_data_store *s = orion_alloc_zero(a, 1, sizeof *s);
  if (!s) return ORION_OOM(err, "constants");
  s->allocator = a;
  s->references = 1;
  orion_arena_init(&s->arena, a);
  *out = s;
  return ORION_OK;
}

orion_data_store *orion_data_store_retain(orion_data_store *s) {
  if (s) __atomic_add_fetch(&s->references, 1, __ATOMIC_RELAXED);
  return s;
}

void orion_data_store_release(orion_data_store *s) {
  if (!s || __atomic_sub_fetch(&s->references, 1, __ATOMIC_ACQ_REL) > 0) return;
  for (size_t i = 0; i < s->n_kept; i++) s->kept[i].release(s->kept[i].ctx);
  for (size_t i = 0; i < s->n_computed; i++) {
    orion_free_aligned(s->allocator, s->computed[i].bytes, s->computed[i].size, ORION_ALIGN_CACHE);
  }
  orion_free(s->allocator, s->files, s->cap_files, sizeof *s->files);
  orion_free(s->allocator, s->kept, s->cap_kept, sizeof *s->kept);
  orion_free(s->allocator, s->computed, s->cap_computed, sizeof *s->computed);
  orion_free(s->allocator, s->table, s->cap_table, sizeof *s->table);
  orion_arena_deinit(&s->arena);
  orion_free(s->allocator, s, 1, sizeof *s);
}

orion_status orion_data_store_keep(orion_data_store *s, void *ctx, void (*release)(void *ctx), orion_error *err) {
  if (!ORION_GROW(s->allocator, &s->kept, &s->cap_kept, s->n_kept + 1)) return ORION_OOM(err, "constants");
  s->kept[s->n_kept++] = (kept){ctx, release};
  return ORION_OK;
}

// ---- files ----

// Of a place in a file, by the file's identity: what stands there is the same as long as the file is.
static uint64_t identity_of(const file_range *f, const void *bytes) {
  uint64_t parts[2] = {f->identity, (uint64_t)((uintptr_t)bytes - f->begin)}, h = XXH3_64bits(parts, sizeof parts);
  return h ? h : 1;
}

static bool inside(const file_range *f, const orion_data *x) {
  return x->kind == ORION_DATA_BYTES && x->mapped && (uintptr_t)x->bytes >= f->begin && (uintptr_t)x->bytes < f->end;
}

orion_status orion_data_store_map(orion_data_store *s, const void *bytes, size_t size, uint64_t identity,
                                  orion_error *err) {
  if (!identity) return ORION_OK;
  if (!ORION_GROW(s->allocator, &s->files, &s->cap_files, s->n_files + 1)) return ORION_OOM(err, "constants");
  file_range f = {(uintptr_t)bytes, (uintptr_t)bytes + size, identity};
  s->files[s->n_files++] = f;
  for (size_t i = 0; i < s->cap_table; i++) {
    orion_data *x = (orion_data *)(uintptr_t)s->table[i];  // the store's own
    if (x && inside(&f, x)) x->identity = identity_of(&f, x->bytes);
  }
  return ORION_OK;
}

// ---- hash-consing ----

static size_t side_bytes(const orion_data *x) {  // of the array that goes with the node
  switch (x->kind) {
    case ORION_DATA_SCALE: return x->n_scale * sizeof *x->scale;
    case ORION_DATA_ROWS: return x->rows * sizeof *x->index;
    case ORION_DATA_COLS: return x->cols * sizeof *x->index;
    default: return 0;
  }
}

static const void *side(const orion_data *x) {
  return x->kind == ORION_DATA_SCALE ? (const void *)x->scale : (const void *)x->index;
}

static uint64_t node_hash(const orion_data *x) {
  uint64_t head[5] = {(uint64_t)x->kind << 8 | (uint64_t)x->dtype, x->rows, x->cols, (uintptr_t)x->bytes, x->n_sources};
  uint64_t h = XXH3_64bits(head, sizeof head);
  if (x->n_sources) h ^= XXH3_64bits(x->sources, x->n_sources * sizeof *x->sources) * 31;
  size_t n = side_bytes(x);
  if (n) h ^= XXH3_64bits(side(x), n) * 131;
  return h;
}

static bool node_equal(const orion_data *a, const orion_data *b) {
  if (a->kind != b->kind || a->dtype != b->dtype || a->rows != b->rows || a->cols != b->cols || a->bytes != b->bytes ||
      a->n_sources != b->n_sources || a->n_scale != b->n_scale || a->group != b->group) {
    return false;
  }
  if (a->n_sources && memcmp(a->sources, b->sources, a->n_sources * sizeof *a->sources) != 0) return false;
  size_t n = side_bytes(a);
  return n == 0 || memcmp(side(a), side(b), n) == 0;
}

static bool grow_table(orion_data_store *s) {
  size_t cap = s->cap_table ? s->cap_table * 2 : 256;
  const orion_data **table = orion_alloc_zero(s->allocator, cap, sizeof *table);
  if (!table) return false;
  for (size_t i = 0; i < s->cap_table; i++) {
    if (!s->table[i]) continue;
    size_t at = node_hash(s->table[i]) & (cap - 1);
    while (table[at]) at = (at + 1) & (cap - 1);
    table[at] = s->table[i];
  }
  orion_free(s->allocator, s->table, s->cap_table, sizeof *s->table);
  s->table = table;
  s->cap_table = cap;
  return true;
}

// Returns the store's node equal to `want`, made now if need be; arrays that `want` points to are copied then.
static const orion_data *intern(orion_data_store *s, const orion_data *want) {
  if (s->n_nodes * 2 >= s->cap_table && !grow_table(s)) return NULL;
  size_t at = node_hash(want) & (s->cap_table - 1);
  for (; s->table[at]; at = (at + 1) & (s->cap_table - 1)) {
    if (node_equal(s->table[at], want)) return s->table[at];
  }
  orion_data *node = orion_arena_copy(&s->arena, want, 1, sizeof *want);
  if (!node) return NULL;
  if (want->n_sources) {
    node->sources = orion_arena_copy(&s->arena, want->sources, want->n_sources, sizeof *want->sources);
    if (!node->sources) return NULL;
  }
  if (want->scale) node->scale = orion_arena_copy(&s->arena, want->scale, want->n_scale, sizeof *want->scale);
  if (want->index) node->index = orion_arena_copy(&s->arena, want->index, side_bytes(want), 1);
  if (want->origin) node->origin = orion_arena_strdup(&s->arena, want->origin);
  if ((want->scale && !node->scale) || (want->index && !node->index) || (want->origin && !node->origin)) return NULL;
  s->table[at] = node;
  s->n_nodes++;
  return node;
}

// ---- making nodes ----

const orion_data *orion_data_borrow(orion_data_store *s, orion_dtype d, size_t rows, size_t cols, const void *bytes,
                                    const char *origin) {
  orion_data x = {.kind = ORION_DATA_BYTES, .dtype = d, .rows = rows, .cols = cols, .bytes = bytes, .origin = origin};
  return intern(s, &x);
}

const orion_data *orion_data_borrow_mapped(orion_data_store *s, orion_dtype d, size_t rows, size_t cols,
                                           const void *bytes, const char *origin) {
  orion_data x = {.kind = ORION_DATA_BYTES, .dtype = d, .rows = rows, .cols = cols, .bytes = bytes, .mapped = true,
                  .origin = origin};
  for (size_t i = 0; i < s->n_files; i++) {
    if (inside(&s->files[i], &x)) x.identity = identity_of(&s->files[i], bytes);
  }
  return intern(s, &x);
}

const orion_data *orion_data_new(orion_data_store *s, orion_dtype d, size_t rows, size_t cols, void **out_bytes) {
  size_t n, bytes;
  if (!orion_mul_ok(rows, cols, &n) || !orion_dtype_bytes(d, n, &bytes)) return NULL;
  void *memory = orion_arena_aligned(&s->arena, bytes ? bytes : 1, ORION_ALIGN_CACHE);
  if (!memory) return NULL;
  *out_bytes = memory;
  return orion_data_borrow(s, d, rows, cols, memory, NULL);
}

const orion_data *orion_data_copy(orion_data_store *s, orion_dtype d, size_t rows, size_t cols, const void *bytes) {
  void *memory;
  const orion_data *x = orion_data_new(s, d, rows, cols, &memory);
  size_t n;
  if (x && orion_dtype_bytes(d, rows * cols, &n) && n) memcpy(memory, bytes, n);
  return x;
}

const orion_data *orion_data_cast(orion_data_store *s, const orion_data *x, orion_dtype d) {
  if (!x || x->dtype == d) return x;
  orion_data y = {.kind = ORION_DATA_CAST, .dtype = d, .rows = x->rows, .cols = x->cols, .sources = &x,
                  .n_sources = 1, .origin = x->origin};
  return intern(s, &y);
}

const orion_data *orion_data_transpose(orion_data_store *s, const orion_data *x) {
  if (!x) return NULL;
  if (x->kind == ORION_DATA_TRANSPOSE) return x->sources[0];
  orion_data y = {.kind = ORION_DATA_TRANSPOSE, .dtype = x->dtype, .rows = x->cols, .cols = x->rows, .sources = &x,
                  .n_sources = 1, .origin = x->origin};
  return intern(s, &y);
}

const orion_data *orion_data_scale(orion_data_store *s, const orion_data *x, size_t n_scale, const float *scale) {
  if (!x) return NULL;
  orion_data y = {.kind = ORION_DATA_SCALE, .dtype = x->dtype, .rows = x->rows, .cols = x->cols, .sources = &x,
                  .n_sources = 1, .scale = scale, .n_scale = n_scale, .origin = x->origin};
  return intern(s, &y);
}

const orion_data *orion_data_take_rows(orion_data_store *s, const orion_data *x, size_t n, const uint32_t *index) {
  if (!x) return NULL;
  orion_data y = {.kind = ORION_DATA_ROWS, .dtype = x->dtype, .rows = n, .cols = x->cols, .sources = &x,
                  .n_sources = 1, .index = index, .origin = x->origin};
  return intern(s, &y);
}

const orion_data *orion_data_take_cols(orion_data_store *s, const orion_data *x, size_t n, const uint32_t *index) {
  if (!x) return NULL;
  orion_data y = {.kind = ORION_DATA_COLS, .dtype = x->dtype, .rows = x->rows, .cols = n, .sources = &x,
                  .n_sources = 1, .index = index, .origin = x->origin};
  return intern(s, &y);
}

const orion_data *orion_data_join(orion_data_store *s, size_t n, const orion_data *const *parts) {
  size_t rows = 0;
  if (n == 0) return NULL;
  for (size_t i = 0; i < n; i++) {
    if (!parts[i] || !orion_add_ok(rows, parts[i]->rows, &rows)) return NULL;
    assert(parts[i]->cols == parts[0]->cols && parts[i]->dtype == parts[0]->dtype);
  }
  if (n == 1) return parts[0];
  orion_data y = {.kind = ORION_DATA_JOIN, .dtype = parts[0]->dtype, .rows = rows, .cols = parts[0]->cols,
                  .sources = parts, .n_sources = n, .origin = parts[0]->origin};
  return intern(s, &y);
}

const orion_data *orion_data_quantise(orion_data_store *s, const orion_data *x, orion_dtype d, size_t group,
                                      const orion_data **out_scales) {
  if (!x) return NULL;
  assert((d == ORION_INT8 || d == ORION_INT4) && group && x->cols % group == 0);
  orion_data y = {.kind = ORION_DATA_QUANTISE, .dtype = d, .rows = x->rows, .cols = x->cols, .sources = &x,
                  .n_sources = 1, .group = group, .origin = x->origin};
  const orion_data *q = intern(s, &y);
  if (!q) return NULL;
  orion_data scales = {.kind = ORION_DATA_SCALES, .dtype = ORION_FP16, .rows = x->rows, .cols = x->cols / group,
                       .sources = &q, .n_sources = 1, .origin = x->origin};
  *out_scales = intern(s, &scales);
  return *out_scales ? q : NULL;
}

const orion_data *orion_data_expand(orion_data_store *s, const orion_data *q, const orion_data *scales) {
  if (!q || !scales) return NULL;
  assert(q->rows == scales->rows && scales->cols && q->cols % scales->cols == 0);
  const orion_data *sources[2] = {q, scales};
  orion_data y = {.kind = ORION_DATA_EXPAND, .dtype = ORION_FP32, .rows = q->rows, .cols = q->cols, .sources = sources,
                  .n_sources = 2, .origin = q->origin};
  return intern(s, &y);
}

enum { MAX_JOINED = 16 };

static bool joined_integers(orion_data_store *s, const orion_data *x, const orion_data **out_q,
                            const orion_data **out_scales) {
  const orion_data *q[MAX_JOINED], *scales[MAX_JOINED];
  if (x->n_sources > MAX_JOINED) return false;
  for (size_t i = 0; i < x->n_sources; i++) {
    if (!orion_data_integers(s, x->sources[i], &q[i], &scales[i])) return false;
    bool alike = q[i]->dtype == q[0]->dtype && scales[i]->cols == scales[0]->cols && scales[i]->dtype == scales[0]->dtype;
    if (!alike) return false;
  }
  *out_q = orion_data_join(s, x->n_sources, q);
  *out_scales = orion_data_join(s, x->n_sources, scales);
  return *out_q && *out_scales;
}

bool orion_data_integers(orion_data_store *s, const orion_data *x, const orion_data **out_q,
                         const orion_data **out_scales) {
  switch (x->kind) {
    case ORION_DATA_EXPAND:
      *out_q = x->sources[0];
      *out_scales = x->sources[1];
      return true;
    case ORION_DATA_CAST: return orion_dtype_is_float(x->dtype) && orion_data_integers(s, x->sources[0], out_q, out_scales);
    case ORION_DATA_SCALE:
      if (!orion_data_integers(s, x->sources[0], out_q, out_scales)) return false;
      return (*out_scales = orion_data_scale(s, *out_scales, x->n_scale, x->scale)) != NULL;
    case ORION_DATA_JOIN: return joined_integers(s, x, out_q, out_scales);
    default: return false;
  }
}

const orion_data *orion_data_words(orion_data_store *s, const orion_data *q) {
  if (!q) return NULL;
  orion_data y = {.kind = ORION_DATA_WORDS, .dtype = ORION_INT32, .rows = q->rows, .cols = (q->cols + 7) / 8,
                  .sources = &q, .n_sources = 1, .origin = q->origin};
  return intern(s, &y);
}

const orion_data *orion_data_nibbles(orion_data_store *s, const orion_data *words, size_t cols) {
  if (!words) return NULL;
  assert(words->dtype == ORION_INT32 && words->cols == (cols + 7) / 8);
  orion_data y = {.kind = ORION_DATA_NIBBLES, .dtype = ORION_INT4, .rows = words->rows, .cols = cols,
                  .sources = &words, .n_sources = 1, .origin = words->origin};
  return intern(s, &y);
}

bool orion_data_equal(const orion_data *a, const orion_data *b) {
  if (a == b) return true;
  if (a->kind != ORION_DATA_BYTES || b->kind != ORION_DATA_BYTES || a->changes || b->changes || a->dtype != b->dtype ||
      a->rows != b->rows || a->cols != b->cols) {
    return false;
  }
  size_t n;
  if (!orion_dtype_bytes(a->dtype, orion_data_elements(a), &n) || n > 4096) return false;
  return memcmp(a->bytes, b->bytes, n) == 0;
}

const void *orion_data_bytes(orion_data_store *s, const orion_data *x) {
  if (x->kind == ORION_DATA_BYTES) return x->bytes;
  for (size_t i = 0; i < s->n_computed; i++) {
    if (s->computed[i].node == x) return s->computed[i].bytes;
  }
  size_t size;
  if (!orion_dtype_bytes(x->dtype, orion_data_elements(x), &size)) return NULL;
  if (!ORION_GROW(s->allocator, &s->computed, &s->cap_computed, s->n_computed + 1)) return NULL;
  void *bytes = orion_alloc_aligned(s->allocator, size, ORION_ALIGN_CACHE);
  if (!bytes) return NULL;
  if (orion_data_read(x, x->dtype, 0, x->rows, bytes, NULL) != ORION_OK) {
    orion_free_aligned(s->allocator, bytes, size, ORION_ALIGN_CACHE);
    return NULL;
  }
  s->computed[s->n_computed++] = (computed){x, bytes, size};
  return bytes;
}
