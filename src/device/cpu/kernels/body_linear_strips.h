// Products of four rows or more with packed weights (speculation, several users, prompts): rows are packed once into strips
// (body_strips.h), which all columns share. Few rows meet floats and halves where they lie, three panels of 16 at a time, as
// three registers' columns of each; halves are widened in registers, which costs next to nothing on Zen 3. Of many rows, and of
// integers, three panels are first made 48 / PANEL_COLS panels of floats for a block of K, which take less of the first cache.
//
// While a block is multiplied the next is asked for, a little with every few k of every tile, so that memory works evenly. Few
// rows are bound by both, and would take the sum of both times else. Sums and their order are those of body_product.h and
// body_quantised.h. Include after body_quantised.h and body_strips.h.
//
// Strips of all rows lie block by block of K, so that what a piece of rows reads of a block is one run of memory:
// element (t, k) of block b is at b * depth * rows + t / STRIP_ROWS * STRIP_ROWS * depth + (k - b * depth) * STRIP_ROWS +
// t % STRIP_ROWS, with rows rounded up to whole strips, and the last block as deep as it is.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_LINEAR_STRIPS_H
#define ORION_DEVICE_CPU_KERNELS_BODY_LINEAR_STRIPS_H

enum {
  TRIO = 3, TRIO_COLS = TRIO * 16, VECS_OF_16 = 16 / VEC_LANES,
  STRETCH_ROWS = 192,  // by BLOCK_K, 192 KB of activations; fewer rows may be as much deeper
  WIDEN_ROWS = 64,     // from here on floats and halves are widened too
};
_Static_assert(TRIO_COLS % PANEL_COLS == 0 && ORION_STRIPS_UNIT % STRIP_ROWS == 0, "three panels are whole ones here");
_Static_assert(sizeof(float) * (2 * TRIO_COLS * BLOCK_K + TRIO_COLS) <= ORION_STRIPS_SCRATCH, "scratch");

// A block of K holds whole groups, or part of the only one.
static size_t strips_depth(const orion_panels *w) {
  bool groups = (w->type == ORION_KERNEL_I8 || w->type == ORION_KERNEL_I4) && w->group <= BLOCK_K;
  return groups ? BLOCK_K / w->group * w->group : BLOCK_K;
}
static size_t whole_strips(size_t rows) { return (rows + STRIP_ROWS - 1) / STRIP_ROWS * STRIP_ROWS; }

static void pack_rows(float *dst, const float *x, size_t x_stride, size_t rows, const orion_panels *w, size_t t0, size_t t1) {
  const size_t K = w->cols, most = strips_depth(w);
  for (size_t k = 0; k < K; k += most) {
    size_t depth = K - k < most ? K - k : most;
    pack_strips(dst + k * whole_strips(rows) + t0 * depth, x + t0 * x_stride + k, x_stride, 1, t1 - t0, depth);
  }
}

// ---- three panels of weights as floats ----

// Where the registers of panel p of the three go: element k of each is k * PANEL_COLS further on.
typedef struct trio_out { float *part[VECS_OF_16]; } trio_out;

INLINE trio_out trio_part(float *panels, size_t p, size_t depth) {
  trio_out out;
  for (size_t i = 0; i < VECS_OF_16; i++) {
    size_t v = p * VECS_OF_16 + i;
    out.part[i] = panels + v / TILE_VECS * PANEL_COLS * depth + v % TILE_VECS * VEC_LANES;
  }
  return out;
}

INLINE void put(trio_out *out, size_t k, v16 x) {
  const vec parts[] = V16_VECS(x);
UNROLL(4)
  for (size_t i = 0; i < VECS_OF_16; i++) vec_store(out->part[i] + k * PANEL_COLS, parts[i]);
}

INLINE void put_plain(trio_out out, orion_kernel_type type, const void *from, size_t depth) {
  for (size_t k = 0; k < depth; k++) put(&out, k, v16_load_as(type, from, k * 16));
}
INLINE void put_words(trio_out out, orion_kernel_type type, const uint8_t *from, size_t k, size_t n) {
  const size_t step = in_word(type);
  for (; n >= step; n -= step, from += 64, k += step) {
    v16i words = load_words(from);
UNROLL(8)
    for (int i = 0; i < (int)step; i++) put(&out, k + (size_t)i, element(type, words, i));
  }
  for (size_t i = 0; i < n; i++) put(&out, k + i, element_any(type, load_words(from), i));
}

typedef struct trio {
  float panels[TRIO_COLS * BLOCK_K];
  float scales[TRIO_COLS * BLOCK_K];  // of a panel's groups PANEL_COLS each
  float bias[TRIO_COLS];
} trio;

// Bytes from the start of a panel to element k, which begins a block.
static size_t panel_offset(const orion_panels *w, size_t k) {
  if (w->type != ORION_KERNEL_I8 && w->type != ORION_KERNEL_I4) return k * 16 * orion_kernel_type_size(w->type);
  return k ? orion_quantised_panel_bytes(w->type, k, w->group <= BLOCK_K ? w->group : BLOCK_K) : 0;
}
static size_t panel_bytes(const orion_panels *w) {
  if (w->type != ORION_KERNEL_I8 && w->type != ORION_KERNEL_I4) return panel_offset(w, w->cols);
  return orion_quantised_panel_bytes(w->type, w->cols, w->group);
}

// Panel p of the matrix as panel i of the three: elements [k, k + depth).
static void widen_one(trio *to, size_t i, const orion_panels *w, size_t p, size_t k, size_t depth) {
  trio_out out = trio_part(to->panels, i, depth);
  const uint8_t *from = (const uint8_t *)w->data + p * panel_bytes(w) + panel_offset(w, k);
  if (w->type == ORION_KERNEL_F32) {
    put_plain(out, ORION_KERNEL_F32, from, depth);
    return;
  }
  if (w->type == ORION_KERNEL_F16) {
    put_plain(out, ORION_KERNEL_F16, from, depth);
    return;
  }
  const bool part = w->group > BLOCK_K;
  const size_t group = part ? depth : w->group, groups = depth / group;
  const size_t bytes = orion_quantised_panel_bytes(w->type, group, group);
  trio_out scales = trio_part(to->scales, i, groups);
  const orion_half *scale = w->scale + (p * (w->cols / w->group) + k / w->group) * 16;
  for (size_t g = 0; g < groups; g++, from += bytes) {
    if (w->type == ORION_KERNEL_I8) put_words(out, ORION_KERNEL_I8, from, g * group, group);
    else put_words(out, ORION_KERNEL_I4, from, g * group, group);
    put(&scales, g, v16_mul(v16_load_half(scale + g * 16), v16_set(down_of(w->type))));
  }
}

// ---- products ----

// Weights that are floats or halves meet few rows where they lie, so that nothing is written on the way.
static void strip_of_f32(float *c, size_t c_stride, const strip_in *in) {
  strip_chain(STRIP_ROWS, ORION_KERNEL_F32, 16, c, c_stride, in);
}
static void half_of_f32(float *c, size_t c_stride, const strip_in *in) {
  strip_chain(STRIP_ROWS / 2, ORION_KERNEL_F32, 16, c, c_stride, in);
}
static void strip_of_f16(float *c, size_t c_stride, const strip_in *in) {
  strip_chain(STRIP_ROWS, ORION_KERNEL_F16, 16, c, c_stride, in);
}
static void half_of_f16(float *c, size_t c_stride, const strip_in *in) {
  strip_chain(STRIP_ROWS / 2, ORION_KERNEL_F16, 16, c, c_stride, in);
}

// A block: elements [k, k + depth) of three panels from p on, or as many as are left.
typedef struct trio_block { size_t p, count, k, depth; } trio_block;

// What one call multiplies, block by block: the activations of `stretch` elements of K stay in the second cache, where the
// panels come one after another.
typedef struct strips_work {
  const orion_panels *w;
  size_t p0, p1, most, stretch;
  const float *strips, *bias;  // strips: row t0 of the first block
  size_t strips_rows, t0, rows;
  float *y;
  size_t y_stride;
} strips_work;

static trio_block block_at(const strips_work *s, size_t p, size_t k) {
  const size_t left = s->w->cols - k, panels = s->p1 - p;
  return (trio_block){p, panels < TRIO ? panels : TRIO, k, left < s->most ? left : s->most};
}
// The block after b; its depth is 0 if there is none.
static trio_block block_after(const strips_work *s, const trio_block *b) {
  const size_t k0 = b->k / s->stretch * s->stretch, end = b->k + b->depth;
  if (end < s->w->cols && end < k0 + s->stretch) return block_at(s, b->p, end);
  if (b->p + TRIO < s->p1) return block_at(s, b->p + TRIO, k0);
  return end < s->w->cols ? block_at(s, s->p0, end) : (trio_block){0};
}

// Asking for the weights of a block, in so many tiles of so many turns.
static strip_ahead ahead_of_trio(const orion_panels *w, const trio_block *b, size_t tiles, size_t turns) {
  if (!b->depth || !turns) return (strip_ahead){.every = SIZE_MAX};
  const size_t bytes = panel_bytes(w), from = panel_offset(w, b->k);
  const size_t run = (b->k + b->depth < w->cols ? panel_offset(w, b->k + b->depth) : bytes) - from, lines = (run + 63) / 64;
  const size_t all = tiles * turns, every = all > lines ? all / lines : 1;
  return (strip_ahead){(const char *)w->data + b->p * bytes + from, bytes, every, (lines + all - 1) / all, run / tiles};
}

// All rows against one block.
static void strips_by_trio(const strips_work *s, const trio_block *b, const trio_block *next, trio *room) {
  const orion_panels *w = s->w;
  const bool quantised = w->type == ORION_KERNEL_I8 || w->type == ORION_KERNEL_I4, totals = quantised && w->group <= BLOCK_K;
  const bool last = b->k + b->depth == w->cols, halves = w->type == ORION_KERNEL_F16;
  const bool direct = !quantised && b->count == TRIO && s->rows < WIDEN_ROWS;
  const size_t n0 = b->p * 16, cols = w->rows - n0 < b->count * 16 ? w->rows - n0 : b->count * 16;
  const size_t group = totals ? w->group : b->depth, strips = (s->rows + STRIP_ROWS - 1) / STRIP_ROWS;
  strip_tile *whole = totals ? strip_of_groups : strip_of_panel, *half = NULL;
  if (direct) whole = halves ? strip_of_f16 : strip_of_f32;
  if (direct) half = halves ? half_of_f16 : half_of_f32;
  if (!direct && b->count < TRIO) memset(room->panels, 0, sizeof room->panels);
  for (size_t i = 0; !direct && i < b->count; i++) widen_one(room, i, w, b->p + i, b->k, b->depth);
  if (s->bias && last) memcpy(room->bias, s->bias + n0, cols * sizeof *s->bias);
  strip_in in = {.strip = s->strips + b->k * s->strips_rows + s->t0 * b->depth, .group = group, .groups = b->depth / group,
                 .resume = b->k > 0};
  in.ahead = ahead_of_trio(w, next, strips * ((cols + PANEL_COLS - 1) / PANEL_COLS), in.groups * (group / ASK_UNIT));
  for (size_t j = 0; j < cols; j += PANEL_COLS) {
    for (size_t v = 0; direct && v < TILE_VECS; v++) {
      const size_t n = j + v * VEC_LANES;
      in.from[v] = element_at(w->type, w->data, ((b->p + n / 16) * w->cols + b->k) * 16 + n % 16);
    }
    if (!direct) strip_from_panel(&in, room->panels + j * b->depth);
    if (s->bias && last) in.bias = room->bias + j;
    if (quantised && (totals || last)) in.scale = room->scales + j * in.groups;
    strips_by_columns(whole, half, s->y + n0 + j, s->y_stride, in, s->rows, cols - j < PANEL_COLS ? cols - j : PANEL_COLS, NULL);
    in.ahead.at += strips * in.ahead.share;
  }
}

static void linear_strips(float *y, size_t y_stride, const float *strips, size_t rows, size_t t0, size_t t1,
                          const orion_panels *w, const float *bias, size_t p0, size_t p1, void *scratch) {
  if (t0 >= t1 || p0 >= p1 || !w->cols) return;
  const size_t most = strips_depth(w), stretch = STRETCH_ROWS * BLOCK_K / (t1 - t0) / most * most;
  const strips_work s = {w, p0, p1, most, stretch ? stretch : most, strips, bias, whole_strips(rows), t0, t1 - t0, y, y_stride};
  for (trio_block b = block_at(&s, p0, 0), next; b.depth; b = next) {
    next = block_after(&s, &b);
    strips_by_trio(&s, &b, &next, scratch);
  }
}

static void install_strips(orion_kernels *k) {
  k->pack_rows = pack_rows;
  k->linear_strips = linear_strips;
}

#endif
