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
#include <xxhash.h>

#include "base/file.h"
#include "base/strbuf.h"

#define LOCK "orion.lock"
#define KEY "orion.key"

static bool below(char *out, size_t size, const char *dir, const char *name) {
  int n = snprintf(out, size, "%s/%s", dir, name);
  return n > 0 && (size_t)n < size;
}

static orion_status too_long(const char *path, orion_error *err) {
  return ORION_FAIL(err, ORION_LIMIT, "%s: a path of more than %d characters", path, ORION_ANE_PATH_MAX - 1);
}

static void remove_below(const char *path, int depth) {
  DIR *dir = depth < 8 ? opendir(path) : NULL;
  for (struct dirent *e; dir && (e = readdir(dir));) {
    char child[ORION_ANE_PATH_MAX];
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || !below(child, sizeof child, path, e->d_name)) continue;
    if (unlink(child) != 0) remove_below(child, depth + 1);
  }
  if (dir) closedir(dir);
  rmdir(path);
}

void orion_ane_remove_tree(const char *path) {
  if (*path) remove_below(path, 0);
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
  bool ok = below(file, sizeof file, path, "model.mil") && hash_file(hash, file);
  for (int i = 0; ok; i++) {
    char name[64];
    snprintf(name, sizeof name, i ? "weights/weight_%d.bin" : "weights/weight.bin", i);
    if (!below(file, sizeof file, path, name) || !orion_file_exists(file)) break;
    ok = hash_file(hash, file);
  }
  XXH128_hash_t digest = XXH3_128bits_digest(hash);
  XXH3_freeState(hash);
  if (!ok) return ORION_FAIL(err, ORION_IO, "%s: cannot be read back", path);
  snprintf(out, ORION_ANE_ID_MAX, "%016llx%016llx", (unsigned long long)digest.high64, (unsigned long long)digest.low64);
  return ORION_OK;
}

orion_status orion_ane_workdir_stage(const orion_allocator *a, const orion_program *p, const char *temporary, char *out_path,
                             char *out_content, orion_error *err) {
  if (!below(out_path, ORION_ANE_PATH_MAX, temporary, "orion-XXXXXX")) {
    *out_path = 0;
    return too_long(temporary, err);
  }
  if (!mkdtemp(out_path)) {
    orion_status status = ORION_FAIL(err, ORION_IO, "%s: cannot make a directory: %s", out_path, strerror(errno));
    *out_path = 0;
    return status;
  }
  // Small constants go into the text; files are few, since a program may have no more than 16.
  orion_status status = orion_mil_write_dir(p, out_path, NULL, err);
  if (status == ORION_OK) status = hash_dir(out_path, out_content, err);
  char lock[ORION_ANE_PATH_MAX];
  if (status == ORION_OK && !below(lock, sizeof lock, out_path, LOCK)) status = too_long(out_path, err);
  if (status == ORION_OK) status = orion_file_write(a, lock, "", 0, err);
  if (status == ORION_OK) return ORION_OK;
  orion_ane_remove_tree(out_path);
  *out_path = 0;
  return status;
}

// The text's build information gets one more entry: it means nothing to anybody, but the identity is a hash of the text.
orion_status orion_ane_workdir_stage_again(const orion_allocator *a, const char *path, int instance, orion_error *err) {
  char file[ORION_ANE_PATH_MAX];
  if (!below(file, sizeof file, path, "model.mil")) return too_long(path, err);
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

// ---- locks and keys ----

static int open_lock(const char *dir) {
  char path[ORION_ANE_PATH_MAX];
  return below(path, sizeof path, dir, LOCK) ? open(path, O_RDWR | O_CLOEXEC) : -1;
}

static bool key_is(const orion_allocator *a, const char *dir, const char *want) {
  char path[ORION_ANE_PATH_MAX];
  char *text;
  size_t size;
  if (!below(path, sizeof path, dir, KEY) || orion_file_read(a, path, 4096, &text, &size, NULL) != ORION_OK) return false;
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
  if (!below(path, sizeof path, w->path, KEY)) return too_long(w->path, err);
  key_text(text, sizeof text, content, key);
  return orion_file_write(a, path, text, strlen(text), err);
}

// Takes a directory that is there: 1 done, 0 it must give way to the staged one (and is gone), -1 others use it.
static int take_existing(const orion_allocator *a, const char *path, const char *content, const char *key,
                         orion_ane_workdir *out, bool *out_compiled) {
  char compiled[ORION_ANE_ID_MAX + 256], staged[ORION_ANE_ID_MAX + 256];
  key_text(compiled, sizeof compiled, content, key);
  key_text(staged, sizeof staged, content, NULL);
  int fd = open_lock(path);
  if (fd < 0) {  // somebody else's leavings
    orion_ane_remove_tree(path);
    return 0;
  }
  bool alone = flock(fd, LOCK_EX | LOCK_NB) == 0;
  *out_compiled = key_is(a, path, compiled);
  // Compiled by a process that is still there, or in the middle of it: the same files, so both may go on with them.
  if (*out_compiled || (!alone && key_is(a, path, staged))) {
    if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
      snprintf(out->path, sizeof out->path, "%s", path);
      out->lock = fd;
      return 1;
    }
    alone = false;
  }
  if (alone) orion_ane_remove_tree(path);
  close(fd);
  return alone ? 0 : -1;
}

// Renames the staged directory into place, locked. 1 done, 0 somebody was faster, -1 with `err`.
static int move_in(const orion_allocator *a, const char *from, const char *to, const char *content,
                   orion_ane_workdir *out, orion_error *err) {
  orion_ane_workdir staged = {.lock = open_lock(from)};
  snprintf(staged.path, sizeof staged.path, "%s", from);
  if (staged.lock < 0 || flock(staged.lock, LOCK_SH | LOCK_NB) != 0) {
    orion_error_set(err, ORION_IO, __FILE__, __LINE__, "%s: cannot be locked: %s", from, strerror(errno));
  } else if (orion_ane_workdir_mark(a, &staged, content, NULL, err) == ORION_OK) {
    if (rename(from, to) == 0) {
      *out = staged;
      snprintf(out->path, sizeof out->path, "%s", to);
      return 1;
    }
    bool faster = errno == ENOTEMPTY || errno == EEXIST;
    if (!faster) orion_error_set(err, ORION_IO, __FILE__, __LINE__, "%s: cannot be renamed to %s: %s", from, to, strerror(errno));
    close(staged.lock);
    return faster ? 0 : -1;
  }
  if (staged.lock >= 0) close(staged.lock);
  return -1;
}

orion_status orion_ane_workdir_claim(const orion_allocator *a, const char *from, const char *to, const char *content,
                                     const char *key, orion_ane_workdir *out, bool *out_compiled, orion_error *err) {
  *out = (orion_ane_workdir){.lock = -1};
  *out_compiled = false;
  if (strlen(to) >= sizeof out->path) return too_long(to, err);
  for (int attempt = 0; attempt < 3; attempt++) {
    int taken = orion_dir_exists(to) ? take_existing(a, to, content, key, out, out_compiled) : 0;
    if (taken > 0) {
      orion_ane_remove_tree(from);
      return ORION_OK;
    }
    if (taken < 0) break;
    int moved = move_in(a, from, to, content, out, err);
    if (moved > 0) return ORION_OK;
    if (moved < 0) return ORION_IO;
  }
  return ORION_FAIL(err, ORION_REFUSED, "%s: in use with another program", to);
}

void orion_ane_workdir_release(orion_ane_workdir *w, bool keep) {
  if (!*w->path) return;
  if (!keep && flock(w->lock, LOCK_EX | LOCK_NB) == 0) orion_ane_remove_tree(w->path);
  close(w->lock);
  *w = (orion_ane_workdir){.lock = -1};
}

// ---- sweeping ----

// Whether the directory is compiled for `key` and was used lately.
static bool wanted(const orion_allocator *a, const char *dir, const char *key, int days) {
  char path[ORION_ANE_PATH_MAX];
  struct stat info;
  if (!below(path, sizeof path, dir, KEY) || stat(path, &info) != 0) return false;
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
    if (e->d_name[0] == '.' || !below(path, sizeof path, temporary, e->d_name)) continue;
    int fd = open_lock(path);
    if (fd < 0) continue;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && !wanted(a, path, key, days)) orion_ane_remove_tree(path);
    close(fd);
  }
  if (dir) closedir(dir);
}
