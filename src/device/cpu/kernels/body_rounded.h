// Products of rounded activations with quantised weights, of one level: bytes meet bytes, and sums over a block are
// integers. Include after body_lanes.h.
//
// A lane is an output, so that nothing is ever added across lanes; four bytes of activations are spread over all of
// them. A tile is four panels by one row, which are streamed as those of body_product.h, or one panel by up to four rows,
// which share the work of taking its words apart. The weights' words are read from the first cache by all tiles but a
// panel's first.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_ROUNDED_H
#define ORION_DEVICE_CPU_KERNELS_BODY_ROUNDED_H

#include <float.h>

enum {
  ROUNDED_TILE = 4,      // rows * panels of a tile
  WORDS_AT_ONCE = W4_ABOVE ? 8 : 1,
};

// Where the parts of rounded rows lie.
typedef struct rounded_shape {
  size_t blocks;  // of a row
  size_t row;     // bytes from row to row
} rounded_shape;
INLINE rounded_shape rounded_shape_of(const orion_panels *w) {
  return (rounded_shape){orion_rounded_blocks(w->cols, w->group), orion_rounded_row_bytes(w->cols, w->group)};
}
INLINE float scale_at(const uint8_t *row, rounded_shape s, size_t block) {
  float x;
  memcpy(&x, row + s.blocks * ORION_ROUNDED_BLOCK + block * sizeof x, sizeof x);
  return x;
}
INLINE int32_t excess_at(const uint8_t *row, rounded_shape s, size_t block) {
  int32_t x;
  memcpy(&x, row + s.blocks * (ORION_ROUNDED_BLOCK + sizeof(float)) + block * sizeof x, sizeof x);
  return x;
}

// ---- rounding ----

// One block of n elements; returns its scale.
static float round_block(int8_t *q, const float *x, size_t n, bool nibbles, int32_t *out_sum) {
  float f[ORION_ROUNDED_BLOCK] = {0}, r[ORION_ROUNDED_BLOCK];
  memcpy(f, x, n * sizeof *x);
  float most = 0.0f;
  for (int i = 0; i < ORION_ROUNDED_BLOCK; i++) {
    float m = fabsf(f[i]);
    most = m > most ? m : most;
  }
  bool finite = true;
  for (int i = 0; i < ORION_ROUNDED_BLOCK; i++) finite = finite && fabsf(f[i]) <= FLT_MAX;
  float scale = most * (1.0f / 127.0f), inverse = 127.0f / most;
  if (!finite) scale = NAN;
  if (!finite || most < 1e-30f) inverse = 0.0f;  // so small that a 127th, or the inverse, may not be a normal number
  if (finite && most < 1e-30f) scale = 0.0f;
  for (int i = 0; i < ORION_ROUNDED_BLOCK; i += 16) {
    v16_store(r + i, v16_round(v16_mul(v16_load(f + i), v16_set(inverse))));
  }
  int32_t sum = 0;
  int8_t whole[ORION_ROUNDED_BLOCK];
  for (int i = 0; i < ORION_ROUNDED_BLOCK; i++) {
    int32_t v = finite ? (int32_t)r[i] : 0;
    whole[i] = (int8_t)v;
    sum += v;
  }
  if (nibbles) {
    for (int i = 0; i < ORION_ROUNDED_BLOCK; i += 8) {
      for (int k = 0; k < 8; k++) q[i + k] = whole[i + (k * 2) % 8 + k / 4];
    }
  } else {
    memcpy(q, whole, sizeof whole);
  }
  *out_sum = sum;
  return scale;
}

static void round_rows(void *dst, const float *x, size_t x_stride, size_t rows, const orion_panels *w) {
  const rounded_shape s = rounded_shape_of(w);
  for (size_t r = 0; r < rows; r++) {
    uint8_t *row = (uint8_t *)dst + r * s.row;
    const float *from = x + r * x_stride;
    size_t left = w->group;  // of the group
    for (size_t b = 0; b < s.blocks; b++) {
      size_t n = left < ORION_ROUNDED_BLOCK ? left : ORION_ROUNDED_BLOCK;
      int32_t sum;
      float scale = round_block((int8_t *)row + b * ORION_ROUNDED_BLOCK, from, n, w->type == ORION_KERNEL_I4, &sum);
      sum *= 8;
      memcpy(row + s.blocks * ORION_ROUNDED_BLOCK + b * sizeof scale, &scale, sizeof scale);
      memcpy(row + s.blocks * (ORION_ROUNDED_BLOCK + sizeof scale) + b * sizeof sum, &sum, sizeof sum);
      from += n;
      left = left == n ? w->group : left - n;
    }
  }
}

// ---- products ----

typedef struct rounded_in {
  const uint8_t *x;  // the first of the tile's rows
  rounded_shape shape;
  const uint8_t *w;  // the panel
  const orion_half *scale;
  size_t panel, panel_scale, apart;  // from panel to panel of a tile: bytes, halves, floats of y
  size_t group, groups;
} rounded_in;

// Sums of one block, of R rows by C panels (constants at every call): `words` of a panel from w on, q of the first row.
INLINE void sum_block_i8(const int R, const int C, v16i *sum, const rounded_in *in, const uint8_t *w, const int8_t *q,
                         size_t words) {
UNROLL(4)
  for (int i = 0; i < R * C; i++) sum[i] = i16_set(0);
UNROLL(WORDS_AT_ONCE)
  for (size_t i = 0; i < words; i++) {
UNROLL(4)
    for (int c = 0; c < C; c++) {
      v16i word = w4_of(load_words(w + (size_t)c * in->panel + i * 64));
UNROLL(4)
      for (int r = 0; r < R; r++) {
        sum[r * C + c] = i16_dot4(sum[r * C + c], word, x4_load(q + (size_t)r * in->shape.row + i * 4));
      }
    }
  }
}
INLINE void sum_block_i4(const int R, const int C, v16i *sum, const rounded_in *in, const uint8_t *w, const int8_t *q,
                         size_t words) {
  const v16i low = i16_set(0x0F0F0F0F);
  p16 pairs[ROUNDED_TILE];
UNROLL(4)
  for (int i = 0; i < R * C; i++) pairs[i] = p16_zero();
UNROLL(WORDS_AT_ONCE)
  for (size_t i = 0; i < words; i++) {
UNROLL(4)
    for (int c = 0; c < C; c++) {
      v16i word = load_words_plus_8(w + (size_t)c * in->panel + i * 64);
      v16i even = i16_and(word, low), odd = i16_and(i16_sra(word, 4), low);
UNROLL(4)
      for (int r = 0; r < R; r++) {
        const int8_t *eight = q + (size_t)r * in->shape.row + i * 8;
        pairs[r * C + c] = p16_dot4(p16_dot4(pairs[r * C + c], even, x4_load(eight)), odd, x4_load(eight + 4));
      }
    }
  }
UNROLL(4)
  for (int i = 0; i < R * C; i++) sum[i] = p16_sum(pairs[i]);
}

// A block's sum of row r as a float, with the row's scale.
INLINE v16 scaled_block(orion_kernel_type type, v16i whole, const rounded_in *in, int r, size_t block) {
  const uint8_t *row = in->x + (size_t)r * in->shape.row;
  const int above = type == ORION_KERNEL_I4 ? 8 : W4_ABOVE;  // what every weight counted for beyond itself
  if (above) whole = i16_sub(whole, i16_set(excess_at(row, in->shape, block) * (above / 8)));
  return v16_mul(i16_to_float(whole), v16_set(scale_at(row, in->shape, block)));
}

// R, C and type are constants at every call. Groups of one whole block (`single`), and of several, do the same arithmetic.
INLINE void tile_rounded(const int R, const int C, orion_kernel_type type, bool single, const rounded_in *in,
                         const tile_out *out) {
  const size_t words = type == ORION_KERNEL_I8 ? ORION_ROUNDED_BLOCK / 4 : ORION_ROUNDED_BLOCK / 8;
  const size_t blocks = single ? 1 : in->group / ORION_ROUNDED_BLOCK;
  const uint8_t *w = in->w;
  const int8_t *q = (const int8_t *)in->x;
  v16 total[ROUNDED_TILE], sum[ROUNDED_TILE];
  v16i whole[ROUNDED_TILE];
UNROLL(4)
  for (int i = 0; i < R * C; i++) total[i] = v16_zero();
  for (size_t g = 0, block = 0; g < in->groups; g++) {
UNROLL(4)
    for (int i = 0; i < R * C; i++) sum[i] = v16_zero();
    for (size_t b = 0; b < blocks; b++, block++, w += words * 64, q += ORION_ROUNDED_BLOCK) {
      if (type == ORION_KERNEL_I8) sum_block_i8(R, C, whole, in, w, q, words);
      else sum_block_i4(R, C, whole, in, w, q, words);
UNROLL(4)
      for (int i = 0; i < R * C; i++) {
        v16 scaled = scaled_block(type, whole[i], in, i / C, block);
        sum[i] = single ? scaled : v16_add(sum[i], scaled);
      }
    }
UNROLL(4)
    for (int i = 0; i < R * C; i++) {
      v16 scale = v16_load_half(in->scale + (size_t)(i % C) * in->panel_scale + g * 16);
      total[i] = v16_add(total[i], v16_mul(sum[i], scale));
    }
  }
UNROLL(4)
  for (int i = 0; i < R * C; i++) {
    size_t lanes = i % C == C - 1 ? out->last : 16;
    if (out->bias) total[i] = v16_add(total[i], load_lanes(out->bias + (size_t)(i % C) * in->apart, lanes));
    store_lanes(out->y + (size_t)(i / C) * out->stride + (size_t)(i % C) * in->apart, total[i], lanes);
  }
}

// One row, where groups do not come out in whole blocks.
static void tile_uneven(orion_kernel_type type, const rounded_in *in, const tile_out *out) {
  const size_t per_word = type == ORION_KERNEL_I8 ? 4 : 8, most = ORION_ROUNDED_BLOCK / per_word;
  const uint8_t *w = in->w;
  v16 total = v16_zero();
  for (size_t g = 0, block = 0; g < in->groups; g++) {
    v16 sum = v16_zero();
    for (size_t left = (in->group + per_word - 1) / per_word, words; left; left -= words, block++) {
      const int8_t *q = (const int8_t *)in->x + block * ORION_ROUNDED_BLOCK;
      v16i whole;
      words = left < most ? left : most;
      if (type == ORION_KERNEL_I8) sum_block_i8(1, 1, &whole, in, w, q, words);
      else sum_block_i4(1, 1, &whole, in, w, q, words);
      sum = v16_add(sum, scaled_block(type, whole, in, 0, block));
      w += words * 64;
    }
    total = v16_add(total, v16_mul(sum, v16_load_half(in->scale + g * 16)));
  }
  if (out->bias) total = v16_add(total, load_lanes(out->bias, out->last));
  store_lanes(out->y, total, out->last);
}

INLINE void tiles_rounded(size_t rows, size_t panels, orion_kernel_type type, bool single, const rounded_in *in,
                          const tile_out *out) {
  if (panels == 4) tile_rounded(1, 4, type, single, in, out);
  else switch (rows) {
    case 1: tile_rounded(1, 1, type, single, in, out); break;
    case 2: tile_rounded(2, 1, type, single, in, out); break;
    case 3: tile_rounded(3, 1, type, single, in, out); break;
    default: tile_rounded(4, 1, type, single, in, out); break;
  }
}
static void tiles_rounded_i8(size_t rows, size_t panels, const rounded_in *in, const tile_out *out) {
  tiles_rounded(rows, panels, ORION_KERNEL_I8, false, in, out);
}
static void tiles_rounded_i4(size_t rows, size_t panels, const rounded_in *in, const tile_out *out) {
  if (in->group == ORION_ROUNDED_BLOCK) tiles_rounded(rows, panels, ORION_KERNEL_I4, true, in, out);
  else tiles_rounded(rows, panels, ORION_KERNEL_I4, false, in, out);
}

static void linear_rounded(float *y, size_t y_stride, const void *x, size_t rows, const orion_panels *w,
                           const float *bias, size_t p0, size_t p1, void *scratch) {
  size_t groups = w->cols / w->group, bytes = orion_quantised_panel_bytes(w->type, w->cols, w->group);
  rounded_in in = {.shape = rounded_shape_of(w), .group = w->group, .groups = groups};
  const bool whole = w->group % ORION_ROUNDED_BLOCK == 0;
  const size_t height = whole ? ROUNDED_TILE : 1, wide = rows == 1 && whole ? ROUNDED_TILE : 1;
  const size_t apart = panels_apart(p1 - p0, wide);
  in.panel = apart * bytes;
  in.panel_scale = apart * groups * 16;
  in.apart = apart * 16;
  for (size_t i = 0; i < p1 - p0; i = next_panel(i, apart, wide)) {
    const size_t p = p0 + i, panels = i < apart ? wide : 1, left = w->rows - (p + (panels - 1) * apart) * 16;
    in.w = (const uint8_t *)w->data + p * bytes;
    in.scale = w->scale + p * groups * 16;
    for (size_t r = 0; r < rows; r += height) {
      size_t n = rows - r < height ? rows - r : height;
      tile_out out = {y + r * y_stride + p * 16, y_stride, left < 16 ? left : 16, bias ? bias + p * 16 : NULL, false};
      in.x = (const uint8_t *)x + r * in.shape.row;
      if (!whole) tile_uneven(w->type, &in, &out);
      else (w->type == ORION_KERNEL_I8 ? tiles_rounded_i8 : tiles_rounded_i4)(n, panels, &in, &out);
    }
  }
}

static void install_rounded(orion_kernels *k) {
  k->round_rows = round_rows;
  k->linear_rounded = linear_rounded;
}

#endif
