// Products with quantised weights, of one level. Include after body_product.h.
//
// Activations stay fp32 and integers become floats in registers, which is exact: the sum of x q over a group is one
// fused chain over its k from 0 up, then total = fma(sum, scale, total) over the groups in order, then the bias. Few
// rows stream the integers; for many rows a block of a panel is made floats once, and goes through the tiles of
// body_product.h. Both keep that order, so that a row's bits do not depend on the rows beside it.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_QUANTISED_H
#define ORION_DEVICE_CPU_KERNELS_BODY_QUANTISED_H

// The integers at bit `at` (0, 4, 8 or 12) of sixteen words, as floats. The four bits become the low digits of a float
// whose last place is worth 1 there; what comes with them is taken off again. Exact, and faster than to convert.
INLINE v16 v16_nibbles(v16i words, int at) {
  const int32_t mask = 15 << at, exponent = (127 + 23 - at) << 23;
  const float offset = (float)((1 << (23 - at)) + 8);
  return v16_sub(v16_of(i16_or(i16_and(words, i16_set(mask)), i16_set(exponent))), v16_set(offset));
}
// Byte `i` of sixteen words, as floats.
INLINE v16 v16_bytes(v16i words, int i) {
  return i16_to_float(i16_sra(i == 3 ? words : i16_shl(words, 24 - 8 * i), 24));
}

typedef struct quantised_in {
  const float *a;           // rows `row` apart
  size_t row;
  const uint8_t *w;         // a panel's integers, and scales; bytes and halves from panel to panel
  const orion_half *scale;
  size_t panel, panel_scale;
  size_t group, groups;
} quantised_in;

// a is at the element that b, of panel c, stands for.
INLINE void add_products(const int R, const int C, int c, v16 *sum, const quantised_in *in, const float *a, v16 b) {
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) sum[r * C + c] = v16_fma(v16_set(a[(size_t)r * in->row]), b, sum[r * C + c]);
}

// One group: a at its first element, w at its integers in the first panel. R rows, C panels (constants at every call).
INLINE void sum_group_i8(const int R, const int C, v16 *sum, const quantised_in *in, const float *a, const uint8_t *w) {
  size_t left = in->group;
  for (; left >= 4; left -= 4, a += 4, w += 64) {
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) {
      v16i words = load_words(w + (size_t)c * in->panel);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) add_products(R, C, c, sum, in, a + i, v16_bytes(words, i));
    }
  }
  for (; left; left--, a++) {
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) {
      int done = (int)(in->group % 4 - left) * 8;
      v16i words = i16_shl(load_words(w + (size_t)c * in->panel), 24 - done);
      add_products(R, C, c, sum, in, a, i16_to_float(i16_sra(words, 24)));
    }
  }
}

// The elements at bit `at` of the words of C panels; a is at the element that these stand for.
INLINE void add_nibbles(const int R, const int C, v16 *sum, const quantised_in *in, const float *a, const v16i *words,
                        int at) {
#pragma GCC unroll 4
  for (int c = 0; c < C; c++) add_products(R, C, c, sum, in, a, v16_nibbles(words[c], at));
}

INLINE void sum_group_i4(const int R, const int C, v16 *sum, const quantised_in *in, const float *a, const uint8_t *w) {
  size_t left = in->group;
  for (; left; w += 64) {
    v16i words[4];
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) words[c] = load_words(w + (size_t)c * in->panel);
    if (left >= 8) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) add_nibbles(R, C, sum, in, a + i, words, i * 4);
#pragma GCC unroll 4
      for (int c = 0; c < C; c++) words[c] = i16_sra(words[c], 16);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) add_nibbles(R, C, sum, in, a + 4 + i, words, i * 4);
      a += 8;
      left -= 8;
      continue;
    }
#pragma GCC unroll 1
    for (; left; left--, a++) {
      add_nibbles(R, C, sum, in, a, words, 0);
#pragma GCC unroll 4
      for (int c = 0; c < C; c++) words[c] = i16_sra(words[c], 4);
    }
    return;
  }
}

INLINE void tile_quantised(const int R, const int C, orion_kernel_type type, const quantised_in *in,
                           const tile_out *out) {
  v16 total[TILE_MOST], sum[TILE_MOST];
  const size_t step = orion_quantised_panel_bytes(type, in->group, in->group);
#pragma GCC unroll 16
  for (int i = 0; i < R * C; i++) total[i] = v16_zero();
  for (size_t g = 0; g < in->groups; g++) {
#pragma GCC unroll 16
    for (int i = 0; i < R * C; i++) sum[i] = v16_zero();
    if (type == ORION_KERNEL_I8) sum_group_i8(R, C, sum, in, in->a + g * in->group, in->w + g * step);
    else sum_group_i4(R, C, sum, in, in->a + g * in->group, in->w + g * step);
#pragma GCC unroll 16
    for (int i = 0; i < R * C; i++) {
      total[i] = v16_fma(sum[i], v16_load_half(in->scale + (size_t)(i % C) * in->panel_scale + g * 16), total[i]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R * C; i++) {
    size_t lanes = i % C == C - 1 ? out->last : 16;
    if (out->bias) total[i] = v16_add(total[i], load_lanes(out->bias + i % C * 16, lanes));
    store_lanes(out->y + (size_t)(i / C) * out->stride + (size_t)(i % C) * 16, total[i], lanes);
  }
}

INLINE void tiles_quantised(size_t rows, size_t panels, orion_kernel_type type, const quantised_in *in,
                            const tile_out *out) {
  if (panels == 4) tile_quantised(1, 4, type, in, out);
  else if (panels == 2) tile_quantised(2, 2, type, in, out);
  else switch (rows) {
    case 1: tile_quantised(1, 1, type, in, out); break;
    case 2: tile_quantised(2, 1, type, in, out); break;
    case 3: tile_quantised(3, 1, type, in, out); break;
    default: tile_quantised(4, 1, type, in, out); break;
  }
}
static void tiles_i8(size_t rows, size_t panels, const quantised_in *in, const tile_out *out) {
  tiles_quantised(rows, panels, ORION_KERNEL_I8, in, out);
}
static void tiles_i4(size_t rows, size_t panels, const quantised_in *in, const tile_out *out) {
  tiles_quantised(rows, panels, ORION_KERNEL_I4, in, out);
}

enum {
  QUANTISED_ROWS = 4,          // of a tile
  GROUP_ROWS = TILE_ROWS / 2,  // of a tile that holds sums of a group and totals
};

static void quantised_few(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows,
                          const orion_panels *w, const float *bias, size_t p0, size_t p1) {
  size_t groups = w->cols / w->group, bytes = orion_quantised_panel_bytes(w->type, w->cols, w->group);
  size_t tiles = (rows + QUANTISED_ROWS - 1) / QUANTISED_ROWS, height = (rows + tiles - 1) / tiles;
  size_t wide = height == 1 ? 4 : height == 2 ? 2 : 1;
  for (size_t p = p0, width; p < p1; p += width) {
    width = p1 - p >= wide ? wide : 1;
    for (size_t r = 0; r < rows; r += height) {
      size_t n = rows - r < height ? rows - r : height, panels = n == height ? width : 1;
      for (size_t c = p; c < p + width; c += panels) {
        size_t left = w->rows - c * 16;  // columns of y from here on
        quantised_in in = {x + r * x_stride, x_stride, (const uint8_t *)w->data + c * bytes, w->scale + c * groups * 16,
                           bytes, groups * 16, w->group, groups};
        tile_out out = {y + r * y_stride + c * 16, y_stride, left < panels * 16 ? left - (panels - 1) * 16 : 16,
                        bias ? bias + c * 16 : NULL, false};
        (w->type == ORION_KERNEL_I8 ? tiles_i8 : tiles_i4)(n, panels, &in, &out);
      }
    }
  }
}

// ---- many rows ----

// Elements [k, k + depth) of one group as floats; `from` is the group's integers, k a multiple of 8.
static void widen_group(float *dst, orion_kernel_type type, const uint8_t *from, size_t k, size_t depth) {
  if (type == ORION_KERNEL_I8) {
    for (from += k / 4 * 64; depth; from += 64) {
      v16i words = load_words(from);
#pragma GCC unroll 4
      for (int i = 0; i < 4 && depth; i++, depth--, dst += 16) v16_store(dst, v16_bytes(words, i));
    }
    return;
  }
  for (from += k / 8 * 64; depth; from += 64) {
    v16i words = load_words(from);
    for (int half = 0; half < 2; half++, words = i16_sra(words, 16)) {
#pragma GCC unroll 4
      for (int i = 0; i < 4 && depth; i++, depth--, dst += 16) v16_store(dst, v16_nibbles(words, i * 4));
    }
  }
}

// y = fma(y, scale, 0) + bias, where unscaled sums lie in y.
static void scale_rows(float *y, size_t y_stride, size_t rows, size_t lanes, const orion_half *scale, const float *bias) {
  v16 s = v16_load_half(scale), b = bias ? load_lanes(bias, lanes) : v16_zero();
  for (size_t r = 0; r < rows; r++) {
    v16 total = v16_fma(load_lanes(y + r * y_stride, lanes), s, v16_zero());
    if (bias) total = v16_add(total, b);
    store_lanes(y + r * y_stride, total, lanes);
  }
}

// One group over all of K, cut into blocks: unscaled sums wait in y.
static void one_group_many(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows,
                           const orion_panels *w, const float *bias, size_t p0, size_t p1) {
  _Alignas(64) float block[BLOCK_K * 16];
  size_t K = w->cols, bytes = orion_quantised_panel_bytes(w->type, K, K);
  for (size_t k = 0; k < K; k += BLOCK_K) {
    size_t depth = K - k < BLOCK_K ? K - k : BLOCK_K;
    for (size_t p = p0; p < p1; p++) {
      size_t lanes = w->rows - p * 16 < 16 ? w->rows - p * 16 : 16;
      widen_group(block, w->type, (const uint8_t *)w->data + p * bytes, k, depth);
      tile_in in = {x + k, x_stride, 1, block, 0, 16};
      tile_out out = {y + p * 16, y_stride, lanes, NULL, k > 0};
      product_block(rows, &in, depth, &out);
      if (k + depth < K) continue;
      scale_rows(y + p * 16, y_stride, rows, lanes, w->scale + p * 16, bias ? bias + p * 16 : NULL);
    }
  }
}

// Groups of one panel, widened already.
typedef struct groups_in {
  const float *x;
  size_t x_stride;
  const float *block;         // [groups * group, 16]
  const orion_half *scale;    // 16 a group
  size_t groups, group;
} groups_in;

// R rows against them: a group's sums, and their totals, stay in registers.
INLINE void tile_groups(const int R, const groups_in *in, const tile_out *out) {
  v16 total[GROUP_ROWS], sum[GROUP_ROWS];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) total[r] = out->resume ? load_lanes(out->y + (size_t)r * out->stride, out->last) : v16_zero();
  const float *w = in->block, *x = in->x;
  for (size_t g = 0; g < in->groups; g++) {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) sum[r] = v16_zero();
    for (size_t k = 0; k < in->group; k++, w += 16, x++) {
      v16 lanes = v16_load(w);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) sum[r] = v16_fma(v16_set(x[(size_t)r * in->x_stride]), lanes, sum[r]);
    }
    v16 scale = v16_load_half(in->scale + g * 16);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) total[r] = v16_fma(sum[r], scale, total[r]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++) {
    if (out->bias) total[r] = v16_add(total[r], load_lanes(out->bias, out->last));
    store_lanes(out->y + (size_t)r * out->stride, total[r], out->last);
  }
}
static void tiles_groups(size_t rows, const groups_in *in, const tile_out *out) {
  switch (rows) {
#define CASE(n) case n: tile_groups(n, in, out); break;
    CASE(1) CASE(2)
#if TILE_ROWS > 5
    CASE(3)
#endif
#if TILE_ROWS > 7
    CASE(4)
#endif
#if TILE_ROWS > 9
    CASE(5) CASE(6)
#endif
#undef CASE
  }
}

// Several groups, as many at once as a widened block holds.
static void groups_many(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows, const orion_panels *w,
                        const float *bias, size_t p0, size_t p1) {
  _Alignas(64) float block[BLOCK_K * 16];
  size_t group = w->group, groups = w->cols / group, at_once = BLOCK_K / group;
  size_t bytes = orion_quantised_panel_bytes(w->type, w->cols, group), step = bytes / groups;
  for (size_t g0 = 0; g0 < groups; g0 += at_once) {
    size_t g1 = groups - g0 < at_once ? groups : g0 + at_once;
    for (size_t p = p0; p < p1; p++) {
      const uint8_t *from = (const uint8_t *)w->data + p * bytes;
      for (size_t g = g0; g < g1; g++) widen_group(block + (g - g0) * group * 16, w->type, from + g * step, 0, group);
      for (size_t r = 0; r < rows; r += GROUP_ROWS) {
        groups_in in = {x + r * x_stride + g0 * group, x_stride, block, w->scale + (p * groups + g0) * 16, g1 - g0, group};
        tile_out out = {y + r * y_stride + p * 16, y_stride, w->rows - p * 16 < 16 ? w->rows - p * 16 : 16,
                        bias && g1 == groups ? bias + p * 16 : NULL, g0 > 0};
        tiles_groups(rows - r < GROUP_ROWS ? rows - r : GROUP_ROWS, &in, &out);
      }
    }
  }
}

static void linear(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows, const orion_panels *w,
                   const float *bias, size_t p0, size_t p1) {
  if (w->type != ORION_KERNEL_I8 && w->type != ORION_KERNEL_I4) {
    linear_plain(y, y_stride, x, x_stride, rows, w, bias, p0, p1);
  } else if (p0 < p1 && rows <= 2 * QUANTISED_ROWS) {
    if (rows) quantised_few(y, y_stride, x, x_stride, rows, w, bias, p0, p1);
  } else {
    for (size_t r = 0; p0 < p1 && r < rows; r += BLOCK_ROWS) {
      size_t n = rows - r < BLOCK_ROWS ? rows - r : BLOCK_ROWS;
      (w->group == w->cols ? one_group_many : groups_many)(y + r * y_stride, y_stride, x + r * x_stride, x_stride, n, w,
                                                           bias, p0, p1);
    }
  }
}

static void install_quantised(orion_kernels *k) { k->linear = linear; }

#endif
