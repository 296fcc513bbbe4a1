// Inputs and outputs made uniform come with a map that says what became of each.
#include "ir/infer.h"
#include "mil/mil.h"
#include "opt/uniform_io.h"
#include "support/support.h"

static const char text[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, 4, 1, 32]> z, tensor<fp16, [1, 4, 1, 32]> a) {\n"
    "    tensor<fp16, [1, 4, 1, 32]> y = add(x = z, y = a)[name = string(\"y\")];\n"
    "    int32 axis = const()[name = string(\"axis\"), val = int32(1)];\n"
    "    bool keep = const()[name = string(\"keep\"), val = bool(true)];\n"
    "    tensor<int32, [1]> axes = const()[name = string(\"axes\"), val = tensor<int32, [1]>([1])];\n"
    "    tensor<fp16, [1, 1, 1, 32]> b = reduce_sum(axes = axes, keep_dims = keep, x = y)[name = string(\"b\")];\n"
    "  } -> (y, b, z);\n}\n";

static orion_program *parse(const orion_allocator *a) {
  orion_error err;
  orion_program *p;
  assert_ok(orion_mil_parse(a, text, sizeof text - 1, "t", &p, &err), &err);
  return p;
}

static void the_map_names_every_input_and_output(void **state) {
  orion_error err;
  orion_io_map map;
  orion_arena arena;
  orion_program *p = parse(NULL);
  orion_function *f = p->functions[0];
  orion_arena_init(&arena, NULL);
  assert_ok(orion_uniform_io(f, ORION_IO_OWN_VALUES | ORION_IO_SORTED_NAMES | ORION_IO_EQUAL_SIZES, &arena, &map, &err), &err);
  assert_ok(orion_verify_ok(p, &err), &err);
  static const struct {
    const char *from, *to;
    int64_t channels;
  } want[] = {{"z", "i00_z", 0}, {"a", "i01_a", 0}, {"y", "o00_y", 0}, {"b", "o01_b", 1}, {"z", "o02_z", 0}};
  assert_int_equal(map.n, 5);
  for (size_t i = 0; i < 5; i++) {
    assert_string_equal(map.items[i].from, want[i].from);
    assert_string_equal(map.items[i].to, want[i].to);
    assert_int_equal(map.items[i].channels, want[i].channels);
    assert_int_equal(map.items[i].input, i < 2);
  }
  for (size_t i = 0; i < 3; i++) {
    assert_string_equal(f->values[f->outputs[i]].name, map.items[2 + i].to);
    assert_int_equal(orion_value_type(f, f->outputs[i])->dims[1], 4);
    assert_true(f->values[f->outputs[i]].def != ORION_NONE);
  }
  orion_arena_deinit(&arena);
  orion_program_destroy(p);
}

static void outputs_of_different_widths_are_left_as_they_are(void **state) {
  static const char other[] =
      "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, 4, 1, 32]> x, tensor<fp16, [1, 2, 1, 64]> z) {\n"
      "    tensor<fp16, [1, 4, 1, 32]> y = relu(x = x)[name = string(\"y\")];\n"
      "    tensor<fp16, [1, 2, 1, 64]> w = relu(x = z)[name = string(\"w\")];\n  } -> (y, w);\n}\n";
  orion_error err;
  orion_io_map map;
  orion_arena arena;
  orion_program *p;
  assert_ok(orion_mil_parse(NULL, other, sizeof other - 1, "t", &p, &err), &err);
  orion_arena_init(&arena, NULL);
  assert_ok(orion_uniform_io(p->functions[0], ORION_IO_EQUAL_SIZES, &arena, &map, &err), &err);
  assert_int_equal(map.changes, 0);
  orion_arena_deinit(&arena);
  orion_program_destroy(p);
}

static orion_status make_uniform(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_program *p;
  orion_io_map map;
  orion_arena arena;
  ORION_TRY(orion_mil_parse(a, text, sizeof text - 1, "t", &p, err));
  orion_arena_init(&arena, a);
  orion_status status = orion_uniform_io(p->functions[0], ORION_IO_OWN_VALUES | ORION_IO_SORTED_NAMES | ORION_IO_EQUAL_SIZES,
                                         &arena, &map, err);
  orion_arena_deinit(&arena);
  orion_program_destroy(p);
  return status;
}

static void a_failing_allocation_is_reported(void **state) { test_sweep_allocations(make_uniform, NULL, 0); }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_map_names_every_input_and_output),
      cmocka_unit_test(outputs_of_different_widths_are_left_as_they_are),
      cmocka_unit_test(a_failing_allocation_is_reported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
