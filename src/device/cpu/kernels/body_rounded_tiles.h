// Products of many rounded rows on AMX, with the bits of body_rounded.h: one instruction adds the products of 16 rows of a
// block by the block's 16 outputs, exactly. Include after that, in the AVX-512 level with VNNI only.
//
// A panel's bytes lie as a tile wants its right factor, four k of all outputs in a row of 64 bytes. Integers of four bits
// become bytes first, once for all rows; they lose their 8 on the way, so that nothing is to be taken off the sums.
//
// Every block has scales of its own, hence its sums must become floats before the next block's can be added. That is what
// bounds these kernels: counted, not timed, 16 times convert, multiply and add on two ports are 24 cycles a block (with a
// scale of the weights for each block, 32), beside 16 of the matrix unit, which a block fills to half. It makes 340 products
// a cycle (256), where VNNI comes to 68 (62). The sums of four blocks come out of the tiles while those of the four before
// are converted, so that neither unit waits for the other.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_ROUNDED_TILES_H
#define ORION_DEVICE_CPU_KERNELS_BODY_ROUNDED_TILES_H

#include "device/cpu/kernels/tiles_amx.h"

#ifdef HAVE_TILES
enum {
  TILES_ROWS = 16,   // fewer rows, or what is left of them, go to the kernel below
  TILES_BLOCK = 512,       // bytes of a block of a panel
  TILES_BATCH = 4,         // blocks in the tiles at once
  TILES_DEPTH = 32,        // blocks of a panel that are used while they stay in the first cache
  TILES_HEIGHT = 128,      // rows whose scales are turned over at once
};

typedef struct rounded_scratch {
  uint8_t panel[TILES_DEPTH * TILES_BLOCK];
  int32_t sums[2][TILES_BATCH][16 * 16];
  float total[16 * 16];
  float scale[TILES_HEIGHT / 16][TILES_DEPTH * 16];
} rounded_scratch;
_Static_assert(sizeof(rounded_scratch) <= ORION_ROUNDED_SCRATCH, "scratch");

// Some blocks of 16 rows and of one panel.
typedef struct rounded_tile {
  const uint8_t *x;         // the first row's bytes
  size_t row;               // from row to row
  const uint8_t *w;         // bytes of the panel
  const float *row_scale;   // 16 a block
  const orion_half *scale;  // 16 a group
  size_t blocks, in_group;  // blocks in a group
  bool begun;               // y holds what the blocks before came to: totals or, of a single group, its sums
  size_t done;              // blocks of that group
} rounded_tile;

// Up to four blocks from `first` on.
TILES INLINE void multiply_batch(int32_t (*sums)[16 * 16], const rounded_tile *in, size_t first) {
  const uint8_t *x = in->x + first * ORION_ROUNDED_BLOCK, *w = in->w + first * TILES_BLOCK;
  const size_t n = in->blocks - first;
  BARRIER();
#define MULTIPLY(i, left, right)                               \
  if (n > i) {                                                 \
    _tile_zero(i);                                             \
    _tile_loadd(left, x + (i) * ORION_ROUNDED_BLOCK, in->row); \
    _tile_loadd(right, w + (i) * TILES_BLOCK, 64);              \
    _tile_dpbssd(i, left, right);                              \
  }
  MULTIPLY(0, 4, 6)
  MULTIPLY(1, 5, 7)
  MULTIPLY(2, 4, 6)
  MULTIPLY(3, 5, 7)
#undef MULTIPLY
  _tile_stored(0, sums[0], 64);
  if (n > 1) _tile_stored(1, sums[1], 64);
  if (n > 2) _tile_stored(2, sums[2], 64);
  if (n > 3) _tile_stored(3, sums[3], 64);
  BARRIER();
}

// `single`, a constant at every call: every block is a group. Then totals stay in registers, else sums of a group do.
TILES INLINE void multiply_tile(bool single, const rounded_tile *in, const tile_out *out, rounded_scratch *s) {
  v16 sum[16];
  const bool in_registers = single || in->done > 0;
  size_t done = in->done;
  const orion_half *scale = in->scale;
UNROLL(16)
  for (size_t r = 0; r < 16; r++) {
    v16 held = in->begun ? load_lanes(out->y + r * out->stride, out->last) : v16_zero();
    sum[r] = in_registers ? held : v16_zero();
    v16_store(s->total + r * 16, in_registers ? v16_zero() : held);
  }
  multiply_batch(s->sums[0], in, 0);
  for (size_t b = 0; b < in->blocks; b++) {
    size_t batch = b / TILES_BATCH;
    if (b % TILES_BATCH == 0 && b + TILES_BATCH < in->blocks) multiply_batch(s->sums[(batch + 1) % 2], in, b + TILES_BATCH);
    const int32_t *whole = s->sums[batch % 2][b % TILES_BATCH];
    const float *row_scale = in->row_scale + b * 16;
    v16 weight = single ? v16_load_half(scale + b * 16) : v16_zero();
UNROLL(16)
    for (size_t r = 0; r < 16; r++) {
      v16 scaled = v16_mul(i16_to_float(i16_load(whole + r * 16)), v16_set(row_scale[r]));
      sum[r] = v16_add(sum[r], single ? v16_mul(scaled, weight) : scaled);
    }
    if (single || ++done < in->in_group) continue;
    weight = v16_load_half(scale);
    scale += 16;
    done = 0;
UNROLL(16)
    for (size_t r = 0; r < 16; r++) {
      v16_store(s->total + r * 16, v16_add(v16_load(s->total + r * 16), v16_mul(sum[r], weight)));
      sum[r] = v16_zero();
    }
  }
UNROLL(16)
  for (size_t r = 0; r < 16; r++) {
    v16 y = single || done ? sum[r] : v16_load(s->total + r * 16);
    if (out->bias) y = v16_add(y, load_lanes(out->bias, out->last));
    store_lanes(out->y + r * out->stride, y, out->last);
  }
}
TILES static void multiply_tile_single(const rounded_tile *in, const tile_out *out, rounded_scratch *s) {
  multiply_tile(true, in, out, s);
}
TILES static void multiply_tile_groups(const rounded_tile *in, const tile_out *out, rounded_scratch *s) {
  multiply_tile(false, in, out, s);
}

// Words of eight integers as two of four bytes each, in the order in which the rows' bytes lie.
static void widen_blocks(uint8_t *to, const uint8_t *from, size_t blocks) {
  const v16i low = i16_set(0x0F0F0F0F), eight = i16_set(0x08080808);
  for (size_t i = 0; i < blocks * (ORION_ROUNDED_BLOCK / 8); i++, from += 64, to += 128) {
    v16i word = load_words_plus_8(from);
    _mm512_storeu_si512(to, _mm512_sub_epi8(i16_and(word, low), eight));
    _mm512_storeu_si512(to + 64, _mm512_sub_epi8(i16_and(i16_sra(word, 4), low), eight));
  }
}

// The scales of 16 rows, blocks [first, first + n), side by side for each block.
static void turn_scales(float *to, const uint8_t *x, rounded_shape shape, size_t first, size_t n) {
  const uint8_t *from = x + shape.blocks * ORION_ROUNDED_BLOCK + first * sizeof *to;
  size_t b = 0;
  for (; b + 16 <= n; b += 16) {
    transpose_16(to + b * 16, 16, (const float *)(const void *)(from + b * sizeof *to), shape.row / sizeof *to);
  }
  for (; b < n; b++) {
    for (size_t r = 0; r < 16; r++) to[b * 16 + r] = scale_at(x + r * shape.row, shape, first + b);
  }
}

// `rows` of x, a multiple of 16 and TILES_HEIGHT at most, by blocks [first, first + n), whole groups or a part of the only one.
static void blocks_by_tiles(float *y, size_t y_stride, const uint8_t *x, size_t rows, const orion_panels *w,
                            const float *bias, size_t p0, size_t p1, size_t first, size_t n, rounded_scratch *s) {
  const rounded_shape shape = rounded_shape_of(w);
  const size_t groups = w->cols / w->group, in_group = w->group / ORION_ROUNDED_BLOCK;
  const size_t bytes = orion_quantised_panel_bytes(w->type, w->cols, w->group);
  const bool bits4 = w->type == ORION_KERNEL_I4;
  for (size_t r = 0; r < rows; r += 16) turn_scales(s->scale[r / 16], x + r * shape.row, shape, first, n);
  for (size_t p = p0; p < p1; p++) {
    const uint8_t *from = (const uint8_t *)w->data + p * bytes + first * (bits4 ? TILES_BLOCK / 2 : TILES_BLOCK);
    if (bits4) widen_blocks(s->panel, from, n);
    rounded_tile in = {.row = shape.row, .w = bits4 ? s->panel : from, .scale = w->scale + (p * groups + first / in_group) * 16,
                       .blocks = n, .in_group = in_group, .begun = first > 0, .done = first % in_group};
    tile_out out = {NULL, y_stride, w->rows - p * 16 < 16 ? w->rows - p * 16 : 16,
                    bias && first + n == shape.blocks ? bias + p * 16 : NULL, false};
    for (size_t r = 0; r < rows; r += 16) {
      in.x = x + r * shape.row + first * ORION_ROUNDED_BLOCK;
      in.row_scale = s->scale[r / 16];
      out.y = y + r * y_stride + p * 16;
      (in_group == 1 ? multiply_tile_single : multiply_tile_groups)(&in, &out, s);
    }
  }
}

TILES static void linear_rounded_tiles(float *y, size_t y_stride, const void *x, size_t rows, const orion_panels *w,
                                       const float *bias, size_t p0, size_t p1, void *scratch) {
  const rounded_shape shape = rounded_shape_of(w);
  const size_t in_group = w->group / ORION_ROUNDED_BLOCK;
  const size_t whole = w->group % ORION_ROUNDED_BLOCK ? 0 : rows / TILES_ROWS * TILES_ROWS;
  if (whole) configure_tiles(ORION_ROUNDED_BLOCK);
  for (size_t r = 0; r < whole; r += TILES_HEIGHT) {
    size_t height = whole - r < TILES_HEIGHT ? whole - r : TILES_HEIGHT;
    size_t depth = in_group > TILES_DEPTH ? TILES_DEPTH : TILES_DEPTH / in_group * in_group;
    for (size_t b = 0; b < shape.blocks; b += depth) {
      size_t n = shape.blocks - b < depth ? shape.blocks - b : depth;
      blocks_by_tiles(y + r * y_stride, y_stride, (const uint8_t *)x + r * shape.row, height, w, bias, p0, p1, b, n, scratch);
    }
  }
  if (whole) release_tiles();
  linear_rounded(y + whole * y_stride, y_stride, (const uint8_t *)x + whole * shape.row, rows - whole, w, bias, p0, p1,
                 scratch);
}

// The ceiling: four tiles of sums, blocks of 64, without reading and writing.
TILES static float multiply_byte_tiles(size_t n, double *out_ops) {
  int32_t ones[16 * 16];
  for (size_t i = 0; i < 16 * 16; i++) ones[i] = 0x01010101;
  configure_tiles(64);
  fill_tiles(ones);
  for (size_t i = 0; i < n; i++) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(3, ones, 64);
  BARRIER();
  release_tiles();
  *out_ops = 2.0 * 4 * 16 * 16 * 64 * (double)n;
  return (float)ones[0];
}

static void install_rounded_tiles(orion_kernels *k) {
  k->linear_rounded = linear_rounded_tiles;
  k->multiply_int8 = multiply_byte_tiles;
}
#else
static void install_rounded_tiles(orion_kernels *k) {}
#endif
#endif
