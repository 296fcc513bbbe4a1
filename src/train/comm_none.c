// Built without MPI: several processes are refused, for each would train, and write, on its own.
#include "train/comm.h"

orion_status orion_comm_open_launched(const orion_allocator *a, orion_comm **out, orion_error *err) {
  int rank, size;
  if (!orion_comm_launched(&rank, &size) || size < 2) return ORION_OK;
  return ORION_FAIL(err, ORION_UNSUPPORTED, "train: started by mpirun as one of %d processes, but this orion is built without "
                    "MPI (install Open MPI's headers and configure with -Dmpi=enabled)", size);
}
