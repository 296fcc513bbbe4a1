// Allocation helpers and the arena, over the checking allocator; and that the checking allocator checks.
#include "base/alloc.h"

#include "base/arena.h"
#include "support/support.h"

static void sizes_that_overflow_are_refused(void **state) {
  (void)state;
  size_t n = 7;
  assert_true(orion_mul_ok(3, 5, &n) && n == 15);
  assert_false(orion_mul_ok(SIZE_MAX / 2, 3, &n));
  assert_int_equal(n, 15);
  assert_true(orion_add_ok(3, 5, &n) && n == 8);
  assert_false(orion_add_ok(SIZE_MAX, 1, &n));
  assert_int_equal(n, 8);
  assert_int_equal(orion_round_up(0, 64), 0);
  assert_int_equal(orion_round_up(1, 64), 64);
  assert_int_equal(orion_round_up(128, 64), 128);
  test_heap heap;
  test_heap_init(&heap);
  assert_null(orion_alloc(&heap.allocator, SIZE_MAX / 2, 3));
  assert_null(orion_alloc_zero(&heap.allocator, SIZE_MAX / 4, 8));
  assert_int_equal(heap.calls, 0);
  test_heap_deinit(&heap);
}

static void free_passes_the_size_and_alignment_of_alloc(void **state) {
  (void)state;
  test_heap heap;
  test_heap_init(&heap);
  const orion_allocator *a = &heap.allocator;
  void *empty = orion_alloc(a, 0, 8), *array = orion_alloc(a, 5, 12), *wide = orion_alloc_aligned(a, 100, 4096);
  unsigned char *zero = orion_alloc_zero(a, 3, 5);
  assert_non_null(empty);
  assert_int_equal((uintptr_t)array % ORION_ALIGN_DEFAULT, 0);
  assert_int_equal((uintptr_t)wide % 4096, 0);
  for (int i = 0; i < 15; i++) assert_int_equal(zero[i], 0);
  char *copy = orion_strdup(a, "orion"), *part = orion_strndup(a, "orion", 3), *none = orion_strndup(a, "x", 0);
  assert_string_equal(copy, "orion");
  assert_string_equal(part, "ori");
  assert_string_equal(none, "");
  assert_int_equal(heap.live_blocks, 7);
  orion_free(a, empty, 0, 8);
  orion_free(a, array, 5, 12);
  orion_free_aligned(a, wide, 100, 4096);
  orion_free(a, zero, 3, 5);
  orion_strfree(a, copy);
  orion_strfree(a, part);
  orion_strfree(a, none);
  orion_strfree(a, NULL);
  orion_free(a, NULL, 9, 9);
  orion_free_aligned(a, NULL, 9, 16);
  test_heap_deinit(&heap);
}

static void the_default_allocator_aligns(void **state) {
  (void)state;
  for (size_t align = 1; align <= 65536; align *= 2) {
    void *p = orion_alloc_aligned(NULL, 33, align);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % align, 0);
    orion_free_aligned(NULL, p, 33, align);
  }
}

static void arrays_grow_and_keep_their_contents(void **state) {
  (void)state;
  test_heap heap;
  test_heap_init(&heap);
  int *v = NULL;
  size_t cap = 0;
  for (int i = 0; i < 1000; i++) {
    assert_true(ORION_GROW(&heap.allocator, &v, &cap, (size_t)i + 1));
    v[i] = i;
  }
  for (int i = 0; i < 1000; i++) assert_int_equal(v[i], i);
  assert_true(heap.calls <= 8);  // doubling from 8
  size_t before = cap;
  int *same = v;
  assert_false(ORION_GROW(&heap.allocator, &v, &cap, SIZE_MAX));
  assert_false(ORION_GROW(&heap.allocator, &v, &cap, SIZE_MAX / sizeof(int)));
  test_heap_fail_at(&heap, 1, false);
  assert_false(ORION_GROW(&heap.allocator, &v, &cap, cap + 1));
  assert_true(v == same && cap == before && v[999] == 999);
  orion_free(&heap.allocator, v, cap, sizeof *v);
  test_heap_deinit(&heap);
}

static void arena_memory_is_zeroed_aligned_and_disjoint(void **state) {
  (void)state;
  test_heap heap;
  test_heap_init(&heap);
  orion_arena arena;
  orion_arena_init(&arena, &heap.allocator);
  for (int round = 0; round < 2; round++) {
    unsigned char *parts[600];
    size_t sizes[600];
    for (size_t i = 0; i < 600; i++) {
      sizes[i] = i % 50 == 49 ? 70000 + i : i * 7 % 300;
      size_t align = (size_t)1 << i % 7;
      parts[i] = orion_arena_aligned(&arena, sizes[i], align);
      assert_int_equal((uintptr_t)parts[i] % align, 0);
      for (size_t k = 0; k < sizes[i]; k++) assert_true(parts[i][k] == 0);
      memset(parts[i], (int)(i % 251) + 1, sizes[i]);
    }
    for (size_t i = 0; i < 600; i++) {
      for (size_t k = 0; k < sizes[i]; k++) assert_true(parts[i][k] == i % 251 + 1);
    }
    assert_int_equal(arena.total, heap.live_bytes);
    orion_arena_deinit(&arena);  // and again, with the same arena
    assert_int_equal(heap.live_blocks, 0);
  }
  test_heap_deinit(&heap);
}

static void arena_copies_and_prints(void **state) {
  (void)state;
  orion_arena arena;
  orion_arena_init(&arena, NULL);
  int values[3] = {1, 2, 3};
  int *copy = orion_arena_copy(&arena, values, 3, sizeof *values);
  assert_memory_equal(copy, values, sizeof values);
  assert_string_equal(orion_arena_strdup(&arena, "a b"), "a b");
  assert_string_equal(orion_arena_strndup(&arena, "a b", 1), "a");
  assert_string_equal(orion_arena_printf(&arena, "%d-%s", 7, "x"), "7-x");
  assert_null(orion_arena_alloc(&arena, SIZE_MAX / 2, 3));
  assert_null(orion_arena_aligned(&arena, SIZE_MAX - 10, 16));
  assert_null(orion_arena_strndup(&arena, "x", SIZE_MAX));
  orion_arena_deinit(&arena);
}

static orion_status fill_arena(void *ctx, const orion_allocator *a, orion_error *err) {
  (void)ctx;
  orion_arena arena;
  orion_arena_init(&arena, a);
  orion_status status = ORION_OK;
  for (int i = 0; i < 40 && status == ORION_OK; i++) {
    if (!orion_arena_alloc(&arena, 1000, (size_t)i + 1)) status = ORION_OOM(err, "arena");
  }
  orion_arena_deinit(&arena);
  return status;
}

static void arena_survives_every_failing_allocation(void **state) {
  (void)state;
  test_sweep_allocations(fill_arena, NULL, 0);
}

static void the_checking_allocator_counts_and_fails_on_demand(void **state) {
  (void)state;
  test_heap heap;
  test_heap_init(&heap);
  test_heap_fail_at(&heap, 2, false);
  void *one = orion_alloc(&heap.allocator, 1, 10), *two = orion_alloc(&heap.allocator, 1, 20);
  void *three = orion_alloc(&heap.allocator, 1, 30);
  assert_true(one && !two && three);
  assert_int_equal(heap.live_bytes, 40);
  test_heap_fail_at(&heap, 1, true);
  assert_null(orion_alloc(&heap.allocator, 1, 1));
  assert_null(orion_alloc(&heap.allocator, 1, 1));
  test_heap_fail_at(&heap, 0, false);
  orion_free(&heap.allocator, one, 1, 10);
  orion_free(&heap.allocator, three, 1, 30);
  assert_int_equal(heap.peak_bytes, 40);
  assert_int_equal(heap.live_bytes, 0);
  test_heap_deinit(&heap);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_that_overflow_are_refused),
      cmocka_unit_test(free_passes_the_size_and_alignment_of_alloc),
      cmocka_unit_test(the_default_allocator_aligns),
      cmocka_unit_test(arrays_grow_and_keep_their_contents),
      cmocka_unit_test(arena_memory_is_zeroed_aligned_and_disjoint),
      cmocka_unit_test(arena_copies_and_prints),
      cmocka_unit_test(arena_survives_every_failing_allocation),
      cmocka_unit_test(the_checking_allocator_counts_and_fails_on_demand),
  };
  return cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
}
