// Matrices and rows of fp16 in surfaces, whole: from and to fp32 arrays. A surface's rows may be longer than the matrix's.
#ifndef ORION_TRAIN_SURFACE_ROWS_H
#define ORION_TRAIN_SURFACE_ROWS_H

#include "base/half.h"
#include "runtime/runner.h"

// rows x cols from `values` to the beginning of the surface's rows; and back; and back, added to what is there.
static inline void orion_rows_put(orion_tensor *t, const float *values, size_t rows, size_t cols) {
  char *to = orion_surface_lock(t->surface);
  for (size_t i = 0; i < rows; i++) {
    orion_floats_to_half((orion_half *)(void *)(to + i * t->layout.row_bytes), values + i * cols, cols);
  }
  orion_surface_unlock(t->surface);
}

static inline void orion_rows_get(orion_tensor *t, float *out, size_t rows, size_t cols) {
  const char *from = orion_surface_lock(t->surface);
  for (size_t i = 0; i < rows; i++) {
    orion_half_to_floats(out + i * cols, (const orion_half *)(const void *)(from + i * t->layout.row_bytes), cols);
  }
  orion_surface_unlock(t->surface);
}

static inline void orion_rows_add(orion_tensor *t, float *sums, size_t rows, size_t cols) {
  enum { PIECE = 256 };
  float piece[PIECE];
  const char *from = orion_surface_lock(t->surface);
  for (size_t i = 0; i < rows; i++) {
    const orion_half *row = (const orion_half *)(const void *)(from + i * t->layout.row_bytes);
    for (size_t k = 0; k < cols; k += PIECE) {
      size_t n = cols - k < PIECE ? cols - k : PIECE;
      float *to = sums + i * cols + k;
      orion_half_to_floats(piece, row + k, n);
      for (size_t e = 0; e < n; e++) to[e] += piece[e];
    }
  }
  orion_surface_unlock(t->surface);
}

// Whether every element of rows x cols is finite.
static inline bool orion_rows_finite(orion_tensor *t, size_t rows, size_t cols) {
  const char *from = orion_surface_lock(t->surface);
  unsigned bad = 0;
  for (size_t i = 0; i < rows && !bad; i++) {
    const uint16_t *row = (const uint16_t *)(const void *)(from + i * t->layout.row_bytes);
    for (size_t k = 0; k < cols; k++) bad |= (row[k] & 0x7c00u) == 0x7c00u;
  }
  orion_surface_unlock(t->surface);
  return !bad;
}

#endif
