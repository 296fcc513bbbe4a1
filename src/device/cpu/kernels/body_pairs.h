// Matrix products of many rows by AVX512_BF16, for `fast` alone: its instruction adds the products of two bf16 elements to each
// of sixteen sums, one after the other, each rounded. Include after body_bf16.h.
//
// Counted, not timed: 16 such instructions take 10 loads, so that they and not the loads bound it, at 32 products each, where
// the fp32 kernels' do 16: up to twice those of `fast`, less where a processor issues one a cycle instead of two. Exact
// products, of four or six such each, would be slower than the fp32 kernels'.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_PAIRS_H
#define ORION_DEVICE_CPU_KERNELS_BODY_PAIRS_H

#ifdef HAVE_BF16
enum { PAIR_ROWS = 8 };  // by two panels: 16 sums in registers

// What one step adds: 16 times two k.
BF16 INLINE void add_pairs(const int C, v16 *sum, const uint8_t *a, const uint8_t *const b[2]) {
UNROLL(2)
  for (size_t k = 0; k < 16; k++) {
    v16i right[2];
UNROLL(2)
    for (int c = 0; c < C; c++) right[c] = _mm512_loadu_si512(b[c] + k * 64);
UNROLL(8)
    for (int r = 0; r < PAIR_ROWS; r++) {
      int32_t two;
      memcpy(&two, a + r * 64 + k * 4, sizeof two);
      v16i left = i16_set(two);
UNROLL(2)
      for (int c = 0; c < C; c++) {
        sum[r * C + c] = _mm512_dpbf16_ps(sum[r * C + c], (__m512bh)left, (__m512bh)right[c]);
      }
    }
  }
}

// Rows [row, row + PAIR_ROWS) by C panels.
BF16 INLINE void rows_by_pairs(const int C, const plane_work *w, size_t row) {
  v16 sum[PAIR_ROWS * 2];
  float *c = w->c + row * w->stride;
UNROLL(16)
  for (int i = 0; i < PAIR_ROWS * C; i++) {
    sum[i] = w->resume ? v16_load(c + (size_t)(i / C) * w->stride + (size_t)(i % C) * 16) : v16_zero();
  }
  for (size_t s = 0; s < w->steps; s++) {
    const uint8_t *const right[2] = {w->b[0] + s * STEP_BYTES, w->b[C - 1] + s * STEP_BYTES};
    add_pairs(C, sum, w->a + s * 2 * STEP_BYTES + row * 64, right);
  }
UNROLL(16)
  for (int i = 0; i < PAIR_ROWS * C; i++) v16_store(c + (size_t)(i / C) * w->stride + (size_t)(i % C) * 16, sum[i]);
}

BF16 static void run_pairs(const plane_work *w) {
  for (size_t row = 0; row < (w->tall ? 32 : 16); row += PAIR_ROWS) {
    if (w->wide) rows_by_pairs(2, w, row);
    else rows_by_pairs(1, w, row);
  }
}

static void matmul_by_pairs(float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k,
                            bool add, bool fast, void *scratch) {
  matmul_by_bf16(run_pairs, c, c_stride, a, b, m, n, k, add, scratch);
}

static void linear_by_pairs(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows,
                            const orion_panels *w, const float *bias, size_t p0, size_t p1, bool fast, void *scratch) {
  linear_by_bf16(run_pairs, y, y_stride, x, x_stride, rows, w, bias, p0, p1, scratch);
}

// The ceiling: chains in registers.
BF16 static float multiply_pairs(size_t n, double *out_flops) {
  enum { CHAINS_OF_PAIRS = 14 };
  const v16i half = i16_set(0x3f003f00);
  v16 sum[CHAINS_OF_PAIRS];
  for (int c = 0; c < CHAINS_OF_PAIRS; c++) sum[c] = v16_set((float)c);
  for (size_t i = 0; i < n; i++) {
UNROLL(14)
    for (int c = 0; c < CHAINS_OF_PAIRS; c++) sum[c] = _mm512_dpbf16_ps(sum[c], (__m512bh)half, (__m512bh)half);
  }
  for (int c = 1; c < CHAINS_OF_PAIRS; c++) sum[0] = v16_add(sum[0], sum[c]);
  *out_flops = 2.0 * 2 * 16 * CHAINS_OF_PAIRS * (double)n;
  return v16_sum(sum[0]);
}

static void install_pairs(orion_kernels *k) {
  k->multiply_bf16 = multiply_pairs;
  k->many_exact = false;
  k->matmul_many = matmul_by_pairs;
  k->linear_many = linear_by_pairs;
}
#else
static void install_pairs(orion_kernels *k) {}
#endif
#endif
