// Running elementwise chains. Operands that lie in memory as floats in a row are used where they are; others are brought into
// the worker's tiles first. The last instruction writes into the output where that is floats in a row.
#include "device/cpu/chain.h"

// Where a row of every operand begins, in elements; the output comes last.
typedef struct places {
  int64_t at[ORION_CHAIN_OPERANDS + 1];
} places;

static places find_row(const orion_chain *c, size_t row) {
  places p;
  int outer = c->rank - 1;
  for (int i = 0; i < c->n_operands; i++) {
    const orion_chain_operand *o = &c->operands[i];
    p.at[i] = i == c->injected ? 0 : o->offset + orion_cpu_row_offset(outer, c->dims, o->strides, row);
  }
  p.at[ORION_CHAIN_OPERANDS] = c->out.offset + orion_cpu_row_offset(outer, c->dims, c->out.strides, row);
  return p;
}

// Rows of n floats, brought together or spread apart.
static void copy_rows(float *dst, size_t to, const float *src, int64_t from, size_t rows, size_t n) {
  for (size_t r = 0; r < rows; r++, dst += to, src += from) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) memcpy(dst + i, src + i, 8 * sizeof *dst);
    for (; i < n; i++) dst[i] = src[i];
  }
}

// A block of elements: `rows` rows, which follow each other in the dimension before the last, of n columns.
typedef struct block {
  size_t rows, n;
} block;

// The elements of an operand as floats in a row: where they lie, if they do, else brought into the tile.
static const float *load(const orion_cpu_exec *x, const orion_chain *c, const orion_chain_operand *o, int64_t at, block k,
                         float *tile) {
  int64_t stride = o->strides[c->rank - 1], next = c->rank > 1 ? o->strides[c->rank - 2] : 0;
  const void *base = x->base[o->buffer];
  if (o->dtype == ORION_FP32 && stride == 1) {
    const float *from = (const float *)base + at;
    if (k.rows == 1 || next == (int64_t)k.n) return from;
    copy_rows(tile, k.n, from, next, k.rows, k.n);
    return tile;
  }
  for (size_t r = 0; r < k.rows; r++, at += next) orion_cpu_load(x->k, tile + r * k.n, o->dtype, base, at, stride, k.n);
  return tile;
}

static void store(const orion_cpu_exec *x, const orion_chain *c, int64_t at, block k, const float *from) {
  const orion_chain_operand *o = &c->out;
  int64_t stride = o->strides[c->rank - 1], next = c->rank > 1 ? o->strides[c->rank - 2] : 0;
  if (o->dtype == ORION_FP32 && stride == 1 && next > 0) {
    copy_rows((float *)x->base[o->buffer] + at, (size_t)next, from, (int64_t)k.n, k.rows, k.n);
    return;
  }
  for (size_t r = 0; r < k.rows; r++, at += next) {
    orion_cpu_store(x->k, o->dtype, x->base[o->buffer], at, stride, from + r * k.n, k.n);
  }
}

// The block that begins at column `col` of the row at `p`.
static void run_block(const orion_cpu_exec *x, const orion_chain *c, const places *p, size_t col, block k,
                      const float *injected, float *scratch) {
  const float *reg[ORION_CHAIN_OPERANDS + ORION_CHAIN_TEMPS];
  int inner = c->rank - 1;
  for (int i = 0; i < c->n_operands; i++) {
    const orion_chain_operand *o = &c->operands[i];
    if (i == c->injected) reg[i] = injected;
    else reg[i] = load(x, c, o, p->at[i] + (int64_t)col * o->strides[inner], k, scratch + (size_t)i * ORION_CPU_TILE);
  }
  const orion_chain_operand *out = &c->out;
  int64_t out_at = p->at[ORION_CHAIN_OPERANDS] + (int64_t)col * out->strides[inner];
  bool direct = out->dtype == ORION_FP32 && out->strides[inner] == 1 &&
                (k.rows == 1 || out->strides[inner - 1] == (int64_t)k.n);
  float *direct_to = direct ? (float *)x->base[out->buffer] + out_at : NULL;
  size_t n = k.rows * k.n;
  for (int i = 0; i < c->n_instrs; i++) {
    const orion_chain_instr *in = &c->instrs[i];
    float *dst = direct && i == c->n_instrs - 1 ? direct_to : scratch + (size_t)in->dst * ORION_CPU_TILE;
    if (in->op == ORION_CHAIN_SELECT) {
      x->k->select(dst, reg[in->a], reg[in->b], reg[in->c], n);
    } else {
      x->k->map[in->op](dst, reg[in->a], reg[in->b], n, in->p, in->q);
    }
    reg[in->dst] = dst;
  }
  if (!direct || c->n_instrs == 0) store(x, c, out_at, k, reg[c->result]);
}

void orion_chain_span(const orion_cpu_exec *x, const orion_chain *c, size_t row, size_t col, size_t n,
                      const float *injected, float *scratch) {
  places p = find_row(c, row);
  run_block(x, c, &p, col, (block){1, n}, injected, scratch);
}

typedef struct chain_run {
  const orion_cpu_exec *x;
  const orion_chain *c;
  size_t inner;         // length of a row
  size_t tiles;         // in a row that is longer than a tile
  size_t group, rows;   // rows of a tile where they are shorter, and of the dimension that they follow each other in
} chain_run;

static void run_tiles(void *ctx, size_t begin, size_t end, int worker) {
  const chain_run *r = ctx;
  float *scratch = orion_cpu_scratch(r->x, worker);
  size_t row = begin / r->tiles, tile = begin % r->tiles;
  places p = find_row(r->c, row);
  for (size_t i = begin; i < end; i++) {
    size_t col = tile * ORION_CPU_TILE;
    block k = {1, r->inner - col < ORION_CPU_TILE ? r->inner - col : ORION_CPU_TILE};
    run_block(r->x, r->c, &p, col, k, NULL, scratch);
    if (++tile < r->tiles || i + 1 == end) continue;
    tile = 0;
    p = find_row(r->c, ++row);
  }
}

static void run_groups(void *ctx, size_t begin, size_t end, int worker) {
  const chain_run *r = ctx;
  size_t groups = (r->rows + r->group - 1) / r->group;
  for (size_t i = begin; i < end; i++) {
    size_t first = i % groups * r->group;
    places p = find_row(r->c, i / groups * r->rows + first);
    block k = {r->rows - first < r->group ? r->rows - first : r->group, r->inner};
    run_block(r->x, r->c, &p, 0, k, NULL, orion_cpu_scratch(r->x, worker));
  }
}

// Tiles of a row, or, where rows are short (the halves of a head that is rotated), of as many rows as fill a tile.
orion_status orion_chain_run(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const orion_chain *c = s->data;
  chain_run r = {.x = x, .c = c, .inner = (size_t)c->dims[c->rank - 1], .group = 1};
  size_t rows = 1;
  for (int i = 0; i < c->rank - 1; i++) rows *= (size_t)c->dims[i];
  if (rows == 0 || r.inner == 0) return ORION_OK;
  r.tiles = (r.inner + ORION_CPU_TILE - 1) / ORION_CPU_TILE;
  r.rows = c->rank > 1 ? (size_t)c->dims[c->rank - 2] : 1;
  if (r.tiles == 1) r.group = ORION_CPU_TILE / r.inner < r.rows ? ORION_CPU_TILE / r.inner : r.rows;
  size_t pieces = r.group > 1 ? rows / r.rows * ((r.rows + r.group - 1) / r.group) : rows * r.tiles;
  size_t elements = r.group > 1 ? r.group * r.inner : r.inner < ORION_CPU_TILE ? r.inner : ORION_CPU_TILE;
  size_t cost = elements * (size_t)(c->n_instrs + c->n_operands + 1) + 64;
  orion_cpu_for(x, pieces, ORION_CPU_SERIAL / cost + 1, pieces * cost / 4, r.group > 1 ? run_groups : run_tiles, &r);
  return ORION_OK;
}

// ---- dimensions ----

static bool follows(const orion_chain_operand *o, int outer, int inner, const int64_t *dims) {
  return o->strides[outer] == o->strides[inner] * dims[inner];
}

static void drop_dim(orion_chain *c, int at) {
  for (int i = at; i + 1 < c->rank; i++) {
    c->dims[i] = c->dims[i + 1];
    for (int o = 0; o < c->n_operands; o++) c->operands[o].strides[i] = c->operands[o].strides[i + 1];
    c->out.strides[i] = c->out.strides[i + 1];
  }
  c->rank--;
}

static bool evenly(const orion_chain *c, int outer, int inner) {
  for (int o = 0; o < c->n_operands; o++) {
    if (o != c->injected && !follows(&c->operands[o], outer, inner, c->dims)) return false;
  }
  return follows(&c->out, outer, inner, c->dims);
}

void orion_chain_merge(orion_chain *c, int split) {
  for (int i = c->rank - 1; i >= 0; i--) {  // dimensions of one element, but one stays behind the border
    if (c->dims[i] != 1 || c->rank == 1 || (split > 0 && i >= split && c->rank - split == 1)) continue;
    drop_dim(c, i);
    if (i < split) split--;
  }
  for (int i = c->rank - 1; i > 0; i--) {
    if (i == split && split > 0) continue;
    if (!evenly(c, i - 1, i)) continue;
    c->dims[i] *= c->dims[i - 1];
    drop_dim(c, i - 1);
    if (i - 1 < split) split--;
  }
}
