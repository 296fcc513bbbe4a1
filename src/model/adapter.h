// An adapter in memory: for each layer and projection its two matrices, as a PEFT file has them.
#ifndef ORION_MODEL_ADAPTER_H
#define ORION_MODEL_ADAPTER_H

#include "model/lora.h"
#include "orion/adapter.h"

typedef struct orion_adapter_part {
  const orion_data *a;   // [rank, in]; NULL: the adapter leaves this projection alone
  const orion_data *b;   // [out, rank]; of a joint matrix the rows of this projection
  int64_t rank;
  double scale;          // alpha / rank, or alpha / sqrt(rank)
} orion_adapter_part;

struct orion_adapter {
  const orion_allocator *allocator;
  char *path;
  orion_config config;         // of the model it is for
  orion_data_store *data;
  orion_adapter_part *parts;   // [layers][ORION_PROJECTIONS]
  const orion_data *head;      // [vocab, dim]; NULL where it brings none
  unsigned targets;            // projections that some layer changes
  int64_t rank;                // the largest
  uint64_t file_bytes;
};

static inline orion_adapter_part *orion_adapter_at(const orion_adapter *a, int64_t layer, orion_projection p) {
  return &a->parts[layer * ORION_PROJECTIONS + p];
}

// An adapter without parts, to be filled. `path` is for messages.
orion_status orion_adapter_create(const orion_allocator *allocator, const orion_config *c, const char *path,
                                  orion_adapter **out, orion_error *err);

// The same from the two files' contents; the tensors outlive the adapter (`name` of each is for messages).
orion_status orion_adapter_parse(const orion_allocator *allocator, const orion_config *c, const char *config_name,
                                 const char *config, size_t config_size, const char *tensors_name, const void *tensors,
                                 size_t tensors_size, orion_adapter **out, orion_error *err);

// A copy of the model in which the adapter, `scale` times, is part of the weights: W + scale * B A, computed in double
// and kept in fp32. The model may be closed before.
orion_status orion_model_merge(const orion_model *m, const orion_adapter *adapter, double scale, orion_model **out,
                               orion_error *err);

#endif
