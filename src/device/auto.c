// `--device auto`: the Neural Engine where one answers, else cpu.
//
// The Neural Engine is reached through private functions, which a new macOS may have changed so that calling them ends the
// process. Nobody who did not ask for it shall suffer that twice: before the first try a file is laid down in the temporary
// directory, and removed when a small program has come back with the right numbers. Where it still lies, the last try did not
// come back, and `auto` means cpu; `--device ane` goes on regardless.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "device/ane/canary.h"
#include "device/device.h"

static bool mark_path(char *out, size_t size) {
  const char *dir = getenv("TMPDIR");
  int n = snprintf(out, size, "%s/orion-ane-trial-%ld", dir && *dir ? dir : P_tmpdir, (long)getuid());
  return n > 0 && (size_t)n < size;
}

static bool may_be_there(void) {
  return getenv("ORION_ANE_FRAMEWORK") ||
         orion_dir_exists("/System/Library/PrivateFrameworks/AppleNeuralEngine.framework");
}

static bool try_engine(const orion_allocator *a, int threads, orion_device **out) {
  static const orion_device_options none = {0};
  char mark[1024];
  if (!may_be_there() || !mark_path(mark, sizeof mark) || orion_file_exists(mark)) return false;
  if (orion_file_write(a, mark, "", 0, NULL) != ORION_OK) return false;
  orion_device *d = NULL;
  bool answers = orion_device_ane.open(a, &none, threads, &d, NULL) == ORION_OK && orion_ane_answers(d, NULL) == ORION_OK;
  if (!answers) orion_device_close(d);
  if (answers) *out = d;
  unlink(mark);
  return answers;
}

static orion_status auto_open(const orion_allocator *a, const orion_device_options *options, int threads,
                              orion_device **out, orion_error *err) {
  static const orion_device_options none = {0};
  if (options->n || options->family) {
    return ORION_FAIL(err, ORION_INVALID, "device auto: it has no options (name the device)");
  }
  if (try_engine(a, threads, out)) return ORION_OK;
  return orion_device_cpu.open(a, &none, threads, out, err);
}

// A name for opening only: the device that comes out is another's.
const orion_device_vtable orion_device_auto = {.name = "auto", .open = auto_open};
