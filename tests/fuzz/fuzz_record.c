// Records of device calls: all that an entry shows lies inside the file; programs that parse have their constants, and
// replay either works or says why not.
#include "fuzz/fuzz.h"

#include <stdlib.h>

#include "device/record/record.h"

static uint64_t sum_of(orion_record_span s, const uint8_t *data, size_t size) {
  uint64_t sum = 0;
  const uint8_t *p = (const uint8_t *)s.text;
  if (s.n && (p < data || s.n > size || p > data + size - s.n)) abort();
  for (size_t i = 0; i < s.n; i++) sum += p[i];
  return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  orion_record *r;
  orion_record_entry e;
  orion_error err = {0};
  bool more = true;
  uint64_t sum = 0;
  if (orion_record_open_memory(NULL, "input", data, size, &r, &err) != ORION_OK) return 0;
  while (orion_record_next(r, &e, &more, &err) == ORION_OK && more) {
    const orion_record_span spans[] = {e.spec, e.family, e.numerics, e.function, e.mil, e.message, e.value, e.bytes};
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) sum += sum_of(spans[i], data, size);
    for (size_t i = 0; i < e.n_blobs; i++) sum += sum_of(e.blobs[i].bytes, data, size);
    for (size_t i = 0; i < e.n_tensors; i++) {
      sum += sum_of(e.tensors[i].name, data, size) + sum_of(e.tensors[i].bytes, data, size);
      if (e.tensors[i].bytes.n && e.tensors[i].bytes.n != e.tensors[i].layout.bytes) abort();
    }
    orion_program *p = NULL;
    if (e.kind == ORION_RECORD_PROGRAM && e.mil.n && orion_record_program(&e, NULL, &p, &err) == ORION_OK) {
      orion_program_destroy(p);
    }
  }
  orion_record_close(r);
  return (int)(sum & 0);
}
