// Reductions, softmax and normalisations: double inside, one rounding at the end. NaN wins every comparison, so that it
// is seen in the result.
#include <math.h>
#include <string.h>

#include "device/sim/sim.h"

// A tensor split by a set of axes: walks the elements of one group (marked axes) from the group's first element.
typedef struct groups {
  int n_kept, n_in;
  int64_t kept_dims[ORION_MAX_RANK], kept_strides[ORION_MAX_RANK];
  int64_t in_dims[ORION_MAX_RANK], in_strides[ORION_MAX_RANK];
  size_t size;                  // elements of a group
} groups;

static groups groups_of(const orion_sim_tensor *t, const bool *marked) {
  groups g = {.size = 1};
  int64_t own[ORION_MAX_RANK];
  orion_sim_strides(t, own);
  for (int i = 0; i < t->rank; i++) {
    if (marked[i]) {
      g.in_dims[g.n_in] = t->dims[i];
      g.in_strides[g.n_in++] = own[i];
      g.size *= (size_t)t->dims[i];
    } else {
      g.kept_dims[g.n_kept] = t->dims[i];
      g.kept_strides[g.n_kept++] = own[i];
    }
  }
  return g;
}

static size_t offset_of(int n, const int64_t *index, const int64_t *strides) {
  int64_t at = 0;
  for (int i = 0; i < n; i++) at += index[i] * strides[i];
  return (size_t)at;
}

// Place of the first element of a group.
static size_t base_of(const groups *g, size_t group) {
  size_t at = 0;
  for (int d = g->n_kept - 1; d >= 0; d--) {
    at += group % (size_t)g->kept_dims[d] * (size_t)g->kept_strides[d];
    group /= (size_t)g->kept_dims[d];
  }
  return at;
}

// ---- reductions ----

static double first_value(orion_opcode code) {
  switch (code) {
    case ORION_OP_reduce_max: case ORION_OP_reduce_log_sum_exp: return -INFINITY;
    case ORION_OP_reduce_min: return INFINITY;
    case ORION_OP_reduce_prod: return 1;
    default: return 0;
  }
}

static double add_value(orion_opcode code, double acc, double v) {
  switch (code) {
    case ORION_OP_reduce_l1_norm: return acc + fabs(v);
    case ORION_OP_reduce_l2_norm: case ORION_OP_reduce_sum_square: return acc + v * v;
    case ORION_OP_reduce_max: case ORION_OP_reduce_log_sum_exp: return v > acc || isnan(v) ? v : acc;
    case ORION_OP_reduce_min: return v < acc || isnan(v) ? v : acc;
    case ORION_OP_reduce_prod: return acc * v;
    default: return acc + v;
  }
}

// Maxima and sums of fp16 numbers (exact in double) may be taken in any order: eight run side by side. Returns how many
// elements were done; none where a NaN or an infinity is among them.
static inline __attribute__((always_inline)) size_t walk_eights(const float *x, size_t n, size_t step, bool top,
                                                                double *acc) {
  float most[8], odd[8] = {0};
  double sums[8] = {0};
  size_t i = 0;
  for (int l = 0; l < 8; l++) most[l] = -INFINITY;
  for (; i + 8 <= n; i += 8) {
    for (size_t l = 0; l < 8; l++) {
      float v = x[(i + l) * step];
      if (top) {
        most[l] = v > most[l] ? v : most[l];
        odd[l] += v * 0;  // NaN if there is one, or an infinity
      } else {
        sums[l] += (double)v;
      }
    }
  }
  for (int l = 0; l < 8 && top; l++) {
    if (isnan(odd[l])) return 0;
  }
  for (int l = 0; l < 8; l++) *acc = !top ? *acc + sums[l] : (double)most[l] > *acc ? (double)most[l] : *acc;
  return i;
}

// One axis of floats, the common case.
static double walk_line(const float *x, const groups *g, orion_opcode code, double acc, bool exact) {
  const size_t n = g->size, step = (size_t)g->in_strides[0];
  bool top = code == ORION_OP_reduce_max, sum = code == ORION_OP_reduce_sum || code == ORION_OP_reduce_mean;
  size_t i = 0;
  if (n >= 8 && (top || (sum && exact))) {
    if (step == 1) {
      i = top ? walk_eights(x, n, 1, true, &acc) : walk_eights(x, n, 1, false, &acc);
    } else {
      i = top ? walk_eights(x, n, step, true, &acc) : walk_eights(x, n, step, false, &acc);
    }
  }
  for (; i < n; i++) acc = add_value(code, acc, (double)x[i * step]);
  return acc;
}

static double walk(const orion_sim_tensor *x, const groups *g, size_t base, orion_opcode code, bool exact) {
  int64_t index[ORION_MAX_RANK] = {0};
  double acc = first_value(code);
  if (g->size == 0) return acc;
  if (g->n_in == 1 && orion_dtype_is_float(x->dtype)) return walk_line(x->f + base, g, code, acc, exact);
  do {
    acc = add_value(code, acc, orion_sim_value(x, base + offset_of(g->n_in, index, g->in_strides)));
  } while (orion_sim_next(g->n_in, g->in_dims, index));
  return acc;
}

static double walk_exp(const orion_sim_tensor *x, const groups *g, size_t base, double top) {
  int64_t index[ORION_MAX_RANK] = {0};
  double sum = 0;
  if (g->size == 0) return sum;
  do {
    sum += exp(orion_sim_value(x, base + offset_of(g->n_in, index, g->in_strides)) - top);
  } while (orion_sim_next(g->n_in, g->in_dims, index));
  return sum;
}

static double finish(orion_opcode code, double acc, const orion_sim_tensor *x, const groups *g, size_t base) {
  switch (code) {
    case ORION_OP_reduce_l2_norm: return sqrt(acc);
    case ORION_OP_reduce_log_sum: return log(acc);
    case ORION_OP_reduce_log_sum_exp: return isinf(acc) ? acc : acc + log(walk_exp(x, g, base, acc));
    case ORION_OP_reduce_mean: return acc / (double)g->size;
    default: return acc;
  }
}

typedef struct reduce_job {
  const orion_sim_arith *arith;
  const orion_sim_tensor *x;
  orion_sim_tensor *y;
  orion_opcode code;
  groups g;
} reduce_job;

static void reduce_range(void *ctx, size_t begin, size_t end, int worker) {
  const reduce_job *j = ctx;
  for (size_t i = begin; i < end; i++) {
    size_t base = base_of(&j->g, i);
    double v = finish(j->code, walk(j->x, &j->g, base, j->code, j->arith->ane), j->x, &j->g, base);
    if (orion_dtype_is_float(j->y->dtype)) {
      j->y->f[i] = j->arith->narrow(v);
    } else {
      orion_sim_set(j->y, i, v);
    }
  }
}

ORION_SIM_RUN(orion_sim_run_reduce) {
  reduce_job j = {.arith = c->arith, .x = orion_sim_in(op, "x"), .y = op->out[0], .code = op->code};
  bool marked[ORION_MAX_RANK];
  orion_sim_axes(op, "axes", j.x->rank, marked);
  j.g = groups_of(j.x, marked);
  orion_parallel_for(c->pool, j.y->n, j.g.size > 256 ? 16 : 256, reduce_range, &j);
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_reduce_arg) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  orion_sim_lines l = orion_sim_lines_of(x, orion_sim_axis(op, "axis", x->rank));
  double sign = op->code == ORION_OP_reduce_argmax ? 1 : -1;
  for (size_t i = 0; i < op->out[0]->n; i++) {
    size_t base = i / l.inner * l.n * l.inner + i % l.inner, best = 0;
    for (size_t k = 1; k < l.n; k++) {
      double v = sign * orion_sim_value(x, base + k * l.inner), top = sign * orion_sim_value(x, base + best * l.inner);
      if (v > top || (isnan(v) && !isnan(top))) best = k;
    }
    orion_sim_set(op->out[0], i, (double)best);
  }
  return ORION_OK;
}

// ---- softmax ----

typedef struct softmax_job {
  const orion_sim_arith *arith;
  const float *x;
  float *y;
  orion_sim_lines l;
} softmax_job;

static void softmax_range(void *ctx, size_t begin, size_t end, int worker) {
  const softmax_job *j = ctx;
  size_t n = j->l.n, inner = j->l.inner;
  for (size_t i = begin; i < end; i++) {
    size_t base = i / inner * n * inner + i % inner;
    double top = -INFINITY, sum = 0;
    if (j->arith->softmax) {
      j->arith->softmax(j->x + base, j->y + base, n, inner);
      continue;
    }
    for (size_t k = 0; k < n; k++) {
      double v = j->x[base + k * inner];
      if (v > top || isnan(v)) top = v;
    }
    for (size_t k = 0; k < n; k++) sum += exp((double)j->x[base + k * inner] - top);
    for (size_t k = 0; k < n; k++) j->y[base + k * inner] = (float)(exp((double)j->x[base + k * inner] - top) / sum);
  }
}

ORION_SIM_RUN(orion_sim_run_softmax) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  softmax_job j = {c->arith, x->f, op->out[0]->f, orion_sim_lines_of(x, orion_sim_axis(op, "axis", x->rank))};
  orion_parallel_for(c->pool, j.l.outer * j.l.inner, 8, softmax_range, &j);
  return ORION_OK;
}

// ---- normalisations ----

typedef struct norm_job {
  const orion_sim_arith *arith;
  const orion_sim_tensor *x, *gamma, *beta;
  float *y;
  groups g;
  double epsilon;
  size_t channels;              // instance_norm: gamma and beta by channel; 0: by place in the group
} norm_job;

// The same on a chip family, in steps that each end in fp16. Their order is a guess; the sums are exact.
static void normalise_steps(const norm_job *j, size_t group, size_t base, float mean) {
  const orion_sim_arith *a = j->arith;
  const groups *g = &j->g;
  int64_t index[ORION_MAX_RANK] = {0};
  double squares = 0;
  do {
    size_t i = base + offset_of(g->n_in, index, g->in_strides);
    float d = j->y[i] = a->binary(ORION_OP_sub, j->x->f[i], mean);
    squares += (double)a->binary(ORION_OP_mul, d, d);
  } while (orion_sim_next(g->n_in, g->in_dims, index));
  float scale = a->unary(ORION_OP_rsqrt, a->narrow(squares / (double)g->size), (float)j->epsilon, 0);
  size_t at = 0;
  do {
    size_t i = base + offset_of(g->n_in, index, g->in_strides), p = j->channels ? group % j->channels : at;
    float v = a->binary(ORION_OP_mul, j->y[i], scale);
    if (j->gamma) v = a->binary(ORION_OP_mul, v, j->gamma->f[p]);
    if (j->beta) v = a->binary(ORION_OP_add, v, j->beta->f[p]);
    j->y[i] = v;
    at++;
  } while (orion_sim_next(g->n_in, g->in_dims, index));
}

// (x - mean) / sqrt(variance + epsilon) * gamma + beta over one group
static void normalise(const norm_job *j, size_t group) {
  const groups *g = &j->g;
  int64_t index[ORION_MAX_RANK] = {0};
  size_t at = 0;
  const size_t base = base_of(g, group);
  double sum = 0, squares = 0;
  do {
    sum += (double)j->x->f[base + offset_of(g->n_in, index, g->in_strides)];
  } while (orion_sim_next(g->n_in, g->in_dims, index));
  double mean = sum / (double)g->size;
  if (j->arith->ane) {
    normalise_steps(j, group, base, j->arith->narrow(mean));
    return;
  }
  do {
    double d = (double)j->x->f[base + offset_of(g->n_in, index, g->in_strides)] - mean;
    squares += d * d;
  } while (orion_sim_next(g->n_in, g->in_dims, index));
  double scale = 1 / sqrt(squares / (double)g->size + j->epsilon);
  do {
    size_t i = base + offset_of(g->n_in, index, g->in_strides), p = j->channels ? group % j->channels : at;
    double v = ((double)j->x->f[i] - mean) * scale;
    if (j->gamma) v *= (double)j->gamma->f[p];
    if (j->beta) v += (double)j->beta->f[p];
    j->y[i] = (float)v;
    at++;
  } while (orion_sim_next(g->n_in, g->in_dims, index));
}

static void norm_range(void *ctx, size_t begin, size_t end, int worker) {
  for (size_t i = begin; i < end; i++) normalise(ctx, i);
}

static void run_norm(const orion_sim_ctx *c, norm_job *j) {
  size_t n = j->g.size ? j->x->n / j->g.size : 0;
  orion_parallel_for(c->pool, n, 4, norm_range, j);
}

ORION_SIM_RUN(orion_sim_run_layer_norm) {
  norm_job j = {.arith = c->arith, .x = orion_sim_in(op, "x"), .gamma = orion_sim_in(op, "gamma"),
                .beta = orion_sim_in(op, "beta"), .y = op->out[0]->f, .epsilon = orion_sim_num(op, "epsilon")};
  bool marked[ORION_MAX_RANK];
  orion_sim_axes(op, "axes", j.x->rank, marked);
  j.g = groups_of(j.x, marked);
  run_norm(c, &j);
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_instance_norm) {
  norm_job j = {.arith = c->arith, .x = orion_sim_in(op, "x"), .gamma = orion_sim_in(op, "gamma"),
                .beta = orion_sim_in(op, "beta"), .y = op->out[0]->f, .epsilon = orion_sim_num(op, "epsilon")};
  bool marked[ORION_MAX_RANK];
  for (int i = 0; i < j.x->rank; i++) marked[i] = i > 1;
  j.g = groups_of(j.x, marked);
  j.channels = (size_t)j.x->dims[1];
  run_norm(c, &j);
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_batch_norm) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *mean = orion_sim_in(op, "mean");
  const orion_sim_tensor *variance = orion_sim_in(op, "variance"), *gamma = orion_sim_in(op, "gamma");
  const orion_sim_tensor *beta = orion_sim_in(op, "beta");
  orion_sim_lines l = orion_sim_lines_of(x, 1);
  double epsilon = orion_sim_num(op, "epsilon");
  for (size_t i = 0; i < x->n; i++) {
    size_t ch = i / l.inner % l.n;
    double v = ((double)x->f[i] - (double)mean->f[ch]) / sqrt((double)variance->f[ch] + epsilon);
    if (gamma) v *= (double)gamma->f[ch];
    if (beta) v += (double)beta->f[ch];
    op->out[0]->f[i] = (float)v;
  }
  return ORION_OK;
}

// Over the last three dimensions together.
ORION_SIM_RUN(orion_sim_run_l2_norm) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  double epsilon = orion_sim_num(op, "epsilon");
  size_t size = 1;
  for (int i = x->rank > 3 ? x->rank - 3 : 0; i < x->rank; i++) size *= (size_t)x->dims[i];
  for (size_t base = 0; base < x->n; base += size) {
    double sum = 0;
    for (size_t i = 0; i < size; i++) sum += (double)x->f[base + i] * (double)x->f[base + i];
    for (size_t i = 0; i < size; i++) op->out[0]->f[base + i] = (float)((double)x->f[base + i] / sqrt(sum + epsilon));
  }
  return ORION_OK;
}

// Over `size` neighbouring channels, one more before than after when size is even.
ORION_SIM_RUN(orion_sim_run_lrn) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  orion_sim_lines l = orion_sim_lines_of(x, 1);
  int64_t size = orion_sim_int(op, "size"), channels = (int64_t)l.n;
  double alpha = orion_sim_num(op, "alpha"), beta = orion_sim_num(op, "beta"), k = orion_sim_num(op, "k");
  for (size_t i = 0; i < x->n; i++) {
    int64_t ch = (int64_t)(i / l.inner) % channels, from = ch - size / 2, to = ch + (size - 1) / 2;
    double sum = 0;
    for (int64_t n = from < 0 ? 0 : from; n <= to && n < channels; n++) {
      double v = x->f[(int64_t)i + (n - ch) * (int64_t)l.inner];
      sum += v * v;
    }
    op->out[0]->f[i] = (float)((double)x->f[i] / pow(k + alpha / (double)size * sum, beta));
  }
  return ORION_OK;
}
