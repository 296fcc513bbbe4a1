// The graph of a model computes the model: logits equal PyTorch's in float64, with and without a cache; and it verifies
// for every family and every choice of types.
#include "model/graph.h"

#include <math.h>

#include "evaluate.h"
#include "ir/infer.h"
#include "tiny.h"

// ---- running a model ----

typedef struct run {
  const orion_model *model;
  orion_dtype weights, cache;
  double *k[16], *v[16];  // cache of each layer: `cap` rows, `used` of them filled
  size_t cap, used;
} run;

static size_t kv_width(const orion_model *m) { return (size_t)(m->config.kv_heads * m->config.head_dim); }

static void start(run *r, const orion_model *m, size_t cap) {
  *r = (run){.model = m, .weights = ORION_FP32, .cache = ORION_FP32, .cap = cap};
  assert_true(m->config.layers <= 16);
  for (int64_t i = 0; i < m->config.layers; i++) {
    r->k[i] = calloc(cap * kv_width(m), sizeof(double));
    r->v[i] = calloc(cap * kv_width(m), sizeof(double));
  }
}

static void finish(run *r) {
  for (int64_t i = 0; i < r->model->config.layers; i++) {
    free(r->k[i]);
    free(r->v[i]);
  }
}

static orion_program *graph(const orion_model *m, const orion_graph_spec *spec) {
  orion_program *p;
  orion_error err;
  assert_ok(orion_model_graph(m, spec, &p, &err), &err);
  assert_ok(orion_verify_ok(p, &err), &err);
  return p;
}

// Feeds n tokens after those fed before; their logits go to out [n, vocab].
static void feed(run *r, const int64_t *ids, size_t n, double *out) {
  const orion_model *m = r->model;
  size_t dim = (size_t)m->config.dim, half = (size_t)m->config.head_dim / 2, layers = (size_t)m->config.layers;
  double *x = calloc(n * dim, sizeof *x), *y = calloc(n * dim, sizeof *y), *mask = calloc(r->cap, sizeof *mask);
  double *cosines = calloc(n * half + 1, sizeof *x), *sines = calloc(n * half + 1, sizeof *x);
  float *row = calloc(dim + 2 * half, sizeof *row);
  for (size_t t = 0; t < n; t++) {
    orion_error err;
    assert_ok(orion_model_embed(m, ids[t], (int64_t)(r->used + t), row, &err), &err);
    for (size_t i = 0; i < dim; i++) x[t * dim + i] = (double)row[i];
    if (!m->config.rope) continue;
    orion_config_rope(&m->config, (int64_t)(r->used + t), row, row + half);
    for (size_t i = 0; i < half; i++) {
      cosines[t * half + i] = (double)row[i];
      sines[t * half + i] = (double)row[half + i];
    }
  }
  for (size_t s = 0; s < r->cap; s++) mask[s] = s < r->used ? 0 : -1e4;
  bound io[80] = {{"x", x, NULL}, {"y", NULL, y}, {"cos", cosines, NULL}, {"sin", sines, NULL}, {"mask", mask, NULL}};
  char names[64][16];
  double *fresh[32];
  size_t n_io = 5;
  for (size_t i = 0; i < layers; i++) {
    fresh[2 * i] = calloc(n * kv_width(m), sizeof(double));
    fresh[2 * i + 1] = calloc(n * kv_width(m), sizeof(double));
    static const char *const stems[] = {"k_cache_%zu", "v_cache_%zu", "k_%zu", "v_%zu"};
    for (int k = 0; k < 4; k++) snprintf(names[4 * i + (size_t)k], 16, stems[k], i);
    io[n_io++] = (bound){names[4 * i], r->k[i], NULL};
    io[n_io++] = (bound){names[4 * i + 1], r->v[i], NULL};
    io[n_io++] = (bound){names[4 * i + 2], NULL, fresh[2 * i]};
    io[n_io++] = (bound){names[4 * i + 3], NULL, fresh[2 * i + 1]};
  }
  orion_graph_spec spec = {ORION_GRAPH_BODY, (int64_t)n, r->used ? (int64_t)r->cap : 0, ORION_FP32, r->weights, r->cache, {0}};
  orion_program *p = graph(m, &spec);
  evaluate(p, io, n_io);
  orion_program_destroy(p);
  for (size_t i = 0; i < layers; i++) {
    memcpy(r->k[i] + r->used * kv_width(m), fresh[2 * i], n * kv_width(m) * sizeof(double));
    memcpy(r->v[i] + r->used * kv_width(m), fresh[2 * i + 1], n * kv_width(m) * sizeof(double));
    free(fresh[2 * i]);
    free(fresh[2 * i + 1]);
  }
  r->used += n;
  spec.kind = ORION_GRAPH_HEAD;
  p = graph(m, &spec);
  evaluate(p, (bound[]){{"y", y, NULL}, {"logits", NULL, out}}, 2);
  orion_program_destroy(p);
  free(x), free(y), free(mask), free(cosines), free(sines), free(row);
}

// ---- goldens ----

static void compare(const double *got, const double *want, size_t n, double limit, const char *what) {
  double most = 0, scale = 0;
  for (size_t i = 0; i < n; i++) {
    most = fmax(most, fabs(got[i] - want[i]));
    scale = fmax(scale, fabs(want[i]));
  }
  print_message("# %s: largest difference %.2g of %.3g\n", what, most, scale);
  if (!(most <= limit * scale)) fail_msg("%s: logits differ by %g, the largest is %g", what, most, scale);
}

static void check_golden(const char *model, const char *golden, const char *ids_key, const char *logits_key) {
  char path[TEST_PATH_MAX], text[256];
  snprintf(text, sizeof text, "data/models/%s", model);
  assert_true(test_shared_path(path, sizeof path, text));
  orion_model *m;
  orion_error err;
  assert_ok(orion_model_open(NULL, path, &m, &err), &err);
  assert_true(test_shared_path(path, sizeof path, golden));
  json_t *root = test_json_load(path);
  size_t n_logits, n_ids;
  double *want = test_json_doubles(json_object_get(root, logits_key), &n_logits);
  double *numbers = test_json_doubles(json_object_get(root, ids_key), &n_ids);
  size_t vocab = (size_t)m->config.vocab, n = n_logits / vocab;
  assert_true(n >= 4 && n <= n_ids && n_logits == n * vocab);
  int64_t ids[64];
  for (size_t i = 0; i < n; i++) ids[i] = (int64_t)numbers[i];
  double *got = calloc(n_logits, sizeof *got);
  run r;
  start(&r, m, n + 3);
  feed(&r, ids, n, got);
  compare(got, want, n_logits, 2e-6, model);
  finish(&r);
  // The same in three steps, over a cache with room to spare.
  start(&r, m, n + 3);
  feed(&r, ids, n - 3, got);
  feed(&r, ids + n - 3, 2, got + (n - 3) * vocab);
  feed(&r, ids + n - 1, 1, got + (n - 1) * vocab);
  compare(got, want, n_logits, 2e-6, "  with a cache");
  finish(&r);
  // Weights and cache in half precision: close, and not the same.
  start(&r, m, n + 3);
  r.weights = r.cache = ORION_FP16;
  feed(&r, ids, n - 1, got);
  feed(&r, ids + n - 1, 1, got + (n - 1) * vocab);
  compare(got, want, n_logits, 2e-2, "  in half precision");
  finish(&r);
  free(got), free(want), free(numbers);
  json_decref(root);
  orion_model_close(m);
}

static void logits_equal_the_reference(void **state) {
  (void)state;
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/models");
  static const char *const models[] = {"gpt2-small-random", "llama-small-random", "llama-gqa-untied-bf16",
                                       "llama3-rope-scaled", "qwen2-small-random", "qwen3-small-random"};
  for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
    char golden[256];
    snprintf(golden, sizeof golden, "data/models/%s/golden.json", models[i]);
    check_golden(models[i], golden, "ids", "logits");
  }
  check_golden("tiny-random-gpt2", "data/golden/tiny-random-gpt2.json", "input_ids", "logits_first_8_positions");
  check_golden("tinystories-656k", "data/golden/tinystories-656k.json", "prompt_ids", "logits_prompt_positions");
}

// ---- without shared data ----

static void a_cache_changes_nothing(void **state) {
  (void)state;
  char dir[TEST_PATH_MAX];
  test_temp_dir_create(dir, sizeof dir);
  for (int family = 0; family < 4; family++) {
    static const char *const types[] = {NULL, "llama", "qwen2", "qwen3"};
    tiny t;
    if (family == 0) {
      tiny_gpt2(&t, "");
    } else {
      tiny_llama(&t, types[family], "model.", "");
    }
    tiny_write(&t, dir);
    orion_model *m;
    orion_error err;
    assert_ok(orion_model_open(NULL, dir, &m, &err), &err);
    static const int64_t ids[] = {1, 17, 5, 23, 9, 3};
    double whole[6 * TINY_VOCAB], parts[6 * TINY_VOCAB];
    run r;
    start(&r, m, 9);
    feed(&r, ids, 6, whole);
    finish(&r);
    start(&r, m, 9);
    feed(&r, ids, 2, parts);
    feed(&r, ids + 2, 3, parts + 2 * TINY_VOCAB);
    feed(&r, ids + 5, 1, parts + 5 * TINY_VOCAB);
    finish(&r);
    compare(parts, whole, 6 * TINY_VOCAB, 1e-12, m->config.model_type);
    orion_model_close(m);
  }
  test_temp_dir_remove(dir);
}

static void every_choice_of_types_verifies(void **state) {
  (void)state;
  char dir[TEST_PATH_MAX];
  test_temp_dir_create(dir, sizeof dir);
  tiny t;
  tiny_llama(&t, "qwen3", "", "");
  tiny_write(&t, dir);
  orion_model *m;
  orion_error err;
  assert_ok(orion_model_open(NULL, dir, &m, &err), &err);
  static const orion_dtype computes[] = {ORION_FP32, ORION_FP16}, types[] = {ORION_FP32, ORION_FP16, ORION_BF16};
  for (int i = 0; i < 2 * 3 * 3 * 2; i++) {
    orion_graph_spec spec = {ORION_GRAPH_BODY, 1 + i % 5, i & 1 ? 8 : 0, computes[i / 2 % 2], types[i / 4 % 3],
                             types[i / 12 % 3], {0}};
    orion_program *p = graph(m, &spec);
    const orion_function *f = orion_program_function(p, "main");
    assert_int_equal(f->n_params, 3 + (spec.past ? 1 + 2 * TINY_LAYERS : 0));
    assert_int_equal(f->n_outputs, 1 + 2 * TINY_LAYERS);
    const orion_type *y = orion_value_type(f, orion_function_find(f, "y"));
    const orion_type *k = orion_value_type(f, orion_function_find(f, "k_1"));
    assert_true(y->dtype == spec.compute && y->dims[0] == spec.tokens && y->dims[1] == TINY_DIM);
    assert_true(k->dtype == spec.cache && k->dims[0] == spec.tokens && k->dims[1] == TINY_KV * 8);
    if (spec.past) {
      const orion_type *cache = orion_value_type(f, orion_function_find(f, "v_cache_1"));
      const orion_type *mask = orion_value_type(f, orion_function_find(f, "mask"));
      assert_true(cache->dtype == spec.cache && cache->dims[0] == 8 && mask->dims[0] == 1 && mask->dims[1] == 8);
    }
    orion_program_destroy(p);
  }
  orion_model_close(m);
  test_temp_dir_remove(dir);
}

static void programs_outlive_the_model(void **state) {
  (void)state;
  char dir[TEST_PATH_MAX];
  test_temp_dir_create(dir, sizeof dir);
  tiny t;
  tiny_gpt2(&t, "");
  tiny_write(&t, dir);
  orion_model *m;
  orion_error err;
  assert_ok(orion_model_open(NULL, dir, &m, &err), &err);
  orion_graph_spec spec = {ORION_GRAPH_HEAD, 1, 0, ORION_FP32, ORION_FP32, ORION_FP32, {0}};
  orion_program *p = graph(m, &spec);
  orion_model_close(m);
  double y[TINY_DIM] = {1}, logits[TINY_VOCAB];
  evaluate(p, (bound[]){{"y", y, NULL}, {"logits", NULL, logits}}, 2);
  assert_true(isfinite(logits[TINY_VOCAB - 1]));
  orion_program_destroy(p);
  test_temp_dir_remove(dir);
}

static void impossible_graphs_are_refused(void **state) {
  (void)state;
  char dir[TEST_PATH_MAX];
  test_temp_dir_create(dir, sizeof dir);
  tiny t;
  tiny_gpt2(&t, "");
  tiny_write(&t, dir);
  orion_model *m;
  orion_error err;
  assert_ok(orion_model_open(NULL, dir, &m, &err), &err);
  static const orion_graph_spec bad[] = {
      {ORION_GRAPH_BODY, 0, 0, ORION_FP32, ORION_FP32, ORION_FP32, {0}},
      {ORION_GRAPH_BODY, (1 << 20) + 1, 0, ORION_FP32, ORION_FP32, ORION_FP32, {0}},
      {ORION_GRAPH_BODY, 1, -1, ORION_FP32, ORION_FP32, ORION_FP32, {0}},
      {ORION_GRAPH_BODY, 1, 0, ORION_BF16, ORION_FP32, ORION_FP32, {0}},
      {ORION_GRAPH_BODY, 1, 0, ORION_FP32, ORION_INT8, ORION_FP32, {0}},
      {ORION_GRAPH_HEAD, 1, 0, ORION_FP32, ORION_FP32, ORION_DTYPE_NONE, {0}},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    orion_program *p = NULL;
    assert_error(orion_model_graph(m, &bad[i], &p, &err), ORION_INVALID, &err, "graph: ");
    assert_null(p);
  }
  orion_model_close(m);
  test_temp_dir_remove(dir);
}

static orion_status open_and_build(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_model *m = NULL;
  orion_program *p = NULL;
  ORION_TRY(orion_model_open(a, ctx, &m, err));
  orion_graph_spec spec = {ORION_GRAPH_BODY, 2, 4, ORION_FP32, ORION_FP16, ORION_FP16, {0}};
  orion_status status = orion_model_graph(m, &spec, &p, err);
  orion_program_destroy(p);
  p = NULL;
  spec.kind = ORION_GRAPH_HEAD;
  if (status == ORION_OK) status = orion_model_graph(m, &spec, &p, err);
  orion_program_destroy(p);
  orion_model_close(m);
  return status;
}

static void every_failing_allocation_is_reported(void **state) {
  (void)state;
  char dir[TEST_PATH_MAX];
  test_temp_dir_create(dir, sizeof dir);
  tiny t;
  tiny_llama(&t, "qwen2", "model.", "");
  tiny_write(&t, dir);
  test_sweep_allocations(open_and_build, dir, 0);
  test_temp_dir_remove(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(logits_equal_the_reference),
      cmocka_unit_test(a_cache_changes_nothing),
      cmocka_unit_test(every_choice_of_types_verifies),
      cmocka_unit_test(programs_outlive_the_model),
      cmocka_unit_test(impossible_graphs_are_refused),
      cmocka_unit_test(every_failing_allocation_is_reported),
  };
  return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
