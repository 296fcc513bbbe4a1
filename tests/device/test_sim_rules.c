// The rules as the simulated engine plays them: by the contract in both modes, and without its help (device/raw.h), each
// with the rule on and off.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/half.h"
#include "device/one_run.h"
#include "device/raw.h"

#define HEAD "program(1.3)\n[buildInfo = dict<string, string>({{\"a\", \"b\"}})]\n{\n"

static const char sum_text[] = HEAD
    "  func main<ios18>(tensor<fp16, [1, 4, 1, 32]> b_in, tensor<fp16, [1, 4, 1, 32]> a_in) {\n"
    "    tensor<fp16, [1, 4, 1, 32]> z_out = sub(x = b_in, y = a_in)[name = string(\"z_out\")];\n"
    "    tensor<fp16, [1, 4, 1, 32]> y_out = add(x = z_out, y = b_in)[name = string(\"y_out\")];\n"
    "  } -> (z_out, y_out);\n}\n";

static const char narrow_text[] = HEAD
    "  func main<ios18>(tensor<fp16, [1, 3, 1, 1]> x) {\n"
    "    tensor<fp16, [1, 3, 1, 1]> y = add(x = x, y = x)[name = string(\"y\")];\n"
    "  } -> (y);\n}\n";

static const char gelu_text[] = HEAD
    "  func main<ios18>(tensor<fp16, [1, 4, 1, 32]> x) {\n"
    "    tensor<fp16, [1, 4, 1, 32]> y = gelu(x = x)[name = string(\"y\")];\n"
    "  } -> (y);\n}\n";

static const char attention_text[] = HEAD
    "  func main<ios18>(tensor<fp16, [1, 1, 32, 32]> q, tensor<fp16, [1, 1, 32, 32]> m) {\n"
    "    tensor<fp16, [1, 1, 32, 32]> y = scaled_dot_product_attention(attn_mask = m, key = q, query = q, value = q)"
    "[name = string(\"y\")];\n"
    "  } -> (y);\n}\n";

static const char weight_text[] = HEAD
    "  func main<ios18>(tensor<fp16, [1, 2, 1, 32]> x) {\n"
    "    tensor<fp16, [1, 2, 1, 1]> w = const()[name = string(\"w\"), val = tensor<fp16, [1, 2, 1, 1]>"
    "(BLOBFILE(path = string(\"@model_path/weights/w.bin\"), offset = uint64(64)))];\n"
    "    tensor<fp16, [1, 2, 1, 32]> y = mul(x = x, y = w)[name = string(\"y\")];\n"
    "  } -> (y);\n}\n";

// ---- by the contract ----

static orion_status open_text(one_run *r, const char *spec, const char *text, orion_error *err) {
  orion_program *p = one_run_parse(text);
  orion_status status = one_run_open(r, NULL, spec, 1, p, err);
  r->program = p;
  return status;
}

static void broken_rules_are_refused_by_id_unless_switched_off(void **state) {
  one_run r;
  orion_error err = {0};
  assert_error(open_text(&r, "sim:m4", gelu_text, &err), ORION_REFUSED, &err, "C10-gelu-mode");
  one_run_close(&r);
  assert_ok(open_text(&r, "sim:m4,off=C05+C10", gelu_text, &err), &err);
  one_run_close(&r);
  assert_ok(open_text(&r, "sim:m4,mode=numbers", gelu_text, &err), &err);
  one_run_close(&r);
}

static void options_that_make_no_sense_are_named(void **state) {
  static const char *const bad[][2] = {{"sim:m4,mode=loose", "want strict"}, {"sim:m4,off=C99", "C99"},
                                       {"sim:m4,off=C34", "does not play"}, {"sim:ideal,off=C04", "plays no rules"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    orion_error err = {0};
    orion_device *d = NULL;
    assert_error(orion_device_open(bad[i][0], 1, NULL, &d, &err), ORION_INVALID, &err, bad[i][1]);
  }
}

static float masked_result(const char *spec) {
  one_run r;
  orion_error err;
  float q[1024], m[1024], y[1024];
  assert_ok(open_text(&r, spec, attention_text, &err), &err);
  for (int i = 0; i < 1024; i++) {
    q[i] = (float)(i % 7) / 8;
    m[i] = i % 32 ? -10000.f : 0;  // all look at the first
  }
  one_run_floats(&r, 0, q);
  one_run_floats(&r, 1, m);
  assert_ok(orion_run(r.b, &err), &err);
  one_run_read(&r, 2, y);
  one_run_close(&r);
  return y[5];
}

static void what_is_silent_is_refused_or_goes_wrong(void **state) {
  one_run r;
  orion_error err = {0};
  assert_error(open_text(&r, "sim:m4", attention_text, &err), ORION_REFUSED, &err, "C06");
  one_run_close(&r);
  const float right = 5.f / 8;
  assert_true(masked_result("sim:m4,off=C06") == right);
  assert_true(masked_result("sim:m4,mode=faithful") != right);
}

static void rows_are_laid_out_as_the_engine_has_them(void **state) {
  static const struct {
    const char *spec;
    size_t row;
  } cases[] = {{"sim:m4", 64}, {"sim:m4,off=S01", 2}, {"sim:m4,mode=numbers", 2}, {"sim:m4,rows=128", 128}};
  for (size_t i = 0; i < 4; i++) {
    one_run r;
    orion_error err;
    assert_ok(open_text(&r, cases[i].spec, narrow_text, &err), &err);
    assert_int_equal(orion_surface_layout(r.surfaces[0])->row_bytes, cases[i].row);
    one_run_close(&r);
  }
}

static void surfaces_of_another_size_are_refused_with_the_rule(void **state) {
  one_run r;
  orion_error err = {0};
  assert_ok(open_text(&r, "sim:m4", narrow_text, &err), &err);
  orion_layout packed = *orion_surface_layout(r.surfaces[0]);
  packed.row_bytes = 2;
  packed.bytes = 6;
  orion_surface *small;
  assert_ok(orion_surface_create(r.device, &packed, &small, &err), &err);
  assert_error(orion_bind(r.b, "x", small, &err), ORION_REFUSED, &err, "C04-surface-size");
  orion_surface_destroy(small);
  one_run_close(&r);
}

static void budgets_of_compiles_and_slots_run_out(void **state) {
  orion_error err = {0};
  orion_device *d;
  orion_executable *e[127], *last;
  orion_program *p = one_run_parse(narrow_text);
  assert_ok(orion_device_open("sim:m4", 1, NULL, &d, &err), &err);
  for (int i = 0; i < 119; i++) {
    assert_ok(orion_device_compile(d, p, NULL, &last, &err), &err);
    orion_executable_release(last);
  }
  assert_error(orion_device_compile(d, p, NULL, &last, &err), ORION_REFUSED, &err, "C05-compile-budget");
  orion_device_close(d);
  assert_ok(orion_device_open("sim:m4,off=C05", 1, NULL, &d, &err), &err);
  for (int i = 0; i < 127; i++) assert_ok(orion_device_compile(d, p, NULL, &e[i], &err), &err);
  assert_error(orion_device_compile(d, p, NULL, &last, &err), ORION_REFUSED, &err, "0x50004");
  orion_executable_release(e[0]);
  assert_ok(orion_device_compile(d, p, NULL, &e[0], &err), &err);
  for (int i = 0; i < 127; i++) orion_executable_release(e[i]);
  orion_device_close(d);
  orion_program_destroy(p);
}

// ---- without the contract's help ----

typedef struct raw_bench {
  orion_device *d;
  orion_raw *raw;
  orion_answer answer;
} raw_bench;

static void raw_make(raw_bench *b, const char *spec, const orion_raw_program *p) {
  orion_error err;
  *b = (raw_bench){0};
  assert_ok(orion_device_open(spec, 1, NULL, &b->d, &err), &err);
  assert_non_null(b->d->vtable->raw);
  assert_ok(b->d->vtable->raw->compile(b->d, p, &b->raw, &b->answer, &err), &err);
}

static void raw_close(raw_bench *b) {
  if (b->raw) b->d->vtable->raw->release(b->raw, true);
  orion_device_close(b->d);
}

static orion_surface *bytes_of(orion_device *d, size_t n, float fill) {
  orion_error err;
  orion_surface *s;
  orion_layout l = {.dtype = ORION_FP16, .rank = 1, .dims = {(int64_t)n / 2}, .row_bytes = n, .bytes = n};
  assert_ok(orion_surface_create(d, &l, &s, &err), &err);
  orion_half *h = orion_surface_lock(s);
  for (size_t i = 0; i < n / 2; i++) h[i] = orion_float_to_half(fill);
  return s;
}

static float first_of(orion_surface *s) { return orion_half_to_float(*(orion_half *)orion_surface_lock(s)); }

// b = 5, a = 2 by sorted names: the first position is a.
static void run_sum(const char *spec, float *first, float *second) {
  raw_bench b;
  orion_error err;
  raw_make(&b, spec, &(orion_raw_program){.text = sum_text, .n_text = sizeof sum_text - 1});
  assert_int_equal(b.answer.symptom, ORION_SYMPTOM_NONE);
  orion_surface *in[] = {bytes_of(b.d, 256, 2), bytes_of(b.d, 256, 5)}, *out[] = {bytes_of(b.d, 256, 0), bytes_of(b.d, 256, 0)};
  const orion_raw_request q = {in, out, 2, 2};
  assert_ok(b.d->vtable->raw->run(b.raw, &q, &b.answer, &err), &err);
  assert_int_equal(b.answer.symptom, ORION_SYMPTOM_NONE);
  *first = first_of(out[0]);
  *second = first_of(out[1]);
  for (int i = 0; i < 2; i++) {
    orion_surface_destroy(in[i]);
    orion_surface_destroy(out[i]);
  }
  raw_close(&b);
}

static void positions_go_by_names(void **state) {
  float first, second;
  run_sum("sim:m4", &first, &second);  // a_in = 2, b_in = 5; y_out, z_out
  assert_true(first == 8 && second == 3);
  run_sum("sim:m4,off=C19", &first, &second);  // b_in = 2, a_in = 5
  assert_true(first == -1 && second == -3);
  run_sum("sim:m4,off=C03", &first, &second);  // z_out, y_out
  assert_true(first == 3 && second == 8);
}

static uint32_t narrow_status(const char *spec, size_t in_bytes, orion_rule_id *rule, float *last) {
  raw_bench b;
  orion_error err;
  raw_make(&b, spec, &(orion_raw_program){.text = narrow_text, .n_text = sizeof narrow_text - 1});
  orion_surface *in = bytes_of(b.d, in_bytes, 3), *out = bytes_of(b.d, 192, 0);
  const orion_raw_request q = {&in, &out, 1, 1};
  assert_ok(b.d->vtable->raw->run(b.raw, &q, &b.answer, &err), &err);
  *rule = b.answer.rule;
  *last = orion_half_to_float(((orion_half *)orion_surface_lock(out))[64]);
  uint32_t status = b.answer.status;
  orion_surface_destroy(in);
  orion_surface_destroy(out);
  raw_close(&b);
  return status;
}

static void small_surfaces_fail_with_the_engines_status(void **state) {
  orion_rule_id rule;
  float last;
  assert_int_equal(narrow_status("sim:m4", 190, &rule, &last), ORION_STATUS_INFERENCE);
  assert_int_equal(rule, ORION_RULE_C04);
  assert_int_equal(narrow_status("sim:m4", 192, &rule, &last), 0);
  assert_true(last == 6);
  assert_int_equal(narrow_status("sim:m4,off=C04", 6, &rule, &last), 0);
}

typedef struct blob {
  uint32_t count, version;
  uint8_t gap[56];
  uint32_t sentinel, code;
  uint64_t size, offset;
  uint8_t rest[40];
  uint16_t data[32];
} blob;

static blob blob_of(float a, float b) {
  blob x = {.count = 1, .version = 2, .sentinel = 0xDEADBEEF, .code = 1, .size = 4, .offset = 128};
  x.data[0] = orion_float_to_half(a);
  x.data[1] = orion_float_to_half(b);
  return x;
}

static float reloaded(const char *spec) {
  raw_bench b;
  orion_error err;
  blob first = blob_of(2, 3), second = blob_of(7, 3);
  orion_raw_file file = {"weights/w.bin", &first, sizeof first};
  raw_make(&b, spec, &(orion_raw_program){weight_text, sizeof weight_text - 1, &file, 1, 0});
  assert_int_equal(b.answer.symptom, ORION_SYMPTOM_NONE);
  file.bytes = &second;
  assert_ok(b.d->vtable->raw->reload(b.raw, &file, 1, ORION_RELOAD_FILES, &b.answer, &err), &err);
  orion_surface *in = bytes_of(b.d, 128, 1), *out = bytes_of(b.d, 128, 0);
  const orion_raw_request q = {&in, &out, 1, 1};
  assert_ok(b.d->vtable->raw->run(b.raw, &q, &b.answer, &err), &err);
  float y = first_of(out);
  orion_surface_destroy(in);
  orion_surface_destroy(out);
  raw_close(&b);
  return y;
}

static void weights_are_baked(void **state) {
  assert_true(reloaded("sim:m4") == 2);
  assert_true(reloaded("sim:m4,off=C07") == 7);
}

static void weight_files_are_checked(void **state) {
  raw_bench b;
  blob wrong = blob_of(1, 1);
  wrong.sentinel = 0;
  const orion_raw_file file = {"weights/w.bin", &wrong, sizeof wrong};
  raw_make(&b, "sim:m4", &(orion_raw_program){weight_text, sizeof weight_text - 1, &file, 1, 0});
  assert_int_equal(b.answer.symptom, ORION_SYMPTOM_COMPILE);
  assert_int_equal(b.answer.rule, ORION_RULE_C08);
  raw_close(&b);
}

static void careless_callers_lose_the_process_or_the_slot(void **state) {
  static const struct {
    unsigned mistake;
    orion_symptom symptom;
    orion_rule_id rule;
    const char *off;
  } cases[] = {{ORION_RAW_TEXT_AS_STRING, ORION_SYMPTOM_CRASH, ORION_RULE_C09, "sim:m4,off=C09"},
               {ORION_RAW_NO_DICTIONARY, ORION_SYMPTOM_CRASH, ORION_RULE_C11, "sim:m4,off=C11"},
               {ORION_RAW_NO_DIRECTORY, ORION_SYMPTOM_COMPILE, ORION_RULE_C25, "sim:m4,off=C25"}};
  for (size_t i = 0; i < 3; i++) {
    raw_bench b;
    const orion_raw_program p = {.text = sum_text, .n_text = sizeof sum_text - 1, .mistakes = cases[i].mistake};
    raw_make(&b, "sim:m4", &p);
    assert_int_equal(b.answer.symptom, cases[i].symptom);
    assert_int_equal(b.answer.rule, cases[i].rule);
    raw_close(&b);
    raw_make(&b, cases[i].off, &p);
    assert_int_equal(b.answer.symptom, ORION_SYMPTOM_NONE);
    raw_close(&b);
  }
}

static void names_of_programs_are_their_content(void **state) {
  raw_bench b;
  orion_error err;
  char one[256], two[256], three[256];
  const orion_raw_program p = {.text = sum_text, .n_text = sizeof sum_text - 1};
  raw_make(&b, "sim:m4", &p);
  double made = b.answer.seconds;
  const orion_raw_vtable *v = b.d->vtable->raw;
  assert_ok(v->identity(b.d, &p, one, &err), &err);
  assert_ok(v->identity(b.d, &p, two, &err), &err);
  assert_ok(v->identity(b.d, &(orion_raw_program){.text = narrow_text, .n_text = sizeof narrow_text - 1}, three, &err), &err);
  assert_string_equal(one, two);
  assert_string_not_equal(one, three);
  orion_raw *again;
  assert_ok(v->compile(b.d, &p, &again, &b.answer, &err), &err);
  assert_true(b.answer.seconds < made / 2);
  v->release(again, true);
  raw_close(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(broken_rules_are_refused_by_id_unless_switched_off),
      cmocka_unit_test(options_that_make_no_sense_are_named),
      cmocka_unit_test(what_is_silent_is_refused_or_goes_wrong),
      cmocka_unit_test(rows_are_laid_out_as_the_engine_has_them),
      cmocka_unit_test(surfaces_of_another_size_are_refused_with_the_rule),
      cmocka_unit_test(budgets_of_compiles_and_slots_run_out),
      cmocka_unit_test(positions_go_by_names),
      cmocka_unit_test(small_surfaces_fail_with_the_engines_status),
      cmocka_unit_test(weights_are_baked),
      cmocka_unit_test(weight_files_are_checked),
      cmocka_unit_test(careless_callers_lose_the_process_or_the_slot),
      cmocka_unit_test(names_of_programs_are_their_content),
  };
  return cmocka_run_group_tests_name("sim rules", tests, NULL, NULL);
}
