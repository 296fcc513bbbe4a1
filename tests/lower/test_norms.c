// The engine's form of the norms neither overflows nor loses small inputs: every intermediate value is finite, and the
// result is the definition's, computed in double from the same fp16 inputs.
#include <math.h>

#include "device/layout.h"
#include "ir/builder.h"
#include "lower/lower.h"
#include "support/support.h"

enum { T = 32, C = 48, GROUPS = 4 };

typedef enum norm_kind { RMS, GROUPED_RMS, LAYER, KINDS } norm_kind;

static orion_program *norm_graph(norm_kind kind, double epsilon) {
  orion_program *p;
  orion_function *f;
  orion_error err;
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  orion_builder b;
  orion_builder_init(&b, f);
  orion_value_id x = orion_build_param(&b, "x", ORION_FP16, 2, (int64_t[]){T, C}), y;
  int64_t n = kind == GROUPED_RMS ? C / GROUPS : C;
  double gamma[C], beta[C];
  for (int i = 0; i < C; i++) gamma[i] = 0.75 + i % 4 * 0.25, beta[i] = i % 3 - 1;
  orion_ref g = orion_build_floats(&b, "gamma", ORION_FP16, 1, &n, gamma);
  orion_ref eps = orion_build_float(&b, "eps", ORION_FP32, epsilon);
  if (kind == LAYER) {
    y = ORION_BUILD(&b, "norm", ORION_OP_layer_norm, {"x", x}, {"axes", orion_build_ints(&b, "axes", 1, (int64_t[]){-1})},
                    {"gamma", g}, {"beta", orion_build_floats(&b, "beta", ORION_FP16, 1, &n, beta)}, {"epsilon", eps});
  } else {
    orion_ref groups = kind == GROUPED_RMS ? orion_build_int(&b, "groups", GROUPS) : ORION_NONE;
    y = ORION_BUILD(&b, "norm", ORION_OP_orion_rms_norm, {"x", x}, {"gamma", g}, {"epsilon", eps}, {"groups", groups});
  }
  orion_build_output(&b, y, "y");
  assert_ok(orion_builder_finish(&b, &err), &err);
  return p;
}

// What the norm of features [first, first + n) of a row should be.
static void reference(norm_kind kind, const double *x, int n, double epsilon, double *y) {
  double mean = 0, square = 0;
  for (int i = 0; i < n && kind == LAYER; i++) mean += x[i] / n;
  for (int i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean) / n;
  for (int i = 0; i < n; i++) {
    y[i] = (x[i] - mean) / sqrt(square + epsilon) * (0.75 + i % 4 * 0.25) + (kind == LAYER ? i % 3 - 1 : 0);
  }
}

// Rows of many shapes and magnitudes; all exact in fp16.
static void make_rows(norm_kind kind, double x[T][C]) {
  static const double magnitudes[] = {6e4, 1e4, 1e3, 1, 1e-2, 1e-4, 2e-6};
  unsigned seed = 4;
  memset(x, 0, sizeof(double[T][C]));
  for (int t = 0; t < 28; t++) {
    for (int c = 0; c < C; c++) {
      seed = seed * 1664525u + 1013904223u;
      double v = (double)(seed >> 8) * 0x1p-23 - 1;      // any
      if (t % 4 == 1) v = v < 0 ? -1 : 1;                // all as large as they can be
      if (t % 4 == 2) v = c == t % C ? 1 : v * 0x1p-9;   // one stands out
      if (t % 4 == 3) v = c == 5 ? 1 : kind == LAYER ? -1 : v;  // furthest from the mean
      uint16_t half;
      orion_store_double(ORION_FP16, &half, 0, v * magnitudes[t / 4]);
      x[t][c] = orion_load_double(ORION_FP16, &half, 0);
    }
  }
}

// Every value that an operation makes becomes an output.
static void return_everything(orion_function *f) {
  orion_error err;
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    if (op->code == ORION_OP_const || op->results[0] == f->outputs[0]) continue;
    assert_ok(orion_function_add_output(f, op->results[0], &err), &err);
  }
}

static void run_norm(norm_kind kind, double epsilon, const char *device) {
  double x[T][C], want[C];
  orion_error err;
  orion_plan *plan;
  orion_program *graph = norm_graph(kind, epsilon);
  orion_lower_options options = {.target = orion_target_find("m4")};
  assert_ok(orion_lower(graph, &options, &plan, &err), &err);
  orion_program_destroy(graph);
  return_everything(plan->parts[0].program->functions[0]);
  make_rows(kind, x);

  orion_device *d;
  orion_executable *e;
  orion_bindings *b;
  orion_surface *surfaces[40];
  assert_ok(orion_device_open(device, 1, NULL, &d, &err), &err);
  assert_ok(orion_device_compile(d, plan->parts[0].program, NULL, &e, &err), &err);
  assert_ok(orion_bindings_create(e, &b, &err), &err);
  size_t n;
  const orion_io *ios = orion_executable_ios(e, &n);
  assert_in_range(n, 8, 40);
  for (size_t i = 0; i < n; i++) {
    assert_ok(orion_surface_create(d, &ios[i].layout, &surfaces[i], &err), &err);
    assert_ok(orion_bind(b, ios[i].name, surfaces[i], &err), &err);
  }
  float *packed = calloc(T * C * 4, sizeof *packed);
  for (int t = 0; t < T; t++) {
    for (int c = 0; c < C; c++) packed[c * T + t] = (float)x[t][c];
  }
  orion_layout_from_floats(&ios[0].layout, orion_surface_lock(surfaces[0]), packed);
  orion_surface_unlock(surfaces[0]);
  assert_ok(orion_run(b, &err), &err);
  for (size_t i = n; i-- > 1;) {  // the norm itself, output 0, last
    size_t count = orion_layout_elements(&ios[i].layout);
    assert_true(count <= T * C * 4);
    orion_layout_to_floats(&ios[i].layout, orion_surface_lock(surfaces[i]), packed);
    orion_surface_unlock(surfaces[i]);
    for (size_t k = 0; k < count; k++) {
      if (!isfinite(packed[k])) fail_msg("%s, epsilon %g: %s is not finite at %zu", device, epsilon, ios[i].name, k);
    }
  }
  int group = kind == GROUPED_RMS ? C / GROUPS : C;
  for (int t = 0; t < T; t++) {
    for (int c = 0; c < C; c += group) reference(kind, &x[t][c], group, epsilon, &want[c]);
    double top = 0;
    for (int c = 0; c < C; c++) top = fmax(top, fabs(want[c]));
    for (int c = 0; c < C; c++) {
      double off = fabs((double)packed[c * T + t] - want[c]);
      if (off > 6e-3 * top) {
        fail_msg("%s, kind %d, epsilon %g, row %d, column %d: %g instead of %g", device, kind, epsilon, t, c,
                 (double)packed[c * T + t], want[c]);
      }
    }
  }
  free(packed);
  for (size_t i = 0; i < n; i++) orion_surface_destroy(surfaces[i]);
  orion_bindings_destroy(b);
  orion_executable_release(e);
  orion_device_close(d);
  orion_plan_destroy(plan);
}

static void norms_are_right_from_tiny_to_huge(norm_kind kind) {
  static const double epsilons[] = {1e-5, 1e-6, 1e-3};
  for (int i = 0; i < 3; i++) {
    static const char *const devices[] = {"sim:ideal", "cpu", "sim:m1", "sim:m4"};  // in the chips' arithmetic too
    for (int k = 0; k < 4; k++) run_norm(kind, epsilons[i], devices[k]);
  }
}

static void rms_norm_is_right_from_tiny_to_huge(void **state) {
  (void)state;
  norms_are_right_from_tiny_to_huge(RMS);
}

static void grouped_rms_norm_is_right_from_tiny_to_huge(void **state) {
  (void)state;
  norms_are_right_from_tiny_to_huge(GROUPED_RMS);
}

static void layer_norm_is_right_from_tiny_to_huge(void **state) {
  (void)state;
  norms_are_right_from_tiny_to_huge(LAYER);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rms_norm_is_right_from_tiny_to_huge),
      cmocka_unit_test(grouped_rms_norm_is_right_from_tiny_to_huge),
      cmocka_unit_test(layer_norm_is_right_from_tiny_to_huge),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
