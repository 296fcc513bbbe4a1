// Records: what was done is read back and replays with the same bits; files that end early or were changed are told from
// whole ones.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "device/one_run.h"
#include "device/record/record.h"

static char folder[200];

static int make_folder(void **state) {
  test_temp_dir_create(folder, sizeof folder);
  return 0;
}

static int remove_folder(void **state) {
  test_temp_dir_remove(folder);
  return 0;
}

static const char text[] =
    "program(1.3)\n[buildInfo = dict<string, string>({{\"a\", \"b\"}})]\n{\n"
    "  func main<ios18>(tensor<fp16, [1, 3, 1, 5]> x) {\n"
    "    tensor<fp16, [1, 3, 1, 1]> w = const()[name = string(\"w\"), val = tensor<fp16, [1, 3, 1, 1]>([1, 2, 3])];\n"
    "    tensor<fp16, [1, 3, 1, 5]> y = mul(x = x, y = w)[name = string(\"y\")];\n"
    "  } -> (y);\n}\n";

static const char wrong[] =
    "program(1.3)\n[buildInfo = dict<string, string>({{\"a\", \"b\"}})]\n{\n"
    "  func main<ios18>(tensor<fp16, [1, 3, 1, 5]> x) {\n"
    "    tensor<fp16, [1, 3, 1, 5]> y = gelu(x = x)[name = string(\"y\")];\n"
    "  } -> (y);\n}\n";

// Two runs with an update between them, of which the device knows; the path of the record.
static char *make_record(const char *device, char *out, size_t size) {
  char spec[400];
  one_run r;
  orion_error err;
  float x[15], y[15];
  snprintf(out, size, "%s/calls.record", folder);
  snprintf(spec, sizeof spec, "record:%s,file=%s", device, out);
  orion_program *p = one_run_parse(text);
  assert_ok(one_run_open(&r, NULL, spec, 1, p, &err), &err);
  r.program = p;
  for (int i = 0; i < 15; i++) x[i] = (float)i - 7;
  one_run_floats(&r, 0, x);
  assert_ok(orion_run(r.b, &err), &err);
  one_run_read(&r, 1, y);
  for (int i = 0; i < 15; i++) assert_true(y[i] == x[i] * (float)(1 + i / 5));
  const uint16_t weights[] = {0x4400, 0x4400, 0x4400};  // 4
  assert_ok(orion_executable_update(r.e, "w", weights, sizeof weights, &err), &err);
  assert_ok(orion_run(r.b, &err), &err);
  one_run_close(&r);
  return out;
}

typedef struct seen {
  size_t outputs, differing;
} seen;

static orion_status count(void *ctx, const orion_replay_tensor *t, orion_error *err) {
  seen *s = ctx;
  s->outputs++;
  s->differing += t->differing;
  assert_string_equal(t->name, "y");
  assert_int_equal(t->elements, 15);
  return ORION_OK;
}

static orion_status count_all(void *ctx, const orion_replay_tensor *t, orion_error *err) {
  seen *s = ctx;
  s->outputs++;
  s->differing += t->differing;
  return ORION_OK;
}

static void a_record_replays_with_the_same_bits(void **state) {
  static const char *const devices[] = {"sim:m4", "sim:ideal", "cpu"};
  char path[256];
  make_record("sim:m4", path, sizeof path);
  for (size_t i = 0; i < 3; i++) {
    orion_error err;
    orion_record *r;
    orion_device *d;
    orion_replay_counts n;
    seen s = {0};
    assert_ok(orion_record_open(NULL, path, &r, &err), &err);
    assert_ok(orion_device_open(devices[i], 1, NULL, &d, &err), &err);
    assert_ok(orion_record_replay(r, d, count, &s, &n, &err), &err);
    assert_int_equal(n.programs, 1);
    assert_int_equal(n.runs, 2);
    assert_int_equal(n.updates, 1);
    assert_int_equal(s.outputs, 2);
    assert_int_equal(s.differing, 0);
    assert_false(n.cut);
    orion_device_close(d);
    orion_record_close(r);
  }
}

// What an input was before the run is recorded, also where an output is made in its place.
static void a_sum_in_place_replays(void **state) {
  static const char sum[] =
      "program(1.3)\n[buildInfo = dict<string, string>({{\"a\", \"b\"}})]\n{\n"
      "  func main<ios18>(tensor<fp16, [1, 4]> x, tensor<fp16, [1, 4]> before) {\n"
      "    tensor<fp16, [1, 4]> twice = add(x = x, y = x)[name = string(\"twice\")];\n"
      "    tensor<fp16, [1, 4]> y = add(x = twice, y = before)[name = string(\"y\")];\n"
      "  } -> (y);\n}\n";
  static const char *const devices[] = {"cpu", "sim:ideal"};
  for (size_t i = 0; i < 2; i++) {
    char path[256], spec[400];
    one_run r;
    orion_error err;
    orion_record *record;
    orion_device *inner;
    orion_replay_counts n;
    seen s = {0};
    const float x[] = {1, 2, 3, 4}, start[] = {10, 20, 30, 40};
    float y[4];
    snprintf(path, sizeof path, "%s/sum.record", folder);
    snprintf(spec, sizeof spec, "record:%s,file=%s", devices[i], path);
    orion_program *p = one_run_parse(sum);
    assert_ok(one_run_open(&r, NULL, spec, 1, p, &err), &err);
    r.program = p;
    assert_ok(orion_bind(r.b, "y", r.surfaces[1], &err), &err);
    one_run_floats(&r, 0, x);
    one_run_floats(&r, 1, start);
    for (int run = 1; run <= 2; run++) {
      assert_ok(orion_run(r.b, &err), &err);
      one_run_read(&r, 1, y);
      for (int k = 0; k < 4; k++) assert_true(y[k] == start[k] + 2 * (float)run * x[k]);
    }
    assert_ok(orion_bind(r.b, "y", r.surfaces[0], &err), &err);  // nothing is added to x
    assert_error(orion_run(r.b, &err), ORION_INVALID, &err, "bound to the surface of 'x'");
    one_run_close(&r);
    assert_ok(orion_record_open(NULL, path, &record, &err), &err);
    assert_ok(orion_device_open(devices[1 - i], 1, NULL, &inner, &err), &err);
    assert_ok(orion_record_replay(record, inner, count_all, &s, &n, &err), &err);
    assert_int_equal(s.outputs, 2);
    assert_int_equal(s.differing, 0);
    orion_device_close(inner);
    orion_record_close(record);
  }
}

static void refusals_are_recorded(void **state) {
  char path[256], spec[400];
  orion_error err = {0};
  orion_device *d;
  orion_executable *e;
  snprintf(path, sizeof path, "%s/refused.record", folder);
  snprintf(spec, sizeof spec, "record:sim:m4,off=C10,file=%s", path);
  orion_program *p = one_run_parse(wrong), *good = one_run_parse(text);
  assert_ok(orion_device_open(spec, 1, NULL, &d, &err), &err);
  assert_ok(orion_device_compile(d, p, NULL, &e, &err), &err);  // the option went through
  orion_executable_release(e);
  orion_device_close(d);
  snprintf(spec, sizeof spec, "record:sim:m4,file=%s", path);
  assert_ok(orion_device_open(spec, 1, NULL, &d, &err), &err);
  for (int i = 0; i < 119; i++) {
    assert_ok(orion_device_compile(d, good, NULL, &e, &err), &err);
    orion_executable_release(e);
  }
  assert_error(orion_device_compile(d, good, NULL, &e, &err), ORION_REFUSED, &err, "C05");
  orion_device_close(d);
  orion_record *r;
  orion_record_entry entry;
  bool more;
  size_t refused = 0;
  assert_ok(orion_record_open(NULL, path, &r, &err), &err);
  for (;;) {
    assert_ok(orion_record_next(r, &entry, &more, &err), &err);
    if (!more) break;
    if (entry.status == ORION_OK) continue;
    assert_int_equal(entry.status, ORION_REFUSED);
    assert_int_equal(entry.program, 0);
    assert_true(entry.message.n > 20);
    refused++;
  }
  assert_int_equal(refused, 1);
  orion_record_close(r);
  orion_program_destroy(p);
  orion_program_destroy(good);
}

static size_t entries_of(const void *bytes, size_t n, bool *cut, orion_status *status) {
  orion_record *r;
  orion_error err = {0};
  orion_record_entry e;
  bool more = false;
  size_t count = 0;
  *cut = false;
  *status = orion_record_open_memory(NULL, "memory", bytes, n, &r, &err);
  if (*status != ORION_OK) return 0;
  while ((*status = orion_record_next(r, &e, &more, &err)) == ORION_OK && more) count++;
  *cut = orion_record_cut(r);
  orion_record_close(r);
  return count;
}

static void what_was_whole_before_the_end_counts(void **state) {
  char path[256], *bytes;
  size_t n, last = 0;
  orion_error err;
  assert_ok(orion_file_read(NULL, make_record("cpu", path, sizeof path), 1 << 20, &bytes, &n, &err), &err);
  for (size_t size = 0; size <= n; size++) {
    bool cut;
    orion_status status;
    size_t entries = entries_of(bytes, size, &cut, &status);
    assert_int_equal(status, size < 16 ? ORION_FORMAT : ORION_OK);
    assert_true(entries >= last && entries <= 6);
    assert_true(size < n || (entries == 6 && !cut));
    last = entries;
  }
  orion_free(NULL, bytes, n + 1, 1);
}

static void changed_bytes_are_seen(void **state) {
  char path[256], *bytes;
  size_t n;
  orion_error err;
  assert_ok(orion_file_read(NULL, make_record("cpu", path, sizeof path), 1 << 20, &bytes, &n, &err), &err);
  for (size_t at = 16 + 24; at < n; at += 13) {
    bool cut;
    orion_status status;
    bytes[at] ^= 16;
    size_t entries = entries_of(bytes, n, &cut, &status);
    bool header = status == ORION_OK && !cut && entries == 6;  // a status word, or padding: nothing is lost
    if (!header) assert_true(status == ORION_FORMAT || cut);
    bytes[at] ^= 16;
  }
  orion_free(NULL, bytes, n + 1, 1);
}

static void specifications_that_make_no_sense_are_named(void **state) {
  static const char *const bad[][2] = {{"record", "file=PATH"}, {"record:sim:m4", "file=PATH"},
                                       {"record:record,file=x", "itself"}, {"record:sim:m77,file=x", "m77"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    orion_error err = {0};
    orion_device *d = NULL;
    assert_true(orion_device_open(bad[i][0], 1, NULL, &d, &err) != ORION_OK);
    assert_non_null(strstr(err.message, bad[i][1]));
  }
}

static void a_file_that_is_no_record_is_not_overwritten(void **state) {
  char path[256], spec[300];
  orion_error err = {0};
  orion_device *d = NULL;
  size_t n;
  snprintf(path, sizeof path, "%s/model.mil", folder);
  snprintf(spec, sizeof spec, "record:sim:m4,file=%s", path);
  test_write_file(path, "years of work", 13);
  assert_error(orion_device_open(spec, 1, NULL, &d, &err), ORION_INVALID, &err, path);
  char *kept = test_read_file(path, &n);
  assert_string_equal(kept, "years of work");
  free(kept);
  test_write_file(path, "", 0);
  for (int again = 0; again < 2; again++) {  // an empty file, then a record
    assert_ok(orion_device_open(spec, 1, NULL, &d, &err), &err);
    orion_device_close(d);
    assert_true(orion_record_is(path));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_record_replays_with_the_same_bits), cmocka_unit_test(a_sum_in_place_replays),
      cmocka_unit_test(refusals_are_recorded),
      cmocka_unit_test(what_was_whole_before_the_end_counts),
      cmocka_unit_test(changed_bytes_are_seen),
      cmocka_unit_test(specifications_that_make_no_sense_are_named),
      cmocka_unit_test(a_file_that_is_no_record_is_not_overwritten),
  };
  return cmocka_run_group_tests_name("records", tests, make_folder, remove_folder);
}
