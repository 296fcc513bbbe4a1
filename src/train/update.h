// Weights that change, behind one call.
//
//   delta       the device swaps the program's constants in place
//   input       weights are inputs of the program; masters in fp32 are read where they are
//   recompile   a new program; the old one is released first. Where a process may compile so many programs and no more, the
//               caller is told when the next update would not fit (orion_updater_spent), to save and start a new process.
//
// None is believed without proof: at the start a small model of the same family goes through the same compiler on the same
// device, is run, given other weights by the strategy, and run again. Its loss and every gradient must have changed, and
// equal those of a fresh compile of the new weights bit for bit. Else the next strategy is tried, and `note` says why.
#ifndef ORION_TRAIN_UPDATE_H
#define ORION_TRAIN_UPDATE_H

#include "train/step.h"

typedef enum orion_update_kind { ORION_UPDATE_DELTA, ORION_UPDATE_INPUT, ORION_UPDATE_RECOMPILE } orion_update_kind;

bool orion_update_parse(const char *name, orion_update_kind *out);  // false for an unknown name
const char *orion_update_name(orion_update_kind kind);

typedef struct orion_updater orion_updater;

// Tries `first` and, where it fails its proof, the strategies after it. spec->weights_as_inputs is set by the strategy.
orion_status orion_updater_create(orion_params *params, orion_device *device, const orion_target *target,
                                  const orion_step_source *source, const orion_step_spec *spec, orion_update_kind first,
                                  orion_updater **out, orion_error *err);
void orion_updater_destroy(orion_updater *u);  // NULL is ignored
orion_step *orion_updater_step(const orion_updater *u);
// After this, runs of the step see the masters as they are now. *out_ms: how long it took.
orion_status orion_updater_apply(orion_updater *u, double *out_ms, orion_error *err);
orion_update_kind orion_updater_kind(const orion_updater *u);
// The next update would compile more programs than this process may still compile.
bool orion_updater_spent(const orion_updater *u);
const char *orion_updater_note(const orion_updater *u);  // "" where the first strategy passed

// The proof alone, in the arithmetic of `like`. ORION_OK: it holds. ORION_REFUSED: it does not,
// `err` says in what; other codes: it could not be run. `lora` is what orion_params has.
orion_status orion_update_prove(const orion_config *config, const orion_lora_slots *lora, orion_device *device, const orion_target *target,
                                const orion_step_source *source, const orion_step_spec *like, orion_update_kind kind,
                                const orion_allocator *a, orion_error *err);

#endif
