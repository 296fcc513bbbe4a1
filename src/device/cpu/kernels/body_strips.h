// Products of many rows: both factors are packed first, so that the innermost loop reads nothing but two runs of memory.
//
//   strip   STRIP_ROWS rows of A, k by k: element (r, k) at k * STRIP_ROWS + r
//   panel   PANEL_COLS columns of B, k by k: element (k, j) at k * PANEL_COLS + j
//
// A block of strips stays in the second cache, where a panel meets one after another and stays in the first. Level by level
// the tile is as large as the registers allow: three registers wide, since that many reads a row shares, and four rows high,
// or eight where there are 32 registers (twelve chains or more hide the latency of the multiply-add, twice over). What is
// missing of a last strip or panel is zeros, whose sums are dropped.
//
// An element is one chain over k from 0 up, as in body_product.h. Include after body_convert.h.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_STRIPS_H
#define ORION_DEVICE_CPU_KERNELS_BODY_STRIPS_H

enum { TILE_VECS = 3, PANEL_COLS = TILE_VECS * VEC_LANES, STRIPS_AT_ONCE = 16 / STRIP_ROWS };

// How large parts of n are, where they are to be nearly equal, at most `most` and whole units, as `most` is.
INLINE size_t whole_parts(size_t n, size_t most, size_t unit) {
  const size_t units = (n + unit - 1) / unit, parts = (n + most - 1) / most;
  return parts ? (units + parts - 1) / parts * unit : unit;
}

// ---- packing ----

// dst[c * dst_stride + r] = src[r * src_stride + c] for r < rows, c < cols.
INLINE void turn(float *dst, size_t dst_stride, const float *src, size_t src_stride, size_t rows, size_t cols) {
  size_t r = 0;
  for (; r + TURN_ROWS <= rows; r += TURN_ROWS) {
    size_t c = 0;
    for (; c + TURN_COLS <= cols; c += TURN_COLS) turn_piece(dst + c * dst_stride + r, dst_stride, src + r * src_stride + c, src_stride);
    for (; c < cols; c++) {
      for (size_t i = r; i < r + TURN_ROWS; i++) dst[c * dst_stride + i] = src[i * src_stride + c];
    }
  }
  for (; r < rows; r++) {
    for (size_t c = 0; c < cols; c++) dst[c * dst_stride + r] = src[r * src_stride + c];
  }
}

// dst[k * width + i] = src[i * across + k * along] for i < n, and 0 from there to `width`, a constant at every call.
INLINE void pack_block(const size_t width, float *dst, const float *src, size_t across, size_t along, size_t n, size_t depth) {
  if (n < width) memset(dst, 0, width * depth * sizeof *dst);
  if (along == 1 && across != 1) {
    turn(dst, width, src, across, n, depth);
  } else if (across == 1 && n == width) {
    for (size_t k = 0; k < depth; k++) memcpy(dst + k * width, src + k * along, width * sizeof *dst);
  } else {
    for (size_t k = 0; k < depth; k++) {
      for (size_t i = 0; i < n; i++) dst[k * width + i] = src[i * across + k * along];
    }
  }
}

// All strips of a block, one behind another.
static void pack_strips(float *dst, const float *src, size_t row, size_t col, size_t rows, size_t depth) {
  size_t r = 0;
  for (; row == 1 && r + 16 <= rows; r += 16) {  // of 64 bytes that lie side by side several strips are made
    for (size_t k = 0; k < depth; k++) {
      if (r + 32 <= rows) __builtin_prefetch(src + r + 16 + k * col);
      for (size_t s = 0; s < STRIPS_AT_ONCE; s++) {
        memcpy(dst + r * depth + (s * depth + k) * STRIP_ROWS, src + r + s * STRIP_ROWS + k * col, STRIP_ROWS * sizeof *dst);
      }
    }
  }
  for (; r < rows; r += STRIP_ROWS) {
    for (size_t i = STRIP_ROWS; col == 1 && i < 2 * STRIP_ROWS && r + i < rows; i++) {
      for (size_t k = 0; k < depth; k += 16) __builtin_prefetch(src + (r + i) * row + k);
    }
    pack_block(STRIP_ROWS, dst + r * depth, src + r * row, row, col, rows - r < STRIP_ROWS ? rows - r : STRIP_ROWS, depth);
  }
}

// ---- tiles ----

// What a tile multiplies, and what becomes of the sums. Columns have scales where B holds integers: of a group of its depth
// each, or of all of it, where sums are scaled only in the end.
typedef struct strip_in {
  const float *strip, *panel;
  size_t group, groups;  // depth is their product
  const float *scale;    // PANEL_COLS for each group; NULL for none
  const float *bias;     // PANEL_COLS, added in the end; NULL for none
  bool resume;           // start from what C holds
  bool totals;           // which is the sum of groups before
} strip_in;

INLINE void strip_sums(vec *sum, const float *strip, const float *panel, size_t depth) {
UNROLL(8)
  for (size_t k = 0; k < depth; k++) {
    vec b[TILE_VECS];
UNROLL(4)
    for (size_t v = 0; v < TILE_VECS; v++) b[v] = vec_load(panel + k * PANEL_COLS + v * VEC_LANES);
UNROLL(16)
    for (size_t r = 0; r < STRIP_ROWS; r++) {
      vec a = vec_set(strip[k * STRIP_ROWS + r]);
UNROLL(4)
      for (size_t v = 0; v < TILE_VECS; v++) sum[r * TILE_VECS + v] = vec_fma(a, b[v], sum[r * TILE_VECS + v]);
    }
  }
}

// One chain, from zero or from what C holds.
static void strip_chain(float *c, size_t c_stride, const strip_in *in) {
  vec sum[STRIP_ROWS * TILE_VECS];
UNROLL(32)
  for (size_t i = 0; i < STRIP_ROWS * TILE_VECS; i++) {
    sum[i] = in->resume ? vec_load(c + i / TILE_VECS * c_stride + i % TILE_VECS * VEC_LANES) : vec_set(0.0f);
  }
  strip_sums(sum, in->strip, in->panel, in->group);
UNROLL(32)
  for (size_t i = 0; i < STRIP_ROWS * TILE_VECS; i++) {
    const size_t j = i % TILE_VECS * VEC_LANES;
    if (in->scale) sum[i] = vec_fma(sum[i], vec_load(in->scale + j), vec_set(0.0f));
    if (in->bias) sum[i] = vec_add(sum[i], vec_load(in->bias + j));
    vec_store(c + i / TILE_VECS * c_stride + j, sum[i]);
  }
}

// A chain for each group; C holds the sum of these, each times its scale.
static void strip_groups(float *c, size_t c_stride, const strip_in *in) {
  for (size_t g = 0; g < in->groups; g++) {
    const float *scale = in->scale + g * PANEL_COLS, *bias = g + 1 == in->groups ? in->bias : NULL;
    const bool resume = in->resume || g > 0;
    vec sum[STRIP_ROWS * TILE_VECS];
UNROLL(32)
    for (size_t i = 0; i < STRIP_ROWS * TILE_VECS; i++) sum[i] = vec_set(0.0f);
    strip_sums(sum, in->strip + g * in->group * STRIP_ROWS, in->panel + g * in->group * PANEL_COLS, in->group);
UNROLL(32)
    for (size_t i = 0; i < STRIP_ROWS * TILE_VECS; i++) {
      const size_t j = i % TILE_VECS * VEC_LANES;
      float *at = c + i / TILE_VECS * c_stride + j;
      vec total = vec_fma(sum[i], vec_load(scale + j), resume ? vec_load(at) : vec_set(0.0f));
      if (bias) total = vec_add(total, vec_load(bias + j));
      vec_store(at, total);
    }
  }
}

INLINE void strip_tile(float *c, size_t c_stride, const strip_in *in) {
  (in->totals ? strip_groups : strip_chain)(c, c_stride, in);
}

// The same where C ends before the tile does.
static void strip_edge(float *c, size_t c_stride, const strip_in *in, size_t rows, size_t cols) {
  _Alignas(64) float all[STRIP_ROWS * PANEL_COLS] = {0};
  for (size_t r = 0; in->resume && r < rows; r++) memcpy(all + r * PANEL_COLS, c + r * c_stride, cols * sizeof *c);
  strip_tile(all, PANEL_COLS, in);
  for (size_t r = 0; r < rows; r++) memcpy(c + r * c_stride, all + r * PANEL_COLS, cols * sizeof *c);
}

// What the next panels will be made of, to be asked for while others meet the strips, a share with every tile: in pieces that
// lie side by side, `side` of them `inner` bytes apart, and so again `outer` apart.
typedef struct panel_source {
  const char *data;
  size_t side, inner, outer, pieces;
  size_t asked;  // pieces
} panel_source;

INLINE void panel_ask(panel_source *s, size_t share) {
  const size_t left = s->pieces - s->asked, to = s->asked + (left < share ? left : share);
  for (size_t i = s->asked; i < to; i++) {
    size_t o = s->side == 1 ? i : i / s->side;
    __builtin_prefetch(s->data + o * s->outer + (i - o * s->side) * s->inner, 0, 2);
  }
  s->asked = to;
}

// All strips of `rows` rows, in.strip being the first, against one panel, which is one of `panels` that ask for the next.
static void strips_by_panel(float *c, size_t c_stride, strip_in in, size_t rows, size_t cols, panel_source *next, size_t panels) {
  const size_t tiles = (rows + STRIP_ROWS - 1) / STRIP_ROWS * panels, share = (next->pieces + tiles - 1) / tiles;
  for (size_t r = 0; r < rows; r += STRIP_ROWS) {
    const size_t left = rows - r;
    for (size_t i = STRIP_ROWS; i < left && i < 2 * STRIP_ROWS; i++) {  // sums of the next strip
      __builtin_prefetch(c + (r + i) * c_stride, 1);
      __builtin_prefetch(c + (r + i) * c_stride + cols - 1, 1);
    }
    panel_ask(next, share);
    if (left >= STRIP_ROWS && cols == PANEL_COLS) strip_tile(c + r * c_stride, c_stride, &in);
    else strip_edge(c + r * c_stride, c_stride, &in, left < STRIP_ROWS ? left : STRIP_ROWS, cols);
    in.strip += in.group * in.groups * STRIP_ROWS;
  }
}

#endif
