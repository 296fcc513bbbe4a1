// Probes of the simulated engine agree with the catalogue; with one rule switched off, the probe of that rule and no
// other disagrees. So each probe sees its rule, and nothing but its rule.
#include "probe/probe.h"
#include "support/support.h"

// Probes of a hundred compiles and of large weights: asked beside rules of their own kind one by one, beside all others at
// once. Every other probe is asked beside every other rule.
typedef enum kind { PLAIN, BUDGET, COSTS } kind;

static kind kind_of(orion_rule_id rule) {
  switch (rule) {
    case ORION_RULE_C05: case ORION_RULE_C27: case ORION_RULE_C40: return BUDGET;
    case ORION_RULE_C17: case ORION_RULE_C28: case ORION_RULE_C33: case ORION_RULE_L19: case ORION_RULE_X04: case ORION_RULE_X07:
      return COSTS;
    default: return PLAIN;
  }
}

static const char *family_of(const orion_rule *r) { return orion_rule_holds(r, "m4") ? "m4" : "m1"; }

static orion_verdict ask(const char *device, orion_rule_id rule, orion_probe_result *out) {
  orion_error err = {0};
  assert_ok(orion_probe(device, 1, rule, NULL, out, &err), &err);
  assert_string_not_equal(out->expected, "");
  return out->verdict;
}

static void every_probe_agrees(const char *device) {
  orion_probe_result x;
  int asked = 0;
  for (int i = 0; i < ORION_RULES; i++) {
    if (!orion_probe_exists((orion_rule_id)i)) continue;
    asked++;
    if (ask(device, (orion_rule_id)i, &x) == ORION_VERDICT_AGREES) continue;
    fail_msg("%s: %s: %s (want %s) %s", device, orion_rule_row((orion_rule_id)i)->id, x.observed, x.expected, x.note);
  }
  assert_true(asked >= 60);
}

static void the_simulated_m4_agrees_with_the_catalogue(void **state) { every_probe_agrees("sim:m4"); }
static void the_simulated_m1_agrees_with_the_catalogue(void **state) { every_probe_agrees("sim:m1"); }
static void a_faithful_m5_agrees_with_the_catalogue(void **state) { every_probe_agrees("sim:m5,mode=faithful"); }

static void rows_and_probes_know_each_other(void **state) {
  (void)state;
  for (int i = 0; i < ORION_RULES; i++) {
    const orion_rule *r = orion_rule_row((orion_rule_id)i);
    if ((r->probe != NULL) != orion_probe_exists((orion_rule_id)i)) fail_msg("%s: a probe without a name or the reverse", r->id);
    if (i <= ORION_RULE_C20 && !r->probe) fail_msg("%s: each of the paper's twenty has a probe", r->id);
  }
}

static void others_do_not_disagree(const char *device, orion_rule_id off) {
  orion_probe_result x;
  for (int k = 0; k < ORION_RULES; k++) {
    orion_rule_id other = (orion_rule_id)k;
    if (other == off || !orion_probe_exists(other) || (kind_of(other) != PLAIN && kind_of(other) != kind_of(off))) continue;
    if (ask(device, other, &x) != ORION_VERDICT_DISAGREES) continue;
    fail_msg("%s: %s disagrees too: %s (want %s)", device, orion_rule_row(other)->id, x.observed, x.expected);
  }
}

static void a_rule_that_is_off_is_missed_by_its_probe_alone(void **state) {
  (void)state;
  int played = 0;
  for (int i = 0; i < ORION_RULES; i++) {
    const orion_rule *r = orion_rule_row((orion_rule_id)i);
    char device[64];
    orion_probe_result x;
    if (!r->probe || r->play == ORION_PLAY_NONE) continue;
    snprintf(device, sizeof device, "sim:%s,off=%s", family_of(r), r->id);
    if (ask(device, (orion_rule_id)i, &x) != ORION_VERDICT_DISAGREES) {
      fail_msg("%s: its probe still says: %s %s", device, x.observed, x.note);
    }
    others_do_not_disagree(device, (orion_rule_id)i);
    played++;
  }
  assert_true(played >= 50);
}

static void long_probes_miss_nothing_of_other_kinds(void **state) {
  (void)state;
  for (kind k = BUDGET; k <= COSTS; k++) {
    char device[512] = "sim:m4,off=";
    size_t used = strlen(device);
    for (int i = 0; i < ORION_RULES; i++) {
      const orion_rule *r = orion_rule_row((orion_rule_id)i);
      if (!r->probe || r->play == ORION_PLAY_NONE || kind_of((orion_rule_id)i) == k) continue;
      used += (size_t)snprintf(device + used, sizeof device - used, "%s%s", device[used - 1] == '=' ? "" : "+", r->id);
    }
    assert_true(used < sizeof device);
    for (int i = 0; i < ORION_RULES; i++) {
      orion_probe_result x;
      if (kind_of((orion_rule_id)i) != k || ask(device, (orion_rule_id)i, &x) != ORION_VERDICT_DISAGREES) continue;
      fail_msg("%s: %s disagrees too: %s (want %s)", device, orion_rule_row((orion_rule_id)i)->id, x.observed, x.expected);
    }
  }
}

static void devices_that_are_no_engine_are_refused(void **state) {
  (void)state;
  orion_error err = {0};
  orion_probe_result x;
  assert_int_equal(orion_probe("cpu", 1, ORION_RULE_C01, NULL, &x, &err), ORION_UNSUPPORTED);
  assert_int_equal(orion_probe("sim:ideal", 1, ORION_RULE_C01, NULL, &x, &err), ORION_UNSUPPORTED);
  assert_int_equal(orion_probe("sim:m4", 1, ORION_RULE_C34, NULL, &x, &err), ORION_NOT_FOUND);
  bool keeps_time;
  assert_null(orion_probe_family("cpu", &keeps_time, &err));
  assert_int_equal(err.code, ORION_UNSUPPORTED);
}

static void what_is_measured_has_a_limits_name(void **state) {
  (void)state;
  static const struct { orion_rule_id rule; const char *limit; double value, within; } rows[] = {
      {ORION_RULE_C05, "compile_budget", 119, 0}, {ORION_RULE_C40, "load_slots", 127, 0},  {ORION_RULE_C29, "dispatch_us", 95, 1},
      {ORION_RULE_X04, "fp16_tflops", 18.6, 0.5}, {ORION_RULE_X07, "weight_gb_s", 64, 2}, {ORION_RULE_C17, "conv_speedup", 3, 0.1},
      {ORION_RULE_S01, "row_bytes", 64, 0},       {ORION_RULE_C15, "restart_ms", 50, 0.1}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    orion_probe_result x;
    ask("sim:m4", rows[i].rule, &x);
    assert_non_null(x.limit);
    assert_string_equal(x.limit, rows[i].limit);
    assert_non_null(orion_limit_find(x.limit));
    if (x.value < rows[i].value - rows[i].within || x.value > rows[i].value + rows[i].within) fail_msg("%s: %g", x.limit, x.value);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_and_probes_know_each_other),
      cmocka_unit_test(the_simulated_m4_agrees_with_the_catalogue),
      cmocka_unit_test(the_simulated_m1_agrees_with_the_catalogue),
      cmocka_unit_test(a_faithful_m5_agrees_with_the_catalogue),
      cmocka_unit_test(a_rule_that_is_off_is_missed_by_its_probe_alone),
      cmocka_unit_test(long_probes_miss_nothing_of_other_kinds),
      cmocka_unit_test(devices_that_are_no_engine_are_refused),
      cmocka_unit_test(what_is_measured_has_a_limits_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
