#include "crew.h"

#include <pthread.h>

typedef struct crew {
  int size;
  pthread_barrier_t barrier;
  const void *sends[CREW_MAX];
  crew_fn work;
  void *ctx;
} crew;

typedef struct member {
  crew *crew;
  int rank;
} member;

static void exchange(member *m, const void *send, void *recv, size_t bytes, size_t stride) {
  crew *c = m->crew;
  c->sends[m->rank] = send;
  pthread_barrier_wait(&c->barrier);
  for (int i = 0; i < c->size; i++) {
    memcpy((char *)recv + (size_t)i * bytes, (const char *)c->sends[i] + (size_t)m->rank * stride, bytes);
  }
  pthread_barrier_wait(&c->barrier);
}

static void all_to_all(void *ctx, const void *send, void *recv, size_t bytes) { exchange(ctx, send, recv, bytes, bytes); }
static void all_gather(void *ctx, const void *send, void *recv, size_t bytes) { exchange(ctx, send, recv, bytes, 0); }
static void leave(void *ctx) {}

static const orion_comm_vtable threads = {all_to_all, all_gather, leave};

static void *run_member(void *ctx) {
  member *m = ctx;
  orion_comm *comm = NULL;
  if (orion_comm_create(NULL, &threads, m, m->rank, m->crew->size, m->crew->size, &comm, NULL) != ORION_OK) abort();
  m->crew->work(m->crew->ctx, m->rank, comm);
  orion_comm_close(comm);
  return NULL;
}

void crew_run(int size, crew_fn work, void *ctx) {
  crew c = {.size = size, .work = work, .ctx = ctx};
  member members[CREW_MAX];
  pthread_t ids[CREW_MAX];
  assert_in_range(size, 1, CREW_MAX);
  assert_int_equal(pthread_barrier_init(&c.barrier, NULL, (unsigned)size), 0);
  for (int i = 0; i < size; i++) {
    members[i] = (member){&c, i};
    assert_int_equal(pthread_create(&ids[i], NULL, run_member, &members[i]), 0);
  }
  for (int i = 0; i < size; i++) pthread_join(ids[i], NULL);
  pthread_barrier_destroy(&c.barrier);
}
