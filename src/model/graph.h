// From a model to a graph: one program with composites (end of ops.inc), every value [T, C], no layout chosen yet.
//
//   body   inputs  x [T, dim]; cos, sin [T, head_dim/2] where the model is rotary;
//                  with past: mask [1, S], k_cache_L, v_cache_L [S, K] for each layer L
//          outputs y [T, dim] (after the last layer, before the final norm); k_L, v_L [T, K] (k after rotation)
//   head   input   y [T, dim]; output logits [T, vocab]
//
// With slots for adapters (lora.rank > 0) the body, or the training graph, also has, for each projection of lora.targets:
//
//   inputs  l3_wq_lora_a [R, in], l3_wq_lora_b [R, out] (names: orion_lora_name), in the dtype of the arithmetic; the
//           body: lora_gate [T, R]. Zeros everywhere: no adapter
//
// and the projection's result is base + orion_lora(x, a, b, gate). Rows of R belong to adapters one after another: rows
// that none has are zeros, the gate says how much each position takes of each row.
#ifndef ORION_MODEL_GRAPH_H
#define ORION_MODEL_GRAPH_H

#include "model/lora.h"
#include "model/model.h"

typedef enum orion_graph_kind { ORION_GRAPH_BODY, ORION_GRAPH_HEAD } orion_graph_kind;

typedef struct orion_graph_spec {
  orion_graph_kind kind;
  int64_t tokens;             // T
  int64_t past;               // S; 0 = none
  orion_dtype compute;        // dtype of activations: fp32 or fp16
  orion_dtype weights;        // dtype that matrices are kept in; cast to `compute` in the graph where it differs
  orion_dtype cache;          // dtype of k_cache, v_cache and of k_L, v_L
  orion_lora_slots lora;
} orion_graph_spec;

orion_status orion_model_graph(const orion_model *m, const orion_graph_spec *spec, orion_program **out,
                               orion_error *err);

// The graph for training: B sequences of T positions each, laid one after another, in; the mean loss out.
//
//   inputs  tokens, targets int32 [B*T] (a negative target does not count); each weight, where weights are inputs
//   output  loss fp32 [1] (orion_cross_entropy over all B*T positions)
//
// Weights appear under the names of orion_model_weights, once each: as constants or as parameters, in the dtype asked
// for, cast to that of the arithmetic where it differs. A tied classifier is the embedding. Positions count from 0 in each
// sequence and sequences do not see each other. Gradients: orion_grad with the seed `loss` and those names.
typedef struct orion_train_graph_spec {
  int64_t batch, tokens;      // B, T
  orion_dtype compute;        // fp32 or fp16
  orion_dtype weights;
  bool inputs;                // weights are parameters, not constants
  orion_lora_slots lora;      // parameters in any case
  double lora_scale;          // of what they add
} orion_train_graph_spec;

orion_status orion_model_train_graph(const orion_model *m, const orion_train_graph_spec *spec, orion_program **out,
                                     orion_error *err);

// The graphs of training in pieces, for targets that take neither the whole nor gathers: what lies between the embedding,
// which the caller looks up, and the loss, which the caller sums up. Weights are called as their fields are ("wq", "norm1",
// "classifier"), without the layer: where they are inputs, one program serves all layers.
//
//   LAYER      x -> y
//   NORM       x -> y, the norm before the classifier
//   LOSS       some of the classes: h [N, dim]; target_high, target_low [N, 1] -> largest logit `max`, `sum` of
//              exp(logit - max), and `picked`, the target's logit (0 where the target is none of these classes); each [N, 1]
//   LOSS_GRAD  the same classes once all have been seen: d = exp(logit - peak) share - weight at the target;
//              h, targets, peak, share, weight [N, 1], dh_in -> dh = dh_in + d W, d_classifier = d^T h
//
// With m and s over all classes the loss of a position is m + log s - picked; peak is m, share is c / s and weight is c, where c is the
// gradient of that loss (0 where there is no target). N = batch * tokens. A target that is class t of these is handed over
// as t / ORION_CLASS_BASE and t % ORION_CLASS_BASE, exact in fp16; any other as -ORION_CLASS_BASE and 0.
typedef enum orion_unit_kind { ORION_UNIT_LAYER, ORION_UNIT_NORM, ORION_UNIT_LOSS, ORION_UNIT_LOSS_GRAD } orion_unit_kind;

#define ORION_CLASS_BASE 128
#define ORION_MAX_UNIT_CLASSES (ORION_CLASS_BASE * ORION_CLASS_BASE)

typedef struct orion_unit_spec {
  orion_unit_kind kind;
  int64_t batch, tokens;       // B, T; T may exceed the model's context: what is beyond does not count
  orion_dtype compute, weights;
  bool inputs;                 // weights are parameters
  int64_t layer;               // LAYER: whose weights
  int64_t first, classes;      // LOSS, LOSS_GRAD: the classes [first, first + classes)
} orion_unit_spec;

orion_status orion_model_unit_graph(const orion_model *m, const orion_unit_spec *spec, orion_program **out,
                                    orion_error *err);

#endif
