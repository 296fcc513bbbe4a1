#ifndef DARWIN_FCNTL_H
#define DARWIN_FCNTL_H
#define O_WRONLY 1
#define O_RDWR 2
#define O_CREAT 0x200
#define O_EXCL 0x800
#define O_CLOEXEC 0x1000000
int open(const char *, int, ...);
#endif
