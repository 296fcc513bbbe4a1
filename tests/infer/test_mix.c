// Adapters beside a model's weights give what merged weights give; they are exchanged between tokens without a compile,
// without memory, and without a trace of the one before.
#include <math.h>

#include "base/clock.h"
#include "orion/adapter.h"
#include "support/adapters.h"
#include "support/models.h"

enum { LENGTH = 12, VOCAB = 97 };

typedef struct place {  // where a session runs, and how near it comes to merged weights there, in parts of the largest logit
  const char *device, *target, *weights;
  double tolerance;
} place;

static const place CPU_FP32 = {"cpu", "cpu", "fp32", 1e-3}, CPU_FP16 = {"cpu", "cpu", "fp16", 2e-2},
                   SIM = {"sim:ideal", "m4", NULL, 2e-2}, SIM_M1 = {"sim:m1,mode=strict", "m1", NULL, 6e-2},
                   SIM_INT8 = {"sim:ideal", "m4", "int8", 0.15}, CPU_INT8 = {"cpu", "cpu", "int8", 0.15};

static const int32_t TEXT[LENGTH] = {1, 17, 5, 42, 96, 3, 64, 17, 5, 88, 20, 7};

typedef struct fixture {
  orion_device *device;
  orion_session *s;
} fixture;

static void open_at(fixture *f, const orion_model *m, const place *at, int64_t rank, const char *targets) {
  orion_error err;
  orion_session_options o;
  assert_ok(orion_device_open(at->device, 1, NULL, &f->device, &err), &err);
  orion_session_options_init(&o);
  o.target = at->target;
  o.weights = at->weights;
  o.lora_rank = rank;
  o.lora_targets = targets;
  assert_ok(orion_session_create((orion_model *)(uintptr_t)m, f->device, &o, &f->s, &err), &err);
}

static void close_all(fixture *f) {
  orion_session_destroy(f->s);
  orion_device_close(f->device);
}

static orion_status keep(void *ctx, size_t index, const float *logits, orion_error *err) {
  (void)err;
  memcpy((float *)ctx + index * VOCAB, logits, VOCAB * sizeof *logits);
  return ORION_OK;
}

static void run_text(orion_session *s, float *out) {
  orion_error err;
  orion_session_truncate(s, 0);
  assert_ok(orion_session_feed_all(s, TEXT, LENGTH, keep, out, &err), &err);
}

static void check_near(const float *got, const float *want, size_t n, double tolerance, const char *what) {
  double top = 0, worst = 0;
  for (size_t i = 0; i < n; i++) {
    top = fmax(top, fabs((double)want[i]));
    worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
  }
  if (!(worst <= tolerance * top)) fail_msg("%s: off by %g of %g", what, worst, top);
}

static double distance(const float *a, const float *b, size_t n) {
  double worst = 0;
  for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
  return worst;
}

static orion_mix *mix_of(orion_session *s, const orion_adapter *const *adapters, const double *scales, size_t n) {
  orion_mix_part parts[4];
  orion_mix *mix;
  orion_error err;
  for (size_t i = 0; i < n; i++) parts[i] = (orion_mix_part){adapters[i], scales ? scales[i] : 1};
  assert_ok(orion_mix_create(s, parts, n, &mix, &err), &err);
  return mix;
}

// Logits [LENGTH, VOCAB] of a model with adapters merged into it.
static void merged_logits(const orion_model *m, const place *at, const orion_adapter *const *adapters, const double *scales,
                          size_t n, float *out) {
  orion_error err;
  orion_model *merged[5];
  merged[0] = (orion_model *)(uintptr_t)m;
  for (size_t i = 0; i < n; i++) {
    assert_ok(orion_model_merge(merged[i], adapters[i], scales ? scales[i] : 1, &merged[i + 1], &err), &err);
  }
  fixture f;
  open_at(&f, merged[n], at, 0, NULL);
  run_text(f.s, out);
  close_all(&f);
  for (size_t i = n; i > 0; i--) orion_model_close(merged[i]);
}

static void compare_with_merged(test_kind kind, const place *at, int64_t rank, int64_t slots) {
  static float got[LENGTH * VOCAB], want[LENGTH * VOCAB], plain[LENGTH * VOCAB];
  orion_config c = test_config(kind, 64);
  orion_model *m = test_model(&c);
  orion_adapter *a = test_adapter(m, rank, 0, 7);
  const orion_adapter *list[] = {a};
  fixture f;
  open_at(&f, m, at, slots, NULL);
  run_text(f.s, plain);
  orion_mix *mix = mix_of(f.s, list, NULL, 1);
  orion_session_use(f.s, mix);
  assert_ptr_equal(orion_session_used(f.s), mix);
  run_text(f.s, got);
  merged_logits(m, at, list, NULL, 1, want);
  char what[96];
  snprintf(what, sizeof what, "%s, rank %lld, %s %s", test_kind_names[kind], (long long)rank, at->device,
           at->weights ? at->weights : "");
  check_near(got, want, LENGTH * VOCAB, at->tolerance, what);
  double moved = distance(got, plain, LENGTH * VOCAB);
  if (!(moved > 0.05)) fail_msg("%s: the adapter moves nothing (%g)", what, moved);
  orion_session_use(f.s, NULL);  // and none is as before
  run_text(f.s, got);
  assert_memory_equal(got, plain, sizeof got);
  orion_mix_destroy(mix);
  close_all(&f);
  orion_adapter_close(a);
  orion_model_close(m);
}

static void adapters_give_what_merged_weights_give(void **state) {
  (void)state;
  static const int64_t ranks[] = {1, 8, 16, 64};
  for (int kind = 0; kind < TEST_KINDS; kind++) {
    for (int r = 0; r < 4; r++) compare_with_merged((test_kind)kind, &CPU_FP32, ranks[r], r & 1 ? ranks[r] : ranks[r] + 3);
    compare_with_merged((test_kind)kind, &CPU_FP16, 8, 8);
  }
  compare_with_merged(TEST_LLAMA, &CPU_INT8, 8, 8);
}

static void adapters_give_what_merged_weights_give_on_the_engine(void **state) {
  (void)state;
  compare_with_merged(TEST_GPT2, &SIM, 8, 8);
  compare_with_merged(TEST_LLAMA, &SIM, 16, 16);
  compare_with_merged(TEST_QWEN3, &SIM, 1, 1);
  compare_with_merged(TEST_LLAMA, &SIM_M1, 4, 40);
  compare_with_merged(TEST_QWEN2, &SIM_INT8, 8, 8);
}

static void adapters_in_a_mix_add_up(void **state) {
  (void)state;
  static const place *const places[] = {&CPU_FP32, &SIM};
  static float got[LENGTH * VOCAB], want[LENGTH * VOCAB];
  for (int i = 0; i < 2; i++) {
    orion_config c = test_config(i ? TEST_LLAMA : TEST_GPT2, 64);
    orion_model *m = test_model(&c);
    orion_adapter *a = test_adapter(m, 4, 0, 3), *b = test_adapter(m, 6, 1u << ORION_PROJECTION_O | 1u << ORION_PROJECTION_UP, 5);
    const orion_adapter *list[] = {a, b};
    double scales[] = {0.5, -0.75}, others[] = {1, 0.25};
    fixture f;
    open_at(&f, m, places[i], 10, NULL);
    orion_mix *mix = mix_of(f.s, list, scales, 2);
    orion_session_use(f.s, mix);
    run_text(f.s, got);
    merged_logits(m, places[i], list, scales, 2, want);
    check_near(got, want, LENGTH * VOCAB, places[i]->tolerance, "two adapters");
    orion_mix_scale(mix, others);
    run_text(f.s, got);
    merged_logits(m, places[i], list, others, 2, want);
    check_near(got, want, LENGTH * VOCAB, places[i]->tolerance, "other scales");
    orion_mix_destroy(mix);
    close_all(&f);
    orion_adapter_close(b);
    orion_adapter_close(a);
    orion_model_close(m);
  }
}

// Tokens of one run under different adapters: as if fed one by one, with the adapter of each in use.
static void each_token_of_a_run_may_have_its_own_adapter(void **state) {
  (void)state;
  static const place *const places[] = {&CPU_FP32, &CPU_FP16, &SIM};
  for (int i = 0; i < 3; i++) {
    orion_config c = test_config(TEST_LLAMA, 64);
    orion_model *m = test_model(&c);
    orion_adapter *a = test_adapter(m, 4, 0, 3), *b = test_adapter(m, 4, 0, 5);
    const orion_adapter *both[] = {a, b};
    orion_error err;
    fixture f;
    open_at(&f, m, places[i], 8, NULL);
    orion_mix *mix = mix_of(f.s, both, NULL, 2), *only_a = mix_of(f.s, both, NULL, 1), *only_b = mix_of(f.s, both + 1, NULL, 1);
    double scales[LENGTH][2];
    for (int t = 0; t < LENGTH; t++) {
      int which = t * 7 % 3;  // none, a, b
      scales[t][0] = which == 1;
      scales[t][1] = which == 2;
      orion_session_use(f.s, which == 0 ? NULL : which == 1 ? only_a : only_b);
      assert_ok(orion_session_feed(f.s, &TEXT[t], 1, &err), &err);
    }
    float want[VOCAB], after[VOCAB];
    memcpy(want, orion_session_logits(f.s), sizeof want);
    orion_session_use(f.s, mix);
    orion_session_truncate(f.s, 0);
    assert_ok(orion_session_feed(f.s, TEXT, LENGTH, &err), &err);
    memcpy(after, orion_session_logits(f.s), sizeof after);
    orion_session_truncate(f.s, 0);
    assert_ok(orion_session_feed_scaled(f.s, TEXT, LENGTH, scales[0], &err), &err);
    check_near(orion_session_logits(f.s), want, VOCAB, places[i]->tolerance, "a run under several adapters");
    orion_session_truncate(f.s, 0);  // the mix's own scales are in force again
    assert_ok(orion_session_feed(f.s, TEXT, LENGTH, &err), &err);
    assert_memory_equal(orion_session_logits(f.s), after, sizeof after);
    orion_mix_destroy(only_b);
    orion_mix_destroy(only_a);
    orion_mix_destroy(mix);
    close_all(&f);
    orion_adapter_close(b);
    orion_adapter_close(a);
    orion_model_close(m);
  }
}

enum { ADAPTERS = 8, PREFIX = 4 };

typedef struct swaps {
  test_heap heap;
  orion_device *device;
  orion_model *model;
  orion_session *s;
  orion_adapter *adapters[ADAPTERS];
  orion_mix *mixes[ADAPTERS];
} swaps;

static void open_swaps(swaps *w, const place *at) {
  orion_error err;
  orion_config c = test_config(TEST_LLAMA, 64);
  test_heap_init(&w->heap);
  assert_ok(orion_model_random(&w->heap.allocator, &c, 11, &w->model, &err), &err);
  assert_ok(orion_device_open(at->device, 1, &w->heap.allocator, &w->device, &err), &err);
  orion_session_options o;
  orion_session_options_init(&o);
  o.target = at->target;
  o.weights = at->weights;
  o.lora_rank = 4;
  assert_ok(orion_session_create(w->model, w->device, &o, &w->s, &err), &err);
  for (unsigned i = 0; i < ADAPTERS; i++) {
    w->adapters[i] = test_adapter(w->model, 4, 0, 100 + i);
    const orion_adapter *one[] = {w->adapters[i]};
    w->mixes[i] = mix_of(w->s, one, NULL, 1);
  }
}

static void close_swaps(swaps *w) {
  for (int i = 0; i < ADAPTERS; i++) {
    orion_mix_destroy(w->mixes[i]);
    orion_adapter_close(w->adapters[i]);
  }
  orion_session_destroy(w->s);
  orion_device_close(w->device);
  orion_model_close(w->model);
  test_heap_deinit(&w->heap);
}

// The logits of a token after the same prefix (under the model alone), in a session that has only ever seen this adapter.
static void separate_run(const swaps *w, const place *at, int i, float *out) {
  fixture f;
  orion_error err;
  open_at(&f, w->model, at, 4, NULL);
  const orion_adapter *one[] = {w->adapters[i]};
  orion_mix *mix = mix_of(f.s, one, NULL, 1);
  assert_ok(orion_session_feed(f.s, TEXT, PREFIX, &err), &err);
  orion_session_use(f.s, mix);
  assert_ok(orion_session_feed(f.s, &TEXT[PREFIX], 1, &err), &err);
  memcpy(out, orion_session_logits(f.s), VOCAB * sizeof *out);
  orion_mix_destroy(mix);
  close_all(&f);
}

static void swap_many_times(const place *at, int times) {
  static float want[ADAPTERS][VOCAB];
  swaps w;
  orion_error err;
  open_swaps(&w, at);
  for (int i = 0; i < ADAPTERS; i++) separate_run(&w, at, i, want[i]);
  assert_true(distance(want[0], want[1], VOCAB) > 0.01);
  assert_ok(orion_session_feed(w.s, TEXT, PREFIX, &err), &err);
  size_t calls = 0, bytes = 0;
  double swapping = 0, decoding = 0;
  for (int n = 0; n < times; n++) {
    int i = (n * 5 + n / 8) % ADAPTERS;
    double start = orion_now();
    orion_session_use(w.s, w.mixes[i]);
    double swapped = orion_now();
    orion_session_truncate(w.s, PREFIX);
    assert_ok(orion_session_feed(w.s, &TEXT[PREFIX], 1, &err), &err);
    decoding += orion_now() - swapped;
    swapping += swapped - start;
    if (memcmp(orion_session_logits(w.s), want[i], sizeof want[i]) != 0) fail_msg("%s: swap %d to adapter %d", at->device, n, i);
    if (n == ADAPTERS) {  // everything has run once
      calls = w.heap.calls;
      bytes = w.heap.live_bytes;
    }
  }
  assert_int_equal(w.heap.live_bytes, bytes);
  if (strcmp(at->device, "cpu") == 0) assert_int_equal(w.heap.calls, calls);  // nothing was compiled: nothing was asked for
  if (!(swapping < 0.01 * decoding)) fail_msg("swaps took %g s, tokens %g s", swapping, decoding);
  close_swaps(&w);
}

static void a_thousand_swaps_leave_no_trace(void **state) {
  (void)state;
  swap_many_times(&CPU_FP32, 1000);
  swap_many_times(&CPU_FP16, 100);
}

static void swaps_leave_no_trace_on_the_engine(void **state) {
  (void)state;
  swap_many_times(&SIM, 40);
  swap_many_times(&SIM_M1, 16);
}

static void what_does_not_fit_is_refused(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64), other = test_config(TEST_QWEN2, 64);
  orion_model *m = test_model(&c), *n = test_model(&other);
  orion_adapter *a = test_adapter(m, 8, 0, 3), *b = test_adapter(n, 2, 0, 3), *q = test_adapter(m, 8, 1, 3);
  orion_error err;
  fixture f;
  open_at(&f, m, &CPU_FP32, 8, "q,v");
  orion_mix *mix;
  const orion_mix_part all[] = {{a, 1}}, foreign[] = {{b, 1}}, twice[] = {{q, 1}, {q, 1}}, odd[] = {{q, NAN}};
  assert_error(orion_mix_create(f.s, all, 1, &mix, &err), ORION_INVALID, &err, "changes k,o,gate,up,down");
  assert_error(orion_mix_create(f.s, foreign, 1, &mix, &err), ORION_INVALID, &err, "other shapes");
  assert_error(orion_mix_create(f.s, twice, 2, &mix, &err), ORION_LIMIT, &err, "rank 16 together");
  assert_error(orion_mix_create(f.s, odd, 1, &mix, &err), ORION_INVALID, &err, "scale nan");
  assert_error(orion_mix_create(f.s, all, 0, &mix, &err), ORION_INVALID, &err, "no adapter");
  double one = 1;
  assert_error(orion_session_feed_scaled(f.s, TEXT, 1, &one, &err), ORION_INVALID, &err, "no mix");
  close_all(&f);
  orion_session_options o;
  orion_session_options_init(&o);
  o.lora_rank = 4;
  o.lora_targets = "q,x";
  assert_ok(orion_device_open("cpu", 1, NULL, &f.device, &err), &err);
  assert_error(orion_session_create(m, f.device, &o, &f.s, &err), ORION_INVALID, &err, "'x' of \"q,x\"");
  orion_device_close(f.device);
  orion_adapter_close(q);
  orion_adapter_close(b);
  orion_adapter_close(a);
  orion_model_close(n);
  orion_model_close(m);
}

typedef struct sweep {
  orion_model *model;
  orion_adapter *adapter;
} sweep;

static orion_status mix_once(void *ctx, const orion_allocator *allocator, orion_error *err) {
  const sweep *w = ctx;
  orion_device *device = NULL;
  orion_session *s = NULL;
  orion_mix *mix = NULL;
  orion_session_options o;
  orion_session_options_init(&o);
  o.lora_rank = 4;
  o.lora_targets = "q,up";
  orion_model model = *w->model;  // its own memory stays out of the sweep
  model.allocator = allocator;
  orion_status status = orion_device_open("cpu", 1, allocator, &device, err);
  if (status == ORION_OK) status = orion_session_create(&model, device, &o, &s, err);
  const orion_mix_part part = {w->adapter, 1};
  if (status == ORION_OK) status = orion_mix_create(s, &part, 1, &mix, err);
  if (status == ORION_OK) {
    orion_session_use(s, mix);
    status = orion_session_feed(s, TEXT, LENGTH, err);
  }
  orion_mix_destroy(mix);
  orion_session_destroy(s);
  orion_device_close(device);
  return status;
}

static void no_failing_allocation_leaks(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 16);
  c.layers = 1;
  sweep w = {.model = test_model(&c)};
  w.adapter = test_adapter(w.model, 4, 1u << ORION_PROJECTION_Q | 1u << ORION_PROJECTION_UP, 3);
  test_sweep_allocations(mix_once, &w, 150);
  orion_adapter_close(w.adapter);
  orion_model_close(w.model);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(adapters_give_what_merged_weights_give),
      cmocka_unit_test(adapters_give_what_merged_weights_give_on_the_engine),
      cmocka_unit_test(adapters_in_a_mix_add_up),
      cmocka_unit_test(each_token_of_a_run_may_have_its_own_adapter),
      cmocka_unit_test(a_thousand_swaps_leave_no_trace),
      cmocka_unit_test(swaps_leave_no_trace_on_the_engine),
      cmocka_unit_test(what_does_not_fit_is_refused),
      cmocka_unit_test(no_failing_allocation_leaks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
