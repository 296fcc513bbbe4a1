// Status records and growing texts.
#include "base/strbuf.h"

#include "support/support.h"

static void every_code_has_its_own_name(void **state) {
  (void)state;
  for (int i = ORION_OK; i <= ORION_INTERNAL; i++) {
    const char *name = orion_status_name((orion_status)i);
    assert_string_not_equal(name, "unknown");
    for (int k = 0; k < i; k++) assert_string_not_equal(name, orion_status_name((orion_status)k));
  }
  assert_string_equal(orion_status_name((orion_status)99), "unknown");
}

static void an_error_tells_code_place_and_message(void **state) {
  (void)state;
  orion_error err = {0};
  int line = __LINE__ + 1;
  assert_int_equal(ORION_FAIL(&err, ORION_FORMAT, "f.bin: %d is odd", 3), ORION_FORMAT);
  assert_int_equal(err.code, ORION_FORMAT);
  assert_int_equal(err.line, line);
  assert_non_null(strstr(err.file, "test_text.c"));
  assert_string_equal(err.message, "f.bin: 3 is odd");
  assert_int_equal(ORION_FAIL(NULL, ORION_IO, "x"), ORION_IO);
}

static void a_prefix_goes_in_front_and_keeps_the_code(void **state) {
  (void)state;
  orion_error err = {0};
  (void)ORION_FAIL(&err, ORION_LIMIT, "too many");
  orion_error_prefix(&err, "layer %d", 7);
  orion_error_prefix(NULL, "layer %d", 7);
  assert_string_equal(err.message, "layer 7: too many");
  assert_int_equal(err.code, ORION_LIMIT);
}

static bool is_one_clean_line(const char *text) {
  json_t *s = json_string(text);  // NULL unless valid UTF-8
  bool ok = s != NULL;
  json_decref(s);
  for (const char *p = text; *p; p++) ok = ok && (unsigned char)*p >= 0x20 && *p != 0x7f;
  return ok;
}

static void messages_are_one_line_of_utf8_whatever_the_input_held(void **state) {
  (void)state;
  orion_error err = {0};
  static const char *const nasty[] = {"a\nb\r\tc\x1b[31m", "\xff\xfe", "\xc3", "\xe2\x82", "\xc0\xaf", "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\x80x",
                                      "ok \xe2\x82\xac \xf0\x9f\x98\x80", "\xc2\x9b[31m"};
  for (size_t i = 0; i < sizeof nasty / sizeof *nasty; i++) {
    (void)ORION_FAIL(&err, ORION_FORMAT, "%s", nasty[i]);
    if (!is_one_clean_line(err.message)) fail_msg("case %zu: unclean message", i);
    orion_error_prefix(&err, "%s", nasty[i]);
    if (!is_one_clean_line(err.message)) fail_msg("case %zu: unclean prefix", i);
  }
  (void)ORION_FAIL(&err, ORION_FORMAT, "ok \xe2\x82\xac \xf0\x9f\x98\x80 \xc3\xa9");
  assert_string_equal(err.message, "ok \xe2\x82\xac \xf0\x9f\x98\x80 \xc3\xa9");
}

static void long_messages_are_cut_between_characters(void **state) {
  (void)state;
  orion_error err;
  for (size_t lead = 0; lead < 4; lead++) {
    char text[2000] = {0};
    memset(text, 'x', lead);
    for (size_t i = lead; i + 3 < sizeof text - 1; i += 3) memcpy(text + i, "\xe2\x82\xac", 3);
    memset(&err, 0x55, sizeof err);
    (void)ORION_FAIL(&err, ORION_FORMAT, "%s", text);
    size_t n = strlen(err.message);
    assert_true(n < sizeof err.message && n + 4 > sizeof err.message);
    assert_true(is_one_clean_line(err.message));
    orion_error_prefix(&err, "prefix");
    assert_true(strlen(err.message) < sizeof err.message);
    assert_true(strncmp(err.message, "prefix: ", 8) == 0);
    assert_true(is_one_clean_line(err.message));
    orion_error_prefix(&err, "%s", text);
    assert_true(is_one_clean_line(err.message));
  }
}

static void texts_grow_by_every_kind_of_append(void **state) {
  (void)state;
  test_heap heap;
  test_heap_init(&heap);
  orion_strbuf b;
  orion_strbuf_init(&b, &heap.allocator);
  assert_string_equal(orion_strbuf_text(&b), "");
  orion_strbuf_adds(&b, "");
  orion_strbuf_adds(&b, "abc");
  orion_strbuf_addc(&b, '-');
  orion_strbuf_addf(&b, "%04d", 42);
  orion_strbuf_add(&b, "\0z", 2);
  assert_int_equal(b.size, 10);
  assert_memory_equal(orion_strbuf_text(&b), "abc-0042\0z", 11);
  orion_strbuf_clear(&b);
  assert_string_equal(orion_strbuf_text(&b), "");
  for (int i = 0; i < 1000; i++) orion_strbuf_addf(&b, "%d,", i);
  const char *p = orion_strbuf_text(&b);
  for (int i = 0; i < 1000; i++) {
    char *end;
    assert_int_equal(strtol(p, &end, 10), i);
    p = end + 1;
  }
  assert_int_equal(*p, 0);
  orion_error err;
  assert_ok(orion_strbuf_status(&b, &err), &err);
  orion_strbuf_deinit(&b);
  test_heap_deinit(&heap);
}

static orion_status build_text(void *ctx, const orion_allocator *a, orion_error *err) {
  (void)ctx;
  orion_strbuf b;
  orion_strbuf_init(&b, a);
  for (int i = 0; i < 500; i++) {
    orion_strbuf_addf(&b, "%d ", i);
    orion_strbuf_adds(&b, "text");
  }
  orion_status status = orion_strbuf_status(&b, err);
  orion_strbuf_deinit(&b);
  return status;
}

static void a_failed_growth_sticks(void **state) {
  (void)state;
  test_sweep_allocations(build_text, NULL, 0);
  orion_strbuf b;
  orion_strbuf_init(&b, NULL);
  orion_strbuf_adds(&b, "kept");
  orion_strbuf_add(&b, "", SIZE_MAX);  // refused before the bytes are looked at
  assert_true(b.failed);
  orion_strbuf_adds(&b, "not added");
  assert_string_equal(orion_strbuf_text(&b), "kept");
  assert_int_equal(orion_strbuf_status(&b, NULL), ORION_NO_MEMORY);
  orion_strbuf_deinit(&b);
}

// Paths can be long, and the reason comes after them.
static void long_messages_keep_their_end(void **state) {
  orion_error err;
  char path[5000];
  memset(path, 'd', sizeof path);
  path[sizeof path - 1] = 0;
  (void)ORION_FAIL(&err, ORION_IO, "%s: no such file (give another)", path);
  assert_true(strlen(err.message) < sizeof err.message);
  assert_non_null(strstr(err.message, "ddd: no such file (give another)"));
  assert_true(strncmp(err.message, "dddd", 4) == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_code_has_its_own_name),
      cmocka_unit_test(an_error_tells_code_place_and_message),
      cmocka_unit_test(a_prefix_goes_in_front_and_keeps_the_code),
      cmocka_unit_test(messages_are_one_line_of_utf8_whatever_the_input_held),
      cmocka_unit_test(long_messages_are_cut_between_characters),
      cmocka_unit_test(long_messages_keep_their_end),
      cmocka_unit_test(texts_grow_by_every_kind_of_append),
      cmocka_unit_test(a_failed_growth_sticks),
  };
  return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
