// Finds the command, parses its options, runs it, and turns the status into an exit code and one line.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/commands.h"

static const cli_command *const commands[] = {
#define CLI_COMMAND(id) &cli_command_##id,
#include "cli/commands.inc"
#undef CLI_COMMAND
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static int exit_code(orion_status status) {
  switch (status) {
    case ORION_OK: return 0;
    case ORION_INVALID: return 2;
    case ORION_FORMAT: case ORION_NOT_FOUND: case ORION_UNSUPPORTED: return 3;
    case ORION_REFUSED: return 4;
    default: return 1;
  }
}

static void help(void) {
  printf("usage: orion COMMAND [OPTIONS]\n\n"
         "Compiles transformer language models to Apple Neural Engine programs and runs them.\n\ncommands:\n");
  for (int i = 0; i < N_COMMANDS; i++) printf("  %-12s %s\n", commands[i]->name, commands[i]->summary);
  printf("\norion COMMAND --help tells more of each, orion --version which build this is. Exit codes: 0 done,\n"
         "1 failed while running, 2 wrong usage, 3 bad input file, 4 the device or target refused the program.\n");
}

static int report(orion_status status, const orion_error *err) {
  if (status != ORION_OK) fflush(stdout);  // what was printed before comes before
  if (status != ORION_OK && err->message[0]) fprintf(stderr, "orion: error: %s\n", err->message);
  return exit_code(status);
}

// Where a standard file is closed, the next file that is opened would take its place, and what is printed would go into it:
// a log, a checkpoint. What stands there instead fails to be read or written, as a closed one does.
static void hold_standard_files(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

// After all that was printed. ferror: an earlier write failed, whose reason is gone.
static orion_status finish_output(orion_error *err) {
  errno = 0;
  bool flushed = fflush(stdout) == 0;
  if (flushed && !ferror(stdout)) return ORION_OK;
  const char *why = !flushed && errno ? strerror(errno) : "an earlier write failed";
  return ORION_FAIL(err, ORION_IO, "standard output: cannot write: %s", why);
}

int main(int argc, char **argv) {
  orion_error err = {0};
  hold_standard_files();
  signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files is then an error of writing, as a full disk is
  if (argc < 2) return report(CLI_USAGE(&err, "a command is missing (see orion --help)"), &err);
  const char *name = argv[1];
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
    help();
    return report(finish_output(&err), &err);
  }
  if (strcmp(name, "--version") == 0) {
    printf("orion " ORION_VERSION " %s\n", cli_commit);
    return report(finish_output(&err), &err);
  }
  for (int i = 0; i < N_COMMANDS; i++) {
    if (strcmp(commands[i]->name, name) != 0) continue;
    cli_args args;
    orion_status status = cli_parse(commands[i], argc - 2, argv + 2, &args, &err);
    if (status != ORION_OK && !cli_speaks()) return 0;  // the first process says it
    if (status == ORION_OK && cli_flag(&args, "help")) {
      cli_help(commands[i]);
      return report(finish_output(&err), &err);
    }
    if (status == ORION_OK) status = commands[i]->run(&args, &err);
    if (status == ORION_OK) status = finish_output(&err);
    return report(status, &err);
  }
  return report(CLI_USAGE(&err, "%s: there is no such command (see orion --help)", name), &err);
}
