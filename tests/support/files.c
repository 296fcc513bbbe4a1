// Temporary directories and whole files.
#include "support/support.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

void test_temp_dir_create(char *out, size_t size) {
  const char *base = getenv("TMPDIR");
  int n = snprintf(out, size, "%s/orion-test-XXXXXX", base && *base ? base : P_tmpdir);
  if (n < 0 || (size_t)n >= size || !mkdtemp(out)) fail_msg("cannot make a temporary directory: %s", strerror(errno));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where) {
  (void)where;
  (void)st;
  if (type == FTW_DNR) chmod(path, 0700);
  return remove(path);
}

void test_temp_dir_remove(const char *dir) {
  if (nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0) fail_msg("%s: cannot remove: %s", dir, strerror(errno));
}

char *test_read_file(const char *path, size_t *out_size) {
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("%s: cannot open: %s", path, strerror(errno));
  size_t size = 0, cap = 65536;
  char *data = malloc(cap);
  for (;;) {
    if (!data) fail_msg("%s: out of memory", path);
    size_t n = fread(data + size, 1, cap - size - 1, f);
    size += n;
    if (n == 0) break;
    if (size == cap - 1) data = realloc(data, cap *= 2);
  }
  fclose(f);
  data[size] = 0;
  if (out_size) *out_size = size;
  return data;
}

void test_write_file(const char *path, const void *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  if (!f) fail_msg("%s: cannot create: %s", path, strerror(errno));
  bool bad = n && fwrite(bytes, 1, n, f) != n;
  bad |= fclose(f) != 0;
  if (bad) fail_msg("%s: cannot write", path);
}

void test_path(char *out, size_t size, const char *dir, const char *name) {
  int n = snprintf(out, size, "%s/%s", dir, name);
  if (n < 0 || (size_t)n >= size) fail_msg("%s/%s: path too long", dir, name);
}

size_t test_each_file(const char *dir, test_file_fn fn, void *ctx) {
  struct dirent **entries;
  int n = scandir(dir, &entries, NULL, alphasort);
  size_t files = 0;
  for (int i = 0; i < n; i++) {
    char path[TEST_PATH_MAX];
    struct stat st;
    test_path(path, sizeof path, dir, entries[i]->d_name);
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
      fn(ctx, path, entries[i]->d_name);
      files++;
    }
    free(entries[i]);
  }
  if (n >= 0) free(entries);
  return files;
}
