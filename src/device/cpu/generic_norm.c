// Norms and activations by channel, local response norm, pooling.
#include <math.h>

#include "device/cpu/generic.h"
#include "device/cpu/pool_shape.h"

static orion_status prepare(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in, orion_generic_step *d,
                            orion_error *err) {
  static const char *const names[] = {"epsilon", "alpha", "beta", "k"};
  for (int i = 0; i < 4; i++) {
    const orion_arg_info *info = orion_opcode_arg(op->code, names[i]);
    if (!info || info->kind != ORION_ARG_NUM) continue;
    if (!orion_op_float(b->f, op, names[i], &d->d[i]))
      return ORION_FAIL(err, ORION_UNSUPPORTED, "%s must be constant", names[i]);
  }
  if (op->code == ORION_OP_local_response_norm) ORION_TRY(orion_cpu_int(b, op, "size", &d->i[0], err));
  bool channels = op->code != ORION_OP_l2_norm;
  if (in[0].rank < (channels ? 2 : 1)) return ORION_FAIL(err, ORION_FORMAT, "x has too few dimensions");
  for (int i = 1; i < 5; i++) {
    if (d->has[i] && (int64_t)orion_cpu_elements(&in[i]) != in[0].dims[1]) {
      return ORION_FAIL(err, ORION_FORMAT, "a parameter does not have an entry per channel");
    }
  }
  return ORION_OK;
}

static size_t spatial(const orion_cpu_view *v) {
  size_t n = 1;
  for (int k = 2; k < v->rank; k++) n *= (size_t)v->dims[k];
  return n;
}

static double parameter(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d, int which,
                        size_t c, double fallback) {
  return d->has[which] ? orion_generic_get(x, &s->in[which], c) : fallback;
}

// in: x, gamma, beta, mean, variance
static orion_status run_batch_norm(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                   orion_error *err) {
  const orion_cpu_view *in = &s->in[0];
  size_t n = orion_cpu_elements(in), inner = spatial(in);
  for (size_t i = 0; i < n; i++) {
    size_t c = i / inner % (size_t)in->dims[1];
    double v = orion_generic_get(x, in, i) - parameter(x, s, d, 3, c, 0);
    v /= sqrt(parameter(x, s, d, 4, c, 1) + d->d[0]);
    orion_generic_set(x, &s->out[0], i, v * parameter(x, s, d, 1, c, 1) + parameter(x, s, d, 2, c, 0));
  }
  return ORION_OK;
}

// Each channel of each sample by its own mean and variance. in: x, gamma, beta
static orion_status run_instance_norm(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                      orion_error *err) {
  const orion_cpu_view *in = &s->in[0];
  size_t inner = spatial(in), n = orion_cpu_elements(in);
  for (size_t first = 0; inner && first < n; first += inner) {
    double mean = 0, variance = 0;
    size_t c = first / inner % (size_t)in->dims[1];
    for (size_t i = 0; i < inner; i++) mean += orion_generic_get(x, in, first + i);
    mean /= (double)inner;
    for (size_t i = 0; i < inner; i++) {
      double v = orion_generic_get(x, in, first + i) - mean;
      variance += v * v;
    }
    double scale = parameter(x, s, d, 1, c, 1) / sqrt(variance / (double)inner + d->d[0]),
           shift = parameter(x, s, d, 2, c, 0);
    for (size_t i = 0; i < inner; i++) {
      orion_generic_set(x, &s->out[0], first + i, (orion_generic_get(x, in, first + i) - mean) * scale + shift);
    }
  }
  return ORION_OK;
}

// x / sqrt(sum over the last three dimensions of x^2 + epsilon)
static orion_status run_l2_norm(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                orion_error *err) {
  const orion_cpu_view *in = &s->in[0];
  size_t n = orion_cpu_elements(in), group = 1;
  for (int k = in->rank > 3 ? in->rank - 3 : 0; k < in->rank; k++) group *= (size_t)in->dims[k];
  for (size_t first = 0; group && first < n; first += group) {
    double sum = 0;
    for (size_t i = 0; i < group; i++) {
      double v = orion_generic_get(x, in, first + i);
      sum += v * v;
    }
    for (size_t i = 0; i < group; i++) {
      orion_generic_set(x, &s->out[0], first + i, orion_generic_get(x, in, first + i) / sqrt(sum + d->d[0]));
    }
  }
  return ORION_OK;
}

// x / (k + alpha / size * sum over `size` neighbouring channels of x^2) ^ beta
static orion_status run_lrn(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                            orion_error *err) {
  const orion_cpu_view *in = &s->in[0];
  size_t n = orion_cpu_elements(in), inner = spatial(in);
  int64_t channels = in->dims[1], size = d->i[0];
  for (size_t i = 0; i < n; i++) {
    int64_t c = (int64_t)(i / inner % (size_t)channels), from = c - size / 2, to = from + size - 1;
    double sum = 0;
    for (int64_t o = from < 0 ? 0 : from; o <= to && o < channels; o++) {
      double v = orion_generic_get(x, in, (size_t)((int64_t)i + (o - c) * (int64_t)inner));
      sum += v * v;
    }
    orion_generic_set(x, &s->out[0], i,
                      orion_generic_get(x, in, i) / pow(d->d[3] + d->d[1] / (double)size * sum, d->d[2]));
  }
  return ORION_OK;
}

// in: x, alpha, beta
static orion_status run_by_channel(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                   orion_error *err) {
  const orion_cpu_view *in = &s->in[0];
  size_t n = orion_cpu_elements(in), inner = spatial(in);
  for (size_t i = 0; i < n; i++) {
    size_t c = i / inner % (size_t)in->dims[1];
    double v = orion_generic_get(x, in, i), alpha = parameter(x, s, d, 1, c, 1), beta = parameter(x, s, d, 2, c, 1);
    if (d->code == ORION_OP_prelu) {
      v = v >= 0 ? v : v * alpha;
    } else {
      double t = beta * v;
      v = alpha * (t > 0 ? t + log1p(exp(-t)) : log1p(exp(t)));
    }
    orion_generic_set(x, &s->out[0], i, v);
  }
  return ORION_OK;
}

// ---- pooling ----  the window's shape travels in `i`, laid out as orion_pool_shape

_Static_assert(sizeof(orion_pool_shape) <= sizeof(((orion_generic_step *)0)->i), "a window fits the parameters");

static orion_status prepare_pool(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in,
                                 orion_generic_step *d, orion_error *err) {
  int64_t kernel[ORION_MAX_RANK];
  size_t n;
  orion_pool_shape g;
  bool flag = false;
  if (!orion_op_ints(b->f, op, "kernel_sizes", ORION_MAX_RANK, kernel, &n) || (int)n != in[0].rank - 2) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "kernel_sizes must be constant, one per spatial dimension");
  }
  for (size_t i = 0; i < n; i++) {
    if (kernel[i] < 1) return ORION_FAIL(err, ORION_FORMAT, "kernel_sizes must be 1 or more");
  }
  ORION_TRY(orion_pool_shape_read(b->f, op, &in[0], kernel, orion_cpu_result_type(b, op, 0), &g, err));
  if (op->code == ORION_OP_avg_pool && !orion_op_bool(b->f, op, "exclude_padding_from_average", &flag)) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "exclude_padding_from_average must be constant");
  }
  d->d[0] = flag;
  memcpy(d->i, &g, sizeof g);
  return ORION_OK;
}

static orion_status run_pool(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                             orion_error *err) {
  orion_pool_shape g;
  memcpy(&g, d->i, sizeof g);
  const orion_cpu_view *in = &s->in[0];
  size_t n = orion_cpu_elements(&s->out[0]), image = spatial(in);
  for (size_t i = 0; i < n; i++) {
    int64_t start[3], at;
    orion_pool_start(&g, i % g.positions, start);
    double sum = 0, most = -INFINITY;
    size_t seen = 0;
    for (size_t tap = 0; tap < g.taps; tap++) {
      if (!orion_pool_tap(&g, start, tap, in->strides + 2, &at)) continue;
      double v = orion_generic_get(x, in, i / g.positions * image + (size_t)at);
      sum += d->code == ORION_OP_l2_pool ? v * v : v;
      most = v != v || v > most ? v : most;
      seen++;
    }
    double v = d->code == ORION_OP_max_pool  ? most
               : d->code == ORION_OP_l2_pool ? sqrt(sum)
                                             : sum / (double)(d->d[0] != 0 ? seen : g.taps);
    orion_generic_set(x, &s->out[0], i, v);
  }
  return ORION_OK;
}

const orion_generic_op orion_generic_norm[] = {
    {ORION_OP_batch_norm, {"x", "?gamma", "?beta", "mean", "variance"}, prepare, run_batch_norm},
    {ORION_OP_instance_norm, {"x", "?gamma", "?beta"}, prepare, run_instance_norm},
    {ORION_OP_l2_norm, {"x"}, prepare, run_l2_norm},
    {ORION_OP_local_response_norm, {"x"}, prepare, run_lrn},
    {ORION_OP_prelu, {"x", "alpha"}, prepare, run_by_channel},
    {ORION_OP_softplus_parametric, {"x", "alpha", "beta"}, prepare, run_by_channel},
    {ORION_OP_avg_pool, {"x"}, prepare_pool, run_pool},
    {ORION_OP_l2_pool, {"x"}, prepare_pool, run_pool},
    {ORION_OP_max_pool, {"x"}, prepare_pool, run_pool},
    {0},
};
