// Orion's matrix products beside oneDNN's and OpenBLAS's, in turn in one process, at the shapes of GPT-2 124M and
// Stories110M:
//
//   bench_products [--threads N] [--rounds N] [--rows 1,32] [--product forward,y,dx,dw] [--weights 768x768]
//
// First all results are compared: operands are small multiples of 1/64, so that every sum is exact in fp32 and all must
// agree to the bit. Then each contestant has its turn in each round (A B C A B C), some milliseconds long and after a
// pause in which the threads of the one before fall asleep. Rates are medians over the rounds with the share of the
// machine's ceiling, read or multiply-adds, whichever bounds the product; ratios are medians of those in the same round,
// with quartiles.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/bench.h"
#include "products.h"

#define SAMPLE_SECONDS 0.02
#define LONG_SECONDS 0.1
#define CLASSIFIER 16384  // rows of W from which it is one: a prompt needs a single row of its result

enum { MOST = 12, MOST_ROUNDS = 99, MOST_LIST = 16, MOST_COPIES = 64 };

typedef struct shape { size_t N, K; } shape;

typedef struct options {
  int threads, rounds;
  shape shapes[MOST_LIST];
  size_t rows[MOST_LIST];
  size_t n_shapes, n_rows;
  bool kinds[WORK_KINDS];
} options;

typedef struct bench {
  const options *o;
  orion_ceiling *ceiling;
  contestant list[MOST];
  size_t n, cache;
  double seconds[MOST][MOST_ROUNDS];  // of a call
  bool takes_part[MOST];
  char behind[8192];                  // products where a peer was faster
} bench;

static const char *const kind_names[] = {"forward", "y", "dx", "dw"};

_Noreturn void products_fail(const char *what, const char *why) {
  fprintf(stderr, "bench_products: %s: %s\n", what, why);
  exit(1);
}

static float *numbers(size_t n, size_t seed) {
  float *p = malloc(n * sizeof *p);
  if (!p) products_fail("operands", "out of memory");
  for (size_t i = 0; i < n; i++) p[i] = (float)((int)(((i + seed) * 2654435761u >> 8) % 129) - 64) / 64;
  return p;
}

// ---- one product ----

static void describe(work *w, work_kind kind, size_t T, shape s, size_t cache) {
  *w = (work){.kind = kind, .T = T, .N = s.N, .K = s.K, .copies = 1 + 3 * cache / (s.N * s.K * sizeof(float))};
  if (w->copies > MOST_COPIES) w->copies = MOST_COPIES;
  w->m = kind == WORK_DW ? s.N : T;
  w->n = kind == WORK_DX || kind == WORK_DW ? s.K : s.N;
  w->k = kind == WORK_DX ? s.N : kind == WORK_DW ? T : s.K;
  w->a_row = kind == WORK_DW ? 1 : w->k;
  w->a_col = kind == WORK_DW ? w->m : 1;
  bool turned = kind == WORK_FORWARD || kind == WORK_Y;
  w->b_row = turned ? 1 : w->n;
  w->b_col = turned ? w->k : 1;
  w->b_step = kind == WORK_DW ? 0 : w->k * w->n;
  w->c_step = kind == WORK_DW ? w->m * w->n : 0;
}

static void make_operands(work *w) {
  w->a = numbers(w->m * w->k, 1);
  float *b = numbers(w->k * w->n * (w->b_step ? w->copies : 1), 5);
  for (size_t i = 1; w->b_step && i < w->copies; i++) memcpy(b + i * w->b_step, b, w->b_step * sizeof *b);
  w->b = b;
  w->c = calloc(w->m * w->n * (w->c_step ? w->copies : 1), sizeof *w->c);
  if (!w->c) products_fail("result", "out of memory");
}

static void free_operands(work *w) {
  free((void *)(size_t)w->a);
  free((void *)(size_t)w->b);
  free(w->c);
}

static void compare(bench *b, const work *w) {
  size_t n = w->m * w->n;
  float *want = NULL;
  for (size_t i = 0; i < b->n; i++) {
    if (!b->takes_part[i]) continue;
    for (size_t copy = 0; copy < w->copies; copy++) b->list[i].run(&b->list[i], copy);  // the first time costs page faults
    const float *got = b->list[i].result(&b->list[i], w->copies - 1);
    if (!want) {
      want = malloc(n * sizeof *want);
      if (!want) products_fail("result", "out of memory");
      memcpy(want, got, n * sizeof *want);
      double sum = 0;  // and that one is right
      for (size_t k = 0; k < w->k; k++) sum += (double)w->a[k * w->a_col] * w->b[k * w->b_row + (w->n - 1) * w->b_col];
      if ((double)want[w->n - 1] != sum) products_fail(b->list[i].name, "a result is wrong");
    } else if (memcmp(want, got, n * sizeof *want) != 0) {
      products_fail(b->list[i].name, "results differ from those of the first");
    }
  }
  free(want);
}

static void pause_a_little(void) { nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); }

// Each one's turn: seconds of a call. `at` goes round the copies.
static void take_turn(bench *b, const work *w, size_t i, int round, size_t *at) {
  contestant *c = &b->list[i];
  pause_a_little();
  double start = orion_now();
  c->run(c, (*at)++ % w->copies);
  double one = orion_now() - start;
  if (one > LONG_SECONDS) {  // what the threads took to wake up does not show
    b->seconds[i][round] = one;
    return;
  }
  size_t calls = one > SAMPLE_SECONDS ? 1 : (size_t)(SAMPLE_SECONDS / one);
  if (calls > w->copies && w->copies > 1) calls = w->copies;
  start = orion_now();
  for (size_t k = 0; k < calls; k++) c->run(c, (*at)++ % w->copies);
  b->seconds[i][round] = (orion_now() - start) / (double)calls;
}

// ---- figures ----

static int ascending(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return a < b ? -1 : a > b;
}

// Quartiles 1, 2, 3 of a copy of the samples.
static void quartiles(const double *samples, int n, double out[3]) {
  double sorted[MOST_ROUNDS];
  memcpy(sorted, samples, (size_t)n * sizeof *sorted);
  qsort(sorted, (size_t)n, sizeof *sorted, ascending);
  for (int i = 0; i < 3; i++) out[i] = orion_bench_quantile(sorted, (size_t)n, 0.25 * (i + 1));
}

static double median_of(const bench *b, size_t i) {
  double q[3];
  quartiles(b->seconds[i], b->o->rounds, q);
  return q[1];
}

// The fastest peer whose operands are as wide, or wider where no peer has narrow ones. b->n: none.
static size_t fastest(const bench *b, bool half) {
  size_t best = b->n;
  for (int narrow = half; narrow >= 0 && best == b->n; narrow--) {
    for (size_t i = 0; i < b->n; i++) {
      if (!b->takes_part[i] || !b->list[i].peer || b->list[i].half != narrow) continue;
      if (best == b->n || median_of(b, i) < median_of(b, best)) best = i;
    }
  }
  return best;
}

static void print_line(bench *b, const work *w, double peak, double read) {
  double flops = 2.0 * (double)w->m * (double)w->n * (double)w->k, q[3], ratio[MOST_ROUNDS];
  char what[64];
  snprintf(what, sizeof what, "%-7s %5zux%-4zu %4zu", kind_names[w->kind], w->N, w->K, w->T);
  printf("%s", what);
  for (size_t i = 0; i < b->n; i++) {
    if (!b->takes_part[i]) {
      printf(" %14s", "-");
      continue;
    }
    bool half = w->kind == WORK_FORWARD && b->list[i].half;
    double bytes = (double)(w->N * w->K) * (half ? 2 : 4) + 4.0 * (double)(w->T * (w->N + w->K));
    double floor = flops / peak > bytes / read ? flops / peak : bytes / read, seconds = median_of(b, i);
    printf(" %8.1f (%2.0f%%)", 1e-9 * flops / seconds, 100 * floor / seconds);
  }
  for (size_t i = 0; i < b->n; i++) {
    size_t peer = fastest(b, b->list[i].half);
    if (b->list[i].peer) continue;
    if (!b->takes_part[i] || peer == b->n) {
      printf("  %22s", "-");
      continue;
    }
    for (int r = 0; r < b->o->rounds; r++) ratio[r] = b->seconds[peer][r] / b->seconds[i][r];
    quartiles(ratio, b->o->rounds, q);
    printf("  %5.2f (%.2f to %.2f)", q[1], q[0], q[2]);
    if (q[2] >= 1) continue;
    size_t at = strlen(b->behind);
    snprintf(b->behind + at, sizeof b->behind - at, "%s %s: %.2f of %s\n", what, b->list[i].name, q[1],
             b->list[peer].name);
  }
  printf("\n");
  fflush(stdout);
}

static void print_head(const bench *b) {
  printf("GFLOP/s (share of the ceiling), and ratios to the fastest peer of the same width, or of fp32 where none has "
         "less\n");
  printf("product  weights    rows");
  for (size_t i = 0; i < b->n; i++) printf(" %14s", b->list[i].name);
  for (size_t i = 0; i < b->n; i++) {
    if (!b->list[i].peer) printf("  %22s", b->list[i].name);
  }
  printf("\n");
}

static void measure(bench *b, work_kind kind, size_t T, shape s) {
  work w;
  size_t at[MOST] = {0};
  double peak = 0, read = 0;
  describe(&w, kind, T, s, b->cache);
  make_operands(&w);
  for (size_t i = 0; i < b->n; i++) b->takes_part[i] = b->list[i].begin(&b->list[i], &w);
  compare(b, &w);
  for (int r = 0; r < b->o->rounds; r++) {
    for (size_t i = 0; i < b->n; i++) {
      if (b->takes_part[i]) take_turn(b, &w, i, r, &at[i]);
    }
    pause_a_little();
    double p = orion_ceiling_multiply_add(b->ceiling), q = orion_ceiling_read(b->ceiling, 0);
    peak = p > peak ? p : peak;
    read = q > read ? q : read;
  }
  print_line(b, &w, 1e9 * peak, 1e9 * read);
  for (size_t i = 0; i < b->n; i++) b->list[i].end(&b->list[i]);
  free_operands(&w);
}

// ---- what to measure ----

static size_t read_shapes(char *text, shape *out) {
  size_t n = 0;
  for (char *p = strtok(text, ","); p && n < MOST_LIST; p = strtok(NULL, ","), n++) {
    bool ok = sscanf(p, "%zux%zu", &out[n].N, &out[n].K) == 2 && out[n].N && out[n].K;
    if (!ok) products_fail(p, "not a shape (768x768)");
  }
  return n;
}

static size_t read_rows(char *text, size_t *out) {
  size_t n = 0;
  for (char *p = strtok(text, ","); p && n < MOST_LIST; p = strtok(NULL, ","), n++) {
    if (sscanf(p, "%zu", &out[n]) != 1 || !out[n]) products_fail(p, "not a number of rows");
  }
  return n;
}

static void read_kinds(char *text, bool *out) {
  memset(out, 0, WORK_KINDS * sizeof *out);
  for (char *p = strtok(text, ","); p; p = strtok(NULL, ",")) {
    int k = 0;
    while (k < WORK_KINDS && strcmp(p, kind_names[k]) != 0) k++;
    if (k == WORK_KINDS) products_fail(p, "no such product (forward, y, dx and dw are known)");
    out[k] = true;
  }
}

static void read_options(int argc, char **argv, options *o) {
  static const struct option known[] = {
      {"threads", required_argument, NULL, 't'}, {"rounds", required_argument, NULL, 'r'},
      {"rows", required_argument, NULL, 'T'},    {"product", required_argument, NULL, 'p'},
      {"weights", required_argument, NULL, 'w'}, {0}};
  static const shape shapes[] = {{768, 768}, {2304, 768}, {3072, 768}, {768, 3072},
                                 {2048, 768}, {768, 2048}, {50257, 768}, {32000, 768}};
  *o = (options){.rounds = 5, .kinds = {true, true, true, true}, .n_shapes = sizeof shapes / sizeof *shapes};
  memcpy(o->shapes, shapes, sizeof shapes);
  for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    if (c == 't') o->threads = atoi(optarg);
    else if (c == 'r') o->rounds = atoi(optarg);
    else if (c == 'T') o->n_rows = read_rows(optarg, o->rows);
    else if (c == 'p') read_kinds(optarg, o->kinds);
    else if (c == 'w') o->n_shapes = read_shapes(optarg, o->shapes);
    else exit(2);
  }
  if (o->rounds < 1 || o->rounds > MOST_ROUNDS) products_fail("--rounds", "must be 1 to 99");
}

static void measure_all(bench *b) {
  static const size_t forward[] = {1, 32, 256, 512, 1024}, training[] = {256, 1024};
  const options *o = b->o;
  for (int kind = 0; kind < WORK_KINDS; kind++) {
    bool prompt = kind == WORK_FORWARD;
    const size_t *rows = o->n_rows ? o->rows : prompt ? forward : training;
    size_t n = o->n_rows ? o->n_rows : prompt ? sizeof forward / sizeof *forward : sizeof training / sizeof *training;
    for (size_t s = 0; o->kinds[kind] && s < o->n_shapes; s++) {
      for (size_t r = 0; r < n; r++) {
        if (!prompt || rows[r] <= 32 || o->shapes[s].N < CLASSIFIER) measure(b, (work_kind)kind, rows[r], o->shapes[s]);
      }
    }
  }
}

int main(int argc, char **argv) {
  // OpenBLAS's threads stay awake for 2^26 ticks after a call, into the others' turns, unless told before it is loaded.
  if (!getenv("OPENBLAS_THREAD_TIMEOUT")) {
    setenv("OPENBLAS_THREAD_TIMEOUT", "21", 1);
    execv("/proc/self/exe", argv);
  }
  static bench b;
  options o;
  orion_bench_machine machine;
  orion_error err = {0};
  read_options(argc, argv, &o);
  orion_bench_machine_describe(&machine);
  if (o.threads < 1) o.threads = machine.processors;
  b.o = &o;
  b.cache = machine.cache_bytes ? machine.cache_bytes : (size_t)32 << 20;
  orion_status status = orion_ceiling_create(NULL, NULL, o.threads, 0, &b.ceiling, &err);
  if (status != ORION_OK) products_fail("ceiling", err.message);
  b.n = orion_contestants(b.list, o.threads);
#ifdef HAVE_ONEDNN
  b.n += onednn_contestants(b.list + b.n, o.threads);
#endif
#ifdef HAVE_OPENBLAS
  b.n += openblas_contestants(b.list + b.n, o.threads);
#endif
  printf("%s (%s), %d threads, %d rounds, load %.1f; multiply-adds %.0f GFLOP/s, read %.1f GB/s\n", machine.processor,
         machine.level, o.threads, o.rounds, machine.load[0], orion_ceiling_multiply_add(b.ceiling),
         orion_ceiling_read(b.ceiling, 0));
  print_head(&b);
  measure_all(&b);
  if (b.behind[0]) printf("\nslower than a peer, beyond the spread:\n%s", b.behind);
  orion_ceiling_destroy(b.ceiling);
  return 0;
}
