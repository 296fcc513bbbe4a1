// Along one axis: argmax, sorting, running sums; reductions of integers; and tensors made from numbers.
#include <math.h>

#include "device/cpu/generic.h"

// Lines of a tensor along an axis: element k of line l is at first + k * step.
typedef struct lines {
  size_t count, n, step;
} lines;

static lines lines_of(const orion_cpu_view *v, int64_t axis) {
  lines l = {1, v->rank ? (size_t)v->dims[axis] : 1, 1};
  for (int k = 0; k < v->rank; k++) {
    if (k != axis) l.count *= (size_t)v->dims[k];
    if (k > axis) l.step *= (size_t)v->dims[k];
  }
  return l;
}

static size_t line_start(const lines *l, size_t line) { return line / l->step * l->step * l->n + line % l->step; }

static orion_status prepare_axis(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in,
                                 orion_generic_step *d, orion_error *err) {
  bool flag = false;
  ORION_TRY(orion_cpu_axis(b, op, "axis", in[0].rank ? in[0].rank : 1, &d->i[0], err));
  static const char *const flags[] = {"ascending", "exclusive", "reverse"};
  for (int i = 0; i < 3; i++) {
    if (!orion_opcode_arg(op->code, flags[i])) continue;
    if (!orion_op_bool(b->f, op, flags[i], &flag))
      return ORION_FAIL(err, ORION_UNSUPPORTED, "%s must be constant", flags[i]);
    d->i[1 + i] = flag;
  }
  return ORION_OK;
}

// NaN counts as the largest, as the first of it for argmax.
static bool before(double a, double b, bool ascending) {
  if (a != a || b != b) return ascending ? b != b && a == a : a != a && b == b;
  return ascending ? a < b : a > b;
}

static orion_status run_arg(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                            orion_error *err) {
  lines l = lines_of(&s->in[0], d->i[0]);
  bool least = d->code == ORION_OP_reduce_argmin;
  for (size_t line = 0; line < l.count; line++) {
    size_t start = line_start(&l, line), best = 0;
    double value = l.n ? orion_generic_get(x, &s->in[0], start) : 0;
    for (size_t k = 1; k < l.n && value == value; k++) {
      double v = orion_generic_get(x, &s->in[0], start + k * l.step);
      if (v != v || before(v, value, least)) {
        value = v;
        best = k;
      }
    }
    orion_generic_set_int(x, &s->out[0], line, (int64_t)best);
  }
  return ORION_OK;
}

// Stable selection by rank: quadratic, for the short lines that programs sort. Results in out[at], positions in
// out[to].
static void sort_line(const orion_cpu_exec *x, const orion_cpu_step *s, const lines *l, size_t line, size_t keep,
                      bool ascending, int values, int positions) {
  size_t start = line_start(l, line), out_start = line / l->step * l->step * keep + line % l->step;
  for (size_t k = 0; k < l->n; k++) {
    double v = orion_generic_get(x, &s->in[0], start + k * l->step);
    size_t rank = 0;
    for (size_t j = 0; j < l->n; j++) {
      double o = orion_generic_get(x, &s->in[0], start + j * l->step);
      rank += before(o, v, ascending) || (j < k && !before(v, o, ascending));
    }
    if (rank >= keep) continue;
    size_t to = out_start + rank * l->step;
    if (values >= 0) orion_generic_move_element(x, &s->out[values], to, &s->in[0], start + k * l->step);
    if (positions >= 0) orion_generic_set_int(x, &s->out[positions], to, (int64_t)k);
  }
}

static orion_status run_argsort(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                orion_error *err) {
  lines l = lines_of(&s->in[0], d->i[0]);
  for (size_t i = 0; i < l.count; i++) sort_line(x, s, &l, i, l.n, d->i[1] != 0, -1, 0);
  return ORION_OK;
}

static orion_status run_topk(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                             orion_error *err) {
  lines l = lines_of(&s->in[0], d->i[0]);
  size_t keep = (size_t)s->out[0].dims[d->i[0]];
  for (size_t i = 0; i < l.count; i++) sort_line(x, s, &l, i, keep, d->i[1] != 0, 0, s->n_out > 1 ? 1 : -1);
  return ORION_OK;
}

static orion_status run_cumsum(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                               orion_error *err) {
  lines l = lines_of(&s->in[0], d->i[0]);
  bool floats = orion_dtype_is_float(s->in[0].dtype), exclusive = d->i[2], reverse = d->i[3];
  for (size_t line = 0; line < l.count; line++) {
    size_t start = line_start(&l, line);
    float sum = 0;
    int64_t whole = 0;
    for (size_t k = 0; k < l.n; k++) {
      size_t at = start + (reverse ? l.n - 1 - k : k) * l.step;
      float f = floats ? (float)orion_generic_get(x, &s->in[0], at) : 0;
      int64_t i = floats ? 0 : orion_generic_int(x, &s->in[0], at);
      double out =
          exclusive ? (floats ? (double)sum : (double)whole) : (floats ? (double)(sum + f) : (double)(whole + i));
      sum += f;
      whole += i;
      orion_generic_set(x, &s->out[0], at, out);
    }
  }
  return ORION_OK;
}

// ---- integers reduced over marked axes: i[k] = 1 ----

static orion_status prepare_reduce(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in,
                                   orion_generic_step *d, orion_error *err) {
  bool marked[ORION_MAX_RANK];
  ORION_TRY(orion_cpu_axes(b, op, "axes", in[0].rank, marked, err));
  for (int k = 0; k < in[0].rank; k++) d->i[k] = marked[k];
  return ORION_OK;
}

static orion_status run_reduce(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                               orion_error *err) {
  const orion_cpu_view *in = &s->in[0], *out = &s->out[0];
  size_t n = orion_cpu_elements(in), m = orion_cpu_elements(out), per = m ? n / m : 0;
  orion_opcode code = d->code;
  for (size_t o = 0; o < m; o++) {
    int64_t first = code == ORION_OP_reduce_prod  ? 1
                    : code == ORION_OP_reduce_max ? INT64_MIN
                    : code == ORION_OP_reduce_min ? INT64_MAX
                                                  : 0;
    int64_t sum = first;
    for (size_t i = 0; i < n; i++) {
      int64_t c[ORION_MAX_RANK];
      size_t to = 0;
      orion_generic_coords(in, i, c);
      for (int k = 0; k < in->rank; k++) to = d->i[k] ? to : to * (size_t)in->dims[k] + (size_t)c[k];
      if (to != o) continue;
      int64_t v = orion_generic_int(x, in, i);
      if (code == ORION_OP_reduce_l1_norm) v = v < 0 ? -v : v;
      if (code == ORION_OP_reduce_sum_square || code == ORION_OP_reduce_l2_norm) v *= v;
      if (code == ORION_OP_reduce_prod)
        sum *= v;
      else if (code == ORION_OP_reduce_max)
        sum = v > sum ? v : sum;
      else if (code == ORION_OP_reduce_min)
        sum = v < sum ? v : sum;
      else
        sum += v;
    }
    if (code == ORION_OP_reduce_mean && per) sum /= (int64_t)per;
    if (code == ORION_OP_reduce_l2_norm) sum = (int64_t)sqrt((double)sum);
    orion_generic_set_int(x, out, o, sum);
  }
  return ORION_OK;
}

// ---- tensors out of numbers ----

static orion_status prepare_fill(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in,
                                 orion_generic_step *d, orion_error *err) {
  if (orion_op_float(b->f, op, "value", &d->d[0])) return ORION_OK;
  return ORION_FAIL(err, ORION_UNSUPPORTED, "value must be constant");
}

static orion_status run_fill(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                             orion_error *err) {
  const orion_cpu_view *out = &s->out[0];
  const size_t n = orion_cpu_elements(out), size = orion_dtype_bits(out->dtype) / 8;
  uint8_t *to = orion_cpu_at(x, out);
  for (size_t i = 0; i < (size && n ? 1 : n); i++) orion_generic_set(x, out, i, d->d[0]);
  for (size_t done = 1; size && done < n; done *= 2) {  // what is there once more, until there is enough
    memcpy(to + done * size, to, (done < n - done ? done : n - done) * size);
  }
  return ORION_OK;
}

static orion_status run_shape(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                              orion_error *err) {
  for (int k = 0; k < s->in[0].rank; k++) orion_generic_set_int(x, &s->out[0], (size_t)k, s->in[0].dims[k]);
  return ORION_OK;
}

static orion_status run_range(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                              orion_error *err) {
  size_t n = orion_cpu_elements(&s->out[0]);
  double start = orion_generic_get(x, &s->in[0], 0), step = orion_generic_get(x, &s->in[1], 0);
  for (size_t i = 0; i < n; i++) orion_generic_set(x, &s->out[0], i, start + (double)i * step);
  return ORION_OK;
}

static orion_status prepare_one_hot(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in,
                                    orion_generic_step *d, orion_error *err) {
  ORION_TRY(orion_cpu_axis(b, op, "axis", in[0].rank + 1, &d->i[0], err));
  if (orion_op_float(b->f, op, "on_value", &d->d[0]) && orion_op_float(b->f, op, "off_value", &d->d[1]))
    return ORION_OK;
  return ORION_FAIL(err, ORION_UNSUPPORTED, "on_value and off_value must be constants");
}

static orion_status run_one_hot(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                orion_error *err) {
  const orion_cpu_view *out = &s->out[0];
  size_t n = orion_cpu_elements(out);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK], place;
    orion_generic_coords(out, i, c);
    place = c[d->i[0]];
    for (int k = (int)d->i[0]; k + 1 < out->rank; k++) c[k] = c[k + 1];
    bool on = orion_generic_int(x, &s->in[0], orion_generic_index_of(&s->in[0], c)) == place;
    orion_generic_set(x, out, i, d->d[on ? 0 : 1]);
  }
  return ORION_OK;
}

#define REDUCE(name) \
  { ORION_OP_##name, {"x"}, prepare_reduce, run_reduce }
const orion_generic_op orion_generic_misc[] = {
    {ORION_OP_reduce_argmax, {"x"}, prepare_axis, run_arg},
    {ORION_OP_reduce_argmin, {"x"}, prepare_axis, run_arg},
    {ORION_OP_argsort, {"x"}, prepare_axis, run_argsort},
    {ORION_OP_topk, {"x"}, prepare_axis, run_topk},
    {ORION_OP_cumsum, {"x"}, prepare_axis, run_cumsum},
    REDUCE(reduce_sum),
    REDUCE(reduce_mean),
    REDUCE(reduce_max),
    REDUCE(reduce_min),
    REDUCE(reduce_prod),
    REDUCE(reduce_l1_norm),
    REDUCE(reduce_l2_norm),
    REDUCE(reduce_sum_square),
    {ORION_OP_fill, {NULL}, prepare_fill, run_fill},
    {ORION_OP_fill_like, {"ref_tensor"}, prepare_fill, run_fill},
    {ORION_OP_shape, {"x"}, NULL, run_shape},
    {ORION_OP_range_1d, {"start", "step"}, NULL, run_range},
    {ORION_OP_one_hot, {"indices"}, prepare_one_hot, run_one_hot},
    {0},
};
