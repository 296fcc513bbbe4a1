// Prints docs/rules.md ("rules") or docs/limits.md ("limits") from the rows of the catalogue and the limits of the
// families. A test compares the committed pages with what this prints; to renew them:
//   for page in rules limits; do build/dev/tests/target/print_rules $page > docs/$page.md; done
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "target/target.h"

static const char *const kinds[] = {"No harm", "Compiling fails", "Loading fails", "Running fails", "Silently wrong",
                                    "The process dies", "Speed", "A budget of the process"};

static const struct { char letter; const char *title; } groups[] = {
    {'C', "The catalogue: the paper's twenty, and what grew around it"}, {'L', "Limits of shapes and programs"},
    {'S', "Surfaces"}, {'D', "The dialect"}, {'X', "The whole system"}};

// The anchor of a heading.
static const char *anchor(const orion_rule *r) {
  static char text[64];
  size_t n = 0;
  for (; r->name[n] && n < sizeof text - 1; n++) text[n] = (char)tolower((unsigned char)r->name[n]);
  text[n] = 0;
  return text;
}

static void print_families(unsigned families) {
  if (families == ORION_FAMILIES) {
    printf("all");
    return;
  }
  const char *joint = "";
  for (int i = 0; i < 6; i++) {
    if (!(families >> i & 1)) continue;
    printf("%sm%d", joint, i + 1);
    joint = ", ";
  }
}

static void print_rule(const orion_rule *r) {
  char statement[1024];
  orion_rule_statement(r, NULL, statement, sizeof statement);
  printf("\n### %s\n\n%s. On ", r->name, r->title);
  print_families(r->families);
  printf(": **%s**.", statement);
  if (r->reported) printf(" Reported instead: %s.", r->reported);
  printf("\n- evidence, %s: %s", orion_certainty_name(r->certainty), r->sources);
  if (r->against) printf("; against it: %s", r->against);
  if (r->os) printf("; systems: %s", r->os);
  printf("\n- when broken: %s", kinds[r->symptom]);
  if (r->status) printf(" (status 0x%x)", (unsigned)r->status);
  if (r->way_out) printf("; way out: %s", r->way_out);
  const char *check = !r->fatal ? "warning" : r->fatal == ORION_FAMILIES ? "error" : "error on these families";
  if (!r->check && r->play == ORION_PLAY_NONE && !r->probe) {
    printf("\n");
    return;
  }
  printf("\n- `orion check`: %s; simulated: ", r->check ? check : "no");
  if (r->play == ORION_PLAY_NONE) {
    printf("%s", r->played ? r->played : "no");
  } else {
    printf("%s%s%s", orion_play_name(r->play), r->played ? ", " : "", r->played ? r->played : "");
  }
  printf("; probe: %s%s%s\n", r->probe ? "`" : "", r->probe ? r->probe : "none", r->probe ? "`" : "");
}

static void print_summary(void) {
  printf("| rule | what | when broken | certainty | check | simulated | probe |\n|---|---|---|---|---|---|---|\n");
  for (int i = 0; i < ORION_RULES; i++) {
    const orion_rule *r = orion_rule_row((orion_rule_id)i);
    printf("| [%s](#%s) | %s | %s | %s | %s | %s | %s |\n", r->id, anchor(r), r->title, kinds[r->symptom],
           orion_certainty_name(r->certainty), r->check ? r->fatal ? "error" : "warning" : "",
           r->play == ORION_PLAY_NONE ? "" : orion_play_name(r->play), r->probe ? r->probe : "");
  }
}

static void print_rules(void) {
  printf(
      "# Rules of the engine\n\n"
      "What is known of the Neural Engine, one row per rule. `orion check` explains from these rows, the simulated engine\n"
      "plays them (`sim:m4`; `sim:m4,off=C07+C09` plays those two as if they did not hold), `orion probe` asks a device about\n"
      "them. Printed from `src/target/rules.inc`; the numbers are those of [limits](limits.md).\n\n"
      "None of them has been measured by this project on hardware yet. Each says how sure it is: *solid* (several sources, none\n"
      "against), *plausible* (one good source, or a mechanism that explains what was seen), *doubtful* (reported, but the cause\n"
      "given is probably another), *contradicted* (sources say the opposite of each other; the statement is our reading).\n"
      "C01 to C20 have the numbers of Orion's paper (arXiv 2603.06728).\n\n");
  print_summary();
  for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
    printf("\n## %s\n", groups[g].title);
    for (int i = 0; i < ORION_RULES; i++) {
      const orion_rule *r = orion_rule_row((orion_rule_id)i);
      if (r->id[0] == groups[g].letter) print_rule(r);
    }
  }
}

static void print_limit(const orion_limit *l) {
  printf("| `%s` | %s |", l->name, l->meaning);
  for (const char *const *name = orion_target_names(); *name; name++) {
    char text[40];
    const orion_target *t = orion_target_find(*name);
    if (!t->ane) continue;
    orion_limit_text(l, t, text, sizeof text);
    printf(" %s |", text);
  }
  const char *joint = " ";
  for (int i = 0; i < ORION_RULES; i++) {
    const orion_rule *r = orion_rule_row((orion_rule_id)i);
    if (!r->limit || r->limit != l->offset) continue;
    printf("%s[%s](rules.md#%s)", joint, r->id, anchor(r));
    joint = ", ";
  }
  printf(" |\n");
}

static void print_limits(void) {
  printf(
      "# Limits of the engine\n\n"
      "The numbers of the chip families, which lowering keeps to, `orion check --target m1` to `m6` holds programs against, the\n"
      "simulated engine enforces and the model of costs reckons with. Printed from `src/target/limits.inc`. Their evidence\n"
      "stands with the [rules](rules.md) in the last column. None of them has been measured by this project on hardware yet;\n"
      "`orion probe --update-target FILE.json` writes a target with measured ones, which `--target FILE.json` and\n"
      "`sim:m4,target=FILE.json` then use.\n\n"
      "| limit | what it is | m1 | m2 | m3 | m4 | m5 | m6 | rules |\n|---|---|---|---|---|---|---|---|---|\n");
  size_t n;
  const orion_limit *l = orion_limits(&n);
  for (size_t i = 0; i < n; i++) print_limit(&l[i]);
  printf(
      "\n`orion check` reports an **error** where the program would not run on the target, a **warning** where it is slower, or\n"
      "goes wrong only if the caller does not know:\n\n| rule | finding | says | way out |\n|---|---|---|---|\n");
  for (int i = 0; i < ORION_RULES; i++) {
    const orion_rule *r = orion_rule_row((orion_rule_id)i);
    if (!r->check) continue;
    char statement[1024];
    orion_rule_statement(r, NULL, statement, sizeof statement);
    printf("| [`%s`](rules.md#%s) | ", r->name, anchor(r));
    printf(r->fatal == ORION_FAMILIES ? "error" : r->fatal ? "error on " : "warning");
    if (r->fatal && r->fatal != ORION_FAMILIES) print_families(r->fatal);
    if (r->elsewhere) printf(", else a warning");
    printf(" | %s | %s |\n", statement, r->way_out);
  }
}

int main(int argc, char **argv) {
  bool limits = argc > 1 && strcmp(argv[1], "limits") == 0;
  (limits ? print_limits : print_rules)();
  return 0;
}
