// orion fmt: the canonical form of a MIL text.
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/commands.h"
#include "mil/mil.h"

static const cli_option options[] = {
    {"check", 0, CLI_FLAG, NULL, "compare only: exit 1 if the file is not in canonical form", false},
    {"in-place", 'i', CLI_FLAG, NULL, "rewrite the file", false},
    {0},
};

static orion_status finish(const cli_args *a, const char *path, const char *text, size_t size, const orion_strbuf *out,
                           orion_error *err) {
  bool same = size == out->size && memcmp(text, out->data, size) == 0;
  if (a->json) {
    json_t *text_json = cli_flag(a, "check") || cli_flag(a, "in-place") ? NULL : json_stringn(out->data, out->size);
    cli_print_json(json_pack("{s:b, s:o}", "canonical", same, "text", text_json ? text_json : json_null()));  // not UTF-8: null
  } else if (!cli_flag(a, "check") && !cli_flag(a, "in-place")) {
    fwrite(out->data, 1, out->size, stdout);
  }
  if (cli_flag(a, "in-place") && !same) return orion_file_write(NULL, path, out->data, out->size, err);
  if (cli_flag(a, "check") && !same) {
    return ORION_FAIL(err, ORION_CANCELLED, "%s: not in canonical form (orion fmt %s%s)", path,
                      strcmp(path, "-") == 0 ? "" : "-i ", path);
  }
  return ORION_OK;
}

static orion_status run(const cli_args *a, orion_error *err) {
  const char *path = a->rest[0];
  if (cli_flag(a, "check") && cli_flag(a, "in-place")) return CLI_USAGE(err, "fmt: give --check or -i, not both");
  if (cli_flag(a, "in-place") && strcmp(path, "-") == 0) return CLI_USAGE(err, "fmt: -i wants a file, not standard input");
  char *text;
  size_t size;
  ORION_TRY(cli_read_text(path, &text, &size, err));
  orion_program *program = NULL;
  orion_strbuf out;
  orion_strbuf_init(&out, NULL);
  orion_status status = orion_mil_parse(NULL, text, size, path, &program, err);
  if (status == ORION_OK) status = orion_mil_print(program, &out, err);
  if (status == ORION_OK) status = finish(a, path, text, size, &out, err);
  orion_strbuf_deinit(&out);
  orion_program_destroy(program);
  orion_free(NULL, text, size + 1, 1);
  return status;
}

const cli_command cli_command_fmt = {
    "fmt", "FILE.mil", "Print a MIL text in canonical form.", "orion fmt -i model.mil", options, 1, 1, run};
