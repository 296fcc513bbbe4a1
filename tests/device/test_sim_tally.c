// Counts of what happens to numbers, against counting one pair, one result at a time.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/half.h"
#include "base/rng.h"
#include "device/one_run.h"
#include "device/sim/fixed.h"

enum { M = 6, K = 40, N = 32 };

static const char text[] =
    "program(1.3)\n[buildInfo = dict<string, string>({{\"a\", \"b\"}})]\n{\n"
    "  func main<ios18>(tensor<fp16, [1, 1, 6, 40]> x, tensor<fp16, [1, 1, 40, 32]> y) {\n"
    "    bool no = const()[name = string(\"no\"), val = bool(false)];\n"
    "    tensor<fp16, [1, 1, 6, 32]> l2_z = matmul(transpose_x = no, transpose_y = no, x = x, y = y)[name = string(\"l2_z\")];\n"
    "    tensor<fp16, [1, 1, 6, 32]> l2_s = mul(x = l2_z, y = l2_z)[name = string(\"l2_s\")];\n"
    "    tensor<fp16, [1, 1, 6, 32]> e = exp(x = l2_s)[name = string(\"e\")];\n"
    "  } -> (l2_z, l2_s, e);\n}\n";

static const orion_tally *row_of(const orion_device *d, const char *op, const char *layer) {
  size_t n;
  const orion_tally *rows = orion_device_tallies(d, &n);
  for (size_t i = 0; i < n; i++) {
    if (strcmp(rows[i].op, op) == 0 && strcmp(rows[i].layer, layer) == 0) return &rows[i];
  }
  fail_msg("no row of %s in layer '%s'", op, layer);
  return NULL;
}

static void counts_are_those_of_single_numbers(void **state) {
  static float x[M * K], y[K * N], z[M * N], s[M * N], e[M * N];
  one_run r = {0};
  orion_error err;
  orion_rng rng;
  orion_rng_seed(&rng, 5, 0);
  for (int i = 0; i < M * K; i++) x[i] = orion_half_to_float(orion_float_to_half(ldexpf(orion_rng_float(&rng) - 0.5f, -(i % 16))));
  for (int i = 0; i < K * N; i++) y[i] = orion_half_to_float(orion_float_to_half(ldexpf(orion_rng_float(&rng) - 0.5f, -(i % 13))));
  x[0] = 60000;
  y[0] = 60000;  // the first sum overflows
  orion_program *p = one_run_parse(text);
  assert_ok(orion_device_open("sim:m4", 2, NULL, &r.device, &err), &err);
  assert_ok(orion_device_count(r.device, true, &err), &err);
  assert_ok(orion_device_compile(r.device, p, NULL, &r.e, &err), &err);
  r.program = p;
  assert_ok(orion_bindings_create(r.e, &r.b, &err), &err);
  const orion_io *ios = orion_executable_ios(r.e, &r.n);
  for (size_t i = 0; i < r.n; i++) {
    assert_ok(orion_surface_create(r.device, &ios[i].layout, &r.surfaces[i], &err), &err);
    assert_ok(orion_bind(r.b, ios[i].name, r.surfaces[i], &err), &err);
  }
  one_run_floats(&r, 0, x);
  one_run_floats(&r, 1, y);
  for (int turn = 0; turn < 2; turn++) assert_ok(orion_run(r.b, &err), &err);
  one_run_read(&r, 2, z);
  one_run_read(&r, 3, s);
  one_run_read(&r, 4, e);

  uint64_t dropped = 0, infinite = 0, vanished = 0, e_infinite = 0;
  for (int i = 0; i < M; i++) {
    for (int j = 0; j < N; j++) {
      for (int k = 0; k < K; k++) {
        float a = x[i * K + k], b = y[k * N + j];
        dropped += a != 0 && b != 0 && orion_fixed_exponent(a) + orion_fixed_exponent(b) <= ORION_FIXED_DROP;
      }
      infinite += isinf(z[i * N + j]) != 0;
      vanished += z[i * N + j] != 0 && s[i * N + j] == 0;
      e_infinite += isinf(e[i * N + j]) != 0;
    }
  }
  assert_true(dropped > 100 && infinite >= 1);
  const orion_tally *t = row_of(r.device, "matmul", "l2");
  assert_int_equal(t->runs, 2);
  assert_int_equal(t->products, 2 * M * N * K);
  assert_int_equal(t->dropped, 2 * dropped);
  assert_int_equal(t->infinite, 2 * infinite);
  assert_int_equal(row_of(r.device, "mul", "l2")->vanished, 2 * vanished);
  t = row_of(r.device, "exp", "");
  assert_int_equal(t->infinite, 2 * e_infinite);
  assert_true(t->out_of_range >= 2 * e_infinite && t->max_error > 0);
  one_run_close(&r);
}

static void devices_that_do_not_count_say_so(void **state) {
  orion_error err = {0};
  orion_device *d;
  size_t n = 1;
  assert_ok(orion_device_open("cpu", 1, NULL, &d, &err), &err);
  assert_error(orion_device_count(d, true, &err), ORION_UNSUPPORTED, &err, "cpu");
  assert_null(orion_device_tallies(d, &n));
  assert_int_equal(n, 0);
  orion_device_close(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counts_are_those_of_single_numbers),
      cmocka_unit_test(devices_that_do_not_count_say_so),
  };
  return cmocka_run_group_tests_name("sim tally", tests, NULL, NULL);
}
