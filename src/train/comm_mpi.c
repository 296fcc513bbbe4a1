// Processes that Open MPI's mpirun started. MPI's own errors end all processes (its default); it says why.
#include <mpi.h>

#include "base/alloc.h"
#include "train/comm.h"

static void all_to_all(void *ctx, const void *send, void *recv, size_t bytes) {
  MPI_Alltoall(send, (int)bytes, MPI_BYTE, recv, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
}

static void all_gather(void *ctx, const void *send, void *recv, size_t bytes) {
  MPI_Allgather(send, (int)bytes, MPI_BYTE, recv, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
}

static void finalize(void *ctx) { MPI_Finalize(); }

static const orion_comm_vtable mpi = {all_to_all, all_gather, finalize};

static int count_local(void) {
  MPI_Comm local;
  int n = 1;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local);
  MPI_Comm_size(local, &n);
  MPI_Comm_free(&local);
  return n;
}

orion_status orion_comm_open_launched(const orion_allocator *a, orion_comm **out, orion_error *err) {
  int provided, rank, size;
  if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS || provided < MPI_THREAD_FUNNELED) {
    return ORION_FAIL(err, ORION_DEVICE, "MPI cannot be started beside threads (another build of Open MPI?)");
  }
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return orion_comm_create(a, &mpi, NULL, rank, size, count_local(), out, err);
}
