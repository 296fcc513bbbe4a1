// Choosing scales and rounding to them, over groups of floats that lie one after another. See data_quantise.c.
#ifndef ORION_IR_DATA_QUANTISE_H
#define ORION_IR_DATA_QUANTISE_H

#include "base/half.h"
#include "ir/dtype.h"

// Columns of a row that share a scale: all of them for int8; for int4 about 32, a divisor of cols.
size_t orion_quantise_group(orion_dtype d, size_t cols);
// One scale for each of n groups of `group` elements. d: ORION_INT8 or ORION_INT4.
void orion_quantise_scales(orion_dtype d, const float *x, size_t n, size_t group, orion_half *scales);
// The elements as multiples of their group's scale, to nearest even, saturated to the type.
void orion_quantise(orion_dtype d, const float *x, size_t n, size_t group, const orion_half *scales, int8_t *out);

// Rows of integers, one byte each, times the scales of their groups; cols is a multiple of groups.
void orion_expand(const int8_t *q, const float *scales, size_t rows, size_t cols, size_t groups, float *out);
// A row of int4 elements as words of eight, and back. See ORION_DATA_WORDS.
void orion_nibbles_to_words(const int8_t *q, size_t cols, uint32_t *out);
void orion_words_to_nibbles(const uint32_t *words, size_t cols, int8_t *out);

#endif
