// Each rule of the check is broken by one program, and by that rule alone; a neighbour within the limit is not blamed.
#include "mil/mil.h"
#include "support/support.h"
#include "target/target.h"

#define X "tensor<fp16, [1, 64, 1, 32]>"
#define FUNC(params, body, results) \
  "program(1.3)\n[buildInfo = dict<string, string>({})]\n{\nfunc main<ios18>(" params ") {\n" body "} -> (" results ");\n}\n"
#define OP(type, name, call) type " " name " = " call "[name = string(\"" name "\")];\n"
#define CONST(type, name, value) type " " name " = const()[name = string(\"" name "\"), val = " type "(" value ")];\n"
#define BLOB(type, name, file) CONST(type, name, "BLOBFILE(path = string(\"@model_path/" file "\"), offset = uint64(64))")
#define UNARY(type) FUNC(type " x", OP(type, "y", "relu(x = x)"), "y")
#define RESHAPE(type, n, dims) \
  FUNC(X " x", CONST("tensor<int32, [" n "]>", "s", "[" dims "]") OP(type, "r", "reshape(shape = s, x = x)") \
       CONST("tensor<int32, [4]>", "t", "[1, 64, 1, 32]") OP(X, "y", "reshape(shape = t, x = r)"), "y")
#define CONV(out, in)                                                                                               \
  FUNC("tensor<fp16, [1, " in ", 1, 32]> x", CONST("string", "p", "\"valid\"")                                      \
       CONST("tensor<int32, [2]>", "s", "[1, 1]") CONST("tensor<int32, [4]>", "z", "[0, 0, 0, 0]")                  \
       CONST("int32", "g", "1") BLOB("tensor<fp16, [" out ", " in ", 1, 1]>", "w", "w.bin")                         \
       OP("tensor<fp16, [1, " out ", 1, 32]>", "y",                                                                 \
          "conv(dilations = s, groups = g, pad = z, pad_type = p, strides = s, weight = w, x = x)"), "y")
#define SLICE(begin) \
  FUNC(X " x", CONST("tensor<int32, [4]>", "b", begin) CONST("tensor<int32, [4]>", "s", "[1, 32, 1, 32]") \
       OP("tensor<fp16, [1, 32, 1, 32]>", "y", "slice_by_size(begin = b, size = s, x = x)"), "y")
#define CONCAT(args) \
  FUNC(X " x", CONST("int32", "a", "1") CONST("bool", "i", "false") \
       OP("tensor<fp16, [1, 128, 1, 32]>", "y", "concat(" args "values = (x, x))"), "y")
#define EPSILON(op, args) \
  FUNC(X " x", CONST("fp16", "e", "0x1p-10") OP(X, "y", op "(" args "x = x)"), "y")
#define MATMUL(flag) \
  FUNC("tensor<fp16, [1, 4, 32, 32]> x", CONST("bool", "f", "false") \
       OP("tensor<fp16, [1, 4, 32, 32]>", "y", "matmul(transpose_x = " flag ", transpose_y = f, x = x, y = x)"), "y")
#define SDPA(mask) \
  FUNC("tensor<fp16, [1, 4, 32, 32]> q", CONST("bool", "f", "false") BLOB("tensor<fp16, [32, 32]>", "m", "m.bin") \
       OP("tensor<fp16, [1, 4, 32, 32]>", "y", "scaled_dot_product_attention(" mask "key = q, query = q, value = q)"), "y")
#define TWO(first, second) OP(X, first, "relu(x = x)") OP(X, second, "relu(x = x)")

typedef struct rule_case {
  const char *rule, *target;
  bool fatal;
  const char *bad, *good;
} rule_case;

static const rule_case CASES[] = {
    {"L01-rank", "m4", true, RESHAPE("tensor<fp16, [1, 1, 1, 64, 1, 32]>", "6", "1, 1, 1, 64, 1, 32"),
     RESHAPE("tensor<fp16, [1, 1, 64, 1, 32]>", "5", "1, 1, 64, 1, 32")},
    {"L02-unknown-dimension", "m4", true, UNARY("tensor<fp16, [1, 64, 1, ?]>"), UNARY(X)},
    {"L03-channels", "m1", true, UNARY("tensor<fp16, [1, 65537, 1, 32]>"), UNARY("tensor<fp16, [1, 65536, 1, 32]>")},
    {"L04-axis", "m1", true, UNARY("tensor<fp16, [1, 1, 16385, 32]>"), UNARY("tensor<fp16, [1, 1, 16384, 32]>")},
    {"L04-axis", "m3", true, UNARY("tensor<fp16, [1, 1, 1, 16416]>"), UNARY("tensor<fp16, [1, 1, 1, 16384]>")},
    {"L04-axis", "m4", true, UNARY("tensor<fp16, [1, 1, 65537, 32]>"), UNARY("tensor<fp16, [1, 1, 65536, 32]>")},
    {"L13-batch", "m4", true, UNARY("tensor<fp16, [4097, 1, 1, 32]>"), UNARY("tensor<fp16, [4096, 1, 1, 32]>")},
    {"L05-io-type", "m4", true,
     FUNC("tensor<int32, [1, 64, 1, 32]> x", CONST("string", "d", "\"fp16\"") OP(X, "y", "cast(dtype = d, x = x)"), "y"),
     FUNC(X " x", CONST("string", "d", "\"fp16\"") OP(X, "y", "cast(dtype = d, x = x)"), "y")},
    {"L06-op", "m4", true, FUNC(X " x", OP(X, "y", "frobnicate(x = x)"), "y"), UNARY(X)},
    {"L08-weight-bytes", "m4", true,
     FUNC(X " x", BLOB("tensor<fp16, [1024, 786433]>", "w", "w.bin") OP(X, "y", "relu(x = x)"), "y"),
     FUNC(X " x", BLOB("tensor<fp16, [1024, 786432]>", "w", "w.bin") OP(X, "y", "relu(x = x)"), "y")},
    {"L08-weight-bytes", "m4", true,  // sizes that overflow are no small sizes
     FUNC(X " x", BLOB("tensor<fp16, [4611686018427387904, 4, 4]>", "w", "w.bin") OP(X, "y", "relu(x = x)"), "y"),
     UNARY(X)},
    {"L10-input-returned", "m4", true, FUNC(X " x", "", "x"), UNARY(X)},
    {"L11-width-slice", "m2", false, SLICE("[0, 0, 0, 1]"), SLICE("[0, 32, 0, 0]")},
    {"C01-concat", "m4", true, CONCAT("axis = a, "), CONCAT("axis = a, interleave = i, ")},
    {"C01-concat", "m4", true, CONCAT("interleave = i, "), CONCAT("axis = a, interleave = i, ")},
    {"C03-output-order", "m4", false, FUNC(X " x", TWO("b", "a"), "b, a"), FUNC(X " x", TWO("b", "a"), "a, b")},
    {"C06-sdpa-mask", "m4", true, SDPA("attn_mask = m, "), SDPA("")},
    {"C10-gelu-mode", "m4", true, FUNC(X " x", OP(X, "y", "gelu(x = x)"), "y"),
     FUNC(X " x", CONST("string", "m", "\"EXACT\"") OP(X, "y", "gelu(mode = m, x = x)"), "y")},
    {"C12-named-constants", "m4", true, MATMUL("bool(false)"), MATMUL("f")},
    {"C16-conv-input-channels", "m4", true, CONV("64", "17409"), CONV("64", "4096")},
    {"L19-wide-contraction", "m4", false, CONV("64", "17408"), CONV("64", "4096")},
    {"L12-conv-output-channels", "m4", true, CONV("61441", "64"), CONV("61440", "64")},
    {"C19-input-order", "m4", false, FUNC(X " b, " X " a", OP(X, "y", "add(x = a, y = b)"), "y"),
     FUNC(X " a, " X " b", OP(X, "y", "add(x = a, y = b)"), "y")},
    {"S01-row-stride", "m4", false, UNARY("tensor<fp16, [1, 64, 1, 33]>"), UNARY("tensor<fp16, [1, 64, 1, 64]>")},
    {"C23-epsilon", "m4", true, EPSILON("rsqrt", ""), EPSILON("rsqrt", "epsilon = e, ")},
    {"C23-epsilon", "m4", true, EPSILON("log", ""), EPSILON("log", "epsilon = e, ")},
    {"C23-epsilon", "m4", true, EPSILON("inverse", ""), EPSILON("inverse", "epsilon = e, ")},
    {"C24-fp32-io", "m1", true, UNARY("tensor<fp32, [1, 64, 1, 32]>"), UNARY(X)},
    {"C24-fp32-io", "m2", false, UNARY("tensor<fp32, [1, 64, 1, 32]>"), UNARY(X)},
};

static void check_text(const char *target, const char *text, orion_findings *out) {
  orion_program *p;
  orion_error err;
  assert_ok(orion_mil_parse(NULL, text, strlen(text), "test.mil", &p, &err), &err);
  orion_findings_init(out, NULL);
  assert_ok(orion_target_check(orion_target_find(target), p, out, &err), &err);
  orion_program_destroy(p);
}

// Exactly these findings: at least one, all of the rule (and of `also`, where one mistake breaks two).
static void expect_rule(const char *target, const char *text, const char *rule, const char *also, bool fatal) {
  orion_findings list;
  check_text(target, text, &list);
  bool found = false;
  for (size_t i = 0; i < list.n; i++) {
    const orion_finding *x = &list.items[i];
    bool is = strcmp(x->rule, rule) == 0;
    if (!is && (!also || strcmp(x->rule, also) != 0)) fail_msg("%s: blamed by %s as well: %s", rule, x->rule, x->message);
    if (is && x->fatal != fatal) fail_msg("%s on %s: fatal is %d", rule, target, x->fatal);
    assert_non_null(x->way_out);
    found = found || is;
  }
  if (!found) fail_msg("%s on %s is not found in\n%s", rule, target, text);
  orion_findings_deinit(&list);
}

static void expect_nothing(const char *target, const char *text) {
  orion_findings list;
  check_text(target, text, &list);
  if (list.n) fail_msg("%s: %s, in\n%s", list.items[0].rule, list.items[0].message, text);
  orion_findings_deinit(&list);
}

static void each_rule_blames_what_breaks_it_and_nothing_else(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
    const rule_case *c = &CASES[i];
    expect_rule(c->target, c->bad, c->rule, NULL, c->fatal);
    expect_nothing(c->target, c->good);
    expect_nothing("cpu", c->bad);  // which has no such limits
  }
}

static void state_is_refused_as_input_and_as_operation(void **state) {
  (void)state;
  expect_rule("m4", FUNC("state<" X "> s", OP(X, "y", "read_state(input = s)"), "y"), "L07-state", "L05-io-type", true);
}

// ---- counts ----

static void many_surfaces(orion_strbuf *b, int inputs, int outputs) {
  orion_strbuf_init(b, NULL);
  orion_strbuf_addf(b, "program(1.3)\n[buildInfo = dict<string, string>({})]\n{\nfunc main<ios18>(");
  for (int i = 0; i < inputs; i++) orion_strbuf_addf(b, "%s%s i%02d", i ? ", " : "", X, i);
  orion_strbuf_addf(b, ") {\n");
  for (int o = 0; o < outputs; o++) {
    orion_strbuf_addf(b, "%s o%02d = relu(x = i%02d)[name = string(\"o%02d\")];\n", X, o, o % inputs, o);
  }
  orion_strbuf_addf(b, "} -> (");
  for (int o = 0; o < outputs; o++) orion_strbuf_addf(b, "%so%02d", o ? ", " : "", o);
  orion_strbuf_addf(b, ");\n}\n");
}

static void one_request_holds_so_many_surfaces(void **state) {
  (void)state;
  static const int counts[][2] = {{32, 32}, {33, 1}, {1, 33}};
  for (int i = 0; i < 3; i++) {
    orion_strbuf b;
    many_surfaces(&b, counts[i][0], counts[i][1]);
    if (i == 0) {
      expect_nothing("m4", orion_strbuf_text(&b));
    } else {
      expect_rule("m4", orion_strbuf_text(&b), "L09-surfaces", NULL, true);
    }
    orion_strbuf_deinit(&b);
  }
}

static void one_program_holds_so_many_weight_files(void **state) {
  (void)state;
  for (int files = 16; files <= 17; files++) {
    orion_strbuf b;
    orion_strbuf_init(&b, NULL);
    orion_strbuf_addf(&b, "program(1.3)\n[buildInfo = dict<string, string>({})]\n{\nfunc main<ios18>(%s x) {\n", X);
    for (int i = 0; i < 2 * files; i++) {  // two tensors in each
      orion_strbuf_addf(&b, "tensor<fp16, [64]> w%d = const()[name = string(\"w%d\"), val = tensor<fp16, [64]>(BLOBFILE("
                          "path = string(\"@model_path/%d.bin\"), offset = uint64(%d)))];\n", i, i, i / 2, 64 + i % 2 * 256);
    }
    orion_strbuf_addf(&b, "%s y = relu(x = x)[name = string(\"y\")];\n} -> (y);\n}\n", X);
    if (files == 16) {
      expect_nothing("m4", orion_strbuf_text(&b));
    } else {
      expect_rule("m4", orion_strbuf_text(&b), "C21-blob-files", NULL, true);
    }
    orion_strbuf_deinit(&b);
  }
}

// An operation may name several files in its brackets (older constexpr_* do): more files than operations.
static void more_weight_files_than_operations(void **state) {
  (void)state;
  orion_strbuf b;
  orion_strbuf_init(&b, NULL);
  orion_strbuf_addf(&b, "program(1.0)\n[buildInfo = dict<tensor<string, []>, tensor<string, []>>({})]\n{\n"
                      "func main<ios16>(%s x) {\n%s y = constexpr_affine_dequantize()[", X, X);
  for (int i = 0; i < 40; i++) {
    orion_strbuf_addf(&b, "a%02d = tensor<fp16, [64]>(BLOBFILE(path = tensor<string, []>(\"@model_path/%d.bin\"), "
                        "offset = tensor<uint64, []>(64))), ", i, i);
  }
  orion_strbuf_addf(&b, "name = tensor<string, []>(\"y\")];\n} -> (y);\n}\n");
  expect_rule("m4", orion_strbuf_text(&b), "C21-blob-files", NULL, true);
  orion_strbuf_deinit(&b);
}

// ---- what is no mistake ----

static void constants_are_no_tensors_of_the_engine(void **state) {
  (void)state;
  expect_nothing("m1", FUNC(X " x", BLOB("tensor<uint8, [50257, 768]>", "q", "q.bin") CONST("uint8", "z", "0")
                            CONST("fp16", "s", "0x1p-7") CONST("int32", "a", "0")
                            OP("tensor<fp16, [50257, 768]>", "w",
                               "constexpr_affine_dequantize(axis = a, quantized_data = q, scale = s, zero_point = z)")
                            OP(X, "y", "relu(x = x)"), "y"));
}

static void width_slices_are_sound_on_later_chips(void **state) {
  (void)state;
  expect_nothing("m3", SLICE("[0, 0, 0, 1]"));
  expect_nothing("m4", SLICE("[0, 0, 0, 1]"));
}

static void every_target_is_found_by_its_name(void **state) {
  (void)state;
  size_t n = 0;
  for (const char *const *name = orion_target_names(); *name; name++, n++) {
    const orion_target *t = orion_target_find(*name);
    assert_non_null(t);
    assert_string_equal(t->name, *name);
    assert_int_equal(t->ane, (*name)[0] == 'm');
    assert_true(t->max_weight_bytes > 0 && t->max_batch > 0 && t->max_inputs > 0 && t->max_outputs > 0);
    assert_int_equal(t->max_conv_out % t->width_multiple, t->ane ? 0 : t->max_conv_out % t->width_multiple);
  }
  assert_int_equal(n, 7);
  assert_null(orion_target_find("m0"));
  assert_null(orion_target_find(""));
}

static orion_status check_once(void *ctx, const orion_allocator *a, orion_error *err) {
  const char *text = ctx;
  orion_program *p;
  ORION_TRY(orion_mil_parse(a, text, strlen(text), "test.mil", &p, err));
  orion_findings list;
  orion_findings_init(&list, a);
  orion_status status = orion_target_check(orion_target_find("m1"), p, &list, err);
  orion_findings_deinit(&list);
  orion_program_destroy(p);
  return status;
}

static void checking_survives_the_lack_of_memory(void **state) {
  (void)state;
  test_sweep_allocations(check_once, (void *)(uintptr_t)CASES[0].bad, 0);
}

// All that a caller of liborion has: a list, a count, and what each finding says.
static void the_public_list_tells_what_the_check_found(void **state) {
  (void)state;
  orion_error err = {0};
  orion_program *p;
  orion_findings *list;
  orion_finding_info x;
  const char *text = UNARY("tensor<fp16, [1, 64, 1, 20000]>");
  assert_ok(orion_mil_parse(NULL, text, strlen(text), "test.mil", &p, &err), &err);
  assert_ok(orion_findings_create(NULL, &list, &err), &err);
  assert_ok(orion_program_check(p, "m4", list, &err), &err);
  for (size_t i = 0; i < orion_findings_count(list); i++) {
    orion_findings_get(list, i, &x);
    assert_false(x.fatal);  // wider than m1 allows, not than m4
  }
  size_t before = orion_findings_count(list);
  assert_ok(orion_program_check(p, "m1", list, &err), &err);
  assert_true(orion_findings_count(list) > before);  // appended
  orion_program_destroy(p);                          // which the list outlives
  orion_findings_get(list, before, &x);
  assert_string_equal(x.rule, "L04-axis");
  assert_true(x.fatal && x.line == 4 && x.column > 0);
  assert_string_equal(x.value, "x");
  assert_non_null(strstr(x.message, "20000"));
  assert_non_null(x.way_out);
  orion_findings_destroy(list);
  orion_findings_destroy(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_rule_blames_what_breaks_it_and_nothing_else),
      cmocka_unit_test(state_is_refused_as_input_and_as_operation),
      cmocka_unit_test(one_request_holds_so_many_surfaces),
      cmocka_unit_test(one_program_holds_so_many_weight_files),
      cmocka_unit_test(more_weight_files_than_operations),
      cmocka_unit_test(constants_are_no_tensors_of_the_engine),
      cmocka_unit_test(width_slices_are_sound_on_later_chips),
      cmocka_unit_test(every_target_is_found_by_its_name),
      cmocka_unit_test(the_public_list_tells_what_the_check_found),
      cmocka_unit_test(checking_survives_the_lack_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
