// Whole programs on the chip families: 3x3 convolutions of odd sizes against the formula, results that do not depend on
// threads, fp32 values that are fp16 underneath, failing allocations, and that each family says what is not known of it.
#include "bits_run.h"

#include <math.h>

#include "base/rng.h"
#include "device/sim/ane.h"
#include "device/sim/fixed.h"

enum { C = 3, O = 2, H = 5, W = 7 };

static const char conv_text[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [2, 3, 5, 7]> x, tensor<fp16, [2, 3, 3, 3]> w, "
    "tensor<fp16, [2]> b) {\n"
    "    string type = const()[name = string(\"type\"), val = string(\"custom\")];\n"
    "    tensor<int32, [4]> pad = const()[name = string(\"pad\"), val = tensor<int32, [4]>([1, 1, 1, 1])];\n"
    "    tensor<fp16, [2, 2, 5, 7]> y = conv(bias = b, pad = pad, pad_type = type, weight = w, x = x)"
    "[name = string(\"y\")];\n  } -> (y);\n}\n";

static double pixel(const float *x, int c, int row, int column) {
  return row < 0 || row >= H || column < 0 || column >= W ? 0 : (double)x[(c * H + row) * W + column];
}

// One output by F(2,3), written down once more from its formula.
static float by_formula(const float *x, const float *w, float bias, int row, int column) {
  double sum = (double)orion_fixed_steps((double)bias);
  int tile = column / 2 * 2;
  for (int c = 0; c < C; c++) {
    for (int r = 0; r < 3; r++) {
      double d[4], g[3];
      for (int i = 0; i < 4; i++) d[i] = pixel(x, c, row + r - 1, tile - 1 + i);
      for (int i = 0; i < 3; i++) g[i] = (double)w[(c * 3 + r) * 3 + i];
      const float v[] = {orion_fixed_half(d[0] - d[2]), orion_fixed_half(d[1] + d[2]), orion_fixed_half(d[2] - d[1]),
                         orion_fixed_half(d[1] - d[3])};
      const float u[] = {(float)g[0], orion_fixed_half((g[0] + g[1] + g[2]) / 2),
                         orion_fixed_half((g[0] - g[1] + g[2]) / 2), (float)g[2]};
      static const int sign[2][4] = {{1, 1, 1, 0}, {0, 1, -1, -1}};
      for (int i = 0; i < 4; i++) {
        if (orion_fixed_exponent(v[i]) + orion_fixed_exponent(u[i]) <= -17) continue;
        sum += sign[column % 2][i] * (double)orion_fixed_steps((double)v[i] * (double)u[i]);
      }
    }
  }
  return orion_fixed_half(sum * 0x1p-16);
}

static float directly(const float *x, const float *w, float bias, int row, int column) {
  float a[C * 9], b[C * 9];
  for (int i = 0; i < C * 9; i++) {
    a[i] = (float)pixel(x, i / 9, row + i / 3 % 3 - 1, column + i % 3 - 1);
    b[i] = w[i];
  }
  return orion_sim_ane_mac_column(C * 9, b, a, 1, bias);
}

static void random_halves(orion_rng *r, uint16_t *out, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = orion_float_to_half((orion_rng_float(r) - 0.5f) * 4);
}

static void convolutions_of(const char *family, bool winograd) {
  uint16_t x[2 * C * H * W], w[O * C * 9], b[O];
  float xf[2 * C * H * W], wf[O * C * 9];
  orion_rng r;
  orion_rng_seed(&r, 5, 0);
  random_halves(&r, x, 2 * C * H * W);
  random_halves(&r, w, O * C * 9);
  random_halves(&r, b, O);
  orion_half_to_floats(xf, x, 2 * C * H * W);
  orion_half_to_floats(wf, w, O * C * 9);
  one_run run = bits_open(family, conv_text);
  bits_put(&run, 0, x);
  bits_put(&run, 1, w);
  bits_put(&run, 2, b);
  bits_run(&run);
  const uint16_t *y = bits_get(&run, 3);
  for (int i = 0; i < 2 * O * H * W; i++) {
    int sample = i / (O * H * W), o = i / (H * W) % O, row = i / W % H, column = i % W;
    const float *xs = xf + sample * C * H * W, *ws = wf + o * C * 9, bias = orion_half_to_float(b[o]);
    float want = winograd ? by_formula(xs, ws, bias, row, column) : directly(xs, ws, bias, row, column);
    assert_int_equal(y[i], orion_float_to_half(want));
  }
  one_run_close(&run);
}

static void m5_and_m6_convolve_by_winograd_and_others_directly(void **state) {
  for (int m = 1; m <= 6; m++) convolutions_of((char[]){'m', (char)('0' + m), 0}, m >= 5);
}

// A function of many numbers, a convolution, a reduction, softmax, a product; fp32 at both ends.
static const char mixed_text[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp32, [1, 8, 24, 32]> x, tensor<fp32, [8, 8, 3, 3]> w) {\n"
    "    string same = const()[name = string(\"same\"), val = string(\"same\")];\n"
    "    tensor<int32, [1]> axes = const()[name = string(\"axes\"), val = tensor<int32, [1]>([1])];\n"
    "    bool yes = const()[name = string(\"yes\"), val = bool(true)];\n"
    "    bool no = const()[name = string(\"no\"), val = bool(false)];\n"
    "    int32 axis = const()[name = string(\"axis\"), val = int32(-1)];\n"
    "    tensor<fp32, [1, 8, 24, 32]> e = exp(x = x)[name = string(\"e\")];\n"
    "    tensor<fp32, [1, 8, 24, 32]> h = conv(pad_type = same, weight = w, x = e)[name = string(\"h\")];\n"
    "    tensor<fp32, [1, 1, 24, 32]> s = reduce_sum(axes = axes, keep_dims = yes, x = h)[name = string(\"s\")];\n"
    "    tensor<fp32, [1, 8, 24, 32]> d = sub(x = h, y = s)[name = string(\"d\")];\n"
    "    tensor<fp32, [1, 8, 24, 32]> p = softmax(axis = axis, x = d)[name = string(\"p\")];\n"
    "    tensor<fp32, [1, 8, 24, 24]> y = matmul(transpose_x = no, transpose_y = yes, x = p, y = d)"
    "[name = string(\"y\")];\n  } -> (y, e);\n}\n";

enum { X = 8 * 24 * 32, K = 8 * 8 * 9, Y = 8 * 24 * 24 };

static void run_mixed(one_run *r, float *y, float *e) {
  static float x[X], w[K];
  orion_rng rng;
  orion_error err;
  orion_rng_seed(&rng, 6, 0);
  for (size_t i = 0; i < X; i++) x[i] = (orion_rng_float(&rng) - 0.5f) * 3;
  for (size_t i = 0; i < K; i++) w[i] = (orion_rng_float(&rng) - 0.5f) / 3;
  one_run_floats(r, 0, x);
  one_run_floats(r, 1, w);
  assert_ok(orion_run(r->b, &err), &err);
  one_run_read(r, 2, y);
  one_run_read(r, 3, e);
}

static void threads_change_nothing_and_fp32_is_fp16_underneath(void **state) {
  static float y[2][Y], e[2][X];
  static const char *const specs[] = {"sim:m2", "sim:m6"};
  for (size_t f = 0; f < 2; f++) {
    for (int threads = 1; threads <= 2; threads++) {
      one_run r;
      orion_error err;
      orion_program *p = one_run_parse(mixed_text);
      assert_ok(one_run_open(&r, NULL, specs[f], threads, p, &err), &err);
      r.program = p;
      run_mixed(&r, y[threads - 1], e[threads - 1]);
      one_run_close(&r);
    }
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    for (size_t i = 0; i < Y; i++) assert_true(orion_half_to_float(orion_float_to_half(y[0][i])) == y[0][i]);
    for (size_t i = 0; i < X; i++) assert_true(orion_half_to_float(orion_float_to_half(e[0][i])) == e[0][i]);
  }
}

static orion_status life(void *ctx, const orion_allocator *a, orion_error *err) {
  one_run r;
  orion_status status = one_run_open(&r, a, "sim:m5", 1, ctx, err);
  if (status == ORION_OK) status = orion_run(r.b, err);
  one_run_close(&r);
  return status;
}

static void failing_allocations_leak_nothing(void **state) {
  orion_program *p = one_run_parse(mixed_text);
  test_sweep_allocations(life, p, 0);
  orion_program_destroy(p);
}

static void each_family_says_what_is_not_known(void **state) {
  for (int m = 0; m <= 6; m++) {
    orion_error err;
    orion_device *d;
    orion_device_info info;
    char spec[16];
    snprintf(spec, sizeof spec, m ? "sim:m%d" : "sim:ideal", m);
    assert_ok(orion_device_open(spec, 1, NULL, &d, &err), &err);
    orion_device_describe(d, &info);
    assert_string_equal(info.family, spec + 4);
    assert_true((info.unknown != NULL) == (m > 0));
    assert_true(m == 0 || (info.unknown[0] && strstr(info.unknown[0], "reduce_sum")));
    orion_device_close(d);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(m5_and_m6_convolve_by_winograd_and_others_directly),
      cmocka_unit_test(threads_change_nothing_and_fp32_is_fp16_underneath),
      cmocka_unit_test(failing_allocations_leak_nothing),
      cmocka_unit_test(each_family_says_what_is_not_known),
  };
  return cmocka_run_group_tests_name("anevec families", tests, NULL, NULL);
}
