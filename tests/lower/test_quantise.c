// Quantised programs: matrices are integers with scales in the form that each target takes, shared between programs of a
// model; the cpu device multiplies by them as they are and agrees with the simulator's ideal arithmetic, which expands
// them.
#include "lower/lower.h"

#include <math.h>

#include "model/graph.h"
#include "runtime/runner.h"
#include "support/support.h"

static orion_graph_spec spec_of(const orion_target *t, orion_graph_kind kind, int64_t tokens, int64_t past) {
  return (orion_graph_spec){.kind = kind, .tokens = tokens, .past = past, .compute = t->ane ? ORION_FP16 : ORION_FP32,
                            .weights = ORION_FP16, .cache = ORION_FP16};
}

static orion_plan *lowered(const orion_model *m, const orion_graph_spec *spec, const orion_target *t, orion_dtype dtype) {
  orion_program *graph;
  orion_plan *plan;
  orion_error err;
  assert_ok(orion_model_graph(m, spec, &graph, &err), &err);
  const orion_lower_options options = {.target = t, .quantise = dtype};
  assert_ok(orion_lower(graph, &options, &plan, &err), &err);
  orion_program_destroy(graph);
  return plan;
}

// ---- form ----

static bool is_quantised(const orion_function *f, orion_ref ref) {
  while (!orion_ref_is_literal(ref) && f->ops[f->values[ref].def].code == ORION_OP_cast) {
    ref = orion_op_ref(&f->ops[f->values[ref].def], "x");
  }
  return !orion_ref_is_literal(ref) && f->ops[f->values[ref].def].code == ORION_OP_constexpr_blockwise_shift_scale;
}

static size_t check_form(const orion_function *f, const orion_target *t, orion_dtype dtype) {
  size_t n = 0;
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    if (op->code == ORION_OP_linear || op->code == ORION_OP_conv) assert_true(is_quantised(f, orion_op_ref(op, "weight")));
    if (op->code != ORION_OP_constexpr_blockwise_shift_scale) continue;
    const orion_type *q = orion_ref_type(f, orion_op_ref(op, "data")), *s = orion_ref_type(f, orion_op_ref(op, "scale"));
    assert_int_equal(q->dtype, dtype);
    assert_int_equal(s->dtype, ORION_FP16);
    assert_int_equal(s->rank, q->rank);
    assert_int_equal(q->rank, t->ane ? 4 : 2);
    assert_int_equal(s->dims[0], q->dims[0]);
    bool channels = dtype == ORION_INT8 || t->ane;
    if (channels) assert_int_equal(s->dims[1], 1);
    else assert_in_range(q->dims[1] / s->dims[1], 16, 64);
    n++;
  }
  return n;
}

// ---- values ----

static void fill_inputs(orion_runner *r) {
  const orion_plan *plan = orion_runner_plan(r);
  uint32_t state = 1;
  for (size_t p = 0; p < plan->n_parts; p++) {
    for (size_t i = 0; i < plan->parts[p].n_ports; i++) {
      const orion_port *port = &plan->parts[p].ports[i];
      if (!port->input || port->arrangement == ORION_OPAQUE) continue;
      orion_tensor *t = orion_runner_tensor(r, port->logical);
      float *line = calloc((size_t)t->cols, sizeof *line);
      for (int64_t row = 0; row < t->rows; row++) {
        for (int64_t col = 0; col < t->cols; col++) {
          state = state * 1664525u + 1013904223u;
          bool mask = strcmp(port->logical, "mask") == 0;
          line[col] = mask ? (col % 3 ? 0 : -1e4f) : (float)(state >> 8) * 0x1p-23f - 1.0f;
        }
        orion_tensor_put(t, row, line);
      }
      free(line);
    }
  }
}

typedef struct result {
  float *values;
  size_t n, weight_bytes;
} result;

static result run(const char *device_name, const orion_model *m, const orion_graph_spec *spec, const orion_target *t,
                  orion_dtype dtype) {
  orion_error err;
  orion_device *device;
  orion_runner *r;
  result out = {0};
  orion_plan *plan = lowered(m, spec, t, dtype);
  for (size_t p = 0; dtype && p < plan->n_parts; p++) check_form(plan->parts[p].program->functions[0], t, dtype);
  assert_ok(orion_device_open(device_name, 1, NULL, &device, &err), &err);
  assert_ok(orion_runner_create(device, plan, NULL, &r, &err), &err);
  fill_inputs(r);
  assert_ok(orion_runner_run(r, &err), &err);
  out.weight_bytes = orion_runner_weight_bytes(r);
  orion_tensor *y = orion_runner_tensor(r, spec->kind == ORION_GRAPH_HEAD ? "logits" : "y");
  out.n = (size_t)(y->rows * y->cols);
  out.values = malloc(out.n * sizeof *out.values);
  for (int64_t row = 0; row < y->rows; row++) orion_tensor_get(y, row, out.values + row * y->cols);
  orion_runner_destroy(r);
  orion_device_close(device);
  return out;
}

static double distance(const result *a, const result *b) {
  double worst = 0, scale = 0;
  assert_int_equal(a->n, b->n);
  for (size_t i = 0; i < a->n; i++) {
    assert_true(isfinite(a->values[i]) && isfinite(b->values[i]));
    scale = fmax(scale, fabs((double)b->values[i]));
    worst = fmax(worst, fabs((double)a->values[i] - (double)b->values[i]));
  }
  return worst / scale;
}

static void check(const orion_model *m, const char *target, orion_graph_kind kind, int64_t tokens, int64_t past) {
  const orion_target *t = orion_target_find(target);
  orion_graph_spec spec = spec_of(t, kind, tokens, past);
  result full = run("cpu", m, &spec, t, ORION_DTYPE_NONE);
  for (int i = 0; i < 2; i++) {
    orion_dtype dtype = i ? ORION_INT4 : ORION_INT8;
    result got = run("cpu", m, &spec, t, dtype), want = run("sim:ideal", m, &spec, t, dtype);
    result portable = run("cpu:isa=portable", m, &spec, t, dtype);
    double d = distance(&got, &want), p = distance(&portable, &got), loss = distance(&got, &full);
    print_message("# %s %s T=%d S=%d %s: cpu and sim differ by %.1e, levels by %.1e, from fp16 by %.1e; weights %zu of %zu\n",
                  target, kind == ORION_GRAPH_BODY ? "body" : "head", (int)tokens, (int)past, orion_dtype_name(dtype), d, p,
                  loss, got.weight_bytes, full.weight_bytes);
    // An expanded weight is fp16 by its type: the simulator rounds each to eleven digits, the cpu device does not.
    assert_true(d <= (t->ane ? 1e-2 : 4e-3));
    assert_true(p <= (t->ane ? 1e-2 : 1e-4));
    assert_true(loss > 0 && loss <= (i ? 0.6 : 0.05));
    assert_true(got.weight_bytes < full.weight_bytes * (i ? 45 : 65) / 100);
    free(got.values), free(want.values), free(portable.values);
  }
  free(full.values);
}

static void cpu_and_simulator_agree(void **state) {
  char path[TEST_PATH_MAX];
  orion_model *m;
  orion_error err;
  static const char *const models[] = {"data/models/tinystories-656k", "data/llama2c/stories260K.bin"};
  for (size_t i = 0; i < 2; i++) {
    SKIP_WITHOUT_SHARED(path, models[i]);
    assert_ok(orion_model_open(NULL, path, &m, &err), &err);
    check(m, "cpu", ORION_GRAPH_BODY, 1, 64);
    check(m, "cpu", ORION_GRAPH_BODY, 6, 64);
    check(m, "cpu", ORION_GRAPH_BODY, 40, 0);
    check(m, "cpu", ORION_GRAPH_HEAD, 1, 0);
    check(m, "m4", ORION_GRAPH_BODY, 32, 32);
    check(m, "m4", ORION_GRAPH_HEAD, 32, 0);
    orion_model_close(m);
  }
}

// ---- sharing ----

static size_t collect(const orion_plan *plan, const orion_data **out, size_t max) {
  size_t n = 0;
  for (size_t p = 0; p < plan->n_parts; p++) {
    const orion_function *f = plan->parts[p].program->functions[0];
    ORION_EACH_OP(f, id) {
      if (f->ops[id].code != ORION_OP_constexpr_blockwise_shift_scale) continue;
      assert_true(n < max);
      out[n++] = orion_op_const(f, &f->ops[id], "data")->data;
    }
  }
  return n;
}

static void programs_of_a_model_share_integers(void **state) {
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/models/tinystories-656k");
  orion_model *m;
  orion_error err;
  assert_ok(orion_model_open(NULL, path, &m, &err), &err);
  const orion_target *t = orion_target_find("cpu");
  orion_graph_spec decode = spec_of(t, ORION_GRAPH_BODY, 1, 64), prefill = spec_of(t, ORION_GRAPH_BODY, 32, 0);
  orion_plan *a = lowered(m, &decode, t, ORION_INT4), *b = lowered(m, &prefill, t, ORION_INT4);
  const orion_data *of_a[256], *of_b[256];
  size_t n = collect(a, of_a, 256);
  assert_true(n > 0);
  assert_int_equal(collect(b, of_b, 256), n);
  for (size_t i = 0; i < n; i++) assert_ptr_equal(of_a[i], of_b[i]);
  orion_plan_destroy(a);
  orion_plan_destroy(b);
  orion_model_close(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(cpu_and_simulator_agree),
                                     cmocka_unit_test(programs_of_a_model_share_integers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
