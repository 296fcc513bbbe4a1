// Running out of memory at any call leaks nothing and says so; time grows with the text, not with its square.
#include <time.h>

#include "base/file.h"
#include "mil/bind.h"
#include "mil/blob.h"
#include "support/support.h"

static const char text[] =
    "program(1.3)\n[b = dict<string, string>({{\"a\", \"b\"}})]\n{\n"
    "func main<ios18>(tensor<fp16, [1, 8, 1, 32]> x) [A = list<tuple<int32, string>, ?>([(1, \"s\"), (2, \"t\")])] {\n"
    "tensor<fp16, [2, 2]> w = const()[val = tensor<fp16, [2, 2]>([[1, 2], [3, nan(0x3)]])];\n"
    "tensor<string, [2]> s = const()[val = tensor<string, [2]>([\"a\", \"b\\n\"])];\n"
    "tensor<fp16, [4]> b = const()[val = tensor<fp16, [4]>(BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64(64)))];\n"
    "fp16 c, fp16 d = other(axis = int32(1), values = (x, w, nowhere))[name = string(\"c\")];\n"
    "} -> (c, d);\n}\n";

static orion_status parse_and_print(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_program *p;
  ORION_TRY(orion_mil_parse(a, text, sizeof text - 1, "t.mil", &p, err));
  orion_strbuf b;
  orion_strbuf_init(&b, a);
  orion_status status = orion_mil_print(p, &b, err);
  orion_strbuf_clear(&b);
  if (status == ORION_OK) status = orion_mil_print_dot(p, &b, err);
  orion_strbuf_deinit(&b);
  orion_program_destroy(p);
  return status;
}

static orion_status write_and_open(void *ctx, const orion_allocator *a, orion_error *err) {
  const char *const *dirs = ctx;
  orion_program *p;
  ORION_TRY(orion_mil_open(a, dirs[0], NULL, &p, err));
  orion_status status = orion_mil_write_dir(p, dirs[1], NULL, err);
  orion_program_destroy(p);
  if (status == ORION_OK) {
    status = orion_mil_open(a, dirs[1], NULL, &p, err);
    if (status == ORION_OK) orion_program_destroy(p);
  }
  return status;
}

static void parsing_and_printing_survive_lack_of_memory(void **state) {
  test_sweep_allocations(parse_and_print, NULL, 0);
}

static void files_survive_lack_of_memory(void **state) {
  char dir[TEST_PATH_MAX - 100], in[TEST_PATH_MAX], out[TEST_PATH_MAX], blob[TEST_PATH_MAX + 16], mil[TEST_PATH_MAX + 16];
  test_temp_dir_create(dir, sizeof dir);
  test_path(in, sizeof in, dir, "in");
  test_path(out, sizeof out, dir, "out");
  orion_error err;
  assert_ok(orion_dir_make(in, &err), &err);
  test_path(blob, sizeof blob, in, "w.bin");
  test_path(mil, sizeof mil, in, "model.mil");
  test_write_file(mil, text, sizeof text - 1);
  orion_data_store *store;
  orion_blob_writer *w;
  uint64_t at;
  const uint16_t halves[4] = {1, 2, 3, 4};
  assert_ok(orion_data_store_create(NULL, &store, &err), &err);
  assert_ok(orion_blob_writer_open(NULL, blob, &w, &err), &err);
  assert_ok(orion_blob_writer_add(w, orion_data_copy(store, ORION_FP16, 4, 1, halves), &at, &err), &err);
  assert_ok(orion_blob_writer_commit(w, &err), &err);
  orion_data_store_release(store);
  const char *dirs[] = {in, out};
  test_sweep_allocations(write_and_open, (void *)dirs, 200);
  test_temp_dir_remove(dir);
}

static void make_long_text(orion_strbuf *b, int n_ops) {
  orion_strbuf_init(b, NULL);
  orion_strbuf_adds(b, "program(1.3)\n{\nfunc main<ios18>(tensor<fp16, [1, 8, 1, 32]> v0) {\n");
  for (int i = 1; i <= n_ops; i++) {
    orion_strbuf_addf(b, "tensor<fp16, [1, 8, 1, 32]> v%d = add(x = v%d, y = v%d)[name = string(\"v%d\")];\n", i, i - 1,
                      i / 2, i);
  }
  orion_strbuf_addf(b, "} -> (v%d);\n}\n", n_ops);
}

static double parse_seconds(int n_ops) {
  orion_strbuf b;
  orion_program *p;
  orion_error err;
  make_long_text(&b, n_ops);
  double best = 1e9;
  for (int i = 0; i < 3; i++) {
    clock_t start = clock();  // of the processor: others may be busy here
    assert_ok(orion_mil_parse(NULL, b.data, b.size, "long", &p, &err), &err);
    double took = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (took < best) best = took;
    assert_int_equal(p->functions[0]->n_ops, n_ops);
    orion_program_destroy(p);
  }
  orion_strbuf_deinit(&b);
  return best;
}

static void time_is_linear_in_the_text(void **state) {
  double small = parse_seconds(2000), large = parse_seconds(20000);
  print_message("# 2000 operations: %.1f ms, 20000: %.1f ms\n", small * 1e3, large * 1e3);
  assert_true(large < small * 40);  // a quadratic parser takes 100 times as long
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(parsing_and_printing_survive_lack_of_memory),
      cmocka_unit_test(files_survive_lack_of_memory),
      cmocka_unit_test(time_is_linear_in_the_text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
