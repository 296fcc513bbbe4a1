#include "device/cpu/products.h"

enum {
  SHARES = 2,                      // pieces for each thread, at most
  LEAST = 48,                      // rows and columns of a piece
  ROWS_UNIT = 8, COLS_UNIT = 24,   // what kernels multiply at once, or a whole number of times
  PACKING = 12,                    // multiply-adds in the time of packing one element
  LATE = 20,                       // the last thread is late by this part of a piece, a twentieth
};

static size_t blocks(size_t n, size_t block) { return (n + block - 1) / block; }

// Of n rows or columns in so many parts: whole units.
static size_t part_of(size_t n, size_t parts, size_t unit) {
  size_t part = blocks(blocks(n, parts), unit) * unit;
  return part < LEAST ? LEAST : part;
}

// More pieces pack more, as each packs what it reads of A and B; fewer wait longer for the last: of all ways to have one
// piece or a few for each thread, the one that costs least.
orion_cpu_cut orion_cpu_product_cut(const orion_cpu_exec *x, size_t batches, size_t m, size_t n, size_t most_rows,
                                    size_t most_cols) {
  const size_t threads = (size_t)orion_pool_threads(x->pool);
  size_t best = SIZE_MAX;
  orion_cpu_cut cut = {0};
  for (size_t shares = 1; shares <= SHARES; shares++) {
    const size_t want = blocks(threads * shares, batches);
    for (size_t parts = 1; parts <= want; parts++) {
      size_t rows = part_of(m, parts, ROWS_UNIT), cols = part_of(n, blocks(want, parts), COLS_UNIT);
      if (rows > most_rows) rows = most_rows;
      if (cols > most_cols) cols = most_cols;
      const size_t row_blocks = blocks(m, rows), col_blocks = blocks(n, cols);
      const size_t turns = blocks(batches * row_blocks * col_blocks, threads);
      const size_t high = rows < m ? rows : m, wide = cols < n ? cols : n;
      const size_t cost = turns * (high * wide + (high + wide) * PACKING) + high * wide / LATE;
      if (cost >= best) continue;
      best = cost;
      cut = (orion_cpu_cut){rows, cols, row_blocks, col_blocks};
    }
  }
  return cut;
}

size_t orion_cpu_product_scratch(bool many) { return many ? ORION_MATMUL_MANY_SCRATCH : ORION_MATMUL_SCRATCH; }

void orion_cpu_product_piece(const orion_kernels *k, const orion_cpu_product *p, void *scratch) {
  if (p->many) k->matmul_many(p->c, p->c_stride, p->a, p->b, p->m, p->n, p->k, p->add, p->fast, scratch);
  else k->matmul(p->c, p->c_stride, p->a, p->b, p->m, p->n, p->k, p->add, scratch);
}

typedef struct product_run {
  const orion_cpu_exec *x;
  const orion_cpu_product *p;
  orion_cpu_cut cut;
} product_run;

static void product_pieces(void *ctx, size_t begin, size_t end, int worker) {
  const product_run *r = ctx;
  for (size_t i = begin; i < end; i++) {
    size_t m0 = i / r->cut.col_blocks * r->cut.rows, n0 = i % r->cut.col_blocks * r->cut.cols;
    orion_cpu_product p = *r->p;
    p.c += m0 * p.c_stride + n0;
    p.a.data += m0 * p.a.row;
    p.b.data += n0 * p.b.col;
    p.m = p.m - m0 < r->cut.rows ? p.m - m0 : r->cut.rows;
    p.n = p.n - n0 < r->cut.cols ? p.n - n0 : r->cut.cols;
    orion_cpu_product_piece(r->x->k, &p, orion_cpu_scratch(r->x, worker));
  }
}

void orion_cpu_product_run(const orion_cpu_exec *x, const orion_cpu_product *p) {
  if (!p->m || !p->n) return;
  product_run r = {x, p, orion_cpu_product_cut(x, 1, p->m, p->n, SIZE_MAX, SIZE_MAX)};
  orion_cpu_for(x, r.cut.row_blocks * r.cut.col_blocks, 1, p->m * p->n * p->k / 8, product_pieces, &r);
}
