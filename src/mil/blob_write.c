// Writing blob files. Bytes of leaves go straight to the file; lazy nodes are computed a slice of rows at a time.
#include "base/file.h"
#include "mil/blob.h"

enum { SLICE_BYTES = 1 << 20 };

typedef struct entry {
  const orion_data *node;
  uint64_t record;
} entry;

struct orion_blob_writer {
  const orion_allocator *allocator;
  orion_file_writer *file;
  uint64_t size;
  uint32_t count;
  entry *entries;  // open addressing by the node's address, a power of two
  size_t n_entries;
};

static void store(uint8_t *p, int n, uint64_t v) {
  for (int i = 0; i < n; i++) p[i] = (uint8_t)(v >> (8 * i));
}

static orion_status put(orion_blob_writer *w, const void *bytes, size_t n, orion_error *err) {
  w->size += n;
  return orion_file_writer_put(w->file, bytes, n, err);
}

static void writer_free(orion_blob_writer *w) {
  orion_free(w->allocator, w->entries, w->n_entries, sizeof *w->entries);
  orion_free(w->allocator, w, 1, sizeof *w);
}

orion_status orion_blob_writer_open(const orion_allocator *a, const char *path, orion_blob_writer **out,
                                    orion_error *err) {
  a = orion_allocator_or_default(a);
  orion_blob_writer *w = orion_alloc_zero(a, 1, sizeof *w);
  if (!w) return ORION_OOM(err, path);
  w->allocator = a;
  uint8_t header[ORION_BLOB_ALIGN] = {0};
  store(header + 4, 4, ORION_BLOB_VERSION);
  orion_status status = orion_file_writer_open(a, path, &w->file, err);
  if (status == ORION_OK) status = put(w, header, sizeof header, err);
  if (status != ORION_OK) {
    orion_blob_writer_abort(w);
    return status;
  }
  *out = w;
  return ORION_OK;
}

// ---- which nodes are there ----

static size_t slot_of(const orion_blob_writer *w, const orion_data *x) {
  size_t at = ((uintptr_t)x >> 4) * 0x9e3779b97f4a7c15u >> 20 & (w->n_entries - 1);
  while (w->entries[at].node && w->entries[at].node != x) at = (at + 1) & (w->n_entries - 1);
  return at;
}

bool orion_blob_writer_find(const orion_blob_writer *w, const orion_data *x, uint64_t *out_record) {
  if (!w->n_entries) return false;
  const entry *e = &w->entries[slot_of(w, x)];
  if (e->node) *out_record = e->record;
  return e->node != NULL;
}

static bool reserve_entry(orion_blob_writer *w) {
  if ((size_t)w->count * 2 < w->n_entries) return true;
  orion_blob_writer bigger = {.n_entries = w->n_entries ? w->n_entries * 2 : 64};
  bigger.entries = orion_alloc_zero(w->allocator, bigger.n_entries, sizeof *bigger.entries);
  if (!bigger.entries) return false;
  for (size_t i = 0; i < w->n_entries; i++) {
    if (w->entries[i].node) bigger.entries[slot_of(&bigger, w->entries[i].node)] = w->entries[i];
  }
  orion_free(w->allocator, w->entries, w->n_entries, sizeof *w->entries);
  w->entries = bigger.entries;
  w->n_entries = bigger.n_entries;
  return true;
}

// ---- tensors ----

static orion_status put_computed(orion_blob_writer *w, const orion_data *x, orion_error *err) {
  size_t row_bytes, n;
  bool narrow = orion_dtype_bits(x->dtype) < 8;  // rows may share a byte: computed whole
  if (!orion_dtype_bytes(x->dtype, narrow ? orion_data_elements(x) : x->cols, &row_bytes)) row_bytes = SIZE_MAX;
  size_t step = narrow ? x->rows : row_bytes < SLICE_BYTES ? SLICE_BYTES / (row_bytes ? row_bytes : 1) : 1;
  size_t capacity = narrow ? row_bytes : 0;
  if (!narrow && !orion_mul_ok(row_bytes, step < x->rows ? step : x->rows, &capacity)) return ORION_OOM(err, "blob");
  void *slice = orion_alloc(w->allocator, capacity, 1);
  if (!slice) return ORION_OOM(err, "blob");
  orion_status status = ORION_OK;
  for (size_t row = 0; row < x->rows && status == ORION_OK; row += n) {
    n = x->rows - row < step ? x->rows - row : step;
    status = orion_data_read(x, x->dtype, row, n, slice, err);
    if (status == ORION_OK) status = put(w, slice, narrow ? row_bytes : n * row_bytes, err);
  }
  orion_free(w->allocator, slice, capacity, 1);
  return status;
}

orion_status orion_blob_writer_add(orion_blob_writer *w, const orion_data *x, uint64_t *out_record, orion_error *err) {
  if (orion_blob_writer_find(w, x, out_record)) return ORION_OK;
  uint32_t code = orion_blob_code(x->dtype);
  size_t elements = orion_data_elements(x), size;
  if (!code || !orion_dtype_bytes(x->dtype, elements, &size)) {
    return ORION_FAIL(err, ORION_INVALID, "blob: tensors of %s cannot be stored", orion_dtype_name(x->dtype));
  }
  if (w->count == UINT32_MAX || !reserve_entry(w)) return ORION_OOM(err, "blob");
  static const uint8_t zeros[ORION_BLOB_ALIGN];
  ORION_TRY(put(w, zeros, (size_t)(-w->size % ORION_BLOB_ALIGN), err));
  uint64_t record = w->size;
  uint8_t bytes[ORION_BLOB_ALIGN] = {0};
  store(bytes, 4, ORION_BLOB_SENTINEL);
  store(bytes + 4, 4, code);
  store(bytes + 8, 8, size);
  store(bytes + 16, 8, record + ORION_BLOB_ALIGN);
  unsigned bits = orion_dtype_bits(x->dtype);
  store(bytes + 24, 8, bits < 8 ? (8 - elements % 8 * bits % 8) % 8 : 0);
  ORION_TRY(put(w, bytes, sizeof bytes, err));
  ORION_TRY(x->kind == ORION_DATA_BYTES ? put(w, x->bytes, size, err) : put_computed(w, x, err));
  w->entries[slot_of(w, x)] = (entry){x, record};
  w->count++;
  *out_record = record;
  return ORION_OK;
}

uint64_t orion_blob_writer_size(const orion_blob_writer *w) { return w->size; }

orion_status orion_blob_writer_commit(orion_blob_writer *w, orion_error *err) {
  uint8_t count[4];
  store(count, 4, w->count);
  orion_file_writer *file = w->file;
  writer_free(w);
  orion_status status = orion_file_writer_put_at(file, 0, count, sizeof count, err);
  if (status == ORION_OK) return orion_file_writer_commit(file, err);
  orion_file_writer_abort(file);
  return status;
}

void orion_blob_writer_abort(orion_blob_writer *w) {
  if (!w) return;
  orion_file_writer_abort(w->file);
  writer_free(w);
}
