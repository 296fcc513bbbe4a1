// Writing safetensors: the header is known before the first element, so one pass over the tensors is enough.
#include "base/strbuf.h"
#include "model/safetensors.h"

#define BLOCK_BYTES (4u << 20)

static void add_quoted(orion_strbuf *b, const char *s) {
  orion_strbuf_addc(b, '"');
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c < 0x20) {
      orion_strbuf_addf(b, "\\u%04x", c);
    } else {
      if (c == '"' || c == '\\') orion_strbuf_addc(b, '\\');
      orion_strbuf_addc(b, (char)c);
    }
  }
  orion_strbuf_addc(b, '"');
}

static orion_status tensor_bytes(const char *path, const orion_tensor_source *t, size_t *out, orion_error *err) {
  size_t n = 1;
  bool ok = t->rank >= 0 && t->rank <= ORION_MAX_RANK && orion_safetensors_spelling(t->dtype);
  for (int i = 0; ok && i < t->rank; i++) ok = t->dims[i] >= 0 && orion_mul_ok(n, (size_t)t->dims[i], &n);
  if (ok && n == orion_data_elements(t->data) && orion_dtype_bytes(t->dtype, n, out)) return ORION_OK;
  return ORION_FAIL(err, ORION_INVALID, "%s: tensor '%.100s' cannot be written: %zu x %zu elements as %s", path, t->name,
                    t->data->rows, t->data->cols, orion_dtype_name(t->dtype));
}

static void add_tensor(orion_strbuf *b, const orion_tensor_source *t, size_t begin, size_t end) {
  add_quoted(b, t->name);
  orion_strbuf_addf(b, ":{\"dtype\":\"%s\",\"shape\":[", orion_safetensors_spelling(t->dtype));
  for (int i = 0; i < t->rank; i++) orion_strbuf_addf(b, "%s%lld", i ? "," : "", (long long)t->dims[i]);
  orion_strbuf_addf(b, "],\"data_offsets\":[%zu,%zu]}", begin, end);
}

static orion_status make_header(orion_strbuf *b, const char *path, size_t n, const orion_tensor_source *tensors,
                                size_t n_metadata, const orion_text_pair *metadata, orion_error *err) {
  size_t at = 0, bytes = 0;
  const char *separator = "";
  orion_strbuf_addc(b, '{');
  for (size_t i = 0; i < n_metadata; i++) {
    orion_strbuf_adds(b, i ? "," : "\"__metadata__\":{");
    add_quoted(b, metadata[i].key);
    orion_strbuf_addc(b, ':');
    add_quoted(b, metadata[i].value);
    separator = "},";
  }
  for (unsigned width = 64; width >= 8; width /= 2) {
    for (size_t i = 0; i < n; i++) {
      if (orion_dtype_bits(tensors[i].dtype) != width) continue;
      ORION_TRY(tensor_bytes(path, &tensors[i], &bytes, err));
      orion_strbuf_adds(b, separator);
      separator = ",";
      add_tensor(b, &tensors[i], at, at + bytes);
      if (!orion_add_ok(at, bytes, &at)) return ORION_FAIL(err, ORION_LIMIT, "%s: too much data for one file", path);
    }
  }
  orion_strbuf_adds(b, separator[0] == '}' ? "}}" : "}");
  while (b->size % 8 && !b->failed) orion_strbuf_addc(b, ' ');  // tensors begin at a multiple of 8
  return orion_strbuf_status(b, err);
}

static orion_status put_tensor(orion_file_writer *w, const orion_allocator *a, const orion_tensor_source *t,
                               orion_error *err) {
  const orion_data *x = t->data;
  size_t row = x->cols * (orion_dtype_bits(t->dtype) / 8);
  if (x->rows == 0 || row == 0) return ORION_OK;
  size_t step = row < BLOCK_BYTES ? BLOCK_BYTES / row : 1;
  if (step > x->rows) step = x->rows;
  void *block = orion_alloc_aligned(a, step * row, ORION_ALIGN_CACHE);
  orion_status status = block ? ORION_OK : ORION_OOM(err, t->name);
  for (size_t r = 0; status == ORION_OK && r < x->rows; r += step) {
    size_t n = x->rows - r < step ? x->rows - r : step;
    status = orion_data_read(x, t->dtype, r, n, block, err);
    if (status == ORION_OK) status = orion_file_writer_put(w, block, n * row, err);
  }
  orion_free_aligned(a, block, step * row, ORION_ALIGN_CACHE);
  return status;
}

static orion_status put_all(orion_file_writer *w, const orion_allocator *a, const orion_strbuf *header, size_t n,
                            const orion_tensor_source *tensors, orion_error *err) {
  uint8_t length[8];
  for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header->size >> 8 * i);
  ORION_TRY(orion_file_writer_put(w, length, sizeof length, err));
  ORION_TRY(orion_file_writer_put(w, header->data, header->size, err));
  for (unsigned width = 64; width >= 8; width /= 2) {
    for (size_t i = 0; i < n; i++) {
      if (orion_dtype_bits(tensors[i].dtype) == width) ORION_TRY(put_tensor(w, a, &tensors[i], err));
    }
  }
  return ORION_OK;
}

orion_status orion_safetensors_write(const orion_allocator *a, const char *path, size_t n,
                                     const orion_tensor_source *tensors, size_t n_metadata,
                                     const orion_text_pair *metadata, orion_error *err) {
  a = orion_allocator_or_default(a);
  orion_strbuf header;
  orion_strbuf_init(&header, a);
  orion_file_writer *w = NULL;
  size_t bytes;
  orion_status status = ORION_OK;
  for (size_t i = 0; i < n && status == ORION_OK; i++) status = tensor_bytes(path, &tensors[i], &bytes, err);
  if (status == ORION_OK) status = make_header(&header, path, n, tensors, n_metadata, metadata, err);
  if (status == ORION_OK) status = orion_file_writer_open(a, path, &w, err);
  if (status == ORION_OK) {
    status = put_all(w, a, &header, n, tensors, err);
    if (status == ORION_OK) {
      status = orion_file_writer_commit(w, err);
    } else {
      orion_file_writer_abort(w);
    }
  }
  orion_strbuf_deinit(&header);
  return status;
}
