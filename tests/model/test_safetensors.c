// The safetensors reader believes nothing, and reads back what the writer wrote.
#include "base/half.h"
#include "model/safetensors.h"
#include "support/support.h"

// A file from the text of a header and `body` bytes of data, in memory of exactly that size.
static uint8_t *make_file(const char *header, size_t body, size_t *out_size) {
  size_t n = strlen(header);
  uint8_t *file = calloc(8 + n + body, 1);
  assert_non_null(file);
  for (int i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)n >> 8 * i);
  memcpy(file + 8, header, n);
  *out_size = 8 + n + body;
  return file;
}

static orion_status parse(const char *header, size_t body, orion_safetensors **out, uint8_t **file, orion_error *err) {
  size_t n;
  *file = make_file(header, body, &n);
  *out = NULL;
  return orion_safetensors_parse(NULL, "x.safetensors", *file, n, out, err);
}

static void tensors_are_found_by_name(void **state) {
  (void)state;
  orion_safetensors *s;
  uint8_t *file;
  orion_error err;
  assert_ok(parse("{\"__metadata__\":{\"format\":\"pt\",\"a\":\"b\"},"
                  "\"b\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                  "\"\":{\"dtype\":\"BOOL\",\"shape\":[0],\"data_offsets\":[16,16]},"
                  "\"scalar\":{\"shape\":[],\"dtype\":\"F32\",\"data_offsets\":[0,4]},"
                  "\"f8\":{\"dtype\":\"F8_E4M3\",\"shape\":[5],\"data_offsets\":[16,21]},"
                  "\"f4\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[21,22]}}   ", 22, &s, &file, &err), &err);
  assert_int_equal(s->n_tensors, 5);
  const orion_stored_tensor *b = orion_safetensors_find(s, "b"), *scalar = orion_safetensors_find(s, "scalar");
  assert_true(b && b->dtype == ORION_FP16 && b->rank == 2 && b->dims[0] == 2 && b->dims[1] == 3 && b->size == 12);
  assert_true(scalar && scalar->rank == 0 && scalar->size == 4 && scalar->bytes == b->bytes - 4);
  assert_true(scalar->bytes == file + scalar->offset);
  assert_int_equal(orion_safetensors_find(s, "")->size, 0);
  assert_int_equal(orion_safetensors_find(s, "f8")->dtype, ORION_DTYPE_NONE);
  assert_null(orion_safetensors_find(s, "c"));
  assert_string_equal(orion_safetensors_meta(s, "a"), "b");
  assert_null(orion_safetensors_meta(s, "z"));
  orion_safetensors_close(s);
  free(file);
  assert_ok(parse("{}", 0, &s, &file, &err), &err);  // no tensors at all is a file too
  assert_int_equal(s->n_tensors, 0);
  assert_null(orion_safetensors_find(s, "a"));
  orion_safetensors_close(s);
  free(file);
}

static void every_fault_is_named(void **state) {
  (void)state;
#define T(fields) "{\"w\":{" fields "}}"
  static const struct {
    const char *header;
    size_t body;
    const char *text;
  } cases[] = {
      {"", 0, "does not begin with '{'"},
      {"[]", 0, "does not begin with '{'"},
      {"{", 0, "not valid JSON"},
      {"{} x", 0, "not valid JSON"},
      {"{\"a\":1,\"a\":2}", 0, "duplicate"},
      {"{\"w\":[]}", 0, "tensor 'w': its header entry is no object"},
      {"{\"__metadata__\":[]}", 0, "'__metadata__' is no object"},
      {"{\"__metadata__\":{\"k\":1}}", 0, "value of 'k' is no string"},
      {T("\"shape\":[1],\"data_offsets\":[0,4]"), 4, "'dtype' is missing"},
      {T("\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, "unknown dtype 'F31'"},
      {T("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, "'shape' is missing"},
      {T("\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]"), 4, "axis 0 of its shape"},
      {T("\"dtype\":\"F32\",\"shape\":[1,-1],\"data_offsets\":[0,4]"), 4, "axis 1 of its shape"},
      {T("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4, "9 axes (want at most 8)"},
      {T("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]"), 4, "too many elements"},
      {T("\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,4]"), 4, "do not fill the 4 bytes"},
      {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]"), 4, "'data_offsets' is missing or not two integers"},
      {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]"), 4, "not two integers"},
      {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4, "offsets [4, 0] are not inside"},
      {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]"), 4, "offsets [-4, 0] are not inside"},
      {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), 4, "not inside the data of 4 bytes"},
      {T("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4, "2 elements of F32 do not fill the 4 bytes"},
      {T("\"dtype\":\"F4\",\"shape\":[1],\"data_offsets\":[0,1]"), 1, "1 elements of F4 do not fill"},
      {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"), 8, "after bytes that belong to no tensor"},
      {T("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 8, "4 bytes from byte 66 on belong to no tensor"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
       "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
       "tensor 'b' starts at byte 119, inside the one before it"},
      {"{\"a\\nb\":1}", 0, "tensor 'a b'"},  // messages stay one line
  };
#undef T
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    orion_safetensors *s;
    uint8_t *file;
    orion_error err;
    orion_status status = parse(cases[i].header, cases[i].body, &s, &file, &err);
    assert_error(status, ORION_FORMAT, &err, cases[i].text);
    assert_non_null(strstr(err.message, "x.safetensors"));
    assert_null(strchr(err.message, '\n'));
    assert_null(s);
    free(file);
  }
}

static void lengths_that_lie_are_refused(void **state) {
  (void)state;
  size_t n;
  orion_error err;
  orion_safetensors *s = NULL;
  uint8_t *file = make_file("{}", 0, &n);
  for (size_t cut = 0; cut < n; cut++) {
    uint8_t *part = malloc(cut ? cut : 1);
    memcpy(part, file, cut);
    assert_error(orion_safetensors_parse(NULL, "x", part, cut, &s, &err), ORION_FORMAT, &err, "x");
    free(part);
  }
  static const uint64_t lengths[] = {3, UINT32_MAX, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    for (int k = 0; k < 8; k++) file[k] = (uint8_t)(lengths[i] >> 8 * k);
    assert_error(orion_safetensors_parse(NULL, "x", file, n, &s, &err), ORION_FORMAT, &err, "x (byte 0)");
  }
  free(file);
  assert_error(orion_safetensors_open(NULL, "no/such/file", &s, &err), ORION_NOT_FOUND, &err, "no/such/file");
}

// ---- writing ----

static void what_is_written_reads_back(void **state) {
  (void)state;
  char dir[TEST_PATH_MAX], path[TEST_PATH_MAX];
  test_temp_dir_create(dir, sizeof dir);
  test_path(path, sizeof path, dir, "w.safetensors");
  orion_data_store *store;
  orion_error err;
  assert_ok(orion_data_store_create(NULL, &store, &err), &err);
  float big[6] = {1, -2.5f, 3, 4, 5.25f, 65504};
  uint8_t small[3] = {1, 2, 255};
  int64_t wide[2] = {-1, (int64_t)1 << 40};
  const orion_data *floats = orion_data_borrow(store, ORION_FP32, 2, 3, big, NULL);
  orion_tensor_source sources[] = {
      {"bytes \"\\\t\xc3\xa9", ORION_UINT8, 1, {3}, orion_data_borrow(store, ORION_UINT8, 3, 1, small, NULL)},
      {"half", ORION_FP16, 2, {3, 2}, orion_data_transpose(store, floats)},
      {"float", ORION_FP32, 2, {2, 3}, floats},
      {"wide", ORION_INT64, 1, {2}, orion_data_borrow(store, ORION_INT64, 2, 1, wide, NULL)},
      {"none", ORION_FP32, 2, {0, 7}, orion_data_borrow(store, ORION_FP32, 0, 7, big, NULL)},
      {"scalar", ORION_BF16, 0, {0}, orion_data_borrow(store, ORION_FP32, 1, 1, big + 2, NULL)},
      {"cube", ORION_FP32, 3, {1, 2, 3}, floats},
  };
  orion_text_pair metadata[] = {{"step", "1\n2"}, {"format", "pt"}};
  assert_ok(orion_safetensors_write(NULL, path, 7, sources, 2, metadata, &err), &err);
  orion_safetensors *s;
  assert_ok(orion_safetensors_open(NULL, path, &s, &err), &err);
  assert_int_equal(s->n_tensors, 7);
  for (size_t i = 0; i < 7; i++) {
    const orion_stored_tensor *t = orion_safetensors_find(s, sources[i].name);
    assert_non_null(t);
    assert_int_equal(t->dtype, sources[i].dtype);
    assert_int_equal(t->rank, sources[i].rank);
    for (int k = 0; k < t->rank; k++) assert_int_equal(t->dims[k], sources[i].dims[k]);
    assert_int_equal((uintptr_t)t->bytes % (orion_dtype_bits(t->dtype) / 8), 0);
  }
  assert_memory_equal(orion_safetensors_find(s, "float")->bytes, big, sizeof big);
  assert_memory_equal(orion_safetensors_find(s, "wide")->bytes, wide, sizeof wide);
  assert_memory_equal(orion_safetensors_find(s, sources[0].name)->bytes, small, sizeof small);
  const orion_half *half = (const orion_half *)(const void *)orion_safetensors_find(s, "half")->bytes;
  for (int i = 0; i < 6; i++) assert_true(orion_half_to_float(half[i]) == big[i % 2 * 3 + i / 2]);
  assert_string_equal(orion_safetensors_meta(s, "step"), "1\n2");
  orion_safetensors_close(s);
  // No tensors, with and without metadata.
  for (size_t n = 0; n < 2; n++) {
    assert_ok(orion_safetensors_write(NULL, path, 0, NULL, n, metadata, &err), &err);
    assert_ok(orion_safetensors_open(NULL, path, &s, &err), &err);
    assert_int_equal(s->n_metadata, n);
    orion_safetensors_close(s);
  }
  orion_data_store_release(store);
  test_temp_dir_remove(dir);
}

static void ignore_file(void *ctx, const char *path, const char *name) { (void)ctx, (void)path, (void)name; }

static void shapes_that_do_not_fit_are_not_written(void **state) {
  (void)state;
  char dir[TEST_PATH_MAX], path[TEST_PATH_MAX];
  test_temp_dir_create(dir, sizeof dir);
  test_path(path, sizeof path, dir, "w.safetensors");
  orion_data_store *store;
  orion_error err;
  assert_ok(orion_data_store_create(NULL, &store, &err), &err);
  float v[4] = {0};
  const orion_data *x = orion_data_borrow(store, ORION_FP32, 2, 2, v, NULL);
  orion_tensor_source bad[] = {{"w", ORION_FP32, 1, {3}, x}, {"w", ORION_INT4, 1, {4}, x}, {"w", ORION_FP32, 9, {4}, x}};
  for (size_t i = 0; i < 3; i++) {
    assert_error(orion_safetensors_write(NULL, path, 1, &bad[i], 0, NULL, &err), ORION_INVALID, &err, "tensor 'w'");
    assert_int_equal(test_each_file(dir, ignore_file, NULL), 0);
  }
  orion_data_store_release(store);
  test_temp_dir_remove(dir);
}

static orion_status write_and_read(void *ctx, const orion_allocator *a, orion_error *err) {
  const char *path = ctx;
  float v[4] = {1, 2, 3, 4};
  orion_data_store *store;
  ORION_TRY(orion_data_store_create(NULL, &store, err));
  orion_tensor_source t = {"w", ORION_FP16, 2, {2, 2}, orion_data_borrow(store, ORION_FP32, 2, 2, v, NULL)};
  orion_text_pair meta = {"k", "v"};
  orion_status status = orion_safetensors_write(a, path, 1, &t, 1, &meta, err);
  orion_data_store_release(store);
  orion_safetensors *s = NULL;
  if (status == ORION_OK) status = orion_safetensors_open(a, path, &s, err);
  orion_safetensors_close(s);
  return status;
}

static void every_failing_allocation_is_reported(void **state) {
  (void)state;
  char dir[TEST_PATH_MAX], path[TEST_PATH_MAX];
  test_temp_dir_create(dir, sizeof dir);
  test_path(path, sizeof path, dir, "w.safetensors");
  test_sweep_allocations(write_and_read, path, 0);
  test_temp_dir_remove(dir);
}

static void many_names_are_all_found(void **state) {
  (void)state;
  enum { N = 5000 };
  char *header = malloc(N * 80);
  size_t at = (size_t)sprintf(header, "{");
  for (int i = 0; i < N; i++) {
    at += (size_t)sprintf(header + at, "%s\"t.%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "",
                          i * 7, N - 1 - i, N - i);
  }
  sprintf(header + at, "}");
  orion_safetensors *s;
  uint8_t *file;
  orion_error err;
  assert_ok(parse(header, N, &s, &file, &err), &err);
  for (int i = 0; i < N; i++) {
    char name[32];
    sprintf(name, "t.%d", i * 7);
    const orion_stored_tensor *t = orion_safetensors_find(s, name);
    assert_true(t && t->bytes == s->tensors[0].bytes + (N - 1 - i));
    sprintf(name, "t.%d", i * 7 + 1);
    assert_null(orion_safetensors_find(s, name));
  }
  orion_safetensors_close(s);
  free(file);
  free(header);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tensors_are_found_by_name),
      cmocka_unit_test(every_fault_is_named),
      cmocka_unit_test(lengths_that_lie_are_refused),
      cmocka_unit_test(what_is_written_reads_back),
      cmocka_unit_test(shapes_that_do_not_fit_are_not_written),
      cmocka_unit_test(every_failing_allocation_is_reported),
      cmocka_unit_test(many_names_are_all_found),
  };
  return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
