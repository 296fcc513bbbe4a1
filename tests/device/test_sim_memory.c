// Every allocation of open, compile, surfaces, bindings and update may fail: nothing leaks, the status says so. A run
// allocates nothing.
#include "one_run.h"

static const char text[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, 2, 1, 3]> x) {\n"
    "    tensor<int8, [2, 2, 1, 1]> q = const()[name = string(\"q\"), val = tensor<int8, [2, 2, 1, 1]>([[[[1]], [[2]]], "
    "[[[3]], [[4]]]])];\n"
    "    tensor<fp16, [2, 1, 1, 1]> s = const()[name = string(\"s\"), val = tensor<fp16, [2, 1, 1, 1]>([[[[0.5]]], "
    "[[[2.0]]]])];\n"
    "    tensor<fp16, [2, 2, 1, 1]> w = constexpr_blockwise_shift_scale(data = q, scale = s)[name = string(\"w\")];\n"
    "    tensor<int32, [2]> one = const()[name = string(\"one\"), val = tensor<int32, [2]>([1, 1])];\n"
    "    tensor<int32, [4]> zero = const()[name = string(\"zero\"), val = tensor<int32, [4]>([0, 0, 0, 0])];\n"
    "    string valid = const()[name = string(\"valid\"), val = string(\"valid\")];\n"
    "    int32 groups = const()[name = string(\"groups\"), val = int32(1)];\n"
    "    tensor<fp16, [1, 2, 1, 3]> h = conv(dilations = one, groups = groups, pad = zero, pad_type = valid, strides = "
    "one, weight = w, x = x)[name = string(\"h\")];\n"
    "    tensor<fp16, [1, 2, 1, 3]> y = add(x = h, y = x)[name = string(\"y\")];\n  } -> (y);\n}\n";

static orion_status whole_life(void *ctx, const orion_allocator *a, orion_error *err) {
  one_run r;
  const int8_t q[] = {4, 3, 2, 1};
  orion_status status = one_run_open(&r, a, "sim", 2, ctx, err);
  if (status == ORION_OK) status = orion_run(r.b, err);
  if (status == ORION_OK) status = orion_executable_update(r.e, "q", q, sizeof q, err);
  if (status == ORION_OK) status = orion_run(r.b, err);
  one_run_close(&r);
  return status;
}

// Two executables that share a large constant, until one of them updates it.
static orion_status shared_life(void *ctx, const orion_allocator *a, orion_error *err) {
  one_run r;
  static const uint16_t zeros[64 * 64];
  const char *weight = "w";
  orion_executable *second = NULL;
  orion_status status = one_run_open(&r, a, "sim", 1, ctx, err);
  if (status == ORION_OK) status = orion_device_compile(r.device, ctx, NULL, &second, err);
  if (status == ORION_OK) status = orion_executable_update(second, weight, zeros, sizeof zeros, err);
  if (status == ORION_OK) status = orion_run(r.b, err);
  orion_executable_release(second);
  one_run_close(&r);
  return status;
}

static void failing_allocations_of_shared_constants_leak_nothing(void **state) {
  orion_program *p = one_run_linear(64);
  test_sweep_allocations(shared_life, p, 0);
  orion_program_destroy(p);
}

static void failing_allocations_are_reported_and_leak_nothing(void **state) {
  orion_program *p = one_run_parse(text);
  test_sweep_allocations(whole_life, p, 0);
  orion_program_destroy(p);
}

static void runs_allocate_nothing(void **state) {
  test_heap heap;
  one_run r;
  orion_error err;
  orion_program *p = one_run_parse(text);
  test_heap_init(&heap);
  assert_ok(one_run_open(&r, &heap.allocator, "sim", 2, p, &err), &err);
  size_t calls = heap.calls;
  for (int i = 0; i < 3; i++) assert_ok(orion_run(r.b, &err), &err);
  assert_int_equal(heap.calls, calls);
  one_run_close(&r);
  orion_program_destroy(p);
  test_heap_deinit(&heap);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(failing_allocations_are_reported_and_leak_nothing),
      cmocka_unit_test(failing_allocations_of_shared_constants_leak_nothing),
      cmocka_unit_test(runs_allocate_nothing),
  };
  return cmocka_run_group_tests_name("sim memory", tests, NULL, NULL);
}
