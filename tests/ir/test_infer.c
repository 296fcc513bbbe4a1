// Type inference: one row an operation form, shapes worked out by hand.
#include <ctype.h>

#include "support/support.h"
#include "rows.h"

typedef struct row {
  const char *op, *args, *want;
} row;

static void describe(char *out, size_t size, const orion_type *const *types, size_t n) {
  size_t at = 0;
  out[0] = 0;
  for (size_t i = 0; i < n; i++) {
    at += (size_t)snprintf(out + at, size - at, "%s%s[", i ? " " : "", orion_dtype_name(types[i]->dtype));
    for (int d = 0; d < types[i]->rank; d++) {
      if (types[i]->dims[d] < 0) {
        at += (size_t)snprintf(out + at, size - at, "%s?", d ? "," : "");
      } else {
        at += (size_t)snprintf(out + at, size - at, "%s%lld", d ? "," : "", (long long)types[i]->dims[d]);
      }
    }
    at += (size_t)snprintf(out + at, size - at, "]");
  }
}

static void check_row(const row *r) {
  orion_error err = {0};
  orion_program *p;
  orion_function *f;
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  orion_op_id id = row_add(f, r->op, r->args, 0, NULL, NULL);
  assert_int_not_equal(f->ops[id].code, ORION_OP_OTHER);
  const orion_type *types[ORION_MAX_RESULTS];
  size_t n = 0;
  orion_status status = orion_infer_op(f, &f->ops[id], types, &n, &err);
  char got[1024];
  if (status != ORION_OK) {
    snprintf(got, sizeof got, "!%.1000s", err.message);
  } else {
    describe(got, sizeof got, types, n);
  }
  bool same = r->want[0] == '!' && got[0] == '!' ? strstr(got, r->want + 1) != NULL : strcmp(got, r->want) == 0;
  if (!same) fail_msg("%s(%s)\n  is     %s\n  expect %s", r->op, r->args, got, r->want);
  orion_program_destroy(p);
}

static void check_rows(const row *rows, size_t n) {
  for (size_t i = 0; i < n; i++) check_row(&rows[i]);
}

static void test_elementwise_operations_broadcast(void **state) {
  static const row rows[] = {
      {"relu", "x=fp16[1,2,?]", "fp16[1,2,?]"},
      {"relu", "x=int32[2]", "!argument x"},
      {"gelu", "x=fp16[2,3]", "fp16[2,3]"},
      {"gelu", "x=fp16[2,3] mode='SIGMOID_APPROXIMATION'", "fp16[2,3]"},
      {"gelu", "x=fp16[2,3] mode='tanh'", "!argument mode"},
      {"add", "x=fp16[1,8,1,4] y=fp16[8,1,1]", "fp16[1,8,1,4]"},
      {"add", "x=fp16[2,1] y=fp16[1,3]", "fp16[2,3]"},
      {"add", "x=fp16[2,3] y=1.5h", "fp16[2,3]"},
      {"add", "x=fp16[?,3] y=fp16[4,3]", "fp16[4,3]"},
      {"add", "x=fp16[?,3] y=fp16[1,3]", "fp16[?,3]"},
      {"add", "x=fp16[2] y=fp16[3]", "!do not broadcast"},
      {"add", "x=fp16[2] y=fp32[2]", "!argument y"},
      {"add", "x=fp16[2]", "!argument y: missing"},
      {"add", "x=fp16[2] y=fp16[2] z=fp16[2]", "!argument z"},
      {"greater", "x=fp16[2,1] y=fp16[4]", "bool[2,4]"},
      {"select", "cond=bool[2,1] a=fp16[3] b=fp16[1]", "fp16[2,3]"},
      {"select", "cond=int32[2] a=fp16[2] b=fp16[2]", "!argument cond"},
      {"cast", "x=fp32[2,3] dtype='fp16'", "fp16[2,3]"},
      {"cast", "x=fp32[2,3] dtype='half'", "!dtype"},
  };
  check_rows(rows, sizeof rows / sizeof *rows);
}

static void test_convolutions_and_pools(void **state) {
  static const row rows[] = {
      {"conv", "x=fp16[1,3,8,8] weight=fp16[4,3,3,3]", "fp16[1,4,6,6]"},
      {"conv", "x=fp16[1,3,8,8] weight=fp16[4,3,3,3] strides=(2,2) pad_type='same'", "fp16[1,4,4,4]"},
      {"conv", "x=fp16[1,3,9,8] weight=fp16[4,3,3,3] strides=(2,2) pad_type='same_lower'", "fp16[1,4,5,4]"},
      {"conv", "x=fp16[1,3,8,8] weight=fp16[4,3,3,3] pad_type='custom' pad=(1,1,0,2)", "fp16[1,4,8,8]"},
      {"conv", "x=fp16[1,3,8,8] weight=fp16[4,3,3,3] pad_type='valid' pad=(1,1,0,2)", "fp16[1,4,6,6]"},
      {"conv", "x=fp16[1,3,9,9] weight=fp16[4,3,3,3] dilations=(2,3)", "fp16[1,4,5,3]"},
      {"conv", "x=fp16[1,6,8] weight=fp16[4,3,3] groups=2", "fp16[1,4,6]"},
      {"conv", "x=fp16[1,2,4,5,6] weight=fp16[7,2,2,2,2]", "fp16[1,7,3,4,5]"},
      {"conv", "x=fp16[?,3,?,8] weight=fp16[4,3,3,3] bias=fp16[4]", "fp16[?,4,?,6]"},
      {"conv", "x=fp16[1,3,8,8] weight=fp16[4,2,3,3]", "!takes 2 channels"},
      {"conv", "x=fp16[1,3,2,8] weight=fp16[4,3,3,3]", "!smaller than the window"},
      {"conv", "x=fp16[1,3,8,8] weight=fp16[4,3,3,3] bias=fp16[5]", "!argument bias"},
      {"conv", "x=fp16[1,3,8,8] weight=fp16[4,3,3,3] pad_type='full'", "!pad_type"},
      {"conv_transpose", "x=fp16[1,3,4,4] weight=fp16[3,5,2,2] strides=(2,2)", "fp16[1,5,8,8]"},
      {"conv_transpose", "x=fp16[1,4,4] weight=fp16[4,3,3] groups=2 pad_type='custom' pad=(1,1)", "fp16[1,6,4]"},
      {"conv_transpose", "x=fp16[1,3,4,4] weight=fp16[3,5,3,3] strides=(2,2) pad_type='same'", "fp16[1,5,8,8]"},
      {"max_pool", "x=fp16[1,3,8,8] kernel_sizes=(2,2) strides=(2,2) pad_type='valid'", "fp16[1,3,4,4]"},
      {"avg_pool", "x=fp16[1,3,7,8] kernel_sizes=(2,3) strides=(2,2) pad_type='valid' ceil_mode=true", "fp16[1,3,4,4]"},
      {"l2_pool", "x=fp16[1,3,7] kernel_sizes=(2) pad_type='custom' pad=(1,0)", "fp16[1,3,7]"},
  };
  check_rows(rows, sizeof rows / sizeof *rows);
}

static void test_products_multiply_shapes(void **state) {
  static const row rows[] = {
      {"matmul", "x=fp16[2,3] y=fp16[3,4]", "fp16[2,4]"},
      {"matmul", "x=fp16[5,1,2,3] y=fp16[7,4,3] transpose_y=true", "fp16[5,7,2,4]"},
      {"matmul", "x=fp16[3,2] y=fp16[3,4] transpose_x=true", "fp16[2,4]"},
      {"matmul", "x=fp16[3] y=fp16[3,4]", "fp16[4]"},
      {"matmul", "x=fp16[6,2,3] y=fp16[3]", "fp16[6,2]"},
      {"matmul", "x=fp16[3] y=fp16[3]", "fp16[]"},
      {"matmul", "x=fp16[2,?] y=#fp32[3,4]", "fp16[2,4]"},
      {"matmul", "x=fp16[2,3] y=fp32[3,4]", "!element types"},
      {"matmul", "x=fp16[2,3] y=fp16[4,3]", "!do not multiply"},
      {"linear", "x=fp16[1,?,8] weight=fp16[4,8] bias=fp16[4]", "fp16[1,?,4]"},
      {"linear", "x=fp16[1,8] weight=fp16[8,4]", "!argument weight"},
      {"einsum", "values=fp16[2,3,4]+fp16[2,4,5] equation='bij,bjk->bik'", "fp16[2,3,5]"},
      {"einsum", "values=fp16[2,3,4]+fp16[2,5,4] equation='bij,bkj->kib'", "fp16[5,3,2]"},
      {"einsum", "values=fp16[2,3]+fp16[4,5] equation='ij,jk->ik'", "!equation"},
      {"scaled_dot_product_attention",
       "query=fp16[1,8,5,64] key=fp16[1,8,7,64] value=fp16[1,8,7,32]",
       "fp16[1,8,5,32]"},
      {"scaled_dot_product_attention",
       "query=fp16[2,4,5,64] key=fp16[2,1,7,64] value=fp16[2,1,7,32] attn_mask=bool[5,7]",
       "fp16[2,4,5,32]"},
      {"scaled_dot_product_attention",
       "query=fp16[1,8,5,64] key=fp16[1,8,7,64] value=fp16[1,8,7,32] attn_mask=fp16[7,5]",
       "!attn_mask"},
      {"orion_attention",
       "q=fp16[4,64] k=fp16[4,16] v=fp16[4,16] k_cache=fp16[9,16] v_cache=fp16[9,16] mask=fp16[1,9] heads=8 kv_heads=2 scale=0.5h",
       "fp16[4,64]"},
      {"orion_attention", "q=fp16[4,64] k=fp16[4,32] v=fp16[4,16] heads=8 kv_heads=2 scale=0.5h", "!arguments k"},
  };
  check_rows(rows, sizeof rows / sizeof *rows);
}

static void test_reductions_and_norms(void **state) {
  static const row rows[] = {
      {"reduce_sum", "x=fp16[2,3,4] axes=(1) keep_dims=true", "fp16[2,1,4]"},
      {"reduce_mean", "x=fp16[2,3,4] axes=(-1,0)", "fp16[3]"},
      {"reduce_max", "x=fp16[2,3]", "fp16[]"},
      {"reduce_max", "x=fp16[2,3] axes=(0,-2)", "!twice"},
      {"reduce_max", "x=fp16[2,3] axes=(2)", "!outside rank"},
      {"reduce_argmax", "x=fp16[2,3,4] axis=1", "int32[2,4]"},
      {"reduce_argmin", "x=fp16[2,3,4] axis=-1 keep_dims=true output_dtype='uint16'", "uint16[2,3,1]"},
      {"softmax", "x=fp16[2,?] axis=1", "fp16[2,?]"},
      {"softmax", "x=fp16[2,3] axis=2", "!outside rank"},
      {"layer_norm", "x=fp16[2,3,4] axes=(-1) gamma=fp16[4] beta=fp16[4]", "fp16[2,3,4]"},
      {"layer_norm", "x=fp16[2,3,4] axes=(1,2) gamma=fp16[4]", "!argument gamma"},
      {"batch_norm", "x=fp16[1,3,4] mean=fp16[3] variance=fp16[3]", "fp16[1,3,4]"},
      {"instance_norm", "x=fp16[1,3,4,4] gamma=fp16[4]", "!argument gamma"},
  };
  check_rows(rows, sizeof rows / sizeof *rows);
}

static void test_shapes_are_renamed(void **state) {
  static const row rows[] = {
      {"reshape", "x=fp16[2,3,4] shape=(6,4)", "fp16[6,4]"},
      {"reshape", "x=fp16[2,3,4] shape=(0,-1)", "fp16[2,12]"},
      {"reshape", "x=fp16[2,3,4] shape=(5,-1)", "!does not hold"},
      {"reshape", "x=fp16[2,3,4] shape=(-1,-1)", "!-1 at both"},
      {"reshape", "x=fp16[2,3,4] shape=(7)", "!does not hold"},
      {"reshape", "x=fp16[?,4] shape=(2,-1)", "fp16[2,?]"},
      {"reshape", "x=fp16[2,3] shape=int32[3]", "fp16[?,?,?]"},
      {"reshape", "x=fp16[2,3] shape=int32[?]", "!cannot be inferred"},
      {"expand_dims", "x=fp16[2,3] axes=(0,-1)", "fp16[1,2,3,1]"},
      {"expand_dims", "x=fp16[2] axes=(3)", "!outside rank"},
      {"squeeze", "x=fp16[1,3,1] axes=(-1)", "fp16[1,3]"},
      {"squeeze", "x=fp16[1,3,1]", "fp16[3]"},
      {"squeeze", "x=fp16[1,3,1] axes=(1)", "!is not 1"},
      {"flatten2d", "x=fp16[2,3,4] axis=-1", "fp16[6,4]"},
      {"flatten2d", "x=fp16[2,?,4]", "fp16[2,?]"},
      {"shape", "x=fp16[2,?,4]", "int32[3]"},
      {"transpose", "x=fp16[2,3,4] perm=(2,0,-2)", "fp16[4,2,3]"},
      {"transpose", "x=fp16[2,3] perm=(0,0)", "!twice"},
      {"depth_to_space", "x=fp16[1,12,2,3] block_size=2", "fp16[1,3,4,6]"},
      {"space_to_depth", "x=fp16[1,3,4,6] block_size=2", "fp16[1,12,2,3]"},
      {"pixel_shuffle", "x=fp16[1,9,2,2] upscale_factor=3", "fp16[1,1,6,6]"},
      {"pixel_unshuffle", "x=fp16[1,1,6,6] downscale_factor=4", "!does not divide"},
  };
  check_rows(rows, sizeof rows / sizeof *rows);
}

static void test_slices_cut_as_python_does(void **state) {
  static const row rows[] = {
      {"slice_by_index", "x=fp16[10] begin=(2) end=(8) stride=(3)", "fp16[2]"},
      {"slice_by_index", "x=fp16[10] begin=(-3) end=(100)", "fp16[3]"},
      {"slice_by_index", "x=fp16[10] begin=(8) end=(2) stride=(-2)", "fp16[3]"},
      {"slice_by_index", "x=fp16[10] begin=(0) end=(0) stride=(-1) begin_mask={1} end_mask={1}", "fp16[10]"},
      {"slice_by_index", "x=fp16[4,5] begin=(1,-1) end=(2,0) end_mask={0,1} squeeze_mask={1,0}", "fp16[1]"},
      {"slice_by_index", "x=fp16[?,5] begin=(0,1) end=(1,4)", "fp16[?,3]"},
      {"slice_by_index", "x=fp16[4,5] begin=int32[2] end=(2,0) begin_mask={0,1} end_mask={0,1}", "fp16[?,5]"},
      {"slice_by_index", "x=fp16[4] begin=(0,1) end=(1)", "!argument begin"},
      {"slice_by_index", "x=fp16[4] begin=(4) end=(5) squeeze_mask={1}", "!outside x"},
      {"slice_by_size", "x=fp16[4,5] begin=(1,2) size=(-1,2)", "fp16[3,2]"},
      {"slice_by_size", "x=fp16[4,5] begin=int32[2] size=(2,2)", "fp16[2,2]"},
      {"slice_by_size", "x=fp16[4,5] begin=(3,0) size=(2,5)", "!leave x"},
      {"slice_update", "x=fp16[4,5] update=fp16[2,5] begin=(1,0) end=(3,5)", "fp16[4,5]"},
      {"slice_update", "x=fp16[4,5] update=fp16[3,5] begin=(1,0) end=(3,5)", "!argument update"},
  };
  check_rows(rows, sizeof rows / sizeof *rows);
}

static void test_tensors_join_split_and_gather(void **state) {
  static const row rows[] = {
      {"concat", "values=fp16[2,3]+fp16[4,3] axis=0 interleave=false", "fp16[6,3]"},
      {"concat", "values=fp16[2,3]+fp16[2,?] axis=-1", "fp16[2,?]"},
      {"concat", "values=int32[]+int32[] axis=0", "int32[2]"},
      {"concat", "values=fp16[2,3]+fp16[2,4] axis=1 interleave=true", "!argument values"},
      {"concat", "values=fp16[2,3]+fp32[2,3] axis=1", "!argument values"},
      {"stack", "values=fp16[2,3]+fp16[2,3] axis=-1", "fp16[2,3,2]"},
      {"split", "x=fp16[2,6] num_splits=3 axis=1", "fp16[2,2] fp16[2,2] fp16[2,2]"},
      {"split", "x=fp16[2,6] split_sizes=(1,5) axis=-1", "fp16[2,1] fp16[2,5]"},
      {"split", "x=fp16[2,6] split_sizes=(1,4) axis=-1", "!split_sizes"},
      {"split", "x=fp16[2,6] num_splits=4 axis=-1", "!num_splits"},
      {"pad", "x=fp16[1,2,3] pad=(1,1,0,2) mode='reflect'", "fp16[1,4,5]"},
      {"pad", "x=fp16[1,2] pad=(1)", "!argument pad"},
      {"tile", "x=fp16[2,3] reps=(2,1)", "fp16[4,3]"},
      {"tile", "x=fp16[2,3] reps=int32[2]", "fp16[?,?]"},
      {"gather", "x=fp16[10,4] indices=int32[2,3]", "fp16[2,3,4]"},
      {"gather", "x=fp16[2,10,4] indices=int32[2,3] axis=1 batch_dims=1", "fp16[2,3,4]"},
      {"gather", "x=fp16[2,10] indices=int32[] axis=1", "fp16[2]"},
      {"gather", "x=fp16[3,10] indices=int32[2,3] axis=1 batch_dims=1", "!batch_dims"},
      {"gather_along_axis", "x=fp16[2,10] indices=int32[2,3] axis=1", "fp16[2,3]"},
      {"gather_nd", "x=fp16[2,3,4] indices=int32[5,2]", "fp16[5,4]"},
      {"gather_nd", "x=fp16[2,3,4] indices=int32[2,5,1] batch_dims=1", "fp16[2,5,4]"},
      {"scatter", "data=fp16[4,5] indices=int32[2] updates=fp16[2,5]", "fp16[4,5]"},
  };
  check_rows(rows, sizeof rows / sizeof *rows);
}

static void test_weights_unpack_in_both_spellings(void **state) {
  static const row rows[] = {
      {"constexpr_affine_dequantize",
       "@quantized_data=#int8[4,5] @scale=#fp16[4] @zero_point=#int8[4] @axis=0",
       "fp16[4,5]"},
      {"constexpr_affine_dequantize",
       "@quantized_data=#int8[4,5] @scale=#fp16[5] @zero_point=#int8[4] @axis=0",
       "!argument scale"},
      {"constexpr_affine_dequantize", "@quantized_data=#int8[4,5] @scale=#fp16[] @axis=0", "!zero_point: missing"},
      {"constexpr_lut_to_dense", "@indices=#uint8[10] @lut=#fp16[16] @shape=(4,5)", "fp16[4,5]"},
      {"constexpr_lut_to_dense", "@indices=#uint8[9] @lut=#fp16[16] @shape=(4,5)", "!argument indices"},
      {"constexpr_lut_to_dense", "indices=#uint4[4,6] lut=#fp16[2,1,16,1]", "fp16[4,6]"},
      {"constexpr_lut_to_dense", "indices=#uint4[4,6] lut=#fp16[1,1,16,2] vector_axis=0", "fp16[8,6]"},
      {"constexpr_lut_to_dense", "indices=#uint4[4,6] lut=#fp16[1,1,8,1]", "!argument lut"},
      {"constexpr_blockwise_shift_scale", "data=#int4[4,8] scale=#fp16[4,2]", "fp16[4,8]"},
      {"constexpr_blockwise_shift_scale", "data=#int4[4,8] scale=#fp16[4,3]", "!argument scale"},
      {"constexpr_sparse_to_dense", "nonzero_data=#fp16[7] mask=#uint1[4,4]", "fp16[4,4]"},
      {"constexpr_lut_to_sparse",
       "indices_mask=#uint1[4,6] indices_nonzero_data=#uint2[5] lut=#fp16[1,1,4,1]",
       "uint1[4,6] fp16[5]"},
      {"constexpr_sparse_blockwise_shift_scale",
       "data_mask=#uint1[4,6] nonzero_data=#int8[5] scale=#fp16[4,1]",
       "uint1[4,6] fp16[5]"},
      {"constexpr_cast", "@source_val=#fp16[4] @output_dtype='fp32'", "fp32[4]"},
      {"quantize", "input=fp16[4,5] scale=#fp16[5] axis=1 output_dtype='int8'", "int8[4,5]"},
      {"dequantize", "input=int8[4,5] scale=1.5h", "fp16[4,5]"},
      {"dequantize", "input=int8[4,5] scale=1.5h zero_point=#uint8[]", "!argument input"},
  };
  check_rows(rows, sizeof rows / sizeof *rows);
}

static void test_generated_and_sorted(void **state) {
  static const row rows[] = {
      {"fill", "shape=(2,3) value=1.5h", "fp16[2,3]"},
      {"fill", "shape=int32[2]", "fp32[?,?]"},
      {"fill_like", "ref_tensor=fp16[2,?] value=3", "int32[2,?]"},
      {"range_1d", "start=0 end=10 step=3", "int32[4]"},
      {"range_1d", "start=0 end=int32[] step=1", "int32[?]"},
      {"one_hot", "indices=int32[2] one_hot_vector_size=5 axis=0 on_value=1.0h", "fp16[5,2]"},
      {"non_zero", "x=fp16[2,3]", "int32[?,2]"},
      {"argsort", "x=fp16[2,3]", "int32[2,3]"},
      {"topk", "x=fp16[2,30] k=4", "fp16[2,4] int32[2,4]"},
      {"topk", "x=fp16[2,30] k=4 axis=0", "!argument k"},
      {"topk", "x=fp16[2,30] k=int32[] output_indices_dtype='uint16'", "fp16[2,?] uint16[2,?]"},
      {"topk", "x=fp16[2,30] k=4 return_indices=false", "fp16[2,4]"},
      {"lstm",
       "x=fp16[7,1,8] initial_h=fp16[1,4] initial_c=fp16[1,4] weight_ih=#fp16[16,8] weight_hh=#fp16[16,4] output_sequence=true",
       "fp16[7,1,4] fp16[1,4] fp16[1,4]"},
      {"lstm",
       "x=fp16[7,1,8] initial_h=fp16[1,8] initial_c=fp16[1,8] weight_ih=#fp16[16,8] weight_hh=#fp16[16,4] direction='bidirectional'",
       "fp16[1,1,8] fp16[1,8] fp16[1,8]"},
      {"cumsum", "x=fp16[2,3] axis=2", "!outside rank"},
      {"read_state", "input=state:fp16[2,3]", "fp16[2,3]"},
      {"coreml_update_state", "state=state:fp16[2] value=fp16[2]", "fp16[2]"},
      {"coreml_update_state", "state=state:fp16[2] value=fp16[3]", "!argument value"},
      {"write_state", "input=state:fp16[2] data=fp16[2]", ""},
  };
  check_rows(rows, sizeof rows / sizeof *rows);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_elementwise_operations_broadcast),
      cmocka_unit_test(test_convolutions_and_pools),
      cmocka_unit_test(test_products_multiply_shapes),
      cmocka_unit_test(test_reductions_and_norms),
      cmocka_unit_test(test_shapes_are_renamed),
      cmocka_unit_test(test_slices_cut_as_python_does),
      cmocka_unit_test(test_tensors_join_split_and_gather),
      cmocka_unit_test(test_weights_unpack_in_both_spellings),
      cmocka_unit_test(test_generated_and_sorted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
