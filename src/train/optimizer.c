#include "train/optimizer.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"

#define BLOCK ((size_t)65536)  // elements of one piece of work
#define PARTS 4                // of a block, summed side by side
#define LANES 8                // partial sums of a part; fixed numbers, whatever the machine's vectors

typedef struct block {
  uint32_t param;
  uint32_t begin;        // in units of BLOCK
} block;

// What one element needs, in fp32.
typedef struct factors {
  float scale, beta1, one_minus_beta1, beta2, one_minus_beta2, correct1, correct2, eps, lr, decay;
} factors;

typedef bool (*update_fn)(float *w, float *m, float *v, const float *g, size_t n, const factors *f);
typedef double (*sum_fn)(const float *g, size_t n);

struct orion_optimizer {
  const orion_allocator *allocator;
  orion_params *params;
  orion_adamw settings;
  orion_pool *pool;
  block *blocks;
  double *sums;          // of squares, a block each
  size_t n_blocks;
  update_fn update;
  sum_fn sum_squares;
  // of the pass that runs
  const float *const *grads;
  factors factors;
};

// ---- one block ---- Written so that compilers turn it into vector code of whatever width the function's target has.

// Returns whether all weights are finite: bits are looked at while they are at hand, not read again.
static inline __attribute__((always_inline)) bool update_body(float *restrict w, float *restrict m, float *restrict v,
                                                              const float *restrict g, size_t n, const factors *f) {
  const factors c = *f;
  uint32_t bad = 0;
  for (size_t i = 0; i < n; i++) {
    float x = g[i] * c.scale;
    float first = c.beta1 * m[i] + c.one_minus_beta1 * x;
    float second = c.beta2 * v[i] + c.one_minus_beta2 * (x * x);
    m[i] = first;
    v[i] = second;
    float step = first * c.correct1 / (sqrtf(second * c.correct2) + c.eps) + c.decay * w[i];
    float next = w[i] - c.lr * step;
    uint32_t bits;
    memcpy(&bits, &next, sizeof bits);
    bad |= (bits & 0x7f800000u) == 0x7f800000u;
    w[i] = next;
  }
  return !bad;
}

// Four parts of the block are read side by side: one stream of reads does not keep the memory busy.
static inline __attribute__((always_inline)) double sum_squares_body(const float *g, size_t n) {
  double lanes[PARTS][LANES] = {{0}}, sum = 0;  // sum: at first of what the parts leave over
  const size_t part = n / (PARTS * LANES) * LANES;
  for (size_t i = 0; i < part; i += LANES) {
    for (size_t p = 0; p < PARTS; p++) {
      const float *x = g + p * part + i;
      for (size_t k = 0; k < LANES; k++) lanes[p][k] += (double)x[k] * (double)x[k];
    }
  }
  for (size_t i = PARTS * part; i < n; i++) sum += (double)g[i] * (double)g[i];
  for (size_t p = 0; p < PARTS; p++) {
    for (size_t k = 0; k < LANES; k++) sum += lanes[p][k];
  }
  return sum;
}

static bool update_any(float *w, float *m, float *v, const float *g, size_t n, const factors *f) {
  return update_body(w, m, v, g, n, f);
}
static double sum_squares_any(const float *g, size_t n) { return sum_squares_body(g, n); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) static bool update_avx2(float *w, float *m, float *v, const float *g, size_t n,
                                                        const factors *f) {
  return update_body(w, m, v, g, n, f);
}
__attribute__((target("avx2"))) static double sum_squares_avx2(const float *g, size_t n) { return sum_squares_body(g, n); }
#endif

// ---- passes ----

static void span_of(const orion_optimizer *o, size_t index, size_t *begin, size_t *n) {
  const block *b = &o->blocks[index];
  size_t total = o->params->list[b->param].n;
  *begin = (size_t)b->begin * BLOCK;
  *n = total - *begin < BLOCK ? total - *begin : BLOCK;
}

static void norm_blocks(void *ctx, size_t from, size_t to, int worker) {
  orion_optimizer *o = ctx;
  for (size_t i = from; i < to; i++) {
    size_t begin, n;
    span_of(o, i, &begin, &n);
    o->sums[i] = o->sum_squares(o->grads[o->blocks[i].param] + begin, n);
  }
}

static void update_blocks(void *ctx, size_t from, size_t to, int worker) {
  orion_optimizer *o = ctx;
  for (size_t i = from; i < to; i++) {
    size_t begin, n;
    span_of(o, i, &begin, &n);
    orion_param *p = &o->params->list[o->blocks[i].param];
    factors f = o->factors;
    if (!p->matrix) f.decay = 0;
    bool finite = o->update(p->value + begin, p->m + begin, p->v + begin, o->grads[o->blocks[i].param] + begin, n, &f);
    o->sums[i] = finite ? 0 : NAN;
  }
}

static size_t first_bad(const orion_optimizer *o) {
  for (size_t i = 0; i < o->n_blocks; i++) {
    if (!isfinite(o->sums[i])) return o->blocks[i].param;
  }
  return o->params->n;
}

double orion_optimizer_norm(orion_optimizer *o, const float *const *grads, double unscale, size_t *out_bad) {
  o->grads = grads;
  orion_parallel_for(o->pool, o->n_blocks, 1, norm_blocks, o);
  double sum = 0;
  for (size_t i = 0; i < o->n_blocks; i++) sum += o->sums[i];
  *out_bad = first_bad(o);
  return sqrt(sum) * unscale;
}

size_t orion_optimizer_step(orion_optimizer *o, const float *const *grads, double unscale, double norm, double lr,
                            int64_t t) {
  const orion_adamw *s = &o->settings;
  double clip = s->clip > 0 ? s->clip / (norm + 1e-6) : 1;
  o->grads = grads;
  o->factors = (factors){
      .scale = (float)(unscale * (clip < 1 ? clip : 1)),
      .beta1 = (float)s->beta1,
      .one_minus_beta1 = (float)(1 - s->beta1),
      .beta2 = (float)s->beta2,
      .one_minus_beta2 = (float)(1 - s->beta2),
      .correct1 = (float)(1 / (1 - pow(s->beta1, (double)t))),
      .correct2 = (float)(1 / (1 - pow(s->beta2, (double)t))),
      .eps = (float)s->eps,
      .lr = (float)lr,
      .decay = (float)s->weight_decay,
  };
  orion_parallel_for(o->pool, o->n_blocks, 1, update_blocks, o);
  return first_bad(o);
}

// ---- life ----

orion_status orion_optimizer_create(orion_params *p, const orion_adamw *settings, int threads, orion_optimizer **out,
                                    orion_error *err) {
  const orion_allocator *a = p->allocator;
  orion_optimizer *o = orion_alloc_zero(a, 1, sizeof *o);
  if (!o) return ORION_OOM(err, "optimizer");
  o->allocator = a;
  o->params = p;
  o->settings = *settings;
  o->update = update_any;
  o->sum_squares = sum_squares_any;
#if defined(__x86_64__)
  if (orion_cpu_features() & ORION_CPU_AVX2) {
    o->update = update_avx2;
    o->sum_squares = sum_squares_avx2;
  }
#endif
  for (size_t i = 0; i < p->n; i++) o->n_blocks += (p->list[i].n + BLOCK - 1) / BLOCK;
  o->blocks = orion_alloc(a, o->n_blocks, sizeof *o->blocks);
  o->sums = orion_alloc_zero(a, o->n_blocks, sizeof *o->sums);
  orion_status status = o->blocks && o->sums ? orion_pool_create(a, threads, &o->pool, err) : ORION_OOM(err, "optimizer");
  if (status != ORION_OK) {
    orion_optimizer_destroy(o);
    return status;
  }
  size_t at = 0;
  for (size_t i = 0; i < p->n; i++) {
    for (size_t b = 0; b * BLOCK < p->list[i].n; b++) o->blocks[at++] = (block){(uint32_t)i, (uint32_t)b};
  }
  *out = o;
  return ORION_OK;
}

void orion_optimizer_destroy(orion_optimizer *o) {
  if (!o) return;
  orion_pool_destroy(o->pool);
  orion_free(o->allocator, o->blocks, o->n_blocks, sizeof *o->blocks);
  orion_free(o->allocator, o->sums, o->n_blocks, sizeof *o->sums);
  orion_free(o->allocator, o, 1, sizeof *o);
}
