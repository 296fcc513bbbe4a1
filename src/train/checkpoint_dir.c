#include "train/checkpoint_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// STEM-00000120 and nothing behind it: the step, else -1.
static int64_t step_of(const char *name, const char *stem) {
  size_t n = strlen(stem);
  if (strncmp(name, stem, n) != 0 || name[n] != '-') return -1;
  const char *digits = name + n + 1;
  size_t count = strspn(digits, "0123456789");
  if (count < 8 || count > 18 || digits[count]) return -1;
  return (int64_t)strtoll(digits, NULL, 10);
}

static int descending(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? 1 : x > y ? -1 : 0;
}

orion_status orion_checkpoint_list_read(const orion_allocator *a, const char *run, const char *stem,
                                        orion_checkpoint_list *out, orion_error *err) {
  *out = (orion_checkpoint_list){.allocator = a};
  DIR *dir = opendir(run);
  if (!dir) return ORION_FAIL(err, ORION_NOT_FOUND, "%s: cannot open directory: %s", run, strerror(errno));
  orion_status status = ORION_OK;
  for (struct dirent *e; status == ORION_OK && (e = readdir(dir));) {
    int64_t step = step_of(e->d_name, stem);
    if (step < 0) continue;
    if (!ORION_GROW(a, &out->steps, &out->cap, out->n + 1)) {
      status = ORION_OOM(err, run);
    } else {
      out->steps[out->n++] = step;
    }
  }
  closedir(dir);
  if (out->n) qsort(out->steps, out->n, sizeof *out->steps, descending);
  return status;
}

void orion_checkpoint_list_free(orion_checkpoint_list *list) {
  orion_free(list->allocator, list->steps, list->cap, sizeof *list->steps);
}

void orion_checkpoint_remove(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return;
  unlinkat(fd, ORION_CHECKPOINT_STATE, 0);
  DIR *dir = fdopendir(fd);
  if (!dir) {
    close(fd);
    return;
  }
  for (struct dirent *e; (e = readdir(dir));) {
    if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) unlinkat(dirfd(dir), e->d_name, 0);
  }
  closedir(dir);
  rmdir(path);
}

void orion_checkpoint_clean(const char *run) {
  DIR *dir = opendir(run);
  if (!dir) return;
  for (struct dirent *e; (e = readdir(dir));) {
    if (strncmp(e->d_name, ".writing-", 9) != 0 && strncmp(e->d_name, ".removed-", 9) != 0) continue;
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", run, e->d_name);
    if (n > 0 && (size_t)n < sizeof path) orion_checkpoint_remove(path);
  }
  closedir(dir);
}

orion_status orion_checkpoint_sync_dir(const char *dir, orion_error *err) {
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int bad = fd < 0 || fsync(fd) != 0;
  int e = errno;
  if (fd >= 0) close(fd);
  return bad ? ORION_FAIL(err, ORION_IO, "%s: cannot flush: %s", dir, strerror(e)) : ORION_OK;
}
