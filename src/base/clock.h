// Time for measurements: a monotonic clock in seconds, and the process's peak memory.
#ifndef ORION_BASE_CLOCK_H
#define ORION_BASE_CLOCK_H

double orion_now(void);        // seconds since some fixed point
double orion_peak_rss_mb(void);  // peak resident memory of this process, MiB (2^20)

#endif
