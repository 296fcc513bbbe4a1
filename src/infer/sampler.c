// Candidates are filtered in the usual order: repeat penalty, top-k, temperature, top-p, min-p; then one draw.
//
// Only the candidates that survive top-k are sorted. With top-k off and top-p on, sorting all of a vocabulary costs
// milliseconds, so a bound is used first: tokens whose logit lies far below the largest cannot matter (CUTOFF). Selecting
// and sorting is done by one heap of our own: the C library's qsort may allocate.
#include "orion/sampler.h"

#include <float.h>
#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"

#define CUTOFF 40.0  // exp(-40) = 4e-18: below the resolution of the draw, 2^-32, for any vocabulary

typedef struct candidate {
  float logit;
  int32_t token;
  double weight;
} candidate;

struct orion_sampler {
  const orion_allocator *allocator;
  orion_sampler_options o;
  int64_t vocab;
  orion_rng rng;
  candidate *candidates;  // vocab of them
  int32_t *recent;        // ring of repeat_window tokens
  uint32_t *times;        // per token of the vocabulary: how often it is in the ring
  size_t n_recent, next_recent;
};

void orion_sampler_options_init(orion_sampler_options *o) {
  *o = (orion_sampler_options){.struct_size = sizeof *o, .top_p = 1, .repeat_penalty = 1, .repeat_window = 64};
}

static orion_status check(const orion_sampler_options *o, int64_t vocab, orion_error *err) {
  if (vocab < 1 || vocab > INT32_MAX) return ORION_FAIL(err, ORION_INVALID, "sampler: vocabulary of %lld", (long long)vocab);
  if (!(o->temperature >= 0 && o->temperature <= 1000)) {
    return ORION_FAIL(err, ORION_INVALID, "temperature: %g is not within 0 to 1000", (double)o->temperature);
  }
  if (o->top_k < 0) return ORION_FAIL(err, ORION_INVALID, "top-k: %d is negative", o->top_k);
  if (!(o->top_p > 0 && o->top_p <= 1)) {
    return ORION_FAIL(err, ORION_INVALID, "top-p: %g is not above 0 and at most 1", (double)o->top_p);
  }
  if (!(o->min_p >= 0 && o->min_p <= 1)) {
    return ORION_FAIL(err, ORION_INVALID, "min-p: %g is not within 0 to 1", (double)o->min_p);
  }
  if (!(o->repeat_penalty > 0 && o->repeat_penalty <= 100)) {
    return ORION_FAIL(err, ORION_INVALID, "repeat penalty: %g is not above 0 and at most 100", (double)o->repeat_penalty);
  }
  if (o->repeat_window < 0 || o->repeat_window > 1 << 20) {
    return ORION_FAIL(err, ORION_INVALID, "repeat window: %d is not within 0 to %d", o->repeat_window, 1 << 20);
  }
  return ORION_OK;
}

orion_status orion_sampler_create(const orion_allocator *a, const orion_sampler_options *o, int64_t vocab,
                                  orion_sampler **out, orion_error *err) {
  if (o->struct_size < sizeof *o) {
    return ORION_FAIL(err, ORION_INVALID, "sampler options: struct_size is %zu (want %zu)", o->struct_size, sizeof *o);
  }
  ORION_TRY(check(o, vocab, err));
  a = orion_allocator_or_default(a);
  orion_sampler *s = orion_alloc_zero(a, 1, sizeof *s);
  if (!s) return ORION_OOM(err, "sampler");
  s->allocator = a;
  s->o = *o;
  s->vocab = vocab;
  orion_rng_seed(&s->rng, o->seed, 54);
  s->candidates = orion_alloc(a, (size_t)vocab, sizeof *s->candidates);
  s->recent = orion_alloc(a, (size_t)o->repeat_window, sizeof *s->recent);
  s->times = orion_alloc_zero(a, (size_t)vocab, sizeof *s->times);
  if (!s->candidates || !s->recent || !s->times) {
    orion_sampler_destroy(s);
    return ORION_OOM(err, "sampler");
  }
  *out = s;
  return ORION_OK;
}

void orion_sampler_destroy(orion_sampler *s) {
  if (!s) return;
  orion_free(s->allocator, s->candidates, (size_t)s->vocab, sizeof *s->candidates);
  orion_free(s->allocator, s->times, (size_t)s->vocab, sizeof *s->times);
  orion_free(s->allocator, s->recent, (size_t)s->o.repeat_window, sizeof *s->recent);
  orion_free(s->allocator, s, 1, sizeof *s);
}

void orion_sampler_accept(orion_sampler *s, int32_t token) {
  size_t window = (size_t)s->o.repeat_window;
  if (window == 0 || token < 0 || token >= s->vocab) return;
  if (s->n_recent == window) s->times[s->recent[s->next_recent]]--;
  if (s->n_recent < window) s->n_recent++;
  s->recent[s->next_recent] = token;
  s->times[token]++;
  s->next_recent = (s->next_recent + 1) % window;
}

// e^x for x <= 0, the same bits everywhere: 2^k * 2^f by a Taylor series for 2^f in IEEE double arithmetic.
static double portable_exp(double x) {
  if (x < -700) return 0;
  double t = x * 1.4426950408889634;
  double k = floor(t), f = (t - k) * 0.6931471805599453;
  double sum = 1, term = 1;
  for (int i = 1; i < 20; i++) {
    term = term * f / i;
    sum += term;
  }
  return ldexp(sum, (int)k);
}

// Larger logit first; equal ones by token, so that the order is total.
static bool before(const candidate *a, const candidate *b) {
  return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

// The logit after the penalty, kept finite so that differences of logits are numbers.
static float penalised(const orion_sampler *s, const float *logits, int32_t token) {
  float v = logits[token];
  if (!s->times[token]) return v;
  v = v > 0 ? v / s->o.repeat_penalty : v * s->o.repeat_penalty;
  return v > FLT_MAX ? FLT_MAX : v;
}

static orion_status find_largest(const orion_sampler *s, const float *logits, candidate *out, orion_error *err) {
  candidate best = {-INFINITY, -1, 0};
  for (int32_t i = 0; i < s->vocab; i++) {
    if (isnan(logits[i]) || logits[i] == INFINITY) {
      return ORION_FAIL(err, ORION_NUMERIC, "logits: the value of token %d is %s", i, isnan(logits[i]) ? "NaN" : "infinite");
    }
    float v = penalised(s, logits, i);
    if (v > best.logit) best = (candidate){v, i, 0};
  }
  if (best.token < 0) return ORION_FAIL(err, ORION_NUMERIC, "logits: every value is minus infinity");
  *out = best;
  return ORION_OK;
}

// Restores the heap c[0..n), whose root is the worst, below `at`.
static void sink(candidate *c, size_t at, size_t n) {
  candidate v = c[at];
  for (size_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && before(&c[child], &c[child + 1])) child++;
    if (!before(&v, &c[child])) break;
    c[at] = c[child];
  }
  c[at] = v;
}

// The k best of n candidates (0: all), best first, to the front; returns how many.
static size_t keep_best(candidate *c, size_t n, size_t k) {
  if (k == 0 || k > n) k = n;
  for (size_t i = k / 2; i-- > 0;) sink(c, i, k);
  for (size_t i = k; i < n; i++) {
    if (!before(&c[i], &c[0])) continue;
    c[0] = c[i];
    sink(c, 0, k);
  }
  for (size_t end = k; end > 1; end--) {  // the worst goes to the end
    candidate worst = c[0];
    c[0] = c[end - 1];
    c[end - 1] = worst;
    sink(c, 0, end - 1);
  }
  return k;
}

// Tokens that can be drawn, with their weights (1 for the likeliest); returns how many.
static size_t weigh(const orion_sampler *s, const float *logits, float best, candidate *c) {
  double scale = 1.0 / (double)s->o.temperature, total = 0, sum = 0;
  size_t n = 0;
  for (int32_t i = 0; i < s->vocab; i++) {
    float v = penalised(s, logits, i);
    if (((double)v - (double)best) * scale > -CUTOFF) c[n++] = (candidate){v, i, 0};
  }
  if (s->o.top_k > 0 || s->o.top_p < 1 || s->o.min_p > 0) n = keep_best(c, n, (size_t)s->o.top_k);
  for (size_t i = 0; i < n; i++) {
    c[i].weight = portable_exp(((double)c[i].logit - (double)best) * scale);
    total += c[i].weight;
  }
  total *= (double)s->o.top_p;
  for (size_t i = 0; s->o.top_p < 1 && i < n; i++) {
    sum += c[i].weight;
    if (sum >= total) n = i + 1;
  }
  while (n > 1 && c[n - 1].weight < (double)s->o.min_p) n--;  // min_p 0 keeps all: no weight is below it
  return n;
}

orion_status orion_sampler_choose(orion_sampler *s, const float *logits, int32_t *out_token, orion_error *err) {
  candidate best, *c = s->candidates;
  ORION_TRY(find_largest(s, logits, &best, err));
  if (s->o.temperature == 0) {
    *out_token = best.token;
    return ORION_OK;
  }
  size_t n = weigh(s, logits, best.logit, c), pick = 0;
  double total = 0, sum = 0;
  for (size_t i = 0; i < n; i++) total += c[i].weight;
  double draw = (double)orion_rng_u32(&s->rng) * 0x1p-32 * total;
  for (sum = c[0].weight; pick + 1 < n && sum <= draw; sum += c[pick].weight) pick++;
  *out_token = c[pick].token;
  return ORION_OK;
}
