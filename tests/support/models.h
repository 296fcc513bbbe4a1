// Models of a few kilobytes with random weights, one for each arrangement that the families know.
#ifndef TEST_MODELS_H
#define TEST_MODELS_H

#include "model/model.h"
#include "support/support.h"

typedef enum test_kind { TEST_GPT2, TEST_LLAMA, TEST_QWEN2, TEST_QWEN3, TEST_KINDS } test_kind;

static const char *const test_kind_names[TEST_KINDS] = {"gpt2", "llama", "qwen2", "qwen3"};

// llama: grouped heads, its own classifier; qwen2: biases of q, k, v; qwen3: normed q and k, heads wider than dim / heads.
static inline orion_config test_config(test_kind kind, int64_t context) {
  orion_config c = {.family = kind == TEST_GPT2 ? ORION_FAMILY_GPT2 : ORION_FAMILY_LLAMA, .vocab = 97,
                    .context = context, .dim = 64, .hidden = 96, .layers = 2, .heads = 4, .kv_heads = 4, .head_dim = 16,
                    .norm_eps = 1e-5, .tied = kind != TEST_LLAMA, .bos = -1};
  snprintf(c.model_type, sizeof c.model_type, "%s", test_kind_names[kind]);
  if (kind == TEST_GPT2) {
    c.qkv_bias = c.out_bias = c.mlp_bias = true;
    c.activation = ORION_ACT_GELU_TANH;
    return c;
  }
  c.gated = c.rope = true;
  c.rope_theta = 10000;
  c.rope_scaling.linear = 1;
  c.activation = ORION_ACT_SILU;
  c.kv_heads = kind == TEST_LLAMA ? 2 : kind == TEST_QWEN2 ? 4 : 1;
  c.qkv_bias = kind == TEST_QWEN2;
  c.qk_norm = kind == TEST_QWEN3;
  if (kind == TEST_QWEN3) c.head_dim = 32;
  return c;
}

static inline orion_model *test_model(const orion_config *c) {
  orion_model *m;
  orion_error err;
  assert_ok(orion_model_random(NULL, c, 11, &m, &err), &err);
  return m;
}

// Element i of a constant of fp32 that belongs to a random model, to be changed.
static inline float *test_weight(const orion_data *x, size_t i) {
  assert_int_equal(x->dtype, ORION_FP32);
  return (float *)(uintptr_t)x->bytes + i;
}

#endif
