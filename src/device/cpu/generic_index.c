// Gathering and scattering by indices known at run time. Every index is checked.
#include "device/cpu/generic.h"

static orion_status index_of(const orion_cpu_exec *x, const orion_cpu_view *indices, size_t i, int64_t n, int64_t *out,
                             orion_error *err) {
  int64_t v = orion_generic_int(x, indices, i);
  *out = v < 0 ? v + n : v;
  if (*out >= 0 && *out < n) return ORION_OK;
  return ORION_FAIL(err, ORION_DEVICE, "index %lld is outside a dimension of %lld", (long long)v, (long long)n);
}

static orion_status prepare(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in, orion_generic_step *d,
                            orion_error *err) {
  const char *mode = NULL;
  if (orion_opcode_arg(op->code, "axis")) ORION_TRY(orion_cpu_axis(b, op, "axis", in[0].rank, &d->i[0], err));
  if (orion_opcode_arg(op->code, "batch_dims")) ORION_TRY(orion_cpu_int(b, op, "batch_dims", &d->i[1], err));
  if (d->i[1] < 0 || d->i[1] > in[1].rank || d->i[1] > in[0].rank)
    return ORION_FAIL(err, ORION_FORMAT, "batch_dims is out of range");
  if (orion_opcode_arg(op->code, "mode")) {
    static const char *const modes[] = {"add", "sub", "mul", "div", "max", "min", "update"};
    mode = orion_op_string(b->f, op, "mode");
    for (size_t i = 0; mode && i < sizeof modes / sizeof *modes; i++) {
      if (strcmp(mode, modes[i]) == 0) d->mode = modes[i];
    }
    if (!d->mode) return ORION_FAIL(err, ORION_UNSUPPORTED, "mode %s is unknown", mode ? mode : "");
  }
  return ORION_OK;
}

// x [B..., outer..., axis, inner...], indices [B..., I...] -> [B..., outer..., I..., inner...]
static orion_status run_gather(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                               orion_error *err) {
  const orion_cpu_view *in = &s->in[0], *indices = &s->in[1], *out = &s->out[0];
  int axis = (int)d->i[0], batch = (int)d->i[1], own = indices->rank - batch;
  size_t n = orion_cpu_elements(out);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK], at[ORION_MAX_RANK], which[ORION_MAX_RANK];
    orion_generic_coords(out, i, c);
    for (int k = 0; k < batch; k++) which[k] = c[k];
    for (int k = 0; k < own; k++) which[batch + k] = c[axis + k];
    for (int k = 0; k < axis; k++) at[k] = c[k];
    for (int k = axis + 1; k < in->rank; k++) at[k] = c[k - 1 + own];
    ORION_TRY(index_of(x, indices, orion_generic_index_of(indices, which), in->dims[axis], &at[axis], err));
    orion_generic_move_element(x, out, i, in, orion_generic_index_of(in, at));
  }
  return ORION_OK;
}

static orion_status run_gather_along(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                     orion_error *err) {
  const orion_cpu_view *in = &s->in[0], *out = &s->out[0];
  size_t n = orion_cpu_elements(out);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK];
    orion_generic_coords(out, i, c);
    ORION_TRY(index_of(x, &s->in[1], i, in->dims[d->i[0]], &c[d->i[0]], err));
    orion_generic_move_element(x, out, i, in, orion_generic_index_of(in, c));
  }
  return ORION_OK;
}

// indices [B..., I..., depth]: the last dimension holds coordinates of x after the batch dimensions.
static orion_status run_gather_nd(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                  orion_error *err) {
  const orion_cpu_view *in = &s->in[0], *indices = &s->in[1], *out = &s->out[0];
  int batch = (int)d->i[1], lead = indices->rank - 1, depth = (int)indices->dims[lead];
  size_t n = orion_cpu_elements(out);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK], at[ORION_MAX_RANK];
    orion_generic_coords(out, i, c);
    size_t row = 0;
    for (int k = 0; k < lead; k++) row = row * (size_t)indices->dims[k] + (size_t)c[k];
    for (int k = 0; k < batch; k++) at[k] = c[k];
    for (int k = 0; k < depth; k++) {
      ORION_TRY(index_of(x, indices, row * (size_t)depth + (size_t)k, in->dims[batch + k], &at[batch + k], err));
    }
    for (int k = batch + depth; k < in->rank; k++) at[k] = c[lead + k - batch - depth];
    orion_generic_move_element(x, out, i, in, orion_generic_index_of(in, at));
  }
  return ORION_OK;
}

// Results in memory are rounded after every update, as if the updates were ops.
static void combine(const orion_cpu_exec *x, const orion_cpu_view *out, size_t i, double v, const char *mode) {
  double old = orion_generic_get(x, out, i);
  switch (mode[0]) {
    case 'a':
      v = old + v;
      break;
    case 's':
      v = old - v;
      break;
    case 'd':
      v = old / v;
      break;
    case 'u':
      break;
    default:
      v = mode[1] == 'u'   ? old * v
          : mode[1] == 'a' ? (old > v || old != old ? old : v)
                           : (old < v || old != old ? old : v);
  }
  orion_generic_set(x, out, i, v);
}

static void copy_data(const orion_cpu_exec *x, const orion_cpu_step *s) {
  size_t w = orion_dtype_bits(s->out[0].dtype) / 8;
  memcpy(orion_cpu_at(x, &s->out[0]), orion_cpu_at(x, &s->in[0]), orion_cpu_elements(&s->out[0]) * w);
}

// in: data, indices, updates. updates [data up to axis..., I..., data after axis...]
static orion_status run_scatter(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                orion_error *err) {
  const orion_cpu_view *indices = &s->in[1], *updates = &s->in[2], *out = &s->out[0];
  int axis = (int)d->i[0], own = indices->rank;
  size_t n = orion_cpu_elements(updates);
  copy_data(x, s);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK], at[ORION_MAX_RANK];
    orion_generic_coords(updates, i, c);
    for (int k = 0; k < axis; k++) at[k] = c[k];
    for (int k = axis + 1; k < out->rank; k++) at[k] = c[k - 1 + own];
    ORION_TRY(index_of(x, indices, orion_generic_index_of(indices, c + axis), out->dims[axis], &at[axis], err));
    combine(x, out, orion_generic_index_of(out, at), orion_generic_get(x, updates, i), d->mode);
  }
  return ORION_OK;
}

static orion_status run_scatter_along(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                      orion_error *err) {
  const orion_cpu_view *indices = &s->in[1], *updates = &s->in[2], *out = &s->out[0];
  size_t n = orion_cpu_elements(indices);
  copy_data(x, s);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK];
    orion_generic_coords(indices, i, c);
    size_t from = orion_generic_index_of(updates, c);
    ORION_TRY(index_of(x, indices, i, out->dims[d->i[0]], &c[d->i[0]], err));
    combine(x, out, orion_generic_index_of(out, c), orion_generic_get(x, updates, from), d->mode);
  }
  return ORION_OK;
}

// indices [I..., depth], updates [I..., data after depth...]
static orion_status run_scatter_nd(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                   orion_error *err) {
  const orion_cpu_view *indices = &s->in[1], *updates = &s->in[2], *out = &s->out[0];
  int lead = indices->rank - 1, depth = (int)indices->dims[lead];
  size_t n = orion_cpu_elements(updates);
  copy_data(x, s);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK], at[ORION_MAX_RANK];
    size_t row = 0;
    orion_generic_coords(updates, i, c);
    for (int k = 0; k < lead; k++) row = row * (size_t)indices->dims[k] + (size_t)c[k];
    for (int k = 0; k < depth; k++) {
      ORION_TRY(index_of(x, indices, row * (size_t)depth + (size_t)k, out->dims[k], &at[k], err));
    }
    for (int k = depth; k < out->rank; k++) at[k] = c[lead + k - depth];
    combine(x, out, orion_generic_index_of(out, at), orion_generic_get(x, updates, i), d->mode);
  }
  return ORION_OK;
}

const orion_generic_op orion_generic_index[] = {
    {ORION_OP_gather, {"x", "indices"}, prepare, run_gather},
    {ORION_OP_gather_along_axis, {"x", "indices"}, prepare, run_gather_along},
    {ORION_OP_gather_nd, {"x", "indices"}, prepare, run_gather_nd},
    {ORION_OP_scatter, {"data", "indices", "updates"}, prepare, run_scatter},
    {ORION_OP_scatter_along_axis, {"data", "indices", "updates"}, prepare, run_scatter_along},
    {ORION_OP_scatter_nd, {"data", "indices", "updates"}, prepare, run_scatter_nd},
    {0},
};
