// config.json: what each family's keys mean, what is refused and how, and the rotary angles that follow from it.
#include <math.h>

#include "model/config.h"
#include "support/support.h"

#define GPT2 "\"model_type\":\"gpt2\",\"vocab_size\":100,\"n_positions\":32,\"n_embd\":24,\"n_layer\":2,\"n_head\":3"
#define SIZES \
  "\"vocab_size\":100,\"max_position_embeddings\":64,\"hidden_size\":24,\"intermediate_size\":50," \
  "\"num_hidden_layers\":2,\"num_attention_heads\":6"
#define LLAMA "\"model_type\":\"llama\"," SIZES

static orion_status parse(const char *json, orion_config *c, orion_error *err) {
  return orion_config_parse(json, strlen(json), "config.json", c, err);
}

static orion_config parse_ok(const char *json) {
  orion_config c;
  orion_error err;
  assert_ok(parse(json, &c, &err), &err);
  return c;
}

static void gpt2_has_its_defaults(void **state) {
  (void)state;
  orion_config c = parse_ok("{" GPT2 "}");
  assert_true(c.family == ORION_FAMILY_GPT2 && strcmp(c.model_type, "gpt2") == 0);
  assert_true(c.vocab == 100 && c.context == 32 && c.dim == 24 && c.layers == 2 && c.heads == 3 && c.kv_heads == 3);
  assert_true(c.head_dim == 8 && c.hidden == 96 && c.norm_eps == 1e-5 && c.activation == ORION_ACT_GELU_TANH);
  assert_true(c.tied && c.qkv_bias && c.out_bias && c.mlp_bias && !c.gated && !c.rope && !c.qk_norm);
  assert_true(c.bos == 50256 && c.n_eos == 1 && c.eos[0] == 50256);
  c = parse_ok("{" GPT2 ",\"n_inner\":null,\"activation_function\":\"relu\",\"tie_word_embeddings\":false,"
               "\"eos_token_id\":[1,2,3],\"bos_token_id\":null,\"extra\":{\"a\":[1]}}");
  assert_true(c.hidden == 96 && c.activation == ORION_ACT_RELU && !c.tied && c.bos == -1);
  assert_true(c.n_eos == 3 && c.eos[0] == 1 && c.eos[2] == 3 && c.eos[3] == -1);
  c = parse_ok("{" GPT2 ",\"n_inner\":7,\"activation_function\":\"gelu\",\"eos_token_id\":null}");
  assert_true(c.hidden == 7 && c.activation == ORION_ACT_GELU_ERF && c.n_eos == 0);
}

static void llama_and_its_relatives_have_their_defaults(void **state) {
  (void)state;
  orion_config c = parse_ok("{" LLAMA "}");
  assert_true(c.family == ORION_FAMILY_LLAMA && c.kv_heads == 6 && c.head_dim == 4 && c.hidden == 50 && c.gated);
  assert_true(!c.tied && !c.qkv_bias && !c.out_bias && !c.mlp_bias && c.rope && c.rope_theta == 10000);
  assert_true(c.activation == ORION_ACT_SILU && c.norm_eps == 1e-6 && c.bos == 1 && c.n_eos == 1 && c.eos[0] == 2);
  c = parse_ok("{" LLAMA ",\"attention_bias\":true,\"mlp_bias\":true,\"num_key_value_heads\":2,\"head_dim\":10,"
               "\"rope_theta\":500000,\"hidden_act\":\"gelu_pytorch_tanh\",\"tie_word_embeddings\":true}");
  assert_true(c.qkv_bias && c.out_bias && c.mlp_bias && c.kv_heads == 2 && c.head_dim == 10 && c.tied);
  assert_true(c.rope_theta == 500000 && c.activation == ORION_ACT_GELU_TANH);
  c = parse_ok("{\"model_type\":\"qwen2\"," SIZES ",\"use_sliding_window\":false,\"sliding_window\":8}");
  assert_true(c.qkv_bias && !c.out_bias && !c.qk_norm && c.bos == -1 && c.n_eos == 0);
  c = parse_ok("{\"model_type\":\"qwen3\"," SIZES ",\"layer_types\":[\"full_attention\",\"full_attention\"]}");
  assert_true(!c.qkv_bias && c.qk_norm && c.head_dim == 128);
  c = parse_ok("{\"model_type\":\"mistral\"," SIZES ",\"sliding_window\":64,\"num_key_value_heads\":3}");
  assert_true(!c.qkv_bias && c.kv_heads == 3);
  parse_ok("{\"model_type\":\"mistral\"," SIZES ",\"sliding_window\":null}");
  parse_ok("{\"model_type\":\"mistral\"," SIZES "}");  // absent means 4096, more than the context
}

static void rope_scaling_is_read(void **state) {
  (void)state;
  orion_config c = parse_ok("{" LLAMA ",\"rope_scaling\":null}");
  assert_true(!c.rope_scaling.llama3 && c.rope_scaling.linear == 1);
  c = parse_ok("{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}");
  assert_true(c.rope_scaling.linear == 2);
  c = parse_ok("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"default\"}}");
  assert_true(c.rope_scaling.linear == 1);
  c = parse_ok("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
               "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":16}}");
  assert_true(c.rope_scaling.llama3 && c.rope_scaling.factor == 8 && c.rope_scaling.original_context == 16);
  c = parse_ok("{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4,\"rope_theta\":77}}");
  assert_true(c.rope_scaling.linear == 4 && c.rope_theta == 77);
}

static void what_is_not_supported_is_refused_by_name(void **state) {
  (void)state;
  static const struct {
    const char *json;
    orion_status status;
    const char *text;
  } cases[] = {
      {"", ORION_FORMAT, "not valid JSON"},
      {"[]", ORION_FORMAT, "not a JSON object"},
      {"{}", ORION_FORMAT, "'model_type' is missing"},
      {"{\"model_type\":7}", ORION_FORMAT, "'model_type' is 7"},
      {"{\"model_type\":\"mamba\"}", ORION_UNSUPPORTED, "'model_type' is \"mamba\" (want gpt2, llama"},
      {"{" GPT2 ",\"n_head\":3}", ORION_FORMAT, "duplicate"},
      {"{\"model_type\":\"gpt2\"}", ORION_FORMAT, "'vocab_size' is missing (want an integer from 1"},
      {"{" GPT2 ",\"n_inner\":0}", ORION_FORMAT, "'n_inner' is 0"},
      {"{" GPT2 ",\"n_inner\":4.5}", ORION_FORMAT, "'n_inner' is 4.5"},
      {"{" GPT2 ",\"layer_norm_epsilon\":0}", ORION_FORMAT, "'layer_norm_epsilon' is 0"},
      {"{" GPT2 ",\"activation_function\":\"tanh\"}", ORION_UNSUPPORTED, "'activation_function' is \"tanh\""},
      {"{" GPT2 ",\"scale_attn_weights\":false}", ORION_UNSUPPORTED, "'scale_attn_weights' is false"},
      {"{" GPT2 ",\"scale_attn_by_inverse_layer_idx\":true}", ORION_UNSUPPORTED, "'scale_attn_by_inverse_layer_idx'"},
      {"{" GPT2 ",\"add_cross_attention\":true}", ORION_UNSUPPORTED, "'add_cross_attention' is true"},
      {"{" GPT2 ",\"scale_attn_weights\":1}", ORION_FORMAT, "'scale_attn_weights' is 1 (want true or false)"},
      {"{" GPT2 ",\"quantization_config\":{\"bits\":4}}", ORION_UNSUPPORTED, "'quantization_config' is {\"bits\":4}"},
      {"{" GPT2 ",\"eos_token_id\":\"x\"}", ORION_FORMAT, "'eos_token_id' is \"x\""},
      {"{" GPT2 ",\"eos_token_id\":[1,2,3,4,5,6,7,8,9]}", ORION_LIMIT, "'eos_token_id'"},
      {"{" GPT2 ",\"eos_token_id\":[1,-2]}", ORION_FORMAT, "'eos_token_id' is [1,-2]"},
      {"{" LLAMA ",\"num_key_value_heads\":4}", ORION_FORMAT, "'num_key_value_heads' is 4 (does not divide"},
      {"{" LLAMA ",\"num_key_value_heads\":12}", ORION_FORMAT, "'num_key_value_heads' is 12 (does not divide"},
      {"{" LLAMA ",\"head_dim\":5}", ORION_FORMAT, "'head_dim' is 5"},
      {"{" LLAMA ",\"rope_theta\":0}", ORION_FORMAT, "'rope_theta' is 0"},
      {"{" LLAMA ",\"partial_rotary_factor\":0.5}", ORION_UNSUPPORTED, "'partial_rotary_factor' is 0.5"},
      {"{" LLAMA ",\"rope_scaling\":[]}", ORION_FORMAT, "'rope_scaling' is []"},
      {"{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\"}}", ORION_UNSUPPORTED, "'rope_scaling.rope_type' is \"yarn\""},
      {"{" LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\"}}", ORION_UNSUPPORTED, "'rope_scaling.type' is \"dynamic\""},
      {"{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\"}}", ORION_FORMAT, "'rope_scaling.factor' is missing"},
      {"{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4,"
       "\"original_max_position_embeddings\":16}}", ORION_FORMAT, "'rope_scaling.high_freq_factor' is 4"},
      {"{\"model_type\":\"mistral\"," SIZES ",\"sliding_window\":63}", ORION_UNSUPPORTED, "'sliding_window' is 63"},
      {"{\"model_type\":\"qwen2\"," SIZES ",\"use_sliding_window\":true,\"sliding_window\":8,\"max_window_layers\":1}",
       ORION_UNSUPPORTED, "'sliding_window' is 8"},
      {"{\"model_type\":\"qwen3\"," SIZES ",\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
       ORION_UNSUPPORTED, "'layer_types' is"},
      {"{\"model_type\":\"llama\",\"vocab_size\":100,\"max_position_embeddings\":64,\"hidden_size\":25,"
       "\"intermediate_size\":50,\"num_hidden_layers\":2,\"num_attention_heads\":6}", ORION_FORMAT,
       "'num_attention_heads' is 6 (does not divide hidden_size"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    orion_config c;
    orion_error err;
    orion_status status = parse(cases[i].json, &c, &err);
    assert_error(status, cases[i].status, &err, cases[i].text);
    assert_non_null(strstr(err.message, "config.json"));
    assert_null(strchr(err.message, '\n'));
  }
}

static void every_size_has_both_limits(void **state) {
  (void)state;
  static const char *const keys[] = {"vocab_size", "n_positions", "n_embd", "n_layer", "n_head"};
  static const char *const values[] = {"0", "-1", "1099511627776", "9223372036854775807", "99999999999999999999",
                                       "\"8\"", "1.5", "[]", "null"};
  for (size_t k = 0; k < 5; k++) {
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
      char json[512];
      size_t at = (size_t)sprintf(json, "{\"model_type\":\"gpt2\"");
      for (size_t i = 0; i < 5; i++) {
        at += (size_t)sprintf(json + at, ",\"%s\":%s", keys[i], i == k ? values[v] : "8");
      }
      sprintf(json + at, "}");
      orion_config c;
      orion_error err;
      assert_error(parse(json, &c, &err), ORION_FORMAT, &err, v == 4 ? "too big" : keys[k]);
    }
  }
}

static void deep_nesting_is_an_error_and_no_crash(void **state) {
  (void)state;
  enum { N = 200000 };
  char *text = malloc(N + 1);
  memset(text, '[', N);
  text[N] = 0;
  orion_config c;
  orion_error err;
  assert_error(parse(text, &c, &err), ORION_FORMAT, &err, "config.json:1:");
  for (int i = 0; i + 5 < N; i += 5) memcpy(text + i, "{\"a\":", 5);
  assert_error(parse(text, &c, &err), ORION_FORMAT, &err, "config.json:1:");
  free(text);
}

static void generation_config_names_the_last_tokens(void **state) {
  (void)state;
  orion_config c = parse_ok("{" GPT2 ",\"eos_token_id\":5}");
  orion_error err;
  const char *json = "{\"eos_token_id\":[7,8],\"bos_token_id\":1}";
  assert_ok(orion_config_read_generation(json, strlen(json), "g", &c, &err), &err);
  assert_true(c.n_eos == 2 && c.eos[0] == 7 && c.eos[1] == 8);
  assert_ok(orion_config_read_generation("{}", 2, "g", &c, &err), &err);
  assert_true(c.n_eos == 2);
  json = "{\"eos_token_id\":\"a\"}";
  assert_error(orion_config_read_generation(json, strlen(json), "g", &c, &err), ORION_FORMAT, &err, "g: 'eos_token_id'");
}

static void the_written_text_says_the_same(void **state) {
  (void)state;
  static const char *const texts[] = {
      "{" GPT2 ",\"n_inner\":7}", "{" LLAMA ",\"attention_bias\":true,\"head_dim\":10,\"rms_norm_eps\":1e-5}",
      "{" LLAMA ",\"mlp_bias\":true,\"eos_token_id\":[3,4],\"bos_token_id\":null,\"tie_word_embeddings\":true}",
      "{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}}",
      "{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4.1,"
      "\"original_max_position_embeddings\":16}}",
      "{\"model_type\":\"mistral\"," SIZES "}", "{\"model_type\":\"qwen2\"," SIZES "}",
      "{\"model_type\":\"qwen3\"," SIZES ",\"head_dim\":32,\"attention_bias\":true}",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    orion_config c = parse_ok(texts[i]);
    orion_error err;
    orion_strbuf text;
    orion_strbuf_init(&text, NULL);
    assert_ok(orion_config_text(&c, ORION_FP16, &text, &err), &err);  // compares by itself
    assert_non_null(strstr(text.data, "\"torch_dtype\": \"float16\""));
    assert_non_null(strstr(text.data, "ForCausalLM\"]") ? text.data : strstr(text.data, "GPT2LMHeadModel"));
    orion_strbuf_deinit(&text);
  }
  orion_config c = parse_ok(texts[0]);
  c.rope = true;  // no GPT-2 has that
  orion_error err;
  orion_strbuf text;
  orion_strbuf_init(&text, NULL);
  assert_error(orion_config_text(&c, ORION_FP32, &text, &err), ORION_UNSUPPORTED, &err, "'gpt2'");
  orion_strbuf_deinit(&text);
}

// ---- rotary tables ----

// The definition of transformers' modeling_rope_utils, in long double and written from its formulas.
static long double reference_frequency(const orion_config *c, int64_t i) {
  long double f = 1 / powl((long double)c->rope_theta, (long double)(2 * i) / (long double)c->head_dim);
  const orion_rope_scaling *s = &c->rope_scaling;
  if (!s->llama3) return f / (long double)s->linear;
  const long double pi = 3.14159265358979323846264338327950288L;
  long double wave = 2 * pi / f, old = (long double)s->original_context;
  long double smooth = (old / wave - (long double)s->low_freq_factor) /
                       ((long double)s->high_freq_factor - (long double)s->low_freq_factor);
  if (wave > old / (long double)s->low_freq_factor) return f / (long double)s->factor;
  if (wave < old / (long double)s->high_freq_factor) return f;
  return (1 - smooth) * f / (long double)s->factor + smooth * f;
}

static void rotary_angles_equal_the_definition(void **state) {
  (void)state;
  static const char *const texts[] = {
      "{" LLAMA ",\"head_dim\":64}",
      "{" LLAMA ",\"head_dim\":128,\"rope_theta\":500000,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
      "\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}",
      "{" LLAMA ",\"head_dim\":16,\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}}",
  };
  int blended = 0;
  for (size_t k = 0; k < 3; k++) {
    orion_config c = parse_ok(texts[k]);
    static const int64_t positions[] = {0, 1, 2, 63, 1023, 100000};
    for (size_t p = 0; p < 6; p++) {
      float cosines[64], sines[64];
      orion_config_rope(&c, positions[p], cosines, sines);
      for (int64_t i = 0; i < c.head_dim / 2; i++) {
        long double angle = (long double)positions[p] * reference_frequency(&c, i);
        assert_true(fabsl((long double)cosines[i] - cosl(angle)) < 1.3e-7L);
        assert_true(fabsl((long double)sines[i] - sinl(angle)) < 1.3e-7L);
        long double plain = 1 / powl((long double)c.rope_theta, (long double)(2 * i) / (long double)c.head_dim);
        long double ratio = reference_frequency(&c, i) / plain;
        blended += k == 1 && ratio < 0.999L && ratio > 0.126L;
      }
    }
  }
  assert_true(blended > 0);  // the middle branch was taken
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gpt2_has_its_defaults),
      cmocka_unit_test(llama_and_its_relatives_have_their_defaults),
      cmocka_unit_test(rope_scaling_is_read),
      cmocka_unit_test(what_is_not_supported_is_refused_by_name),
      cmocka_unit_test(every_size_has_both_limits),
      cmocka_unit_test(deep_nesting_is_an_error_and_no_crash),
      cmocka_unit_test(generation_config_names_the_last_tokens),
      cmocka_unit_test(the_written_text_says_the_same),
      cmocka_unit_test(rotary_angles_equal_the_definition),
  };
  return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
