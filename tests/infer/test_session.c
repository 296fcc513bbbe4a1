// A session gives the same logits however a text is fed, stops at the end of its context, and is as good as before after
// a failure.
#include "orion/session.h"

#include <math.h>

#include "support/models.h"

enum { LENGTH = 50, VOCAB = 97 };

typedef struct place {  // where a session runs
  const char *device, *target, *weights;
  double tolerance;     // of the largest logit
} place;

static const place PLACES[] = {
    {"cpu", "cpu", "fp32", 1e-4}, {"sim:ideal", "cpu", "fp32", 1e-4}, {"cpu", "cpu", "fp16", 1e-2},
    {"sim:ideal", "m4", NULL, 3e-2}, {"cpu", "m1", NULL, 3e-2},
};
enum { N_PLACES = sizeof PLACES / sizeof *PLACES };

typedef struct fixture {
  orion_model *model;
  orion_device *device;
  orion_session *s;
  double tolerance;
} fixture;

static void open_at(fixture *f, const orion_config *c, const place *at, int64_t context) {
  orion_error err;
  f->model = test_model(c);
  f->tolerance = at->tolerance;
  assert_ok(orion_device_open(at->device, 1, NULL, &f->device, &err), &err);
  orion_session_options o;
  orion_session_options_init(&o);
  o.target = at->target;
  o.weights = at->weights;
  o.context = context;
  assert_ok(orion_session_create(f->model, f->device, &o, &f->s, &err), &err);
}

static void close_all(fixture *f) {
  orion_session_destroy(f->s);
  orion_device_close(f->device);
  orion_model_close(f->model);
}

static void make_text(int32_t *tokens, size_t n) {
  unsigned seed = 77;
  for (size_t i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    tokens[i] = (int32_t)((seed >> 10) % VOCAB);
  }
}

static void feed(orion_session *s, const int32_t *tokens, size_t n) {
  orion_error err;
  assert_ok(orion_session_feed(s, tokens, n, &err), &err);
}

static void check_logits(const fixture *f, const float *want, const char *how) {
  const float *got = orion_session_logits(f->s);
  assert_non_null(got);
  double top = 0, worst = 0;
  for (int i = 0; i < VOCAB; i++) {
    top = fmax(top, fabs((double)want[i]));
    worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
  }
  if (!(worst <= f->tolerance * top)) {
    fail_msg("%s, %lld tokens: off by %g of %g", how, (long long)orion_session_position(f->s), worst, top);
  }
}

// Logits [n, VOCAB] by single tokens.
static float *stepwise(orion_session *s, const int32_t *tokens, size_t n) {
  float *all = calloc(n * VOCAB, sizeof *all);
  orion_session_truncate(s, 0);
  for (size_t i = 0; i < n; i++) {
    feed(s, tokens + i, 1);
    memcpy(all + i * VOCAB, orion_session_logits(s), VOCAB * sizeof *all);
  }
  return all;
}

typedef struct seen {
  const fixture *f;
  const float *want;
  size_t next;
} seen;

static orion_status see(void *ctx, size_t index, const float *logits, orion_error *err) {
  seen *x = ctx;
  (void)err;
  assert_int_equal(index, x->next++);
  assert_ptr_equal(logits, orion_session_logits(x->f->s));
  check_logits(x->f, x->want + index * VOCAB, "feed_all");
  return ORION_OK;
}

static void feeding_in_any_pieces_gives_the_same_logits(void **state) {
  (void)state;
  int32_t text[LENGTH];
  make_text(text, LENGTH);
  for (int kind = 0; kind < TEST_KINDS; kind++) {
    for (int at = 0; at < N_PLACES; at++) {
      bool slow = PLACES[at].tolerance > 1e-2 || !strcmp(PLACES[at].device, "sim:ideal");
      if (slow && kind != at % TEST_KINDS) continue;  // each slow place with one kind, each kind with a fast one
      int64_t length = slow ? 20 : LENGTH;
      orion_config c = test_config((test_kind)kind, 64);
      fixture f;
      open_at(&f, &c, &PLACES[at], 0);
      float *want = stepwise(f.s, text, (size_t)length);
      unsigned seed = (unsigned)(kind * 7 + at);
      for (int round = 0; round < (slow ? 3 : 6); round++) {  // from anywhere on, in random pieces
        orion_session_truncate(f.s, round == 0 ? 0 : (int64_t)(seed >> 12) % (length - 5));
        for (size_t p = (size_t)orion_session_position(f.s); p < (size_t)length;) {
          seed = seed * 1664525u + 1013904223u;
          size_t n = round == 0 ? (size_t)length : 1 + (seed >> 12) % (round % 2 ? 5 : 45);
          if (n > (size_t)length - p) n = (size_t)length - p;
          feed(f.s, text + p, n);
          p += n;
          assert_int_equal(orion_session_position(f.s), p);
          check_logits(&f, want + (p - 1) * VOCAB, test_kind_names[kind]);
        }
      }
      for (int64_t from = 0; from < 20; from += 13) {
        orion_error err;
        orion_session_truncate(f.s, from);
        seen x = {&f, want + from * VOCAB, 0};
        assert_ok(orion_session_feed_all(f.s, text + from, (size_t)(length - from), see, &x, &err), &err);
        assert_int_equal(x.next, length - from);
      }
      free(want);
      close_all(&f);
    }
  }
}

static void the_model_computes_the_same_everywhere(void **state) {
  (void)state;
  int32_t text[LENGTH];
  make_text(text, LENGTH);
  for (int kind = 0; kind < TEST_KINDS; kind++) {
    orion_config c = test_config((test_kind)kind, 64);
    fixture first;
    open_at(&first, &c, &PLACES[1], 0);
    feed(first.s, text, LENGTH);
    for (int at = 0; at < N_PLACES; at++) {
      fixture f;
      open_at(&f, &c, &PLACES[at], 0);
      feed(f.s, text, LENGTH);
      if (!PLACES[at].weights || strcmp(PLACES[at].weights, "fp32") != 0) f.tolerance = 3e-2;
      check_logits(&f, orion_session_logits(first.s), PLACES[at].device);
      close_all(&f);
    }
    close_all(&first);
  }
}

static void the_end_of_the_context_changes_nothing(void **state) {
  (void)state;
  int32_t text[LENGTH];
  make_text(text, LENGTH);
  static const int64_t contexts[] = {1, 9, 20, 33};  // below, at no multiple of, and above the engine's width
  for (int at = 0; at < N_PLACES; at += 3) {  // cpu, and m4 on sim
    for (int i = at ? 1 : 0; i < 4; i += at ? 2 : 1) {
      int64_t n = contexts[i];
      for (int whole = 0; whole < 2; whole++) {  // the model's own context, or part of a larger one
        orion_config c = test_config(TEST_LLAMA, whole ? n : 64);
        fixture f;
        orion_error err;
        open_at(&f, &c, &PLACES[at], n);
        assert_int_equal(orion_session_context(f.s), n);
        feed(f.s, text, (size_t)n);
        float before[VOCAB];
        memcpy(before, orion_session_logits(f.s), sizeof before);
        assert_error(orion_session_feed(f.s, text, 1, &err), ORION_LIMIT, &err, "do not fit");
        assert_int_equal(orion_session_position(f.s), n);
        assert_memory_equal(orion_session_logits(f.s), before, sizeof before);
        orion_session_truncate(f.s, n - 1);
        assert_null(orion_session_logits(f.s));
        assert_error(orion_session_feed(f.s, text, 2, &err), ORION_LIMIT, &err, "do not fit");
        feed(f.s, text + n - 1, 1);
        check_logits(&f, before, "the last token again");
        float *want = stepwise(f.s, text, (size_t)n);
        seen x = {&f, want, 0};
        orion_session_truncate(f.s, 0);
        assert_ok(orion_session_feed_all(f.s, text, (size_t)n, see, &x, &err), &err);
        free(want);
        close_all(&f);
      }
    }
  }
}

static void what_cannot_be_fed_is_named(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  fixture f;
  orion_error err;
  open_at(&f, &c, &PLACES[0], 0);
  assert_null(orion_session_logits(f.s));
  assert_ok(orion_session_feed(f.s, NULL, 0, &err), &err);
  assert_null(orion_session_logits(f.s));
  feed(f.s, (int32_t[]){1, 2}, 2);
  float before[VOCAB];
  memcpy(before, orion_session_logits(f.s), sizeof before);
  assert_error(orion_session_feed(f.s, (int32_t[]){3, -1}, 2, &err), ORION_INVALID, &err, "token -1");
  assert_error(orion_session_feed(f.s, (int32_t[]){VOCAB}, 1, &err), ORION_INVALID, &err, "token 97");
  assert_int_equal(orion_session_position(f.s), 2);
  assert_memory_equal(orion_session_logits(f.s), before, sizeof before);
  orion_session_truncate(f.s, 2);  // nothing to forget
  assert_memory_equal(orion_session_logits(f.s), before, sizeof before);
  orion_session_truncate(f.s, -5);
  assert_int_equal(orion_session_position(f.s), 0);
  close_all(&f);
}

static void bad_options_are_named(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  orion_model *m = test_model(&c);
  orion_device *d;
  orion_error err;
  assert_ok(orion_device_open("cpu", 1, NULL, &d, &err), &err);
  struct { orion_session_options o; const char *text; } bad[7];
  for (int i = 0; i < 7; i++) orion_session_options_init(&bad[i].o);
  bad[0].o.context = 65, bad[0].text = "65";
  bad[1].o.context = -1, bad[1].text = "-1";
  bad[2].o.target = "m99", bad[2].text = "m99";
  bad[3].o.weights = "fp8", bad[3].text = "fp8";
  bad[4].o.weights = "fp32", bad[4].o.target = "m1", bad[4].text = "fp16";
  bad[5].o.passes = "no-such-pass", bad[5].text = "no-such-pass";
  bad[6].o.struct_size = 0, bad[6].text = "struct_size";
  for (int i = 0; i < 7; i++) {
    orion_session *s = NULL;
    assert_error(orion_session_create(m, d, &bad[i].o, &s, &err), ORION_INVALID, &err, bad[i].text);
    assert_null(s);
  }
  orion_device_close(d);
  orion_model_close(m);
}

static void prompts_longer_than_every_bucket(void **state) {
  (void)state;
  enum { LONG = 1400 };
  static int32_t text[LONG];
  make_text(text, LONG);
  orion_config c = test_config(TEST_LLAMA, 1500);
  c.layers = 1;
  c.dim = 32;
  c.heads = 2;
  c.kv_heads = 1;
  fixture f;
  open_at(&f, &c, &PLACES[0], 0);
  feed(f.s, text, LONG);
  orion_session_info info;
  orion_session_describe(f.s, &info);
  assert_int_equal(info.last_bucket, 32);  // 1024, then pieces of 32 that see the cache
  assert_int_equal(info.prefill_runs, 1 + (LONG - 1024 + 31) / 32 + 1);
  float want[VOCAB];
  memcpy(want, orion_session_logits(f.s), sizeof want);
  orion_session_truncate(f.s, 0);
  feed(f.s, text, 700);
  feed(f.s, text + 700, 699);
  feed(f.s, text + 1399, 1);
  check_logits(&f, want, "in three pieces");
  close_all(&f);
}

// ---- not a number ----

static void a_nan_is_named_and_leaves_nothing_behind(void **state) {
  (void)state;
  static const int32_t good[] = {1, 2, 3, 4, 5}, bad[] = {1, 2, 3, 7, 5};
  for (int at = 0; at < N_PLACES; at++) {
    orion_config c = test_config(TEST_LLAMA, 64);
    fixture f;
    orion_error err;
    open_at(&f, &c, &PLACES[at], 0);
    feed(f.s, good, 5);
    float want[VOCAB];
    memcpy(want, orion_session_logits(f.s), sizeof want);
    orion_session_truncate(f.s, 0);
    *test_weight(f.model->embedding, 7 * 64 + 3) = NAN;
    assert_error(orion_session_feed(f.s, bad, 5, &err), ORION_NUMERIC, &err, "position 3: the embedding of token 7");
    assert_int_equal(orion_session_position(f.s), 0);
    assert_null(orion_session_logits(f.s));
    feed(f.s, good, 5);
    assert_memory_equal(orion_session_logits(f.s), want, sizeof want);
    if (!strcmp(PLACES[at].target, "cpu")) {
      close_all(&f);
      continue;
    }
    // Finite for the host, too large for fp16: the program itself meets the infinity.
    for (int i = 0; i < 64; i++) *test_weight(f.model->embedding, (size_t)(7 * 64 + i)) = 3e38f;
    orion_session_truncate(f.s, 2);
    assert_error(orion_session_feed(f.s, bad + 2, 3, &err), ORION_NUMERIC, &err, "position ");
    assert_int_equal(orion_session_position(f.s), 2);
    orion_session_truncate(f.s, 0);
    feed(f.s, good, 1);
    feed(f.s, good + 1, 4);
    check_logits(&f, want, "after an infinity");
    close_all(&f);
  }
}

static void nan_weights_are_found(void **state) {
  (void)state;
  for (int where = 0; where < 2; where++) {
    orion_config c = test_config(TEST_LLAMA, 64);
    orion_model *m = test_model(&c);
    *test_weight(where ? m->classifier : m->layers[1].wo, 5) = NAN;
    orion_device *d;
    orion_session *s;
    orion_session_options o;
    orion_session_options_init(&o);
    o.weights = "fp32";
    orion_error err;
    assert_ok(orion_device_open("sim:ideal", 1, NULL, &d, &err), &err);
    assert_ok(orion_session_create(m, d, &o, &s, &err), &err);
    const char *text = where ? "position 2: a logit" : "position 0: feature 0";
    assert_error(orion_session_feed(s, (int32_t[]){4, 5, 6}, 3, &err), ORION_NUMERIC, &err, text);
    const char *weight = where ? ": weights: classifier: element [0, 5]" : ": weights of layer 1: wo: element [0, 5]";
    assert_non_null(strstr(err.message, weight));
    assert_int_equal(orion_session_position(s), 0);
    orion_session_destroy(s);
    orion_device_close(d);
    orion_model_close(m);
  }
}

static orion_status refuse_third(void *ctx, size_t index, const float *logits, orion_error *err) {
  (void)ctx, (void)logits;
  return index == 2 ? ORION_FAIL(err, ORION_CANCELLED, "enough") : ORION_OK;
}

static void a_caller_may_stop_feed_all(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  fixture f;
  orion_error err;
  open_at(&f, &c, &PLACES[0], 0);
  assert_error(orion_session_feed_all(f.s, (int32_t[]){1, 2, 3, 4}, 4, refuse_third, NULL, &err), ORION_CANCELLED, &err,
               "enough");
  assert_int_equal(orion_session_position(f.s), 0);
  assert_null(orion_session_logits(f.s));
  close_all(&f);
}

// ---- memory ----

static void a_decoded_token_allocates_nothing(void **state) {
  (void)state;
  static const char *const devices[] = {"cpu", "sim:ideal"};
  for (int i = 0; i < 2; i++) {
    test_heap heap;
    test_heap_init(&heap);
    orion_config c = test_config(TEST_QWEN3, 64);
    orion_model *m;
    orion_device *d;
    orion_session *s;
    orion_error err;
    assert_ok(orion_model_random(&heap.allocator, &c, 3, &m, &err), &err);
    assert_ok(orion_device_open(devices[i], 1, &heap.allocator, &d, &err), &err);
    assert_ok(orion_session_create(m, d, NULL, &s, &err), &err);
    feed(s, (int32_t[]){1, 2, 3, 4}, 4);
    size_t before = heap.calls;
    for (int32_t t = 0; t < 20; t++) feed(s, &t, 1);
    assert_int_equal(heap.calls, before);
    orion_session_truncate(s, 0);
    feed(s, (int32_t[]){1, 2, 3, 4}, 4);  // nor does a prompt whose bucket is there
    assert_int_equal(heap.calls, before);
    orion_session_destroy(s);
    orion_device_close(d);
    orion_model_close(m);
    test_heap_deinit(&heap);
  }
}

static orion_status run_session(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_config c = test_config(TEST_LLAMA, 40);
  c.layers = 1;
  orion_model *m = NULL;
  orion_device *d = NULL;
  orion_session *s = NULL;
  orion_session_options o;
  orion_session_options_init(&o);
  o.target = ctx;
  orion_status status = orion_model_random(a, &c, 3, &m, err);
  if (status == ORION_OK) status = orion_device_open("cpu", 1, a, &d, err);
  if (status == ORION_OK) status = orion_session_create(m, d, &o, &s, err);
  if (status == ORION_OK) status = orion_session_feed(s, (int32_t[]){1, 2, 3}, 3, err);
  if (status == ORION_OK) status = orion_session_feed(s, (int32_t[]){1, 2, 3}, 3, err);
  orion_session_destroy(s);
  orion_device_close(d);
  orion_model_close(m);
  return status;
}

static void every_lack_of_memory_is_reported_and_leaks_nothing(void **state) {
  (void)state;
  test_sweep_allocations(run_session, (void *)(uintptr_t) "cpu", 60);
  test_sweep_allocations(run_session, (void *)(uintptr_t) "m4", 40);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(feeding_in_any_pieces_gives_the_same_logits),
      cmocka_unit_test(the_model_computes_the_same_everywhere),
      cmocka_unit_test(the_end_of_the_context_changes_nothing),
      cmocka_unit_test(what_cannot_be_fed_is_named),
      cmocka_unit_test(bad_options_are_named),
      cmocka_unit_test(prompts_longer_than_every_bucket),
      cmocka_unit_test(a_nan_is_named_and_leaves_nothing_behind),
      cmocka_unit_test(nan_weights_are_found),
      cmocka_unit_test(a_caller_may_stop_feed_all),
      cmocka_unit_test(a_decoded_token_allocates_nothing),
      cmocka_unit_test(every_lack_of_memory_is_reported_and_leaks_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
