// Processes that train together, played by threads: a transport that needs no MPI, for any number of them.
#ifndef TEST_TRAIN_CREW_H
#define TEST_TRAIN_CREW_H

#include "support/support.h"
#include "train/comm.h"

enum { CREW_MAX = 5 };

// Runs work(ctx, number, comm) in `size` threads at once and waits for all. No cmocka assertion may be made in them: what
// they find is looked at afterwards.
typedef void (*crew_fn)(void *ctx, int rank, orion_comm *comm);
void crew_run(int size, crew_fn work, void *ctx);

#endif
