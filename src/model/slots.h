// The weights of a family, one row each: where it is in memory, what Hugging Face calls it, its shape, how it starts out.
//
// Reading, writing, initialising and counting all walk these tables, so that none of them can disagree.
#ifndef ORION_MODEL_SLOTS_H
#define ORION_MODEL_SLOTS_H

#include "model/model.h"

typedef enum orion_extent {  // one axis of a weight
  ORION_EXTENT_NONE,         // vectors have no second axis
  ORION_EXTENT_DIM,
  ORION_EXTENT_HIDDEN,
  ORION_EXTENT_Q,            // heads * head_dim
  ORION_EXTENT_K,            // kv_heads * head_dim
  ORION_EXTENT_HEAD,
  ORION_EXTENT_VOCAB,
  ORION_EXTENT_CONTEXT,
} orion_extent;

typedef enum orion_need {  // which configurations have it
  ORION_NEED_ALWAYS,
  ORION_NEED_QKV_BIAS,
  ORION_NEED_OUT_BIAS,
  ORION_NEED_MLP_BIAS,
  ORION_NEED_QK_NORM,
  ORION_NEED_UNTIED,
} orion_need;

typedef enum orion_start { ORION_START_ONES, ORION_START_ZEROS, ORION_START_NORMAL, ORION_START_RESIDUAL } orion_start;

typedef struct orion_slot {
  size_t field;       // offset of a `const orion_data *` in orion_layer_weights, or in orion_model
  const char *key;    // the field's name: what graphs call the weight, after "l3_" where it belongs to a layer
  const char *name;   // in the file, after the prefix of the layer or of the model
  orion_extent rows, cols;
  orion_need need;
  orion_start start;
  bool conv1d;        // stored [in, out]
  uint8_t part, parts;  // rows part/parts of a joint tensor (GPT-2's c_attn); 0, 0: a tensor of its own
} orion_slot;

const orion_slot *orion_slots_layer(orion_family family, size_t *out_n);  // of orion_layer_weights
const orion_slot *orion_slots_model(orion_family family, size_t *out_n);  // of orion_model, all but the classifier
extern const orion_slot orion_slot_classifier;

int64_t orion_slot_extent(const orion_config *c, orion_extent e);  // 1 for NONE
bool orion_slot_needed(const orion_config *c, const orion_slot *slot);
const orion_data **orion_slot_at(void *base, const orion_slot *slot);

// What Hugging Face puts before the names of the whole model, and between that and a layer's number.
const char *orion_family_prefix(orion_family family);  // "transformer."
const char *orion_family_layers(orion_family family);  // "h."

#endif
