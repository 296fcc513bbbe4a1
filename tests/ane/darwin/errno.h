#ifndef DARWIN_ERRNO_H
#define DARWIN_ERRNO_H
int *__error(void);
#define errno (*__error())
#define EEXIST 17
#define ENOTEMPTY 66
#endif
