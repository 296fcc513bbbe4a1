#ifndef DARWIN_DLFCN_H
#define DARWIN_DLFCN_H
#define RTLD_NOW 2
#define RTLD_LOCAL 4
void *dlopen(const char *, int);
void *dlsym(void *, const char *);
int dlclose(void *);
char *dlerror(void);
#endif
