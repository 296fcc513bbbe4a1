// Every family lowers for every target to programs that the target takes, whose ports say truly how values lie; cut into
// parts they compute the same bits.
#include "lower/lower.h"

#include <math.h>

#include "model/graph.h"
#include "runtime/runner.h"
#include "support/models.h"

static const char *const TARGETS[] = {"cpu", "m1", "m2", "m3", "m4", "m5", "m6"};
enum { N_TARGETS = sizeof TARGETS / sizeof *TARGETS, PAST = 64 };

static orion_graph_spec spec_of(const orion_target *t, orion_graph_kind kind, int64_t tokens, int64_t past) {
  orion_dtype compute = t->ane ? ORION_FP16 : ORION_FP32;
  return (orion_graph_spec){.kind = kind, .tokens = tokens, .past = past, .compute = compute, .weights = ORION_FP16,
                            .cache = ORION_FP16};
}

static orion_status lower(const orion_model *m, const orion_graph_spec *spec, const orion_target *t, const char *passes,
                          orion_plan **out, orion_error *err) {
  orion_program *graph;
  ORION_TRY(orion_model_graph(m, spec, &graph, err));
  orion_opt_options opt = {.passes = passes};
  orion_lower_options options = {.target = t, .passes = passes ? &opt : NULL};
  orion_status status = orion_lower(graph, &options, out, err);
  orion_program_destroy(graph);
  return status;
}

static orion_plan *lowered(const orion_model *m, const orion_graph_spec *spec, const orion_target *t) {
  orion_plan *plan;
  orion_error err;
  assert_ok(lower(m, spec, t, NULL, &plan, &err), &err);
  return plan;
}

// ---- what a plan promises ----

static void check_port(const orion_part *part, const orion_port *port) {
  const orion_function *f = part->program->functions[0];
  const orion_value_id *list = port->input ? f->params : f->outputs;
  size_t n = port->input ? f->n_params : f->n_outputs, i = 0;
  while (i < n && strcmp(f->values[list[i]].name, port->name) != 0) i++;
  if (i == n) fail_msg("port %s: there is no %s %s", port->logical, port->input ? "input" : "output", port->name);
  const orion_type *t = f->values[list[i]].type;
  int64_t want[4] = {1, port->cols, 1, port->rows};
  switch (port->arrangement) {
    case ORION_OPAQUE: return;
    case ORION_ROWS:
      if (t->rank == 2) {
        assert_int_equal(t->dims[0], port->rows);
        assert_int_equal(t->dims[1], port->cols);
        return;
      }
      want[1] = 1, want[2] = port->rows, want[3] = port->cols;
      break;
    case ORION_CHANNELS:
      if (t->dims[1] == 1) want[1] = 1, want[2] = port->cols;
      break;
    case ORION_HEADS: want[1] = port->heads, want[2] = port->rows, want[3] = port->cols / port->heads; break;
  }
  assert_int_equal(t->rank, 4);
  for (int d = 0; d < 4; d++) assert_int_equal(t->dims[d], want[d]);
}

static bool has_port(const orion_part *part, const char *name, bool input) {
  for (size_t i = 0; i < part->n_ports; i++) {
    if (part->ports[i].input == input && strcmp(part->ports[i].name, name) == 0) return true;
  }
  return false;
}

static void check_part(const orion_plan *plan, const orion_part *part) {
  orion_findings list;
  orion_error err;
  orion_findings_init(&list, NULL);
  assert_ok(orion_target_check(plan->target, part->program, &list, &err), &err);
  for (size_t i = 0; i < list.n; i++) {
    // Only programs by others have reason for warnings: ours are packed, fp16 and in order.
    fail_msg("%s: %s: %s", plan->target->name, list.items[i].rule, list.items[i].message);
  }
  orion_findings_deinit(&list);
  const orion_function *f = part->program->functions[0];
  for (size_t i = 0; i < part->n_ports; i++) check_port(part, &part->ports[i]);
  for (size_t i = 0; i < f->n_params; i++) assert_true(has_port(part, f->values[f->params[i]].name, true));
  for (size_t i = 0; i < f->n_outputs; i++) assert_true(has_port(part, f->values[f->outputs[i]].name, false));
  ORION_EACH_OP(f, id) assert_int_not_equal(orion_opcode_info(f->ops[id].code)->cls, ORION_CLASS_COMPOSITE);
}

// Every value of the graph has its ports: each input at least one, each output one whose columns make up the value.
static void check_values(const orion_plan *plan, const orion_model *m, const orion_graph_spec *spec) {
  orion_program *graph;
  orion_error err;
  assert_ok(orion_model_graph(m, spec, &graph, &err), &err);
  const orion_function *f = graph->functions[0];
  for (size_t i = 0; i < f->n_params + f->n_outputs; i++) {
    bool input = i < f->n_params;
    const orion_value *v = &f->values[input ? f->params[i] : f->outputs[i - f->n_params]];
    int64_t columns = 0;
    for (size_t p = 0; p < plan->n_parts; p++) {
      for (size_t k = 0; k < plan->parts[p].n_ports; k++) {
        const orion_port *port = &plan->parts[p].ports[k];
        if (port->input != input || strcmp(port->logical, v->name) != 0) continue;
        assert_int_equal(port->rows, v->type->dims[0]);
        if (!input) assert_int_equal(port->first_col, columns);
        columns += port->cols;
      }
    }
    if (input ? columns < v->type->dims[1] : columns != v->type->dims[1]) fail_msg("%s has %lld columns", v->name, (long long)columns);
  }
  orion_program_destroy(graph);
}

static void every_family_lowers_for_every_target(void **state) {
  (void)state;
  for (int kind = 0; kind < TEST_KINDS; kind++) {
    orion_config c = test_config((test_kind)kind, 64);
    orion_model *m = test_model(&c);
    for (int i = 0; i < N_TARGETS; i++) {
      const orion_target *t = orion_target_find(TARGETS[i]);
      const orion_graph_spec specs[] = {spec_of(t, ORION_GRAPH_BODY, t->width_multiple, PAST),
                                        spec_of(t, ORION_GRAPH_BODY, 32, 0), spec_of(t, ORION_GRAPH_BODY, 32, PAST),
                                        spec_of(t, ORION_GRAPH_HEAD, t->width_multiple, 0)};
      for (int s = 0; s < 4; s++) {
        orion_plan *plan = lowered(m, &specs[s], t);
        assert_int_equal(plan->n_parts, 1);
        check_part(plan, &plan->parts[0]);
        check_values(plan, m, &specs[s]);
        orion_plan_destroy(plan);
      }
    }
    orion_model_close(m);
  }
}

// ---- parts ----

static orion_runner *compiled(orion_device *d, orion_plan *plan) {
  orion_runner *r;
  orion_error err;
  assert_ok(orion_runner_create(d, plan, NULL, &r, &err), &err);
  return r;
}

static bool find_cols(const orion_runner *r, const orion_port *port, orion_tensor **out) {
  *out = orion_runner_tensor(r, port->logical);
  while (*out && (*out)->first_col != port->first_col) *out = orion_runner_next(r, *out);
  return *out != NULL;
}

// Values that depend on the name and the place only, so that two runners get the same.
static void fill_inputs(orion_runner *r) {
  const orion_plan *plan = orion_runner_plan(r);
  for (size_t p = 0; p < plan->n_parts; p++) {
    for (size_t i = 0; i < plan->parts[p].n_ports; i++) {
      const orion_port *port = &plan->parts[p].ports[i];
      orion_tensor *t;
      if (!port->input || port->arrangement == ORION_OPAQUE) continue;
      assert_true(find_cols(r, port, &t));
      unsigned seed = 0;
      for (const char *s = port->logical; *s; s++) seed = seed * 31 + (unsigned char)*s;
      float *row = calloc((size_t)t->cols, sizeof *row);
      for (int64_t k = 0; k < t->rows; k++) {
        for (int64_t c = 0; c < t->cols; c++) {
          seed = seed * 1664525u + 1013904223u;
          row[c] = (float)(int)(seed >> 16) * 0x1p-15f - 1;
        }
        orion_tensor_put(t, k, row);
      }
      free(row);
    }
  }
}

// Logical value of a runner after a run, [rows, cols], pieces joined.
static float *result(const orion_runner *r, const char *logical, int64_t rows, int64_t cols) {
  float *all = calloc((size_t)(rows * cols), sizeof *all), *row = calloc((size_t)cols, sizeof *row);
  int64_t seen = 0;
  for (orion_tensor *t = orion_runner_tensor(r, logical); t; t = orion_runner_next(r, t)) {
    for (int64_t k = 0; k < rows; k++) {
      orion_tensor_get(t, k, row);
      memcpy(all + k * cols + t->first_col, row, (size_t)t->cols * sizeof *row);
    }
    seen += t->cols;
  }
  assert_int_equal(seen, cols);
  free(row);
  return all;
}

// Runs both plans (and destroys them): every result of the first must be the second's, to the bit.
static void check_same_results(orion_plan *whole, orion_plan *cut) {
  orion_device *d;
  orion_error err;
  assert_ok(orion_device_open("sim:ideal", 1, NULL, &d, &err), &err);
  orion_runner *a = compiled(d, whole), *b = compiled(d, cut);
  fill_inputs(a);
  fill_inputs(b);
  assert_ok(orion_runner_run(a, &err), &err);
  assert_ok(orion_runner_run(b, &err), &err);
  for (size_t i = 0; i < whole->parts[0].n_ports; i++) {
    const orion_port *port = &whole->parts[0].ports[i];
    if (port->input) continue;
    float *x = result(a, port->logical, port->rows, port->cols), *y = result(b, port->logical, port->rows, port->cols);
    double sum = 0;
    for (int64_t k = 0; k < port->rows * port->cols; k++) sum += fabs((double)x[k]);
    assert_true(sum > 0 && isfinite(sum));
    if (memcmp(x, y, (size_t)(port->rows * port->cols) * sizeof *x) != 0) fail_msg("%s differs", port->logical);
    free(x);
    free(y);
  }
  orion_runner_destroy(a);
  orion_runner_destroy(b);
  orion_device_close(d);
}

static size_t weight_bytes(const orion_program *p) {
  size_t total = 0, n;
  const orion_function *f = p->functions[0];
  ORION_EACH_OP(f, id) {
    const orion_literal *val = orion_op_attr(&f->ops[id], "val");
    if (val && val->kind == ORION_LIT_DATA && orion_type_bytes(val->type, &n)) total += n;
  }
  return total;
}

// Cuts with the target's limits replaced; returns the number of parts, each of which keeps to them.
static size_t check_cut(const orion_model *m, const orion_graph_spec *spec, const orion_target *t) {
  orion_target wide = *t;
  wide.max_weight_bytes = SIZE_MAX;
  wide.max_inputs = wide.max_outputs = 1000;
  orion_plan *whole = lowered(m, spec, &wide), *cut = lowered(m, spec, t);
  assert_int_equal(whole->n_parts, 1);
  for (size_t i = 0; i < cut->n_parts; i++) {
    const orion_function *f = cut->parts[i].program->functions[0];
    check_part(cut, &cut->parts[i]);
    assert_true(weight_bytes(cut->parts[i].program) <= t->max_weight_bytes);
    assert_true(f->n_params <= (size_t)t->max_inputs && f->n_outputs <= (size_t)t->max_outputs);
  }
  check_values(cut, m, spec);
  size_t n = cut->n_parts;
  check_same_results(whole, cut);
  return n;
}

static void parts_keep_to_the_limits_and_compute_the_same_bits(void **state) {
  (void)state;
  for (int kind = 0; kind < TEST_KINDS; kind++) {
    orion_config c = test_config((test_kind)kind, 64);
    orion_model *m = test_model(&c);
    for (int i = 0; i < N_TARGETS; i += 4) {
      orion_target t = *orion_target_find(TARGETS[i]);
      orion_graph_spec spec = spec_of(&t, ORION_GRAPH_BODY, 32, PAST);
      orion_plan *plan = lowered(m, &spec, &t);
      size_t bytes = weight_bytes(plan->parts[0].program);
      orion_plan_destroy(plan);
      t.max_weight_bytes = bytes;
      assert_int_equal(check_cut(m, &spec, &t), 1);
      t.max_weight_bytes = bytes * 6 / 10;  // a layer is half
      assert_int_equal(check_cut(m, &spec, &t), 2);
      t.max_weight_bytes = bytes / 4;
      size_t n = check_cut(m, &spec, &t);
      assert_in_range(n, 3, 10);
      t.max_weight_bytes = SIZE_MAX;
      t.max_inputs = 6;  // a layer has two caches, the mask, x, and cos and sin
      t.max_outputs = 3;
      n = check_cut(m, &spec, &t);
      assert_in_range(n, 2, 24);
    }
    orion_model_close(m);
  }
}

static void layers_are_cut_apart_where_only_the_residual_crosses(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  c.layers = 5;
  orion_model *m = test_model(&c);
  orion_target t = *orion_target_find("m4");
  orion_graph_spec spec = spec_of(&t, ORION_GRAPH_BODY, 32, PAST);
  orion_plan *plan = lowered(m, &spec, &t);
  t.max_weight_bytes = weight_bytes(plan->parts[0].program) * 5 / 10;  // 2.5 layers
  orion_plan_destroy(plan);
  plan = lowered(m, &spec, &t);
  assert_int_equal(plan->n_parts, 3);
  for (size_t i = 0; i < 2; i++) {
    size_t links = 0;
    for (size_t k = 0; k < plan->parts[i].n_ports; k++) {
      const orion_port *port = &plan->parts[i].ports[k];
      links += !port->input && port->arrangement == ORION_OPAQUE;
    }
    assert_int_equal(links, 1);
  }
  orion_plan_destroy(plan);
  orion_model_close(m);
}

static void one_operation_beyond_the_limits_is_refused(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  orion_model *m = test_model(&c);
  for (int i = 0; i < N_TARGETS; i += 4) {
    for (int what = 0; what < 3; what++) {
      orion_target t = *orion_target_find(TARGETS[i]);
      orion_graph_spec spec = spec_of(&t, ORION_GRAPH_BODY, 32, PAST);
      if (what == 0) t.max_weight_bytes = 4000;  // less than one matrix
      if (what == 1) t.max_inputs = 0;
      if (what == 2) t.max_outputs = 0;
      orion_plan *plan = NULL;
      orion_error err;
      assert_error(lower(m, &spec, &t, NULL, &plan, &err), ORION_LIMIT, &err, "alone exceeds the limits");
      assert_null(plan);
    }
  }
  orion_model_close(m);
}

static void a_wide_classifier_becomes_pieces(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  orion_model *m = test_model(&c);
  const orion_target *m4 = orion_target_find("m4");
  orion_graph_spec spec = spec_of(m4, ORION_GRAPH_HEAD, 32, 0);
  static const int64_t limits[] = {96, 64, 40, 32, 7};
  static const size_t pieces[] = {2, 2, 3, 4, 14};  // of 97 columns, by the thirty-two where the limit lets them
  for (int i = 0; i < 5; i++) {
    orion_target t = *m4;
    t.max_conv_out = limits[i];
    orion_plan *whole = lowered(m, &spec, m4), *cut = lowered(m, &spec, &t);
    assert_int_equal(cut->n_parts, 1);
    assert_int_equal(cut->parts[0].program->functions[0]->n_outputs, pieces[i]);
    check_part(cut, &cut->parts[0]);
    check_values(cut, m, &spec);
    check_same_results(whole, cut);
  }
  orion_model_close(m);
}

// ---- refusals ----

static void what_cannot_be_lowered_is_named(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  orion_model *m = test_model(&c);
  const orion_target *m1 = orion_target_find("m1");
  orion_plan *plan = NULL;
  orion_error err;
  orion_graph_spec narrow = spec_of(m1, ORION_GRAPH_BODY, 8, 0), odd = spec_of(m1, ORION_GRAPH_BODY, 32, 40);
  assert_error(lower(m, &narrow, m1, NULL, &plan, &err), ORION_INVALID, &err, "x: 8 positions; programs for m1");
  assert_error(lower(m, &odd, m1, NULL, &plan, &err), ORION_INVALID, &err, "mask: 40 positions");
  orion_graph_spec good = spec_of(m1, ORION_GRAPH_BODY, 32, 64);
  assert_error(lower(m, &good, m1, "nonsense", &plan, &err), ORION_INVALID, &err, "nonsense");
  assert_null(plan);
  orion_model_close(m);
}

static orion_status lower_once(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_config c = test_config(TEST_LLAMA, 64);
  c.layers = 1;
  orion_target t = *orion_target_find(ctx);
  t.max_weight_bytes = 40000;
  orion_graph_spec spec = spec_of(&t, ORION_GRAPH_BODY, 32, PAST);
  orion_model *m;
  orion_plan *plan = NULL;
  ORION_TRY(orion_model_random(a, &c, 1, &m, err));
  orion_status status = lower(m, &spec, &t, NULL, &plan, err);
  if (status == ORION_OK) assert_true(plan->n_parts > 1);
  orion_plan_destroy(plan);
  orion_model_close(m);
  return status;
}

static void lowering_survives_the_lack_of_memory(void **state) {
  (void)state;
  test_sweep_allocations(lower_once, (void *)(uintptr_t) "cpu", 60);
  test_sweep_allocations(lower_once, (void *)(uintptr_t) "m4", 60);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_family_lowers_for_every_target),
      cmocka_unit_test(parts_keep_to_the_limits_and_compute_the_same_bits),
      cmocka_unit_test(layers_are_cut_apart_where_only_the_residual_crosses),
      cmocka_unit_test(one_operation_beyond_the_limits_is_refused),
      cmocka_unit_test(a_wide_classifier_becomes_pieces),
      cmocka_unit_test(what_cannot_be_lowered_is_named),
      cmocka_unit_test(lowering_survives_the_lack_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
