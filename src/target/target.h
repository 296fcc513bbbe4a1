// What programs are compiled for: the Neural Engine of a chip family, or the cpu device. Plain data: the numbers of
// limits.inc, what they are about in the rules (rules.h), and a check of a program against both.
//
// Where sources contradict each other the safer figure is taken; `orion probe --update-target` writes measured ones.
#ifndef ORION_TARGET_TARGET_H
#define ORION_TARGET_TARGET_H

#include "ir/infer.h"
#include "target/rules.h"

#define ORION_LIMIT_I64 int64_t
#define ORION_LIMIT_INT int
#define ORION_LIMIT_SIZE size_t
#define ORION_LIMIT_REAL double

typedef struct orion_target {
  const char *name;             // "m1".."m6", "cpu"
  const char *arch;             // "H13"...; "host"
  bool ane;                     // channel-first fp16 programs within the limits; else [T, C] programs without limits
  const char *version, *opset;  // header of the programs: "1.3", "ios18"
#define ORION_LIMIT(name, kind, ...) ORION_LIMIT_##kind name;
#include "target/limits.inc"
#undef ORION_LIMIT
} orion_target;

const orion_target *orion_target_find(const char *name);  // NULL if unknown
const char *const *orion_target_names(void);              // NULL-terminated
// A target out of a file (file.c): the family's, with the measured numbers put in.
orion_status orion_target_read(const orion_allocator *a, const char *path, orion_target *out, orion_error *err);
// By name, or FILE.json, which is read into *storage.
orion_status orion_target_open(const orion_allocator *a, const char *name, orion_target *storage,
                               const orion_target **out, orion_error *err);

// ---- limits by name ----

typedef enum orion_limit_kind { ORION_KIND_I64, ORION_KIND_INT, ORION_KIND_SIZE, ORION_KIND_REAL } orion_limit_kind;

typedef struct orion_limit {
  const char *name, *meaning;
  size_t offset;                // in orion_target
  orion_limit_kind kind;
} orion_limit;

const orion_limit *orion_limits(size_t *out_n);
const orion_limit *orion_limit_at(size_t offset);     // NULL: no limit lies there
const orion_limit *orion_limit_find(const char *name);
double orion_limit_get(const orion_limit *l, const orion_target *t);
void orion_limit_set(const orion_limit *l, orion_target *t, double value);  // rounds towards 0 where it is a count
// "17,408", "1,536 MiB", "95"
void orion_limit_text(const orion_limit *l, const orion_target *t, char *out, size_t size);

// A rule's statement with the number of `t` put in; NULL: of all families that the rule holds for, as "16,384 (m1 to m3)
// or 65,536 (m4 to m6)". Always terminated; cut to fit.
void orion_rule_statement(const orion_rule *r, const orion_target *t, char *out, size_t size);

// ---- programs ----

// Every rule of `t` that the program breaks, appended to `out`. Types are taken as verified. For cpu: nothing.
orion_status orion_target_check(const orion_target *t, orion_program *p, orion_findings *out, orion_error *err);
// Of a program that the verifier refused: what of it a rule of the catalogue is about.
orion_status orion_target_check_unsound(const orion_target *t, orion_program *p, orion_findings *out, orion_error *err);

#endif
