#ifndef DARWIN_TIME_H
#define DARWIN_TIME_H
#include <stddef.h>
typedef long time_t;
struct timespec { time_t tv_sec; long tv_nsec; };
time_t time(time_t *);
int nanosleep(const struct timespec *, struct timespec *);
#endif
