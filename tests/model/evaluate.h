// Evaluates a model graph in double precision, op by op from the definitions in ops.inc: slow, plain, and sharing nothing
// with any device. Enough operations for what orion_model_graph makes.
#ifndef TEST_MODEL_EVALUATE_H
#define TEST_MODEL_EVALUATE_H

#include "ir/ir.h"
#include "support/support.h"

typedef struct bound {
  const char *name;
  const double *in;  // an input's elements
  double *out;       // or where an output's go
} bound;

void evaluate(const orion_program *p, const bound *io, size_t n);  // every input and every wanted output by name

#endif
