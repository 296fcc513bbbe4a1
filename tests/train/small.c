#include "small.h"

#include "base/rng.h"

orion_config small_config(bool gpt2) {
  orion_config c = {.family = ORION_FAMILY_LLAMA, .model_type = "llama", .vocab = 40, .context = 16, .dim = 16, .hidden = 24,
                    .layers = 2, .heads = 2, .kv_heads = 1, .head_dim = 8, .norm_eps = 1e-5, .rope = true, .rope_theta = 10000,
                    .rope_scaling = {.linear = 1}, .gated = true, .activation = ORION_ACT_SILU, .bos = 1, .eos = {2}, .n_eos = 1};
  if (!gpt2) return c;
  c.family = ORION_FAMILY_GPT2;
  snprintf(c.model_type, sizeof c.model_type, "gpt2");
  c.kv_heads = 2;
  c.hidden = 64;
  c.rope = c.gated = false;
  c.tied = c.qkv_bias = c.out_bias = c.mlp_bias = true;
  c.activation = ORION_ACT_GELU_TANH;
  return c;
}

orion_config small_family(int kind) {
  orion_config c = small_config(kind == 1);
  if (kind == 2) {
    snprintf(c.model_type, sizeof c.model_type, "qwen3");
    c.qk_norm = c.tied = true;
  } else if (kind == 3) {
    snprintf(c.model_type, sizeof c.model_type, "qwen2");
    c.qkv_bias = true;
    c.activation = ORION_ACT_GELU_ERF;
  }
  return c;
}

void small_open(small *s, bool gpt2, uint64_t seed) {
  orion_error err = {0};
  orion_config c = small_config(gpt2);
  assert_ok(orion_device_open("cpu", 1, NULL, &s->device, &err), &err);
  assert_ok(orion_model_random(NULL, &c, seed, &s->model, &err), &err);
  assert_ok(orion_params_create(s->model, s->device, &s->params, &err), &err);
}

void small_close(small *s) {
  orion_params_destroy(s->params);
  orion_model_close(s->model);
  orion_device_close(s->device);
}

void small_noise(float *out, size_t n, uint64_t seed) {
  orion_rng r;
  orion_rng_seed(&r, seed, 3);
  for (size_t i = 0; i < n; i++) out[i] = 2 * orion_rng_float(&r) - 1;
}
