// Saved models open again with the same weights; random ones are as random as they should be.
#include <math.h>

#include "model/slots.h"
#include "tiny.h"

static void same_data(const orion_data *x, const orion_data *y, const char *name) {
  if (!x && !y) return;
  if (!x || !y || x->rows != y->rows || x->cols != y->cols) fail_msg("%s: another shape", name);
  float *a = calloc(orion_data_elements(x), sizeof *a), *b = calloc(orion_data_elements(x), sizeof *b);
  orion_error err;
  assert_ok(orion_data_read(x, ORION_FP32, 0, x->rows, a, &err), &err);
  assert_ok(orion_data_read(y, ORION_FP32, 0, y->rows, b, &err), &err);
  if (memcmp(a, b, orion_data_elements(x) * sizeof *a) != 0) fail_msg("%s: other weights", name);
  free(a);
  free(b);
}

static void same_weights(orion_model *a, orion_model *b) {
  size_t n;
  const orion_slot *slots = orion_slots_model(a->config.family, &n);
  for (size_t i = 0; i < n; i++) same_data(*orion_slot_at(a, &slots[i]), *orion_slot_at(b, &slots[i]), slots[i].name);
  same_data(a->classifier, b->classifier, "classifier");
  slots = orion_slots_layer(a->config.family, &n);
  for (int64_t l = 0; l < a->config.layers; l++) {
    for (size_t i = 0; i < n; i++) {
      same_data(*orion_slot_at(&a->layers[l], &slots[i]), *orion_slot_at(&b->layers[l], &slots[i]), slots[i].name);
    }
  }
}

static void saved_models_open_with_the_same_weights(void **state) {
  (void)state;
  char from[TEST_PATH_MAX], to[TEST_PATH_MAX], deep[TEST_PATH_MAX];
  test_temp_dir_create(from, sizeof from);
  test_temp_dir_create(to, sizeof to);
  test_path(deep, sizeof deep, to, "new/dir");  // is made
  static const char *const types[] = {NULL, "llama", "mistral", "qwen2", "qwen3"};
  static const orion_dtype dtypes[] = {ORION_FP32, ORION_FP16, ORION_BF16};  // tiny values are exact in all of them
  for (int i = 0; i < 15; i++) {
    tiny t;
    if (i / 3 == 0) {
      tiny_gpt2(&t, "");
    } else {
      tiny_llama(&t, types[i / 3], "model.", "");
      if (i % 3 == 1) tiny_add(&t, "lm_head.weight", 2, TINY_VOCAB, TINY_DIM);  // untied
    }
    tiny_write(&t, from);
    orion_model *a, *b;
    orion_error err;
    assert_ok(orion_model_open(NULL, from, &a, &err), &err);
    assert_ok(orion_model_save(a, deep, dtypes[i % 3], &err), &err);
    assert_ok(orion_model_open(NULL, deep, &b, &err), &err);
    assert_int_equal(a->config.tied, b->config.tied);
    assert_int_equal(b->embedding->dtype, dtypes[i % 3]);
    same_weights(a, b);
    orion_model_close(a);
    orion_model_close(b);
  }
  test_temp_dir_remove(from);
  test_temp_dir_remove(to);
}

static void saving_where_one_cannot_is_an_error(void **state) {
  (void)state;
  char dir[TEST_PATH_MAX], path[TEST_PATH_MAX];
  test_temp_dir_create(dir, sizeof dir);
  tiny t;
  tiny_gpt2(&t, "");
  tiny_write(&t, dir);
  orion_model *m;
  orion_error err;
  assert_ok(orion_model_open(NULL, dir, &m, &err), &err);
  assert_error(orion_model_save(m, dir, ORION_INT16, &err), ORION_INVALID, &err, "int16");
  test_path(path, sizeof path, dir, "config.json/x");
  assert_true(orion_model_save(m, path, ORION_FP32, &err) != ORION_OK);
  orion_model_close(m);
  test_temp_dir_remove(dir);
}

// ---- random ----

static orion_config small(orion_family family) {
  orion_config c = {.family = family, .vocab = 500, .context = 64, .dim = 96, .hidden = 256, .layers = 4, .heads = 6,
                    .kv_heads = 6, .head_dim = 16, .norm_eps = 1e-5, .tied = true, .bos = -1};
  if (family == ORION_FAMILY_GPT2) {
    c.qkv_bias = c.out_bias = c.mlp_bias = true;
  } else {
    c.kv_heads = 2;
    c.gated = c.rope = true;
    c.rope_theta = 10000;
    c.rope_scaling.linear = 1;
    c.activation = ORION_ACT_SILU;
    c.tied = false;
  }
  return c;
}

// Mean, standard deviation, kurtosis and largest of a matrix are those of a normal distribution.
static void check_normal(const orion_data *x, double std, const char *name) {
  size_t n = orion_data_elements(x);
  float *v = calloc(n, sizeof *v);
  orion_error err;
  assert_ok(orion_data_read(x, ORION_FP32, 0, x->rows, v, &err), &err);
  double sum = 0, square = 0, fourth = 0, most = 0, neighbours = 0;
  for (size_t i = 0; i < n; i++) {
    double z = (double)v[i] / std;
    sum += z;
    square += z * z;
    fourth += z * z * z * z;
    most = fmax(most, fabs(z));
    if (i) neighbours += z * (double)v[i - 1] / std;
  }
  double root = sqrt((double)n);
  // Five standard errors: of the mean 1, of the variance sqrt(2), of the fourth moment sqrt(96), all over sqrt(n).
  if (fabs(sum) > 5 * root || fabs(square - (double)n) > 5 * sqrt(2) * root ||
      fabs(fourth - 3 * (double)n) > 5 * sqrt(96) * root || fabs(neighbours) > 5 * root || most < 2.5 || most > 6.5) {
    fail_msg("%s: mean %g, variance %g, fourth moment %g, neighbours %g, largest %g", name, sum / (double)n,
             square / (double)n, fourth / (double)n, neighbours / (double)n, most);
  }
  free(v);
}

static void check_all(const orion_data *x, double value) {
  float *v = calloc(x->rows, sizeof *v);
  orion_error err;
  assert_ok(orion_data_read(x, ORION_FP32, 0, x->rows, v, &err), &err);
  for (size_t i = 0; i < x->rows; i++) assert_true((double)v[i] == value);
  free(v);
}

static void random_weights_are_normal_and_follow_the_seed(void **state) {
  (void)state;
  for (int family = 0; family < 2; family++) {
    orion_config c = small(family ? ORION_FAMILY_LLAMA : ORION_FAMILY_GPT2);
    orion_model *a, *b, *other;
    orion_error err;
    assert_ok(orion_model_random(NULL, &c, 7, &a, &err), &err);
    assert_ok(orion_model_random(NULL, &c, 7, &b, &err), &err);
    assert_ok(orion_model_random(NULL, &c, 8, &other, &err), &err);
    same_weights(a, b);
    assert_true(memcmp(a->embedding->bytes, other->embedding->bytes, 4096) != 0);
    assert_true(memcmp(a->layers[0].wq->bytes, a->layers[1].wq->bytes, 4096) != 0);
    assert_true(memcmp(a->layers[0].wq->bytes, a->layers[0].wk->bytes, 4096) != 0);
    check_normal(a->embedding, 0.02, "embedding");
    check_normal(a->layers[3].wq, 0.02, "wq");
    check_normal(a->layers[1].up, 0.02, "up");
    check_normal(a->layers[0].wo, 0.02 / sqrt(8), "wo");
    check_normal(a->layers[2].down, 0.02 / sqrt(8), "down");
    if (a->positions) check_normal(a->positions, 0.02, "positions");
    if (!c.tied) check_normal(a->classifier, 0.02, "classifier");
    check_all(a->norm, 1);
    check_all(a->layers[1].norm2, 1);
    if (a->layers[1].bq) check_all(a->layers[1].bq, 0);
    orion_model_close(a);
    orion_model_close(b);
    orion_model_close(other);
  }
}

static void random_models_need_a_sane_configuration(void **state) {
  (void)state;
  orion_model *m = NULL;
  orion_error err;
  orion_config c = small(ORION_FAMILY_LLAMA);
  c.kv_heads = 4;
  assert_error(orion_model_random(NULL, &c, 1, &m, &err), ORION_FORMAT, &err, "'num_key_value_heads' is 4");
  c = small(ORION_FAMILY_GPT2);
  c.layers = 0;
  assert_error(orion_model_random(NULL, &c, 1, &m, &err), ORION_FORMAT, &err, "'n_layer' is 0");
  c = small(ORION_FAMILY_GPT2);
  c.n_eos = 9;
  assert_error(orion_model_random(NULL, &c, 1, &m, &err), ORION_INVALID, &err, "9 ending tokens");
  assert_null(m);
}

static orion_status make_and_save(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_config c = small(ORION_FAMILY_GPT2);
  c.vocab = 20;
  c.dim = 12;
  c.layers = 2;
  c.hidden = 8;
  c.head_dim = 2;
  orion_model *m = NULL;
  orion_status status = orion_model_random(a, &c, 1, &m, err);
  if (status == ORION_OK) status = orion_model_save(m, ctx, ORION_FP16, err);
  orion_model_close(m);
  return status;
}

static void every_failing_allocation_is_reported(void **state) {
  (void)state;
  char dir[TEST_PATH_MAX];
  test_temp_dir_create(dir, sizeof dir);
  test_sweep_allocations(make_and_save, dir, 0);
  test_temp_dir_remove(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(saved_models_open_with_the_same_weights),
      cmocka_unit_test(saving_where_one_cannot_is_an_error),
      cmocka_unit_test(random_weights_are_normal_and_follow_the_seed),
      cmocka_unit_test(random_models_need_a_sane_configuration),
      cmocka_unit_test(every_failing_allocation_is_reported),
  };
  return cmocka_run_group_tests_name("save", tests, NULL, NULL);
}
