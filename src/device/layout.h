// Layouts of surfaces: making and comparing them, and moving elements between a surface and packed arrays. Rows (runs
// along the last dimension) start every row_bytes; a scalar is one row of one element.
#ifndef ORION_DEVICE_LAYOUT_H
#define ORION_DEVICE_LAYOUT_H

#include "ir/ir.h"
#include "orion/device.h"

// A layout with rows padded to a multiple of `row_align` bytes (1: packed; a power of two). Sizes are checked; strings
// and elements smaller than a byte are ORION_UNSUPPORTED.
orion_status orion_layout_make(orion_dtype dtype, int rank, const int64_t *dims, size_t row_align, orion_layout *out,
                               orion_error *err);
// The same from a type, which must be a static tensor.
orion_status orion_layout_of_type(const orion_type *type, size_t row_align, orion_layout *out, orion_error *err);
// That a caller's layout makes sense: rank, dtype, sizes without overflow, rows that fit.
orion_status orion_layout_check(const orion_layout *l, orion_error *err);
bool orion_layout_equal(const orion_layout *a, const orion_layout *b);
// "fp16 [1, 8, 1, 32], rows of 64 bytes"; cut to fit.
void orion_layout_text(const orion_layout *l, char *out, size_t size);

size_t orion_layout_rows(const orion_layout *l);     // product of all dimensions but the last; 1 for a scalar
size_t orion_layout_columns(const orion_layout *l);  // the last dimension; 1 for a scalar
static inline size_t orion_layout_elements(const orion_layout *l) {
  return orion_layout_rows(l) * orion_layout_columns(l);
}
size_t orion_layout_offset(const orion_layout *l, const int64_t *index);  // byte offset of an element

// Whole surfaces, `packed` being row-major without gaps. Padding bytes are never touched. The float and int forms
// convert between the surface's dtype and fp32 or int32 (round to nearest even; integers saturate).
void orion_layout_pack(const orion_layout *l, const void *surface, void *packed);
void orion_layout_unpack(const orion_layout *l, void *surface, const void *packed);
void orion_layout_to_floats(const orion_layout *l, const void *surface, float *packed);
void orion_layout_from_floats(const orion_layout *l, void *surface, const float *packed);
void orion_layout_to_ints(const orion_layout *l, const void *surface, int32_t *packed);
void orion_layout_from_ints(const orion_layout *l, void *surface, const int32_t *packed);

#endif
