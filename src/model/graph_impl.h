// Inside the model room: a graph under construction, and the blocks that graphs for inference (graph.c) and for training
// (graph_train.c) share. x and results of blocks are [T, C]; where there is nothing, ORION_NONE, which the builder leaves out.
#ifndef ORION_MODEL_GRAPH_IMPL_H
#define ORION_MODEL_GRAPH_IMPL_H

#include "ir/builder.h"
#include "model/graph.h"

typedef struct graph {
  const orion_model *model;
  const orion_graph_spec *spec;    // of training graphs: the part they share
  int64_t batch;                   // sequences
  bool training, inputs;
  const orion_unit_spec *unit;     // of training in pieces
  orion_builder b;
  double lora_scale;               // of training graphs
  orion_value_id cos, sin, mask, gate;  // ORION_NONE where there is none
} graph;

typedef struct named {  // a weight and the name of its field
  const char *key;
  const orion_data *data;
} named;
#define WEIGHT(w, field) ((named){#field, (w)->field})

// ---- weights ----

// A constant [rows, cols] (rank 1: [rows]) in this dtype.
orion_ref orion_graph_constant(graph *g, const char *stem, const orion_data *x, orion_dtype dtype, int rank);
// A weight as it is kept, matrix or vector, as a constant or a parameter; ORION_NONE where there is none.
orion_ref orion_graph_stored(graph *g, named w, int rank, orion_dtype dtype);
// x of dtype `from`, named after `key`, in the dtype of the arithmetic.
orion_ref orion_graph_as_computed(graph *g, const char *key, orion_ref x, orion_dtype from);
orion_ref orion_graph_matrix(graph *g, named w);

// ---- blocks ----

orion_value_id orion_graph_norm(graph *g, const char *stem, orion_value_id x, named gamma, named beta);
orion_value_id orion_graph_layer(graph *g, orion_value_id x, int i);
orion_value_id orion_graph_layers(graph *g, orion_value_id x);  // all, under names that say which

// ---- the whole ----

orion_status orion_graph_check(const orion_graph_spec *s, orion_error *err);
// A program whose only function `make` fills.
orion_status orion_graph_build(graph *g, void (*make)(graph *g), orion_program **out, orion_error *err);

#endif
