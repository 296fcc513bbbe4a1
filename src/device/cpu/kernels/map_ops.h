// The elementwise operations, one row each: enum name, kernel name, how many arrays it reads. The rows drive the enum,
// the tables of every level, the names in logs, and the tests. p and q are the call's scalar parameters.
#ifndef ORION_DEVICE_CPU_KERNELS_MAP_OPS_H
#define ORION_DEVICE_CPU_KERNELS_MAP_OPS_H

// Written once over vectors and compiled for every level.
#define ORION_MAP_VECTOR_OPS(X)                                                                                        \
  X(COPY, copy, 1)                                                                                                     \
  X(FILL, fill, 0)                   /* p */                                                                           \
  X(ADD, add, 2)                                                                                                       \
  X(SUB, sub, 2)                                                                                                       \
  X(MUL, mul, 2)                                                                                                       \
  X(DIV, div, 2)                                                                                                       \
  X(MAX, max, 2)                     /* NaN if either is, as min */                                                    \
  X(MIN, min, 2)                                                                                                       \
  X(MOD, mod, 2)                     /* a - floor(a / b) * b */                                                        \
  X(FLOOR_DIV, floor_div, 2)                                                                                           \
  X(PRELU, prelu, 2)                 /* a > 0 ? a : a * b */                                                           \
  X(EQUAL, equal, 2)                 /* comparisons and logic give 1 or 0 */                                           \
  X(NOT_EQUAL, not_equal, 2)                                                                                           \
  X(LESS, less, 2)                                                                                                     \
  X(LESS_EQUAL, less_equal, 2)                                                                                         \
  X(GREATER, greater, 2)                                                                                               \
  X(GREATER_EQUAL, greater_equal, 2)                                                                                   \
  X(LOGICAL_AND, logical_and, 2)     /* anything but 0 is true */                                                      \
  X(LOGICAL_OR, logical_or, 2)                                                                                         \
  X(LOGICAL_XOR, logical_xor, 2)                                                                                       \
  X(LOGICAL_NOT, logical_not, 1)                                                                                       \
  X(MUL_ADD, mul_add, 2)             /* a + p * b, fused where the level has it */                                     \
  X(ADD_SCALAR, add_scalar, 1)       /* a + p */                                                                       \
  X(SUB_SCALAR, sub_scalar, 1)       /* a - p */                                                                       \
  X(SCALAR_SUB, scalar_sub, 1)       /* p - a */                                                                       \
  X(MUL_SCALAR, mul_scalar, 1)       /* a * p */                                                                       \
  X(DIV_SCALAR, div_scalar, 1)       /* a / p */                                                                       \
  X(SCALAR_DIV, scalar_div, 1)       /* p / a */                                                                       \
  X(MAX_SCALAR, max_scalar, 1)       /* max(a, p), as min: NaN if either is */                                         \
  X(MIN_SCALAR, min_scalar, 1)                                                                                         \
  X(LINEAR, linear, 1)               /* p * a + q, rounded twice as MIL's linear_activation is */                      \
  X(ABS, abs, 1)                                                                                                       \
  X(NEG, neg, 1)                                                                                                       \
  X(SQUARE, square, 1)                                                                                                 \
  X(SQRT, sqrt, 1)                                                                                                     \
  X(RSQRT, rsqrt, 1)                 /* 1 / sqrt(a + p) */                                                             \
  X(INVERSE, inverse, 1)             /* 1 / (a + p) */                                                                 \
  X(CLIP, clip, 1)                   /* min(q, max(p, a)), NaN kept */                                                 \
  X(SIGN, sign, 1)                                                                                                     \
  X(FLOOR, floor, 1)                                                                                                   \
  X(CEIL, ceil, 1)                                                                                                     \
  X(ROUND, round, 1)                 /* halves to even */                                                              \
  X(TRUNC, trunc, 1)                                                                                                   \
  X(TO_HALF, to_half, 1)             /* rounded to binary16 and back: what a cast to fp16 leaves */                    \
  X(EXP, exp, 1)                                                                                                       \
  X(EXP2, exp2, 1)                                                                                                     \
  X(LOG, log, 1)                     /* log(a + p) */                                                                  \
  X(SIN, sin, 1)                                                                                                       \
  X(COS, cos, 1)                                                                                                       \
  X(TANH, tanh, 1)                                                                                                     \
  X(ERF, erf, 1)                                                                                                       \
  X(SIGMOID, sigmoid, 1)                                                                                               \
  X(GELU, gelu, 1)                   /* exact: a/2 (1 + erf(a / sqrt 2)) */                                            \
  X(GELU_TANH, gelu_tanh, 1)                                                                                           \
  X(GELU_SIGMOID, gelu_sigmoid, 1)   /* a sigmoid(1.702 a) */                                                          \
  X(SILU, silu, 1)                                                                                                     \
  X(RELU, relu, 1)                                                                                                     \
  X(LEAKY_RELU, leaky_relu, 1)       /* a > 0 ? a : p a */                                                             \
  X(THRESHOLDED_RELU, thresholded_relu, 1) /* a >= p ? a : 0 */                                                        \
  X(ELU, elu, 1)                     /* a > 0 ? a : p (exp(a) - 1) */                                                  \
  X(SIGMOID_HARD, sigmoid_hard, 1)   /* min(1, max(0, p a + q)) */                                                     \
  X(SCALED_TANH, scaled_tanh, 1)     /* p tanh(q a) */                                                                 \
  X(SOFTPLUS, softplus, 1)                                                                                             \
  X(SOFTSIGN, softsign, 1)

// Rare ones: one C library call per element, on every level.
#define ORION_MAP_SCALAR_OPS(X)                                                                                        \
  X(POW, pow, 2)                                                                                                       \
  X(SCALAR_POW, scalar_pow, 1)       /* p ^ a */                                                                       \
  X(TAN, tan, 1)                                                                                                       \
  X(ASIN, asin, 1)                                                                                                     \
  X(ACOS, acos, 1)                                                                                                     \
  X(ATAN, atan, 1)                                                                                                     \
  X(SINH, sinh, 1)                                                                                                     \
  X(COSH, cosh, 1)                                                                                                     \
  X(ASINH, asinh, 1)                                                                                                   \
  X(ACOSH, acosh, 1)                                                                                                   \
  X(ATANH, atanh, 1)

// a ^ p: vector code for p = -1, -0.5, 0.5, 1, 2 and 3, else the C library.
#define ORION_MAP_POWER_OP(X) X(POW_SCALAR, pow_scalar, 1)

#define ORION_MAP_OPS(X) ORION_MAP_VECTOR_OPS(X) ORION_MAP_POWER_OP(X) ORION_MAP_SCALAR_OPS(X)

#endif
