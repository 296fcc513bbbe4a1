// Products with quantised weights, of one level. Include after body_product.h.
//
// Activations stay fp32 and integers become floats in registers, which is exact: the sum of x q over a group is one
// fused chain over its k from 0 up, then total = fma(sum, scale, total) over the groups in order, then the bias. All
// tiles keep that order, so that a row's bits do not depend on the rows beside it.
//
// An integer is converted where it stands at the top of its word, with zeros beneath: to bring a byte there is one
// instruction, and the sign is in its place. Floats, and sums of a group, are 2^24 or 2^28 times what they mean until
// the scale takes that off again; they round as they would without, unless they leave the range of fp32.
//
// Integers are streamed, for a few rows at a time; more go by strips (body_linear_strips.h). Registers hold the sums of a group;
// totals wait in memory.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_QUANTISED_H
#define ORION_DEVICE_CPU_KERNELS_BODY_QUANTISED_H

// Bytes that a level's i16_byte_at and i16_nibble_at read beside the words, for elements straight from memory; 0: it has none.
#ifndef V16_ASTRAY
#define V16_ASTRAY 0
#endif

// Elements that a step over 64 bytes of a panel holds.
INLINE size_t in_word(orion_kernel_type type) { return type == ORION_KERNEL_I8 ? 4 : 8; }

INLINE v16 top_nibble(v16i words) { return i16_to_float(i16_and(words, i16_set((int32_t)0xF0000000))); }
INLINE v16 element(orion_kernel_type type, v16i words, int i) {
  if (type == ORION_KERNEL_I8 && i == 3) return i16_to_float(i16_and(words, i16_set((int32_t)0xFF000000)));
  if (type == ORION_KERNEL_I8) return i16_to_float(i16_byte_up(words, i));
  if (i == 7) return top_nibble(words);
  v16i two = i16_byte_up(words, i / 2);
  return i % 2 ? top_nibble(two) : i16_to_float(i16_shl(two, 4));
}
// The same where i is not known when compiling.
INLINE v16 element_any(orion_kernel_type type, v16i words, size_t i) {
  if (type == ORION_KERNEL_I4) return top_nibble(i16_shl(words, 28 - 4 * (int)i));
  return i16_to_float(i16_and(i16_shl(words, 24 - 8 * (int)i), i16_set((int32_t)0xFF000000)));
}
// The same of the words at p, `astray` where the level reaches it from memory (v16_avx2.h).
INLINE v16 element_from(orion_kernel_type type, bool astray, const uint8_t *p, int i) {
#if V16_ASTRAY
  if (astray) return i16_to_float(type == ORION_KERNEL_I8 ? i16_byte_at(p, i) : i16_nibble_at(p, i));
#endif
  return element(type, load_words(p), i);
}
INLINE float down_of(orion_kernel_type type) { return type == ORION_KERNEL_I8 ? 0x1p-24f : 0x1p-28f; }

typedef struct quantised_in {
  const float *a;           // rows `row` apart
  size_t row;
  const uint8_t *w;         // a panel's integers, and scales
  const orion_half *scale;
  size_t panel, panel_scale, apart;  // from panel to panel of a tile: bytes, halves, floats of y
  size_t group, groups;     // elements
  float down;               // takes sums back to what they mean
  float *total;             // room for 16 of each row and panel: in registers they would push sums out
  tile_ahead ahead;         // with every 64 bytes of a panel, where a tile asks at all
} quantised_in;

// a is at the element that b, of panel c, stands for.
INLINE void add_products(const int R, const int C, int c, v16 *sum, const quantised_in *in, const float *a, v16 b) {
UNROLL(16)
  for (int r = 0; r < R; r++) sum[r * C + c] = v16_fma(v16_set(a[(size_t)r * in->row]), b, sum[r * C + c]);
}

// The first n elements of a word of each panel: a rest, or where nothing beside the word may be read.
INLINE void add_some(const int R, const int C, orion_kernel_type type, v16 *sum, const quantised_in *in, const float *a,
                     const uint8_t *w, size_t n) {
UNROLL(1)
  for (size_t i = 0; i < n; i++) {
UNROLL(4)
    for (int c = 0; c < C; c++) {
      add_products(R, C, c, sum, in, a + i, element_any(type, load_words(w + (size_t)c * in->panel), i));
    }
  }
}

// One group: a at its first element, w at its integers in the first panel, of which `last` begins the last 64 bytes. R rows, C
// panels (constants at every call, as type and fetch). All sums take one element before any takes the next: so many chains
// hide each other's latency, which those of one panel would not. Words of several panels are read anew for each element,
// from the first cache by then, which leaves the registers to sums.
INLINE void sum_group(const int R, const int C, orion_kernel_type type, bool fetch, v16 *sum, const quantised_in *in,
                      const float *a, const uint8_t *w, const uint8_t *last, const char *ahead) {
  const size_t n = in_word(type), panel = in->panel;
  const bool astray = V16_ASTRAY && C > 1;
  size_t left = in->group;
  for (; left >= n; left -= n, a += n, w += 64, ahead += in->ahead.step) {
    if (fetch) __builtin_prefetch(ahead, 0, 2);
    if (astray && (w == in->w || w == last)) {
      add_some(R, C, type, sum, in, a, w, n);
      continue;
    }
UNROLL(8)
    for (int i = 0; i < (int)n; i++) {
UNROLL(4)
      for (int c = 0; c < C; c++) add_products(R, C, c, sum, in, a + i, element_from(type, astray, w + (size_t)c * panel, i));
    }
  }
  add_some(R, C, type, sum, in, a, w, left);
}

// total = fma(sum, scale, total) of group g.
INLINE void add_group(const int R, const int C, const v16 *sum, size_t g, const quantised_in *in) {
UNROLL(16)
  for (int i = 0; i < R * C; i++) {
    v16 scale = v16_mul(v16_load_half(in->scale + (size_t)(i % C) * in->panel_scale + g * 16), v16_set(in->down));
    v16_store(in->total + i * 16, v16_fma(sum[i], scale, v16_load(in->total + i * 16)));
  }
}

INLINE void tile_quantised(const int R, const int C, orion_kernel_type type, bool fetch, const quantised_in *in,
                           const tile_out *out) {
  const size_t words = (in->group + in_word(type) - 1) / in_word(type);
  const uint8_t *last = in->w + (in->groups * words - 1) * 64;
UNROLL(16)
  for (int i = 0; i < R * C; i++) v16_store(in->total + i * 16, v16_zero());
  for (size_t g = 0; g < in->groups; g++) {
    v16 sum[TILE_MOST];
UNROLL(16)
    for (int i = 0; i < R * C; i++) sum[i] = v16_zero();
    sum_group(R, C, type, fetch, sum, in, in->a + g * in->group, in->w + g * words * 64, last,
              in->ahead.at + g * words * in->ahead.step);
    add_group(R, C, sum, g, in);
  }
UNROLL(16)
  for (int i = 0; i < R * C; i++) {
    size_t lanes = i % C == C - 1 ? out->last : 16;
    v16 total = v16_load(in->total + i * 16);
    if (out->bias) total = v16_add(total, load_lanes(out->bias + (size_t)(i % C) * in->apart, lanes));
    store_lanes(out->y + (size_t)(i / C) * out->stride + (size_t)(i % C) * in->apart, total, lanes);
  }
}

INLINE void tiles_quantised(size_t rows, size_t panels, orion_kernel_type type, const quantised_in *in,
                            const tile_out *out) {
  if (panels == 4) tile_quantised(1, 4, type, false, in, out);
  else if (panels == 2) tile_quantised(2, 2, type, false, in, out);
  else switch (rows) {
    case 1: tile_quantised(1, 1, type, true, in, out); break;
    case 2: tile_quantised(2, 1, type, true, in, out); break;
    case 3: tile_quantised(3, 1, type, true, in, out); break;
    default: tile_quantised(4, 1, type, true, in, out); break;
  }
}
static void tiles_i8(size_t rows, size_t panels, const quantised_in *in, const tile_out *out) {
  tiles_quantised(rows, panels, ORION_KERNEL_I8, in, out);
}
static void tiles_i4(size_t rows, size_t panels, const quantised_in *in, const tile_out *out) {
  tiles_quantised(rows, panels, ORION_KERNEL_I4, in, out);
}

enum {
  QUANTISED_ROWS = 4,  // of a tile that converts: more would leave no registers for it
  WORDS_AHEAD = 32,    // as STREAM_AHEAD
};

// At most QUANTISED_ROWS rows.
static void quantised_stream(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows,
                             const orion_panels *w, const float *bias, size_t p0, size_t p1) {
  _Alignas(64) float total[QUANTISED_ROWS * 16];
  size_t groups = w->cols / w->group, bytes = orion_quantised_panel_bytes(w->type, w->cols, w->group);
  const size_t wide = rows == 1 ? 4 : rows == 2 ? 2 : 1, apart = panels_apart(p1 - p0, wide);
  for (size_t i = 0; i < p1 - p0; i = next_panel(i, apart, wide)) {
    const size_t p = p0 + i, panels = i < apart ? wide : 1, left = w->rows - (p + (panels - 1) * apart) * 16;
    const uint8_t *from = (const uint8_t *)w->data + p * bytes;
    quantised_in in = {x, x_stride, from, w->scale + p * groups * 16, apart * bytes, apart * groups * 16, apart * 16,
                       w->group, groups, down_of(w->type), total, {(const char *)from + WORDS_AHEAD * 64, 64}};
    tile_out out = {y + p * 16, y_stride, left < 16 ? left : 16, bias ? bias + p * 16 : NULL, false};
    (w->type == ORION_KERNEL_I8 ? tiles_i8 : tiles_i4)(rows, panels, &in, &out);
  }
}

static void linear(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows, const orion_panels *w,
                   const float *bias, size_t p0, size_t p1) {
  if (w->type != ORION_KERNEL_I8 && w->type != ORION_KERNEL_I4) {
    linear_plain(y, y_stride, x, x_stride, rows, w, bias, p0, p1);
    return;
  }
  for (size_t r = 0, n; p0 < p1 && r < rows; r += n) {
    n = even_part(rows - r, QUANTISED_ROWS);
    quantised_stream(y + r * y_stride, y_stride, x + r * x_stride, x_stride, n, w, bias, p0, p1);
  }
}

static void install_quantised(orion_kernels *k) { k->linear = linear; }

#endif
