// Chains that pull in values of several users: the same bits as operation by operation, whatever is shared and however much of
// it, and the slopes of activations in one step.
#include "fused.h"

// Values of one shape made of others made before, now and then one that all earlier ones meet in, or that is stored too.
static orion_program *tangle(uint64_t seed) {
  static const orion_opcode binaries[] = {ORION_OP_add, ORION_OP_mul, ORION_OP_sub, ORION_OP_maximum};
  static const orion_opcode unaries[] = {ORION_OP_tanh, ORION_OP_sigmoid, ORION_OP_square, ORION_OP_abs};
  enum { MADE = 48 };
  const int64_t dims[] = {9, 70};
  orion_error err = {0};
  orion_program *p;
  orion_builder b;
  orion_rng rng;
  orion_rng_seed(&rng, seed, 7);
  begin_program(&b, &p);
  orion_ref v[MADE];
  static const char *const params[] = {"x0", "x1", "x2"};
  for (int i = 0; i < 3; i++) v[i] = orion_build_param(&b, params[i], ORION_FP32, 2, dims);
  for (int i = 3; i < MADE; i++) {
    uint32_t near = i < 8 ? (uint32_t)i : 8, from = (uint32_t)i - near;
    orion_ref x = v[from + orion_rng_u32(&rng) % near], y = v[from + orion_rng_u32(&rng) % near];
    if (orion_rng_u32(&rng) % 3) {
      v[i] = ORION_BUILD(&b, "v", binaries[orion_rng_u32(&rng) % 4], {"x", x}, {"y", y});
    } else {
      v[i] = ORION_BUILD(&b, "v", unaries[orion_rng_u32(&rng) % 4], {"x", x});
    }
    char name[16];
    snprintf(name, sizeof name, "kept%d", i);
    if (orion_rng_u32(&rng) % 16 == 0) orion_build_output(&b, (orion_value_id)v[i], name);
  }
  orion_ref sum = v[MADE - 1];
  for (int i = MADE - 8; i < MADE - 1; i++) sum = ORION_BUILD(&b, "sum", ORION_OP_add, {"x", sum}, {"y", v[i]});
  orion_build_output(&b, (orion_value_id)ORION_BUILD(&b, "y", ORION_OP_tanh, {"x", sum}), "y");
  assert_ok(orion_builder_finish(&b, &err), &err);
  return p;
}

static void tangled_values_have_the_same_bits(void **state) {
  for (uint64_t seed = 1; seed <= 60; seed++) {
    orion_plan *plan = lowered(tangle(seed));
    orion_program *p = plan->parts[0].program;
    size_t n, m;
    double *got = run_once("cpu", p, 3, &n), *want = run_once("cpu:fusion=off", p, 3, &m);
    assert_int_equal(n, m);
    if (memcmp(got, want, n * sizeof *got) != 0) fail_msg("seed %d", (int)seed);
    free(got);
    free(want);
    orion_plan_destroy(plan);
  }
}

// dx of an activation, for a gradient dy that is an input.
static orion_plan *slope(orion_opcode code, const char *mode) {
  orion_error err = {0};
  orion_program *forward;
  orion_builder b;
  begin_program(&b, &forward);
  orion_ref x = orion_build_param(&b, "x", ORION_FP32, 2, (int64_t[]){31, 200});
  orion_value_id y = mode ? ORION_BUILD(&b, "y", code, {"x", x}, {"mode", orion_build_string(&b, "mode", mode)})
                          : ORION_BUILD(&b, "y", code, {"x", x});
  orion_build_output(&b, y, "y");
  assert_ok(orion_builder_finish(&b, &err), &err);
  static const char *const wrt[] = {"x"};
  return lowered(with_gradients(forward, "y", "dy", wrt, 1));
}

static void slopes_are_one_step(void **state) {
  static const struct {
    orion_opcode code;
    const char *mode;
  } cases[] = {{ORION_OP_gelu, "EXACT"}, {ORION_OP_gelu, "TANH_APPROXIMATION"}, {ORION_OP_gelu, "SIGMOID_APPROXIMATION"},
               {ORION_OP_silu, NULL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    orion_plan *plan = slope(cases[i].code, cases[i].mode);
    orion_program *p = plan->parts[0].program;
    size_t n, m;
    double *got = run_once("cpu", p, 3, &n), *want = run_once("cpu:fusion=off", p, 3, &m);
    assert_int_equal(n, m);
    assert_memory_equal(got, want, n * sizeof *got);
    free(got);
    free(want);
    size_t fused = steps_of(plan, true), spelt = steps_of(plan, false);
    orion_plan_destroy(plan);
    print_message("# %s: %zu steps, %zu operation by operation\n", cases[i].mode ? cases[i].mode : "silu", fused, spelt);
    assert_true(fused == 2 && spelt > 6);  // y and dx
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tangled_values_have_the_same_bits),
      cmocka_unit_test(slopes_are_one_step),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
