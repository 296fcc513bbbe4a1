// Evaluating a lazy constant for a range of its rows. Each node asks its source for just the rows it needs; scratch is
// taken in blocks of rows so that reading a big matrix never needs a second copy of it.
//
// Transposes are the exception that costs: rows of the result are columns of the source. A transposed leaf (GPT-2 stores
// its matrices [in, out]) is read directly in blocks; anything else under a transpose is computed whole first.
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/half.h"
#include "ir/data.h"

#define BLOCK_BYTES (256u * 1024)

static bool simple(orion_dtype d) { return orion_dtype_bits(d) >= 8; }

// n packed elements from one dtype to another; the pairs that weights use have loops of their own.
static void convert(orion_dtype to, void *out, orion_dtype from, const void *in, size_t first, size_t n) {
  if (to == from && simple(to)) {
    size_t w = orion_dtype_bits(to) / 8;
    memcpy(out, (const char *)in + first * w, n * w);
  } else if (from == ORION_FP32 && to == ORION_FP16) {
    const float *x = (const float *)in + first;
    orion_half *y = out;
    for (size_t i = 0; i < n; i++) y[i] = orion_float_to_half(x[i]);
  } else if (from == ORION_FP16 && to == ORION_FP32) {
    const orion_half *x = (const orion_half *)in + first;
    float *y = out;
    for (size_t i = 0; i < n; i++) y[i] = orion_half_to_float(x[i]);
  } else if (from == ORION_BF16 && (to == ORION_FP32 || to == ORION_FP16)) {
    const orion_bf16 *x = (const orion_bf16 *)in + first;
    for (size_t i = 0; i < n; i++) {
      float v = orion_bf16_to_float(x[i]);
      if (to == ORION_FP32) {
        ((float *)out)[i] = v;
      } else {
        ((orion_half *)out)[i] = orion_float_to_half(v);
      }
    }
  } else if (orion_dtype_is_float(to) || orion_dtype_is_float(from)) {
    for (size_t i = 0; i < n; i++) orion_store_double(to, out, i, orion_load_double(from, in, first + i));
  } else {
    for (size_t i = 0; i < n; i++) orion_store_int(to, out, i, orion_load_int(from, in, first + i));
  }
}

static size_t bytes_of(orion_dtype d, size_t n) {
  size_t bytes = 0;
  orion_dtype_bytes(d, n, &bytes);
  return bytes;
}

// Rows [row, row+n) of a transposed leaf: gather columns, block by block so that source lines are used while cached.
static void read_transposed_leaf(const orion_data *leaf, orion_dtype dtype, size_t row, size_t n, void *out) {
  size_t cols = leaf->rows;  // of the result
  enum { TILE = 64 };
  for (size_t c0 = 0; c0 < cols; c0 += TILE) {
    size_t c1 = c0 + TILE < cols ? c0 + TILE : cols;
    for (size_t r0 = 0; r0 < n; r0 += TILE) {
      size_t r1 = r0 + TILE < n ? r0 + TILE : n;
      for (size_t c = c0; c < c1; c++) {
        size_t from = c * leaf->cols + row;
        if (leaf->dtype == ORION_FP32 && dtype == ORION_FP16) {
          const float *x = (const float *)leaf->bytes + from;
          for (size_t r = r0; r < r1; r++) ((orion_half *)out)[r * cols + c] = orion_float_to_half(x[r]);
        } else if (leaf->dtype == ORION_FP32 && dtype == ORION_FP32) {
          const float *x = (const float *)leaf->bytes + from;
          for (size_t r = r0; r < r1; r++) ((float *)out)[r * cols + c] = x[r];
        } else {
          for (size_t r = r0; r < r1; r++) {
            orion_store_double(dtype, out, r * cols + c, orion_load_double(leaf->dtype, leaf->bytes, from + r));
          }
        }
      }
    }
  }
}

// Whether reading x as `dtype` may skip the conversion to x's own dtype: a cast that loses nothing on the way, or none.
static bool widens(orion_dtype from, orion_dtype to) {
  return from == to || (to == ORION_FP32 && (from == ORION_FP16 || from == ORION_BF16)) || to == ORION_FP64;
}

static orion_status read_rows(const orion_data *x, orion_dtype dtype, size_t row, size_t n, void *out,
                              orion_error *err);

// All elements of x in a fresh buffer of x's dtype; the caller frees *out_size bytes.
static orion_status read_whole(const orion_data *x, void **out, size_t *out_size, orion_error *err) {
  *out_size = bytes_of(x->dtype, orion_data_elements(x));
  *out = orion_alloc_aligned(NULL, *out_size, ORION_ALIGN_CACHE);
  if (!*out) return ORION_OOM(err, "constant");
  orion_status status = read_rows(x, x->dtype, 0, x->rows, *out, err);
  if (status != ORION_OK) orion_free_aligned(NULL, *out, *out_size, ORION_ALIGN_CACHE);
  return status;
}

static orion_status read_transpose(const orion_data *x, orion_dtype dtype, size_t row, size_t n, void *out,
                                   orion_error *err) {
  const orion_data *source = x->sources[0];
  // transpose(cast(leaf)) reads the leaf; the cast is the conversion on the way out if nothing is rounded twice.
  const orion_data *leaf = source;
  if (leaf->kind == ORION_DATA_CAST && leaf->sources[0]->kind == ORION_DATA_BYTES && leaf->dtype == dtype) {
    leaf = leaf->sources[0];
  }
  if (leaf->kind == ORION_DATA_BYTES && simple(leaf->dtype)) {
    read_transposed_leaf(leaf, dtype, row, n, out);
    return ORION_OK;
  }
  void *whole;
  size_t size;
  ORION_TRY(read_whole(source, &whole, &size, err));
  orion_data view = *source;
  view.kind = ORION_DATA_BYTES;
  view.bytes = whole;
  if (simple(view.dtype)) {
    read_transposed_leaf(&view, dtype, row, n, out);
  } else {
    for (size_t r = 0; r < n; r++) {
      for (size_t c = 0; c < x->cols; c++) {
        double v = orion_load_double(view.dtype, whole, c * view.cols + row + r);
        orion_store_double(dtype, out, r * x->cols + c, v);
      }
    }
  }
  orion_free_aligned(NULL, whole, size, ORION_ALIGN_CACHE);
  return ORION_OK;
}

// Cast: through the source's rows, rounded to x's dtype and then to the dtype asked for.
static orion_status read_cast(const orion_data *x, orion_dtype dtype, size_t row, size_t n, void *out,
                              orion_error *err) {
  const orion_data *source = x->sources[0];
  if (dtype == x->dtype && source->kind == ORION_DATA_TRANSPOSE && source->sources[0]->kind == ORION_DATA_BYTES) {
    return read_transpose(source, dtype, row, n, out, err);
  }
  if (dtype == x->dtype && source->kind == ORION_DATA_BYTES) {
    convert(dtype, out, source->dtype, source->bytes, row * x->cols, n * x->cols);
    return ORION_OK;
  }
  if (widens(source->dtype, x->dtype) && widens(x->dtype, dtype)) return read_rows(source, dtype, row, n, out, err);
  size_t source_row = bytes_of(source->dtype, x->cols), own_row = bytes_of(x->dtype, x->cols);
  size_t per_row = source_row > own_row ? source_row : own_row;
  size_t step = simple(source->dtype) && simple(x->dtype) && per_row ? BLOCK_BYTES / per_row : n;
  if (step < 1) step = 1;
  if (step > n) step = n;
  size_t a_size = bytes_of(source->dtype, step * x->cols), b_size = bytes_of(x->dtype, step * x->cols);
  char *a = orion_alloc(NULL, a_size, 1), *b = orion_alloc(NULL, b_size, 1);
  orion_status status = a && b ? ORION_OK : ORION_OOM(err, "constant");
  for (size_t r = 0; status == ORION_OK && r < n; r += step) {
    size_t m = n - r < step ? n - r : step;
    status = read_rows(source, source->dtype, row + r, m, a, err);
    if (status != ORION_OK) break;
    convert(x->dtype, b, source->dtype, a, 0, m * x->cols);
    convert(dtype, (char *)out + bytes_of(dtype, r * x->cols), x->dtype, b, 0, m * x->cols);
  }
  orion_free(NULL, a, a_size, 1);
  orion_free(NULL, b, b_size, 1);
  return status;
}

static orion_status read_scale(const orion_data *x, orion_dtype dtype, size_t row, size_t n, void *out,
                               orion_error *err) {
  float *line = orion_alloc(NULL, x->cols, sizeof *line);
  void *rounded = orion_alloc(NULL, x->cols, 8);
  orion_status status = line && rounded ? ORION_OK : ORION_OOM(err, "constant");
  for (size_t r = 0; status == ORION_OK && r < n; r++) {
    status = read_rows(x->sources[0], ORION_FP32, row + r, 1, line, err);
    if (status != ORION_OK) break;
    float k = x->scale[x->n_scale == 1 ? 0 : row + r];
    for (size_t c = 0; c < x->cols; c++) line[c] *= k;
    convert(x->dtype, rounded, ORION_FP32, line, 0, x->cols);
    convert(dtype, (char *)out + bytes_of(dtype, r * x->cols), x->dtype, rounded, 0, x->cols);
  }
  orion_free(NULL, line, x->cols, sizeof *line);
  orion_free(NULL, rounded, x->cols, 8);
  return status;
}

static orion_status read_cols(const orion_data *x, orion_dtype dtype, size_t row, size_t n, void *out,
                              orion_error *err) {
  const orion_data *source = x->sources[0];
  size_t w = orion_dtype_bits(dtype) / 8, size = bytes_of(dtype, source->cols);
  char *line = orion_alloc(NULL, size, 1);
  orion_status status = line ? ORION_OK : ORION_OOM(err, "constant");
  for (size_t r = 0; status == ORION_OK && r < n; r++) {
    status = read_rows(source, dtype, row + r, 1, line, err);
    if (status != ORION_OK) break;
    char *to = (char *)out + r * x->cols * w;
    for (size_t c = 0; c < x->cols; c++) memcpy(to + c * w, line + x->index[c] * w, w);
  }
  orion_free(NULL, line, size, 1);
  return status;
}

static orion_status read_join(const orion_data *x, orion_dtype dtype, size_t row, size_t n, void *out,
                              orion_error *err) {
  size_t start = 0, done = 0;
  for (size_t i = 0; i < x->n_sources && done < n; i++) {
    const orion_data *part = x->sources[i];
    size_t at = row + done;
    if (at < start + part->rows) {
      size_t m = start + part->rows - at;
      if (m > n - done) m = n - done;
      ORION_TRY(read_rows(part, dtype, at - start, m, (char *)out + bytes_of(dtype, done * x->cols), err));
      done += m;
    }
    start += part->rows;
  }
  return ORION_OK;
}

static orion_status read_pad(const orion_data *x, orion_dtype dtype, size_t row, size_t n, void *out,
                             orion_error *err) {
  const orion_data *source = x->sources[0];
  size_t w = orion_dtype_bits(dtype) / 8;
  memset(out, 0, n * x->cols * w);
  for (size_t r = 0; r < n && row + r < source->rows; r++) {
    ORION_TRY(read_rows(source, dtype, row + r, 1, (char *)out + r * x->cols * w, err));
  }
  return ORION_OK;
}

static orion_status read_rows(const orion_data *x, orion_dtype dtype, size_t row, size_t n, void *out,
                              orion_error *err) {
  if (n == 0 || x->cols == 0) return ORION_OK;
  switch (x->kind) {
    case ORION_DATA_BYTES: convert(dtype, out, x->dtype, x->bytes, row * x->cols, n * x->cols); return ORION_OK;
    case ORION_DATA_CAST: return read_cast(x, dtype, row, n, out, err);
    case ORION_DATA_TRANSPOSE: return read_transpose(x, dtype, row, n, out, err);
    case ORION_DATA_SCALE: return read_scale(x, dtype, row, n, out, err);
    case ORION_DATA_ROWS:
      for (size_t r = 0, run; r < n; r += run) {  // neighbours together: rows of a transpose cost dear one by one
        const uint32_t *at = x->index + row + r;
        for (run = 1; r + run < n && at[run] == at[0] + run; run++) continue;
        ORION_TRY(read_rows(x->sources[0], dtype, at[0], run, (char *)out + bytes_of(dtype, r * x->cols), err));
      }
      return ORION_OK;
    case ORION_DATA_COLS: return read_cols(x, dtype, row, n, out, err);
    case ORION_DATA_JOIN: return read_join(x, dtype, row, n, out, err);
    case ORION_DATA_PAD: return read_pad(x, dtype, row, n, out, err);
  }
  return ORION_FAIL(err, ORION_INTERNAL, "constant: unknown node kind %d", (int)x->kind);
}

orion_status orion_data_read(const orion_data *x, orion_dtype dtype, size_t row, size_t n, void *out,
                             orion_error *err) {
  return read_rows(x, dtype, row, n, out, err);
}

void orion_data_forget_pages(const orion_data *x) {
  for (size_t i = 0; i < x->n_sources; i++) orion_data_forget_pages(x->sources[i]);
  size_t size, page = (size_t)sysconf(_SC_PAGESIZE);
  if (x->kind != ORION_DATA_BYTES || !x->mapped || !orion_dtype_bytes(x->dtype, orion_data_elements(x), &size)) return;
  uintptr_t begin = ((uintptr_t)x->bytes + page - 1) & ~(page - 1), end = ((uintptr_t)x->bytes + size) & ~(page - 1);
  if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}
