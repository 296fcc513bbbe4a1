#ifndef DARWIN_UNISTD_H
#define DARWIN_UNISTD_H
#include <stddef.h>
typedef long ssize_t;
typedef long long off_t;
int close(int);
int rmdir(const char *);
int unlink(const char *);
int rename(const char *, const char *);
ssize_t pwrite(int, const void *, size_t, off_t);
#endif
