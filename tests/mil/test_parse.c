// What the parser accepts, and what it says of what it does not: place and reason.
#include "mil/mil.h"
#include "support/support.h"

#define HEAD "program(1.3)\n[buildInfo = dict<string, string>({})]\n{\n"
#define MAIN(body) HEAD "func main<ios18>(tensor<fp16, [2, 3]> x) {\n" body "\n} -> (x);\n}\n"

static orion_status parse(const char *text, orion_program **out, orion_error *err) {
  *out = NULL;
  return orion_mil_parse(NULL, text, strlen(text), "f.mil", out, err);
}

static char *print(const orion_program *p) {  // free() it
  orion_strbuf b;
  orion_error err;
  orion_strbuf_init(&b, NULL);
  assert_ok(orion_mil_print(p, &b, &err), &err);
  char *text = strdup(orion_strbuf_text(&b));
  orion_strbuf_deinit(&b);
  return text;
}

// Parses, prints; asserts that `want` is in the text and that the text is stable.
static void assert_prints(const char *source, const char *want) {
  orion_program *p, *q;
  orion_error err;
  assert_ok(parse(source, &p, &err), &err);
  char *text = print(p);
  if (!strstr(text, want)) fail_msg("expected %s in\n%s", want, text);
  assert_ok(parse(text, &q, &err), &err);
  char *again = print(q);
  assert_string_equal(text, again);
  free(text);
  free(again);
  orion_program_destroy(p);
  orion_program_destroy(q);
}

static void errors_say_where_and_what(void **state) {
  static const struct {
    const char *text, *place, *word;
  } cases[] = {
      {"", "f.mil:1:1:", "'program(VERSION)'"},
      {"programm(1.3)", "f.mil:1:1:", "found 'programm'"},
      {"program 1.3", "f.mil:1:9:", "'('"},
      {"program(x)", "f.mil:1:9:", "version"},
      {"program(2.0)\n{}", "f.mil:1:9:", "1.0 to 1.3, found 2.0"},
      {"program(1.3)\n[buildInfo dict<string, string>({})]", "f.mil:2:12:", "'='"},
      {"program(1.3)\n[a = int32(1), a = int32(2)]", "f.mil:2:16:", "'a' again"},
      {"program(1.3)\n{\n  fun main", "f.mil:3:3:", "'func'"},
      {HEAD "}", "f.mil:4:1:", "'func'"},
      {HEAD "func main(", "f.mil:4:10:", "'<'"},
      {HEAD "func main<ios18>(tensor<fp16, 3> x)", "f.mil:4:31:", "'['"},
      {HEAD "func main<ios18>(tensor<fp16, [1, 2, 3, 4, 5, 6, 7, 8, 9]> x)", "f.mil:4:56:", "at most 8"},
      {HEAD "func main<ios18>(tensor<float, [1]> x)", "f.mil:4:25:", "element type, found 'float'"},
      {HEAD "func main<ios18>(vector<fp16> x)", "f.mil:4:18:", "a type, found 'vector'"},
      {HEAD "func main<ios18>(list<fp16> x)", "f.mil:4:27:", "list's length"},
      {HEAD "func main<ios18>() {} -> () }", "f.mil:4:29:", "';'"},
      {HEAD "func a<ios18>() {} -> ();\nfunc a<ios18>() {} -> ();\n}", "f.mil:5:6:", "'a' again"},
      {HEAD "func a<ios18>() {} -> ();\n} }", "f.mil:5:3:", "end of the file"},
      {MAIN("x = relu(x = x);"), "f.mil:5:1:", "a type, found 'x'"},
      {MAIN("fp16 y relu(x = x);"), "f.mil:5:8:", "'='"},
      {MAIN("fp16 y = relu(x);"), "f.mil:5:16:", "'=' after an argument's name"},
      {MAIN("fp16 y = relu(x = x, x = x);"), "f.mil:5:22:", "'x' again"},
      {MAIN("fp16 y = relu(x = 3);"), "f.mil:5:19:", "name of a value"},
      {MAIN("fp16 y = relu(x = x)"), "f.mil:6:1:", "';'"},
      {MAIN("fp16 y = relu(x = x)[];"), "f.mil:5:22:", "attribute's name"},
      {MAIN("int8 y = const()[val = int8(128)];"), "f.mil:5:29:", "cannot hold"},
      {MAIN("int8 y = const()[val = int8(-129)];"), "f.mil:5:29:", "cannot hold"},
      {MAIN("uint4 y = const()[val = uint4(-1)];"), "f.mil:5:31:", "cannot hold"},
      {MAIN("uint64 y = const()[val = uint64(18446744073709551616)];"), "f.mil:5:33:", "cannot hold"},
      {MAIN("int32 y = const()[val = int32(1.5)];"), "f.mil:5:31:", "type int32"},
      {MAIN("fp16 y = const()[val = fp16(1e6)];"), "f.mil:5:29:", "cannot hold"},
      {MAIN("fp16 y = const()[val = fp16(0x1p)];"), "f.mil:5:29:", "type fp16"},
      {MAIN("fp16 y = const()[val = fp16(1.2.3)];"), "f.mil:5:29:", "type fp16"},
      {MAIN("bool y = const()[val = bool(1)];"), "f.mil:5:29:", "type bool"},
      {MAIN("string y = const()[val = string(one)];"), "f.mil:5:33:", "a string"},
      {MAIN("string y = const()[val = string(\"a\\q\")];"), "f.mil:5:35:", "escape"},
      {MAIN("string y = const()[val = string(\"a\\x00\")];"), "f.mil:5:35:", "escape"},
      {MAIN("string y = const()[val = string(\"a\n\")];"), "f.mil:5:33:", "end of the line"},
      {MAIN("fp16 y = const()[val = tensor<fp16, [2]>([1, 2, 3])];"), "f.mil:5:42:", "2 values along axis 0, found 3"},
      {MAIN("fp16 y = const()[val = tensor<fp16, [2]>([])];"), "f.mil:5:42:", "2 values for the type, found 0"},
      {MAIN("fp16 y = const()[val = tensor<fp16, [2, 2]>([[1, 2], [3]])];"), "f.mil:5:54:", "2 values along axis 1, found 1"},
      {MAIN("fp16 y = const()[val = tensor<fp16, [2, 2]>([1, 2, 3])];"), "f.mil:5:45:", "4 values for the type, found 3"},
      {MAIN("fp16 y = const()[val = tensor<fp16, [?, ?]>([[1]])];"), "f.mil:5:45:", "one unknown dimension"},
      {MAIN("fp16 y = const()[val = tensor<fp16, [9999999999999, 9999999999]>([1])];"), "f.mil:5:66:", "found 1"},
      {MAIN("fp16 y = const()[val = list<fp16, 2>([1])];"), "f.mil:5:38:", "list of 2"},
      {MAIN("fp16 y = const()[val = tuple<fp16, fp16>((1))];"), "f.mil:5:44:", "','"},
      {MAIN("fp16 y = const()[val = dict<string, fp16>({{\"a\"}})];"), "f.mil:5:48:", "between key and value"},
      {MAIN("fp16 y = const()[val = list<fp16, 1>([int32(1)])];"), "f.mil:5:39:", "another type"},
      {MAIN("fp16 y = const()[val = state<fp16>(1)];"), "f.mil:5:36:", "state"},
      {MAIN("fp16 y = const()[val = string(BLOBFILE(path = \"a\", offset = 64))];"), "f.mil:5:31:", "BLOBFILE"},
      {MAIN("fp16 y = const()[val = tensor<fp16, [2]>(BLOBFILE(path = \"a\"))];"), "f.mil:5:42:", "no offset"},
      {MAIN("fp16 y = const()[val = tensor<fp16, [2]>(BLOBFILE(path = \"a\", path = \"b\"))];"), "f.mil:5:63:", "each once"},
      {MAIN("fp16 y = const()[val = tensor<fp16, [2]>(BLOBFILE(path = int32(1), offset = 64))];"), "f.mil:5:58:", "string"},
      {MAIN("fp16 y = const()[val = tensor<fp16, [2]>(BLOBFILE(path = \"a\", offset = -64))];"), "f.mil:5:72:", "offset"},
      {MAIN("fp16 \xc3\xa9 = relu(x = x);"), "f.mil:5:6:", "byte 0xc3"},
      {MAIN("fp16 y = relu(x = x) @;"), "f.mil:5:22:", "byte 0x40"},
      {MAIN("fp16 y = const()[val = fp16(nan(0x400))];"), "f.mil:5:33:", "fraction"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    orion_program *p;
    orion_error err = {0};
    orion_status status = parse(cases[i].text, &p, &err);
    if (status != ORION_FORMAT && status != ORION_UNSUPPORTED) fail_msg("case %zu parses: %s", i, cases[i].text);
    if (strncmp(err.message, cases[i].place, strlen(cases[i].place)) != 0) {
      fail_msg("case %zu: expected place %s: %s", i, cases[i].place, err.message);
    }
    if (!strstr(err.message, cases[i].word)) fail_msg("case %zu: expected \"%s\": %s", i, cases[i].word, err.message);
    assert_null(strchr(err.message, '\n'));
    assert_null(p);
  }
}

static void other_spellings_come_out_canonical(void **state) {
  static const struct {
    const char *body, *want;
  } cases[] = {
      {"fp16 y=relu( x=x )[name=string(\"y\")];", "            fp16 y = relu(x = x)[name = string(\"y\")];\n"},
      {"tensor<fp16,[]> y = relu(x=x);", "            fp16 y = relu(x = x);\n"},
      {"tensor<fp16,[2,3]>a,tensor<fp16,[2,3]>b=split(x=x,axis=int32(0));",
       "            tensor<fp16, [2, 3]> a, tensor<fp16, [2, 3]> b = split(axis = int32(0), x = x);\n"},
      {"fp16 y = const()[val=fp16(0.001302),name=string(\"n\")];", "const()[name = string(\"n\"), val = fp16(0x1.554p-10)];"},
      {"fp16 y = const()[val=fp16(0.00001)];", "fp16(0x1.5p-17)"},
      {"fp32 y = const()[val=fp32(1)];", "fp32(0x1p+0)"},
      {"fp32 y = const()[val=fp32(-0.0)];", "fp32(-0x0p+0)"},
      {"fp32 y = const()[val=fp32(0.1)];", "fp32(0x1.99999ap-4)"},
      {"fp64 y = const()[val=fp64(4.9406564584124654e-324)];", "fp64(0x1p-1074)"},
      {"fp32 y = const()[val=fp32(-inf)];", "fp32(-inf)"},
      {"fp32 y = const()[val=fp32(Infinity)];", "fp32(inf)"},
      {"fp16 y = const()[val=fp16(NaN)];", "fp16(nan)"},
      {"fp16 y = const()[val=fp16(-nan)];", "fp16(-nan)"},
      {"fp16 y = const()[val=fp16(-nan(0x3))];", "fp16(-nan(0x3))"},
      {"bf16 y = const()[val=bf16(0x1.8p+1)];", "bf16(0x1.8p+1)"},
      {"uint64 y = const()[val=uint64(18446744073709551615)];", "uint64(18446744073709551615)"},
      {"int64 y = const()[val=int64(-9223372036854775808)];", "int64(-9223372036854775808)"},
      {"int32 y = const()[val=int32(0x10)];", "int32(16)"},
      {"int4 y = const()[val=tensor<int4,[3]>([-8,7,-1])];", "tensor<int4, [3]>([-8, 7, -1])"},
      {"uint3 y = const()[val=tensor<uint3,[4]>([1,7,0,5])];", "tensor<uint3, [4]>([1, 7, 0, 5])"},
      {"bool y = const()[val=tensor<bool,[2]>([true,false])];", "tensor<bool, [2]>([true, false])"},
      {"int32 y = const()[val=tensor<int32,[2,2]>([1,2,3,4])];", "([[1, 2], [3, 4]])"},
      {"int32 y = const()[val=tensor<int32,[?,2]>([[1,2],[3,4]])];", "tensor<int32, [?, 2]>([[1, 2], [3, 4]])"},
      {"int32 y = const()[val=tensor<int32,[0]>([])];", "tensor<int32, [0]>([])"},
      {"string y = const()[val=string(\"a\\\"\\\\\\n\\t\\x01\\u00e9/\")];", "string(\"a\\\"\\\\\\n\\t\\x01\xc3\xa9/\")"},
      {"string y = const()[val=tensor<string,[2]>([\"a\",\"\"])];", "tensor<string, [2]>([\"a\", \"\"])"},
      {"fp16 y = const()[val=list<tensor<int32,[2]>,?>([tensor<int32,[2]>([1,2]),[3,4]])];",
       "list<tensor<int32, [2]>, ?>([[1, 2], [3, 4]])"},
      {"fp16 y = concat(values=(x,x),axis=int32(0));", "concat(axis = int32(0), values = (x, x))"},
      {"fp16 y = concat(values=(x));", "concat(values = (x))"},
      {"fp16 y = made_up(z=x)[k=tuple<int32,string>((1,\"a\"))];", "made_up(z = x)[k = tuple<int32, string>((1, \"a\"))]"},
      {"write_state(input=x,data=x)[name=string(\"w\")];", "            write_state(data = x, input = x)[name = string(\"w\")];\n"},
      {"tensor<fp16,[2]> y = const()[val=tensor<fp16,[2]>(BLOBFILE(offset=tensor<uint64,[]>(64),path=\"@model_path/a\"))];",
       "(BLOBFILE(path = string(\"@model_path/a\"), offset = uint64(64)))"},
      {"// a remark, with \"quotes\n fp16 y = relu(x = x); // another", "            fp16 y = relu(x = x);\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char source[1024];
    snprintf(source, sizeof source, MAIN("%s"), cases[i].body);
    assert_prints(source, cases[i].want);
  }
}

static void scalars_are_spelled_by_version(void **state) {
  assert_prints("program(1.0) { func m<ios16>(fp16 x) { string s = const()[val = string(\"v\")]; } -> (x); }",
                "tensor<string, []> s = const()[val = tensor<string, []>(\"v\")];");
  assert_prints("program(1.2) { func m<ios16>(fp16 x, tensor<fp16, []> y) { } -> (x); }",
                "func m<ios16>(fp16 x, tensor<fp16, []> y) {");
  assert_prints("program(1.3) { func m<ios18>(state<tensor<fp16, [1, 2]>> x) { } -> (); }",
                "func m<ios18>(state<tensor<fp16, [1, 2]>> x) {\n        } -> ();\n}");
}

static void last_line_feed_is_kept_as_it_was(void **state) {
  static const char bare[] = "program(1.3)\n{\n    func m<ios18>(fp16 x) {\n        } -> (x);\n}";
  orion_program *p;
  orion_error err;
  for (int feed = 0; feed < 2; feed++) {
    char source[128];
    snprintf(source, sizeof source, "%s%s", bare, feed ? "\n" : "");
    assert_ok(parse(source, &p, &err), &err);
    char *text = print(p);
    assert_string_equal(text, source);
    free(text);
    orion_program_destroy(p);
  }
}

static void names_without_definition_parse_and_print(void **state) {
  orion_program *p;
  orion_error err;
  assert_ok(parse(MAIN("fp16 a = add(x = b, y = b);\nfp16 b = relu(x = x);\nfp16 c = relu(x = b);"), &p, &err), &err);
  const orion_function *f = p->functions[0];
  const orion_op *first = &f->ops[f->first];
  orion_value_id undefined = orion_op_value(first, "x"), defined = orion_op_value(&f->ops[f->last], "x");
  assert_int_equal(undefined, orion_op_value(first, "y"));
  assert_int_equal(f->values[undefined].def, ORION_NONE);
  assert_int_equal(f->values[undefined].index, ORION_NONE);
  assert_int_not_equal(defined, undefined);
  assert_int_equal(f->values[defined].def, first->next);
  orion_program *copy;
  assert_ok(orion_program_clone(p, &copy, &err), &err);
  char *a = print(p), *b = print(copy);
  assert_string_equal(a, b);
  free(a);
  free(b);
  orion_program_destroy(copy);
  orion_program_destroy(p);
}

static void places_of_operations_are_kept(void **state) {
  orion_program *p;
  orion_error err;
  assert_ok(parse(MAIN("\n   fp16 y = relu(x = x);"), &p, &err), &err);
  const orion_function *f = p->functions[0];
  assert_int_equal(f->ops[f->first].loc.line, 6);
  assert_int_equal(f->ops[f->first].loc.column, 4);
  assert_int_equal(f->loc.line, 4);
  assert_int_equal(f->ops[f->first].code, ORION_OP_relu);
  orion_program_destroy(p);
}

static void nesting_is_bounded(void **state) {
  for (int depth = 20; depth <= 20000; depth *= 10) {
    orion_strbuf b;
    orion_strbuf_init(&b, NULL);
    orion_strbuf_adds(&b, "program(1.3)\n[a = ");
    for (int i = 0; i < depth; i++) orion_strbuf_adds(&b, "list<");
    orion_strbuf_adds(&b, "fp16");
    for (int i = 0; i < depth; i++) orion_strbuf_adds(&b, ", 1>");
    orion_strbuf_adds(&b, "(");
    for (int i = 0; i < depth; i++) orion_strbuf_adds(&b, "[");
    orion_strbuf_adds(&b, "1");
    for (int i = 0; i < depth; i++) orion_strbuf_adds(&b, "]");
    orion_strbuf_adds(&b, ")]\n{ func m<ios18>() {} -> (); }");
    orion_program *p;
    orion_error err;
    orion_status status = parse(orion_strbuf_text(&b), &p, &err);
    if (depth <= ORION_MIL_MAX_DEPTH) {
      assert_ok(status, &err);
      orion_program_destroy(p);
    } else {
      assert_error(status, ORION_FORMAT, &err, "nest deeper than");
    }
    orion_strbuf_deinit(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(errors_say_where_and_what),      cmocka_unit_test(other_spellings_come_out_canonical),
      cmocka_unit_test(scalars_are_spelled_by_version), cmocka_unit_test(last_line_feed_is_kept_as_it_was),
      cmocka_unit_test(names_without_definition_parse_and_print), cmocka_unit_test(places_of_operations_are_kept),
      cmocka_unit_test(nesting_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
