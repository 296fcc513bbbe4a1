// Tensors of safetensors files as the leaves of a store.
#include <stdio.h>

#include "model/parts.h"

static void shape_text(char *out, size_t size, int rank, const int64_t *dims) {
  size_t at = (size_t)snprintf(out, size, "[");
  for (int i = 0; i < rank && at < size; i++) {
    at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? ", " : "", (long long)dims[i]);
  }
  if (at < size) snprintf(out + at, size - at, "]");
}

orion_status orion_stored_check(const orion_safetensors *file, const orion_stored_tensor *t, int rank, const int64_t *dims,
                                const char *who, orion_error *err) {
  bool same = t->rank == rank;
  for (int i = 0; same && i < rank; i++) same = t->dims[i] == dims[i];
  if (!same) {
    char want[64], found[200];
    shape_text(want, sizeof want, rank, dims);
    shape_text(found, sizeof found, t->rank, t->dims);
    return ORION_FAIL(err, ORION_FORMAT, "%s (byte %llu): tensor '%.100s' has shape %s, %s %s", file->name,
                      (unsigned long long)t->offset, t->name, found, who, want);
  }
  if (!orion_dtype_is_float(t->dtype)) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: tensor '%.100s' is stored as %s (want F32, F16, BF16 or F64)",
                      file->name, t->name, t->spelling);
  }
  return ORION_OK;
}

const orion_data *orion_stored_leaf(orion_data_store *store, const orion_stored_tensor *t) {
  size_t rows = (size_t)t->dims[0], cols = t->rank == 2 ? (size_t)t->dims[1] : 1;
  if ((uintptr_t)t->bytes % (orion_dtype_bits(t->dtype) / 8)) return orion_data_copy(store, t->dtype, rows, cols, t->bytes);
  return orion_data_borrow_mapped(store, t->dtype, rows, cols, t->bytes, t->name);
}
