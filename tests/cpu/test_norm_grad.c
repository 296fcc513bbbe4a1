// The gradient of a norm in one step: the same numbers as operation by operation and as the simulator, for any number of threads
// the same bits, with and without what is added to it, and for a norm whose gamma is not trained.
#include "fused.h"

typedef struct norm {
  bool centred;       // layer_norm, else the root mean square
  int64_t rows, n, groups;
  bool residual;      // y = norm(h) + h, h = x w: dx meets what came past the norm
  bool fixed;         // gamma and beta are not trained
  bool ones;          // gamma is ones, which the program does without
} norm;

static orion_value_id build_norm(orion_builder *b, const norm *s, orion_ref h) {
  const int64_t n[] = {s->n / s->groups};
  double ones[32];
  for (int i = 0; i < 32; i++) ones[i] = 1;
  orion_ref gamma = s->ones ? orion_build_floats(b, "gamma", ORION_FP32, 1, n, ones)
                            : orion_build_param(b, "gamma", ORION_FP32, 1, n);
  orion_ref epsilon = orion_build_float(b, "epsilon", ORION_FP32, 1e-2);
  if (!s->centred) {
    return ORION_BUILD(b, "normed", ORION_OP_orion_rms_norm, {"x", h}, {"gamma", gamma}, {"epsilon", epsilon},
                       {"groups", orion_build_int(b, "groups", s->groups)});
  }
  orion_ref beta = orion_build_param(b, "beta", ORION_FP32, 1, n);
  return ORION_BUILD(b, "normed", ORION_OP_layer_norm, {"x", h}, {"axes", orion_build_ints(b, "axes", 1, (int64_t[]){-1})},
                     {"gamma", gamma}, {"beta", beta}, {"epsilon", epsilon});
}

// dx, dgamma and dbeta, for a gradient dy that is an input.
static orion_plan *gradient_plan(const norm *s) {
  orion_error err = {0};
  orion_program *forward;
  orion_builder b;
  begin_program(&b, &forward);
  orion_ref x = orion_build_param(&b, "x", ORION_FP32, 2, (int64_t[]){s->rows, s->n});
  orion_ref w = orion_build_param(&b, "w", ORION_FP32, 2, (int64_t[]){s->rows, s->n});
  orion_value_id h = ORION_BUILD(&b, "h", ORION_OP_mul, {"x", x}, {"y", w}), y = build_norm(&b, s, h);
  if (s->residual) y = ORION_BUILD(&b, "y", ORION_OP_add, {"x", y}, {"y", h});
  else y = ORION_BUILD(&b, "y", ORION_OP_mul, {"x", y}, {"y", w});
  orion_build_output(&b, y, "y");
  assert_ok(orion_builder_finish(&b, &err), &err);
  static const char *const wrt[] = {"x", "gamma", "beta"};
  return lowered(with_gradients(forward, "y", "dy", wrt, s->fixed ? 1 : s->centred ? 3 : 2));
}

static const norm norms[] = {
    {true, 40, 96, 1, false, false, false}, {true, 7, 33, 1, true, false, false},   {true, 300, 64, 1, true, true, false},
    {true, 2, 1, 1, true, false, false},    {true, 21, 32, 1, true, false, true},   {false, 40, 96, 1, true, false, false},
    {false, 19, 60, 3, false, false, false}, {false, 5, 100, 1, true, true, false}, {false, 1100, 24, 1, true, false, false},
    {false, 34, 32, 1, true, false, true},  {false, 34, 32, 1, false, true, true},
};
enum { NORMS = sizeof norms / sizeof *norms };

static void it_equals_the_operations_it_stands_for(void **state) {
  for (size_t i = 0; i < NORMS; i++) {
    orion_plan *plan = gradient_plan(&norms[i]);
    fused_equals_spelt(plan, i);
    orion_plan_destroy(plan);
  }
}

static void threads_give_the_same_bits(void **state) {
  for (size_t i = 0; i < NORMS; i++) {
    orion_plan *plan = gradient_plan(&norms[i]);
    threads_agree(plan);
    orion_plan_destroy(plan);
  }
}

// h, its norm, y, the gradient, that of h beside it, and dx. A norm in groups shares its statistics with the forward part, and
// stays as it is spelt.
static void the_gradient_is_one_step(void **state) {
  for (size_t i = 0; i < NORMS; i++) {
    orion_plan *plan = gradient_plan(&norms[i]);
    size_t fused = steps_of(plan, true), spelt = steps_of(plan, false);
    print_message("# %zu: %zu steps, %zu operation by operation\n", i, fused, spelt);
    orion_plan_destroy(plan);
    if (norms[i].groups == 1) assert_true(fused <= (norms[i].residual ? 5 : 6) && spelt >= 15);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_equals_the_operations_it_stands_for),
      cmocka_unit_test(threads_give_the_same_bits),
      cmocka_unit_test(the_gradient_is_one_step),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
