// What `fast` makes of products of many rows, with instructions for bf16: both factors are rounded to bf16, to nearest, ties to
// even, on the way into blocks as the level's function wants them (plane_fn). An infinity or NaN stays what it is, and what
// rounds to infinity becomes it. Include after body_planes.h, in the AVX-512 level only.
//
// Packing must be cheap beside products that take a cycle for 512: each element is packed once in a piece, whatever its
// orientation, by an instruction that rounds 32 at a time:
//
//   A, up to BF16_ROWS x BF16_DEPTH   in the second cache, where it meets the panels one after another
//   B, BF16_DEPTH x 32                a panel, packed when it is wanted: in the first cache then
//
// and while the rows of A meet one panel, what the next will be packed from is fetched. An element is one chain over k from 0 up.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_BF16_H
#define ORION_DEVICE_CPU_KERNELS_BODY_BF16_H

#if defined(__has_include)
#if __has_include(<avx512bf16intrin.h>)
#define HAVE_BF16
#endif
#endif

#ifdef HAVE_BF16
#define BF16 __attribute__((target("avx512bf16")))

enum { BF16_ROWS = 1024, BF16_DEPTH = 256, BF16_STEPS = BF16_DEPTH / 32 };
typedef struct bf16_scratch {
  uint8_t a[BF16_ROWS / 16 * BF16_STEPS * STEP_BYTES];
  uint8_t b[2 * BF16_STEPS * STEP_BYTES];
  float edge[4 * 16 * 16];
} bf16_scratch;
_Static_assert(sizeof(bf16_scratch) <= ORION_MATMUL_MANY_SCRATCH, "scratch");

// Elements [0, n) of sixteen, whichever n is, from element `at` on.
INLINE v16 load_some(bool all, orion_kernel_type type, const void *p, size_t at, size_t n) {
  if (all || n >= 16) return v16_load_as(type, p, at);
  return n ? v16_load_as_n(type, p, at, n) : v16_zero();
}

// Words of two k each, of sixteen vectors that lie side by side: to[k / 2][vector]. `all`, a constant at every call: n is
// 16 and depth 32.
BF16 INLINE void words_across(bool all, uint32_t *to, const vectors *s, size_t n, size_t depth) {
  static const uint16_t pairs[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const v16i order = _mm512_loadu_si512(pairs);
  for (size_t k = 0; k < 32; k += 2) {
    v16 even = load_some(all, s->type, s->data, k * s->step, k < depth ? n : 0);
    v16 odd = load_some(all, s->type, s->data, (k + 1) * s->step, k + 1 < depth ? n : 0);
    _mm512_storeu_si512(to + k * 8, _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even)));
  }
}
// The same of vectors whose elements lie side by side, or anyhow: to[vector][k / 2].
BF16 INLINE void words_along(bool all, uint32_t *to, const vectors *s, size_t n, size_t depth) {
  for (size_t v = 0; v < 16; v++) {
    const float *from = (const float *)s->data + v * s->vector;
    float gathered[32];
    size_t left = all ? 32 : v < n ? depth : 0;
    if (s->step != 1) {
      copy_f32(gathered, 1, from, s->step, left);
      from = gathered;
    }
    v16 low = load_some(all, ORION_KERNEL_F32, from, 0, left);
    v16 high = load_some(all, ORION_KERNEL_F32, from, 16, left < 16 ? 0 : left - 16);
    _mm512_storeu_si512(to + v * 16, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
}

// One step, 16 vectors by 32 k, of which the first n and `depth` are there: in A a vector's words lie side by side, in B
// those of all vectors.
BF16 INLINE void pack_step_of(bool all, uint8_t *to, const vectors *s, bool left, size_t n, size_t depth) {
  _Alignas(64) uint32_t words[16 * 16];
  const vectors own = *s;  // which nothing that is written here may change
  const bool across = s->type == ORION_KERNEL_F16 || s->vector == 1, turned = across == left;
  uint32_t *first = turned ? words : (uint32_t *)(void *)to;
  if (across) words_across(all, first, &own, n, depth);
  else words_along(all, first, &own, n, depth);
  if (turned) transpose_16((float *)(void *)to, 16, (const float *)(const void *)words, 16);
}
BF16 static void pack_step(uint8_t *to, const vectors *s, bool left, size_t n, size_t depth) {
  if (n >= 16 && depth >= 32) pack_step_of(true, to, s, left, 16, 32);
  else pack_step_of(false, to, s, left, n < 16 ? n : 16, depth < 32 ? depth : 32);
}

// The lines [from, to) of what sixteen vectors are packed from: there are `depth`, of either orientation.
INLINE void fetch_vectors(const vectors *s, size_t from, size_t to) {
  const bool across = s->type == ORION_KERNEL_F16 || s->vector == 1;
  for (size_t i = from; i < to; i++) __builtin_prefetch(across ? vectors_at(s, 0, i).data : vectors_at(s, i % 16, i / 16 * 16).data, 0, 2);
}

static void pack_left(uint8_t *to, orion_matrix a, size_t row, size_t rows, size_t k, size_t depth) {
  const size_t steps = (depth + 31) / 32;
  for (size_t i = 0; i < rows; i += 16) {
    for (size_t s = 0; s < steps; s++) {
      vectors from = left_vectors(a, row + i, k + s * 32);
      pack_step(to + (i / 32 * steps + s) * 2 * STEP_BYTES + i % 32 / 16 * STEP_BYTES, &from, true, rows - i, depth - s * 32);
    }
  }
}
static void pack_right(uint8_t *to, const right_factor *b, size_t j, size_t cols, size_t k, size_t depth) {
  for (size_t s = 0; s * 32 < depth; s++) {
    vectors from = right_vectors(b, j, k + s * 32);
    pack_step(to + s * STEP_BYTES, &from, false, cols, depth - s * 32);
  }
}

// Rows of C, packed, by columns [n0, n1); K from k on.
static void rows_by_bf16(plane_fn run, float *c, size_t c_stride, const right_factor *b, size_t rows, size_t n0, size_t n1, size_t k,
                         size_t depth, bool resume, bf16_scratch *s) {
  const size_t steps = (depth + 31) / 32, turns = (rows + 31) / 32, share = (depth + turns - 1) / turns;
  for (size_t j = n0; j < n1; j += 32) {
    const size_t width = n1 - j < 32 ? n1 - j : 32;
    for (size_t x = 0; x < width; x += 16) pack_right(s->b + x / 16 * steps * STEP_BYTES, b, j + x, width - x, k, depth);
    for (size_t i = 0; i < rows; i += 32) {
      const size_t height = rows - i < 32 ? rows - i : 32, from = i / 32 * share;
      for (size_t x = j + 32; x < j + 64 && x + 16 <= n1; x += 16) {
        vectors next = right_vectors(b, x, k);
        fetch_vectors(&next, from, from + share < depth ? from + share : depth);
      }
      plane_work w = {s->a + i / 32 * steps * 2 * STEP_BYTES, {s->b, s->b + steps * STEP_BYTES}, steps, 1, 1, height > 16, width > 16,
                      resume, c + i * c_stride + j, c_stride};
      run_edge(run, w, height, width, s->edge);
    }
  }
}

static void product_by_bf16(plane_fn run, float *c, size_t c_stride, orion_matrix a, const right_factor *b, size_t m, size_t n0,
                            size_t n1, size_t k, bool add, bf16_scratch *s) {
  const size_t tall = orion_even_part(m, BF16_ROWS, 32);
  for (size_t i = 0; !k && !add && i < m; i++) map_fill(c + i * c_stride + n0, NULL, NULL, n1 - n0, 0.0f, 0.0f);
  for (size_t i = 0; i < m; i += tall) {
    const size_t rows = m - i < tall ? m - i : tall;
    for (size_t k0 = 0; k0 < k; k0 += BF16_DEPTH) {
      const size_t depth = k - k0 < BF16_DEPTH ? k - k0 : BF16_DEPTH;
      pack_left(s->a, a, i, rows, k0, depth);
      rows_by_bf16(run, c + i * c_stride, c_stride, b, rows, n0, n1, k0, depth, add || k0 > 0, s);
    }
  }
}

static void matmul_by_bf16(plane_fn run, float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k,
                           bool add, void *scratch) {
  right_factor right = {.matrix = b};
  product_by_bf16(run, c, c_stride, a, &right, m, 0, n, k, add, scratch);
}

static void linear_by_bf16(plane_fn run, float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows,
                           const orion_panels *w, const float *bias, size_t p0, size_t p1, void *scratch) {
  right_factor right = {.panels = w};
  const size_t n0 = p0 * 16, n1 = p1 * 16 < w->rows ? p1 * 16 : w->rows;
  product_by_bf16(run, y, y_stride, (orion_matrix){x, x_stride, 1}, &right, rows, n0, n1, w->cols, false, scratch);
  if (bias) add_bias(y, y_stride, rows, bias, n0, n1);
}

#endif
#endif
