// Matrix products with constant weights: y [T, N] = x [T, K] W [N, K]^T + bias, for `linear` and for `matmul` by a
// constant. Weights are panels (kernels.h); finished tiles go through a chain that adds, activates, converts and
// stores.
//
// A few rows (decode): the weights are streamed once. Each thread first takes a long piece, for memory is read fastest in long
// runs, then shorter and shorter ones, so that none waits long for the last. From four rows on (speculation, several users,
// prompts) x is first packed into strips (kernels.h), once for all pieces, which are as many rows as stay in the second-level
// cache by some panels.
//
// Levels with matrix instructions do many rows by those, in larger pieces since each packs anew what it reads: at least one
// for each thread.
//
// Products of the same x (queries, keys and values) are parts of one step: x is made ready once, and threads wait for each
// other once.
//
// With precision=fast, what meets quantised weights is first rounded to integers (kernels.h), once for all pieces as well.
#include "device/cpu/build.h"

enum {
  FEW_ROWS = 8, LEAST_PANELS = 4, MOST_PANELS = 64,
  ROWS = 128, MANY_PANELS = 8,
  MATRIX_ROWS = 512, MATRIX_PANELS = 24, MATRIX_UNIT = 32,
  STRIPS_PANELS = 12, STRIPS_MOST = 63, STRIPS_GRAIN = 2,
  ROUNDED_ROWS = 4,
};

enum { PARTS = 4 };

// One of the products of a step.
typedef struct linear_part {
  size_t n, panels;
  uint32_t weights;
  uint32_t bias;    // its place among the step's inputs; 0: none
  uint32_t out;     // and that of the result among the outputs
  bool direct;      // the kernel writes the result itself
  size_t y_stride;
  const orion_chain *chain;
} linear_part;

// Products of the same x, whose panels are counted on from part to part.
typedef struct linear_step {
  size_t rows, k, x_stride, row_blocks;
  size_t n, panels;  // of all parts
  size_t grain; // panels of a piece, at most
  bool shorter; // pieces get, towards the end
  size_t tall;  // rows of a piece
  orion_kernel_type type;
  size_t block; // of quantised weights
  bool matrix;  // by linear_many
  bool fast;    // with that
  size_t scratch;  // bytes of a piece before its tile
  bool rounded; // x is, in rows of so many bytes
  size_t rounded_row;
  bool strips;  // x is packed into those
  uint32_t own_x;  // where it is then
  uint32_t n_parts;
  linear_part parts[PARTS];
} linear_step;

typedef struct linear_run {
  const orion_cpu_exec *x;
  const orion_cpu_step *s;
  size_t pieces;  // of a block of rows
} linear_run;

static void store_tile(const linear_run *r, const linear_part *part, size_t row, size_t rows, size_t c0, size_t c1,
                       const float *tile, size_t stride, float *scratch) {
  for (size_t i = 0; i < rows; i++) {
    for (size_t c = c0; c < c1; c += ORION_CPU_TILE) {
      size_t n = c1 - c < ORION_CPU_TILE ? c1 - c : ORION_CPU_TILE;
      orion_chain_span(r->x, part->chain, row + i, c, n, tile + i * stride + (c - c0), scratch);
    }
  }
}

static orion_panels weights_of(const linear_run *r, const linear_part *part) {
  const linear_step *d = r->s->data;
  return orion_cpu_panels_at(r->x->base[part->weights], d->type, part->n, d->k, d->block);
}

// Rows [t0, t0 + rows) of x by panels [p0, p1) of a part.
static void product(const linear_run *r, const linear_part *part, float *y, size_t y_stride, size_t t0, size_t rows,
                    size_t p0, size_t p1, int worker) {
  const linear_step *d = r->s->data;
  const orion_panels panels = weights_of(r, part), *w = &panels;
  const float *bias = part->bias ? orion_cpu_at(r->x, &r->s->in[part->bias]) : NULL;
  void *scratch = orion_cpu_scratch(r->x, worker);
  if (d->rounded) {
    const uint8_t *x = (const uint8_t *)r->x->base[d->own_x] + t0 * d->rounded_row;
    r->x->k->linear_rounded(y, y_stride, x, rows, w, bias, p0, p1, scratch);
  } else if (d->strips) {
    r->x->k->linear_strips(y, y_stride, r->x->base[d->own_x], d->rows, t0, t0 + rows, w, bias, p0, p1, scratch);
  } else {
    const float *x = (const float *)orion_cpu_at(r->x, &r->s->in[0]) + t0 * d->x_stride;
    if (d->matrix) {
      r->x->k->linear_many(y, y_stride, x, d->x_stride, rows, w, bias, p0, p1, d->fast, scratch);
    } else {
      r->x->k->linear(y, y_stride, x, d->x_stride, rows, w, bias, p0, p1);
    }
  }
}

static void round_piece(void *ctx, size_t begin, size_t end, int worker) {
  const linear_run *r = ctx;
  const linear_step *d = r->s->data;
  const float *x = orion_cpu_at(r->x, &r->s->in[0]);
  orion_panels w = weights_of(r, &d->parts[0]);  // of which only what all parts share counts
  uint8_t *to = (uint8_t *)r->x->base[d->own_x] + begin * d->rounded_row;
  r->x->k->round_rows(to, x + begin * d->x_stride, d->x_stride, end - begin, &w);
}

static void pack_piece(void *ctx, size_t begin, size_t end, int worker) {
  const linear_run *r = ctx;
  const linear_step *d = r->s->data;
  orion_panels w = weights_of(r, &d->parts[0]);
  size_t t1 = end * ORION_STRIPS_UNIT < d->rows ? end * ORION_STRIPS_UNIT : d->rows;
  r->x->k->pack_rows(r->x->base[d->own_x], orion_cpu_at(r->x, &r->s->in[0]), d->x_stride, d->rows, &w, begin * ORION_STRIPS_UNIT,
                     t1);
}

// Panels of the next piece where `left` are left: each thread gets an equal share of two thirds of them.
static size_t share_of(const linear_step *d, size_t left, size_t threads) {
  if (d->matrix) {
    const size_t wanted = (threads + d->row_blocks - 1) / d->row_blocks, most = (d->panels + wanted - 1) / wanted;
    return orion_even_part(d->panels, most < d->grain ? most : d->grain, MATRIX_UNIT / ORION_PANEL_ROWS);
  }
  const size_t least = d->strips ? ORION_STRIPS_PANELS : LEAST_PANELS;
  size_t share = threads == 1 || !d->shorter ? d->grain : left * 2 / (3 * threads) / least * least;
  share = share > d->grain ? d->grain : share < least ? least : share;
  return share < left ? share : left;
}

// Finds the panels [*p0, *p1) of piece i and returns i + 1, or the number of pieces if there are no more than i.
static size_t find_piece(const linear_run *r, size_t i, size_t *p0, size_t *p1) {
  const linear_step *d = r->s->data;
  const size_t threads = (size_t)orion_pool_threads(r->x->pool);
  size_t n = 0, share = 0;
  for (*p1 = 0; *p1 < d->panels && n <= i; n++) {
    *p0 = *p1;
    if (n % threads == 0) share = share_of(d, d->panels - *p0, threads);
    *p1 = d->panels - *p0 < share ? d->panels : *p0 + share;
  }
  return n;
}

static void part_piece(const linear_run *r, const linear_part *part, size_t t0, size_t rows, size_t p0, size_t p1, int worker) {
  const linear_step *d = r->s->data;
  if (part->direct) {
    float *y = orion_cpu_at(r->x, &r->s->out[part->out]);
    product(r, part, y + t0 * part->y_stride, part->y_stride, t0, rows, p0, p1, worker);
    return;
  }
  float *tile = (float *)(void *)((uint8_t *)orion_cpu_scratch(r->x, worker) + d->scratch);
  size_t c0 = p0 * ORION_PANEL_ROWS, c1 = p1 * ORION_PANEL_ROWS < part->n ? p1 * ORION_PANEL_ROWS : part->n;
  size_t stride = d->grain * ORION_PANEL_ROWS;
  product(r, part, tile - c0, stride, t0, rows, p0, p1, worker);
  store_tile(r, part, t0, rows, c0, c1, tile, stride, tile + d->tall * stride);
}

static void linear_piece(void *ctx, size_t begin, size_t end, int worker) {
  const linear_run *r = ctx;
  const linear_step *d = r->s->data;
  for (size_t i = begin; i < end; i++) {
    size_t block = i / r->pieces, p0, p1;
    find_piece(r, i % r->pieces, &p0, &p1);
    size_t t0 = block * d->tall, rows = d->rows - t0 < d->tall ? d->rows - t0 : d->tall;
    for (const linear_part *part = d->parts; p1 > 0; part++) {
      size_t end_of_part = p1 < part->panels ? p1 : part->panels;
      if (p0 < end_of_part) part_piece(r, part, t0, rows, p0, end_of_part, worker);
      p0 = p0 < part->panels ? 0 : p0 - part->panels;
      p1 -= end_of_part;
    }
  }
}

static orion_status run_linear(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const linear_step *d = s->data;
  linear_run r = {x, s, 0};
  size_t p0, p1;
  r.pieces = find_piece(&r, SIZE_MAX, &p0, &p1);
  if (d->rounded) orion_cpu_for(x, d->rows, ROUNDED_ROWS, d->rows * d->k, round_piece, &r);
  if (d->strips) {
    orion_cpu_for(x, (d->rows + ORION_STRIPS_UNIT - 1) / ORION_STRIPS_UNIT, STRIPS_GRAIN, d->rows * d->k, pack_piece, &r);
  }
  orion_cpu_for(x, r.pieces * d->row_blocks, 1, d->rows * d->n * d->k / 8, linear_piece, &r);
  return ORION_OK;
}

// Rows of x: leading dimensions that one stride walks, floats, columns in a row.
static orion_status rows_of(orion_cpu_build *b, orion_cpu_view *x, size_t *out_stride, orion_error *err) {
  bool even = x->dtype == ORION_FP32 && (x->strides[x->rank - 1] == 1 || x->dims[x->rank - 1] == 1);
  int64_t stride = 0, next = 0;
  for (int i = x->rank - 2; i >= 0 && even; i--) {
    if (x->dims[i] == 1) continue;
    if (!stride) {
      stride = x->strides[i];
      even = stride > 0;
    } else {
      even = x->strides[i] == next;
    }
    next = x->strides[i] * x->dims[i];
  }
  if (!even) {
    orion_cpu_view packed = *x;
    ORION_TRY(orion_cpu_new_view(b, ORION_FP32, x->rank, x->dims, &packed, err));
    ORION_TRY(orion_cpu_add_copy(b, x, &packed, err));
    *x = packed;
    stride = x->dims[x->rank - 1];
  }
  *out_stride = (size_t)(stride ? stride : x->dims[x->rank - 1]);
  return ORION_OK;
}

// Whether the chain only stores, to floats in rows that the kernel can write itself.
static bool is_direct(const orion_chain *c, size_t n, size_t *out_stride) {
  if (c->n_instrs || c->out.dtype != ORION_FP32 || c->out.strides[c->rank - 1] != 1 || c->rank > 2) return false;
  *out_stride = c->rank == 2 ? (size_t)c->out.strides[0] : n;
  return c->rank == 1 || c->out.strides[0] > 0;
}

// Panels of a piece, at most.
static size_t grain_of(const linear_step *d) {
  if (d->matrix) return MATRIX_PANELS;
  if (d->strips) return orion_even_part(d->panels, d->rows <= FEW_ROWS ? STRIPS_MOST : STRIPS_PANELS, ORION_STRIPS_PANELS);
  const size_t most = d->rows <= FEW_ROWS ? MOST_PANELS : MANY_PANELS;
  return most < d->panels ? most : d->panels;
}

// How rows of x meet so many panels: all but its own memory and the parts.
static orion_status plan_rows(const orion_cpu_build *b, const orion_cpu_view *x, const orion_cpu_panels_ref *w, linear_step *d,
                              orion_error *err) {
  d->rows = w->cols ? orion_cpu_elements(x) / w->cols : 0;
  d->k = w->cols;
  d->n = w->rows;
  d->panels = orion_panel_count(d->n);
  d->type = w->type;
  d->block = w->block;
  d->matrix = !d->block && orion_many_pays(b->k, d->rows, d->n, d->k, b->fast);
  d->fast = b->fast;
  d->rounded = b->fast && d->block > 0;
  d->strips = !d->matrix && !d->rounded && orion_strips_pay(d->type, d->rows, d->k);
  d->scratch = d->matrix ? ORION_MATMUL_MANY_SCRATCH : d->rounded ? ORION_ROUNDED_SCRATCH : d->strips ? ORION_STRIPS_SCRATCH : 0;
  d->tall = d->matrix   ? orion_even_part(d->rows, MATRIX_ROWS, MATRIX_UNIT)
            : d->strips ? orion_even_part(d->rows, ORION_STRIPS_ROWS, ORION_STRIPS_UNIT)
                        : ROWS;
  d->row_blocks = (d->rows + d->tall - 1) / d->tall;
  if (d->rows < d->tall) d->tall = d->rows;
  d->shorter = !d->matrix && (d->rows <= FEW_ROWS || (d->strips && d->row_blocks == 1));
  d->grain = grain_of(d);
  size_t ignored;
  if (d->rounded) d->rounded_row = orion_rounded_row_bytes(d->k, d->block);
  bool fits = d->rounded ? orion_mul_ok(d->rows, d->rounded_row, &ignored)
                         : !d->strips || orion_mul_ok(d->rows + ORION_STRIPS_UNIT, d->k * sizeof(float), &ignored);
  return fits ? ORION_OK : ORION_FAIL(err, ORION_LIMIT, "too many rows");
}

static size_t own_x_bytes(const linear_step *d) {
  return d->rounded ? d->rows * d->rounded_row : d->strips ? orion_strips_size(d->rows, d->k) * sizeof(float) : 0;
}

static size_t scratch_of(const linear_step *d) {
  size_t tile = 0;
  for (size_t i = 0; i < d->n_parts; i++) {
    const linear_part *part = &d->parts[i];
    if (part->direct) continue;
    size_t bytes = d->tall * d->grain * ORION_PANEL_ROWS * sizeof(float) + orion_chain_scratch(part->chain);
    tile = bytes > tile ? bytes : tile;
  }
  return d->scratch + tile;
}

static bool uses_buffer(const orion_cpu_view *views, size_t n, uint32_t buffer) {
  for (size_t i = 0; i < n; i++) {
    if (views[i].buffer == buffer) return true;
  }
  return false;
}

// The step added last, constant ones apart, if the product may become a part of it: it multiplies the same x in the same way,
// and neither has to wait for the other. Queries, keys and values are such products: x is made ready once, and threads wait for
// each other once.
static orion_cpu_step *find_joinable(const orion_cpu_build *b, const linear_step *d, const orion_cpu_view *ins, size_t n_in,
                                     const orion_cpu_view *out) {
  orion_cpu_plan *p = b->plan;
  size_t last = p->n_steps;
  while (last > 0 && p->steps[last - 1].constant) last--;
  orion_cpu_step *s = last > 0 ? &p->steps[last - 1] : NULL;
  if (!b->fuse || !s || s->run != run_linear || d->matrix || d->rows == 0 || d->k == 0) return NULL;
  const linear_step *to = s->data;
  const orion_cpu_view *x = &s->in[0];
  if (to->n_parts == PARTS || to->matrix || to->rows != d->rows || to->k != d->k || to->x_stride != d->x_stride ||
      to->type != d->type || to->block != d->block) {
    return NULL;
  }
  if (x->buffer != ins[0].buffer || x->offset != ins[0].offset || x->dtype != ins[0].dtype) return NULL;
  for (size_t i = 0; i < n_in; i++) {
    if (uses_buffer(s->out, s->n_out, ins[i].buffer)) return NULL;
  }
  return uses_buffer(s->in, s->n_in, out->buffer) || uses_buffer(s->out, s->n_out, out->buffer) ? NULL : s;
}

static orion_status join(orion_cpu_build *b, orion_cpu_step *s, const linear_step *d, const orion_cpu_view *ins, size_t n_in,
                         const orion_cpu_view *out, orion_error *err) {
  linear_step *to = (linear_step *)s->data;
  linear_part *part = &to->parts[to->n_parts++];
  *part = d->parts[0];
  if (part->bias) part->bias = s->n_in;  // the first of what is new
  part->out = s->n_out;
  to->n += d->n;
  to->panels += d->panels;
  to->grain = grain_of(to);
  return orion_cpu_extend_step(b, s, ins + 1, n_in - 1, out, 1, scratch_of(to), err);
}

static orion_status emit_panels_step(orion_cpu_build *b, const orion_op *op, orion_ref bias,
                                     const orion_cpu_panels_ref *w, orion_cpu_view x, const orion_cpu_epilogue *e,
                                     orion_error *err) {
  linear_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  ORION_TRY(rows_of(b, &x, &d->x_stride, err));
  ORION_TRY(plan_rows(b, &x, w, d, err));
  linear_part *part = &d->parts[d->n_parts++];
  *part = (linear_part){.n = d->n, .panels = d->panels, .weights = w->buffer, .chain = e->chain};
  part->direct = is_direct(e->chain, d->n, &part->y_stride);
  orion_cpu_view ins[ORION_CHAIN_OPERANDS + 2] = {x};
  uint32_t n_in = 1;
  if (bias != ORION_NONE) {
    ORION_TRY(orion_cpu_ref_view(b, bias, &ins[1], err));
    if (orion_cpu_elements(&ins[1]) != d->n) return ORION_FAIL(err, ORION_FORMAT, "bias does not fit the weight");
    ORION_TRY(orion_cpu_to_f32(b, &ins[1], err));
    part->bias = n_in++;
  }
  for (size_t i = 0; i < e->n_ins; i++) ins[n_in++] = e->ins[i];
  orion_cpu_step *before = find_joinable(b, d, ins, n_in, &e->out);
  if (before) return join(b, before, d, ins, n_in, &e->out, err);
  size_t bytes = own_x_bytes(d);
  if (bytes) ORION_TRY(orion_cpu_temp(b, bytes, &d->own_x, err));
  orion_cpu_step step = {
      .run = run_linear, .kind = ORION_CPU_LINEAR, .n_in = n_in, .in = ins, .n_out = 1, .out = &e->out, .data = d,
      .n_tmp = bytes > 0, .tmp = &d->own_x, .scratch = scratch_of(d)};
  return orion_cpu_add_step(b, &step, err);
}

// ---- what products look like ----

typedef struct product_shape {
  orion_ref x, w, bias;
  bool transposed;  // w is [K, N]
  size_t n, k;
} product_shape;

static bool flat_matrix(const orion_type *t) {
  for (int i = 0; i + 2 < t->rank; i++) {
    if (t->dims[i] != 1) return false;
  }
  return t->rank >= 2;
}

// linear, or matmul whose second factor is one matrix.
static bool shape_of(const orion_cpu_build *b, const orion_op *op, product_shape *out) {
  const orion_function *f = b->f;
  *out = (product_shape){.x = orion_op_ref(op, "x"), .bias = ORION_NONE};
  const orion_type *w;
  if (op->code == ORION_OP_linear) {
    out->w = orion_op_ref(op, "weight");
    out->bias = orion_op_ref(op, "bias");
  } else {
    bool tx, ty;
    out->w = orion_op_ref(op, "y");
    if (!orion_op_bool(f, op, "transpose_x", &tx) || !orion_op_bool(f, op, "transpose_y", &ty) || tx) return false;
    out->transposed = !ty;
  }
  w = orion_ref_type(f, out->w);
  const orion_type *x = orion_ref_type(f, out->x);
  if (!w || !x || x->rank < 1 || !flat_matrix(w) || !orion_type_is_static(w)) return false;
  if (op->code == ORION_OP_matmul && (x->rank < 2 || w->rank > x->rank)) return false;
  out->n = (size_t)w->dims[w->rank - (out->transposed ? 1 : 2)];
  out->k = (size_t)w->dims[w->rank - (out->transposed ? 2 : 1)];
  return true;
}

orion_status orion_cpu_emit_linear_product(orion_cpu_build *b, const orion_op *op, const orion_cpu_epilogue *e,
                                           orion_error *err) {
  product_shape p;
  orion_cpu_panels_ref w;
  orion_cpu_view x;
  bool ok;
  if (!shape_of(b, op, &p)) return ORION_FAIL(err, ORION_INTERNAL, "product");
  ORION_TRY(orion_cpu_panels(b, p.w, p.transposed, 1, 0, p.n, p.k, &w, &ok, err));
  if (!ok) return ORION_FAIL(err, ORION_INTERNAL, "weights are not constant");
  ORION_TRY(orion_cpu_ref_view(b, p.x, &x, err));
  return emit_panels_step(b, op, p.bias, &w, x, e, err);
}

// Whether the weights are known when compiling.
static bool constant_weights(const orion_cpu_build *b, orion_ref w) {
  return orion_cpu_ref_constant(b, w) || orion_cpu_is_lazy(b, w);
}

static bool is_product(const orion_cpu_build *b, const orion_op *op) {
  product_shape p;
  return shape_of(b, op, &p) && constant_weights(b, p.w);
}

orion_status orion_cpu_emit_linear(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  if (!is_product(b, op)) {
    if (!orion_cpu_product_waits(b, op)) return orion_cpu_emit_matmul(b, op, err);
    b->values[op->results[0]].state = ORION_CPU_PENDING;
    b->values[op->results[0]].summed = true;
    return ORION_OK;
  }
  if (orion_cpu_may_wait(b, op)) {
    b->values[op->results[0]].state = ORION_CPU_PENDING;
    return ORION_OK;
  }
  return orion_cpu_force(b, op->results[0], NULL, err);
}
