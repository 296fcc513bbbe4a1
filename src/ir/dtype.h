// Element types of MIL, and converting single elements. Sub-byte elements are packed least significant bits first.
#ifndef ORION_IR_DTYPE_H
#define ORION_IR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// enumerator, MIL spelling, bits per element, class
//   class: f float, i signed, u unsigned, b bool, s string
#define ORION_DTYPES(X)      \
  X(FP16, "fp16", 16, 'f')   \
  X(FP32, "fp32", 32, 'f')   \
  X(FP64, "fp64", 64, 'f')   \
  X(BF16, "bf16", 16, 'f')   \
  X(INT4, "int4", 4, 'i')    \
  X(INT8, "int8", 8, 'i')    \
  X(INT16, "int16", 16, 'i') \
  X(INT32, "int32", 32, 'i') \
  X(INT64, "int64", 64, 'i') \
  X(UINT1, "uint1", 1, 'u')  \
  X(UINT2, "uint2", 2, 'u')  \
  X(UINT3, "uint3", 3, 'u')  \
  X(UINT4, "uint4", 4, 'u')  \
  X(UINT6, "uint6", 6, 'u')  \
  X(UINT8, "uint8", 8, 'u')  \
  X(UINT16, "uint16", 16, 'u') \
  X(UINT32, "uint32", 32, 'u') \
  X(UINT64, "uint64", 64, 'u') \
  X(BOOL, "bool", 8, 'b')    \
  X(STRING, "string", 0, 's')

typedef enum orion_dtype {
  ORION_DTYPE_NONE = 0,
#define X(name, text, bits, cls) ORION_##name,
  ORION_DTYPES(X)
#undef X
  ORION_DTYPE_COUNT
} orion_dtype;

const char *orion_dtype_name(orion_dtype d);       // "fp16"; "?" for NONE
orion_dtype orion_dtype_parse(const char *s, size_t n);  // ORION_DTYPE_NONE if unknown
unsigned orion_dtype_bits(orion_dtype d);          // 0 for STRING and NONE
char orion_dtype_class(orion_dtype d);             // as in the table; 0 for NONE
bool orion_dtype_is_float(orion_dtype d);
bool orion_dtype_is_int(orion_dtype d);            // signed or unsigned
// Packed bytes of n elements; false on overflow or STRING.
bool orion_dtype_bytes(orion_dtype d, size_t n, size_t *out);

// Element i of a packed array as a number, and back. Floats round to nearest even; integers saturate (NaN gives 0).
double orion_load_double(orion_dtype d, const void *array, size_t i);
int64_t orion_load_int(orion_dtype d, const void *array, size_t i);  // UINT64 above INT64_MAX saturates; floats truncate
void orion_store_double(orion_dtype d, void *array, size_t i, double v);
void orion_store_int(orion_dtype d, void *array, size_t i, int64_t v);

#endif
