// Any bytes as a llama2.c model: what is accepted has all its weights inside the file.
#include <stdlib.h>

#include "fuzz/fuzz.h"
#include "model/parts.h"

static void read_all(const orion_data *x) {
  float *row = calloc(x->cols, sizeof *row);
  for (size_t r = 0; row && r < x->rows; r++) {
    if (orion_data_read(x, ORION_FP32, r, 1, row, NULL) != ORION_OK) break;
  }
  free(row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t *aligned = malloc(size ? size : 1);  // as a mapped file is
  if (!aligned) return 0;
  for (size_t i = 0; i < size; i++) aligned[i] = data[i];
  orion_model *m;
  orion_error err;
  if (orion_llama2c_parse(NULL, "fuzz", ".", aligned, size, &m, &err) == ORION_OK) {
    for (int64_t i = 0; i < m->config.layers; i++) {
      read_all(m->layers[i].wq);
      read_all(m->layers[i].wk);
      read_all(m->layers[i].down);
    }
    read_all(m->embedding);
    read_all(m->classifier);
    orion_model_close(m);
  }
  free(aligned);
  return 0;
}
