/// Training: a model, token data and a device; steps of AdamW; checkpoints that continue bit for bit.
///
///   options_init -> create -> (resume) -> step, step, ... evaluate, save -> destroy
#ifndef ORION_TRAIN_H
#define ORION_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orion/adapter.h"
#include "orion/device.h"
#include "orion/model.h"
#include "orion/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct orion_trainer orion_trainer;

/// The processes that train together: those that mpirun started. *out is NULL in a process that was not started so.
/// ORION_UNSUPPORTED where it was, among others, but MPI is not built in. All trainers of all processes take the same
/// options and each step is one of all; a trainer's error in one process comes back in every process.
typedef struct orion_comm orion_comm;
ORION_API orion_status orion_comm_open(orion_comm **out, orion_error *err);
ORION_API void orion_comm_close(orion_comm *c);  ///< NULL ignored; no other process may come to need this one


typedef struct orion_train_options {
  size_t struct_size;          ///< sizeof(orion_train_options)
  int64_t steps;               ///< of the whole run: the schedule ends there
  int64_t batch, seq, accum;   ///< sequences of a micro-batch; their length; micro-batches of a step
  double lr, min_lr;           ///< after the warm-up, and at the end
  int64_t warmup;              ///< steps
  const char *schedule;        ///< "cosine", "linear", "constant"
  double beta1, beta2, eps, weight_decay;
  double clip;                 ///< largest global norm of the gradients; 0: none
  double loss_scale;           ///< 0: automatic (1 where the program computes in fp32)
  const char *update;          ///< "delta", "input", "recompile"; NULL: what suits the device
  const char *target;          ///< "cpu" or a chip family; NULL: what the device runs best
  const char *compute;         ///< "fp32" or "fp16"; NULL: what the target computes in
  const char *const *data;     ///< files of text, or of token ids (.bin, .u16, .u32)
  size_t n_data;
  const char *const *eval_data;
  size_t n_eval_data;
  int token_width;             ///< bytes of an id in .bin files; 0: 2 for a vocabulary of up to 65,536, else 4
  bool documents;              ///< windows begin where documents do
  int64_t eval_windows;        ///< of an evaluation at most; 0: all
  uint64_t seed;               ///< of the order of the data
  orion_comm *comm;            ///< processes that train together, each with `batch` sequences; NULL: this one alone
  /// Above 0 (or with lora_start) an adapter is trained and the model stays as it is.
  int64_t lora_rank;
  double lora_alpha;           ///< 0: twice the rank
  const char *lora_targets;    ///< "q,v" (NULL), or others of q,k,v,o,gate,up,down, or "all"
  const orion_adapter *lora_start;  ///< goes on with a copy of this one: its rank, alpha and targets count
  const char *lora_weights;    ///< in what the model under it is kept: "fp16" (NULL), "fp32", "int8", "int4"
  const char *lora_base;       ///< path of the model, noted in checkpoints; NULL: none
  const char *tokenizer_path;  ///< file or directory whose tokenizer goes into checkpoints; NULL: none
  /// What of the forward part is computed again for the backward part instead of kept: "none", "cheap", "most", or "auto"
  /// (NULL): the first of these with which the run keeps to `memory`. Gradients are the same to the bit. On an engine its cost
  /// model decides.
  const char *recompute;
  uint64_t memory;             ///< bytes for weights, gradients, moments and the step's program; 0: any number
  /// What fp32 programs hold for the backward part between its making and its use: "fp32" (NULL), or "bf16": half the memory,
  /// and gradients as near as that; losses are the same.
  const char *activations;
} orion_train_options;

/// Defaults: 1,000 steps of 8 sequences of 256, lr 3e-4 (min 3e-5) by cosine after 100 steps, beta 0.9 and 0.95, eps 1e-8,
/// decay 0.1, clip 1.
ORION_API void orion_train_options_init(orion_train_options *o);

/// What a step was like. `step` counts from 1 and is the number of steps made.
typedef struct orion_train_metrics {
  int64_t step;
  double loss;                 ///< mean over the step's tokens, before the update
  double lr;
  double grad_norm;            ///< before clipping
  uint64_t tokens;             ///< seen so far
  double tok_s, step_ms;
  double update_ms;            ///< of step_ms: handing the new weights to the device
  double device_ms, optimizer_ms;  ///< of step_ms: programs with their data and sums; norm, clipping and AdamW
  double comm_ms;              ///< of step_ms: summing with the other processes, and waiting for them
  double loss_scale;
  bool skipped;                ///< gradients were not finite: no update, the scale is halved
  const char *skipped_weight;  ///< first weight whose gradient was not finite, or where that began; NULL if none
} orion_train_metrics;

/// Copies the weights of `model`, which may then be closed; options and tokenizer are not needed afterwards either.
/// `tokenizer` may be NULL where all data are ids. Opens the data, proves the way of updating weights on the device,
/// compiles. The device must outlive the trainer. One thread at a time.
ORION_API orion_status orion_trainer_create(const orion_model *model, orion_device *device, const orion_tokenizer *tokenizer,
                                            const orion_train_options *o, orion_trainer **out, orion_error *err);
ORION_API void orion_trainer_destroy(orion_trainer *t);  ///< NULL ignored

/// Continues from the newest complete checkpoint of a run directory (or from one checkpoint): weights, moments, position
/// in the data, loss scale, step. ORION_INVALID if the data or the configuration are others. What was passed over is said in
/// orion_trainer_notes.
ORION_API orion_status orion_trainer_resume(orion_trainer *t, const char *path, orion_error *err);

/// One step: accum micro-batches, clipping, AdamW, new weights to the device. ORION_NUMERIC for a loss that is NaN or
/// infinite, naming the first weight or gradient that is: the trainer is then of no further use.
ORION_API orion_status orion_trainer_step(orion_trainer *t, orion_train_metrics *out, orion_error *err);
/// Mean loss over the evaluation data (in their order, whole windows). ORION_INVALID where there are none.
ORION_API orion_status orion_trainer_evaluate(orion_trainer *t, double *out_loss, orion_error *err);
/// Writes run/step-N atomically (of several processes, the first does) and then removes all but the newest `keep` (0: none is removed).
ORION_API orion_status orion_trainer_save(orion_trainer *t, const char *run, int64_t keep, orion_error *err);
/// Writes run/best-N if the last evaluation's loss is the smallest of the run and removes the previous best.
ORION_API orion_status orion_trainer_save_best(orion_trainer *t, const char *run, bool *out_saved, orion_error *err);

/// Weights are updated by recompiling, and this process may not compile another update: save, and resume in a new process.
/// A step would fail.
ORION_API bool orion_trainer_spent(const orion_trainer *t);

typedef struct orion_train_info {
  int64_t step;                ///< made so far
  uint64_t parameters, tokens, windows;  ///< of the model; seen; in an epoch
  double epoch;                ///< how often the data were seen
  const char *update;          ///< how weights are updated
  const char *target;
  size_t programs;             ///< runs of a program that one micro-batch costs
  const char *recompute;       ///< "none", "cheap", "most"; NULL: decided by an engine's cost model
  uint64_t memory;             ///< bytes for weights, gradients, moments and the step's program; 0: not known
  double best_loss;            ///< of evaluations; infinity before the first
} orion_train_info;
ORION_API void orion_trainer_describe(const orion_trainer *t, orion_train_info *out);
/// Remarks for people, a line each, "" if none: updates that do not work here, checkpoints passed over.
ORION_API const char *orion_trainer_notes(const orion_trainer *t);

/// The options with which the run in `path` was made, as far as a checkpoint has them: data files, seed and numbers; `o`
/// keeps the rest. `batch` is that of all processes together. Strings live in *out_text; free it with orion_train_options_free.
typedef struct orion_train_saved orion_train_saved;
ORION_API orion_status orion_train_options_read(const char *path, orion_train_options *o, char *out_checkpoint, size_t size,
                                                orion_train_saved **out, orion_error *err);
ORION_API void orion_train_options_free(orion_train_saved *s);  ///< NULL ignored

#ifdef __cplusplus
}
#endif
#endif
