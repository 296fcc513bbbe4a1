#include "device/ane/workdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/file.h"
#include "base/strbuf.h"

#define LOCK "orion.lock"
#define KEY "orion.key"

bool orion_ane_below(char *out, size_t size, const char *dir, const char *name) {
  int n = snprintf(out, size, "%s/%s", dir, name);
  return n > 0 && (size_t)n < size;
}

void orion_ane_weight_name(char *out, size_t size, size_t i) {
  snprintf(out, size, i ? "weights/weight_%zu.bin" : "weights/weight.bin", i);
}

static orion_status too_long(const char *path, orion_error *err) {
  return ORION_FAIL(err, ORION_LIMIT, "%s: a path of more than %d characters", path, ORION_ANE_PATH_MAX - 1);
}

static void remove_below(const char *path, int depth) {
  DIR *dir = depth < 8 ? opendir(path) : NULL;
  for (struct dirent *e; dir && (e = readdir(dir));) {
    char child[ORION_ANE_PATH_MAX];
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    if (!orion_ane_below(child, sizeof child, path, e->d_name)) continue;
    if (unlink(child) != 0) remove_below(child, depth + 1);
  }
  if (dir) closedir(dir);
  rmdir(path);
}

void orion_ane_remove_tree(const char *path) {
  if (*path) remove_below(path, 0);
}

// ---- locks ----

static bool lock_path(char *out, const char *dir) { return orion_ane_below(out, ORION_ANE_PATH_MAX, dir, LOCK); }

// The directory's lock, taken in the given way; -1 if there is none, it is held otherwise, or was removed meanwhile.
static int take_lock(const char *dir, int how) {
  char path[ORION_ANE_PATH_MAX];
  struct stat info;
  int fd = lock_path(path, dir) ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd >= 0 && flock(fd, how | LOCK_NB) == 0 && fstat(fd, &info) == 0 && info.st_nlink > 0) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

static bool has_lock(const char *dir) {
  char path[ORION_ANE_PATH_MAX];
  return lock_path(path, dir) && orion_file_exists(path);
}

// ---- staging ----

static bool hash_file(XXH3_state_t *hash, const char *path) {
  orion_file_map map;
  if (orion_file_open_map(path, &map, NULL) != ORION_OK) return false;
  XXH3_128bits_update(hash, map.data, map.size);
  orion_file_close_map(&map);
  return true;
}

static orion_status hash_dir(const char *path, char *out, orion_error *err) {
  XXH3_state_t *hash = XXH3_createState();
  if (!hash) return ORION_OOM(err, path);
  XXH3_128bits_reset(hash);
  char file[ORION_ANE_PATH_MAX];
  bool ok = orion_ane_below(file, sizeof file, path, "model.mil") && hash_file(hash, file);
  for (size_t i = 0; ok; i++) {
    char name[64];
    orion_ane_weight_name(name, sizeof name, i);
    if (!orion_ane_below(file, sizeof file, path, name) || !orion_file_exists(file)) break;
    ok = hash_file(hash, file);
  }
  XXH128_hash_t digest = XXH3_128bits_digest(hash);
  XXH3_freeState(hash);
  if (!ok) return ORION_FAIL(err, ORION_IO, "%s: cannot be read back", path);
  snprintf(out, ORION_ANE_ID_MAX, "%016llx%016llx", (unsigned long long)digest.high64, (unsigned long long)digest.low64);
  return ORION_OK;
}

// The lock gets its name when it is held: from then on those who sweep see the directory, and must not find it free.
static orion_status make_locked(const char *temporary, orion_ane_workdir *out, orion_error *err) {
  char path[ORION_ANE_PATH_MAX];
  if (!orion_ane_below(path, sizeof path, temporary, "orion-XXXXXX")) return too_long(temporary, err);
  if (!mkdtemp(path)) return ORION_FAIL(err, ORION_IO, "%s: cannot make a directory: %s", path, strerror(errno));
  memcpy(out->path, path, sizeof path);
  char fresh[ORION_ANE_PATH_MAX];
  if (!lock_path(path, out->path) || !orion_ane_below(fresh, sizeof fresh, out->path, LOCK ".new")) {
    return too_long(out->path, err);
  }
  out->lock = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  bool held = out->lock >= 0 && flock(out->lock, LOCK_SH | LOCK_NB) == 0 && rename(fresh, path) == 0;
  return held ? ORION_OK : ORION_FAIL(err, ORION_IO, "%s: cannot be locked: %s", path, strerror(errno));
}

orion_status orion_ane_workdir_stage(const orion_allocator *a, const orion_program *p, const char *temporary,
                                     orion_ane_workdir *out, char *out_content, orion_error *err) {
  *out = (orion_ane_workdir){.lock = -1};
  orion_status status = make_locked(temporary, out, err);
  // Small constants go into the text; files are few, since a program may have no more than 16.
  if (status == ORION_OK) status = orion_mil_write_dir(p, out->path, NULL, err);
  if (status == ORION_OK) status = hash_dir(out->path, out_content, err);
  if (status != ORION_OK) orion_ane_workdir_release(out, false);
  return status;
}

// The text's build information gets one more entry: it means nothing to anybody, but the identity is a hash of the text.
orion_status orion_ane_workdir_stage_again(const orion_allocator *a, const orion_ane_workdir *w, int instance,
                                           orion_error *err) {
  char file[ORION_ANE_PATH_MAX];
  if (!orion_ane_below(file, sizeof file, w->path, "model.mil")) return too_long(w->path, err);
  char *text;
  size_t size;
  ORION_TRY(orion_file_read(a, file, SIZE_MAX / 4, &text, &size, err));
  static const char *const mark = "[buildInfo = dict<string, string>({";
  char *at = strstr(text, mark), *brace = strchr(text, '{');
  orion_strbuf b;
  orion_strbuf_init(&b, a);
  if (at) {
    at += strlen(mark);
    orion_strbuf_add(&b, text, (size_t)(at - text));
    orion_strbuf_addf(&b, "{\"orion-instance\", \"%d\"}%s", instance, *at == '{' ? ", " : "");
    orion_strbuf_adds(&b, at);
  } else if (brace) {
    orion_strbuf_add(&b, text, (size_t)(brace - text));
    orion_strbuf_addf(&b, "%s{\"orion-instance\", \"%d\"}})]\n", mark, instance);
    orion_strbuf_adds(&b, brace);
  }
  orion_status status = at || brace ? orion_strbuf_status(&b, err)
                                    : ORION_FAIL(err, ORION_INTERNAL, "%s: is no program", file);
  if (status == ORION_OK) status = orion_file_write(a, file, b.data, b.size, err);
  orion_strbuf_deinit(&b);
  orion_free(a, text, size + 1, 1);
  return status;
}

// ---- keys ----

static bool key_is(const orion_allocator *a, const char *dir, const char *want) {
  char path[ORION_ANE_PATH_MAX];
  char *text;
  size_t size;
  if (!orion_ane_below(path, sizeof path, dir, KEY)) return false;
  if (orion_file_read(a, path, 4096, &text, &size, NULL) != ORION_OK) return false;
  bool same = strcmp(text, want) == 0;
  orion_free(a, text, size + 1, 1);
  return same;
}

// "content\nstate\n": the state is the key of what was compiled, or "staged".
static void key_text(char *out, size_t size, const char *content, const char *key) {
  snprintf(out, size, "%s\n%s\n", content, key ? key : "staged");
}

orion_status orion_ane_workdir_mark(const orion_allocator *a, const orion_ane_workdir *w, const char *content,
                                    const char *key, orion_error *err) {
  char path[ORION_ANE_PATH_MAX], text[ORION_ANE_ID_MAX + 256];
  if (!orion_ane_below(path, sizeof path, w->path, KEY)) return too_long(w->path, err);
  key_text(text, sizeof text, content, key);
  return orion_file_write(a, path, text, strlen(text), err);
}

// Takes a directory that is there: 1 done, 0 it must give way to the staged one (and is gone), -1 others use it.
static int take_existing(const orion_allocator *a, const char *path, const char *content, const char *key, int *out_lock,
                         bool *out_compiled) {
  char compiled[ORION_ANE_ID_MAX + 256], staged[ORION_ANE_ID_MAX + 256];
  key_text(compiled, sizeof compiled, content, key);
  key_text(staged, sizeof staged, content, NULL);
  if (!has_lock(path)) {  // somebody else's leavings
    orion_ane_remove_tree(path);
    return 0;
  }
  int fd = take_lock(path, LOCK_EX);
  bool alone = fd >= 0;
  if (!alone) fd = take_lock(path, LOCK_SH);
  if (fd < 0) return orion_dir_exists(path) ? -1 : 0;
  *out_compiled = key_is(a, path, compiled);
  // Compiled by a process that is still there, or in the middle of it: the same files, so both may go on with them.
  if ((*out_compiled || (!alone && key_is(a, path, staged))) && flock(fd, LOCK_SH | LOCK_NB) == 0) {
    *out_lock = fd;
    return 1;
  }
  if (alone) orion_ane_remove_tree(path);
  close(fd);
  return alone ? 0 : -1;
}

orion_status orion_ane_workdir_claim(const orion_allocator *a, orion_ane_workdir *w, const char *to, const char *content,
                                     const char *key, bool *out_compiled, orion_error *err) {
  *out_compiled = false;
  if (strlen(to) >= sizeof w->path) return too_long(to, err);
  ORION_TRY(orion_ane_workdir_mark(a, w, content, NULL, err));
  for (int attempt = 0; attempt < 3; attempt++) {  // somebody else may be at it at the same time
    int lock, taken = orion_dir_exists(to) ? take_existing(a, to, content, key, &lock, out_compiled) : 0;
    if (taken < 0) break;
    if (taken > 0) {
      orion_ane_workdir_release(w, false);
      w->lock = lock;
    } else if (rename(w->path, to) != 0) {
      if (errno == ENOTEMPTY || errno == EEXIST) continue;
      return ORION_FAIL(err, ORION_IO, "%s: cannot be renamed to %s: %s", w->path, to, strerror(errno));
    }
    snprintf(w->path, sizeof w->path, "%s", to);
    return ORION_OK;
  }
  return ORION_FAIL(err, ORION_REFUSED, "%s: in use with another program", to);
}

void orion_ane_workdir_release(orion_ane_workdir *w, bool keep) {
  if (!*w->path) return;
  if (!keep && (w->lock < 0 || flock(w->lock, LOCK_EX | LOCK_NB) == 0)) orion_ane_remove_tree(w->path);
  if (w->lock >= 0) close(w->lock);
  *w = (orion_ane_workdir){.lock = -1};
}

// ---- sweeping ----

// Whether the directory is compiled for `key` and was used lately, or is only just being made.
static bool wanted(const orion_allocator *a, const char *dir, const char *key, int days) {
  char path[ORION_ANE_PATH_MAX];
  struct stat info;
  if (!orion_ane_below(path, sizeof path, dir, KEY)) return false;
  if (stat(path, &info) != 0) return stat(dir, &info) == 0 && time(NULL) - info.st_mtime < 3600;
  if (time(NULL) - info.st_mtime > (time_t)days * 24 * 3600) return false;
  char *text;
  size_t size;
  if (orion_file_read(a, path, 4096, &text, &size, NULL) != ORION_OK) return false;
  const char *line = strchr(text, '\n');
  size_t n = strlen(key);
  bool same = line && strncmp(line + 1, key, n) == 0 && line[1 + n] == '\n';
  orion_free(a, text, size + 1, 1);
  return same;
}

void orion_ane_sweep(const orion_allocator *a, const char *temporary, const char *key, int days) {
  DIR *dir = opendir(temporary);
  for (struct dirent *e; dir && (e = readdir(dir));) {
    char path[ORION_ANE_PATH_MAX];
    if (e->d_name[0] == '.' || !orion_ane_below(path, sizeof path, temporary, e->d_name) || !has_lock(path)) continue;
    int fd = take_lock(path, LOCK_EX);
    if (fd < 0) continue;
    if (!wanted(a, path, key, days)) orion_ane_remove_tree(path);
    close(fd);
  }
  if (dir) closedir(dir);
}

// How many directories of ours there are, and the oldest that nobody holds ("" if all are held).
static int find_oldest(const char *temporary, char *out) {
  DIR *dir = opendir(temporary);
  int n = 0;
  time_t oldest = 0;
  *out = 0;
  for (struct dirent *e; dir && (e = readdir(dir));) {
    char path[ORION_ANE_PATH_MAX], key[ORION_ANE_PATH_MAX];
    struct stat info;
    if (e->d_name[0] == '.' || !orion_ane_below(path, sizeof path, temporary, e->d_name) || !has_lock(path)) continue;
    n++;
    if (!orion_ane_below(key, sizeof key, path, KEY) || stat(key, &info) != 0 || (*out && info.st_mtime >= oldest)) continue;
    int fd = take_lock(path, LOCK_EX);
    if (fd < 0) continue;
    close(fd);
    oldest = info.st_mtime;
    memcpy(out, path, sizeof path);
  }
  if (dir) closedir(dir);
  return n;
}

void orion_ane_trim(const char *temporary, int most) {
  char path[ORION_ANE_PATH_MAX];
  while (find_oldest(temporary, path) > most && *path) {
    int fd = take_lock(path, LOCK_EX);
    if (fd < 0) return;
    orion_ane_remove_tree(path);
    close(fd);
  }
}
