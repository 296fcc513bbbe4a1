// The compute kernels of the cpu device: pure functions over plain arrays. They know nothing of programs, allocate
// nothing, keep no state, start no threads, and never touch a byte outside the elements they are given.
//
// One table of function pointers per processor level. The portable level is installed first and is complete; a better
// level overwrites what it has. Every level computes 16 lanes at a time in the same order, so that all levels with a
// fused multiply-add give the same bits (kernels written by hand for one level excepted, which say so); the portable
// level rounds products separately where its target has no such instruction.
//
// Strides count elements. Results depend on shapes and values only, never on how a caller cuts the work: each output
// element is computed by one call, and sums over K run in an order fixed by K. Callers split over rows, columns or
// panels, never over K. Input and output may be the same array where a function says "in place"; else no overlap.
#ifndef ORION_DEVICE_CPU_KERNELS_KERNELS_H
#define ORION_DEVICE_CPU_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/half.h"
#include "device/cpu/kernels/map_ops.h"

// ---- Element types of stored weights and caches. Arithmetic is fp32 always. ----
typedef enum orion_kernel_type {
  ORION_KERNEL_F32,
  ORION_KERNEL_F16,
  ORION_KERNEL_I8,  // quantised weights, with scales
  ORION_KERNEL_I4,
} orion_kernel_type;

// Of F32 and F16.
static inline size_t orion_kernel_type_size(orion_kernel_type t) { return t == ORION_KERNEL_F32 ? 4 : 2; }

// ---- Packed weights ----
// W [N,K] is kept as panels of 16 rows: panel p holds W[16p + j][k] at ((p * K) + k) * 16 + j, and the rows past N in
// the last panel are zero. One layout for every level.
//
// Quantised: W[n][k] = q[n][k] * scale[n][k / group], group dividing K. In panel p
// groups come one after another; a 32-bit word holds neighbouring k of a row, the first in its lowest bits; each group
// starts a word of its own; word w of a group, of row 16p + j, is at w * 16 + j
//   I8  four k, as two's complement
//   I4  eight k, the same of four bits
// The scales, halves, are an array of their own: at (p * (K / group) + g) * 16 + j.
enum { ORION_PANEL_ROWS = 16 };

typedef struct orion_panels {
  const void *data;        // orion_panels_size bytes; 32-byte alignment is faster but not needed
  orion_kernel_type type;
  size_t rows, cols;       // N, K
  const orion_half *scale; // I8, I4: orion_panel_scales of them
  size_t group;            // I8, I4: K, or a divisor of it that is at most ORION_PANEL_GROUP
} orion_panels;

enum { ORION_PANEL_GROUP = 256 };

static inline size_t orion_panel_count(size_t rows) { return (rows + ORION_PANEL_ROWS - 1) / ORION_PANEL_ROWS; }
// The caller has checked that rows * cols * 4, with rows rounded up to 16, does not overflow.
static inline size_t orion_panels_size(orion_kernel_type type, size_t rows, size_t cols) {
  return orion_panel_count(rows) * ORION_PANEL_ROWS * cols * orion_kernel_type_size(type);
}
// The same of quantised weights. K > 0.
static inline size_t orion_quantised_panel_bytes(orion_kernel_type type, size_t cols, size_t group) {
  size_t in_word = type == ORION_KERNEL_I8 ? 4 : 8;
  return cols / group * ((group + in_word - 1) / in_word) * ORION_PANEL_ROWS * 4;
}
static inline size_t orion_panel_scales(size_t rows, size_t cols, size_t group) {
  return orion_panel_count(rows) * ORION_PANEL_ROWS * (cols / group);
}
// Packs rows [r0, r1), whole panels but for the matrix's last one, into quantised panels. q: row r0 on, one byte each;
// scale: halves [rows, K / group] from row r0 on. Different panels may be packed at once.
void orion_panels_pack_quantised(const orion_panels *to, const int8_t *q, const orion_half *scale, size_t r0,
                                 size_t r1);

// How large parts of n are, where they are to be nearly equal, at most `most` and whole units, as `most` is.
static inline size_t orion_even_part(size_t n, size_t most, size_t unit) {
  const size_t units = (n + unit - 1) / unit, parts = (n + most - 1) / most;
  return parts ? (units + parts - 1) / parts * unit : unit;
}

// ---- Activations packed for products of some rows or many ----
// Of a piece that begins at a multiple of ORION_STRIPS_UNIT rows, and has at most ORION_STRIPS_ROWS, to stay in the second
// cache. Columns are multiplied three panels at a time.
enum { ORION_STRIPS_UNIT = 8, ORION_STRIPS_ROWS = 256, ORION_STRIPS_PANELS = 3 };
enum { ORION_STRIPS_SCRATCH = 98560 };  // bytes, 64-byte alignment is faster but not needed
// Whether a product of so many rows is for linear_strips. Integers take longer to become floats than a few rows to multiply.
static inline bool orion_strips_pay(orion_kernel_type type, size_t rows, size_t cols) {
  return cols && rows >= (type == ORION_KERNEL_I8 || type == ORION_KERNEL_I4 ? 16 : 4);
}
// Floats that `rows` rows take; the caller has checked that it does not overflow.
static inline size_t orion_strips_size(size_t rows, size_t cols) {
  return (rows + ORION_STRIPS_UNIT - 1) / ORION_STRIPS_UNIT * ORION_STRIPS_UNIT * cols;
}

// ---- Activations rounded to integers, for products with quantised weights ----
// x[t, k] = q * scale with q in -127..127, one scale for each block: a group of the weights is cut into blocks of 32
// elements, its last one may be shorter. Where the processor multiplies bytes, sums over a block are exact in integers.
// A row takes, one after another,
//   q       32 bytes for each block, zero past its elements; for I4 every eight lie as 0 2 4 6 1 3 5 7, which is how a
//           word falls into bytes when masked
//   scale   one float each
//   excess  one int32 each: 8 times the sum of q, which is what I4 taken as q + 8 adds to a sum of products
enum { ORION_ROUNDED_BLOCK = 32 };
enum { ORION_ROUNDED_SCRATCH = 41984 };  // bytes, 64-byte alignment is faster but not needed
// Blocks of a row of K > 0 elements.
static inline size_t orion_rounded_blocks(size_t cols, size_t group) {
  return cols / group * ((group + ORION_ROUNDED_BLOCK - 1) / ORION_ROUNDED_BLOCK);
}
static inline size_t orion_rounded_row_bytes(size_t cols, size_t group) {
  return orion_rounded_blocks(cols, group) * (ORION_ROUNDED_BLOCK + sizeof(float) + sizeof(int32_t));
}

// ---- Attention ----
// A run of keys and values. Two of them let a cache and the new tokens be read without joining them first.
typedef struct orion_attention_segment {
  const void *k, *v;          // [count, E] and [count, Ev]
  size_t k_stride, v_stride;  // between rows
  size_t count;               // valid keys: a masked tail is left out here
  const float *mask;          // [L, count], added to the scaled scores; NULL for none
  size_t mask_stride;         // between rows of the mask; 0 when all rows share one
} orion_attention_segment;

// A row's bits do not depend on how many others are in the call, nor on keys hidden from it, as long as there are FEW at
// most. More go by blocks of ROWS.
enum { ORION_ATTENTION_FEW = 32, ORION_ATTENTION_ROWS = 64 };

typedef struct orion_attention {
  const float *q;             // [L, E]
  size_t q_stride;
  float *out;                 // [L, Ev]
  size_t out_stride;
  size_t rows, key_size, value_size;  // L, E, Ev
  float scale;
  orion_kernel_type type;     // of keys and values
  orion_attention_segment segment[2];  // the second is skipped when its count is 0
} orion_attention;

// ---- Plain matrix product of run-time operands: C [M,N] = A [M,K] * B [K,N] ----
// Element (i, j) of an operand is at i * row + j * col, so a transposed operand is the same call with swapped strides.
enum { ORION_MATMUL_SCRATCH = 1056768 };  // bytes, 64-byte alignment is faster but not needed
enum { ORION_MATMUL_MANY_SCRATCH = 1504256 };

typedef struct orion_matrix {
  const float *data;
  size_t row, col;
} orion_matrix;

// ---- Elementwise ----
#define ORION_MAP_ENUM(NAME, name, arity) ORION_MAP_##NAME,
typedef enum orion_map_op { ORION_MAP_OPS(ORION_MAP_ENUM) ORION_MAP_COUNT } orion_map_op;
#undef ORION_MAP_ENUM

const char *orion_map_name(orion_map_op op);
int orion_map_arity(orion_map_op op);  // arrays read: 0, 1 or 2

// dst[i] = op(a[i], b[i]; p, q) for i < n. In place: dst may be a or b. Operands an op does not read may be NULL.
typedef void (*orion_map_fn)(float *dst, const float *a, const float *b, size_t n, float p, float q);

// ---- Reductions ----
typedef enum orion_reduce_op {
  ORION_REDUCE_SUM,
  ORION_REDUCE_SUM_SQUARE,
  ORION_REDUCE_SUM_ABS,
  ORION_REDUCE_PROD,
  ORION_REDUCE_MAX,  // NaN if there is one, as min
  ORION_REDUCE_MIN,
  ORION_REDUCE_COUNT
} orion_reduce_op;

// Of n = 0 elements: 0 for the sums, 1 for the product, -inf for max, +inf for min.
typedef float (*orion_reduce_fn)(const float *x, size_t n);
// dst[c] over r of x[r * stride + c], for c < cols.
typedef void (*orion_reduce_rows_fn)(float *dst, const float *x, size_t stride, size_t rows, size_t cols);

typedef struct orion_kernels {
  const char *level;  // "portable", "avx2", "avx512", "amx", "neon"

  // y[t, n] = sum_k x[t, k] W[n, k] + bias[n] for t < rows and the n of panels [p0, p1). x and y are row-major with the
  // given strides; bias may be NULL. A row's result does not depend on how many rows there are. Quantised weights: each
  // group's sum of x q is a chain of its own, times its scale it is added to the sum of the groups, in order.
  void (*linear)(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows, const orion_panels *w,
                 const float *bias, size_t p0, size_t p1);
  // The same, to the bit, where orion_strips_pay: for rows [t0, t1) of those that pack_rows has packed, all of them, for a w of
  // that type, cols and group; pack_rows may be called for pieces too. y is row t0. `scratch` is ORION_STRIPS_SCRATCH bytes.
  void (*linear_strips)(float *y, size_t y_stride, const float *strips, size_t rows, size_t t0, size_t t1,
                        const orion_panels *w, const float *bias, size_t p0, size_t p1, void *scratch);
  void (*pack_rows)(float *dst, const float *x, size_t x_stride, size_t rows, const orion_panels *w, size_t t0, size_t t1);
  // The same over rounded rows, which lie one behind another at `x`: for each block the exact sum of integers, times its
  // scale; the sum of these over a group, times the weights' scale; the sum of that over the groups, in order. Every
  // product and sum of floats is rounded by itself, so all levels give the same bits, portable ones included.
  // `scratch` is ORION_ROUNDED_SCRATCH bytes.
  void (*linear_rounded)(float *y, size_t y_stride, const void *x, size_t rows, const orion_panels *w, const float *bias,
                         size_t p0, size_t p1, void *scratch);
  // Rounds rows of x for a product with w, of which only type, cols and group are read: scale is a 127th of the block's
  // largest magnitude, halves go to even. A block with a NaN or an infinity makes NaN of every sum that it enters.
  void (*round_rows)(void *dst, const float *x, size_t x_stride, size_t rows, const orion_panels *w);
  // C[m, n] = sum_k A[m, k] B[k, n], or C[m, n] += that where `add` is set: the chain of an element then starts from what
  // it holds. C is row-major with a stride. `scratch` is ORION_MATMUL_SCRATCH bytes, in which blocks of A and B are packed.
  void (*matmul)(float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k, bool add,
                 void *scratch);
  // The two again, of weights that are not quantised, where the level has instructions for products of bf16; else NULL.
  // Meant for many rows: orion_many_pays says when. A caller asks for the whole product's sizes, since bits differ from
  // those of the two above. They depend neither on other rows and columns nor on the cut here either, as long as everything
  // is finite. The products of two halves are exact, of two floats to within 2^-23 of their size, and sums are fp32; numbers
  // below fp32's normal range count as zero. `fast` rounds both operands to bf16 first; where many_exact is not set, it is
  // always done so. `scratch` is ORION_MATMUL_MANY_SCRATCH bytes.
  void (*linear_many)(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows, const orion_panels *w,
                      const float *bias, size_t p0, size_t p1, bool fast, void *scratch);
  void (*matmul_many)(float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k, bool add,
                      bool fast, void *scratch);
  bool many_exact;  // without `fast` as well
  // out = softmax(scale * q k^T + mask) v for one head. A row whose every score is -inf gives NaN. Rows of a group that
  // share keys may be given as one call (mask_stride 0), which reads the keys once.
  void (*attention)(const orion_attention *a);

  orion_map_fn map[ORION_MAP_COUNT];
  // dst[i] = cond[i] != 0 ? a[i] : b[i]. In place with any of the three.
  void (*select)(float *dst, const float *cond, const float *a, const float *b, size_t n);

  orion_reduce_fn reduce[ORION_REDUCE_COUNT];
  orion_reduce_rows_fn reduce_rows[ORION_REDUCE_COUNT];
  float (*dot)(const float *a, const float *b, size_t n);
  size_t (*argmax)(const float *x, size_t n);  // first of the largest; NaN counts as largest; 0 when n is 0
  // Rows, in place. gamma and beta may be NULL. Variance is the mean square distance from the mean, in a second pass.
  void (*softmax)(float *dst, const float *x, size_t n);
  void (*layer_norm)(float *dst, const float *x, const float *gamma, const float *beta, float eps, size_t n);
  void (*rms_norm)(float *dst, const float *x, const float *gamma, float eps, size_t n);

  // Conversions, round to nearest even. int32 conversion from float truncates and saturates, NaN to 0.
  void (*half_to_float)(float *dst, const orion_half *src, size_t n);
  void (*float_to_half)(orion_half *dst, const float *src, size_t n);
  void (*bf16_to_float)(float *dst, const orion_bf16 *src, size_t n);
  void (*int_to_float)(float *dst, const int32_t *src, size_t n);  // in place
  void (*float_to_int)(int32_t *dst, const float *src, size_t n);  // in place

  // dst[c * dst_stride + r] = src[r * src_stride + c] for r < rows, c < cols.
  void (*transpose_f32)(float *dst, size_t dst_stride, const float *src, size_t src_stride, size_t rows, size_t cols);
  void (*transpose_f16)(orion_half *dst, size_t dst_stride, const orion_half *src, size_t src_stride, size_t rows,
                        size_t cols);
  // dst[i * dst_step] = src[i * src_step]
  void (*copy_f32)(float *dst, size_t dst_step, const float *src, size_t src_step, size_t n);
  void (*copy_f16)(orion_half *dst, size_t dst_step, const orion_half *src, size_t src_step, size_t n);

  // Packs the block of W with rows [r0, r1) and columns [c0, c1) into the panels `dst` of a [rows, cols] matrix. `src`
  // is element (r0, c0), element (r, c) is src_row and src_col away: swap them for weights stored as [K,N]. Blocks may
  // come in any order, and at once from several threads; the zero rows are written with row rows - 1.
  void (*pack)(void *dst, orion_kernel_type type, size_t rows, size_t cols, const void *src, orion_kernel_type src_type,
               size_t src_row, size_t src_col, size_t r0, size_t r1, size_t c0, size_t c1);
  // One row of W out of its panels (F32, F16): an embedding table shared with the classifier is stored once.
  void (*unpack_row)(float *dst, const orion_panels *w, size_t row);

  // Ceilings, to measure the others by. Reads a block (rounded down to 1 KiB), aligned to 4 bytes; the result says
  // whether any bit was set. n rounds of x = x * two[0] + two[1] in registers, counting the operations.
  int32_t (*read_bytes)(const void *data, size_t bytes);
  float (*multiply_add)(const float *two, size_t n, double *out_flops);
  // The same where the level has instructions for products of bf16, and of bytes; else NULL.
  float (*multiply_bf16)(size_t n, double *out_flops);
  float (*multiply_int8)(size_t n, double *out_ops);
} orion_kernels;

// Whether a product [m, k] * [k, n] is for linear_many and matmul_many.
enum { ORION_MANY_LEAST = 32 };
static inline bool orion_many_pays(const orion_kernels *kernels, size_t m, size_t n, size_t k, bool fast) {
  return kernels->linear_many && (fast || kernels->many_exact) && m >= ORION_MANY_LEAST && n >= ORION_MANY_LEAST &&
         k >= ORION_MANY_LEAST;
}

// Fills the table with the best level that `cpu_features` (bits of base/cpu.h, lowered by the caller at will) allows
// and this library was built with.
void orion_kernels_init(orion_kernels *k, uint32_t cpu_features);

#endif
