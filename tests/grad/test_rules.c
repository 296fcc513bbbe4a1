// Every gradient rule against central differences of the forward program, on the simulated device's exact arithmetic.
//
// A case is a function body that makes z from its parameters. The seed is random; the loss is sum of seed * z. Values
// are spread evenly, so that they keep away from kinks and ties. Differences are of fourth order: with steps of 1/64
// their error is that of fp32 in z. Each case runs in one function, with recomputation, and split in two: all three
// agree to the last bit.
#include <math.h>

#include "base/rng.h"
#include "grad/grad.h"
#include "ir/infer.h"
#include "machine.h"
#include "opt/opt.h"

typedef struct rule_case {
  orion_opcode code;  // the rule that it is about
  const char *params;
  const char *body;  // ends by making z
  double low, high;  // of all values
  bool composite;    // lowered before it runs
} rule_case;

#define I1(v) "tensor<int32, [1]>([" #v "])"
#define F32(dims) "tensor<fp32, " dims "> "
#define NAMED "[name = string(\"z\")];"

#define CASE(op, params, body, low, high) \
  { ORION_OP_##op, params, body, low, high, false }
#define COMPOSITE(op, params, body, low, high) \
  { ORION_OP_##op, params, body, low, high, true }
#define UNARY(op, low, high) CASE(op, F32("[2, 7]") "x", F32("[2, 7]") "z = " #op "(x = x)" NAMED, low, high)
#define BINARY(op, dx, dy, dz, low, high) \
  CASE(op, F32(dx) "x, " F32(dy) "y", F32(dz) "z = " #op "(x = x, y = y)" NAMED, low, high)
#define INT(name, v) "int32 " name " = const()[name = string(\"" name "\"), val = int32(" #v ")];"
#define FLOAT(name, v) "fp32 " name " = const()[name = string(\"" name "\"), val = fp32(" v ")];"
#define MATMUL(dx, dy, dz, tx, ty)        \
  CASE(matmul, F32(dx) "x, " F32(dy) "y", \
       F32(dz) "z = matmul(x = x, y = y, transpose_x = bool(" #tx "), transpose_y = bool(" #ty "))" NAMED, -1, 1)
#define ATTENTION_TEXT(kv, batch) \
  INT("heads", 4) INT("kv", kv) INT("batch", batch) FLOAT("scale", "0.5")                                           \
  F32("[6, 8]") "z = orion_attention(q = q, k = k, v = v, heads = heads, kv_heads = kv, scale = scale, batch = batch)" NAMED

static const rule_case cases[] = {
#include "cases.inc"
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
                      : strstr(t->c->body, "\"update\"")         ? (int32_t)(4 - 3 * i)
                                                                 : (int32_t)(i * i % 5);
    }
  }
  for (size_t i = 0; i < MAX_ELEMENTS; i++) t->seed[i] = (float)(orion_rng_u32(&rng) % 2000) / 1000 - 1;
}

static void set_up(bench *t, const rule_case *c) {
  char text[4096];
  snprintf(text, sizeof text, "program(1.3)\n{\nfunc main<ios18>(%s) {\n%s\n} -> (z);\n}\n", c->params, c->body);
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

enum { PLAIN, AGAIN, FAR, SPLIT, N_FORMS };

static orion_program *differentiate(const bench *t, int form) {
  const char *wrt[MAX_PARAMS];
  orion_grad_seed seed = {"z", "seed"};
  orion_grad_options o = {.seeds = &seed,
                          .n_seeds = 1,
                          .wrt = wrt,
                          .split = form == SPLIT,
                          .far = form == FAR,
                          .recompute = form == PLAIN ? NULL : form == FAR ? orion_grad_recompute_all : orion_grad_recompute_cheap};
  for (size_t i = 0; i < t->n_in; i++) {
    if (!t->in[i].ints) wrt[o.n_wrt++] = t->in[i].name;
  }
  orion_program *p;
  orion_error err = {0};
  assert_ok(orion_grad(t->program, &o, &p, NULL, &err), &err);
  assert_ok(orion_verify_ok(p, &err), &err);
  const orion_opt_options last = {.passes = "unfence"};  // as lowering does, at its end
  if (!t->c->composite) assert_ok(orion_optimize(p, &(orion_opt_limits){.ane = false}, &last, &err), &err);
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
    if (a[i] && memcmp(a[i], b[i], t->in[i].n * sizeof(float)) != 0)
      fail_msg("%s changes d_%s of\n%s", what, t->in[i].name, t->c->body);
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
  gradients(&t, FAR, others, "sim:ideal");
  same(&t, grads, others, "recomputation from far");
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
        fail_msg("d_%s[%zu] is %.7g, by differences %.7g, of\n%s -> %s", t.in[i].name, k, got, want[k], c->params,
                 c->body);
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
      fail_msg("%s: %s", orion_opcode_name((orion_opcode)code),
               flag ? "marked G, but has no rule" : "has a rule, but no G");
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
      CASE(reduce_max, F32("[4]") "x",
           F32("[1]") "z = reduce_max(x = x, axes = " I1(0) ", keep_dims = bool(true))" NAMED, 0, 0),
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
             "tensor<fp16, [4]> z = gelu(x = x, mode = string(\"%s\"))[name = string(\"z\")];\n} -> (z);\n}\n",
             modes[i]);
    orion_program *p = parsed(text), *d;
    orion_error err = {0};
    orion_grad_options o = {
        .seeds = &(orion_grad_seed){"z", NULL}, .n_seeds = 1, .wrt = (const char *const[]){"x"}, .n_wrt = 1};
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
