// Safetensors files: eight bytes of header length, a JSON header, the tensors' bytes.
//
// The reader trusts nothing. The header lists every tensor; their ranges must lie end to end and cover the data exactly
// (the format's rule), so no byte is unaccounted for and no two tensors share one. Tensors point into the mapped file.
#ifndef ORION_MODEL_SAFETENSORS_H
#define ORION_MODEL_SAFETENSORS_H

#include "base/file.h"
#include "ir/ir.h"

typedef struct orion_stored_tensor {
  const char *name;
  orion_dtype dtype;           // ORION_DTYPE_NONE for types that MIL lacks (F8_E4M3...)
  const char *spelling;        // "F32"
  int rank;
  int64_t dims[ORION_MAX_RANK];
  const uint8_t *bytes;        // perhaps unaligned: the format does not promise it
  size_t size;                 // of them
  uint64_t offset;             // where they are in the file
} orion_stored_tensor;

typedef struct orion_text_pair {
  const char *key, *value;
} orion_text_pair;

typedef struct orion_safetensors {
  const orion_allocator *allocator;
  const char *name;            // of the file, for messages
  size_t size;                 // of the file
  orion_stored_tensor *tensors;       // in the order of their bytes
  size_t n_tensors;
  orion_text_pair *metadata;   // "__metadata__"
  size_t n_metadata;
  // the rest is the reader's own
  orion_arena arena;
  orion_file_map map;
  uint32_t *table;             // open addressing by name; 0 = free, else index + 1
  size_t cap_table;            // a power of two
} orion_safetensors;

orion_status orion_safetensors_open(const orion_allocator *a, const char *path, orion_safetensors **out,
                                    orion_error *err);
// The same from memory that outlives the result.
orion_status orion_safetensors_parse(const orion_allocator *a, const char *name, const void *bytes, size_t n,
                                     orion_safetensors **out, orion_error *err);
void orion_safetensors_close(orion_safetensors *s);  // NULL is ignored
const orion_stored_tensor *orion_safetensors_find(const orion_safetensors *s, const char *name);  // NULL if absent
const char *orion_safetensors_spelling(orion_dtype d);  // "F32"; NULL for types that the format lacks
const char *orion_safetensors_meta(const orion_safetensors *s, const char *key);           // NULL if absent

// ---- writing ----

typedef struct orion_tensor_source {
  const char *name;
  orion_dtype dtype;           // that it is stored in
  int rank;
  int64_t dims[ORION_MAX_RANK];
  const orion_data *data;      // as many elements as dims say
} orion_tensor_source;

// Writes a file atomically, rows at a time, in bounded memory. Tensors with wider elements come first, so that every one
// is aligned; apart from that the order is kept.
orion_status orion_safetensors_write(const orion_allocator *a, const char *path, size_t n,
                                     const orion_tensor_source *tensors, size_t n_metadata,
                                     const orion_text_pair *metadata, orion_error *err);

#endif
