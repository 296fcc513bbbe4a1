// Ids equal those of other implementations: tiktoken's samples, llama.cpp's vocabulary tests, the TinyStories corpus as
// GPT-2 ids, and reference encodings of small models.
#include "orion/tokenizer.h"
#include "support/support.h"

typedef struct opened {
  orion_tokenizer *tokenizer;
  orion_token_encoder *encoder;
} opened;

static opened open_tokenizer(const char *path) {
  orion_error err;
  opened o = {0};
  assert_ok(orion_tokenizer_open(NULL, path, NULL, &o.tokenizer, &err), &err);
  assert_ok(orion_token_encoder_create(NULL, o.tokenizer, &o.encoder, &err), &err);
  return o;
}

static void close_tokenizer(opened *o) {
  orion_token_encoder_destroy(o->encoder);
  orion_tokenizer_close(o->tokenizer);
}

static const int32_t *encode(const opened *o, const char *text, size_t n, unsigned flags, size_t *out_count) {
  orion_error err;
  const int32_t *ids;
  assert_ok(orion_token_encode(o->encoder, text, n, flags, &ids, out_count, &err), &err);
  return ids;
}

// Asserts that the numbers of `list` (separated by anything but digits) are the ids.
static void assert_ids(const int32_t *ids, size_t count, const char *list, size_t size, const char *text) {
  size_t k = 0;
  for (const char *p = list; p < list + size;) {
    if (*p < '0' || *p > '9') {
      p++;
      continue;
    }
    char *end;
    long want = strtol(p, &end, 10);
    if (k >= count || ids[k] != want) fail_msg("\"%.60s\": id %zu is %d, want %ld", text, k, k < count ? ids[k] : -1, want);
    k++;
    p = end;
  }
  if (k != count) fail_msg("\"%.60s\": %zu ids, want %zu", text, count, k);
}

static void check_llama_cpp(const char *vocab, const char *golden, unsigned flags) {
  static const char separator[] = "\n__ggml_vocab_test__\n";
  char path[TEST_PATH_MAX], relative[256];
  SKIP_WITHOUT_SHARED(path, vocab);
  opened o = open_tokenizer(path);
  snprintf(relative, sizeof relative, "data/tokenizers/golden/%s.gguf.inp", golden);
  SKIP_WITHOUT_SHARED(path, relative);
  char *in = test_read_file(path, NULL);
  snprintf(relative, sizeof relative, "data/tokenizers/golden/%s.gguf.out", golden);
  SKIP_WITHOUT_SHARED(path, relative);
  char *out = test_read_file(path, NULL);
  size_t samples = 0;
  char *line = out;
  for (char *text = in; *text; samples++) {
    char *end = strstr(text, separator);
    size_t n = end ? (size_t)(end - text) : strlen(text), count;
    size_t line_size = strcspn(line, "\n");
    const int32_t *ids = encode(&o, text, n, flags, &count);
    assert_ids(ids, count, line, line_size, text);
    line += line_size + (line[line_size] == '\n');
    text = end ? end + strlen(separator) : text + n;
  }
  assert_true(samples >= 40);
  free(in);
  free(out);
  close_tokenizer(&o);
}

static void gpt2_as_llama_cpp(void **state) {
  (void)state;
  check_llama_cpp("data/tokenizers/gpt2", "ggml-vocab-gpt-2", 0);
}

static void llama2_as_llama_cpp(void **state) {
  (void)state;
  check_llama_cpp("data/tokenizers/llama2/tokenizer.model", "ggml-vocab-llama-spm", 0);
}

static void llama2c_export_as_llama_cpp(void **state) {
  (void)state;
  check_llama_cpp("data/llama2c/tokenizer.bin", "ggml-vocab-llama-spm", 0);
}

static void llama3_as_llama_cpp(void **state) {
  (void)state;
  check_llama_cpp("data/tokenizers/llama3/encoder.json", "ggml-vocab-llama-bpe", 0);
}

static void gpt2_as_tiktoken(void **state) {
  (void)state;
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/tokenizers/gpt2/merges.txt");
  opened o = open_tokenizer(path);
  SKIP_WITHOUT_SHARED(path, "data/tokenizers/golden/r50k_TestPlans.txt");
  char *plans = test_read_file(path, NULL);
  size_t samples = 0;
  static const char head[] = "EncodingName: r50k_base\nSample: ";  // the file has other vocabularies too
  for (char *p = plans; (p = strstr(p, head)) != NULL; samples++) {
    p += strlen(head);
    char *end = strstr(p, "\nEncoded: [");
    assert_non_null(end);
    size_t count, n = (size_t)(end - p);
    const int32_t *ids = encode(&o, p, n, 0, &count);
    char *list = end + strlen("\nEncoded: [");
    assert_ids(ids, count, list, strcspn(list, "]"), p);
    p = list;
  }
  assert_true(samples >= 60);
  free(plans);
  close_tokenizer(&o);
}

static void check_corpus(const char *text_path, const char *ids_path) {
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/tokenizers/gpt2");
  opened o = open_tokenizer(path);
  SKIP_WITHOUT_SHARED(path, text_path);
  size_t size, bytes, count;
  char *text = test_read_file(path, &size);
  SKIP_WITHOUT_SHARED(path, ids_path);
  uint8_t *want = (uint8_t *)test_read_file(path, &bytes);
  const int32_t *ids = encode(&o, text, size, ORION_ENCODE_SPECIAL, &count);
  for (size_t i = 0; i < count && i < bytes / 2; i++) {
    int32_t id = want[2 * i] | want[2 * i + 1] << 8;
    if (ids[i] != id) fail_msg("%s: id %zu is %d, want %d", text_path, i, ids[i], id);
  }
  assert_int_equal(count, bytes / 2);
  free(text);
  free(want);
  close_tokenizer(&o);
}

static void tinystories_as_published(void **state) {
  (void)state;
  check_corpus("data/tinystories/train.txt", "data/tinystories/gpt2bpe_test_u16.bin");
  check_corpus("data/tinystories/val.txt", "data/tinystories/gpt2bpe_val_u16.bin");
}

static void tinystories_656k_prompt(void **state) {
  (void)state;
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/models/tinystories-656k");
  opened o = open_tokenizer(path);
  SKIP_WITHOUT_SHARED(path, "data/golden/tinystories-656k.json");
  json_t *golden = test_json_load(path);
  const char *prompt = json_string_value(json_object_get(golden, "prompt"));
  json_t *want = json_object_get(golden, "prompt_ids");
  size_t count;
  const int32_t *ids = encode(&o, prompt, strlen(prompt), ORION_ENCODE_BOS, &count);
  assert_int_equal(count, json_array_size(want));
  for (size_t i = 0; i < count; i++) assert_int_equal(ids[i], json_integer_value(json_array_get(want, i)));
  assert_int_equal(orion_tokenizer_bos(o.tokenizer), 1);
  assert_int_equal(orion_tokenizer_eos(o.tokenizer), 2);
  assert_true(orion_tokenizer_adds_bos(o.tokenizer));

  // The greedy continuation decodes to the reference's text.
  json_t *greedy = json_object_get(golden, "greedy_ids");
  const char *text = json_string_value(json_object_get(golden, "text"));
  size_t n = json_array_size(greedy), size;
  int32_t *list = malloc(n * sizeof *list);
  for (size_t i = 0; i < n; i++) list[i] = (int32_t)json_integer_value(json_array_get(greedy, i));
  char *decoded;
  orion_error err;
  assert_ok(orion_token_decode(NULL, o.tokenizer, list, n, ORION_DECODE_SKIP_SPECIAL, &decoded, &size, &err), &err);
  if (text && text[0] == ' ') text++;  // the reference leaves out the decoder's Strip
  if (text) assert_string_equal(decoded, text);
  orion_token_text_free(NULL, decoded, size);
  free(list);
  json_decref(golden);
  close_tokenizer(&o);
}

static void stories260k_round_trip(void **state) {
  (void)state;
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/llama2c/tok512.bin");
  opened o = open_tokenizer(path);
  assert_int_equal(orion_tokenizer_vocab_size(o.tokenizer), 512);
  SKIP_WITHOUT_SHARED(path, "data/golden/stories260K_greedy200.txt");
  size_t n, count, size;
  char *text = test_read_file(path, &n), *decoded;
  const int32_t *ids = encode(&o, text, n, ORION_ENCODE_BOS, &count);
  assert_int_equal(ids[0], 1);
  orion_error err;
  assert_ok(orion_token_decode(NULL, o.tokenizer, ids, count, ORION_DECODE_SKIP_SPECIAL, &decoded, &size, &err), &err);
  assert_int_equal(size, n);
  assert_memory_equal(decoded, text, n);
  orion_token_text_free(NULL, decoded, size);
  free(text);
  close_tokenizer(&o);
}

// The small file has the Llama-3 pattern, ids with gaps, and only some of Llama 3's tokens.
static void mini_llama_loads(void **state) {
  (void)state;
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/tokenizers/mini_llama.json");
  opened o = open_tokenizer(path);
  size_t count;
  const int32_t *ids = encode(&o, "<|begin_of_text|>000() {}", 25, ORION_ENCODE_SPECIAL, &count);
  const int32_t want[] = {128000, 931, 368, 4792};
  assert_int_equal(count, 4);
  assert_memory_equal(ids, want, sizeof want);
  assert_int_equal(orion_tokenizer_bos(o.tokenizer), 128000);
  assert_int_equal(orion_tokenizer_eos(o.tokenizer), 128001);
  assert_int_equal(orion_tokenizer_vocab_size(o.tokenizer), 128002);
  close_tokenizer(&o);
}

static void refuse(void *ctx, const char *path, const char *name) {
  (void)ctx;
  orion_tokenizer *t = NULL;
  orion_error err = {0};
  orion_status status = orion_tokenizer_open(NULL, path, NULL, &t, &err);
  if (status != ORION_FORMAT && status != ORION_UNSUPPORTED) fail_msg("%s: %s", name, orion_status_name(status));
  assert_non_null(strstr(err.message, name));
  assert_null(strchr(err.message, '\n'));
}

static void malformed_files_are_refused(void **state) {
  (void)state;
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/fuzz/tokenizer");
  assert_true(test_each_file(path, refuse, NULL) >= 12);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gpt2_as_llama_cpp),      cmocka_unit_test(llama2_as_llama_cpp),
      cmocka_unit_test(llama2c_export_as_llama_cpp), cmocka_unit_test(llama3_as_llama_cpp),
      cmocka_unit_test(gpt2_as_tiktoken),       cmocka_unit_test(tinystories_as_published),
      cmocka_unit_test(tinystories_656k_prompt), cmocka_unit_test(stories260k_round_trip),
      cmocka_unit_test(mini_llama_loads),       cmocka_unit_test(malformed_files_are_refused),
  };
  return cmocka_run_group_tests_name("tokenizer goldens", tests, NULL, NULL);
}
