// What the system says when it refuses, in our words. Its texts are short and its codes undocumented: the number that
// helps is often only in the text ("... Failed with status=0x1d : Program Inference error").
#include <stdlib.h>
#include <string.h>

#include "device/ane/ane.h"
#include "target/rules.h"

static const char *const stages[ORION_ANE_STAGES] = {
    [ORION_ANE_DESCRIBE] = "taking the program", [ORION_ANE_COMPILE] = "compiling", [ORION_ANE_LOAD] = "loading",
    [ORION_ANE_EVALUATE] = "running"};

// The rule behind a refusal, as far as its number or words tell. A compiler that fails without a word leaves the check.
static orion_rule_id rule_of(orion_ane_stage stage, int64_t status, const char *text) {
  switch (stage) {
    case ORION_ANE_COMPILE: return strstr(text, "InvalidMILProgram") ? ORION_RULE_C12 : ORION_RULES;
    case ORION_ANE_LOAD: return orion_rule_of_status(ORION_SYMPTOM_LOAD, (uint32_t)status);
    case ORION_ANE_EVALUATE: return orion_rule_of_status(ORION_SYMPTOM_RUN, (uint32_t)status);
    default: return ORION_RULES;
  }
}

// A program that is not taken is refused; whatever goes wrong with one that was is the device's failure.
static orion_status kind(orion_ane_stage stage) {
  return stage == ORION_ANE_COMPILE || stage == ORION_ANE_DESCRIBE ? ORION_REFUSED : ORION_DEVICE;
}

// Control characters would break the one line that an error is.
static void clean(char *text) {
  for (; *text; text++) {
    if ((unsigned char)*text < ' ') *text = ' ';
  }
}

static int64_t status_in(const char *text) {
  const char *at = strstr(text, "status=");
  if (at) return (int64_t)strtoull(at + strlen("status="), NULL, 0);
  at = strstr(text, "0x");
  return at ? (int64_t)strtoull(at, NULL, 16) : 0;
}

static orion_status report(orion_ane_stage stage, const char *what, const char *domain, int64_t code, const char *text,
                           int64_t status, orion_error *err) {
  orion_rule_id id = rule_of(stage, status, text);
  const orion_rule *rule = id == ORION_RULES ? NULL : orion_rule_row(id);
  if (!rule) {
    return ORION_FAIL(err, kind(stage), "ane: %s: %s failed: %s %lld: %s%s", what, stages[stage], domain, (long long)code, text,
                      stage == ORION_ANE_COMPILE ? " (orion check may know why)" : "");
  }
  return ORION_FAIL(err, kind(stage), "ane: %s: %s failed: %s %lld: %s (likely rule %s: %s%s%s)", what, stages[stage],
                    domain, (long long)code, text, rule->name, rule->title, rule->way_out ? "; " : "",
                    rule->way_out ? rule->way_out : "");
}

orion_status orion_ane_fail(const orion_ane_system *s, orion_ane_stage stage, const char *what, orion_cf error,
                            int64_t *out_status, orion_error *err) {
  char domain[128] = "no domain", text[512] = "no reason given";
  int64_t code = 0, status = 0;
  if (error) {
    orion_cf_text(s, s->f.CFErrorGetDomain(error), domain, sizeof domain);
    code = s->f.CFErrorGetCode(error);
    orion_cf description = s->f.CFErrorCopyDescription(error);
    orion_cf_text(s, description, text, sizeof text);
    orion_cf_release(s, description);
    clean(domain);
    clean(text);
    status = status_in(text);
  }
  if (out_status) *out_status = status;
  return report(stage, what, domain, code, text, status, err);
}

orion_status orion_ane_fail_status(orion_ane_stage stage, const char *what, int64_t status, const char *text,
                                   orion_error *err) {
  char copy[512];
  size_t n = text ? strlen(text) : 0;
  if (n >= sizeof copy) n = sizeof copy - 1;
  memcpy(copy, text ? text : "", n);
  copy[n] = 0;
  clean(copy);
  return report(stage, what, "e5rt", status, n ? copy : "no reason given", status, err);
}
