// Runs a fuzz target over the files of some folders, as an ordinary test: the corpus must stay harmless on machines
// without a fuzzer too. Arguments: folders of the source tree ("tests/...") or of the shared test data ("data/...").
// Each folder is one TAP case; a crash is reported by the missing cases, and the last line says at which file.
#include <sys/stat.h>

#include "fuzz/fuzz.h"
#include "support/support.h"

static void feed(void *ctx, const char *path, const char *name) {
  (void)ctx;
  size_t size;
  char *data = test_read_file(path, &size);
  printf("# %s\n", name);
  fflush(stdout);
  // The target gets exactly these bytes, so that reading past them is seen.
  uint8_t *exact = malloc(size ? size : 1);
  if (exact) {
    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
  }
  free(exact);
  free(data);
}

int main(int argc, char **argv) {
  printf("1..%d\n", argc);
  static const uint8_t nothing[1];
  LLVMFuzzerTestOneInput(nothing, 0);
  printf("ok 1 - no bytes at all\n");
  for (int i = 1; i < argc; i++) {
    char path[TEST_PATH_MAX];
    struct stat st;
    bool shared = strncmp(argv[i], "data/", 5) == 0, present = true;
    if (shared) {
      present = test_shared_path(path, sizeof path, argv[i]);
    } else {
      test_source_path(path, sizeof path, argv[i]);
      present = stat(path, &st) == 0;
    }
    if (present) {
      size_t files = test_each_file(path, feed, NULL);
      printf("%s %d - %s: %zu files\n", files ? "ok" : "not ok", i + 1, argv[i], files);
    } else {
      if (shared) printf("skipped: shared test data %s is missing (set ORION_SHARED)\n", argv[i]);
      printf("%s %d %s %s\n", shared ? "ok" : "not ok", i + 1, shared ? "# SKIP" : "-", argv[i]);
    }
    fflush(stdout);
  }
  return 0;
}
