// Conversions, copies, transposes and weight packing of one level. Include after a v16 header.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_CONVERT_H
#define ORION_DEVICE_CPU_KERNELS_BODY_CONVERT_H

INLINE v16 v16_load_half_n(const orion_half *p, size_t n) {
  orion_half h[16] = {0};
  memcpy(h, p, n * sizeof *p);
  return v16_load_half(h);
}
// Sixteen stored elements, or the first n of them; `at` counts elements.
INLINE v16 v16_load_as(orion_kernel_type type, const void *p, size_t at) {
  return type == ORION_KERNEL_F32 ? v16_load((const float *)p + at) : v16_load_half((const orion_half *)p + at);
}
INLINE v16 v16_load_as_n(orion_kernel_type type, const void *p, size_t at, size_t n) {
  if (type == ORION_KERNEL_F32) return v16_load_n((const float *)p + at, n);
  return v16_load_half_n((const orion_half *)p + at, n);
}
INLINE float load_as(orion_kernel_type type, const void *p, size_t at) {
  return type == ORION_KERNEL_F32 ? ((const float *)p)[at] : orion_half_to_float(((const orion_half *)p)[at]);
}
INLINE const void *element_at(orion_kernel_type type, const void *p, size_t at) {
  return (const char *)p + at * orion_kernel_type_size(type);
}

static void half_to_float(float *dst, const orion_half *src, size_t n) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) v16_store(dst + i, v16_load_half(src + i));
  if (i < n) v16_store_n(dst + i, v16_load_half_n(src + i, n - i), n - i);
}

static void float_to_half(orion_half *dst, const float *src, size_t n) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) v16_store_half(dst + i, v16_load(src + i));
  if (i < n) {
    orion_half h[16];
    v16_store_half(h, v16_load_n(src + i, n - i));
    memcpy(dst + i, h, (n - i) * sizeof *h);
  }
}

static void bf16_to_float(float *dst, const orion_bf16 *src, size_t n) {
  for (size_t i = 0; i < n; i++) dst[i] = orion_bf16_to_float(src[i]);
}

static void int_to_float(float *dst, const int32_t *src, size_t n) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) v16_store(dst + i, i16_to_float(i16_load(src + i)));
  for (; i < n; i++) dst[i] = (float)src[i];
}

static void float_to_int(int32_t *dst, const float *src, size_t n) {
  for (size_t i = 0; i < n; i++) {
    float x = src[i];
    if (x >= 0x1p31f) dst[i] = INT32_MAX;
    else if (x < -0x1p31f) dst[i] = INT32_MIN;
    else dst[i] = x == x ? (int32_t)x : 0;
  }
}

// Blocks small enough that both the rows read and the rows written stay in the first cache.
INLINE void transpose_any_f32(float *dst, size_t dst_stride, const float *src, size_t src_stride, size_t rows,
                              size_t cols) {
  for (size_t c = 0; c < cols; c++) {
    for (size_t r = 0; r < rows; r++) dst[c * dst_stride + r] = src[r * src_stride + c];
  }
}
static void transpose_f32(float *dst, size_t dst_stride, const float *src, size_t src_stride, size_t rows, size_t cols) {
  size_t r = 0, whole = cols / 16 * 16;
  for (; r + 16 <= rows; r += 16) {
    const float *from = src + r * src_stride;
    for (size_t c = 0; c < whole; c += 16) transpose_16(dst + c * dst_stride + r, dst_stride, from + c, src_stride);
    transpose_any_f32(dst + whole * dst_stride + r, dst_stride, from + whole, src_stride, 16, cols - whole);
  }
  transpose_any_f32(dst + r, dst_stride, src + r * src_stride, src_stride, rows - r, cols);
}

static void transpose_f16(orion_half *dst, size_t dst_stride, const orion_half *src, size_t src_stride, size_t rows,
                          size_t cols) {
  for (size_t r0 = 0; r0 < rows; r0 += 16) {
    size_t r1 = rows - r0 < 16 ? rows : r0 + 16;
    for (size_t c = 0; c < cols; c++) {
      for (size_t r = r0; r < r1; r++) dst[c * dst_stride + r] = src[r * src_stride + c];
    }
  }
}

static void copy_f32(float *dst, size_t dst_step, const float *src, size_t src_step, size_t n) {
  for (size_t i = 0; i < n; i++) dst[i * dst_step] = src[i * src_step];
}

static void copy_f16(orion_half *dst, size_t dst_step, const orion_half *src, size_t src_step, size_t n) {
  for (size_t i = 0; i < n; i++) dst[i * dst_step] = src[i * src_step];
}

// dst[k * 16 + j] = W[j][k] as fp32 for j < rows <= 16, k < cols; lanes past `rows` are zero. Element (j, k) of src is
// at j * row + k * col.
INLINE void widen_panel(float *dst, orion_kernel_type type, const void *src, size_t row, size_t col, size_t rows,
                        size_t cols) {
  if (row == 1) {
    for (size_t k = 0; k < cols; k++) {
      v16 x = rows == 16 ? v16_load_as(type, src, k * col) : v16_load_as_n(type, src, k * col, rows);
      v16_store(dst + k * 16, x);
    }
    return;
  }
  size_t turned = 0;  // columns of halves, by squares
  for (; type == ORION_KERNEL_F16 && col == 1 && rows == 16 && turned + 16 <= cols; turned += 16) {
    float square[256];
    for (size_t j = 0; j < 16; j++) v16_store(square + j * 16, v16_load_as(type, src, j * row + turned));
    transpose_16(dst + turned * 16, 16, square, 16);
  }
  if (col == 1 && type == ORION_KERNEL_F32) transpose_f32(dst, 16, src, row, rows, cols);
  else for (size_t j = 0; j < rows; j++) {
    size_t k = turned;
    float lanes[16];
    for (; col == 1 && k + 16 <= cols; k += 16) {
      v16_store(lanes, v16_load_as(type, src, j * row + k));
      for (size_t i = 0; i < 16; i++) dst[(k + i) * 16 + j] = lanes[i];
    }
    for (; k < cols; k++) dst[k * 16 + j] = load_as(type, src, j * row + k * col);
  }
  for (size_t k = 0; rows < 16 && k < cols; k++) memset(dst + k * 16 + rows, 0, (16 - rows) * sizeof *dst);
}

enum { PACK_COLS = 64 };

// Rows [j0, j1) of one panel, columns [c0, c1); `src` is element (j0, c0).
static void pack_panel(void *panel, orion_kernel_type type, const void *src, orion_kernel_type src_type,
                       size_t src_row, size_t src_col, size_t j0, size_t j1, size_t c0, size_t c1, bool last) {
  size_t filled = last ? 16 : j1;  // the last row takes the zero rows with it
  if (type == ORION_KERNEL_F32 && j0 == 0 && filled == 16) {  // a whole panel, in the type of its block
    widen_panel((float *)panel + c0 * 16, src_type, src, src_row, src_col, j1, c1 - c0);
    return;
  }
  float block[PACK_COLS * 16];
  for (size_t c = c0; c < c1; c += PACK_COLS) {
    size_t n = c1 - c < PACK_COLS ? c1 - c : PACK_COLS;
    widen_panel(block, src_type, element_at(src_type, src, (c - c0) * src_col), src_row, src_col, j1 - j0, n);
    for (size_t i = 0; i < n; i++) {
      const float *from = block + i * 16;
      size_t at = (c + i) * 16 + j0;
      if (type == ORION_KERNEL_F32) memcpy((float *)panel + at, from, (filled - j0) * sizeof *from);
      else float_to_half((orion_half *)panel + at, from, filled - j0);
    }
  }
}

static void pack(void *dst, orion_kernel_type type, size_t rows, size_t cols, const void *src,
                 orion_kernel_type src_type, size_t src_row, size_t src_col, size_t r0, size_t r1, size_t c0,
                 size_t c1) {
  for (size_t r = r0; r < r1;) {
    size_t p = r / 16, end = (p + 1) * 16 < r1 ? (p + 1) * 16 : r1;
    void *panel = (char *)dst + p * 16 * cols * orion_kernel_type_size(type);
    pack_panel(panel, type, element_at(src_type, src, (r - r0) * src_row), src_type, src_row, src_col, r - p * 16,
               end - p * 16, c0, c1, end == rows);
    r = end;
  }
}

static void unpack_row(float *dst, const orion_panels *w, size_t row) {
  const void *panel = element_at(w->type, w->data, row / 16 * 16 * w->cols + row % 16);
  for (size_t k = 0; k < w->cols; k++) dst[k] = load_as(w->type, panel, k * 16);
}

static void install_convert(orion_kernels *k) {
  k->half_to_float = half_to_float;
  k->float_to_half = float_to_half;
  k->bf16_to_float = bf16_to_float;
  k->int_to_float = int_to_float;
  k->float_to_int = float_to_int;
  k->transpose_f32 = transpose_f32;
  k->transpose_f16 = transpose_f16;
  k->copy_f32 = copy_f32;
  k->copy_f16 = copy_f16;
  k->pack = pack;
  k->unpack_row = unpack_row;
}

#endif
