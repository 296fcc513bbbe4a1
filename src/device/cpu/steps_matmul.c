// Products of two run-time tensors: matmul with broadcast batches, and linear whose weight is not constant. Operands
// are floats with any strides; halves are converted first.
#include "device/cpu/products.h"

enum { TILE_ROWS = 192, TILE_COLS = 256 };  // of a piece that is converted on its way out, at most

typedef struct matmul_step {
  int batch_rank;
  int64_t batch[ORION_MAX_RANK], xs[ORION_MAX_RANK], ys[ORION_MAX_RANK], os[ORION_MAX_RANK];
  size_t batches, m, n, k;
  orion_matrix a, b;   // strides only
  int bias, sum;       // which input is a bias, and what the product is added to; 0: none
  bool convert;        // result is not fp32: by way of scratch
  bool many, fast;     // by matmul_many, and how
  size_t scratch;      // bytes of the kernel's
} matmul_step;

typedef struct matmul_run {
  const orion_cpu_exec *x;
  const orion_cpu_step *s;
  orion_cpu_cut cut;
} matmul_run;

static void matmul_piece(void *ctx, size_t begin, size_t end, int worker) {
  const matmul_run *r = ctx;
  const orion_cpu_exec *x = r->x;
  const matmul_step *d = r->s->data;
  const orion_cpu_view *out = &r->s->out[0];
  uint8_t *scratch = orion_cpu_scratch(x, worker);
  float *tile = (float *)(void *)(scratch + d->scratch);
  for (size_t i = begin; i < end; i++) {
    size_t batch = i / (r->cut.row_blocks * r->cut.col_blocks), rest = i % (r->cut.row_blocks * r->cut.col_blocks);
    size_t m0 = rest / r->cut.col_blocks * r->cut.rows, n0 = rest % r->cut.col_blocks * r->cut.cols;
    size_t m = d->m - m0 < r->cut.rows ? d->m - m0 : r->cut.rows;
    size_t n = d->n - n0 < r->cut.cols ? d->n - n0 : r->cut.cols;
    orion_matrix a = d->a, w = d->b;
    a.data = (const float *)orion_cpu_at(x, &r->s->in[0]) +
             orion_cpu_row_offset(d->batch_rank, d->batch, d->xs, batch) + m0 * a.row;
    w.data = (const float *)orion_cpu_at(x, &r->s->in[1]) +
             orion_cpu_row_offset(d->batch_rank, d->batch, d->ys, batch) + n0 * w.col;
    int64_t at = orion_cpu_row_offset(d->batch_rank, d->batch, d->os, batch) + (int64_t)(m0 * d->n + n0);
    float *y = d->convert ? tile : (float *)orion_cpu_at(x, out) + at;
    size_t stride = d->convert ? n : d->n;
    bool sums = d->sum && !x->zero[r->s->in[d->sum].buffer];
    const float *sum = sums ? (const float *)orion_cpu_at(x, &r->s->in[d->sum]) + at : NULL;
    for (size_t j = 0; sum && sum != y && j < m; j++) memcpy(y + j * stride, sum + j * stride, n * sizeof *y);
    const orion_cpu_product p = {.c = y, .c_stride = stride, .a = a, .b = w, .m = m, .n = n, .k = d->k, .add = sum != NULL,
                                 .many = d->many, .fast = d->fast};
    orion_cpu_product_piece(x->k, &p, scratch);
    const float *bias = d->bias ? (const float *)orion_cpu_at(x, &r->s->in[d->bias]) + n0 : NULL;
    for (size_t j = 0; bias && j < m; j++) x->k->map[ORION_MAP_ADD](y + j * stride, y + j * stride, bias, n, 0, 0);
    for (size_t j = 0; d->convert && j < m; j++) {
      orion_cpu_store(x->k, out->dtype, x->base[out->buffer], out->offset + at + (int64_t)(j * d->n), 1, tile + j * n,
                      n);
    }
  }
}

static orion_status run_matmul(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const matmul_step *d = s->data;
  if (!d->batches || !d->m || !d->n) return ORION_OK;
  size_t most_rows = d->convert ? TILE_ROWS : SIZE_MAX, most_cols = d->convert ? TILE_COLS : SIZE_MAX;
  matmul_run r = {x, s, orion_cpu_product_cut(x, d->batches, d->m, d->n, most_rows, most_cols)};
  orion_cpu_for(x, d->batches * r.cut.row_blocks * r.cut.col_blocks, 1, d->batches * d->m * d->n * d->k / 8, matmul_piece, &r);
  return ORION_OK;
}

// Floats in memory; strides may be anything that is not negative.
static orion_status floats(orion_cpu_build *b, orion_cpu_view *v, orion_error *err) {
  bool fine = v->dtype == ORION_FP32;
  for (int i = 0; i < v->rank; i++) fine = fine && v->strides[i] >= 0;
  return fine ? ORION_OK : orion_cpu_to_f32(b, v, err);
}

// `add` (may be NULL) is what adds the product to `sum`, and has the result.
static orion_status emit(orion_cpu_build *b, const orion_op *op, const orion_op *add, orion_ref sum, orion_error *err) {
  bool linear = op->code == ORION_OP_linear, tx = false, ty = true;
  orion_cpu_view in[4], out;
  ORION_TRY(orion_cpu_arg(b, op, "x", &in[0], err));
  ORION_TRY(orion_cpu_arg(b, op, linear ? "weight" : "y", &in[1], err));
  if (!linear && (!orion_op_bool(b->f, op, "transpose_x", &tx) || !orion_op_bool(b->f, op, "transpose_y", &ty))) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "transpose_x and transpose_y must be constants");
  }
  if (!orion_dtype_is_float(in[0].dtype) || !orion_dtype_is_float(in[1].dtype))
    return orion_cpu_emit_generic(b, op, err);
  ORION_TRY(floats(b, &in[0], err));
  ORION_TRY(floats(b, &in[1], err));
  matmul_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  const orion_type *t = orion_cpu_result_type(b, op, 0);
  int rx = in[0].rank, ry = in[1].rank;
  bool row_x = rx == 1, col_y = ry == 1;  // vectors: [1, K] and [K, 1], the added dimension not in the result
  int xm = row_x ? -1 : tx ? rx - 1 : rx - 2, xk = row_x ? 0 : tx ? rx - 2 : rx - 1;
  int yn = col_y ? -1 : ty ? ry - 2 : ry - 1, yk = col_y ? 0 : ty ? ry - 1 : ry - 2;
  d->m = xm < 0 ? 1 : (size_t)in[0].dims[xm];
  d->n = yn < 0 ? 1 : (size_t)in[1].dims[yn];
  d->k = (size_t)in[0].dims[xk];
  if ((size_t)in[1].dims[yk] != d->k) return ORION_FAIL(err, ORION_FORMAT, "inner dimensions differ");
  d->a = (orion_matrix){NULL, xm < 0 ? 0 : (size_t)in[0].strides[xm], (size_t)in[0].strides[xk]};
  d->b = (orion_matrix){NULL, (size_t)in[1].strides[yk], yn < 0 ? 0 : (size_t)in[1].strides[yn]};
  d->batch_rank = t->rank - (row_x ? 0 : 1) - (col_y ? 0 : 1);
  if (!orion_cpu_batch_strides(d->batch_rank, t->dims, &in[0], row_x ? 0 : rx - 2, d->xs) ||
      !orion_cpu_batch_strides(d->batch_rank, t->dims, &in[1], col_y ? 0 : ry - 2, d->ys)) {
    return ORION_FAIL(err, ORION_FORMAT, "batch dimensions do not broadcast");
  }
  d->batches = 1;
  for (int i = 0; i < d->batch_rank; i++) {
    d->batch[i] = t->dims[i];
    d->batches *= (size_t)t->dims[i];
  }
  int64_t stride = (int64_t)(d->m * d->n);
  for (int i = d->batch_rank - 1; i >= 0; i--) {
    d->os[i] = stride;
    stride *= t->dims[i];
  }
  uint32_t n_in = 2;
  if (linear && orion_cpu_has(op, "bias")) {
    ORION_TRY(orion_cpu_arg_f32(b, op, "bias", &in[n_in], err));
    d->bias = (int)n_in++;
  }
  if (add) {
    ORION_TRY(orion_cpu_ref_view(b, sum, &in[n_in], err));
    d->sum = (int)n_in++;
  }
  ORION_TRY(orion_cpu_result(b, add ? add : op, 0, &out, err));
  d->convert = out.dtype != ORION_FP32;
  d->many = orion_many_pays(b->k, d->m, d->n, d->k, b->fast);
  d->fast = b->fast;
  d->scratch = orion_cpu_product_scratch(d->many);
  orion_cpu_step step = {.run = run_matmul,
                         .kind = ORION_CPU_MATMUL,
                         .start = (uint32_t)d->sum,
                         .n_in = n_in,
                         .in = in,
                         .n_out = 1,
                         .out = &out,
                         .data = d,
                         .scratch = d->scratch + (d->convert ? TILE_ROWS * TILE_COLS * sizeof(float) : 0)};
  return orion_cpu_add_step(b, &step, err);
}

orion_status orion_cpu_emit_matmul(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  return emit(b, op, NULL, ORION_NONE, err);
}

// ---- sums over micro-batches ----

static bool is_parameter(const orion_cpu_build *b, orion_ref ref) {
  return ref != ORION_NONE && !orion_ref_is_literal(ref) && b->f->values[ref].def == ORION_NONE;
}

bool orion_cpu_product_waits(const orion_cpu_build *b, const orion_op *op) {
  if (!orion_cpu_may_wait(b, op)) return false;
  orion_value_id v = op->results[0];
  const orion_op *add = &b->f->ops[b->user[v]];
  if (add->code != ORION_OP_add) return false;
  orion_ref x = orion_op_ref(add, "x"), y = orion_op_ref(add, "y"), sum = x == v ? y : x;
  const orion_type *t = b->f->values[v].type;
  return is_parameter(b, sum) && t->dtype == ORION_FP32 && orion_type_equal(t, b->f->values[sum].type) &&
         orion_dtype_is_float(orion_ref_type(b->f, orion_op_ref(op, "x"))->dtype);
}

const orion_op *orion_cpu_summed_product(const orion_cpu_build *b, const orion_op *op, orion_ref *out_sum) {
  if (op->code != ORION_OP_add) return NULL;
  orion_ref args[] = {orion_op_ref(op, "x"), orion_op_ref(op, "y")};
  for (int i = 0; i < 2; i++) {
    if (orion_ref_is_literal(args[i]) || args[i] == ORION_NONE || !is_parameter(b, args[!i])) continue;
    orion_op_id def = b->f->values[args[i]].def;
    const orion_cpu_value *v = &b->values[args[i]];
    if (def == ORION_NONE || v->state != ORION_CPU_PENDING || v->lazy || !v->summed) continue;
    *out_sum = args[!i];
    return &b->f->ops[def];
  }
  return NULL;
}

orion_status orion_cpu_emit_product_sum(orion_cpu_build *b, const orion_op *product, const orion_op *add, orion_ref sum,
                                        orion_error *err) {
  return emit(b, product, add, sum, err);
}
