// Products of two rounded rows and more by I8MM, with the bits of body_rounded.h: one instruction adds the products of two
// rows and two outputs over eight k, exactly. Include after that, in the NEON level with I8MM only.
//
// Sums stay such squares of two rows by two outputs, as floats too, until they are stored. A piece of a panel is first laid
// out as the instruction wants it, eight k of an output behind those of its neighbour, and integers of four bits become
// bytes without their 8; all rows use it while it stays in the first cache. A tile is up to four rows by half a panel,
// whose sums in integers, of a group, and over groups fill 24 of the 32 registers.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_ROUNDED_SQUARES_H
#define ORION_DEVICE_CPU_KERNELS_BODY_ROUNDED_SQUARES_H

enum {
  SQUARES_ROWS = 4,   // of a tile
  SQUARES_COLS = 4,   // of a tile, in pairs of outputs: half a panel
  SQUARES_HALF = 256,   // bytes of a block of half a panel: four times eight k of four pairs
  SQUARES_DEPTH = 32,   // blocks of a piece
};
_Static_assert(SQUARES_DEPTH * 2 * SQUARES_HALF <= ORION_ROUNDED_SCRATCH, "scratch");

// Some blocks of a few rows and of half a panel.
typedef struct squares_in {
  const uint8_t *x;         // the first row
  rounded_shape shape;
  size_t first, blocks;     // of the row
  const uint8_t *w;         // the first block, 2 * SQUARES_HALF from block to block
  const orion_half *scale;  // 16 a group
  size_t in_group;          // blocks of a group
} squares_in;

// Eight k of each output, of two words of four or one of eight, as pairs of outputs.
INLINE void lay_pairs(uint8_t *to, v16i first, v16i second) {
  const int32x4_t a[4] = {first.a, first.b, first.c, first.d}, b[4] = {second.a, second.b, second.c, second.d};
UNROLL(4)
  for (int i = 0; i < 4; i++) {
    int32_t *pair = (int32_t *)(void *)(to + i / 2 * SQUARES_HALF + i % 2 * 32);
    vst1q_s32(pair, vzip1q_s32(a[i], b[i]));
    vst1q_s32(pair + 4, vzip2q_s32(a[i], b[i]));
  }
}
INLINE v16i nibbles_less_8(v16i word) {
  const int8x16_t low = vdupq_n_s8(15), eight = vdupq_n_s8(8);
#define LESS(w) vreinterpretq_s32_s8(vsubq_s8(vandq_s8(vreinterpretq_s8_s32(w), low), eight))
  return (v16i){LESS(word.a), LESS(word.b), LESS(word.c), LESS(word.d)};
#undef LESS
}
static void lay_out_blocks(uint8_t *to, const uint8_t *from, orion_kernel_type type, size_t blocks) {
  for (size_t i = 0; i < blocks * 4; i++) {
    uint8_t *at = to + i / 4 * 2 * SQUARES_HALF + i % 4 * 64;
    if (type == ORION_KERNEL_I8) {
      lay_pairs(at, load_words(from + i * 128), load_words(from + i * 128 + 64));
    } else {
      v16i word = load_words_plus_8(from + i * 64);
      lay_pairs(at, nibbles_less_8(word), nibbles_less_8(i16_sra(word, 4)));
    }
  }
}

// ---- a tile: P pairs of rows, a constant at every call ----

// What y holds, as squares, of `lanes` outputs; the others are zero.
INLINE void load_squares(const size_t P, float32x4_t *square, const float *y, size_t stride, size_t lanes) {
  for (size_t r = 0; r < 2 * P; r++, y += stride) {
    float row[2 * SQUARES_COLS] = {0};
    memcpy(row, y, lanes * sizeof *y);
UNROLL(4)
    for (size_t c = 0; c < SQUARES_COLS; c++) {
      float32x4_t *to = &square[r / 2 * SQUARES_COLS + c];
      float32x2_t two = vld1_f32(row + 2 * c);
      *to = r % 2 ? vcombine_f32(vget_low_f32(*to), two) : vcombine_f32(two, two);
    }
  }
}
// The same back, with the bias on top.
INLINE void store_squares(const size_t P, const float32x4_t *square, float *y, size_t stride, size_t lanes, const float *bias) {
  float plus[2 * SQUARES_COLS] = {0};
  if (bias) memcpy(plus, bias, lanes * sizeof *bias);
  for (size_t r = 0; r < 2 * P; r++, y += stride) {
    float row[2 * SQUARES_COLS];
UNROLL(4)
    for (size_t c = 0; c < SQUARES_COLS; c++) {
      float32x4_t from = square[r / 2 * SQUARES_COLS + c];
      float32x2_t two = r % 2 ? vget_high_f32(from) : vget_low_f32(from);
      vst1_f32(row + 2 * c, bias ? vadd_f32(two, vld1_f32(plus + 2 * c)) : two);
    }
    memcpy(y, row, lanes * sizeof *y);
  }
}

// Whole sums of one block.
INLINE void multiply_block(const size_t P, int32x4_t *whole, const int8_t *x, size_t row, const uint8_t *w) {
UNROLL(8)
  for (size_t i = 0; i < P * SQUARES_COLS; i++) whole[i] = vdupq_n_s32(0);
UNROLL(2)
  for (size_t k = 0; k < 2; k++) {  // sixteen of the block's elements
    int8x16_t left[2][2];
UNROLL(2)
    for (size_t p = 0; p < P; p++) {
      int64x2_t even = vreinterpretq_s64_s8(vld1q_s8(x + 2 * p * row + k * 16));
      int64x2_t odd = vreinterpretq_s64_s8(vld1q_s8(x + (2 * p + 1) * row + k * 16));
      left[0][p] = vreinterpretq_s8_s64(vzip1q_s64(even, odd));
      left[1][p] = vreinterpretq_s8_s64(vzip2q_s64(even, odd));
    }
UNROLL(2)
    for (size_t h = 0; h < 2; h++) {
UNROLL(4)
      for (size_t c = 0; c < SQUARES_COLS; c++) {
        int8x16_t right = vld1q_s8((const int8_t *)w + (k * 2 + h) * 64 + c * 16);
UNROLL(2)
        for (size_t p = 0; p < P; p++) {
          int32x4_t *sum = &whole[p * SQUARES_COLS + c];
          *sum = vmmlaq_s32(*sum, left[h][p], right);
        }
      }
    }
  }
}

// total += sum * scale, for a group's eight scales; the sums begin anew.
INLINE void end_group(const size_t P, float32x4_t *total, float32x4_t *sum, const orion_half *scale) {
UNROLL(4)
  for (size_t c = 0; c < SQUARES_COLS; c++) {
    float32x4_t four = f4_load_half(scale + c / 2 * 4);
    float32x2_t two = c % 2 ? vget_high_f32(four) : vget_low_f32(four);
UNROLL(2)
    for (size_t p = 0; p < P; p++) {
      size_t i = p * SQUARES_COLS + c;
      total[i] = vaddq_f32(total[i], vmulq_f32(sum[i], vcombine_f32(two, two)));
      sum[i] = vdupq_n_f32(0.0f);
    }
  }
}

// y holds what the blocks before came to: totals or, within the only group, its sums.
INLINE void tile_squares(const size_t P, const squares_in *in, float *y, size_t stride, size_t lanes, const float *bias) {
  float32x4_t held[2 * SQUARES_COLS], total[2 * SQUARES_COLS], sum[2 * SQUARES_COLS];
  int32x4_t whole[2 * SQUARES_COLS];
  const size_t row = in->shape.row;
  const orion_half *scale = in->scale;
  size_t done = in->first % in->in_group;
UNROLL(8)
  for (size_t i = 0; i < P * SQUARES_COLS; i++) held[i] = total[i] = sum[i] = vdupq_n_f32(0.0f);
  if (in->first) load_squares(P, held, y, stride, lanes);
UNROLL(8)
  for (size_t i = 0; i < P * SQUARES_COLS; i++) {
    sum[i] = done ? held[i] : sum[i];
    total[i] = done ? total[i] : held[i];
  }
  for (size_t b = 0; b < in->blocks; b++) {
    const size_t at = in->first + b;
    multiply_block(P, whole, (const int8_t *)in->x + at * ORION_ROUNDED_BLOCK, row, in->w + b * 2 * SQUARES_HALF);
UNROLL(2)
    for (size_t p = 0; p < P; p++) {
      float32x2_t even = vdup_n_f32(scale_at(in->x + 2 * p * row, in->shape, at));
      float32x4_t scales = vcombine_f32(even, vdup_n_f32(scale_at(in->x + (2 * p + 1) * row, in->shape, at)));
UNROLL(4)
      for (size_t i = p * SQUARES_COLS; i < (p + 1) * SQUARES_COLS; i++) {
        sum[i] = vaddq_f32(sum[i], vmulq_f32(vcvtq_f32_s32(whole[i]), scales));
      }
    }
    if (++done < in->in_group) continue;
    end_group(P, total, sum, scale);
    scale += 16;
    done = 0;
  }
UNROLL(8)
  for (size_t i = 0; i < P * SQUARES_COLS; i++) held[i] = done ? sum[i] : total[i];
  store_squares(P, held, y, stride, lanes, bias);
}
static void tile_two_rows(const squares_in *in, float *y, size_t stride, size_t lanes, const float *bias) {
  tile_squares(1, in, y, stride, lanes, bias);
}
static void tile_four_rows(const squares_in *in, float *y, size_t stride, size_t lanes, const float *bias) {
  tile_squares(2, in, y, stride, lanes, bias);
}

// An even number of rows against one panel, of which blocks [first, first + n) lie in `laid`: whole groups, or a part of
// the only one.
static void rows_by_squares(float *y, size_t y_stride, const uint8_t *x, size_t rows, const orion_panels *w, const float *bias,
                            size_t p, size_t first, size_t n, const uint8_t *laid) {
  const size_t groups = w->cols / w->group, left = w->rows - p * 16;
  squares_in in = {.shape = rounded_shape_of(w), .first = first, .blocks = n, .in_group = w->group / ORION_ROUNDED_BLOCK};
  for (size_t r = 0, high; r < rows; r += high) {
    high = rows - r < SQUARES_ROWS ? 2 : SQUARES_ROWS;
    in.x = x + r * in.shape.row;
    for (size_t c = 0; c < 16 && c < left; c += 8) {
      in.w = laid + c / 8 * SQUARES_HALF;
      in.scale = w->scale + (p * groups + first / in.in_group) * 16 + c;
      (high == 2 ? tile_two_rows : tile_four_rows)(&in, y + r * y_stride + p * 16 + c, y_stride, left - c < 8 ? left - c : 8,
                                                   bias ? bias + p * 16 + c : NULL);
    }
  }
}

static void linear_rounded_squares(float *y, size_t y_stride, const void *x, size_t rows, const orion_panels *w,
                                   const float *bias, size_t p0, size_t p1, void *scratch) {
  const rounded_shape shape = rounded_shape_of(w);
  const size_t in_group = w->group / ORION_ROUNDED_BLOCK, bytes = orion_quantised_panel_bytes(w->type, w->cols, w->group);
  const size_t even = w->group % ORION_ROUNDED_BLOCK ? 0 : rows / 2 * 2;
  const size_t block = orion_quantised_panel_bytes(w->type, ORION_ROUNDED_BLOCK, ORION_ROUNDED_BLOCK);
  const size_t depth = !even || in_group > SQUARES_DEPTH ? SQUARES_DEPTH : SQUARES_DEPTH / in_group * in_group;
  for (size_t p = p0; even && p < p1; p++) {
    for (size_t b = 0; b < shape.blocks; b += depth) {
      size_t n = shape.blocks - b < depth ? shape.blocks - b : depth;
      lay_out_blocks(scratch, (const uint8_t *)w->data + p * bytes + b * block, w->type, n);
      rows_by_squares(y, y_stride, x, even, w, b + n == shape.blocks ? bias : NULL, p, b, n, scratch);
    }
  }
  linear_rounded(y + even * y_stride, y_stride, (const uint8_t *)x + even * shape.row, rows - even, w, bias, p0, p1, scratch);
}

// The ceiling: chains in registers.
static float multiply_byte_squares(size_t n, double *out_ops) {
  enum { CHAINS = 12 };
  const int8x16_t one = vdupq_n_s8(1);
  int32x4_t sum[CHAINS];
  for (int c = 0; c < CHAINS; c++) sum[c] = vdupq_n_s32(c);
  for (size_t i = 0; i < n; i++) {
UNROLL(12)
    for (int c = 0; c < CHAINS; c++) sum[c] = vmmlaq_s32(sum[c], one, one);
  }
  for (int c = 1; c < CHAINS; c++) sum[0] = vaddq_s32(sum[0], sum[c]);
  *out_ops = 2.0 * 32 * CHAINS * (double)n;
  return (float)vaddvq_s32(sum[0]);
}

static void install_rounded_squares(orion_kernels *k) {
  k->linear_rounded = linear_rounded_squares;
  k->multiply_int8 = multiply_byte_squares;
}

#endif
