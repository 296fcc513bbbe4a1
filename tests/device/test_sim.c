// What the sim promises beyond single operations: indices are checked, memory is shared between values without harm,
// constants in compressed form can be updated, and what it lacks is said.
#include "one_run.h"

#include <math.h>

static one_run start(const char *text) {
  one_run r;
  orion_error err;
  orion_program *p = one_run_parse(text);
  assert_ok(one_run_open(&r, NULL, "sim", 2, p, &err), &err);
  r.program = p;
  return r;
}

static const char gather_text[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp32, [3]> x, tensor<int32, [2]> i) {\n"
    "    int32 axis = const()[name = string(\"axis\"), val = int32(0)];\n"
    "    int32 batch = const()[name = string(\"batch\"), val = int32(0)];\n"
    "    bool check = const()[name = string(\"check\"), val = bool(false)];\n"
    "    tensor<fp32, [2]> y = gather(axis = axis, batch_dims = batch, indices = i, validate_indices = check, x = x)"
    "[name = string(\"y\")];\n  } -> (y);\n}\n";

static void an_index_outside_fails_the_run_and_not_the_next(void **state) {
  one_run r = start(gather_text);
  orion_error err;
  float y[2];
  one_run_floats(&r, 0, (const float[]){1, 2, 3});
  one_run_ints(&r, 1, (const int32_t[]){0, 3});
  assert_error(orion_run(r.b, &err), ORION_DEVICE, &err, "index 3");
  one_run_ints(&r, 1, (const int32_t[]){-4, 0});
  assert_error(orion_run(r.b, &err), ORION_DEVICE, &err, "index -4");
  one_run_ints(&r, 1, (const int32_t[]){-1, 0});
  assert_ok(orion_run(r.b, &err), &err);
  one_run_read(&r, 2, y);
  assert_true(y[0] == 3 && y[1] == 1);
  one_run_close(&r);
}

static const char slice_text[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp32, [6]> x, tensor<int32, [1]> at) {\n"
    "    tensor<int32, [1]> size = const()[name = string(\"size\"), val = tensor<int32, [1]>([2])];\n"
    "    tensor<fp32, [2]> y = slice_by_size(begin = at, size = size, x = x)[name = string(\"y\")];\n  } -> (y);\n}\n";

static void a_slice_that_starts_at_run_time_is_checked(void **state) {
  one_run r = start(slice_text);
  orion_error err;
  float y[2];
  one_run_floats(&r, 0, (const float[]){0, 1, 2, 3, 4, 5});
  one_run_ints(&r, 1, (const int32_t[]){3});
  assert_ok(orion_run(r.b, &err), &err);
  one_run_read(&r, 2, y);
  assert_true(y[0] == 3 && y[1] == 4);
  for (int bad = 0; bad < 3; bad++) {
    one_run_ints(&r, 1, &(const int32_t[]){5, INT32_MAX, INT32_MIN}[bad]);
    assert_error(orion_run(r.b, &err), ORION_DEVICE, &err, "not within");
  }
  one_run_close(&r);
}

static const char reshape_text[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp32, [6]> x, tensor<int32, [2]> shape) {\n"
    "    tensor<fp32, [4, 3]> y = reshape(shape = shape, x = x)[name = string(\"y\")];\n  } -> (y);\n}\n";

static void a_shape_of_the_run_must_be_the_declared_one(void **state) {
  one_run r;
  orion_error err;
  orion_program *p = one_run_parse(reshape_text);
  orion_status status = one_run_open(&r, NULL, "sim", 1, p, &err);
  r.program = p;
  if (status == ORION_OK) status = orion_run(r.b, &err);
  assert_true(status == ORION_REFUSED || status == ORION_DEVICE);
  one_run_close(&r);
}

// x, x+1, (x+1)*x, ... : early values live on while later ones reuse the memory of the dead.
static const char chain_text[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp32, [16]> x) {\n"
    "    fp32 one = const()[name = string(\"one\"), val = fp32(1)];\n"
    "    tensor<fp32, [16]> a = add(x = x, y = one)[name = string(\"a\")];\n"
    "    tensor<fp32, [16]> b = add(x = a, y = one)[name = string(\"b\")];\n"
    "    tensor<fp32, [16]> c = add(x = b, y = a)[name = string(\"c\")];\n"
    "    tensor<fp32, [16]> unused = add(x = c, y = c)[name = string(\"unused\")];\n"
    "    tensor<fp32, [16]> d = add(x = c, y = one)[name = string(\"d\")];\n"
    "    tensor<fp32, [16]> e = mul(x = d, y = x)[name = string(\"e\")];\n"
    "    tensor<fp32, [16]> f = add(x = e, y = a)[name = string(\"f\")];\n"
    "  } -> (b, f);\n}\n";

static void values_share_memory_only_after_their_last_use(void **state) {
  one_run r = start(chain_text);
  orion_error err;
  float x[16], b[16], f[16];
  for (int i = 0; i < 16; i++) x[i] = (float)i;
  one_run_floats(&r, 0, x);
  for (int turn = 0; turn < 2; turn++) {
    assert_ok(orion_run(r.b, &err), &err);
    one_run_read(&r, 1, b);
    one_run_read(&r, 2, f);
    for (int i = 0; i < 16; i++) {
      assert_true(b[i] == x[i] + 2);
      assert_true(f[i] == (2 * x[i] + 4) * x[i] + x[i] + 1);
    }
  }
  one_run_close(&r);
}

static const char folded_text[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [2, 2]> x) {\n"
    "    tensor<int8, [2, 2]> q = const()[name = string(\"q\"), val = tensor<int8, [2, 2]>([[1, 2], [3, 4]])];\n"
    "    tensor<fp16, [2, 1]> s = const()[name = string(\"s\"), val = tensor<fp16, [2, 1]>([[0.5], [2.0]])];\n"
    "    tensor<fp16, [2, 2]> w = constexpr_blockwise_shift_scale(data = q, scale = s)[name = string(\"w\")];\n"
    "    tensor<fp16, [2, 2]> y = mul(x = x, y = w)[name = string(\"y\")];\n  } -> (y);\n}\n";

static void compressed_constants_can_be_updated(void **state) {
  one_run r = start(folded_text);
  orion_error err;
  float y[4];
  one_run_floats(&r, 0, (const float[]){1, 1, 1, 1});
  assert_ok(orion_run(r.b, &err), &err);
  one_run_read(&r, 1, y);
  assert_true(y[0] == 0.5f && y[1] == 1 && y[2] == 6 && y[3] == 8);
  assert_ok(orion_executable_update(r.e, "q", (const int8_t[]){-1, 0, 1, 127}, 4, &err), &err);
  assert_ok(orion_executable_update(r.e, "s", (const uint16_t[]){0x3c00, 0x4000}, 4, &err), &err);  // 1, 2
  assert_ok(orion_run(r.b, &err), &err);
  one_run_read(&r, 1, y);
  assert_true(y[0] == -1 && y[1] == 0 && y[2] == 2 && y[3] == 254);
  one_run_close(&r);
}

static void shared_weights_are_updated_for_one_executable_only(void **state) {
  orion_error err;
  orion_program *p = one_run_linear(256);
  const char *weight = NULL;
  const orion_function *f = p->functions[0];
  for (size_t v = 0; v < f->n_values; v++) {
    if (f->values[v].type->rank == 2 && f->values[v].type->dims[0] == 256) weight = f->values[v].name;
  }
  test_heap heap;
  test_heap_init(&heap);
  one_run r;
  orion_executable *second;
  orion_bindings *b;
  assert_ok(one_run_open(&r, &heap.allocator, "sim", 1, p, &err), &err);
  size_t before = heap.live_bytes;
  assert_ok(orion_device_compile(r.device, p, NULL, &second, &err), &err);
  assert_true(heap.live_bytes - before < 256 * 256 * sizeof(float));
  assert_ok(orion_bindings_create(second, &b, &err), &err);
  assert_ok(orion_bind(b, "x", r.surfaces[0], &err), &err);
  assert_ok(orion_bind(b, "y", r.surfaces[1], &err), &err);
  float x[256], y[256];
  for (int i = 0; i < 256; i++) x[i] = 0.5f;
  one_run_floats(&r, 0, x);
  static const uint16_t zeros[256 * 256];
  assert_ok(orion_executable_update(second, weight, zeros, sizeof zeros, &err), &err);
  assert_ok(orion_run(b, &err), &err);
  one_run_read(&r, 1, y);
  assert_true(y[0] == 0 && y[255] == 0);
  assert_ok(orion_run(r.b, &err), &err);
  one_run_read(&r, 1, y);
  assert_true(y[0] == 128 && y[255] == 128);
  orion_bindings_destroy(b);
  orion_executable_release(second);
  one_run_close(&r);
  orion_program_destroy(p);
  test_heap_deinit(&heap);
}

static const char overflow_text[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [2]> x) {\n"
    "    tensor<fp16, [2]> a = mul(x = x, y = x)[name = string(\"a\")];\n"
    "    tensor<fp16, [2]> y = sub(x = a, y = a)[name = string(\"y\")];\n  } -> (a, y);\n}\n";

static void every_value_is_rounded_to_its_type_and_nan_is_not_hidden(void **state) {
  one_run r = start(overflow_text);
  orion_error err;
  float a[2], y[2];
  one_run_floats(&r, 0, (const float[]){300, 1.0009766f});
  assert_ok(orion_run(r.b, &err), &err);
  one_run_read(&r, 1, a);
  one_run_read(&r, 2, y);
  assert_true(isinf(a[0]) && isnan(y[0]));
  assert_true(a[1] == 1.0019531f && y[1] == 0);
  one_run_close(&r);
}

static void what_it_lacks_is_said_with_its_place(void **state) {
  static const struct {
    const char *body, *says;
  } cases[] = {
      {"    tensor<int32, [?, 1]> y = non_zero(x = x)[name = string(\"y\")];\n", "non_zero"},
      {"    string mode = const()[name = string(\"mode\"), val = string(\"circular\")];\n"
       "    fp32 v = const()[name = string(\"v\"), val = fp32(0)];\n"
       "    tensor<int32, [2]> p = const()[name = string(\"p\"), val = tensor<int32, [2]>([1, 1])];\n"
       "    tensor<fp32, [6]> y = pad(constant_val = v, mode = mode, pad = p, x = x)[name = string(\"y\")];\n",
       "mode"},
      {"    string eq = const()[name = string(\"eq\"), val = string(\"a,b,c->abc\")];\n"
       "    tensor<fp32, [4, 4, 4]> y = einsum(equation = eq, values = (x, x, x))[name = string(\"y\")];\n",
       ""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    orion_error err;
    char text[2048];
    orion_device *d;
    orion_findings findings;
    snprintf(text, sizeof text, "program(1.3)\n{\n  func main<ios18>(tensor<fp32, [4]> x) {\n%s  } -> (y);\n}\n",
             cases[i].body);
    orion_program *p = one_run_parse(text);
    assert_ok(orion_device_open("sim", 1, NULL, &d, &err), &err);
    orion_findings_init(&findings, NULL);
    assert_ok(orion_device_supports(d, p, &findings, &err), &err);
    assert_true(orion_findings_fatal(&findings));
    assert_non_null(strstr(findings.items[0].message, cases[i].says));
    assert_true(findings.items[0].loc.line >= 4);
    orion_findings_deinit(&findings);
    orion_program_destroy(p);
    orion_device_close(d);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_index_outside_fails_the_run_and_not_the_next),
      cmocka_unit_test(a_slice_that_starts_at_run_time_is_checked),
      cmocka_unit_test(a_shape_of_the_run_must_be_the_declared_one),
      cmocka_unit_test(values_share_memory_only_after_their_last_use),
      cmocka_unit_test(compressed_constants_can_be_updated),
      cmocka_unit_test(shared_weights_are_updated_for_one_executable_only),
      cmocka_unit_test(every_value_is_rounded_to_its_type_and_nan_is_not_hidden),
      cmocka_unit_test(what_it_lacks_is_said_with_its_place),
  };
  return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
