// Workers wait for a new epoch, first spinning briefly (a decode step hands out work every few microseconds), then
// asleep on a condition variable. Who takes which piece does not matter to results.
//
// Pieces are taken from one atomic ticket that holds a turn and the next piece. The caller waits for the pieces that were
// taken, not for the workers: one that the system has not scheduled yet costs nothing, and when it comes late, its ticket
// is of another turn and it takes nothing.
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"

#define SPIN_SECONDS 100e-6  // before a worker goes to sleep, or the caller yields its processor
#define SPIN_TURNS 32        // between two looks at the clock; one turn is 10 to 150 cycles

typedef struct worker {
  orion_pool *pool;
  pthread_t thread;
  int index;
} worker;

struct orion_pool {
  const orion_allocator *allocator;
  int threads;
  int started;
  worker *workers;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  atomic_uint epoch;     // changes when there is work
  atomic_int sleepers;
  atomic_bool stop;
  atomic_uint_fast64_t ticket;  // turn << 32 | next piece; a turn lasts for one parallel_for
  atomic_uint_fast32_t pieces;  // of this turn
  atomic_uint_fast32_t done;
  size_t n, grain;       // these four are stable while a piece is taken and not done
  orion_range_fn fn;
  void *ctx;
};

static inline void cpu_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

int orion_cpu_count(void) {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    int n = CPU_COUNT(&set);
    if (n > 0) return n;
  }
#endif
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (int)n : 1;
}

static void take_pieces(orion_pool *pool, int index) {
  for (;;) {
    uint_fast64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    uint32_t piece = (uint32_t)ticket;
    if (piece >= atomic_load_explicit(&pool->pieces, memory_order_acquire)) return;
    if (!atomic_compare_exchange_strong_explicit(&pool->ticket, &ticket, ticket + 1, memory_order_acq_rel,
                                                 memory_order_relaxed)) {
      continue;
    }
    size_t begin = piece * pool->grain, end = pool->n - begin > pool->grain ? begin + pool->grain : pool->n;
    pool->fn(pool->ctx, begin, end, index);
    atomic_fetch_add_explicit(&pool->done, 1, memory_order_release);
  }
}

static void wait_for_epoch(orion_pool *pool, unsigned seen) {
  double start = orion_now();
  do {
    for (int i = 0; i < SPIN_TURNS; i++) {
      if (atomic_load_explicit(&pool->epoch, memory_order_acquire) != seen) return;
      cpu_relax();
    }
  } while (orion_now() - start < SPIN_SECONDS);
  pthread_mutex_lock(&pool->mutex);
  atomic_fetch_add(&pool->sleepers, 1);
  while (atomic_load(&pool->epoch) == seen) pthread_cond_wait(&pool->wake, &pool->mutex);
  atomic_fetch_sub(&pool->sleepers, 1);
  pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *arg) {
  worker *w = arg;
  orion_pool *pool = w->pool;
  unsigned seen = 0;
  for (;;) {
    wait_for_epoch(pool, seen);
    seen = atomic_load_explicit(&pool->epoch, memory_order_acquire);
    if (atomic_load(&pool->stop)) return NULL;
    take_pieces(pool, w->index);
  }
}

// Publishes a new epoch; sleepers are woken only if there are any (a system call otherwise saved).
static void publish(orion_pool *pool) {
  atomic_fetch_add(&pool->epoch, 1);
  if (atomic_load(&pool->sleepers) == 0) return;
  pthread_mutex_lock(&pool->mutex);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->mutex);
}

orion_status orion_pool_create(const orion_allocator *a, int threads, orion_pool **out, orion_error *err) {
  a = orion_allocator_or_default(a);
  if (threads < 0 || threads > 1024) {
    return ORION_FAIL(err, ORION_INVALID, "threads: %d is not within 0 to 1024", threads);
  }
  if (threads == 0) threads = orion_cpu_count();
  orion_pool *pool = orion_alloc_zero(a, 1, sizeof *pool);
  if (!pool) return ORION_OOM(err, "thread pool");
  pool->allocator = a;
  pool->threads = threads;
  pthread_mutex_init(&pool->mutex, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pool->workers = orion_alloc_zero(a, (size_t)threads, sizeof *pool->workers);
  if (!pool->workers) {
    orion_pool_destroy(pool);
    return ORION_OOM(err, "thread pool");
  }
  for (int i = 1; i < threads; i++) {
    pool->workers[i] = (worker){.pool = pool, .index = i};
    if (pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]) != 0) {
      orion_pool_destroy(pool);
      return ORION_FAIL(err, ORION_LIMIT, "thread pool: cannot start thread %d of %d", i + 1, threads);
    }
    pool->started = i;
  }
  *out = pool;
  return ORION_OK;
}

void orion_pool_destroy(orion_pool *pool) {
  if (!pool) return;
  atomic_store(&pool->stop, true);
  publish(pool);
  for (int i = 1; i <= pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->mutex);
  orion_free(pool->allocator, pool->workers, (size_t)pool->threads, sizeof *pool->workers);
  orion_free(pool->allocator, pool, 1, sizeof *pool);
}

int orion_pool_threads(const orion_pool *pool) { return pool ? pool->threads : 1; }

static void wait_for_pieces(orion_pool *pool, size_t pieces) {
  double start = orion_now();
  while (atomic_load_explicit(&pool->done, memory_order_acquire) != pieces) {
    for (int i = 0; i < SPIN_TURNS && atomic_load_explicit(&pool->done, memory_order_acquire) != pieces; i++) cpu_relax();
    if (orion_now() - start > SPIN_SECONDS) sched_yield();
  }
}

void orion_parallel_for(orion_pool *pool, size_t n, size_t grain, orion_range_fn fn, void *ctx) {
  if (n == 0) return;
  if (grain == 0) grain = 1;
  if (!pool || pool->threads == 1 || n <= grain) {
    for (size_t begin = 0; begin < n; begin += grain) fn(ctx, begin, n - begin > grain ? begin + grain : n, 0);
    return;
  }
  size_t pieces = (n - 1) / grain + 1;
  if (pieces >= UINT32_MAX) {  // absurdly fine: coarser pieces, still multiples of the grain
    grain *= pieces / UINT32_MAX + 1;
    pieces = (n - 1) / grain + 1;
  }
  // A late worker may hold a ticket of the last turn, beyond its last piece. It must not see that ticket as one of the
  // new, larger number of pieces: the old turn is closed before the new one is described, and opened after.
  uint_fast64_t turn = (atomic_load_explicit(&pool->ticket, memory_order_relaxed) >> 32) + 1;
  atomic_store_explicit(&pool->ticket, turn << 32 | UINT32_MAX, memory_order_release);
  pool->n = n;
  pool->grain = grain;
  pool->fn = fn;
  pool->ctx = ctx;
  atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
  atomic_store_explicit(&pool->pieces, (uint_fast32_t)pieces, memory_order_release);
  atomic_store_explicit(&pool->ticket, (turn + 1) << 32, memory_order_release);
  publish(pool);
  take_pieces(pool, 0);
  wait_for_pieces(pool, pieces);
}
