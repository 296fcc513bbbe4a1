// The machine and its ceilings. A block is read in pieces, each of them in four places at once; it asks for large pages,
// since page walks would otherwise be part of what is measured. Time is taken in windows of a millisecond or so, long
// beside what waking threads costs and short beside what a neighbour leaves undisturbed, and the best of many counts: on
// a busy machine a second thread may be kept waiting for several of them, which says nothing about memory.
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

#include "base/clock.h"
#include "base/cpu.h"
#include "bench/bench.h"

#define PAGE ((size_t)2 << 20)
#define LEAST_BLOCK ((size_t)256 << 20)
#define MOST_BLOCK ((size_t)512 << 20)
#define LEAST_SECONDS 0.03           // of windows, of which the best counts
#define LEAST_WINDOW ((size_t)4 << 20)
#define PIECE ((size_t)512 << 10)    // at most; a whole number of the kernel's 1 KiB
#define ROUNDS 5000                  // of multiply-adds in one piece: some tens of microseconds

enum {
  WORKERS = 1024,             // threads at most, as the command line takes them
  SHARES = 32,                // pieces of a window for each thread, so that no thread waits long for the last
};

struct orion_ceiling {
  const orion_allocator *allocator;
  orion_kernels kernels;
  orion_pool *pool;
  char *block;
  size_t size;
  size_t piece, n_pieces;     // of the block, as it is read at present
  size_t next;                // piece that the window begins with
  orion_multiplier multiplier;  // at present
  double flops[WORKERS];      // and what keeps results alive
  float sums[WORKERS];
};

// ---- the machine ----------------------------------------------------------------------------------------------------

static void find_processor(char *out, size_t size) {
  out[0] = 0;
#ifdef __APPLE__
  if (sysctlbyname("machdep.cpu.brand_string", out, &size, NULL, 0) != 0) out[0] = 0;
#else
  FILE *file = fopen("/proc/cpuinfo", "re");
  char line[256];
  while (file && fgets(line, sizeof line, file)) {
    char *colon = strchr(line, ':');
    if (!colon || (strncmp(line, "model name", 10) != 0 && strncmp(line, "Processor", 9) != 0)) continue;
    colon += 1 + strspn(colon + 1, " \t");
    colon[strcspn(colon, "\n")] = 0;
    snprintf(out, size, "%s", colon);
    break;
  }
  if (file) fclose(file);
#endif
}

static size_t find_cache(void) {
#ifdef _SC_LEVEL3_CACHE_SIZE
  for (int name = _SC_LEVEL3_CACHE_SIZE; name == _SC_LEVEL3_CACHE_SIZE || name == _SC_LEVEL2_CACHE_SIZE;
       name = name == _SC_LEVEL3_CACHE_SIZE ? _SC_LEVEL2_CACHE_SIZE : -1) {
    long bytes = sysconf(name);
    if (bytes > 0) return (size_t)bytes;
  }
#endif
  return 0;
}

void orion_bench_machine_describe(orion_bench_machine *out) {
  *out = (orion_bench_machine){.level = orion_cpu_level_name(orion_cpu_features()), .processors = orion_cpu_count()};
  find_processor(out->processor, sizeof out->processor);
  out->cache_bytes = find_cache();
  if (getloadavg(out->load, 3) != 3) out->load[0] = out->load[1] = out->load[2] = -1;
}

// ---- ceilings -------------------------------------------------------------------------------------------------------

static void fill_piece(void *ctx, size_t begin, size_t end, int worker) {
  orion_ceiling *c = ctx;
  memset(c->block + begin * PAGE, 1, (end - begin) * PAGE);
}

orion_status orion_ceiling_create(const orion_allocator *a, const char *level, int threads, size_t block,
                                  orion_ceiling **out, orion_error *err) {
  uint32_t mask;
  if (!level || !orion_cpu_level(level, &mask)) mask = UINT32_MAX;
  if (block == 0) {
    block = 4 * find_cache();
    block = block < LEAST_BLOCK ? LEAST_BLOCK : block > MOST_BLOCK ? MOST_BLOCK : block;
  }
  orion_ceiling *c = orion_alloc_zero(a, 1, sizeof *c);
  if (!c) return ORION_OOM(err, "ceiling");
  c->allocator = a;
  orion_kernels_init(&c->kernels, orion_cpu_features() & mask);
  c->size = orion_round_up(block, PAGE);
  orion_status status = orion_pool_create(a, threads, &c->pool, err);
  if (status == ORION_OK && orion_pool_threads(c->pool) > WORKERS) {
    status = ORION_FAIL(err, ORION_INVALID, "threads: %d is above %d", threads, WORKERS);
  }
  c->block = status == ORION_OK ? orion_alloc_aligned(a, c->size, PAGE) : NULL;
  if (status == ORION_OK && !c->block) status = ORION_OOM(err, "block to measure reading with");
  if (status != ORION_OK) {
    orion_ceiling_destroy(c);
    return status;
  }
#ifdef MADV_HUGEPAGE
  madvise(c->block, c->size, MADV_HUGEPAGE);  // where this is refused, small pages do
#endif
  orion_parallel_for(c->pool, c->size / PAGE, 1, fill_piece, c);  // each thread touches its share first
  *out = c;
  return ORION_OK;
}

void orion_ceiling_destroy(orion_ceiling *c) {
  if (!c) return;
  orion_pool_destroy(c->pool);
  orion_free_aligned(c->allocator, c->block, c->size, PAGE);
  orion_free(c->allocator, c, 1, sizeof *c);
}

const orion_kernels *orion_ceiling_kernels(const orion_ceiling *c) { return &c->kernels; }
orion_pool *orion_ceiling_pool(const orion_ceiling *c) { return c->pool; }

static void read_pieces(void *ctx, size_t begin, size_t end, int worker) {
  orion_ceiling *c = ctx;
  for (size_t i = begin; i < end; i++) {
    c->sums[worker] += (float)c->kernels.read_bytes(c->block + (c->next + i) % c->n_pieces * c->piece, c->piece);
  }
}

// Windows go round and round through the block, so that a large one is never in a cache when its turn comes.
double orion_ceiling_read(orion_ceiling *c, size_t bytes) {
  size_t threads = (size_t)orion_pool_threads(c->pool), window = threads * SHARES;
  if (bytes == 0 || bytes > c->size) bytes = c->size;
  c->piece = bytes / (threads * 8) / 1024 * 1024;
  c->piece = c->piece < 1024 ? 1024 : c->piece > PIECE ? PIECE : c->piece;
  c->n_pieces = bytes / c->piece ? bytes / c->piece : 1;
  if (window * c->piece < LEAST_WINDOW) window = LEAST_WINDOW / c->piece;
  double best = 0, end = orion_now() + LEAST_SECONDS, start;
  while ((start = orion_now()) < end) {
    orion_parallel_for(c->pool, window, (window + threads * SHARES - 1) / (threads * SHARES), read_pieces, c);
    double rate = (double)(window * c->piece) / (orion_now() - start) * 1e-9;
    best = rate > best ? rate : best;
    c->next = (c->next + window) % c->n_pieces;
  }
  return best;
}

static void multiply_pieces(void *ctx, size_t begin, size_t end, int worker) {
  static const float two[] = {0.999f, 0.001f};
  orion_ceiling *c = ctx;
  const orion_kernels *k = &c->kernels;
  for (size_t i = begin; i < end; i++) {
    double flops;
    c->sums[worker] += c->multiplier == ORION_MULTIPLY_BF16   ? k->multiply_bf16(ROUNDS, &flops)
                       : c->multiplier == ORION_MULTIPLY_INT8 ? k->multiply_int8(ROUNDS, &flops)
                                                              : k->multiply_add(two, ROUNDS, &flops);
    c->flops[worker] += flops;
  }
}

const char *orion_multiplier_name(orion_multiplier m) {
  return m == ORION_MULTIPLY_BF16 ? "multiply_bf16" : m == ORION_MULTIPLY_INT8 ? "multiply_int8" : "multiply_add";
}

bool orion_ceiling_has(const orion_ceiling *c, orion_multiplier m) {
  return m == ORION_MULTIPLY_BF16 ? c->kernels.multiply_bf16 != NULL : m != ORION_MULTIPLY_INT8 || c->kernels.multiply_int8;
}

double orion_ceiling_multiply(orion_ceiling *c, orion_multiplier m) {
  int threads = orion_pool_threads(c->pool);
  double best = 0, end = orion_now() + LEAST_SECONDS, start;
  c->multiplier = m;
  while ((start = orion_now()) < end) {
    double flops = 0;
    memset(c->flops, 0, (size_t)threads * sizeof *c->flops);
    orion_parallel_for(c->pool, (size_t)threads * SHARES, 1, multiply_pieces, c);
    double seconds = orion_now() - start;
    for (int k = 0; k < threads; k++) flops += c->flops[k];
    best = flops / seconds > best ? flops / seconds : best;
  }
  return best * 1e-9;
}

double orion_ceiling_multiply_add(orion_ceiling *c) { return orion_ceiling_multiply(c, ORION_MULTIPLY_ADD); }
