#ifndef DARWIN_DIRENT_H
#define DARWIN_DIRENT_H
#include <stdint.h>
typedef struct DIR DIR;
struct dirent { uint64_t d_ino, d_seekoff; uint16_t d_reclen, d_namlen; uint8_t d_type; char d_name[1024]; };
DIR *opendir(const char *);
struct dirent *readdir(DIR *);
int closedir(DIR *);
#endif
