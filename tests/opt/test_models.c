// The pipelines on the programs of whole models: with and without passes a plan computes the same, on the device that
// stands for ideal arithmetic; fewer operations are left; what is left verifies.
#include <math.h>

#include "model/graph.h"
#include "runtime/runner.h"
#include "support/support.h"

typedef struct outputs {
  float *values;
  size_t n, ops;
} outputs;

static float noise(const char *logical, int64_t row, int64_t col) {
  uint32_t h = 2166136261u;
  for (const char *c = logical; *c; c++) h = (h ^ (uint8_t)*c) * 16777619u;
  h = (h ^ (uint32_t)row) * 2654435761u + (uint32_t)col * 40503u;
  h ^= h >> 15;
  h *= 2246822519u;
  h ^= h >> 13;
  return (float)(h & 0xffff) / 32768.0f - 1.0f;
}

static void fill_inputs(orion_runner *r) {
  const orion_plan *plan = orion_runner_plan(r);
  for (size_t p = 0; p < plan->n_parts; p++) {
    for (size_t i = 0; i < plan->parts[p].n_ports; i++) {
      const orion_port *port = &plan->parts[p].ports[i];
      if (!port->input || port->arrangement == ORION_OPAQUE) continue;
      orion_tensor *t = orion_runner_tensor(r, port->logical);
      bool mask = strcmp(port->logical, "mask") == 0;
      float *line = calloc((size_t)t->cols, sizeof *line);
      for (int64_t row = 0; row < t->rows; row++) {
        for (int64_t col = 0; col < t->cols; col++) {
          line[col] = mask ? (col % 3 ? 0 : -1e4f) : noise(port->logical, row, t->first_col + col);
        }
        orion_tensor_put(t, row, line);
      }
      free(line);
    }
  }
}

static outputs run(const orion_model *m, const orion_target *target, const orion_graph_spec *spec, const char *passes) {
  orion_error err;
  outputs out = {0};
  orion_program *graph;
  orion_plan *plan;
  orion_device *device;
  orion_runner *r;
  assert_ok(orion_model_graph(m, spec, &graph, &err), &err);
  const orion_opt_options o = {.passes = passes};
  const orion_lower_options lower = {.target = target, .passes = &o};
  assert_ok(orion_lower(graph, &lower, &plan, &err), &err);
  for (size_t i = 0; i < plan->n_parts; i++) {
    ORION_EACH_OP(plan->parts[i].program->functions[0], id) {
      out.ops += plan->parts[i].program->functions[0]->ops[id].code != ORION_OP_const;
    }
  }
  assert_ok(orion_device_open("sim:ideal", 1, NULL, &device, &err), &err);
  assert_ok(orion_runner_create(device, plan, NULL, &r, &err), &err);
  fill_inputs(r);
  assert_ok(orion_runner_run(r, &err), &err);
  const orion_function *f = graph->functions[0];
  for (size_t i = 0; i < f->n_outputs; i++) {
    orion_tensor *t = orion_runner_tensor(r, f->values[f->outputs[i]].name);
    assert_non_null(t);
    for (; t; t = orion_runner_next(r, t)) {
      size_t n = (size_t)(t->rows * t->cols);
      out.values = realloc(out.values, (out.n + n) * sizeof *out.values);
      for (int64_t row = 0; row < t->rows; row++) orion_tensor_get(t, row, out.values + out.n + (size_t)(row * t->cols));
      out.n += n;
    }
  }
  orion_runner_destroy(r);
  orion_device_close(device);
  orion_program_destroy(graph);
  return out;
}

// Largest difference over the largest magnitude.
static double distance(const outputs *a, const outputs *b) {
  double worst = 0, scale = 0;
  for (size_t i = 0; i < a->n; i++) {
    scale = fmax(scale, fabs(a->values[i]));
    worst = fmax(worst, fabs((double)a->values[i] - b->values[i]));
    assert_true(isfinite(a->values[i]) && isfinite(b->values[i]));
  }
  return scale > 0 ? worst / scale : worst;
}

static void check(const orion_model *m, const char *name, const orion_target *target, const orion_graph_spec *spec) {
  outputs off = run(m, target, spec, ""), on = run(m, target, spec, NULL);
  double d = distance(&off, &on), bound = spec->compute == ORION_FP16 ? 4e-3 : 1e-6;
  print_message("# %s %s %s T=%d S=%d: %zu -> %zu operations, difference %.2e\n", name, target->name,
                spec->kind == ORION_GRAPH_BODY ? "body" : "head", (int)spec->tokens, (int)spec->past, off.ops, on.ops, d);
  assert_int_equal(on.n, off.n);
  assert_true(d <= bound);
  free(off.values);
  free(on.values);
}

static void check_model(void *ctx, const char *path, const char *name) {
  orion_model *m;
  orion_error err;
  assert_ok(orion_model_open(NULL, path, &m, &err), &err);
  const orion_target *m1 = orion_target_find("m1"), *m4 = orion_target_find("m4"), *host = orion_target_find("cpu");
  const orion_graph_spec prefill = {ORION_GRAPH_BODY, 32, 0, ORION_FP16, ORION_FP16, ORION_FP16, {0}};
  const orion_graph_spec decode = {ORION_GRAPH_BODY, 32, 32, ORION_FP16, ORION_FP16, ORION_FP16, {0}};
  check(m, name, m4, &prefill);
  check(m, name, m1, &decode);
  check(m, name, m4, &decode);
  const orion_graph_spec some = {ORION_GRAPH_BODY, 4, 0, ORION_FP32, ORION_FP16, ORION_FP32, {0}};
  const orion_graph_spec one = {ORION_GRAPH_BODY, 1, 32, ORION_FP32, ORION_FP16, ORION_FP16, {0}};
  check(m, name, host, &some);
  check(m, name, host, &one);
  orion_graph_spec head = {ORION_GRAPH_HEAD, 32, 0, ORION_FP16, ORION_FP16, ORION_FP16, {0}};
  check(m, name, m4, &head);
  // Limits so tight that layers and heads are cut.
  orion_target tight = *m4;
  tight.name = "tight";
  tight.sram_bytes = 4096;
  tight.split_conv_in = 32;
  check(m, name, &tight, &decode);
  orion_model_close(m);
}

static void passes_do_not_change_what_models_compute(void **state) {
  static const char *const models[] = {"gpt2-small-random", "llama-gqa-untied-bf16", "llama3-rope-scaled",
                                       "qwen2-small-random", "qwen3-small-random", "tiny-random-gpt2"};
  for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
    char relative[256], path[TEST_PATH_MAX];
    snprintf(relative, sizeof relative, "data/models/%s", models[i]);
    SKIP_WITHOUT_SHARED(path, relative);
    check_model(NULL, path, models[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(passes_do_not_change_what_models_compute)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
