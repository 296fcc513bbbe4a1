// Exact matrix products of many rows whose factors are bf16: what a level with instructions for that makes of floats. The
// level brings a function that adds products of bf16 elements to up to 32 x 32 fp32 sums (plane_fn). Include after
// body_matmul.h and body_vectors.h, in the AVX-512 level only.
//
// A float is split into planes, bf16 each: what rounding to bf16 leaves is split again, so that three planes hold a float
// and two a half, exactly. Of the products of planes p and q those with p + q <= 2 are added, smallest first: all there are
// of two halves, whose product is thus exact; of two floats the rest is below 2^-23 of the product. Planes that hold
// nothing but zeros are left out, which changes no bit: halves cost four products, bf16 one.
//
// An element is one chain over k from 0 up: over blocks of PLANE_DEPTH, over steps of 32, over products of planes. Its bits
// depend neither on the other rows and columns nor on how a caller cuts them. The instructions read subnormals as zero. They
// make NaN of infinity times an empty plane, so that a block that holds an infinity, a NaN or what rounds to one goes to the
// AVX-512 kernel instead.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_PLANES_H
#define ORION_DEVICE_CPU_KERNELS_BODY_PLANES_H

enum {
  STEP_BYTES = 1024,    // of a plane: 16 rows, or columns, by 32 k
  PLANE_DEPTH = 128,    // K of a block
  PLANE_STEPS = PLANE_DEPTH / 32,
  PLANE_ROW = PLANE_DEPTH + 2,  // between rows: at equal distances of 512 bytes they would meet in few sets of the first cache
  PLANES = 3,
  PLANE_HEIGHT = 32,    // rows of A that are split at once: their planes stay in the first cache
  PLANE_COLS = 512,     // columns of B that are split at once: theirs stay in the second
};
// One operand's planes: of rows of A two lots of 16 rows a step, of a panel of B one of 16 columns.
enum { A_PLANE = PLANE_STEPS * 2 * STEP_BYTES, B_PLANE = PLANE_STEPS * STEP_BYTES, B_PANEL = PLANES * B_PLANE };

typedef struct plane_scratch {
  uint8_t b[PLANE_COLS / 16 * B_PANEL];
  uint8_t a[PLANES * A_PLANE];
  float rows[PLANE_HEIGHT * PLANE_ROW];  // of A, side by side
  float panel[PLANE_DEPTH * 16];          // of B
  float edge[4 * 16 * 16];                // sums that reach past C
  uint8_t other[ORION_MATMUL_SCRATCH];    // of the kernel for blocks that are not finite
} plane_scratch;
_Static_assert(sizeof(plane_scratch) <= ORION_MATMUL_MANY_SCRATCH, "scratch");

// What a level's instructions are asked for: 16 or 32 rows by 16 or 32 columns of C. In a's planes a step of a row is 64
// bytes, 32 elements; in b's, a step has 16 such rows, each of two k of every column, side by side.
typedef struct plane_work {
  const uint8_t *a, *b[2];
  size_t steps;
  int a_planes, b_planes;
  bool tall, wide, resume;  // a second lot of rows, of columns; start from what C holds
  float *c;
  size_t stride;            // elements
} plane_work;
typedef void (*plane_fn)(const plane_work *w);

// ---- splitting ----

// What has been seen of an operand's elements, OR or maximum over lanes.
typedef struct plane_seen {
  v16i largest;  // bits without the sign
  v16i plane[PLANES];
} plane_seen;
typedef struct plane_kind {
  bool finite;  // and stays so when rounded
  int planes;   // that are not all zeros; at least one
} plane_kind;

INLINE plane_kind kind_of(const plane_seen *seen) {
  bool second = m16_any(i16_nonzero(seen->plane[1])), third = m16_any(i16_nonzero(seen->plane[2]));
  return (plane_kind){_mm512_reduce_max_epu32(seen->largest) < 0x7f7f8000u, third ? 3 : second ? 2 : 1};
}

// Rounds to bf16, halves away from zero: the upper half of the bits, the lower one zero.
INLINE v16i upper_half(v16 x) { return i16_and(i16_add(v16_bits(x), i16_set(0x8000)), i16_set(-0x10000)); }

// Into `planes` of them, a constant at every call.
INLINE void split(const int planes, v16 x, v16i plane[PLANES], plane_seen *seen) {
  seen->largest = _mm512_max_epu32(seen->largest, i16_and(v16_bits(x), i16_set(0x7fffffff)));
UNROLL(3)
  for (int p = 0; p < planes; p++) {
    plane[p] = upper_half(x);
    x = v16_sub(x, v16_of(plane[p]));
    if (p) seen->plane[p] = i16_or(seen->plane[p], i16_add(plane[p], plane[p]));  // zero of either sign is nothing
  }
}

// rows [height][PLANE_ROW], zeros from column `depth` on to the end of its step.
static plane_kind split_rows(uint8_t *to, const float *rows, size_t height, size_t steps) {
  static const uint16_t upper[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                     33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  const v16i order = _mm512_loadu_si512(upper);  // the upper halves of two vectors
  plane_seen seen = {0};
  for (size_t r = 0; r < PLANE_HEIGHT; r++) {
    for (size_t s = 0; s < steps; s++) {
      v16i low[PLANES] = {0}, high[PLANES] = {0};
      if (r < height) {
        split(PLANES, v16_load(rows + r * PLANE_ROW + s * 32), low, &seen);
        split(PLANES, v16_load(rows + r * PLANE_ROW + s * 32 + 16), high, &seen);
      }
UNROLL(3)
      for (int p = 0; p < PLANES; p++) {
        _mm512_storeu_si512(to + (size_t)p * A_PLANE + s * 2 * STEP_BYTES + r * 64,
                            _mm512_permutex2var_epi16(low[p], order, high[p]));
      }
    }
  }
  return kind_of(&seen);
}

// A panel [depth][16].
INLINE plane_kind split_panel_in(const int planes, uint8_t *to, const float *panel, size_t depth, size_t steps) {
  plane_seen seen = {0};
  for (size_t k = 0; k < steps * 32; k += 2) {
    v16i even[PLANES] = {0}, odd[PLANES] = {0};
    if (k < depth) split(planes, v16_load(panel + k * 16), even, &seen);
    if (k + 1 < depth) split(planes, v16_load(panel + k * 16 + 16), odd, &seen);
UNROLL(3)
    for (int p = 0; p < planes; p++) {
      _mm512_storeu_si512(to + (size_t)p * B_PLANE + k * 32, i16_or(_mm512_srli_epi32(even[p], 16), odd[p]));
    }
  }
  return kind_of(&seen);
}
// Two planes hold all of a half.
static plane_kind split_panel(uint8_t *to, const float *panel, orion_kernel_type type, size_t depth, size_t steps) {
  return type == ORION_KERNEL_F16 ? split_panel_in(2, to, panel, depth, steps) : split_panel_in(PLANES, to, panel, depth, steps);
}

// ---- blocks ----

// Rows [k, k + depth) of the 16 columns from j on, as [depth][16]; columns past n are zero.
static const float *right_panel(const right_factor *b, size_t j, size_t n, size_t k, size_t depth, float *room) {
  if (!b->panels) {
    const float *from = b->matrix.data + k * b->matrix.row + j * b->matrix.col;
    widen_panel(room, ORION_KERNEL_F32, from, b->matrix.col, b->matrix.row, n - j < 16 ? n - j : 16, depth);
    return room;
  }
  const void *from = element_at(b->panels->type, b->panels->data, (j / 16 * b->panels->cols + k) * 16);
  if (b->panels->type == ORION_KERNEL_F32) return from;
  half_to_float(room, from, depth * 16);
  return room;
}

// A block of C, by AVX-512: what bf16 cannot do.
static void block_not_finite(float *c, size_t c_stride, orion_matrix a, const right_factor *b, size_t j0, size_t j1,
                             size_t n, size_t m, size_t k0, size_t depth, bool resume, plane_scratch *s) {
  a.data += k0 * a.col;
  for (size_t j = j0; j < j1; j += 16) {
    orion_matrix panel = {right_panel(b, j, n, k0, depth, s->panel), 16, 1};
    matmul_many(c + j, c_stride, a, panel, m, j1 - j < 16 ? j1 - j : 16, depth, resume, (float *)(void *)s->other);
  }
}

// `height` rows by `width` columns of C, which may be less than 16 and 32.
static void run_edge(plane_fn run, plane_work w, size_t height, size_t width, float *edge) {
  size_t tall = w.tall ? 32 : 16, wide = w.wide ? 32 : 16;
  if (height == tall && width == wide) {
    run(&w);
    return;
  }
  float *c = w.c;
  size_t stride = w.stride;
  w.c = edge;
  w.stride = wide;
  if (w.resume) memset(edge, 0, tall * wide * sizeof *edge);
  for (size_t r = 0; w.resume && r < height; r++) memcpy(edge + r * wide, c + r * stride, width * sizeof *c);
  run(&w);
  for (size_t r = 0; r < height; r++) memcpy(c + r * stride, edge + r * wide, width * sizeof *c);
}

// dst[r * PLANE_ROW + k] = A[r][k]
static void plane_rows(float *dst, orion_matrix a, size_t rows, size_t depth) {
  if (a.row == 1 && a.col != 1) {
    transpose_f32(dst, PLANE_ROW, a.data, a.col, depth, rows);
    return;
  }
  for (size_t r = 0; r < rows; r++) {
    if (a.col == 1) memcpy(dst + r * PLANE_ROW, a.data + r * a.row, depth * sizeof *dst);
    else copy_f32(dst + r * PLANE_ROW, 1, a.data + r * a.row, a.col, depth);
  }
}

// Rows of A against columns [j0, j1) of B, whose planes are there; K from k0 to k0 + depth.
static void rows_by_planes(plane_fn run, float *c, size_t c_stride, orion_matrix a, const right_factor *b,
                           const plane_kind *kinds, size_t j0, size_t j1, size_t n, size_t m, size_t k0, size_t depth,
                           bool resume, plane_scratch *s) {
  size_t steps = (depth + 31) / 32;
  for (size_t i = 0; i < m; i += PLANE_HEIGHT) {
    size_t height = m - i < PLANE_HEIGHT ? m - i : PLANE_HEIGHT;
    orion_matrix rows = {a.data + i * a.row, a.row, a.col}, part = rows;
    part.data += k0 * a.col;
    plane_rows(s->rows, part, height, depth);
    for (size_t r = 0; depth % 32 && r < height; r++) {
      memset(s->rows + r * PLANE_ROW + depth, 0, (steps * 32 - depth) * sizeof *s->rows);
    }
    plane_kind kind = split_rows(s->a, s->rows, height, steps);
    for (size_t j = j0, width; j < j1; j += width) {
      width = j1 - j < 32 ? j1 - j : 32;
      const plane_kind *right = kinds + (j - j0) / 16;
      const uint8_t *planes = s->b + (j - j0) / 16 * B_PANEL;
      bool wide = width > 16;
      if (!kind.finite || !right[0].finite || (wide && !right[1].finite)) {
        block_not_finite(c + i * c_stride, c_stride, rows, b, j, j + width, n, height, k0, depth, resume, s);
        continue;
      }
      int most = wide && right[1].planes > right[0].planes ? right[1].planes : right[0].planes;
      plane_work w = {s->a, {planes, planes + B_PANEL}, steps, kind.planes, most, height > 16, wide, resume,
                     c + i * c_stride + j, c_stride};
      run_edge(run, w, height, width, s->edge);
    }
  }
}

static void product_by_planes(plane_fn run, float *c, size_t c_stride, orion_matrix a, const right_factor *b, size_t m,
                              size_t n, size_t n0, size_t n1, size_t k, bool add, plane_scratch *s) {
  plane_kind kinds[PLANE_COLS / 16];
  const orion_kernel_type type = b->panels ? b->panels->type : ORION_KERNEL_F32;
  for (size_t i = 0; !k && !add && i < m; i++) map_fill(c + i * c_stride + n0, NULL, NULL, n1 - n0, 0.0f, 0.0f);
  for (size_t j0 = n0; j0 < n1; j0 += PLANE_COLS) {
    size_t j1 = n1 - j0 < PLANE_COLS ? n1 : j0 + PLANE_COLS;
    for (size_t k0 = 0; k0 < k; k0 += PLANE_DEPTH) {
      size_t depth = k - k0 < PLANE_DEPTH ? k - k0 : PLANE_DEPTH;
      for (size_t j = j0; j < j1; j += 16) {
        const float *panel = right_panel(b, j, n, k0, depth, s->panel);
        size_t at = (j - j0) / 16;
        kinds[at] = split_panel(s->b + at * B_PANEL, panel, type, depth, (depth + 31) / 32);
      }
      rows_by_planes(run, c, c_stride, a, b, kinds, j0, j1, n, m, k0, depth, add || k0 > 0, s);
    }
  }
}

INLINE void linear_by_planes(plane_fn run, float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows,
                             const orion_panels *w, const float *bias, size_t p0, size_t p1, void *scratch) {
  right_factor right = {.panels = w};
  size_t n0 = p0 * 16, n1 = p1 * 16 < w->rows ? p1 * 16 : w->rows;
  orion_matrix a = {x, x_stride, 1};
  product_by_planes(run, y, y_stride, a, &right, rows, w->rows, n0, n1, w->cols, false, scratch);
  if (bias) add_bias(y, y_stride, rows, bias, n0, n1);
}

#endif
