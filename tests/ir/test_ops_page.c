// docs/ops.md says what the op table says. Run as: test_ops_page PATH_OF_PRINT_OPS
#include "support/support.h"

static const char *printer;

static void test_the_page_of_operations_is_fresh(void **state) {
  char path[TEST_PATH_MAX], command[TEST_PATH_MAX];
  test_source_path(path, sizeof path, "docs/ops.md");
  size_t n;
  char *want = test_read_file(path, &n), *got = calloc(1, n + 2);
  snprintf(command, sizeof command, "'%s'", printer);
  FILE *pipe = popen(command, "r");
  assert_non_null(pipe);
  size_t have = fread(got, 1, n + 1, pipe);
  pclose(pipe);
  if (have != n || memcmp(want, got, n) != 0) fail_msg("docs/ops.md is stale: run print_ops > docs/ops.md");
  free(want);
  free(got);
}

int main(int argc, char **argv) {
  printer = argc > 1 ? argv[1] : "";
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_page_of_operations_is_fresh)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
