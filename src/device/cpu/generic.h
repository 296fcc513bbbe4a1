// Operations that models seldom use, done simply: one element at a time through the accessors of ir/dtype.h, exact for
// integers, in double for floats and rounded when stored. One thread. Operands are packed.
#ifndef ORION_DEVICE_CPU_GENERIC_H
#define ORION_DEVICE_CPU_GENERIC_H

#include "device/cpu/build.h"

enum { ORION_GENERIC_INPUTS = 12 };

typedef struct orion_generic_step {
  orion_opcode code;
  int64_t i[32];  // parameters, as each operation's preparation lays them out
  double d[4];
  const char *mode;
  bool has[ORION_GENERIC_INPUTS];
} orion_generic_step;

typedef orion_status (*orion_generic_run)(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                          orion_error *err);
// Reads parameters; inputs are views already, in the order of `inputs`.
typedef orion_status (*orion_generic_prepare)(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in,
                                              orion_generic_step *d, orion_error *err);

typedef struct orion_generic_op {
  orion_opcode code;
  const char *inputs[ORION_GENERIC_INPUTS];  // arguments that are tensors; "?" in front: optional
  orion_generic_prepare prepare;             // may be NULL
  orion_generic_run run;
} orion_generic_op;

// Each file of operations gives its rows; the table is their union (generic.c).
extern const orion_generic_op orion_generic_elementwise[], orion_generic_move[], orion_generic_index[],
    orion_generic_misc[], orion_generic_norm[], orion_generic_quant[], orion_generic_products[];

// Element access for run functions.
static inline double orion_generic_get(const orion_cpu_exec *x, const orion_cpu_view *v, size_t i) {
  return orion_load_double(v->dtype, x->base[v->buffer], (size_t)v->offset + i);
}
static inline int64_t orion_generic_int(const orion_cpu_exec *x, const orion_cpu_view *v, size_t i) {
  return orion_load_int(v->dtype, x->base[v->buffer], (size_t)v->offset + i);
}
static inline void orion_generic_set(const orion_cpu_exec *x, const orion_cpu_view *v, size_t i, double value) {
  orion_store_double(v->dtype, x->base[v->buffer], (size_t)v->offset + i, value);
}
static inline void orion_generic_set_int(const orion_cpu_exec *x, const orion_cpu_view *v, size_t i, int64_t value) {
  orion_store_int(v->dtype, x->base[v->buffer], (size_t)v->offset + i, value);
}
// Moves one element exactly between views of one type.
void orion_generic_move_element(const orion_cpu_exec *x, const orion_cpu_view *to, size_t i, const orion_cpu_view *from,
                                size_t j);

// Coordinates of element i, and back.
static inline void orion_generic_coords(const orion_cpu_view *v, size_t i, int64_t *out) {
  for (int d = v->rank - 1; d >= 0; d--) {
    out[d] = (int64_t)(i % (size_t)v->dims[d]);
    i /= (size_t)v->dims[d];
  }
}
static inline size_t orion_generic_index_of(const orion_cpu_view *v, const int64_t *c) {
  size_t i = 0;
  for (int d = 0; d < v->rank; d++) i = i * (size_t)v->dims[d] + (size_t)c[d];
  return i;
}
// Element of a broadcast operand for coordinates of the result.
size_t orion_generic_broadcast(const orion_cpu_view *v, const int64_t *c, int rank);
bool orion_generic_broadcasts(const orion_cpu_view *v, const orion_type *t);

#endif
