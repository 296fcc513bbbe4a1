// Several processes that train one model: each has all weights and its share of every batch, gradients are summed.
//
// What a library of messages must do is two calls (orion_comm_vtable); MPI is one such (comm_mpi.c, where it is built in).
// Everything else is here, and is the same for all: sums are made in the order of the processes' numbers, in double, so a
// run gives the same bits every time, whatever way messages take, and every process has the same sum.
//
// An error of one process ends all. The rule that makes this work: each call below that waits for the others is preceded by
// orion_comm_agree, and a process that gives up calls orion_comm_agree once with its error, on its way out. So whoever
// waits waits in agree, and all leave with the error of the first process that has one. After that nobody waits again.
//
// All functions take NULL for a process that is alone.
#ifndef ORION_TRAIN_COMM_H
#define ORION_TRAIN_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orion/alloc.h"
#include "orion/train.h"

// `send` and `recv` do not overlap. Both calls wait for all processes; what goes wrong in them ends all processes.
typedef struct orion_comm_vtable {
  // recv + i * bytes: what process i has at send + (this one's number) * bytes.
  void (*all_to_all)(void *ctx, const void *send, void *recv, size_t bytes);
  // recv + i * bytes: what process i has at send.
  void (*all_gather)(void *ctx, const void *send, void *recv, size_t bytes);
  void (*close)(void *ctx);
} orion_comm_vtable;

// The only way in for another transport (tests have one of threads). `ctx` is the result's from now on, even in failure.
orion_status orion_comm_create(const orion_allocator *a, const orion_comm_vtable *vtable, void *ctx, int rank, int size,
                               int local_size, orion_comm **out, orion_error *err);

// True in a process that mpirun started, whether MPI is built in or not: its number, and how many there are.
bool orion_comm_launched(int *out_rank, int *out_size);

int orion_comm_rank(const orion_comm *c);
int orion_comm_size(const orion_comm *c);
int orion_comm_local_size(const orion_comm *c);  // processes on this machine

// The first failure of any process, with its message; ORION_OK where none has failed.
orion_status orion_comm_agree(orion_comm *c, orion_status status, orion_error *err);
bool orion_comm_any(orion_comm *c, bool value);                // of any process
bool orion_comm_same(orion_comm *c, uint64_t value);           // in all processes
double orion_comm_sum(orion_comm *c, double value);
void orion_comm_sum_floats(orion_comm *c, float *values, size_t n);  // in place

// comm_mpi.c, or comm_none.c where MPI is not built in: for orion_comm_open in a process that was launched.
orion_status orion_comm_open_launched(const orion_allocator *a, orion_comm **out, orion_error *err);

#endif
