// Building, copying and editing programs, with memory and without.
#include "ir/builder.h"
#include "ir/infer.h"
#include "support/support.h"

static orion_status build_program(const orion_allocator *a, orion_program **out, orion_error *err) {
  orion_program *p;
  orion_function *f;
  ORION_TRY(orion_program_create(a, NULL, &p, err));
  orion_status status = orion_program_add_function(p, "main", "ios18", &f, err);
  if (status == ORION_OK) {
    orion_builder b;
    orion_builder_init(&b, f);
    snprintf(b.prefix, sizeof b.prefix, "l0_");
    static const int64_t dims[] = {1, 4, 1, 6}, weight_dims[] = {8, 4, 1, 1};
    static const double weights[32] = {1, 2, 3};
    orion_value_id x = orion_build_param(&b, "x", ORION_FP16, 4, dims);
    orion_ref w = orion_build_floats(&b, "w", ORION_FP16, 4, weight_dims, weights);
    orion_value_id y = ORION_BUILD(&b, "h", ORION_OP_conv, {"x", x}, {"weight", w}, {"bias", ORION_NONE});
    orion_value_id half[2];
    orion_build_multi(&b, "part", ORION_OP_split,
                      (const orion_in[]){{"x", y}, {"num_splits", orion_build_int(&b, NULL, 2)},
                                         {"axis", orion_build_int(&b, NULL, 1)}, {0}}, 2, half);
    orion_value_id z = orion_build_tuple_op(&b, "h", ORION_OP_concat, "values", 2, half,
                                            (const orion_in[]){{"axis", orion_build_int(&b, "axis", 1)},
                                                               {"interleave", orion_build_bool(&b, NULL, false)}, {0}});
    orion_build_output(&b, ORION_BUILD(&b, "r", ORION_OP_relu, {"x", z}), "y");
    status = orion_builder_finish(&b, err);
  }
  if (status != ORION_OK) {
    orion_program_destroy(p);
    return status;
  }
  *out = p;
  return ORION_OK;
}

static void test_built_programs_are_named_typed_and_valid(void **state) {
  orion_error err = {0};
  orion_program *p;
  assert_ok(build_program(NULL, &p, &err), &err);
  assert_ok(orion_verify_ok(p, &err), &err);
  orion_function *f = p->functions[0];
  orion_value_id h = orion_function_find(f, "l0_h"), second = orion_function_find(f, "l0_h_1");
  assert_string_equal(orion_type_text(f->values[h].type).text, "tensor<fp16, [1, 8, 1, 6]>");
  assert_string_equal(orion_type_text(f->values[second].type).text, "tensor<fp16, [1, 8, 1, 6]>");
  assert_int_not_equal(orion_function_find(f, "l0_part_1"), ORION_NONE);
  orion_value_id y = f->outputs[0];
  assert_string_equal(f->values[y].name, "y");
  assert_int_equal(orion_function_find(f, "l0_r"), ORION_NONE);
  assert_string_equal(orion_op_attr(&f->ops[f->values[y].def], "name")->strings[0], "y");
  orion_program_destroy(p);
}

static void test_the_first_failure_sticks(void **state) {
  orion_error err = {0};
  orion_program *p;
  orion_function *f;
  orion_builder b;
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  orion_builder_init(&b, f);
  orion_value_id x = orion_build_param(&b, "x", ORION_FP16, 1, (int64_t[]){3});
  orion_value_id w = orion_build_param(&b, "w", ORION_FP16, 1, (int64_t[]){4});
  assert_int_equal(ORION_BUILD(&b, "s", ORION_OP_add, {"x", x}, {"y", w}), ORION_NONE);
  size_t n = f->n_ops;
  assert_int_equal(ORION_BUILD(&b, "t", ORION_OP_relu, {"x", x}), ORION_NONE);
  assert_int_equal(f->n_ops, n);
  assert_error(orion_builder_finish(&b, &err), ORION_INVALID, &err, "add s: arguments x and y");
  orion_program_destroy(p);
}

static void test_operations_go(void **state) {
  orion_error err = {0};
  orion_program *p;
  assert_ok(build_program(NULL, &p, &err), &err);
  orion_function *f = p->functions[0];
  orion_op_id relu = f->last;
  orion_value_id y = f->outputs[0], z = orion_op_value(&f->ops[relu], "x");
  orion_function_replace_uses(f, y, z);
  orion_function_remove_op(f, relu);
  assert_int_equal(f->outputs[0], z);
  assert_int_equal(orion_function_find(f, "y"), ORION_NONE);
  assert_ok(orion_verify_ok(p, &err), &err);
  size_t forward = 0, backward = 0;
  ORION_EACH_OP(f, id) forward++;
  for (orion_op_id i = f->last; i != ORION_NONE; i = f->ops[i].prev) backward++;
  assert_int_equal(forward, backward);
  assert_true(orion_op_drop_arg(f, f->values[z].def, "interleave"));
  assert_false(orion_op_drop_arg(f, f->values[z].def, "interleave"));
  assert_ok(orion_verify_ok(p, &err), &err);
  orion_program_destroy(p);
}

static orion_status build_clone_verify(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_program *p = NULL, *copy = NULL;
  orion_status status = build_program(a, &p, err);
  if (status == ORION_OK) status = orion_program_clone(p, &copy, err);
  if (status == ORION_OK) status = orion_verify_ok(copy, err);
  orion_program_destroy(copy);
  orion_program_destroy(p);
  return status;
}

static void test_every_failed_allocation_is_reported(void **state) { test_sweep_allocations(build_clone_verify, NULL, 0); }

static void test_many_equal_stems_stay_quick(void **state) {
  orion_error err = {0};
  orion_program *p;
  orion_function *f;
  orion_builder b;
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  orion_builder_init(&b, f);
  for (int i = 0; i < 20000; i++) orion_build_int(&b, NULL, i);
  assert_ok(orion_builder_finish(&b, &err), &err);
  assert_int_equal(orion_function_find(f, "c_19999"), 19999);
  assert_true(orion_value_rename(f, 5, "five"));
  assert_int_equal(orion_function_find(f, "five"), 5);
  assert_int_equal(orion_function_find(f, "c_5"), ORION_NONE);
  orion_program_destroy(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_built_programs_are_named_typed_and_valid),
      cmocka_unit_test(test_the_first_failure_sticks),
      cmocka_unit_test(test_operations_go),
      cmocka_unit_test(test_every_failed_allocation_is_reported),
      cmocka_unit_test(test_many_equal_stems_stay_quick),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
