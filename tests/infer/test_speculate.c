// Speculation changes the time that a text takes, never the text.
#include "orion/speculate.h"

#include <math.h>

#include "orion/sampler.h"
#include "support/models.h"

enum { VOCAB = 97, LENGTH = 60 };

typedef struct fixture {
  orion_model *model;
  orion_device *device;
  orion_session *s;
} fixture;

static void open_at(fixture *f, const orion_config *c, const char *device, const char *target) {
  orion_error err;
  f->model = test_model(c);
  assert_ok(orion_device_open(device, 1, NULL, &f->device, &err), &err);
  orion_session_options o;
  orion_session_options_init(&o);
  o.target = target;
  assert_ok(orion_session_create(f->model, f->device, &o, &f->s, &err), &err);
}

static void close_all(fixture *f) {
  orion_session_destroy(f->s);
  orion_device_close(f->device);
  orion_model_close(f->model);
}

// A text in which the same words come back, now and then with another end.
static void make_text(int32_t *tokens, size_t n) {
  static const int32_t refrain[] = {5, 9, 2, 44, 17, 3, 60};
  for (size_t i = 0; i < n; i++) tokens[i] = i % 19 == 18 ? (int32_t)(i % VOCAB) : refrain[i % 7];
}

static double distance(const float *a, const float *b) {
  double top = 0, worst = 0;
  for (int i = 0; i < VOCAB; i++) {
    top = fmax(top, fabs((double)a[i]));
    worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
  }
  return worst / top;
}

static void compare_logits(const char *device, const char *target, double tolerance) {
  const orion_config c = test_config(TEST_LLAMA, 64);
  int32_t text[LENGTH];
  float *want = calloc((size_t)LENGTH * VOCAB, sizeof *want);
  orion_error err;
  fixture f;
  make_text(text, LENGTH);
  open_at(&f, &c, device, target);
  for (size_t i = 0; i < LENGTH; i++) {
    assert_ok(orion_session_feed(f.s, text + i, 1, &err), &err);
    memcpy(want + i * VOCAB, orion_session_logits(f.s), VOCAB * sizeof *want);
  }
  orion_session_truncate(f.s, 0);
  orion_speculator *p;
  assert_ok(orion_speculator_create(f.s, 7, &p, &err), &err);
  orion_speculator_be_eager(p);
  assert_ok(orion_speculator_feed(p, text, 3, &err), &err);
  for (size_t i = 3; i < LENGTH; i++) {
    assert_ok(orion_speculator_feed(p, text + i, 1, &err), &err);
    double d = distance(want + i * VOCAB, orion_speculator_logits(p));
    if (!(d <= tolerance)) fail_msg("%s %s, token %zu: off by %g of the largest logit", device, target, i, d);
  }
  orion_speculator_info info;
  orion_speculator_describe(p, &info);
  assert_true(info.accepted > 0 && info.accepted < info.guessed && info.passes < LENGTH);
  orion_speculator_destroy(p);
  assert_int_equal(orion_session_position(f.s), LENGTH);
  free(want);
  close_all(&f);
}

static void logits_are_those_of_single_tokens(void **state) {
  (void)state;
  compare_logits("cpu", "cpu", 0);  // to the bit, so that sampling chooses the same too
  compare_logits("sim:ideal", "cpu", 2e-3);
  compare_logits("cpu", "m4", 2e-2);
}

static void generate(fixture *f, int most, int32_t *out, size_t n, orion_speculator_info *info) {
  orion_error err;
  orion_speculator *p;
  orion_session_truncate(f->s, 0);
  assert_ok(orion_speculator_create(f->s, most, &p, &err), &err);
  orion_speculator_be_eager(p);
  int32_t next = 1;
  for (size_t i = 0; i < n; i++) {
    assert_ok(orion_speculator_feed(p, &next, 1, &err), &err);
    const float *logits = orion_speculator_logits(p);
    next = 0;
    for (int32_t k = 1; k < VOCAB; k++) next = logits[k] > logits[next] ? k : next;
    out[i] = next;
  }
  orion_speculator_describe(p, info);
  orion_speculator_destroy(p);
}

static void greedy_text_is_the_same_for_any_number_of_guesses(void **state) {
  (void)state;
  const orion_config c = test_config(TEST_LLAMA, 64);
  int32_t want[LENGTH], got[LENGTH];
  orion_speculator_info info;
  orion_error err;
  fixture f;
  open_at(&f, &c, "cpu", "cpu");
  int32_t next = 1;
  for (size_t i = 0; i < LENGTH; i++) {
    assert_ok(orion_session_feed(f.s, &next, 1, &err), &err);
    const float *logits = orion_session_logits(f.s);
    next = 0;
    for (int32_t k = 1; k < VOCAB; k++) next = logits[k] > logits[next] ? k : next;
    want[i] = next;
  }
  for (int most = 1; most <= ORION_SPECULATE_MOST; most += 6) {
    generate(&f, most, got, LENGTH, &info);
    assert_memory_equal(got, want, sizeof want);
  }
  close_all(&f);
}

// Feeds a text and tells of the guesses, without eagerness.
static orion_speculator_info guesses_of(const char *device, const char *target, const int32_t *text, size_t n) {
  const orion_config c = test_config(TEST_LLAMA, 64);
  orion_speculator_info info;
  orion_error err;
  fixture f;
  orion_speculator *p;
  open_at(&f, &c, device, target);
  assert_ok(orion_speculator_create(f.s, 7, &p, &err), &err);
  for (size_t i = 0; i < n; i++) assert_ok(orion_speculator_feed(p, text + i, 1, &err), &err);
  orion_speculator_describe(p, &info);
  orion_speculator_destroy(p);
  close_all(&f);
  return info;
}

static void text_without_repeats_costs_no_program(void **state) {
  (void)state;
  int32_t text[LENGTH];
  for (int32_t i = 0; i < LENGTH; i++) text[i] = i;
  assert_int_equal(guesses_of("cpu", "cpu", text, LENGTH).guessed, 0);
  for (int32_t i = 0; i < 6; i++) text[LENGTH - 6 + i] = i;  // a repeat too short to pay
  assert_int_equal(guesses_of("cpu", "cpu", text, LENGTH).guessed, 0);
}

static void programs_that_are_wide_enough_already_guess_at_once(void **state) {
  (void)state;
  int32_t text[LENGTH];
  make_text(text, LENGTH);
  assert_true(guesses_of("cpu", "m4", text, 12).guessed > 0);
}

static void faults_leave_the_text_as_it_was(void **state) {
  (void)state;
  const orion_config c = test_config(TEST_LLAMA, 64);
  int32_t text[65];
  orion_error err;
  fixture f;
  orion_speculator *p;
  make_text(text, 65);
  open_at(&f, &c, "cpu", "cpu");
  assert_int_equal(orion_speculator_create(f.s, 0, &p, &err), ORION_INVALID);
  assert_int_equal(orion_speculator_create(f.s, 32, &p, &err), ORION_INVALID);
  assert_ok(orion_speculator_create(f.s, 7, &p, &err), &err);
  int32_t bad = VOCAB;
  assert_int_equal(orion_speculator_feed(p, &bad, 1, &err), ORION_INVALID);
  assert_int_equal(orion_speculator_feed(p, text, 65, &err), ORION_LIMIT);
  for (size_t i = 0; i < 64; i++) assert_ok(orion_speculator_feed(p, text + i, 1, &err), &err);
  assert_int_equal(orion_speculator_feed(p, text, 1, &err), ORION_LIMIT);
  assert_null(orion_speculator_logits(p));
  orion_speculator_destroy(p);
  assert_int_equal(orion_session_position(f.s), 64);
  close_all(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(logits_are_those_of_single_tokens),
      cmocka_unit_test(greedy_text_is_the_same_for_any_number_of_guesses),
      cmocka_unit_test(text_without_repeats_costs_no_program),
      cmocka_unit_test(programs_that_are_wide_enough_already_guess_at_once),
      cmocka_unit_test(faults_leave_the_text_as_it_was),
  };
  return cmocka_run_group_tests_name("speculate", tests, NULL, NULL);
}
