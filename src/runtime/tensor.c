// Rows of logical values in surfaces of any arrangement. All are the same strided pattern: element (t, c), with
// h = c / n and i = c % n, lies at t*step_t + h*step_h + i*step_i bytes.
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "runtime/runner.h"

typedef struct pattern {
  char *base;
  size_t step_t, step_h, step_i;
  int64_t heads, n;
  orion_dtype dtype;
  size_t width;               // bytes of an element
} pattern;

static pattern pattern_of(const orion_tensor *t) {
  pattern p = {.base = orion_surface_lock(t->surface), .heads = 1, .n = t->cols, .dtype = (orion_dtype)t->layout.dtype};
  p.width = orion_dtype_bits(p.dtype) / 8;
  size_t row = t->layout.row_bytes;
  switch (t->arrangement) {
    case ORION_CHANNELS:  // [1, C, 1, T] or [1, 1, C, T]: a row per channel
      p.step_t = p.width;
      p.step_i = row;
      break;
    case ORION_HEADS:  // [1, H, T, n]
      p.heads = t->heads;
      p.n = t->cols / t->heads;
      p.step_t = row;
      p.step_i = p.width;
      p.step_h = row * (size_t)t->layout.dims[2];
      break;
    case ORION_ROWS:
    case ORION_OPAQUE:
      p.step_t = row;
      p.step_i = p.width;
      break;
  }
  return p;
}

static char *at(const pattern *p, int64_t t, int64_t h, int64_t i) {
  return p->base + (size_t)t * p->step_t + (size_t)h * p->step_h + (size_t)i * p->step_i;
}

void orion_tensor_put(orion_tensor *t, int64_t row, const float *values) {
  pattern p = pattern_of(t);
  for (int64_t h = 0; h < p.heads; h++) {
    const float *v = values + h * p.n;
    for (int64_t i = 0; i < p.n; i++) {
      char *to = at(&p, row, h, i);
      if (p.dtype == ORION_FP16) {
        orion_half half = orion_float_to_half(v[i]);
        memcpy(to, &half, sizeof half);
      } else {
        memcpy(to, &v[i], sizeof v[i]);
      }
    }
  }
  orion_surface_unlock(t->surface);
}

void orion_tensor_get(orion_tensor *t, int64_t row, float *out_values) {
  pattern p = pattern_of(t);
  for (int64_t h = 0; h < p.heads; h++) {
    for (int64_t i = 0; i < p.n; i++) {
      const char *from = at(&p, row, h, i);
      if (p.dtype == ORION_FP16) {
        orion_half half;
        memcpy(&half, from, sizeof half);
        out_values[h * p.n + i] = orion_half_to_float(half);
      } else {
        memcpy(&out_values[h * p.n + i], from, sizeof *out_values);
      }
    }
  }
  orion_surface_unlock(t->surface);
}

void orion_tensor_fill(orion_tensor *t, int64_t row, int64_t col, int64_t n_cols, float value) {
  pattern p = pattern_of(t);
  orion_half half = orion_float_to_half(value);
  for (int64_t c = col; c < col + n_cols; c++) {
    char *to = at(&p, row, c / p.n, c % p.n);
    if (p.dtype == ORION_FP16) {
      memcpy(to, &half, sizeof half);
    } else {
      memcpy(to, &value, sizeof value);
    }
  }
  orion_surface_unlock(t->surface);
}

static void copy_element(const char *from, orion_dtype from_type, char *to, orion_dtype to_type) {
  if (from_type == to_type) {
    memcpy(to, from, orion_dtype_bits(to_type) / 8);
  } else if (to_type == ORION_FP16) {
    float v;
    memcpy(&v, from, sizeof v);
    orion_half half = orion_float_to_half(v);
    memcpy(to, &half, sizeof half);
  } else {
    orion_half half;
    memcpy(&half, from, sizeof half);
    float v = orion_half_to_float(half);
    memcpy(to, &v, sizeof v);
  }
}

void orion_tensor_copy(const orion_tensor *from, int64_t from_row, int64_t n_rows, orion_tensor *to, int64_t to_row) {
  pattern a = pattern_of(from), b = pattern_of(to);
  // Runs of columns that are contiguous on both sides go by memcpy: the common case of a cache row.
  int64_t run = a.n < b.n ? a.n : b.n;
  bool direct = a.dtype == b.dtype && a.step_i == a.width && b.step_i == b.width && a.n % run == 0 && b.n % run == 0;
  for (int64_t t = 0; t < n_rows; t++) {
    if (direct) {
      for (int64_t c = 0; c < from->cols; c += run) {
        memcpy(at(&b, to_row + t, c / b.n, c % b.n), at(&a, from_row + t, c / a.n, c % a.n), (size_t)run * a.width);
      }
      continue;
    }
    for (int64_t c = 0; c < from->cols; c++) {
      copy_element(at(&a, from_row + t, c / a.n, c % a.n), a.dtype, at(&b, to_row + t, c / b.n, c % b.n), b.dtype);
    }
  }
  orion_surface_unlock(to->surface);
  orion_surface_unlock(from->surface);
}

bool orion_tensor_find_nonfinite(orion_tensor *t, int64_t n_rows, int64_t *out_row, int64_t *out_col) {
  pattern p = pattern_of(t);
  bool found = false;
  for (int64_t row = 0; row < n_rows && !found; row++) {
    for (int64_t c = 0; c < t->cols && !found; c++) {
      double v = orion_load_double(p.dtype, at(&p, row, c / p.n, c % p.n), 0);
      if (isfinite(v)) continue;
      *out_row = row;
      *out_col = c;
      found = true;
    }
  }
  orion_surface_unlock(t->surface);
  return found;
}
