// docs/rules.md and docs/limits.md say what the rows say. Run as: test_target_pages PATH_OF_PRINT_RULES
#include "support/support.h"

static const char *printer;

static void page_is_fresh(const char *page) {
  char path[TEST_PATH_MAX], name[64], command[TEST_PATH_MAX];
  snprintf(name, sizeof name, "docs/%s.md", page);
  test_source_path(path, sizeof path, name);
  size_t n;
  char *want = test_read_file(path, &n), *got = calloc(1, n + 2);
  snprintf(command, sizeof command, "'%s' %s", printer, page);
  FILE *pipe = popen(command, "r");
  assert_non_null(pipe);
  size_t have = fread(got, 1, n + 1, pipe);
  pclose(pipe);
  if (have != n || memcmp(want, got, n) != 0) fail_msg("%s is stale: run print_rules %s > %s", name, page, name);
  free(want);
  free(got);
}

static void the_page_of_rules_is_fresh(void **state) { page_is_fresh("rules"); }
static void the_page_of_limits_is_fresh(void **state) { page_is_fresh("limits"); }

int main(int argc, char **argv) {
  printer = argc > 1 ? argv[1] : "";
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_page_of_rules_is_fresh),
                                     cmocka_unit_test(the_page_of_limits_is_fresh)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
