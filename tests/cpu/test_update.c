// New values for constants of a compiled program: the results are those of a fresh compile to the bit, whichever of its
// constants changes, however often, and the plan is the old one wherever it only holds the constant's place.
#include <stdlib.h>

#include "device/cpu/cpu.h"
#include "runs.h"

enum { ROWS = 40, COLS = 64, BLOCK = 32, WIDE = 16384 };

typedef struct numbers {
  int8_t q[ROWS * COLS];
  orion_half scale[ROWS * COLS / BLOCK];
  float left[ROWS], right[ROWS];
} numbers;

static void draw(numbers *n, uint64_t seed) {
  orion_rng rng;
  orion_rng_seed(&rng, seed, 1);
  for (size_t i = 0; i < sizeof n->q; i++) n->q[i] = (int8_t)(orion_rng_u32(&rng) % 255 - 127);
  for (size_t i = 0; i < ROWS * COLS / BLOCK; i++) n->scale[i] = orion_float_to_half(orion_rng_float(&rng) / 64);
  for (int i = 0; i < ROWS; i++) n->left[i] = n->right[i] = orion_rng_float(&rng);
}

static orion_ref weight(orion_builder *b, const char *name, orion_dtype d, int rank, const int64_t *dims, const void *bytes) {
  size_t cols = rank > 1 ? (size_t)dims[1] : 1;
  return orion_build_weight(b, name, orion_data_copy(b->f->program->data, d, (size_t)dims[0], cols, bytes), rank, dims);
}

static orion_program *begin(orion_builder *b) {
  orion_program *p;
  orion_function *f;
  orion_error err = {0};
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  orion_builder_init(b, f);
  return p;
}

static orion_program *end(orion_builder *b, orion_program *p) {
  orion_error err = {0};
  assert_ok(orion_builder_finish(b, &err), &err);
  return p;
}

// y = x (q scale)^T, q int8 [ROWS, COLS], a scale for every BLOCK columns.
static orion_program *quantised_program(const numbers *n) {
  orion_builder b;
  orion_program *p = begin(&b);
  orion_ref x = orion_build_param(&b, "x", ORION_FP32, 2, (int64_t[]){3, COLS});
  orion_ref q = weight(&b, "q", ORION_INT8, 2, (int64_t[]){ROWS, COLS}, n->q);
  orion_ref scale = weight(&b, "scale", ORION_FP16, 2, (int64_t[]){ROWS, COLS / BLOCK}, n->scale);
  orion_ref w = ORION_BUILD(&b, "w", ORION_OP_constexpr_blockwise_shift_scale, {"data", q}, {"scale", scale});
  w = ORION_BUILD(&b, "wide", ORION_OP_cast, {"x", w}, {"dtype", orion_build_string(&b, "d", "fp32")});
  orion_build_output(&b, ORION_BUILD(&b, "y", ORION_OP_linear, {"x", x}, {"weight", w}), "y");
  return end(&b, p);
}

// Two constants of equal contents, each joined with x.
static orion_program *joins_program(const numbers *n) {
  static const char *const names[] = {"left", "right"}, *const outs[] = {"yl", "yr"};
  orion_builder b;
  orion_program *p = begin(&b);
  orion_ref x = orion_build_param(&b, "x", ORION_FP32, 1, (int64_t[]){4});
  for (int i = 0; i < 2; i++) {
    orion_in rest[] = {{"axis", orion_build_int(&b, "axis", 0)}, {"interleave", orion_build_bool(&b, "i", false)}, {0}};
    orion_ref w = weight(&b, names[i], ORION_FP32, 1, (int64_t[]){ROWS}, i ? n->right : n->left);
    orion_ref joined = orion_build_tuple_op(&b, "joined", ORION_OP_concat, "values", 2, (orion_ref[]){w, x}, rest);
    orion_ref y = ORION_BUILD(&b, "y", ORION_OP_mul, {"x", joined}, {"y", orion_build_float(&b, "k", ORION_FP32, 2 + i)});
    orion_build_output(&b, y, outs[i]);
  }
  return end(&b, p);
}

static void assert_same_results(run *updated, orion_device *d, orion_program *p) {
  orion_error err;
  run fresh;
  size_t n;
  assert_ok(run_compile(&fresh, d, p, &err), &err);
  run_fill(&fresh, 5);
  run_fill(updated, 5);
  assert_ok(orion_run(updated->b, &err), &err);
  assert_ok(orion_run(fresh.b, &err), &err);
  double *got = run_outputs(updated, &n), *want = run_outputs(&fresh, &n);
  assert_memory_equal(got, want, n * sizeof *got);
  free(got);
  free(want);
  run_close(&fresh);
  orion_program_destroy(p);
}

static void *plan_of(const run *r) { return ((const orion_cpu_executable *)r->e)->plan.steps; }

static void integers_and_scales_change_apart(void **state) {
  orion_device *d = open_device("cpu:threads=2", NULL);
  orion_error err;
  numbers now, next;
  run r;
  draw(&now, 1);
  orion_program *first = quantised_program(&now);
  assert_ok(run_compile(&r, d, first, &err), &err);
  const void *plan = plan_of(&r);
  for (uint64_t seed = 2; seed < 5; seed++) {
    draw(&next, seed);
    memcpy(now.scale, next.scale, sizeof now.scale);
    assert_ok(orion_executable_update(r.e, "scale", now.scale, sizeof now.scale, &err), &err);
    assert_same_results(&r, d, quantised_program(&now));
    memcpy(now.q, next.q, sizeof now.q);
    assert_ok(orion_executable_update(r.e, "q", now.q, sizeof now.q, &err), &err);
    assert_same_results(&r, d, quantised_program(&now));
  }
  assert_ptr_equal(plan_of(&r), plan);
  run_close(&r);
  orion_program_destroy(first);
  orion_device_close(d);
}

static void equal_constants_change_apart(void **state) {
  orion_device *d = open_device("cpu:threads=1", NULL);
  orion_error err;
  numbers now;
  run r;
  draw(&now, 1);
  orion_program *first = joins_program(&now);
  assert_ok(run_compile(&r, d, first, &err), &err);
  for (int round = 0; round < 3; round++) {
    now.right[round] += 1;
    assert_ok(orion_executable_update(r.e, "right", now.right, sizeof now.right, &err), &err);
    assert_same_results(&r, d, joins_program(&now));
    memcpy(now.left, now.right, sizeof now.left);
    assert_ok(orion_executable_update(r.e, "left", now.left, sizeof now.left, &err), &err);
    assert_same_results(&r, d, joins_program(&now));
  }
  run_close(&r);
  orion_program_destroy(first);
  orion_device_close(d);
}

// y = x w^T, w [1, WIDE]: little to write down, much as panels.
static orion_program *wide_program(const float *w) {
  orion_builder b;
  orion_program *p = begin(&b);
  orion_ref x = orion_build_param(&b, "x", ORION_FP32, 2, (int64_t[]){2, WIDE});
  orion_ref weights = weight(&b, "w", ORION_FP32, 2, (int64_t[]){1, WIDE}, w);
  orion_build_output(&b, ORION_BUILD(&b, "y", ORION_OP_linear, {"x", x}, {"weight", weights}), "y");
  return end(&b, p);
}

static void small_weights_change_beside_a_cache_of_large_ones(void **state) {
  char dir[TEST_PATH_MAX];
  test_temp_dir_create(dir, sizeof dir);
  setenv("ORION_CACHE", dir, 1);
  orion_device *d = open_device("cpu:threads=1,cache=on", NULL);
  orion_error err;
  float *w = malloc(WIDE * sizeof *w);
  for (int i = 0; i < WIDE; i++) w[i] = (float)(i % 7);
  orion_program *first = wide_program(w);
  run r;
  assert_ok(run_compile(&r, d, first, &err), &err);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < WIDE; i++) w[i] = (float)((i + round) % 11);
    assert_ok(orion_executable_update(r.e, "w", w, WIDE * sizeof *w, &err), &err);
    assert_same_results(&r, d, wide_program(w));
  }
  run_close(&r);
  orion_program_destroy(first);
  orion_device_close(d);
  free(w);
  unsetenv("ORION_CACHE");
  test_temp_dir_remove(dir);
}

static orion_status update_twice(void *ctx, const orion_allocator *a, orion_error *err) {
  numbers *n = ctx;
  orion_device *d;
  ORION_TRY(orion_device_open("cpu:threads=1", 0, a, &d, err));
  orion_program *p = quantised_program(n);
  run r;
  orion_status status = run_compile(&r, d, p, err);
  for (int i = 0; i < 2 && status == ORION_OK; i++) {
    status = orion_executable_update(r.e, "scale", n->scale, sizeof n->scale, err);
  }
  run_close(&r);
  orion_program_destroy(p);
  orion_device_close(d);
  return status;
}

static void failing_allocations_are_survived(void **state) {
  numbers n;
  draw(&n, 1);
  test_sweep_allocations(update_twice, &n, 200);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(integers_and_scales_change_apart),
      cmocka_unit_test(equal_constants_change_apart),
      cmocka_unit_test(small_weights_change_beside_a_cache_of_large_ones),
      cmocka_unit_test(failing_allocations_are_survived),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
