// How close the product kernels come to the machine: weights streamed per second beside a plain read of as many bytes
// by as many threads, and multiply-adds per second beside a chain-free loop of fused ones.
//
//   bench_kernels [level [seconds per line]]     e.g. bench_kernels avx2 0.3
//
// Each figure is the best of the repetitions that fit the time: on a shared machine the others measure the neighbours.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/thread.h"
#include "device/cpu/kernels/kernels.h"

typedef int32_t v8 __attribute__((vector_size(32), aligned(4), may_alias));

typedef struct bench {
  orion_kernels k;
  orion_pool *pool;
  double seconds;
} bench;

typedef struct job {
  const orion_kernels *k;
  orion_panels w;
  float *x, *y;
  const unsigned char *bytes;
  size_t size, rows, piece;
  int32_t read[64];  // keeps the loads alive
} job;

static float fraction(size_t i) { return (float)((i * 2654435761u >> 8) % 2001) / 1000.0f - 1.0f; }

static void run_linear(void *ctx, size_t begin, size_t end, int worker) {
  job *j = ctx;
  j->k->linear(j->y, j->w.rows, j->x, j->w.cols, j->rows, &j->w, NULL, begin, end);
}

// The plain read: nothing but loads and a maximum, over four places of the piece at once, which this kind of processor
// reads faster than one place.
static void run_read(void *ctx, size_t begin, size_t end, int worker) {
  job *j = ctx;
  size_t quarter = (end - begin) * j->piece / 16 / 32 * 32;
  const float *p = (const float *)(const void *)(j->bytes + begin * j->piece);
  v8 m0 = {0}, m1 = {0}, m2 = {0}, m3 = {0};
  for (size_t i = 0; i < quarter; i += 8) {
    m0 |= *(const v8 *)(const void *)(p + i);
    m1 |= *(const v8 *)(const void *)(p + quarter + i);
    m2 |= *(const v8 *)(const void *)(p + 2 * quarter + i);
    m3 |= *(const v8 *)(const void *)(p + 3 * quarter + i);
  }
  m0 |= m1 | m2 | m3;
  j->read[worker] |= m0[0] | m0[1] | m0[2] | m0[3] | m0[4] | m0[5] | m0[6] | m0[7];
}

static double best_time(bench *b, orion_range_fn fn, job *j, size_t n) {
  size_t threads = (size_t)orion_pool_threads(b->pool), pieces = threads * 4;
  size_t grain = (n + pieces - 1) / pieces;
  double best = 1e9, start = orion_now(), now = start;
  for (int i = 0; i < 3 || now - start < b->seconds; i++) {
    double t = orion_now();
    orion_parallel_for(b->pool, n, grain, fn, j);
    now = orion_now();
    if (now - t < best) best = now - t;
  }
  return best;
}

// Weights are repeated until they do not fit any cache, as a model's layers are; each repetition is one matrix.
static void bench_shape(bench *b, orion_kernel_type type, size_t N, size_t K, size_t rows) {
  size_t one = orion_panels_size(type, N, K), copies = 1 + (rows < 16 ? ((size_t)192 << 20) / one : 0);
  size_t panels = orion_panel_count(N) * copies;
  job j = {.k = &b->k, .rows = rows};
  unsigned char *data = aligned_alloc(64, (one * copies + 63) / 64 * 64);
  j.x = malloc(rows * K * sizeof *j.x);
  j.y = calloc(rows * panels * 16, sizeof *j.y);
  float *row = malloc(K * sizeof *row);
  for (size_t i = 0; i < rows * K; i++) j.x[i] = fraction(i);
  for (size_t n = 0; n < N; n++) {
    for (size_t i = 0; i < K; i++) row[i] = fraction(n * K + i);
    b->k.pack(data, type, N, K, row, ORION_KERNEL_F32, K, 1, n, n + 1, 0, K);
  }
  for (size_t i = 1; i < copies; i++) memcpy(data + i * one, data, one);
  j.w = (orion_panels){data, type, panels * 16, K};
  j.bytes = data;
  j.size = one * copies;
  j.piece = one / orion_panel_count(N);
  double read = best_time(b, run_read, &j, panels), took = best_time(b, run_linear, &j, panels);
  double bytes = (double)j.size, flops = 2.0 * (double)(panels * 16 * K) * (double)rows;
  printf("%s %6zu x %4zu  rows %3zu  threads %d  %6.1f GB/s  plain read %6.1f  (%3.0f%%)  %7.1f GFLOP/s\n",
         type == ORION_KERNEL_F16 ? "f16" : "f32", N, K, rows, orion_pool_threads(b->pool), bytes / took * 1e-9,
         bytes / read * 1e-9, 100.0 * read / took, flops / took * 1e-9);
  fflush(stdout);
  free(data);
  free(j.x);
  free(j.y);
  free(row);
}

int main(int argc, char **argv) {
  static const size_t shapes[][2] = {{768, 768}, {3072, 768}, {768, 3072}, {50257, 768}};
  static const size_t few[] = {1, 2, 4, 8}, many[] = {32, 128, 512};
  uint32_t mask;
  if (!orion_cpu_level(argc > 1 ? argv[1] : "native", &mask)) return fprintf(stderr, "unknown level\n"), 2;
  bench b = {.seconds = argc > 2 ? atof(argv[2]) : 0.2};
  orion_kernels_init(&b.k, orion_cpu_features() & mask);
  printf("level %s\n", b.k.level);
  for (int threads = 1; threads <= orion_cpu_count() && threads <= 2; threads++) {
    if (orion_pool_create(NULL, threads, &b.pool, NULL) != ORION_OK) return 1;
    for (int type = ORION_KERNEL_F16; type >= ORION_KERNEL_F32; type--) {
      for (size_t s = 0; s < 4; s++) {
        for (size_t t = 0; t < 4; t++) bench_shape(&b, (orion_kernel_type)type, shapes[s][0], shapes[s][1], few[t]);
      }
      for (size_t s = 0; s < 3; s++) {
        for (size_t t = 0; t < 3; t++) bench_shape(&b, (orion_kernel_type)type, shapes[s][0], shapes[s][1], many[t]);
      }
    }
    orion_pool_destroy(b.pool);
  }
  return 0;
}
