// Evaluating a lazy constant for a range of its rows. Each node asks its source for just the rows it needs; scratch is
// taken in blocks of rows, so that reading a big matrix never needs a second copy of it.
//
// The evaluator also runs turned: `turned` means that rows of the result are columns of the node. A transpose flips the
// flag for its source and is otherwise nothing. So a leaf under a transpose (GPT-2 stores its matrices [in, out]) is
// read in tiles that are converted and turned in cache, whatever nodes lie between, and none is ever computed whole.
//
// Everything inside works on elements of a byte or more: an element type narrower than a byte is carried as (u)int8 with
// its own range, and packed only at the very end.
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/half.h"
#include "ir/data.h"
#include "ir/data_quantise.h"
#include "ir/data_turn.h"

#define BLOCK_BYTES (128u * 1024)

static bool narrow(orion_dtype d) { return orion_dtype_bits(d) < 8; }
static orion_dtype carrier(orion_dtype d) {
  return !narrow(d) ? d : orion_dtype_class(d) == 'i' ? ORION_INT8 : ORION_UINT8;
}
static size_t width_of(orion_dtype d) { return orion_dtype_bits(d) / 8; }  // bytes; of carriers

// n packed elements, from element `first` on, to another type; the pairs that weights use have loops of their own.
static void convert(orion_dtype to, void *out, orion_dtype from, const void *in, size_t first, size_t n) {
  const char *x = narrow(from) ? in : (const char *)in + first * width_of(from);
  if (to == from && !narrow(to)) {
    memcpy(out, x, n * width_of(to));
  } else if (from == ORION_FP32 && to == ORION_FP16) {
    orion_floats_to_half(out, x, n);
  } else if (from == ORION_FP16 && to == ORION_FP32) {
    orion_half_to_floats(out, x, n);
  } else if (from == ORION_BF16 && to == ORION_FP32) {
    orion_bf16_to_floats(out, x, n);
  } else if (from == ORION_FP32 && to == ORION_BF16) {
    orion_floats_to_bf16(out, x, n);
  } else if (from == ORION_BF16 && to == ORION_FP16) {  // exact on the way
    float block[256];
    for (size_t i = 0; i < n; i += 256) {
      size_t m = n - i < 256 ? n - i : 256;
      orion_bf16_to_floats(block, x + i * 2, m);
      orion_floats_to_half((orion_half *)out + i, block, m);
    }
  } else if (orion_dtype_is_float(from) || from == ORION_UINT64) {
    for (size_t i = 0; i < n; i++) orion_store_double(to, out, i, orion_load_double(from, in, first + i));
  } else {
    for (size_t i = 0; i < n; i++) orion_store_int(to, out, i, orion_load_int(from, in, first + i));
  }
}

// Whether every value of `from` is one of `to` too, so that rounding to `to` in between changes nothing.
static bool widens(orion_dtype from, orion_dtype to) {
  return from == to || (to == ORION_FP32 && (from == ORION_FP16 || from == ORION_BF16)) ||
         (to == ORION_FP64 && orion_dtype_is_float(from));
}

// n rows of a node (of its columns when turned) as elements of `dtype`, a carrier. Row r starts at out + r * stride
// elements.
typedef struct request {
  bool turned;
  orion_dtype dtype;
  size_t first, n;
  char *out;
  size_t stride;
} request;

static orion_status eval(const orion_data *x, request q, orion_error *err);

static size_t width(const orion_data *x, bool turned) { return turned ? x->rows : x->cols; }
static char *row_of(const request *q, size_t r) { return q->out + r * q->stride * width_of(q->dtype); }

static void eval_leaf(const orion_data *x, const request *q) {
  if (!q->turned) {
    if (q->stride == x->cols) {
      convert(q->dtype, q->out, x->dtype, x->bytes, q->first * x->cols, q->n * x->cols);
      return;
    }
    for (size_t r = 0; r < q->n; r++) {
      convert(q->dtype, row_of(q, r), x->dtype, x->bytes, (q->first + r) * x->cols, x->cols);
    }
    return;
  }
  // Tiles of the leaf are converted as they lie and then turned into place.
  _Alignas(64) char tile[ORION_TURN_TILE * ORION_TURN_TILE * 8];
  size_t w = width_of(q->dtype);
  for (size_t c0 = 0; c0 < x->rows; c0 += ORION_TURN_TILE) {
    size_t cols = x->rows - c0 < ORION_TURN_TILE ? x->rows - c0 : ORION_TURN_TILE;
    for (size_t r0 = 0; r0 < q->n; r0 += ORION_TURN_TILE) {
      size_t rows = q->n - r0 < ORION_TURN_TILE ? q->n - r0 : ORION_TURN_TILE;
      for (size_t c = 0; c < cols; c++) {
        convert(q->dtype, tile + c * ORION_TURN_TILE * w, x->dtype, x->bytes, (c0 + c) * x->cols + q->first + r0, rows);
      }
      orion_turn_tile(row_of(q, r0) + c0 * w, q->stride, tile, rows, cols, w);
    }
  }
}

// Scratch for as many rows as fit a block; *out_rows of them, at least one.
typedef struct scratch {
  char *bytes;
  size_t size, rows;
} scratch;

static orion_status take_scratch(size_t row_bytes, size_t n, scratch *s, orion_error *err) {
  s->rows = row_bytes ? BLOCK_BYTES / row_bytes : n;
  if (s->rows < 1) s->rows = 1;
  if (s->rows > n) s->rows = n;
  if (!orion_mul_ok(s->rows, row_bytes, &s->size)) return ORION_OOM(err, "constant");
  s->bytes = orion_alloc_aligned(NULL, s->size, ORION_ALIGN_CACHE);
  return s->bytes ? ORION_OK : ORION_OOM(err, "constant");
}

// Values held in `from` land in the request's rows [r, r + m) as x's own dtype would hold them, then as the request's.
static void deliver(const orion_data *x, const request *q, size_t r, size_t m, orion_dtype from, char *values) {
  size_t w = width(x, q->turned), n = m * w;
  if (narrow(x->dtype)) {  // its range, in the carrier's bytes
    char packed[64];
    for (size_t i = 0; i < n; i++) {
      orion_store_int(x->dtype, packed, 0, orion_load_int(from, values, i));
      orion_store_int(from, values, i, orion_load_int(x->dtype, packed, 0));
    }
  }
  if (q->stride == w) {
    convert(q->dtype, row_of(q, r), from, values, 0, n);
  } else {
    for (size_t i = 0; i < m; i++) convert(q->dtype, row_of(q, r + i), from, values, i * w, w);
  }
}

static orion_status eval_cast(const orion_data *x, request q, orion_error *err) {
  const orion_data *source = x->sources[0];
  bool direct = q.dtype == x->dtype || widens(source->dtype, x->dtype);
  if (direct) return eval(source, q, err);
  orion_dtype own = carrier(x->dtype);
  size_t w = width(x, q.turned);
  scratch s = {0};
  ORION_TRY(take_scratch(w * width_of(own), q.n, &s, err));
  orion_status status = ORION_OK;
  for (size_t r = 0; status == ORION_OK && r < q.n; r += s.rows) {
    size_t m = q.n - r < s.rows ? q.n - r : s.rows;
    status = eval(source, (request){q.turned, own, q.first + r, m, s.bytes, w}, err);
    if (status == ORION_OK) deliver(x, &q, r, m, own, s.bytes);
  }
  orion_free_aligned(NULL, s.bytes, s.size, ORION_ALIGN_CACHE);
  return status;
}

// Computed in fp32, then rounded to x's dtype.
static orion_status eval_scale(const orion_data *x, request q, orion_error *err) {
  orion_dtype own = carrier(x->dtype);
  size_t w = width(x, q.turned);
  bool in_place = q.dtype == ORION_FP32 && own == ORION_FP32;
  scratch s = {0};
  ORION_TRY(take_scratch(w * (sizeof(float) + 8), q.n, &s, err));
  float *values = (float *)s.bytes;
  char *rounded = s.bytes + s.rows * w * sizeof(float);
  orion_status status = ORION_OK;
  for (size_t r = 0; status == ORION_OK && r < q.n; r += s.rows) {
    size_t m = q.n - r < s.rows ? q.n - r : s.rows;
    status = eval(x->sources[0], (request){q.turned, ORION_FP32, q.first + r, m, s.bytes, w}, err);
    for (size_t i = 0; status == ORION_OK && i < m; i++) {
      float *line = values + i * w;
      if (x->n_scale == 1 || !q.turned) {
        float k = x->scale[x->n_scale == 1 ? 0 : q.first + r + i];
        for (size_t c = 0; c < w; c++) line[c] *= k;
      } else {
        for (size_t c = 0; c < w; c++) line[c] *= x->scale[c];
      }
    }
    if (status != ORION_OK) break;
    if (!in_place) convert(own, rounded, ORION_FP32, values, 0, m * w);
    deliver(x, &q, r, m, own, in_place ? s.bytes : rounded);
  }
  orion_free_aligned(NULL, s.bytes, s.size, ORION_ALIGN_CACHE);
  return status;
}

// Rows picked along the request's rows: runs of neighbours together, since a turned row costs dear alone.
static orion_status pick_rows(const orion_data *x, request q, orion_error *err) {
  for (size_t r = 0, run; r < q.n; r += run) {
    const uint32_t *at = x->index + q.first + r;
    for (run = 1; r + run < q.n && at[run] == at[0] + run; run++) continue;
    ORION_TRY(eval(x->sources[0], (request){q.turned, q.dtype, at[0], run, row_of(&q, r), q.stride}, err));
  }
  return ORION_OK;
}

// Elements picked within each of the request's rows.
static orion_status pick_within(const orion_data *x, request q, orion_error *err) {
  size_t from = width(x->sources[0], q.turned), to = width(x, q.turned), w = width_of(q.dtype);
  scratch s = {0};
  ORION_TRY(take_scratch(from * w, q.n, &s, err));
  orion_status status = ORION_OK;
  for (size_t r = 0; status == ORION_OK && r < q.n; r += s.rows) {
    size_t m = q.n - r < s.rows ? q.n - r : s.rows;
    status = eval(x->sources[0], (request){q.turned, q.dtype, q.first + r, m, s.bytes, from}, err);
    for (size_t i = 0; status == ORION_OK && i < m; i++) {
      char *out = row_of(&q, r + i);
      const char *line = s.bytes + i * from * w;
      for (size_t c = 0; c < to; c++) memcpy(out + c * w, line + x->index[c] * w, w);
    }
  }
  orion_free_aligned(NULL, s.bytes, s.size, ORION_ALIGN_CACHE);
  return status;
}

static orion_status eval_join(const orion_data *x, request q, orion_error *err) {
  size_t start = 0;
  for (size_t i = 0; i < x->n_sources; i++) {
    const orion_data *part = x->sources[i];
    if (q.turned) {  // side by side
      char *out = q.out + start * width_of(q.dtype);
      ORION_TRY(eval(part, (request){true, q.dtype, q.first, q.n, out, q.stride}, err));
    } else {
      size_t begin = q.first > start ? q.first : start, end = start + part->rows;
      if (end > q.first + q.n) end = q.first + q.n;
      if (begin < end) {
        request sub = {false, q.dtype, begin - start, end - begin, row_of(&q, begin - q.first), q.stride};
        ORION_TRY(eval(part, sub, err));
      }
    }
    start += part->rows;
  }
  return ORION_OK;
}

// Columns of what is only known by rows: all rows first, then turned.
static orion_status eval_turned(const orion_data *x, const request *q, orion_error *err) {
  size_t w = width_of(q->dtype), bytes = x->rows * x->cols * w;
  char *whole = orion_alloc_aligned(NULL, bytes, ORION_ALIGN_CACHE);
  if (!whole) return ORION_OOM(err, "constant");
  orion_status status = eval(x, (request){false, q->dtype, 0, x->rows, whole, x->cols}, err);
  for (size_t i = 0; status == ORION_OK && i < q->n; i++) {
    char *out = row_of(q, i);
    for (size_t r = 0; r < x->rows; r++) memcpy(out + r * w, whole + (r * x->cols + q->first + i) * w, w);
  }
  orion_free_aligned(NULL, whole, bytes, ORION_ALIGN_CACHE);
  return status;
}

// Rows [first, first + n) of a QUANTISE node, a byte each, and their scales, a block of source rows at a time. Either
// result may be left out. The results' rows are packed.
static orion_status quantise_rows(const orion_data *x, size_t first, size_t n, int8_t *out, orion_half *out_scales,
                                  orion_error *err) {
  size_t cols = x->cols, groups = cols / x->group;
  scratch s = {0};
  ORION_TRY(take_scratch(cols * sizeof(float) + groups * sizeof(orion_half), n, &s, err));
  float *values = (float *)s.bytes;
  orion_half *scales = (orion_half *)(s.bytes + s.rows * cols * sizeof(float));
  orion_status status = ORION_OK;
  for (size_t r = 0; status == ORION_OK && r < n; r += s.rows) {
    size_t m = n - r < s.rows ? n - r : s.rows;
    status = eval(x->sources[0], (request){false, ORION_FP32, first + r, m, s.bytes, cols}, err);
    if (status != ORION_OK) break;
    orion_quantise_scales(x->dtype, values, m * groups, x->group, scales);
    if (out) orion_quantise(x->dtype, values, m * groups, x->group, scales, out + r * cols);
    if (out_scales) memcpy(out_scales + r * groups, scales, m * groups * sizeof *scales);
  }
  orion_free_aligned(NULL, s.bytes, s.size, ORION_ALIGN_CACHE);
  return status;
}

// QUANTISE and SCALES nodes: computed as they are stored, then converted.
static orion_status eval_quantised(const orion_data *x, request q, orion_error *err) {
  if (q.turned) return eval_turned(x, &q, err);
  bool integers = x->kind == ORION_DATA_QUANTISE;
  scratch s = {0};
  ORION_TRY(take_scratch(x->cols * 2, q.n, &s, err));
  orion_status status = ORION_OK;
  for (size_t r = 0; status == ORION_OK && r < q.n; r += s.rows) {
    size_t m = q.n - r < s.rows ? q.n - r : s.rows;
    status = integers ? quantise_rows(x, q.first + r, m, (int8_t *)s.bytes, NULL, err)
                      : quantise_rows(x->sources[0], q.first + r, m, NULL, (orion_half *)s.bytes, err);
    for (size_t i = 0; status == ORION_OK && i < m; i++) {
      convert(q.dtype, row_of(&q, r + i), integers ? ORION_INT8 : ORION_FP16, s.bytes, i * x->cols, x->cols);
    }
  }
  orion_free_aligned(NULL, s.bytes, s.size, ORION_ALIGN_CACHE);
  return status;
}

// EXPAND nodes.
static orion_status eval_expand(const orion_data *x, request q, orion_error *err) {
  if (q.turned) return eval_turned(x, &q, err);
  const orion_data *ints = x->sources[0], *by = x->sources[1];
  size_t cols = x->cols, groups = by->cols;
  scratch s = {0};
  ORION_TRY(take_scratch(cols * (sizeof(float) + 1) + groups * sizeof(float), q.n, &s, err));
  float *values = (float *)s.bytes, *scales = values + s.rows * cols;
  char *integers = (char *)(scales + s.rows * groups);
  orion_status status = ORION_OK;
  for (size_t r = 0; status == ORION_OK && r < q.n; r += s.rows) {
    size_t m = q.n - r < s.rows ? q.n - r : s.rows;
    status = eval(ints, (request){false, ORION_INT8, q.first + r, m, integers, cols}, err);
    if (status == ORION_OK) status = eval(by, (request){false, ORION_FP32, q.first + r, m, (char *)scales, groups}, err);
    if (status != ORION_OK) break;
    orion_expand((const int8_t *)integers, scales, m, cols, groups, values);
    deliver(x, &q, r, m, ORION_FP32, s.bytes);
  }
  orion_free_aligned(NULL, s.bytes, s.size, ORION_ALIGN_CACHE);
  return status;
}

// WORDS and NIBBLES nodes, a row at a time.
static orion_status eval_packing(const orion_data *x, request q, orion_error *err) {
  if (q.turned) return eval_turned(x, &q, err);
  bool pack = x->kind == ORION_DATA_WORDS;
  size_t elements = pack ? x->sources[0]->cols : x->cols, words = (elements + 7) / 8;
  scratch s = {0};
  ORION_TRY(take_scratch(words * sizeof(uint32_t) + elements, 1, &s, err));
  uint32_t *row = (uint32_t *)s.bytes;
  char *integers = (char *)(row + words);
  orion_status status = ORION_OK;
  for (size_t r = 0; status == ORION_OK && r < q.n; r++) {
    request part = {false, pack ? ORION_INT8 : ORION_INT32, q.first + r, 1, pack ? integers : s.bytes, x->sources[0]->cols};
    status = eval(x->sources[0], part, err);
    if (status != ORION_OK) break;
    if (pack) {
      orion_nibbles_to_words((const int8_t *)integers, elements, row);
      convert(q.dtype, row_of(&q, r), ORION_INT32, s.bytes, 0, words);
    } else {
      orion_words_to_nibbles(row, elements, (int8_t *)integers);
      convert(q.dtype, row_of(&q, r), ORION_INT8, integers, 0, elements);
    }
  }
  orion_free_aligned(NULL, s.bytes, s.size, ORION_ALIGN_CACHE);
  return status;
}

orion_status orion_data_read_quantised(const orion_data *q, const orion_data *scales, size_t row, size_t n, int8_t *out,
                                       uint16_t *out_scales, orion_error *err) {
  if (q->kind == ORION_DATA_QUANTISE && scales->kind == ORION_DATA_SCALES && scales->sources[0] == q) {
    return n && q->cols ? quantise_rows(q, row, n, out, out_scales, err) : ORION_OK;
  }
  ORION_TRY(eval(q, (request){false, ORION_INT8, row, n, (char *)out, q->cols}, err));
  return eval(scales, (request){false, ORION_FP16, row, n, (char *)out_scales, scales->cols}, err);
}

static orion_status eval(const orion_data *x, request q, orion_error *err) {
  if (q.n == 0 || width(x, q.turned) == 0) return ORION_OK;
  switch (x->kind) {
    case ORION_DATA_BYTES: eval_leaf(x, &q); return ORION_OK;
    case ORION_DATA_CAST: return eval_cast(x, q, err);
    case ORION_DATA_TRANSPOSE: q.turned = !q.turned; return eval(x->sources[0], q, err);
    case ORION_DATA_SCALE: return eval_scale(x, q, err);
    case ORION_DATA_ROWS: return q.turned ? pick_within(x, q, err) : pick_rows(x, q, err);
    case ORION_DATA_COLS: return q.turned ? pick_rows(x, q, err) : pick_within(x, q, err);
    case ORION_DATA_JOIN: return eval_join(x, q, err);
    case ORION_DATA_QUANTISE:
    case ORION_DATA_SCALES: return eval_quantised(x, q, err);
    case ORION_DATA_EXPAND: return eval_expand(x, q, err);
    case ORION_DATA_WORDS:
    case ORION_DATA_NIBBLES: return eval_packing(x, q, err);
  }
  return ORION_FAIL(err, ORION_INTERNAL, "constant: unknown node kind %d", (int)x->kind);
}

orion_status orion_data_read(const orion_data *x, orion_dtype dtype, size_t row, size_t n, void *out,
                             orion_error *err) {
  if (!narrow(dtype)) return eval(x, (request){false, dtype, row, n, out, x->cols}, err);
  size_t elements = n * x->cols, packed;
  if (x->kind == ORION_DATA_BYTES && x->dtype == dtype && row == 0) {
    if (orion_dtype_bytes(dtype, elements, &packed) && packed) memcpy(out, x->bytes, packed);
    return ORION_OK;
  }
  orion_dtype wide = carrier(dtype);
  char *bytes = orion_alloc(NULL, elements, 1);
  if (!bytes) return ORION_OOM(err, "constant");
  orion_status status = eval(x, (request){false, wide, row, n, bytes, x->cols}, err);
  if (status == ORION_OK) {
    if (orion_dtype_bytes(dtype, elements, &packed)) memset(out, 0, packed);
    for (size_t i = 0; i < elements; i++) orion_store_int(dtype, out, i, orion_load_int(wide, bytes, i));
  }
  orion_free(NULL, bytes, elements, 1);
  return status;
}

// Whole pages within [first, first + size) of a leaf.
static void forget(const orion_data *x, size_t first, size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  uintptr_t begin = ((uintptr_t)x->bytes + first + page - 1) & ~(page - 1);
  uintptr_t end = ((uintptr_t)x->bytes + first + size) & ~(page - 1);
  if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void orion_data_forget_rows(const orion_data *x, size_t row, size_t n) {
  size_t width = orion_dtype_bits(x->dtype) / 8;
  if (x->kind == ORION_DATA_BYTES && x->mapped) forget(x, row * x->cols * width, n * x->cols * width);
}

void orion_data_forget_pages(const orion_data *x) {
  for (size_t i = 0; i < x->n_sources; i++) orion_data_forget_pages(x->sources[i]);
  size_t size;
  if (x->kind != ORION_DATA_BYTES || !x->mapped || !orion_dtype_bytes(x->dtype, orion_data_elements(x), &size)) return;
  forget(x, 0, size);
}
