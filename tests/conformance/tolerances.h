// How far a device's result may be from the exact one, for each operation: |got - want| <= absolute + relative * |want|.
// Integers and bools must be equal; NaN and infinity must be where they are expected. Operations that are not listed
// take the first row. What a device computes in higher precision than its type holds costs it nothing here: the numbers
// allow one rounding to the type (half a unit in the last place) and another for an intermediate one.
#ifndef TEST_CONFORMANCE_TOLERANCES_H
#define TEST_CONFORMANCE_TOLERANCES_H

typedef struct tolerance {
  const char *op;
  double fp32_relative, fp32_absolute;
  double fp16_relative, fp16_absolute;
} tolerance;

static const tolerance tolerances[] = {
    {"", 1e-6, 1e-7, 0x1p-10, 0x1p-23},
    // sums of products: terms cancel, so the error is that of the largest term
    {"matmul", 1e-5, 1e-5, 0x1p-9, 4e-3},
    {"linear", 1e-5, 1e-5, 0x1p-9, 4e-3},
    {"einsum", 1e-5, 1e-5, 0x1p-9, 4e-3},
    {"conv", 1e-5, 1e-5, 0x1p-9, 4e-3},
    {"conv_transpose", 1e-5, 1e-5, 0x1p-9, 4e-3},
    {"scaled_dot_product_attention", 1e-5, 1e-6, 0x1p-9, 2e-3},
    {"lstm", 1e-5, 1e-6, 0x1p-8, 2e-3},
    // sums: likewise
    {"reduce_sum", 1e-5, 1e-6, 0x1p-9, 2e-3},
    {"reduce_mean", 1e-5, 1e-6, 0x1p-9, 1e-3},
    {"reduce_log_sum", 1e-5, 1e-6, 0x1p-9, 1e-3},
    {"reduce_log_sum_exp", 1e-5, 1e-6, 0x1p-9, 1e-3},
    {"cumsum", 1e-5, 1e-6, 0x1p-9, 2e-3},
    {"layer_norm", 1e-5, 1e-6, 0x1p-9, 2e-3},
    {"instance_norm", 1e-5, 1e-6, 0x1p-9, 2e-3},
    {"batch_norm", 1e-5, 1e-6, 0x1p-9, 2e-3},
    {"local_response_norm", 1e-5, 1e-6, 0x1p-9, 1e-3},
    {"softmax", 4e-6, 1e-7, 0x1p-9, 0x1p-22},
    // functions with a steep place
    {"gelu", 4e-6, 1e-6, 0x1p-9, 1e-4},
    {"pow", 4e-6, 1e-7, 0x1p-9, 0x1p-22},
    {"softplus", 4e-6, 1e-6, 0x1p-9, 1e-4},
    {"softplus_parametric", 4e-6, 1e-6, 0x1p-9, 1e-4},
    {"sin", 4e-6, 4e-7, 0x1p-9, 1e-4},
    {"cos", 4e-6, 4e-7, 0x1p-9, 1e-4},
    {"elu", 4e-6, 1e-6, 0x1p-9, 1e-4},
    {"clip", 1e-6, 1e-7, 0x1p-10, 0x1p-23},
};

#endif
