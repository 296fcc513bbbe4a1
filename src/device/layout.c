// Moves elements row by row; the common pairs of types (fp16 and fp32 with floats, int32 with ints) have loops of their
// own, all others go through the one-element conversions of ir/dtype.h.
#include "device/layout.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/half.h"

size_t orion_layout_rows(const orion_layout *l) {
  size_t rows = 1;
  for (int i = 0; i + 1 < l->rank; i++) rows *= (size_t)l->dims[i];
  return rows;
}

size_t orion_layout_columns(const orion_layout *l) { return l->rank ? (size_t)l->dims[l->rank - 1] : 1; }

static size_t element_bytes(const orion_layout *l) { return orion_dtype_bits((orion_dtype)l->dtype) / 8; }

static bool checked_size(const orion_layout *l, size_t *out_row, size_t *out_bytes) {
  size_t rows = 1;
  for (int i = 0; i + 1 < l->rank; i++) {
    if (!orion_mul_ok(rows, (size_t)l->dims[i], &rows)) return false;
  }
  size_t columns = orion_layout_columns(l);
  return orion_mul_ok(columns, element_bytes(l), out_row) && *out_row <= SIZE_MAX / 4 &&
         orion_mul_ok(rows, l->row_bytes > *out_row ? l->row_bytes : *out_row, out_bytes) && *out_bytes <= PTRDIFF_MAX;
}

static orion_status check_shape(const orion_layout *l, orion_error *err) {
  if (l->dtype <= ORION_DTYPE_NONE || l->dtype >= ORION_DTYPE_COUNT) {
    return ORION_FAIL(err, ORION_INVALID, "surface: %d is no element type", l->dtype);
  }
  unsigned bits = orion_dtype_bits((orion_dtype)l->dtype);
  if (bits == 0 || bits % 8) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "surface: elements of type %s (whole bytes only)",
                      orion_dtype_name((orion_dtype)l->dtype));
  }
  if (l->rank < 0 || l->rank > ORION_SURFACE_RANK) {
    return ORION_FAIL(err, ORION_INVALID, "surface: rank %d is not within 0 to %d", l->rank, ORION_SURFACE_RANK);
  }
  for (int i = 0; i < l->rank; i++) {
    if (l->dims[i] < 0) {
      return ORION_FAIL(err, ORION_INVALID, "surface: dimension %d is %lld (want a known size)", i,
                        (long long)l->dims[i]);
    }
  }
  return ORION_OK;
}

orion_status orion_layout_make(orion_dtype dtype, int rank, const int64_t *dims, size_t row_align, orion_layout *out,
                               orion_error *err) {
  orion_layout l = {.dtype = (int)dtype, .rank = rank};
  for (int i = 0; i < rank && i < ORION_SURFACE_RANK; i++) l.dims[i] = dims[i];
  ORION_TRY(check_shape(&l, err));
  size_t row;
  if (!checked_size(&l, &row, &l.bytes)) return ORION_FAIL(err, ORION_LIMIT, "surface: its size overflows");
  l.row_bytes = orion_round_up(row, row_align ? row_align : 1);
  if (!checked_size(&l, &row, &l.bytes)) return ORION_FAIL(err, ORION_LIMIT, "surface: its size overflows");
  *out = l;
  return ORION_OK;
}

orion_status orion_layout_of_type(const orion_type *type, size_t row_align, orion_layout *out, orion_error *err) {
  if (!orion_type_is_static(type)) return ORION_FAIL(err, ORION_UNSUPPORTED, "its type is not a tensor of known shape");
  return orion_layout_make(type->dtype, type->rank, type->dims, row_align, out, err);
}

orion_status orion_layout_check(const orion_layout *l, orion_error *err) {
  ORION_TRY(check_shape(l, err));
  size_t row, bytes;
  if (!checked_size(l, &row, &bytes)) return ORION_FAIL(err, ORION_LIMIT, "surface: its size overflows");
  if (l->row_bytes < row) {
    return ORION_FAIL(err, ORION_INVALID, "surface: rows of %zu bytes do not fit into %zu", row, l->row_bytes);
  }
  if (l->bytes < bytes || l->bytes > PTRDIFF_MAX) {
    return ORION_FAIL(err, ORION_INVALID, "surface: %zu bytes do not fit into %zu", bytes, l->bytes);
  }
  return ORION_OK;
}

bool orion_layout_equal(const orion_layout *a, const orion_layout *b) {
  if (a->dtype != b->dtype || a->rank != b->rank || a->row_bytes != b->row_bytes || a->bytes != b->bytes) return false;
  for (int i = 0; i < a->rank; i++) {
    if (a->dims[i] != b->dims[i]) return false;
  }
  return true;
}

void orion_layout_text(const orion_layout *l, char *out, size_t size) {
  int used = snprintf(out, size, "%s [", orion_dtype_name((orion_dtype)l->dtype));
  for (int i = 0; i < l->rank && used > 0 && (size_t)used < size; i++) {
    used += snprintf(out + used, size - (size_t)used, "%s%lld", i ? ", " : "", (long long)l->dims[i]);
  }
  if (used > 0 && (size_t)used < size) {
    snprintf(out + used, size - (size_t)used, "], rows of %zu bytes, %zu bytes", l->row_bytes, l->bytes);
  }
}

size_t orion_layout_offset(const orion_layout *l, const int64_t *index) {
  size_t row = 0;
  for (int i = 0; i + 1 < l->rank; i++) row = row * (size_t)l->dims[i] + (size_t)index[i];
  return row * l->row_bytes + (l->rank ? (size_t)index[l->rank - 1] * element_bytes(l) : 0);
}

void orion_layout_pack(const orion_layout *l, const void *surface, void *packed) {
  size_t rows = orion_layout_rows(l), row = orion_layout_columns(l) * element_bytes(l);
  for (size_t r = 0; r < rows && row; r++) {
    memcpy((char *)packed + r * row, (const char *)surface + r * l->row_bytes, row);
  }
}

void orion_layout_unpack(const orion_layout *l, void *surface, const void *packed) {
  size_t rows = orion_layout_rows(l), row = orion_layout_columns(l) * element_bytes(l);
  for (size_t r = 0; r < rows && row; r++) {
    memcpy((char *)surface + r * l->row_bytes, (const char *)packed + r * row, row);
  }
}

void orion_layout_to_floats(const orion_layout *l, const void *surface, float *packed) {
  orion_dtype d = (orion_dtype)l->dtype;
  size_t rows = orion_layout_rows(l), n = orion_layout_columns(l);
  for (size_t r = 0; r < rows && n; r++, packed += n) {
    const char *row = (const char *)surface + r * l->row_bytes;
    if (d == ORION_FP32) {
      memcpy(packed, row, n * sizeof *packed);
    } else if (d == ORION_FP16) {
      orion_half_to_floats(packed, (const orion_half *)row, n);
    } else {
      for (size_t i = 0; i < n; i++) packed[i] = (float)orion_load_double(d, row, i);
    }
  }
}

void orion_layout_from_floats(const orion_layout *l, void *surface, const float *packed) {
  orion_dtype d = (orion_dtype)l->dtype;
  size_t rows = orion_layout_rows(l), n = orion_layout_columns(l);
  for (size_t r = 0; r < rows && n; r++, packed += n) {
    char *row = (char *)surface + r * l->row_bytes;
    if (d == ORION_FP32) {
      memcpy(row, packed, n * sizeof *packed);
    } else if (d == ORION_FP16) {
      orion_floats_to_half((orion_half *)row, packed, n);
    } else {
      for (size_t i = 0; i < n; i++) orion_store_double(d, row, i, (double)packed[i]);
    }
  }
}

void orion_layout_to_ints(const orion_layout *l, const void *surface, int32_t *packed) {
  orion_dtype d = (orion_dtype)l->dtype;
  size_t rows = orion_layout_rows(l), n = orion_layout_columns(l);
  for (size_t r = 0; r < rows && n; r++, packed += n) {
    const char *row = (const char *)surface + r * l->row_bytes;
    if (d == ORION_INT32) {
      memcpy(packed, row, n * sizeof *packed);
    } else {
      for (size_t i = 0; i < n; i++) {
        int64_t v = orion_load_int(d, row, i);
        packed[i] = v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
      }
    }
  }
}

void orion_layout_from_ints(const orion_layout *l, void *surface, const int32_t *packed) {
  orion_dtype d = (orion_dtype)l->dtype;
  size_t rows = orion_layout_rows(l), n = orion_layout_columns(l);
  for (size_t r = 0; r < rows && n; r++, packed += n) {
    char *row = (char *)surface + r * l->row_bytes;
    if (d == ORION_INT32) {
      memcpy(row, packed, n * sizeof *packed);
    } else {
      for (size_t i = 0; i < n; i++) orion_store_int(d, row, i, packed[i]);
    }
  }
}
