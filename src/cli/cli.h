// The command line: one table of options per command, one function per command. Commands print; they compute nothing that
// a C program could not have from liborion.
#ifndef ORION_CLI_CLI_H
#define ORION_CLI_CLI_H

#include <jansson.h>

#include "base/strbuf.h"
#include "orion/device.h"
#include "orion/status.h"

typedef enum cli_kind { CLI_FLAG, CLI_TEXT, CLI_INT, CLI_NUMBER } cli_kind;

typedef struct cli_option {
  const char *name;       // "temp" is --temp
  char letter;            // 'p' is -p; 0: none
  cli_kind kind;
  const char *value;      // what help calls the value: "N", "FILE"
  const char *help;
  bool many;              // may be given several times
} cli_option;

#define CLI_MAX_VALUES 1024  // a training set may lie in hundreds of files

typedef struct cli_value {
  const cli_option *option;
  const char *text;
} cli_value;

typedef struct cli_args {
  const struct cli_command *command;
  cli_value values[CLI_MAX_VALUES];
  size_t n_values;
  const char *rest[CLI_MAX_VALUES];  // what is no option
  size_t n_rest;
  bool json, quiet;
} cli_args;

typedef struct cli_command {
  const char *name;
  const char *synopsis;          // "-m MODEL -p TEXT"
  const char *summary;           // one line
  const char *example;
  const cli_option *options;     // ends with a NULL name; the common ones are added
  size_t min_rest, max_rest;     // operands
  orion_status (*run)(const cli_args *args, orion_error *err);
} cli_command;

// Values by option name. Missing options give the fallback; the parser has checked that numbers are numbers.
const char *cli_text(const cli_args *a, const char *name, const char *fallback);
int64_t cli_int(const cli_args *a, const char *name, int64_t fallback);
double cli_number(const cli_args *a, const char *name, double fallback);
bool cli_flag(const cli_args *a, const char *name);
const char *cli_nth(const cli_args *a, const char *name, size_t n);  // of an option given several times; NULL at the end

// Parses argv (after the command's name). ORION_INVALID names the argument.
orion_status cli_parse(const cli_command *command, int argc, char **argv, cli_args *out, orion_error *err);
void cli_help(const cli_command *command);

extern const char *const cli_commit;  // "unknown" where the build had no repository

// Wrong usage, found after parsing.
#define CLI_USAGE(err, ...) ORION_FAIL((err), ORION_INVALID, __VA_ARGS__)

// ---- what several commands share (common.c) ----
orion_status cli_open_device(const cli_args *a, orion_device **out, orion_error *err);  // --device, --threads, --precision
// The same with this number of threads, where --threads does not count.
orion_status cli_open_device_with(const cli_args *a, int threads, orion_device **out, orion_error *err);
orion_status cli_threads(const cli_args *a, int *out, orion_error *err);  // --threads, 0 where it is not given
// Wrong usage where one of these options (NULL ends them) is given: "--NAME: WHY".
orion_status cli_refuse(const cli_args *a, const char *const *names, const char *why, orion_error *err);
void cli_print_json(json_t *object);   // one line on stdout; takes the reference
json_t *cli_json_text(const char *text);  // of a path, say: what is no UTF-8 in it becomes U+FFFD, as JSON has no such strings
void cli_free_json_text(char *text);     // what json_dumps gave
void cli_warn(const char *format, ...) ORION_PRINTF(1, 2);  // "orion: warning: ..." on stderr
// A path as printf has it, of any length. Free with orion_strfree(NULL, path).
orion_status cli_path(char **out, orion_error *err, const char *format, ...) ORION_PRINTF(3, 4);
orion_status cli_own_path(char *out, size_t size, orion_error *err);  // of this program's file
// This command again, in this process: the options of `with` and those that `a` has, less those named in `without` (both end
// with NULL). Returns only where that fails.
orion_status cli_restart(const cli_args *a, const char *const *without, const char *const *with, orion_error *err);
bool cli_speaks(void);                   // false in all but the first of the processes that mpirun started
bool cli_progress_wanted(const cli_args *a);
// "1,2,3" (brackets and spaces allowed) as ids. Free with orion_free(NULL, ids, n, sizeof *ids).
orion_status cli_parse_ids(const char *text, const char *what, int32_t **out_ids, size_t *out_n, orion_error *err);
// The text of -p, or of the file of -f; free with orion_free(NULL, text, size + 1, 1).
orion_status cli_read_text(const char *path, char **out_text, size_t *out_size, orion_error *err);

#endif
