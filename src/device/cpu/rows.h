// Tensors seen as rows along some of their axes.
#ifndef ORION_DEVICE_CPU_ROWS_H
#define ORION_DEVICE_CPU_ROWS_H

#include "device/cpu/build.h"

typedef enum orion_cpu_row_kernel { ORION_CPU_SOFTMAX, ORION_CPU_LAYER_NORM, ORION_CPU_RMS_NORM } orion_cpu_row_kernel;

typedef struct orion_cpu_rows {
  int rank;  // dimensions of the rows' places
  int64_t dims[ORION_MAX_RANK], strides[ORION_MAX_RANK];
  size_t rows, n;  // how many, how long
  int64_t stride;  // between elements of a row
} orion_cpu_rows;

// Permutes *v so that the marked axes come last, and describes its rows. Axes that no single stride walks are copied
// into order first, or refused where `may_copy` is false.
orion_status orion_cpu_rows_last(orion_cpu_build *b, const bool *last, orion_cpu_view *v, orion_cpu_rows *out,
                                 bool may_copy, orion_error *err);

// log(sum(exp(x))) with the largest taken out first. `row` is scratch of n floats.
float orion_cpu_log_sum_exp(const orion_kernels *k, const float *x, size_t n, float *row);

#endif
