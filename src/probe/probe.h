// Questions to a device, one for each rule of the catalogue that can be asked: a small program or sequence of them, by the
// contract for probes (device/raw.h). What was seen is held against what the row says for the device's family; where the
// answer is a number, it comes with it and may go into a measured target.
#ifndef ORION_PROBE_PROBE_H
#define ORION_PROBE_PROBE_H

#include "orion/device.h"
#include "target/target.h"

typedef enum orion_verdict {
  ORION_VERDICT_AGREES,
  ORION_VERDICT_DISAGREES,
  ORION_VERDICT_UNCLEAR,   // it could not be told: the note says why
  ORION_VERDICT_SKIPPED,   // not asked
} orion_verdict;

typedef struct orion_probe_result {
  orion_rule_id rule;
  orion_verdict verdict;
  char expected[256], observed[256], note[256];
  const char *limit;       // a limit by name that was measured, or NULL
  double value;
} orion_probe_result;

// Whether the rule has a probe; whether that spends something that the process does not get back (compiles, slots), or
// kills it on hardware.
bool orion_probe_exists(orion_rule_id rule);
bool orion_probe_is_destructive(orion_rule_id rule);

// Opens `device` afresh, asks, closes it. Statuses other than OK are ours: no device, no memory. `family` overrides what
// the device says of itself; NULL: as it says.
orion_status orion_probe(const char *device, int threads, orion_rule_id rule, const orion_target *family,
                         orion_probe_result *out, orion_error *err);
// The family that a device says it has, as a target; NULL: none of ours. Without *out_keeps_time its times are not an
// engine's (device/raw.h), and probes of time stay open.
const orion_target *orion_probe_family(const char *device, bool *out_keeps_time, orion_error *err);

#endif
