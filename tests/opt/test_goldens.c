// Each pass on small texts: what it makes of them, and what it leaves alone. A file of golden/ holds the passes, a
// program, and the program that must come out:
//
//   // passes: identity,dce          (then, optionally, "// cpu" and "// limits: sram split_in max_out")
//   program(1.3) ...
//   // becomes
//   program(1.3) ...
#include "mil/mil.h"
#include "opt/opt.h"
#include "support/support.h"

typedef struct golden {
  const char *name;
  char *text, *passes, *source, *want;  // into text
  orion_opt_limits limits;
} golden;

static char *line_after(char *text, const char *head) {
  char *at = strstr(text, head);
  if (!at) return NULL;
  at += strlen(head);
  return at;
}

static void golden_load(golden *g, const char *path, const char *name) {
  *g = (golden){.name = name, .text = test_read_file(path, NULL)};
  g->limits = (orion_opt_limits){.ane = true, .sram_bytes = 2 << 20, .split_conv_in = 4096, .max_conv_out = 61440,
                                 .max_weight_bytes = (size_t)1 << 30};
  g->passes = line_after(g->text, "// passes: ");
  g->want = line_after(g->text, "// becomes\n");
  if (!g->passes || !g->want) fail_msg("%s: lacks '// passes:' or '// becomes'", name);
  if (strstr(g->text, "// cpu\n")) g->limits.ane = false;
  const char *limits = line_after(g->text, "// limits: ");
  if (limits) {
    g->limits.sram_bytes = strtoul(limits, (char **)&limits, 10);
    g->limits.split_conv_in = strtol(limits, (char **)&limits, 10);
    g->limits.max_conv_out = strtol(limits, NULL, 10);
  }
  g->source = strstr(g->passes, "\nprogram") + 1;
  g->passes[strcspn(g->passes, "\n")] = 0;
  *strstr(g->source, "// becomes\n") = 0;
}

static orion_program *parse(const char *text, const char *name, const orion_allocator *a) {
  orion_program *p;
  orion_error err;
  assert_ok(orion_mil_parse(a, text, strlen(text), name, &p, &err), &err);
  assert_ok(orion_verify_ok(p, &err), &err);
  return p;
}

static char *print(const orion_program *p) {  // free() it
  orion_strbuf b;
  orion_error err;
  orion_strbuf_init(&b, NULL);
  assert_ok(orion_mil_print(p, &b, &err), &err);
  char *text = strdup(orion_strbuf_text(&b));
  orion_strbuf_deinit(&b);
  return text;
}

static void check_golden(void *ctx, const char *path, const char *name) {
  golden g;
  orion_error err;
  golden_load(&g, path, name);
  const orion_opt_options options = {.passes = g.passes};
  orion_program *p = parse(g.source, name, NULL);
  assert_ok(orion_optimize(p, &g.limits, &options, &err), &err);
  char *text = print(p);
  if (strcmp(text, g.want) != 0) fail_msg("%s: became\n%s\nexpected\n%s", name, text, g.want);
  assert_ok(orion_optimize(p, &g.limits, &options, &err), &err);  // and there is nothing left to do
  char *again = print(p);
  assert_string_equal(again, g.want);
  free(text);
  free(again);
  free(g.text);
  orion_program_destroy(p);
}

static void programs_become_what_their_files_say(void **state) {
  char dir[TEST_PATH_MAX];
  test_source_path(dir, sizeof dir, "tests/opt/golden");
  assert_true(test_each_file(dir, check_golden, NULL) > 0);
}

// ---- memory ---------------------------------------------------------------------------------------------------------

static orion_status optimize_once(void *ctx, const orion_allocator *a, orion_error *err) {
  const golden *g = ctx;
  orion_program *p;
  ORION_TRY(orion_mil_parse(a, g->source, strlen(g->source), g->name, &p, err));
  orion_status status = orion_optimize(p, &g->limits, &(orion_opt_options){.passes = g->passes}, err);
  orion_program_destroy(p);
  return status;
}

static void sweep_golden(void *ctx, const char *path, const char *name) {
  golden g;
  golden_load(&g, path, name);
  test_sweep_allocations(optimize_once, &g, 60);
  free(g.text);
}

static void a_failing_allocation_is_reported_and_leaks_nothing(void **state) {
  char dir[TEST_PATH_MAX];
  test_source_path(dir, sizeof dir, "tests/opt/golden");
  test_each_file(dir, sweep_golden, NULL);
}

// ---- the driver -----------------------------------------------------------------------------------------------------

static void unknown_passes_are_refused(void **state) {
  orion_error err;
  orion_program *p = parse("program(1.3)\n{\n  func main<ios18>(tensor<fp16, [2]> x) {\n"
                           "    tensor<fp16, [2]> y = relu(x = x)[name = string(\"y\")];\n  } -> (y);\n}\n", "t", NULL);
  const orion_opt_limits limits = {.ane = true};
  assert_error(orion_optimize(p, &limits, &(orion_opt_options){.passes = "dce,nonsense"}, &err), ORION_INVALID, &err,
               "\"nonsense\"");
  orion_program_destroy(p);
}

typedef struct seen {
  size_t dumps, stats, changes;
} seen;

static void count_dump(void *ctx, const char *pass, const orion_program *p) {
  ((seen *)ctx)->dumps++;
  char *text = print(p);
  orion_program_destroy(parse(text, pass, NULL));  // dumps can be read again
  free(text);
}

static void count_stats(void *ctx, const orion_pass_stats *s) {
  ((seen *)ctx)->stats++;
  ((seen *)ctx)->changes += s->changes;
  assert_true(s->ops_after <= s->ops_before);
}

static void dumps_and_statistics_are_told(void **state) {
  orion_error err;
  orion_program *p = parse("program(1.3)\n{\n  func main<ios18>(tensor<fp16, [2]> x) {\n"
                           "    tensor<fp16, [2]> y = relu(x = x)[name = string(\"y\")];\n"
                           "    tensor<fp16, [2]> z = relu(x = y)[name = string(\"z\")];\n  } -> (y);\n}\n", "t", NULL);
  seen s = {0};
  const orion_opt_limits limits = {.ane = true};
  const orion_opt_options options = {.passes = "identity,dce", .dump_after = "dce", .dump = count_dump, .dump_ctx = &s,
                                     .stats = count_stats, .stats_ctx = &s};
  assert_ok(orion_optimize(p, &limits, &options, &err), &err);
  assert_int_equal(s.dumps, 2);  // a second round finds nothing
  assert_int_equal(s.stats, 4);
  assert_int_equal(s.changes, 1);
  orion_program_destroy(p);
}

static void default_pipelines_name_existing_passes(void **state) {
  for (int ane = 0; ane < 2; ane++) {
    char list[512];
    snprintf(list, sizeof list, "%s", orion_default_pipeline(ane));
    for (char *save, *name = strtok_r(list, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
      if (!orion_pass_find(name)) fail_msg("no pass %s", name);
    }
  }
  for (const orion_pass *const *pass = orion_passes(); *pass; pass++) assert_ptr_equal(orion_pass_find((*pass)->name), *pass);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(programs_become_what_their_files_say),
      cmocka_unit_test(a_failing_allocation_is_reported_and_leaks_nothing),
      cmocka_unit_test(unknown_passes_are_refused),
      cmocka_unit_test(dumps_and_statistics_are_told),
      cmocka_unit_test(default_pipelines_name_existing_passes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
