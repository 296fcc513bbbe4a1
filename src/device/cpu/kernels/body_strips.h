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

// What a tile asks for while it multiplies: before each `every` ASK_UNITs of k, `times` lines of each of ASK_RUNS runs of memory.
// Spread as evenly as that, requests keep memory at work and seldom wait for each other.
enum { ASK_UNIT = 8, ASK_RUNS = 3 };
typedef struct strip_ahead {
  const char *at;
  size_t apart;         // bytes from run to run
  size_t every, times;
  size_t share;         // bytes of a run for each tile
} strip_ahead;

// What a tile multiplies, and what becomes of the sums. Columns have scales where B holds integers: of a group of its depth
// each, or of all of it, where sums are scaled only in the end.
typedef struct strip_in {
  const float *strip;
  const void *from[TILE_VECS];  // B, a register's columns each
  size_t group, groups;         // depth is their product
  const float *scale;           // PANEL_COLS for each group; NULL for none
  const float *bias;            // PANEL_COLS, added in the end; NULL for none
  bool resume;                  // start from what C holds
  strip_ahead ahead;
} strip_in;
typedef void strip_tile(float *c, size_t c_stride, const strip_in *in);

// The panel as B.
INLINE void strip_from_panel(strip_in *in, const float *panel) {
  for (size_t v = 0; v < TILE_VECS; v++) in->from[v] = panel + v * VEC_LANES;
}

// Where a tile has come to.
typedef struct strip_at {
  const float *strip;
  const void *from[TILE_VECS];
  const char *ahead;
} strip_at;

INLINE strip_at strip_begin(const strip_in *in) {
  strip_at at = {.strip = in->strip, .ahead = in->ahead.at};
  for (size_t v = 0; v < TILE_VECS; v++) at.from[v] = in->from[v];
  return at;
}

// `n` elements of K of the first `rows` rows, with columns of B that lie `step` elements on with every k: all are constants at
// every call, as type.
INLINE void strip_steps(const size_t rows, orion_kernel_type type, const size_t step, const size_t n, vec *sum, strip_at *at) {
UNROLL(8)
  for (size_t k = 0; k < n; k++) {
    vec b[TILE_VECS];
UNROLL(4)
    for (size_t v = 0; v < TILE_VECS; v++) {
      if (type == ORION_KERNEL_F16) b[v] = vec_load_half((const orion_half *)at->from[v] + k * step);
      else b[v] = vec_load((const float *)at->from[v] + k * step);
    }
UNROLL(16)
    for (size_t r = 0; r < rows; r++) {
      vec a = vec_set(at->strip[k * STRIP_ROWS + r]);
UNROLL(4)
      for (size_t v = 0; v < TILE_VECS; v++) vec_fma_to(&sum[r * TILE_VECS + v], a, b[v]);
    }
  }
UNROLL(4)
  for (size_t v = 0; v < TILE_VECS; v++) at->from[v] = element_at(type, at->from[v], n * step);
  at->strip += n * STRIP_ROWS;
}

INLINE void strip_depth(const size_t rows, orion_kernel_type type, const size_t step, vec *sum, strip_at *at, size_t depth) {
UNROLL(1)
  for (size_t i = depth / ASK_UNIT; i; i--) strip_steps(rows, type, step, ASK_UNIT, sum, at);
UNROLL(1)
  for (size_t i = depth % ASK_UNIT; i; i--) strip_steps(rows, type, step, 1, sum, at);
}

// The same, asking for what comes next.
INLINE void strip_sums(const size_t rows, orion_kernel_type type, const size_t step, vec *sum, strip_at *at, size_t depth,
                       const strip_ahead *ahead) {
  const size_t apart = ahead->apart, times = ahead->times, every = ahead->every;
  for (size_t units = depth / ASK_UNIT, n; units; units -= n) {
    n = units < every ? units : every;
UNROLL(1)
    for (size_t i = 0; i < times; i++, at->ahead += 64) {
UNROLL(4)
      for (size_t run = 0; run < ASK_RUNS; run++) __builtin_prefetch(at->ahead + run * apart, 0, 2);
    }
    strip_depth(rows, type, step, sum, at, n * ASK_UNIT);
  }
  strip_depth(rows, type, step, sum, at, depth % ASK_UNIT);
}

// One chain, from zero or from what C holds.
INLINE void strip_chain(const size_t rows, orion_kernel_type type, const size_t step, float *c, size_t c_stride, const strip_in *given) {
  const strip_in in = *given;  // which stores to C cannot change
  vec sum[STRIP_ROWS * TILE_VECS];
UNROLL(32)
  for (size_t i = 0; i < rows * TILE_VECS; i++) {
    sum[i] = in.resume ? vec_load(c + i / TILE_VECS * c_stride + i % TILE_VECS * VEC_LANES) : vec_set(0.0f);
  }
  strip_at at = strip_begin(&in);
  strip_sums(rows, type, step, sum, &at, in.group, &in.ahead);
UNROLL(32)
  for (size_t i = 0; i < rows * TILE_VECS; i++) {
    const size_t j = i % TILE_VECS * VEC_LANES;
    if (in.scale) sum[i] = vec_fma(sum[i], vec_load(in.scale + j), vec_set(0.0f));
    if (in.bias) sum[i] = vec_add(sum[i], vec_load(in.bias + j));
    vec_store(c + i / TILE_VECS * c_stride + j, sum[i]);
  }
}
static void strip_of_panel(float *c, size_t c_stride, const strip_in *in) {
  strip_chain(STRIP_ROWS, ORION_KERNEL_F32, PANEL_COLS, c, c_stride, in);
}

// A chain for each group; C holds the sum of these, each times its scale. It asks for nothing: groups are short, and integers
// that many rows share are few bytes (asking took a tenth off the speed of int4 prompts).
static void strip_of_groups(float *c, size_t c_stride, const strip_in *given) {
  const strip_in in = *given;
  strip_at at = strip_begin(&in);
  for (size_t g = 0; g < in.groups; g++) {
    const float *scale = in.scale + g * PANEL_COLS, *bias = g + 1 == in.groups ? in.bias : NULL;
    const bool resume = in.resume || g > 0;
    vec sum[STRIP_ROWS * TILE_VECS];
UNROLL(32)
    for (size_t i = 0; i < STRIP_ROWS * TILE_VECS; i++) sum[i] = vec_set(0.0f);
    strip_depth(STRIP_ROWS, ORION_KERNEL_F32, PANEL_COLS, sum, &at, in.group);
UNROLL(32)
    for (size_t i = 0; i < STRIP_ROWS * TILE_VECS; i++) {
      const size_t j = i % TILE_VECS * VEC_LANES;
      float *to = c + i / TILE_VECS * c_stride + j;
      vec total = vec_fma(sum[i], vec_load(scale + j), resume ? vec_load(to) : vec_set(0.0f));
      if (bias) total = vec_add(total, vec_load(bias + j));
      vec_store(to, total);
    }
  }
}

// The same where C ends before the tile does.
static void strip_edge(strip_tile *by, float *c, size_t c_stride, const strip_in *in, size_t rows, size_t cols) {
  _Alignas(64) float all[STRIP_ROWS * PANEL_COLS] = {0};
  for (size_t r = 0; in->resume && r < rows; r++) memcpy(all + r * PANEL_COLS, c + r * c_stride, cols * sizeof *c);
  by(all, PANEL_COLS, in);
  for (size_t r = 0; r < rows; r++) memcpy(c + r * c_stride, all + r * PANEL_COLS, cols * sizeof *c);
}

// What the next panel will be made of, to be asked for while another meets the strips, a share ahead of every tile: in pieces
// that lie side by side, `side` of them `inner` bytes apart, and so again `outer` apart.
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

// All strips of `rows` rows, in.strip being the first, against the columns of one panel. The last strip goes by `half` where its
// rows are no more than half of one, and there is such a tile.
static void strips_by_columns(strip_tile *whole, strip_tile *half, float *c, size_t c_stride, strip_in in, size_t rows, size_t cols,
                              panel_source *next) {
  const size_t tiles = (rows + STRIP_ROWS - 1) / STRIP_ROWS, share = next ? (next->pieces + tiles - 1) / tiles : 0;
  for (size_t r = 0; r < rows; r += STRIP_ROWS) {
    const size_t left = rows - r;
    const bool low = half && left <= STRIP_ROWS / 2;
    const size_t high = low ? STRIP_ROWS / 2 : STRIP_ROWS;
    strip_tile *const by = low ? half : whole;
    for (size_t i = STRIP_ROWS; i < left && i < 2 * STRIP_ROWS; i++) {  // sums of the next strip
      __builtin_prefetch(c + (r + i) * c_stride, 1);
      __builtin_prefetch(c + (r + i) * c_stride + cols - 1, 1);
    }
    if (next) panel_ask(next, share);
    if (left >= high && cols == PANEL_COLS) by(c + r * c_stride, c_stride, &in);
    else strip_edge(by, c + r * c_stride, c_stride, &in, left < high ? left : high, cols);
    in.strip += in.group * in.groups * STRIP_ROWS;
    in.ahead.at += in.ahead.share;
  }
}

#endif
