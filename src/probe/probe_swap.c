// The probe of adapters as inputs: one program, y = W x + b (a^T x), and two adapters that take turns in it. Each result must
// be what the adapter gives in a program that never saw another, and no turn may compile anything.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "probe/prober.h"

enum { ADAPTERS = 2, TURNS = 6 };

#define MATRIX TYPE("1, 1, 64, 32")
#define ADAPTED(y)                                                                                                    \
  FUNCTION(MATRIX " a, " MATRIX " b, " X " x",                                                                        \
           CONV_ARGS NO CONST("bool", "yes", "true") BLOB(TYPE("64, 64, 1, 1"), "w", "weights/weight.bin", "64")      \
           INTS("flat", "4", "1, 1, 64, 32") INTS("full", "4", "1, 64, 1, 32") OP(X, "base", CONV_CALL(""))           \
           OP(MATRIX, "rows", "reshape(shape = flat, x = x)")                                                         \
           OP(TYPE("1, 1, 32, 32"), "h", "matmul(transpose_x = yes, transpose_y = no, x = a, y = rows)")              \
           OP(MATRIX, "d", MATMUL_CALL("b", "h")) OP(X, "more", "reshape(shape = full, x = d)")                       \
           OP(X, y, "add(x = base, y = more)"), y)

typedef struct swap {
  probe_surface matrices[ADAPTERS][2], own[2], x, out;  // of the adapters; that are written; the rest of a request
  uint16_t want[ADAPTERS][X_ELEMENTS];
} swap;

static bool make(prober *p, swap *s) {
  bool made = probe_surface_make(p, X_BYTES, 1, &s->x) && probe_surface_make(p, X_BYTES, 0, &s->out);
  for (int i = 0; i < 2; i++) made = made && probe_surface_make(p, X_BYTES, 0, &s->own[i]);
  for (int i = 0; i < ADAPTERS; i++) {
    made = made && probe_surface_make(p, X_BYTES, i ? 0.25f : 0.5f, &s->matrices[i][0]) &&
           probe_surface_make(p, X_BYTES, i ? 0.125f : 0.25f, &s->matrices[i][1]);
  }
  return made;
}

static void free_swap(swap *s) {
  probe_surface_free(&s->x);
  probe_surface_free(&s->out);
  for (int i = 0; i < 2; i++) probe_surface_free(&s->own[i]);
  for (int i = 0; i < ADAPTERS; i++) {
    probe_surface_free(&s->matrices[i][0]);
    probe_surface_free(&s->matrices[i][1]);
  }
}

static bool run(prober *p, swap *s, orion_raw *r, const probe_surface *matrices, orion_answer *answer) {
  const probe_surface in[] = {matrices[0], matrices[1], s->x};
  return probe_run(p, r, in, 3, &s->out, 1, answer);
}

// What adapter i gives in a program of its own.
static bool run_alone(prober *p, swap *s, int i, const orion_raw_file *weights, orion_answer *answer) {
  static const char *const texts[ADAPTERS] = {ADAPTED("first"), ADAPTED("second")};
  orion_raw *r = probe_compile(p, texts[i], weights, 1, 0, answer);
  bool ran = r && run(p, s, r, s->matrices[i], answer);
  if (ran) memcpy(s->want[i], s->out.words, X_BYTES);
  probe_release(p, r);
  return ran;
}

static void write_adapter(swap *s, int i) {
  for (int k = 0; k < 2; k++) {
    memcpy(orion_surface_lock(s->own[k].s), s->matrices[i][k].words, X_BYTES);
    orion_surface_unlock(s->own[k].s);
  }
}

// As adapter i alone, but for a last bit here and there: whether bits repeat is another rule's matter (X18).
static bool is_as_alone(const swap *s, int i) {
  for (size_t k = 0; k < X_ELEMENTS; k++) {
    if (abs((int)s->want[i][k] - (int)s->out.words[k]) > 1) return false;
  }
  return true;
}

static int compiles(const prober *p) {
  orion_device_usage usage;
  orion_device_usage_get(p->d, &usage);
  return usage.compiles;
}

// Turns by writing into the surfaces of one request, then by requests with others. Counts those that came out right.
static bool take_turns(prober *p, swap *s, orion_raw *r, int *out_right, double *out_seconds, orion_answer *answer) {
  for (int n = 0; n < 2 * TURNS; n++) {
    int i = n % ADAPTERS;
    double start = orion_now();
    if (n < TURNS) write_adapter(s, i);
    double seconds = orion_now() - start;
    if (n < TURNS && (n == 0 || seconds < *out_seconds)) *out_seconds = seconds;
    if (!run(p, s, r, n < TURNS ? s->own : s->matrices[i], answer)) return false;
    *out_right += is_as_alone(s, i);
  }
  return true;
}

static bool adapter_swap(prober *p) {
  swap s = {0};
  orion_answer answer = {.rule = ORION_RULES};
  orion_raw_file weights = probe_blob(p, "weights/weight.bin", 64 * 64, 1, 1);
  bool ran = make(p, &s);
  for (int i = 0; i < ADAPTERS; i++) ran = ran && run_alone(p, &s, i, &weights, &answer);
  orion_raw *r = ran ? probe_compile(p, ADAPTED("y"), &weights, 1, 0, &answer) : NULL;
  int before = compiles(p), right = 0;
  double seconds = 0;
  ran = r && take_turns(p, &s, r, &right, &seconds, &answer);
  int compiled = compiles(p) - before;
  probe_release(p, r);
  bool differ = ran && memcmp(s.want[0], s.want[1], X_BYTES) != 0;
  if (!ran && !probe_failed(p)) probe_note(p, "does not run: %.180s", answer.text);
  if (ran) {
    probe_see(p, "%d turns of two adapters%s: %d as each alone, %d compiles", 2 * TURNS, differ ? "" : " (alike)", right, compiled);
    probe_see(p, "written in %.1f us", seconds * 1e6);
  }
  free_swap(&s);
  return differ && right == 2 * TURNS && compiled == 0;
}

const probe_row *probe_swap_rows(size_t *out_n) {
  static const probe_row rows[] = {{ORION_RULE_X19, adapter_swap, false}};
  *out_n = sizeof rows / sizeof *rows;
  return rows;
}
