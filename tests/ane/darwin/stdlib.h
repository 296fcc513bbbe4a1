#ifndef DARWIN_STDLIB_H
#define DARWIN_STDLIB_H
#include <stddef.h>
char *getenv(const char *);
char *mkdtemp(char *);
long strtol(const char *, char **, int);
unsigned long long strtoull(const char *, char **, int);
#endif
