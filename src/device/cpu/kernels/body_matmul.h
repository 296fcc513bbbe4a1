// Products of two run-time matrices: training's, whose weights change with every step, so that a packed copy of them
// would be one more copy to hold and to renew. Blocks are packed on the way instead, into scratch of the caller's:
//
//   B, BLOCK_K x MATMUL_COLS   as panels of 16 columns: one panel at a time is in the first cache
//   A, MATMUL_ROWS x BLOCK_K   as rows: in the second cache, where it meets the panels one after another
//
// Operands in either orientation are packed by whole squares of 16 x 16, so that a transposed one costs little more. An
// element is one chain over k from 0 up, as in body_product.h. Include after that.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_MATMUL_H
#define ORION_DEVICE_CPU_KERNELS_BODY_MATMUL_H

// Rows lie a little more than BLOCK_K apart: at equal distances of 1 KB the elements that a tile reads together would come
// from one bank of the first cache.
enum { MATMUL_ROWS = BLOCK_ROWS, MATMUL_COLS = 480, PACKED_ROW = BLOCK_K + 2 };
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

// Panel after panel of `depth` x 16, the columns past n zero.
static void matmul_pack_cols(float *dst, orion_matrix b, size_t n, size_t depth) {
  for (size_t j = 0; j < n; j += 16, dst += BLOCK_K * 16) {
    widen_panel(dst, ORION_KERNEL_F32, b.data + j * b.col, b.col, b.row, n - j < 16 ? n - j : 16, depth);
  }
}

// Packed rows against one packed panel.
static void matmul_tiles(float *c, size_t c_stride, const float *rows, const float *panel, size_t height, size_t lanes,
                         size_t depth, bool resume) {
  for (size_t r = 0; r < height; r += TILE_ROWS) {
    tile_in in = {rows + r * PACKED_ROW, PACKED_ROW, 1, panel, 0, 16};
    tile_out out = {c + r * c_stride, c_stride, lanes, NULL, resume};
    for (size_t i = r + TILE_ROWS; i < height && i < r + 2 * TILE_ROWS; i++) __builtin_prefetch(c + i * c_stride, 1);
    if (height - r >= TILE_ROWS && lanes == 16) tile(TILE_ROWS, 1, ORION_KERNEL_F32, true, &in, depth, &out);
    else tile_f32(height - r < TILE_ROWS ? height - r : TILE_ROWS, &in, depth, &out);
  }
}

static void matmul_many(float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k,
                        bool add, float *rows) {
  float *panels = rows + MATMUL_ROWS * PACKED_ROW;
  for (size_t j0 = 0; j0 < n; j0 += MATMUL_COLS) {
    size_t width = n - j0 < MATMUL_COLS ? n - j0 : MATMUL_COLS;
    for (size_t k0 = 0; k0 < k; k0 += BLOCK_K) {
      size_t depth = k - k0 < BLOCK_K ? k - k0 : BLOCK_K;
      orion_matrix right = {b.data + k0 * b.row + j0 * b.col, b.row, b.col};
      matmul_pack_cols(panels, right, width, depth);
      for (size_t i = 0; i < m; i += MATMUL_ROWS) {
        size_t height = m - i < MATMUL_ROWS ? m - i : MATMUL_ROWS;
        orion_matrix left = {a.data + i * a.row + k0 * a.col, a.row, a.col};
        matmul_pack_rows(rows, left, height, depth);
        for (size_t j = 0; j < width; j += 16) {
          matmul_tiles(c + i * c_stride + j0 + j, c_stride, rows, panels + j * BLOCK_K, height,
                       width - j < 16 ? width - j : 16, depth, add || k0 > 0);
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
