// The cache of packed weights: mapped, so that a second start reads nothing but what it uses, and processes share pages.
//
//   DIR/KEY.panels   a page of header, then the contents
//
// Nothing in a file is believed. The file must be the user's own and closed to others, its header's hash must be right, its
// key and length those asked for, and the hash of the contents is computed anew each time: that reads them once, at the
// speed of memory, and brings them in for the first token. What fails is packed again and replaced. Files are renamed
// into place whole. They are not flushed: a crash may leave a damaged one, which is found out like any other.
//
// The key says what was packed (constants by the identity of their file, ir/data_key.c) and how; ORION_PANEL_LAYOUT stands
// for the code that packs, and grows with every change of what that writes (a test holds packed bytes against it).
#include "device/cpu/weight_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define HEADER_BYTES 16384          // a page of every system, so that contents begin on one
#define BLOCK_BYTES (512u << 10)    // of contents, hashed by one thread
#define TOUCH_SECONDS 3600          // how old a time of use may grow before it is written again
#define SUFFIX ".panels"

static const char magic[8] = {'o', 'r', 'i', 'o', 'n', 'w', 't', '\n'};

typedef struct header {  // in the machine's byte order: a foreign one fails the magic's or a hash's check
  char magic[8];
  uint64_t layout;
  orion_data_key key;
  uint64_t bytes, contents_hash;
  uint64_t header_hash;  // of all before
} header;

struct orion_weight_cache {
  const orion_allocator *allocator;
  char *dir;
  uint64_t limit;
  bool refused;  // the directory cannot be used: not tried again
};

// ---- where ----

static char *join(const orion_allocator *a, const char *dir, const char *rest) {
  return dir && *dir == '/' ? orion_path_join(a, dir, rest) : NULL;
}

static char *default_dir(const orion_allocator *a) {
  const char *own = getenv("ORION_CACHE");
  if (own && *own) return *own == '/' ? orion_strdup(a, own) : NULL;
#ifdef __APPLE__
  return join(a, getenv("HOME"), "Library/Caches/orion");
#else
  const char *xdg = getenv("XDG_CACHE_HOME");
  return xdg && *xdg == '/' ? join(a, xdg, "orion") : join(a, getenv("HOME"), ".cache/orion");
#endif
}

orion_status orion_weight_cache_open(const orion_allocator *a, const char *dir, uint64_t limit, orion_weight_cache **out,
                                     orion_error *err) {
  *out = NULL;
  char *path = dir ? orion_strdup(a, dir) : default_dir(a);
  if (!path) return dir ? ORION_OOM(err, "cache") : ORION_OK;
  orion_weight_cache *c = orion_alloc_zero(a, 1, sizeof *c);
  if (!c) {
    orion_strfree(a, path);
    return ORION_OOM(err, "cache");
  }
  *c = (orion_weight_cache){.allocator = a, .dir = path, .limit = limit};
  *out = c;
  return ORION_OK;
}

void orion_weight_cache_close(orion_weight_cache *c) {
  if (!c) return;
  orion_strfree(c->allocator, c->dir);
  orion_free(c->allocator, c, 1, sizeof *c);
}

static char *path_of(const orion_weight_cache *c, const orion_data_key *key) {
  char name[48];
  snprintf(name, sizeof name, "%016llx%016llx" SUFFIX, (unsigned long long)key->high, (unsigned long long)key->low);
  return orion_path_join(c->allocator, c->dir, name);
}

// Nobody else may write here.
static bool ours(const struct stat *st) { return st->st_uid == geteuid() && (st->st_mode & (S_IWGRP | S_IWOTH)) == 0; }

// ---- hashing ----

typedef struct hashing {
  const uint8_t *bytes;
  size_t n;
  uint64_t *hashes;  // of the blocks
} hashing;

static void hash_blocks(void *ctx, size_t begin, size_t end, int worker) {
  hashing *h = ctx;
  for (size_t i = begin; i < end; i++) {
    size_t at = i * BLOCK_BYTES, n = h->n - at < BLOCK_BYTES ? h->n - at : BLOCK_BYTES;
    h->hashes[i] = XXH3_64bits(h->bytes + at, n);
  }
}

static bool hash_contents(const orion_weight_cache *c, const void *bytes, size_t n, orion_pool *pool, uint64_t *out) {
  size_t blocks = (n + BLOCK_BYTES - 1) / BLOCK_BYTES;
  hashing h = {bytes, n, orion_alloc(c->allocator, blocks, sizeof *h.hashes)};
  if (!h.hashes) return false;
  orion_parallel_for(pool, blocks, 1, hash_blocks, &h);
  *out = XXH3_64bits(h.hashes, blocks * sizeof *h.hashes);
  orion_free(c->allocator, h.hashes, blocks, sizeof *h.hashes);
  return true;
}

static uint64_t hash_header(const header *h) { return XXH3_64bits(h, offsetof(header, header_hash)); }

// ---- finding ----

static bool map_file(const char *path, size_t bytes, orion_cached_weight *out) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return false;
  struct stat st;
  bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && ours(&st) && (uint64_t)st.st_size == HEADER_BYTES + bytes;
  void *map = ok ? mmap(NULL, HEADER_BYTES + bytes, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
  if (ok && time(NULL) - st.st_mtime > TOUCH_SECONDS) futimens(fd, NULL);  // used lately: not the first to go
  close(fd);
  if (map == MAP_FAILED) return false;
  *out = (orion_cached_weight){(const uint8_t *)map + HEADER_BYTES, map, HEADER_BYTES + bytes};
  return true;
}

static bool valid(const orion_weight_cache *c, const orion_cached_weight *w, const orion_data_key *key, size_t bytes,
                  orion_pool *pool) {
  header h;
  memcpy(&h, w->map, sizeof h);
  uint64_t contents;
  return memcmp(h.magic, magic, sizeof magic) == 0 && h.layout == ORION_PANEL_LAYOUT && h.header_hash == hash_header(&h) &&
         memcmp(&h.key, key, sizeof h.key) == 0 && h.bytes == bytes &&
         hash_contents(c, w->bytes, bytes, pool, &contents) && contents == h.contents_hash;
}

bool orion_weight_cache_find(orion_weight_cache *c, const orion_data_key *key, size_t bytes, orion_pool *pool,
                             orion_cached_weight *out) {
  *out = (orion_cached_weight){0};
  char *path = c ? path_of(c, key) : NULL;
  if (!path) return false;
  bool found = map_file(path, bytes, out);
  if (found && !valid(c, out, key, bytes, pool)) {
    orion_weight_cache_release(out);
    unlink(path);
    found = false;
  }
  orion_strfree(c->allocator, path);
  return found;
}

void orion_weight_cache_release(orion_cached_weight *w) {
  if (w->map) munmap(w->map, w->map_size);
  *w = (orion_cached_weight){0};
}

// ---- making room ----

static bool named_ours(const char *name) { return strlen(name) > 32 && strncmp(name + 32, SUFFIX, strlen(SUFFIX)) == 0; }

// Sum of the cache's files, and the one that was used longest ago.
static uint64_t survey(const orion_weight_cache *c, DIR *d, char *oldest, size_t size) {
  uint64_t total = 0;
  time_t least = 0;
  struct dirent *e;
  *oldest = 0;
  rewinddir(d);
  while ((e = readdir(d)) != NULL) {
    struct stat st;
    if (!named_ours(e->d_name) || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    total += (uint64_t)st.st_size;
    if (*oldest && st.st_mtime >= least) continue;
    least = st.st_mtime;
    snprintf(oldest, size, "%s", e->d_name);
  }
  return total;
}

static bool make_room(const orion_weight_cache *c, uint64_t bytes) {
  if (bytes > c->limit) return false;
  DIR *d = opendir(c->dir);
  struct stat st;
  if (!d) return false;
  char oldest[256];
  bool fits = fstat(dirfd(d), &st) == 0 && ours(&st);
  while (fits && survey(c, d, oldest, sizeof oldest) + bytes > c->limit) {
    fits = *oldest && unlinkat(dirfd(d), oldest, 0) == 0;
  }
  closedir(d);
  return fits;
}

// ---- storing ----

static bool write_file(orion_weight_cache *c, const char *path, const header *h, const void *contents, size_t bytes) {
  static const uint8_t zeros[HEADER_BYTES];
  orion_file_writer *w;
  orion_error ignored;
  if (orion_file_writer_open(c->allocator, path, &w, &ignored) != ORION_OK) return false;
  orion_file_writer_skip_flush(w);
  bool ok = orion_file_writer_put(w, h, sizeof *h, &ignored) == ORION_OK &&
            orion_file_writer_put(w, zeros, HEADER_BYTES - sizeof *h, &ignored) == ORION_OK &&
            orion_file_writer_put(w, contents, bytes, &ignored) == ORION_OK;
  if (ok) return orion_file_writer_commit(w, &ignored) == ORION_OK;
  orion_file_writer_abort(w);
  return false;
}

static bool usable(orion_weight_cache *c) {
  orion_error ignored;
  if (!c->refused) c->refused = orion_dir_make(c->dir, &ignored) != ORION_OK;
  return !c->refused;
}

bool orion_weight_cache_store(orion_weight_cache *c, const orion_data_key *key, const void *contents, size_t bytes,
                              orion_pool *pool) {
  header h = {.layout = ORION_PANEL_LAYOUT, .key = *key, .bytes = bytes};
  if (!c || !usable(c) || !make_room(c, HEADER_BYTES + bytes)) return false;
  if (!hash_contents(c, contents, bytes, pool, &h.contents_hash)) return false;
  memcpy(h.magic, magic, sizeof magic);
  h.header_hash = hash_header(&h);
  char *path = path_of(c, key);
  bool stored = path && write_file(c, path, &h, contents, bytes);
  orion_strfree(c->allocator, path);
  if (!stored) c->refused = true;
  return stored;
}
