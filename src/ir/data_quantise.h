// Choosing scales and rounding to them, over groups of floats that lie one after another. See data_quantise.c.
#ifndef ORION_IR_DATA_QUANTISE_H
#define ORION_IR_DATA_QUANTISE_H

#include "base/half.h"
#include "ir/dtype.h"

// One scale for each of n groups of `group` elements. d: ORION_INT8 or ORION_INT4.
void orion_quantise_scales(orion_dtype d, const float *x, size_t n, size_t group, orion_half *scales);
// The elements as multiples of their group's scale, to nearest even, saturated to the type.
void orion_quantise(orion_dtype d, const float *x, size_t n, size_t group, const orion_half *scales, int8_t *out);

#endif
