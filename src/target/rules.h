// What is known of the Neural Engine, as data: one row per rule (rules.inc), with its evidence, the chips it holds for,
// what breaks when it is broken, and the way out. The check explains from these rows, the simulated engine plays them,
// the bridge names them behind status codes, the probes ask real hardware about them, docs/rules.md is printed from them.
//
// A row states what we take for true, which the check, the simulator and the probes follow; `reported` is what a source
// said where that differs. Public sources contradict each other: `certainty`, `sources` and `against` say how much.
//
// Ids are stable: "C01" to "C20" by the numbers of Orion's paper (arXiv 2603.06728), "C21" to "C44" the rest of the
// catalogue that grew around it, "L" limits of shapes and programs, "S" surfaces, "D" the dialect, "X" of the whole
// system, mostly points on which sources contradict each other.
#ifndef ORION_TARGET_RULES_H
#define ORION_TARGET_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum orion_rule_id {
#define ORION_RULE(id, ...) ORION_RULE_##id,
#include "target/rules.inc"
#undef ORION_RULE
  ORION_RULES  // how many; also "none"
} orion_rule_id;

// What is seen when the rule is broken, or, where nothing can be broken, what it is about.
typedef enum orion_symptom {
  ORION_SYMPTOM_NONE,     // nothing goes wrong
  ORION_SYMPTOM_COMPILE,  // the compiler refuses the program
  ORION_SYMPTOM_LOAD,     // it compiles and does not load
  ORION_SYMPTOM_RUN,      // evaluation fails with a status
  ORION_SYMPTOM_SILENT,   // results are wrong without a word
  ORION_SYMPTOM_CRASH,    // the process dies
  ORION_SYMPTOM_SPEED,    // slower
  ORION_SYMPTOM_PROCESS,  // a budget of the process runs out
  ORION_SYMPTOMS
} orion_symptom;

typedef enum orion_certainty {
  ORION_CERTAINTY_SOLID,         // several sources, none against
  ORION_CERTAINTY_PLAUSIBLE,     // one good source, or a mechanism that explains what was seen
  ORION_CERTAINTY_DOUBTFUL,      // reported, but the cause given is probably another
  ORION_CERTAINTY_CONTRADICTED,  // sources say the opposite of each other
  ORION_CERTAINTIES
} orion_certainty;

// How the simulated engine plays a row. In mode "strict" what is silent on hardware is refused with the rule's id, in
// mode "faithful" it goes wrong as `played` says. A row that is switched off (`sim:m4,off=C07+C09`) is played as if its
// statement did not hold; for rows that say that something works, that is: it does not.
typedef enum orion_play {
  ORION_PLAY_NONE,     // not shown
  ORION_PLAY_COMPILE,  // refused when compiled
  ORION_PLAY_LOAD,     // refused when loaded, with the row's status
  ORION_PLAY_RUN,      // refused when run, with the row's status
  ORION_PLAY_SILENT,   // strict: refused; faithful: wrong results
  ORION_PLAY_CRASH,    // reported as the end of the process, which goes on
  ORION_PLAY_TIME,     // in the time that the model of costs gives
  ORION_PLAY_NUMBERS,  // in the arithmetic
  ORION_PLAYS
} orion_play;

enum {
  ORION_FAMILY_M1 = 1, ORION_FAMILY_M2 = 2, ORION_FAMILY_M3 = 4, ORION_FAMILY_M4 = 8, ORION_FAMILY_M5 = 16,
  ORION_FAMILY_M6 = 32, ORION_FAMILIES = 63
};

// Status codes of the private framework.
enum {
  ORION_STATUS_INFERENCE = 0x1d,     // evaluate: "Program Inference error"
  ORION_STATUS_BAD_PROCEDURE = 0x2,  // evaluate: a symbol or procedure that is not there
  ORION_STATUS_BAD_REQUEST = 0x16,   // evaluate: the request object
  ORION_STATUS_NO_SLOT = 0x50004,    // load: all slots of the process are taken
  ORION_STATUS_TOO_BIG = 0x20004,    // load: too large
  ORION_STATUS_COMPILE = 1,          // compile: "ANECCompile() FAILED" or "InvalidMILProgram"
};

struct orion_checker;

typedef struct orion_rule {
  const char *id;          // "C07": what `off=` and `orion_rule_find` take
  const char *name;        // "C07-weights-baked": what findings carry
  const char *title;       // a few words
  const char *statement;   // what we take for true; {n} stands for the family's number (`limit`)
  const char *reported;    // what a source says instead, or NULL
  unsigned families;       // ORION_FAMILY_*: for which it holds
  const char *os;          // systems that it was seen on, or NULL: not known to depend
  orion_symptom symptom;
  uint32_t status;         // code that comes with it, or 0
  orion_certainty certainty;
  const char *sources;
  const char *against;     // what speaks against it, or NULL
  const char *way_out;     // NULL: nothing to do
  unsigned limit;          // offset in orion_target of the number that it is about; 0: none
  // The static check, called for each place of `scope`; `fatal`: the families that a finding stops.
  enum { ORION_SCOPE_NONE, ORION_SCOPE_OP, ORION_SCOPE_VALUE, ORION_SCOPE_IO, ORION_SCOPE_FUNCTION } scope;
  void (*check)(struct orion_checker *c);
  unsigned fatal;
  unsigned elsewhere;      // families that it does not hold for and where the check warns all the same
  orion_play play;
  const char *played;      // what the simulator does, or NULL
  const char *probe;       // what `orion probe` calls it, or NULL
} orion_rule;

// The row of an id; never NULL for an id below ORION_RULES.
const orion_rule *orion_rule_row(orion_rule_id id);
// By "C07" or by "C07-weights-baked"; ORION_RULES if there is none.
orion_rule_id orion_rule_find(const char *name);
// The rule that a status code of the engine most likely means, ORION_RULES if nobody knows. `symptom`: where it came up.
orion_rule_id orion_rule_of_status(orion_symptom symptom, uint32_t status);
static inline unsigned orion_family_bit(const char *family) {  // of "m4": ORION_FAMILY_M4; 0: of no chip
  return family[0] == 'm' && family[1] >= '1' && family[1] <= '6' && !family[2] ? 1u << (family[1] - '1') : 0;
}
static inline bool orion_rule_holds(const orion_rule *r, const char *family) {
  return r->families & orion_family_bit(family);
}

const char *orion_certainty_name(orion_certainty c);  // "solid", ...
const char *orion_play_name(orion_play p);            // "compile", "run", ...

#endif
