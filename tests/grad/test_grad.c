// What orion_grad promises beyond its rules: only what is needed is built, names and seeds are found or refused, taps
// are counted, results are values of their own, memory that runs out is reported; and what training graphs promise.
#include "grad/grad.h"

#include <math.h>

#include "base/rng.h"
#include "ir/infer.h"
#include "machine.h"
#include "model/graph.h"

#define FUNC(params, body, outputs) \
  "program(1.3)\n{\nfunc main<ios18>(" params ") {\n" body "\n} -> (" outputs ");\n}\n"
#define OP(name, call) "tensor<fp32, [2]> " name " = " call "[name = string(\"" name "\")];\n"
#define X "tensor<fp32, [2]> x"
#define NAMES(...) \
  (const char *const[]) { __VA_ARGS__ }
#define SEED(...) (&(orion_grad_seed){__VA_ARGS__})

static size_t count_code(const orion_program *p, const char *function, orion_opcode code) {
  const orion_function *f = orion_program_function(p, function);
  size_t n = 0;
  ORION_EACH_OP(f, id) n += f->ops[id].code == code;
  return n;
}

static orion_program *gradient_of(const char *text, const orion_grad_options *o, orion_grad_report *report) {
  orion_program *p = parsed(text), *d;
  orion_error err = {0};
  assert_ok(orion_grad(p, o, &d, report, &err), &err);
  orion_program_destroy(p);  // the result lives on
  assert_ok(orion_verify_ok(d, &err), &err);
  return d;
}

// ---- what is built --------------------------------------------------------------------------------------------------

static void only_what_is_needed_is_built(void **state) {
  (void)state;
  // a hangs on nothing asked for; b is no part of the loss; c depends on no parameter that a gradient is wanted of.
  const char *text = FUNC(X ", tensor<fp32, [2]> y",
                          OP("a", "cos(x = x)") OP("b", "tanh(x = x)") OP("c", "sin(x = y)")
                              OP("m", "mul(x = c, y = x)") OP("z", "exp(x = m)"),
                          "a, b, z");
  orion_grad_options o = {
      .outputs = NAMES("b"), .n_outputs = 1, .seeds = SEED("z", NULL), .n_seeds = 1, .wrt = NAMES("x"), .n_wrt = 1};
  orion_program *d = gradient_of(text, &o, NULL);
  assert_int_equal(count_code(d, "main", ORION_OP_cos), 0);   // neither a nor the derivative of c
  assert_int_equal(count_code(d, "main", ORION_OP_tanh), 1);  // b, asked for
  assert_int_equal(count_code(d, "main", ORION_OP_sin), 1);
  const orion_function *f = d->functions[0];
  assert_int_equal(f->n_outputs, 2);
  assert_string_equal(f->values[f->outputs[0]].name, "b");
  assert_string_equal(f->values[f->outputs[1]].name, "d_x");
  orion_program_destroy(d);
  // The loss itself is not computed where nobody reads it: exp's slope is its result, a sum's is none.
  o = (orion_grad_options){
      .outputs = NAMES(NULL), .seeds = SEED("z", NULL), .n_seeds = 1, .wrt = NAMES("x"), .n_wrt = 1};
  d = gradient_of(FUNC(X, OP("s", "mul(x = x, y = fp32(3))") OP("z", "add(x = s, y = s)"), "z"), &o, NULL);
  assert_int_equal(d->functions[0]->n_params, 0);  // the gradient of a linear function does not read x
  assert_int_equal(d->functions[0]->n_outputs, 1);
  orion_program_destroy(d);
}

static void run_two(orion_program *d, const float *x, const char *name, float *out) {
  machine m;
  machine_open(&m, "sim:ideal", d, NULL);
  machine_set(&m, "x", x);
  machine_run(&m);
  float *v = machine_get(&m, name);
  memcpy(out, v, 2 * sizeof *v);
  free(v);
  machine_close(&m);
}

static void contributions_add_up(void **state) {
  (void)state;
  const char *text =
      FUNC(X, OP("a", "square(x = x)") OP("b", "mul(x = a, y = x)") OP("z", "add(x = a, y = b)"), "a, z");
  orion_grad_seed seeds[] = {{"z", NULL}, {"a", NULL}};
  orion_grad_options o = {.seeds = seeds, .n_seeds = 2, .wrt = NAMES("x", "a"), .n_wrt = 2};
  orion_program *d = gradient_of(text, &o, NULL);
  float got[2];
  run_two(d, (const float[]){2, -1}, "d_x", got);  // z + a = 2 x^2 + x^3
  assert_true(got[0] == 4 * 2 + 3 * 4 && got[1] == -4 + 3);
  run_two(d, (const float[]){2, -1}, "d_a", got);  // a value on the way: 2 + x
  assert_true(got[0] == 4 && got[1] == 1);
  orion_program_destroy(d);
}

static void results_are_values_of_their_own(void **state) {
  (void)state;
  // Both gradients are the seed itself; that of y, on which nothing depends, is zeros.
  const char *text = FUNC(X ", tensor<fp32, [2]> w, tensor<fp32, [2]> y", OP("z", "add(x = x, y = w)"), "z");
  orion_grad_options o = {.seeds = SEED("z", "seed"), .n_seeds = 1, .wrt = NAMES("x", "w", "y"), .n_wrt = 3};
  orion_program *d = gradient_of(text, &o, NULL);
  machine m;
  machine_open(&m, "sim:ideal", d, NULL);
  machine_set(&m, "seed", (const float[]){5, -6});
  machine_run(&m);
  float *dx = machine_get(&m, "d_x"), *dw = machine_get(&m, "d_w"), *dy = machine_get(&m, "d_y");
  assert_true(dx[0] == 5 && dx[1] == -6 && dw[0] == 5 && dw[1] == -6 && dy[0] == 0 && dy[1] == 0);
  free(dx), free(dw), free(dy);
  machine_close(&m);
  orion_program_destroy(d);
}

// ---- taps -----------------------------------------------------------------------------------------------------------

#define CHAIN                                                                  \
  FUNC("tensor<fp32, [4, 8]> x, tensor<fp32, [8, 8]> w",                       \
       "tensor<fp32, [4, 8]> a = matmul(x = x, y = w)[name = string(\"a\")];"  \
       "tensor<fp32, [4, 8]> b = silu(x = a)[name = string(\"b\")];"           \
       "tensor<fp32, [4, 8]> z = matmul(x = b, y = w)[name = string(\"z\")];", \
       "z")

static bool never(void *ctx, const orion_function *f, const orion_op *op) {
  ++*(int *)ctx;
  return false;
}

static void taps_are_kept_or_computed_again(void **state) {
  (void)state;
  orion_grad_options o = {
      .outputs = NAMES("z"), .n_outputs = 1, .seeds = SEED("z", "seed"), .n_seeds = 1, .wrt = NAMES("w"), .n_wrt = 1};
  orion_grad_report r;
  orion_program_destroy(gradient_of(CHAIN, &o, &r));
  assert_int_equal(r.kept, 2);  // a for silu's slope, b for the second product's weight
  assert_int_equal(r.kept_bytes, 2 * 4 * 8 * 4);
  assert_int_equal(r.recomputed, 0);
  assert_int_equal(r.forward_ops, 3);
  o.recompute = orion_grad_recompute_cheap;
  orion_program *d = gradient_of(CHAIN, &o, &r);
  assert_int_equal(r.kept, 1);  // b follows from a
  assert_int_equal(r.recomputed_bytes, 4 * 8 * 4);
  assert_int_equal(count_code(d, "main", ORION_OP_silu), 2);
  orion_program_destroy(d);
  int asked = 0;
  o.recompute = never;
  o.recompute_ctx = &asked;
  orion_program_destroy(gradient_of(CHAIN, &o, &r));
  assert_int_equal(r.kept, 2);
  assert_int_equal(asked, 2);  // of a, whose arguments are parameters, and of b, whose argument is kept
}

// A value and two blocks with a residual sum each: x -> q -> s = q + f(q) -> z = s + g(s).
#define LINE(name, call) "tensor<fp32, [4, 8]> " name " = " call "[name = string(\"" name "\")];"
#define BLOCKS                                                                                                    \
  FUNC("tensor<fp32, [4, 8]> x, tensor<fp32, [8, 8]> v, tensor<fp32, [8, 8]> w",                                  \
       LINE("q", "sin(x = x)") LINE("a", "silu(x = q)") LINE("b", "matmul(x = a, y = v)") LINE("c", "exp(x = b)") \
           LINE("s", "add(x = q, y = c)") LINE("d", "silu(x = s)") LINE("e", "matmul(x = d, y = w)") \
           LINE("f", "tanh(x = e)") LINE("z", "add(x = s, y = f)"),                                               \
       "z")

static bool no_products(void *ctx, const orion_function *f, const orion_op *op) { return op->code != ORION_OP_matmul; }

// Far: only what the blocks begin with is kept, products run again; what the rule refuses is kept besides.
static void far_only_cuts_are_kept(void **state) {
  (void)state;
  orion_grad_options o = {.outputs = NAMES("z"), .n_outputs = 1, .seeds = SEED("z", "seed"), .n_seeds = 1,
                          .wrt = NAMES("x", "v", "w"), .n_wrt = 3, .far = true, .recompute = orion_grad_recompute_all};
  orion_grad_report r;
  orion_program *d = gradient_of(BLOCKS, &o, &r);
  assert_int_equal(r.kept, 2);  // q and s
  assert_int_equal(r.kept_bytes, 2 * 4 * 8 * 4);
  assert_int_equal(count_code(d, "main", ORION_OP_silu), 4);
  assert_int_equal(count_code(d, "main", ORION_OP_matmul), 2 + 2 + 4);
  assert_int_equal(count_code(d, "main", ORION_OP_orion_fence), 2 + 2);  // of these, and of both matrices
  orion_program_destroy(d);
  o.recompute = no_products;
  d = gradient_of(BLOCKS, &o, &r);
  assert_int_equal(r.kept, 4);  // and b and e
  assert_int_equal(count_code(d, "main", ORION_OP_matmul), 2 + 4);
  orion_program_destroy(d);
  o.split = true;
  o.recompute = orion_grad_recompute_all;
  d = gradient_of(BLOCKS, &o, &r);
  assert_int_equal(r.kept, 2);
  assert_int_equal(count_code(d, "backward", ORION_OP_orion_fence), 0);
  orion_program_destroy(d);
}

// Narrow copies are made with the values, and read in their place; forward knows nothing of them.
static void what_is_kept_may_be_rounded(void **state) {
  (void)state;
  orion_grad_options o = {.outputs = NAMES("z"), .n_outputs = 1, .seeds = SEED("z", "seed"), .n_seeds = 1,
                          .wrt = NAMES("x", "v", "w"), .n_wrt = 3, .kept_as = ORION_BF16};
  orion_grad_report whole, far;
  orion_program *d = gradient_of(BLOCKS, &o, &whole);
  const orion_function *f = d->functions[0];
  assert_int_equal(whole.kept_bytes, whole.kept * 4 * 8 * 2);
  assert_int_equal(count_code(d, "main", ORION_OP_cast), 2 * whole.kept);
  const orion_op *narrow = &f->ops[f->values[orion_function_find(f, "kept_q")].def];
  assert_int_equal(f->values[narrow->results[0]].type->dtype, ORION_BF16);
  orion_op_id before = narrow->prev;
  while (f->ops[before].code == ORION_OP_const) before = f->ops[before].prev;
  assert_int_equal(f->ops[before].code, ORION_OP_sin);
  assert_string_equal(f->values[orion_op_value(&f->ops[f->values[orion_function_find(f, "a")].def], "x")].name, "q");
  orion_program_destroy(d);
  o.far = true;
  o.recompute = orion_grad_recompute_all;
  d = gradient_of(BLOCKS, &o, &far);
  assert_int_equal(far.kept, 2);
  assert_int_equal(count_code(d, "main", ORION_OP_cast), 2 * 2);
  assert_int_equal(count_code(d, "main", ORION_OP_orion_fence), 2);  // of the matrices; a cast is a fence
  orion_program_destroy(d);
  o.may_round = never;
  o.recompute_ctx = &(int){0};
  o.recompute = NULL;
  d = gradient_of(BLOCKS, &o, &far);
  assert_int_equal(far.kept_bytes, 2 * whole.kept_bytes);
  assert_int_equal(count_code(d, "main", ORION_OP_cast), 0);
  orion_program_destroy(d);
}

static void split_functions_hand_taps_over_by_name(void **state) {
  (void)state;
  orion_grad_options o = {.outputs = NAMES("z"),
                          .n_outputs = 1,
                          .seeds = SEED("z", "seed"),
                          .n_seeds = 1,
                          .wrt = NAMES("x", "w"),
                          .n_wrt = 2,
                          .recompute = orion_grad_recompute_cheap,
                          .split = true};
  orion_grad_report r;
  orion_program *d = gradient_of(CHAIN, &o, &r);
  const orion_function *forward = orion_program_function(d, "main"), *backward = orion_program_function(d, "backward");
  assert_int_equal(d->n_functions, 2);
  assert_int_equal(forward->n_outputs, 2);
  assert_string_equal(forward->values[forward->outputs[0]].name, "z");
  assert_string_equal(forward->values[forward->outputs[1]].name, "a");
  assert_int_equal(backward->n_params, 4);
  static const char *const want[] = {"x", "w", "a", "seed"};
  for (int i = 0; i < 4; i++) {
    orion_value_id v = orion_function_find(backward, want[i]);
    assert_true(v != ORION_NONE && backward->values[v].def == ORION_NONE);
  }
  assert_int_equal(backward->n_outputs, 2);
  assert_int_equal(count_code(d, "backward", ORION_OP_silu), 1);
  assert_int_equal(r.forward_ops, 3);
  orion_program_destroy(d);
}

// ---- refusals -------------------------------------------------------------------------------------------------------

static void refuse(const char *text, const orion_grad_options *o, orion_status want, const char *message) {
  orion_program *p = parsed(text), *d = NULL;
  orion_error err = {0};
  assert_error(orion_grad(p, o, &d, NULL, &err), want, &err, message);
  assert_null(d);
  orion_program_destroy(p);
}

static void what_cannot_be_is_refused(void **state) {
  (void)state;
  const char *text = FUNC(X ", tensor<int32, [2]> i", OP("z", "erf(x = x)"), "z");
  orion_grad_options o = {.seeds = SEED("z", NULL), .n_seeds = 1, .wrt = NAMES("x"), .n_wrt = 1};
  refuse(text, &o, ORION_UNSUPPORTED, "gradient of erf z: the operation has no gradient");
  o.wrt = NAMES("q");
  refuse(text, &o, ORION_NOT_FOUND, "wrt q");
  o.wrt = NAMES("i");
  refuse(text, &o, ORION_INVALID, "i is tensor<int32, [2]>");
  o.wrt = NAMES("x");
  o.seeds = SEED("q", NULL);
  refuse(text, &o, ORION_NOT_FOUND, "seed q");
  o.seeds = SEED("i", NULL);
  refuse(text, &o, ORION_INVALID, "seed i");
  o.seeds = SEED("z", "i");
  refuse(text, &o, ORION_INVALID, "seed parameter i: the name is taken");
  o.seeds = SEED("z", NULL);
  o.outputs = NAMES("q");
  o.n_outputs = 1;
  refuse(text, &o, ORION_NOT_FOUND, "output q");
  o.outputs = NULL;
  o.function = "other";
  refuse(text, &o, ORION_NOT_FOUND, "no function other");
  o.function = NULL;
  refuse(FUNC(X, OP("d_x", "exp(x = x)"), "d_x"),
         &(orion_grad_options){.seeds = SEED("d_x", NULL), .n_seeds = 1, .wrt = NAMES("x"), .n_wrt = 1}, ORION_INVALID,
         "output d_x: the name is taken");
  refuse(FUNC("tensor<fp32, [1, 2, 3, 3]> x, tensor<fp32, [2, 2, 2, 2]> w",
              "tensor<fp32, [1, 2, 2, 2]> z = conv(x = x, weight = w)[name = string(\"z\")];", "z"),
         &o, ORION_UNSUPPORTED, "gradient of conv z: only");
}

// ---- training graphs ------------------------------------------------------------------------------------------------

enum { VOCAB = 12, DIM = 8, HEADS = 2, T = 5, B = 3 };

static orion_model *tiny(bool llama) {
  orion_config c = {.family = llama ? ORION_FAMILY_LLAMA : ORION_FAMILY_GPT2,
                    .vocab = VOCAB,
                    .context = T,
                    .dim = DIM,
                    .hidden = 16,
                    .layers = 2,
                    .heads = HEADS,
                    .kv_heads = llama ? 1 : HEADS,
                    .head_dim = DIM / HEADS,
                    .norm_eps = 1e-5,
                    .rope = llama,
                    .rope_theta = 100,
                    .rope_scaling = {.linear = 1},
                    .tied = true,
                    .qkv_bias = !llama,
                    .out_bias = !llama,
                    .mlp_bias = !llama,
                    .gated = llama,
                    .activation = llama ? ORION_ACT_SILU : ORION_ACT_GELU_TANH,
                    .bos = -1};
  orion_model *m;
  orion_error err = {0};
  assert_ok(orion_model_random(NULL, &c, 3, &m, &err), &err);
  return m;
}

// Loss and d_embedding of `batch` sequences.
static float run_batch(const orion_model *model, int64_t batch, const int32_t *tokens, const int32_t *targets,
                       float *out_d) {
  orion_train_graph_spec spec = {.batch = batch, .tokens = T, .compute = ORION_FP32, .weights = ORION_FP32};
  orion_program *graph, *d;
  orion_error err = {0};
  assert_ok(orion_model_train_graph(model, &spec, &graph, &err), &err);
  orion_grad_options o = {.seeds = SEED("loss", NULL), .n_seeds = 1, .wrt = NAMES("embedding"), .n_wrt = 1};
  assert_ok(orion_grad(graph, &o, &d, NULL, &err), &err);
  orion_program_destroy(graph);
  graph = lowered(d);
  orion_program_destroy(d);
  machine m;
  machine_open(&m, "sim:ideal", graph, NULL);
  machine_set_ints(&m, "tokens", tokens);
  machine_set_ints(&m, "targets", targets);
  machine_run(&m);
  float *loss = machine_get(&m, "loss"), *v = machine_get(&m, "d_embedding"), result = loss[0];
  memcpy(out_d, v, VOCAB * DIM * sizeof *v);
  free(loss), free(v);
  machine_close(&m);
  orion_program_destroy(graph);
  return result;
}

// A batch is the mean of its sequences: none sees another, and each starts at position 0.
static void sequences_of_a_batch_are_apart(void **state) {
  (void)state;
  int32_t tokens[B * T], targets[B * T];
  orion_rng rng;
  orion_rng_seed(&rng, 5, 1);
  for (int i = 0; i < B * T; i++) {
    tokens[i] = (int32_t)(orion_rng_u32(&rng) % VOCAB);
    targets[i] = (int32_t)(orion_rng_u32(&rng) % VOCAB);
  }
  for (int llama = 0; llama < 2; llama++) {
    orion_model *m = tiny(llama);
    float all[VOCAB * DIM], one[VOCAB * DIM], sum[VOCAB * DIM] = {0}, loss = 0;
    float together = run_batch(m, B, tokens, targets, all);
    for (int b = 0; b < B; b++) {
      loss += run_batch(m, 1, tokens + b * T, targets + b * T, one) / B;
      for (int i = 0; i < VOCAB * DIM; i++) sum[i] += one[i] / B;
    }
    assert_true(fabsf(together - loss) < 1e-6f * loss);
    for (int i = 0; i < VOCAB * DIM; i++) assert_true(fabsf(all[i] - sum[i]) < 1e-6f);
    orion_model_close(m);
  }
}

// Positions without a target count neither in the sum nor in the mean; with none at all loss and gradient are 0.
static void negative_targets_do_not_count(void **state) {
  (void)state;
  orion_model *m = tiny(true);
  const int32_t tokens[2 * T] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  const int32_t half[2 * T] = {2, 3, 4, 5, 6, -1, -1, -1, -1, -1}, none[T] = {-1, -1, -1, -1, -1};
  float a[VOCAB * DIM], b[VOCAB * DIM];
  float two = run_batch(m, 2, tokens, half, a), one = run_batch(m, 1, tokens, half, b);
  assert_true(fabsf(two - one) < 1e-6f * one);
  for (int i = 0; i < VOCAB * DIM; i++) assert_true(fabsf(a[i] - b[i]) < 1e-6f);
  assert_true(run_batch(m, 1, tokens, none, a) == 0);
  for (int i = 0; i < VOCAB * DIM; i++) assert_true(a[i] == 0);
  orion_model_close(m);
}

static void every_weight_is_in_the_graph(void **state) {
  (void)state;
  for (int form = 0; form < 4; form++) {
    orion_model *m = tiny(form & 1);
    orion_train_graph_spec spec = {.batch = 2, .tokens = T, .compute = ORION_FP16, .weights = ORION_FP32, .inputs = form & 2};
    orion_program *p;
    orion_error err = {0};
    assert_ok(orion_model_train_graph(m, &spec, &p, &err), &err);
    assert_ok(orion_verify_ok(p, &err), &err);
    orion_weight weights[64];
    size_t n = orion_model_weights(m, NULL, 0);
    assert_true(n <= 64);
    assert_int_equal(orion_model_weights(m, weights, 64), n);
    const orion_function *f = p->functions[0];
    for (size_t i = 0; i < n; i++) {
      orion_value_id v = orion_function_find(f, weights[i].name);
      if (v == ORION_NONE) fail_msg("%s is not in the graph", weights[i].name);
      const orion_type *t = orion_value_type(f, v);
      assert_true(t->dtype == ORION_FP32 && t->rank == weights[i].rank && t->dims[0] == weights[i].dims[0]);
      assert_true(orion_ref_is_const(f, v) == !spec.inputs);
      assert_non_null(*weights[i].at);
    }
    assert_int_equal(f->n_params, 2 + (spec.inputs ? n : 0));
    orion_program_destroy(p);
    orion_model_close(m);
  }
}

static void impossible_training_graphs_are_refused(void **state) {
  (void)state;
  static const orion_train_graph_spec bad[] = {
      {.batch = 0, .tokens = T, .compute = ORION_FP32, .weights = ORION_FP32},
      {.batch = 1, .tokens = 0, .compute = ORION_FP32, .weights = ORION_FP32},
      {.batch = 1, .tokens = T + 1, .compute = ORION_FP32, .weights = ORION_FP32},
      {.batch = 1 << 24, .tokens = T, .compute = ORION_FP32, .weights = ORION_FP32},
      {.batch = 1, .tokens = T, .compute = ORION_BF16, .weights = ORION_FP32},
      {.batch = 1, .tokens = T, .compute = ORION_FP32, .weights = ORION_INT8},
  };
  orion_model *m = tiny(true);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    orion_program *p = NULL;
    orion_error err = {0};
    assert_error(orion_model_train_graph(m, &bad[i], &p, &err), ORION_INVALID, &err, "graph: ");
    assert_null(p);
  }
  orion_model_close(m);
}

// ---- memory ---------------------------------------------------------------------------------------------------------

typedef struct everything {
  orion_config config;
  bool split;
} everything;

static orion_status build_everything(void *ctx, const orion_allocator *a, orion_error *err) {
  const everything *e = ctx;
  orion_model *m = NULL;
  orion_program *graph = NULL, *d = NULL;
  orion_train_graph_spec spec = {.batch = 2, .tokens = T, .compute = ORION_FP16, .weights = ORION_FP32, .inputs = e->split};
  orion_grad_options o = {.seeds = SEED("loss", "loss_scale"),
                          .n_seeds = 1,
                          .wrt = NAMES("embedding", "l0_wk"),
                          .n_wrt = 2,
                          .recompute = orion_grad_recompute_cheap,
                          .split = e->split};
  orion_status status = orion_model_random(a, &e->config, 3, &m, err);
  if (status == ORION_OK) status = orion_model_train_graph(m, &spec, &graph, err);
  if (status == ORION_OK) status = orion_grad(graph, &o, &d, NULL, err);
  orion_program_destroy(d);
  orion_program_destroy(graph);
  orion_model_close(m);
  return status;
}

static void every_failing_allocation_is_reported(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    orion_model *m = tiny(i);
    everything e = {m->config, i};
    e.config.layers = 1;
    orion_model_close(m);
    test_sweep_allocations(build_everything, &e, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(only_what_is_needed_is_built),
      cmocka_unit_test(contributions_add_up),
      cmocka_unit_test(results_are_values_of_their_own),
      cmocka_unit_test(taps_are_kept_or_computed_again),
      cmocka_unit_test(far_only_cuts_are_kept),
      cmocka_unit_test(what_is_kept_may_be_rounded),
      cmocka_unit_test(split_functions_hand_taps_over_by_name),
      cmocka_unit_test(what_cannot_be_is_refused),
      cmocka_unit_test(sequences_of_a_batch_are_apart),
      cmocka_unit_test(negative_targets_do_not_count),
      cmocka_unit_test(every_weight_is_in_the_graph),
      cmocka_unit_test(impossible_training_graphs_are_refused),
      cmocka_unit_test(every_failing_allocation_is_reported),
  };
  return cmocka_run_group_tests_name("grad", tests, NULL, NULL);
}
