// The machine's memory by sysconf; a container's bound from the files in which Linux says it (version 2 and 1 of control groups:
// inside a container these paths are its own).
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

// 0 where the file is not there or says "max".
static uint64_t read_bound(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  uint64_t bytes = 0;
  if (fscanf(file, "%" SCNu64, &bytes) != 1) bytes = 0;
  fclose(file);
  return bytes;
}

uint64_t orion_memory_limit(void) {
  static const char *const paths[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
  long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  uint64_t least = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
  for (int i = 0; i < 2; i++) {
    uint64_t bound = read_bound(paths[i]);
    if (bound && (!least || bound < least)) least = bound;
  }
  return least;
}
