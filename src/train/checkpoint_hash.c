#include "train/checkpoint_hash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/alloc.h"

#define BLOCK ((size_t)1 << 20)

// In blocks, not mapped: pages of a large file would count as this process's memory.
static orion_status hash_blocks(int fd, const char *path, XXH3_state_t *state, void *block, orion_error *err) {
  for (;;) {
    ssize_t n = read(fd, block, BLOCK);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ORION_FAIL(err, ORION_IO, "%s: cannot read: %s", path, strerror(errno));
    if (n == 0) return ORION_OK;
    XXH3_128bits_update(state, block, (size_t)n);
  }
}

orion_status orion_file_hash(const char *path, char out[ORION_HASH_TEXT], orion_error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    orion_status code = errno == ENOENT || errno == ENOTDIR ? ORION_NOT_FOUND : ORION_IO;
    return ORION_FAIL(err, code, "%s: cannot open: %s", path, strerror(errno));
  }
  XXH3_state_t *state = XXH3_createState();
  void *block = orion_alloc(NULL, BLOCK, 1);
  orion_status status = state && block ? ORION_OK : ORION_OOM(err, path);
  if (status == ORION_OK) {
    XXH3_128bits_reset(state);
    status = hash_blocks(fd, path, state, block, err);
  }
  if (status == ORION_OK) {
    XXH128_hash_t h = XXH3_128bits_digest(state);
    snprintf(out, ORION_HASH_TEXT, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
  }
  orion_free(NULL, block, BLOCK, 1);
  XXH3_freeState(state);
  close(fd);
  return status;
}
