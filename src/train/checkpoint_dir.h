// The directory of a run: which checkpoints are there, and what can be removed. Inside the train room.
#ifndef ORION_TRAIN_CHECKPOINT_DIR_H
#define ORION_TRAIN_CHECKPOINT_DIR_H

#include "base/alloc.h"

#define ORION_CHECKPOINT_STATE "state.json"

typedef struct orion_checkpoint_list {
  const orion_allocator *allocator;
  int64_t *steps;            // descending
  size_t n, cap;
} orion_checkpoint_list;

// Steps of all directories RUN/STEM-STEP, complete or not.
orion_status orion_checkpoint_list_read(const orion_allocator *a, const char *run, const char *stem,
                                        orion_checkpoint_list *out, orion_error *err);
void orion_checkpoint_list_free(orion_checkpoint_list *list);

// Removes a checkpoint directory and the files in it, state.json first. What cannot be removed stays: it is not worth an
// error, the new checkpoint is in place.
void orion_checkpoint_remove(const char *dir);
// Removes what a killed process left half written.
void orion_checkpoint_clean(const char *run);
orion_status orion_checkpoint_sync_dir(const char *dir, orion_error *err);

#endif
