// Slots for adapters in programs for the engine: inputs as wide as its surfaces want rows, no more of them than a request
// holds, and nothing that the check minds; on cpu they lie as the files have them.
#include "lower/lower.h"
#include "model/graph.h"
#include "support/models.h"

static orion_status lower(const orion_model *m, const orion_target *t, int64_t tokens, int64_t rank, unsigned targets,
                          orion_plan **out, orion_error *err) {
  orion_program *graph;
  const orion_graph_spec spec = {.kind = ORION_GRAPH_BODY, .tokens = tokens, .past = 64,
                                 .compute = t->ane ? ORION_FP16 : ORION_FP32, .weights = ORION_FP16, .cache = ORION_FP16,
                                 .lora = {rank, targets}};
  ORION_TRY(orion_model_graph(m, &spec, &graph, err));
  const orion_lower_options options = {.target = t};
  orion_status status = orion_lower(graph, &options, out, err);
  orion_program_destroy(graph);
  return status;
}

// Slot inputs of a part by their logical names; each [rank, in or out].
static size_t check_part(const orion_plan *plan, size_t index, const orion_config *c, int64_t rank) {
  const orion_part *part = &plan->parts[index];
  const orion_function *f = part->program->functions[0];
  orion_findings list;
  orion_error err;
  size_t slots = 0;
  orion_findings_init(&list, NULL);
  assert_ok(orion_target_check(plan->target, part->program, &list, &err), &err);
  for (size_t i = 0; i < list.n; i++) fail_msg("%s part %zu: %s", plan->target->name, index, list.items[i].message);
  orion_findings_deinit(&list);
  assert_true(f->n_params <= (size_t)plan->target->max_inputs);
  for (size_t i = 0; i < part->n_ports; i++) {
    const orion_port *port = &part->ports[i];
    if (!strstr(port->logical, "_lora_")) continue;
    assert_true(port->input);
    assert_int_equal(port->rows, rank);
    assert_true(port->cols == c->dim || port->cols == c->hidden || port->cols == c->heads * c->head_dim ||
                port->cols == c->kv_heads * c->head_dim);
    const orion_type *t = orion_value_type(f, orion_function_find(f, port->name));
    assert_int_equal(t->dims[t->rank - 1], plan->target->ane ? rank : port->cols);
    slots++;
  }
  return slots;
}

static void slots_are_legal_inputs(void **state) {
  (void)state;
  static const char *const targets[] = {"m1", "m4", "m6", "cpu"};
  for (int kind = 0; kind < TEST_KINDS; kind++) {
    orion_config c = test_config((test_kind)kind, 64);
    c.layers = 6;
    orion_model *m = test_model(&c);
    for (int i = 0; i < 4; i++) {
      const orion_target *t = orion_target_find(targets[i]);
      for (int64_t rank = 32; rank <= 256; rank *= 8) {
        orion_plan *plan;
        orion_error err;
        assert_ok(lower(m, t, t->width_multiple, rank, orion_projection_all(&c), &plan, &err), &err);
        size_t slots = 0;
        for (size_t p = 0; p < plan->n_parts; p++) slots += check_part(plan, p, &c, rank);
        // Each projection has an a and a b; GPT-2's q, k and v share a. A cut inside a layer may show an input twice.
        assert_true(slots >= (size_t)c.layers * (kind == TEST_GPT2 ? 10 : 14));
        if (t->ane) assert_true(plan->n_parts > 1);
        orion_plan_destroy(plan);
      }
    }
    orion_model_close(m);
  }
}

static void only_the_projections_asked_for_have_slots(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  orion_model *m = test_model(&c);
  orion_plan *plan;
  orion_error err;
  const orion_target *t = orion_target_find("m4");
  assert_ok(lower(m, t, 32, 32, 1u << ORION_PROJECTION_Q | 1u << ORION_PROJECTION_DOWN, &plan, &err), &err);
  assert_int_equal(plan->n_parts, 1);
  assert_int_equal(check_part(plan, 0, &c, 32), (size_t)c.layers * 4);
  orion_plan_destroy(plan);
  assert_error(lower(m, t, 32, 20, 1, &plan, &err), ORION_INVALID, &err, "multiple of 32");
  assert_error(lower(m, t, 32, 1 << 20, 1, &plan, &err), ORION_INVALID, &err, "rank 1048576");
  orion_model_close(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(slots_are_legal_inputs),
      cmocka_unit_test(only_the_projections_asked_for_have_slots),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
