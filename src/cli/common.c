// What several commands share: devices by their options, JSON on one line, warnings, lists of ids.
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "device/cpu/cpu.h"
#include "text/utf8.h"
#include "train/comm.h"

orion_status cli_threads(const cli_args *a, int *out, orion_error *err) {
  int64_t threads = cli_int(a, "threads", 0);
  if (threads < 0 || threads > 1024) return CLI_USAGE(err, "--threads: %lld is not within 0 to 1024", (long long)threads);
  *out = (int)threads;
  return ORION_OK;
}

orion_status cli_refuse(const cli_args *a, const char *const *names, const char *why, orion_error *err) {
  for (; *names; names++) {
    if (cli_flag(a, *names)) return CLI_USAGE(err, "--%s: %s", *names, why);
  }
  return ORION_OK;
}

orion_status cli_open_device(const cli_args *a, orion_device **out, orion_error *err) {
  int threads;
  ORION_TRY(cli_threads(a, &threads, err));
  return cli_open_device_with(a, threads, out, err);
}

orion_status cli_open_device_with(const cli_args *a, int threads, orion_device **out, orion_error *err) {
  const char *precision = cli_text(a, "precision", NULL);
  ORION_TRY(orion_device_open(cli_text(a, "device", NULL), threads, NULL, out, err));
  return precision ? orion_cpu_set_precision(*out, precision, err) : ORION_OK;
}

void cli_print_json(json_t *object) {
  char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9));
  if (text) {
    puts(text);
    cli_free_json_text(text);
  }
  json_decref(object);
}

json_t *cli_json_text(const char *text) {
  orion_strbuf valid;
  orion_strbuf_init(&valid, NULL);
  for (size_t left = strlen(text), n; left; text += n, left -= n) {
    uint32_t c;
    n = orion_utf8_next((const uint8_t *)text, left, &c);
    orion_strbuf_add(&valid, n ? text : "\xEF\xBF\xBD", n ? n : 3);
    if (!n) n = 1;
  }
  json_t *value = json_stringn(orion_strbuf_text(&valid), valid.size);
  orion_strbuf_deinit(&valid);
  return value;
}

void cli_free_json_text(char *text) { free(text); }

void cli_warn(const char *format, ...) {
  fputs("orion: warning: ", stderr);
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
}

orion_status cli_path(char **out, orion_error *err, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, format, args);
  *out = n < 0 ? NULL : orion_alloc(NULL, (size_t)n + 1, 1);
  if (*out) vsnprintf(*out, (size_t)n + 1, format, again);
  va_end(again);
  va_end(args);
  return *out ? ORION_OK : ORION_OOM(err, "path");
}

bool cli_speaks(void) {
  int rank, size;
  return !orion_comm_launched(&rank, &size) || rank == 0;
}

bool cli_progress_wanted(const cli_args *a) { return !a->quiet && !a->json && isatty(STDERR_FILENO); }

orion_status cli_parse_ids(const char *text, const char *what, int32_t **out_ids, size_t *out_n, orion_error *err) {
  size_t cap = 1;
  for (const char *p = text; *p; p++) cap += *p == ',';
  int32_t *ids = orion_alloc(NULL, cap, sizeof *ids);
  if (!ids) return ORION_OOM(err, what);
  size_t n = 0;
  const char *p = text + strspn(text, " \t\r\n[");
  while (*p && *p != ']') {
    char *end;
    errno = 0;
    long v = strtol(p, &end, 10);
    if (end == p || errno || v < 0 || v > INT32_MAX) {
      orion_free(NULL, ids, cap, sizeof *ids);
      return CLI_USAGE(err, "%s: \"%.20s\" is no token id", what, p);
    }
    ids[n++] = (int32_t)v;
    p = end + strspn(end, " \t\r\n");
    if (*p && *p != ',' && *p != ']') {  // there is room for as many ids as commas part
      orion_free(NULL, ids, cap, sizeof *ids);
      return CLI_USAGE(err, "%s: \"%.20s\" follows an id without a comma", what, p);
    }
    if (*p == ',') p++;
    p += strspn(p, " \t\r\n");
  }
  if (*p == ']' && p[1 + strspn(p + 1, " \t\r\n")]) {
    orion_free(NULL, ids, cap, sizeof *ids);
    return CLI_USAGE(err, "%s: \"%.20s\" follows the list of ids", what, p + 1);
  }
  int32_t *exact = orion_alloc(NULL, n, sizeof *exact);
  if (exact) memcpy(exact, ids, n * sizeof *ids);
  orion_free(NULL, ids, cap, sizeof *ids);
  if (!exact) return ORION_OOM(err, what);
  *out_ids = exact;
  *out_n = n;
  return ORION_OK;
}

orion_status cli_read_text(const char *path, char **out_text, size_t *out_size, orion_error *err) {
  return orion_file_read(NULL, path, (size_t)1 << 30, out_text, out_size, err);
}
