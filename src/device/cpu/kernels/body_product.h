// Matrix products of one level, all made of one tile: R rows of activations times C panels of 16 weights, summed in
// registers. Every element is one chain over k from 0 up, kept in fp32 whether it rests in a register or in y between
// blocks of K, so its bits do not depend on tile, block, rows at once or threads. Include after body_convert.h and
// body_lanes.h.
//
// Few rows (decode): weights are streamed once; several panels go side by side, because one panel's chains are too few
// to hide the latency of the multiply-add. Many rows (prefill): a block of a panel is widened to fp32 in the first
// cache and meets a block of rows that stays in the second.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_PRODUCT_H
#define ORION_DEVICE_CPU_KERNELS_BODY_PRODUCT_H

enum {
  TILE_MOST = 16,    // rows * panels of any tile
  BLOCK_K = 256,     // 16 KB of widened panel
  BLOCK_ROWS = 192,  // 192 KB of activations
};

// Activations: element (r, k) at r * row + k * col. Panels: (k, lane) of panel c at c * panel + k * step + lane.
typedef struct tile_in {
  const float *a;
  size_t row, col;
  const void *b;
  size_t panel, step;
} tile_in;

// R, C, type and whether col is 1 are constants at every call, so that the loops over them unroll into registers.
INLINE void tile(const int R, const int C, orion_kernel_type type, bool unit, const tile_in *in, size_t count,
                 const tile_out *out) {
  v16 sum[TILE_MOST];
  const float *a = in->a;
  const void *b = in->b;
  const size_t row = in->row, col = unit ? 1 : in->col, panel = in->panel, step = in->step;
#pragma GCC unroll 16
  for (int i = 0; i < R * C; i++) {
    size_t lanes = i % C == C - 1 ? out->last : 16;
    sum[i] = out->resume ? load_lanes(out->y + (size_t)(i / C) * out->stride + (size_t)(i % C) * 16, lanes) : v16_zero();
  }
  for (size_t k = 0; k < count; k++) {
    v16 w[4];
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) w[c] = v16_load_as(type, b, (size_t)c * panel + k * step);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      v16 x = v16_set(a[(size_t)r * row + k * col]);
#pragma GCC unroll 4
      for (int c = 0; c < C; c++) sum[r * C + c] = v16_fma(x, w[c], sum[r * C + c]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R * C; i++) {
    size_t lanes = i % C == C - 1 ? out->last : 16;
    if (out->bias) sum[i] = v16_add(sum[i], load_lanes(out->bias + i % C * 16, lanes));
    store_lanes(out->y + (size_t)(i / C) * out->stride + (size_t)(i % C) * 16, sum[i], lanes);
  }
}

// One panel, 1 to TILE_ROWS rows.
INLINE void tile_rows(size_t rows, orion_kernel_type type, bool unit, const tile_in *in, size_t count,
                      const tile_out *out) {
  switch (rows) {
#define CASE(n) case n: tile(n, 1, type, unit, in, count, out); break;
    CASE(1) CASE(2) CASE(3) CASE(4)
#if TILE_ROWS > 4
    CASE(5) CASE(6)
#endif
#if TILE_ROWS > 6
    CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
#undef CASE
  }
}
static void tile_f32(size_t rows, const tile_in *in, size_t count, const tile_out *out) {
  if (in->col == 1) tile_rows(rows, ORION_KERNEL_F32, true, in, count, out);
  else tile_rows(rows, ORION_KERNEL_F32, false, in, count, out);
}
static void tile_f16(size_t rows, const tile_in *in, size_t count, const tile_out *out) {
  tile_rows(rows, ORION_KERNEL_F16, true, in, count, out);
}
// One to three rows times four or two panels.
INLINE void tile_wide(size_t rows, orion_kernel_type type, const tile_in *in, size_t count, const tile_out *out) {
  if (rows == 1) tile(1, 4, type, true, in, count, out);
  else if (rows == 2) tile(2, 2, type, true, in, count, out);
  else tile(3, 2, type, true, in, count, out);
}
static void tile_wide_f32(size_t rows, const tile_in *in, size_t count, const tile_out *out) {
  tile_wide(rows, ORION_KERNEL_F32, in, count, out);
}
static void tile_wide_f16(size_t rows, const tile_in *in, size_t count, const tile_out *out) {
  tile_wide(rows, ORION_KERNEL_F16, in, count, out);
}
INLINE size_t wide_panels(size_t rows) { return rows == 1 ? 4 : rows <= TILE_WIDE_ROWS ? 2 : 1; }

// All rows against the panels from in->b on that hold `cols` columns; rows are cut into tiles of nearly equal height.
INLINE void product_few(size_t rows, size_t cols, orion_kernel_type type, const tile_in *in, size_t count,
                        const tile_out *out) {
  size_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS, height = tiles ? (rows + tiles - 1) / tiles : 0;
  size_t wide = wide_panels(height);
  for (size_t j = 0; j < cols;) {
    size_t width = wide > 1 && cols - j >= wide * 16 ? wide * 16 : cols - j < 16 ? cols - j : 16;
    for (size_t r = 0; r < rows; r += height) {
      size_t n = rows - r < height ? rows - r : height;
      tile_in at = *in;
      tile_out to = *out;
      at.a += r * in->row;
      at.b = element_at(type, in->b, j / 16 * in->panel);
      to.y += r * out->stride + j;
      to.bias = out->bias ? out->bias + j : NULL;
      to.last = width > 16 ? 16 : width;
      bool f32 = type == ORION_KERNEL_F32;
      if (width > 16 && n == height) (f32 ? tile_wide_f32 : tile_wide_f16)(n, &at, count, &to);
      else for (size_t w = 0; w < width; w += 16) {
        (f32 ? tile_f32 : tile_f16)(n, &at, count, &to);
        at.b = element_at(type, at.b, in->panel);
        to.y += 16;
        if (to.bias) to.bias += 16;
      }
    }
    j += width;
  }
}

// One widened block of one panel against many rows.
static void product_block(size_t rows, const tile_in *in, size_t count, const tile_out *out) {
  size_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS, height = tiles ? (rows + tiles - 1) / tiles : 0;
  for (size_t r = 0; r < rows; r += height) {
    tile_in at = *in;
    tile_out to = *out;
    at.a += r * in->row;
    to.y += r * out->stride;
    tile_f32(rows - r < height ? rows - r : height, &at, count, &to);
  }
}

static void linear_many(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows, const orion_panels *w,
                        const float *bias, size_t p0, size_t p1) {
  _Alignas(64) float block[BLOCK_K * 16];
  const size_t K = w->cols;
  for (size_t r = 0; r < rows; r += BLOCK_ROWS) {
    size_t height = rows - r < BLOCK_ROWS ? rows - r : BLOCK_ROWS;
    for (size_t k = 0; k < K; k += BLOCK_K) {
      size_t depth = K - k < BLOCK_K ? K - k : BLOCK_K;
      for (size_t p = p0; p < p1; p++) {
        const void *b = element_at(w->type, w->data, (p * K + k) * 16);
        if (w->type == ORION_KERNEL_F16) {
          half_to_float(block, b, depth * 16);
          b = block;
        }
        size_t n = p * 16, left = w->rows - n;
        tile_in in = {x + r * x_stride + k, x_stride, 1, b, 0, 16};
        tile_out out = {y + r * y_stride + n, y_stride, left < 16 ? left : 16,
                        bias && k + depth == K ? bias + n : NULL, k > 0};
        product_block(height, &in, depth, &out);
      }
    }
  }
}

static void linear_plain(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows, const orion_panels *w,
                         const float *bias, size_t p0, size_t p1) {
  if (p0 >= p1 || !rows) return;
  size_t K = w->cols, n0 = p0 * 16, n1 = p1 * 16 < w->rows ? p1 * 16 : w->rows;
  if (rows > 2 * TILE_ROWS && K) {
    linear_many(y, y_stride, x, x_stride, rows, w, bias, p0, p1);
    return;
  }
  tile_in in = {x, x_stride, 1, element_at(w->type, w->data, n0 * K), K * 16, 16};
  tile_out out = {y + n0, y_stride, 16, bias ? bias + n0 : NULL, false};
  if (w->type == ORION_KERNEL_F32) product_few(rows, n1 - n0, ORION_KERNEL_F32, &in, K, &out);
  else product_few(rows, n1 - n0, ORION_KERNEL_F16, &in, K, &out);
}

#endif
