// Small tokenizers written here: everything that needs no data from outside.
#include "orion/tokenizer.h"
#include "support/support.h"

typedef struct opened {
  orion_tokenizer *tokenizer;
  orion_token_encoder *encoder;
} opened;

static const orion_tokenizer_options as_json = {sizeof as_json, ORION_TOKENIZER_JSON, 0, 0};

// Bytes that a file is made of; enough for a small vocabulary.
typedef struct bytes {
  uint8_t data[16384];
  size_t size;
} bytes;

static void put(bytes *b, const void *data, size_t n) {
  assert_true(b->size + n <= sizeof b->data);
  memcpy(b->data + b->size, data, n);
  b->size += n;
}

static void put_byte(bytes *b, unsigned v) { put(b, &(uint8_t){(uint8_t)v}, 1); }

static void puts_text(bytes *b, const char *s) { put(b, s, strlen(s)); }

// A byte-level tokenizer.json with all 256 bytes: byte b has id b. `tail` follows the vocabulary's bytes (", ...}" and
// all that comes after it).
static void byte_level_json(bytes *b, const char *more_vocab, const char *merges, const char *rest) {
  char item[64];
  b->size = 0;
  puts_text(b, "{\"model\":{\"type\":\"BPE\",\"vocab\":{");
  unsigned next = 256;
  for (unsigned v = 0; v < 256; v++) {
    bool itself = (v >= 0x21 && v <= 0x7e) || (v >= 0xa1 && v <= 0xac) || v >= 0xae;
    snprintf(item, sizeof item, "%s\"\\u%04x\":%u", v ? "," : "", itself ? v : next++, v);
    puts_text(b, item);
  }
  puts_text(b, more_vocab);
  puts_text(b, "},\"merges\":[");
  puts_text(b, merges);
  puts_text(b, "]},");
  puts_text(b, rest);
  puts_text(b, "}");
}

static opened open_bytes(const bytes *b, const orion_tokenizer_options *options) {
  orion_error err;
  opened o = {0};
  assert_ok(orion_tokenizer_open_memory(NULL, "test", b->data, b->size, NULL, 0, options, &o.tokenizer, &err), &err);
  assert_ok(orion_token_encoder_create(NULL, o.tokenizer, &o.encoder, &err), &err);
  return o;
}

static opened open_json(const char *text) {
  bytes b = {.size = 0};
  puts_text(&b, text);
  return open_bytes(&b, &as_json);
}

static void close_tokenizer(opened *o) {
  orion_token_encoder_destroy(o->encoder);
  orion_tokenizer_close(o->tokenizer);
}

// Asserts the ids, written as "1 2 3".
static void assert_encodes(const opened *o, const char *text, size_t n, unsigned flags, const char *want) {
  orion_error err;
  const int32_t *ids;
  size_t count, k = 0;
  char got[1024] = "";
  assert_ok(orion_token_encode(o->encoder, text, n, flags, &ids, &count, &err), &err);
  for (size_t i = 0; i < count; i++) k += (size_t)snprintf(got + k, sizeof got - k, "%s%d", i ? " " : "", ids[i]);
  assert_string_equal(got, want);
}

#define ASSERT_ENCODES(o, text, flags, want) assert_encodes((o), (text), sizeof(text) - 1, (flags), (want))

static void assert_round_trip(const opened *o, const char *text, size_t n) {
  orion_error err;
  const int32_t *ids;
  size_t count, size, total = 0;
  char *decoded;
  assert_ok(orion_token_encode(o->encoder, text, n, ORION_ENCODE_SPECIAL, &ids, &count, &err), &err);
  assert_ok(orion_token_decode(NULL, o->tokenizer, ids, count, 0, &decoded, &size, &err), &err);
  assert_int_equal(size, n);
  assert_memory_equal(decoded, text, n);

  // The stream gives the same bytes, and each part of it ends between characters unless it is malformed anyway.
  orion_token_decoder *d;
  const char *part;
  assert_ok(orion_token_decoder_create(NULL, o->tokenizer, 0, &d, &err), &err);
  for (size_t i = 0; i < count; i++) {
    assert_ok(orion_token_decoder_push(d, ids[i], &part, &size, &err), &err);
    assert_memory_equal(text + total, part, size);
    total += size;
    if (size && (uint8_t)part[size - 1] >= 0xc2 && (uint8_t)part[size - 1] <= 0xf4 && total < n) {
      assert_true(((uint8_t)text[total] & 0xc0) != 0x80);
    }
  }
  orion_token_decoder_finish(d, &part, &size);
  assert_memory_equal(text + total, part, size);
  assert_int_equal(total + size, n);
  orion_token_decoder_destroy(d);
  orion_token_text_free(NULL, decoded, n);
}

#define GPT2_REST "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}," \
                  "\"added_tokens\":[{\"id\":300,\"content\":\"<|end|>\",\"special\":true}]"

static void merges_go_by_rank_not_by_length(void **state) {
  (void)state;
  static bytes b;
  // "abc": rank 0 is "b c", so "a bc", though "ab" stands to the left.
  byte_level_json(&b, ",\"bc\":256,\"ab\":257,\"abc\":258,\"##\":259", "\"b c\",\"a b\",\"a bc\",\"# #\"", GPT2_REST);
  opened o = open_bytes(&b, &as_json);
  ASSERT_ENCODES(&o, "abc", 0, "258");
  ASSERT_ENCODES(&o, "bcab", 0, "256 257");
  ASSERT_ENCODES(&o, "abab", 0, "257 257");
  ASSERT_ENCODES(&o, "###", 0, "259 35");
  ASSERT_ENCODES(&o, "", 0, "");
  ASSERT_ENCODES(&o, "a\0b", 0, "97 0 98");
  ASSERT_ENCODES(&o, "a\xff\xfe z", 0, "97 255 254 32 122");
  close_tokenizer(&o);
}

static void special_tokens_only_on_request(void **state) {
  (void)state;
  static bytes b;
  byte_level_json(&b, "", "", GPT2_REST);
  opened o = open_bytes(&b, &as_json);
  ASSERT_ENCODES(&o, "a<|end|>b", ORION_ENCODE_SPECIAL, "97 300 98");
  ASSERT_ENCODES(&o, "<|end|>", 0, "60 124 101 110 100 124 62");
  ASSERT_ENCODES(&o, "<|end<|end|>", ORION_ENCODE_SPECIAL, "60 124 101 110 100 300");
  assert_true(orion_tokenizer_is_special(o.tokenizer, 300));
  assert_false(orion_tokenizer_is_special(o.tokenizer, 97));
  assert_false(orion_tokenizer_is_special(o.tokenizer, -1));
  const char *text;
  size_t n;
  assert_false(orion_tokenizer_token(o.tokenizer, 299, &text, &n));
  assert_true(orion_tokenizer_token_bytes(o.tokenizer, 0, &text, &n));
  assert_int_equal(n, 1);
  assert_int_equal(text[0], 0);
  assert_int_equal(orion_tokenizer_token_id(o.tokenizer, "<|end|>", 7), 300);
  assert_int_equal(orion_tokenizer_vocab_size(o.tokenizer), 301);
  close_tokenizer(&o);
}

static void any_bytes_round_trip(void **state) {
  (void)state;
  static bytes b;
  byte_level_json(&b, ",\"\\u00c3\\u00a9\":256,\"aa\":257,\"aaaa\":258", "\"\\u00c3 \\u00a9\",\"a a\",\"aa aa\"", GPT2_REST);
  opened o = open_bytes(&b, &as_json);
  enum { SIZE = 100000 };
  char *text = malloc(SIZE);
  uint32_t x = 1;
  for (int kind = 0; kind < 4; kind++) {
    for (size_t i = 0; i < SIZE; i++) {
      x = x * 1664525 + 1013904223;
      text[i] = kind == 0 ? (char)(x >> 24) : kind == 1 ? 'a' : kind == 2 ? ' ' : "\xf0\x9f\x91\xa9\xe2\x80\x8d"[i % 7];
    }
    assert_round_trip(&o, text, SIZE);
  }
  free(text);
  close_tokenizer(&o);
}

static void splits_follow_the_behaviour(void **state) {
  (void)state;
  static const struct {
    const char *behavior, *want;
  } cases[] = {
      {"Isolated", "1 2 3 2 2 1 2"}, {"Removed", "1 3 1"}, {"MergedWithPrevious", "4 5 2 4"},
      {"MergedWithNext", "1 6 2 7 2"}, {"Contiguous", "1 2 3 8 1 2"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char json[1024];
    snprintf(json, sizeof json,
             "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1,\"-\":2,\"b\":3,\"a-\":4,\"b-\":5,\"-b\":6,\"-a\":7,\"--\":8},"
             "\"merges\":[],\"ignore_merges\":true},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},"
             "\"behavior\":\"%s\"}}", cases[i].behavior);
    opened o = open_json(json);
    ASSERT_ENCODES(&o, "a-b--a-", 0, cases[i].want);
    close_tokenizer(&o);
  }
}

static const char characters_json[] =
    "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{\"<unk>\":0,"
    "\"<s>\":1,\"\\u2581\":2,\"h\":3,\"e\":4,\"\\u2581h\":5,\"\\u2581he\":6,\"<0xC3>\":7,\"<0xA9>\":8,\"\\u00e4\":9},"
    "\"merges\":[[\"\\u2581\",\"h\"],\"\\u2581h e\"]},"
    "\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"special\":true,\"normalized\":true}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Lowercase\"},{\"type\":\"Prepend\","
    "\"prepend\":\"\\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":"
    "{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"<s>\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[1]}}},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},\"content\":"
    "\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}}";

static void characters_normalise_and_fall_back(void **state) {
  (void)state;
  opened o = open_json(characters_json);
  ASSERT_ENCODES(&o, "he he", 0, "6 6");
  ASSERT_ENCODES(&o, "HE", ORION_ENCODE_BOS, "1 6");
  ASSERT_ENCODES(&o, "\xc3\xa9", 0, "2 7 8");         // by bytes
  ASSERT_ENCODES(&o, "a\xcc\x88", 0, "2 9");          // composed
  ASSERT_ENCODES(&o, "xyzh", 0, "2 0 3");             // unknown characters in a row are one
  ASSERT_ENCODES(&o, "he<s>he", ORION_ENCODE_SPECIAL, "6 1 6");
  assert_round_trip(&o, "he h\xc3\xa9 eh", 9);
  ASSERT_ENCODES(&o, "HE", ORION_ENCODE_BOS | ORION_ENCODE_EOS, "1 6 1");
  assert_true(orion_tokenizer_adds_bos(o.tokenizer) && orion_tokenizer_adds_eos(o.tokenizer));
  close_tokenizer(&o);
}

// ---- SentencePiece, written field by field

static void put_length(bytes *b, unsigned field, size_t n) {
  put_byte(b, field << 3 | 2);
  if (n >= 128) put_byte(b, (unsigned)(n & 127) | 128);
  put_byte(b, (unsigned)(n >= 128 ? n >> 7 : n));
}

static void put_piece(bytes *b, const char *text, float score, unsigned type) {
  size_t n = strlen(text);
  put_length(b, 1, 2 + n + 5 + 2);
  put_length(b, 1, n);
  puts_text(b, text);
  put_byte(b, 2 << 3 | 5);
  put(b, &score, 4);
  put_byte(b, 3 << 3);
  put_byte(b, type);
}

// unk 0, begin 1, end 2, bytes 3..258, then `pieces` from 259.
static void sentencepiece_model(bytes *b, unsigned kind, const char *const *pieces, const float *scores, size_t count) {
  char name[16];
  b->size = 0;
  put_piece(b, "<unk>", 0, 2);
  put_piece(b, "<s>", 0, 3);
  put_piece(b, "</s>", 0, 3);
  for (unsigned i = 0; i < 256; i++) {
    snprintf(name, sizeof name, "<0x%02X>", i);
    put_piece(b, name, 0, 6);
  }
  for (size_t i = 0; i < count; i++) put_piece(b, pieces[i], scores[i], 1);
  put_length(b, 2, 5);
  put(b, (uint8_t[]){3 << 3, (uint8_t)kind, 0x98, 0x02, 1}, 5);  // 0x98 0x02: field 35
  put_length(b, 3, 2);
  put(b, (uint8_t[]){4 << 3, 0}, 2);  // keep extra white space
}

#define U "\xe2\x96\x81"

static void sentencepiece_merges_by_score(void **state) {
  (void)state;
  static bytes b;
  // No "l" alone: the character is no token, yet "ll" is made of two of them.
  static const char *const pieces[] = {U, "h", "e", U "h", "he", U "he", "ll", "o", "llo"};
  static const float scores[] = {-20, -21, -22, -3, -2, -4, -5, -23, -6};
  static const orion_tokenizer_options o_spm = {sizeof o_spm, ORION_TOKENIZER_SENTENCEPIECE, 0, 0};
  sentencepiece_model(&b, 2, pieces, scores, 9);
  opened o = open_bytes(&b, &o_spm);
  ASSERT_ENCODES(&o, "hello", 0, "264 267");
  ASSERT_ENCODES(&o, "h", ORION_ENCODE_BOS | ORION_ENCODE_EOS, "1 262 2");
  ASSERT_ENCODES(&o, "l", 0, "259 111");  // 0x6C is id 3 + 108
  ASSERT_ENCODES(&o, "he  he", 0, "264 259 264");
  ASSERT_ENCODES(&o, "\n\xff", 0, "259 13 258");
  ASSERT_ENCODES(&o, "he</s>he", ORION_ENCODE_SPECIAL, "264 2 264");
  assert_round_trip(&o, " hello  w\xc3\xb6rld\n\xff", 17);
  close_tokenizer(&o);
}

static void unigram_takes_the_best_path(void **state) {
  (void)state;
  static bytes b;
  static const char *const pieces[] = {U, "a", "b", "ab", "abab", U "a", "ba"};
  static const float scores[] = {-4, -4, -4, -3, -9, -3, -2};
  static const orion_tokenizer_options o_spm = {sizeof o_spm, ORION_TOKENIZER_SENTENCEPIECE, 0, 0};
  sentencepiece_model(&b, 1, pieces, scores, 7);
  opened o = open_bytes(&b, &o_spm);
  // _abab: _a ba b = -9; _ ab ab = -10; _ abab = -13.
  ASSERT_ENCODES(&o, "abab", 0, "264 265 261");
  ASSERT_ENCODES(&o, "aZb", 0, "264 93 261");
  assert_round_trip(&o, "abab  Zab", 9);
  close_tokenizer(&o);
}

static void llama2c_reads_to_the_end(void **state) {
  (void)state;
  static const char *const tokens[] = {"<unk>", "\n<s>\n", "\n</s>\n", "<0x0A>", " ", "h", "e", " h", " he"};
  static const orion_tokenizer_options options = {sizeof options, ORION_TOKENIZER_LLAMA2C, 0, 0};
  bytes b = {.size = 0};
  put(&b, &(int32_t){6}, 4);
  for (int i = 0; i < 9; i++) {
    put(&b, &(float){i > 3 ? (float)-i : 0}, 4);
    put(&b, &(int32_t){(int32_t)strlen(tokens[i])}, 4);
    puts_text(&b, tokens[i]);
  }
  opened o = open_bytes(&b, &options);
  assert_int_equal(orion_tokenizer_vocab_size(o.tokenizer), 9);
  ASSERT_ENCODES(&o, "he\nhe", ORION_ENCODE_BOS, "1 8 3 5 6");
  assert_round_trip(&o, "he\nhe", 5);
  close_tokenizer(&o);
}

static void faults_are_named(void **state) {
  (void)state;
  static const struct {
    const char *json, *message;
    orion_status status;
  } cases[] = {
      {"", "empty", ORION_FORMAT},
      {"{", "test:1:", ORION_FORMAT},
      {"{}", "\"model\"", ORION_FORMAT},
      {"{\"model\":{\"type\":\"WordPiece\"}}", "WordPiece", ORION_UNSUPPORTED},
      {"{\"model\":{\"vocab\":{},\"merges\":[]}}", "empty", ORION_FORMAT},
      {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "same id 0", ORION_FORMAT},
      {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", "id -1", ORION_FORMAT},
      {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}", "merges[0]: token \"aa\"", ORION_FORMAT},
      {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", "merges[0]", ORION_FORMAT},
      {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"}}}",
       "regular expression", ORION_FORMAT},
      {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]},\"normalizer\":{\"type\":\"Precompiled\"}}", "Precompiled",
       ORION_UNSUPPORTED},
      {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]},\"added_tokens\":[{\"id\":5,\"content\":\"a\"}]}",
       "added_tokens[0]", ORION_FORMAT},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    orion_tokenizer *t = NULL;
    orion_error err = {0};
    orion_status status = orion_tokenizer_open_memory(NULL, "test", cases[i].json, strlen(cases[i].json), NULL, 0,
                                                      &as_json, &t, &err);
    if (status != cases[i].status || !strstr(err.message, cases[i].message)) {
      fail_msg("case %zu: %s: %s", i, orion_status_name(status), err.message);
    }
    assert_null(strchr(err.message, '\n'));
  }
}

typedef struct source {
  const bytes *file;
  const orion_tokenizer_options *options;
} source;

static orion_status all_calls(void *ctx, const orion_allocator *a, orion_error *err) {
  static const char text[] = "he hello <s> a\xcc\x88 \xff\xfe 123 abcabcabcabcabcabcabcabcabcabcabc";
  const source *s = ctx;
  orion_tokenizer *t = NULL;
  orion_token_encoder *e = NULL;
  const int32_t *ids;
  size_t count, n = 0;
  char *decoded = NULL;
  orion_status status = orion_tokenizer_open_memory(a, "test", s->file->data, s->file->size, NULL, 0, s->options, &t, err);
  if (status == ORION_OK) status = orion_token_encoder_create(a, t, &e, err);
  if (status == ORION_OK) {
    status = orion_token_encode(e, text, sizeof text - 1, ORION_ENCODE_SPECIAL, &ids, &count, err);
  }
  if (status == ORION_OK) status = orion_token_decode(a, t, ids, count, 0, &decoded, &n, err);
  orion_token_text_free(a, decoded, n);
  orion_token_encoder_destroy(e);
  orion_tokenizer_close(t);
  return status;
}

static void failing_allocations_are_reported(void **state) {
  (void)state;
  static bytes b;
  static const orion_tokenizer_options o_spm = {sizeof o_spm, ORION_TOKENIZER_SENTENCEPIECE, 0, 0};
  byte_level_json(&b, ",\"bc\":256,\"abc\":257", "\"b c\",\"a bc\"", GPT2_REST);
  test_sweep_allocations(all_calls, &(source){&b, &as_json}, 60);
  b.size = 0;
  puts_text(&b, characters_json);
  test_sweep_allocations(all_calls, &(source){&b, &as_json}, 60);
  static const char *const pieces[] = {U, "h", U "h", "ll"};
  static const float scores[] = {-4, -5, -6, -7};
  for (unsigned kind = 1; kind <= 2; kind++) {
    sentencepiece_model(&b, kind, pieces, scores, 4);
    test_sweep_allocations(all_calls, &(source){&b, &o_spm}, 60);
  }
}

static orion_status learn_words(void *dir, const orion_allocator *a, orion_error *err) {
  static const char text[] = "low lower lowest<|endoftext|>new newer newest wider widest low lower";
  return orion_tokenizer_learn(a, text, sizeof text - 1, 280, dir, NULL, err);
}

static void learning_reports_failing_allocations(void **state) {
  (void)state;
  char dir[TEST_PATH_MAX];
  test_temp_dir_create(dir, sizeof dir);
  test_sweep_allocations(learn_words, dir, 100);
  test_temp_dir_remove(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(merges_go_by_rank_not_by_length), cmocka_unit_test(special_tokens_only_on_request),
      cmocka_unit_test(any_bytes_round_trip),            cmocka_unit_test(splits_follow_the_behaviour),
      cmocka_unit_test(characters_normalise_and_fall_back), cmocka_unit_test(sentencepiece_merges_by_score),
      cmocka_unit_test(unigram_takes_the_best_path),     cmocka_unit_test(llama2c_reads_to_the_end),
      cmocka_unit_test(faults_are_named),                cmocka_unit_test(failing_allocations_are_reported),
      cmocka_unit_test(learning_reports_failing_allocations),
  };
  return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
