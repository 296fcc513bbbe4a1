// The simulated ANE: an interpreter of MIL, operation by operation, in plain loops. It is the oracle that faster devices
// are measured against, so it is written to be read; what may differ between chip families (how products are summed,
// how functions are evaluated, how results are rounded) stands behind orion_sim_arith.
//
// Memory: every element takes four bytes, a float for floating types (always a value its dtype can hold) and an
// int32_t for integers and bools. Movement is then the same for all types. Constants are made once, at compile;
// everything else lives in one arena planned by lifetime. A run allocates nothing.
#ifndef ORION_DEVICE_SIM_SIM_H
#define ORION_DEVICE_SIM_SIM_H

#include "device/device.h"

typedef struct orion_sim_tensor {
  orion_dtype dtype;
  int rank;
  int64_t dims[ORION_MAX_RANK];
  size_t n;                     // elements
  bool constant;                // known at compile
  union {
    void *data;
    float *f;                   // floating dtypes
    int32_t *i;                 // integers, bool
    uint32_t *word;             // whichever: movement
  };
} orion_sim_tensor;

typedef struct orion_sim_arg {
  const char *name;
  orion_sim_tensor **t;         // n tensors (1 unless the argument is a tuple); NULL for a string
  size_t n;
  const char *text;             // a string argument
  bool given;                   // false: a default of the op table
} orion_sim_arg;

// A convolution of int8 numbers in disguise: both operands come out of a dequantisation.
typedef struct orion_sim_int8 {
  const orion_sim_tensor *x, *x_scale, *x_zero;  // x_zero, w_zero: NULL or a tensor
  const orion_sim_tensor *w, *w_scale, *w_zero;
} orion_sim_int8;

struct orion_sim_kernel;

typedef struct orion_sim_op {
  orion_opcode code;
  const struct orion_sim_kernel *kernel;
  const struct orion_sim_arith *arith;
  const uint16_t *curve;        // its results for all fp16 numbers, or NULL
  const orion_sim_int8 *int8;   // of a convolution, or NULL
  size_t tally;                 // row of the device's counts, or SIZE_MAX
  uint8_t flaw;                 // orion_sim_flaw: what it does wrongly, as the engine would
  const char *name;             // of the first result, for messages
  orion_sim_arg *args;
  size_t n_args;
  orion_sim_tensor **out;
  size_t n_out;
} orion_sim_op;

// ---- arithmetic of a family ----

// Rows of weights times a panel whose columns lie side by side: out[r * row_step + c * column_step] = bias[r] + the sum
// over i of rows[r * row_stride + i] * panel[i * ldx + c].
typedef struct orion_sim_product {
  size_t k, n;                  // terms, columns
  const float *rows;
  size_t row_stride;
  const float *panel;
  size_t ldx;
  const float *bias;            // by row, or NULL
  float *out;
  size_t row_step, column_step;
} orion_sim_product;

typedef struct orion_sim_arith {
  const char *family;
  const char *numerics;         // one line
  void (*product)(const orion_sim_product *p, size_t begin, size_t end);  // rows [begin, end): all multiply-accumulates
  // An elementwise function of one number, parameters as in MIL (alpha, beta or epsilon first).
  float (*unary)(orion_opcode code, float x, float alpha, float beta);
  float (*gelu)(char mode, float x);  // mode: E exact, T tanh, S sigmoid
  float (*binary)(orion_opcode code, float x, float y);
  float (*divide)(float x, float by);   // by a constant
  // A row of `binary`, steps 0 or 1; false: not this one. NULL: none.
  bool (*row)(orion_opcode code, const float *x, size_t x_step, const float *y, size_t y_step, float *z, size_t n);
  void (*round)(orion_dtype dtype, float *x, size_t n);  // to what the dtype can hold
  void (*accept)(orion_dtype dtype, float *x, size_t n); // numbers of constants and inputs; NULL: as they are
  float (*narrow)(double x);            // a result that was computed in double
  float (*int8)(const struct orion_sim_arith *a, int64_t sum, double scale);  // a sum of integer products
  void (*softmax)(const float *x, float *y, size_t n, size_t step);  // one line in steps of its own; NULL: exactly
  const char *const *unknown;           // what of the hardware's arithmetic is not known; NULL-terminated, or NULL
  bool ane;                             // a chip family: fp16 throughout
  bool width_crop;                      // slices that begin inside the last axis lose numbers above 4094
  bool winograd;                        // 3x3 convolutions
  bool int8_twice;                      // sums of integers are rounded to fp16 before they are scaled, and after
} orion_sim_arith;

extern const orion_sim_arith orion_sim_arith_ideal, orion_sim_arith_ane[6];
const orion_sim_arith *orion_sim_arith_find(const char *family);  // NULL if absent
float orion_sim_activation(const orion_sim_arith *a, const char *name, float x);  // of recurrent layers
bool orion_sim_activation_known(const char *name);

// ---- kernels ----

typedef struct orion_sim_ctx {  // what a kernel may use while it runs
  const orion_sim_arith *arith;
  orion_pool *pool;
  orion_tally *tally;           // of the operation that runs, or NULL
  void *scratch;                // as many bytes as the kernel asked for, 64-byte aligned
} orion_sim_ctx;

typedef orion_status (*orion_sim_fn)(const orion_sim_ctx *c, const orion_sim_op *op, orion_error *err);

typedef struct orion_sim_kernel {
  orion_sim_fn run;                                                    // NULL: the sim lacks the operation
  size_t (*scratch)(const orion_sim_op *op, int threads);              // bytes, or NULL for none; SIZE_MAX: too many
  const char *(*lacks)(const orion_function *f, const orion_op *op);   // a reason, or NULL; may be NULL itself
} orion_sim_kernel;

void orion_sim_curve_apply(const uint16_t *curve, const float *x, float *y, size_t n);
const orion_sim_kernel *orion_sim_kernel_of(orion_opcode code);  // never NULL

// Arguments by name. The tensor forms return NULL when absent. Scalars come from the first element; `ints` fills n
// numbers, repeating a single default, and is false when the argument is absent or has another length.
orion_sim_tensor *orion_sim_in(const orion_sim_op *op, const char *name);
const orion_sim_arg *orion_sim_arg_of(const orion_sim_op *op, const char *name);
int64_t orion_sim_int(const orion_sim_op *op, const char *name);
double orion_sim_num(const orion_sim_op *op, const char *name);
const char *orion_sim_text(const orion_sim_op *op, const char *name);  // "" when absent
bool orion_sim_ints(const orion_sim_op *op, const char *name, size_t n, int64_t *out);
int orion_sim_axis(const orion_sim_op *op, const char *name, int rank);  // counted from 0
// Marks the axes named by a vector argument (all when absent).
void orion_sim_axes(const orion_sim_op *op, const char *name, int rank, bool *out_marked);

double orion_sim_value(const orion_sim_tensor *t, size_t i);              // an element as a number
void orion_sim_set(orion_sim_tensor *t, size_t i, double v);              // converts to the tensor's dtype

// ---- movement (ops_move.c) ----

void orion_sim_strides(const orion_sim_tensor *t, int64_t *out);          // in elements, row-major
// Strides with which `t` is read as if it had the shape dims[rank]: 0 where it is broadcast.
void orion_sim_broadcast(const orion_sim_tensor *t, int rank, const int64_t *dims, int64_t *out);
// Steps an index through dims, last dimension fastest; false after the last.
bool orion_sim_next(int rank, const int64_t *dims, int64_t *index);

// A tensor around one axis: `outer` blocks of n elements `inner` apart.
typedef struct orion_sim_lines {
  size_t outer, n, inner;
} orion_sim_lines;
orion_sim_lines orion_sim_lines_of(const orion_sim_tensor *t, int axis);

#define ORION_SIM_RUN(name) orion_status name(const orion_sim_ctx *c, const orion_sim_op *op, orion_error *err)

ORION_SIM_RUN(orion_sim_run_unary);
ORION_SIM_RUN(orion_sim_run_gelu);
ORION_SIM_RUN(orion_sim_run_prelu);
ORION_SIM_RUN(orion_sim_run_cast);
ORION_SIM_RUN(orion_sim_run_binary);
ORION_SIM_RUN(orion_sim_run_compare);
ORION_SIM_RUN(orion_sim_run_select);
ORION_SIM_RUN(orion_sim_run_conv);
ORION_SIM_RUN(orion_sim_run_conv_transpose);
ORION_SIM_RUN(orion_sim_run_linear);
ORION_SIM_RUN(orion_sim_run_matmul);
ORION_SIM_RUN(orion_sim_run_einsum);
ORION_SIM_RUN(orion_sim_run_sdpa);
ORION_SIM_RUN(orion_sim_run_reduce);
ORION_SIM_RUN(orion_sim_run_reduce_arg);
ORION_SIM_RUN(orion_sim_run_softmax);
ORION_SIM_RUN(orion_sim_run_layer_norm);
ORION_SIM_RUN(orion_sim_run_instance_norm);
ORION_SIM_RUN(orion_sim_run_batch_norm);
ORION_SIM_RUN(orion_sim_run_l2_norm);
ORION_SIM_RUN(orion_sim_run_lrn);
ORION_SIM_RUN(orion_sim_run_pool);
ORION_SIM_RUN(orion_sim_run_reshape);
ORION_SIM_RUN(orion_sim_run_shape);
ORION_SIM_RUN(orion_sim_run_transpose);
ORION_SIM_RUN(orion_sim_run_slice);
ORION_SIM_RUN(orion_sim_run_slice_update);
ORION_SIM_RUN(orion_sim_run_concat);
ORION_SIM_RUN(orion_sim_run_split);
ORION_SIM_RUN(orion_sim_run_stack);
ORION_SIM_RUN(orion_sim_run_pad);
ORION_SIM_RUN(orion_sim_run_tile);
ORION_SIM_RUN(orion_sim_run_reverse);
ORION_SIM_RUN(orion_sim_run_blocks);
ORION_SIM_RUN(orion_sim_run_band_part);
ORION_SIM_RUN(orion_sim_run_gather);
ORION_SIM_RUN(orion_sim_run_gather_along_axis);
ORION_SIM_RUN(orion_sim_run_gather_nd);
ORION_SIM_RUN(orion_sim_run_scatter);
ORION_SIM_RUN(orion_sim_run_scatter_along_axis);
ORION_SIM_RUN(orion_sim_run_scatter_nd);
ORION_SIM_RUN(orion_sim_run_cumsum);
ORION_SIM_RUN(orion_sim_run_fill);
ORION_SIM_RUN(orion_sim_run_range);
ORION_SIM_RUN(orion_sim_run_one_hot);
ORION_SIM_RUN(orion_sim_run_argsort);
ORION_SIM_RUN(orion_sim_run_topk);
ORION_SIM_RUN(orion_sim_run_lstm);
ORION_SIM_RUN(orion_sim_run_quantize);
ORION_SIM_RUN(orion_sim_run_dequantize);
ORION_SIM_RUN(orion_sim_run_affine);
ORION_SIM_RUN(orion_sim_run_blockwise);
ORION_SIM_RUN(orion_sim_run_lut);
ORION_SIM_RUN(orion_sim_run_sparse);
ORION_SIM_RUN(orion_sim_run_lut_sparse);
ORION_SIM_RUN(orion_sim_run_sparse_blockwise);

size_t orion_sim_scratch_conv(const orion_sim_op *op, int threads);
size_t orion_sim_scratch_linear(const orion_sim_op *op, int threads);
size_t orion_sim_scratch_matmul(const orion_sim_op *op, int threads);
size_t orion_sim_scratch_sdpa(const orion_sim_op *op, int threads);
size_t orion_sim_scratch_sort(const orion_sim_op *op, int threads);
size_t orion_sim_scratch_lstm(const orion_sim_op *op, int threads);

const char *orion_sim_lacks_einsum(const orion_function *f, const orion_op *op);
const char *orion_sim_lacks_pad(const orion_function *f, const orion_op *op);
const char *orion_sim_lacks_scatter(const orion_function *f, const orion_op *op);
const char *orion_sim_lacks_lstm(const orion_function *f, const orion_op *op);
const char *orion_sim_lacks_lut(const orion_function *f, const orion_op *op);

#endif
