// The factors of a product of many rows, seen as vectors along k: rows of A, columns of B. What packs them for matrix
// instructions asks here where a vector's elements lie. Include after a v16 header and body_lanes.h.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_VECTORS_H
#define ORION_DEVICE_CPU_KERNELS_BODY_VECTORS_H

// Element k of vector v is v * vector + k * step elements on.
typedef struct vectors {
  const void *data;
  orion_kernel_type type;  // of halves, vectors lie side by side
  size_t vector, step;
} vectors;

INLINE vectors vectors_at(const vectors *all, size_t v, size_t k) {
  vectors at = *all;
  at.data = (const char *)all->data + (v * all->vector + k * all->step) * orion_kernel_type_size(all->type);
  return at;
}
INLINE vectors left_vectors(orion_matrix a, size_t row, size_t k) {
  return (vectors){a.data + row * a.row + k * a.col, ORION_KERNEL_F32, a.row, a.col};
}

// The right factor: a matrix, or packed weights.
typedef struct right_factor {
  orion_matrix matrix;
  const orion_panels *panels;  // NULL: the matrix
} right_factor;

// Columns from j on; of packed weights to the end of j's panel.
INLINE vectors right_vectors(const right_factor *b, size_t j, size_t k) {
  const orion_matrix *m = &b->matrix;
  if (!b->panels) return (vectors){m->data + j * m->col + k * m->row, ORION_KERNEL_F32, m->col, m->row};
  const vectors all = {b->panels->data, b->panels->type, 1, 16};
  return vectors_at(&all, j % 16, j / 16 * b->panels->cols + k);
}

// Columns [n0, n1), n0 where a panel begins.
static void add_bias(float *y, size_t y_stride, size_t rows, const float *bias, size_t n0, size_t n1) {
  for (size_t r = 0; r < rows; r++) {
    for (size_t j = n0; j < n1; j += 16) {
      size_t lanes = n1 - j < 16 ? n1 - j : 16;
      float *to = y + r * y_stride + j;
      store_lanes(to, v16_add(load_lanes(to, lanes), load_lanes(bias + j, lanes)), lanes);
    }
  }
}

#endif
