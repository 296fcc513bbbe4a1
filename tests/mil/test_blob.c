// Blob files: what the writer writes the reader reads; the bytes are those of the format; wrong fields are named.
#include "mil/blob.h"

#include "support/support.h"

static void store32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static void store64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }

typedef struct fixture {
  char dir[TEST_PATH_MAX - 100], path[TEST_PATH_MAX];
  orion_data_store *store;
} fixture;

static int set_up(void **state) {
  fixture *f = calloc(1, sizeof *f);
  orion_error err;
  test_temp_dir_create(f->dir, sizeof f->dir);
  test_path(f->path, sizeof f->path, f->dir, "w.bin");
  assert_ok(orion_data_store_create(NULL, &f->store, &err), &err);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  fixture *f = *state;
  orion_data_store_release(f->store);
  test_temp_dir_remove(f->dir);
  free(f);
  return 0;
}

static void bytes_are_those_of_the_format(void **state) {
  fixture *f = *state;
  orion_error err;
  const uint16_t halves[3] = {0x3c00, 0x4000, 0xc000};
  const uint8_t nibbles[2] = {0x21, 0x03};
  const orion_data *a = orion_data_copy(f->store, ORION_FP16, 3, 1, halves);
  const orion_data *b = orion_data_copy(f->store, ORION_INT4, 3, 1, nibbles);
  orion_blob_writer *w;
  uint64_t at_a, at_b, again;
  assert_ok(orion_blob_writer_open(NULL, f->path, &w, &err), &err);
  assert_ok(orion_blob_writer_add(w, a, &at_a, &err), &err);
  assert_ok(orion_blob_writer_add(w, b, &at_b, &err), &err);
  assert_ok(orion_blob_writer_add(w, a, &again, &err), &err);
  assert_int_equal(at_a, again);
  assert_ok(orion_blob_writer_commit(w, &err), &err);
  uint8_t want[258] = {0};
  store32(want, 2);
  store32(want + 4, 2);
  store32(want + 64, 0xDEADBEEF);
  store32(want + 68, 1);
  store64(want + 72, 6);
  store64(want + 80, 128);
  memcpy(want + 128, halves, 6);
  store32(want + 192, 0xDEADBEEF);
  store32(want + 196, 8);
  store64(want + 200, 2);
  store64(want + 208, 256);
  store64(want + 216, 4);
  memcpy(want + 256, nibbles, 2);
  size_t n;
  char *bytes = test_read_file(f->path, &n);
  assert_int_equal(n, sizeof want);
  assert_memory_equal(bytes, want, n);
  free(bytes);
}

// Every dtype, odd lengths, lazy nodes larger than a slice: element by element what orion_data_read gives.
static void every_dtype_survives(void **state) {
  fixture *f = *state;
  orion_error err;
  const orion_data *nodes[64];
  uint64_t records[64];
  size_t n = 0;
  for (int d = 1; d < ORION_DTYPE_COUNT; d++) {
    if (!orion_blob_code((orion_dtype)d)) continue;
    assert_int_equal(orion_blob_dtype(orion_blob_code((orion_dtype)d)), d);
    for (size_t rows = 1; rows <= 13; rows += 6) {
      void *bytes;
      nodes[n] = orion_data_new(f->store, (orion_dtype)d, rows, 5, &bytes);
      for (size_t i = 0; i < rows * 5; i++) orion_store_int((orion_dtype)d, bytes, i, (int64_t)(i * 7 % 11));
      n++;
    }
  }
  assert_int_equal(n, 15 * 3);
  void *bytes;
  const orion_data *large = orion_data_new(f->store, ORION_FP32, 700, 501, &bytes);
  for (size_t i = 0; i < 700 * 501; i++) orion_store_double(ORION_FP32, bytes, i, (double)i * 0.25);
  nodes[n++] = orion_data_cast(f->store, orion_data_transpose(f->store, large), ORION_FP16);
  nodes[n++] = orion_data_transpose(f->store, large);
  orion_blob_writer *w;
  assert_ok(orion_blob_writer_open(NULL, f->path, &w, &err), &err);
  for (size_t i = 0; i < n; i++) assert_ok(orion_blob_writer_add(w, nodes[i], &records[i], &err), &err);
  uint64_t size = orion_blob_writer_size(w);
  assert_ok(orion_blob_writer_commit(w, &err), &err);
  orion_blob_file *file;
  assert_ok(orion_blob_open(NULL, f->path, &file, &err), &err);
  size_t count;
  const orion_blob_tensor *t = orion_blob_tensors(file, &count);
  assert_int_equal(count, n);
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(t[i].record, records[i]);
    assert_int_equal(t[i].dtype, nodes[i]->dtype);
    assert_int_equal(t[i].elements, orion_data_elements(nodes[i]));
    assert_int_equal(t[i].offset % 64, 0);
    assert_memory_equal(t[i].bytes, orion_data_bytes(f->store, nodes[i]), t[i].size);
  }
  assert_int_equal(t[n - 1].offset + t[n - 1].size, size);
  orion_blob_close(file);
}

static void types_that_do_not_fit_are_refused(void **state) {
  fixture *f = *state;
  orion_error err;
  orion_blob_writer *w;
  uint64_t at;
  const int64_t one = 1;
  assert_ok(orion_blob_writer_open(NULL, f->path, &w, &err), &err);
  assert_error(orion_blob_writer_add(w, orion_data_copy(f->store, ORION_INT64, 1, 1, &one), &at, &err), ORION_INVALID,
               &err, "int64");
  orion_blob_writer_abort(w);
  assert_null(fopen(f->path, "r"));
}

static void wrong_fields_are_named(void **state) {
  static const struct {
    size_t at, n;
    uint64_t value;
    const char *word;
  } cases[] = {
      {0, 4, 0, "at least one tensor"},  {0, 4, 3, "end behind"},       {4, 4, 1, "version 2, found 1"},
      {64, 4, 0, "found 0x00000000"},    {68, 4, 16, "dtype code 16"},  {68, 4, 0, "dtype code 0"},
      {72, 8, 7, "whole number"},        {72, 8, 1 << 20, "end behind"}, {72, 8, UINT64_MAX - 127, "end behind"},
      {80, 8, 64, "not a multiple"},     {80, 8, 129, "not a multiple"}, {80, 8, 1 << 20, "end behind"},
      {80, 8, UINT64_MAX - 63, "end behind"}, {88, 8, 1, "whole number"}, {196, 4, 2, "whole number"},
      {216, 8, 8, "whole number"},       {216, 8, 3, "whole number"},
  };
  uint8_t good[258] = {0};
  store32(good, 2);
  store32(good + 4, 2);
  for (int i = 0; i < 2; i++) {
    store32(good + 64 + 128 * i, 0xDEADBEEF);
    store32(good + 68 + 128 * i, i ? 8 : 1);
    store64(good + 72 + 128 * i, i ? 2 : 6);
    store64(good + 80 + 128 * i, 128 + 128 * (uint64_t)i);
  }
  orion_blob_file *f;
  orion_blob_tensor t;
  orion_error err;
  assert_ok(orion_blob_open_memory(NULL, "b.bin", good, sizeof good, &f, &err), &err);
  assert_ok(orion_blob_find(f, 192, &t, &err), &err);
  assert_int_equal(t.elements, 4);
  assert_error(orion_blob_find(f, 0, &t, &err), ORION_FORMAT, &err, "behind the header");
  assert_error(orion_blob_find(f, 65, &t, &err), ORION_FORMAT, &err, "multiple of 64");
  assert_error(orion_blob_find(f, 128, &t, &err), ORION_FORMAT, &err, "0xdeadbeef");
  assert_error(orion_blob_find(f, UINT64_MAX - 63, &t, &err), ORION_FORMAT, &err, "end behind");
  orion_blob_close(f);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint8_t bad[sizeof good];
    memcpy(bad, good, sizeof good);
    memcpy(bad + cases[i].at, &cases[i].value, cases[i].n);
    orion_status status = orion_blob_open_memory(NULL, "b.bin", bad, sizeof bad, &f, &err);
    if (status != ORION_FORMAT) fail_msg("case %zu opens", i);
    if (!strstr(err.message, cases[i].word)) fail_msg("case %zu: %s", i, err.message);
    assert_non_null(strstr(err.message, "b.bin: byte "));
  }
  for (size_t n = 0; n < sizeof good; n++) {
    assert_int_equal(orion_blob_open_memory(NULL, "b.bin", good, n, &f, &err), ORION_FORMAT);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(bytes_are_those_of_the_format, set_up, tear_down),
      cmocka_unit_test_setup_teardown(every_dtype_survives, set_up, tear_down),
      cmocka_unit_test_setup_teardown(types_that_do_not_fit_are_refused, set_up, tear_down),
      cmocka_unit_test(wrong_fields_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
