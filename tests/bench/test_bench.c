// What the figures rest on: quartiles, ceilings that do the work they claim, and counts that equal counting.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "bench/subject.h"
#include "support/support.h"

static void quartiles_lie_between_their_neighbours(void **state) {
  orion_bench_report r;
  orion_bench_report_init(&r, NULL);
  double five[] = {50, 10, 40, 20, 30}, two[] = {3, 1};
  assert_int_equal(orion_bench_add(&r, "five", "ms", five, 5, NULL), ORION_OK);
  assert_int_equal(orion_bench_add(&r, "two", "GB/s", two, 2, NULL), ORION_OK);
  const orion_bench_figure *f = &r.figures[0];
  assert_true(f->stat.median == 30 && f->stat.low == 20 && f->stat.high == 40 && f->stat.best == 10);
  assert_false(f->more_is_better);
  f = &r.figures[1];
  assert_true(f->stat.median == 2 && f->stat.low == 1.5 && f->stat.high == 2.5 && f->stat.best == 3);
  assert_true(f->more_is_better);
  orion_bench_set_ceiling(&r, "read", 4);
  assert_true(f->fraction == 0.5 && f->best_fraction == 0.75);
  assert_string_equal(f->name, "two");
  assert_int_equal(r.n, 2);
  assert_int_equal(orion_bench_add(&r, "none", "ms", two, 0, NULL), ORION_INTERNAL);
  orion_bench_report_deinit(&r);
}

static orion_status add_many(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_bench_report r;
  orion_bench_report_init(&r, a);
  orion_status status = ORION_OK;
  for (int i = 0; i < 40 && status == ORION_OK; i++) status = orion_bench_add_value(&r, "x", "MB", i, err);
  orion_bench_report_deinit(&r);
  return status;
}

static void figures_survive_lack_of_memory(void **state) { test_sweep_allocations(add_many, NULL, 0); }

static const char *const levels[] = {"portable", "avx2", "avx512", "neon"};

static void the_plain_read_reads_everything(void **state) {
  enum { BYTES = 5 * 1024 };
  static int32_t block[BYTES / 4 + 256];
  for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
    uint32_t mask;
    orion_kernels k;
    assert_true(orion_cpu_level(levels[l], &mask));
    orion_kernels_init(&k, orion_cpu_features() & mask);
    memset(block, 0, sizeof block);
    block[BYTES / 4] = 1;  // behind the end
    assert_int_equal(k.read_bytes(block, BYTES + 1000), 0);
    for (size_t i = 0; i < BYTES / 4; i++) {
      block[i] = INT32_MIN;
      assert_int_not_equal(k.read_bytes(block, BYTES), 0);
      block[i] = 0;
    }
  }
}

// x = x * 0.5 + 1 tends to 2 in every lane of every chain, so the sum tells how many lanes took part.
static void multiply_adds_are_counted_as_they_are_done(void **state) {
  static const float two[] = {0.5f, 1.0f};
  for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
    uint32_t mask;
    orion_kernels k;
    double flops = 0;
    assert_true(orion_cpu_level(levels[l], &mask));
    orion_kernels_init(&k, orion_cpu_features() & mask);
    float sum = k.multiply_add(two, 100, &flops);
    assert_true(flops > 0 && fabs(flops - sum * 100.0) < 1e-3 * flops);
  }
}

static void ceilings_are_positive_and_of_the_level(void **state) {
  orion_ceiling *c;
  assert_int_equal(orion_ceiling_create(NULL, "portable", 2, 3 << 20, &c, NULL), ORION_OK);
  assert_string_equal(orion_ceiling_kernels(c)->level, "portable");
  assert_int_equal(orion_pool_threads(orion_ceiling_pool(c)), 2);
  static const size_t sizes[] = {0, 1, 1000, 70000, 3 << 20, SIZE_MAX};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) assert_true(orion_ceiling_read(c, sizes[i]) > 0);
  assert_true(orion_ceiling_multiply_add(c) > 0);
  orion_ceiling_destroy(c);
  orion_ceiling_destroy(NULL);
}

static orion_status make_ceiling(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_ceiling *c;
  ORION_TRY(orion_ceiling_create(a, NULL, 1, 1, &c, err));
  orion_ceiling_destroy(c);
  return ORION_OK;
}

static void ceilings_survive_lack_of_memory(void **state) { test_sweep_allocations(make_ceiling, NULL, 0); }

// Counting loops in place of the formula.
static double count_products(int64_t rows, int64_t cols) {
  double n = 0;
  for (int64_t i = 0; i < rows; i++) n += 2.0 * (double)cols;
  return n;
}

static void operations_of_a_prompt_equal_counting(void **state) {
  orion_config c = {.vocab = 50, .dim = 8, .hidden = 20, .layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 2};
  for (int gated = 0; gated < 2; gated++) {
    c.gated = gated;
    double n = count_products(c.vocab, c.dim);
    for (int64_t t = 0; t < 7; t++) {
      for (int64_t layer = 0; layer < c.layers; layer++) {
        n += count_products(8, 8) + 2 * count_products(4, 8) + count_products(8, 8);  // q, k and v, output
        n += (1 + gated) * count_products(20, 8) + count_products(8, 20);
        for (int64_t head = 0; head < c.heads; head++) {
          for (int64_t key = 0; key <= t; key++) n += 2 * 2.0 * (double)c.head_dim;  // score, then value
        }
      }
    }
    assert_true(orion_bench_prefill_flops(&c, 7) == n);
  }
  assert_true(orion_bench_kv_bytes(&c, 10, NULL) == 3 * 10 * 2 * (2 * 2) * 2);
  assert_true(orion_bench_kv_bytes(&c, 10, "fp32") == 3 * 10 * 2 * (2 * 2) * 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(quartiles_lie_between_their_neighbours),
      cmocka_unit_test(figures_survive_lack_of_memory),
      cmocka_unit_test(the_plain_read_reads_everything),
      cmocka_unit_test(multiply_adds_are_counted_as_they_are_done),
      cmocka_unit_test(ceilings_are_positive_and_of_the_level),
      cmocka_unit_test(ceilings_survive_lack_of_memory),
      cmocka_unit_test(operations_of_a_prompt_equal_counting),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
