// One probe from beginning to end: opens the device, asks, judges.
#include "probe/probe.h"

#include <stdio.h>
#include <string.h>

#include "probe/prober.h"

static const probe_row *find(orion_rule_id rule, bool *out_timed) {
  static const probe_row *(*const groups[])(size_t *) = {probe_compile_rows, probe_request_rows, probe_number_rows,
                                                        probe_process_rows, probe_swap_rows, probe_time_rows};
  for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
    size_t n;
    const probe_row *rows = groups[g](&n);
    for (size_t i = 0; i < n; i++) {
      if (rows[i].rule != rule) continue;
      if (out_timed) *out_timed = groups[g] == probe_time_rows;
      return &rows[i];
    }
  }
  return NULL;
}

bool orion_probe_exists(orion_rule_id rule) { return find(rule, NULL) != NULL; }

bool orion_probe_is_destructive(orion_rule_id rule) {
  const probe_row *row = find(rule, NULL);
  return row && row->destructive;
}

static bool keeps_time(const orion_device *d) {
  const orion_raw_vtable *raw = d->vtable->raw;
  return !raw || !raw->keeps_time || raw->keeps_time(d);
}

const orion_target *orion_probe_family(const char *device, bool *out_keeps_time, orion_error *err) {
  orion_device *d;
  if (orion_device_open(device, 1, NULL, &d, err) != ORION_OK) return NULL;
  orion_device_info info;
  orion_device_describe(d, &info);
  const orion_target *t = orion_target_find(info.family);
  *out_keeps_time = keeps_time(d);
  orion_device_close(d);
  if (t && t->ane) return t;
  orion_error_set(err, ORION_UNSUPPORTED, __FILE__, __LINE__, "device %s: it is of none of the families m1 to m6", device);
  return NULL;
}

static void judge(prober *p, bool holds) {
  orion_probe_result *out = p->out;
  const orion_rule *r = orion_rule_row(p->rule);
  bool expected = orion_rule_holds(r, p->t->name);
  char statement[512];
  orion_rule_statement(r, p->t, statement, sizeof statement);
  snprintf(out->expected, sizeof out->expected, "%s%.200s", expected ? "" : "not on this family: ", statement);
  out->verdict = p->unclear ? ORION_VERDICT_UNCLEAR : holds == expected ? ORION_VERDICT_AGREES : ORION_VERDICT_DISAGREES;
}

orion_status orion_probe(const char *device, int threads, orion_rule_id rule, const orion_target *family,
                         orion_probe_result *out, orion_error *err) {
  bool timed = false;
  const probe_row *row = find(rule, &timed);
  *out = (orion_probe_result){.rule = rule, .verdict = ORION_VERDICT_SKIPPED};
  if (!row) return ORION_FAIL(err, ORION_NOT_FOUND, "probe: rule %s has none", orion_rule_row(rule)->id);
  orion_device *d;
  ORION_TRY(orion_device_open(device, threads, NULL, &d, err));
  orion_device_info info;
  orion_device_describe(d, &info);
  prober p = {.d = d, .raw = d->vtable->raw, .t = family ? family : orion_target_find(info.family), .rule = rule,
              .keeps_time = keeps_time(d), .names_rules = strcmp(info.name, "sim") == 0, .out = out, .err = err};
  if (!p.raw || !p.t || !p.t->ane) {
    orion_device_close(d);
    return ORION_FAIL(err, ORION_UNSUPPORTED, "device %s: it is no engine that can be asked (want ane, sim:m1 to sim:m6)",
                      device);
  }
  orion_arena_init(&p.arena, NULL);
  bool asked = !timed || p.keeps_time, holds = asked && row->ask(&p);
  if (!asked) probe_note(&p, "not measurable here: this device's times are not an engine's");
  if (p.status == ORION_OK) judge(&p, holds);
  orion_arena_deinit(&p.arena);
  orion_device_close(d);
  return p.status;
}
