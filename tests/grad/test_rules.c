// Every gradient rule against central differences of the forward program, on the simulated device's exact arithmetic.
//
// A case is a function body that makes z from its parameters. The seed is random; the loss is sum of seed * z. Values are
// spread evenly, so that they keep away from kinks and ties. Differences are of fourth order: with steps of 1/64 their
// error is that of fp32 in z. Each case runs in one function, with recomputation, and split in two: all three agree to
// the last bit.
#include <math.h>

#include "base/rng.h"
#include "grad/grad.h"
#include "ir/infer.h"
#include "machine.h"

typedef struct rule_case {
  orion_opcode code;   // the rule that it is about
  const char *params;
  const char *body;    // ends by making z
  double low, high;    // of all values
  bool composite;      // lowered before it runs
} rule_case;

#define I1(v) "tensor<int32, [1]>([" #v "])"
#define F32(dims) "tensor<fp32, " dims "> "
#define NAMED "[name = string(\"z\")];"

#define CASE(op, params, body, low, high) {ORION_OP_##op, params, body, low, high, false}
#define COMPOSITE(op, params, body, low, high) {ORION_OP_##op, params, body, low, high, true}
#define UNARY(op, low, high) CASE(op, F32("[2, 7]") "x", F32("[2, 7]") "z = " #op "(x = x)" NAMED, low, high)
#define BINARY(op, dx, dy, dz, low, high) \
  CASE(op, F32(dx) "x, " F32(dy) "y", F32(dz) "z = " #op "(x = x, y = y)" NAMED, low, high)
#define INT(name, v) "int32 " name " = const()[name = string(\"" name "\"), val = int32(" #v ")];"
#define FLOAT(name, v) "fp32 " name " = const()[name = string(\"" name "\"), val = fp32(" v ")];"
#define MATMUL(dx, dy, dz, tx, ty)                                                                             \
  CASE(matmul, F32(dx) "x, " F32(dy) "y",                                                                      \
       F32(dz) "z = matmul(x = x, y = y, transpose_x = bool(" #tx "), transpose_y = bool(" #ty "))" NAMED, -1, 1)
#define ATTENTION_TEXT(kv, batch)                                                                                   \
  INT("heads", 4) INT("kv", kv) INT("batch", batch) FLOAT("scale", "0.5")                                           \
  F32("[6, 8]") "z = orion_attention(q = q, k = k, v = v, heads = heads, kv_heads = kv, scale = scale, batch = batch)" NAMED

static const rule_case cases[] = {
    UNARY(cos, -2, 2), UNARY(exp, -2, 2), UNARY(identity, -2, 2), UNARY(rsqrt, 0.5, 3), UNARY(sin, -2, 2),
    UNARY(sqrt, 0.5, 3), UNARY(square, -2, 2), UNARY(relu, -2, 2), UNARY(sigmoid, -4, 4), UNARY(silu, -4, 4),
    UNARY(tanh, -2, 2), UNARY(inverse, 0.5, 3), UNARY(log, 0.5, 3),
    CASE(inverse, F32("[5]") "x", F32("[5]") "z = inverse(x = x, epsilon = fp32(0.25))" NAMED, 0.5, 3),
    CASE(log, F32("[5]") "x", F32("[5]") "z = log(x = x, epsilon = fp32(0.25))" NAMED, 0.5, 3),
    CASE(rsqrt, F32("[5]") "x", F32("[5]") "z = rsqrt(x = x, epsilon = fp32(0.25))" NAMED, 0.5, 3),
    CASE(gelu, F32("[2, 9]") "x", F32("[2, 9]") "z = gelu(x = x)" NAMED, -4, 4),
    CASE(gelu, F32("[2, 9]") "x", F32("[2, 9]") "z = gelu(x = x, mode = string(\"EXACT\"))" NAMED, -4, 4),
    CASE(gelu, F32("[2, 9]") "x", F32("[2, 9]") "z = gelu(x = x, mode = string(\"TANH_APPROXIMATION\"))" NAMED, -4, 4),
    CASE(gelu, F32("[2, 9]") "x", F32("[2, 9]") "z = gelu(x = x, mode = string(\"SIGMOID_APPROXIMATION\"))" NAMED, -4, 4),
    CASE(cast, F32("[4]") "x", F32("[4]") "z = cast(x = x, dtype = string(\"fp32\"))" NAMED, -2, 2),

    BINARY(add, "[2, 3]", "[2, 3]", "[2, 3]", -2, 2), BINARY(add, "[2, 3]", "[3]", "[2, 3]", -2, 2),
    BINARY(add, "[2, 1, 3]", "[4, 1]", "[2, 4, 3]", -2, 2), BINARY(sub, "[3]", "[2, 3]", "[2, 3]", -2, 2),
    BINARY(sub, "[1, 3]", "[2, 1]", "[2, 3]", -2, 2), BINARY(mul, "[2, 3]", "[2, 3]", "[2, 3]", -2, 2),
    BINARY(mul, "[2, 1, 3]", "[4, 1]", "[2, 4, 3]", -2, 2), BINARY(real_div, "[2, 3]", "[2, 3]", "[2, 3]", 0.5, 3),
    BINARY(real_div, "[2, 1]", "[3]", "[2, 3]", 0.5, 3), BINARY(pow, "[2, 3]", "[2, 3]", "[2, 3]", 0.5, 2),
    BINARY(pow, "[2, 3]", "[1]", "[2, 3]", 0.5, 2), BINARY(maximum, "[3, 4]", "[3, 4]", "[3, 4]", -2, 2),
    BINARY(maximum, "[3, 4]", "[4]", "[3, 4]", -2, 2), BINARY(minimum, "[3, 1]", "[4]", "[3, 4]", -2, 2),
    CASE(mul, F32("[2, 3]") "x", F32("[2, 3]") "z = mul(x = x, y = fp32(3))" NAMED, -2, 2),
    CASE(mul, F32("[2, 3]") "x", F32("[2, 3]") "z = mul(x = x, y = x)" NAMED, -2, 2),  // both arguments one value
    CASE(mul, "fp32 x, " F32("[2, 3]") "y", F32("[2, 3]") "z = mul(x = x, y = y)" NAMED, -2, 2),
    CASE(add, "fp32 x, fp32 y", "fp32 z = add(x = x, y = y)" NAMED, -2, 2),
    CASE(pow, F32("[5]") "x", F32("[5]") "z = pow(x = x, y = fp32(-0.5))" NAMED, 0.5, 3),
    CASE(select, F32("[2, 3]") "x, " F32("[3]") "y",
         "tensor<bool, [2, 3]> c = less(x = x, y = fp32(0))[name = string(\"c\")];"
         F32("[2, 3]") "z = select(cond = c, a = x, b = y)" NAMED, -2, 2),

    CASE(reduce_sum, F32("[2, 3, 4]") "x", F32("[2, 4]") "z = reduce_sum(x = x, axes = " I1(1) ", keep_dims = bool(false))" NAMED, -2, 2),
    CASE(reduce_sum, F32("[2, 3, 4]") "x", F32("[1, 3, 1]") "z = reduce_sum(x = x, axes = tensor<int32, [2]>([0, -1]), keep_dims = bool(true))" NAMED, -2, 2),
    CASE(reduce_sum, F32("[2, 3]") "x", "fp32 z = reduce_sum(x = x, keep_dims = bool(false))" NAMED, -2, 2),
    CASE(reduce_mean, F32("[2, 3, 4]") "x", F32("[2, 4]") "z = reduce_mean(x = x, axes = " I1(-2) ", keep_dims = bool(false))" NAMED, -2, 2),
    CASE(reduce_max, F32("[2, 3, 4]") "x", F32("[2, 3, 1]") "z = reduce_max(x = x, axes = " I1(-1) ", keep_dims = bool(true))" NAMED, -2, 2),
    CASE(reduce_max, F32("[2, 3, 4]") "x", F32("[3]") "z = reduce_max(x = x, axes = tensor<int32, [2]>([0, 2]), keep_dims = bool(false))" NAMED, -2, 2),
    CASE(softmax, F32("[2, 5]") "x", F32("[2, 5]") "z = softmax(x = x, axis = int32(-1))" NAMED, -2, 2),
    CASE(softmax, F32("[3, 4, 2]") "x", F32("[3, 4, 2]") "z = softmax(x = x, axis = int32(1))" NAMED, -2, 2),
    CASE(layer_norm, F32("[3, 5]") "x, " F32("[5]") "g, " F32("[5]") "b",
         F32("[3, 5]") "z = layer_norm(x = x, axes = " I1(-1) ", gamma = g, beta = b, epsilon = fp32(0.01))" NAMED, -2, 2),
    CASE(layer_norm, F32("[2, 3, 2]") "x", F32("[2, 3, 2]") "z = layer_norm(x = x, axes = tensor<int32, [2]>([1, 2]))" NAMED, -2, 2),
    CASE(layer_norm, F32("[2, 3, 2]") "x, " F32("[3]") "g",
         F32("[2, 3, 2]") "z = layer_norm(x = x, axes = " I1(1) ", gamma = g, epsilon = fp32(0.01))" NAMED, -2, 2),

    CASE(linear, F32("[3, 4]") "x, " F32("[2, 4]") "w, " F32("[2]") "b", F32("[3, 2]") "z = linear(x = x, weight = w, bias = b)" NAMED, -1, 1),
    CASE(linear, F32("[2, 1, 4]") "x, " F32("[3, 4]") "w", F32("[2, 1, 3]") "z = linear(x = x, weight = w)" NAMED, -1, 1),
    CASE(linear, F32("[4]") "x, " F32("[3, 4]") "w, " F32("[3]") "b", F32("[3]") "z = linear(x = x, weight = w, bias = b)" NAMED, -1, 1),
    MATMUL("[2, 3]", "[3, 4]", "[2, 4]", false, false), MATMUL("[3, 2]", "[3, 4]", "[2, 4]", true, false),
    MATMUL("[2, 3]", "[4, 3]", "[2, 4]", false, true), MATMUL("[3, 2]", "[4, 3]", "[2, 4]", true, true),
    MATMUL("[2, 2, 3]", "[3, 2]", "[2, 2, 2]", false, false), MATMUL("[2, 3, 2]", "[2, 3]", "[2, 2, 2]", true, true),
    MATMUL("[2, 3]", "[2, 3, 2]", "[2, 2, 2]", false, false), MATMUL("[2, 1, 2, 3]", "[2, 2, 3]", "[2, 2, 2, 2]", false, true),
    MATMUL("[3]", "[3, 2]", "[2]", false, false), MATMUL("[2, 3]", "[3]", "[2]", false, false),
    MATMUL("[3]", "[2, 3, 2]", "[2, 2]", false, false), MATMUL("[2, 2, 3]", "[3]", "[2, 2]", false, false),
    CASE(conv, F32("[1, 3, 1, 4]") "x, " F32("[2, 3, 1, 1]") "w", F32("[1, 2, 1, 4]") "z = conv(x = x, weight = w)" NAMED, -1, 1),
    CASE(conv, F32("[2, 3, 2, 2]") "x, " F32("[2, 3, 1, 1]") "w, " F32("[2]") "b",
         F32("[2, 2, 2, 2]") "z = conv(x = x, weight = w, bias = b, pad_type = string(\"same\"))" NAMED, -1, 1),
    CASE(conv, F32("[1, 3, 4]") "x, " F32("[2, 3, 1]") "w", F32("[1, 2, 4]") "z = conv(x = x, weight = w)" NAMED, -1, 1),
    CASE(scaled_dot_product_attention, F32("[1, 3, 4]") "q, " F32("[1, 5, 4]") "k, " F32("[1, 5, 2]") "v",
         F32("[1, 3, 2]") "z = scaled_dot_product_attention(query = q, key = k, value = v)" NAMED, -2, 2),
    CASE(scaled_dot_product_attention, F32("[2, 2, 3]") "q, " F32("[2, 2, 3]") "k, " F32("[2, 2, 3]") "v, " F32("[2, 2]") "m",
         F32("[2, 2, 3]") "z = scaled_dot_product_attention(query = q, key = k, value = v, attn_mask = m)" NAMED, -2, 2),
    CASE(scaled_dot_product_attention, F32("[1, 2, 2, 3, 2]") "q, " F32("[1, 2, 1, 3, 2]") "k, " F32("[1, 2, 1, 3, 2]") "v",
         "tensor<bool, [3, 3]> m = const()[name = string(\"m\"), val = tensor<bool, [3, 3]>([true, false, false, true, true, false, true, true, true])];"
         F32("[1, 2, 2, 3, 2]") "z = scaled_dot_product_attention(query = q, key = k, value = v, attn_mask = m)" NAMED, -2, 2),

    CASE(reshape, F32("[2, 6]") "x", F32("[3, 4]") "z = reshape(x = x, shape = tensor<int32, [2]>([3, -1]))" NAMED, -2, 2),
    CASE(expand_dims, F32("[2, 3]") "x", F32("[2, 1, 3, 1]") "z = expand_dims(x = x, axes = tensor<int32, [2]>([1, -1]))" NAMED, -2, 2),
    CASE(squeeze, F32("[2, 1, 3]") "x", F32("[2, 3]") "z = squeeze(x = x, axes = " I1(1) ")" NAMED, -2, 2),
    CASE(squeeze, F32("[1, 3, 1]") "x", F32("[3]") "z = squeeze(x = x)" NAMED, -2, 2),
    CASE(transpose, F32("[2, 3, 4]") "x", F32("[4, 2, 3]") "z = transpose(x = x, perm = tensor<int32, [3]>([-1, 0, 1]))" NAMED, -2, 2),
    CASE(slice_by_size, F32("[3, 4]") "x", F32("[2, 3]") "z = slice_by_size(x = x, begin = tensor<int32, [2]>([1, 0]), size = tensor<int32, [2]>([2, 3]))" NAMED, -2, 2),
    CASE(slice_by_size, F32("[3, 4]") "x", F32("[2, 1]") "z = slice_by_size(x = x, begin = tensor<int32, [2]>([-2, -1]), size = tensor<int32, [2]>([-1, 1]))" NAMED, -2, 2),
    CASE(slice_by_index, F32("[4, 5]") "x", F32("[2, 3]") "z = slice_by_index(x = x, begin = tensor<int32, [2]>([1, 0]), end = tensor<int32, [2]>([3, 5]), stride = tensor<int32, [2]>([1, 2]))" NAMED, -2, 2),
    CASE(slice_by_index, F32("[4, 5]") "x",
         F32("[5]") "z = slice_by_index(x = x, begin = tensor<int32, [2]>([-2, 0]), end = tensor<int32, [2]>([0, 0]), begin_mask = tensor<bool, [2]>([false, true]), "
         "end_mask = tensor<bool, [2]>([false, true]), squeeze_mask = tensor<bool, [2]>([true, false]))" NAMED, -2, 2),
    CASE(slice_by_index, F32("[4]") "x", F32("[2]") "z = slice_by_index(x = x, begin = " I1(3) ", end = " I1(0) ", stride = " I1(-2) ")" NAMED, -2, 2),
    CASE(concat, F32("[2, 1]") "x, " F32("[2, 3]") "y", F32("[2, 6]") "z = concat(values = (x, y, sq), axis = int32(-1), interleave = bool(false))" NAMED, -2, 2),
    CASE(concat, F32("[2, 3]") "x, " F32("[2, 3]") "y", F32("[4, 3]") "z = concat(values = (x, y), axis = int32(0), interleave = bool(true))" NAMED, -2, 2),
    CASE(gather, F32("[5, 2]") "x, tensor<int32, [4]> i", F32("[4, 2]") "z = gather(x = x, indices = i, axis = int32(0))" NAMED, -2, 2),
    CASE(gather, F32("[2, 5, 2]") "x, tensor<int32, [2, 2]> i", F32("[2, 2, 2, 2]") "z = gather(x = x, indices = i, axis = int32(1))" NAMED, -2, 2),
    CASE(scatter, F32("[5, 2]") "x, tensor<int32, [3]> i, " F32("[3, 2]") "u", F32("[5, 2]") "z = scatter(data = x, indices = i, updates = u, axis = int32(0), mode = string(\"add\"))" NAMED, -2, 2),
    CASE(scatter, F32("[2, 5]") "x, tensor<int32, [3]> i, " F32("[2, 3]") "u", F32("[2, 5]") "z = scatter(data = x, indices = i, updates = u, axis = int32(1), mode = string(\"sub\"))" NAMED, -2, 2),
    CASE(scatter, F32("[5, 2]") "x, tensor<int32, [2]> i, " F32("[2, 2]") "u", F32("[5, 2]") "z = scatter(data = x, indices = i, updates = u, axis = int32(0), mode = string(\"update\"))" NAMED, -2, 2),

    COMPOSITE(orion_rms_norm, F32("[3, 4]") "x, " F32("[4]") "g", FLOAT("eps", "0.01") F32("[3, 4]") "z = orion_rms_norm(x = x, gamma = g, epsilon = eps)" NAMED, -2, 2),
    COMPOSITE(orion_rms_norm, F32("[3, 6]") "x, " F32("[3]") "g", FLOAT("eps", "0.01") INT("groups", 2) F32("[3, 6]") "z = orion_rms_norm(x = x, gamma = g, epsilon = eps, groups = groups)" NAMED, -2, 2),
    COMPOSITE(orion_rope, F32("[3, 8]") "x",
              "tensor<fp32, [3, 2]> cos = const()[name = string(\"cos\"), val = tensor<fp32, [3, 2]>([1, 1, 0.5, 0.9, -0.4, 0.7])];"
              "tensor<fp32, [3, 2]> sin = const()[name = string(\"sin\"), val = tensor<fp32, [3, 2]>([0, 0, 0.8, 0.4, 0.9, 0.7])];"
              INT("heads", 2) F32("[3, 8]") "z = orion_rope(x = x, cos = cos, sin = sin, heads = heads)" NAMED, -2, 2),
    COMPOSITE(orion_attention, F32("[6, 8]") "q, " F32("[6, 8]") "k, " F32("[6, 8]") "v", ATTENTION_TEXT(4, 1), -1, 1),
    COMPOSITE(orion_attention, F32("[6, 8]") "q, " F32("[6, 4]") "k, " F32("[6, 4]") "v", ATTENTION_TEXT(2, 1), -1, 1),
    COMPOSITE(orion_attention, F32("[6, 8]") "q, " F32("[6, 4]") "k, " F32("[6, 4]") "v", ATTENTION_TEXT(2, 2), -1, 1),
    COMPOSITE(orion_attention, F32("[6, 8]") "q, " F32("[6, 8]") "k, " F32("[6, 8]") "v", ATTENTION_TEXT(4, 3), -1, 1),
    COMPOSITE(orion_attention, F32("[6, 8]") "q, " F32("[6, 4]") "k, " F32("[6, 4]") "v", ATTENTION_TEXT(2, 6), -1, 1),
    COMPOSITE(orion_cross_entropy, F32("[4, 5]") "x, tensor<int32, [4]> t", F32("[1]") "z = orion_cross_entropy(logits = x, targets = t)" NAMED, -2, 2),
};

enum { N_CASES = sizeof cases / sizeof *cases, MAX_PARAMS = 8, MAX_ELEMENTS = 64 };

typedef struct input {
  const char *name;
  bool ints;
  size_t n;
  float f[MAX_ELEMENTS];
  int32_t i[MAX_ELEMENTS];
} input;

typedef struct bench {
  const rule_case *c;
  orion_program *program;
  input in[MAX_PARAMS];
  size_t n_in, n_z;
  float seed[MAX_ELEMENTS];
} bench;

// Even spread in random order: over all inputs together no two values are equal, and none is at the middle.
static void fill(bench *t, uint64_t seed) {
  size_t total = 0, used = 0, order[MAX_PARAMS * MAX_ELEMENTS];
  orion_rng rng;
  orion_rng_seed(&rng, seed, 1);
  for (size_t p = 0; p < t->n_in; p++) total += t->in[p].n;
  for (size_t i = 0; i < total; i++) order[i] = i;
  for (size_t i = total; i > 1; i--) {
    size_t k = (size_t)(orion_rng_u32(&rng) % i), swap = order[i - 1];
    order[i - 1] = order[k];
    order[k] = swap;
  }
  for (size_t p = 0; p < t->n_in; p++) {
    for (size_t i = 0; i < t->in[p].n; i++, used++) {
      double at = ((double)order[used] + 0.5) / (double)total;
      if (total % 2 && order[used] == total / 2) at += 0.25 / (double)total;
      t->in[p].f[i] = (float)(t->c->low + (t->c->high - t->c->low) * at);
      // Indices: in range, some of them repeated; of a target the second does not count.
      t->in[p].i[i] = t->c->code == ORION_OP_orion_cross_entropy ? (i == 1 ? -1 : (int32_t)(i * 3 % 5))
                      : strstr(t->c->body, "\"update\"")           ? (int32_t)(4 - 3 * i)
                                                                   : (int32_t)(i * i % 5);
    }
  }
  for (size_t i = 0; i < MAX_ELEMENTS; i++) t->seed[i] = (float)(orion_rng_u32(&rng) % 2000) / 1000 - 1;
}

static void set_up(bench *t, const rule_case *c) {
  char text[4096];
  const char *more = strstr(c->body, "sq") && c->code == ORION_OP_concat
                         ? F32("[2, 2]") "sq = concat(values = (x, x), axis = int32(1), interleave = bool(false))[name = string(\"sq\")];"
                         : "";
  snprintf(text, sizeof text, "program(1.3)\n{\nfunc main<ios18>(%s) {\n%s\n%s\n} -> (z);\n}\n", c->params, more, c->body);
  *t = (bench){.c = c, .program = parsed(text)};
  const orion_function *f = t->program->functions[0];
  t->n_in = f->n_params;
  assert_true(t->n_in <= MAX_PARAMS);
  for (size_t i = 0; i < t->n_in; i++) {
    const orion_value *v = &f->values[f->params[i]];
    t->in[i].name = v->name;
    t->in[i].ints = !orion_dtype_is_float(v->type->dtype);
    assert_true(orion_type_elements(v->type, &t->in[i].n) && t->in[i].n <= MAX_ELEMENTS);
  }
  assert_true(orion_type_elements(orion_value_type(f, f->outputs[0]), &t->n_z) && t->n_z <= MAX_ELEMENTS);
  fill(t, 7);
}

static void feed(const bench *t, machine *m) {
  for (size_t i = 0; i < t->n_in; i++) {
    if (t->in[i].ints) {
      machine_set_ints(m, t->in[i].name, t->in[i].i);
    } else {
      machine_set(m, t->in[i].name, t->in[i].f);
    }
  }
  machine_set(m, "seed", t->seed);
}

static double loss(const bench *t, machine *m) {
  feed(t, m);
  machine_run(m);
  float *z = machine_get(m, "z");
  double sum = 0;
  for (size_t i = 0; i < t->n_z; i++) sum += (double)z[i] * (double)t->seed[i];
  free(z);
  return sum;
}

// d(loss)/d(element) by differences; the steps are those that fp32 really makes.
static double difference(bench *t, machine *m, float *x) {
  const float h = 1.f / 64, was = *x;
  double at[4];
  const float step[4] = {-2 * h, -h, h, 2 * h};
  for (int i = 0; i < 4; i++) {
    *x = was + step[i];
    at[i] = loss(t, m);
  }
  *x = was;
  return (8 * (at[2] - at[1]) - (at[3] - at[0])) / (12 * (double)h);
}

enum { PLAIN, AGAIN, SPLIT, N_FORMS };

static orion_program *differentiate(const bench *t, int form) {
  const char *wrt[MAX_PARAMS];
  orion_grad_seed seed = {"z", "seed"};
  orion_grad_options o = {.seeds = &seed, .n_seeds = 1, .wrt = wrt, .split = form == SPLIT,
                          .recompute = form == PLAIN ? NULL : orion_grad_recompute_cheap};
  for (size_t i = 0; i < t->n_in; i++) {
    if (!t->in[i].ints) wrt[o.n_wrt++] = t->in[i].name;
  }
  orion_program *p;
  orion_error err = {0};
  assert_ok(orion_grad(t->program, &o, &p, NULL, &err), &err);
  assert_ok(orion_verify_ok(p, &err), &err);
  return p;
}

// Runs the gradient program in one of its forms; grads[i] for each float input, to be freed.
static void gradients(const bench *t, int form, float **grads, const char *device) {
  orion_program *p = differentiate(t, form);
  machine m, first;
  if (t->c->composite) {
    orion_program *low = lowered(p);
    orion_program_destroy(p);
    p = low;
  }
  machine_open(&m, device, p, form == SPLIT ? "backward" : NULL);
  feed(t, &m);
  if (form == SPLIT) {
    machine_open(&first, device, p, "main");
    feed(t, &first);
    machine_run(&first);
    for (size_t i = 0; i < first.n; i++) {
      if (first.ios[i].direction != ORION_OUTPUT) continue;
      float *v = machine_get(&first, first.ios[i].name);
      machine_set(&m, first.ios[i].name, v);
      free(v);
    }
    machine_close(&first);
  }
  machine_run(&m);
  for (size_t i = 0; i < t->n_in; i++) {
    char name[64];
    snprintf(name, sizeof name, "d_%s", t->in[i].name);
    grads[i] = t->in[i].ints ? NULL : machine_get(&m, name);
  }
  machine_close(&m);
  orion_program_destroy(p);
}

static void same(const bench *t, float **a, float **b, const char *what) {
  for (size_t i = 0; i < t->n_in; i++) {
    if (a[i] && memcmp(a[i], b[i], t->in[i].n * sizeof(float)) != 0) fail_msg("%s changes d_%s of\n%s", what, t->in[i].name, t->c->body);
    free(b[i]);
  }
}

static void check_case(const rule_case *c) {
  bench t;
  set_up(&t, c);
  float *grads[MAX_PARAMS], *others[MAX_PARAMS];
  gradients(&t, PLAIN, grads, "sim:ideal");
  gradients(&t, AGAIN, others, "sim:ideal");
  same(&t, grads, others, "recomputation");
  if (!c->composite) {
    gradients(&t, SPLIT, others, "sim:ideal");
    same(&t, grads, others, "splitting");
  }
  machine m;
  orion_program *forward = t.program, *low = c->composite ? lowered(forward) : NULL;
  machine_open(&m, "sim:ideal", low ? low : forward, NULL);
  for (size_t i = 0; i < t.n_in; i++) {
    if (t.in[i].ints) continue;
    double want[MAX_ELEMENTS], scale = 0.5;
    for (size_t k = 0; k < t.in[i].n; k++) {
      want[k] = difference(&t, &m, &t.in[i].f[k]);
      scale = fmax(scale, fabs(want[k]));
    }
    for (size_t k = 0; k < t.in[i].n; k++) {
      double got = (double)grads[i][k];
      if (!(fabs(got - want[k]) <= 1e-4 * scale)) {
        fail_msg("d_%s[%zu] is %.7g, by differences %.7g, of\n%s -> %s", t.in[i].name, k, got, want[k], c->params, c->body);
      }
    }
    free(grads[i]);
  }
  machine_close(&m);
  orion_program_destroy(low);
  orion_program_destroy(t.program);
}

static void every_rule_agrees_with_differences(void **state) {
  (void)state;
  for (size_t i = 0; i < N_CASES; i++) check_case(&cases[i]);
}

static void the_table_of_rules_is_that_of_the_op_table(void **state) {
  (void)state;
  for (int code = 1; code < ORION_OP_COUNT; code++) {
    bool flag = (orion_opcode_info((orion_opcode)code)->flags & ORION_F_DIFF) != 0;
    if (flag != orion_grad_has_rule((orion_opcode)code)) {
      fail_msg("%s: %s", orion_opcode_name((orion_opcode)code), flag ? "marked G, but has no rule" : "has a rule, but no G");
    }
    bool tested = !flag;
    for (size_t i = 0; i < N_CASES; i++) tested = tested || cases[i].code == (orion_opcode)code;
    if (!tested) fail_msg("%s: its rule has no case here", orion_opcode_name((orion_opcode)code));
  }
}

// Where two arguments are equal each takes half, and a maximum that occurs twice is shared: sums are kept.
static void ties_are_shared(void **state) {
  (void)state;
  static const rule_case tied[] = {
      BINARY(maximum, "[4]", "[4]", "[4]", 0, 0),
      CASE(reduce_max, F32("[4]") "x", F32("[1]") "z = reduce_max(x = x, axes = " I1(0) ", keep_dims = bool(true))" NAMED, 0, 0),
  };
  for (int c = 0; c < 2; c++) {
    bench t;
    set_up(&t, &tied[c]);
    for (size_t p = 0; p < t.n_in; p++) memset(t.in[p].f, 0, sizeof t.in[p].f);
    float *grads[MAX_PARAMS];
    gradients(&t, PLAIN, grads, "sim:ideal");
    for (size_t i = 0; i < 4; i++) {
      assert_true(fabsf(grads[0][i] - (c == 0 ? t.seed[i] / 2 : t.seed[0] / 4)) < 1e-6f);
      if (c == 0) assert_true(grads[1][i] == grads[0][i]);
    }
    for (size_t p = 0; p < t.n_in; p++) free(grads[p]);
    orion_program_destroy(t.program);
  }
}

// Values at which the slopes' inner powers leave the range of fp16.
static void gelu_is_finite_in_half_precision(void **state) {
  (void)state;
  static const char *const modes[] = {"EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"};
  for (int i = 0; i < 3; i++) {
    char text[512];
    snprintf(text, sizeof text,
             "program(1.3)\n{\nfunc main<ios18>(tensor<fp16, [4]> x) {\n"
             "tensor<fp16, [4]> z = gelu(x = x, mode = string(\"%s\"))[name = string(\"z\")];\n} -> (z);\n}\n", modes[i]);
    orion_program *p = parsed(text), *d;
    orion_error err = {0};
    orion_grad_options o = {.seeds = &(orion_grad_seed){"z", NULL}, .n_seeds = 1, .wrt = (const char *const[]){"x"}, .n_wrt = 1};
    assert_ok(orion_grad(p, &o, &d, NULL, &err), &err);
    machine m;
    machine_open(&m, "sim:ideal", d, NULL);
    machine_set(&m, "x", (const float[]){-60000, -300, 300, 60000});
    machine_run(&m);
    float *dx = machine_get(&m, "d_x");
    assert_true(fabsf(dx[0]) < 1e-4f && fabsf(dx[1]) < 1e-4f && fabsf(dx[2] - 1) < 1e-3f && fabsf(dx[3] - 1) < 1e-3f);
    free(dx);
    machine_close(&m);
    orion_program_destroy(d);
    orion_program_destroy(p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_table_of_rules_is_that_of_the_op_table),
      cmocka_unit_test(every_rule_agrees_with_differences),
      cmocka_unit_test(ties_are_shared),
      cmocka_unit_test(gelu_is_finite_in_half_precision),
  };
  return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
