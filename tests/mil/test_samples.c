// Programs that others wrote: those of Core ML's compiler reprint to the byte, the rest is stable; malformed files are
// refused with one line, or hold a fault that is the verifier's to find.
#include <dirent.h>

#include "base/file.h"
#include "ir/infer.h"
#include "mil/bind.h"
#include "mil/blob.h"
#include "support/support.h"

static void print(const orion_program *p, orion_strbuf *out) {
  orion_error err;
  orion_strbuf_init(out, NULL);
  assert_ok(orion_mil_print(p, out, &err), &err);
}

static bool from_core_ml(const char *name) {
  static const char *const heads[] = {"coremltools_", "fluidaudio_", "mobius_", "mlmodelc-export_"};
  for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
    if (strncmp(name, heads[i], strlen(heads[i])) == 0) return true;
  }
  return false;
}

static void check_sample(const char *dir, const char *name) {
  char path[TEST_PATH_MAX], text_path[TEST_PATH_MAX];
  test_path(path, sizeof path, dir, name);
  test_path(text_path, sizeof text_path, path, "model.mil");
  orion_program *p, *q;
  orion_error err;
  orion_strbuf first, second;
  size_t n;
  char *text = test_read_file(text_path, &n);
  assert_ok(orion_mil_open(NULL, path, &(orion_mil_open_options){.unbound = true}, &p, &err), &err);
  print(p, &first);
  if (from_core_ml(name)) {
    if (first.size != n || memcmp(first.data, text, n) != 0) fail_msg("%s: reprints differently", name);
  }
  assert_ok(orion_mil_parse(NULL, first.data, first.size, name, &q, &err), &err);
  print(q, &second);
  assert_string_equal(first.data, second.data);
  orion_strbuf_deinit(&first);
  orion_strbuf_deinit(&second);
  orion_program_destroy(p);
  orion_program_destroy(q);
  free(text);
}

static void samples_reprint(void **state) {
  char dir[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(dir, "data/mil");
  DIR *d = opendir(dir);
  assert_non_null(d);
  int n = 0;
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    check_sample(dir, e->d_name);
    n++;
  }
  closedir(d);
  assert_true(n >= 20);
}

// Whether `message` is one line without bytes that a terminal would mind.
static void assert_one_line(const char *message) {
  assert_true(*message);
  for (const char *c = message; *c; c++) assert_true((unsigned char)*c >= ' ');
}

static void check_malformed(void *ctx, const char *path, const char *name) {
  static const char *const parse[] = {"blob-missing-file.mil", "blob-path-escape.mil", "dimension-zero.mil",
                                      "duplicate-name.mil", "duplicate-parameter.mil", "good.mil",
                                      "missing-argument.mil", "undefined-return.mil", "undefined-value.mil",
                                      "unknown-argument.mil", "use-before-definition.mil", "wrong-result-shape.mil",
                                      "wrong-result-type.mil"};
  bool parses = false;
  for (size_t i = 0; i < sizeof parse / sizeof *parse; i++) parses |= strcmp(parse[i], name) == 0;
  orion_program *p = NULL;
  orion_error err = {0};
  orion_status status = orion_mil_open(NULL, path, &(orion_mil_open_options){.unbound = true}, &p, &err);
  if (!parses) {
    if (status != ORION_FORMAT && status != ORION_UNSUPPORTED) fail_msg("%s: %s", name, orion_status_name(status));
    assert_one_line(err.message);
    if (!strstr(err.message, name)) fail_msg("%s is not named: %s", name, err.message);
    return;
  }
  if (status != ORION_OK) fail_msg("%s", err.message);
  orion_findings findings;
  orion_findings_init(&findings, NULL);
  assert_ok(orion_verify(p, &findings, &err), &err);
  assert_ok(orion_mil_check_blobs(p, path, NULL, true, &findings, &err), &err);
  bool good = strcmp(name, "good.mil") == 0;
  if (orion_findings_fatal(&findings) == good) fail_msg("%s: %zu findings", name, findings.n);
  for (size_t i = 0; i < findings.n; i++) assert_one_line(findings.items[i].message);
  orion_findings_deinit(&findings);
  orion_program_destroy(p);
}

static void malformed_texts_are_refused(void **state) {
  char dir[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(dir, "data/fuzz/mil");
  assert_true(test_each_file(dir, check_malformed, NULL) >= 30);
}

static void check_blob(void *ctx, const char *path, const char *name) {
  orion_blob_file *f = NULL;
  orion_error err = {0};
  orion_status status = orion_blob_open(NULL, path, &f, &err);
  if (strcmp(name, "good.bin") == 0) {
    assert_ok(status, &err);
    size_t n;
    const orion_blob_tensor *t = orion_blob_tensors(f, &n);
    assert_int_equal(n, 1);
    assert_int_equal(t->dtype, ORION_FP16);
    assert_int_equal(t->elements, 4);
    orion_blob_close(f);
    return;
  }
  if (status != ORION_FORMAT) fail_msg("%s: %s", name, orion_status_name(status));
  assert_one_line(err.message);
  if (!strstr(err.message, name)) fail_msg("%s is not named: %s", name, err.message);
}

static void malformed_blobs_are_refused(void **state) {
  char dir[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(dir, "data/fuzz/blob");
  assert_true(test_each_file(dir, check_blob, NULL) >= 15);
}

static orion_status count_bound(const orion_program *p, size_t *out) {
  const orion_function *f = p->functions[0];
  *out = 0;
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    for (uint32_t i = 0; i < op->n_attrs; i++) {
      const orion_literal *l = op->attrs[i].value;
      if (l->kind != ORION_LIT_BLOB) continue;
      size_t n;
      assert_non_null(l->data);
      assert_true(orion_type_elements(l->type, &n));
      assert_int_equal(n, orion_data_elements(l->data));
      ++*out;
    }
  }
  return ORION_OK;
}

static void compiled_models_bind_to_their_weights(void **state) {
  static const char *const names[] = {"data/mil/mobius_unified_int8", "data/mil/mobius_unified_palette_4bit"};
  for (int i = 0; i < 2; i++) {
    char dir[TEST_PATH_MAX], weights[TEST_PATH_MAX];
    SKIP_WITHOUT_SHARED(dir, names[i]);
    orion_program *p;
    orion_error err;
    size_t n, tensors;
    assert_ok(orion_mil_open(NULL, dir, NULL, &p, &err), &err);
    count_bound(p, &n);
    test_path(weights, sizeof weights, dir, "weights/weight.bin");
    orion_blob_file *f;
    assert_ok(orion_blob_open(NULL, weights, &f, &err), &err);
    orion_blob_tensors(f, &tensors);
    assert_true(n > 10 && tensors > 10 && tensors <= n);
    orion_blob_close(f);
    orion_program_destroy(p);
  }
}

// Written out and read back: the same elements everywhere, and a text that only differs in offsets.
static void compiled_models_survive_writing(void **state) {
  char source[TEST_PATH_MAX], dir[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(source, "data/mil/mobius_unified_int8");
  test_temp_dir_create(dir, sizeof dir);
  orion_program *p, *q;
  orion_error err;
  assert_ok(orion_mil_open(NULL, source, NULL, &p, &err), &err);
  orion_mil_write_options options = {.max_file_bytes = 100000};
  assert_ok(orion_mil_write_dir(p, dir, &options, &err), &err);
  assert_ok(orion_mil_open(NULL, dir, NULL, &q, &err), &err);
  const orion_function *f = p->functions[0], *g = q->functions[0];
  assert_int_equal(f->n_ops, g->n_ops);
  size_t compared = 0;
  for (size_t i = 0; i < f->n_ops; i++) {
    assert_int_equal(f->ops[i].n_attrs, g->ops[i].n_attrs);
    for (uint32_t a = 0; a < f->ops[i].n_attrs; a++) {
      const orion_literal *l = f->ops[i].attrs[a].value, *m = g->ops[i].attrs[a].value;
      assert_true(orion_type_equal(l->type, m->type));
      size_t size;
      if (l->kind != ORION_LIT_BLOB || !orion_type_bytes(l->type, &size)) continue;
      assert_memory_equal(l->data->bytes, m->data->bytes, size);
      compared++;
    }
  }
  assert_true(compared > 10);
  char second[TEST_PATH_MAX];
  test_path(second, sizeof second, dir, "weights/weight_1.bin");
  assert_true(orion_file_exists(second));
  orion_program_destroy(p);
  orion_program_destroy(q);
  test_temp_dir_remove(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(samples_reprint),
      cmocka_unit_test(malformed_texts_are_refused),
      cmocka_unit_test(malformed_blobs_are_refused),
      cmocka_unit_test(compiled_models_bind_to_their_weights),
      cmocka_unit_test(compiled_models_survive_writing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
