// The questions of `orion probe` through the bridge, to the stand-in: all of them agree with the catalogue, or stay open
// where only an engine's clock could answer; with one rule switched off behind the bridge, the probe of that rule and no
// other disagrees. Beside each rule every sixth of the others is asked, each time other ones; all of them where
// ORION_PROBE_FULL is set (half a minute).
#include "probe/probe.h"
#include "rig.h"

static bool is_timed(orion_rule_id rule) {
  return orion_rule_row(rule)->play == ORION_PLAY_TIME ? rule != ORION_RULE_C41 : rule == ORION_RULE_C33;
}

// An NSString for a text ends the process, as it should: tests/ane/test_cli.py asks that in a process of its own.
static bool ends_the_process(orion_rule_id rule) { return rule == ORION_RULE_C09; }

// A hundred compiles and loads: asked for themselves, and beside each other, but not beside every other rule.
static bool is_long(orion_rule_id rule) { return rule == ORION_RULE_C05 || rule == ORION_RULE_C27 || rule == ORION_RULE_C40; }

static orion_verdict ask(orion_rule_id rule, orion_probe_result *out) {
  orion_error err = {0};
  assert_ok(orion_probe("ane:route=a", 1, rule, NULL, out, &err), &err);
  assert_string_not_equal(out->expected, "");
  return out->verdict;
}

// Thousands of programs are compiled, each with its files: in memory, where that is a directory.
static void world_of(rig *r, const char *chip, const char *off) {
  char switches[64];
  if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
  snprintf(switches, sizeof switches, "chip=%s%s%s", chip, off ? ",off=" : "", off ? off : "");
  rig_world(r, switches);
}

static void all_agree(const char *chip) {
  rig r;
  orion_probe_result x;
  int agreed = 0;
  world_of(&r, chip, NULL);
  for (int i = 0; i < ORION_RULES; i++) {
    orion_rule_id id = (orion_rule_id)i;
    if (!orion_probe_exists(id) || ends_the_process(id)) continue;
    r.reset();  // budgets
    r.set("chip", chip);
    orion_verdict want = is_timed(id) ? ORION_VERDICT_UNCLEAR : ORION_VERDICT_AGREES;
    if (ask(id, &x) != want) fail_msg("%s: %s: %s (want %s) %s", chip, orion_rule_row(id)->id, x.observed, x.expected, x.note);
    if (is_timed(id)) assert_non_null(strstr(x.note, "not measurable"));
    agreed += x.verdict == ORION_VERDICT_AGREES;
  }
  assert_true(agreed >= 58);
  assert_int_equal(r.count("objects"), 0);
  rig_end(&r);
}

static void the_bridge_to_an_m4_agrees_with_the_catalogue(void **state) { all_agree("h16g"); }
static void the_bridge_to_an_m1_agrees_with_the_catalogue(void **state) { all_agree("h13"); }

static void others_do_not_disagree(rig *r, const char *chip, orion_rule_id off) {
  orion_probe_result x;
  const int step = getenv("ORION_PROBE_FULL") ? 1 : 6;
  for (int k = ((int)off + (int)off / step) % step; k < ORION_RULES; k += step) {
    orion_rule_id other = (orion_rule_id)k;
    if (other == off || !orion_probe_exists(other) || ends_the_process(other) || is_timed(other)) continue;
    if (is_long(other) && !is_long(off)) continue;
    r->reset();
    r->set("chip", chip);
    r->set("off", orion_rule_row(off)->id);
    if (ask(other, &x) != ORION_VERDICT_DISAGREES) continue;
    fail_msg("%s off: %s disagrees too: %s (want %s)", orion_rule_row(off)->id, orion_rule_row(other)->id, x.observed, x.expected);
  }
}

static void a_rule_that_is_off_is_missed_by_its_probe_alone(void **state) {
  int played = 0;
  for (int i = 0; i < ORION_RULES; i++) {
    orion_rule_id id = (orion_rule_id)i;
    const orion_rule *row = orion_rule_row(id);
    rig r;
    orion_probe_result x;
    if (!row->probe || row->play == ORION_PLAY_NONE || is_timed(id)) continue;
    const char *chip = orion_rule_holds(row, "m4") ? "h16g" : "h13";
    world_of(&r, chip, row->id);
    if (ask(id, &x) != ORION_VERDICT_DISAGREES) fail_msg("%s off: its probe still says: %s %s", row->id, x.observed, x.note);
    others_do_not_disagree(&r, chip, id);
    rig_end(&r);
    played++;
  }
  assert_true(played >= 48);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_bridge_to_an_m4_agrees_with_the_catalogue),
      cmocka_unit_test(the_bridge_to_an_m1_agrees_with_the_catalogue),
      cmocka_unit_test(a_rule_that_is_off_is_missed_by_its_probe_alone),
  };
  return cmocka_run_group_tests_name("ane probe", tests, NULL, NULL);
}
