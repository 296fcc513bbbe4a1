// Random numbers, processor levels, the clock.
#include "base/clock.h"
#include "base/cpu.h"
#include "base/rng.h"
#include "support/support.h"

// PCG32 with 128-bit arithmetic and the recurrence solved for the n-th state, independent of the stepping code:
// state_n = a^n s + c (a^n - 1)/(a - 1), by repeated squaring of the affine map.
static uint64_t state_after(uint64_t state, uint64_t increment, uint64_t n) {
  uint64_t a = 6364136223846793005u, c = increment, all_a = 1, all_c = 0;
  for (; n; n >>= 1) {
    if (n & 1) {
      all_c = all_c * a + c;
      all_a *= a;
    }
    c = (a + 1) * c;
    a *= a;
  }
  return all_a * state + all_c;
}

static void the_known_sequence_comes_out(void **state) {
  (void)state;
  // Published output of the PCG32 demonstration for seed 42, stream 54.
  static const uint32_t want[] = {0xa15c02b7, 0x7b47f409, 0xba1d3330, 0x83d2f293, 0xbfa4784b, 0xcbed606e};
  orion_rng r;
  orion_rng_seed(&r, 42, 54);
  uint64_t start = r.state;
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) assert_int_equal(orion_rng_u32(&r), want[i]);
  assert_true(r.state == state_after(start, r.increment, 6));
  for (int i = 0; i < 1000; i++) orion_rng_u32(&r);
  assert_true(r.state == state_after(start, r.increment, 1006));
}

static void floats_are_uniform_in_the_unit_interval(void **state) {
  (void)state;
  orion_rng r, other;
  orion_rng_seed(&r, 7, 1);
  orion_rng_seed(&other, 7, 2);
  int buckets[16] = {0}, equal = 0;
  for (int i = 0; i < 160000; i++) {
    float f = orion_rng_float(&r);
    assert_true(f >= 0 && f < 1);
    buckets[(int)(f * 16)]++;
    equal += f == orion_rng_float(&other);
  }
  for (int i = 0; i < 16; i++) assert_true(buckets[i] > 9500 && buckets[i] < 10500);  // 5 standard deviations
  assert_true(equal < 10);  // streams differ
}

static void levels_contain_the_ones_below(void **state) {
  (void)state;
  uint32_t portable = 1, avx2, avx512, amx, neon, native, none = 1;
  assert_true(orion_cpu_level("portable", &portable));
  assert_true(orion_cpu_level("avx2", &avx2));
  assert_true(orion_cpu_level("avx512", &avx512));
  assert_true(orion_cpu_level("amx", &amx));
  assert_true(orion_cpu_level("neon", &neon));
  assert_true(orion_cpu_level("native", &native));
  assert_false(orion_cpu_level("sse9", &none));
  assert_int_equal(portable, 0);
  assert_int_equal(none, 0);
  assert_int_equal(avx2 & ~avx512, 0);
  assert_int_equal(avx512 & ~amx, 0);
  assert_int_equal(neon & amx, 0);
  assert_int_equal(native, UINT32_MAX);
  static const char *const names[] = {"portable", "avx2", "avx512", "amx", "neon"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    uint32_t mask;
    assert_true(orion_cpu_level(names[i], &mask));
    assert_string_equal(orion_cpu_level_name(mask), names[i]);
  }
}

static void this_machine_has_features_that_belong_together(void **state) {
  (void)state;
  uint32_t f = orion_cpu_features();
  assert_int_equal(f, orion_cpu_features());
#if defined(__x86_64__)
  __builtin_cpu_init();
  assert_int_equal(!!(f & ORION_CPU_AVX2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  assert_int_equal(!!(f & ORION_CPU_AVX512), __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                                 __builtin_cpu_supports("avx512vl") &&
                                                 __builtin_cpu_supports("avx512dq"));
  assert_int_equal(f & ORION_CPU_NEON, 0);
  if (f & (ORION_CPU_AMX | ORION_CPU_AVX512_VNNI | ORION_CPU_AVX512_BF16 | ORION_CPU_AVX512_FP16)) {
    assert_true(f & ORION_CPU_AVX512);
  }
  if (f & (ORION_CPU_AVX512 | ORION_CPU_AVX_VNNI)) assert_true(f & ORION_CPU_AVX2);
#elif defined(__aarch64__)
  assert_true(f & ORION_CPU_NEON);
#endif
}

static void time_goes_forward_and_memory_is_counted(void **state) {
  (void)state;
  double last = orion_now();
  for (int i = 0; i < 1000; i++) {
    double now = orion_now();
    assert_true(now >= last);
    last = now;
  }
  double before = orion_peak_rss_mb();
  size_t n = 64u << 20;
  char *p = malloc(n);
  for (size_t i = 0; i < n; i += 512) *(volatile char *)(p + i) = 1;  // or compilers leave the memory out
  double after = orion_peak_rss_mb();
  free(p);
  assert_true(before > 0.5 && before < 1e6 && after >= before && after > 64);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_known_sequence_comes_out),
      cmocka_unit_test(floats_are_uniform_in_the_unit_interval),
      cmocka_unit_test(levels_contain_the_ones_below),
      cmocka_unit_test(this_machine_has_features_that_belong_together),
      cmocka_unit_test(time_goes_forward_and_memory_is_counted),
  };
  return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
