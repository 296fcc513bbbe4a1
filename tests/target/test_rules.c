// The rows of the catalogue: complete, found by their names, with the numbers of the families put in.
#include "support/support.h"
#include "target/target.h"

static void every_row_is_complete(void **state) {
  (void)state;
  for (int i = 0; i < ORION_RULES; i++) {
    const orion_rule *r = orion_rule_row((orion_rule_id)i);
    if (!r->id || !r->name || !r->title || !r->statement || !r->sources) fail_msg("row %d lacks a text", i);
    if (strncmp(r->name, r->id, strlen(r->id)) != 0 || r->name[strlen(r->id)] != '-') fail_msg("%s: name %s", r->id, r->name);
    if (!r->families || (r->families & ~(unsigned)ORION_FAMILIES)) fail_msg("%s: families %u", r->id, r->families);
    if (r->fatal & ~r->families) fail_msg("%s: stops families that it does not hold for", r->id);
    if ((r->scope != ORION_SCOPE_NONE) != (r->check != NULL)) fail_msg("%s: scope without check or the reverse", r->id);
    if (r->check && !r->way_out) fail_msg("%s: no way out", r->id);
    if ((r->play != ORION_PLAY_NONE) && !r->played && r->play != ORION_PLAY_NUMBERS) fail_msg("%s: played how?", r->id);
    bool hole = strstr(r->statement, "{n}") != NULL;
    if (hole != (r->limit != 0)) fail_msg("%s: a number without {n} or the reverse", r->id);
    if (r->limit && !orion_limit_at(r->limit)) fail_msg("%s: no limit at %u", r->id, r->limit);
    // Rows of one certainty stand on something: who contradicts is named.
    if (r->certainty == ORION_CERTAINTY_CONTRADICTED && !r->against) fail_msg("%s: contradicted by whom?", r->id);
  }
}

static void rows_are_found_by_id_and_by_name(void **state) {
  (void)state;
  for (int i = 0; i < ORION_RULES; i++) {
    const orion_rule *r = orion_rule_row((orion_rule_id)i);
    assert_int_equal(orion_rule_find(r->id), i);
    assert_int_equal(orion_rule_find(r->name), i);
  }
  assert_int_equal(orion_rule_find("C07"), ORION_RULE_C07);
  assert_int_equal(orion_rule_find("C7"), ORION_RULES);
  assert_int_equal(orion_rule_find(""), ORION_RULES);
}

static void the_whole_catalogue_is_here(void **state) {
  (void)state;
  for (int n = 1; n <= 44; n++) {
    char id[8];
    snprintf(id, sizeof id, "C%02d", n);
    if (orion_rule_find(id) == ORION_RULES) fail_msg("%s is missing", id);
    if (n <= 20 && !orion_rule_row(orion_rule_find(id))->probe) fail_msg("%s has no probe", id);
  }
}

static void statements_carry_the_numbers_of_their_family(void **state) {
  (void)state;
  char text[512];
  const orion_rule *axis = orion_rule_row(ORION_RULE_L04);
  orion_rule_statement(axis, orion_target_find("m1"), text, sizeof text);
  assert_string_equal(text, "width and height are at most 16,384");
  orion_rule_statement(axis, NULL, text, sizeof text);
  assert_string_equal(text, "width and height are at most 16,384 (m1 to m3) or 65,536 (m4 to m6)");
  orion_rule_statement(orion_rule_row(ORION_RULE_L08), NULL, text, sizeof text);
  assert_string_equal(text, "the constants of one program take at most 1,536 MiB");
  orion_rule_statement(orion_rule_row(ORION_RULE_C29), NULL, text, sizeof text);
  assert_string_equal(text, "a run costs 200 (m1), 150 (m2), 120 (m3), 95 (m4), 70 (m5) or 130 (m6) microseconds whatever "
                            "it computes");
  char tight[8];
  orion_rule_statement(axis, NULL, tight, sizeof tight);
  assert_string_equal(tight, "width a");
}

static void limits_are_read_and_set_by_name(void **state) {
  (void)state;
  orion_target t = *orion_target_find("m4");
  size_t n;
  const orion_limit *l = orion_limits(&n);
  assert_true(n > 20);
  for (size_t i = 0; i < n; i++) {
    assert_ptr_equal(orion_limit_find(l[i].name), &l[i]);
    assert_ptr_equal(orion_limit_at(l[i].offset), &l[i]);
    double was = orion_limit_get(&l[i], &t);
    orion_limit_set(&l[i], &t, was + 1);
    assert_true(orion_limit_get(&l[i], &t) == was + 1);
  }
  assert_int_equal(t.max_axis, 65537);
  orion_limit_set(orion_limit_find("max_blob_files"), &t, 1e300);
  assert_int_equal(t.max_blob_files, INT32_MAX);
  assert_null(orion_limit_find("max"));
  assert_null(orion_limit_at(0));
}

static void codes_of_the_engine_name_their_likely_rule(void **state) {
  (void)state;
  assert_int_equal(orion_rule_of_status(ORION_SYMPTOM_RUN, 0x1d), ORION_RULE_C04);
  assert_int_equal(orion_rule_of_status(ORION_SYMPTOM_LOAD, 0x50004), ORION_RULE_C40);
  assert_int_equal(orion_rule_of_status(ORION_SYMPTOM_RUN, 0x77), ORION_RULES);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_row_is_complete),
      cmocka_unit_test(rows_are_found_by_id_and_by_name),
      cmocka_unit_test(the_whole_catalogue_is_here),
      cmocka_unit_test(statements_carry_the_numbers_of_their_family),
      cmocka_unit_test(limits_are_read_and_set_by_name),
      cmocka_unit_test(codes_of_the_engine_name_their_likely_rule),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
