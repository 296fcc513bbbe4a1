// Options: --name VALUE, --name=VALUE, -x VALUE, flags without value, "--" ends them. Unknown ones are errors.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const cli_option common[] = {
    {"device", 0, CLI_TEXT, "D", "cpu, cpu:isa=avx2, sim:ideal, sim:m4, ane, ... (see orion devices); default auto", false},
    {"threads", 0, CLI_INT, "N", "host threads; 0: one for each processor", false},
    {"json", 0, CLI_FLAG, NULL, "one JSON object on stdout and nothing else", false},
    {"quiet", 'q', CLI_FLAG, NULL, "no progress", false},
    {"help", 'h', CLI_FLAG, NULL, "this text", false},
    {0},
};

static const cli_option *find(const cli_option *list, const char *name, size_t n, char letter) {
  for (; list && list->name; list++) {
    if (letter ? list->letter == letter : strncmp(list->name, name, n) == 0 && list->name[n] == 0) return list;
  }
  return NULL;
}

static const cli_option *find_any(const cli_command *c, const char *name, size_t n, char letter) {
  const cli_option *o = find(c->options, name, n, letter);
  return o ? o : find(common, name, n, letter);
}

static orion_status check_int(const cli_option *o, const char *text, orion_error *err) {
  char *end;
  errno = 0;
  strtoll(text, &end, 10);
  if (!*text || *end) return CLI_USAGE(err, "--%s: \"%s\" is no whole number", o->name, text);
  return errno ? CLI_USAGE(err, "--%s: %s is out of range", o->name, text) : ORION_OK;
}

static bool is_number(const char *text) {
  char *end;
  errno = 0;
  double v = strtod(text, &end);
  return *text && !*end && errno == 0 && isfinite(v);
}

// Files and directories by what help calls the value. An empty name is most often a variable of the shell that is not set.
static bool names_a_file(const char *value) {
  return strstr(value, "FILE") || strstr(value, "DIR") || strstr(value, "PATH") || strstr(value, "MODEL") || strstr(value, "OUT");
}

static orion_status add_value(const cli_command *c, cli_args *out, const cli_option *o, const char *text,
                              orion_error *err) {
  if (o->kind == CLI_INT) ORION_TRY(check_int(o, text, err));
  if (o->kind == CLI_NUMBER && !is_number(text)) return CLI_USAGE(err, "--%s: \"%s\" is no finite number", o->name, text);
  if (!*text && o->kind == CLI_TEXT && names_a_file(o->value)) return CLI_USAGE(err, "--%s: the name is empty", o->name);
  for (size_t i = 0; i < out->n_values && !o->many; i++) {
    if (out->values[i].option == o) return CLI_USAGE(err, "--%s: given twice", o->name);
  }
  if (out->n_values == CLI_MAX_VALUES) return CLI_USAGE(err, "%s: too many options", c->name);
  out->values[out->n_values++] = (cli_value){o, text};
  return ORION_OK;
}

static orion_status parse_option(const cli_command *c, int argc, char **argv, int *at, cli_args *out,
                                 orion_error *err) {
  const char *arg = argv[*at];
  bool is_long = arg[1] == '-';
  const char *name = arg + (is_long ? 2 : 1), *equals = is_long ? strchr(name, '=') : NULL;
  size_t n = equals ? (size_t)(equals - name) : strlen(name);
  const cli_option *o = NULL;
  if (is_long) {
    o = find_any(c, name, n, 0);
  } else if (n == 1) {
    o = find_any(c, NULL, 0, name[0]);
  }
  if (!o) {
    return CLI_USAGE(err, "%.*s: no such option of orion %s (see orion %s --help)", (int)(n + (is_long ? 2 : 1)), arg,
                     c->name, c->name);
  }
  if (o->kind == CLI_FLAG) {
    if (equals) return CLI_USAGE(err, "--%s: takes no value", o->name);
    return add_value(c, out, o, "", err);
  }
  if (equals) return add_value(c, out, o, equals + 1, err);
  if (*at + 1 >= argc) return CLI_USAGE(err, "--%s: a value is missing (%s)", o->name, o->value);
  return add_value(c, out, o, argv[++*at], err);
}

orion_status cli_parse(const cli_command *c, int argc, char **argv, cli_args *out, orion_error *err) {
  *out = (cli_args){.command = c};
  bool options = true;
  for (int i = 0; i < argc; i++) {
    const char *arg = argv[i];
    if (options && strcmp(arg, "--") == 0) {
      options = false;
    } else if (options && arg[0] == '-' && arg[1]) {
      ORION_TRY(parse_option(c, argc, argv, &i, out, err));
    } else if (!*arg && !strstr(c->synopsis, "[TEXT]")) {
      return CLI_USAGE(err, "%s: an operand is empty (usage: orion %s %s)", c->name, c->name, c->synopsis);
    } else if (out->n_rest == CLI_MAX_VALUES) {
      return CLI_USAGE(err, "%s: too many operands", c->name);
    } else {
      out->rest[out->n_rest++] = arg;
    }
  }
  out->json = cli_flag(out, "json");
  out->quiet = cli_flag(out, "quiet");
  if (cli_flag(out, "help")) return ORION_OK;
  if (out->n_rest > c->max_rest) {
    return CLI_USAGE(err, "%s: \"%s\" is one operand too many (see orion %s --help)", c->name, out->rest[c->max_rest],
                     c->name);
  }
  if (out->n_rest < c->min_rest) {
    return CLI_USAGE(err, "%s: an operand is missing (usage: orion %s %s)", c->name, c->name, c->synopsis);
  }
  return ORION_OK;
}

const char *cli_nth(const cli_args *a, const char *name, size_t n) {
  for (size_t i = 0; i < a->n_values; i++) {
    if (strcmp(a->values[i].option->name, name) == 0 && n-- == 0) return a->values[i].text;
  }
  return NULL;
}

const char *cli_text(const cli_args *a, const char *name, const char *fallback) {
  const char *text = cli_nth(a, name, 0);
  return text ? text : fallback;
}

int64_t cli_int(const cli_args *a, const char *name, int64_t fallback) {
  const char *text = cli_nth(a, name, 0);
  return text ? strtoll(text, NULL, 10) : fallback;
}

double cli_number(const cli_args *a, const char *name, double fallback) {
  const char *text = cli_nth(a, name, 0);
  return text ? strtod(text, NULL) : fallback;
}

bool cli_flag(const cli_args *a, const char *name) { return cli_nth(a, name, 0) != NULL; }

static void print_options(const cli_option *list) {
  for (; list && list->name; list++) {
    char left[64];
    snprintf(left, sizeof left, "%c%c%s--%s%s%s", list->letter ? '-' : ' ', list->letter ? list->letter : ' ',
             list->letter ? ", " : "  ", list->name, list->value ? " " : "", list->value ? list->value : "");
    printf("  %-26s %s%s\n", left, list->help, list->many ? " (may be repeated)" : "");
  }
}

void cli_help(const cli_command *c) {
  printf("usage: orion %s%s%s\n\n%s\n\n", c->name, *c->synopsis ? " " : "", c->synopsis, c->summary);
  if (c->options && c->options->name) printf("options:\n");
  print_options(c->options);
  printf("common options:\n");
  print_options(common);
  printf("\nexample:\n  %s\n", c->example);
}
