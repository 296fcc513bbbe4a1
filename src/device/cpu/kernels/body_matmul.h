// Products of two run-time matrices: training's, whose weights change with every step, so that a packed copy of them
// would be one more copy to hold and to renew. Blocks are packed on the way instead (body_strips.h), into scratch of the
// caller's:
//
//   A, up to MATMUL_ROWS x BLOCK_K   as strips: in the second cache, where it meets the panels one after another
//   B, BLOCK_K x PANEL_COLS          as a panel, packed when the first rows want it: it is in the first cache then
//
// While rows meet one panel, what the next will be packed from is fetched, so that reading a weight from memory costs
// nothing as long as there is enough to multiply. Where A has more rows than a block, the panels of MATMUL_COLS columns
// are kept for the others. Include after body_product.h and body_strips.h.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_MATMUL_H
#define ORION_DEVICE_CPU_KERNELS_BODY_MATMUL_H

enum { MATMUL_ROWS = 264, MATMUL_COLS = 768, MATMUL_WIDE = 1056 };
_Static_assert(MATMUL_ROWS % STRIP_ROWS == 0 && MATMUL_COLS % PANEL_COLS == 0 && MATMUL_WIDE % PANEL_COLS == 0,
               "whole strips and panels");
_Static_assert((MATMUL_ROWS + MATMUL_COLS) * BLOCK_K * sizeof(float) <= ORION_MATMUL_SCRATCH, "scratch");

static panel_source matmul_source(orion_matrix b, size_t depth) {
  const char *data = (const char *)b.data;
  const size_t lines = (PANEL_COLS * sizeof(float) + 63) / 64;
  if (b.row == 1) return (panel_source){data, PANEL_COLS, b.col * sizeof(float), 64, (depth + 15) / 16 * PANEL_COLS, 0};
  return (panel_source){data, lines, 64, b.row * sizeof(float), depth * lines, 0};
}

static orion_matrix matmul_part(orion_matrix m, size_t row, size_t col) {
  return (orion_matrix){m.data + row * m.row + col * m.col, m.row, m.col};
}

static void matmul_many(float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k,
                        bool add, float *strips) {
  float *panels = strips + MATMUL_ROWS * BLOCK_K;
  const size_t blocks = (m + MATMUL_ROWS - 1) / MATMUL_ROWS, tall = orion_even_part(m, MATMUL_ROWS, STRIP_ROWS);
  const size_t most = orion_even_part(n, blocks > 1 ? MATMUL_COLS : MATMUL_WIDE, PANEL_COLS);
  for (size_t j0 = 0; j0 < n; j0 += most) {
    size_t width = n - j0 < most ? n - j0 : most;
    for (size_t k0 = 0; k0 < k; k0 += BLOCK_K) {
      size_t depth = k - k0 < BLOCK_K ? k - k0 : BLOCK_K;
      for (size_t i = 0; i < m; i += tall) {
        size_t height = m - i < tall ? m - i : tall;
        pack_strips(strips, a.data + i * a.row + k0 * a.col, a.row, a.col, height, depth);
        for (size_t j = 0; j < width; j += PANEL_COLS) {
          size_t cols = width - j < PANEL_COLS ? width - j : PANEL_COLS;
          bool more = j + 2 * PANEL_COLS <= width;
          float *panel = panels + (blocks > 1 ? j * depth : 0);
          panel_source next = {0};
          if (i == 0) {
            orion_matrix from = matmul_part(b, k0, j0 + j);
            pack_block(PANEL_COLS, panel, from.data, from.col, from.row, cols, depth);
            if (more) next = matmul_source(matmul_part(from, 0, PANEL_COLS), depth);
          } else if (more) {
            next = (panel_source){(const char *)(panel + PANEL_COLS * depth), 1, 0, 64, PANEL_COLS * depth * sizeof(float) / 64, 0};
          }
          strip_in in = {.strip = strips, .group = depth, .groups = 1, .resume = add || k0 > 0, .ahead = {.every = SIZE_MAX}};
          strip_from_panel(&in, panel);
          strips_by_columns(strip_of_panel, NULL, c + i * c_stride + j0 + j, c_stride, in, height, cols, &next);
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
