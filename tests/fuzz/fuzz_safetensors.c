// Any bytes as a safetensors file: what is accepted must be whole, in bounds and findable.
#include <stdlib.h>

#include "fuzz/fuzz.h"
#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  orion_safetensors *s;
  orion_error err;
  if (orion_safetensors_parse(NULL, "fuzz", data, size, &s, &err) != ORION_OK) return 0;
  volatile uint8_t sum = 0;
  size_t covered = 0;
  for (size_t i = 0; i < s->n_tensors; i++) {
    const orion_stored_tensor *t = &s->tensors[i];
    for (size_t k = 0; k < t->size; k++) sum = (uint8_t)(sum + t->bytes[k]);
    covered += t->size;
    if (orion_safetensors_find(s, t->name) != t) abort();
  }
  if (covered > size) abort();
  for (size_t i = 0; i < s->n_metadata; i++) {
    if (!orion_safetensors_meta(s, s->metadata[i].key)) abort();
  }
  orion_safetensors_close(s);
  return 0;
}
