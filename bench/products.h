// What bench/products measures: one matrix product as every contestant gets it, and what a contestant is.
#ifndef ORION_BENCH_PRODUCTS_H
#define ORION_BENCH_PRODUCTS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum work_kind {
  WORK_FORWARD,  // y [T,N] = x [T,K] W^T, W [N,K] known long before: packed ahead in whatever layout
  WORK_Y,        // the same of a W that has just been changed, as in training: packing is part of the time
  WORK_DX,       // dx [T,K] = dy [T,N] W
  WORK_DW,       // dW [N,K] = dy^T x
  WORK_KINDS
} work_kind;

// C [m,n] = A [m,k] B [k,n], strides in elements. There are `copies` of what has W's shape, B or in WORK_DW C, so that it
// comes from memory and not from a cache.
typedef struct work {
  work_kind kind;
  size_t T, N, K;
  size_t m, n, k;
  size_t a_row, a_col, b_row, b_col;
  const float *a, *b;
  float *c;
  size_t copies, b_step, c_step;  // elements between copies; 0: all are one
} work;

typedef struct contestant contestant;
struct contestant {
  const char *name;
  bool half;                                      // operands of 16 bits
  bool peer;                                      // not Orion
  bool (*begin)(contestant *self, const work *w); // false: it has no such product
  void (*run)(contestant *self, size_t copy);
  const float *(*result)(contestant *self, size_t copy);
  void (*end)(contestant *self);                  // also after a failed begin
  int variant, threads;
  void *state;
};

// Appends those that this build and this machine have; returns how many.
size_t orion_contestants(contestant *out, int threads);
size_t onednn_contestants(contestant *out, int threads);
size_t openblas_contestants(contestant *out, int threads);

_Noreturn void products_fail(const char *what, const char *why);

#endif
