// Probes of arithmetic: what a few chosen numbers come out as. docs/numerics.md says more than can be asked here.
#include <math.h>
#include <string.h>

#include "probe/prober.h"

typedef struct sums {
  probe_surface in[2], out;
} sums;

// Runs a program of up to two inputs of X and one output; out of range results are as they are. False: it did not run.
static bool run(prober *p, const char *text, const orion_raw_file *files, size_t n_files, size_t n_in, sums *s) {
  orion_answer answer = {.rule = ORION_RULES};
  orion_raw *r = probe_compile(p, text, files, n_files, 0, &answer);
  bool ran = r && probe_run(p, r, s->in, n_in, &s->out, 1, &answer);
  probe_release(p, r);
  if (!ran && !probe_failed(p)) probe_note(p, "does not run: %.180s", answer.text);
  return ran;
}

static bool make(prober *p, sums *s, float a, float b) {
  return probe_surface_make(p, X_BYTES, a, &s->in[0]) && probe_surface_make(p, X_BYTES, b, &s->in[1]) &&
         probe_surface_make(p, X_BYTES, 0, &s->out);
}

static void free_sums(sums *s) {
  probe_surface_free(&s->in[0]);
  probe_surface_free(&s->in[1]);
  probe_surface_free(&s->out);
}

#define ADD FUNCTION(X " a, " X " b", OP(X, "y", "add(x = a, y = b)"), "y")

// 64 products of 640 make 40,960.
static bool overflow(prober *p) {
  static const char text[] = FUNCTION(
      X " x", CONV_ARGS BLOB(TYPE("64, 64, 1, 1"), "w", "weights/weight.bin", "64") OP(X, "y", CONV_CALL("")), "y");
  orion_raw_file ones = probe_blob(p, "weights/weight.bin", 64 * 64, 1, 1);
  sums products = {0}, plain = {0};
  bool ran = make(p, &products, 640, 0) && run(p, text, &ones, 1, 1, &products) && make(p, &plain, 640, 640 * 63.0f) &&
             run(p, ADD, NULL, 0, 2, &plain);
  float y = ran ? probe_word(&products.out, 0) : 0, z = ran ? probe_word(&plain.out, 0) : 0;
  if (ran) probe_see(p, "40,960 as a sum of products: %g, as one addition: %g", (double)y, (double)z);
  free_sums(&products);
  free_sums(&plain);
  return ran && isinf(y) && z == 40960;
}

static bool rounding(prober *p) {
  sums s = {0};
  bool ran = make(p, &s, 2048, 1) && run(p, ADD, NULL, 0, 2, &s);
  float y = ran ? probe_word(&s.out, 0) : 0;
  if (ran) probe_see(p, "2048 + 1 = %g", (double)y);
  free_sums(&s);
  return y == 2050;
}

static bool tables(prober *p) {
  sums s = {0};
  bool ran = make(p, &s, 0, 0);
  for (int i = 0; ran && i < X_ELEMENTS; i++) probe_set(&s.in[0], (size_t)i, (float)(i - X_ELEMENTS / 2) / 128);
  ran = ran && run(p, FUNCTION(X " x", OP(X, "y", "sigmoid(x = x)"), "y"), NULL, 0, 1, &s);
  double worst = 0;
  for (size_t i = 0; ran && i < X_ELEMENTS; i++) {
    double error = fabs(probe_word(&s.out, i) - 1 / (1 + exp(-(double)probe_word(&s.in[0], i))));
    worst = error > worst ? error : worst;
  }
  if (ran) probe_see(p, "sigmoid is off by up to %.2g", worst);
  free_sums(&s);
  return worst > 1e-3 && worst < 1e-2;
}

static bool width_slice(prober *p) {
  static const char text[] = FUNCTION(TYPE("1, 64, 1, 32") " x", INTS("b", "4", "0, 0, 0, 16") INTS("s", "4", "1, 64, 1, 16")
      OP(TYPE("1, 64, 1, 16"), "h", "slice_by_size(begin = b, size = s, x = x)") CONST("int32", "ax", "3") NO
      OP(X, "y", "concat(axis = ax, interleave = no, values = (h, h))"), "y");
  sums s = {0};
  bool ran = make(p, &s, 5000, 0) && run(p, text, NULL, 0, 1, &s);
  float y = ran ? probe_word(&s.out, 0) : 0;
  if (ran) probe_see(p, "5000 comes out as %g", (double)y);
  free_sums(&s);
  return ran && isinf(y);
}

// Two runs of one program, and one of another compile.
static bool determinism(prober *p) {
  static const char text[] = FUNCTION(
      X " x", CONST("int32", "ax", "1") OP(X, "t", "tanh(x = x)") OP(X, "y", "softmax(axis = ax, x = t)"), "y");
  uint16_t first[X_ELEMENTS], second[X_ELEMENTS];
  sums s = {0};
  orion_answer answer = {.rule = ORION_RULES};
  bool ran = make(p, &s, 0, 0);
  for (int i = 0; ran && i < X_ELEMENTS; i++) probe_set(&s.in[0], (size_t)i, (float)(i * 7919 % 4096) / 512 - 4);
  orion_raw *r = ran ? probe_compile(p, text, NULL, 0, 0, &answer) : NULL;
  ran = r && probe_run(p, r, s.in, 1, &s.out, 1, &answer);
  if (ran) memcpy(first, s.out.words, sizeof first);
  ran = ran && probe_run(p, r, s.in, 1, &s.out, 1, &answer);
  if (ran) memcpy(second, s.out.words, sizeof second);
  probe_release(p, r);
  ran = ran && run(p, text, NULL, 0, 1, &s);
  bool again = ran && memcmp(first, second, sizeof first) == 0, anew = ran && memcmp(first, s.out.words, sizeof first) == 0;
  if (ran) probe_see(p, "run again: %s bits; compiled again: %s bits", again ? "the same" : "other", anew ? "the same" : "other");
  free_sums(&s);
  return again && anew;
}

const probe_row *probe_number_rows(size_t *out_n) {
  static const probe_row rows[] = {
      {ORION_RULE_C30, overflow, false},    {ORION_RULE_C37, tables, false},      {ORION_RULE_C44, rounding, false},
      {ORION_RULE_L11, width_slice, false}, {ORION_RULE_X18, determinism, false},
  };
  *out_n = sizeof rows / sizeof *rows;
  return rows;
}
