// Matrix products of many rows on AMX: tiles of 16 x 16 fp32 sums, to which one instruction adds the products of 16 x 32 by
// 32 x 16 bf16 elements. Include after body_matmul.h, in the AVX-512 level only.
//
// A float is split into planes, bf16 each: what rounding to bf16 leaves is split again, so that three planes hold a float
// and two a half, exactly. Of the products of planes p and q those with p + q <= 2 are added, smallest first: all there are
// of two halves, whose product is thus exact; of two floats the rest is below 2^-23 of the product. Planes that hold
// nothing but zeros are left out, which changes no bit: halves cost four instructions, bf16 one. `fast` keeps one plane.
//
// An element is one chain over k from 0 up: over blocks of TILE_DEPTH, over steps of 32, over products of planes. Its bits
// depend neither on the other rows and columns nor on how a caller cuts them. The tiles read subnormals as zero. They make
// NaN of infinity times an empty plane, so that a block that holds an infinity, a NaN or what rounds to one goes to the
// AVX-512 kernel instead.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_TILES_H
#define ORION_DEVICE_CPU_KERNELS_BODY_TILES_H

#if defined(__has_include)
#if __has_include(<amxtileintrin.h>)
#define HAVE_TILES
#endif
#endif

#ifdef HAVE_TILES
#define TILES __attribute__((target("amx-tile,amx-bf16")))

enum {
  TILE_BYTES = 1024,   // 16 rows of 64 bytes
  TILE_DEPTH = 128,    // K of a block
  TILE_STEPS = TILE_DEPTH / 32,
  TILE_PLANES = 3,
  TILE_HEIGHT = 32,    // rows of A that are split at once: their planes stay in the first cache
  TILE_COLS = 512,     // columns of B that are split at once: theirs stay in the second
};
// One operand's planes: of rows of A two tiles a step, of a panel of B one.
enum { A_PLANE = TILE_STEPS * 2 * TILE_BYTES, B_PLANE = TILE_STEPS * TILE_BYTES, B_PANEL = TILE_PLANES * B_PLANE };

typedef struct tile_scratch {
  uint8_t b[TILE_COLS / 16 * B_PANEL];
  uint8_t a[TILE_PLANES * A_PLANE];
  float rows[TILE_HEIGHT * PACKED_ROW];  // of A, side by side
  float panel[TILE_DEPTH * 16];          // of B
  float edge[4 * 16 * 16];               // sums of tiles that reach past C
  uint8_t other[ORION_MATMUL_SCRATCH];   // of the kernel for blocks that are not finite
} tile_scratch;
_Static_assert(sizeof(tile_scratch) <= ORION_MATMUL_MANY_SCRATCH, "scratch");

// What has been seen of an operand's elements, OR or maximum over lanes.
typedef struct tile_seen {
  v16i largest;  // bits without the sign
  v16i plane[TILE_PLANES];
} tile_seen;
typedef struct tile_kind {
  bool finite;  // and stays so when rounded
  int planes;   // that are not all zeros; at least one
} tile_kind;

INLINE tile_kind kind_of(const tile_seen *seen, bool fast) {
  bool second = m16_any(i16_nonzero(seen->plane[1])), third = m16_any(i16_nonzero(seen->plane[2]));
  return (tile_kind){_mm512_reduce_max_epu32(seen->largest) < 0x7f7f8000u, fast ? 1 : third ? 3 : second ? 2 : 1};
}

// Rounds to bf16, halves away from zero: the upper half of the bits, the lower one zero.
INLINE v16i upper_half(v16 x) { return i16_and(i16_add(v16_bits(x), i16_set(0x8000)), i16_set(-0x10000)); }

INLINE void split(v16 x, v16i plane[TILE_PLANES], tile_seen *seen) {
  seen->largest = _mm512_max_epu32(seen->largest, i16_and(v16_bits(x), i16_set(0x7fffffff)));
#pragma GCC unroll 3
  for (int p = 0; p < TILE_PLANES; p++) {
    plane[p] = upper_half(x);
    x = v16_sub(x, v16_of(plane[p]));
    seen->plane[p] = i16_or(seen->plane[p], i16_add(plane[p], plane[p]));  // zero of either sign is nothing
  }
}

// rows [height][PACKED_ROW], zeros from column `depth` on to the end of its step, as planes of two tiles.
static tile_kind split_rows(uint8_t *to, const float *rows, size_t height, size_t steps, bool fast) {
  static const uint16_t upper[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                     33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  const v16i order = _mm512_loadu_si512(upper);  // the upper halves of two vectors
  tile_seen seen = {0};
  for (size_t r = 0; r < TILE_HEIGHT; r++) {
    for (size_t s = 0; s < steps; s++) {
      v16i low[TILE_PLANES] = {0}, high[TILE_PLANES] = {0};
      if (r < height) {
        split(v16_load(rows + r * PACKED_ROW + s * 32), low, &seen);
        split(v16_load(rows + r * PACKED_ROW + s * 32 + 16), high, &seen);
      }
      for (int p = 0; p < TILE_PLANES; p++) {
        _mm512_storeu_si512(to + (size_t)p * A_PLANE + s * 2 * TILE_BYTES + r * 64,
                            _mm512_permutex2var_epi16(low[p], order, high[p]));
      }
    }
  }
  return kind_of(&seen, fast);
}

// A panel [depth][16] as planes of tiles whose rows hold two k of every column, side by side.
static tile_kind split_panel(uint8_t *to, const float *panel, size_t depth, size_t steps, bool fast) {
  tile_seen seen = {0};
  for (size_t k = 0; k < steps * 32; k += 2) {
    v16i even[TILE_PLANES] = {0}, odd[TILE_PLANES] = {0};
    if (k < depth) split(v16_load(panel + k * 16), even, &seen);
    if (k + 1 < depth) split(v16_load(panel + k * 16 + 16), odd, &seen);
    for (int p = 0; p < TILE_PLANES; p++) {
      _mm512_storeu_si512(to + (size_t)p * B_PLANE + k * 32, i16_or(_mm512_srli_epi32(even[p], 16), odd[p]));
    }
  }
  return kind_of(&seen, fast);
}

// ---- tiles ----

// gcc's intrinsics do not tell the compiler what memory the tiles read: before they do, it must have been written.
#define BARRIER() __asm__ volatile("" : : : "memory")

// Sums in tiles 0 to 3 (C of one row of tiles, then of the other), A in 4 and 5, B in 6 and 7.
TILES static void configure_tiles(void) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config = {.palette = 1};
  for (int t = 0; t < 8; t++) {
    config.row_bytes[t] = 64;
    config.rows[t] = 16;
  }
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

typedef struct tile_work {
  const uint8_t *a, *b[2];
  size_t steps;
  int a_planes, b_planes;
  bool tall, wide, resume;  // a second tile of rows, of columns; start from what C holds
  float *c;
  size_t stride;            // elements
} tile_work;

TILES static void run_tiles(const tile_work *w) {
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
    for (int sum = TILE_PLANES - 1; sum >= 0; sum--) {
      for (int p = 0; p <= sum; p++) {
        int q = sum - p;
        if (p >= w->a_planes || q >= w->b_planes) continue;
        const uint8_t *a = w->a + (size_t)p * A_PLANE + s * 2 * TILE_BYTES;
        size_t at = (size_t)q * B_PLANE + s * TILE_BYTES;
        _tile_loadd(4, a, 64);
        _tile_loadd(6, w->b[0] + at, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (w->wide) {
          _tile_loadd(7, w->b[1] + at, 64);
          _tile_dpbf16ps(1, 4, 7);
        }
        if (w->tall) {
          _tile_loadd(5, a + TILE_BYTES, 64);
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

TILES static void release_tiles(void) { _tile_release(); }

// The same for `height` rows by `width` columns of C, which may be less than the tiles.
static void run_edge(tile_work w, size_t height, size_t width, float *edge) {
  size_t tall = w.tall ? 32 : 16, wide = w.wide ? 32 : 16;
  if (height == tall && width == wide) {
    run_tiles(&w);
    return;
  }
  float *c = w.c;
  size_t stride = w.stride;
  w.c = edge;
  w.stride = wide;
  if (w.resume) memset(edge, 0, tall * wide * sizeof *edge);
  for (size_t r = 0; w.resume && r < height; r++) memcpy(edge + r * wide, c + r * stride, width * sizeof *c);
  run_tiles(&w);
  for (size_t r = 0; r < height; r++) memcpy(c + r * stride, edge + r * wide, width * sizeof *c);
}

// ---- blocks ----

// The right factor: a matrix, or packed weights.
typedef struct tile_right {
  orion_matrix matrix;
  const orion_panels *panels;  // NULL: the matrix
} tile_right;

// Rows [k, k + depth) of the 16 columns from j on, as [depth][16]; columns past n are zero.
static const float *right_panel(const tile_right *b, size_t j, size_t n, size_t k, size_t depth, float *room) {
  if (!b->panels) {
    const float *from = b->matrix.data + k * b->matrix.row + j * b->matrix.col;
    widen_panel(room, ORION_KERNEL_F32, from, b->matrix.col, b->matrix.row, n - j < 16 ? n - j : 16, depth);
    return room;
  }
  const void *from = element_at(b->panels->type, b->panels->data, (j / 16 * b->panels->cols + k) * 16);
  if (b->panels->type == ORION_KERNEL_F32) return from;
  half_to_float(room, from, depth * 16);
  return room;
}

// A block of C, by AVX-512: what the tiles cannot do.
static void block_not_finite(float *c, size_t c_stride, orion_matrix a, const tile_right *b, size_t j0, size_t j1,
                             size_t n, size_t m, size_t k0, size_t depth, bool resume, tile_scratch *s) {
  a.data += k0 * a.col;
  for (size_t j = j0; j < j1; j += 16) {
    orion_matrix panel = {right_panel(b, j, n, k0, depth, s->panel), 16, 1};
    matmul_many(c + j, c_stride, a, panel, m, j1 - j < 16 ? j1 - j : 16, depth, resume, (float *)(void *)s->other);
  }
}

// Rows of A against columns [j0, j1) of B, whose planes are there; K from k0 to k0 + depth.
static void rows_by_tiles(float *c, size_t c_stride, orion_matrix a, const tile_right *b, const tile_kind *kinds,
                          size_t j0, size_t j1, size_t n, size_t m, size_t k0, size_t depth, bool resume, bool fast,
                          tile_scratch *s) {
  size_t steps = (depth + 31) / 32;
  for (size_t i = 0; i < m; i += TILE_HEIGHT) {
    size_t height = m - i < TILE_HEIGHT ? m - i : TILE_HEIGHT;
    orion_matrix rows = {a.data + i * a.row, a.row, a.col}, part = rows;
    part.data += k0 * a.col;
    matmul_pack_rows(s->rows, part, height, depth);
    for (size_t r = 0; depth % 32 && r < height; r++) {
      memset(s->rows + r * PACKED_ROW + depth, 0, (steps * 32 - depth) * sizeof *s->rows);
    }
    tile_kind kind = split_rows(s->a, s->rows, height, steps, fast);
    for (size_t j = j0, width; j < j1; j += width) {
      width = j1 - j < 32 ? j1 - j : 32;
      const tile_kind *right = kinds + (j - j0) / 16;
      const uint8_t *planes = s->b + (j - j0) / 16 * B_PANEL;
      bool wide = width > 16;
      if (!kind.finite || !right[0].finite || (wide && !right[1].finite)) {
        block_not_finite(c + i * c_stride, c_stride, rows, b, j, j + width, n, height, k0, depth, resume, s);
        continue;
      }
      int most = wide && right[1].planes > right[0].planes ? right[1].planes : right[0].planes;
      tile_work w = {s->a, {planes, planes + B_PANEL}, steps, kind.planes, most, height > 16, wide, resume,
                     c + i * c_stride + j, c_stride};
      run_edge(w, height, width, s->edge);
    }
  }
}

static void product_by_tiles(float *c, size_t c_stride, orion_matrix a, const tile_right *b, size_t m, size_t n, size_t n0,
                             size_t n1, size_t k, bool add, bool fast, tile_scratch *s) {
  tile_kind kinds[TILE_COLS / 16];
  for (size_t i = 0; !k && !add && i < m; i++) map_fill(c + i * c_stride + n0, NULL, NULL, n1 - n0, 0.0f, 0.0f);
  configure_tiles();
  for (size_t j0 = n0; j0 < n1; j0 += TILE_COLS) {
    size_t j1 = n1 - j0 < TILE_COLS ? n1 : j0 + TILE_COLS;
    for (size_t k0 = 0; k0 < k; k0 += TILE_DEPTH) {
      size_t depth = k - k0 < TILE_DEPTH ? k - k0 : TILE_DEPTH;
      for (size_t j = j0; j < j1; j += 16) {
        kinds[(j - j0) / 16] = split_panel(s->b + (j - j0) / 16 * B_PANEL, right_panel(b, j, n, k0, depth, s->panel), depth,
                                           (depth + 31) / 32, fast);
      }
      rows_by_tiles(c, c_stride, a, b, kinds, j0, j1, n, m, k0, depth, add || k0 > 0, fast, s);
    }
  }
  release_tiles();
}

// ---- the table's entries ----

static void matmul_by_tiles(float *c, size_t c_stride, orion_matrix a, orion_matrix b, size_t m, size_t n, size_t k,
                            bool add, bool fast, void *scratch) {
  tile_right right = {.matrix = b};
  product_by_tiles(c, c_stride, a, &right, m, n, 0, n, k, add, fast, scratch);
}

static void linear_by_tiles(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows,
                            const orion_panels *w, const float *bias, size_t p0, size_t p1, bool fast, void *scratch) {
  tile_right right = {.panels = w};
  size_t n0 = p0 * 16, n1 = p1 * 16 < w->rows ? p1 * 16 : w->rows;
  orion_matrix a = {x, x_stride, 1};
  product_by_tiles(y, y_stride, a, &right, rows, w->rows, n0, n1, w->cols, false, fast, scratch);
  for (size_t r = 0; bias && r < rows; r++) {
    float *to = y + r * y_stride;
    for (size_t j = n0; j < n1; j += 16) {
      size_t lanes = n1 - j < 16 ? n1 - j : 16;
      store_lanes(to + j, v16_add(load_lanes(to + j, lanes), load_lanes(bias + j, lanes)), lanes);
    }
  }
}

static void install_tiles(orion_kernels *k) {
  k->level = "amx";
  k->matmul_many = matmul_by_tiles;
  k->linear_many = linear_by_tiles;
}
#else
static void install_tiles(orion_kernels *k) {}
#endif
#endif
