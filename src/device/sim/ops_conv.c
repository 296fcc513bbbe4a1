// Convolutions and pools of one to three spatial dimensions, all seen as three (the missing ones are 1). conv gathers
// the numbers that meet one output position into a column (im2col) and multiplies rows of weights with a panel of such
// columns; a 1x1 convolution needs no gathering, its input is the panel.
#include <math.h>
#include <string.h>

#include "device/sim/rules.h"
#include "device/sim/sim.h"
#include "device/sim/tally.h"
#include "device/sim/winograd.h"

typedef struct geometry {
  int64_t in[3], out[3], k[3], step[3], dilation[3], before[3], after[3];
  int64_t in_all, out_all, k_all;
} geometry;

static int64_t volume(const int64_t *d) { return d[0] * d[1] * d[2]; }

// Padding as pad_type says; `span` is what the output covers of the padded input.
static void set_padding(const orion_sim_op *op, geometry *g, int n, const int64_t *span) {
  const char *type = orion_sim_text(op, "pad_type");
  int64_t pad[6] = {0};
  bool custom = strcmp(type, "custom") == 0 && orion_sim_ints(op, "pad", (size_t)(2 * n), pad);
  bool same = strncmp(type, "same", 4) == 0, lower = strcmp(type, "same_lower") == 0;
  for (int i = 0; i < n; i++) {
    int d = 3 - n + i;
    int64_t total = span[d] > 0 ? span[d] : 0;
    g->before[d] = custom ? pad[2 * i] : same ? (lower ? total - total / 2 : total / 2) : 0;
    g->after[d] = custom ? pad[2 * i + 1] : same ? total - g->before[d] : 0;
  }
}

static geometry geometry_of(const orion_sim_op *op, const int64_t *kernel, int n, bool transposed) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *y = op->out[0];
  int64_t step[3] = {1, 1, 1}, dilation[3] = {1, 1, 1}, span[3] = {0};
  orion_sim_ints(op, "strides", (size_t)n, step);
  orion_sim_ints(op, "dilations", (size_t)n, dilation);
  geometry g;
  for (int d = 0; d < 3; d++) {
    int i = d - (3 - n);
    g.in[d] = i < 0 ? 1 : x->dims[2 + i];
    g.out[d] = i < 0 ? 1 : y->dims[2 + i];
    g.k[d] = i < 0 ? 1 : kernel[i];
    g.step[d] = i < 0 ? 1 : step[i];
    g.dilation[d] = i < 0 ? 1 : dilation[i];
    g.before[d] = g.after[d] = 0;
    int64_t reach = (g.k[d] - 1) * g.dilation[d] + 1;
    span[d] = transposed ? (g.in[d] - 1) * g.step[d] + reach - g.out[d] : (g.out[d] - 1) * g.step[d] + reach - g.in[d];
  }
  set_padding(op, &g, n, span);
  g.in_all = volume(g.in);
  g.out_all = volume(g.out);
  g.k_all = volume(g.k);
  return g;
}

static void unflatten(int64_t at, const int64_t *dims, int64_t *out) {
  out[2] = at % dims[2];
  out[1] = at / dims[2] % dims[1];
  out[0] = at / dims[2] / dims[1];
}

// The input position that meets tap `tap` at output position `at`; -1: padding.
static int64_t tap_from(const geometry *g, const int64_t *at, const int64_t *tap) {
  int64_t from = 0;
  for (int d = 0; d < 3; d++) {
    int64_t i = at[d] * g->step[d] + tap[d] * g->dilation[d] - g->before[d];
    if (i < 0 || i >= g->in[d]) return -1;
    from = from * g->in[d] + i;
  }
  return from;
}

// ---- conv ---- x [N, C, in...], weight [O, C/groups, k...], bias [O] -> [N, O, out...]

typedef struct conv_job {
  const orion_sim_arith *arith;
  geometry g;
  const float *x;               // of one sample and group
  const float *weight, *bias;
  float *y;
  float *panel;                 // [depth, columns]
  const float *columns;         // the panel, or x itself
  size_t ldx;                   // its row length
  size_t depth;                 // C/groups * k
  size_t first, n;              // output positions in the panel
} conv_job;

enum { PANEL = 256 };           // output positions gathered at once

static bool is_pointwise(const geometry *g) {
  for (int d = 0; d < 3; d++) {
    if (g->k[d] != 1 || g->step[d] != 1 || g->before[d] || g->after[d]) return false;
  }
  return true;
}

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

// Is this a convolution that m5 and m6 do in another way? (Seen for square 3x3 kernels; where else is not known.)
static bool is_winograd(const orion_sim_op *op, const geometry *g, int spatial) {
  if (!op->arith->winograd || spatial != 2 || orion_sim_int(op, "groups") != 1) return false;
  for (int d = 1; d < 3; d++) {
    if (g->k[d] != 3 || g->step[d] != 1 || g->dilation[d] != 1) return false;
  }
  return true;
}

size_t orion_sim_scratch_conv(const orion_sim_op *op, int threads) {
  const orion_sim_tensor *w = orion_sim_in(op, "weight");
  geometry g = geometry_of(op, w->dims + 2, w->rank - 2, false);
  if (is_winograd(op, &g, w->rank - 2)) {
    return orion_sim_winograd_scratch((size_t)w->dims[0], (size_t)w->dims[1], g.out[2]);
  }
  size_t depth = (size_t)(w->dims[1] * g.k_all);
  return is_pointwise(&g) ? 0 : depth * min_size((size_t)g.out_all, PANEL) * sizeof(float);
}

static void gather_range(void *ctx, size_t begin, size_t end, int worker) {
  const conv_job *j = ctx;
  const geometry *g = &j->g;
  for (size_t row = begin; row < end; row++) {
    int64_t tap[3];
    unflatten((int64_t)row % g->k_all, g->k, tap);
    const float *plane = j->x + (int64_t)row / g->k_all * g->in_all;
    for (size_t c = 0; c < j->n; c++) {
      int64_t at[3];
      unflatten((int64_t)(j->first + c), g->out, at);
      int64_t from = tap_from(g, at, tap);
      j->panel[row * j->n + c] = from < 0 ? 0 : plane[from];
    }
  }
}

static orion_sim_product conv_product(const conv_job *j) {
  return (orion_sim_product){.k = j->depth, .n = j->n, .rows = j->weight, .row_stride = j->depth, .panel = j->columns,
                             .ldx = j->ldx, .bias = j->bias, .out = j->y + j->first,
                             .row_step = (size_t)j->g.out_all, .column_step = 1};
}

static void conv_rows(void *ctx, size_t begin, size_t end, int worker) {
  const conv_job *j = ctx;
  const orion_sim_product p = conv_product(j);
  j->arith->product(&p, begin, end);
}

// A pointwise convolution of one channel runs on the elementwise unit of the ANE, whose range is wider.
static void scale_channel(const orion_sim_ctx *c, const conv_job *j, const orion_sim_tensor *x, size_t outs, float *y) {
  size_t all = (size_t)j->g.out_all;
  for (size_t i = 0; i < (size_t)x->dims[0] * outs * all; i++) {
    size_t o = i / all % outs;
    y[i] = c->arith->binary(ORION_OP_mul, x->f[i / all / outs * all + i % all], j->weight[o]);
    if (j->bias) y[i] = c->arith->binary(ORION_OP_add, y[i], j->bias[o]);
  }
}

// ---- conv of int8 numbers ---- summed as integers, scaled once

typedef struct int8_job {
  const orion_sim_arith *arith;
  geometry g;
  const orion_sim_int8 *q;
  size_t outs, ins, groups;     // outs and ins of a group
  float *y;
} int8_job;

static bool all_zero(const orion_sim_tensor *t) {
  for (size_t i = 0; t && i < t->n; i++) {
    if (orion_sim_value(t, i) != 0) return false;
  }
  return true;
}

static int64_t int8_sum(const int8_job *j, const int32_t *x, const int32_t *w, const int64_t *at) {
  const geometry *g = &j->g;
  int64_t sum = 0;
  for (int64_t t = 0; t < g->k_all; t++) {
    int64_t tap[3];
    unflatten(t, g->k, tap);
    int64_t from = tap_from(g, at, tap);
    for (size_t c = 0; c < j->ins && from >= 0; c++) {
      sum += (int64_t)x[(int64_t)c * g->in_all + from] * w[(int64_t)c * g->k_all + t];
    }
  }
  return sum;
}

static void int8_range(void *ctx, size_t begin, size_t end, int worker) {  // planes of the output
  const int8_job *j = ctx;
  size_t channels = j->outs * j->groups;
  for (size_t plane = begin; plane < end; plane++) {
    size_t sample = plane / channels, o = plane % channels;
    const int32_t *x = j->q->x->i + (sample * j->groups + o / j->outs) * j->ins * (size_t)j->g.in_all;
    const int32_t *w = j->q->w->i + o * j->ins * (size_t)j->g.k_all;
    double scale = (double)j->q->x_scale->f[0] * (double)j->q->w_scale->f[j->q->w_scale->n == 1 ? 0 : o];
    for (int64_t p = 0; p < j->g.out_all; p++) {
      int64_t at[3];
      unflatten(p, j->g.out, at);
      j->y[(int64_t)plane * j->g.out_all + p] = j->arith->int8(j->arith, int8_sum(j, x, w, at), scale);
    }
  }
}

static bool run_int8(const orion_sim_ctx *c, const orion_sim_op *op, const conv_job *job, size_t ins, size_t outs,
                     size_t groups) {
  if (!op->int8 || !all_zero(op->int8->x_zero) || !all_zero(op->int8->w_zero)) return false;
  int8_job j = {c->arith, job->g, op->int8, outs, ins, groups, op->out[0]->f};
  orion_parallel_for(c->pool, (size_t)op->out[0]->dims[0] * outs * groups, 1, int8_range, &j);
  return true;
}

ORION_SIM_RUN(orion_sim_run_conv) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *w = orion_sim_in(op, "weight"), *bias = orion_sim_in(op, "bias");
  orion_sim_tensor *y = op->out[0];
  size_t groups = (size_t)orion_sim_int(op, "groups"), outs = (size_t)w->dims[0] / groups, ins = (size_t)w->dims[1];
  conv_job j = {.arith = c->arith, .g = geometry_of(op, w->dims + 2, w->rank - 2, false), .panel = c->scratch};
  j.depth = ins * (size_t)j.g.k_all;
  bool pointwise = is_pointwise(&j.g);
  if (op->flaw == ORION_SIM_NO_WEIGHTS) {
    memset(y->f, 0, y->n * sizeof *y->f);
    return ORION_OK;
  }
  if (run_int8(c, op, &j, ins, outs, groups)) return ORION_OK;
  if (is_winograd(op, &j.g, w->rank - 2)) {
    const orion_sim_winograd wino = {w->f, bias ? bias->f : NULL, ins, outs, j.g.in[1], j.g.in[2], j.g.out[1],
                                     j.g.out[2], j.g.before[1], j.g.before[2]};
    orion_sim_winograd_run(c, &wino, (size_t)x->dims[0], x->f, y->f);
    return ORION_OK;
  }
  if (c->arith->ane && pointwise && groups == 1 && ins == 1) {
    j.weight = w->f;
    j.bias = bias ? bias->f : NULL;
    scale_channel(c, &j, x, outs, y->f);
    return ORION_OK;
  }
  size_t all = (size_t)j.g.out_all, block = pointwise ? all : min_size(all, PANEL);
  for (size_t s = 0; s < (size_t)x->dims[0] * groups; s++) {
    size_t group = s % groups;
    j.x = x->f + s * ins * (size_t)j.g.in_all;
    j.y = y->f + s * outs * all;
    j.weight = w->f + group * outs * j.depth;
    j.bias = bias ? bias->f + group * outs : NULL;
    for (j.first = 0; j.first < all; j.first += block) {
      j.n = min_size(all - j.first, block);
      j.columns = pointwise ? j.x : j.panel;
      j.ldx = j.n;
      if (!pointwise) orion_parallel_for(c->pool, j.depth, 8, gather_range, &j);
      orion_parallel_for(c->pool, outs, 32, conv_rows, &j);
      const orion_sim_product p = conv_product(&j);
      if (c->tally) orion_sim_tally_product(c->tally, &p, outs);
    }
  }
  return ORION_OK;
}

// ---- conv_transpose ---- x [N, C, in...], weight [C, O/groups, k...] -> [N, O, out...]

typedef struct transpose_job {
  geometry g;
  const orion_sim_tensor *x, *w, *bias;
  float *y;
  size_t groups, ins, outs;     // channels of a group
} transpose_job;

// The input position whose tap lands on output position `at`, or -1.
static int64_t source(const geometry *g, const int64_t *at, const int64_t *tap) {
  int64_t from = 0;
  for (int d = 0; d < 3; d++) {
    int64_t i = at[d] + g->before[d] - tap[d] * g->dilation[d];
    if (i < 0 || i % g->step[d] || i / g->step[d] >= g->in[d]) return -1;
    from = from * g->in[d] + i / g->step[d];
  }
  return from;
}

static void transpose_range(void *ctx, size_t begin, size_t end, int worker) {
  const transpose_job *j = ctx;
  const geometry *g = &j->g;
  size_t channels = j->outs * j->groups;
  for (size_t plane = begin; plane < end; plane++) {
    size_t sample = plane / channels, o = plane % channels, group = o / j->outs;
    for (int64_t p = 0; p < g->out_all; p++) {
      int64_t at[3], tap[3];
      double sum = j->bias ? (double)j->bias->f[o] : 0;
      unflatten(p, g->out, at);
      for (int64_t t = 0; t < g->k_all; t++) {
        unflatten(t, g->k, tap);
        int64_t from = source(g, at, tap);
        for (size_t i = 0; i < j->ins && from >= 0; i++) {
          size_t in = group * j->ins + i;
          sum += (double)j->x->f[(sample * j->ins * j->groups + in) * (size_t)g->in_all + (size_t)from] *
                 (double)j->w->f[(in * j->outs + o % j->outs) * (size_t)g->k_all + (size_t)t];
        }
      }
      j->y[plane * (size_t)g->out_all + (size_t)p] = (float)sum;
    }
  }
}

ORION_SIM_RUN(orion_sim_run_conv_transpose) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *w = orion_sim_in(op, "weight");
  transpose_job j = {.g = geometry_of(op, w->dims + 2, w->rank - 2, true), .x = x, .w = w, .y = op->out[0]->f,
                     .bias = orion_sim_in(op, "bias"), .groups = (size_t)orion_sim_int(op, "groups")};
  j.ins = (size_t)w->dims[0] / j.groups;
  j.outs = (size_t)w->dims[1];
  orion_parallel_for(c->pool, (size_t)x->dims[0] * j.outs * j.groups, 1, transpose_range, &j);
  return ORION_OK;
}

// ---- pools ---- over windows clipped to the input; the average counts padding unless told otherwise.

typedef struct clipped {
  int64_t from[3], to[3], padded;  // positions inside the input; elements counting the padding
} clipped;

static clipped clip_window(const geometry *g, int64_t p) {
  clipped w = {.padded = 1};
  int64_t at[3];
  unflatten(p, g->out, at);
  for (int d = 0; d < 3; d++) {
    int64_t from = at[d] * g->step[d] - g->before[d], to = from + g->k[d], edge = g->in[d] + g->after[d];
    w.padded *= (to < edge ? to : edge) - from;
    w.from[d] = from < 0 ? 0 : from;
    w.to[d] = to > g->in[d] ? g->in[d] : to;
  }
  return w;
}

ORION_SIM_RUN(orion_sim_run_pool) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  orion_sim_tensor *y = op->out[0];
  int64_t kernel[3] = {1, 1, 1};
  int n = x->rank - 2;
  orion_sim_ints(op, "kernel_sizes", (size_t)n, kernel);
  geometry g = geometry_of(op, kernel, n, false);
  bool inside_only = orion_sim_int(op, "exclude_padding_from_average") != 0;
  for (size_t i = 0; i < y->n; i++) {
    const float *plane = x->f + (int64_t)i / g.out_all * g.in_all;
    clipped w = clip_window(&g, (int64_t)i % g.out_all);
    double sum = 0, squares = 0, top = -INFINITY, count = 0;
    for (int64_t a = w.from[0]; a < w.to[0]; a++) {
      for (int64_t b = w.from[1]; b < w.to[1]; b++) {
        for (int64_t e = w.from[2]; e < w.to[2]; e++, count++) {
          double v = plane[(a * g.in[1] + b) * g.in[2] + e];
          sum += v;
          squares += v * v;
          if (v > top || isnan(v)) top = v;
        }
      }
    }
    double divisor = inside_only ? count : (double)w.padded;
    double average = sum / divisor;
    y->f[i] = (float)(op->code == ORION_OP_max_pool ? top : op->code == ORION_OP_l2_pool ? sqrt(squares) : average);
  }
  return ORION_OK;
}
