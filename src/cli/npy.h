// NumPy's .npy files: what commands exchange tensors in.
#ifndef ORION_CLI_NPY_H
#define ORION_CLI_NPY_H

#include "base/file.h"
#include "ir/dtype.h"
#include "orion/device.h"

typedef struct npy {
  orion_dtype dtype;
  int rank;
  int64_t dims[ORION_SURFACE_RANK];
  const void *data;      // row-major elements inside the map
  orion_file_map map;
} npy;

orion_status npy_open(const char *path, npy *out, orion_error *err);  // version 1 to 3, C order, little endian
void npy_close(npy *n);
// Header of a file whose elements follow: bool, integers of 8 to 64 bits, fp16, fp32, fp64.
orion_status npy_write_header(orion_file_writer *w, orion_dtype dtype, int rank, const int64_t *dims, orion_error *err);
orion_status npy_write(const char *path, orion_dtype dtype, int rank, const int64_t *dims, const void *data,
                       size_t bytes, orion_error *err);

#endif
