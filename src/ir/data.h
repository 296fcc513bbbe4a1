// Elements of constant tensors: bytes somewhere in memory, or a lazy expression over other constants.
//
// Weights are large. A model file is mapped, its tensors become leaves, and what the compiler does to them (convert to
// fp16, transpose, scale a row, join Q, K and V, pick rows) is noted as a node over the leaf. Only the device that packs
// the weights, or the writer of blob files, reads the elements, rows at a time, into memory of its own.
//
// A tensor is seen as `rows` x `cols`: its first dimension by the product of the others (rank 0: 1 x 1; rank 1: n x 1).
// Nodes are immutable and owned by a store; a store is reference counted and shared by the programs that use it.
#ifndef ORION_IR_DATA_H
#define ORION_IR_DATA_H

#include "base/alloc.h"
#include "ir/dtype.h"

typedef struct orion_data_store orion_data_store;

typedef enum orion_data_kind {
  ORION_DATA_BYTES,      // elements in memory, packed
  ORION_DATA_CAST,       // source converted to dtype
  ORION_DATA_TRANSPOSE,  // rows and columns of the source swapped
  ORION_DATA_SCALE,      // source times scale[row] (or scale[0] when n_scale is 1), rounded to dtype
  ORION_DATA_ROWS,       // rows index[0..rows) of the source
  ORION_DATA_COLS,       // columns index[0..cols) of the source
  ORION_DATA_JOIN,       // sources one after another along the rows
  ORION_DATA_QUANTISE,   // source as small integers: int8 or int4, `group` columns of a row under one scale
  ORION_DATA_SCALES,     // the scales of a QUANTISE node (its source), fp16 [rows, cols / group]
  ORION_DATA_EXPAND,     // integers (source 0) times their scales (source 1), exact in fp32
  ORION_DATA_WORDS,      // an int4 source as int32 words: eight columns each as q + 8, the first in the lowest bits
  ORION_DATA_NIBBLES,    // the int4 elements of such words
} orion_data_kind;

typedef struct orion_data {
  orion_data_kind kind;
  orion_dtype dtype;
  size_t rows, cols;
  const void *bytes;                        // BYTES
  bool mapped;                              // BYTES: pages of a read-only file, which can be read again
  bool changes;                             // BYTES: written to where they lie, so that what they are now says nothing
  uint64_t identity;                        // BYTES of a file that is known (orion_data_store_map): of file and place
  const struct orion_data *const *sources;  // all others; JOIN has n_sources
  size_t n_sources;
  const float *scale;                       // SCALE
  size_t n_scale;
  const uint32_t *index;                    // ROWS, COLS
  size_t group;                             // QUANTISE
  const char *origin;                       // for messages: tensor name in the model file, or NULL
} orion_data;

// ---- stores ----
orion_status orion_data_store_create(const orion_allocator *a, orion_data_store **out, orion_error *err);
orion_data_store *orion_data_store_retain(orion_data_store *s);
void orion_data_store_release(orion_data_store *s);  // NULL is ignored
// The store will call release(ctx) when it dies: keeps a mapped file alive as long as its leaves.
orion_status orion_data_store_keep(orion_data_store *s, void *ctx, void (*release)(void *ctx), orion_error *err);

// [bytes, bytes + size) is a file of that identity (base/file.h); leaves in it are made or will be.
orion_status orion_data_store_map(orion_data_store *s, const void *bytes, size_t size, uint64_t identity,
                                  orion_error *err);

// ---- nodes ---- NULL when out of memory. Thread-safe: no; build before sharing between threads.
const orion_data *orion_data_borrow(orion_data_store *s, orion_dtype d, size_t rows, size_t cols, const void *bytes,
                                    const char *origin);  // bytes outlive the store (see keep)
const orion_data *orion_data_borrow_mapped(orion_data_store *s, orion_dtype d, size_t rows, size_t cols,
                                           const void *bytes, const char *origin);  // the same, of a file map
const orion_data *orion_data_copy(orion_data_store *s, orion_dtype d, size_t rows, size_t cols, const void *bytes);
const orion_data *orion_data_new(orion_data_store *s, orion_dtype d, size_t rows, size_t cols, void **out_bytes);  // zeroed, to be filled
const orion_data *orion_data_cast(orion_data_store *s, const orion_data *x, orion_dtype d);
const orion_data *orion_data_transpose(orion_data_store *s, const orion_data *x);
const orion_data *orion_data_scale(orion_data_store *s, const orion_data *x, size_t n_scale, const float *scale);
const orion_data *orion_data_take_rows(orion_data_store *s, const orion_data *x, size_t n, const uint32_t *index);
const orion_data *orion_data_take_cols(orion_data_store *s, const orion_data *x, size_t n, const uint32_t *index);
const orion_data *orion_data_join(orion_data_store *s, size_t n, const orion_data *const *parts);  // equal cols, dtype
// x as integers q of type d (int8 or int4) and fp16 scales s, x ~ q s: each `group` columns of a row (group divides the
// columns) share a scale, chosen from their magnitude, for int4 by least squared error (data_quantise.c). Symmetric.
const orion_data *orion_data_quantise(orion_data_store *s, const orion_data *x, orion_dtype d, size_t group,
                                      const orion_data **out_scales);
// The numbers that integers of [rows, cols] and scales of [rows, groups] stand for.
const orion_data *orion_data_expand(orion_data_store *s, const orion_data *q, const orion_data *scales);
// The other way, where nothing need be rounded for it: the integers and scales behind casts, row scales and joins of
// expanded ones. false: x is something else, or memory ran out.
bool orion_data_integers(orion_data_store *s, const orion_data *x, const orion_data **out_q,
                         const orion_data **out_scales);
const orion_data *orion_data_words(orion_data_store *s, const orion_data *q);  // [rows, (cols + 7) / 8]
const orion_data *orion_data_nibbles(orion_data_store *s, const orion_data *words, size_t cols);

// ---- reading ---- any thread. Elements of rows [row, row + n) as `dtype` (converted), packed, row-major.
// Sub-byte dtypes are read whole (row 0, all rows). NO_MEMORY is the only failure: some nodes need scratch.
orion_status orion_data_read(const orion_data *x, orion_dtype dtype, size_t row, size_t n, void *out,
                             orion_error *err);
// The same of a quantised matrix, integers a byte each, and of its scales at once: the source is read only once where
// both are nodes of one orion_data_quantise.
orion_status orion_data_read_quantised(const orion_data *q, const orion_data *scales, size_t row, size_t n, int8_t *out,
                                       uint16_t *out_scales, orion_error *err);
// The leaves under x that are file pages need not stay resident (a hint, after packing them elsewhere).
void orion_data_forget_pages(const orion_data *x);
void orion_data_forget_rows(const orion_data *leaf, size_t row, size_t n);  // of one leaf
// All elements as packed bytes in x's own dtype: the leaf's memory if it is one, else computed once and kept by the
// store (not thread-safe). Meant for small constants and for blob files. NULL when out of memory.
const void *orion_data_bytes(orion_data_store *s, const orion_data *x);
// A key for x's elements that is the same in another process: of the expression and its leaves, those of files by identity,
// small others by content. false: some leaf has no identity, or changes.
typedef struct orion_data_key {
  uint64_t low, high;
} orion_data_key;
bool orion_data_make_key(const orion_data *x, orion_data_key *out);
static inline size_t orion_data_elements(const orion_data *x) { return x->rows * x->cols; }
// Index of the first NaN or infinity among n packed elements; n if there is none. Cheap: for whole weights.
size_t orion_find_nonfinite(orion_dtype d, const void *array, size_t n);
bool orion_data_equal(const orion_data *a, const orion_data *b);  // same node, or equal small bytes leaves that stay so

#endif
