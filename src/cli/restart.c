// Starting this command anew in the same process id: for a run whose process has used up what its system gives it.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

#define NAME_MAX_BYTES 64

orion_status cli_own_path(char *out, size_t size, orion_error *err) {
#ifdef __APPLE__
  uint32_t n = (uint32_t)size;
  if (_NSGetExecutablePath(out, &n) == 0) return ORION_OK;
#else
  ssize_t n = readlink("/proc/self/exe", out, size - 1);
  if (n > 0 && (size_t)n < size - 1) {
    out[n] = 0;
    return ORION_OK;
  }
#endif
  return ORION_FAIL(err, ORION_IO, "the program's own file cannot be found");
}

static bool is_among(const char *name, const char *const *list) {
  while (*list && strcmp(*list, name) != 0) list++;
  return *list != NULL;
}

orion_status cli_restart(const cli_args *a, const char *const *without, const char *const *with, orion_error *err) {
  char path[4096], names[CLI_MAX_VALUES][NAME_MAX_BYTES];
  const char *argv[3 * CLI_MAX_VALUES + 16];
  size_t n = 0;
  ORION_TRY(cli_own_path(path, sizeof path, err));
  argv[n++] = "orion";
  argv[n++] = a->command->name;
  for (; *with && n < 10; with++) argv[n++] = *with;
  for (size_t i = 0; i < a->n_values; i++) {
    const cli_value *v = &a->values[i];
    if (is_among(v->option->name, without)) continue;
    snprintf(names[i], sizeof names[i], "--%s", v->option->name);
    argv[n++] = names[i];
    if (v->option->kind != CLI_FLAG) argv[n++] = v->text;
  }
  if (a->n_rest) argv[n++] = "--";
  for (size_t i = 0; i < a->n_rest; i++) argv[n++] = a->rest[i];
  argv[n] = NULL;
  fflush(stdout);
  execv(path, (char *const *)(uintptr_t)argv);
  return ORION_FAIL(err, ORION_IO, "%s: cannot start anew: %s", path, strerror(errno));
}
