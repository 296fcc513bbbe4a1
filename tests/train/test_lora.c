// Training an adapter: gradients and steps are PyTorch's, runs continue to the bit, checkpoints are as small as the adapter,
// and the model under it stays as it was.
#include <math.h>
#include <sys/stat.h>

#include "model/safetensors.h"
#include "small.h"
#include "support/adapters.h"
#include "train/trainer.h"

// ---- against PyTorch ------------------------------------------------------------------------------------------------

enum { MAX_POSITIONS = 256 };

// As make_lora_goldens.py begins.
static void begin(orion_adapter *a, int64_t layer, orion_adapter_part *part, int64_t first_row, int64_t in, int64_t out) {
  void *x, *y;
  part->a = orion_data_new(a->data, ORION_FP32, (size_t)part->rank, (size_t)in, &x);
  part->b = orion_data_new(a->data, ORION_FP32, (size_t)out, (size_t)part->rank, &y);
  for (int64_t i = 0; i < part->rank * in; i++) ((float *)x)[i] = (float)(0.2 * sin(0.37 * (double)i + (double)layer));
  for (int64_t i = 0; i < out * part->rank; i++) {
    ((float *)y)[i] = (float)(0.2 * sin(0.37 * (double)(first_row * part->rank + i) + (double)layer + 2));
  }
}

static orion_adapter *golden_adapter(const orion_model *m, const json_t *o, unsigned targets) {
  orion_adapter *a;
  orion_error err;
  assert_ok(orion_adapter_create(NULL, &m->config, "golden", &a, &err), &err);
  a->rank = json_integer_value(json_object_get(o, "rank"));
  a->targets = targets;
  for (int64_t layer = 0; layer < m->config.layers; layer++) {
    int64_t row = 0;
    for (int p = 0; p < ORION_PROJECTIONS; p++) {
      int64_t in, out;
      if (!(targets >> p & 1)) continue;
      orion_projection_shape(&m->config, (orion_projection)p, &in, &out);
      bool joint = m->config.family == ORION_FAMILY_GPT2 && p <= ORION_PROJECTION_V;
      orion_adapter_part *part = orion_adapter_at(a, layer, (orion_projection)p);
      part->rank = a->rank;
      part->scale = json_number_value(json_object_get(o, "alpha")) / (double)a->rank;
      begin(a, layer, part, joint ? row : 0, in, out);
      row += out;
    }
  }
  return a;
}

// The largest difference between the adapter under training and samples of PyTorch's, in parts of the largest sample (less
// what it began with, where `start` is not NULL).
static double compare(const orion_params *p, const json_t *want, const json_t *start, int stride, const char *dir) {
  orion_error err;
  orion_safetensors *s;
  char path[TEST_PATH_MAX];
  double worst = 0, top = 0;
  const char *name;
  json_t *list;
  assert_ok(orion_adapter_save(p->adapter, dir, false, &err), &err);
  test_path(path, sizeof path, dir, "adapter_model.safetensors");
  assert_ok(orion_safetensors_open(NULL, path, &s, &err), &err);
  assert_int_equal(s->n_tensors, json_object_size(want));
  json_object_foreach((json_t *)(uintptr_t)want, name, list) {
    char full[160];
    snprintf(full, sizeof full, "base_model.model.%s.weight", name);
    const orion_stored_tensor *t = orion_safetensors_find(s, full);
    if (!t) fail_msg("there is no %s", full);
    size_t n = t->size / sizeof(float);
    assert_int_equal(json_array_size(list), (n + (size_t)stride - 1) / (size_t)stride);
    for (size_t i = 0; i < json_array_size(list); i++) {
      float got;
      memcpy(&got, t->bytes + i * (size_t)stride * sizeof got, sizeof got);
      double w = json_number_value(json_array_get(list, i)), from = 0;
      if (start) from = json_number_value(json_array_get(json_object_get(start, name), i));
      worst = fmax(worst, fabs((double)got - w));
      top = fmax(top, fabs(w - from));
    }
  }
  orion_safetensors_close(s);
  return worst / top;
}

static void put_gradients(orion_params *p, const float *const *grads, bool swap_back, float **kept) {
  for (size_t i = 0; i < p->n; i++) {
    orion_param *x = &p->list[i];
    if (!swap_back) {
      kept[i] = malloc(x->n * sizeof(float));
      memcpy(kept[i], x->value, x->n * sizeof(float));
      memcpy(x->value, grads[i], x->n * sizeof(float));
    } else {
      memcpy(x->value, kept[i], x->n * sizeof(float));
      free(kept[i]);
    }
  }
}

static void read_batch(const double *batches, int64_t t, int64_t batch, int64_t seq, int32_t *inputs, int32_t *targets) {
  assert_true(batch * seq <= MAX_POSITIONS);
  for (int64_t i = 0; i < batch * seq; i++) {
    int64_t at = (t * batch + i / seq) * (seq + 1) + i % seq;
    inputs[i] = (int32_t)batches[at];
    targets[i] = (int32_t)batches[at + 1];
  }
}

static void check_golden(const char *name, const char *targets) {
  char dir[TEST_PATH_MAX], relative[96], path[TEST_PATH_MAX], scratch[TEST_PATH_MAX];
  orion_error err;
  snprintf(relative, sizeof relative, "data/training/%s", name);
  SKIP_WITHOUT_SHARED(dir, relative);
  test_source_path(path, sizeof path, "tests/train/goldens/lora.json");
  test_temp_dir_create(scratch, sizeof scratch);
  json_t *goldens = test_json_load(path), *o = json_object_get(json_object_get(goldens, "cases"), name);
  int stride = (int)json_integer_value(json_object_get(goldens, "stride"));
  size_t steps, n;
  double *losses = test_json_doubles(json_object_get(o, "losses"), &steps);
  double *norms = test_json_doubles(json_object_get(o, "grad_norms"), &n);
  test_path(path, sizeof path, dir, "batches.json");
  json_t *batch_list = test_json_load(path);
  double *batches = test_json_doubles(batch_list, &n);
  json_decref(batch_list);
  orion_model *m;
  orion_device *device;
  orion_params *p;
  orion_optimizer *optimizer;
  orion_step *step;
  unsigned bits;
  assert_ok(orion_model_open(NULL, dir, &m, &err), &err);
  assert_ok(orion_device_open("cpu", 1, NULL, &device, &err), &err);
  assert_ok(orion_projection_parse(&m->config, targets, &bits, &err), &err);
  orion_adapter *start = golden_adapter(m, o, bits);
  assert_ok(orion_params_create_lora(m, device, NULL, 0, start, 1, &p, &err), &err);
  orion_adapter_close(start);
  orion_model_close(m);
  orion_adamw adamw = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 1};
  orion_step_spec spec = {.batch = 4, .seq = 32, .compute = ORION_FP32, .weights = ORION_FP32, .weights_as_inputs = true,
                          .gradients = true};
  assert_ok(orion_optimizer_create(p, &adamw, 1, &optimizer, &err), &err);
  assert_ok(orion_step_create(p, device, orion_target_find("cpu"), &orion_step_source_model, &spec, &step, &err), &err);
  float **kept = calloc(p->n, sizeof *kept);
  for (size_t t = 0; t < steps; t++) {
    int32_t inputs[MAX_POSITIONS], wanted[MAX_POSITIONS];
    double loss;
    size_t bad;
    read_batch(batches, (int64_t)t, spec.batch, spec.seq, inputs, wanted);
    assert_ok(orion_step_run(step, inputs, wanted, 1, &loss, &err), &err);
    const float *const *grads = orion_step_gradients(step);
    double norm = orion_optimizer_norm(optimizer, grads, 1, &bad);
    if (!(fabs(loss - losses[t]) < 1e-4)) fail_msg("%s step %zu: loss %.9g, want %.9g", name, t, loss, losses[t]);
    if (!(fabs(norm - norms[t]) < 1e-4 * norms[t])) fail_msg("%s step %zu: norm %.9g, want %.9g", name, t, norm, norms[t]);
    if (t == 0) {
      put_gradients(p, grads, false, kept);
      double off = compare(p, json_object_get(o, "gradients"), NULL, stride, scratch);
      put_gradients(p, NULL, true, kept);
      if (!(off < 1e-4)) fail_msg("%s: gradients off by %g of the largest", name, off);
    }
    assert_int_equal(orion_optimizer_step(optimizer, grads, 1, norm, 1e-3, (int64_t)t + 1), p->n);
  }
  double off = compare(p, json_object_get(o, "after"), NULL, stride, scratch);
  if (!(off < 1e-4)) fail_msg("%s: off by %g of the largest after ten steps", name, off);
  free(kept);
  free(losses);
  free(norms);
  free(batches);
  orion_step_destroy(step);
  orion_optimizer_destroy(optimizer);
  orion_params_destroy(p);
  orion_device_close(device);
  json_decref(goldens);
  test_temp_dir_remove(scratch);
}

static void gradients_and_ten_steps_of_gpt2_equal_pytorch(void **state) {
  (void)state;
  check_golden("gpt2-train", "all");
}
static void gradients_and_ten_steps_of_llama_equal_pytorch(void **state) {
  (void)state;
  check_golden("llama-train", "q,v");
  check_golden("llama-gqa-untied-train", "k,o,gate,up,down");
}

// ---- runs -----------------------------------------------------------------------------------------------------------

typedef struct fixture {
  char dir[TEST_PATH_MAX], data[TEST_PATH_MAX], run[TEST_PATH_MAX];
  const char *list[1];
  orion_model *model;
  orion_device *device;
  orion_train_options o;
} fixture;

static void open_fixture(fixture *f, bool gpt2) {
  orion_error err;
  uint16_t ids[700];
  for (size_t i = 0; i < 700; i++) ids[i] = (uint16_t)(i * i % 11 + 3 * (i % 2));
  test_temp_dir_create(f->dir, sizeof f->dir);
  test_path(f->data, sizeof f->data, f->dir, "data.bin");
  test_path(f->run, sizeof f->run, f->dir, "run");
  test_write_file(f->data, ids, sizeof ids);
  f->list[0] = f->data;
  orion_config c = small_config(gpt2);
  assert_ok(orion_model_random(NULL, &c, 5, &f->model, &err), &err);
  assert_ok(orion_device_open("cpu", 1, NULL, &f->device, &err), &err);
  orion_train_options_init(&f->o);
  f->o.data = f->o.eval_data = f->list;
  f->o.n_data = f->o.n_eval_data = 1;
  f->o.batch = 4;
  f->o.seq = 8;
  f->o.steps = 40;
  f->o.warmup = 2;
  f->o.lr = 2e-2;
  f->o.lora_rank = 4;
}

static void close_fixture(fixture *f) {
  orion_device_close(f->device);
  orion_model_close(f->model);
  test_temp_dir_remove(f->dir);
}

static orion_trainer *open_trainer(fixture *f) {
  orion_trainer *t;
  orion_error err = {0};
  assert_ok(orion_trainer_create(f->model, f->device, NULL, &f->o, &t, &err), &err);
  return t;
}

static double make_steps(orion_trainer *t, int n) {
  orion_train_metrics m = {0};
  orion_error err = {0};
  for (int i = 0; i < n; i++) assert_ok(orion_trainer_step(t, &m, &err), &err);
  return m.loss;
}

static double evaluate(orion_trainer *t) {
  double loss;
  orion_error err;
  assert_ok(orion_trainer_evaluate(t, &loss, &err), &err);
  return loss;
}

static void a_run_continues_to_the_bit(void **state) {
  (void)state;
  for (int gpt2 = 0; gpt2 < 2; gpt2++) {
    fixture f;
    orion_error err;
    char path[TEST_PATH_MAX];
    struct stat st;
    open_fixture(&f, gpt2);
    f.o.lora_targets = gpt2 ? "all" : NULL;
    orion_trainer *a = open_trainer(&f);
    double before = evaluate(a);
    make_steps(a, 10);
    assert_ok(orion_trainer_save(a, f.run, 0, &err), &err);
    make_steps(a, 10);
    orion_trainer *b = open_trainer(&f);
    assert_ok(orion_trainer_resume(b, f.run, &err), &err);
    make_steps(b, 10);
    for (size_t i = 0; i < a->params->n; i++) {
      const orion_param *x = &a->params->list[i], *y = &b->params->list[i];
      assert_memory_equal(x->value, y->value, x->n * sizeof(float));
      assert_memory_equal(x->m, y->m, x->n * sizeof(float));
      assert_memory_equal(x->v, y->v, x->n * sizeof(float));
    }
    double after = evaluate(a);
    if (!(after < before - 0.03)) fail_msg("the loss went from %g to %g", before, after);
    // A checkpoint is a PEFT directory of the adapter's size, without the model.
    test_path(path, sizeof path, f.run, "step-00000010/model.safetensors");
    assert_int_not_equal(stat(path, &st), 0);
    test_path(path, sizeof path, f.run, "step-00000010/adapter_model.safetensors");
    assert_int_equal(stat(path, &st), 0);
    orion_train_info info;
    orion_trainer_describe(a, &info);
    assert_true((uint64_t)st.st_size < 4 * info.parameters + 8192);
    orion_adapter *read;
    test_path(path, sizeof path, f.run, "step-00000010");
    assert_ok(orion_adapter_open(f.model, path, &read, &err), &err);
    assert_int_equal(read->rank, 4);
    assert_true(orion_adapter_at(read, 0, ORION_PROJECTION_Q)->scale == 2);
    // From that adapter training goes on where it was, as far as weights go.
    f.o.lora_start = read;
    f.o.lora_rank = 0;
    orion_trainer *c = open_trainer(&f), *d = NULL;
    f.o.lora_start = NULL;
    f.o.lora_rank = 4;
    d = open_trainer(&f);
    assert_ok(orion_trainer_resume(d, path, &err), &err);
    assert_true(evaluate(c) == evaluate(d));
    orion_trainer_destroy(d);
    orion_trainer_destroy(c);
    orion_adapter_close(read);
    orion_trainer_destroy(b);
    orion_trainer_destroy(a);
    close_fixture(&f);
  }
}

// A fresh adapter changes nothing; training it leaves the model's weights alone; merged, it gives the loss that it has.
static void the_model_under_it_stays(void **state) {
  (void)state;
  fixture f;
  orion_error err;
  open_fixture(&f, false);
  f.o.lora_weights = "fp32";
  f.o.lora_targets = "all";
  orion_trainer *t = open_trainer(&f);
  f.o.lora_rank = 0;
  orion_trainer *whole = open_trainer(&f);
  double base = evaluate(whole), fresh = evaluate(t);
  assert_true(fabs(base - fresh) < 1e-6);
  const orion_data *wq = f.model->layers[0].wq;
  float *copy = malloc(orion_data_elements(wq) * sizeof(float));
  memcpy(copy, wq->bytes, orion_data_elements(wq) * sizeof(float));
  make_steps(t, 10);
  assert_memory_equal(copy, wq->bytes, orion_data_elements(wq) * sizeof(float));
  orion_model *merged, *own = f.model;
  assert_ok(orion_model_merge(f.model, t->params->adapter, 1, &merged, &err), &err);
  f.model = merged;
  orion_trainer *as_merged = open_trainer(&f);
  double trained = evaluate(t), together = evaluate(as_merged);
  if (!(fabs(trained - together) < 1e-5)) fail_msg("loss %g, merged %g", trained, together);
  assert_true(trained < base);
  f.model = own;
  orion_model_close(merged);
  orion_trainer_destroy(as_merged);
  orion_trainer_destroy(whole);
  orion_trainer_destroy(t);
  free(copy);
  close_fixture(&f);
}

static void adapters_train_over_integer_weights(void **state) {
  (void)state;
  static const char *const kinds[] = {"fp16", "int8", "int4"};
  for (int i = 0; i < 3; i++) {
    fixture f;
    open_fixture(&f, i == 1);
    f.o.lora_weights = kinds[i];
    orion_trainer *t = open_trainer(&f);
    double before = evaluate(t);
    make_steps(t, 25);
    double after = evaluate(t);
    if (!(after < before - 0.03)) fail_msg("%s: the loss went from %g to %g", kinds[i], before, after);
    orion_trainer_destroy(t);
    close_fixture(&f);
  }
}

static void what_cannot_be_trained_is_refused(void **state) {
  (void)state;
  fixture f;
  orion_error err;
  orion_trainer *t;
  open_fixture(&f, true);
  orion_train_options o = f.o;
  o.lora_targets = "q,gate";
  assert_error(orion_trainer_create(f.model, f.device, NULL, &o, &t, &err), ORION_INVALID, &err, "'gate'");
  o = f.o;
  o.lora_rank = 100000;
  assert_error(orion_trainer_create(f.model, f.device, NULL, &o, &t, &err), ORION_INVALID, &err, "lora-rank");
  o = f.o;
  o.update = "delta";
  assert_error(orion_trainer_create(f.model, f.device, NULL, &o, &t, &err), ORION_INVALID, &err, "inputs of their programs");
  o = f.o;
  o.lora_weights = "int3";
  assert_error(orion_trainer_create(f.model, f.device, NULL, &o, &t, &err), ORION_INVALID, &err, "int3");
  // An adapter of another rank is not gone on with.
  t = open_trainer(&f);
  assert_ok(orion_trainer_save(t, f.run, 0, &err), &err);
  orion_trainer_destroy(t);
  f.o.lora_rank = 2;
  t = open_trainer(&f);
  assert_error(orion_trainer_resume(t, f.run, &err), ORION_INVALID, &err, "another rank");
  orion_trainer_destroy(t);
  close_fixture(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_and_ten_steps_of_gpt2_equal_pytorch),
      cmocka_unit_test(gradients_and_ten_steps_of_llama_equal_pytorch),
      cmocka_unit_test(a_run_continues_to_the_bit),
      cmocka_unit_test(the_model_under_it_stays),
      cmocka_unit_test(adapters_train_over_integer_weights),
      cmocka_unit_test(what_cannot_be_trained_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
