// Sums of gradients over micro-batches, made by the program itself: each gradient starts from what the micro-batches before
// have left, so that neither a second copy of all gradients nor a pass over both is needed.
#ifndef ORION_TRAIN_GRADIENT_SUMS_H
#define ORION_TRAIN_GRADIENT_SUMS_H

#include "ir/ir.h"

// What a program calls the gradient of weight NAME, and the parameter that holds the sum before; NULL: out of memory.
const char *orion_gradient_name(orion_arena *a, const char *name);
const char *orion_gradient_sum_name(orion_arena *a, const char *name);

// Of each output d_NAME makes the output d_NAME = sum_NAME + gradient in fp32, with sum_NAME a new parameter of that shape.
// Both may be bound to one surface: nothing is written to d_NAME before its element of sum_NAME has been read, where the
// device runs the addition last (the cpu device, and the simulator).
orion_status orion_gradient_sums(orion_program *p, const char *const *names, size_t n, orion_error *err);

#endif
