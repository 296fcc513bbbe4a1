// Products of two matrices in memory, cut into pieces for all threads: what product steps are made of (steps_matmul.c), and
// steps that multiply more than once (steps_classifier.c).
#ifndef ORION_DEVICE_CPU_PRODUCTS_H
#define ORION_DEVICE_CPU_PRODUCTS_H

#include "device/cpu/build.h"

// Pieces of [m, n]: all of rows x cols but the last ones.
typedef struct orion_cpu_cut {
  size_t rows, cols, row_blocks, col_blocks;
} orion_cpu_cut;

// Of `batches` products alike; no piece has more than most_rows x most_cols. How the work is cut does not show in the result
// (kernels.h), so it may depend on the number of threads.
orion_cpu_cut orion_cpu_product_cut(const orion_cpu_exec *x, size_t batches, size_t m, size_t n, size_t most_rows,
                                    size_t most_cols);

typedef struct orion_cpu_product {
  float *c;           // [m, n]
  size_t c_stride;
  orion_matrix a, b;  // [m, k], [k, n]
  size_t m, n, k;
  bool add;           // to what c holds
  bool many, fast;    // by matmul_many, and how; who cuts a product chooses by the sizes of the whole
} orion_cpu_product;

size_t orion_cpu_product_scratch(bool many);  // bytes of each worker's scratch, from its start on
void orion_cpu_product_piece(const orion_kernels *k, const orion_cpu_product *p, void *scratch);  // by one thread
void orion_cpu_product_run(const orion_cpu_exec *x, const orion_cpu_product *p);                  // by all

#endif
