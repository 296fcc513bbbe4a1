// Kernels over rows: softmax, layer_norm, RMS norm, argmax. The reduced axes are put last by permuting the view; a row
// that does not lie in memory as floats is loaded into the worker's scratch.
#include "device/cpu/rows.h"

// ---- views with some axes last ----

orion_status orion_cpu_rows_last(orion_cpu_build *b, const bool *last, orion_cpu_view *v, orion_cpu_rows *out,
                                 bool may_copy, orion_error *err) {
  orion_cpu_view p = *v;
  int at = 0;
  for (int pass = 0; pass < 2; pass++) {
    for (int i = 0; i < v->rank; i++) {
      if (last[i] != (pass == 1)) continue;
      p.dims[at] = v->dims[i];
      p.strides[at++] = v->strides[i];
    }
    if (pass == 0) out->rank = at;
  }
  int64_t next = 0;
  bool even = true;
  out->n = 1;
  out->stride = 1;
  for (int i = p.rank - 1; i >= out->rank; i--) {
    if (p.dims[i] != 1) {
      if (out->n == 1)
        out->stride = p.strides[i];
      else
        even = even && p.strides[i] == next;
      next = p.strides[i] * p.dims[i];
    }
    out->n *= (size_t)p.dims[i];
  }
  if (!even) {
    if (!may_copy) return ORION_FAIL(err, ORION_UNSUPPORTED, "axes that are not neighbours");
    ORION_TRY(orion_cpu_to_packed(b, &p, err));
    out->stride = 1;
  }
  out->rows = 1;
  for (int i = 0; i < out->rank; i++) {
    out->dims[i] = p.dims[i];
    out->strides[i] = p.strides[i];
    out->rows *= (size_t)p.dims[i];
  }
  *v = p;
  return ORION_OK;
}

// ---- the step ----

typedef struct rows_step {
  orion_cpu_rows in, out;
  orion_cpu_row_kernel kernel;
  float epsilon;
  int gamma, beta;  // inputs, or -1
} rows_step;

typedef struct rows_run {
  const orion_cpu_exec *x;
  const orion_cpu_step *s;
} rows_run;

static void rows_piece(void *ctx, size_t begin, size_t end, int worker) {
  const rows_run *r = ctx;
  const orion_cpu_exec *x = r->x;
  const rows_step *d = r->s->data;
  const orion_cpu_view *in = &r->s->in[0], *out = &r->s->out[0];
  const float *gamma = d->gamma >= 0 ? orion_cpu_at(x, &r->s->in[d->gamma]) : NULL;
  const float *beta = d->beta >= 0 ? orion_cpu_at(x, &r->s->in[d->beta]) : NULL;
  float *tile = orion_cpu_scratch(x, worker);
  size_t n = d->in.n;
  bool direct = out->dtype == ORION_FP32 && d->out.stride == 1;
  for (size_t i = begin; i < end; i++) {
    int64_t from = in->offset + orion_cpu_row_offset(d->in.rank, d->in.dims, d->in.strides, i);
    int64_t to = out->offset + orion_cpu_row_offset(d->out.rank, d->out.dims, d->out.strides, i);
    const float *row = (const float *)x->base[in->buffer] + from;
    if (in->dtype != ORION_FP32 || d->in.stride != 1) {
      orion_cpu_load(x->k, tile, in->dtype, x->base[in->buffer], from, d->in.stride, n);
      row = tile;
    }
    float *dst = direct ? (float *)x->base[out->buffer] + to : tile;
    switch (d->kernel) {
      case ORION_CPU_SOFTMAX:
        x->k->softmax(dst, row, n);
        break;
      case ORION_CPU_LAYER_NORM:
        x->k->layer_norm(dst, row, gamma, beta, d->epsilon, n);
        break;
      case ORION_CPU_RMS_NORM:
        x->k->rms_norm(dst, row, gamma, d->epsilon, n);
        break;
    }
    if (!direct) orion_cpu_store(x->k, out->dtype, x->base[out->buffer], to, d->out.stride, dst, n);
  }
}

static orion_status run_rows(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const rows_step *d = s->data;
  rows_run r = {x, s};
  if (d->in.n == 0) return ORION_OK;
  size_t grain = ORION_CPU_SERIAL / (d->in.n * 4) + 1;
  orion_cpu_for(x, d->in.rows, grain, d->in.rows * d->in.n * 2, rows_piece, &r);
  return ORION_OK;
}

static orion_status add_rows(orion_cpu_build *b, const orion_op *op, const bool *last, orion_cpu_row_kernel kernel,
                             float epsilon, orion_cpu_view *in, uint32_t n_in, bool gamma, bool beta,
                             orion_error *err) {
  rows_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  d->kernel = kernel;
  d->epsilon = epsilon;
  d->gamma = gamma ? 1 : -1;
  d->beta = beta ? (int)n_in - 1 : -1;
  orion_cpu_view out, result;
  ORION_TRY(orion_cpu_rows_last(b, last, &in[0], &d->in, true, err));
  ORION_TRY(orion_cpu_result(b, op, 0, &result, err));
  out = result;
  bool copied = orion_cpu_rows_last(b, last, &out, &d->out, false, NULL) != ORION_OK;
  orion_cpu_view packed = in[0];
  if (copied) {  // the axes are not neighbours: rows are made in a permuted tensor
    ORION_TRY(orion_cpu_new_view(b, result.dtype, packed.rank, packed.dims, &packed, err));
    out = packed;
    bool order[ORION_MAX_RANK] = {false};
    for (int i = d->in.rank; i < packed.rank; i++) order[i] = true;
    ORION_TRY(orion_cpu_rows_last(b, order, &out, &d->out, false, err));
  }
  orion_cpu_step step = {.run = run_rows,
                         .kind = ORION_CPU_ROWS,
                         .n_in = n_in,
                         .in = in,
                         .n_out = 1,
                         .out = &out,
                         .data = d,
                         .scratch = d->in.n * sizeof(float)};
  ORION_TRY(orion_cpu_add_step(b, &step, err));
  if (!copied) return ORION_OK;
  orion_cpu_view to = result;
  int at = 0;
  for (int pass = 0; pass < 2; pass++) {
    for (int i = 0; i < result.rank; i++) {
      if (last[i] != (pass == 1)) continue;
      to.dims[at] = result.dims[i];
      to.strides[at++] = result.strides[i];
    }
  }
  return orion_cpu_add_copy(b, &packed, &to, err);
}

orion_status orion_cpu_emit_softmax(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  orion_cpu_view in;
  int64_t axis;
  bool last[ORION_MAX_RANK] = {false};
  ORION_TRY(orion_cpu_arg(b, op, "x", &in, err));
  ORION_TRY(orion_cpu_axis(b, op, "axis", in.rank ? in.rank : 1, &axis, err));
  last[axis] = true;
  return add_rows(b, op, last, ORION_CPU_SOFTMAX, 0, &in, 1, false, false, err);
}

orion_status orion_cpu_emit_layer_norm(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  orion_cpu_view in[3];
  bool last[ORION_MAX_RANK];
  double epsilon;
  uint32_t n = 1;
  ORION_TRY(orion_cpu_arg(b, op, "x", &in[0], err));
  ORION_TRY(orion_cpu_axes(b, op, "axes", in[0].rank, last, err));
  if (!orion_op_float(b->f, op, "epsilon", &epsilon))
    return ORION_FAIL(err, ORION_UNSUPPORTED, "epsilon must be constant");
  bool gamma = orion_cpu_has(op, "gamma"), beta = orion_cpu_has(op, "beta");
  if (gamma) ORION_TRY(orion_cpu_arg_f32(b, op, "gamma", &in[n++], err));
  if (beta) ORION_TRY(orion_cpu_arg_f32(b, op, "beta", &in[n++], err));
  size_t width = 1;
  for (int i = 0; i < in[0].rank; i++) width *= last[i] ? (size_t)in[0].dims[i] : 1;
  for (uint32_t i = 1; i < n; i++) {
    if (orion_cpu_elements(&in[i]) != width)
      return ORION_FAIL(err, ORION_FORMAT, "gamma or beta does not fit the axes");
  }
  return add_rows(b, op, last, ORION_CPU_LAYER_NORM, (float)epsilon, in, n, gamma, beta, err);
}

orion_status orion_cpu_emit_rms(orion_cpu_build *b, const orion_op *op, const orion_cpu_rms *rms, orion_error *err) {
  orion_cpu_view in[2];
  bool last[ORION_MAX_RANK] = {false};
  ORION_TRY(orion_cpu_ref_view(b, rms->x, &in[0], err));
  last[in[0].rank - 1] = true;
  bool gamma = rms->gamma != ORION_NONE;
  if (gamma) {
    ORION_TRY(orion_cpu_ref_view(b, rms->gamma, &in[1], err));
    ORION_TRY(orion_cpu_to_f32(b, &in[1], err));
  }
  return add_rows(b, op, last, ORION_CPU_RMS_NORM, rms->epsilon, in, gamma ? 2 : 1, gamma, false, err);
}
