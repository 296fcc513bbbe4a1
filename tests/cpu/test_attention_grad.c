// The gradient of attention in one step: the same numbers as operation by operation and as the simulator, for any number of
// threads the same bits, and without a matrix of all scores.
#include "fused.h"

typedef struct shape {
  int64_t batch, tokens, heads, kv_heads, size;
} shape;

// dq, dk and dv of causal attention, for a gradient dy that is an input.
static orion_plan *gradient_plan(const shape *s) {
  orion_error err = {0};
  orion_program *forward;
  orion_builder b;
  begin_program(&b, &forward);
  const int64_t q_dims[] = {s->batch * s->tokens, s->heads * s->size}, k_dims[] = {q_dims[0], s->kv_heads * s->size};
  orion_ref q = orion_build_param(&b, "q", ORION_FP32, 2, q_dims), k = orion_build_param(&b, "k", ORION_FP32, 2, k_dims);
  orion_ref v = orion_build_param(&b, "v", ORION_FP32, 2, k_dims);
  orion_value_id y = ORION_BUILD(&b, "y", ORION_OP_orion_attention, {"q", q}, {"k", k}, {"v", v},
                                 {"heads", orion_build_int(&b, "heads", s->heads)},
                                 {"kv_heads", orion_build_int(&b, "kv_heads", s->kv_heads)},
                                 {"scale", orion_build_float(&b, "scale", ORION_FP32, 0.3)},
                                 {"batch", orion_build_int(&b, "batch", s->batch)});
  orion_build_output(&b, y, "y");
  assert_ok(orion_builder_finish(&b, &err), &err);
  static const char *const wrt[] = {"q", "k", "v"};
  return lowered(with_gradients(forward, "y", "dy", wrt, 3));
}

static const shape shapes[] = {
    {1, 64, 1, 1, 16}, {2, 200, 4, 4, 32}, {3, 33, 4, 2, 8}, {1, 130, 6, 1, 20}, {2, 2, 2, 2, 5},
};

static void it_equals_the_operations_it_stands_for(void **state) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    orion_plan *plan = gradient_plan(&shapes[i]);
    fused_equals_spelt(plan, i);
    orion_plan_destroy(plan);
  }
}

static void threads_give_the_same_bits(void **state) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    orion_plan *plan = gradient_plan(&shapes[i]);
    threads_agree(plan);
    orion_plan_destroy(plan);
  }
}

static void no_matrix_of_scores_is_kept(void **state) {
  const shape s = {2, 256, 4, 4, 16};
  const size_t scores = (size_t)(s.batch * s.heads * s.tokens * s.tokens) * sizeof(float);
  orion_plan *plan = gradient_plan(&s);
  for (int fuse = 0; fuse < 2; fuse++) {
    size_t bytes = memory_of(plan, fuse);
    print_message("# %zu bytes for the step, where scores take %zu\n", bytes, scores);
    assert_true(fuse ? bytes < scores : bytes > scores);
  }
  orion_plan_destroy(plan);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_equals_the_operations_it_stands_for),
      cmocka_unit_test(threads_give_the_same_bits),
      cmocka_unit_test(no_matrix_of_scores_is_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
