#include "train/comm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

// Floats that are summed at once: what is sent and received lies in two buffers of this size.
#define CHUNK ((size_t)1 << 20)
#define MAX_PROCESSES 65536

struct orion_comm {
  const orion_allocator *allocator;
  const orion_comm_vtable *vtable;
  void *ctx;
  int rank, size, local_size;
  bool ended;              // an error was agreed upon
  size_t slice;            // floats of a chunk that one process sums
  float *outgoing, *incoming;  // [size, slice]
  char *small;             // [size] of whatever small thing is gathered
  size_t small_bytes;
};

// ---- life ----

bool orion_comm_launched(int *out_rank, int *out_size) {
  const char *rank = getenv("OMPI_COMM_WORLD_RANK"), *size = getenv("OMPI_COMM_WORLD_SIZE");
  if (!rank || !size) return false;
  *out_rank = atoi(rank);
  *out_size = atoi(size);
  return true;
}

orion_status orion_comm_open(orion_comm **out, orion_error *err) {
  int rank, size;
  *out = NULL;
  return orion_comm_launched(&rank, &size) ? orion_comm_open_launched(NULL, out, err) : ORION_OK;
}

orion_status orion_comm_create(const orion_allocator *a, const orion_comm_vtable *vtable, void *ctx, int rank, int size,
                               int local_size, orion_comm **out, orion_error *err) {
  a = orion_allocator_or_default(a);
  orion_comm *c = size <= MAX_PROCESSES ? orion_alloc_zero(a, 1, sizeof *c) : NULL;
  if (!c) {
    vtable->close(ctx);
    return size <= MAX_PROCESSES ? ORION_OOM(err, "processes") : ORION_FAIL(err, ORION_LIMIT, "processes: %d are too many", size);
  }
  *c = (orion_comm){.allocator = a, .vtable = vtable, .ctx = ctx, .rank = rank, .size = size, .local_size = local_size};
  c->slice = (CHUNK + (size_t)size - 1) / (size_t)size;
  c->small_bytes = sizeof(orion_error);
  c->outgoing = orion_alloc(a, c->slice * (size_t)size, sizeof(float));
  c->incoming = orion_alloc(a, c->slice * (size_t)size, sizeof(float));
  c->small = orion_alloc(a, (size_t)size, c->small_bytes);
  if (!c->outgoing || !c->incoming || !c->small) {
    orion_comm_close(c);
    return ORION_OOM(err, "processes");
  }
  *out = c;
  return ORION_OK;
}

void orion_comm_close(orion_comm *c) {
  if (!c) return;
  c->vtable->close(c->ctx);
  orion_free(c->allocator, c->outgoing, c->slice * (size_t)c->size, sizeof(float));
  orion_free(c->allocator, c->incoming, c->slice * (size_t)c->size, sizeof(float));
  orion_free(c->allocator, c->small, (size_t)c->size, c->small_bytes);
  orion_free(c->allocator, c, 1, sizeof *c);
}

int orion_comm_rank(const orion_comm *c) { return c ? c->rank : 0; }
int orion_comm_size(const orion_comm *c) { return c ? c->size : 1; }
int orion_comm_local_size(const orion_comm *c) { return c ? c->local_size : 1; }

// ---- small things ----

static const void *gather(orion_comm *c, const void *value, size_t bytes) {
  c->vtable->all_gather(c->ctx, value, c->small, bytes);
  return c->small;
}

orion_status orion_comm_agree(orion_comm *c, orion_status status, orion_error *err) {
  if (!c || c->ended) return status;
  int32_t own = (int32_t)status;
  const int32_t *all = gather(c, &own, sizeof own);
  int first = 0;
  while (first < c->size && all[first] == ORION_OK) first++;
  if (first == c->size) return ORION_OK;
  c->ended = true;
  orion_error said = {0};
  said.code = status;
  if (status != ORION_OK && err) said = *err;
  const orion_error *errors = gather(c, &said, sizeof said);  // `file` and `line` are of the same program
  orion_status code = errors[first].code != ORION_OK ? errors[first].code : ORION_INTERNAL;
  if (err && first != c->rank) {
    *err = errors[first];
    err->file = __FILE__;  // the string is another process's
  }
  if (first > 0) orion_error_prefix(err, "process %d of %d", first, c->size);
  return code;
}

bool orion_comm_any(orion_comm *c, bool value) {
  if (!c) return value;
  const bool *all = gather(c, &value, sizeof value);
  for (int i = 0; i < c->size; i++) {
    if (all[i]) return true;
  }
  return false;
}

bool orion_comm_same(orion_comm *c, uint64_t value) {
  if (!c) return true;
  const uint64_t *all = gather(c, &value, sizeof value);
  for (int i = 1; i < c->size; i++) {
    if (all[i] != all[0]) return false;
  }
  return true;
}

double orion_comm_sum(orion_comm *c, double value) {
  if (!c) return value;
  const double *all = gather(c, &value, sizeof value);
  double sum = 0;
  for (int i = 0; i < c->size; i++) sum += all[i];
  return sum;
}

// ---- gradients ----

// Each process gets everybody's share of its slice, sums it, and gives the sum to all: 2 (size - 1) / size of the values go
// out and come in, which no other way betters, and each element is summed once, in one order.
static void sum_chunk(orion_comm *c, float *values, size_t n) {
  const size_t slice = (n + (size_t)c->size - 1) / (size_t)c->size, whole = slice * (size_t)c->size;
  memcpy(c->outgoing, values, n * sizeof *values);
  memset(c->outgoing + n, 0, (whole - n) * sizeof *values);
  c->vtable->all_to_all(c->ctx, c->outgoing, c->incoming, slice * sizeof *values);
  for (size_t i = 0; i < slice; i++) {
    double sum = 0;
    for (size_t k = 0; k < (size_t)c->size; k++) sum += (double)c->incoming[k * slice + i];
    c->outgoing[i] = (float)sum;
  }
  c->vtable->all_gather(c->ctx, c->outgoing, c->incoming, slice * sizeof *values);
  memcpy(values, c->incoming, n * sizeof *values);
}

void orion_comm_sum_floats(orion_comm *c, float *values, size_t n) {
  for (size_t at = 0; c && at < n; at += CHUNK) sum_chunk(c, values + at, n - at < CHUNK ? n - at : CHUNK);
}
