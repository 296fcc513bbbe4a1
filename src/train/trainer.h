// Inside the train room: a trainer's parts, and creating one over another source of programs (tests have their own).
#ifndef ORION_TRAIN_TRAINER_H
#define ORION_TRAIN_TRAINER_H

#include "base/strbuf.h"
#include "orion/train.h"
#include "train/comm.h"
#include "train/optimizer.h"
#include "train/scaler.h"
#include "train/schedule.h"
#include "train/tokenizer_files.h"
#include "train/tokens.h"
#include "train/update.h"

struct orion_trainer {
  const orion_allocator *allocator;
  orion_train_options options;   // strings in the arena
  orion_arena arena;
  orion_device *device;
  const orion_target *target;
  orion_step_source source;
  orion_params *params;
  orion_updater *updater;
  orion_step *eval_step;         // loss alone; where weights are inputs, which it shares
  orion_optimizer *optimizer;
  orion_schedule schedule;
  orion_scaler scaler;
  orion_tokens *data, *eval_data;
  orion_tokens_position position;
  int32_t *inputs, *targets;     // [batch, seq]
  char overflow[96];             // where a gradient of this step was first not finite, if the step knows; else ""
  int64_t step, updates;         // steps made; of those, with an update
  uint64_t tokens;
  double eval_loss, best_loss;
  int64_t eval_at;               // step of eval_loss; -1: none
  int64_t processes;             // that train together
  orion_tokenizer_files tokenizer;
  orion_strbuf notes;
};

// The model's own graph and its gradient (model/graph.h, grad/grad.h).
extern const orion_step_source orion_step_source_model;

// In several processes: fails in all where `status` is a failure in one, or where they differ in what must be the same.
orion_status orion_trainer_agree(orion_trainer *t, orion_status status, orion_error *err);

orion_status orion_trainer_create_with(const orion_model *model, orion_device *device, const orion_tokenizer *tokenizer,
                                       const orion_train_options *o, const orion_step_source *source, orion_trainer **out,
                                       orion_error *err);

#endif
