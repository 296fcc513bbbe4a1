// The verifier finds each kind of fault, in programs as a parser would hand them over.
#include "ir/infer.h"
#include "mil/mil.h"
#include "support/support.h"

#define HEAD "program(1.3)\n[buildInfo = dict<string, string>({})]\n{\n    func main<ios18>(tensor<fp16, [2, 3]> x) {\n"
#define ADD "        tensor<fp16, [2, 3]> y = add(x = x, y = x)[name = string(\"y\")];\n"
#define TAIL "    } -> (y);\n}\n"

// Verifies HEAD + body + TAIL; expects a finding of `rule` whose message contains `words`, or none if rule is NULL.
static void expect(const char *body, const char *rule, const char *words) {
  char text[4096];
  snprintf(text, sizeof text, "%s%s%s", HEAD, body, TAIL);
  orion_error err = {0};
  orion_program *p;
  orion_findings found;
  assert_ok(orion_mil_parse(NULL, text, strlen(text), "t.mil", &p, &err), &err);
  orion_findings_init(&found, NULL);
  assert_ok(orion_verify(p, &found, &err), &err);
  bool hit = !rule && found.n == 0;
  for (size_t i = 0; i < found.n; i++) {
    if (rule && strcmp(found.items[i].rule, rule) == 0 && strstr(found.items[i].message, words)) hit = true;
  }
  if (!hit) {
    fail_msg("%s\nexpected %s '%s', first is %s '%s'", body, rule ? rule : "nothing", words ? words : "",
             found.n ? found.items[0].rule : "nothing", found.n ? found.items[0].message : "");
  }
  orion_status status = orion_verify_ok(p, &err);
  assert_int_equal(status, orion_findings_fatal(&found) ? ORION_FORMAT : ORION_OK);
  if (status != ORION_OK) assert_non_null(strstr(err.message, "line "));
  orion_findings_deinit(&found);
  orion_program_destroy(p);
}

static void test_each_fault_is_found(void **state) {
  expect(ADD, NULL, NULL);
  expect("tensor<fp16, [2, 3]> y = add(x = x, y = z)[name = string(\"y\")];\n", "name", "z is not defined");
  expect("tensor<fp16, [2, 3]> y = add(x = x, y = z);\ntensor<fp16, [2, 3]> z = relu(x = x);\n", "name",
         "used before it is defined");
  expect(ADD ADD, "name", "defined twice");
  expect("tensor<fp16, [2, 3]> z = relu(x = x);\n", "name", "result y is not defined");
  expect("tensor<fp16, [2, 3]> y = add(x = x);\n", "argument", "argument y: missing");
  expect("tensor<fp16, [2, 3]> y = relu(x = x, y = x);\n", "argument", "no argument of that name");
  expect("int32 i = const()[name = string(\"i\"), val = int32(1)];\ntensor<fp16, [2, 3]> y = relu(x = i);\n", "argument",
         "floating-point");
  expect("tensor<fp16, [3, 2]> y = add(x = x, y = x);\n", "shape", "declared tensor<fp16, [3, 2]>");
  expect("tensor<fp32, [2, 3]> y = add(x = x, y = x);\n", "type", "declared tensor<fp32, [2, 3]>");
  expect("tensor<fp16, [?, 3]> y = add(x = x, y = x);\n", NULL, NULL);
  expect("tensor<fp16, [2, 3]> y, tensor<fp16, [2, 3]> z = relu(x = x);\n", "type", "has 2 results");
  expect("tensor<fp16, [2, 3]> y = frobnicate(x = x);\n", "op", "not in the op table");
  expect("int32 a = const()[name = string(\"a\"), val = int32(7)];\ntensor<fp16, [2, 3]> y = softmax(x = x, axis = a);\n",
         "type", "outside rank");
}

static void test_constants_must_be_complete(void **state) {
  orion_error err = {0};
  orion_program *p;
  orion_function *f;
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  const orion_type *t = orion_type_tensor(p, ORION_FP32, 1, (int64_t[]){4});
  static const float elements[4] = {0};
  const orion_literal *good = orion_literal_data(p, t, orion_data_copy(p->data, ORION_FP32, 4, 1, elements));
  const orion_literal *few = orion_literal_data(p, t, orion_data_copy(p->data, ORION_FP32, 3, 1, elements));
  const orion_literal *other = orion_literal_data(p, t, orion_data_copy(p->data, ORION_INT32, 4, 1, elements));
  const orion_literal *unbound = orion_literal_blob(p, t, "@model_path/weights/weight.bin", 64);
  const orion_literal *nameless = orion_literal_blob(p, t, "", 64);
  const orion_literal *vals[] = {good, few, other, unbound, nameless};
  static const char *const names[] = {"good", "few", "other", "unbound", "nameless"};
  for (int i = 0; i < 5; i++) {
    orion_attr attr = {"val", vals[i]};
    orion_op_spec spec = {.code = ORION_OP_const, .attrs = &attr, .n_attrs = 1, .result_names = &names[i],
                          .result_types = &t, .n_results = 1, .before = ORION_NONE};
    assert_int_not_equal(orion_function_add_op(f, &spec), ORION_NONE);
  }
  orion_findings found;
  orion_findings_init(&found, NULL);
  assert_ok(orion_verify(p, &found, &err), &err);
  assert_int_equal(found.n, 3);
  for (size_t i = 0; i < found.n; i++) assert_string_equal(found.items[i].rule, "constant");
  assert_string_equal(found.items[0].value, "few");
  assert_string_equal(found.items[1].value, "other");
  assert_string_equal(found.items[2].value, "nameless");
  orion_findings_deinit(&found);
  orion_program_destroy(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_fault_is_found),
      cmocka_unit_test(test_constants_must_be_complete),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
