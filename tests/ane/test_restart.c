// A process that has used up its compiles starts itself anew and goes on: programs compiled before come from disk. This
// program is that process; it is run by the test of the same name in test_cli.py. Usage: restart FILE: appends a line for
// each life, and compiles five programs with a budget of two.
#include <unistd.h>

#include "rig.h"

typedef struct life {
  char **argv;
  const char *log;
} life;

static void note(const char *log, const char *line) {
  FILE *f = fopen(log, "a");
  fprintf(f, "%s\n", line);
  fclose(f);
}

static void start_again(void *ctx) {
  const life *l = ctx;
  note(l->log, "exhausted");
  execv(l->argv[0], l->argv);
  note(l->log, "exec failed");
}

int main(int argc, char **argv) {
  life l = {argv, argv[1]};
  orion_error err = {0};
  orion_device *d;
  if (argc != 2 || orion_device_open("ane:compiles=2", 1, NULL, &d, &err) != ORION_OK) return 1;
  orion_device_on_exhausted(d, start_again, &l);
  for (int k = 0; k < 5; k++) {
    orion_program *p = rig_conv(k + 1);
    orion_executable *e;
    if (orion_device_compile(d, p, NULL, &e, &err) != ORION_OK) return 1;
    orion_executable_release(e);
    orion_program_destroy(p);
  }
  orion_device_usage usage;
  orion_device_usage_get(d, &usage);
  char line[64];
  snprintf(line, sizeof line, "done with %d compiles in this life", usage.compiles);
  note(l.log, line);
  orion_device_close(d);
  return 0;
}
