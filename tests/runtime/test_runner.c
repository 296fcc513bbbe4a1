// A runner binds one surface for each logical value, shares those of the runner it stands beside, and frees what it owns.
#include "runtime/runner.h"

#include "model/graph.h"
#include "support/models.h"

static orion_status lower(const orion_model *m, orion_graph_kind kind, int64_t tokens, size_t max_weight_bytes,
                          orion_plan **out, orion_error *err) {
  static orion_target t;  // a plan keeps the pointer
  t = *orion_target_find("m4");
  t.max_weight_bytes = max_weight_bytes;
  orion_graph_spec spec = {kind, tokens, kind == ORION_GRAPH_BODY ? 64 : 0, ORION_FP16, ORION_FP16, ORION_FP16, {0}};
  orion_program *graph;
  ORION_TRY(orion_model_graph(m, &spec, &graph, err));
  orion_lower_options options = {.target = &t};
  orion_status status = orion_lower(graph, &options, out, err);
  orion_program_destroy(graph);
  return status;
}

static orion_runner *runner(orion_device *d, const orion_model *m, orion_graph_kind kind, int64_t tokens, size_t bytes,
                            orion_runner *beside) {
  orion_plan *plan;
  orion_runner *r;
  orion_error err;
  assert_ok(lower(m, kind, tokens, bytes, &plan, &err), &err);
  assert_ok(orion_runner_create(d, plan, beside, &r, &err), &err);
  return r;
}

static const orion_surface *surface(const orion_runner *r, const char *name) {
  orion_tensor *t = orion_runner_tensor(r, name);
  if (!t) fail_msg("there is no %s", name);
  return t->surface;
}

static void equal_values_share_surfaces_with_the_runner_beside(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  orion_model *m = test_model(&c);
  orion_device *d;
  orion_error err;
  assert_ok(orion_device_open("cpu", 1, NULL, &d, &err), &err);
  orion_runner *a = runner(d, m, ORION_GRAPH_BODY, 32, SIZE_MAX, NULL);
  orion_runner *wider = runner(d, m, ORION_GRAPH_BODY, 64, SIZE_MAX, a);
  orion_runner *head = runner(d, m, ORION_GRAPH_HEAD, 32, SIZE_MAX, a);
  assert_ptr_equal(surface(a, "k_cache_0"), surface(wider, "k_cache_0"));
  assert_ptr_equal(surface(a, "v_cache_1"), surface(wider, "v_cache_1"));
  assert_ptr_equal(surface(a, "mask"), surface(wider, "mask"));
  assert_ptr_not_equal(surface(a, "x"), surface(wider, "x"));  // another width
  assert_ptr_not_equal(surface(a, "k_cache_0"), surface(a, "k_cache_1"));
  assert_ptr_equal(surface(a, "y"), surface(head, "y"));  // an output of one, an input of the other
  assert_true(orion_runner_tensor(a, "y")->owned);
  assert_false(orion_runner_tensor(head, "y")->owned);
  assert_null(orion_runner_tensor(a, "logits"));
  assert_int_equal(orion_runner_parts(a), 1);
  assert_true(orion_runner_weight_bytes(a) > 0);
  assert_ok(orion_runner_run(a, &err), &err);
  assert_ok(orion_runner_run(wider, &err), &err);
  assert_ok(orion_runner_run(head, &err), &err);
  orion_runner_destroy(head);
  orion_runner_destroy(wider);
  orion_runner_destroy(a);
  orion_runner_destroy(NULL);
  orion_device_close(d);
  orion_model_close(m);
}

static void parts_hand_values_on_in_one_surface(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  orion_model *m = test_model(&c);
  orion_device *d;
  orion_error err;
  assert_ok(orion_device_open("cpu", 1, NULL, &d, &err), &err);
  orion_runner *r = runner(d, m, ORION_GRAPH_BODY, 32, 30000, NULL);
  const orion_plan *plan = orion_runner_plan(r);
  assert_true(plan->n_parts > 2);
  size_t links = 0;
  for (size_t p = 0; p < plan->n_parts; p++) {
    for (size_t i = 0; i < plan->parts[p].n_ports; i++) {
      const orion_port *port = &plan->parts[p].ports[i];
      if (port->arrangement != ORION_OPAQUE) continue;
      orion_tensor *t = orion_runner_tensor(r, port->logical);
      assert_non_null(t);
      assert_null(orion_runner_next(r, t));
      links++;
    }
  }
  assert_true(links >= 2 * (plan->n_parts - 1));
  assert_ok(orion_runner_run(r, &err), &err);
  orion_runner_destroy(r);
  orion_device_close(d);
  orion_model_close(m);
}

static orion_status create_two(void *ctx, const orion_allocator *a, orion_error *err) {
  (void)ctx;
  orion_config c = test_config(TEST_LLAMA, 64);
  c.layers = 1;
  orion_model *m = NULL;
  orion_device *d = NULL;
  orion_runner *first = NULL, *second = NULL;
  orion_plan *plan;
  orion_status status = orion_model_random(a, &c, 1, &m, err);
  if (status == ORION_OK) status = orion_device_open("sim:ideal", 1, a, &d, err);
  if (status == ORION_OK) status = lower(m, ORION_GRAPH_BODY, 32, 30000, &plan, err);
  if (status == ORION_OK) status = orion_runner_create(d, plan, NULL, &first, err);  // takes the plan over
  if (status == ORION_OK) status = lower(m, ORION_GRAPH_HEAD, 32, SIZE_MAX, &plan, err);
  if (status == ORION_OK) status = orion_runner_create(d, plan, first, &second, err);
  if (status == ORION_OK) status = orion_runner_run(first, err);
  orion_runner_destroy(second);
  orion_runner_destroy(first);
  orion_device_close(d);
  orion_model_close(m);
  return status;
}

static void runners_survive_the_lack_of_memory(void **state) {
  (void)state;
  test_sweep_allocations(create_two, NULL, 60);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equal_values_share_surfaces_with_the_runner_beside),
      cmocka_unit_test(parts_hand_values_on_in_one_surface),
      cmocka_unit_test(runners_survive_the_lack_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
