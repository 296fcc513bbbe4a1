// Inside the infer room: the mixes of a session, and running its programs with the one in use.
#ifndef ORION_INFER_MIX_H
#define ORION_INFER_MIX_H

#include "model/adapter.h"
#include "runtime/variant.h"

#define ORION_MIX_PROGRAMS 32  // of a session that have slots

typedef struct orion_mixes {
  const orion_allocator *allocator;
  orion_device *device;
  const orion_config *config;
  orion_lora_slots slots;          // rank 0: the programs have none
  orion_runner *programs[ORION_MIX_PROGRAMS];
  size_t n_programs;
  orion_mix *list, *used;
} orion_mixes;

// Makes a program known, and ready for every mix there is.
orion_status orion_mixes_add(orion_mixes *s, orion_runner *program, orion_error *err);
// Runs a program with the mix in use. `scales` [n, parts] are those of its first n positions; NULL: the mix's own.
orion_status orion_mixes_run(orion_mixes *s, orion_runner *program, int64_t n, const double *scales, orion_error *err);
size_t orion_mix_parts(const orion_mix *mix);
orion_mixes *orion_session_mixes(orion_session *s);

#endif
