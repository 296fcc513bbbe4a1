// Adapters with random numbers, lively enough that leaving one out shows.
#ifndef TEST_ADAPTERS_H
#define TEST_ADAPTERS_H

#include "model/adapter.h"
#include "support/support.h"

static inline const orion_data *test_random_matrix(orion_adapter *a, int64_t rows, int64_t cols, unsigned *seed, double size) {
  void *bytes;
  const orion_data *x = orion_data_new(a->data, ORION_FP32, (size_t)rows, (size_t)cols, &bytes);
  assert_non_null(x);
  for (int64_t i = 0; i < rows * cols; i++) {
    *seed = *seed * 1664525u + 1013904223u;
    ((float *)bytes)[i] = (float)(((double)(*seed >> 8) / (1 << 24) - 0.5) * size);
  }
  return x;
}

// Of the given rank and projections (0: all that the model has); q, k and v of GPT-2 share a, as its files want it.
static inline orion_adapter *test_adapter(const orion_model *m, int64_t rank, unsigned targets, unsigned seed) {
  orion_adapter *a;
  orion_error err;
  assert_ok(orion_adapter_create(NULL, &m->config, "random adapter", &a, &err), &err);
  a->rank = rank;
  a->targets = targets ? targets : orion_projection_all(&m->config);
  for (int64_t layer = 0; layer < m->config.layers; layer++) {
    const orion_data *joint = NULL;
    for (int p = 0; p < ORION_PROJECTIONS; p++) {
      int64_t in, out;
      if (!(a->targets >> p & 1)) continue;
      orion_projection_shape(&m->config, (orion_projection)p, &in, &out);
      bool share = m->config.family == ORION_FAMILY_GPT2 && p <= ORION_PROJECTION_V;
      orion_adapter_part *part = orion_adapter_at(a, layer, (orion_projection)p);
      part->a = share && joint ? joint : test_random_matrix(a, rank, in, &seed, 0.4);
      if (share) joint = part->a;
      part->b = test_random_matrix(a, out, rank, &seed, 0.4);
      part->rank = rank;
      part->scale = 2;
    }
  }
  return a;
}

#endif
