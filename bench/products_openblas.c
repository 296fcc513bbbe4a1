// OpenBLAS in bench/products: sgemm on plain arrays. It has no packing ahead, and packs in every call.
#include <cblas.h>

#include "products.h"

static bool begin(contestant *self, const work *w) {
  self->state = (void *)(size_t)w;
  openblas_set_num_threads(self->threads);
  return true;
}

static void run(contestant *self, size_t copy) {
  const work *w = self->state;
  bool a_turned = w->a_col != 1, b_turned = w->b_col != 1;
  cblas_sgemm(CblasRowMajor, a_turned ? CblasTrans : CblasNoTrans, b_turned ? CblasTrans : CblasNoTrans, (int)w->m,
              (int)w->n, (int)w->k, 1, w->a, (int)(a_turned ? w->a_col : w->a_row), w->b + copy * w->b_step,
              (int)(b_turned ? w->b_col : w->b_row), 0, w->c + copy * w->c_step, (int)w->n);
}

static const float *result(contestant *self, size_t copy) {
  const work *w = self->state;
  return w->c + copy * w->c_step;
}

static void end(contestant *self) { self->state = NULL; }

size_t openblas_contestants(contestant *out, int threads) {
  *out = (contestant){.name = "OpenBLAS", .peer = true, .begin = begin, .run = run, .result = result, .end = end,
                      .threads = threads};
  return 1;
}
