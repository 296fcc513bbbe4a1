// config.json to orion_config.
//
// A key that is absent means what the family's configuration class in transformers takes for it; a key that asks for
// something that Orion does not compute is refused by name, never ignored. The limits are far above any model and keep
// every product of sizes inside 64 bits: layers * hidden * dim < 2^10 * 2^22 * 2^20.
#include "model/config.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/json.h"

#define MAX_VOCAB (1 << 24)
#define MAX_CONTEXT (1 << 26)
#define MAX_DIM (1 << 20)
#define MAX_HIDDEN (1 << 22)
#define MAX_LAYERS 1000
#define MAX_HEADS 4096
#define MAX_HEAD_DIM 8192

static int64_t size_of(orion_json_reader *r, const char *key, int64_t max) {
  return orion_json_int(r, key, ORION_JSON_REQUIRED, 1, max);
}

static orion_activation activation(orion_json_reader *r, const char *key, const char *fallback) {
  static const struct {
    const char *name;
    orion_activation activation;
  } names[] = {{"gelu_new", ORION_ACT_GELU_TANH}, {"gelu_pytorch_tanh", ORION_ACT_GELU_TANH},
               {"gelu_fast", ORION_ACT_GELU_TANH}, {"gelu", ORION_ACT_GELU_ERF},
               {"silu", ORION_ACT_SILU},          {"swish", ORION_ACT_SILU},
               {"relu", ORION_ACT_RELU}};
  const char *name = orion_json_string(r, key, fallback);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (strcmp(names[i].name, name) == 0) return names[i].activation;
  }
  orion_json_refuse(r, ORION_UNSUPPORTED, key, "want gelu_new, gelu_pytorch_tanh, gelu, silu or relu");
  return ORION_ACT_RELU;
}

static void refuse_unless(orion_json_reader *r, const char *key, bool fallback, bool want, const char *why) {
  if (orion_json_bool(r, key, fallback) != want) orion_json_refuse(r, ORION_UNSUPPORTED, key, why);
}

// ---- tokens ----

static void read_eos(orion_json_reader *r, orion_config *c) {
  const json_t *value = json_object_get(r->object, "eos_token_id");
  if (!value || r->status != ORION_OK) return;  // absent: as it was
  size_t n = json_is_array(value) ? json_array_size(value) : json_is_null(value) ? 0 : 1;
  if (n > sizeof c->eos / sizeof *c->eos) {
    orion_json_refuse(r, ORION_LIMIT, "eos_token_id", "want at most 8 tokens");
    return;
  }
  c->n_eos = 0;
  for (size_t i = 0; i < n; i++) {
    const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
    if (!json_is_integer(id) || json_integer_value(id) < -1 || json_integer_value(id) > INT32_MAX) {
      orion_json_refuse(r, ORION_FORMAT, "eos_token_id", "want a token id or a list of them");
      return;
    }
    if (json_integer_value(id) >= 0) c->eos[c->n_eos++] = json_integer_value(id);  // -1 is one way to say none
  }
}

static void read_tokens(orion_json_reader *r, orion_config *c, int64_t bos, int64_t eos) {
  c->bos = json_object_get(r->object, "bos_token_id") ? -1 : bos;
  c->bos = orion_json_int(r, "bos_token_id", c->bos, -1, INT32_MAX);
  if (eos >= 0) c->eos[c->n_eos++] = eos;
  read_eos(r, c);
}

// ---- rotary positions ----

static void read_llama3(orion_json_reader *r, orion_rope_scaling *s) {
  s->llama3 = true;
  s->factor = orion_json_number(r, "factor", NAN, 0, 1e6);
  s->low_freq_factor = orion_json_number(r, "low_freq_factor", NAN, 0, 1e6);
  s->high_freq_factor = orion_json_number(r, "high_freq_factor", NAN, 0, 1e6);
  s->original_context = size_of(r, "original_max_position_embeddings", MAX_CONTEXT);
  if (r->status == ORION_OK && s->high_freq_factor <= s->low_freq_factor) {
    orion_json_refuse(r, ORION_FORMAT, "high_freq_factor", "want more than low_freq_factor");
  }
}

static void read_scaling(orion_json_reader *r, orion_rope_scaling *s) {
  const char *key = orion_json_member(r, "rope_type") ? "rope_type" : "type";  // the old name
  const char *type = orion_json_string(r, key, "default");
  if (strcmp(type, "default") == 0) return;
  if (strcmp(type, "linear") == 0) {
    s->linear = orion_json_number(r, "factor", NAN, 0, 1e6);
  } else if (strcmp(type, "llama3") == 0) {
    read_llama3(r, s);
  } else {
    orion_json_refuse(r, ORION_UNSUPPORTED, key, "want default, linear or llama3");
  }
}

// Reads rope_theta and the scaling; newer files keep both in one object, rope_parameters.
static void read_rope(orion_json_reader *r, orion_config *c, double theta) {
  c->rope = true;
  c->rope_scaling = (orion_rope_scaling){.linear = 1};
  c->rope_theta = orion_json_number(r, "rope_theta", theta, 1, 1e15);
  if (orion_json_number(r, "partial_rotary_factor", 1, 0, 1) != 1) {
    orion_json_refuse(r, ORION_UNSUPPORTED, "partial_rotary_factor", "only whole heads are rotated: want 1");
  }
  static const char *const keys[] = {"rope_scaling", "rope_parameters"};
  for (int i = 0; i < 2 && r->status == ORION_OK; i++) {
    const json_t *object = orion_json_member(r, keys[i]);
    if (!object) continue;
    if (!json_is_object(object)) {
      orion_json_refuse(r, ORION_FORMAT, keys[i], "want an object or null");
      return;
    }
    orion_json_reader inner = {object, r->name, i == 0 ? "rope_scaling." : "rope_parameters.", ORION_OK, r->err};
    read_scaling(&inner, &c->rope_scaling);
    if (i == 1) c->rope_theta = orion_json_number(&inner, "rope_theta", c->rope_theta, 1, 1e15);
    r->status = inner.status;
  }
}

// ---- windows ----

// Sliding windows are not computed; they do no harm where no position can see past them.
static void check_window(orion_json_reader *r, const orion_config *c) {
  bool qwen = strncmp(c->model_type, "qwen", 4) == 0, mistral = strcmp(c->model_type, "mistral") == 0;
  const char *why = "sliding windows are not supported: want null or at least max_position_embeddings";
  if (mistral || (qwen && orion_json_bool(r, "use_sliding_window", false))) {
    bool null = json_is_null(json_object_get(r->object, "sliding_window"));
    int64_t window = null ? INT64_MAX : orion_json_int(r, "sliding_window", 4096, 1, INT64_MAX);
    int64_t from = qwen ? orion_json_int(r, "max_window_layers", 28, 0, INT64_MAX) : 0;
    if (r->status == ORION_OK && window < c->context && from < c->layers) {
      orion_json_refuse(r, ORION_UNSUPPORTED, "sliding_window", why);
    }
  }
  const json_t *types = orion_json_member(r, "layer_types");
  for (size_t i = 0; i < json_array_size(types); i++) {
    const char *type = json_string_value(json_array_get(types, i));
    if (type && strcmp(type, "full_attention") == 0) continue;
    orion_json_refuse(r, ORION_UNSUPPORTED, "layer_types", "only full_attention is supported");
    return;
  }
}

// ---- families ----

static void check_heads(orion_json_reader *r, const orion_config *c, const char *heads, const char *kv_heads) {
  if (r->status != ORION_OK) return;
  if (c->kv_heads > c->heads || c->heads % c->kv_heads != 0) {
    orion_json_refuse(r, ORION_FORMAT, kv_heads, "does not divide the number of attention heads");
  } else if (c->family == ORION_FAMILY_GPT2 && c->dim % c->heads != 0) {
    orion_json_refuse(r, ORION_FORMAT, heads, "does not divide n_embd");
  }
}

static void read_gpt2(orion_json_reader *r, orion_config *c) {
  c->family = ORION_FAMILY_GPT2;
  c->vocab = size_of(r, "vocab_size", MAX_VOCAB);
  c->context = size_of(r, "n_positions", MAX_CONTEXT);
  c->dim = size_of(r, "n_embd", MAX_DIM);
  c->layers = size_of(r, "n_layer", MAX_LAYERS);
  c->heads = c->kv_heads = size_of(r, "n_head", MAX_HEADS);
  c->hidden = orion_json_int(r, "n_inner", 4 * c->dim, 1, MAX_HIDDEN);
  c->norm_eps = orion_json_number(r, "layer_norm_epsilon", 1e-5, 0, 1);
  c->activation = activation(r, "activation_function", "gelu_new");
  c->tied = orion_json_bool(r, "tie_word_embeddings", true);
  c->qkv_bias = c->out_bias = c->mlp_bias = true;
  check_heads(r, c, "n_head", "n_head");
  c->head_dim = c->dim / c->heads;
  refuse_unless(r, "scale_attn_weights", true, true, "unscaled attention is not supported");
  refuse_unless(r, "scale_attn_by_inverse_layer_idx", false, false, "scaling by layer is not supported");
  refuse_unless(r, "add_cross_attention", false, false, "cross-attention is not supported");
  read_tokens(r, c, 50256, 50256);
}

static void read_llama(orion_json_reader *r, orion_config *c) {
  bool qwen2 = strcmp(c->model_type, "qwen2") == 0, qwen3 = strcmp(c->model_type, "qwen3") == 0;
  bool mistral = strcmp(c->model_type, "mistral") == 0;
  c->family = ORION_FAMILY_LLAMA;
  c->vocab = size_of(r, "vocab_size", MAX_VOCAB);
  c->context = size_of(r, "max_position_embeddings", MAX_CONTEXT);
  c->dim = size_of(r, "hidden_size", MAX_DIM);
  c->hidden = size_of(r, "intermediate_size", MAX_HIDDEN);
  c->layers = size_of(r, "num_hidden_layers", MAX_LAYERS);
  c->heads = size_of(r, "num_attention_heads", MAX_HEADS);
  c->kv_heads = orion_json_int(r, "num_key_value_heads", c->heads, 1, MAX_HEADS);
  check_heads(r, c, "num_attention_heads", "num_key_value_heads");
  bool own_head_dim = orion_json_member(r, "head_dim") != NULL;
  c->head_dim = orion_json_int(r, "head_dim", qwen3 ? 128 : c->dim / c->heads, 1, MAX_HEAD_DIM);
  if (!own_head_dim && !qwen3 && c->dim % c->heads != 0) {
    orion_json_refuse(r, ORION_FORMAT, "num_attention_heads", "does not divide hidden_size, and head_dim is not given");
  } else if (c->head_dim < 2 || c->head_dim % 2 != 0) {
    orion_json_refuse(r, ORION_FORMAT, own_head_dim ? "head_dim" : "num_attention_heads",
                      "rotary positions want an even size of heads");
  }
  c->norm_eps = orion_json_number(r, "rms_norm_eps", 1e-6, 0, 1);
  c->activation = activation(r, "hidden_act", "silu");
  c->gated = true;
  c->tied = orion_json_bool(r, "tie_word_embeddings", false);
  c->qkv_bias = qwen2 || (!mistral && orion_json_bool(r, "attention_bias", false));
  c->out_bias = c->qkv_bias && !qwen2;
  c->mlp_bias = !qwen2 && !qwen3 && !mistral && orion_json_bool(r, "mlp_bias", false);
  c->qk_norm = qwen3;
  read_rope(r, c, 10000);
  check_window(r, c);
  read_tokens(r, c, qwen2 || qwen3 ? -1 : 1, qwen2 || qwen3 ? -1 : 2);
}

// ---- integer weights ----

// Which tensors are integers the weight files say (hf_quantised.c); here, that nothing else is meant by them.
static void check_quantisation(orion_json_reader *r) {
  const char *why = "want quant_method compressed-tensors with symmetric integer weights of 4 or 8 bits and no activations";
  const json_t *q = orion_json_member(r, "quantization_config"), *groups = json_object_get(q, "config_groups"), *group;
  const char *method = json_string_value(json_object_get(q, "quant_method"));
  const char *format = json_string_value(json_object_get(q, "format"));
  bool ok = method && strcmp(method, "compressed-tensors") == 0 && format && json_is_object(groups) &&
            (strcmp(format, "int-quantized") == 0 || strcmp(format, "pack-quantized") == 0);
  const char *name;
  json_object_foreach((json_t *)(uintptr_t)groups, name, group) {
    const json_t *w = json_object_get(group, "weights"), *in = json_object_get(group, "input_activations");
    const char *type = json_string_value(json_object_get(w, "type"));
    json_int_t bits = json_integer_value(json_object_get(w, "num_bits"));
    ok = ok && (bits == 4 || bits == 8) && type && strcmp(type, "int") == 0 &&
         json_is_true(json_object_get(w, "symmetric")) && (!in || json_is_null(in));
  }
  if (!ok) orion_json_refuse(r, ORION_UNSUPPORTED, "quantization_config", why);
}

static void read_config(orion_json_reader *r, orion_config *c) {
  static const struct {
    const char *type;
    void (*read)(orion_json_reader *, orion_config *);
  } families[] = {{"gpt2", read_gpt2},   {"llama", read_llama}, {"mistral", read_llama},
                  {"qwen2", read_llama}, {"qwen3", read_llama}};
  const json_t *type = json_object_get(r->object, "model_type");
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
    if (!json_is_string(type) || strcmp(json_string_value(type), families[i].type) != 0) continue;
    snprintf(c->model_type, sizeof c->model_type, "%s", families[i].type);
    families[i].read(r, c);
    if (orion_json_member(r, "quantization_config")) check_quantisation(r);
    return;
  }
  orion_json_refuse(r, json_is_string(type) ? ORION_UNSUPPORTED : ORION_FORMAT, "model_type",
                    "want gpt2, llama, mistral, qwen2 or qwen3");
}

orion_status orion_config_read(const char *json, size_t n, const char *name, orion_config *out, bool *out_tied_stated,
                               orion_error *err) {
  json_t *root;
  ORION_TRY(orion_json_parse(json, n, name, &root, err));
  orion_config c = {.bos = -1, .rope_scaling = {.linear = 1}};
  for (size_t i = 0; i < sizeof c.eos / sizeof *c.eos; i++) c.eos[i] = -1;
  orion_json_reader r = {root, name, "", ORION_OK, err};
  read_config(&r, &c);
  if (r.status == ORION_OK) {
    *out = c;
    *out_tied_stated = orion_json_member(&r, "tie_word_embeddings") != NULL;
  }
  json_decref(root);
  return r.status;
}

orion_status orion_config_parse(const char *json, size_t n, const char *name, orion_config *out, orion_error *err) {
  bool stated;
  return orion_config_read(json, n, name, out, &stated, err);
}

orion_status orion_config_read_generation(const char *json, size_t n, const char *name, orion_config *c,
                                          orion_error *err) {
  json_t *root;
  ORION_TRY(orion_json_parse(json, n, name, &root, err));
  orion_json_reader r = {root, name, "", ORION_OK, err};
  if (orion_json_member(&r, "eos_token_id")) read_eos(&r, c);
  json_decref(root);
  return r.status;
}
