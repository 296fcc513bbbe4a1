// Reductions of floats. Neighbouring axes are reduced where they lie: along rows, or down columns a tile at a time (ANE
// programs reduce the channels of [1, C, 1, S]). Other axes are moved last by a copy first.
#include "device/cpu/rows.h"

static const struct reduction {
  orion_opcode code;
  orion_reduce_op op;
  bool mean, root, log, exponent;  // what is done beside the plain reduction
} reductions[] = {
    {ORION_OP_reduce_sum, ORION_REDUCE_SUM, false, false, false, false},
    {ORION_OP_reduce_mean, ORION_REDUCE_SUM, true, false, false, false},
    {ORION_OP_reduce_max, ORION_REDUCE_MAX, false, false, false, false},
    {ORION_OP_reduce_min, ORION_REDUCE_MIN, false, false, false, false},
    {ORION_OP_reduce_prod, ORION_REDUCE_PROD, false, false, false, false},
    {ORION_OP_reduce_sum_square, ORION_REDUCE_SUM_SQUARE, false, false, false, false},
    {ORION_OP_reduce_l1_norm, ORION_REDUCE_SUM_ABS, false, false, false, false},
    {ORION_OP_reduce_l2_norm, ORION_REDUCE_SUM_SQUARE, false, true, false, false},
    {ORION_OP_reduce_log_sum, ORION_REDUCE_SUM, false, false, true, false},
    {ORION_OP_reduce_log_sum_exp, ORION_REDUCE_SUM, false, false, true, true},
};

typedef struct reduce_step {
  const struct reduction *r;
  size_t outer, n, inner;
} reduce_step;

typedef struct reduce_run {
  const orion_cpu_exec *x;
  const orion_cpu_step *s;
  size_t tiles;
} reduce_run;

static void finish(const orion_kernels *k, const reduce_step *d, float *v, size_t n) {
  if (d->r->mean) k->map[ORION_MAP_DIV_SCALAR](v, v, NULL, n, (float)d->n, 0);
  if (d->r->root) k->map[ORION_MAP_SQRT](v, v, NULL, n, 0, 0);
  if (d->r->log) k->map[ORION_MAP_LOG](v, v, NULL, n, 0, 0);
}

float orion_cpu_log_sum_exp(const orion_kernels *k, const float *x, size_t n, float *row) {
  float most = k->reduce[ORION_REDUCE_MAX](x, n), sum;
  if (most == __builtin_inff() || most == -__builtin_inff()) return most;
  k->map[ORION_MAP_SUB_SCALAR](row, x, NULL, n, most, 0);
  k->map[ORION_MAP_EXP](row, row, NULL, n, 0, 0);
  sum = k->reduce[ORION_REDUCE_SUM](row, n);
  k->map[ORION_MAP_LOG](&sum, &sum, NULL, 1, 0, 0);
  return most + sum;
}

static void rows_piece(void *ctx, size_t begin, size_t end, int worker) {
  const reduce_run *r = ctx;
  const reduce_step *d = r->s->data;
  const float *in = orion_cpu_at(r->x, &r->s->in[0]);
  const orion_cpu_view *out = &r->s->out[0];
  float *row = orion_cpu_scratch(r->x, worker);
  for (size_t i = begin; i < end; i++) {
    float v;
    if (d->r->exponent) {
      v = orion_cpu_log_sum_exp(r->x->k, in + i * d->n, d->n, row);
    } else {
      v = r->x->k->reduce[d->r->op](in + i * d->n, d->n);
      finish(r->x->k, d, &v, 1);
    }
    orion_cpu_store(r->x->k, out->dtype, r->x->base[out->buffer], out->offset + (int64_t)i, 1, &v, 1);
  }
}

static void columns_piece(void *ctx, size_t begin, size_t end, int worker) {
  const reduce_run *r = ctx;
  const reduce_step *d = r->s->data;
  const float *in = orion_cpu_at(r->x, &r->s->in[0]);
  const orion_cpu_view *out = &r->s->out[0];
  float *tile = orion_cpu_scratch(r->x, worker);
  for (size_t i = begin; i < end; i++) {
    size_t o = i / r->tiles, c = i % r->tiles * ORION_CPU_TILE;
    size_t n = d->inner - c < ORION_CPU_TILE ? d->inner - c : ORION_CPU_TILE;
    r->x->k->reduce_rows[d->r->op](tile, in + o * d->n * d->inner + c, d->inner, d->n, n);
    finish(r->x->k, d, tile, n);
    orion_cpu_store(r->x->k, out->dtype, r->x->base[out->buffer], out->offset + (int64_t)(o * d->inner + c), 1, tile,
                    n);
  }
}

static orion_status run_reduce(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const reduce_step *d = s->data;
  reduce_run r = {x, s, (d->inner + ORION_CPU_TILE - 1) / ORION_CPU_TILE};
  size_t work = d->outer * d->n * d->inner;
  if (d->inner == 1) {
    orion_cpu_for(x, d->outer, ORION_CPU_SERIAL / (d->n + 16) + 1, work, rows_piece, &r);
  } else {
    orion_cpu_for(x, d->outer * r.tiles, 1, work, columns_piece, &r);
  }
  return ORION_OK;
}

// The marked axes as neighbours: x seen as [outer, n, inner]. False where others lie between them.
static bool neighbours(const orion_cpu_view *v, const bool *marked, reduce_step *d) {
  int first = v->rank, last = -1;
  d->outer = d->n = d->inner = 1;
  for (int i = 0; i < v->rank; i++) {
    if (!marked[i]) continue;
    if (first == v->rank) first = i;
    last = i;
  }
  for (int i = 0; i < v->rank; i++) {
    if (i >= first && i <= last && !marked[i] && v->dims[i] != 1) return false;
    *(i < first ? &d->outer : i <= last ? &d->n : &d->inner) *= (size_t)v->dims[i];
  }
  return true;
}

orion_status orion_cpu_emit_reduce(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  orion_cpu_view in, out;
  bool marked[ORION_MAX_RANK];
  ORION_TRY(orion_cpu_arg(b, op, "x", &in, err));
  if (!orion_dtype_is_float(in.dtype)) return orion_cpu_emit_generic(b, op, err);
  ORION_TRY(orion_cpu_axes(b, op, "axes", in.rank, marked, err));
  reduce_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  for (size_t i = 0; i < sizeof reductions / sizeof *reductions; i++) {
    if (reductions[i].code == op->code) d->r = &reductions[i];
  }
  if (!neighbours(&in, marked, d) || (d->r->exponent && d->inner != 1)) {
    orion_cpu_rows rows;
    ORION_TRY(orion_cpu_rows_last(b, marked, &in, &rows, true, err));
    d->outer = rows.rows;
    d->n = rows.n;
    d->inner = 1;
  }
  ORION_TRY(orion_cpu_to_f32(b, &in, err));
  ORION_TRY(orion_cpu_result(b, op, 0, &out, err));
  size_t row = d->r->exponent ? d->n : ORION_CPU_TILE;
  orion_cpu_step step = {.run = run_reduce,
                         .kind = ORION_CPU_REDUCE,
                         .n_in = 1,
                         .in = &in,
                         .n_out = 1,
                         .out = &out,
                         .data = d,
                         .scratch = row * sizeof(float)};
  return orion_cpu_add_step(b, &step, err);
}
