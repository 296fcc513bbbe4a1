// The classifier with cross-entropy and its gradients (fuse_classifier.c), over ROWS rows at a time: their logits are made in
// one block, become their own gradient in place, are multiplied by the weight and by x, and are forgotten. So a batch of
// any length takes memory for ROWS rows of the vocabulary, once instead of three times.
//
// All is computed as operation by operation, and the chains of dW go on from one block to the next, as they do in one
// product over all rows: the bits are those of the operations, for any number of threads.
#include "device/cpu/products.h"
#include "device/cpu/rows.h"

enum { ROWS = 256, X = 0, WEIGHT, INDEX, EACH, LOG = 0, AT, DX, DW };

typedef struct classifier_step {
  size_t rows, classes, width;  // T, V, C
  size_t x_row, weight_row;     // strides
  bool many, fast;              // of the products
  bool gradients;
  int sum;                      // input that dW is added to; 0: none
  uint32_t block;               // [ROWS, V]
} classifier_step;

typedef struct classifier_run {
  const orion_cpu_exec *x;
  const orion_cpu_step *s;
  float *block;
  size_t first;                 // row
} classifier_run;

// Logits of a row to their logarithm of the sum of exponentials, the target's own, and the gradient.
static void rows_piece(void *ctx, size_t begin, size_t end, int worker) {
  const classifier_run *r = ctx;
  const orion_kernels *k = r->x->k;
  const classifier_step *d = r->s->data;
  const orion_cpu_view *indices = &r->s->in[INDEX];
  const size_t n = d->classes;
  for (size_t i = begin; i < end; i++) {
    float *row = r->block + i * n;
    const size_t at = r->first + i;
    const int64_t given = orion_load_int(indices->dtype, orion_cpu_at(r->x, indices), at);
    const size_t index = (size_t)(given < 0 ? given + (int64_t)n : given);
    ((float *)orion_cpu_at(r->x, &r->s->out[AT]))[at] = row[index];
    ((float *)orion_cpu_at(r->x, &r->s->out[LOG]))[at] = orion_cpu_log_sum_exp(k, row, n, orion_cpu_scratch(r->x, worker));
    if (!d->gradients) continue;
    const float each = ((const float *)orion_cpu_at(r->x, &r->s->in[EACH]))[at];
    k->softmax(row, row, n);
    k->map[ORION_MAP_MUL_SCALAR](row, row, NULL, n, each, 0);
    row[index] -= each;
  }
}

static orion_status check_indices(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const classifier_step *d = s->data;
  for (size_t i = 0; i < d->rows; i++) {
    int64_t index = orion_load_int(s->in[INDEX].dtype, orion_cpu_at(x, &s->in[INDEX]), i);
    if (index >= -(int64_t)d->classes && index < (int64_t)d->classes) continue;
    return ORION_FAIL(err, ORION_DEVICE, "index %lld is outside a dimension of %zu", (long long)index, d->classes);
  }
  return ORION_OK;
}

// What is summed up in another place than the sum lies.
static void copy_piece(void *ctx, size_t begin, size_t end, int worker) {
  const classifier_run *r = ctx;
  const classifier_step *d = r->s->data;
  const float *from = orion_cpu_at(r->x, &r->s->in[d->sum]);
  memcpy((float *)orion_cpu_at(r->x, &r->s->out[DW]) + begin, from + begin, (end - begin) * sizeof *from);
}

static orion_status run_classifier(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const classifier_step *d = s->data;
  const size_t n = d->classes;
  ORION_TRY(check_indices(x, s, err));
  classifier_run r = {.x = x, .s = s, .block = x->base[d->block]};
  const orion_matrix w = {orion_cpu_at(x, &s->in[WEIGHT]), 1, d->weight_row}, turned = {w.data, d->weight_row, 1};
  const float *rows = orion_cpu_at(x, &s->in[X]);
  float *dw = d->gradients ? orion_cpu_at(x, &s->out[DW]) : NULL;
  const bool sums = d->sum && !x->zero[s->in[d->sum].buffer];
  if (sums && orion_cpu_at(x, &s->in[d->sum]) != dw) {
    orion_cpu_for(x, n * d->width, ORION_CPU_SERIAL, n * d->width, copy_piece, &r);
  }
  for (size_t first = 0; first < d->rows; first += ROWS) {
    const size_t m = d->rows - first < ROWS ? d->rows - first : ROWS;
    const orion_matrix from = {rows + first * d->x_row, d->x_row, 1}, logits = {r.block, n, 1}, across = {r.block, 1, n};
    orion_cpu_product p = {.c = r.block, .c_stride = n, .a = from, .b = w, .m = m, .n = n, .k = d->width, .many = d->many,
                           .fast = d->fast};
    orion_cpu_product_run(x, &p);
    r.first = first;
    orion_cpu_for(x, m, 1, m * n * 4, rows_piece, &r);
    if (!d->gradients) continue;
    p.c = (float *)orion_cpu_at(x, &s->out[DX]) + first * d->width;
    p.c_stride = p.n = d->width;
    p.a = logits;
    p.b = turned;
    p.k = n;
    orion_cpu_product_run(x, &p);
    p.c = dw;
    p.a = across;
    p.b = from;
    p.m = n;
    p.k = m;
    p.add = sums || first > 0;
    orion_cpu_product_run(x, &p);
  }
  return ORION_OK;
}

// ---- building ----

// Floats [rows, columns], columns side by side.
static orion_status rows_view(orion_cpu_build *b, orion_ref ref, orion_cpu_view *out, size_t *out_row, orion_error *err) {
  ORION_TRY(orion_cpu_ref_view(b, ref, out, err));
  ORION_TRY(orion_cpu_to_float_rows(b, out, err));
  *out_row = (size_t)out->strides[0];
  return ORION_OK;
}

// dW, or what adds it to the sum so far.
static orion_status emit_dw(orion_cpu_build *b, const orion_cpu_classifier *g, orion_cpu_view *in, uint32_t *n_in,
                            orion_cpu_view *out, classifier_step *d, orion_error *err) {
  const orion_op *op = g->dw;
  if (orion_cpu_product_waits(b, op)) {
    orion_value_id own = op->results[0];
    op = &b->f->ops[b->user[own]];
    orion_ref x = orion_op_ref(op, "x");
    ORION_TRY(orion_cpu_ref_view(b, x == own ? orion_op_ref(op, "y") : x, &in[*n_in], err));
    d->sum = (int)(*n_in)++;
    b->absorbed[b->user[own]] = true;
  }
  return orion_cpu_result(b, op, 0, out, err);
}

orion_status orion_cpu_emit_classifier(orion_cpu_build *b, const orion_cpu_classifier *g, orion_error *err) {
  orion_cpu_view in[5], out[4];
  uint32_t n_in = 3, n_out = 2;
  classifier_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  for (int i = 0; i < g->n_early; i++) {
    ORION_TRY(orion_cpu_emit_elementwise(b, &b->f->ops[g->early[i]], err));
    b->absorbed[g->early[i]] = true;
  }
  ORION_TRY(rows_view(b, g->x, &in[X], &d->x_row, err));
  ORION_TRY(rows_view(b, g->weight, &in[WEIGHT], &d->weight_row, err));
  ORION_TRY(orion_cpu_ref_view(b, g->index, &in[INDEX], err));
  ORION_TRY(orion_cpu_to_packed(b, &in[INDEX], err));
  d->rows = (size_t)in[X].dims[0];
  d->classes = (size_t)in[WEIGHT].dims[0];
  d->width = (size_t)in[WEIGHT].dims[1];
  d->many = orion_many_pays(b->k, d->rows, d->classes, d->width, b->fast);
  d->fast = b->fast;
  d->gradients = g->each != ORION_NONE;
  ORION_TRY(orion_cpu_result(b, g->log, 0, &out[LOG], err));
  ORION_TRY(orion_cpu_result(b, g->at, 0, &out[AT], err));
  if (d->gradients) {
    ORION_TRY(orion_cpu_ref_view(b, g->each, &in[n_in], err));
    ORION_TRY(orion_cpu_to_f32(b, &in[n_in++], err));
    ORION_TRY(orion_cpu_result(b, g->dx, 0, &out[n_out++], err));
    ORION_TRY(emit_dw(b, g, in, &n_in, &out[n_out++], d, err));
  }
  size_t bytes, rows = d->rows < ROWS ? d->rows : ROWS, products = orion_cpu_product_scratch(d->many);
  if (!orion_mul_ok(rows * sizeof(float), d->classes, &bytes)) return ORION_FAIL(err, ORION_LIMIT, "too many classes");
  ORION_TRY(orion_cpu_temp(b, bytes, &d->block, err));
  orion_cpu_step step = {.run = run_classifier,
                         .kind = ORION_CPU_MATMUL,
                         .start = (uint32_t)d->sum,
                         .n_in = n_in,
                         .in = in,
                         .n_out = n_out,
                         .out = out,
                         .n_tmp = 1,
                         .tmp = &d->block,
                         .data = d,
                         .scratch = bytes / rows > products ? bytes / rows : products};
  return orion_cpu_add_step(b, &step, err);
}
