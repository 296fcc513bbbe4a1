// Products of two run-time matrices: training's, whose weights change with every step, so that a packed copy of them
// would be one more copy to hold and to renew. Blocks are packed on the way instead, into scratch of the caller's:
//
//   A, up to MATMUL_ROWS x BLOCK_K   as rows: in the second cache, where it meets the panels one after another
//   B, BLOCK_K x 16                  as a panel, packed when the first rows want it: it is in the first cache then
//
// While rows meet one panel, what the next will be packed from is fetched, so that reading a weight from memory costs
// nothing as long as there is enough to multiply. Where A has more rows than a block, the panels of MATMUL_COLS columns
// are kept for the others.
//
// Operands in either orientation are packed by whole squares of 16 x 16, so that a transposed one costs little more. An
// element is one chain over k from 0 up, as in body_product.h. Include after that.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_MATMUL_H
#define ORION_DEVICE_CPU_KERNELS_BODY_MATMUL_H

// Rows lie a little more than BLOCK_K apart: at equal distances of 1 KB the elements that a tile reads together would come
// from one bank of the first cache.
enum { MATMUL_ROWS = 264, MATMUL_COLS = 432, MATMUL_WIDE = 1024, PACKED_ROW = BLOCK_K + 2 };
_Static_assert((MATMUL_ROWS * PACKED_ROW + MATMUL_COLS * BLOCK_K) * sizeof(float) <= ORION_MATMUL_SCRATCH, "scratch");

// dst[r * PACKED_ROW + k] = A[r][k]
static void matmul_pack_rows(float *dst, orion_matrix a, size_t rows, size_t depth) {
  if (a.row == 1 && a.col != 1) {
    transpose_f32(dst, PACKED_ROW, a.data, a.col, depth, rows);
    return;
  }
  for (size_t r = 0; r < rows; r++) {
    if (a.col == 1) memcpy(dst + r * PACKED_ROW, a.data + r * a.row, depth * sizeof *dst);
    else copy_f32(dst + r * PACKED_ROW, 1, a.data + r * a.row, a.col, depth);
  }
}

// What a panel is packed from, in pieces that lie side by side: `side` of them `inner` apart, and so again `outer` apart.
typedef struct matmul_source {
  const float *data;
  size_t side, inner, outer, pieces;
} matmul_source;

static matmul_source matmul_source_of(orion_matrix b, size_t lanes, size_t depth) {
  if (b.row == 1) return (matmul_source){b.data, lanes, b.col, 16, (depth + 15) / 16 * lanes};
  return (matmul_source){b.data, 1, 0, b.row, depth};
}

INLINE void matmul_fetch(const matmul_source *s, size_t from, size_t to) {
  if (to > s->pieces) to = s->pieces;
  for (size_t i = from; i < to; i++) {
    size_t o = s->side == 1 ? i : i / s->side;
    __builtin_prefetch(s->data + o * s->outer + (i - o * s->side) * s->inner, 0, 2);
  }
}

// All rows of a tile against a whole panel: as `tile`, a few steps of k at a time, which leaves more of the core to the
// multiply-adds.
static void matmul_tile(float *c, size_t c_stride, const float *rows, const float *panel, size_t depth, bool resume) {
  v16 sum[TILE_ROWS];
#pragma GCC unroll 16
  for (int r = 0; r < TILE_ROWS; r++) sum[r] = resume ? v16_load(c + (size_t)r * c_stride) : v16_zero();
#pragma GCC unroll 4
  for (size_t k = 0; k < depth; k++) {
    v16 w = v16_load(panel + k * 16);
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++) sum[r] = v16_fma(v16_set(rows[r * PACKED_ROW + k]), w, sum[r]);
  }
#pragma GCC unroll 16
  for (int r = 0; r < TILE_ROWS; r++) v16_store(c + (size_t)r * c_stride, sum[r]);
}

// Packed rows against one packed panel; meanwhile `next` is fetched.
static void matmul_tiles(float *c, size_t c_stride, const float *rows, const float *panel, size_t height, size_t lanes,
                         size_t depth, bool resume, const matmul_source *next) {
  size_t tiles = (height + TILE_ROWS - 1) / TILE_ROWS, share = (next->pieces + tiles - 1) / tiles;
  for (size_t r = 0, t = 0; r < height; r += TILE_ROWS, t++) {
    for (size_t i = r + TILE_ROWS; i < height && i < r + 2 * TILE_ROWS; i++) __builtin_prefetch(c + i * c_stride, 1);
    matmul_fetch(next, t * share, (t + 1) * share);
    if (height - r >= TILE_ROWS && lanes == 16) {
      matmul_tile(c + r * c_stride, c_stride, rows + r * PACKED_ROW, panel, depth, resume);
      continue;
    }
    tile_in in = {rows + r * PACKED_ROW, PACKED_ROW, 1, panel, 0, 16};
    tile_out out = {c + r * c_stride, c_stride, lanes, NULL, resume};
    tile_f32(height - r < TILE_ROWS ? height - r : TILE_ROWS, &in, depth, &out);
  }
}

// B from row k0 and column j on.
static orion_matrix matmul_part(orion_matrix b, size_t k0, size_t j) {
  return (orion_matrix){b.data + k0 * b.row + j * b.col, b.row, b.col};
}

static void matmul_many(float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k,
                        bool add, float *rows) {
  float *panels = rows + MATMUL_ROWS * PACKED_ROW;
  const size_t blocks = (m + MATMUL_ROWS - 1) / MATMUL_ROWS, strip = blocks > 1 ? MATMUL_COLS : MATMUL_WIDE;
  const size_t tall = ((m + blocks - 1) / blocks + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
  for (size_t j0 = 0; j0 < n; j0 += strip) {
    size_t width = n - j0 < strip ? n - j0 : strip;
    for (size_t k0 = 0; k0 < k; k0 += BLOCK_K) {
      size_t depth = k - k0 < BLOCK_K ? k - k0 : BLOCK_K;
      for (size_t i = 0; i < m; i += tall) {
        size_t height = m - i < tall ? m - i : tall;
        matmul_pack_rows(rows, (orion_matrix){a.data + i * a.row + k0 * a.col, a.row, a.col}, height, depth);
        for (size_t j = 0; j < width; j += 16) {
          size_t lanes = width - j < 16 ? width - j : 16;
          float *panel = panels + (blocks > 1 ? j * BLOCK_K : 0);
          orion_matrix from = matmul_part(b, k0, j0 + j);
          matmul_source next = {0};
          if (i == 0) widen_panel(panel, ORION_KERNEL_F32, from.data, from.col, from.row, lanes, depth);
          if (i == 0 && j + 32 <= width) next = matmul_source_of(matmul_part(from, 0, 16), 16, depth);
          matmul_tiles(c + i * c_stride + j0 + j, c_stride, rows, panel, height, lanes, depth, add || k0 > 0, &next);
        }
      }
    }
  }
}

// So few rows that a panel is packed only where its elements do not lie side by side.
static void matmul_few(float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k, bool add,
                       float *panel) {
  for (size_t k0 = 0; k0 < k; k0 += BLOCK_K) {
    size_t depth = k - k0 < BLOCK_K ? k - k0 : BLOCK_K;
    for (size_t j = 0; j < n; j += 16) {
      size_t lanes = n - j < 16 ? n - j : 16;
      const float *from = b.data + k0 * b.row + j * b.col;
      bool direct = b.col == 1 && lanes == 16;
      tile_in in = {a.data + k0 * a.col, a.row, a.col, direct ? from : panel, 0, direct ? b.row : 16};
      tile_out out = {c + j, c_stride, lanes, NULL, add || k0 > 0};
      if (!direct) widen_panel(panel, ORION_KERNEL_F32, from, b.col, b.row, lanes, depth);
      product_block(m, &in, depth, &out);
    }
  }
}

static void matmul(float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k, bool add,
                   void *scratch) {
  if (b.row == 1 && b.col != 1 && a.col == 1 && m < 4) {  // both run along K: no panel pays for itself
    for (size_t i = 0; i < m; i++) {
      for (size_t j = 0; j < n; j++) {
        float sum = dot(a.data + i * a.row, b.data + j * b.col, k);
        c[i * c_stride + j] = add ? c[i * c_stride + j] + sum : sum;
      }
    }
    return;
  }
  for (size_t i = 0; k == 0 && !add && i < m; i++) map_fill(c + i * c_stride, NULL, NULL, n, 0.0f, 0.0f);
  if (m <= 2 * TILE_ROWS) matmul_few(c, c_stride, a, b, m, n, k, add, scratch);
  else matmul_many(c, c_stride, a, b, m, n, k, add, scratch);
}

static void install_matmul(orion_kernels *k) { k->matmul = matmul; }

#endif
