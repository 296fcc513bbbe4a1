// Convolution with constant weights, as a product: each output position's inputs are gathered into a row of floats
// [S, C * taps], multiplied by panels of the weight [O, C * taps], and the tiles turned back to channels first through
// a chain. For the 1x1 convolutions that ANE programs are made of, the gathering is a transpose. Rows become strips as they are
// gathered (kernels.h), unless there are few.
#include "device/cpu/build.h"
#include "device/cpu/pool_shape.h"

enum { ROWS = 64, PANELS = 9, GATHER = 32 };
_Static_assert(ROWS % ORION_STRIPS_UNIT == 0 && PANELS % ORION_STRIPS_PANELS == 0, "pieces are whole ones");

typedef struct conv_step {
  orion_pool_shape g;
  size_t batch, positions, in_channels, out_channels, groups, k, taps, panels;  // channels of one group
  const uint32_t *weights;                                                      // a buffer per group
  orion_kernel_type type;
  size_t block;       // of quantised weights
  bool bias;
  bool pointwise;     // one tap, stride 1, no padding: positions of x in order
  uint32_t gathered;  // [S, K] floats
  bool strips;        // as those
  const orion_chain *chain;
} conv_step;

typedef struct conv_run {
  const orion_cpu_exec *x;
  const orion_cpu_step *s;
  size_t sample, group;
} conv_run;

// One row of inputs, tap by tap; outside the image it is 0.
static void gather_row(const conv_run *r, const conv_step *d, size_t position, float *row) {
  const orion_cpu_view *v = &r->s->in[0];
  const orion_pool_shape *g = &d->g;
  int64_t start[3];
  orion_pool_start(g, position, start);
  int64_t base = v->offset + (int64_t)r->sample * v->strides[0];
  for (size_t c = 0; c < d->in_channels; c++) {
    int64_t channel = base + (int64_t)(r->group * d->in_channels + c) * v->strides[1];
    for (size_t tap = 0; tap < d->taps; tap++) {
      int64_t at;
      float *to = &row[c * d->taps + tap];
      *to = 0;
      if (orion_pool_tap(g, start, tap, v->strides + 2, &at)) {
        orion_cpu_load(r->x->k, to, v->dtype, r->x->base[v->buffer], channel + at, 0, 1);
      }
    }
  }
}

static orion_panels weights_of(const conv_run *r) {
  const conv_step *d = r->s->data;
  return orion_cpu_panels_at(r->x->base[d->weights[r->group]], d->type, d->out_channels, d->k, d->block);
}

// Positions [begin, end) of a pointwise convolution. `tile` is [GATHER, ROWS].
static void turn_rows(const conv_run *r, const conv_step *d, size_t begin, size_t end, float *rows, float *tile) {
  const orion_cpu_view *v = &r->s->in[0];
  int64_t base = v->offset + (int64_t)r->sample * v->strides[0] + (int64_t)(r->group * d->in_channels) * v->strides[1];
  int64_t step = v->strides[v->rank - 1];
  if (d->positions == 1) {
    orion_cpu_load(r->x->k, rows, v->dtype, r->x->base[v->buffer], base, v->strides[1], d->k);
    return;
  }
  for (size_t c = 0; c < d->k; c += GATHER) {
    size_t n = d->k - c < GATHER ? d->k - c : GATHER;
    for (size_t i = 0; i < n; i++) {
      orion_cpu_load(r->x->k, tile + i * ROWS, v->dtype, r->x->base[v->buffer],
                     base + (int64_t)(c + i) * v->strides[1] + (int64_t)begin * step, step, end - begin);
    }
    r->x->k->transpose_f32(rows + c, d->k, tile, ROWS, n, end - begin);
  }
}

static void gather_piece(void *ctx, size_t begin, size_t end, int worker) {
  const conv_run *r = ctx;
  const conv_step *d = r->s->data;
  float *all = (float *)r->x->base[d->gathered], *tile = orion_cpu_scratch(r->x, worker);
  float *rows = d->strips ? tile + GATHER * ROWS : all + begin * d->k;
  if (d->pointwise) turn_rows(r, d, begin, end, rows, tile);
  else for (size_t s = begin; s < end; s++) gather_row(r, d, s, rows + (s - begin) * d->k);
  orion_panels w = weights_of(r);
  if (d->strips) r->x->k->pack_rows(all, rows - begin * d->k, d->k, d->positions, &w, begin, end);
}

static void product_piece(void *ctx, size_t begin, size_t end, int worker) {
  const conv_run *r = ctx;
  const conv_step *d = r->s->data;
  const orion_cpu_exec *x = r->x;
  size_t groups = (d->panels + PANELS - 1) / PANELS;
  const float *from = x->base[d->gathered];
  const float *bias = d->bias ? (const float *)orion_cpu_at(x, &r->s->in[1]) + r->group * d->out_channels : NULL;
  orion_panels w = weights_of(r);
  enum { STRIDE = PANELS * ORION_PANEL_ROWS };
  float *strips = orion_cpu_scratch(x, worker), *tile = strips + ORION_STRIPS_SCRATCH / sizeof *strips;
  float *turned = tile + ROWS * STRIDE, *scratch = turned + ROWS * STRIDE;
  for (size_t i = begin; i < end; i++) {
    size_t s0 = i / groups * ROWS, p0 = i % groups * PANELS, n = d->positions - s0 < ROWS ? d->positions - s0 : ROWS;
    size_t p1 = p0 + PANELS < d->panels ? p0 + PANELS : d->panels, c0 = p0 * ORION_PANEL_ROWS;
    size_t channels = (p1 * ORION_PANEL_ROWS < d->out_channels ? p1 * ORION_PANEL_ROWS : d->out_channels) - c0;
    if (d->strips) x->k->linear_strips(tile - c0, STRIDE, from, d->positions, s0, s0 + n, &w, bias, p0, p1, strips);
    else x->k->linear(tile - c0, STRIDE, from + s0 * d->k, d->k, n, &w, bias, p0, p1);
    x->k->transpose_f32(turned, ROWS, tile, STRIDE, n, channels);
    size_t first = (r->sample * d->groups + r->group) * d->out_channels + c0;
    for (size_t c = 0; c < channels; c++) {
      orion_chain_span(x, d->chain, first + c, s0, n, turned + c * ROWS, scratch);
    }
  }
}

static orion_status run_conv(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const conv_step *d = s->data;
  size_t pieces = (d->panels + PANELS - 1) / PANELS * ((d->positions + ROWS - 1) / ROWS);
  size_t work = d->positions * d->k;
  for (size_t sample = 0; sample < d->batch; sample++) {
    for (size_t group = 0; group < d->groups; group++) {
      conv_run r = {x, s, sample, group};
      orion_cpu_for(x, d->positions, ROWS, work, gather_piece, &r);
      orion_cpu_for(x, pieces, 1, work * d->out_channels / 8, product_piece, &r);
    }
  }
  return ORION_OK;
}

// Positions of a pointwise convolution are walked by one stride.
static orion_status pointwise_input(orion_cpu_build *b, orion_cpu_view *x, orion_error *err) {
  int64_t next = 0;
  bool even = true, seen = false;
  for (int i = x->rank - 1; i >= 2; i--) {
    if (x->dims[i] == 1) continue;
    if (seen && x->strides[i] != next) even = false;
    if (!seen) x->strides[x->rank - 1] = x->strides[i];
    seen = true;
    next = x->strides[i] * x->dims[i];
  }
  return even ? ORION_OK : orion_cpu_to_packed(b, x, err);
}

orion_status orion_cpu_emit_conv_product(orion_cpu_build *b, const orion_op *op, const orion_cpu_epilogue *e,
                                         orion_error *err) {
  const orion_type *w = orion_ref_type(b->f, orion_op_ref(op, "weight"));
  conv_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  orion_cpu_view ins[ORION_CHAIN_OPERANDS + 2];
  int64_t groups;
  ORION_TRY(orion_cpu_arg(b, op, "x", &ins[0], err));
  ORION_TRY(orion_cpu_int(b, op, "groups", &groups, err));
  const orion_type *out = orion_cpu_result_type(b, op, 0);
  ORION_TRY(orion_pool_shape_read(b->f, op, &ins[0], w->dims + 2, out, &d->g, err));
  d->batch = (size_t)ins[0].dims[0];
  d->groups = (size_t)groups;
  d->taps = d->g.taps;
  d->positions = d->g.positions;
  d->in_channels = (size_t)w->dims[1];
  d->out_channels = (size_t)(w->dims[0] / groups);
  d->k = d->in_channels * d->taps;
  d->panels = orion_panel_count(d->out_channels);
  d->pointwise = d->taps == 1 && orion_pool_trivial(&d->g);
  if (d->pointwise) ORION_TRY(pointwise_input(b, &ins[0], err));
  d->chain = e->chain;
  uint32_t *weights = orion_cpu_data(b, d->groups * sizeof *weights);
  if (!weights) return ORION_OOM(err, "plan");
  d->weights = weights;
  for (size_t g = 0; g < d->groups; g++) {
    orion_cpu_panels_ref p;
    bool ok;
    ORION_TRY(
        orion_cpu_panels(b, orion_op_ref(op, "weight"), false, d->groups, g, d->out_channels, d->k, &p, &ok, err));
    if (!ok) return ORION_FAIL(err, ORION_UNSUPPORTED, "the weight of a convolution must be constant");
    weights[g] = p.buffer;
    d->type = p.type;
    d->block = p.block;
  }
  uint32_t n_in = 1;
  if (orion_cpu_has(op, "bias")) {
    ORION_TRY(orion_cpu_arg_f32(b, op, "bias", &ins[1], err));
    d->bias = true;
    n_in = 2;
  }
  for (size_t i = 0; i < e->n_ins; i++) ins[n_in++] = e->ins[i];
  d->strips = orion_strips_pay(d->type, d->positions, d->k);
  size_t elements = d->strips ? orion_strips_size(d->positions, d->k) : d->positions * d->k;
  ORION_TRY(orion_cpu_temp(b, elements * sizeof(float), &d->gathered, err));
  orion_cpu_step step = {.run = run_conv,
                         .kind = ORION_CPU_CONV,
                         .n_in = n_in,
                         .in = ins,
                         .n_out = 1,
                         .out = &e->out,
                         .n_tmp = 1,
                         .tmp = &d->gathered,
                         .data = d};
  const size_t gathering = (GATHER * ROWS + (d->strips ? ROWS * d->k : 0)) * sizeof(float);
  step.scratch = ORION_STRIPS_SCRATCH + 2 * ROWS * PANELS * ORION_PANEL_ROWS * sizeof(float) + orion_chain_scratch(e->chain);
  if (step.scratch < gathering) step.scratch = gathering;
  return orion_cpu_add_step(b, &step, err);
}

orion_status orion_cpu_emit_conv(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  const orion_type *x = orion_ref_type(b->f, orion_op_ref(op, "x")),
                   *w = orion_ref_type(b->f, orion_op_ref(op, "weight"));
  if (!x || !w || x->rank < 3 || x->rank > 5 || w->rank != x->rank || !orion_type_is_static(w)) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "convolutions have one to three spatial dimensions");
  }
  int64_t groups;
  ORION_TRY(orion_cpu_int(b, op, "groups", &groups, err));
  if (groups < 1 || w->dims[0] % groups || x->dims[1] != w->dims[1] * groups) {
    return ORION_FAIL(err, ORION_FORMAT, "channels do not fit the weight and groups");
  }
  if (orion_cpu_may_wait(b, op)) {
    b->values[op->results[0]].state = ORION_CPU_PENDING;
    return ORION_OK;
  }
  return orion_cpu_force(b, op->results[0], NULL, err);
}

// ---- products of either kind (see build.h) ----

bool orion_cpu_is_product(orion_opcode code) {
  return code == ORION_OP_linear || code == ORION_OP_matmul || code == ORION_OP_conv;
}

int orion_cpu_product_split(const orion_cpu_build *b, const orion_op *op) {
  int rank = orion_cpu_result_type(b, op, 0)->rank;
  return op->code == ORION_OP_conv ? 2 : rank > 0 ? rank - 1 : 0;
}

orion_status orion_cpu_emit_product(orion_cpu_build *b, const orion_op *op, const orion_cpu_epilogue *e,
                                    orion_error *err) {
  return op->code == ORION_OP_conv ? orion_cpu_emit_conv_product(b, op, e, err)
                                   : orion_cpu_emit_linear_product(b, op, e, err);
}
