// Reading blob files. Nothing in them is believed: each number is checked against the file's size before it is used.
#include "mil/blob.h"

#include "base/file.h"

struct orion_blob_file {
  const orion_allocator *allocator;
  char *name;
  orion_file_map map;   // size 0 when the bytes are the caller's
  const uint8_t *bytes;
  size_t size;
  orion_blob_tensor *tensors;
  size_t n_tensors, cap_tensors;
};

static const orion_dtype dtypes[] = {
    [1] = ORION_FP16,  [2] = ORION_FP32,   [3] = ORION_UINT8,  [4] = ORION_INT8,   [5] = ORION_BF16,
    [6] = ORION_INT16, [7] = ORION_UINT16, [8] = ORION_INT4,   [9] = ORION_UINT1,  [10] = ORION_UINT2,
    [11] = ORION_UINT4, [12] = ORION_UINT3, [13] = ORION_UINT6, [14] = ORION_INT32, [15] = ORION_UINT32,
};
enum { N_CODES = sizeof dtypes / sizeof *dtypes };

orion_dtype orion_blob_dtype(uint32_t code) { return code < N_CODES ? dtypes[code] : ORION_DTYPE_NONE; }

uint32_t orion_blob_code(orion_dtype d) {
  for (uint32_t i = 1; i < N_CODES; i++) {
    if (dtypes[i] == d) return i;
  }
  return 0;
}

static uint64_t load(const uint8_t *p, int n) {
  uint64_t v = 0;
  for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
  return v;
}

#define FAIL_BLOB(f, at, format, ...)                                                                  \
  ORION_FAIL(err, ORION_FORMAT, "%s: byte %llu: " format " (not a sound blob file)", (f)->name,        \
             (unsigned long long)(at), __VA_ARGS__)

orion_status orion_blob_find(const orion_blob_file *f, uint64_t record, orion_blob_tensor *out, orion_error *err) {
  if (record % ORION_BLOB_ALIGN || record < ORION_BLOB_ALIGN) {
    return FAIL_BLOB(f, record, "a tensor's record must be at a multiple of %d behind the header", ORION_BLOB_ALIGN);
  }
  if (record >= f->size || f->size - record < ORION_BLOB_ALIGN) {
    return FAIL_BLOB(f, record, "a tensor's record would end behind the file's %zu bytes", f->size);
  }
  const uint8_t *p = f->bytes + record;
  uint32_t sentinel = (uint32_t)load(p, 4), code = (uint32_t)load(p + 4, 4);
  uint64_t size = load(p + 8, 8), offset = load(p + 16, 8), padding = load(p + 24, 8);
  if (sentinel != ORION_BLOB_SENTINEL) {
    return FAIL_BLOB(f, record, "expected a tensor's record (0xdeadbeef), found 0x%08x", sentinel);
  }
  orion_dtype dtype = orion_blob_dtype(code);
  if (!dtype) return FAIL_BLOB(f, record + 4, "unknown dtype code %u", code);
  if (offset % ORION_BLOB_ALIGN || offset < record + ORION_BLOB_ALIGN) {
    return FAIL_BLOB(f, record + 16, "data offset %llu is not a multiple of 64 behind the record",
                     (unsigned long long)offset);
  }
  if (offset > f->size || size > f->size - offset) {
    return FAIL_BLOB(f, record + 8, "%llu bytes of data at %llu end behind the file's %zu bytes",
                     (unsigned long long)size, (unsigned long long)offset, f->size);
  }
  unsigned bits = orion_dtype_bits(dtype);
  // Whole bytes first: size * 8 would overflow for no file that fits in memory, but need not be computed either.
  size_t elements = bits >= 8 ? (size_t)size / (bits / 8) : 0;
  bool whole = bits >= 8 ? size % (bits / 8) == 0 && padding == 0 : size <= SIZE_MAX / 8 && padding < 8 &&
               padding <= size * 8 && (size * 8 - padding) % bits == 0;
  if (!whole) {
    return FAIL_BLOB(f, record + 8, "%llu bytes less %llu bits are no whole number of %s elements",
                     (unsigned long long)size, (unsigned long long)padding, orion_dtype_name(dtype));
  }
  if (bits < 8) elements = (size_t)(size * 8 - padding) / bits;
  *out = (orion_blob_tensor){record, offset, dtype, (size_t)size, elements, f->bytes + offset};
  return ORION_OK;
}

// Follows the records as the header counts them. Each lies behind the one before, so the walk ends with the file.
static orion_status read_records(orion_blob_file *f, orion_error *err) {
  if (f->size < ORION_BLOB_ALIGN) return FAIL_BLOB(f, 0, "expected a header of 64 bytes, found %zu bytes", f->size);
  uint32_t count = (uint32_t)load(f->bytes, 4), version = (uint32_t)load(f->bytes + 4, 4);
  if (version != ORION_BLOB_VERSION) return FAIL_BLOB(f, 4, "expected version 2, found %u", version);
  if (count == 0) return FAIL_BLOB(f, 0, "expected at least one tensor, found %s", "a count of 0");
  uint64_t record = ORION_BLOB_ALIGN;
  for (uint32_t i = 0; i < count; i++) {
    orion_blob_tensor t;
    ORION_TRY(orion_blob_find(f, record, &t, err));
    if (!ORION_GROW(f->allocator, &f->tensors, &f->cap_tensors, f->n_tensors + 1)) return ORION_OOM(err, f->name);
    f->tensors[f->n_tensors++] = t;
    record = orion_round_up((size_t)t.offset + t.size, ORION_BLOB_ALIGN);
  }
  return ORION_OK;
}

static orion_status open_bytes(const orion_allocator *a, const char *name, orion_file_map map, const void *bytes,
                               size_t n, orion_blob_file **out, orion_error *err) {
  orion_blob_file *f = orion_alloc_zero(a, 1, sizeof *f);
  if (!f) {
    orion_file_close_map(&map);
    return ORION_OOM(err, name);
  }
  *f = (orion_blob_file){.allocator = a, .name = orion_strdup(a, name), .map = map, .bytes = bytes, .size = n};
  orion_status status = f->name ? read_records(f, err) : ORION_OOM(err, name);
  if (status != ORION_OK) {
    orion_blob_close(f);
    return status;
  }
  *out = f;
  return ORION_OK;
}

orion_status orion_blob_open(const orion_allocator *a, const char *path, orion_blob_file **out, orion_error *err) {
  orion_file_map map;
  ORION_TRY(orion_file_open_map(path, &map, err));
  return open_bytes(orion_allocator_or_default(a), path, map, map.data, map.size, out, err);
}

orion_status orion_blob_open_memory(const orion_allocator *a, const char *name, const void *bytes, size_t n,
                                    orion_blob_file **out, orion_error *err) {
  return open_bytes(orion_allocator_or_default(a), name, (orion_file_map){0}, bytes, n, out, err);
}

void orion_blob_close(orion_blob_file *f) {
  if (!f) return;
  orion_file_close_map(&f->map);
  orion_free(f->allocator, f->tensors, f->cap_tensors, sizeof *f->tensors);
  orion_strfree(f->allocator, f->name);
  orion_free(f->allocator, f, 1, sizeof *f);
}

const orion_blob_tensor *orion_blob_tensors(const orion_blob_file *f, size_t *out_n) {
  *out_n = f->n_tensors;
  return f->tensors;
}
