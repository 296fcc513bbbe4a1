// Short words for opening in the engine's layout: each builds one fp16 operation of l->to, named after its stem. Shared by
// the files that open forward (open_channels.c) and training graphs (open_channels_training.c, channels_io.c).
#ifndef ORION_LOWER_CHANNELS_H
#define ORION_LOWER_CHANNELS_H

#include <string.h>

#include "lower/lower_internal.h"

#define CHANNELS_GROUPS 64  // query heads that share a key head, at most

// How a value of the graph lies in the program. Positions are what T counts: B sequences one after another.
typedef enum channels_form {
  CHANNELS_POSITIONS,  // [T, C] as [1, C, 1, T]; scalars stay scalars
  CHANNELS_MATRIX,     // a weight [O, I] as [1, 1, O, I]
  CHANNELS_VECTOR,     // a weight [C] as [1, C, 1, 1]
  CHANNELS_TABLE,      // a constant [T, C] as [1, 1, C, T]
} channels_form;

static inline orion_ref constant(lowering *l, const char *stem, double v) {
  return orion_build_float(&l->b, stem, ORION_FP16, v);
}

static inline orion_ref unary(lowering *l, const char *stem, orion_opcode code, orion_ref x) {
  return ORION_BUILD(&l->b, stem, code, {"x", x});
}

static inline orion_ref binary(lowering *l, const char *stem, orion_opcode code, orion_ref x, orion_ref y) {
  return ORION_BUILD(&l->b, stem, code, {"x", x}, {"y", y});
}

static inline orion_ref reduce(lowering *l, const char *stem, orion_opcode code, orion_ref x, int64_t axis) {
  return ORION_BUILD(&l->b, stem, code, {"x", x}, {"axes", orion_build_ints(&l->b, "axes", 1, &axis)},
                     {"keep_dims", orion_build_bool(&l->b, "keep", true)});
}

static inline orion_ref reshape(lowering *l, const char *stem, orion_ref x, int64_t d0, int64_t d1, int64_t d2, int64_t d3) {
  const orion_type *t = orion_ref_type(l->to, x);
  const int64_t dims[4] = {d0, d1, d2, d3};
  if (t && t->rank == 4 && memcmp(t->dims, dims, sizeof dims) == 0) return x;
  return ORION_BUILD(&l->b, stem, ORION_OP_reshape, {"x", x}, {"shape", orion_build_ints(&l->b, "shape", 4, dims)});
}

static inline orion_ref transpose(lowering *l, const char *stem, orion_ref x, const int64_t perm[4]) {
  return ORION_BUILD(&l->b, stem, ORION_OP_transpose, {"x", x}, {"perm", orion_build_ints(&l->b, "perm", 4, perm)});
}

static inline orion_ref matmul(lowering *l, const char *stem, orion_ref x, orion_ref y, bool tx, bool ty) {
  return ORION_BUILD(&l->b, stem, ORION_OP_matmul, {"x", x}, {"y", y},
                     {"transpose_x", orion_build_bool(&l->b, "tx", tx)},
                     {"transpose_y", orion_build_bool(&l->b, "ty", ty)});
}

static inline orion_ref softmax(lowering *l, const char *stem, orion_ref x) {
  return ORION_BUILD(&l->b, stem, ORION_OP_softmax, {"x", x}, {"axis", orion_build_int(&l->b, "axis", -1)});
}

static inline orion_ref slice(lowering *l, const char *stem, orion_ref x, const int64_t begin[4], const int64_t size[4]) {
  return ORION_BUILD(&l->b, stem, ORION_OP_slice_by_size, {"x", x}, {"begin", orion_build_ints(&l->b, "begin", 4, begin)},
                     {"size", orion_build_ints(&l->b, "size", 4, size)});
}

// Rows [begin, begin+size) of the height axis of [1, H, n, T].
static inline orion_ref rows(lowering *l, const char *stem, orion_ref x, int64_t H, int64_t begin, int64_t size, int64_t T) {
  return slice(l, stem, x, (int64_t[]){0, 0, begin, 0}, (int64_t[]){1, H, size, T});
}

// n tensors one after another along the height axis.
orion_ref orion_channels_concat_rows(lowering *l, const char *stem, size_t n, const orion_ref *parts);

// A vector of weights (gamma, a bias) in the shape in which its use broadcasts it: dims multiply to its length.
orion_ref orion_channels_vector(lowering *l, const orion_op *op, const char *arg, int64_t d1, int64_t d2);

// ---- norms ---- x [1, C, 1, T] (axis 1) or [1, groups, n, T] (axis 2)
typedef struct channels_norm {
  orion_ref hat;      // (x - mean) / sqrt(variance + eps), or without the mean
  orion_ref r;        // 1 / sqrt(mean(u^2) + e) of the scaled u
  orion_ref inverse;  // 1 / a: x's own 1 / sqrt(...) is r * inverse
} channels_norm;
channels_norm orion_channels_norm(lowering *l, orion_ref x, int64_t axis, double epsilon, bool centred);

// ---- attention ----
typedef struct channels_heads {
  int64_t B, T, KV, G, n;  // B sequences of T positions; G query heads of n features share each of KV key heads
} channels_heads;
channels_heads orion_channels_heads_of(const lowering *l, const orion_op *op);
// [1, KV*rows, 1, B*T] -> [1, KV*B, rows, T] and back; reshapes where there is one sequence.
orion_ref orion_channels_split_heads(lowering *l, const char *stem, orion_ref x, const channels_heads *h, int64_t rows);
orion_ref orion_channels_join_heads(lowering *l, const char *stem, orion_ref x, const channels_heads *h, int64_t rows);

// ---- training (open_channels_training.c) ---- Opens what only training graphs have; false: not such an operation.
bool orion_channels_open_training(lowering *l, const orion_op *op);
// y = W x of a weight that is an input, or a constant that changes.
orion_ref orion_channels_open_product(lowering *l, const orion_op *op);

// ---- inputs and outputs (channels_io.c) ----
// Notes in l->form which parameters and constants are weights.
orion_status orion_channels_find_forms(lowering *l, orion_error *err);
orion_status orion_channels_open_params(lowering *l, orion_error *err);
// A constant of a training graph: a weight under its own name, a table, a scalar.
orion_ref orion_channels_open_const(lowering *l, const orion_op *op);
orion_ref orion_channels_output(lowering *l, orion_ref y, const char *logical, const char *name, channels_form form,
                                int64_t rows, int64_t cols, int64_t first_col);

#endif
