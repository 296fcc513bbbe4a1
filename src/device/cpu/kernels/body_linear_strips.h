// Products of many rows with packed weights (prompts): rows are packed once into strips (body_strips.h), which all columns
// share, and three panels of 16 weights at a time are made 48 / PANEL_COLS panels of floats for a block of K. They meet up
// to a few hundred rows, so that widening costs little beside multiplying. Sums and their order are those of body_product.h
// and body_quantised.h. Include after body_quantised.h and body_strips.h.
//
// Strips of all rows lie block by block of K, so that what a piece of rows reads of a block is one run of memory:
// element (t, k) of block b is at b * depth * rows + t / STRIP_ROWS * STRIP_ROWS * depth + (k - b * depth) * STRIP_ROWS +
// t % STRIP_ROWS, with rows rounded up to whole strips, and the last block as deep as it is.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_LINEAR_STRIPS_H
#define ORION_DEVICE_CPU_KERNELS_BODY_LINEAR_STRIPS_H

enum { TRIO = 3, TRIO_COLS = TRIO * 16, VECS_OF_16 = 16 / VEC_LANES };
_Static_assert(TRIO_COLS % PANEL_COLS == 0 && ORION_STRIPS_UNIT % STRIP_ROWS == 0, "three panels are whole ones here");
_Static_assert(sizeof(float) * (2 * TRIO_COLS * BLOCK_K + TRIO_COLS) <= ORION_STRIPS_SCRATCH, "scratch");

// A block of K holds whole groups, or part of the only one.
static size_t strips_depth(const orion_panels *w) {
  bool groups = (w->type == ORION_KERNEL_I8 || w->type == ORION_KERNEL_I4) && w->group <= BLOCK_K;
  return groups ? BLOCK_K / w->group * w->group : BLOCK_K;
}
static size_t whole_strips(size_t rows) { return (rows + STRIP_ROWS - 1) / STRIP_ROWS * STRIP_ROWS; }

static void pack_rows(float *dst, const float *x, size_t x_stride, size_t rows, const orion_panels *w, size_t t0, size_t t1) {
  const size_t K = w->cols, most = strips_depth(w);
  for (size_t k = 0; k < K; k += most) {
    size_t depth = K - k < most ? K - k : most;
    pack_strips(dst + k * whole_strips(rows) + t0 * depth, x + t0 * x_stride + k, x_stride, 1, t1 - t0, depth);
  }
}

// ---- three panels of weights as floats ----

// Where the registers of panel p of the three go: element k of each is k * PANEL_COLS further on.
typedef struct trio_out { float *part[VECS_OF_16]; } trio_out;

INLINE trio_out trio_part(float *panels, size_t p, size_t depth) {
  trio_out out;
  for (size_t i = 0; i < VECS_OF_16; i++) {
    size_t v = p * VECS_OF_16 + i;
    out.part[i] = panels + v / TILE_VECS * PANEL_COLS * depth + v % TILE_VECS * VEC_LANES;
  }
  return out;
}

INLINE void put(trio_out *out, size_t k, v16 x) {
  const vec parts[] = V16_VECS(x);
UNROLL(4)
  for (size_t i = 0; i < VECS_OF_16; i++) vec_store(out->part[i] + k * PANEL_COLS, parts[i]);
}

INLINE void put_plain(trio_out out, orion_kernel_type type, const void *from, size_t depth) {
  for (size_t k = 0; k < depth; k++) put(&out, k, v16_load_as(type, from, k * 16));
}
INLINE void put_words(trio_out out, orion_kernel_type type, const uint8_t *from, size_t k, size_t n) {
  const size_t step = in_word(type);
  for (; n >= step; n -= step, from += 64, k += step) {
    v16i words = words_at(type, from);
UNROLL(8)
    for (int i = 0; i < (int)step; i++) put(&out, k + (size_t)i, element(type, words, i));
  }
  for (size_t i = 0; i < n; i++) put(&out, k + i, element_any(type, words_at(type, from), i));
}

typedef struct trio {
  float panels[TRIO_COLS * BLOCK_K];
  float scales[TRIO_COLS * BLOCK_K];  // of a panel's groups PANEL_COLS each
  float bias[TRIO_COLS];
} trio;

// Bytes from the start of a panel to element k, which begins a block.
static size_t panel_offset(const orion_panels *w, size_t k) {
  if (w->type != ORION_KERNEL_I8 && w->type != ORION_KERNEL_I4) return k * 16 * orion_kernel_type_size(w->type);
  return k ? orion_quantised_panel_bytes(w->type, k, w->group <= BLOCK_K ? w->group : BLOCK_K) : 0;
}
static size_t panel_bytes(const orion_panels *w) {
  if (w->type != ORION_KERNEL_I8 && w->type != ORION_KERNEL_I4) return panel_offset(w, w->cols);
  return orion_quantised_panel_bytes(w->type, w->cols, w->group);
}

// Panel p of the matrix as panel i of the three: elements [k, k + depth).
static void widen_one(trio *to, size_t i, const orion_panels *w, size_t p, size_t k, size_t depth) {
  trio_out out = trio_part(to->panels, i, depth);
  const uint8_t *from = (const uint8_t *)w->data + p * panel_bytes(w) + panel_offset(w, k);
  if (w->type == ORION_KERNEL_F32) {
    put_plain(out, ORION_KERNEL_F32, from, depth);
    return;
  }
  if (w->type == ORION_KERNEL_F16) {
    put_plain(out, ORION_KERNEL_F16, from, depth);
    return;
  }
  const bool part = w->group > BLOCK_K;
  const size_t group = part ? depth : w->group, groups = depth / group;
  const size_t bytes = orion_quantised_panel_bytes(w->type, group, group);
  trio_out scales = trio_part(to->scales, i, groups);
  const orion_half *scale = w->scale + (p * (w->cols / w->group) + k / w->group) * 16;
  for (size_t g = 0; g < groups; g++, from += bytes) {
    if (w->type == ORION_KERNEL_I8) put_words(out, ORION_KERNEL_I8, from, g * group, group);
    else put_words(out, ORION_KERNEL_I4, from, g * group, group);
    put(&scales, g, v16_mul(v16_load_half(scale + g * 16), v16_set(down_of(w->type))));
  }
}

// ---- products ----

// The panels from p on, `count` of them, against all rows of the piece.
static void strips_by_trio(float *y, size_t y_stride, const float *strips, size_t rows, const orion_panels *w,
                           const float *bias, size_t p, size_t count, size_t k, size_t depth, trio *room,
                           panel_source *next) {
  const bool quantised = w->type == ORION_KERNEL_I8 || w->type == ORION_KERNEL_I4, part = w->group > BLOCK_K;
  const bool last = k + depth == w->cols, totals = quantised && !part;
  const size_t cols = w->rows - p * 16 < count * 16 ? w->rows - p * 16 : count * 16, group = totals ? w->group : depth;
  if (count < TRIO) memset(room->panels, 0, sizeof room->panels);
  for (size_t i = 0; i < count; i++) widen_one(room, i, w, p + i, k, depth);
  if (bias && last) memcpy(room->bias, bias + p * 16, cols * sizeof *bias);
  for (size_t j = 0; j < cols; j += PANEL_COLS) {
    strip_in in = {.strip = strips, .panel = room->panels + j * depth, .group = group, .groups = depth / group,
                   .bias = bias && last ? room->bias + j : NULL, .resume = k > 0, .totals = totals};
    if (quantised && (totals || last)) in.scale = room->scales + j * in.groups;
    strips_by_panel(y + p * 16 + j, y_stride, in, rows, cols - j < PANEL_COLS ? cols - j : PANEL_COLS, next, TRIO_COLS / PANEL_COLS);
  }
}

// What is widened after panel p of a block of K: the next three, or the first of the next block.
static panel_source next_trio(const orion_panels *w, size_t p, size_t p0, size_t p1, size_t k, size_t depth) {
  const size_t bytes = panel_bytes(w), most = strips_depth(w);
  p += TRIO;
  if (p >= p1) {
    k += depth;
    if (k >= w->cols) return (panel_source){0};
    p = p0;
    depth = w->cols - k < most ? w->cols - k : most;
  }
  const size_t from = panel_offset(w, k), size = (k + depth < w->cols ? panel_offset(w, k + depth) : bytes) - from;
  const size_t count = p1 - p < TRIO ? p1 - p : TRIO;
  return (panel_source){(const char *)w->data + p * bytes + from, count, bytes, 64, size / 64 * count, 0};
}

static void linear_strips(float *y, size_t y_stride, const float *strips, size_t rows, size_t t0, size_t t1,
                          const orion_panels *w, const float *bias, size_t p0, size_t p1, void *scratch) {
  const size_t K = w->cols, most = strips_depth(w);
  for (size_t k = 0; k < K && t0 < t1; k += most) {
    const size_t depth = K - k < most ? K - k : most;
    const float *block = strips + k * whole_strips(rows) + t0 * depth;
    for (size_t p = p0, count; p < p1; p += count) {
      count = p1 - p < TRIO ? p1 - p : TRIO;
      panel_source next = next_trio(w, p, p0, p1, k, depth);
      strips_by_trio(y, y_stride, block, t1 - t0, w, bias, p, count, k, depth, scratch, &next);
    }
  }
}

static void install_strips(orion_kernels *k) {
  k->pack_rows = pack_rows;
  k->linear_strips = linear_strips;
}

#endif
