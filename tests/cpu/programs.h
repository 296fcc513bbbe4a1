// Random valid programs for the cpu device's tests: a few values of different shapes, then ops chosen among those that
// transformers are made of, each on values made before. The same seed gives the same program.
#ifndef TEST_CPU_PROGRAMS_H
#define TEST_CPU_PROGRAMS_H

#include <math.h>

#include "base/rng.h"
#include "ir/builder.h"
#include "ir/infer.h"
#include "orion/device.h"
#include "support/support.h"

enum { VALUES = 64 };

typedef struct generator {
  orion_rng rng;
  orion_builder b;
  orion_program *program;
  orion_dtype dtype;
  orion_ref values[VALUES];
  int n;
} generator;

static inline int64_t pick(generator *g, int64_t n) { return (int64_t)(orion_rng_u32(&g->rng) % (uint32_t)n); }

static inline const orion_type *type_of(const generator *g, orion_ref r) { return orion_ref_type(g->b.f, r); }

static inline void keep(generator *g, orion_ref r) {
  if (g->b.status == ORION_OK && g->n < VALUES) g->values[g->n++] = r;
}

static inline orion_ref random_weight(generator *g, orion_dtype dtype, int rank, const int64_t *dims, double spread) {
  size_t n = 1;
  for (int i = 0; i < rank; i++) n *= (size_t)dims[i];
  void *bytes;
  size_t rows = rank ? (size_t)dims[0] : 1;
  const orion_data *d = orion_data_new(g->program->data, dtype, rows, n / rows, &bytes);
  assert_non_null(d);
  for (size_t i = 0; i < n; i++) orion_store_double(dtype, bytes, i, (orion_rng_float(&g->rng) - 0.5) * 2 * spread);
  return orion_build_weight(&g->b, "w", d, rank, dims);
}

// A value seen as rows [T, C], by reshape.
static inline orion_ref as_rows(generator *g, orion_ref r) {
  const orion_type *t = type_of(g, r);
  if (t->rank == 2) return r;
  int64_t cols = t->rank ? t->dims[t->rank - 1] : 1, rows = 1;
  for (int i = 0; i + 1 < t->rank; i++) rows *= t->dims[i];
  return ORION_BUILD(&g->b, "rows", ORION_OP_reshape, {"x", r},
                     {"shape", orion_build_ints(&g->b, "s", 2, (int64_t[]){rows, cols})});
}

static inline void gen_linear(generator *g, orion_ref x) {
  x = as_rows(g, x);
  const orion_type *t = type_of(g, x);
  int64_t n = 8 * (1 + pick(g, 6)) + pick(g, 3);
  bool narrow = g->dtype == ORION_FP32 && pick(g, 2);
  orion_ref w =
      random_weight(g, narrow ? ORION_FP16 : g->dtype, 2, (int64_t[]){n, t->dims[1]}, 1 / sqrt((double)t->dims[1]));
  if (narrow)
    w = ORION_BUILD(&g->b, "wide", ORION_OP_cast, {"x", w}, {"dtype", orion_build_string(&g->b, "d", "fp32")});
  if (pick(g, 2)) {
    keep(g, ORION_BUILD(&g->b, "linear", ORION_OP_linear, {"x", x}, {"weight", w},
                        {"bias", random_weight(g, g->dtype, 1, &n, 1)}));
  } else {
    keep(g, ORION_BUILD(&g->b, "matmul", ORION_OP_matmul, {"x", x}, {"y", w},
                        {"transpose_x", orion_build_bool(&g->b, "tx", false)},
                        {"transpose_y", orion_build_bool(&g->b, "ty", true)}));
  }
}

static inline void gen_conv(generator *g, orion_ref x) {
  x = as_rows(g, x);
  const orion_type *t = type_of(g, x);
  int64_t C = t->dims[0], S = t->dims[1], O = 4 + pick(g, 30), k = 1 + 2 * pick(g, 2);
  orion_ref image = ORION_BUILD(&g->b, "image", ORION_OP_reshape, {"x", x},
                                {"shape", orion_build_ints(&g->b, "s", 4, (int64_t[]){1, C, 1, S})});
  orion_ref w = random_weight(g, g->dtype, 4, (int64_t[]){O, C, 1, k}, 1 / sqrt((double)(C * k)));
  keep(g, ORION_BUILD(&g->b, "conv", ORION_OP_conv, {"x", image}, {"weight", w},
                      {"pad_type", orion_build_string(&g->b, "p", "same")}));
}

static inline void gen_unary(generator *g, orion_ref x) {
  static const orion_opcode codes[] = {ORION_OP_tanh, ORION_OP_sigmoid, ORION_OP_silu, ORION_OP_relu,
                                       ORION_OP_abs,  ORION_OP_square,  ORION_OP_sin,  ORION_OP_erf};
  keep(g, ORION_BUILD(&g->b, "u", codes[pick(g, 8)], {"x", x}));
}

// With a value of the same shape, a number, a row, or a column.
static inline void gen_binary(generator *g, orion_ref x) {
  static const orion_opcode codes[] = {ORION_OP_add, ORION_OP_sub, ORION_OP_mul, ORION_OP_maximum};
  orion_opcode code = codes[pick(g, 4)];
  const orion_type *t = type_of(g, x);
  orion_ref y = ORION_NONE;
  int64_t how = pick(g, 4), dims[ORION_MAX_RANK];
  for (int i = 0; i < t->rank; i++) dims[i] = 1;
  for (int i = 0; how == 0 && i < g->n; i++) {
    const orion_type *o = type_of(g, g->values[i]);
    bool same = o->rank == t->rank;
    for (int k = 0; same && k < t->rank; k++) same = o->dims[k] == t->dims[k];
    if (same) y = g->values[i];
  }
  if (y == ORION_NONE && how == 1) y = orion_build_float(&g->b, "k", g->dtype, orion_rng_float(&g->rng));
  if (y == ORION_NONE) {
    if (how == 2 || t->rank < 2)
      dims[t->rank - 1] = t->dims[t->rank - 1];
    else
      dims[0] = t->dims[0];
    y = random_weight(g, g->dtype, t->rank, dims, 1);
  }
  if (pick(g, 2))
    keep(g, ORION_BUILD(&g->b, "bin", code, {"x", x}, {"y", y}));
  else
    keep(g, ORION_BUILD(&g->b, "bin", code, {"x", y}, {"y", x}));
}

static inline void gen_norm(generator *g, orion_ref x) {
  orion_builder *b = &g->b;
  const orion_type *t = type_of(g, x);
  int64_t n = t->dims[t->rank - 1], axis = -1;
  orion_ref gamma = random_weight(g, g->dtype, 1, &n, 1), axes = orion_build_ints(b, "axes", 1, &axis);
  switch (pick(g, 3)) {
    case 0:
      keep(g,
           ORION_BUILD(b, "softmax", ORION_OP_softmax, {"x", x}, {"axis", orion_build_int(b, "a", pick(g, t->rank))}));
      return;
    case 1:
      keep(g, ORION_BUILD(b, "ln", ORION_OP_layer_norm, {"x", x}, {"axes", axes}, {"gamma", gamma},
                          {"epsilon", orion_build_float(b, "e", g->dtype, 1e-2)}));
      return;
    default: {
      orion_ref s = ORION_BUILD(b, "sq", ORION_OP_mul, {"x", x}, {"y", x});
      orion_ref m = ORION_BUILD(b, "ms", ORION_OP_reduce_mean, {"x", s}, {"axes", axes},
                                {"keep_dims", orion_build_bool(b, "k", true)});
      orion_ref r =
          ORION_BUILD(b, "r", ORION_OP_rsqrt, {"x", m}, {"epsilon", orion_build_float(b, "e", g->dtype, 1e-2)});
      orion_ref y = ORION_BUILD(b, "xr", ORION_OP_mul, {"x", x}, {"y", r});
      keep(g, ORION_BUILD(b, "rms", ORION_OP_mul, {"x", y}, {"y", gamma}));
    }
  }
}

static inline void gen_move(generator *g, orion_ref x) {
  orion_builder *b = &g->b;
  const orion_type *t = type_of(g, x);
  int64_t perm[ORION_MAX_RANK], axis = pick(g, t->rank), half = t->dims[axis] / 2;
  switch (pick(g, 3)) {
    case 0:
      for (int i = 0; i < t->rank; i++) perm[i] = (i + 1) % t->rank;
      keep(g, ORION_BUILD(b, "t", ORION_OP_transpose, {"x", x}, {"perm", orion_build_ints(b, "p", t->rank, perm)}));
      return;
    case 1: {
      int64_t begin[ORION_MAX_RANK] = {0}, size[ORION_MAX_RANK];
      for (int i = 0; i < t->rank; i++) size[i] = t->dims[i];
      if (half < 1) return;
      begin[axis] = half / 2;
      size[axis] = half;
      keep(g, ORION_BUILD(b, "slice", ORION_OP_slice_by_size, {"x", x},
                          {"begin", orion_build_ints(b, "b", t->rank, begin)},
                          {"size", orion_build_ints(b, "n", t->rank, size)}));
      return;
    }
    default: {
      orion_ref y = ORION_BUILD(b, "neg", ORION_OP_mul, {"x", x}, {"y", orion_build_float(b, "m", g->dtype, -1)});
      if (t->dims[axis] > 64) return;
      orion_in rest[] = {
          {"axis", orion_build_int(b, "axis", axis)}, {"interleave", orion_build_bool(b, "i", pick(g, 2))}, {0}};
      keep(g, orion_build_tuple_op(b, "cat", ORION_OP_concat, "values", 2, (orion_ref[]){x, y}, rest));
    }
  }
}

// Two heads over a cache of fixed values and the new ones, with a mask.
static inline void gen_attention(generator *g, orion_ref x) {
  orion_builder *b = &g->b;
  x = as_rows(g, x);
  const orion_type *t = type_of(g, x);
  int64_t T = t->dims[0], n = t->dims[1], S = 4 + pick(g, 40), dims[] = {1, 2, S, n};
  if (n > 40 || T > 40) return;
  orion_ref one =
      ORION_BUILD(b, "h1", ORION_OP_reshape, {"x", x}, {"shape", orion_build_ints(b, "s", 4, (int64_t[]){1, 1, T, n})});
  orion_in axis1[] = {{"axis", orion_build_int(b, "a", 1)}, {"interleave", orion_build_bool(b, "i", false)}, {0}};
  orion_in axis2[] = {{"axis", orion_build_int(b, "a", 2)}, {"interleave", orion_build_bool(b, "i", false)}, {0}};
  orion_ref neg = ORION_BUILD(b, "h2", ORION_OP_mul, {"x", one}, {"y", orion_build_float(b, "m", g->dtype, -0.5)});
  orion_ref q = orion_build_tuple_op(b, "q", ORION_OP_concat, "values", 2, (orion_ref[]){one, neg}, axis1);
  orion_ref k = orion_build_tuple_op(b, "k", ORION_OP_concat, "values", 2,
                                     (orion_ref[]){random_weight(g, g->dtype, 4, dims, 1), q}, axis2);
  orion_ref v = orion_build_tuple_op(b, "v", ORION_OP_concat, "values", 2,
                                     (orion_ref[]){random_weight(g, g->dtype, 4, dims, 1), q}, axis2);
  void *bytes;
  const orion_data *mask = orion_data_new(g->program->data, g->dtype, (size_t)T, (size_t)(S + T), &bytes);
  int64_t valid = pick(g, S + 1);
  for (int64_t r = 0; r < T; r++) {
    for (int64_t c = 0; c < S + T; c++) {
      bool hidden = c < S ? c >= valid : c - S > r;
      orion_store_double(g->dtype, bytes, (size_t)(r * (S + T) + c), hidden ? -30000 : 0);
    }
  }
  orion_ref m = orion_build_weight(b, "mask", mask, 2, (int64_t[]){T, S + T});
  keep(g, ORION_BUILD(b, "sdpa", ORION_OP_scaled_dot_product_attention, {"query", q}, {"key", k}, {"value", v},
                      {"attn_mask", m}));
}

// Function main with inputs x0, x1 and some outputs. `ops` is how many groups of ops to make.
static inline orion_program *make_program(uint64_t seed, orion_dtype dtype, int ops, const orion_allocator *a) {
  generator g = {.dtype = dtype};
  orion_error err = {0};
  orion_function *f;
  orion_rng_seed(&g.rng, seed, 7);
  assert_ok(orion_program_create(a, NULL, &g.program, &err), &err);
  assert_ok(orion_program_add_function(g.program, "main", "ios18", &f, &err), &err);
  orion_builder_init(&g.b, f);
  int64_t T = 1 + pick(&g, 20), C = 8 + pick(&g, 60);
  keep(&g, orion_build_param(&g.b, "x0", dtype, 2, (int64_t[]){T, C}));
  keep(&g, orion_build_param(&g.b, "x1", dtype, 3, (int64_t[]){2, 1 + pick(&g, 9), 16}));
  for (int i = 0; i < ops; i++) {
    orion_ref x = g.values[g.n > 6 && pick(&g, 3) ? g.n - 1 - pick(&g, 4) : pick(&g, g.n)];
    if (pick(&g, 10) < 5) {
      if (pick(&g, 2))
        gen_unary(&g, x);
      else
        gen_binary(&g, x);
      continue;
    }
    switch (pick(&g, 5)) {
      case 0:
        gen_linear(&g, x);
        break;
      case 1:
        gen_conv(&g, x);
        break;
      case 2:
        gen_norm(&g, x);
        break;
      case 3:
        gen_move(&g, x);
        break;
      default:
        gen_attention(&g, x);
        break;
    }
  }
  int outputs = 0;
  for (int i = g.n - 1; i >= 2 && outputs < 4; i -= 1 + (int)pick(&g, 3)) {
    char name[16];
    snprintf(name, sizeof name, "y%d", outputs++);
    orion_build_output(&g.b, g.values[i], name);
  }
  assert_ok(orion_builder_finish(&g.b, &err), &err);
  assert_ok(orion_verify_ok(g.program, &err), &err);
  return g.program;
}

#endif
