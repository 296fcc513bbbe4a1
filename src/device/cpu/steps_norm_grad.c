// The gradient of a norm (fuse_norm_grad.c), row by row: a row is read once and stays in the first-level cache for all that is
// made of it. Gradients of gamma and beta are sums over the rows: each block of rows has its own, and these are added up in
// order, so threads do not change a bit.
#include <math.h>

#include "device/cpu/build.h"

enum { LEAST_ROWS = 16, MOST_BLOCKS = 64, X = 0, DY, GAMMA, OTHER, READS };

typedef struct norm_grad_step {
  size_t rows, n, block;        // of rows
  float epsilon;
  bool centred;
  int in[READS];                // inputs, or -1
  int dgamma, dbeta;            // outputs, or -1
  uint32_t sums;                // of blocks: dgamma [n], dbeta [n]
} norm_grad_step;

typedef struct norm_grad_run {
  const orion_cpu_exec *x;
  const orion_cpu_step *s;
} norm_grad_run;

// dx, and what the row gives to dgamma and dbeta. hat and g: scratch.
static void one_row(const orion_kernels *k, const norm_grad_step *d, const float *x, const float *dy, const float *gamma,
                    const float *other, float *hat, float *g, float *dx, float *dgamma, float *dbeta) {
  const size_t n = d->n;
  if (d->centred) {
    k->map[ORION_MAP_SUB_SCALAR](hat, x, NULL, n, k->reduce[ORION_REDUCE_SUM](x, n) / (float)n, 0);
    x = hat;
  }
  const float r = 1.0f / sqrtf(k->reduce[ORION_REDUCE_SUM_SQUARE](x, n) / (float)n + d->epsilon);
  k->map[ORION_MAP_MUL_SCALAR](hat, x, NULL, n, r, 0);
  if (dgamma) {
    k->map[ORION_MAP_MUL](g, dy, hat, n, 0, 0);
    k->map[ORION_MAP_ADD](dgamma, dgamma, g, n, 0, 0);
  }
  if (dbeta) k->map[ORION_MAP_ADD](dbeta, dbeta, dy, n, 0, 0);
  if (gamma) {
    k->map[ORION_MAP_MUL](g, dy, gamma, n, 0, 0);
    dy = g;
  }
  const float along = k->dot(dy, hat, n) / (float)n;
  if (d->centred) {
    k->map[ORION_MAP_SUB_SCALAR](g, dy, NULL, n, k->reduce[ORION_REDUCE_SUM](dy, n) / (float)n, 0);
    dy = g;
  }
  k->map[ORION_MAP_MUL_ADD](g, dy, hat, n, -along, 0);
  k->map[ORION_MAP_MUL_SCALAR](other ? g : dx, g, NULL, n, r, 0);
  if (other) k->map[ORION_MAP_ADD](dx, g, other, n, 0, 0);
}

static void blocks(void *ctx, size_t begin, size_t end, int worker) {
  const norm_grad_run *run = ctx;
  const orion_cpu_exec *x = run->x;
  const norm_grad_step *d = run->s->data;
  const float *in[READS] = {0};
  for (int i = 0; i < READS; i++) {
    if (d->in[i] >= 0) in[i] = orion_cpu_at(x, &run->s->in[d->in[i]]);
  }
  float *hat = orion_cpu_scratch(x, worker), *g = hat + d->n, *dx = orion_cpu_at(x, &run->s->out[0]);
  for (size_t i = begin; i < end; i++) {
    float *sums = (float *)x->base[d->sums] + i * 2 * d->n;
    x->k->map[ORION_MAP_FILL](sums, NULL, NULL, 2 * d->n, 0, 0);
    for (size_t row = i * d->block; row < d->rows && row < (i + 1) * d->block; row++) {
      const size_t at = row * d->n;
      one_row(x->k, d, in[X] + at, in[DY] + at, in[GAMMA], in[OTHER] ? in[OTHER] + at : NULL, hat, g, dx + at,
              d->dgamma >= 0 ? sums : NULL, d->dbeta >= 0 ? sums + d->n : NULL);
    }
  }
}

static orion_status run_norm_grad(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const norm_grad_step *d = s->data;
  norm_grad_run r = {x, s};
  size_t n_blocks = (d->rows + d->block - 1) / d->block;
  orion_cpu_for(x, n_blocks, 1, d->rows * d->n * 4, blocks, &r);
  const float *sums = x->base[d->sums];
  if (d->dgamma >= 0) {
    x->k->reduce_rows[ORION_REDUCE_SUM](orion_cpu_at(x, &s->out[d->dgamma]), sums, 2 * d->n, n_blocks, d->n);
  }
  if (d->dbeta >= 0) {
    x->k->reduce_rows[ORION_REDUCE_SUM](orion_cpu_at(x, &s->out[d->dbeta]), sums + d->n, 2 * d->n, n_blocks, d->n);
  }
  return ORION_OK;
}

orion_status orion_cpu_emit_norm_grad(orion_cpu_build *b, const orion_cpu_norm_grad *g, orion_error *err) {
  const orion_ref reads[] = {[X] = g->x, [DY] = g->dy, [GAMMA] = g->gamma, [OTHER] = g->sum ? g->other : ORION_NONE};
  orion_cpu_view in[READS], out[3];
  uint32_t n_in = 0, n_out = 1;
  norm_grad_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  *d = (norm_grad_step){.epsilon = g->epsilon, .centred = g->centred, .dgamma = -1, .dbeta = -1};
  for (int i = 0; i < READS; i++) {
    d->in[i] = -1;
    if (reads[i] == ORION_NONE) continue;
    ORION_TRY(orion_cpu_ref_view(b, reads[i], &in[n_in], err));
    ORION_TRY(orion_cpu_to_f32(b, &in[n_in], err));
    d->in[i] = (int)n_in++;
  }
  d->n = (size_t)in[X].dims[in[X].rank - 1];
  d->rows = d->n ? orion_cpu_elements(&in[X]) / d->n : 0;
  d->block = (d->rows + MOST_BLOCKS - 1) / MOST_BLOCKS;
  if (d->block < LEAST_ROWS) d->block = LEAST_ROWS;
  ORION_TRY(orion_cpu_result(b, g->sum ? g->sum : g->dx, 0, &out[0], err));
  if (g->dgamma) {
    d->dgamma = (int)n_out;
    ORION_TRY(orion_cpu_result(b, g->dgamma, 0, &out[n_out++], err));
  }
  if (g->dbeta) {
    d->dbeta = (int)n_out;
    ORION_TRY(orion_cpu_result(b, g->dbeta, 0, &out[n_out++], err));
  }
  size_t n_blocks = (d->rows + d->block - 1) / d->block, bytes;
  if (!orion_mul_ok(n_blocks * 2 * sizeof(float), d->n, &bytes)) return ORION_FAIL(err, ORION_LIMIT, "rows are too long");
  ORION_TRY(orion_cpu_temp(b, bytes, &d->sums, err));
  orion_cpu_step step = {.run = run_norm_grad,
                         .kind = ORION_CPU_ROWS,
                         .n_in = n_in,
                         .in = in,
                         .n_out = n_out,
                         .out = out,
                         .n_tmp = 1,
                         .tmp = &d->sums,
                         .data = d,
                         .scratch = 2 * d->n * sizeof(float)};
  return orion_cpu_add_step(b, &step, err);
}
