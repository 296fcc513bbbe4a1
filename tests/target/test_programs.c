// The broken programs of programs/: RULE.TARGET.mil, or RULE-more.TARGET.mil, breaks that rule on that target. Each is
// found out under the right name, and nothing else stops it; each row that has a check has such a program.
#include <dirent.h>

#include "orion/program.h"
#include "support/support.h"
#include "target/target.h"

typedef struct broken {
  orion_rule_id rule;
  char target[8], path[TEST_PATH_MAX];
} broken;

// False for what is no program.
static bool read_name(const char *file, broken *out) {
  size_t n = strlen(file);
  if (n < 8 || strcmp(file + n - 4, ".mil") != 0) return false;
  char id[4] = {file[0], file[1], file[2], 0};
  out->rule = orion_rule_find(id);
  snprintf(out->target, sizeof out->target, "%.2s", file + n - 6);
  char in_tree[TEST_PATH_MAX];
  snprintf(in_tree, sizeof in_tree, "tests/target/programs/%s", file);
  test_source_path(out->path, sizeof out->path, in_tree);
  if (out->rule == ORION_RULES || !orion_target_find(out->target)) fail_msg("%s: of no rule or target", file);
  const char *name = orion_rule_row(out->rule)->name;
  if (strncmp(file, name, strlen(name)) != 0) fail_msg("%s: the rule is %s", file, name);
  return true;
}

// Rules whose programs cannot but break another one too.
static bool comes_along(orion_rule_id rule, const char *other) {
  static const struct { orion_rule_id rule; const char *other; } pairs[] = {
      {ORION_RULE_D10, "S01-row-stride"}, {ORION_RULE_D20, "S01-row-stride"},
      {ORION_RULE_L07, "L05-io-type"}, {ORION_RULE_L12, "L03-channels"}, {ORION_RULE_L14, "S01-row-stride"}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    if (pairs[i].rule == rule && strcmp(pairs[i].other, other) == 0) return true;
  }
  return orion_rule_find(other) == ORION_RULES && rule != ORION_RULES;  // the verifier's own words
}

static void check_one(const broken *b) {
  const orion_rule *rule = orion_rule_row(b->rule);
  orion_error err;
  orion_program *p;
  orion_findings list;
  assert_ok(orion_mil_open(NULL, b->path, &(orion_mil_open_options){.unbound = true}, &p, &err), &err);
  orion_findings_init(&list, NULL);
  assert_ok(orion_program_check(p, b->target, &list, &err), &err);
  bool found = false;
  for (size_t i = 0; i < list.n; i++) {
    const orion_finding *x = &list.items[i];
    bool is = strcmp(x->rule, rule->name) == 0;
    if (!is && !comes_along(b->rule, x->rule)) fail_msg("%s: blamed by %s: %s", b->path, x->rule, x->message);
    if (is && x->fatal != !!(rule->fatal & orion_family_bit(b->target))) fail_msg("%s: fatal is %d", b->path, x->fatal);
    if (is && (!x->loc.line || !x->loc.column)) fail_msg("%s: blamed nowhere", b->path);
    found = found || is;
  }
  if (!found) fail_msg("%s: not found out", b->path);
  orion_findings_deinit(&list);
  orion_program_destroy(p);
}

static size_t each_program(void (*with)(const broken *, bool *), bool *seen) {
  char dir_path[TEST_PATH_MAX];
  test_source_path(dir_path, sizeof dir_path, "tests/target/programs");
  DIR *dir = opendir(dir_path);
  if (!dir) fail_msg("%s: not there", dir_path);
  size_t n = 0;
  for (struct dirent *entry; (entry = readdir(dir));) {
    broken b;
    if (!read_name(entry->d_name, &b)) continue;
    with(&b, seen);
    n++;
  }
  closedir(dir);
  return n;
}

static void with_check(const broken *b, bool *seen) { check_one(b); }
static void with_mark(const broken *b, bool *seen) { seen[b->rule] = true; }

static void each_broken_program_is_found_out_under_its_rule(void **state) {
  (void)state;
  assert_true(each_program(with_check, NULL) >= 50);
}

static void each_check_has_a_program_that_breaks_it(void **state) {
  (void)state;
  bool seen[ORION_RULES] = {false};
  each_program(with_mark, seen);
  for (int i = 0; i < ORION_RULES; i++) {
    const orion_rule *r = orion_rule_row((orion_rule_id)i);
    if (r->check && !seen[i]) fail_msg("no program breaks %s", r->name);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_broken_program_is_found_out_under_its_rule),
      cmocka_unit_test(each_check_has_a_program_that_breaks_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
