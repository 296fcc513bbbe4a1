// Blob files: every tensor of a file that opens lies inside it, can be found by its record, and can be read.
#include "fuzz/fuzz.h"

#include <stdlib.h>

#include "mil/blob.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  orion_blob_file *f;
  orion_error err = {0};
  if (orion_blob_open_memory(NULL, "input", data, size, &f, &err) != ORION_OK) return 0;
  size_t n;
  uint64_t sum = 0;
  const orion_blob_tensor *t = orion_blob_tensors(f, &n);
  for (size_t i = 0; i < n; i++) {
    orion_blob_tensor again;
    if (orion_blob_find(f, t[i].record, &again, &err) != ORION_OK || again.bytes != t[i].bytes) abort();
    if (t[i].bytes < data || t[i].size > size || t[i].bytes > data + size - t[i].size) abort();
    for (size_t b = 0; b < t[i].size; b++) sum += t[i].bytes[b];
    if (t[i].elements) sum += (uint64_t)orion_load_int(t[i].dtype, t[i].bytes, t[i].elements - 1);
  }
  // Records that the header does not count are looked up all the same: any multiple of 64 may be asked for.
  for (uint64_t at = 0; at <= size + 64; at += 64) {
    orion_blob_tensor found;
    if (orion_blob_find(f, at, &found, &err) == ORION_OK && found.size) sum += found.bytes[found.size - 1];
  }
  orion_blob_close(f);
  return (int)(sum & 0);
}
