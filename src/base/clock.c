// The monotonic clock and the resource counters of POSIX.
#include "base/clock.h"

#include <sys/resource.h>
#include <time.h>

double orion_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double orion_peak_rss_mb(void) {
  struct rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#ifdef __APPLE__
  return (double)usage.ru_maxrss / (1024.0 * 1024.0);  // bytes there, KiB on Linux
#else
  return (double)usage.ru_maxrss / 1024.0;
#endif
}
