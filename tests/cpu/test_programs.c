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

// What a training step has beside: a product added to a sum that comes in, and sums scattered into what nobody else wants, or
// into what somebody does.
static orion_program *make_sums(void) {
  orion_program *p;
  orion_function *f;
  orion_error err = {0};
  orion_builder b;
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  orion_builder_init(&b, f);
  const int64_t tall[] = {70, 40}, wide[] = {70, 50}, square[] = {40, 50}, few[] = {6, 50};
  const double rows[] = {3, 39, 3, 0, 17, 3};
  orion_ref x = orion_build_param(&b, "x", ORION_FP32, 2, tall), dy = orion_build_param(&b, "dy", ORION_FP32, 2, wide);
  orion_ref sum = orion_build_param(&b, "sum", ORION_FP32, 2, square), u = orion_build_param(&b, "u", ORION_FP32, 2, few);
  orion_ref index = orion_build_floats(&b, "index", ORION_INT32, 1, (int64_t[]){6}, rows);
  for (int shared = 0; shared < 2; shared++) {
    orion_ref dw = ORION_BUILD(&b, NULL, ORION_OP_matmul, {"x", x}, {"y", dy}, {"transpose_x", orion_build_bool(&b, "tx", true)},
                               {"transpose_y", orion_build_bool(&b, "ty", false)});
    orion_ref total = ORION_BUILD(&b, NULL, ORION_OP_add, {"x", sum}, {"y", dw});
    orion_ref out = ORION_BUILD(&b, NULL, ORION_OP_scatter, {"data", total}, {"indices", index}, {"updates", u},
                                {"axis", orion_build_int(&b, "axis", 0)}, {"mode", orion_build_string(&b, "mode", "add")},
                                {"validate_indices", orion_build_bool(&b, "check", false)});
    if (shared) orion_build_output(&b, total, "total");
    orion_build_output(&b, out, shared ? "beside" : "alone");
  }
  assert_ok(orion_builder_finish(&b, &err), &err);
  return p;
}

static void test_sums_are_taken_in_place(void **state) {
  static const char *const specs[] = {"cpu:threads=1", "cpu:threads=3", "cpu:fusion=off", "cpu:isa=portable", "sim:ideal"};
  orion_program *p = make_sums();
  size_t n, m;
  double *want = run_once(specs[0], p, 1, &n);
  for (int i = 1; i < 5; i++) {
    double *got = run_once(specs[i], p, 1, &m);
    assert_int_equal(n, m);
    compare(got, want, n, ORION_FP32, 1, specs[i]);
    if (i == 1) assert_memory_equal(got, want, n * sizeof *got);
    free(got);
  }
  free(want);
  orion_program_destroy(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fused_agrees_with_sim_fp32),      cmocka_unit_test(test_fused_agrees_with_op_by_op_fp32),
      cmocka_unit_test(test_fused_agrees_with_op_by_op_fp16), cmocka_unit_test(test_op_by_op_agrees_with_sim_fp32),
      cmocka_unit_test(test_portable_agrees_with_native),     cmocka_unit_test(test_threads_change_no_bit),
      cmocka_unit_test(test_sums_are_taken_in_place),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
