// Inside layered*.c: what one holds.
#ifndef ORION_TRAIN_LAYERED_IMPL_H
#define ORION_TRAIN_LAYERED_IMPL_H

#include "train/layered.h"
#include "train/surface_rows.h"
#include "train/units.h"

#define LAYERED_NO_WEIGHT SIZE_MAX

typedef struct layered_weight {  // of a program
  const char *field;             // its input or constant: "wq"
  const char *gradient;          // backward's output: "d_wq"
  size_t param;                  // index in params->list
} layered_weight;

struct orion_layered {
  const orion_allocator *allocator;
  orion_params *params;
  orion_device *device;
  orion_step_spec spec;
  int64_t T, P, N, dim;          // tokens of a sequence; with what fills rows; of all sequences so; features
  orion_units *units;
  orion_runner **compiled;       // of each unit: the runner that owns its programs
  orion_runner **all;            // every runner, in the order in which they were made
  size_t n_all;
  orion_runner **layer, **layer_back, *norm, *norm_back, **loss, **loss_back;
  layered_weight *weights;       // per_layer for each layer
  size_t per_layer;
  layered_weight norm_weights[2];
  size_t n_norm;
  size_t embedding, positions, classifier;  // params; LAYERED_NO_WEIGHT: no such weight. Tied: classifier is embedding
  float *gradient_memory;
  float **gradients;             // of each param, as it lies
  float *line;                   // scratch [N]
  double *peak, *sum, *picked;   // [N]: of the classes so far
  orion_half *halves;            // scratch for constants
  size_t cap_halves;
  char overflow[96];             // where the last run was first not finite; "": nowhere
  orion_arena arena;
};

// The classes of part k.
static inline int64_t layered_first(const orion_layered *l, int64_t k) { return k * l->units->classes; }
static inline int64_t layered_classes(const orion_layered *l, int64_t k) {
  int64_t left = l->units->vocab - layered_first(l, k);
  return left < l->units->classes ? left : l->units->classes;
}
// Rows and columns in which a weight lies in a surface: vectors are one row.
static inline size_t layered_rows(const orion_param *x) { return x->matrix ? x->rows : 1; }
static inline size_t layered_cols(const orion_param *x) { return x->matrix ? x->cols : x->n; }

#endif
