// Matrix products of many rows by AVX512_BF16, whose instruction adds the products of two bf16 elements to each of sixteen
// sums, one after the other, each rounded. Include after body_planes.h.
//
// Counted, not timed: 16 such instructions take 10 loads, so that they and not the loads bound it, at 32 products each, where
// the fp32 kernels' do 16: up to twice those of `fast`, less where a processor issues one a cycle instead of two. Exact
// products, of four or six such each, are right too but slower than the fp32 kernels'.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_PAIRS_H
#define ORION_DEVICE_CPU_KERNELS_BODY_PAIRS_H

#if defined(__has_include)
#if __has_include(<avx512bf16intrin.h>)
#define HAVE_PAIRS
#endif
#endif

#ifdef HAVE_PAIRS
#define PAIRS __attribute__((target("avx512bf16")))

enum { PAIR_ROWS = 8 };  // by two panels: 16 sums in registers

// What one step adds for one pair of planes: 16 times two k.
PAIRS INLINE void add_pairs(const int C, v16 *sum, const uint8_t *a, const uint8_t *const b[2]) {
#pragma GCC unroll 2
  for (size_t k = 0; k < 16; k++) {
    v16i right[2];
#pragma GCC unroll 2
    for (int c = 0; c < C; c++) right[c] = _mm512_loadu_si512(b[c] + k * 64);
#pragma GCC unroll 8
    for (int r = 0; r < PAIR_ROWS; r++) {
      int32_t two;
      memcpy(&two, a + r * 64 + k * 4, sizeof two);
      v16i left = i16_set(two);
#pragma GCC unroll 2
      for (int c = 0; c < C; c++) {
        sum[r * C + c] = _mm512_dpbf16_ps(sum[r * C + c], (__m512bh)left, (__m512bh)right[c]);
      }
    }
  }
}

// Rows [row, row + PAIR_ROWS) by C panels.
PAIRS INLINE void rows_by_pairs(const int C, const plane_work *w, size_t row) {
  v16 sum[PAIR_ROWS * 2];
  float *c = w->c + row * w->stride;
#pragma GCC unroll 16
  for (int i = 0; i < PAIR_ROWS * C; i++) {
    sum[i] = w->resume ? v16_load(c + (size_t)(i / C) * w->stride + (size_t)(i % C) * 16) : v16_zero();
  }
  for (size_t s = 0; s < w->steps; s++) {
    for (int order = PLANES - 1; order >= 0; order--) {
      for (int p = 0; p <= order; p++) {
        int q = order - p;
        if (p >= w->a_planes || q >= w->b_planes) continue;
        size_t at = (size_t)q * B_PLANE + s * STEP_BYTES;
        const uint8_t *const right[2] = {w->b[0] + at, w->b[C - 1] + at};
        add_pairs(C, sum, w->a + (size_t)p * A_PLANE + s * 2 * STEP_BYTES + row * 64, right);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < PAIR_ROWS * C; i++) v16_store(c + (size_t)(i / C) * w->stride + (size_t)(i % C) * 16, sum[i]);
}

PAIRS static void run_pairs(const plane_work *w) {
  for (size_t row = 0; row < (w->tall ? 32 : 16); row += PAIR_ROWS) {
    if (w->wide) rows_by_pairs(2, w, row);
    else rows_by_pairs(1, w, row);
  }
}

static void matmul_by_pairs(float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k,
                            bool add, bool fast, void *scratch) {
  plane_right right = {.matrix = b};
  product_by_planes(run_pairs, c, c_stride, a, &right, m, n, 0, n, k, add, fast, scratch);
}

static void linear_by_pairs(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows,
                            const orion_panels *w, const float *bias, size_t p0, size_t p1, bool fast, void *scratch) {
  linear_by_planes(run_pairs, y, y_stride, x, x_stride, rows, w, bias, p0, p1, fast, scratch);
}

static void install_pairs(orion_kernels *k) {
  k->many_exact = false;
  k->matmul_many = matmul_by_pairs;
  k->linear_many = linear_by_pairs;
}
#else
static void install_pairs(orion_kernels *k) {}
#endif
#endif
