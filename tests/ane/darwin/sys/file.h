#ifndef DARWIN_SYS_FILE_H
#define DARWIN_SYS_FILE_H
#define LOCK_SH 1
#define LOCK_EX 2
#define LOCK_NB 4
int flock(int, int);
#endif
