// Opening what is measured, and counting what it must do: the counts are of the arithmetic itself, whatever the device
// does to get there.
#include "bench/subject.h"

#include <stdio.h>

#include "base/rng.h"
#include "device/cpu/cpu.h"

orion_status orion_bench_open(const orion_bench_options *o, bench_subject *out, orion_error *err) {
  *out = (bench_subject){0};
  orion_session_options options;
  orion_session_options_init(&options);
  options.context = o->context;
  options.weights = o->weights;
  orion_status status = orion_model_open(NULL, o->model, &out->model, err);
  if (status == ORION_OK) status = orion_device_open(o->device, o->threads, NULL, &out->device, err);
  if (status == ORION_OK && o->precision) status = orion_cpu_set_precision(out->device, o->precision, err);
  if (status == ORION_OK) status = orion_session_create(out->model, out->device, &options, &out->session, err);
  if (status == ORION_OK) {
    out->n_tokens = (size_t)orion_session_context(out->session);
    out->tokens = orion_alloc(NULL, out->n_tokens, sizeof *out->tokens);
    if (!out->tokens) status = ORION_OOM(err, "tokens");
  }
  if (status != ORION_OK) {
    orion_bench_close(out);
    return status;
  }
  orion_rng rng;
  orion_rng_seed(&rng, 1, 1);
  for (size_t i = 0; i < out->n_tokens; i++) {
    out->tokens[i] = (int32_t)(orion_rng_u32(&rng) % (uint32_t)orion_session_vocab(out->session));
  }
  return ORION_OK;
}

void orion_bench_close(bench_subject *s) {
  orion_free(NULL, s->tokens, s->n_tokens, sizeof *s->tokens);
  orion_session_destroy(s->session);
  orion_device_close(s->device);
  orion_model_close(s->model);
  *s = (bench_subject){0};
}

orion_status orion_bench_feed(bench_subject *s, int64_t n, orion_error *err) {
  orion_session_truncate(s->session, 0);
  return orion_session_feed(s->session, s->tokens, (size_t)n, err);
}

void orion_bench_note_device(orion_bench_report *r, orion_device *device) {
  orion_device_info info;
  orion_device_describe(device, &info);
  snprintf(r->device, sizeof r->device, "%s:%s", info.name, info.family);
  r->threads = info.threads;
}

orion_status orion_bench_ceiling_of(const orion_bench_options *o, orion_device *device, orion_ceiling **out,
                                    orion_error *err) {
  orion_device_info info;
  orion_device_describe(device, &info);
  *out = NULL;
  if (strcmp(info.name, "cpu") != 0) return ORION_OK;
  return orion_ceiling_create(NULL, info.family, info.threads, o->quick ? (size_t)8 << 20 : 0, out, err);
}

orion_multiplier orion_bench_multiplier(const orion_bench_options *o, const orion_ceiling *ceiling, bool quantised) {
  const bool fast = (o->precision && strcmp(o->precision, "fast") == 0) || (o->device && strstr(o->device, "precision=fast"));
  if (!ceiling) return ORION_MULTIPLY_ADD;
  if (quantised) return fast && orion_ceiling_has(ceiling, ORION_MULTIPLY_INT8) ? ORION_MULTIPLY_INT8 : ORION_MULTIPLY_ADD;
  const bool many = fast || orion_ceiling_kernels(ceiling)->many_exact;
  return many && orion_ceiling_has(ceiling, ORION_MULTIPLY_BF16) ? ORION_MULTIPLY_BF16 : ORION_MULTIPLY_ADD;
}

orion_status orion_bench_choose(const orion_bench_options *o, const int64_t *defaults, size_t n_defaults, int64_t most,
                                int64_t *out, size_t *out_n, orion_error *err) {
  *out_n = 0;
  for (size_t i = 0; i < o->n_at; i++) {
    if (o->at[i] < 0 || o->at[i] > most) {
      return ORION_FAIL(err, ORION_INVALID, "bench: %lld tokens are not within 0 to %lld, what the context holds",
                        (long long)o->at[i], (long long)most);
    }
    out[(*out_n)++] = o->at[i];
  }
  for (size_t i = 0; i < n_defaults && o->n_at == 0; i++) {
    if (defaults[i] <= most) out[(*out_n)++] = defaults[i];
  }
  if (*out_n == 0) out[(*out_n)++] = most;  // a context below every default
  return ORION_OK;
}

double orion_bench_kv_bytes(const orion_config *c, int64_t position, const char *weights) {
  double element = weights && strcmp(weights, "fp32") == 0 ? 4 : 2;
  return 2.0 * (double)(c->layers * c->kv_heads * c->head_dim) * (double)position * element;
}

double orion_bench_prefill_flops(const orion_config *c, int64_t n) {
  double q = (double)(c->heads * c->head_dim), kv = (double)(c->kv_heads * c->head_dim), tokens = (double)n;
  double dim = (double)c->dim, products = dim * (2 * q + 2 * kv + (c->gated ? 3 : 2) * (double)c->hidden);
  double pairs = tokens * (tokens + 1) / 2;
  return 2 * products * tokens * (double)c->layers + 4 * q * pairs * (double)c->layers + 2 * dim * (double)c->vocab;
}
