// The rows as an array, and what is asked of them.
#include "target/rules.h"

#include <stdio.h>
#include <string.h>

#include "target/check.h"

#define LIMIT(name) offsetof(orion_target, name)
#define CHECK(of, what) .scope = ORION_SCOPE_##of, .check = orion_check_##what,
#define FATAL(where) .fatal = where,

static const orion_rule rules[ORION_RULES] = {
#define ORION_RULE(code, text, ...) [ORION_RULE_##code] = {.id = #code, .name = text, __VA_ARGS__},
#include "target/rules.inc"
#undef ORION_RULE
};

const orion_rule *orion_rule_row(orion_rule_id id) { return &rules[id]; }

orion_rule_id orion_rule_find(const char *name) {
  for (int i = 0; i < ORION_RULES; i++) {
    if (strcmp(rules[i].id, name) == 0 || strcmp(rules[i].name, name) == 0) return (orion_rule_id)i;
  }
  return ORION_RULES;
}

// Where several rules share a code, the one that explains most of what was reported under it.
orion_rule_id orion_rule_of_status(orion_symptom symptom, uint32_t status) {
  switch (symptom) {
    case ORION_SYMPTOM_RUN:
      return status == ORION_STATUS_INFERENCE       ? ORION_RULE_C04
             : status == ORION_STATUS_BAD_PROCEDURE ? ORION_RULE_X17
             : status == ORION_STATUS_BAD_REQUEST   ? ORION_RULE_L09
                                                    : ORION_RULES;
    case ORION_SYMPTOM_LOAD:
      return status == ORION_STATUS_NO_SLOT ? ORION_RULE_C40 : status == ORION_STATUS_TOO_BIG ? ORION_RULE_L08 : ORION_RULES;
    default: return ORION_RULES;
  }
}

static const char *const certainties[ORION_CERTAINTIES] = {"solid", "plausible", "doubtful", "contradicted"};
static const char *const plays[ORION_PLAYS] = {"none", "compile", "load", "run", "silent", "crash", "time", "numbers"};

const char *orion_certainty_name(orion_certainty c) { return certainties[c]; }
const char *orion_play_name(orion_play p) { return plays[p]; }

// ---- statements with their numbers ----

typedef struct number {
  char text[40];
  unsigned families;
} number;

// The numbers of a limit by family, equal neighbours together.
static int numbers_of(const orion_rule *r, const orion_limit *l, number out[6]) {
  int n = 0;
  for (int i = 0; i < 6; i++) {
    if (!(r->families >> i & 1)) continue;
    number now = {.families = 1u << i};
    orion_limit_text(l, orion_target_find((const char[]){'m', (char)('1' + i), 0}), now.text, sizeof now.text);
    if (n && strcmp(out[n - 1].text, now.text) == 0) {
      out[n - 1].families |= now.families;
    } else {
      out[n++] = now;
    }
  }
  return n;
}

static void family_range(unsigned families, char *out, size_t size) {
  int first = 0, last = 5;
  while (!(families >> first & 1)) first++;
  while (!(families >> last & 1)) last--;
  if (first == last) {
    snprintf(out, size, "m%c", (char)('1' + first));
  } else {
    snprintf(out, size, "m%c to m%c", (char)('1' + first), (char)('1' + last));
  }
}

static void number_text(const orion_rule *r, const orion_target *t, char *out, size_t size) {
  const orion_limit *l = orion_limit_at(r->limit);
  if (t) {
    orion_limit_text(l, t, out, size);
    return;
  }
  number list[6];
  int n = numbers_of(r, l, list);
  size_t used = 0;
  out[0] = 0;
  for (int i = 0; i < n && used < size; i++) {
    char range[16];
    family_range(list[i].families, range, sizeof range);
    const char *joint = i == 0 ? "" : i == n - 1 ? " or " : ", ";
    int wrote = n == 1 ? snprintf(out, size, "%s", list[0].text)
                       : snprintf(out + used, size - used, "%s%s (%s)", joint, list[i].text, range);
    used += (size_t)wrote;
  }
}

void orion_rule_statement(const orion_rule *r, const orion_target *t, char *out, size_t size) {
  const char *hole = r->limit ? strstr(r->statement, "{n}") : NULL;
  if (!hole) {
    snprintf(out, size, "%s", r->statement);
    return;
  }
  char text[256];
  number_text(r, t, text, sizeof text);
  snprintf(out, size, "%.*s%s%s", (int)(hole - r->statement), r->statement, text, hole + 3);
}
