// Computing again instead of keeping: loss and gradients are the same to the bit whatever is computed again, in every family,
// arithmetic, way of handing weights over, with sums and adapters; programs hold less; a bound on memory chooses; runs are the
// same under any of it.
#include <math.h>

#include "small.h"

#include "train/trainer.h"

enum { BATCH = 3, SEQ = 24, LEVELS = 3 };

typedef struct setting {  // of one comparison
  const char *device;
  orion_step_spec spec;
  orion_lora_slots lora;
} setting;

typedef struct outcome {
  double loss;
  float *gradients;
  size_t n, memory;
} outcome;

static orion_config family(int kind) {
  orion_config c = small_family(kind);
  c.context = SEQ;
  c.layers = 3;
  return c;
}

static void run(const orion_model *m, const setting *how, orion_recompute level, outcome *out) {
  orion_device *device;
  orion_params *p;
  orion_step *s;
  orion_error err = {0};
  assert_ok(orion_device_open(how->device, 2, NULL, &device, &err), &err);
  const bool lora = how->lora.rank > 0;
  if (lora) assert_ok(orion_params_create_lora(m, device, &how->lora, 2, NULL, 4, &p, &err), &err);
  if (!lora) assert_ok(orion_params_create(m, device, &p, &err), &err);
  for (size_t i = 0; i < p->n; i++) {
    if (lora) small_noise(p->list[i].value, p->list[i].n, i);  // or one half of an adapter begins as zeros
  }
  orion_step_spec spec = how->spec;
  spec.batch = BATCH;
  spec.seq = SEQ;
  spec.gradients = true;
  spec.recompute = level;
  assert_ok(orion_step_create(p, device, orion_target_find("cpu"), &orion_step_source_model, &spec, &s, &err), &err);
  int32_t ids[BATCH * SEQ + 1];
  for (int i = 0; i <= BATCH * SEQ; i++) ids[i] = (i * 7 + i / 5) % (int32_t)m->config.vocab;
  assert_ok(orion_step_run(s, ids, ids + 1, 2, &out->loss, &err), &err);
  if (spec.sums) assert_ok(orion_step_add(s, ids + 1, ids, 2, &out->loss, &err), &err);
  out->n = p->elements;
  out->memory = orion_step_memory(s);
  out->gradients = malloc(out->n * sizeof(float));
  float *to = out->gradients;
  for (size_t i = 0; i < p->n; i++) {
    memcpy(to, orion_step_gradients(s)[i], p->list[i].n * sizeof *to);
    to += p->list[i].n;
  }
  orion_step_destroy(s);
  orion_params_destroy(p);
  orion_device_close(device);
}

// All levels give the same, to the bit, and each holds less memory than the one before.
static void compare(int kind, const setting *how) {
  orion_config c = family(kind);
  orion_model *m;
  orion_error err = {0};
  outcome got[LEVELS];
  assert_ok(orion_model_random(NULL, &c, 5, &m, &err), &err);
  for (int level = 0; level < LEVELS; level++) {
    run(m, how, (orion_recompute)level, &got[level]);
    assert_true(got[level].loss == got[0].loss);
    assert_int_equal(got[level].n, got[0].n);
    for (size_t i = 0; i < got[0].n; i++) {
      if (got[level].gradients[i] == got[0].gradients[i]) continue;
      fail_msg("family %d on %s, %s: gradient %zu is %.9g instead of %.9g", kind, how->device,
               orion_recompute_name((orion_recompute)level), i, (double)got[level].gradients[i], (double)got[0].gradients[i]);
    }
  }
  for (int level = 0; level < LEVELS; level++) free(got[level].gradients);
  orion_model_close(m);
}

static const orion_step_spec inputs = {.compute = ORION_FP32, .weights = ORION_FP32, .weights_as_inputs = true};

static void gradients_are_the_same_in_every_family(void **state) {
  (void)state;
  for (int kind = 0; kind < 4; kind++) compare(kind, &(setting){.device = "cpu", .spec = inputs});
}

static void gradients_are_the_same_with_sums(void **state) {
  (void)state;
  setting how = {.device = "cpu", .spec = inputs};
  how.spec.sums = true;
  for (int kind = 0; kind < 2; kind++) compare(kind, &how);
}

static void gradients_are_the_same_with_weights_as_constants(void **state) {
  (void)state;
  setting how = {.device = "cpu", .spec = inputs};
  how.spec.weights_as_inputs = false;
  how.spec.constants_change = true;
  compare(0, &how);
  how.spec.constants_change = false;
  compare(1, &how);
}

static void gradients_are_the_same_in_half_precision(void **state) {
  (void)state;
  setting how = {.device = "sim:ideal", .spec = inputs};  // cpu rounds to halves what it stores, which is not the same
  how.spec.compute = ORION_FP16;
  for (int kind = 0; kind < 2; kind++) compare(kind, &how);
}

static void gradients_of_adapters_are_the_same(void **state) {
  (void)state;
  setting how = {.device = "cpu", .spec = inputs, .lora = {.rank = 3}};
  how.spec.weights = ORION_FP16;
  for (int kind = 0; kind < 2; kind++) {
    const orion_config c = family(kind);
    orion_error err = {0};
    assert_ok(orion_projection_parse(&c, "all", &how.lora.targets, &err), &err);
    compare(kind, &how);
  }
  how.spec.quantise = ORION_INT8;
  compare(1, &how);
}

static void gradients_are_the_same_on_the_simulator(void **state) {
  (void)state;
  for (int kind = 0; kind < 2; kind++) compare(kind, &(setting){.device = "sim:ideal", .spec = inputs});
}

// Forward does not read what is kept, so the loss stays to the bit; gradients are as near as bf16 is, a half of 2^-8 in each
// factor, and the same for any number of threads.
static void kept_in_bf16_gradients_are_near(void **state) {
  (void)state;
  for (int kind = 0; kind < 4; kind++) {
    orion_config c = family(kind);
    orion_model *m;
    orion_error err = {0};
    assert_ok(orion_model_random(NULL, &c, 5, &m, &err), &err);
    setting how = {.device = "cpu", .spec = inputs};
    outcome exact, got;
    run(m, &how, ORION_RECOMPUTE_NONE, &exact);
    how.spec.kept_as = ORION_BF16;
    for (int level = 0; level < LEVELS; level++) {
      run(m, &how, (orion_recompute)level, &got);
      assert_true(got.loss == exact.loss);
      double off = 0, size = 0;
      for (size_t i = 0; i < exact.n; i++) {
        double d = (double)got.gradients[i] - (double)exact.gradients[i];
        off += d * d;
        size += (double)exact.gradients[i] * (double)exact.gradients[i];
      }
      print_message("# family %d, %s: gradients off by %.1e\n", kind, orion_recompute_name((orion_recompute)level), sqrt(off / size));
      assert_true(off > 0 && sqrt(off / size) < 1e-2);
      free(got.gradients);
    }
    free(exact.gradients);
    orion_model_close(m);
  }
}

// ---- memory ---------------------------------------------------------------------------------------------------------

typedef struct bounded {
  orion_device *device;
  orion_params *params;
} bounded;

// What a program within `memory` holds, and what it computes again.
static size_t make_within(const bounded *b, orion_recompute level, orion_dtype kept_as, size_t memory, orion_recompute *out_level) {
  orion_step *s;
  orion_error err = {0};
  orion_step_spec spec = inputs;
  spec.batch = 4;
  spec.seq = 64;
  spec.gradients = true;
  spec.recompute = level;
  spec.memory = memory;
  spec.kept_as = kept_as;
  assert_ok(orion_step_create(b->params, b->device, orion_target_find("cpu"), &orion_step_source_model, &spec, &s, &err), &err);
  size_t bytes = orion_step_memory(s);
  *out_level = orion_step_spec_of(s)->recompute;
  orion_step_destroy(s);
  return bytes;
}

static void a_bound_on_memory_chooses(void **state) {
  (void)state;
  for (int kind = 0; kind < 2; kind++) {
    orion_config c = family(kind);
    orion_model *m;
    orion_error err = {0};
    bounded b;
    c.dim = 64;
    c.heads = c.kv_heads = 4;
    c.head_dim = 16;
    c.hidden = 192;
    c.layers = 6;
    c.context = 64;
    assert_ok(orion_model_random(NULL, &c, 5, &m, &err), &err);
    assert_ok(orion_device_open("cpu", 1, NULL, &b.device, &err), &err);
    assert_ok(orion_params_create(m, b.device, &b.params, &err), &err);
    orion_model_close(m);
    size_t bytes[LEVELS];
    orion_recompute level;
    for (int i = 0; i < LEVELS; i++) {
      bytes[i] = make_within(&b, (orion_recompute)i, ORION_DTYPE_NONE, 1, &level);  // what is asked for counts, not the bound
      assert_int_equal(level, i);
      size_t rounded = make_within(&b, (orion_recompute)i, ORION_BF16, 0, &level);
      print_message("# family %d: %s %zu bytes, in bf16 %zu\n", kind, orion_recompute_name((orion_recompute)i), bytes[i], rounded);
      assert_true(rounded < (i == LEVELS - 1 ? bytes[i] : bytes[i] * 8 / 10));
    }
    assert_true(bytes[1] < bytes[0] * 8 / 10 && bytes[2] < bytes[0] / 2);
    const size_t bounds[] = {0, bytes[0], bytes[0] - 1, bytes[1], bytes[1] - 1, bytes[2] - 1};
    static const orion_recompute want[] = {ORION_RECOMPUTE_NONE, ORION_RECOMPUTE_NONE, ORION_RECOMPUTE_CHEAP,
                                           ORION_RECOMPUTE_CHEAP, ORION_RECOMPUTE_MOST, ORION_RECOMPUTE_MOST};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
      assert_int_equal(make_within(&b, ORION_RECOMPUTE_AUTO, ORION_DTYPE_NONE, bounds[i], &level), bytes[want[i]]);
      assert_int_equal(level, want[i]);
    }
    orion_params_destroy(b.params);
    orion_device_close(b.device);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_are_the_same_in_every_family),
      cmocka_unit_test(gradients_are_the_same_with_sums),
      cmocka_unit_test(gradients_are_the_same_with_weights_as_constants),
      cmocka_unit_test(gradients_are_the_same_in_half_precision),
      cmocka_unit_test(gradients_of_adapters_are_the_same),
      cmocka_unit_test(gradients_are_the_same_on_the_simulator),
      cmocka_unit_test(kept_in_bf16_gradients_are_near),
      cmocka_unit_test(a_bound_on_memory_chooses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
