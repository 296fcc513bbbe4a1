// Gathering along one axis: rows of an embedding table, mostly. Indices are checked in every run.
#include "device/cpu/build.h"

typedef struct gather_step {
  size_t outer, inner, n;  // x seen as [outer, axis, inner], n indices
  int64_t axis;
  int64_t xs[3];  // strides of that view
} gather_step;

static orion_status run_gather(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const gather_step *d = s->data;
  const orion_cpu_view *in = &s->in[0], *indices = &s->in[1], *out = &s->out[0];
  const void *list = orion_cpu_at(x, indices);
  float *tile = orion_cpu_scratch(x, 0);
  size_t w = orion_dtype_bits(out->dtype) / 8;
  for (size_t i = 0; i < d->n; i++) {
    int64_t at = orion_load_int(indices->dtype, list, i), index = at < 0 ? at + d->axis : at;
    if (index < 0 || index >= d->axis) {
      return ORION_FAIL(err, ORION_DEVICE, "index %lld is outside a dimension of %lld", (long long)at,
                        (long long)d->axis);
    }
    for (size_t o = 0; o < d->outer; o++) {
      int64_t from = in->offset + (int64_t)o * d->xs[0] + index * d->xs[1];
      size_t to = (o * d->n + i) * d->inner;
      if (in->dtype == out->dtype && d->xs[2] == 1) {
        memcpy((uint8_t *)orion_cpu_at(x, out) + to * w, (const uint8_t *)x->base[in->buffer] + from * (int64_t)w,
               d->inner * w);
        continue;
      }
      for (size_t c = 0; c < d->inner; c += ORION_CPU_TILE) {
        size_t m = d->inner - c < ORION_CPU_TILE ? d->inner - c : ORION_CPU_TILE;
        orion_cpu_load(x->k, tile, in->dtype, x->base[in->buffer], from + (int64_t)c * d->xs[2], d->xs[2], m);
        orion_cpu_store(x->k, out->dtype, x->base[out->buffer], out->offset + (int64_t)(to + c), 1, tile, m);
      }
    }
  }
  return ORION_OK;
}

orion_status orion_cpu_emit_gather(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  orion_cpu_view in[2], out;
  int64_t axis, batch;
  ORION_TRY(orion_cpu_arg(b, op, "x", &in[0], err));
  ORION_TRY(orion_cpu_arg(b, op, "indices", &in[1], err));
  ORION_TRY(orion_cpu_axis(b, op, "axis", in[0].rank, &axis, err));
  ORION_TRY(orion_cpu_int(b, op, "batch_dims", &batch, err));
  bool floats =
      in[0].dtype == ORION_FP32 || in[0].dtype == ORION_FP16 || in[0].dtype == orion_cpu_result_type(b, op, 0)->dtype;
  if (batch != 0 || !floats || orion_dtype_bits(in[0].dtype) < 8) return orion_cpu_emit_generic(b, op, err);
  ORION_TRY(orion_cpu_to_packed(b, &in[0], err));
  ORION_TRY(orion_cpu_to_packed(b, &in[1], err));
  gather_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  d->outer = d->inner = 1;
  for (int i = 0; i < in[0].rank; i++) {
    if (i != axis) *(i < axis ? &d->outer : &d->inner) *= (size_t)in[0].dims[i];
  }
  d->axis = in[0].dims[axis];
  d->n = orion_cpu_elements(&in[1]);
  d->xs[2] = 1;
  d->xs[1] = (int64_t)d->inner;
  d->xs[0] = d->axis * d->xs[1];
  ORION_TRY(orion_cpu_result(b, op, 0, &out, err));
  orion_cpu_step step = {.run = run_gather,
                         .kind = ORION_CPU_GATHER,
                         .n_in = 2,
                         .in = in,
                         .n_out = 1,
                         .out = &out,
                         .data = d,
                         .scratch = ORION_CPU_TILE * sizeof(float)};
  return orion_cpu_add_step(b, &step, err);
}
