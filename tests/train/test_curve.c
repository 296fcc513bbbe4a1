// Logs and curves: lines with the agreed keys, later steps dropped on resuming, a picture that is well-formed XML.
#include "support/support.h"

#include <math.h>

#include "train/log.h"

static orion_train_metrics metrics_of(int64_t step) {
  return (orion_train_metrics){.step = step, .loss = 10 / sqrt((double)step), .lr = 1e-3, .grad_norm = 2.5,
                               .tokens = (uint64_t)step * 512, .tok_s = 1000, .step_ms = 512, .update_ms = 3};
}

static void write_steps(const char *path, int64_t after, int64_t to) {
  orion_train_log *log;
  orion_error err = {0};
  assert_ok(orion_train_log_open(NULL, path, after, &log, &err), &err);
  for (int64_t i = after + 1; i <= to; i++) {
    orion_train_metrics m = metrics_of(i);
    double eval = m.loss + 0.5;
    assert_ok(orion_train_log_step(log, &m, 100, i % 10 == 0 ? &eval : NULL, &err), &err);
  }
  orion_train_log_close(log);
}

static int setup(void **state) {
  char *dir = malloc(TEST_PATH_MAX);
  test_temp_dir_create(dir, TEST_PATH_MAX);
  *state = dir;
  return 0;
}

static int teardown(void **state) {
  test_temp_dir_remove(*state);
  free(*state);
  return 0;
}

static void lines_have_the_agreed_keys(void **state) {
  char path[TEST_PATH_MAX];
  test_path(path, sizeof path, *state, "log.jsonl");
  write_steps(path, 0, 20);
  char *text = test_read_file(path, NULL);
  static const char *const keys[] = {"step", "loss", "lr", "grad_norm", "tokens", "tok_s", "step_ms", "update_ms", "rss_mb"};
  int lines = 0;
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    json_t *o = json_loads(line, 0, NULL);
    assert_non_null(o);
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) assert_true(json_is_number(json_object_get(o, keys[k])));
    assert_int_equal(json_integer_value(json_object_get(o, "step")), ++lines);
    assert_int_equal(json_object_get(o, "eval_loss") != NULL, lines % 10 == 0);
    json_decref(o);
  }
  assert_int_equal(lines, 20);
  free(text);
}

static void resuming_drops_later_steps_and_a_cut_line(void **state) {
  char path[TEST_PATH_MAX];
  test_path(path, sizeof path, *state, "log.jsonl");
  write_steps(path, 0, 30);
  size_t size;
  char *text = test_read_file(path, &size);
  test_write_file(path, text, size - 7);  // killed while writing
  free(text);
  write_steps(path, 12, 25);
  orion_curve c;
  orion_error err = {0};
  assert_ok(orion_curve_read(NULL, path, &c, &err), &err);
  assert_int_equal(c.n_train, 25);
  for (size_t i = 0; i < 25; i++) assert_int_equal(c.train[i].step, i + 1);
  assert_int_equal(c.n_eval, 2);
  orion_curve_free(&c);
  test_write_file(path, "{\"step\": 1, \"loss\": 2}\n{\"step\": 2}\n", 35);
  assert_error(orion_curve_read(NULL, path, &c, &err), ORION_FORMAT, &err, "lacks step or loss");
  test_write_file(path, "{\"step\": 1, \"loss\": 2}\n{\"step\n", 30);
  assert_error(orion_curve_read(NULL, path, &c, &err), ORION_FORMAT, &err, "line 2");
  test_write_file(path, "", 0);
  assert_error(orion_curve_read(NULL, path, &c, &err), ORION_FORMAT, &err, "no steps");
}

// Elements close in order, attributes are quoted, text is escaped: enough of XML to catch what we could get wrong.
static void check_xml(const char *p) {
  const char *open[32];
  size_t lengths[32];
  int depth = 0;
  while (*p) {
    if (*p != '<') {
      if (*p == '&') assert_non_null(memchr(p, ';', 6));
      p++;
      continue;
    }
    bool closing = p[1] == '/';
    const char *name = p + 1 + closing;
    size_t n = strcspn(name, " />\n");
    const char *end = strchr(name, '>');
    assert_non_null(end);
    size_t quotes = 0;
    for (const char *q = name; q < end; q++) quotes += *q == '"';
    assert_int_equal(quotes % 2, 0);
    if (closing) {
      assert_true(depth > 0);
      depth--;
      assert_int_equal(n, lengths[depth]);
      assert_memory_equal(name, open[depth], n);
    } else if (end[-1] != '/') {
      assert_true(depth < 32);
      open[depth] = name;
      lengths[depth++] = n;
    }
    p = end + 1;
  }
  assert_int_equal(depth, 0);
}

static void the_picture_is_well_formed(void **state) {
  char path[TEST_PATH_MAX];
  test_path(path, sizeof path, *state, "log.jsonl");
  static const int64_t lengths[] = {1, 2, 40, 5000};
  for (int k = 0; k < 4; k++) {
    write_steps(path, 0, lengths[k]);
    orion_curve c;
    orion_strbuf svg;
    orion_error err = {0};
    assert_ok(orion_curve_read(NULL, path, &c, &err), &err);
    orion_strbuf_init(&svg, NULL);
    assert_ok(orion_curve_svg(&c, "a <run> & more", &svg, &err), &err);
    check_xml(svg.data);
    assert_non_null(strstr(svg.data, "a &lt;run&gt; &amp; more"));
    assert_null(strstr(svg.data, "nan"));
    assert_null(strstr(svg.data, "inf"));
    assert_true(svg.size < 60000);  // columns, not steps
    orion_strbuf_deinit(&svg);
    orion_curve_free(&c);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(lines_have_the_agreed_keys, setup, teardown),
      cmocka_unit_test_setup_teardown(resuming_drops_later_steps_and_a_cut_line, setup, teardown),
      cmocka_unit_test_setup_teardown(the_picture_is_well_formed, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
