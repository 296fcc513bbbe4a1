// The promises of a compiled plan: live buffers never overlap, running allocates nothing, weights are shared between
// programs, updates equal a fresh compile, and no failing allocation leaks.
#include "device/cpu/cpu.h"
#include "runs.h"

static void test_live_buffers_do_not_overlap(void **state) {
  orion_rng rng;
  orion_rng_seed(&rng, 11, 1);
  for (int round = 0; round < 50; round++) {
    orion_cpu_buffer buffers[120] = {{0}};
    orion_cpu_plan p = {.buffers = buffers, .n_buffers = 120};
    size_t live_most = 0;
    for (int i = 0; i < 120; i++) {
      uint32_t first = orion_rng_u32(&rng) % 100;
      buffers[i] = (orion_cpu_buffer){
          .bytes = orion_rng_u32(&rng) % 5000, .first = first, .last = first + orion_rng_u32(&rng) % 12};
    }
    orion_error err;
    assert_ok(orion_cpu_plan_memory(&p, NULL, &err), &err);
    for (uint32_t t = 0; t < 120; t++) {
      size_t live = 0;
      for (int i = 0; i < 120; i++) {
        const orion_cpu_buffer *a = &buffers[i];
        if (a->first > t || a->last < t) continue;
        live += (a->bytes + 63) / 64 * 64;
        assert_true(a->offset + a->bytes <= p.memory_bytes && a->offset % 64 == 0);
        for (int j = 0; j < i; j++) {
          const orion_cpu_buffer *b = &buffers[j];
          if (b->first > t || b->last < t) continue;
          assert_true(a->offset + a->bytes <= b->offset || b->offset + b->bytes <= a->offset);
        }
      }
      if (live > live_most) live_most = live;
    }
    assert_true(p.memory_bytes <= live_most * 3 / 2);
  }
}

static void test_running_allocates_nothing(void **state) {
  test_heap heap;
  test_heap_init(&heap);
  orion_device *d = open_device("cpu:threads=2", &heap.allocator);
  for (uint64_t seed = 1; seed <= 8; seed++) {
    orion_program *p = make_program(seed, ORION_FP16, 24, NULL);
    orion_error err;
    run r;
    assert_ok(run_compile(&r, d, p, &err), &err);
    size_t calls = heap.calls;
    for (int i = 0; i < 3; i++) assert_ok(orion_run(r.b, &err), &err);
    assert_int_equal(heap.calls, calls);
    run_close(&r);
    orion_program_destroy(p);
  }
  orion_device_close(d);
  test_heap_deinit(&heap);
}

// y = x W^T for T rows; W comes from the data store that both programs share.
static orion_program *linear_program(orion_data_store *store, const orion_data *w, int64_t T) {
  orion_program *p;
  orion_function *f;
  orion_builder b;
  orion_error err = {0};
  assert_ok(orion_program_create(NULL, store, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  orion_builder_init(&b, f);
  orion_ref x = orion_build_param(&b, "x", ORION_FP32, 2, (int64_t[]){T, (int64_t)w->cols});
  orion_ref weight = orion_build_weight(&b, "weight", w, 2, (int64_t[]){(int64_t)w->rows, (int64_t)w->cols});
  orion_build_output(&b, ORION_BUILD(&b, "y", ORION_OP_linear, {"x", x}, {"weight", weight}), "y");
  assert_ok(orion_builder_finish(&b, &err), &err);
  return p;
}

static const orion_data *ramp(orion_data_store *store, size_t rows, size_t cols, double k) {
  void *bytes;
  const orion_data *w = orion_data_new(store, ORION_FP32, rows, cols, &bytes);
  for (size_t i = 0; i < rows * cols; i++) orion_store_double(ORION_FP32, bytes, i, sin((double)i * k));
  return w;
}

static void test_programs_share_weights(void **state) {
  test_heap heap;
  test_heap_init(&heap);
  orion_data_store *store;
  orion_error err;
  assert_ok(orion_data_store_create(NULL, &store, &err), &err);
  const orion_data *w = ramp(store, 256, 512, 0.1);
  orion_program *a = linear_program(store, w, 1), *b = linear_program(store, w, 8);
  orion_device *d = open_device("cpu:threads=1", &heap.allocator);
  run ra, rb;
  assert_ok(run_compile(&ra, d, a, &err), &err);
  size_t before = heap.live_bytes;
  assert_ok(run_compile(&rb, d, b, &err), &err);
  assert_true(heap.live_bytes - before < 256 * 512 * 4 / 2);
  orion_run_times times;
  orion_executable_times(rb.e, &times);
  assert_int_equal(times.weight_bytes, 256 * 512 * 4);
  run_close(&ra);  // the other keeps them
  assert_ok(orion_run(rb.b, &err), &err);
  run_close(&rb);
  orion_device_close(d);
  orion_program_destroy(a);
  orion_program_destroy(b);
  orion_data_store_release(store);
  test_heap_deinit(&heap);
}

static void test_updates_equal_a_fresh_compile(void **state) {
  orion_data_store *store;
  orion_error err;
  assert_ok(orion_data_store_create(NULL, &store, &err), &err);
  const orion_data *w[3];
  orion_program *p[3];
  for (int i = 0; i < 3; i++) {
    w[i] = ramp(store, 40, 24, 0.1 * (i + 1));
    p[i] = linear_program(store, w[i], 3);
  }
  orion_device *d = open_device("cpu:threads=2", NULL);
  run updated, other, fresh;
  size_t n;
  assert_ok(run_compile(&updated, d, p[0], &err), &err);
  assert_ok(run_compile(&other, d, p[0], &err), &err);
  run_fill(&updated, 5);
  run_fill(&other, 5);
  assert_ok(orion_run(other.b, &err), &err);
  double *untouched = run_outputs(&other, &n);
  for (int i = 1; i < 3; i++) {
    assert_ok(orion_executable_update(updated.e, "weight", w[i]->bytes, 40 * 24 * 4, &err), &err);
    assert_ok(run_compile(&fresh, d, p[i], &err), &err);
    run_fill(&fresh, 5);
    assert_ok(orion_run(updated.b, &err), &err);
    assert_ok(orion_run(fresh.b, &err), &err);
    double *got = run_outputs(&updated, &n), *want = run_outputs(&fresh, &n);
    assert_memory_equal(got, want, n * sizeof *got);
    free(got);
    free(want);
    run_close(&fresh);
  }
  assert_ok(orion_run(other.b, &err), &err);  // the program that shared the weight still has the old one
  double *still = run_outputs(&other, &n);
  assert_memory_equal(still, untouched, n * sizeof *still);
  free(still);
  free(untouched);
  assert_error(orion_executable_update(updated.e, "weight", w[0]->bytes, 8, &err), ORION_INVALID, &err, "weight");
  assert_error(orion_executable_update(updated.e, "nothing", w[0]->bytes, 8, &err), ORION_NOT_FOUND, &err, "nothing");
  run_close(&updated);
  run_close(&other);
  orion_device_close(d);
  for (int i = 0; i < 3; i++) orion_program_destroy(p[i]);
  orion_data_store_release(store);
}

static orion_status compile_and_run(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_device *d;
  ORION_TRY(orion_device_open("cpu:threads=1", 0, a, &d, err));
  run r;
  orion_status status = run_compile(&r, d, ctx, err);
  if (status == ORION_OK) {
    status = orion_run(r.b, err);
    run_close(&r);
  }
  orion_device_close(d);
  return status;
}

static void test_failing_allocations_are_survived(void **state) {
  orion_program *p = make_program(3, ORION_FP32, 16, NULL);
  test_sweep_allocations(compile_and_run, p, 300);
  orion_program_destroy(p);
}

static void test_options_are_checked(void **state) {
  orion_device *d;
  orion_error err;
  assert_error(orion_device_open("cpu:isa=mmx", 1, NULL, &d, &err), ORION_INVALID, &err, "mmx");
  assert_error(orion_device_open("cpu:fusion=maybe", 1, NULL, &d, &err), ORION_INVALID, &err, "maybe");
  assert_error(orion_device_open("cpu:threads=-2", 1, NULL, &d, &err), ORION_INVALID, &err, "-2");
  assert_error(orion_device_open("cpu:speed=9", 1, NULL, &d, &err), ORION_INVALID, &err, "speed");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_live_buffers_do_not_overlap),      cmocka_unit_test(test_running_allocates_nothing),
      cmocka_unit_test(test_programs_share_weights),           cmocka_unit_test(test_updates_equal_a_fresh_compile),
      cmocka_unit_test(test_failing_allocations_are_survived), cmocka_unit_test(test_options_are_checked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
