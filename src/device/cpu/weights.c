// Packing constants. Most are a leaf (bytes of a mapped file) under casts and a transpose, possibly several joined:
// those go from the leaf's memory straight into panels. Anything else is read through the lazy node in blocks of rows.
// Quantised matrices are computed and packed the same way, a few panels at a time.
// Blocks are packed by all threads; the file's pages are then given back, so that a model is not in memory twice.
#include "device/cpu/weights.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <stdatomic.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define BLOCK_ROWS 64  // of panels' rows, for each piece of packing work, at most
#define BLOCK_LEAST 8192  // elements of a piece: small matrices are cut for all threads too
#define BLOCK_COLS 256

static size_t bucket_of(const orion_data *data) {
  uintptr_t p = (uintptr_t)data;
  return (size_t)((p >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 56) % ORION_CPU_WEIGHT_BUCKETS;
}

static orion_kernel_type kernel_type(orion_dtype d) { return d == ORION_FP16 ? ORION_KERNEL_F16 : ORION_KERNEL_F32; }

typedef struct packing {
  orion_cpu_weights *w;
  const orion_cpu_weight_key *key;
  void *dst;
  const orion_data *part;       // read now; equals key->data or one of its joined parts
  bool flip;                    // part's rows are columns of the matrix
  size_t row, col;              // where part begins within the matrix
  size_t part_rows, part_cols;  // as seen by the matrix
  size_t skip;                  // first row of the part (as stored) to use
  atomic_int status;
} packing;

// The leaf that can be packed without computing anything (under casts that end in the stored type with no rounding
// between, and transposes), with the distances between its elements that are neighbours in the matrix; or NULL.
static const orion_data *direct_leaf(const packing *p, size_t *src_row, size_t *src_col) {
  const orion_data *x = p->part;
  orion_dtype narrowest = x->dtype;
  bool turned = false, turns = false;
  while (x->kind == ORION_DATA_CAST || x->kind == ORION_DATA_TRANSPOSE) {
    if (x->kind == ORION_DATA_TRANSPOSE) {
      turned = !turned;
      turns = true;
    }
    x = x->sources[0];
    if (x->dtype == ORION_FP16) narrowest = ORION_FP16;
  }
  if (x->kind != ORION_DATA_BYTES || (x->dtype != ORION_FP32 && x->dtype != ORION_FP16)) return NULL;
  if (p->part->dtype != ORION_FP32 && p->part->dtype != ORION_FP16) return NULL;
  if (narrowest == ORION_FP16 && p->key->dtype == ORION_FP32 && x->dtype == ORION_FP32) return NULL;
  if ((uintptr_t)x->bytes % (orion_dtype_bits(x->dtype) / 8) != 0) return NULL;
  // Without transposes the constant may be seen in another shape than its node has (leading ones, a kernel of 1 x 1).
  size_t pitch = p->flip ? p->part_rows : p->part_cols;
  if (turns && p->part->cols != pitch) return NULL;
  if (turns) pitch = x->cols;
  bool crosswise = turned != p->flip;
  *src_row = crosswise ? 1 : pitch;
  *src_col = crosswise ? pitch : 1;
  return x;
}

// Rows [begin, end) of the matrix that lie in the part, from a leaf.
static void pack_leaf_rows(packing *p, const orion_data *leaf, size_t src_row, size_t src_col, size_t begin,
                           size_t end) {
  const orion_cpu_weight_key *key = p->key;
  orion_kernel_type dst = kernel_type(key->dtype), src = kernel_type(leaf->dtype);
  const uint8_t *bytes = leaf->bytes;
  for (size_t c = 0; c < p->part_cols; c += BLOCK_COLS) {
    size_t c1 = c + BLOCK_COLS < p->part_cols ? c + BLOCK_COLS : p->part_cols;
    const uint8_t *at = bytes + ((begin + p->skip) * src_row + c * src_col) * orion_kernel_type_size(src);
    p->w->k->pack(p->dst, dst, key->rows, key->cols, at, src, src_row, src_col, p->row + begin, p->row + end,
                  p->col + c, p->col + c1);
  }
}

// Element rows of the matrix read through the lazy node, in floats or halves. Only where rows are rows.
static orion_status pack_read_rows(packing *p, size_t begin, size_t end, orion_error *err) {
  const orion_cpu_weight_key *key = p->key;
  size_t n = (end - begin) * p->part_cols, first = (begin + p->skip) * p->part_cols;
  size_t own = p->part->cols ? p->part->cols : 1;
  size_t r0 = first / own, r1 = (first + n + own - 1) / own;  // the node may be shaped differently
  size_t lead = first - r0 * own, count = (r1 - r0) * own, w = orion_dtype_bits(key->dtype) / 8;
  void *block = orion_alloc_aligned(p->w->allocator, count * w, ORION_ALIGN_CACHE);
  if (!block) return ORION_OOM(err, "packing weights");
  orion_status status = orion_data_read(p->part, key->dtype, r0, r1 - r0, block, err);
  if (status == ORION_OK) {
    p->w->k->pack(p->dst, kernel_type(key->dtype), key->rows, key->cols, (uint8_t *)block + lead * w,
                  kernel_type(key->dtype), p->part_cols, 1, p->row + begin, p->row + end, p->col,
                  p->col + p->part_cols);
  }
  orion_free_aligned(p->w->allocator, block, count * w, ORION_ALIGN_CACHE);
  return status;
}

static void pack_piece(void *ctx, size_t begin, size_t end, int worker) {
  packing *p = ctx;
  size_t src_row, src_col;
  const orion_data *leaf = direct_leaf(p, &src_row, &src_col);
  if (leaf) {
    pack_leaf_rows(p, leaf, src_row, src_col, begin, end);
    if (src_row == leaf->cols) orion_data_forget_rows(leaf, begin + p->skip, end - begin);
  } else {
    orion_error ignored;
    orion_status status = pack_read_rows(p, begin, end, &ignored);
    if (status != ORION_OK) atomic_store(&p->status, (int)status);
  }
}

// A node that must be computed and read crosswise: computed whole first.
static orion_status pack_flipped(packing *p, orion_error *err) {
  const orion_cpu_weight_key *key = p->key;
  size_t n = p->part_rows * p->part_cols, w = orion_dtype_bits(key->dtype) / 8;
  void *whole = orion_alloc_aligned(p->w->allocator, n * w, ORION_ALIGN_CACHE);
  if (!whole) return ORION_OOM(err, "packing weights");
  orion_status status = orion_data_read(p->part, key->dtype, 0, p->part->rows, whole, err);
  if (status == ORION_OK) {
    p->w->k->pack(p->dst, kernel_type(key->dtype), key->rows, key->cols, whole, kernel_type(key->dtype), 1,
                  p->part_rows, p->row, p->row + p->part_rows, p->col, p->col + p->part_cols);
  }
  orion_free_aligned(p->w->allocator, whole, n * w, ORION_ALIGN_CACHE);
  return status;
}

static orion_status pack_part(packing *p, orion_error *err) {
  if (p->part_rows == 0 || p->part_cols == 0) return ORION_OK;
  size_t src_row, src_col;
  if (p->flip && !direct_leaf(p, &src_row, &src_col)) return pack_flipped(p, err);
  atomic_store(&p->status, 0);
  size_t grain = orion_round_up(BLOCK_LEAST / p->part_cols + 1, ORION_PANEL_ROWS);
  orion_parallel_for(p->part_rows * p->part_cols < ORION_CPU_SERIAL ? NULL : p->w->pool, p->part_rows,
                     grain < BLOCK_ROWS ? grain : BLOCK_ROWS, pack_piece, p);
  if (atomic_load(&p->status)) return ORION_OOM(err, "packing weights");
  return ORION_OK;
}

// Joined matrices are packed part by part, so that each may be a leaf of its own.
static orion_status pack_node(packing *p, const orion_data *x, orion_error *err) {
  const orion_data *core = x;
  bool flip = p->key->transposed;
  while (core->kind == ORION_DATA_TRANSPOSE) {
    flip = !flip;
    core = core->sources[0];
  }
  size_t rows = p->key->rows, cols = p->key->cols;
  bool joined = core->kind == ORION_DATA_JOIN && core->dtype == x->dtype && p->skip == 0 &&
                core->cols == (flip ? rows : cols) && core->rows == (flip ? cols : rows);
  if (!joined) {
    p->part = x;
    p->flip = p->key->transposed;
    p->part_rows = rows;
    p->part_cols = cols;
    return pack_part(p, err);
  }
  p->flip = flip;
  size_t at = 0;
  for (size_t i = 0; i < core->n_sources; i++) {
    p->part = core->sources[i];
    p->row = flip ? 0 : at;
    p->col = flip ? at : 0;
    p->part_rows = flip ? rows : p->part->rows;
    p->part_cols = flip ? p->part->rows : cols;
    ORION_TRY(pack_part(p, err));
    at += p->part->rows;
  }
  return ORION_OK;
}

static size_t plain_bytes(const orion_cpu_weight_key *key) {
  size_t bytes = 0;
  orion_dtype_bytes(key->dtype, orion_data_elements(key->data), &bytes);
  return bytes;
}

typedef struct plain_read {
  const orion_cpu_weight_key *key;
  uint8_t *dst;
  atomic_int status;
} plain_read;

static void read_piece(void *ctx, size_t begin, size_t end, int worker) {
  plain_read *r = ctx;
  orion_error ignored;
  size_t row = r->key->data->cols * (orion_dtype_bits(r->key->dtype) / 8);
  orion_status s = orion_data_read(r->key->data, r->key->dtype, begin, end - begin, r->dst + begin * row, &ignored);
  if (s != ORION_OK) atomic_store(&r->status, (int)s);
}

static orion_status fill_plain(orion_cpu_weights *w, orion_cpu_weight *e, orion_error *err) {
  const orion_data *x = e->key.data;
  if (orion_dtype_bits(e->key.dtype) < 8 || orion_dtype_bits(x->dtype) < 8) {
    return orion_data_read(x, e->key.dtype, 0, x->rows, e->memory, err);
  }
  plain_read r = {.key = &e->key, .dst = e->memory};
  size_t grain = x->cols ? 65536 / x->cols + 1 : 1;
  orion_parallel_for(w->pool, x->rows, grain, read_piece, &r);
  return atomic_load(&r.status) ? ORION_OOM(err, "constant") : ORION_OK;
}

// ---- quantised ----

typedef struct quantised_read {
  orion_cpu_weights *w;
  const orion_cpu_weight_key *key;
  orion_panels to;
  atomic_int status;
} quantised_read;

static orion_panels quantised_panels(const orion_cpu_weight_key *key, const void *memory) {
  orion_kernel_type type = key->dtype == ORION_INT8 ? ORION_KERNEL_I8 : ORION_KERNEL_I4;
  return orion_cpu_panels_at(memory, type, key->rows, key->cols, key->block);
}

static size_t quantised_bytes(const orion_cpu_weight_key *key) {
  orion_panels w = quantised_panels(key, NULL);
  return orion_panel_count(key->rows) * orion_quantised_panel_bytes(w.type, key->cols, key->block) +
         orion_panel_scales(key->rows, key->cols, key->block) * sizeof *w.scale;
}

static void quantised_piece(void *ctx, size_t begin, size_t end, int worker) {
  quantised_read *r = ctx;
  size_t blocks = r->key->cols / r->key->block, row = r->key->cols + blocks * sizeof(orion_half);
  size_t r0 = begin * ORION_PANEL_ROWS, r1 = end * ORION_PANEL_ROWS;
  if (r1 > r->key->rows) r1 = r->key->rows;
  size_t bytes = (r1 - r0) * row;
  orion_half *scales = orion_alloc_aligned(r->w->allocator, bytes, ORION_ALIGN_CACHE);
  int8_t *q = (int8_t *)scales + (r1 - r0) * blocks * sizeof(orion_half);
  orion_error ignored;
  orion_status status = ORION_NO_MEMORY;
  if (scales) status = orion_data_read_quantised(r->key->data, r->key->scales, r0, r1 - r0, q, scales, &ignored);
  if (status == ORION_OK) {
    orion_panels_pack_quantised(&r->to, q, scales, r0, r1);
  } else {
    atomic_store(&r->status, (int)status);
  }
  orion_free_aligned(r->w->allocator, scales, bytes, ORION_ALIGN_CACHE);
}

static orion_status fill_quantised(orion_cpu_weights *w, orion_cpu_weight *e, orion_error *err) {
  quantised_read r = {.w = w, .key = &e->key, .to = quantised_panels(&e->key, e->memory)};
  orion_parallel_for(w->pool, orion_panel_count(e->key.rows), BLOCK_ROWS / ORION_PANEL_ROWS, quantised_piece, &r);
  return atomic_load(&r.status) ? ORION_OOM(err, "packing weights") : ORION_OK;
}

static orion_status fill(orion_cpu_weights *w, orion_cpu_weight *e, orion_error *err) {
  if (e->borrowed) return ORION_OK;
  orion_status status;
  if (e->key.format == ORION_CPU_PLAIN) {
    status = fill_plain(w, e, err);
  } else if (e->key.format == ORION_CPU_QUANTISED) {
    status = fill_quantised(w, e, err);
  } else {
    packing p = {.w = w, .key = &e->key, .dst = e->memory, .skip = e->key.first};
    status = pack_node(&p, e->key.data, err);
  }
  if (status == ORION_OK) orion_data_forget_pages(e->key.data);
  return status;
}

// ---- the cache on disk ----

// Weights in a form that costs something to make. What updates change has no key: it is packed again where it lies.
static bool cacheable(const orion_cpu_weights *w, const orion_cpu_weight *e, orion_data_key *out) {
  const orion_cpu_weight_key *key = &e->key;
  if (!w->cache || e->borrowed || key->format == ORION_CPU_PLAIN || e->bytes < ORION_WEIGHT_CACHE_LEAST) return false;
  struct {
    orion_data_key data, scales;
    uint64_t format, dtype, transposed, rows, cols, first, block;
  } r = {.format = (uint64_t)key->format, .dtype = (uint64_t)key->dtype, .transposed = key->transposed,
         .rows = key->rows, .cols = key->cols, .first = key->first, .block = key->block};
  if (!orion_data_make_key(key->data, &r.data)) return false;
  if (key->scales && !orion_data_make_key(key->scales, &r.scales)) return false;
  XXH128_hash_t h = XXH3_128bits(&r, sizeof r);
  *out = (orion_data_key){h.low64, h.high64};
  return true;
}

static bool take_cached(orion_cpu_weights *w, orion_cpu_weight *e, const orion_data_key *key) {
  if (!orion_weight_cache_find(w->cache, key, e->bytes, w->pool, &e->cached)) return false;
  e->memory = (void *)(uintptr_t)e->cached.bytes;
  return true;
}

// Once stored, the file takes the place of the memory: its pages can be given back and had again.
static void keep_cached(orion_cpu_weights *w, orion_cpu_weight *e, const orion_data_key *key) {
  void *packed = e->memory;
  if (!orion_weight_cache_store(w->cache, key, packed, e->bytes, w->pool)) return;
  if (take_cached(w, e, key)) orion_free_aligned(w->allocator, packed, e->bytes, ORION_ALIGN_CACHE);
}

// Large weights ask for large pages: fewer address translations while they stream through.
static void advise(void *memory, size_t bytes) {
#ifdef __linux__
  uintptr_t page = (uintptr_t)1 << 21, begin = ((uintptr_t)memory + page - 1) & ~(page - 1);
  uintptr_t end = ((uintptr_t)memory + bytes) & ~(page - 1);
  if (begin < end) madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#endif
}

static orion_status make_memory(orion_cpu_weights *w, orion_cpu_weight *e, orion_error *err) {
  orion_data_key key;
  bool on_disk = cacheable(w, e, &key);
  if (on_disk && take_cached(w, e, &key)) return ORION_OK;
  e->memory = orion_alloc_aligned(w->allocator, e->bytes, ORION_ALIGN_CACHE);
  if (!e->memory) return ORION_OOM(err, "weights");
  advise(e->memory, e->bytes);
  ORION_TRY(fill(w, e, err));
  if (on_disk) keep_cached(w, e, &key);
  return ORION_OK;
}

orion_status orion_cpu_weight_acquire(orion_cpu_weights *w, const orion_cpu_weight_key *key, orion_cpu_weight **out,
                                      orion_error *err) {
  orion_cpu_weight **bucket = &w->buckets[bucket_of(key->data)];
  for (orion_cpu_weight *e = *bucket; e; e = e->next) {
    if (!orion_cpu_weight_key_equal(&e->key, key)) continue;
    e->uses++;
    *out = e;
    return ORION_OK;
  }
  orion_cpu_weight *e = orion_alloc_zero(w->allocator, 1, sizeof *e);
  if (!e) return ORION_OOM(err, "weights");
  e->key = *key;
  e->uses = 1;
  const orion_data *x = key->data;
  unsigned align = orion_dtype_bits(x->dtype) >= 8 ? orion_dtype_bits(x->dtype) / 8 : 1;
  if (key->format == ORION_CPU_PLAIN) {
    e->bytes = plain_bytes(key);
    e->borrowed = x->kind == ORION_DATA_BYTES && x->dtype == key->dtype && (uintptr_t)x->bytes % align == 0;
  } else if (key->format == ORION_CPU_QUANTISED) {
    e->bytes = quantised_bytes(key);
  } else {
    e->bytes = orion_panels_size(kernel_type(key->dtype), key->rows, key->cols);
  }
  if (e->borrowed) e->memory = (void *)(uintptr_t)x->bytes;
  orion_status status = e->borrowed ? fill(w, e, err) : make_memory(w, e, err);
  e->next = *bucket;
  *bucket = e;
  if (status != ORION_OK) {
    orion_cpu_weight_release(w, e);
    return status;
  }
  *out = e;
  return ORION_OK;
}

void orion_cpu_weight_release(orion_cpu_weights *w, orion_cpu_weight *e) {
  if (!e || --e->uses) return;
  for (orion_cpu_weight **at = &w->buckets[bucket_of(e->key.data)]; *at; at = &(*at)->next) {
    if (*at == e) {
      *at = e->next;
      break;
    }
  }
  if (e->cached.map) {
    orion_weight_cache_release(&e->cached);
  } else if (!e->borrowed && e->memory) {
    orion_free_aligned(w->allocator, e->memory, e->bytes, ORION_ALIGN_CACHE);
  }
  orion_free(w->allocator, e, 1, sizeof *e);
}

orion_status orion_cpu_weights_refresh(orion_cpu_weights *w, const orion_data *data, orion_error *err) {
  for (size_t i = 0; i < ORION_CPU_WEIGHT_BUCKETS; i++) {  // as scales it lies in the bucket of its integers
    for (orion_cpu_weight *e = w->buckets[i]; e; e = e->next) {
      if (e->key.data == data || e->key.scales == data) ORION_TRY(fill(w, e, err));
    }
  }
  return ORION_OK;
}
