// Checkpoints: directories that any tool can read, whole or absent.
//
//   RUN/step-00000120/  model.safetensors, config.json, tokenizer files   a model directory like any other, fp32
//                       optimizer.safetensors                             "m.NAME" and "v.NAME" for each weight, fp32
//                       state.json                                        the trainer's state, and a hash of each file
//                       where an adapter is trained: adapter_model.safetensors, adapter_config.json (a PEFT directory)
//                       instead of a model; the weights under it are not written
//   RUN/best-00000100/  the same, of the smallest evaluation loss so far
//
// A checkpoint is written under a name that begins with a dot, every file flushed, and then renamed; only after that are
// older ones removed, state.json first, so that nothing half there is taken for whole. A process killed at any moment
// leaves the newest complete one, which is found by looking: names in order, the first whose hashes (XXH3, 128 bits) agree.
#ifndef ORION_TRAIN_CHECKPOINT_H
#define ORION_TRAIN_CHECKPOINT_H

#include "base/strbuf.h"
#include "base/json.h"
#include "train/params.h"
#include "train/tokenizer_files.h"

// Writes RUN/STEM-STEP; keeps the newest `keep` of that stem (0: all). `state` gets "format" and "files". `tokenizer`, which
// goes in too, may be NULL.
orion_status orion_checkpoint_write(const orion_params *p, const char *run, const char *stem, int64_t step, json_t *state,
                                    const orion_tokenizer_files *tokenizer, int64_t keep, orion_error *err);

// The newest complete checkpoint of a run directory, or `path` itself where it is one. What was passed over, and why, is
// added to `warnings`, a line each. Free *out_path with orion_strfree, json_decref *out_state.
orion_status orion_checkpoint_find(const orion_allocator *a, const char *path, char **out_path, json_t **out_state,
                                   orion_strbuf *warnings, orion_error *err);

// Weights and moments of the checkpoint at `path` into `p`, whose model must have the same configuration.
orion_status orion_checkpoint_load(orion_params *p, const char *path, orion_error *err);

#endif
