// Products of the same x with constant weights are one step of the plan: the bits of each by itself, for few rows and many, on
// any number of threads; not where one needs the other.
#include "fused.h"

enum { K = 48, MOST = 100 };

static orion_ref matrix(orion_builder *b, const char *name, int64_t n, uint64_t seed) {
  static double v[MOST * K];
  orion_rng rng;
  orion_rng_seed(&rng, seed, 2);
  for (int64_t i = 0; i < n * K; i++) v[i] = (double)(orion_rng_u32(&rng) >> 8) * 0x1p-24 - 0.5;
  return orion_build_floats(b, name, ORION_FP32, 2, (int64_t[]){n, K}, v);
}

static orion_ref vector(orion_builder *b, const char *name, int64_t n) {
  double v[MOST];
  for (int64_t i = 0; i < n; i++) v[i] = 0.01 * (double)(i - 20);
  return orion_build_floats(b, name, ORION_FP32, 1, &n, v);
}

// y0 to y2 of x; the second adds a bias and the third is rounded to halves. `chained`: the second multiplies the first's result,
// which has as many columns as x.
static orion_plan *products(int64_t rows, bool chained) {
  orion_error err = {0};
  orion_program *p;
  orion_builder b;
  begin_program(&b, &p);
  orion_ref x = orion_build_param(&b, "x", ORION_FP32, 2, (int64_t[]){rows, K});
  orion_ref y0 = ORION_BUILD(&b, "y0", ORION_OP_linear, {"x", x}, {"weight", matrix(&b, "w0", K, 1)});
  orion_ref y1 = ORION_BUILD(&b, "y1", ORION_OP_linear, {"x", chained ? y0 : x}, {"weight", matrix(&b, "w1", 100, 2)},
                             {"bias", vector(&b, "b1", 100)});
  orion_ref y2 = ORION_BUILD(&b, "wide", ORION_OP_linear, {"x", x}, {"weight", matrix(&b, "w2", 17, 3)});
  y2 = ORION_BUILD(&b, "y2", ORION_OP_cast, {"x", y2}, {"dtype", orion_build_string(&b, "dtype", "fp16")});
  orion_build_output(&b, (orion_value_id)y0, "y0");
  orion_build_output(&b, (orion_value_id)y1, "y1");
  orion_build_output(&b, (orion_value_id)y2, "y2");
  assert_ok(orion_builder_finish(&b, &err), &err);
  return lowered(p);
}

static void bits_are_those_alone(const orion_plan *plan, int64_t rows) {
  orion_program *p = plan->parts[0].program;
  size_t n, m;
  double *want = run_once("cpu:fusion=off", p, 3, &m);
  for (int threads = 1; threads <= 3; threads++) {
    char device[32];
    snprintf(device, sizeof device, "cpu:threads=%d", threads);
    double *got = run_once(device, p, 3, &n);
    assert_int_equal(n, m);
    if (memcmp(got, want, n * sizeof *got) != 0) fail_msg("%d rows, %d threads: other bits", (int)rows, threads);
    free(got);
  }
  free(want);
}

static void products_of_one_x_are_one_step(void **state) {
  static const int64_t rows[] = {1, 3, 20, 70};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    orion_plan *plan = products(rows[i], false);
    assert_int_equal(steps_of(plan, true), 1);
    bits_are_those_alone(plan, rows[i]);
    orion_plan_destroy(plan);
  }
}

static void a_product_of_a_product_is_a_step_of_its_own(void **state) {
  orion_plan *plan = products(2, true);
  assert_true(steps_of(plan, true) >= 2);
  bits_are_those_alone(plan, 2);
  orion_plan_destroy(plan);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_of_one_x_are_one_step),
      cmocka_unit_test(a_product_of_a_product_is_a_step_of_its_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
