// Device specifications: what is accepted, and that errors quote the part that makes no sense.
#include "device/options.h"
#include "orion/device.h"
#include "support/support.h"

static void names_families_and_options_are_taken_apart(void **state) {
  orion_error err;
  orion_device_spec s;
  assert_ok(orion_device_spec_parse("cpu", &s, &err), &err);
  assert_string_equal(s.name, "cpu");
  assert_null(s.options.family);
  assert_int_equal(s.options.n, 0);
  assert_ok(orion_device_spec_parse("sim:m4", &s, &err), &err);
  assert_string_equal(s.name, "sim");
  assert_string_equal(s.options.family, "m4");
  assert_ok(orion_device_spec_parse("cpu:isa=avx2,threads=2", &s, &err), &err);
  assert_null(s.options.family);
  assert_int_equal(s.options.n, 2);
  assert_string_equal(orion_device_option(&s.options, "isa"), "avx2");
  assert_string_equal(orion_device_option(&s.options, "threads"), "2");
  assert_null(orion_device_option(&s.options, "is"));
  assert_ok(orion_device_spec_parse("record:ane,file=/a/b=c:d", &s, &err), &err);
  assert_string_equal(s.options.family, "ane");
  assert_string_equal(orion_device_option(&s.options, "file"), "/a/b=c:d");
}

static void errors_quote_the_bad_part(void **state) {
  static const char *const cases[][2] = {
      {"", "'' is no device name"},       {":m4", "'' is no device name"},      {"c pu", "'c pu' is no device name"},
      {"sim:", "'' is not an option"},    {"sim:m4,", "'' is not an option"},   {"sim:m4,fast", "'fast' is not an option"},
      {"cpu:isa=", "option 'isa' has no value"}, {"cpu:=2", "'' is no option name"}, {"cpu:a=1,a=2", "'a' is given twice"},
      {"cpu:a b=1", "'a b' is no option name"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    orion_error err;
    orion_device_spec s;
    assert_error(orion_device_spec_parse(cases[i][0], &s, &err), ORION_INVALID, &err, cases[i][1]);
  }
}

static void lengths_and_counts_are_bounded(void **state) {
  orion_error err;
  orion_device_spec s;
  char text[2 * ORION_DEVICE_SPEC_MAX];
  memset(text, 'a', sizeof text);
  text[sizeof text - 1] = 0;
  assert_error(orion_device_spec_parse(text, &s, &err), ORION_LIMIT, &err, "characters");
  strcpy(text, "cpu:");
  for (int i = 0; i < 17; i++) sprintf(text + strlen(text), "%sk%d=1", i ? "," : "", i);
  assert_error(orion_device_spec_parse(text, &s, &err), ORION_LIMIT, &err, "16 options");
}

static void opening_names_what_is_unknown(void **state) {
  orion_error err;
  orion_device *d = NULL;
  assert_error(orion_device_open("gpu", 1, NULL, &d, &err), ORION_NOT_FOUND, &err, "sim");
  assert_error(orion_device_open("sim:m99", 1, NULL, &d, &err), ORION_NOT_FOUND, &err, "m99");
  assert_error(orion_device_open("sim:speed=9", 1, NULL, &d, &err), ORION_INVALID, &err, "'speed'");
  assert_error(orion_device_open("sim:rows=48", 1, NULL, &d, &err), ORION_INVALID, &err, "rows=48");
  assert_error(orion_device_open("null:x", 1, NULL, &d, &err), ORION_INVALID, &err, "'x'");
  assert_error(orion_device_open("sim", -1, NULL, &d, &err), ORION_INVALID, &err, "-1 threads");
  assert_null(d);
}

static void every_name_opens_and_describes_itself(void **state) {
  for (const char *const *name = orion_device_names(); *name; name++) {
    orion_error err;
    orion_device *d;
    orion_device_info info;
    orion_status status = orion_device_open(*name, 2, NULL, &d, &err);
    if (strcmp(*name, "record") == 0) {  // it wants to know where to
      assert_error(status, ORION_INVALID, &err, "file=");
      continue;
    }
    if (strcmp(*name, "ane") == 0 && status == ORION_NOT_FOUND) continue;  // a machine without one says so
    assert_ok(status, &err);
    orion_device_describe(d, &info);
    assert_string_equal(info.name, *name);
    assert_true(*info.numerics && *info.description && info.threads >= 1);
    orion_device_close(d);
  }
  orion_device *d;
  orion_error err;
  assert_ok(orion_device_open(NULL, 1, NULL, &d, &err), &err);
  orion_device_close(d);
  orion_device_close(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_families_and_options_are_taken_apart),
      cmocka_unit_test(errors_quote_the_bad_part),
      cmocka_unit_test(lengths_and_counts_are_bounded),
      cmocka_unit_test(opening_names_what_is_unknown),
      cmocka_unit_test(every_name_opens_and_describes_itself),
  };
  return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
