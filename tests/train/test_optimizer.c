// AdamW against the formula in double, one element at a time; the same bits for any number of threads; what is not finite.
#include "small.h"

#include <math.h>

#include "train/optimizer.h"
#include "train/scaler.h"
#include "train/schedule.h"

enum { STEPS = 10 };

typedef struct gradients {
  const float **list;
  float *memory;
} gradients;

static gradients make_gradients(const orion_params *p, uint64_t seed) {
  gradients g = {calloc(p->n, sizeof *g.list), malloc(p->elements * sizeof(float))};
  small_noise(g.memory, p->elements, seed);
  float *at = g.memory;
  for (size_t i = 0; i < p->n; i++) {
    g.list[i] = at;
    at += p->list[i].n;
  }
  return g;
}

static void free_gradients(gradients *g) {
  free(g->list);
  free(g->memory);
}

static const orion_adamw settings = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 1};

static void steps_equal_the_formula(void **state) {
  (void)state;
  small s;
  small_open(&s, false, 3);
  orion_params *p = s.params;
  orion_optimizer *o;
  orion_error err = {0};
  assert_ok(orion_optimizer_create(p, &settings, 1, &o, &err), &err);
  double *w = calloc(p->elements, sizeof *w), *m = calloc(p->elements, sizeof *m), *v = calloc(p->elements, sizeof *v);
  size_t at = 0;
  for (size_t i = 0; i < p->n; i++) {
    for (size_t k = 0; k < p->list[i].n; k++) w[at++] = p->list[i].value[k];
  }
  double largest = 0, change = 0;
  for (int t = 1; t <= STEPS; t++) {
    gradients g = make_gradients(p, (uint64_t)t);
    const double unscale = 0.125, lr = 1e-3 * t;
    double sum = 0;
    for (size_t k = 0; k < p->elements; k++) sum += pow((double)g.memory[k] * unscale, 2);
    double norm = sqrt(sum), clip = fmin(1, 1 / (norm + 1e-6));
    size_t bad;
    double got = orion_optimizer_norm(o, g.list, unscale, &bad);
    assert_int_equal(bad, p->n);
    assert_true(fabs(got - norm) <= 1e-12 * norm);
    assert_int_equal(orion_optimizer_step(o, g.list, unscale, got, lr, t), p->n);
    at = 0;
    for (size_t i = 0; i < p->n; i++) {
      for (size_t k = 0; k < p->list[i].n; k++, at++) {
        double x = (double)g.memory[at] * unscale * clip, before = w[at];
        m[at] = 0.9 * m[at] + 0.1 * x;
        v[at] = 0.95 * v[at] + 0.05 * x * x;
        double step = m[at] / (1 - pow(0.9, t)) / (sqrt(v[at] / (1 - pow(0.95, t))) + 1e-8);
        w[at] -= lr * (step + (p->list[i].matrix ? 0.1 : 0) * before);
        largest = fmax(largest, fabs(w[at] - before));
        change = fmax(change, fabs(w[at] - (double)p->list[i].value[k]));
      }
    }
    free_gradients(&g);
  }
  assert_true(change < 1e-4 * largest);
  assert_true(largest > 1e-3);
  free(w);
  free(m);
  free(v);
  orion_optimizer_destroy(o);
  small_close(&s);
}

static void bits_do_not_depend_on_threads(void **state) {
  (void)state;
  orion_error err = {0};
  orion_config c = small_config(true);
  c.vocab = 20011;  // several blocks, the last one not whole
  orion_device *device;
  orion_model *model;
  orion_params *p[3];
  double norms[3];
  assert_ok(orion_device_open("cpu", 1, NULL, &device, &err), &err);
  assert_ok(orion_model_random(NULL, &c, 1, &model, &err), &err);
  for (int k = 0; k < 3; k++) {
    orion_optimizer *o;
    size_t bad;
    assert_ok(orion_params_create(model, device, &p[k], &err), &err);
    assert_ok(orion_optimizer_create(p[k], &settings, k + 1, &o, &err), &err);
    for (int t = 1; t <= 3; t++) {
      gradients g = make_gradients(p[k], (uint64_t)t);
      norms[k] = orion_optimizer_norm(o, g.list, 1, &bad);
      orion_optimizer_step(o, g.list, 1, norms[k], 1e-3, t);
      free_gradients(&g);
    }
    orion_optimizer_destroy(o);
  }
  for (int k = 1; k < 3; k++) {
    assert_memory_equal(&norms[0], &norms[k], sizeof norms[0]);
    for (size_t i = 0; i < p[0]->n; i++) {
      size_t bytes = p[0]->list[i].n * sizeof(float);
      assert_memory_equal(p[0]->list[i].value, p[k]->list[i].value, bytes);
      assert_memory_equal(p[0]->list[i].v, p[k]->list[i].v, bytes);
    }
  }
  for (int k = 0; k < 3; k++) orion_params_destroy(p[k]);
  orion_model_close(model);
  orion_device_close(device);
}

static void what_is_not_finite_is_named(void **state) {
  (void)state;
  small s;
  small_open(&s, true, 1);
  orion_optimizer *o;
  orion_error err = {0};
  assert_ok(orion_optimizer_create(s.params, &settings, 2, &o, &err), &err);
  gradients g = make_gradients(s.params, 1);
  size_t bad, third = (size_t)(g.list[3] - g.memory);
  g.memory[third + 5] = INFINITY;
  g.memory[s.params->elements - 1] = NAN;
  assert_false(isfinite(orion_optimizer_norm(o, g.list, 1, &bad)));
  assert_int_equal(bad, 3);
  g.memory[third + 5] = 0;
  orion_optimizer_norm(o, g.list, 1, &bad);
  assert_int_equal(bad, s.params->n - 1);
  g.memory[s.params->elements - 1] = 0;
  assert_int_equal(orion_optimizer_step(o, g.list, 1, 1, 1e30, 1), s.params->n);
  assert_int_equal(orion_optimizer_step(o, g.list, 1, 1, 3e38, 2), 0);
  free_gradients(&g);
  orion_optimizer_destroy(o);
  small_close(&s);
}

static void schedules_follow_their_table(void **state) {
  (void)state;
  orion_schedule s = {ORION_SCHEDULE_COSINE, 1e-3, 1e-4, 4, 12};
  static const double cosine[] = {2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 0.00096574579, 0.00086819805, 0.00072220755,
                                  5.5e-4, 0.00037779245, 0.00023180195, 0.00013425421, 1e-4, 1e-4};
  for (int i = 0; i < 14; i++) assert_true(fabs(orion_schedule_lr(&s, i) - cosine[i]) < 1e-11);
  s.kind = ORION_SCHEDULE_LINEAR;
  static const double linear[] = {2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 8.875e-4, 7.75e-4, 6.625e-4, 5.5e-4};
  for (int i = 0; i < 9; i++) assert_true(fabs(orion_schedule_lr(&s, i) - linear[i]) < 1e-15);
  s.kind = ORION_SCHEDULE_CONSTANT;
  assert_true(orion_schedule_lr(&s, 2) == 7.5e-4);
  assert_true(orion_schedule_lr(&s, 100) == 1e-3);
  s.warmup = 0;
  assert_true(orion_schedule_lr(&s, 0) == 1e-3);
  orion_schedule_kind kind;
  for (int i = 0; i < 3; i++) {
    assert_true(orion_schedule_parse(orion_schedule_name((orion_schedule_kind)i), &kind));
    assert_int_equal(kind, i);
  }
  assert_false(orion_schedule_parse("cos", &kind));
}

static void the_loss_scale_halves_and_doubles(void **state) {
  (void)state;
  orion_scaler s;
  orion_scaler_init(&s, 0, true);
  assert_true(s.scale == ORION_SCALER_START);
  assert_true(orion_scaler_note(&s, false));
  assert_true(s.scale == ORION_SCALER_START / 2);
  for (int i = 0; i < ORION_SCALER_PATIENCE; i++) assert_true(orion_scaler_note(&s, true));
  assert_true(s.scale == ORION_SCALER_START);
  int skipped = 0;
  while (orion_scaler_note(&s, false)) skipped++;
  assert_true(s.scale == 1 && skipped == 16);  // down to 1, then there is no hope
  orion_scaler_init(&s, 0, false);
  assert_true(s.scale == 1 && !orion_scaler_note(&s, false));  // fp32: nothing to try
  orion_scaler_init(&s, 256, true);
  for (int i = 0; i < ORION_SCALER_GIVE_UP; i++) assert_true(orion_scaler_note(&s, false));
  assert_false(orion_scaler_note(&s, false));
  assert_true(s.scale == 256);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(steps_equal_the_formula),      cmocka_unit_test(bits_do_not_depend_on_threads),
      cmocka_unit_test(what_is_not_finite_is_named),
      cmocka_unit_test(schedules_follow_their_table), cmocka_unit_test(the_loss_scale_halves_and_doubles),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
