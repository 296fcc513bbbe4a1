// What the system refuses arrives as an error of ours: which program, at what, in its own words, with the rule that most
// likely lies behind. And a machine without the Neural Engine says so.
#include "device/raw.h"
#include "rig.h"

static void a_machine_without_the_engine_says_what_is_missing(void **state) {
  static const struct { const char *world, *spec, *text; } cases[] = {
      {"ane=no", "ane", "this machine has no Neural Engine"},
      {"missing=_ANEInMemoryModel", "ane:route=a", "this macOS has no _ANEInMemoryModel "},
      {"missing=evaluateWithQoS:options:request:error:", "ane:route=a", "no _ANEInMemoryModel evaluateWithQoS:options:request:error:"},
      {"", "ane:route=c", "route=c (want a or b)"},
      {"", "ane:slots=0", "slots=0 (want 1 to"},
      {"", "ane:rows=48", "rows=48 (want a power of two)"},
      {"", "ane:cache=maybe", "cache=maybe (want 1 to"},
      {"", "ane:m9", "no family 'm9'"},
      {"", "ane:framework=/nowhere/lib.so", "framework=/nowhere/lib.so"},
      {"", "ane:colour=red", "'colour'"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rig r;
    orion_error err = {0};
    orion_device *d = NULL;
    rig_world(&r, *cases[i].world ? cases[i].world : NULL);
    orion_status status = orion_device_open(cases[i].spec, 1, NULL, &d, &err);
    assert_true(status == ORION_NOT_FOUND || status == ORION_INVALID);
    if (!strstr(err.message, cases[i].text)) fail_msg("%s: %s", cases[i].spec, err.message);
    assert_null(d);
    rig_end(&r);
  }
}

static void a_missing_private_framework_leaves_the_other_route(void **state) {
  rig r;
  rig_world(&r, "missing=_ANERequest,arithmetic=ideal");
  rig_open(&r, "ane");
  orion_device_info info;
  orion_device_describe(r.device, &info);
  assert_non_null(strstr(info.description, "e5rt"));
  ride x;
  orion_program *p = rig_conv(0.5);
  ride_open(&r, &x, p);
  orion_program_destroy(p);
  ride_fill(&x, "x", 1, 0);
  ride_run(&x);
  assert_true(ride_get(&x, "y", 5) == 16);
  ride_close(&x);
  rig_end(&r);
}

static void the_chip_decides_the_family(void **state) {
  static const char *const pairs[][2] = {{"chip=h13", "m1"}, {"chip=h14g", "m2"}, {"chip=h15", "m3"},
                                         {"chip=h16g", "m4"}, {"chip=h17s", "m5"}, {"chip=h18g", "m6"},
                                         {"chip=h99,arithmetic=m1", "m1"}, {"chip=t1,arithmetic=m1", "m1"}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    rig r;
    rig_world(&r, pairs[i][0]);
    rig_open(&r, "ane");
    orion_device_info info;
    orion_device_describe(r.device, &info);
    assert_string_equal(info.family, pairs[i][1]);
    assert_non_null(strstr(info.description, "NOT Apple's"));
    rig_end(&r);
  }
}

// ---- running ----

static void a_run_that_fails_names_status_and_rule(void **state) {
  static const struct { const char *world, *text; } cases[] = {
      {"surface=49152", "status=0x1d : Program Inference error (likely rule C04-surface-size"},
      {"uniform=on", "status=0x1d"},
      {"attributes=off,order=declared", "status=0x1d"},  // a guessed order that is wrong, and shows in the sizes
  };
  static const char text[] =
      "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, 32, 1, 32]> small, tensor<fp16, [1, 64, 1, 32]> large) {\n"
      "    fp16 two = const()[name = string(\"two\"), val = fp16(2)];\n"
      "    tensor<fp16, [1, 32, 1, 32]> a = mul(x = small, y = two)[name = string(\"a\")];\n"
      "    tensor<fp16, [1, 64, 1, 32]> b = mul(x = large, y = two)[name = string(\"b\")];\n"
      "  } -> (a, b);\n}\n";
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rig r;
    ride x;
    orion_error err;
    rig_world(&r, cases[i].world);
    rig_open(&r, "ane");
    orion_program *p = rig_parse(text);
    ride_open(&r, &x, p);
    orion_program_destroy(p);
    assert_error(orion_run(x.b, &err), ORION_DEVICE, &err, cases[i].text);
    assert_non_null(strstr(err.message, "main: running failed: com.apple.appleneuralengine 8"));
    ride_close(&x);
    rig_end(&r);
  }
}

static void a_program_that_is_not_taken_is_refused(void **state) {
  rig r;
  orion_error err;
  orion_executable *e;
  rig_world(&r, NULL);
  rig_open(&r, "ane");
  // By our own catalogue, before the system is asked.
  orion_program *p = rig_parse("program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, 1, 1, 1, 1, 32]> x) {\n"
                               "    tensor<fp16, [1, 1, 1, 1, 1, 32]> y = relu(x = x)[name = string(\"y\")];\n  } -> (y);\n}\n");
  assert_error(orion_device_compile(r.device, p, NULL, &e, &err), ORION_REFUSED, &err, "rule L01");
  assert_int_equal(r.count("compiles"), 0);
  orion_program_destroy(p);
  rig_end(&r);
}

// ---- raw programs, as probes send them ----

static const char good[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, 32, 1, 32]> x) {\n"
    "    tensor<fp16, [1, 32, 1, 32]> y = relu(x = x)[name = string(\"y\")];\n  } -> (y);\n}\n";

static orion_raw *send(rig *r, const char *text, unsigned mistakes, orion_answer *answer) {
  orion_raw_program p = {.text = text, .n_text = strlen(text), .mistakes = mistakes};
  orion_error err;
  orion_raw *out;
  assert_ok(r->device->vtable->raw->compile(r->device, &p, &out, answer, &err), &err);
  return out;
}

static void raw_programs_get_the_engines_answer(void **state) {
  rig r;
  orion_answer answer;
  rig_world(&r, "arithmetic=ideal");
  rig_open(&r, "ane");
  const orion_raw_vtable *raw = r.device->vtable->raw;
  assert_null(send(&r, "nonsense", 0, &answer));
  assert_int_equal(answer.symptom, ORION_SYMPTOM_COMPILE);
  assert_non_null(strstr(answer.text, "InvalidMILProgram"));
  assert_null(send(&r, good, ORION_RAW_NO_DICTIONARY, &answer));
  assert_int_equal(answer.symptom, ORION_SYMPTOM_COMPILE);
  assert_null(send(&r, good, ORION_RAW_NO_DIRECTORY, &answer));
  assert_int_equal(answer.symptom, ORION_SYMPTOM_COMPILE);
  orion_raw *p = send(&r, good, 0, &answer);
  assert_non_null(p);
  assert_int_equal(answer.symptom, ORION_SYMPTOM_NONE);
  // Surfaces of any size, by position.
  orion_error err;
  orion_layout large = {.dtype = ORION_FP16, .rank = 1, .dims = {1024}, .row_bytes = 2048, .bytes = 2048}, small = large;
  small.dims[0] = 1023;
  small.row_bytes = small.bytes = 2046;
  orion_surface *x, *y, *z;
  assert_ok(orion_surface_create(r.device, &large, &x, &err), &err);
  assert_ok(orion_surface_create(r.device, &large, &y, &err), &err);
  assert_ok(orion_surface_create(r.device, &small, &z, &err), &err);
  *(uint16_t *)orion_surface_lock(x) = 0x3c00;
  orion_surface_unlock(x);
  assert_ok(raw->run(p, &(orion_raw_request){&x, &y, 1, 1}, &answer, &err), &err);
  assert_int_equal(answer.symptom, ORION_SYMPTOM_NONE);
  assert_int_equal(*(uint16_t *)orion_surface_lock(y), 0x3c00);
  orion_surface_unlock(y);
  assert_ok(raw->run(p, &(orion_raw_request){&x, &z, 1, 1}, &answer, &err), &err);
  assert_int_equal(answer.symptom, ORION_SYMPTOM_RUN);
  assert_int_equal(answer.status, 0x1d);
  assert_int_equal(answer.rule, ORION_RULE_C04);
  raw->release(p, true);
  orion_surface_destroy(x);
  orion_surface_destroy(y);
  orion_surface_destroy(z);
  rig_end(&r);
}

// An input of 32 channels and a weight of one file, reloaded in three ways in three worlds.
static void raw_programs_reload_as_the_world_has_it(void **state) {
  static const char text[] =
      "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, 32, 1, 32]> x) {\n"
      "    tensor<fp16, [1, 32, 1, 1]> w = const()[name = string(\"w\"), val = tensor<fp16, [1, 32, 1, 1]>(BLOBFILE(path = "
      "string(\"@model_path/weights/weight.bin\"), offset = uint64(64)))];\n"
      "    tensor<fp16, [1, 32, 1, 32]> y = mul(x = x, y = w)[name = string(\"y\")];\n  } -> (y);\n}\n";
  static const struct { const char *world; orion_raw_reload how; bool changed; } cases[] = {
      {"reload=baked", ORION_RELOAD_FILES, false}, {"reload=baked", ORION_RELOAD_DATA, false},
      {"reload=files", ORION_RELOAD_FILES, true},  {"reload=data", ORION_RELOAD_FILES, false},
      {"reload=data", ORION_RELOAD_DATA, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rig r;
    orion_answer answer;
    orion_error err;
    rig_world(&r, cases[i].world);
    r.set("arithmetic", "ideal");
    rig_open(&r, "ane");
    const orion_raw_vtable *raw = r.device->vtable->raw;
    struct { uint32_t count, version, zero[14], mark, type; uint64_t size, offset, rest[5]; uint16_t w[32]; } blob = {
        .count = 1, .version = 2, .mark = 0xdeadbeef, .type = 1, .size = 64, .offset = 128};
    for (int k = 0; k < 32; k++) blob.w[k] = 0x3c00;
    orion_raw_file file = {"weights/weight.bin", &blob, sizeof blob};
    orion_raw_program p = {.text = text, .n_text = strlen(text), .files = &file, .n_files = 1};
    orion_raw *loaded;
    assert_ok(raw->compile(r.device, &p, &loaded, &answer, &err), &err);
    if (!loaded) fail_msg("%s", answer.text);
    for (int k = 0; k < 32; k++) blob.w[k] = 0x4000;
    assert_ok(raw->reload(loaded, &file, 1, cases[i].how, &answer, &err), &err);
    assert_int_equal(answer.symptom, ORION_SYMPTOM_NONE);
    orion_layout l = {.dtype = ORION_FP16, .rank = 1, .dims = {1024}, .row_bytes = 2048, .bytes = 2048};
    orion_surface *x, *y;
    assert_ok(orion_surface_create(r.device, &l, &x, &err), &err);
    assert_ok(orion_surface_create(r.device, &l, &y, &err), &err);
    *(uint16_t *)orion_surface_lock(x) = 0x3c00;
    orion_surface_unlock(x);
    assert_ok(raw->run(loaded, &(orion_raw_request){&x, &y, 1, 1}, &answer, &err), &err);
    assert_int_equal(*(uint16_t *)orion_surface_lock(y), cases[i].changed ? 0x4000 : 0x3c00);
    orion_surface_unlock(y);
    orion_surface_destroy(x);
    orion_surface_destroy(y);
    raw->release(loaded, true);
    rig_end(&r);
  }
}

// ---- several procedures ----

static void functions_of_one_program_are_procedures_of_one_model(void **state) {
  static const char text[] =
      "program(1.3)\n{\n  func twice<ios18>(tensor<fp16, [1, 32, 1, 32]> x) {\n"
      "    fp16 k = const()[name = string(\"k\"), val = fp16(2)];\n"
      "    tensor<fp16, [1, 32, 1, 32]> y = mul(x = x, y = k)[name = string(\"y\")];\n  } -> (y);\n"
      "  func more<ios18>(tensor<fp16, [1, 32, 1, 32]> z, tensor<fp16, [1, 32, 1, 32]> x) {\n"
      "    tensor<fp16, [1, 32, 1, 32]> y = add(x = x, y = z)[name = string(\"y\")];\n  } -> (y);\n}\n";
  static const char *const specs[] = {"ane:route=a", "ane:route=b"};
  for (size_t i = 0; i < 2; i++) {
    rig r;
    ride twice, more;
    rig_world(&r, "arithmetic=ideal");
    rig_open(&r, specs[i]);
    orion_program *p = rig_parse(text);
    ride_open_function(&r, &twice, p, "twice");
    ride_open_function(&r, &more, p, "more");
    orion_program_destroy(p);
    ride_fill(&twice, "x", 3, 0);
    ride_fill(&more, "x", 5, 0);
    ride_fill(&more, "z", 7, 0);
    ride_run(&more);
    ride_run(&twice);
    assert_true(ride_get(&twice, "y", 9) == 6);
    assert_true(ride_get(&more, "y", 9) == 12);
    assert_int_equal(r.count("compiles"), 1);
    assert_int_equal(r.count("loaded"), 1);
    ride_close(&twice);
    ride_run(&more);
    ride_close(&more);
    rig_end(&r);
  }
}

// ---- memory ----

static orion_status one_life(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_device *d;
  orion_executable *e = NULL;
  orion_bindings *b = NULL;
  orion_surface *surfaces[2] = {NULL, NULL};
  size_t n = 0;
  ORION_TRY(orion_device_open(ctx, 1, a, &d, err));
  orion_program *p = rig_conv(0.5);
  orion_status status = orion_device_compile(d, p, NULL, &e, err);
  orion_program_destroy(p);
  if (status == ORION_OK) status = orion_bindings_create(e, &b, err);
  const orion_io *ios = status == ORION_OK ? orion_executable_ios(e, &n) : NULL;
  for (size_t i = 0; i < n && status == ORION_OK; i++) {
    status = orion_surface_create(d, &ios[i].layout, &surfaces[i], err);
    if (status == ORION_OK) status = orion_bind(b, ios[i].name, surfaces[i], err);
  }
  if (status == ORION_OK) status = orion_run(b, err);
  orion_bindings_destroy(b);
  orion_surface_destroy(surfaces[0]);
  orion_surface_destroy(surfaces[1]);
  orion_executable_release(e);
  orion_device_close(d);
  return status;
}

static void every_allocation_may_fail(void **state) {
  static const char *const specs[] = {"ane:route=a,cache=off", "ane:route=b,cache=off"};
  for (size_t i = 0; i < 2; i++) {
    rig r;
    rig_world(&r, "arithmetic=ideal,compiles=100000");
    test_sweep_allocations(one_life, (void *)(uintptr_t)specs[i], 40);
    rig_end(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_machine_without_the_engine_says_what_is_missing),
      cmocka_unit_test(a_missing_private_framework_leaves_the_other_route),
      cmocka_unit_test(the_chip_decides_the_family),
      cmocka_unit_test(a_run_that_fails_names_status_and_rule),
      cmocka_unit_test(a_program_that_is_not_taken_is_refused),
      cmocka_unit_test(raw_programs_get_the_engines_answer),
      cmocka_unit_test(raw_programs_reload_as_the_world_has_it),
      cmocka_unit_test(functions_of_one_program_are_procedures_of_one_model),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests_name("ane refusals", tests, NULL, NULL);
}
