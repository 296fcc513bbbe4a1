// Whole training: AdamW steps against PyTorch's in float64, runs that continue to the bit, strategies of updating that agree,
// a proof that catches updates which take no effect.
#include "small.h"

#include <math.h>

#include "device/device.h"
#include "train/checkpoint.h"
#include "train/trainer.h"

enum { VOCAB = 40, SEQ = 8 };

typedef struct fixture {
  char dir[TEST_PATH_MAX], data[TEST_PATH_MAX], eval[TEST_PATH_MAX];
  const char *data_list[1], *eval_list[1];
  orion_model *model;
  orion_device *device;
  orion_train_options o;
} fixture;

static void write_ids(const char *path, size_t n, uint64_t seed) {
  uint16_t ids[2000];
  float noise[2000];
  small_noise(noise, n, seed);
  for (size_t i = 0; i < n; i++) ids[i] = (uint16_t)(noise[i] > 0.3f ? (noise[i] + 1) * 0.4999f * VOCAB : (float)(i % 7));
  test_write_file(path, ids, n * sizeof *ids);
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  orion_error err = {0};
  test_temp_dir_create(f->dir, sizeof f->dir);
  test_path(f->data, sizeof f->data, f->dir, "data.bin");
  test_path(f->eval, sizeof f->eval, f->dir, "eval.bin");
  write_ids(f->data, 700, 1);
  write_ids(f->eval, 90, 2);
  f->data_list[0] = f->data;
  f->eval_list[0] = f->eval;
  orion_config c = small_config(false);
  assert_ok(orion_model_random(NULL, &c, 5, &f->model, &err), &err);
  assert_ok(orion_device_open("cpu", 1, NULL, &f->device, &err), &err);
  orion_train_options_init(&f->o);
  f->o.data = f->data_list;
  f->o.n_data = 1;
  f->o.eval_data = f->eval_list;
  f->o.n_eval_data = 1;
  f->o.batch = 3;
  f->o.seq = SEQ;
  f->o.accum = 2;
  f->o.steps = 6;
  f->o.warmup = 2;
  f->o.lr = 1e-2;
  f->o.min_lr = 1e-3;
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  orion_device_close(f->device);
  orion_model_close(f->model);
  test_temp_dir_remove(f->dir);
  free(f);
  return 0;
}

static orion_trainer *open_trainer(fixture *f, orion_device *device) {
  orion_trainer *t;
  orion_error err = {0};
  assert_ok(orion_trainer_create(f->model, device, NULL, &f->o, &t, &err), &err);
  return t;
}

static void make_steps(orion_trainer *t, int n) {
  orion_train_metrics m;
  orion_error err = {0};
  for (int i = 0; i < n; i++) assert_ok(orion_trainer_step(t, &m, &err), &err);
}

static void assert_same_weights(const orion_trainer *a, const orion_trainer *b) {
  assert_int_equal(a->params->n, b->params->n);
  for (size_t i = 0; i < a->params->n; i++) {
    const orion_param *x = &a->params->list[i], *y = &b->params->list[i];
    assert_memory_equal(x->value, y->value, x->n * sizeof(float));
    assert_memory_equal(x->m, y->m, x->n * sizeof(float));
    assert_memory_equal(x->v, y->v, x->n * sizeof(float));
  }
}

// ---- against PyTorch ----

#define LR 1e-3
#define ADAM_EPS 1e-8

typedef struct golden {
  char dir[TEST_PATH_MAX];
  double *batches, *losses, *norms;
  int64_t batch, seq, steps;
} golden;

static void open_golden(golden *g) {
  char path[TEST_PATH_MAX];
  size_t n;
  test_path(path, sizeof path, g->dir, "golden.json");
  json_t *o = test_json_load(path);
  g->batch = json_integer_value(json_object_get(o, "batch"));
  g->seq = json_integer_value(json_object_get(o, "seq"));
  g->steps = json_integer_value(json_object_get(o, "steps"));
  g->losses = test_json_doubles(json_object_get(o, "losses"), &n);
  assert_int_equal(n, g->steps);
  g->norms = test_json_doubles(json_object_get(o, "grad_norms"), &n);
  json_decref(o);
  test_path(path, sizeof path, g->dir, "batches.json");
  o = test_json_load(path);
  g->batches = test_json_doubles(o, &n);
  assert_int_equal(n, g->steps * g->batch * (g->seq + 1));
  json_decref(o);
}

// Weights of a file of the golden, by way of a model directory.
static orion_params *golden_weights(const golden *g, const char *file, const char *scratch, orion_device *device) {
  char from[TEST_PATH_MAX], to[TEST_PATH_MAX];
  size_t size;
  const char *names[][2] = {{"config.json", "config.json"}, {file, "model.safetensors"}};
  for (int i = 0; i < 2; i++) {
    test_path(from, sizeof from, g->dir, names[i][0]);
    test_path(to, sizeof to, scratch, names[i][1]);
    char *bytes = test_read_file(from, &size);
    test_write_file(to, bytes, size);
    free(bytes);
  }
  orion_model *m;
  orion_params *p;
  orion_error err = {0};
  assert_ok(orion_model_open(NULL, scratch, &m, &err), &err);
  assert_ok(orion_params_create(m, device, &p, &err), &err);
  orion_model_close(m);
  return p;
}

// How far weights are from where they should be. Adam divides a gradient by its own size, so that the first steps depend on
// its sign alone, and a rounding error d moves a weight with gradient g by lr * eps * d / (g + eps)^2: at most by 2 lr where
// the error turns the sign. Weights are told apart by their clipped gradient g of the first step:
//   clear    g well above what rounding does to gradients: held to a bound on each
//   weak     g within reach of fp16's rounding of sums: in fp16 held to a bound on all together
//   faint    g within 100 eps (the biases of GPT-2's keys have none at all in exact arithmetic): held to the formula above
typedef struct deviation {
  double largest;       // error of one clear weight as a share of the largest change
  double root;          // of the sum of squared errors of clear and weak weights, over that of their changes
  double beyond;        // the largest error of a faint weight, over what the formula allows it
  size_t faint, weak, total;
} deviation;

#define FAINT_NOISE 1.6e-8  // error of a small clipped gradient in fp32: of sums whose terms are near 0.1

static deviation compare_weights(const orion_params *got, const orion_params *want, const orion_params *first,
                                 const orion_params *gradient, double clip, double clear, int64_t steps) {
  deviation d = {0};
  double change = 0, errors = 0, changes = 0;
  for (size_t i = 0; i < got->n; i++) {
    for (size_t k = 0; k < got->list[i].n; k++) {
      double c = (double)want->list[i].value[k] - (double)first->list[i].value[k];
      double e = fabs((double)got->list[i].value[k] - (double)want->list[i].value[k]);
      double g = fabs((double)gradient->list[i].value[k]) * clip;
      change = fmax(change, fabs(c));
      d.total++;
      if (g < 1e-6) {
        double turned = fmin(2, ADAM_EPS * FAINT_NOISE / ((g + ADAM_EPS) * (g + ADAM_EPS)));
        d.beyond = fmax(d.beyond, e / (LR * (turned * (double)steps + 1e-4)));
        d.faint += g > 0;  // tokens that do not occur have none at all
        continue;
      }
      changes += c * c;
      errors += e * e;
      if (g >= clear) d.largest = fmax(d.largest, e);
      d.weak += g < clear;
    }
  }
  d.largest /= change;
  d.root = sqrt(errors / changes);
  return d;
}

static void check_golden(fixture *f, const char *name, orion_dtype compute, double loss_bound) {
  golden g;
  char relative[128];
  orion_error err = {0};
  snprintf(relative, sizeof relative, "data/training/%s", name);
  SKIP_WITHOUT_SHARED(g.dir, relative);
  open_golden(&g);
  orion_params *p = golden_weights(&g, "model.safetensors", f->dir, f->device);
  orion_params *first = golden_weights(&g, "model.safetensors", f->dir, f->device);
  orion_params *gradient = golden_weights(&g, "grads.safetensors", f->dir, f->device);
  orion_adamw adamw = {.beta1 = 0.9, .beta2 = 0.95, .eps = ADAM_EPS, .weight_decay = 0.1, .clip = 1};
  orion_optimizer *o;
  orion_updater *u;
  orion_step_spec spec = {.batch = g.batch, .seq = g.seq, .compute = compute, .weights = ORION_FP32, .gradients = true};
  assert_ok(orion_optimizer_create(p, &adamw, 1, &o, &err), &err);
  assert_ok(orion_updater_create(p, f->device, orion_target_find("cpu"), &orion_step_source_model, &spec,
                                 ORION_UPDATE_INPUT, &u, &err), &err);
  const double scale = compute == ORION_FP16 ? 1024 : 1;
  int32_t inputs[256], targets[256];
  for (int64_t t = 0; t < g.steps; t++) {
    for (int64_t i = 0; i < g.batch * g.seq; i++) {
      int64_t at = (t * g.batch + i / g.seq) * (g.seq + 1) + i % g.seq;
      inputs[i] = (int32_t)g.batches[at];
      targets[i] = (int32_t)g.batches[at + 1];
    }
    double loss, ms;
    size_t bad;
    assert_ok(orion_step_run(orion_updater_step(u), inputs, targets, scale, &loss, &err), &err);
    if (!(fabs(loss - g.losses[t]) < loss_bound)) fail_msg("%s step %d: loss %.9g, want %.9g", name, (int)t, loss, g.losses[t]);
    const float *const *grads = orion_step_gradients(orion_updater_step(u));
    double norm = orion_optimizer_norm(o, grads, 1 / scale, &bad);
    if (!(fabs(norm - g.norms[t]) < 3 * loss_bound * g.norms[t])) {
      fail_msg("%s step %d: norm %.9g, want %.9g", name, (int)t, norm, g.norms[t]);
    }
    assert_int_equal(orion_optimizer_step(o, grads, 1 / scale, norm, LR, t + 1), p->n);
    assert_ok(orion_updater_apply(u, &ms, &err), &err);
    if (t != 0 && t + 1 != g.steps) continue;
    orion_params *want = golden_weights(&g, t ? "after10.safetensors" : "after1.safetensors", f->dir, f->device);
    bool half = compute == ORION_FP16;
    deviation d = compare_weights(p, want, first, gradient, 1 / fmax(1, g.norms[0]), half ? 1e-4 : 1e-6, t + 1);
    print_message("# %s %s, %d steps: largest %.2e, all %.2e, faint %.2e of what they may; %zu faint, %zu weak of %zu\n", name,
                  orion_dtype_name(compute), (int)t + 1, d.largest, d.root, d.beyond, d.faint, d.weak, d.total);
    if (half && t == 0) {
      assert_true(d.largest < 1e-3);
    } else if (half) {
      assert_true(d.root < 2e-2);
    } else {
      assert_true(d.largest < 1e-4);
      assert_true(d.root < 1e-5);
      assert_true(d.beyond < 1);
    }
    assert_true((double)d.faint < 5e-3 * (double)d.total && (double)d.weak < 0.06 * (double)d.total);
    orion_params_destroy(want);
  }
  orion_updater_destroy(u);
  orion_optimizer_destroy(o);
  orion_params_destroy(p);
  orion_params_destroy(first);
  orion_params_destroy(gradient);
  free(g.batches);
  free(g.losses);
  free(g.norms);
}

static void ten_steps_of_gpt2_equal_pytorch(void **state) { check_golden(*state, "gpt2-train", ORION_FP32, 1e-4); }
static void ten_steps_of_llama_equal_pytorch(void **state) { check_golden(*state, "llama-train", ORION_FP32, 1e-4); }
static void ten_steps_of_grouped_untied_equal_pytorch(void **state) {
  check_golden(*state, "llama-gqa-untied-train", ORION_FP32, 1e-4);
}
static void ten_steps_of_qwen3_equal_pytorch(void **state) { check_golden(*state, "qwen3-train", ORION_FP32, 1e-4); }

// Whatever the loss scale, from 1 to 16384, what differs is weights whose gradient is near zero, so that fp16's rounding of its
// terms turns its sign. After one step all others are where they should be; after ten, the sum of all errors is bounded.
static void ten_steps_in_fp16_are_near(void **state) {
  check_golden(*state, "gpt2-train", ORION_FP16, 2e-2);
  check_golden(*state, "llama-train", ORION_FP16, 2e-2);
}

// ---- continuing ----

static void a_resumed_run_equals_one_never_stopped(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  orion_trainer *reference = NULL;
  for (int threads = 1; threads <= 2; threads++) {
    orion_device *device;
    char run[TEST_PATH_MAX], name[16];
    snprintf(name, sizeof name, "run%d", threads);
    test_path(run, sizeof run, f->dir, name);
    assert_ok(orion_device_open("cpu", threads, NULL, &device, &err), &err);
    orion_trainer *whole = open_trainer(f, device), *first = open_trainer(f, device), *second = open_trainer(f, device);
    make_steps(whole, 6);
    make_steps(first, 3);
    assert_ok(orion_trainer_save(first, run, 0, &err), &err);
    orion_trainer_destroy(first);
    make_steps(second, 1);  // what was done before resuming leaves no trace
    assert_ok(orion_trainer_resume(second, run, &err), &err);
    make_steps(second, 3);
    assert_same_weights(whole, second);
    assert_int_equal(second->step, 6);
    assert_int_equal(second->tokens, whole->tokens);
    assert_int_equal(second->position.index, whole->position.index);
    orion_trainer_destroy(second);
    if (reference) assert_same_weights(reference, whole);
    if (threads == 1) {
      reference = open_trainer(f, f->device);
      make_steps(reference, 6);
    }
    orion_trainer_destroy(whole);
    orion_device_close(device);
  }
  orion_trainer_destroy(reference);
}

// What is computed again is no part of a run: it goes on with another choice, by name or by memory, in the same bits.
static void a_run_is_the_same_whatever_is_computed_again(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  orion_train_info info;
  char run[TEST_PATH_MAX];
  test_path(run, sizeof run, f->dir, "again");
  orion_trainer *whole = open_trainer(f, f->device);
  orion_trainer_describe(whole, &info);
  assert_string_equal(info.recompute, "none");
  assert_true(info.memory > 16 * info.parameters);
  make_steps(whole, 6);
  f->o.recompute = "cheap";
  orion_trainer *first = open_trainer(f, f->device);
  assert_string_equal(orion_trainer_notes(first), "");
  make_steps(first, 3);
  assert_ok(orion_trainer_save(first, run, 0, &err), &err);
  orion_trainer_destroy(first);
  f->o.recompute = NULL;
  f->o.memory = 1;
  orion_trainer *second = open_trainer(f, f->device);
  orion_trainer_describe(second, &info);
  assert_string_equal(info.recompute, "most");
  assert_non_null(strstr(orion_trainer_notes(second), "memory is short: "));
  assert_ok(orion_trainer_resume(second, run, &err), &err);
  make_steps(second, 3);
  assert_same_weights(whole, second);
  orion_trainer_destroy(second);
  orion_trainer_destroy(whole);
}

static void other_data_are_refused(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  char run[TEST_PATH_MAX];
  test_path(run, sizeof run, f->dir, "run");
  orion_trainer *t = open_trainer(f, f->device);
  make_steps(t, 1);
  assert_ok(orion_trainer_save(t, run, 0, &err), &err);
  orion_trainer_destroy(t);
  f->o.seed = 9;
  t = open_trainer(f, f->device);
  assert_error(orion_trainer_resume(t, run, &err), ORION_INVALID, &err, "the data, their order or --seq");
  orion_trainer_destroy(t);
}

static void options_of_a_run_are_read_back(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  char run[TEST_PATH_MAX], checkpoint[TEST_PATH_MAX];
  test_path(run, sizeof run, f->dir, "run");
  f->o.lr = 1.0 / 3;
  f->o.schedule = "linear";
  f->o.update = "delta";
  orion_trainer *t = open_trainer(f, f->device);
  assert_ok(orion_trainer_save(t, run, 0, &err), &err);
  orion_trainer_destroy(t);
  orion_train_options o;
  orion_train_saved *saved;
  orion_train_options_init(&o);
  assert_ok(orion_train_options_read(run, &o, checkpoint, sizeof checkpoint, &saved, &err), &err);
  assert_true(o.lr == 1.0 / 3 && o.min_lr == 1e-3 && o.batch == 3 && o.accum == 2 && o.steps == 6 && o.warmup == 2);
  assert_string_equal(o.schedule, "linear");
  assert_string_equal(o.update, "delta");
  assert_int_equal(o.n_data, 1);
  assert_string_equal(o.data[0], f->data);
  assert_string_equal(o.eval_data[0], f->eval);
  orion_train_options_free(saved);
}

// ---- updates ----

static void all_strategies_give_the_same_bits(void **state) {
  fixture *f = *state;
  orion_trainer *t[3];
  static const char *const names[] = {"delta", "input", "recompile"};
  for (int i = 0; i < 3; i++) {
    f->o.update = names[i];
    t[i] = open_trainer(f, f->device);
    assert_string_equal(orion_trainer_notes(t[i]), "");
    make_steps(t[i], 4);
    if (i) assert_same_weights(t[0], t[i]);
  }
  for (int i = 0; i < 3; i++) orion_trainer_destroy(t[i]);
}

static orion_status ignored_update(orion_executable *e, const char *value, const void *bytes, size_t n, orion_error *err) {
  return ORION_OK;
}

static orion_status torn_update(orion_executable *e, const char *value, const void *bytes, size_t n, orion_error *err) {
  char *torn = malloc(n);
  memcpy(torn, bytes, n);
  memset(torn + n - sizeof(float), 0, sizeof(float));
  orion_status status = orion_device_cpu.update(e, value, torn, n, err);
  free(torn);
  return status;
}

static void updates_without_effect_are_caught(void **state) {
  fixture *f = *state;
  const orion_device_vtable *real = f->device->vtable;
  orion_device_vtable liar = *real;
  f->device->vtable = &liar;
  static const struct {
    orion_status (*update)(orion_executable *e, const char *value, const void *bytes, size_t n, orion_error *err);
    const char *why;
  } cases[] = {{ignored_update, "outputs "}, {torn_update, "outputs differ from a fresh compile's"},
               {NULL, "constants cannot change"}};
  f->o.update = "delta";
  for (int i = 0; i < 3; i++) {
    liar.update = cases[i].update;
    orion_trainer *t = open_trainer(f, f->device);
    assert_non_null(strstr(orion_trainer_notes(t), "update by delta does not work here"));
    if (!strstr(orion_trainer_notes(t), cases[i].why)) fail_msg("%s", orion_trainer_notes(t));
    assert_non_null(strstr(orion_trainer_notes(t), "input is used"));
    orion_train_info info;
    orion_trainer_describe(t, &info);
    assert_string_equal(info.update, "input");
    orion_trainer_destroy(t);
  }
  f->device->vtable = real;
}

// ---- numbers ----

static void evaluation_counts_every_window_once(void **state) {
  fixture *f = *state;  // 12 windows by batches of 3, then of 5: the last batch is not whole
  double loss[2];
  orion_error err = {0};
  for (int i = 0; i < 2; i++) {
    f->o.batch = i ? 5 : 3;
    orion_trainer *t = open_trainer(f, f->device);
    assert_ok(orion_trainer_evaluate(t, &loss[i], &err), &err);
    orion_trainer_destroy(t);
  }
  assert_true(fabs(loss[0] - loss[1]) < 1e-5);
  assert_true(fabs(loss[0] - log(VOCAB)) < 0.3);
}

static void the_loss_falls(void **state) {
  fixture *f = *state;
  f->o.steps = 40;
  orion_trainer *t = open_trainer(f, f->device);
  double before, after;
  orion_error err = {0};
  assert_ok(orion_trainer_evaluate(t, &before, &err), &err);
  make_steps(t, 40);
  assert_ok(orion_trainer_evaluate(t, &after, &err), &err);
  print_message("# held-out loss %.4f -> %.4f\n", before, after);
  assert_true(after < before - 0.5);
  orion_trainer_destroy(t);
}

// With activations kept in bf16 a run learns alike, and its checkpoints say so: it goes on as it began.
static void a_run_that_keeps_bf16_learns_alike(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  char run[TEST_PATH_MAX], checkpoint[TEST_PATH_MAX];
  double losses[2][41];
  test_path(run, sizeof run, f->dir, "bf16");
  f->o.steps = 40;
  for (int bf16 = 0; bf16 < 2; bf16++) {
    f->o.activations = bf16 ? "bf16" : NULL;
    orion_trainer *t = open_trainer(f, f->device);
    orion_train_metrics m;
    for (int i = 0; i < 40; i++) {
      assert_ok(orion_trainer_step(t, &m, &err), &err);
      losses[bf16][i] = m.loss;
    }
    assert_ok(orion_trainer_evaluate(t, &losses[bf16][40], &err), &err);
    if (bf16) assert_ok(orion_trainer_save(t, run, 0, &err), &err);
    orion_trainer_destroy(t);
  }
  print_message("# held-out loss %.4f, in bf16 %.4f\n", losses[0][40], losses[1][40]);
  assert_true(losses[0][0] == losses[1][0] && losses[0][1] != losses[1][1]);
  for (int i = 0; i <= 40; i++) assert_true(fabs(losses[1][i] - losses[0][i]) < 2e-2 * losses[0][i]);
  orion_train_options o;
  orion_train_saved *saved;
  orion_train_options_init(&o);
  assert_ok(orion_train_options_read(run, &o, checkpoint, sizeof checkpoint, &saved, &err), &err);
  assert_string_equal(o.activations, "bf16");
  orion_train_options_free(saved);
}

static void a_step_that_blows_up_says_where(void **state) {
  fixture *f = *state;
  f->o.lr = 1000;
  f->o.warmup = 0;
  f->o.weight_decay = 1000;
  f->o.steps = 60;
  orion_trainer *t = open_trainer(f, f->device);
  orion_train_metrics m;
  orion_error err = {0};
  orion_status status = ORION_OK;
  for (int i = 0; i < 60 && status == ORION_OK; i++) status = orion_trainer_step(t, &m, &err);
  assert_error(status, ORION_NUMERIC, &err, "step ");
  assert_non_null(strstr(err.message, "model."));
  orion_trainer_destroy(t);
}

static void a_scale_that_overflows_is_skipped_and_halved(void **state) {
  fixture *f = *state;
  f->o.compute = "fp16";
  f->o.accum = 1;
  orion_trainer *t = open_trainer(f, f->device);
  t->scaler.scale = ORION_SCALER_MAX;
  orion_trainer *before = open_trainer(f, f->device);
  orion_train_metrics m;
  orion_error err = {0};
  assert_ok(orion_trainer_step(t, &m, &err), &err);
  assert_true(m.skipped);
  assert_non_null(strstr(m.skipped_weight, "model."));
  assert_same_weights(t, before);
  assert_true(t->scaler.scale == ORION_SCALER_MAX / 2);
  int skipped = 0;
  do {
    assert_ok(orion_trainer_step(t, &m, &err), &err);
    skipped += m.skipped;
  } while (m.skipped);
  assert_in_range(skipped, 0, 20);
  assert_true(isfinite(m.grad_norm) && m.grad_norm > 0);
  orion_trainer_destroy(t);
  orion_trainer_destroy(before);
}

// The same in pieces, for an engine: what is skipped is named by where it begins.
static void an_engines_overflow_is_skipped_and_halved(void **state) {
  fixture *f = *state;
  f->o.target = "m4";
  f->o.accum = 2;
  orion_trainer *t = open_trainer(f, f->device), *before = open_trainer(f, f->device);
  t->scaler.scale = ORION_SCALER_MAX;
  orion_train_metrics m;
  orion_error err = {0};
  assert_ok(orion_trainer_step(t, &m, &err), &err);
  assert_true(m.skipped);
  assert_string_equal(m.skipped_weight, "the loss");
  assert_same_weights(t, before);
  do {
    assert_ok(orion_trainer_step(t, &m, &err), &err);
  } while (m.skipped && t->step < 20);
  assert_false(m.skipped);
  assert_true(m.loss_scale >= 1024 && isfinite(m.grad_norm) && m.grad_norm > 0);
  orion_trainer_destroy(t);
  orion_trainer_destroy(before);
}

static void a_step_allocates_nothing(const fixture *f, const char *target) {
  orion_train_options o = f->o;
  o.target = target;
  test_heap heap;
  orion_error err = {0};
  test_heap_init(&heap);
  orion_config c = small_config(false);
  orion_model *m;
  orion_device *device;
  orion_trainer *t;
  assert_ok(orion_model_random(&heap.allocator, &c, 1, &m, &err), &err);
  assert_ok(orion_device_open("cpu", 1, &heap.allocator, &device, &err), &err);
  assert_ok(orion_trainer_create(m, device, NULL, &o, &t, &err), &err);
  make_steps(t, 2);
  size_t calls = heap.calls;
  make_steps(t, 3);
  assert_int_equal(heap.calls, calls);
  orion_trainer_destroy(t);
  orion_device_close(device);
  orion_model_close(m);
  test_heap_deinit(&heap);
}

static void steps_allocate_nothing(void **state) {
  a_step_allocates_nothing(*state, "cpu");
  a_step_allocates_nothing(*state, "m4");
}

static void bad_options_are_named(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  orion_trainer *t;
  const orion_train_options good = f->o;
#define REFUSED(field, value, text)                                                                                    \
  f->o = good;                                                                                                         \
  f->o.field = value;                                                                                                  \
  assert_error(orion_trainer_create(f->model, f->device, NULL, &f->o, &t, &err), ORION_INVALID, &err, text)
  REFUSED(seq, 17, "seq: 17 is not within 1 to 16");
  REFUSED(batch, 0, "batch: 0");
  REFUSED(lr, NAN, "lr: nan");
  REFUSED(min_lr, 1, "min-lr: 1");
  REFUSED(beta2, 1, "beta2: 1");
  REFUSED(warmup, 7, "warmup: 7");
  REFUSED(schedule, "cos", "schedule: there is no \"cos\"");
  REFUSED(update, "patch", "update: there is no \"patch\"");
  REFUSED(target, "m99", "target: there is no \"m99\"");
  REFUSED(compute, "bf16", "compute: \"bf16\"");
  REFUSED(loss_scale, 0.5, "loss-scale: 0.5");
  REFUSED(activations, "fp16", "activations: \"fp16\" is neither fp32 nor bf16");
  REFUSED(recompute, "all", "recompute: there is no \"all\"");
  f->o = good;
  f->o.target = "m4";
  f->o.recompute = "cheap";
  assert_error(orion_trainer_create(f->model, f->device, NULL, &f->o, &t, &err), ORION_INVALID, &err, "the cost model decides for m4");
#undef REFUSED
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(ten_steps_of_gpt2_equal_pytorch),
      CASE(ten_steps_of_llama_equal_pytorch),
      CASE(ten_steps_of_grouped_untied_equal_pytorch),
      CASE(ten_steps_of_qwen3_equal_pytorch),
      CASE(ten_steps_in_fp16_are_near),
      CASE(a_resumed_run_equals_one_never_stopped),
      CASE(a_run_is_the_same_whatever_is_computed_again),
      CASE(other_data_are_refused),
      CASE(options_of_a_run_are_read_back),
      CASE(all_strategies_give_the_same_bits),
      CASE(updates_without_effect_are_caught),
      CASE(evaluation_counts_every_window_once),
      CASE(the_loss_falls),
      CASE(a_run_that_keeps_bf16_learns_alike),
      CASE(a_step_that_blows_up_says_where),
      CASE(a_scale_that_overflows_is_skipped_and_halved),
      CASE(an_engines_overflow_is_skipped_and_halved),
      CASE(steps_allocate_nothing),
      CASE(bad_options_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
