// What was printed by real machines, value by value: each must come out of the simulated one bit for bit. The vectors are
// shared data, not part of the source; without them these tests are skipped (test_rules has cases of its own).
#include "bits_run.h"

#include <math.h>

#include "device/sim/ane.h"

static bits_table table;

#define CONV(N)                                                                                                      \
  "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, " #N ", 1, 1]> x, tensor<fp16, [1, " #N ", 1, 1]> w, "      \
  "tensor<fp16, [1]> b) {\n"                                                                                         \
  "    tensor<fp16, [1, 1, 1, 1]> y = conv(x = x, weight = w, bias = b)[name = string(\"y\")];\n  } -> (y);\n}\n"

static uint16_t conv64(one_run *r, uint16_t weight, uint16_t bias, const char *sparse) {
  uint16_t x[64] = {0}, w[64];
  for (int i = 0; i < 64; i++) w[i] = weight;
  for (const char *p = sparse; *p;) {
    char *end;
    unsigned long lane = strtoul(p, &end, 10);
    assert_true(lane < 64 && *end == ':');
    x[lane] = (uint16_t)strtoul(end + 1, &end, 16);
    p = *end ? end + 1 : end;
  }
  bits_put(r, 0, x);
  bits_put(r, 1, w);
  bits_put(r, 2, &bias);
  bits_run(r);
  return *bits_get(r, 3);
}

static void multiply_accumulate_of(const char *family, size_t want) {
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/anevec/mac_conv1x1.tsv");
  bits_table_load(&table, path);
  one_run r = bits_open(family, CONV(64));
  size_t n = 0, wrong = 0;
  for (size_t i = 1; i < table.rows; i++) {
    if (strcmp(bits_family(bits_cell(&table, i, "family")), family) != 0) continue;
    const char *bias = bits_cell(&table, i, "bias_hex");
    uint16_t got = conv64(&r, bits_hex(bits_cell(&table, i, "w_hex")), *bias == '-' ? 0 : bits_hex(bias),
                          bits_cell(&table, i, "x_sparse"));
    n++;
    if (got == bits_hex(bits_cell(&table, i, "y_hex"))) continue;
    print_message("%s: %04x, expected %s\n", bits_cell(&table, i, "id"), got, bits_cell(&table, i, "y_hex"));
    wrong++;
  }
  print_message("%s: %zu of %zu multiply-accumulate vectors\n", family, n - wrong, n);
  one_run_close(&r);
  free(table.text);
  assert_int_equal(wrong, 0);
  assert_int_equal(n, want);
}

static void multiply_accumulate_of_m6(void **state) { multiply_accumulate_of("m6", 436); }
static void multiply_accumulate_of_m4(void **state) { multiply_accumulate_of("m4", 108); }

static one_run open_binary(const char *family, const char *op, int n) {
  char text[512];
  snprintf(text, sizeof text,
           "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [%d]> x, tensor<fp16, [%d]> y) {\n"
           "    tensor<fp16, [%d]> z = %s(x = x, y = y)[name = string(\"z\")];\n  } -> (z);\n}\n", n, n, n, op);
  return bits_open(family, text);
}

static uint16_t binary(const char *family, const char *op, uint16_t x, uint16_t y) {
  one_run r = open_binary(family, op, 1);
  bits_put(&r, 0, &x);
  bits_put(&r, 1, &y);
  bits_run(&r);
  uint16_t z = *bits_get(&r, 2);
  one_run_close(&r);
  return z;
}

static void elementwise_of_m5_and_m6(void **state) {
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/anevec/pe_eltwise.tsv");
  bits_table_load(&table, path);
  size_t wrong = 0;
  for (size_t i = 1; i < table.rows; i++) {
    uint16_t got = binary(bits_family(bits_cell(&table, i, "family")), bits_cell(&table, i, "op"),
                          bits_hex(bits_cell(&table, i, "a_hex")), bits_hex(bits_cell(&table, i, "b_hex")));
    if (got == bits_hex(bits_cell(&table, i, "y_hex"))) continue;
    print_message("%s: %04x, expected %s\n", bits_cell(&table, i, "id"), got, bits_cell(&table, i, "y_hex"));
    wrong++;
  }
  print_message("%zu of %zu elementwise vectors\n", table.rows - 1 - wrong, table.rows - 1);
  assert_int_equal(table.rows - 1, 64);
  free(table.text);
  assert_int_equal(wrong, 0);
}

static void integer_sums_of_m6(void **state) {
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/anevec/int8_acc.tsv");
  bits_table_load(&table, path);
  const orion_sim_arith *m6 = orion_sim_arith_find("m6");
  size_t n = 0, wrong = 0;
  for (size_t i = 1; i < table.rows; i++) {
    if (strcmp(bits_cell(&table, i, "placement"), "cpu-fallback") == 0) continue;
    double scale = strtod(bits_cell(&table, i, "scale"), NULL);
    uint16_t got = orion_float_to_half(orion_sim_ane_int8(m6, atoll(bits_cell(&table, i, "S_int")), scale));
    n++;
    if (got == bits_hex(bits_cell(&table, i, "y_hex"))) continue;
    print_message("%s: %04x, expected %s\n", bits_cell(&table, i, "id"), got, bits_cell(&table, i, "y_hex"));
    wrong++;
  }
  print_message("%zu of %zu integer sums\n", n - wrong, n);
  free(table.text);
  assert_int_equal(wrong, 0);
  assert_int_equal(n, 30);
}

// The same through programs: quantised input, compressed weights, a 1x1 convolution.
static uint16_t quantised_conv(const char *family, size_t n, const int8_t *x, const int8_t *w, double x_scale,
                               double w_scale) {
  size_t size = 2048 + 5 * n, used;
  char *text = malloc(size);
  uint16_t *halves = malloc(n * sizeof *halves);
  used = (size_t)snprintf(text, size,
      "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, %zu, 1, 1]> x) {\n"
      "    fp16 one = const()[name = string(\"one\"), val = fp16(1)];\n"
      "    fp16 xs = const()[name = string(\"xs\"), val = fp16(%a)];\n"
      "    string type = const()[name = string(\"type\"), val = string(\"int8\")];\n"
      "    tensor<fp16, [1, 1, 1, 1]> ws = const()[name = string(\"ws\"), val = tensor<fp16, [1, 1, 1, 1]>([[[[%a]]]])];\n"
      "    tensor<int8, [1, %zu, 1, 1]> wq = const()[name = string(\"wq\"), val = tensor<int8, [1, %zu, 1, 1]>([[",
      n, x_scale, w_scale, n, n);
  for (size_t i = 0; i < n; i++) {
    used += (size_t)snprintf(text + used, size - used, "%s[[%d]]", i ? "," : "", w[i]);
    halves[i] = orion_float_to_half(x[i]);
    if (size - used < 1024) text = realloc(text, size *= 2);
  }
  snprintf(text + used, size - used,
      "]])];\n    tensor<int8, [1, %zu, 1, 1]> xq = quantize(input = x, output_dtype = type, scale = one)[name = string(\"xq\")];\n"
      "    tensor<fp16, [1, %zu, 1, 1]> xd = dequantize(input = xq, scale = xs)[name = string(\"xd\")];\n"
      "    tensor<fp16, [1, %zu, 1, 1]> wd = constexpr_blockwise_shift_scale(data = wq, scale = ws)[name = string(\"wd\")];\n"
      "    tensor<fp16, [1, 1, 1, 1]> y = conv(x = xd, weight = wd)[name = string(\"y\")];\n  } -> (y);\n}\n", n, n, n);
  one_run r = bits_open(family, text);
  bits_put(&r, 0, halves);
  bits_run(&r);
  uint16_t y = *bits_get(&r, 1);
  one_run_close(&r);
  free(text);
  free(halves);
  return y;
}

static void integer_convolutions_of_m6(void **state) {
  enum { MOST = 16384 };
  static int8_t x[MOST], w[MOST];
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/anevec/int8_acc.tsv");
  bits_table_load(&table, path);
  size_t n_rows = 0;
  for (size_t i = 1; i < table.rows; i++) {
    size_t n = (size_t)atoi(bits_cell(&table, i, "N"));
    const char *mode = bits_cell(&table, i, "mode");
    if (n > MOST || strcmp(bits_cell(&table, i, "kh"), "1") != 0) continue;
    if (strcmp(bits_cell(&table, i, "placement"), "cpu-fallback") == 0) continue;
    bool cancel = strcmp(mode, "cancel") == 0, negative = strcmp(mode, "neg") == 0;
    int64_t sum = 0;
    for (size_t k = 0; k < n; k++) {
      x[k] = negative ? -128 : 127;
      w[k] = negative ? -128 : cancel && k % 2 ? -127 : 127;
      sum += x[k] * w[k];
    }
    assert_true(sum == atoll(bits_cell(&table, i, "S_int")));
    double scale = strtod(bits_cell(&table, i, "scale"), NULL);
    assert_int_equal(quantised_conv("m6", n, x, w, scale * 64, 0x1p-6), bits_hex(bits_cell(&table, i, "y_hex")));
    n_rows++;
  }
  print_message("%zu integer sums as convolutions\n", n_rows);
  free(table.text);
  assert_true(n_rows >= 10);
}

static void integer_dot_of_m5(void **state) {
  char path[TEST_PATH_MAX];
  int8_t x[32], w[32];
  size_t n;
  SKIP_WITHOUT_SHARED(path, "data/anevec/m5_code_dot.json");
  json_t *j = test_json_load(path);
  double *codes = test_json_doubles(json_object_get(j, "input_codes"), &n);
  assert_int_equal(n, 32);
  for (size_t i = 0; i < n; i++) x[i] = (int8_t)codes[i];
  free(codes);
  codes = test_json_doubles(json_object_get(j, "weight_codes"), &n);
  assert_int_equal(n, 32);
  for (size_t i = 0; i < n; i++) w[i] = (int8_t)codes[i];
  free(codes);
  uint16_t got = quantised_conv("m5", 32, x, w, json_number_value(json_object_get(j, "input_scale")),
                                json_number_value(json_object_get(j, "weight_scale")));
  assert_int_equal(got, bits_hex(json_string_value(json_object_get(j, "ane"))));
  json_decref(j);
}

// ---- where sums and slices become infinite ----

static bool ones_overflow(const char *family, size_t k, double total) {  // a sum of k equal numbers
  char text[640];
  uint16_t x[128], w[128];
  snprintf(text, sizeof text,
           "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, %zu]> x, tensor<fp16, [%zu, 1]> w) {\n"
           "    tensor<fp16, [1, 1]> y = matmul(x = x, y = w)[name = string(\"y\")];\n  } -> (y);\n}\n", k, k);
  one_run r = bits_open(family, text);
  for (size_t i = 0; i < k; i++) {
    x[i] = orion_float_to_half((float)(total / (double)k));
    w[i] = 0x3c00;
  }
  bits_put(&r, 0, x);
  bits_put(&r, 1, w);
  bits_run(&r);
  bool infinite = *bits_get(&r, 2) == 0x7c00;
  one_run_close(&r);
  return infinite;
}

static uint16_t width_slice(const char *family, uint16_t v) {
  one_run r = bits_open(family,
      "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, 2]> x) {\n"
      "    tensor<int32, [2]> begin = const()[name = string(\"begin\"), val = tensor<int32, [2]>([0, 1])];\n"
      "    tensor<int32, [2]> size = const()[name = string(\"size\"), val = tensor<int32, [2]>([1, 1])];\n"
      "    tensor<fp16, [1, 1]> y = slice_by_size(begin = begin, size = size, x = x)[name = string(\"y\")];\n"
      "  } -> (y);\n}\n");
  bits_put(&r, 0, (const uint16_t[]){0, v});
  bits_run(&r);
  uint16_t y = *bits_get(&r, 1);
  one_run_close(&r);
  return y;
}

static double reduce_sum_8(const char *family, int total) {
  one_run r = bits_open(family,
      "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, 8]> x) {\n"
      "    tensor<int32, [1]> axes = const()[name = string(\"axes\"), val = tensor<int32, [1]>([1])];\n"
      "    bool keep = const()[name = string(\"keep\"), val = bool(true)];\n"
      "    tensor<fp16, [1, 1]> y = reduce_sum(axes = axes, keep_dims = keep, x = x)[name = string(\"y\")];\n"
      "  } -> (y);\n}\n");
  uint16_t x[8];
  for (int i = 0; i < 8; i++) x[i] = orion_float_to_half((float)(total / 8 + (i < total % 8)));
  bits_put(&r, 0, x);
  bits_run(&r);
  double y = (double)orion_half_to_float(*bits_get(&r, 1));
  one_run_close(&r);
  return y;
}

static bool cliff_holds(const char *family, const char *test, const char *param, const char *value) {
  if (strcmp(test, "matmul_inf_cliff") == 0) {  // a bisection ended between these
    size_t k = (size_t)atoi(param);
    return !ones_overflow(family, k, strtod(value, NULL)) && ones_overflow(family, k, strtod(value, NULL) + 1.3);
  }
  if (strcmp(test, "slice_width_cliff") == 0) {
    bool none = strcmp(value, "none") == 0;
    if (none) return width_slice(family, 0x7b53) == 0x7b53;                           // 60000
    return width_slice(family, 0x6bff) == 0x6bff && width_slice(family, 0x6c00) == 0x7c00;  // 4094, 4096
  }
  if (strcmp(value, "exact") == 0) {
    bool exact = true;
    for (int t = 2040; t <= 2048; t++) exact = exact && reduce_sum_8(family, t) == t;
    return exact;
  }
  return reduce_sum_8(family, atoi(param)) == strtod(value, NULL);
}

static void cliffs_of_ten_machines(void **state) {
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/anevec/cliffs.tsv");
  bits_table_load(&table, path);
  size_t wrong = 0;
  for (size_t i = 1; i < table.rows; i++) {
    const char *family = bits_family(bits_cell(&table, i, "family")), *test = bits_cell(&table, i, "test");
    const char *param = bits_cell(&table, i, "param"), *value = bits_cell(&table, i, "value");
    if (cliff_holds(family, test, param, value)) continue;
    print_message("%s: %s %s is not at %s\n", family, test, param, value);
    wrong++;
  }
  print_message("%zu of %zu cliffs\n", table.rows - 1 - wrong, table.rows - 1);
  assert_int_equal(table.rows - 1, 78);
  free(table.text);
  assert_int_equal(wrong, 0);
}

// ---- tables ---- derived from the rules by an independent program; ffff: do not compare

static void every_input_of_ten_functions(void **state) {
  static const char *const names[] = {"erf", "exp", "gelu", "inverse", "log", "rsqrt", "sigmoid", "silu", "sqrt",
                                      "tanh"};
  static uint16_t x[65536];
  char path[TEST_PATH_MAX];
  size_t wrong = 0;
  for (size_t i = 0; i < 65536; i++) x[i] = (uint16_t)i;
  for (size_t f = 0; f < sizeof names / sizeof *names; f++) {
    char file[64], text[640];
    snprintf(file, sizeof file, "data/anevec/derived/%s.u16", names[f]);
    SKIP_WITHOUT_SHARED(path, file);
    uint16_t *want = (uint16_t *)test_read_file(path, NULL);
    bool epsilon = strcmp(names[f], "inverse") == 0 || strcmp(names[f], "log") == 0 || strcmp(names[f], "rsqrt") == 0;
    snprintf(text, sizeof text,
             "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [65536]> x) {\n"
             "    fp16 zero = const()[name = string(\"zero\"), val = fp16(%s)];\n"
             "    tensor<fp16, [65536]> y = %s(x = x%s)[name = string(\"y\")];\n  } -> (y);\n}\n",
             strcmp(names[f], "inverse") == 0 ? "1e-4" : "0", names[f], epsilon ? ", epsilon = zero" : "");
    one_run r = bits_open("m6", text);
    bits_put(&r, 0, x);
    bits_run(&r);
    const uint16_t *y = bits_get(&r, 1);
    size_t n = 0, bad = 0;
    for (size_t i = 0; i < 65536; i++) {
      if (want[i] == 0xffff) continue;
      n++;
      if (y[i] == want[i]) continue;
      if (bad++ < 5) print_message("%s(%04zx) is %04x, expected %04x\n", names[f], i, y[i], want[i]);
    }
    print_message("%s: %zu of %zu inputs\n", names[f], n - bad, n);
    wrong += bad;
    one_run_close(&r);
    free(want);
  }
  assert_int_equal(wrong, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(multiply_accumulate_of_m6), cmocka_unit_test(multiply_accumulate_of_m4),
      cmocka_unit_test(elementwise_of_m5_and_m6),  cmocka_unit_test(integer_sums_of_m6),
      cmocka_unit_test(integer_convolutions_of_m6), cmocka_unit_test(integer_dot_of_m5),
      cmocka_unit_test(cliffs_of_ten_machines),    cmocka_unit_test(every_input_of_ten_functions),
  };
  return cmocka_run_group_tests_name("anevec measured", tests, NULL, NULL);
}
