// orion_config to config.json. What is written is parsed again and compared, so that reader and writer cannot drift
// apart and nothing that the file cannot say gets lost in it.
#include "model/config.h"

#include <stdio.h>
#include <stdlib.h>

#include "ir/data_quantise.h"

static const char *activation_name(const orion_config *c) {
  switch (c->activation) {
    case ORION_ACT_GELU_TANH: return c->family == ORION_FAMILY_GPT2 ? "gelu_new" : "gelu_pytorch_tanh";
    case ORION_ACT_GELU_ERF: return "gelu";
    case ORION_ACT_SILU: return "silu";
    case ORION_ACT_RELU: return "relu";
  }
  return "?";
}

static const char *type_name(const orion_config *c) {
  if (c->model_type[0]) return c->model_type;
  return c->family == ORION_FAMILY_GPT2 ? "gpt2" : "llama";
}

static const char *truth(bool v) { return v ? "true" : "false"; }

static void add_int(orion_strbuf *b, const char *key, int64_t v) {
  orion_strbuf_addf(b, "  \"%s\": %lld,\n", key, (long long)v);
}

// The shortest of the usual spellings that reads back as the same number.
static void add_number(orion_strbuf *b, const char *key, double v) {
  char text[40];
  for (int digits = 6; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, v);
    if (strtod(text, NULL) == v) break;
  }
  orion_strbuf_addf(b, "  \"%s\": %s,\n", key, text);
}

static void add_string(orion_strbuf *b, const char *key, const char *v) {
  orion_strbuf_addf(b, "  \"%s\": \"%s\",\n", key, v);
}

static void add_bool(orion_strbuf *b, const char *key, bool v) {
  orion_strbuf_addf(b, "  \"%s\": %s,\n", key, truth(v));
}

static void add_gpt2(orion_strbuf *b, const orion_config *c) {
  add_int(b, "n_ctx", c->context);
  add_int(b, "n_embd", c->dim);
  add_int(b, "n_head", c->heads);
  add_int(b, "n_inner", c->hidden);
  add_int(b, "n_layer", c->layers);
  add_int(b, "n_positions", c->context);
  add_string(b, "activation_function", activation_name(c));
  add_number(b, "layer_norm_epsilon", c->norm_eps);
}

static void add_scaling(orion_strbuf *b, const orion_rope_scaling *s) {
  if (s->llama3) {
    orion_strbuf_addf(b, "  \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": %.17g, \"low_freq_factor\": %.17g, "
                      "\"high_freq_factor\": %.17g, \"original_max_position_embeddings\": %lld},\n", s->factor,
                      s->low_freq_factor, s->high_freq_factor, (long long)s->original_context);
  } else if (s->linear != 1) {
    orion_strbuf_addf(b, "  \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": %.17g},\n", s->linear);
  } else {
    orion_strbuf_adds(b, "  \"rope_scaling\": null,\n");
  }
}

static void add_llama(orion_strbuf *b, const orion_config *c) {
  const char *type = type_name(c);
  add_int(b, "hidden_size", c->dim);
  add_int(b, "intermediate_size", c->hidden);
  add_int(b, "num_hidden_layers", c->layers);
  add_int(b, "num_attention_heads", c->heads);
  add_int(b, "num_key_value_heads", c->kv_heads);
  add_int(b, "head_dim", c->head_dim);
  add_int(b, "max_position_embeddings", c->context);
  add_string(b, "hidden_act", activation_name(c));
  add_number(b, "rms_norm_eps", c->norm_eps);
  add_number(b, "rope_theta", c->rope_theta);
  add_scaling(b, &c->rope_scaling);
  if (strcmp(type, "mistral") == 0) orion_strbuf_adds(b, "  \"sliding_window\": null,\n");
  if (strncmp(type, "qwen", 4) == 0) add_bool(b, "use_sliding_window", false);
  if (strcmp(type, "llama") == 0 || strcmp(type, "qwen3") == 0) add_bool(b, "attention_bias", c->qkv_bias);
  if (strcmp(type, "llama") == 0) add_bool(b, "mlp_bias", c->mlp_bias);
}

static void add_tokens(orion_strbuf *b, const orion_config *c) {
  if (c->bos >= 0) {
    add_int(b, "bos_token_id", c->bos);
  } else {
    orion_strbuf_adds(b, "  \"bos_token_id\": null,\n");
  }
  orion_strbuf_adds(b, "  \"eos_token_id\": ");
  if (c->n_eos == 0) orion_strbuf_adds(b, "null");
  if (c->n_eos > 1) orion_strbuf_addc(b, '[');
  for (int i = 0; i < c->n_eos; i++) orion_strbuf_addf(b, "%s%lld", i ? ", " : "", (long long)c->eos[i]);
  if (c->n_eos > 1) orion_strbuf_addc(b, ']');
  orion_strbuf_adds(b, ",\n");
}

// What compressed-tensors wants said of integer weights. Groups are as wide as widths allow; where those differ, matrices
// are told apart by the names of their layers.
static void add_quantisation(orion_strbuf *b, const orion_config *c, orion_dtype dtype) {
  size_t widths[3] = {(size_t)c->dim, (size_t)c->hidden, (size_t)(c->heads * c->head_dim)};
  static const char *const inputs[3] = {"re:.*(q_proj|k_proj|v_proj|gate_proj|up_proj|c_attn|c_fc|lm_head)$",
                                        "re:.*mlp\\\\.(down_proj|c_proj)$", "re:.*attn\\\\.(o_proj|c_proj)$"};
  bool int4 = dtype == ORION_INT4, uniform = true;
  for (int i = 1; i < 3; i++) {
    uniform = uniform && orion_quantise_group(dtype, widths[i]) == orion_quantise_group(dtype, widths[0]);
  }
  orion_strbuf_addf(b, "  \"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": \"%s\", "
                    "\"quantization_status\": \"compressed\", \"ignore\": [%s], \"config_groups\": {",
                    int4 ? "pack-quantized" : "int-quantized", c->tied ? "\"lm_head\"" : "");
  for (int i = 0; i < (int4 && !uniform ? 3 : 1); i++) {
    const char *targets = int4 && !uniform ? inputs[i] : "Linear";
    orion_strbuf_addf(b, "%s\"group_%d\": {\"targets\": [\"%s\"], \"weights\": {\"num_bits\": %d, \"type\": \"int\", "
                      "\"symmetric\": true, \"dynamic\": false, ", i ? ", " : "", i, targets, int4 ? 4 : 8);
    if (int4) {
      orion_strbuf_addf(b, "\"strategy\": \"group\", \"group_size\": %zu}}", orion_quantise_group(dtype, widths[i]));
    } else {
      orion_strbuf_adds(b, "\"strategy\": \"channel\"}}");
    }
  }
  orion_strbuf_adds(b, "}},\n");
}

static void add_all(orion_strbuf *b, const orion_config *c, orion_dtype dtype) {
  static const struct {
    const char *type, *architecture;
  } classes[] = {{"gpt2", "GPT2LMHeadModel"}, {"llama", "LlamaForCausalLM"}, {"mistral", "MistralForCausalLM"},
                 {"qwen2", "Qwen2ForCausalLM"}, {"qwen3", "Qwen3ForCausalLM"}};
  orion_strbuf_adds(b, "{\n");
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
    if (strcmp(classes[i].type, type_name(c)) != 0) continue;
    orion_strbuf_addf(b, "  \"architectures\": [\"%s\"],\n", classes[i].architecture);
  }
  add_string(b, "model_type", type_name(c));
  add_int(b, "vocab_size", c->vocab);
  if (c->family == ORION_FAMILY_GPT2) {
    add_gpt2(b, c);
  } else {
    add_llama(b, c);
  }
  add_tokens(b, c);
  add_bool(b, "tie_word_embeddings", c->tied);
  bool integers = !orion_dtype_is_float(dtype);
  if (integers) add_quantisation(b, c, dtype);
  const char *torch = dtype == ORION_FP16 || integers ? "float16" : dtype == ORION_BF16 ? "bfloat16" : "float32";
  orion_strbuf_addf(b, "  \"torch_dtype\": \"%s\"\n}\n", torch);
}

static bool same(const orion_config *a, const orion_config *b) {
  bool equal = a->family == b->family && a->vocab == b->vocab && a->context == b->context && a->dim == b->dim &&
               a->hidden == b->hidden && a->layers == b->layers && a->heads == b->heads && a->kv_heads == b->kv_heads &&
               a->head_dim == b->head_dim && a->norm_eps == b->norm_eps && a->rope == b->rope && a->tied == b->tied &&
               a->qkv_bias == b->qkv_bias && a->out_bias == b->out_bias && a->mlp_bias == b->mlp_bias &&
               a->qk_norm == b->qk_norm && a->gated == b->gated && a->activation == b->activation;
  if (equal && a->rope) {
    const orion_rope_scaling *s = &a->rope_scaling, *t = &b->rope_scaling;
    equal = a->rope_theta == b->rope_theta && s->llama3 == t->llama3;
    equal = equal && (s->llama3 ? s->factor == t->factor && s->low_freq_factor == t->low_freq_factor &&
                                      s->high_freq_factor == t->high_freq_factor &&
                                      s->original_context == t->original_context
                                : s->linear == t->linear);
  }
  equal = equal && a->bos == b->bos && a->n_eos == b->n_eos;
  for (int i = 0; equal && i < a->n_eos; i++) equal = a->eos[i] == b->eos[i];
  return equal;
}

orion_status orion_config_text(const orion_config *c, orion_dtype dtype, orion_strbuf *out, orion_error *err) {
  if (c->n_eos < 0 || c->n_eos > (int)(sizeof c->eos / sizeof *c->eos)) {
    return ORION_FAIL(err, ORION_INVALID, "config.json: %d ending tokens (want at most 8)", c->n_eos);
  }
  add_all(out, c, dtype);
  ORION_TRY(orion_strbuf_status(out, err));
  orion_config read;
  bool stated;
  ORION_TRY(orion_config_read(out->data, out->size, "config.json", &read, &stated, err));
  if (same(c, &read)) return ORION_OK;
  return ORION_FAIL(err, ORION_UNSUPPORTED, "config.json: a model of type '%s' cannot have this configuration (biases, "
                    "norms, head size or positions that the type lacks)", type_name(c));
}
