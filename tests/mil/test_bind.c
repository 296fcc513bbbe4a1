// Programs as files: blob references are resolved inside the model's directory and nowhere else, and what is written
// reads back alike.
#include "mil/bind.h"

#include "base/file.h"
#include "mil/blob.h"
#include "support/support.h"

#define TEXT(type, path, offset)                                                                  \
  "program(1.3)\n{\n    func main<ios18>(tensor<fp16, [4]> x) {\n"                               \
  "            " type " w = const()[name = string(\"w\"), val = " type "(BLOBFILE(path = string(\"" path \
  "\"), offset = uint64(" offset ")))];\n            tensor<fp16, [4]> y = add(x = x, y = w);\n" \
  "        } -> (y);\n}\n"

static const uint16_t halves[4] = {0x3c00, 0x4000, 0x4200, 0x4400};

typedef struct fixture {
  char dir[TEST_PATH_MAX - 200], text[TEST_PATH_MAX];
} fixture;

static int set_up(void **state) {
  fixture *f = calloc(1, sizeof *f);
  orion_error err;
  char blob[TEST_PATH_MAX];
  test_temp_dir_create(f->dir, sizeof f->dir);
  test_path(f->text, sizeof f->text, f->dir, "model.mil");
  test_path(blob, sizeof blob, f->dir, "w.bin");
  orion_data_store *store;
  orion_blob_writer *w;
  uint64_t at;
  assert_ok(orion_data_store_create(NULL, &store, &err), &err);
  assert_ok(orion_blob_writer_open(NULL, blob, &w, &err), &err);
  assert_ok(orion_blob_writer_add(w, orion_data_copy(store, ORION_FP16, 4, 1, halves), &at, &err), &err);
  assert_ok(orion_blob_writer_commit(w, &err), &err);
  assert_int_equal(at, 64);
  orion_data_store_release(store);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  fixture *f = *state;
  test_temp_dir_remove(f->dir);
  free(f);
  return 0;
}

static const orion_literal *weight(const orion_program *p) {
  const orion_function *f = p->functions[0];
  return orion_op_attr(&f->ops[f->first], "val");
}

static void literals_get_the_file_s_pages(void **state) {
  fixture *f = *state;
  orion_program *p, *copy;
  orion_error err;
  test_write_file(f->text, TEXT("tensor<fp16, [4]>", "@model_path/w.bin", "64"),
                  strlen(TEXT("tensor<fp16, [4]>", "@model_path/w.bin", "64")));
  const char *const paths[] = {f->text, f->dir};
  for (int i = 0; i < 2; i++) {
    assert_ok(orion_mil_open(NULL, paths[i], NULL, &p, &err), &err);
    const orion_data *x = weight(p)->data;
    assert_non_null(x);
    assert_true(x->mapped);
    assert_int_equal(x->rows, 4);
    assert_int_equal(x->cols, 1);
    assert_memory_equal(x->bytes, halves, sizeof halves);
    // The pages live as long as a program that shares the store, not as long as the one that mapped them.
    assert_ok(orion_program_clone(p, &copy, &err), &err);
    orion_program_destroy(p);
    assert_memory_equal(weight(copy)->data->bytes, halves, sizeof halves);
    orion_program_destroy(copy);
  }
  assert_ok(orion_mil_open(NULL, f->text, &(orion_mil_open_options){.unbound = true}, &p, &err), &err);
  assert_null(weight(p)->data);
  orion_program_destroy(p);
}

static void faults_name_the_constant(void **state) {
  fixture *f = *state;
  static const struct {
    const char *text, *word;
    orion_status status;
  } cases[] = {
      {TEXT("tensor<fp16, [4]>", "@model_path/none.bin", "64"), "none.bin", ORION_NOT_FOUND},
      {TEXT("tensor<fp16, [4]>", "@model_path/../w.bin", "64"), "leads out", ORION_FORMAT},
      {TEXT("tensor<fp16, [4]>", "@model_path/a/../../w.bin", "64"), "leads out", ORION_FORMAT},
      {TEXT("tensor<fp16, [4]>", "/etc/passwd", "64"), "leads out", ORION_FORMAT},
      {TEXT("tensor<fp16, [4]>", "@model_path//etc/passwd", "64"), "leads out", ORION_FORMAT},
      {TEXT("tensor<fp16, [4]>", "@other/w.bin", "64"), "leads out", ORION_FORMAT},
      {TEXT("tensor<fp16, [4]>", "", "64"), "leads out", ORION_FORMAT},
      {TEXT("tensor<fp16, [4]>", "@model_path/w.bin", "128"), "end behind", ORION_FORMAT},
      {TEXT("tensor<fp16, [4]>", "@model_path/w.bin", "18446744073709551552"), "end behind", ORION_FORMAT},
      {TEXT("tensor<fp16, [5]>", "@model_path/w.bin", "64"), "8 bytes, the text's type needs 10", ORION_FORMAT},
      {TEXT("tensor<fp32, [2]>", "@model_path/w.bin", "64"), "holds fp16, the text says fp32", ORION_FORMAT},
      {TEXT("tensor<fp16, [?]>", "@model_path/w.bin", "64"), "no definite size", ORION_FORMAT},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    orion_program *p = NULL;
    orion_error err = {0};
    test_write_file(f->text, cases[i].text, strlen(cases[i].text));
    orion_status status = orion_mil_open(NULL, f->text, NULL, &p, &err);
    assert_error(status, cases[i].status, &err, cases[i].word);
    assert_non_null(strstr(err.message, "model.mil:4:13: constant 'w': "));
    assert_ok(orion_mil_open(NULL, f->text, &(orion_mil_open_options){.unbound = true}, &p, &err), &err);
    orion_findings findings;
    orion_findings_init(&findings, NULL);
    assert_ok(orion_mil_check_blobs(p, f->text, NULL, true, &findings, &err), &err);
    assert_int_equal(findings.n, 1);
    assert_non_null(strstr(findings.items[0].message, cases[i].word));
    assert_int_equal(findings.items[0].loc.line, 4);
    orion_findings_deinit(&findings);
    orion_program_destroy(p);
  }
}

static void an_absent_blob_file_is_reported_once(void **state) {
  static const char text[] =
      "program(1.3)\n{\nfunc main<ios18>() {\n"
      "tensor<fp16, [4]> a = const()[val = tensor<fp16, [4]>(BLOBFILE(path = \"none.bin\", offset = 64))];\n"
      "tensor<fp16, [4]> b = const()[val = tensor<fp16, [4]>(BLOBFILE(path = \"none.bin\", offset = 128))];\n"
      "tensor<fp16, [4]> c = const()[val = tensor<fp16, [4]>(BLOBFILE(path = \"w.bin\", offset = 64))];\n"
      "} -> (a, b, c);\n}\n";
  fixture *f = *state;
  orion_program *p;
  orion_error err;
  orion_findings findings;
  test_write_file(f->text, text, sizeof text - 1);
  assert_ok(orion_mil_open(NULL, f->text, &(orion_mil_open_options){.unbound = true}, &p, &err), &err);
  orion_findings_init(&findings, NULL);
  assert_ok(orion_mil_check_blobs(p, f->text, NULL, false, &findings, &err), &err);
  assert_int_equal(findings.n, 1);
  assert_false(orion_findings_fatal(&findings));
  assert_string_equal(findings.items[0].value, "a");
  orion_findings_deinit(&findings);
  // The directory may be named.
  orion_findings_init(&findings, NULL);
  assert_ok(orion_mil_check_blobs(p, "elsewhere/x.mil", f->dir, true, &findings, &err), &err);
  assert_int_equal(findings.n, 1);
  assert_non_null(strstr(findings.items[0].message, f->dir));
  orion_findings_deinit(&findings);
  orion_program_destroy(p);
}

static void absent_files_are_named(void **state) {
  fixture *f = *state;
  orion_program *p = NULL;
  orion_error err;
  assert_error(orion_mil_open(NULL, f->dir, NULL, &p, &err), ORION_NOT_FOUND, &err, "no model.mil");
  assert_int_equal(orion_mil_open(NULL, f->text, NULL, &p, &err), ORION_NOT_FOUND);
}

// A program with constants of all kinds: lazy, shared, small, of types that blob files do not know.
static orion_program *make_program(void) {
  orion_program *p;
  orion_function *f;
  orion_error err;
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  void *bytes;
  const orion_data *x = orion_data_new(p->data, ORION_FP32, 30, 20, &bytes);
  for (size_t i = 0; i < 600; i++) orion_store_double(ORION_FP32, bytes, i, (double)i - 300);
  const orion_data *datas[] = {x, orion_data_cast(p->data, orion_data_transpose(p->data, x), ORION_FP16), x,
                               orion_data_cast(p->data, x, ORION_INT64), orion_data_copy(p->data, ORION_FP16, 4, 1, halves)};
  for (size_t i = 0; i < 5; i++) {
    const orion_type *type = orion_type_tensor(p, datas[i]->dtype, 2, (int64_t[]){(int64_t)datas[i]->rows, (int64_t)datas[i]->cols});
    orion_attr attr = {"val", orion_literal_data(p, type, datas[i])};
    char name[8];
    snprintf(name, sizeof name, "c%zu", i);
    const char *names[] = {name};
    orion_op_spec spec = {.code = ORION_OP_const, .attrs = &attr, .n_attrs = 1, .result_names = names,
                          .result_types = &type, .n_results = 1, .before = ORION_NONE};
    assert_int_not_equal(orion_function_add_op(f, &spec), ORION_NONE);
  }
  return p;
}

static void written_programs_read_back(void **state) {
  fixture *f = *state;
  orion_error err;
  char dir[TEST_PATH_MAX], blob[TEST_PATH_MAX + 32], second[TEST_PATH_MAX + 32];
  test_path(dir, sizeof dir, f->dir, "new/out.mlmodelc");
  snprintf(blob, sizeof blob, "%s/weights/weight.bin", dir);
  orion_program *p = make_program(), *q;
  for (int split = 0; split < 2; split++) {
    orion_mil_write_options options = {.max_file_bytes = split ? 1000 : 0};
    assert_ok(orion_mil_write_dir(p, dir, &options, &err), &err);
    assert_ok(orion_mil_open(NULL, dir, NULL, &q, &err), &err);
    const orion_function *a = p->functions[0], *b = q->functions[0];
    assert_int_equal(a->n_ops, b->n_ops);
    uint64_t offsets[5] = {0};
    for (size_t i = 0; i < a->n_ops; i++) {
      const orion_literal *l = orion_op_attr(&a->ops[i], "val"), *m = orion_op_attr(&b->ops[i], "val");
      assert_true(orion_type_equal(l->type, m->type));
      assert_int_equal(m->kind, i < 3 ? ORION_LIT_BLOB : ORION_LIT_DATA);
      offsets[i] = m->blob_offset;
      size_t size;
      assert_true(orion_type_bytes(l->type, &size));
      assert_memory_equal(orion_data_bytes(p->data, l->data), orion_data_bytes(q->data, m->data), size);
    }
    assert_int_equal(offsets[0], offsets[2]);  // stored once
    snprintf(second, sizeof second, "%s/weights/weight_1.bin", dir);
    assert_int_equal(orion_file_exists(second), split);
    orion_blob_file *file;
    size_t n;
    assert_ok(orion_blob_open(NULL, blob, &file, &err), &err);
    orion_blob_tensors(file, &n);
    assert_int_equal(n, split ? 1 : 2);
    orion_blob_close(file);
    // Bound literals move to the new files too, and the text stays the same.
    char again[TEST_PATH_MAX + 16], one[TEST_PATH_MAX + 32], two[TEST_PATH_MAX + 64];
    snprintf(again, sizeof again, "%s.again", dir);
    assert_ok(orion_mil_write_dir(q, again, &options, &err), &err);
    snprintf(one, sizeof one, "%s/model.mil", dir);
    snprintf(two, sizeof two, "%s/model.mil", again);
    char *first = test_read_file(one, NULL), *other = test_read_file(two, NULL);
    assert_string_equal(first, other);
    free(first);
    free(other);
    orion_program_destroy(q);
  }
  assert_ok(orion_mil_open(NULL, dir, &(orion_mil_open_options){.unbound = true}, &q, &err), &err);
  assert_error(orion_mil_write_dir(q, dir, NULL, &err), ORION_INVALID, &err, "constant 'c0'");
  orion_program_destroy(q);
  orion_program_destroy(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(literals_get_the_file_s_pages, set_up, tear_down),
      cmocka_unit_test_setup_teardown(faults_name_the_constant, set_up, tear_down),
      cmocka_unit_test_setup_teardown(an_absent_blob_file_is_reported_once, set_up, tear_down),
      cmocka_unit_test_setup_teardown(absent_files_are_named, set_up, tear_down),
      cmocka_unit_test_setup_teardown(written_programs_read_back, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
