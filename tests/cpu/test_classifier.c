// Classifier, cross-entropy and their gradients in one step: the same numbers as operation by operation and as the simulator,
// for any number of threads the same bits, and without a matrix of all logits.
#include "device/device.h"
#include "fused.h"
#include "train/gradient_sums.h"

typedef struct shape {
  int64_t rows, classes, width;
} shape;

typedef enum kind { LOSS, GRADIENTS, SUMS } kind;

// Cross-entropy of linear(x, w), its gradients for x and w, these added to inputs.
static orion_plan *plan_of(const shape *s, kind what) {
  static const char *const wrt[] = {"x", "w"}, *const summed[] = {"x", "w"};
  orion_error err = {0};
  orion_program *p;
  orion_builder b;
  begin_program(&b, &p);
  orion_ref x = orion_build_param(&b, "x", ORION_FP32, 2, (int64_t[]){s->rows, s->width});
  orion_ref w = orion_build_param(&b, "w", ORION_FP32, 2, (int64_t[]){s->classes, s->width});
  orion_ref targets = orion_build_param(&b, "targets", ORION_INT32, 1, &s->rows);
  orion_ref logits = ORION_BUILD(&b, "logits", ORION_OP_linear, {"x", x}, {"weight", w});
  orion_build_output(&b, ORION_BUILD(&b, "loss", ORION_OP_orion_cross_entropy, {"logits", logits}, {"targets", targets}), "loss");
  assert_ok(orion_builder_finish(&b, &err), &err);
  if (what != LOSS) p = with_gradients(p, "loss", "scale", wrt, 2);
  if (what == SUMS) assert_ok(orion_gradient_sums(p, summed, 2, &err), &err);
  return lowered(p);
}

// Targets over all classes, every fifth none.
static orion_status run_with_targets(const char *spec, orion_program *p, int64_t classes, int32_t first, double **out,
                                     size_t *out_n, orion_error *err) {
  orion_device *d = open_device(spec, NULL);
  run r;
  size_t n;
  orion_status status = run_compile(&r, d, p, err);
  assert_ok(status, err);
  run_fill(&r, 5);
  const orion_io *ios = orion_executable_ios(r.e, &n);
  for (size_t i = 0; i < n; i++) {
    if (strcmp(ios[i].name, "targets") != 0) continue;
    int32_t *target = orion_surface_lock(r.surfaces[i]);
    for (int64_t k = 0; k < ios[i].layout.dims[0]; k++) target[k] = k % 5 == 4 ? -1 : (int32_t)((k * 7 + 3) % classes);
    target[0] = first;
    orion_surface_unlock(r.surfaces[i]);
  }
  status = orion_run(r.b, err);
  if (status == ORION_OK) *out = run_outputs(&r, out_n);
  run_close(&r);
  orion_device_close(d);
  return status;
}

static double *outputs(const char *spec, const orion_plan *plan, const shape *s, size_t *out_n) {
  orion_error err = {0};
  double *out;
  assert_ok(run_with_targets(spec, plan->parts[0].program, s->classes, 0, &out, out_n, &err), &err);
  return out;
}

// Fewer rows than a block, one block, several.
static const shape shapes[] = {{1, 50, 8}, {7, 33, 16}, {256, 100, 40}, {300, 130, 36}, {640, 48, 16}};

static void it_equals_the_operations_it_stands_for(void **state) {
  static const char *const others[] = {"cpu:fusion=off", "sim:ideal"};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    for (kind what = LOSS; what <= SUMS; what++) {
      orion_plan *plan = plan_of(&shapes[i], what);
      size_t n, m;
      double *got = outputs("cpu", plan, &shapes[i], &n);
      for (int o = 0; o < 2; o++) {
        double *want = outputs(others[o], plan, &shapes[i], &m);
        assert_int_equal(n, m);
        if (o == 0 && what != SUMS) assert_memory_equal(got, want, n * sizeof *got);  // bit for bit
        for (size_t k = 0; k < n; k++) {
          if (fabs(got[k] - want[k]) <= 1e-6 + 3e-6 * fabs(want[k])) continue;
          fail_msg("%zu, %d: [%zu] is %g, %s has %g", i, what, k, got[k], others[o], want[k]);
        }
        free(want);
      }
      free(got);
      orion_plan_destroy(plan);
    }
  }
}

static void threads_give_the_same_bits(void **state) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    orion_plan *plan = plan_of(&shapes[i], SUMS);
    size_t n, m;
    double *one = outputs("cpu:threads=1", plan, &shapes[i], &n), *three = outputs("cpu:threads=3", plan, &shapes[i], &m);
    assert_int_equal(n, m);
    assert_memory_equal(one, three, n * sizeof *one);
    free(one);
    free(three);
    orion_plan_destroy(plan);
  }
}

// Four blocks of rows: a quarter of the logits at most, where the operations make three matrices of them.
static void no_matrix_of_logits_is_kept(void **state) {
  const shape s = {1024, 500, 16};
  const size_t logits = (size_t)(s.rows * s.classes) * sizeof(float);
  for (kind what = LOSS; what <= SUMS; what++) {
    orion_plan *plan = plan_of(&s, what);
    for (int fuse = 0; fuse < 2; fuse++) {
      size_t bytes = memory_of(plan, fuse);
      print_message("# %zu bytes for the step, where logits take %zu\n", bytes, logits);
      assert_true(fuse ? bytes < logits / 3 : bytes >= logits);
    }
    orion_plan_destroy(plan);
  }
}

// Both gradients made where their sums lie, which hold something else; d_w is the product's own sum, d_x an addition.
static double *sums_in_place(const char *spec, const orion_plan *plan, bool anew, size_t *out_n) {
  static const char *const names[][2] = {{"sum_x", "d_x"}, {"sum_w", "d_w"}};
  orion_device *d = open_device(spec, NULL);
  orion_error err = {0};
  run r;
  size_t n;
  assert_ok(run_compile(&r, d, plan->parts[0].program, &err), &err);
  run_fill(&r, 5);
  const orion_io *ios = orion_executable_ios(r.e, &n);
  for (size_t i = 0; i < n; i++) {
    for (int k = 0; k < 2; k++) {
      if (strcmp(ios[i].name, names[k][0]) == 0) assert_ok(orion_bind(r.b, names[k][0], r.surfaces[i], &err), &err);
      if (strcmp(ios[i].name, names[k][1]) != 0) continue;
      for (size_t s = 0; s < n; s++) {
        if (strcmp(ios[s].name, names[k][0]) != 0) continue;
        assert_ok(orion_bind(r.b, names[k][1], r.surfaces[s], &err), &err);
        if (!anew) memset(orion_surface_lock(r.surfaces[s]), 0, ios[s].layout.bytes);
        if (!anew) orion_surface_unlock(r.surfaces[s]);
        orion_surface_destroy(r.surfaces[i]);
        r.surfaces[i] = r.surfaces[s];
      }
    }
  }
  assert_ok(anew ? orion_run_anew(r.b, &err) : orion_run(r.b, &err), &err);
  double *first = run_outputs(&r, out_n);
  assert_ok(orion_run(r.b, &err), &err);  // the next is added
  double *second = run_outputs(&r, out_n);
  assert_true(fabs(second[*out_n - 1] - 2 * first[*out_n - 1]) <= 1e-5 * fabs(second[*out_n - 1]));
  free(second);
  for (size_t i = 0; i < n; i++) {
    for (size_t s = 0; s < i; s++) {
      if (r.surfaces[s] == r.surfaces[i]) r.surfaces[i] = NULL;
    }
  }
  run_close(&r);
  orion_device_close(d);
  return first;
}

static void sums_begin_anew_whatever_was_there(void **state) {
  static const char *const devices[] = {"cpu", "cpu:fusion=off", "sim:ideal"};
  for (size_t i = 1; i < sizeof shapes / sizeof *shapes; i++) {
    orion_plan *plan = plan_of(&shapes[i], SUMS);
    for (size_t o = 0; o < sizeof devices / sizeof *devices; o++) {
      size_t n, m;
      double *anew = sums_in_place(devices[o], plan, true, &n), *cleared = sums_in_place(devices[o], plan, false, &m);
      assert_int_equal(n, m);
      assert_memory_equal(anew, cleared, n * sizeof *anew);
      free(anew);
      free(cleared);
    }
    orion_plan_destroy(plan);
  }
}

static void a_target_outside_is_refused(void **state) {
  const shape *s = &shapes[1];
  orion_plan *plan = plan_of(s, GRADIENTS);
  orion_error err = {0};
  double *out;
  size_t n;
  assert_int_equal(run_with_targets("cpu", plan->parts[0].program, s->classes, (int32_t)s->classes, &out, &n, &err), ORION_DEVICE);
  assert_non_null(strstr(err.message, "index 33 is outside"));
  orion_plan_destroy(plan);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_equals_the_operations_it_stands_for),
      cmocka_unit_test(threads_give_the_same_bits),
      cmocka_unit_test(no_matrix_of_logits_is_kept),
      cmocka_unit_test(sums_begin_anew_whatever_was_there),
      cmocka_unit_test(a_target_outside_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
