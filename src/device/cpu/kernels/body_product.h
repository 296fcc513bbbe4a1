// Matrix products of one level, all made of one tile: R rows of activations times C panels of 16 weights, summed in
// registers. Every element is one chain over k from 0 up, kept in fp32 whether it rests in a register or in y between
// blocks of K, so its bits do not depend on tile, block, rows at once or threads. Include after body_convert.h and
// body_lanes.h.
//
// As few rows as a tile has (decode): weights are streamed once. Up to three rows take several panels side by side,
// because one panel's chains are too few to hide the latency of the multiply-add. These are not neighbours: each is the
// next of its own part of the panels, so that memory is read in several places, each in one long run, which is what
// prefetchers are best at. (Asking early by instructions is slower here: on Zen 3 those requests wait in the first cache's
// 24 places for misses, which at 100 ns each come to 16 GB/s.)
//
// More rows go by strips (body_linear_strips.h); here each TILE_ROWS of them read the weights anew.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_PRODUCT_H
#define ORION_DEVICE_CPU_KERNELS_BODY_PRODUCT_H

enum {
  TILE_MOST = 16,       // rows * panels of any tile
  BLOCK_K = 256,        // 16 KB of a panel
  STREAM_AHEAD = 32,    // k: a panel by itself is a single stream, which the processor follows too closely
};

// Activations: element (r, k) at r * row + k * col. Panels: (k, lane) of panel c at c * panel + k * step + lane.
typedef struct tile_in {
  const float *a;
  size_t row, col;
  const void *b;
  size_t panel, step;
} tile_in;
// What a tile asks for early: `step` bytes on with every k.
typedef struct tile_ahead {
  const char *at;
  size_t step;
} tile_ahead;

// Panels are `apart` from each other. R, C, type, whether col is 1 and whether `ahead` is NULL are constants at every call,
// so that the loops over them unroll into registers.
INLINE void tile(const int R, const int C, orion_kernel_type type, bool unit, const tile_ahead *ahead, size_t apart,
                 const tile_in *in, size_t count, const tile_out *out) {
  v16 sum[TILE_MOST];
  const float *a = in->a;
  const void *b = in->b;
  const size_t row = in->row, col = unit ? 1 : in->col, panel = apart * in->panel, step = in->step;
  const char *next = ahead ? ahead->at : NULL;
  const size_t next_step = ahead ? ahead->step : 0;
UNROLL(16)
  for (int i = 0; i < R * C; i++) {
    size_t lanes = i % C == C - 1 ? out->last : 16;
    const float *y = out->y + (size_t)(i / C) * out->stride + (size_t)(i % C) * apart * 16;
    sum[i] = out->resume ? load_lanes(y, lanes) : v16_zero();
  }
  for (size_t k = 0; k < count; k++) {
    v16 w[4];
    if (ahead) {
      __builtin_prefetch(next, 0, 2);
      next += next_step;
    }
UNROLL(4)
    for (int c = 0; c < C; c++) w[c] = v16_load_as(type, b, (size_t)c * panel + k * step);
UNROLL(16)
    for (int r = 0; r < R; r++) {
      v16 x = v16_set(a[(size_t)r * row + k * col]);
UNROLL(4)
      for (int c = 0; c < C; c++) sum[r * C + c] = v16_fma(x, w[c], sum[r * C + c]);
    }
  }
UNROLL(16)
  for (int i = 0; i < R * C; i++) {
    size_t lanes = i % C == C - 1 ? out->last : 16;
    if (out->bias) sum[i] = v16_add(sum[i], load_lanes(out->bias + (size_t)(i % C) * apart * 16, lanes));
    store_lanes(out->y + (size_t)(i / C) * out->stride + (size_t)(i % C) * apart * 16, sum[i], lanes);
  }
}

// One panel, 1 to TILE_ROWS rows.
INLINE void tile_rows(size_t rows, orion_kernel_type type, bool unit, const tile_ahead *ahead, const tile_in *in,
                      size_t count, const tile_out *out) {
  switch (rows) {
#define CASE(n) case n: tile(n, 1, type, unit, ahead, 0, in, count, out); break;
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
  if (in->col == 1) tile_rows(rows, ORION_KERNEL_F32, true, NULL, in, count, out);
  else tile_rows(rows, ORION_KERNEL_F32, false, NULL, in, count, out);
}
static void tile_ahead_f32(size_t rows, const tile_ahead *ahead, const tile_in *in, size_t count, const tile_out *out) {
  tile_rows(rows, ORION_KERNEL_F32, true, ahead, in, count, out);
}
static void tile_ahead_f16(size_t rows, const tile_ahead *ahead, const tile_in *in, size_t count, const tile_out *out) {
  tile_rows(rows, ORION_KERNEL_F16, true, ahead, in, count, out);
}
// One to three rows times four or two panels.
INLINE void tile_wide(size_t rows, orion_kernel_type type, size_t apart, const tile_in *in, size_t count,
                      const tile_out *out) {
  if (rows == 1) tile(1, 4, type, true, NULL, apart, in, count, out);
  else if (rows == 2) tile(2, 2, type, true, NULL, apart, in, count, out);
  else tile(3, 2, type, true, NULL, apart, in, count, out);
}
static void tile_wide_f32(size_t rows, size_t apart, const tile_in *in, size_t count, const tile_out *out) {
  tile_wide(rows, ORION_KERNEL_F32, apart, in, count, out);
}
static void tile_wide_f16(size_t rows, size_t apart, const tile_in *in, size_t count, const tile_out *out) {
  tile_wide(rows, ORION_KERNEL_F16, apart, in, count, out);
}
INLINE size_t wide_panels(size_t rows, orion_kernel_type type) {
  size_t most = type == ORION_KERNEL_F32 ? TILE_WIDE_ROWS : TILE_WIDE_HALVES;
  return rows == 1 ? 4 : rows <= most ? 2 : 1;
}

// The next part of what is left, where parts are to be nearly equal and at most `most`.
INLINE size_t even_part(size_t left, size_t most) {
  size_t parts = (left + most - 1) / most;
  return (left + parts - 1) / parts;
}

// At most TILE_ROWS rows against the panels from in->b on that hold `cols` columns.
static void product_stream(size_t rows, size_t cols, orion_kernel_type type, const tile_in *in, size_t count,
                           const tile_out *out) {
  const bool f32 = type == ORION_KERNEL_F32;
  const size_t panels = orion_panel_count(cols), wide = wide_panels(rows, type), apart = panels_apart(panels, wide);
  tile_in at = *in;
  tile_out to = *out;
  for (size_t p = 0; p < panels; p = next_panel(p, apart, wide)) {
    const size_t left = cols - (p < apart ? p + (wide - 1) * apart : p) * 16;
    at.b = element_at(type, in->b, p * in->panel);
    to.y = out->y + p * 16;
    to.bias = out->bias ? out->bias + p * 16 : NULL;
    to.last = left < 16 ? left : 16;
    tile_ahead ahead = {element_at(type, at.b, STREAM_AHEAD * in->step), in->step * orion_kernel_type_size(type)};
    if (p < apart) (f32 ? tile_wide_f32 : tile_wide_f16)(rows, apart, &at, count, &to);
    else (f32 ? tile_ahead_f32 : tile_ahead_f16)(rows, &ahead, &at, count, &to);
  }
}

// Any rows: each TILE_ROWS of them read the panels anew.
static void product_few(size_t rows, size_t cols, orion_kernel_type type, const tile_in *in, size_t count,
                        const tile_out *out) {
  tile_in at = *in;
  tile_out to = *out;
  for (size_t r = 0, n; r < rows; r += n) {
    n = even_part(rows - r, TILE_ROWS);
    product_stream(n, cols, type, &at, count, &to);
    at.a += n * in->row;
    to.y += n * out->stride;
  }
}

// One panel of floats against all rows.
static void product_block(size_t rows, const tile_in *in, size_t count, const tile_out *out) {
  tile_in at = *in;
  tile_out to = *out;
  for (size_t r = 0, n; r < rows; r += n) {
    n = even_part(rows - r, TILE_ROWS);
    tile_f32(n, &at, count, &to);
    at.a += n * in->row;
    to.y += n * out->stride;
  }
}

static void linear_plain(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows, const orion_panels *w,
                         const float *bias, size_t p0, size_t p1) {
  const size_t K = w->cols, n0 = p0 * 16, n1 = p1 * 16 < w->rows ? p1 * 16 : w->rows;
  if (p0 >= p1) return;
  tile_in in = {x, x_stride, 1, element_at(w->type, w->data, n0 * K), K * 16, 16};
  tile_out out = {y + n0, y_stride, 16, bias ? bias + n0 : NULL, false};
  product_few(rows, n1 - n0, w->type, &in, K, &out);
}

#endif
