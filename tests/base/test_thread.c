// The pool: every index exactly once, in the same pieces for any number of threads, over many calls.
#include "base/thread.h"

#include <stdatomic.h>
#include <unistd.h>

#include "support/support.h"

typedef struct job {
  size_t n, grain;
  atomic_int *hits;        // per index
  atomic_int busy[16];     // per worker: calls running now
  atomic_int bad;
  int threads;
} job;

static void touch(void *ctx, size_t begin, size_t end, int worker) {
  job *j = ctx;
  if (worker < 0 || worker >= j->threads || atomic_fetch_add(&j->busy[worker], 1) != 0) atomic_fetch_add(&j->bad, 1);
  bool whole = end - begin == j->grain || end == j->n;
  if (begin % j->grain || begin >= end || end > j->n || !whole) atomic_fetch_add(&j->bad, 1);
  for (size_t i = begin; i < end; i++) atomic_fetch_add_explicit(&j->hits[i], 1, memory_order_relaxed);
  atomic_fetch_sub(&j->busy[worker], 1);
}

static void run_once(orion_pool *pool, size_t n, size_t grain) {
  job j = {.n = n, .grain = grain, .threads = orion_pool_threads(pool)};
  j.hits = calloc(n + 1, sizeof *j.hits);
  orion_parallel_for(pool, n, grain, touch, &j);
  assert_int_equal(atomic_load(&j.bad), 0);
  for (size_t i = 0; i < n; i++) {
    if (atomic_load(&j.hits[i]) != 1) fail_msg("index %zu of %zu ran %d times", i, n, atomic_load(&j.hits[i]));
  }
  free(j.hits);
}

static void every_index_runs_once_whatever_the_threads(void **state) {
  (void)state;
  static const size_t sizes[] = {0, 1, 2, 7, 64, 1000, 4097}, grains[] = {1, 3, 64, 5000};
  for (int threads = 1; threads <= 8; threads++) {
    orion_pool *pool;
    orion_error err;
    assert_ok(orion_pool_create(NULL, threads, &pool, &err), &err);
    assert_int_equal(orion_pool_threads(pool), threads);
    for (size_t i = 0; i < 7; i++) {
      for (size_t k = 0; k < 4; k++) run_once(pool, sizes[i], grains[k]);
    }
    orion_pool_destroy(pool);
  }
  run_once(NULL, 1000, 7);
  assert_int_equal(orion_pool_threads(NULL), 1);
  orion_pool_destroy(NULL);
}

static void add(void *ctx, size_t begin, size_t end, int worker) {
  (void)worker;
  unsigned *v = ctx;  // plain memory: what a call wrote must be visible after it, and to the next call's threads
  for (size_t i = begin; i < end; i++) v[i] = v[i] * 3 + (unsigned)i;
}

static void many_calls_see_each_others_results(void **state) {
  (void)state;
  enum { N = 64, CALLS = 3000 };
  unsigned want[N] = {0};
  for (int c = 0; c < CALLS; c++) add(want, 0, N, 0);
  for (int threads = 2; threads <= 4; threads++) {
    unsigned got[N] = {0};
    orion_pool *pool;
    orion_error err;
    assert_ok(orion_pool_create(NULL, threads, &pool, &err), &err);
    for (int c = 0; c < CALLS; c++) {
      orion_parallel_for(pool, N, 4, add, got);
      if (c % 500 == 250) usleep(3000);  // let the workers fall asleep now and then
    }
    orion_pool_destroy(pool);
    assert_memory_equal(got, want, sizeof want);
  }
}

static void pools_come_and_go_awake_or_asleep(void **state) {
  (void)state;
  orion_error err;
  for (int round = 0; round < 40; round++) {
    orion_pool *pool;
    assert_ok(orion_pool_create(NULL, 1 + round % 8, &pool, &err), &err);
    if (round % 3 == 1) usleep(5000);
    if (round % 2) run_once(pool, 100, 3);
    orion_pool_destroy(pool);
  }
}

static void thread_numbers_out_of_range_are_refused(void **state) {
  (void)state;
  orion_pool *pool = NULL;
  orion_error err = {0};
  assert_error(orion_pool_create(NULL, -1, &pool, &err), ORION_INVALID, &err, "-1");
  assert_error(orion_pool_create(NULL, 100000, &pool, &err), ORION_INVALID, &err, "100000");
  assert_null(pool);
  assert_ok(orion_pool_create(NULL, 0, &pool, &err), &err);
  assert_int_equal(orion_pool_threads(pool), orion_cpu_count());
  assert_true(orion_cpu_count() >= 1);
  orion_pool_destroy(pool);
}

static orion_status make_pool(void *ctx, const orion_allocator *a, orion_error *err) {
  (void)ctx;
  orion_pool *pool;
  ORION_TRY(orion_pool_create(a, 3, &pool, err));
  orion_pool_destroy(pool);
  return ORION_OK;
}

static void pools_survive_every_failing_allocation(void **state) {
  (void)state;
  test_sweep_allocations(make_pool, NULL, 0);
}

static void calls_allocate_nothing(void **state) {
  (void)state;
  test_heap heap;
  test_heap_init(&heap);
  orion_pool *pool;
  orion_error err;
  assert_ok(orion_pool_create(&heap.allocator, 3, &pool, &err), &err);
  size_t calls = heap.calls;
  for (int i = 0; i < 50; i++) run_once(pool, 100, 3);
  assert_int_equal(heap.calls, calls);
  orion_pool_destroy(pool);
  test_heap_deinit(&heap);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_index_runs_once_whatever_the_threads),
      cmocka_unit_test(many_calls_see_each_others_results),
      cmocka_unit_test(pools_come_and_go_awake_or_asleep),
      cmocka_unit_test(thread_numbers_out_of_range_are_refused),
      cmocka_unit_test(pools_survive_every_failing_allocation),
      cmocka_unit_test(calls_allocate_nothing),
  };
  return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}
