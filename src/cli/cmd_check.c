// orion check: everything wrong with a program, and everything that a target would refuse, each with its place, the
// evidence and the way out. Exit 4 if any of it would stop the program, 3 if its blob files are missing or malformed.
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "mil/bind.h"
#include "target/target.h"

static const cli_option options[] = {
    {"target", 0, CLI_TEXT, "T", "m1 to m6, cpu, or FILE.json of orion probe; default cpu: types, shapes and constants only", false},
    {"blobs", 0, CLI_TEXT, "DIR", "where @model_path is; default: beside the text", false},
    {0},
};

// What stands behind a rule of the catalogue, in one line; "" for the verifier's own.
static const char *evidence(const orion_finding *f, char *out, size_t size) {
  orion_rule_id id = orion_rule_find(f->rule);
  out[0] = 0;
  if (id == ORION_RULES) return out;
  const orion_rule *r = orion_rule_row(id);
  snprintf(out, size, "%s: %s%s%s", orion_certainty_name(r->certainty), r->sources, r->against ? "; against it: " : "",
           r->against ? r->against : "");
  return out;
}

static json_t *finding_json(const orion_finding *f, const orion_function *fn) {
  char text[1024];
  const char *op = f->op != ORION_NONE && fn ? fn->ops[f->op].spelling : NULL;
  return json_pack("{s:s, s:s, s:I, s:I, s:s?, s:s?, s:s, s:s, s:s?}", "rule", f->rule, "severity",
                   f->fatal ? "error" : "warning", "line", (json_int_t)f->loc.line, "column", (json_int_t)f->loc.column,
                   "op", op, "value", f->value, "message", f->message, "evidence", evidence(f, text, sizeof text),
                   "way_out", f->way_out);
}

static void print_finding(const char *path, const orion_finding *f, const orion_function *fn) {
  const char *op = f->op != ORION_NONE && fn ? fn->ops[f->op].spelling : NULL;
  printf("%s:%u:%u: %s [%s] ", path, f->loc.line, f->loc.column, f->fatal ? "error" : "warning", f->rule);
  if (op) printf("%s: ", op);
  if (f->value) printf("%s: ", f->value);
  printf("%s", f->message);
  if (f->way_out) printf(" (%s)", f->way_out);
  putchar('\n');
  char text[1024];
  if (*evidence(f, text, sizeof text)) printf("    evidence: %s\n", text);
}

// What the device would say; where none was asked for, what cpu lacks is worth knowing but stops nothing.
static orion_status add_device(const cli_args *a, orion_program *p, orion_findings *list, orion_error *err) {
  bool asked = cli_flag(a, "device");
  orion_device *device;
  ORION_TRY(orion_device_open(cli_text(a, "device", "cpu"), 1, NULL, &device, err));
  size_t first = list->n;
  orion_status status = orion_device_supports(device, p, list, err);
  for (size_t i = first; i < list->n && !asked; i++) list->items[i].fatal = false;
  orion_device_close(device);
  return status;
}

static orion_status collect(const cli_args *a, orion_program *p, const orion_target *t, orion_findings *list,
                            size_t *out_blobs, orion_error *err) {
  ORION_TRY(orion_verify(p, list, err));
  if (!orion_findings_fatal(list)) {  // what follows takes a sound program for granted
    ORION_TRY(orion_target_check(t, p, list, err));
    if (!t->ane || cli_flag(a, "device")) ORION_TRY(add_device(a, p, list, err));
  } else {
    ORION_TRY(orion_target_check_unsound(t, p, list, err));
  }
  *out_blobs = list->n;  // the first finding about blob files
  return orion_mil_check_blobs(p, a->rest[0], cli_text(a, "blobs", NULL), true, list, err);
}

static orion_status report(const cli_args *a, orion_program *p, const orion_target *t, const orion_findings *list,
                           size_t blobs, orion_error *err) {
  size_t fatal = 0;
  json_t *findings = json_array();
  for (size_t i = 0; i < list->n; i++) {
    const orion_finding *f = &list->items[i];
    const orion_function *fn = f->function ? orion_program_function(p, f->function) : NULL;
    fatal += f->fatal;
    if (a->json) {
      json_array_append_new(findings, finding_json(f, fn));
    } else {
      print_finding(a->rest[0], f, fn);
    }
  }
  if (a->json) {
    cli_print_json(json_pack("{s:s, s:o, s:b}", "target", t->name, "findings", findings, "ok", fatal == 0));
  } else {
    json_decref(findings);
    if (list->n == 0) printf("%s: nothing to say for %s\n", a->rest[0], t->name);
  }
  if (!fatal) return ORION_OK;
  if (blobs < list->n && fatal == list->n - blobs) {
    return ORION_FAIL(err, ORION_FORMAT, "%s:%u:%u: %s", a->rest[0], list->items[blobs].loc.line,
                      list->items[blobs].loc.column, list->items[blobs].message);
  }
  const char *where = t->ane ? t->name : cli_text(a, "device", t->name);
  return ORION_FAIL(err, ORION_REFUSED, "%s: %zu finding%s would stop it on %s (listed on standard output)", a->rest[0],
                    fatal, fatal == 1 ? "" : "s", where);
}

static orion_status run(const cli_args *a, orion_error *err) {
  const char *name = cli_text(a, "target", "cpu");
  orion_target measured;
  const orion_target *t;
  ORION_TRY(orion_target_open(NULL, name, &measured, &t, err));
  orion_program *p;
  orion_mil_open_options unbound = {.unbound = true, .blobs = cli_text(a, "blobs", NULL)};
  ORION_TRY(orion_mil_open(NULL, a->rest[0], &unbound, &p, err));
  orion_findings list;
  orion_findings_init(&list, NULL);
  size_t blobs = 0;
  orion_status status = collect(a, p, t, &list, &blobs, err);
  if (status == ORION_OK) status = report(a, p, t, &list, blobs, err);
  orion_findings_deinit(&list);
  orion_program_destroy(p);
  return status;
}

const cli_command cli_command_check = {
    "check", "FILE.mil", "Say what is wrong with a program, or what a target would refuse.",
    "orion check model.mil --target m1 --json", options, 1, 1, run};
