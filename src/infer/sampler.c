// Candidates are filtered in the usual order: repeat penalty, top-k, temperature, top-p, min-p; then one draw.
//
// Only the candidates that survive top-k are sorted. With top-k off and top-p on, sorting all of a vocabulary costs
// milliseconds, so a bound is used first: tokens whose logit lies far below the largest cannot matter (CUTOFF).
#include "orion/sampler.h"

#include <math.h>
#include <stdlib.h>

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
  if (!s->candidates || !s->recent) {
    orion_sampler_destroy(s);
    return ORION_OOM(err, "sampler");
  }
  *out = s;
  return ORION_OK;
}

void orion_sampler_destroy(orion_sampler *s) {
  if (!s) return;
  orion_free(s->allocator, s->candidates, (size_t)s->vocab, sizeof *s->candidates);
  orion_free(s->allocator, s->recent, (size_t)s->o.repeat_window, sizeof *s->recent);
  orion_free(s->allocator, s, 1, sizeof *s);
}

void orion_sampler_accept(orion_sampler *s, int32_t token) {
  if (s->o.repeat_window == 0) return;
  s->recent[s->next_recent] = token;
  s->next_recent = (s->next_recent + 1) % (size_t)s->o.repeat_window;
  if (s->n_recent < (size_t)s->o.repeat_window) s->n_recent++;
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

static int compare(const void *x, const void *y) {
  const candidate *a = x, *b = y;
  return before(a, b) ? -1 : before(b, a) ? 1 : 0;
}

static float penalised(const orion_sampler *s, const float *logits, int32_t token) {
  float v = logits[token];
  for (size_t i = 0; i < s->n_recent; i++) {
    if (s->recent[i] == token) return v > 0 ? v / s->o.repeat_penalty : v * s->o.repeat_penalty;
  }
  return v;
}

static orion_status find_largest(const orion_sampler *s, const float *logits, candidate *out, orion_error *err) {
  candidate best = {-INFINITY, -1, 0};
  bool penalty = s->o.repeat_penalty != 1 && s->n_recent;
  for (int32_t i = 0; i < s->vocab; i++) {
    if (isnan(logits[i]) || logits[i] == INFINITY) {
      return ORION_FAIL(err, ORION_NUMERIC, "logits: the value of token %d is %s", i, isnan(logits[i]) ? "NaN" : "infinite");
    }
    if (!penalty && logits[i] > best.logit) best = (candidate){logits[i], i, 0};
  }
  if (penalty) {
    for (int32_t i = 0; i < s->vocab; i++) {
      float v = penalised(s, logits, i);
      if (v > best.logit) best = (candidate){v, i, 0};
    }
  }
  if (best.token < 0) return ORION_FAIL(err, ORION_NUMERIC, "logits: every value is minus infinity");
  *out = best;
  return ORION_OK;
}

// The k largest of n candidates to the front, by a heap whose root is the worst kept.
static size_t keep_top_k(candidate *c, size_t n, size_t k) {
  if (k == 0 || k >= n) return n;
  qsort(c, k, sizeof *c, compare);
  for (size_t i = k; i < n; i++) {
    if (!before(&c[i], &c[k - 1])) continue;
    candidate v = c[i];
    size_t at = k - 1;
    for (; at > 0 && before(&v, &c[at - 1]); at--) c[at] = c[at - 1];
    c[at] = v;
  }
  return k;
}

orion_status orion_sampler_choose(orion_sampler *s, const float *logits, int32_t *out_token, orion_error *err) {
  candidate best;
  ORION_TRY(find_largest(s, logits, &best, err));
  if (s->o.temperature == 0) {
    *out_token = best.token;
    return ORION_OK;
  }
  double scale = 1.0 / (double)s->o.temperature;
  bool penalty = s->o.repeat_penalty != 1 && s->n_recent;
  candidate *c = s->candidates;
  size_t n = 0;
  for (int32_t i = 0; i < s->vocab; i++) {
    float v = penalty ? penalised(s, logits, i) : logits[i];
    if (((double)v - (double)best.logit) * scale > -CUTOFF) c[n++] = (candidate){v, i, 0};
  }
  n = keep_top_k(c, n, (size_t)s->o.top_k);
  if (s->o.top_p < 1 || s->o.min_p > 0) qsort(c, n, sizeof *c, compare);  // only these look at the order
  double total = 0;
  for (size_t i = 0; i < n; i++) {
    c[i].weight = portable_exp(((double)c[i].logit - (double)best.logit) * scale);
    total += c[i].weight;
  }
  double sum = 0, top_p = (double)s->o.top_p * total;
  for (size_t i = 0; s->o.top_p < 1 && i < n; i++) {
    sum += c[i].weight;
    if (sum >= top_p) n = i + 1;
  }
  while (s->o.min_p > 0 && n > 1 && c[n - 1].weight < (double)s->o.min_p) n--;  // the largest weighs 1
  total = 0;
  for (size_t i = 0; i < n; i++) total += c[i].weight;
  double draw = (double)orion_rng_u32(&s->rng) * 0x1p-32 * total;
  size_t pick = 0;
  for (sum = c[0].weight; pick + 1 < n && sum <= draw; sum += c[pick].weight) pick++;
  *out_token = c[pick].token;
  return ORION_OK;
}
