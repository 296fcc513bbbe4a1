// The gradient of attention (fuse_attention_grad.c), head by head: queries [T, n], keys and values [S, n].
//
// A block of rows of the scores is made, used for all that it is needed for, and forgotten: no more than two blocks of
// 64 x S exist for each thread. Keys that a causal mask hides from a whole block are not looked at, as in attention itself
// (steps_attention.c): their weight would be exp(-10000 - max) = 0. Blocks come in order, so threads do not change a bit.
#include "device/cpu/build.h"

enum { ROWS = 64, Q = 0, K, V, Y, DY, MASK, READS, DQ = 0, DK, DV, MADE };

typedef struct grad_step {
  int batch_rank;
  int64_t batch[ORION_MAX_RANK];
  size_t batches, rows, keys, size, value_size;  // heads of all sequences; T, S; features of a key, of a value
  int64_t in[READS][ORION_MAX_RANK], out[MADE][ORION_MAX_RANK];
  size_t in_row[READS], out_row[MADE];
  float score_scale, grad_scale;
} grad_step;

typedef struct grad_run {
  const orion_cpu_exec *x;
  const orion_cpu_step *s;
} grad_run;

typedef struct head {
  const float *in[READS];
  float *out[MADE];
  float *p, *ds;  // ROWS x keys each
  void *packing;
} head;

// Keys that some row of the block sees; all, where a row sees none and its softmax is of equal scores.
static size_t visible(const grad_step *d, const head *h, size_t r0, size_t rows) {
  size_t most = 0;
  for (size_t r = r0; r < r0 + rows; r++) {
    size_t n = orion_cpu_visible(h->in[MASK] + r * d->in_row[MASK], d->keys);
    if (n == 0) return d->keys;
    if (n > most) most = n;
  }
  return most;
}

static orion_matrix turned(orion_matrix m) { return (orion_matrix){m.data, m.col, m.row}; }

static void block(const orion_kernels *k, const grad_step *d, const head *h, size_t r0, size_t rows) {
  const size_t keys = visible(d, h, r0, rows);
  const orion_matrix p = {h->p, d->keys, 1}, ds = {h->ds, d->keys, 1};
  orion_matrix in[READS];
  for (int i = 0; i < READS; i++) {
    bool of_rows = i == Q || i == Y || i == DY;
    in[i] = (orion_matrix){h->in[i] + (of_rows ? r0 * d->in_row[i] : 0), d->in_row[i], 1};
  }
  k->matmul(h->p, d->keys, in[Q], turned(in[K]), rows, keys, d->size, false, h->packing);
  k->matmul(h->ds, d->keys, in[DY], turned(in[V]), rows, keys, d->value_size, false, h->packing);
  for (size_t r = 0; r < rows; r++) {
    float *weight = h->p + r * d->keys, *grad = h->ds + r * d->keys;
    k->map[ORION_MAP_MUL_SCALAR](weight, weight, NULL, keys, d->score_scale, 0);
    k->map[ORION_MAP_ADD](weight, weight, h->in[MASK] + (r0 + r) * d->in_row[MASK], keys, 0, 0);
    k->softmax(weight, weight, keys);
    float sum = k->dot(in[DY].data + r * in[DY].row, in[Y].data + r * in[Y].row, d->value_size);
    k->map[ORION_MAP_SUB_SCALAR](grad, grad, NULL, keys, sum, 0);
    k->map[ORION_MAP_MUL](grad, grad, weight, keys, 0, 0);
    k->map[ORION_MAP_MUL_SCALAR](grad, grad, NULL, keys, d->grad_scale, 0);
  }
  k->matmul(h->out[DV], d->out_row[DV], turned(p), in[DY], keys, d->value_size, rows, true, h->packing);
  k->matmul(h->out[DQ] + r0 * d->out_row[DQ], d->out_row[DQ], ds, in[K], rows, d->size, keys, false, h->packing);
  k->matmul(h->out[DK], d->out_row[DK], turned(ds), in[Q], keys, d->size, rows, true, h->packing);
}

static void heads(void *ctx, size_t begin, size_t end, int worker) {
  const grad_run *run = ctx;
  const orion_cpu_exec *x = run->x;
  const grad_step *d = run->s->data;
  uint8_t *scratch = orion_cpu_scratch(x, worker);
  for (size_t i = begin; i < end; i++) {
    head h = {.packing = scratch, .p = (float *)(void *)(scratch + ORION_MATMUL_SCRATCH)};
    h.ds = h.p + ROWS * d->keys;
    for (int k = 0; k < READS; k++) {
      h.in[k] = (const float *)orion_cpu_at(x, &run->s->in[k]) + orion_cpu_row_offset(d->batch_rank, d->batch, d->in[k], i);
    }
    for (int k = 0; k < MADE; k++) {
      h.out[k] = (float *)orion_cpu_at(x, &run->s->out[k]) + orion_cpu_row_offset(d->batch_rank, d->batch, d->out[k], i);
    }
    for (size_t r = 0; r < d->keys; r++) {
      memset(h.out[DK] + r * d->out_row[DK], 0, d->size * sizeof(float));
      memset(h.out[DV] + r * d->out_row[DV], 0, d->value_size * sizeof(float));
    }
    for (size_t r = 0; r < d->rows; r += ROWS) block(x->k, d, &h, r, d->rows - r < ROWS ? d->rows - r : ROWS);
  }
}

static orion_status run_attention_grad(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const grad_step *d = s->data;
  grad_run r = {x, s};
  orion_cpu_for(x, d->batches, 1, d->batches * d->rows * d->keys * (d->size + d->value_size) / 4, heads, &r);
  return ORION_OK;
}

// ---- building ----

// [..., rows, n] as floats in rows; `own` of its dimensions are batches.
static orion_status read(orion_cpu_build *b, const grad_step *d, orion_ref ref, orion_cpu_view *v, int64_t *strides,
                         size_t *out_row, orion_error *err) {
  ORION_TRY(orion_cpu_ref_view(b, ref, v, err));
  if (v->rank < 2) return ORION_FAIL(err, ORION_FORMAT, "the gradient of attention wants matrices");
  ORION_TRY(orion_cpu_to_float_rows(b, v, err));
  *out_row = v->dims[v->rank - 2] == 1 ? 0 : (size_t)v->strides[v->rank - 2];
  if (orion_cpu_batch_strides(d->batch_rank, d->batch, v, v->rank - 2, strides)) return ORION_OK;
  return ORION_FAIL(err, ORION_FORMAT, "batch dimensions do not broadcast");
}

// A result [..., T, n] that lies as [first, T, ..., n]: a transpose that brings heads together again then only looks at it.
static orion_status make(orion_cpu_build *b, const orion_op *op, orion_cpu_view *out, orion_error *err) {
  const orion_type *t = orion_cpu_result_type(b, op, 0);
  int order[ORION_MAX_RANK], n = 0, first = t->rank > 3 ? 1 : 0;
  for (int i = 0; i < first; i++) order[n++] = i;
  order[n++] = t->rank - 2;
  for (int i = first; i < t->rank - 2; i++) order[n++] = i;
  order[n++] = t->rank - 1;
  int64_t dims[ORION_MAX_RANK];
  orion_cpu_view lies;
  for (int i = 0; i < n; i++) dims[i] = t->dims[order[i]];
  ORION_TRY(orion_cpu_new_view(b, ORION_FP32, n, dims, &lies, err));
  *out = lies;
  for (int i = 0; i < n; i++) {
    out->dims[order[i]] = lies.dims[i];
    out->strides[order[i]] = lies.strides[i];
  }
  orion_cpu_alias(b, op, 0, out);
  return ORION_OK;
}

orion_status orion_cpu_emit_attention_grad(orion_cpu_build *b, const orion_op *dv, const orion_cpu_attention_grad *g,
                                           orion_error *err) {
  const orion_ref reads[READS] = {[Q] = g->q, [K] = g->k, [V] = g->v, [Y] = g->y, [DY] = g->dy, [MASK] = g->mask};
  const orion_op *made[MADE] = {[DQ] = g->dq, [DK] = g->dk, [DV] = dv};
  const orion_type *tq = orion_cpu_result_type(b, g->dq, 0), *tv = orion_cpu_result_type(b, dv, 0);
  orion_cpu_view in[READS], out[MADE];
  grad_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  *d = (grad_step){.batch_rank = tq->rank - 2, .batches = 1, .rows = (size_t)tq->dims[tq->rank - 2],
                   .size = (size_t)tq->dims[tq->rank - 1], .keys = (size_t)tv->dims[tv->rank - 2],
                   .value_size = (size_t)tv->dims[tv->rank - 1], .score_scale = g->score_scale, .grad_scale = g->grad_scale};
  for (int i = 0; i < d->batch_rank; i++) {
    d->batch[i] = tq->dims[i];
    d->batches *= (size_t)tq->dims[i];
  }
  for (int i = 0; i < READS; i++) ORION_TRY(read(b, d, reads[i], &in[i], d->in[i], &d->in_row[i], err));
  for (int i = 0; i < MADE; i++) {
    ORION_TRY(make(b, made[i], &out[i], err));
    d->out_row[i] = (size_t)out[i].strides[out[i].rank - 2];
    if (!orion_cpu_batch_strides(d->batch_rank, d->batch, &out[i], out[i].rank - 2, d->out[i])) {
      return ORION_FAIL(err, ORION_FORMAT, "batch dimensions do not broadcast");
    }
  }
  orion_cpu_step step = {.run = run_attention_grad,
                         .kind = ORION_CPU_ATTENTION,
                         .n_in = READS,
                         .in = in,
                         .n_out = MADE,
                         .out = out,
                         .data = d,
                         .scratch = ORION_MATMUL_SCRATCH + 2 * ROWS * d->keys * sizeof(float)};
  return orion_cpu_add_step(b, &step, err);
}
