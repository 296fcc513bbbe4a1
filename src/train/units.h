// Training in pieces: the programs that a target without gathers and with limits takes, in place of one program of the whole.
//
//   (embedding: host) -> layer ... layer -> norm -> loss over some of the classes, again and again -> (sums: host)
//                        layer_back ... <- norm_back <- loss_back over some of the classes, again and again
//
// Where weights are inputs, layers share one program and so do all runs over equally many classes: six programs, eight where
// the classes do not divide. Where they are constants there is one program for each layer and each part of the classes.
// Forward programs return, besides their result, what backward needs and what costs more to compute again than to hand
// over (target/cost.h); the rest backward computes again.
#ifndef ORION_TRAIN_UNITS_H
#define ORION_TRAIN_UNITS_H

#include "lower/lower.h"
#include "model/model.h"

typedef enum orion_unit_role {
  ORION_ROLE_LAYER,
  ORION_ROLE_LAYER_BACK,
  ORION_ROLE_NORM,
  ORION_ROLE_NORM_BACK,
  ORION_ROLE_LOSS,
  ORION_ROLE_LOSS_BACK,
} orion_unit_role;

typedef struct orion_unit {
  char name[32];         // "layer_back", "loss_01"
  orion_unit_role role;
  int64_t index;         // of the first layer, or run over classes, that it is for
  orion_plan *plan;      // owned; NULL once somebody has taken it
} orion_unit;

typedef struct orion_units_spec {
  int64_t batch, tokens;  // batch * tokens a multiple of the target's width
  bool inputs;            // weights are inputs
  bool gradients;         // else the loss alone
  const orion_opt_options *passes;  // NULL: those that leave weights as they are
} orion_units_spec;

typedef struct orion_units {
  const orion_allocator *allocator;
  orion_units_spec spec;
  orion_unit *list;
  size_t n, cap;
  int64_t layers, vocab;
  int64_t parts, classes;      // runs over classes of one loss; classes of each but the last, which may have fewer
  size_t taps, tap_bytes;      // that one layer hands over; and what it computes again
  size_t again, again_bytes;
} orion_units;

orion_status orion_units_create(const orion_model *m, const orion_target *target, const orion_units_spec *spec,
                                orion_units **out, orion_error *err);
void orion_units_destroy(orion_units *u);  // NULL is ignored
// The unit for layer, or run over classes, `index` (0 for norms); NULL if there is none.
orion_unit *orion_units_find(const orion_units *u, orion_unit_role role, int64_t index);

// Tokens of each sequence, so that `batch` of them fill rows of the target's width; what is added does not count.
int64_t orion_units_tokens(const orion_target *target, int64_t batch, int64_t seq);

#endif
