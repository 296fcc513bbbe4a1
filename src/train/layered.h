// A micro-batch in pieces (units.h), on a device: forward layer by layer, the loss over the classes part by part, backward
// layer by layer. The host looks the embedding up, joins the parts' maxima and sums (in double), and adds up gradients of
// rows of the embedding. Everything handed from program to program lies in surfaces that nobody copies.
//
// Gradients come back times loss_scale. What overflows in fp16 is found where it first appears: results are looked at between
// any two programs, before a later product can hide them.
#ifndef ORION_TRAIN_LAYERED_H
#define ORION_TRAIN_LAYERED_H

#include "train/params.h"
#include "train/step.h"

typedef struct orion_layered orion_layered;

orion_status orion_layered_create(orion_params *params, orion_device *device, const orion_target *target,
                                  const orion_step_spec *spec, orion_layered **out, orion_error *err);
void orion_layered_destroy(orion_layered *l);  // NULL is ignored
typedef enum orion_layered_pass {
  ORION_LAYERED_LOSS,       // the loss alone
  ORION_LAYERED_GRADIENTS,  // gradients too
  ORION_LAYERED_SUMS,       // gradients, added to those there
} orion_layered_pass;
// A loss of NaN: something was not finite.
orion_status orion_layered_run(orion_layered *l, const int32_t *tokens, const int32_t *targets, double loss_scale,
                               orion_layered_pass pass, double *out_loss, orion_error *err);
float *const *orion_layered_gradients(const orion_layered *l);
orion_status orion_layered_refresh(orion_layered *l, orion_error *err);  // as orion_step_refresh
size_t orion_layered_runs(const orion_layered *l);                       // runs of programs that one micro-batch costs
const char *orion_layered_overflow(const orion_layered *l);              // of the last run: where; NULL: nowhere

#endif
