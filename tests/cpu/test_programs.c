// Random programs: the fused plan, the plan op by op, and the simulated device in exact arithmetic agree; thread counts
// change no bit; instruction set levels agree.
#include "runs.h"

enum { SEEDS = 40 };

// Halves: each op rounds by 2^-11 of its result, some ops amplify, and fusion rounds less often.
static void compare(const double *got, const double *want, size_t n, orion_dtype dtype, uint64_t seed,
                    const char *what) {
  double relative = dtype == ORION_FP16 ? 2e-2 : 1e-4, absolute = dtype == ORION_FP16 ? 4e-2 : 1e-4;
  for (size_t i = 0; i < n; i++) {
    if (isnan(want[i]) && isnan(got[i])) continue;
    if (got[i] == want[i] || fabs(got[i] - want[i]) <= absolute + relative * fabs(want[i])) continue;
    fail_msg("seed %llu %s: element %zu is %.9g, expected %.9g", (unsigned long long)seed, what, i, got[i], want[i]);
  }
}

static void against(const char *spec, const char *reference, orion_dtype dtype) {
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    orion_program *p = make_program(seed, dtype, 24, NULL);
    size_t n, m;
    double *got = run_once(spec, p, seed, &n), *want = run_once(reference, p, seed, &m);
    assert_int_equal(n, m);
    compare(got, want, n, dtype, seed, spec);
    free(got);
    free(want);
    orion_program_destroy(p);
  }
}

static void test_fused_agrees_with_sim_fp32(void **state) { against("cpu", "sim:ideal", ORION_FP32); }
static void test_fused_agrees_with_op_by_op_fp32(void **state) { against("cpu", "cpu:fusion=off", ORION_FP32); }
static void test_fused_agrees_with_op_by_op_fp16(void **state) { against("cpu", "cpu:fusion=off", ORION_FP16); }
static void test_op_by_op_agrees_with_sim_fp32(void **state) { against("cpu:fusion=off", "sim:ideal", ORION_FP32); }
static void test_portable_agrees_with_native(void **state) { against("cpu:isa=portable", "cpu", ORION_FP32); }

static void test_threads_change_no_bit(void **state) {
  for (uint64_t seed = 1; seed <= SEEDS / 2; seed++) {
    orion_program *p = make_program(seed, seed % 2 ? ORION_FP32 : ORION_FP16, 24, NULL);
    size_t n, m;
    double *one = run_once("cpu:threads=1", p, seed, &n);
    for (int threads = 2; threads <= 5; threads += 3) {
      char spec[32];
      snprintf(spec, sizeof spec, "cpu:threads=%d", threads);
      double *many = run_once(spec, p, seed, &m);
      assert_int_equal(n, m);
      assert_memory_equal(one, many, n * sizeof *one);
      free(many);
    }
    free(one);
    orion_program_destroy(p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fused_agrees_with_sim_fp32),      cmocka_unit_test(test_fused_agrees_with_op_by_op_fp32),
      cmocka_unit_test(test_fused_agrees_with_op_by_op_fp16), cmocka_unit_test(test_op_by_op_agrees_with_sim_fp32),
      cmocka_unit_test(test_portable_agrees_with_native),     cmocka_unit_test(test_threads_change_no_bit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
