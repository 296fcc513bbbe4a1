// The sampler draws from the distribution that its options describe, the same on every machine, and allocates nothing.
#include "orion/sampler.h"

#include <math.h>

#include "support/support.h"

enum { VOCAB = 8, DRAWS = 40000 };

static const float LOGITS[VOCAB] = {1.5f, -0.25f, 2.0f, 0.0f, 2.0f, -3.0f, 0.75f, 1.0f};

static orion_sampler_options defaults(void) {
  orion_sampler_options o;
  orion_sampler_options_init(&o);
  o.temperature = 1;
  o.seed = 5;
  return o;
}

static orion_sampler *create(const orion_sampler_options *o, int64_t vocab) {
  orion_sampler *s;
  orion_error err;
  assert_ok(orion_sampler_create(NULL, o, vocab, &s, &err), &err);
  return s;
}

static int32_t choose(orion_sampler *s, const float *logits) {
  int32_t token = -1;
  orion_error err;
  assert_ok(orion_sampler_choose(s, logits, &token, &err), &err);
  return token;
}

// Pearson's test of many draws against the softmax of LOGITS / temperature over the tokens in `kept` (a bit each).
static void check_distribution(const orion_sampler_options *o, unsigned kept) {
  double p[VOCAB], total = 0, chi2 = 0;
  int count[VOCAB] = {0}, n_kept = 0;
  for (int i = 0; i < VOCAB; i++) {
    p[i] = kept >> i & 1 ? exp((double)LOGITS[i] / (double)o->temperature) : 0;
    total += p[i];
    n_kept += (int)(kept >> i & 1);
  }
  orion_sampler *s = create(o, VOCAB);
  for (int i = 0; i < DRAWS; i++) count[choose(s, LOGITS)]++;
  orion_sampler_destroy(s);
  for (int i = 0; i < VOCAB; i++) {
    double want = DRAWS * p[i] / total;
    if (want == 0) {
      assert_int_equal(count[i], 0);
    } else {
      chi2 += (count[i] - want) * (count[i] - want) / want;
    }
  }
  double limit = n_kept - 1 + 4 * sqrt(2.0 * (n_kept - 1)) + 1;  // four deviations
  if (chi2 > limit) fail_msg("chi-square is %g, more than %g", chi2, limit);
}

static void draws_follow_the_softmax(void **state) {
  (void)state;
  orion_sampler_options o = defaults();
  static const float temperatures[] = {0.5f, 1, 1.7f};
  for (int i = 0; i < 3; i++) {
    o.temperature = temperatures[i];
    check_distribution(&o, 0xff);
  }
}

static void filters_keep_what_they_say(void **state) {
  (void)state;
  orion_sampler_options o = defaults();
  o.top_k = 3;  // 2, 4, 0
  check_distribution(&o, 0x15);
  o = defaults();
  o.top_k = 100;  // more than there are
  check_distribution(&o, 0xff);
  o = defaults();
  o.top_p = 0.5f;  // 2 and 4 have 0.289 each
  check_distribution(&o, 0x14);
  o.top_p = 0.6f;  // and 0 with 0.175
  check_distribution(&o, 0x15);
  o = defaults();
  o.min_p = 0.3f;  // logits within 1.204 of the largest: 2, 4, 0, 7 (1.0)
  check_distribution(&o, 0x95);
  o = defaults();
  o.temperature = 0.5f;  // min-p looks at the probabilities after the temperature: within 0.602
  o.min_p = 0.3f;
  check_distribution(&o, 0x15);
  o = defaults();
  o.top_k = 4;
  o.top_p = 0.99f;  // of what top-k left
  o.min_p = 0.5f;   // within 0.693
  check_distribution(&o, 0x15);
}

static void the_largest_logit_wins_and_the_first_of_equals(void **state) {
  (void)state;
  orion_sampler_options greedy = defaults(), first = defaults();
  greedy.temperature = 0;
  first.top_k = 1;
  orion_sampler *a = create(&greedy, VOCAB), *b = create(&first, VOCAB);
  for (int i = 0; i < 20; i++) {
    assert_int_equal(choose(a, LOGITS), 2);
    assert_int_equal(choose(b, LOGITS), 2);
  }
  float flat[VOCAB] = {0};
  assert_int_equal(choose(a, flat), 0);
  assert_int_equal(choose(b, flat), 0);
  for (int i = 0; i < VOCAB; i++) flat[i] = i == 6 ? -5 : -INFINITY;
  assert_int_equal(choose(a, flat), 6);
  assert_int_equal(choose(b, flat), 6);
  orion_sampler_destroy(a);
  orion_sampler_destroy(b);
}

// So that another machine's, compiler's or library's arithmetic would be noticed.
static void the_sequence_of_a_seed_is_known(void **state) {
  (void)state;
  static const int32_t want[24] = {0, 4, 6, 2, 7, 0, 2, 0, 1, 0, 0, 4, 0, 0, 2, 7, 4, 7, 2, 7, 2, 4, 4, 1};
  orion_sampler_options o = defaults();
  o.temperature = 1.3f;
  o.top_p = 0.97f;
  o.repeat_penalty = 1.1f;
  o.repeat_window = 4;
  o.seed = 2024;
  for (int run = 0; run < 2; run++) {
    orion_sampler *s = create(&o, VOCAB);
    for (int i = 0; i < 24; i++) {
      int32_t token = choose(s, LOGITS);
      if (token != want[i]) fail_msg("token %d of run %d is %d instead of %d", i, run, token, want[i]);
      orion_sampler_accept(s, token);
    }
    orion_sampler_destroy(s);
  }
  o.seed++;
  orion_sampler *s = create(&o, VOCAB);
  int same = 0;
  for (int i = 0; i < 24; i++) {
    int32_t token = choose(s, LOGITS);
    same += token == want[i];
    orion_sampler_accept(s, token);
  }
  assert_true(same < 20);
  orion_sampler_destroy(s);
}

static void recent_tokens_are_penalised_while_they_are_recent(void **state) {
  (void)state;
  orion_sampler_options o = defaults();
  o.temperature = 0;
  o.repeat_penalty = 1.25f;
  o.repeat_window = 3;
  orion_sampler *s = create(&o, 3);
  const float positive[] = {2.0f, 1.7f, 1.5f}, negative[] = {-2.0f, -2.2f, -9.0f};
  assert_int_equal(choose(s, positive), 0);
  orion_sampler_accept(s, 0);
  orion_sampler_accept(s, 0);
  assert_int_equal(choose(s, positive), 1);  // 1.6, once however often it was seen
  assert_int_equal(choose(s, negative), 1);  // -2.5
  orion_sampler_accept(s, 1);
  assert_int_equal(choose(s, positive), 0);  // 1.6, 1.36, 1.5
  orion_sampler_accept(s, 2);
  assert_int_equal(choose(s, positive), 0);  // the second 0 is still there
  orion_sampler_accept(s, 2);
  assert_int_equal(choose(s, positive), 0);  // 2.0, 1.36, 1.2
  orion_sampler_accept(s, 99);               // outside the vocabulary: ignored
  orion_sampler_accept(s, -1);
  assert_int_equal(choose(s, negative), 0);
  orion_sampler_destroy(s);
}

static int larger_first(const void *x, const void *y) {
  float a = *(const float *)x, b = *(const float *)y;
  return (a < b) - (a > b);
}

static void top_k_of_a_large_vocabulary_is_the_k_largest(void **state) {
  (void)state;
  enum { N = 4000 };
  static float logits[N], sorted[N];
  unsigned seed = 9;
  for (int i = 0; i < N; i++) {
    seed = seed * 1664525u + 1013904223u;
    sorted[i] = logits[i] = (float)(seed >> 8) * 0x1p-24f;  // so flat that each of the k will be drawn
  }
  qsort(sorted, N, sizeof *sorted, larger_first);
  for (int k = 1; k <= 64; k += 21) {
    orion_sampler_options o = defaults();
    o.top_k = k;
    orion_sampler *s = create(&o, N);
    static bool seen[N];
    memset(seen, 0, sizeof seen);
    int distinct = 0;
    for (int i = 0; i < 40 * k; i++) {
      int32_t token = choose(s, logits);
      assert_true(logits[token] >= sorted[k - 1]);
      distinct += !seen[token];
      seen[token] = true;
    }
    assert_int_equal(distinct, k);
    orion_sampler_destroy(s);
  }
}

static void bad_options_and_logits_are_named(void **state) {
  (void)state;
  orion_sampler *s;
  orion_error err;
  struct { orion_sampler_options o; const char *text; } bad[9];
  for (int i = 0; i < 9; i++) bad[i].o = defaults();
  bad[0].o.temperature = -1, bad[0].text = "temperature";
  bad[1].o.temperature = NAN, bad[1].text = "temperature";
  bad[2].o.top_k = -1, bad[2].text = "top-k";
  bad[3].o.top_p = 0, bad[3].text = "top-p";
  bad[4].o.top_p = 1.01f, bad[4].text = "top-p";
  bad[5].o.min_p = NAN, bad[5].text = "min-p";
  bad[6].o.repeat_penalty = 0, bad[6].text = "repeat penalty";
  bad[7].o.repeat_window = -1, bad[7].text = "repeat window";
  bad[8].o.struct_size = 4, bad[8].text = "struct_size";
  for (int i = 0; i < 9; i++) {
    assert_error(orion_sampler_create(NULL, &bad[i].o, VOCAB, &s, &err), ORION_INVALID, &err, bad[i].text);
  }
  orion_sampler_options o = defaults();
  assert_error(orion_sampler_create(NULL, &o, 0, &s, &err), ORION_INVALID, &err, "vocabulary");
  s = create(&o, 3);
  int32_t token = 77;
  assert_error(orion_sampler_choose(s, (float[]){0, NAN, 0}, &token, &err), ORION_NUMERIC, &err, "token 1");
  assert_error(orion_sampler_choose(s, (float[]){0, 0, INFINITY}, &token, &err), ORION_NUMERIC, &err, "token 2");
  assert_error(orion_sampler_choose(s, (float[]){-INFINITY, -INFINITY, -INFINITY}, &token, &err), ORION_NUMERIC, &err,
               "minus infinity");
  assert_int_equal(token, 77);
  orion_sampler_destroy(s);
}

static void extreme_temperatures_and_logits_stay_numbers(void **state) {
  (void)state;
  const float huge[] = {3e38f, -3e38f, 2.9e38f};
  orion_sampler_options o = defaults();
  o.temperature = 1e-30f;
  o.repeat_penalty = 0.01f;
  orion_sampler *s = create(&o, 3);
  assert_int_equal(choose(s, huge), 0);
  orion_sampler_accept(s, 2);  // times 100: past the largest float
  assert_int_equal(choose(s, huge), 2);
  orion_sampler_destroy(s);
  o.temperature = 1000;
  s = create(&o, 3);
  for (int i = 0; i < 50; i++) assert_in_range(choose(s, (const float[]){1, 2, 3}), 0, 2);
  orion_sampler_destroy(s);
}

static orion_status create_and_choose(void *ctx, const orion_allocator *a, orion_error *err) {
  (void)ctx;
  orion_sampler_options o = defaults();
  o.top_p = 0.9f;
  orion_sampler *s;
  ORION_TRY(orion_sampler_create(a, &o, VOCAB, &s, err));
  int32_t token;
  orion_status status = orion_sampler_choose(s, LOGITS, &token, err);
  orion_sampler_destroy(s);
  return status;
}

static void choosing_allocates_nothing_and_creating_survives_the_lack_of_memory(void **state) {
  (void)state;
  test_sweep_allocations(create_and_choose, NULL, 0);
  test_heap heap;
  test_heap_init(&heap);
  orion_sampler_options o = defaults();
  o.top_k = 5;
  o.top_p = 0.9f;
  o.repeat_penalty = 1.1f;
  orion_sampler *s;
  orion_error err;
  assert_ok(orion_sampler_create(&heap.allocator, &o, VOCAB, &s, &err), &err);
  size_t before = heap.calls;
  for (int i = 0; i < 200; i++) orion_sampler_accept(s, choose(s, LOGITS));
  assert_int_equal(heap.calls, before);
  orion_sampler_destroy(s);
  test_heap_deinit(&heap);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(draws_follow_the_softmax),
      cmocka_unit_test(filters_keep_what_they_say),
      cmocka_unit_test(the_largest_logit_wins_and_the_first_of_equals),
      cmocka_unit_test(the_sequence_of_a_seed_is_known),
      cmocka_unit_test(recent_tokens_are_penalised_while_they_are_recent),
      cmocka_unit_test(top_k_of_a_large_vocabulary_is_the_k_largest),
      cmocka_unit_test(bad_options_and_logits_are_named),
      cmocka_unit_test(extreme_temperatures_and_logits_stay_numbers),
      cmocka_unit_test(choosing_allocates_nothing_and_creating_survives_the_lack_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
