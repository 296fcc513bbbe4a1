// The scanner of vocab.json has what the JSON library has, or says that it has nothing.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"
#include "support/support.h"
#include "text/scan_vocab.h"

// Every token of `json` under the id that jansson read.
static void check_against_library(const char *json, size_t n, const char *name) {
  orion_vocab v;
  orion_error err = {0};
  json_t *root, *value;
  const char *key;
  size_t key_size, found_size, tokens = 0;
  orion_vocab_init(&v, NULL);
  if (!orion_scan_vocab(&v, json, n)) fail_msg("%s is not scanned", name);
  assert_ok(orion_json_parse_loose(json, n, name, false, &root, &err), &err);
  json_object_keylen_foreach(root, key, key_size, value) {
    int32_t id = orion_vocab_find(&v, key, key_size);
    assert_int_equal(id, json_integer_value(value));
    const char *text = orion_vocab_text(&v, id, &found_size);
    assert_int_equal(found_size, key_size);
    assert_memory_equal(text, key, key_size);
    tokens++;
  }
  assert_int_equal(tokens, v.used);
  json_decref(root);
  orion_vocab_deinit(&v);
}

static void plain_files_are_read_as_the_library_reads_them(void **state) {
  (void)state;
  static const char *const files[] = {
      "{\"a\": 0}", " {\n\"a\":1 ,\t\"b\" : 0\r\n} \n", "{\"\\u0120the\": 262, \"\\n\\t\\\\\\\"\\/\\b\\f\\r\": 7}",
      "{\"\\ud83d\\ude00\": 5, \"\\u00e9\\uffff\": 4194303}", "{\"\": 3}",
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) check_against_library(files[i], strlen(files[i]), files[i]);
}

static const char *vocabulary;  // of the demo model

static void a_real_vocabulary_is_read_as_the_library_reads_it(void **state) {
  (void)state;
  size_t size;
  char *json = test_read_file(vocabulary, &size);
  check_against_library(json, size, vocabulary);
  free(json);
}

static void anything_else_is_left_to_the_library(void **state) {
  (void)state;
  static const char *const files[] = {
      "", "[]", "{}", "{\"a\": 1", "{\"a\": 1,}", "{\"a\": 1} x", "{\"a\": -1}", "{\"a\": 1.0}", "{\"a\": 1e3}", "{\"a\": 01}",
      "{\"a\": 1234567890}", "{\"a\": \"1\"}", "{\"a\": {\"b\": 1}}", "{\"a\": 1 \"b\": 2}", "{\"a\" 1}", "{a: 1}",
      "{\"a\": 1, \"a\": 2}", "{\"a\": 1, \"b\": 1}", "{\"\\x\": 1}", "{\"\\u12g4\": 1}", "{\"\\u0000\": 1}", "{\"\\ud800\": 1}",
      "{\"\\ud800\\u0041\": 1}", "{\"\\udc00\": 1}", "{\"\\u12", "{\"\\",
      "{\"caf\xc3\": 1}", "{\"\xc0\x80\": 1}", "{\"\xed\xa0\x80\": 1}", "{\"\xe2\x82", "{\"\x01\": 1}", "{\"a",
      "{\"a\": 999999999}",
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    orion_vocab v;
    orion_vocab_init(&v, NULL);
    char *exact = malloc(strlen(files[i]) + 1);  // no byte behind the end may be read: the sanitizer watches
    memcpy(exact, files[i], strlen(files[i]));
    char *tight = realloc(exact, strlen(files[i]) ? strlen(files[i]) : 1);
    if (orion_scan_vocab(&v, tight, strlen(files[i]))) fail_msg("%s is scanned", files[i]);
    free(tight);
    orion_vocab_deinit(&v);
  }
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  vocabulary = argv[1];
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_files_are_read_as_the_library_reads_them),
      cmocka_unit_test(a_real_vocabulary_is_read_as_the_library_reads_it),
      cmocka_unit_test(anything_else_is_left_to_the_library),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
