// Matrix products of many rows by bf16 (BFMMLA), for `fast` alone: one instruction adds the products of two rows and two
// columns over four k to a square of sums. Include after body_vectors.h, in the NEON level with BF16 only.
//
// Both operands are packed alike, as vectors along k: rows of A by twelve, columns of B by eight, every four k of a vector
// behind those of its neighbour. Rounding to bf16 is to nearest, ties to even; an infinity or NaN stays what it is, and what
// rounds to infinity becomes it.
//
// An element is one chain over k from 0 up, by four: the instruction adds two products, rounding to odd, and that to the sum,
// rounding to odd again, then the next two. So its bits depend neither on other rows and columns nor on how a caller cuts.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_SQUARES_H
#define ORION_DEVICE_CPU_KERNELS_BODY_SQUARES_H

enum {
  SQUARES_ROWS = 12,    // of a tile: six pairs by four pairs of columns are 24 registers of sums
  SQUARES_COLS = 8,
  SQUARES_DEPTH = 256,  // K of a block
  SQUARES_HIGH = 240,   // rows of A that are packed at once: 120 KB, for the second cache
  SQUARES_WIDE = 1024,  // columns of B
};
typedef struct squares_scratch {
  uint16_t a[SQUARES_HIGH * SQUARES_DEPTH];
  uint16_t b[SQUARES_WIDE * SQUARES_DEPTH];
  float edge[SQUARES_ROWS * SQUARES_COLS];  // sums that reach past C
} squares_scratch;
_Static_assert(sizeof(squares_scratch) <= ORION_MATMUL_MANY_SCRATCH, "scratch");

// ---- packing ----

INLINE uint16x8_t to_bf16(float32x4_t low, float32x4_t high) {
  return vreinterpretq_u16_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(low), high));
}
// Four k of four vectors: x[i] is the i-th vector's.
INLINE void put_along(uint16_t *to, const float32x4_t x[4]) {
  vst1q_u16(to, to_bf16(x[0], x[1]));
  vst1q_u16(to + 8, to_bf16(x[2], x[3]));
}
// The same where x[i] is the i-th k of all four.
INLINE void put_across(uint16_t *to, const float32x4_t x[4]) {
  uint16x8_t even = to_bf16(x[0], x[2]), odd = to_bf16(x[1], x[3]);
  uint32x4_t first = vreinterpretq_u32_u16(vzip1q_u16(even, odd)), second = vreinterpretq_u32_u16(vzip2q_u16(even, odd));
  vst1q_u16(to, vreinterpretq_u16_u32(vzip1q_u32(first, second)));
  vst1q_u16(to + 8, vreinterpretq_u16_u32(vzip2q_u32(first, second)));
}

// The same at the edges, where fewer are left, and for vectors that lie anyhow.
static void put_few(uint16_t *to, const vectors *s, size_t n, size_t depth) {
  float all[16] = {0};
  for (size_t v = 0; v < n && v < 4; v++) {
    for (size_t k = 0; k < depth && k < 4; k++) {
      size_t at = v * s->vector + k * s->step;
      all[v * 4 + k] = s->type == ORION_KERNEL_F16 ? orion_half_to_float(((const orion_half *)s->data)[at])
                                                   : ((const float *)s->data)[at];
    }
  }
  const float32x4_t x[4] = {vld1q_f32(all), vld1q_f32(all + 4), vld1q_f32(all + 8), vld1q_f32(all + 12)};
  put_along(to, x);
}

// The first n of them as to[k / 4][group][4], group a multiple of four; those past the end up to the next four are zero.
static void pack_squares(uint16_t *to, const vectors *s, size_t group, size_t n, size_t depth) {
  for (size_t v = 0; v < n; v += 4) {
    for (size_t k = 0; k < depth; k += 4) {
      const vectors at = vectors_at(s, v, k);
      const float *from = at.data;
      const orion_half *half = at.data;
      uint16_t *put = to + (k * group + v * 4);
      float32x4_t x[4];
      if (n - v < 4 || depth - k < 4) {
        put_few(put, &at, n - v, depth - k);
      } else if (at.type == ORION_KERNEL_F16) {
        for (size_t i = 0; i < 4; i++) x[i] = f4_load_half(half + i * at.step);
        put_across(put, x);
      } else if (at.vector == 1) {
        for (size_t i = 0; i < 4; i++) x[i] = vld1q_f32(from + i * at.step);
        put_across(put, x);
      } else if (at.step == 1) {
        for (size_t i = 0; i < 4; i++) x[i] = vld1q_f32(from + i * at.vector);
        put_along(put, x);
      } else {
        put_few(put, &at, 4, 4);
      }
    }
  }
}

// ---- products ----

// P pairs of rows (a constant at every call) by eight columns, `steps` times four k.
INLINE void tile_squares(const size_t P, float *c, size_t stride, const uint16_t *a, const uint16_t *b, size_t steps, bool resume) {
  enum { PAIRS = SQUARES_COLS / 2 };
  float32x4_t sum[SQUARES_ROWS / 2 * PAIRS];
UNROLL(24)
  for (size_t i = 0; i < P * PAIRS; i++) {
    const float *from = c + i / PAIRS * 2 * stride + i % PAIRS * 2;
    sum[i] = resume ? vcombine_f32(vld1_f32(from), vld1_f32(from + stride)) : vdupq_n_f32(0.0f);
  }
  for (size_t s = 0; s < steps; s++, a += SQUARES_ROWS * 4, b += SQUARES_COLS * 4) {
    bfloat16x8_t right[PAIRS];
UNROLL(4)
    for (size_t j = 0; j < PAIRS; j++) right[j] = vreinterpretq_bf16_u16(vld1q_u16(b + j * 8));
UNROLL(6)
    for (size_t p = 0; p < P; p++) {
      bfloat16x8_t left = vreinterpretq_bf16_u16(vld1q_u16(a + p * 8));
UNROLL(4)
      for (size_t j = 0; j < PAIRS; j++) sum[p * PAIRS + j] = vbfmmlaq_f32(sum[p * PAIRS + j], left, right[j]);
    }
  }
UNROLL(24)
  for (size_t i = 0; i < P * PAIRS; i++) {
    float *to = c + i / PAIRS * 2 * stride + i % PAIRS * 2;
    vst1_f32(to, vget_low_f32(sum[i]));
    vst1_f32(to + stride, vget_high_f32(sum[i]));
  }
}

static void run_squares(float *c, size_t stride, const uint16_t *a, const uint16_t *b, size_t rows, size_t steps, bool resume) {
  switch ((rows + 3) / 4) {
    case 1: tile_squares(2, c, stride, a, b, steps, resume); break;
    case 2: tile_squares(4, c, stride, a, b, steps, resume); break;
    default: tile_squares(6, c, stride, a, b, steps, resume); break;
  }
}

// Packed rows against packed columns.
static void rows_by_squares(float *c, size_t stride, size_t rows, size_t cols, size_t depth, bool resume, squares_scratch *s) {
  const size_t steps = (depth + 3) / 4;
  for (size_t j = 0; j < cols; j += SQUARES_COLS) {
    size_t width = cols - j < SQUARES_COLS ? cols - j : SQUARES_COLS;
    const uint16_t *b = s->b + j * steps * 4;
    for (size_t i = 0; i < rows; i += SQUARES_ROWS) {
      size_t height = rows - i < SQUARES_ROWS ? rows - i : SQUARES_ROWS;
      const uint16_t *a = s->a + i * steps * 4;
      float *to = c + i * stride + j;
      if (width == SQUARES_COLS && height % 4 == 0) {
        run_squares(to, stride, a, b, height, steps, resume);
        continue;
      }
      memset(s->edge, 0, sizeof s->edge);
      for (size_t r = 0; resume && r < height; r++) memcpy(s->edge + r * SQUARES_COLS, to + r * stride, width * sizeof *to);
      run_squares(s->edge, SQUARES_COLS, a, b, height, steps, resume);
      for (size_t r = 0; r < height; r++) memcpy(to + r * stride, s->edge + r * SQUARES_COLS, width * sizeof *to);
    }
  }
}

// Columns [n0, n1) of C.
static void product_by_squares(float *c, size_t c_stride, orion_matrix a, const right_factor *b, size_t m, size_t n0, size_t n1,
                               size_t k, bool add, squares_scratch *s) {
  for (size_t i = 0; !k && !add && n0 < n1 && i < m; i++) memset(c + i * c_stride + n0, 0, (n1 - n0) * sizeof *c);
  for (size_t j0 = n0; j0 < n1; j0 += SQUARES_WIDE) {
    size_t wide = n1 - j0 < SQUARES_WIDE ? n1 - j0 : SQUARES_WIDE;
    for (size_t k0 = 0; k0 < k; k0 += SQUARES_DEPTH) {
      size_t depth = k - k0 < SQUARES_DEPTH ? k - k0 : SQUARES_DEPTH, whole = (depth + 3) / 4 * 4;
      for (size_t j = 0; j < wide; j += SQUARES_COLS) {
        vectors from = right_vectors(b, j0 + j, k0);
        pack_squares(s->b + j * whole, &from, SQUARES_COLS, wide - j < SQUARES_COLS ? wide - j : SQUARES_COLS, depth);
      }
      for (size_t i0 = 0; i0 < m; i0 += SQUARES_HIGH) {
        size_t high = m - i0 < SQUARES_HIGH ? m - i0 : SQUARES_HIGH;
        for (size_t i = 0; i < high; i += SQUARES_ROWS) {
          vectors from = left_vectors(a, i0 + i, k0);
          pack_squares(s->a + i * whole, &from, SQUARES_ROWS, high - i < SQUARES_ROWS ? high - i : SQUARES_ROWS, depth);
        }
        rows_by_squares(c + i0 * c_stride + j0, c_stride, high, wide, depth, add || k0 > 0, s);
      }
    }
  }
}

static void matmul_by_squares(float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k, bool add,
                              bool fast, void *scratch) {
  right_factor right = {.matrix = b};
  product_by_squares(c, c_stride, a, &right, m, 0, n, k, add, scratch);
}

static void linear_by_squares(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows, const orion_panels *w,
                              const float *bias, size_t p0, size_t p1, bool fast, void *scratch) {
  right_factor right = {.panels = w};
  size_t n0 = p0 * 16, n1 = p1 * 16 < w->rows ? p1 * 16 : w->rows;
  product_by_squares(y, y_stride, (orion_matrix){x, x_stride, 1}, &right, rows, n0, n1, w->cols, false, scratch);
  if (bias) add_bias(y, y_stride, rows, bias, n0, n1);
}

// The ceiling: chains in registers.
static float multiply_squares(size_t n, double *out_flops) {
  enum { CHAINS = 12 };
  const bfloat16x8_t half = vreinterpretq_bf16_u16(vdupq_n_u16(0x3f01));  // 0.5 exactly would make gcc 12 take it for fp16's
  float32x4_t sum[CHAINS];
  for (int c = 0; c < CHAINS; c++) sum[c] = vdupq_n_f32((float)c);
  for (size_t i = 0; i < n; i++) {
UNROLL(12)
    for (int c = 0; c < CHAINS; c++) sum[c] = vbfmmlaq_f32(sum[c], half, half);
  }
  for (int c = 1; c < CHAINS; c++) sum[0] = vaddq_f32(sum[0], sum[c]);
  *out_flops = 2.0 * 16 * CHAINS * (double)n;
  return vaddvq_f32(sum[0]);
}

static void install_squares(orion_kernels *k) {
  k->multiply_bf16 = multiply_squares;
  k->many_exact = false;
  k->matmul_many = matmul_by_squares;
  k->linear_many = linear_by_squares;
}

#endif
