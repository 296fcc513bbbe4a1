// Files over POSIX calls: mmap for reading, a temporary file and rename for writing. What is no file cannot be renamed over
// (as root it could, and /dev/null would be gone): it is written to as it stands.
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static orion_status io_fail(orion_error *err, const char *path, const char *what) {
  int e = errno;
  orion_status code = e == ENOENT || e == ENOTDIR ? ORION_NOT_FOUND : ORION_IO;
  return ORION_FAIL(err, code, "%s: %s: %s", path, what, strerror(e));
}

// O_NONBLOCK: a named pipe that nobody writes to must not hang us before we see that it is one.
static orion_status open_regular(const char *path, int *out_fd, struct stat *out_stat, orion_error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return io_fail(err, path, "cannot open");
  struct stat st;
  orion_status status = ORION_OK;
  if (fstat(fd, &st) != 0) {
    status = io_fail(err, path, "cannot stat");
  } else if (!S_ISREG(st.st_mode)) {
    status = ORION_FAIL(err, ORION_NOT_FOUND, "%s: not a regular file", path);
  }
  if (status != ORION_OK) {
    close(fd);
    return status;
  }
  *out_fd = fd;
  *out_stat = st;
  return ORION_OK;
}

#define SETTLED_SECONDS 2  // file systems' clocks are no coarser

#ifdef __APPLE__
#define MODIFIED st_mtimespec
#define CHANGED st_ctimespec
#else
#define MODIFIED st_mtim
#define CHANGED st_ctim
#endif

// Of its device, inode, size and times of change, so that another content has another number. 0: it is changed so lately
// that its times might not show the next change.
static uint64_t identity_of(const struct stat *st) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0 || now.tv_sec - st->CHANGED.tv_sec < SETTLED_SECONDS) return 0;
  uint64_t parts[7] = {(uint64_t)st->st_dev, (uint64_t)st->st_ino, (uint64_t)st->st_size, (uint64_t)st->MODIFIED.tv_sec,
                       (uint64_t)st->MODIFIED.tv_nsec, (uint64_t)st->CHANGED.tv_sec, (uint64_t)st->CHANGED.tv_nsec};
  uint64_t h = 0;
  for (int i = 0; i < 7; i++) {  // splitmix64's finaliser over the running sum
    h += parts[i] + UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
    h ^= h >> 31;
  }
  return h ? h : 1;
}

orion_status orion_file_open_map(const char *path, orion_file_map *out, orion_error *err) {
  int fd;
  struct stat st;
  ORION_TRY(open_regular(path, &fd, &st, err));
  size_t size = (size_t)st.st_size;
  if (size == 0) {
    close(fd);
    *out = (orion_file_map){(const uint8_t *)"", 0, 0};
    return ORION_OK;
  }
  void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (data == MAP_FAILED) return io_fail(err, path, "cannot map");
  *out = (orion_file_map){data, size, identity_of(&st)};
  return ORION_OK;
}

void orion_file_close_map(orion_file_map *map) {
  if (map->size) munmap((void *)(uintptr_t)map->data, map->size);
  *map = (orion_file_map){0};
}

static orion_status read_stream(const orion_allocator *a, int fd, const char *path, size_t max, char **out_data,
                                size_t *out_size, orion_error *err) {
  char *data = NULL;
  size_t cap = 0, size = 0;
  orion_status status = ORION_OK;
  for (;;) {
    if (!ORION_GROW(a, &data, &cap, size + 65536)) {
      status = ORION_OOM(err, path);
      break;
    }
    ssize_t n = read(fd, data + size, cap - size - 1);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      status = io_fail(err, path, "cannot read");
      break;
    }
    if (n == 0) break;
    size += (size_t)n;
    if (size > max) {
      status = ORION_FAIL(err, ORION_LIMIT, "%s: larger than %zu bytes", path, max);
      break;
    }
  }
  if (status == ORION_OK) {  // hand out exactly size + 1 bytes, as the contract says
    char *exact = orion_strndup(a, data, size);
    if (exact) {
      *out_data = exact;
      *out_size = size;
    } else {
      status = ORION_OOM(err, path);
    }
  }
  orion_free(a, data, cap, 1);
  return status;
}

orion_status orion_file_read(const orion_allocator *a, const char *path, size_t max, char **out_data, size_t *out_size,
                             orion_error *err) {
  if (strcmp(path, "-") == 0) return read_stream(a, STDIN_FILENO, "standard input", max, out_data, out_size, err);
  int fd = open(path, O_RDONLY | O_CLOEXEC);  // a pipe is waited for
  if (fd < 0) return io_fail(err, path, "cannot open");
  struct stat st;
  orion_status status = ORION_OK;
  if (fstat(fd, &st) != 0) {
    status = io_fail(err, path, "cannot stat");
  } else if (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode)) {
    status = ORION_FAIL(err, ORION_NOT_FOUND, "%s: neither a regular file nor a pipe", path);
  } else if (S_ISREG(st.st_mode) && (size_t)st.st_size > max) {
    status = ORION_FAIL(err, ORION_LIMIT, "%s: %zu bytes, larger than %zu", path, (size_t)st.st_size, max);
  } else {
    status = read_stream(a, fd, path, max, out_data, out_size, err);
  }
  close(fd);
  return status;
}

struct orion_file_writer {
  const orion_allocator *allocator;
  char *path;
  char *temp;   // NULL: the bytes go to `path` itself
  size_t temp_size;
  int fd;
  bool lasting;  // flushed to the disk before it is renamed
  bool failed;  // a put failed: what is in the temporary file is not what the caller meant
};

static void writer_free(orion_file_writer *w) {
  if (w->fd >= 0) close(w->fd);
  orion_strfree(w->allocator, w->path);
  orion_free(w->allocator, w->temp, w->temp_size, 1);
  orion_free(w->allocator, w, 1, sizeof *w);
}

// Devices, pipes, sockets; and what a process has open by now: /dev/stdout is a link to it.
static bool is_stream(const char *path, const struct stat *st) {
  char link[8];
  ssize_t n = readlink(path, link, sizeof link);
  return !S_ISREG(st->st_mode) || (n > 6 && memcmp(link, "/proc/", 6) == 0);
}

// The process id keeps processes apart, the number the writers of one process (and what a crash left behind); O_EXCL
// refuses what somebody planted there. The new file is as private as the old one.
static orion_status make_temp(orion_file_writer *w, const struct stat *old, orion_error *err) {
  w->temp_size = strlen(w->path) + 48;
  w->temp = orion_alloc(w->allocator, w->temp_size, 1);
  if (!w->temp) return ORION_OOM(err, w->path);
  for (unsigned i = 0; i < 1000 && w->fd < 0; i++) {
    snprintf(w->temp, w->temp_size, "%s.tmp-%ld-%u", w->path, (long)getpid(), i);
    w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (w->fd < 0 && errno != EEXIST) break;
  }
  if (w->fd < 0) return io_fail(err, w->path, "cannot create");
  if (old) (void)!fchmod(w->fd, old->st_mode & 0777);  // some file systems know no modes
  return ORION_OK;
}

static orion_status open_writer(orion_file_writer *w, orion_error *err) {
  struct stat st;
  bool exists = stat(w->path, &st) == 0;
  if (exists && S_ISDIR(st.st_mode)) return ORION_FAIL(err, ORION_IO, "%s: is a directory (want the name of a file)", w->path);
  if (!exists || !is_stream(w->path, &st)) return make_temp(w, exists ? &st : NULL, err);
  w->fd = open(w->path, O_WRONLY | O_APPEND | O_CLOEXEC);
  return w->fd < 0 ? io_fail(err, w->path, "cannot open") : ORION_OK;
}

orion_status orion_file_writer_open(const orion_allocator *a, const char *path, orion_file_writer **out,
                                    orion_error *err) {
  a = orion_allocator_or_default(a);
  orion_file_writer *w = orion_alloc_zero(a, 1, sizeof *w);
  if (!w) return ORION_OOM(err, path);
  w->allocator = a;
  w->fd = -1;
  w->lasting = true;
  w->path = orion_strdup(a, path);
  orion_status status = w->path ? open_writer(w, err) : ORION_OOM(err, path);
  if (status == ORION_OK) {
    *out = w;
  } else {
    writer_free(w);
  }
  return status;
}

orion_status orion_file_writer_put(orion_file_writer *w, const void *bytes, size_t n, orion_error *err) {
  const char *p = bytes;
  while (n) {
    ssize_t done = write(w->fd, p, n < (1u << 30) ? n : (1u << 30));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) {
      w->failed = true;
      return io_fail(err, w->path, "cannot write");
    }
    p += done;
    n -= (size_t)done;
  }
  return ORION_OK;
}

orion_status orion_file_writer_put_at(orion_file_writer *w, uint64_t offset, const void *bytes, size_t n,
                                      orion_error *err) {
  const char *p = bytes;
  while (n) {
    ssize_t done = pwrite(w->fd, p, n < (1u << 30) ? n : (1u << 30), (off_t)offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) {
      w->failed = true;
      return io_fail(err, w->path, "cannot write");
    }
    p += done;
    offset += (uint64_t)done;
    n -= (size_t)done;
  }
  return ORION_OK;
}

static void sync_parent(const char *path) {
  // A rename is only durable once its directory is; failure to open it (exotic file systems) is no reason to fail.
  const char *slash = strrchr(path, '/');
  char dir[4096];
  size_t n = slash ? (size_t)(slash - path) : 0;
  if (n >= sizeof dir) return;
  if (slash && n == 0) n = 1;  // the root
  memcpy(dir, slash ? path : ".", slash ? n : 1);
  dir[slash ? n : 1] = 0;
  int fd = open(dir, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

void orion_file_writer_skip_flush(orion_file_writer *w) { w->lasting = false; }

orion_status orion_file_writer_commit(orion_file_writer *w, orion_error *err) {
  orion_status status = ORION_OK;
  if (w->failed) {
    status = ORION_FAIL(err, ORION_IO, "%s: not written: an earlier write failed", w->path);
  } else if (w->temp && w->lasting && fsync(w->fd) != 0) {
    status = io_fail(err, w->path, "cannot flush");
  }
  int fd = w->fd;
  w->fd = -1;
  if (close(fd) != 0 && status == ORION_OK) status = io_fail(err, w->path, "cannot close");
  if (status == ORION_OK && w->temp && rename(w->temp, w->path) != 0) status = io_fail(err, w->path, "cannot rename into place");
  if (status == ORION_OK && w->temp && w->lasting) {
    sync_parent(w->path);
  } else if (status != ORION_OK && w->temp) {
    unlink(w->temp);
  }
  writer_free(w);
  return status;
}

void orion_file_writer_abort(orion_file_writer *w) {
  if (!w) return;
  if (w->temp) unlink(w->temp);
  writer_free(w);
}

orion_status orion_file_write(const orion_allocator *a, const char *path, const void *bytes, size_t n,
                              orion_error *err) {
  orion_file_writer *w;
  ORION_TRY(orion_file_writer_open(a, path, &w, err));
  orion_status status = orion_file_writer_put(w, bytes, n, err);
  if (status != ORION_OK) {
    orion_file_writer_abort(w);
    return status;
  }
  return orion_file_writer_commit(w, err);
}

// ---- growing ----

struct orion_file_appender {
  const orion_allocator *allocator;
  int fd;
  off_t end;
  char *path;
};

orion_status orion_file_appender_open(const orion_allocator *a, const char *path, orion_file_appender **out,
                                      orion_error *err) {
  a = orion_allocator_or_default(a);
  orion_file_appender *f = orion_alloc_zero(a, 1, sizeof *f);
  if (!f) return ORION_OOM(err, path);
  *f = (orion_file_appender){a, -1, 0, orion_strdup(a, path)};
  if (f->path) f->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (f->fd >= 0) {
    *out = f;
    return ORION_OK;
  }
  orion_status status = f->path ? io_fail(err, path, "cannot create") : ORION_OOM(err, path);
  orion_file_appender_close(f);
  return status;
}

orion_status orion_file_appender_put(orion_file_appender *f, const void *bytes, size_t n, orion_error *err) {
  off_t at = f->end;
  for (size_t done = 0; done < n;) {
    ssize_t wrote = pwrite(f->fd, (const char *)bytes + done, n - done, at);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      int why = errno;
      bool cut = ftruncate(f->fd, f->end) == 0;
      return ORION_FAIL(err, ORION_IO, "%s: cannot write: %s%s", f->path, strerror(why), cut ? "" : " (what was begun stays in it)");
    }
    done += (size_t)wrote;
    at += wrote;
  }
  f->end = at;
  return ORION_OK;
}

void orion_file_appender_close(orion_file_appender *f) {
  if (!f) return;
  if (f->fd >= 0) close(f->fd);
  orion_strfree(f->allocator, f->path);
  orion_free(f->allocator, f, 1, sizeof *f);
}

bool orion_file_exists(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool orion_dir_exists(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

orion_status orion_dir_make(const char *path, orion_error *err) {
  char part[4096];
  size_t n = strlen(path);
  if (n == 0 || n >= sizeof part) return ORION_FAIL(err, ORION_INVALID, "%s: not a usable directory name (want 1 to 4095 bytes)", path);
  for (size_t i = 1; i <= n; i++) {
    if (path[i] != '/' && path[i] != 0) continue;
    memcpy(part, path, i);
    part[i] = 0;
    if (mkdir(part, 0777) != 0 && errno != EEXIST) return io_fail(err, part, "cannot make directory");
  }
  return orion_dir_exists(path) ? ORION_OK : ORION_FAIL(err, ORION_IO, "%s: exists and is no directory", path);
}

bool orion_path_ends(const char *path, const char *end) {
  size_t n = strlen(path), m = strlen(end);
  return n >= m && strcmp(path + n - m, end) == 0;
}

char *orion_path_join(const orion_allocator *a, const char *dir, const char *name) {
  size_t d = strlen(dir), n = strlen(name);
  bool slash = d && dir[d - 1] != '/';
  char *path = orion_alloc(a, d + slash + n + 1, 1);
  if (!path) return NULL;
  memcpy(path, dir, d);
  if (slash) path[d] = '/';
  memcpy(path + d + slash, name, n + 1);
  return path;
}
