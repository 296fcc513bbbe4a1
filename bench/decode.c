// Where a decoded token's time goes, by kind of step of the cpu device, which `orion bench infer` cannot see from above:
// bench_decode MODEL cpu:profile=on [POSITION] [PREFILL]
//
// Prints the time per token of body and head and of each kind of step; beside it a plain read of the same bytes. For
// figures to keep, use `orion bench`.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "device/cpu/cpu.h"
#include "lower/lower.h"
#include "model/graph.h"

enum { MOST = 256 };

typedef struct loaded {
  orion_plan *plan;
  orion_executable *e;
  orion_bindings *b;
  orion_surface *surfaces[MOST];
  size_t n;
} loaded;

static void check(orion_status status, const orion_error *err) {
  if (status == ORION_OK) return;
  fprintf(stderr, "bench_decode: %s\n", err->message);
  exit(1);
}

// Compiles a graph of the model and binds surfaces of its own; returns the seconds that compiling took.
static double load(const orion_model *m, orion_device *d, const orion_graph_spec *spec, loaded *out) {
  orion_error err = {0};
  orion_program *graph;
  double start = orion_now();
  check(orion_model_graph(m, spec, &graph, &err), &err);
  orion_lower_options options = {.target = orion_target_find("cpu")};
  check(orion_lower(graph, &options, &out->plan, &err), &err);
  orion_program_destroy(graph);
  check(orion_device_compile(d, out->plan->parts[0].program, NULL, &out->e, &err), &err);
  double seconds = orion_now() - start;
  check(orion_bindings_create(out->e, &out->b, &err), &err);
  const orion_io *ios = orion_executable_ios(out->e, &out->n);
  for (size_t i = 0; i < out->n && i < MOST; i++) {
    check(orion_surface_create(d, &ios[i].layout, &out->surfaces[i], &err), &err);
    check(orion_bind(out->b, ios[i].name, out->surfaces[i], &err), &err);
    if (strcmp(ios[i].name, "x") == 0 || strcmp(ios[i].name, "y") == 0) {
      float *v = orion_surface_lock(out->surfaces[i]);
      for (int64_t k = 0; ios[i].layout.dtype == ORION_FP32 && k < ios[i].layout.dims[1]; k++)
        v[k] = (float)(k % 7) * 0.1f;
      orion_surface_unlock(out->surfaces[i]);
    }
  }
  return seconds;
}

static void unload(loaded *l) {
  orion_bindings_destroy(l->b);
  for (size_t i = 0; i < l->n; i++) orion_surface_destroy(l->surfaces[i]);
  orion_executable_release(l->e);
  orion_plan_destroy(l->plan);
}

// Cached positions from `position` on are hidden.
static void set_mask(loaded *l, int64_t position) {
  const orion_io *ios = orion_executable_ios(l->e, &l->n);
  for (size_t i = 0; i < l->n; i++) {
    if (strcmp(ios[i].name, "mask") != 0) continue;
    float *v = orion_surface_lock(l->surfaces[i]);
    for (int64_t k = 0; k < ios[i].layout.dims[1]; k++) v[k] = k < position ? 0 : -10000;
    orion_surface_unlock(l->surfaces[i]);
  }
}

typedef struct reading {
  const uint64_t *data;
  uint64_t sums[64];
} reading;

static void read_piece(void *ctx, size_t begin, size_t end, int worker) {
  reading *r = ctx;
  uint64_t a = 0, b = 0, c = 0, d = 0;
  for (size_t i = begin; i + 8 <= end; i += 8) {
    a += r->data[i] + r->data[i + 1];
    b += r->data[i + 2] + r->data[i + 3];
    c += r->data[i + 4] + r->data[i + 5];
    d += r->data[i + 6] + r->data[i + 7];
  }
  r->sums[worker % 64] += a + b + c + d;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void profile(const loaded *l, const char *name) {
  orion_cpu_profile p[ORION_CPU_KINDS];
  orion_run_times t;
  orion_cpu_profile_read(l->e, p);
  orion_executable_times(l->e, &t);
  for (int i = 0; i < ORION_CPU_KINDS; i++) {
    if (p[i].seconds > 0)
      printf("  %s %-10s %4zu steps %9.1f us\n", name, p[i].name, p[i].steps, p[i].seconds / (double)t.runs * 1e6);
  }
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "bench_decode MODEL [DEVICE] [POSITION] [PREFILL]\n");
    return 2;
  }
  orion_error err = {0};
  orion_device *d;
  orion_model *m;
  check(orion_device_open(argc > 2 ? argv[2] : "cpu", 0, NULL, &d, &err), &err);
  check(orion_model_open(NULL, argv[1], &m, &err), &err);
  int64_t position = argc > 3 ? atoll(argv[3]) : 32, tokens = argc > 4 ? atoll(argv[4]) : 0;
  orion_graph_spec body = {ORION_GRAPH_BODY, 1, m->config.context, ORION_FP32, ORION_FP16, ORION_FP16}, head = body;
  head.kind = ORION_GRAPH_HEAD;
  head.past = 0;
  loaded lb = {0}, lh = {0}, lp = {0};
  double compile = load(m, d, &body, &lb);
  compile += load(m, d, &head, &lh);
  set_mask(&lb, position);
  orion_run_times tb, th;
  orion_executable_times(lb.e, &tb);
  orion_executable_times(lh.e, &th);
  size_t bytes = tb.weight_bytes + th.weight_bytes;
  uint64_t *block = malloc(bytes);
  memset(block, 1, bytes);
  enum { ROUNDS = 15 };
  double token[ROUNDS], plain[ROUNDS], heads[ROUNDS];
  int per_round = bytes > 16u << 20 ? 3 : 200;
  orion_pool *pool = ((orion_cpu_device *)d)->pool;
  for (int i = 0; i < ROUNDS; i++) {
    double t0 = orion_now();
    reading r = {.data = block};
    for (int k = 0; k < 2; k++) orion_parallel_for(pool, bytes / 8, 1 << 16, read_piece, &r);
    double t1 = orion_now();
    for (int k = 0; k < per_round; k++) check(orion_run(lb.b, &err), &err);
    double t2 = orion_now();
    for (int k = 0; k < per_round; k++) check(orion_run(lh.b, &err), &err);
    double t3 = orion_now();
    plain[i] = (t1 - t0) / 2;
    token[i] = (t3 - t1) / per_round;
    heads[i] = (t3 - t2) / per_round;
  }
  qsort(plain, ROUNDS, sizeof *plain, by_value);
  qsort(token, ROUNDS, sizeof *token, by_value);
  qsort(heads, ROUNDS, sizeof *heads, by_value);
  double p = plain[ROUNDS / 2], t = token[ROUNDS / 2];
  printf("compile %.0f ms, weights %.1f MB, peak memory %.0f MB\n", compile * 1e3, (double)bytes / 1e6,
         orion_peak_rss_mb());
  printf("token: median %.3f ms (best %.3f; head %.3f), %.1f tok/s, %.2f GB/s; plain read %.2f GB/s; %.0f%%\n", t * 1e3,
         token[0] * 1e3, heads[ROUNDS / 2] * 1e3, 1 / t, (double)bytes / t / 1e9, (double)bytes / p / 1e9, p / t * 100);
  profile(&lb, "body");
  profile(&lh, "head");
  if (tokens) {
    orion_graph_spec prefill = body;
    prefill.tokens = tokens;
    prefill.past = 0;
    compile = load(m, d, &prefill, &lp);
    double best = 1e9;
    for (int i = 0; i < 4; i++) {
      double t0 = orion_now();
      check(orion_run(lp.b, &err), &err);
      double seconds = orion_now() - t0;
      best = seconds < best ? seconds : best;
    }
    printf("prefill %lld: compile %.0f ms, best %.1f ms, %.0f tok/s\n", (long long)tokens, compile * 1e3, best * 1e3,
           (double)tokens / best);
    profile(&lp, "prefill");
    unload(&lp);
  }
  unload(&lb);
  unload(&lh);
  free(block);
  orion_device_close(d);
  orion_model_close(m);
  return 0;
}
