// The contract of include/orion/device.h, kept by every device that runs a small convolution (others are skipped).
#include "device/layout.h"
#include "ir/infer.h"
#include "mil/mil.h"
#include "orion/device.h"
#include "support/support.h"

// y = softmax(conv(x, w)) over channels, z = y * scale: fp16, rows of five columns so that padding shows.
static const char text[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, 4, 1, 5]> x, tensor<fp16, [1, 4, 1, 5]> skip) {\n"
    "    tensor<fp16, [4, 4, 1, 1]> w = const()[name = string(\"w\"), val = tensor<fp16, [4, 4, 1, 1]>([[[[0.5]], "
    "[[1.0]], [[-1.0]], [[0.25]]], [[[0.125]], [[2.0]], [[0.0]], [[1.5]]], [[[-0.5]], [[0.75]], [[1.0]], [[1.0]]], "
    "[[[1.0]], [[1.0]], [[-2.0]], [[0.5]]]])];\n"
    "    tensor<int32, [2]> one = const()[name = string(\"one\"), val = tensor<int32, [2]>([1, 1])];\n"
    "    tensor<int32, [4]> zero = const()[name = string(\"zero\"), val = tensor<int32, [4]>([0, 0, 0, 0])];\n"
    "    string valid = const()[name = string(\"valid\"), val = string(\"valid\")];\n"
    "    int32 groups = const()[name = string(\"groups\"), val = int32(1)];\n"
    "    int32 axis = const()[name = string(\"axis\"), val = int32(1)];\n"
    "    fp16 scale = const()[name = string(\"scale\"), val = fp16(3.0)];\n"
    "    tensor<fp16, [1, 4, 1, 5]> h = conv(dilations = one, groups = groups, pad = zero, pad_type = valid, strides = "
    "one, weight = w, x = x)[name = string(\"h\")];\n"
    "    tensor<fp16, [1, 4, 1, 5]> s = add(x = h, y = skip)[name = string(\"s\")];\n"
    "    tensor<fp16, [1, 4, 1, 5]> y = softmax(axis = axis, x = s)[name = string(\"y\")];\n"
    "    tensor<fp16, [1, 4, 1, 5]> z = mul(x = y, y = scale)[name = string(\"z\")];\n"
    "  } -> (y, z);\n}\n";

enum { ELEMENTS = 20 };

typedef struct fixture {
  orion_device *device;
  orion_program *program;
  orion_executable *e;
  orion_bindings *b;
  orion_surface *x, *skip, *y, *z;
} fixture;

static orion_program *parse(const char *mil) {
  orion_error err;
  orion_program *p;
  assert_ok(orion_mil_parse(NULL, mil, strlen(mil), "contract", &p, &err), &err);
  return p;
}

static orion_surface *surface(fixture *f, const char *name) {
  orion_error err;
  orion_surface *s;
  assert_ok(orion_surface_create(f->device, &orion_executable_io(f->e, name)->layout, &s, &err), &err);
  return s;
}

static void fill(orion_surface *s, float first) {
  float v[ELEMENTS];
  for (int i = 0; i < ELEMENTS; i++) v[i] = first + (float)(i * 7 % 11) * 0.25f;
  orion_layout_from_floats(orion_surface_layout(s), orion_surface_lock(s), v);
  orion_surface_unlock(s);
}

static void set_up(fixture *f, const char *spec, int threads) {
  orion_error err;
  *f = (fixture){0};
  assert_ok(orion_device_open(spec, threads, NULL, &f->device, &err), &err);
  f->program = parse(text);
  assert_ok(orion_device_compile(f->device, f->program, NULL, &f->e, &err), &err);
  assert_ok(orion_bindings_create(f->e, &f->b, &err), &err);
  f->x = surface(f, "x");
  f->skip = surface(f, "skip");
  f->y = surface(f, "y");
  f->z = surface(f, "z");
  fill(f->x, -1);
  fill(f->skip, 0.5f);
}

static void bind_all(fixture *f) {
  orion_error err;
  assert_ok(orion_bind(f->b, "x", f->x, &err), &err);
  assert_ok(orion_bind(f->b, "skip", f->skip, &err), &err);
  assert_ok(orion_bind(f->b, "y", f->y, &err), &err);
  assert_ok(orion_bind(f->b, "z", f->z, &err), &err);
}

static void tear_down(fixture *f) {
  orion_bindings_destroy(f->b);
  orion_executable_release(f->e);
  orion_surface_destroy(f->x);
  orion_surface_destroy(f->skip);
  orion_surface_destroy(f->y);
  orion_surface_destroy(f->z);
  orion_program_destroy(f->program);
  orion_device_close(f->device);
}

static void results(fixture *f, uint16_t *out) {  // y, then z
  orion_error err;
  assert_ok(orion_run(f->b, &err), &err);
  orion_layout_pack(orion_surface_layout(f->y), orion_surface_lock(f->y), out);
  orion_layout_pack(orion_surface_layout(f->z), orion_surface_lock(f->z), out + ELEMENTS);
  orion_surface_unlock(f->y);
  orion_surface_unlock(f->z);
}

// ---- tests ---- the state is the device's specification

static void inputs_come_first_and_have_the_declared_layout(void **state) {
  fixture f;
  set_up(&f, *state, 1);
  size_t n;
  const orion_io *ios = orion_executable_ios(f.e, &n);
  static const char *const names[] = {"x", "skip", "y", "z"};
  assert_int_equal(n, 4);
  for (size_t i = 0; i < n; i++) {
    assert_string_equal(ios[i].name, names[i]);
    assert_int_equal(ios[i].direction, i < 2 ? ORION_INPUT : ORION_OUTPUT);
    assert_int_equal(ios[i].layout.dtype, ORION_FP16);
    assert_int_equal(ios[i].layout.rank, 4);
    assert_int_equal(ios[i].layout.dims[3], 5);
    assert_true(ios[i].layout.row_bytes >= 10 && ios[i].layout.bytes >= 4 * ios[i].layout.row_bytes);
    assert_ptr_equal(orion_executable_io(f.e, names[i]), &ios[i]);
  }
  assert_null(orion_executable_io(f.e, "h"));
  tear_down(&f);
}

static void surfaces_are_aligned_and_zero(void **state) {
  fixture f;
  set_up(&f, *state, 1);
  const unsigned char *memory = orion_surface_lock(f.y);
  assert_int_equal((uintptr_t)memory % 64, 0);
  for (size_t i = 0; i < orion_surface_layout(f.y)->bytes; i++) assert_int_equal(memory[i], 0);
  orion_surface_unlock(f.y);
  tear_down(&f);
}

static void binding_an_unknown_name_fails(void **state) {
  fixture f;
  orion_error err;
  set_up(&f, *state, 1);
  assert_error(orion_bind(f.b, "nobody", f.x, &err), ORION_NOT_FOUND, &err, "nobody");
  assert_error(orion_bind(f.b, "h", f.x, &err), ORION_NOT_FOUND, &err, "'h'");
  tear_down(&f);
}

static void binding_another_layout_fails(void **state) {
  fixture f;
  orion_error err;
  set_up(&f, *state, 1);
  orion_layout l = *orion_surface_layout(f.x), wider = l, other = l, padded = l;
  orion_surface *s;
  wider.dims[2] = 2;
  wider.bytes *= 2;
  other.dtype = ORION_UINT16;
  padded.row_bytes += 64;
  padded.bytes += 4 * 64;
  const orion_layout *wrong[] = {&wider, &other, &padded};
  for (int i = 0; i < 3; i++) {
    assert_ok(orion_surface_create(f.device, wrong[i], &s, &err), &err);
    assert_error(orion_bind(f.b, "x", s, &err), ORION_INVALID, &err, "'x'");
    orion_surface_destroy(s);
  }
  tear_down(&f);
}

static void surfaces_that_make_no_sense_are_refused(void **state) {
  fixture f;
  orion_error err;
  set_up(&f, *state, 1);
  orion_layout l = *orion_surface_layout(f.x), bad;
  orion_surface *s = NULL;
  bad = l, bad.row_bytes = 9;
  assert_error(orion_surface_create(f.device, &bad, &s, &err), ORION_INVALID, &err, "rows of 10 bytes");
  bad = l, bad.bytes = 8;
  assert_error(orion_surface_create(f.device, &bad, &s, &err), ORION_INVALID, &err, "do not fit");
  bad = l, bad.dims[0] = INT64_MAX / 4;
  assert_error(orion_surface_create(f.device, &bad, &s, &err), ORION_LIMIT, &err, "overflows");
  bad = l, bad.dims[1] = -1;
  assert_error(orion_surface_create(f.device, &bad, &s, &err), ORION_INVALID, &err, "dimension 1");
  bad = l, bad.rank = 9;
  assert_error(orion_surface_create(f.device, &bad, &s, &err), ORION_INVALID, &err, "rank 9");
  bad = l, bad.dtype = ORION_UINT4;
  assert_error(orion_surface_create(f.device, &bad, &s, &err), ORION_UNSUPPORTED, &err, "uint4");
  bad = l, bad.dtype = 1000;
  assert_error(orion_surface_create(f.device, &bad, &s, &err), ORION_INVALID, &err, "1000");
  assert_null(s);
  tear_down(&f);
}

static void running_with_a_name_unbound_fails(void **state) {
  fixture f;
  orion_error err;
  set_up(&f, *state, 1);
  assert_error(orion_run(f.b, &err), ORION_INVALID, &err, "'x' is not bound");
  assert_ok(orion_bind(f.b, "x", f.x, &err), &err);
  assert_ok(orion_bind(f.b, "skip", f.skip, &err), &err);
  assert_ok(orion_bind(f.b, "y", f.y, &err), &err);
  assert_error(orion_run(f.b, &err), ORION_INVALID, &err, "'z' is not bound");
  tear_down(&f);
}

static void an_output_must_not_share_its_surface(void **state) {
  fixture f;
  orion_error err;
  set_up(&f, *state, 1);
  bind_all(&f);
  assert_ok(orion_bind(f.b, "z", f.x, &err), &err);  // may pass for a moment, while surfaces change places
  assert_error(orion_run(f.b, &err), ORION_INVALID, &err, "surface of 'x'");
  assert_ok(orion_bind(f.b, "z", f.y, &err), &err);
  assert_error(orion_run(f.b, &err), ORION_INVALID, &err, "surface of 'y'");
  assert_ok(orion_bind(f.b, "z", f.z, &err), &err);
  assert_ok(orion_bind(f.b, "skip", f.x, &err), &err);  // two inputs may
  assert_ok(orion_run(f.b, &err), &err);
  tear_down(&f);
}

static void binding_again_replaces(void **state) {
  fixture f;
  uint16_t first[2 * ELEMENTS], second[2 * ELEMENTS];
  set_up(&f, *state, 1);
  bind_all(&f);
  results(&f, first);
  orion_surface *swap = f.x;
  f.x = f.skip;
  f.skip = swap;
  bind_all(&f);
  results(&f, second);
  assert_memory_not_equal(first, second, sizeof first);
  tear_down(&f);
}

static void runs_and_threads_give_the_same_bits(void **state) {
  uint16_t first[2 * ELEMENTS], again[2 * ELEMENTS];
  for (int threads = 1; threads <= 4; threads++) {
    fixture f;
    set_up(&f, *state, threads);
    bind_all(&f);
    for (int i = 0; i < 3; i++) {
      results(&f, again);
      if (threads == 1 && i == 0) memcpy(first, again, sizeof first);
      assert_memory_equal(first, again, sizeof first);
    }
    orion_run_times times;
    orion_executable_times(f.e, &times);
    assert_int_equal(times.runs, 3);
    assert_true(times.weight_bytes > 0 && times.memory_bytes >= times.weight_bytes);
    tear_down(&f);
  }
}

static void padding_does_not_change_results(void **state) {
  fixture packed, padded;
  uint16_t a[2 * ELEMENTS], b[2 * ELEMENTS];
  if (strncmp(*state, "sim", 3) != 0) {
    print_message("skipped: only the sim pads rows on demand\n");
    skip();
  }
  set_up(&packed, "sim", 1);
  set_up(&padded, "sim:ideal,rows=64", 1);
  assert_int_equal(orion_executable_io(padded.e, "x")->layout.row_bytes, 64);
  assert_int_equal(orion_executable_io(padded.e, "z")->layout.bytes, 4 * 64);
  bind_all(&packed);
  bind_all(&padded);
  memset((char *)orion_surface_lock(padded.z) + 10, 0x55, 54);  // the gap of the first row is not the device's
  results(&packed, a);
  results(&padded, b);
  assert_memory_equal(a, b, sizeof a);
  for (int i = 10; i < 64; i++) assert_int_equal(((unsigned char *)orion_surface_lock(padded.z))[i], 0x55);
  tear_down(&packed);
  tear_down(&padded);
}

// The program's text with other numbers in w.
static void updated_weights_equal_a_fresh_compile(void **state) {
  fixture f, fresh;
  orion_error err;
  uint16_t before[2 * ELEMENTS], after[2 * ELEMENTS], want[2 * ELEMENTS], w[16];
  set_up(&f, *state, 2);
  bind_all(&f);
  results(&f, before);
  for (int i = 0; i < 16; i++) orion_store_double(ORION_FP16, w, (size_t)i, 0.25 * (i % 5) - 0.5);
  orion_status status = orion_executable_update(f.e, "w", w, sizeof w, &err);
  if (status == ORION_UNSUPPORTED) {
    tear_down(&f);
    print_message("skipped: %s\n", err.message);
    skip();
  }
  assert_ok(status, &err);
  results(&f, after);
  assert_memory_not_equal(before, after, sizeof after);
  char changed[sizeof text + 256], list[256] = "[", number[32];
  for (int i = 0; i < 16; i++) {
    snprintf(number, sizeof number, "%s[[%g]]%s", i % 4 ? "" : "[", 0.25 * (i % 5) - 0.5, i % 4 == 3 ? "]" : "");
    strcat(list, number);
    strcat(list, i < 15 ? ", " : "]");
  }
  const char *from = strstr(text, "([[[["), *to = strstr(from, ")];");
  snprintf(changed, sizeof changed, "%.*s(%s%s", (int)(from - text), text, list, to);
  set_up(&fresh, *state, 2);
  orion_executable *e = fresh.e;
  orion_program *p = parse(changed);
  orion_bindings_destroy(fresh.b);
  assert_ok(orion_device_compile(fresh.device, p, NULL, &fresh.e, &err), &err);
  assert_ok(orion_bindings_create(fresh.e, &fresh.b, &err), &err);
  orion_executable_release(e);
  bind_all(&fresh);
  results(&fresh, want);
  assert_memory_equal(after, want, sizeof want);
  orion_program_destroy(p);
  tear_down(&fresh);
  tear_down(&f);
}

static void wrong_updates_fail(void **state) {
  fixture f;
  orion_error err;
  uint16_t w[16] = {0};
  set_up(&f, *state, 1);
  if (orion_executable_update(f.e, "w", w, sizeof w, &err) != ORION_UNSUPPORTED) {
    assert_error(orion_executable_update(f.e, "nobody", w, sizeof w, &err), ORION_NOT_FOUND, &err, "nobody");
    assert_error(orion_executable_update(f.e, "w", w, 30, &err), ORION_INVALID, &err, "30");
    assert_error(orion_executable_update(f.e, "x", w, sizeof w, &err), ORION_NOT_FOUND, &err, "x");
    int32_t axis = 7;
    assert_int_not_equal(orion_executable_update(f.e, "axis", &axis, sizeof axis, &err), ORION_OK);  // shapes the plan
  }
  tear_down(&f);
}

static void unknown_operations_are_named(void **state) {
  orion_error err;
  orion_device *d;
  orion_executable *e = NULL;
  orion_findings findings;
  orion_program *p = parse(
      "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [2]> a) {\n"
      "    tensor<fp16, [2]> b = frobnicate(x = a)[name = string(\"b\")];\n  } -> (b);\n}\n");
  assert_ok(orion_device_open(*state, 1, NULL, &d, &err), &err);
  orion_findings_init(&findings, NULL);
  assert_ok(orion_device_supports(d, p, &findings, &err), &err);
  assert_true(orion_findings_fatal(&findings));
  bool named = false;
  for (size_t i = 0; i < findings.n; i++) {
    if (strcmp(findings.items[i].rule, "op") == 0 && strstr(findings.items[i].message, "frobnicate")) named = true;
  }
  assert_true(named);
  assert_error(orion_device_compile(d, p, NULL, &e, &err), ORION_REFUSED, &err, "");
  assert_null(e);
  orion_findings_deinit(&findings);
  orion_program_destroy(p);
  orion_device_close(d);
}

static void unsound_programs_are_refused(void **state) {
  orion_error err;
  orion_device *d;
  orion_executable *e = NULL;
  orion_program *p = parse(
      "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [2]> a) {\n"
      "    tensor<fp16, [3]> b = relu(x = a)[name = string(\"b\")];\n  } -> (b);\n}\n");
  assert_ok(orion_device_open(*state, 1, NULL, &d, &err), &err);
  assert_error(orion_device_compile(d, p, NULL, &e, &err), ORION_REFUSED, &err, "line 4");
  assert_null(e);
  orion_program_destroy(p);
  orion_device_close(d);
}

static void functions_are_found_by_name(void **state) {
  fixture f;
  orion_error err;
  orion_executable *e = NULL;
  set_up(&f, *state, 1);
  orion_compile_options options = {.function = "other"};
  assert_error(orion_device_compile(f.device, f.program, &options, &e, &err), ORION_NOT_FOUND, &err, "other");
  options.function = "main";
  assert_ok(orion_device_compile(f.device, f.program, &options, &e, &err), &err);
  orion_executable_release(e);
  tear_down(&f);
}

static void executables_outlive_their_program(void **state) {
  fixture f;
  uint16_t first[2 * ELEMENTS], again[2 * ELEMENTS];
  set_up(&f, *state, 1);
  bind_all(&f);
  results(&f, first);
  orion_program_destroy(f.program);
  f.program = NULL;
  results(&f, again);
  assert_memory_equal(first, again, sizeof first);
  tear_down(&f);
}

static void null_refuses_everything(void **state) {
  orion_error err;
  orion_device *d;
  orion_executable *e = NULL;
  orion_findings findings;
  orion_program *p = parse(text);
  assert_ok(orion_device_open("null", 1, NULL, &d, &err), &err);
  orion_findings_init(&findings, NULL);
  assert_ok(orion_device_supports(d, p, &findings, &err), &err);
  int convs = 0, consts = 0;
  for (size_t i = 0; i < findings.n; i++) {
    if (strstr(findings.items[i].message, "conv")) convs++;
    if (strstr(findings.items[i].message, "const")) consts++;
  }
  assert_int_equal(convs, 1);
  assert_int_equal(consts, 1);  // one finding for each kind
  assert_error(orion_device_compile(d, p, NULL, &e, &err), ORION_REFUSED, &err, "null");
  orion_findings_deinit(&findings);
  orion_program_destroy(p);
  orion_device_close(d);
}

typedef struct contract_case {
  const char *name;
  void (*fn)(void **state);
} contract_case;

#define CASE(fn) {#fn, fn}
static const contract_case contract[] = {
    CASE(inputs_come_first_and_have_the_declared_layout), CASE(surfaces_are_aligned_and_zero),
    CASE(binding_an_unknown_name_fails), CASE(binding_another_layout_fails),
    CASE(surfaces_that_make_no_sense_are_refused), CASE(running_with_a_name_unbound_fails),
    CASE(an_output_must_not_share_its_surface), CASE(binding_again_replaces),
    CASE(runs_and_threads_give_the_same_bits), CASE(padding_does_not_change_results),
    CASE(updated_weights_equal_a_fresh_compile), CASE(wrong_updates_fail), CASE(unknown_operations_are_named),
    CASE(unsound_programs_are_refused), CASE(functions_are_found_by_name), CASE(executables_outlive_their_program),
};

int main(void) {
  enum { N = sizeof contract / sizeof *contract, MOST = 8 };
  static char titles[MOST * N][128];
  static struct CMUnitTest tests[MOST * N + 1];
  size_t n = 0, devices = 0;
  for (const char *const *name = orion_device_names(); *name && devices < MOST; name++, devices++) {
    if (strcmp(*name, "null") == 0) continue;
    for (size_t i = 0; i < N; i++, n++) {
      snprintf(titles[n], sizeof titles[n], "%s on %s", contract[i].name, *name);
      const char *spec = strcmp(*name, "record") == 0 ? "record:cpu,file=contract.record" : *name;
      tests[n] = (struct CMUnitTest){titles[n], contract[i].fn, NULL, NULL, (void *)spec};
    }
  }
  tests[n++] = (struct CMUnitTest){"null_refuses_everything", null_refuses_everything, NULL, NULL, NULL};
  return _cmocka_run_group_tests("contract", tests, n, NULL, NULL);
}
