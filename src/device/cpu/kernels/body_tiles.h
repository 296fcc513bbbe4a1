// Matrix products of many rows on AMX: tiles of 16 x 16 fp32 sums, to which one instruction adds the products of 16 x 32 by
// 32 x 16 bf16 elements. What is split into those, and why, is said in body_planes.h; what `fast` rounds to them, in
// body_bf16.h. Include after those.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_TILES_H
#define ORION_DEVICE_CPU_KERNELS_BODY_TILES_H

#include "device/cpu/kernels/tiles_amx.h"

#if defined(HAVE_TILES) && defined(HAVE_BF16)
TILES static void begin_tiles(void) { configure_tiles(64); }
TILES static void end_tiles(void) { release_tiles(); }

// Sums in tiles 0 to 3 (C of one row of tiles, then of the other), A in 4 and 5, B in 6 and 7.
TILES static void run_tiles(const plane_work *w) {
  float *below = w->c + 16 * w->stride;
  size_t bytes = w->stride * sizeof *w->c;
  BARRIER();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  if (w->resume) {
    _tile_loadd(0, w->c, bytes);
    if (w->wide) _tile_loadd(1, w->c + 16, bytes);
    if (w->tall) _tile_loadd(2, below, bytes);
    if (w->tall && w->wide) _tile_loadd(3, below + 16, bytes);
  }
  for (size_t s = 0; s < w->steps; s++) {
    for (int sum = PLANES - 1; sum >= 0; sum--) {
      for (int p = 0; p <= sum; p++) {
        int q = sum - p;
        if (p >= w->a_planes || q >= w->b_planes) continue;
        const uint8_t *a = w->a + (size_t)p * A_PLANE + s * 2 * STEP_BYTES;
        size_t at = (size_t)q * B_PLANE + s * STEP_BYTES;
        _tile_loadd(4, a, 64);
        _tile_loadd(6, w->b[0] + at, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (w->wide) {
          _tile_loadd(7, w->b[1] + at, 64);
          _tile_dpbf16ps(1, 4, 7);
        }
        if (w->tall) {
          _tile_loadd(5, a + STEP_BYTES, 64);
          _tile_dpbf16ps(2, 5, 6);
          if (w->wide) _tile_dpbf16ps(3, 5, 7);
        }
      }
    }
  }
  _tile_stored(0, w->c, bytes);
  if (w->wide) _tile_stored(1, w->c + 16, bytes);
  if (w->tall) _tile_stored(2, below, bytes);
  if (w->tall && w->wide) _tile_stored(3, below + 16, bytes);
  BARRIER();
}

static void matmul_by_tiles(float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k,
                            bool add, bool fast, void *scratch) {
  right_factor right = {.matrix = b};
  begin_tiles();
  if (fast) matmul_by_bf16(run_tiles, c, c_stride, a, b, m, n, k, add, scratch);
  else product_by_planes(run_tiles, c, c_stride, a, &right, m, n, 0, n, k, add, scratch);
  end_tiles();
}

static void linear_by_tiles(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows,
                            const orion_panels *w, const float *bias, size_t p0, size_t p1, bool fast, void *scratch) {
  begin_tiles();
  if (fast) linear_by_bf16(run_tiles, y, y_stride, x, x_stride, rows, w, bias, p0, p1, scratch);
  else linear_by_planes(run_tiles, y, y_stride, x, x_stride, rows, w, bias, p0, p1, scratch);
  end_tiles();
}

// The ceiling: as run_tiles in all tiles, without reading and writing.
TILES static float multiply_tiles(size_t n, double *out_flops) {
  float ones[16 * 16];
  for (size_t i = 0; i < 16 * 16; i++) ones[i] = orion_bits_to_float(0x3f803f80);  // two of bf16
  begin_tiles();
  fill_tiles(ones);
  for (size_t i = 0; i < n; i++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(3, ones, 64);
  BARRIER();
  end_tiles();
  *out_flops = 2.0 * 4 * 16 * 16 * 32 * (double)n;
  return ones[0];
}

static void install_tiles(orion_kernels *k) {
  k->multiply_bf16 = multiply_tiles;
  k->level = "amx";
  k->many_exact = true;
  k->matmul_many = matmul_by_tiles;
  k->linear_many = linear_by_tiles;
}
#else
static void install_tiles(orion_kernels *k) {}
#endif
#endif
