// The rules of target/rules.h as the simulated engine plays them. A chip family opens in one of three modes:
//
//   strict    what the engine refuses is refused, and so is what it would compute wrongly without a word
//   faithful  what is silent on the engine goes wrong silently
//   numbers   the arithmetic alone: any program runs, no budgets
//
// and rules can be switched off one by one ("off=C07+C09"): a rule that is off is played as if its statement did not hold,
// so that for rows that say that something works, it does not. The ideal family plays none.
#ifndef ORION_DEVICE_SIM_RULES_H
#define ORION_DEVICE_SIM_RULES_H

#include "device/device.h"
#include "target/target.h"

typedef enum orion_sim_mode { ORION_SIM_STRICT, ORION_SIM_FAITHFUL, ORION_SIM_NUMBERS } orion_sim_mode;

typedef struct orion_sim_rules {
  const orion_target *target;   // NULL: the ideal family; the family's, or `measured`
  orion_target measured;        // of the option target=FILE.json (orion probe --update-target)
  orion_sim_mode mode;
  bool off[ORION_RULES];
  int budget;                   // of compiles, by the option; 0: by the target
  int compiles, loaded;         // of this device
} orion_sim_rules;

// Options "mode", "off", "target", and "compiles" (a budget of so many programs, for any family); errors name the rule that
// is not there.
orion_status orion_sim_rules_parse(const orion_allocator *a, const orion_device_options *o, const char *family,
                                   orion_sim_rules *out, orion_error *err);

bool orion_sim_rules_play(const orion_sim_rules *r, orion_rule_id id);  // the rule holds here
bool orion_sim_rules_off(const orion_sim_rules *r, orion_rule_id id);   // it would, and is switched off

// What the engine has against a program. Findings are fatal where they stop it in this mode.
orion_status orion_sim_rules_check(const orion_sim_rules *r, orion_program *p, orion_findings *out, orion_error *err);

// ORION_REFUSED with the rule's status, statement, way out and id.
orion_status orion_sim_rules_refuse(const orion_sim_rules *r, orion_rule_id id, orion_error *err);

int orion_sim_rules_budget(const orion_sim_rules *r);  // compiles of the process; 0: no end
// Counts a compile, and a load; refused where the budget of the process (here: of the device) or its slots are used up.
orion_status orion_sim_rules_compile(orion_sim_rules *r, orion_error *err);
orion_status orion_sim_rules_load(orion_sim_rules *r, orion_error *err);

// What a compiled operation does wrongly on the engine, or with a rule switched off.
typedef enum orion_sim_flaw {
  ORION_SIM_SOUND,
  ORION_SIM_NO_MASK,        // C06: attention without its mask
  ORION_SIM_FIRST_ELEMENT,  // D12: gather takes the first of the row for all
  ORION_SIM_NO_WEIGHTS,     // D20 off: a convolution by weights of zero
} orion_sim_flaw;
orion_sim_flaw orion_sim_rules_flaw(const orion_sim_rules *r, const orion_function *f, const orion_op *op);
// C39 off: is this value both returned and used?
bool orion_sim_rules_tapped(const orion_sim_rules *r, const orion_function *f, orion_value_id v);

// Seconds that the engine would take by the family's costs, for `orion probe`.
double orion_sim_rules_run_time(const orion_sim_rules *r, const orion_function *f);
double orion_sim_rules_compile_time(const orion_sim_rules *r, const orion_function *f);
double orion_sim_rules_restart_time(const orion_sim_rules *r);

#endif
