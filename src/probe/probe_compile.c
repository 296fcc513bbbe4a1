// Probes that only compile: a program that the rule allows, and one that it does not. The statement held if the first
// was taken and the second refused; where a rule says that something works there is no second.
#include <stdio.h>

#include "probe/prober.h"

typedef struct pair {
  const char *good, *bad;        // NULL: none
  const char *good_is, *bad_is;  // in words
  orion_raw_file files[2];
  size_t n_files;
} pair;

static bool ask_pair(prober *p, const pair *q) {
  bool good = true, bad = false;
  if (q->good) {
    good = probe_compiles(p, q->good, q->files, q->n_files);
    probe_see(p, "%s: %s", q->good_is, good ? "compiles" : "refused");
  }
  if (q->bad) {
    orion_answer answer;
    orion_raw *r = probe_compile(p, q->bad, q->files, q->n_files, 0, &answer);
    char text[80];
    bad = !r && probe_is_refusal(p, &answer);
    probe_see(p, "%s: %s", q->bad_is, r ? "compiles" : probe_answer_text(&answer, text, sizeof text));
    probe_release(p, r);
  }
  return q->bad ? good && bad : good;
}

#define PAIR(name, good_text, good_words, bad_text, bad_words) \
  static bool name(prober *p) {                                             \
    static const pair q = {good_text, bad_text, good_words, bad_words, {{0}}, 0}; \
    return ask_pair(p, &q);                                                 \
  }

// ---- arguments ----

#define CONCAT(args) FUNCTION(X " x", CONST("int32", "ax", "1") CONST("bool", "no", "false") \
                              OP(TYPE("1, 128, 1, 32"), "y", "concat(axis = ax, " args "values = (x, x))"), "y")
PAIR(concat, CONCAT("interleave = no, "), "with interleave", CONCAT(""), "without")

PAIR(gelu_mode, FUNCTION(X " x", CONST("string", "m", "\"EXACT\"") OP(X, "y", "gelu(mode = m, x = x)"), "y"), "with mode",
     FUNCTION(X " x", OP(X, "y", "gelu(x = x)"), "y"), "without")

#define EPSILON(op, arg) FUNCTION(X " x", CONST("fp16", "e", "0x1p-10") OP(X, "y", op "(" arg "x = x)"), "y")
static bool epsilon(prober *p) {
  static const pair pairs[] = {
      {EPSILON("rsqrt", "epsilon = e, "), EPSILON("rsqrt", ""), "rsqrt with epsilon", "without", {{0}}, 0},
      {EPSILON("log", "epsilon = e, "), EPSILON("log", ""), "log with", "without", {{0}}, 0},
      {EPSILON("inverse", "epsilon = e, "), EPSILON("inverse", ""), "inverse with", "without", {{0}}, 0}};
  bool holds = true;
  for (int i = 0; i < 3; i++) holds = ask_pair(p, &pairs[i]) && holds;
  return holds;
}

#define SQUARE TYPE("1, 4, 32, 32")
#define FLAG(flag) FUNCTION(SQUARE " x", NO OP(SQUARE, "y", "matmul(transpose_x = " flag ", transpose_y = no, x = x, y = x)"), "y")
PAIR(named_constants, FLAG("no"), "a named constant", FLAG("bool(false)"), "written in place")

PAIR(returned_names, FUNCTION(X " x", OP(X, "y", "relu(x = x)"), "y"), "the value's name",
     FUNCTION(X " x", OP(X, "y", "relu(x = x)"), "y, z"), "one that is not there")

PAIR(input_returned, FUNCTION(X " x", OP(X, "y", "relu(x = x)"), "y"), "a computed value",
     FUNCTION(X " x", OP(X, "y", "relu(x = x)"), "x, y"), "an input as well")

// ---- convolutions ----

static const char *conv_text(prober *p, long out, long in, long width) {
  return probe_text(p, FUNCTION("tensor<fp16, [1, %ld, 1, 64]> x", CONV_ARGS
                                CONST("tensor<fp16, [%ld, %ld, 1, %ld]>", "w",
                                      "BLOBFILE(path = string(\"@model_path/weights/weight.bin\"), offset = uint64(64))")
                                "tensor<fp16, [1, %ld, 1, %ld]> y = " CONV_CALL("") "[name = string(\"y\")];\n", "y"),
                    in, out, in, width, out, in, width, out, 65 - width);
}

static bool ask_conv(prober *p, const long good[3], const long bad[3], const char *what, int which) {
  size_t most = 0;
  const long *shapes[] = {good, bad};
  for (int i = 0; i < 2; i++) {
    size_t n = (size_t)shapes[i][0] * (size_t)shapes[i][1] * (size_t)shapes[i][2];
    most = n > most ? n : most;
  }
  const char *texts[2];
  orion_raw_file files[2];
  for (int i = 0; i < 2; i++) {
    texts[i] = conv_text(p, shapes[i][0], shapes[i][1], shapes[i][2]);
    files[i] = probe_blob(p, "weights/weight.bin", (size_t)shapes[i][0] * (size_t)shapes[i][1] * (size_t)shapes[i][2], 1, 0);
  }
  if (probe_failed(p)) return false;
  bool allowed = probe_compiles(p, texts[0], &files[0], 1);
  orion_answer answer;
  orion_raw *r = probe_compile(p, texts[1], &files[1], 1, 0, &answer);
  bool refused = !r && probe_is_refusal(p, &answer);
  probe_see(p, "%ld %s: %s; %ld: %s", good[which], what, allowed ? "compiles" : "refused", bad[which],
            r ? "compiles" : "refused");
  probe_release(p, r);
  return allowed && refused;
}

static bool conv_in(prober *p) {
  return ask_conv(p, (long[]){8, (long)p->t->max_conv_in, 1}, (long[]){8, 32000, 1}, "input channels", 1);
}

static bool conv_out(prober *p) {
  return ask_conv(p, (long[]){(long)p->t->max_conv_out, 8, 1}, (long[]){65536, 8, 1}, "output channels", 0);
}

static bool kernel_width(prober *p) {
  long most = (long)p->t->max_kernel_width;
  return ask_conv(p, (long[]){64, 64, most}, (long[]){64, 64, most + 1}, "wide", 2);
}

#define BIASED(type, dims) FUNCTION(X " x", CONV_ARGS BLOB(TYPE("64, 64, 1, 1"), "w", "weights/weight.bin", "64") \
                                    BLOB(TYPE(dims), "b", "weights/weight_1.bin", "64") \
                                    OP(X, "y", CONV_CALL("bias = b, ")), "y")
static bool conv_bias(prober *p) {
  pair q = {BIASED("", "64"), BIASED("", "1, 64, 1, 1"), "rank 1", "rank 4", {{0}}, 2};
  q.files[0] = probe_blob(p, "weights/weight.bin", 64 * 64, 1, 0);
  q.files[1] = probe_blob(p, "weights/weight_1.bin", 64, 1, 0);
  return !probe_failed(p) && ask_pair(p, &q);
}

#define GROUPED(w, more) FUNCTION(w X " x", CONST("string", "pt", "\"valid\"") INTS("st", "2", "1, 1") \
                                  INTS("pd", "4", "0, 0, 0, 0") CONST("int32", "gr", "64") more OP(X, "y", CONV_CALL("")), "y")
static bool runtime_groups(prober *p) {
  pair q = {GROUPED("", BLOB(TYPE("64, 1, 1, 1"), "w", "weights/weight.bin", "64")), GROUPED(TYPE("64, 1, 1, 1") " w, ", ""),
            "constant weights", "weights from an input", {{0}}, 1};
  q.files[0] = probe_blob(p, "weights/weight.bin", 64, 1, 0);
  return !probe_failed(p) && ask_pair(p, &q);
}

#define PACKED(use, type) FUNCTION(TYPE("1, 64, 1, 32") " x", CONV_ARGS NO \
    "tensor<int8, [64, 64, 1, 1]> d = const()[name = string(\"d\"), val = tensor<int8, [64, 64, 1, 1]>"             \
    "(BLOBFILE(path = string(\"@model_path/weights/weight.bin\"), offset = uint64(64)))];\n"                            \
    BLOB(TYPE("64, 1, 1, 1"), "s", "weights/weight_1.bin", "64") \
    OP(TYPE("64, 64, 1, 1"), "w", "constexpr_blockwise_shift_scale(data = d, scale = s)") OP(X, "y", CONV_CALL("")), "y")
static bool constexpr_weights(prober *p) {
  pair q = {PACKED("", ""), NULL, "int8 weights of a convolution, one scale for each output channel", NULL, {{0}}, 2};
  q.files[0] = probe_blob(p, "weights/weight.bin", 64 * 32, 1, 0);
  q.files[1] = probe_blob(p, "weights/weight_1.bin", 64, 1, 1);
  if (probe_failed(p)) return false;
  uint8_t *bytes = (uint8_t *)(uintptr_t)q.files[0].bytes;  // ours: the same bytes under the code of int8
  bytes[68] = 4;
  return ask_pair(p, &q);
}

#define WEIGHT_AT(offset) \
  FUNCTION(X " x", CONV_ARGS BLOB(TYPE("64, 64, 1, 1"), "w", "weights/weight.bin", offset) OP(X, "y", CONV_CALL("")), "y")
static bool blob_offset(prober *p) {
  pair q = {WEIGHT_AT("64"), WEIGHT_AT("128"), "64, the record", "128, the data", {{0}}, 1};
  q.files[0] = probe_blob(p, "weights/weight.bin", 64 * 64, 1, 0);
  return !probe_failed(p) && ask_pair(p, &q);
}

// ---- shapes ----

#define RELU(dims) FUNCTION("tensor<fp16, [" dims "]> x", "tensor<fp16, [" dims "]> y = relu(x = x)[name = string(\"y\")];\n", "y")
PAIR(unknown_dimension, RELU("1, 64, 1, 32"), "fixed", RELU("1, 64, 1, ?"), "open")

static bool ask_shape(prober *p, const char *format, long good, long bad) {
  char good_is[32], bad_is[32];
  snprintf(good_is, sizeof good_is, "%ld", good);
  snprintf(bad_is, sizeof bad_is, "%ld", bad);
  const char *const texts[] = {probe_text(p, format, good, good), probe_text(p, format, bad, bad)};
  return !probe_failed(p) && ask_pair(p, &(pair){.good = texts[0], .bad = texts[1], .good_is = good_is, .bad_is = bad_is});
}

static bool axis(prober *p) { return ask_shape(p, RELU("1, 1, %ld, 32"), (long)p->t->max_axis, (long)p->t->max_axis + 32); }
static bool channels(prober *p) {
  return ask_shape(p, RELU("1, %ld, 1, 32"), (long)p->t->max_channels, (long)p->t->max_channels + 64);
}

#define RESHAPED(n, dims)                                                                                       \
  FUNCTION(X " x", INTS("s", n, dims) OP(TYPE(dims), "r", "reshape(shape = s, x = x)") INTS("t", "4", "1, 64, 1, 32") \
           OP(X, "y", "reshape(shape = t, x = r)"), "y")
PAIR(rank, RESHAPED("5", "1, 1, 64, 1, 32"), "rank 5", RESHAPED("6", "1, 1, 1, 64, 1, 32"), "rank 6")

#define PRODUCT(dims) FUNCTION(TYPE(dims) " x", NO OP(TYPE(dims), "y", MATMUL_CALL("x", "x")), "y")
PAIR(matmul_rank, PRODUCT("1, 4, 32, 32"), "rank 4", PRODUCT("1, 2, 2, 32, 32"), "rank 5")

// ---- types of inputs and outputs ----

PAIR(io_type, RELU("1, 64, 1, 32"), "fp16",
     FUNCTION("tensor<int32, [1, 64, 1, 32]> x", CONST("string", "h", "\"fp16\"") OP(X, "y", "cast(dtype = h, x = x)"), "y"), "int32")

#define X32 "tensor<fp32, [1, 64, 1, 32]>"
PAIR(fp32_io, RELU("1, 64, 1, 32"), "fp16",
     FUNCTION(X32 " x", CONST("string", "h", "\"fp16\"") CONST("string", "s", "\"fp32\"") OP(X, "a", "cast(dtype = h, x = x)")
              OP(X, "b", "relu(x = a)") OP(X32, "y", "cast(dtype = s, x = b)"), "y"), "fp32")

// ---- operations ----

#define MEAN TYPE("1, 1, 1, 32")
#define REDUCE(op, more, result) \
  FUNCTION(X " x", INTS("ax", "1", "1") CONST("bool", "kd", "true") OP(MEAN, "m", op "(axes = ax, keep_dims = kd, x = x)") more, result)
PAIR(reduce_mean, REDUCE("reduce_mean", "", "m"), "over channels", NULL, NULL)
PAIR(sqrt_after_reduce, REDUCE("reduce_sum", OP(MEAN, "y", "sqrt(x = m)"), "y"), "sqrt of a sum", NULL, NULL)
PAIR(zero_times_reduce, REDUCE("reduce_sum", OP(MEAN, "y", "sub(x = m, y = m)"), "y"), "m - m",
     REDUCE("reduce_sum", CONST("fp16", "z", "0x0p+0") OP(MEAN, "y", "mul(x = m, y = z)"), "y"), "m * 0")
PAIR(no_path, REDUCE("reduce_sum", "", "m"), "reduce_sum", REDUCE("reduce_prod", "", "m"), "reduce_prod")
PAIR(softmax_axis, FUNCTION(TYPE("1, 96, 1, 32") " x", CONST("int32", "ax", "1")
                            OP(TYPE("1, 96, 1, 32"), "y", "softmax(axis = ax, x = x)"), "y"), "96 channels", NULL, NULL)
PAIR(concat_values, FUNCTION(X " x", CONST("int32", "ax", "1") CONST("bool", "no", "false")
                             OP(TYPE("1, 256, 1, 32"), "y", "concat(axis = ax, interleave = no, values = (x, x, x, x))"), "y"),
     "four values", NULL, NULL)
PAIR(slice_of_input, FUNCTION(X " x", INTS("b", "4", "0, 0, 0, 0") INTS("e", "4", "1, 32, 1, 32")
                              OP(TYPE("1, 32, 1, 32"), "s", "slice_by_index(begin = b, end = e, x = x)")
                              OP(TYPE("1, 32, 1, 32"), "y", "relu(x = s)"), "y"), "slice_by_index of an input", NULL, NULL)
PAIR(tile, FUNCTION(X " x", INTS("r", "4", "1, 4, 1, 1") OP(TYPE("1, 256, 1, 32"), "y", "tile(reps = r, x = x)"), "y"),
     "four times", NULL, NULL)

#define OLD_CONST(type, name, value) \
  "tensor<" type ", []> " name " = const()[name = tensor<string, []>(\"" name "\"), val = tensor<" type ", []>(" value ")];\n"
PAIR(old_dialect, "program(1.0)\n[buildInfo = dict<tensor<string, []>, tensor<string, []>>({})]\n{\nfunc main<ios16>(" X " x) {\n"
     OLD_CONST("fp16", "k", "0x1p+0") X " y = add(x = x, y = k)[name = tensor<string, []>(\"y\")];\n} -> (y);\n}\n",
     "program(1.0), ios16", NULL, NULL)

// ---- weight files ----

static const char *many_files(prober *p, int files, bool scalar, orion_raw_file *out) {
  orion_strbuf b;
  orion_strbuf_init(&b, NULL);
  orion_strbuf_addf(&b, "program(1.3)\n[buildInfo = dict<string, string>({})]\n{\nfunc main<ios18>(" X " h00) {\n");
  for (int i = 0; i < files; i++) {
    const char *path = i ? probe_text(p, "weights/weight_%d.bin", i) : "weights/weight.bin";
    out[i] = probe_blob(p, path, 64, 1, 1);
    orion_strbuf_addf(&b, TYPE("1, 64, 1, 1") " w%02d = const()[name = string(\"w%02d\"), val = " TYPE("1, 64, 1, 1")
                      "(BLOBFILE(path = string(\"@model_path/%s\"), offset = uint64(64)))];\n", i, i, path);
    orion_strbuf_addf(&b, X " h%02d = add(x = h%02d, y = w%02d)[name = string(\"h%02d\")];\n", i + 1, i, i, i + 1);
  }
  if (scalar) {
    orion_strbuf_addf(&b, "fp16 k = const()[name = string(\"k\"), val = fp16(0x1p-1)];\n" X
                      " h%02d = mul(x = h%02d, y = k)[name = string(\"h%02d\")];\n", files + 1, files, files + 1);
  }
  orion_strbuf_addf(&b, "} -> (h%02d);\n}\n", files + scalar);
  const char *text = probe_text(p, "%s", orion_strbuf_text(&b));
  orion_strbuf_deinit(&b);
  return text;
}

static bool blob_files(prober *p) {
  orion_raw_file files[32];
  int most = p->t->max_blob_files < 31 ? p->t->max_blob_files : 31;
  bool good = probe_compiles(p, many_files(p, most, false, files), files, (size_t)most);
  const char *text = many_files(p, most + 1, false, files);
  orion_answer answer;
  orion_raw *r = probe_compile(p, text, files, (size_t)most + 1, 0, &answer);
  bool bad = !r && probe_is_refusal(p, &answer);
  probe_see(p, "%d files: %s; %d: %s", most, good ? "compiles" : "refused", most + 1, r ? "compiles" : "refused");
  probe_release(p, r);
  return good && bad;
}

static bool scalar_slot(prober *p) {
  orion_raw_file files[32];
  int most = p->t->max_blob_files < 31 ? p->t->max_blob_files : 31;
  orion_answer answer;
  orion_raw *r = probe_compile(p, many_files(p, most, true, files), files, (size_t)most, 0, &answer);
  probe_see(p, "%d files and a scalar operand: %s", most, r ? "compiles" : "refused");
  probe_release(p, r);
  return !r;
}

// ---- what is handed over wrongly ----

static bool ask_mistake(prober *p, unsigned mistake) {
  static const char text[] = FUNCTION(X " x", OP(X, "y", "relu(x = x)"), "y");
  orion_answer answer;
  char words[80];
  bool good = probe_compiles(p, text, NULL, 0);
  // Another text: programs of the same content are one (C41).
  orion_raw *r = probe_compile(p, FUNCTION(X " x", OP(X, "z", "relu(x = x)"), "z"), NULL, 0, mistake, &answer);
  probe_see(p, "as it should be: %s; else: %s", good ? "compiles" : "refused", probe_answer_text(&answer, words, sizeof words));
  bool bad = !r && probe_is_refusal(p, &answer);
  probe_release(p, r);
  return good && bad;
}

static bool text_as_bytes(prober *p) { return ask_mistake(p, ORION_RAW_TEXT_AS_STRING); }
static bool weights_dictionary(prober *p) { return ask_mistake(p, ORION_RAW_NO_DICTIONARY); }
static bool work_directory(prober *p) { return ask_mistake(p, ORION_RAW_NO_DIRECTORY); }

const probe_row *probe_compile_rows(size_t *out_n) {
  static const probe_row rows[] = {
      {ORION_RULE_C01, concat, false},          {ORION_RULE_C08, blob_offset, false},
      {ORION_RULE_C09, text_as_bytes, true},    {ORION_RULE_C10, gelu_mode, false},
      {ORION_RULE_C11, weights_dictionary, true}, {ORION_RULE_C12, named_constants, false},
      {ORION_RULE_C13, conv_bias, false},       {ORION_RULE_C14, returned_names, false},
      {ORION_RULE_C16, conv_in, false},         {ORION_RULE_C21, blob_files, false},
      {ORION_RULE_C22, scalar_slot, false},     {ORION_RULE_C23, epsilon, false},
      {ORION_RULE_C24, fp32_io, false},         {ORION_RULE_C25, work_directory, false},
      {ORION_RULE_L01, rank, false},            {ORION_RULE_L02, unknown_dimension, false},
      {ORION_RULE_L03, channels, false},        {ORION_RULE_L04, axis, false},
      {ORION_RULE_L05, io_type, false},         {ORION_RULE_L10, input_returned, false},
      {ORION_RULE_L12, conv_out, false},        {ORION_RULE_L14, kernel_width, false},
      {ORION_RULE_L16, matmul_rank, false},     {ORION_RULE_D01, sqrt_after_reduce, false},
      {ORION_RULE_D02, reduce_mean, false},     {ORION_RULE_D03, softmax_axis, false},
      {ORION_RULE_D04, concat_values, false},   {ORION_RULE_D06, zero_times_reduce, false},
      {ORION_RULE_D09, slice_of_input, false},  {ORION_RULE_D10, runtime_groups, false},
      {ORION_RULE_D11, constexpr_weights, false}, {ORION_RULE_D13, no_path, false},
      {ORION_RULE_D18, tile, true},             {ORION_RULE_X11, old_dialect, false},
  };
  *out_n = sizeof rows / sizeof *rows;
  return rows;
}
