// Numbers of MIL text to elements of tensors and back, exact in both directions: floats print in hexadecimal with all
// their bits (NaN with its payload), and integers are never clipped.
#ifndef ORION_MIL_NUMBER_H
#define ORION_MIL_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ir/dtype.h"

#define ORION_MIL_NUMBER_MAX 40  // bytes that orion_mil_format_number needs at most

typedef enum orion_mil_number_fault {
  ORION_MIL_NUMBER_OK,
  ORION_MIL_NUMBER_MALFORMED,  // not a number of this dtype's kind
  ORION_MIL_NUMBER_RANGE,      // a number, but the dtype cannot hold it
} orion_mil_number_fault;

// Stores the number spelled by text[0..n) as element i of a packed array.
orion_mil_number_fault orion_mil_parse_number(orion_dtype d, const char *text, size_t n, void *array, size_t i);
// Stores a NaN with the given sign and fraction bits; false if the dtype is no float or the payload does not fit.
bool orion_mil_store_nan(orion_dtype d, bool negative, uint64_t payload, void *array, size_t i);

// Writes element i of a packed array as text, without terminator; returns the length.
size_t orion_mil_format_number(orion_dtype d, const void *array, size_t i, char out[ORION_MIL_NUMBER_MAX]);

bool orion_mil_parse_u64(const char *text, size_t n, uint64_t *out);  // decimal or 0x; false on overflow

#endif
