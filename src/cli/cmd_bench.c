// orion bench: measurements as a table or as JSON, kept in a file, and put beside those of another day.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "bench/bench.h"
#include "cli/commands.h"

#define NOTABLE 0.05  // a change beyond this, and beyond both spreads, is pointed out

static const cli_option options[] = {
    {"model", 'm', CLI_TEXT, "MODEL", "infer, prefill, train, update: what to run; kernels: whose shapes", false},
    {"weights", 0, CLI_TEXT, "T", "fp16 (default), fp32, int8 or int4", false},
    {"precision", 0, CLI_TEXT, "P", "exact (default) or fast", false},
    {"ctx", 0, CLI_INT, "N", "positions at most; default: the model's; train, update: tokens of a sequence", false},
    {"prompt-tokens", 0, CLI_INT, "N", "infer: of the prompt before the first token; default 32", false},
    {"new", 'n', CLI_INT, "N", "infer: tokens decoded at a time; default 16", false},
    {"at", 0, CLI_INT, "N", "infer: decode at this position; default 32 and 900", true},
    {"length", 0, CLI_INT, "N", "prefill: tokens of a prompt; default 32, 128 and 512", true},
    {"batch", 0, CLI_INT, "N", "train, update: sequences at once; default 1", false},
    {"accum", 0, CLI_INT, "N", "train, update: batches of a step; default 4", false},
    {"activations", 0, CLI_TEXT, "T", "train: how what backward reads is kept: fp32 (default) or bf16", false},
    {"recompute", 0, CLI_TEXT, "R", "train: what backward computes again: none (default), cheap or most", false},
    {"repeat", 0, CLI_INT, "N", "samples of each figure; default 15", false},
    {"quick", 0, CLI_FLAG, NULL, "3 samples and small blocks: to try the command", false},
    {"save", 0, CLI_TEXT, "FILE", "write the figures as JSON", false},
    {"compare", 0, CLI_TEXT, "FILE", "put the figures beside saved ones", false},
    {0},
};

static const struct {
  const char *name;
  orion_status (*run)(const orion_bench_options *, orion_bench_report *, orion_error *);
  bool needs_model;
} kinds[] = {
    {"infer", orion_bench_infer, true},
    {"prefill", orion_bench_prefill, true},
    {"kernels", orion_bench_kernels, false},
    {"train", orion_bench_train, true},
    {"update", orion_bench_update, true},
    {"dispatch", orion_bench_dispatch, false},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

// ---- options --------------------------------------------------------------------------------------------------------

static orion_status in_range(const cli_args *a, const char *name, int64_t fallback, int64_t least, int64_t *out,
                             orion_error *err) {
  *out = cli_int(a, name, fallback);
  if (*out >= least && *out <= 1 << 20) return ORION_OK;
  return CLI_USAGE(err, "--%s: %lld is not within %lld to %d", name, (long long)*out, (long long)least, 1 << 20);
}

// Options that would say nothing to this bench, and so may be meant for another.
static orion_status refuse_others(const cli_args *a, int kind, orion_error *err) {
  static const struct {
    const char *option, *of;
  } about[] = {{"prompt-tokens", "infer"}, {"new", "infer"}, {"at", "infer"}, {"length", "prefill"},
               {"batch", "train and update"}, {"accum", "train and update"}, {"recompute", "train"}, {"activations", "train"}};
  for (size_t i = 0; i < sizeof about / sizeof *about; i++) {
    if (!cli_flag(a, about[i].option) || strstr(about[i].of, kinds[kind].name)) continue;
    return CLI_USAGE(err, "--%s: is about bench %s, not %s", about[i].option, about[i].of, kinds[kind].name);
  }
  return ORION_OK;
}

static orion_status read_options(const cli_args *a, int kind, orion_bench_options *out, orion_error *err) {
  *out = (orion_bench_options){.model = cli_text(a, "model", NULL), .device = cli_text(a, "device", NULL),
                               .weights = cli_text(a, "weights", NULL),
                               .precision = cli_text(a, "precision", NULL), .quick = cli_flag(a, "quick"),
                               .recompute = cli_text(a, "recompute", NULL),
                               .activations = cli_text(a, "activations", NULL)};
  ORION_TRY(refuse_others(a, kind, err));
  if (kinds[kind].needs_model && !out->model) return CLI_USAGE(err, "bench %s: -m MODEL is missing", kinds[kind].name);
  int64_t repeat;
  ORION_TRY(cli_threads(a, &out->threads, err));
  ORION_TRY(in_range(a, "repeat", out->quick ? 3 : 15, 1, &repeat, err));
  if (repeat > 1000) return CLI_USAGE(err, "--repeat: %lld is not within 1 to 1000", (long long)repeat);
  out->repeat = (int)repeat;
  ORION_TRY(in_range(a, "prompt-tokens", 32, 1, &out->prompt_tokens, err));
  ORION_TRY(in_range(a, "new", out->quick ? 4 : 16, 1, &out->new_tokens, err));
  if (cli_flag(a, "ctx")) ORION_TRY(in_range(a, "ctx", 0, 1, &out->context, err));
  ORION_TRY(in_range(a, "batch", 1, 1, &out->batch, err));
  ORION_TRY(in_range(a, "accum", 4, 1, &out->accum, err));
  const char *list = strcmp(kinds[kind].name, "prefill") == 0 ? "length" : "at", *text;
  while ((text = cli_nth(a, list, out->n_at))) {
    if (out->n_at == ORION_BENCH_MOST) return CLI_USAGE(err, "--%s: given more than %d times", list, ORION_BENCH_MOST);
    out->at[out->n_at++] = strtoll(text, NULL, 10);
  }
  return ORION_OK;
}

static orion_status find_kind(const cli_args *a, int *out, orion_error *err) {
  for (*out = 0; *out < N_KINDS; ++*out) {
    if (strcmp(a->rest[0], kinds[*out].name) == 0) return ORION_OK;
  }
  return CLI_USAGE(err, "bench: \"%s\" is none of infer, prefill, kernels, train, update and dispatch", a->rest[0]);
}

// ---- figures as JSON ------------------------------------------------------------------------------------------------

static json_t *machine_json(const orion_bench_machine *m) {
  return json_pack("{s:s, s:i, s:s, s:f, s:[f,f,f]}", "processor", m->processor, "processors", m->processors, "level",
                   m->level, "cache_mb", (double)m->cache_bytes / 1048576, "load", m->load[0], m->load[1], m->load[2]);
}

// The options as given, so that another run can be the same.
static json_t *command_json(const cli_args *a) {
  json_t *list = json_pack("[s,s,s]", "orion", "bench", a->rest[0]);
  for (size_t i = 0; i < a->n_values; i++) {
    const cli_option *o = a->values[i].option;
    if (strcmp(o->name, "json") == 0 || strcmp(o->name, "save") == 0 || strcmp(o->name, "compare") == 0) continue;
    char name[64];
    snprintf(name, sizeof name, "--%s", o->name);
    json_array_append_new(list, json_string(name));
    if (o->kind != CLI_FLAG) json_array_append_new(list, cli_json_text(a->values[i].text));
  }
  return list;
}

static json_t *figure_json(const orion_bench_figure *f) {
  json_t *object = json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:I}", "name", f->name, "unit", f->unit, "median",
                             f->stat.median, "low", f->stat.low, "high", f->stat.high, "best", f->stat.best, "samples",
                             (json_int_t)f->stat.samples);
  if (f->ceiling) {
    json_object_set_new(object, "ceiling", json_string(f->ceiling));
    json_object_set_new(object, "fraction", json_real(f->fraction));
    json_object_set_new(object, "best_fraction", json_real(f->best_fraction));
  }
  return object;
}

static json_t *report_json(const cli_args *a, const orion_bench_machine *m, const orion_bench_report *r) {
  json_t *figures = json_array();
  for (size_t i = 0; i < r->n; i++) json_array_append_new(figures, figure_json(&r->figures[i]));
  return json_pack("{s:s, s:s, s:s, s:o, s:o, s:s, s:i, s:o}", "bench", a->rest[0], "version", ORION_VERSION, "commit",
                   cli_commit, "command", command_json(a), "machine", machine_json(m), "device", r->device, "threads",
                   r->threads, "figures", figures);
}

static orion_status save(const json_t *report, const char *path, orion_error *err) {
  char *text = json_dumps(report, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
  if (!text) return ORION_OOM(err, path);
  orion_status status = orion_file_write(NULL, path, text, strlen(text), err);
  cli_free_json_text(text);
  return status;
}

// ---- beside another day's ---------------------------------------------------------------------------------------------

static orion_status read_saved(const cli_args *a, json_t **out, orion_error *err) {
  *out = NULL;
  const char *path = cli_text(a, "compare", NULL);
  if (!path) return ORION_OK;
  char *text;
  size_t size;
  ORION_TRY(orion_file_read(NULL, path, (size_t)16 << 20, &text, &size, err));
  json_error_t error;
  json_t *saved = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
  orion_free(NULL, text, size + 1, 1);
  if (!saved) return ORION_FAIL(err, ORION_FORMAT, "%s:%d:%d: %s", path, error.line, error.column, error.text);
  const char *bench = json_string_value(json_object_get(saved, "bench"));
  if (!bench || !json_is_array(json_object_get(saved, "figures"))) {
    json_decref(saved);
    return ORION_FAIL(err, ORION_FORMAT, "%s: no figures are in it (give a file that --save wrote)", path);
  }
  if (strcmp(bench, a->rest[0]) != 0) {
    orion_status status = CLI_USAGE(err, "%s: holds figures of bench %.32s, not of %s", path, bench, a->rest[0]);
    json_decref(saved);
    return status;
  }
  *out = saved;
  return ORION_OK;
}

static const json_t *find_saved(const json_t *saved, const char *name) {
  size_t i;
  json_t *f;
  json_array_foreach(json_object_get(saved, "figures"), i, f) {
    const char *found = json_string_value(json_object_get(f, "name"));
    if (found && strcmp(found, name) == 0) return f;
  }
  return NULL;
}

static double number(const json_t *object, const char *key) {
  const json_t *v = json_object_get(object, key);
  return json_is_number(v) ? json_number_value(v) : NAN;
}

// Adds what was saved, the change in per cent, and a note where it is large and the spreads do not touch.
static void compare(json_t *figure, const orion_bench_figure *f, const json_t *saved) {
  double old = number(saved, "median"), low = number(saved, "low"), high = number(saved, "high");
  if (!(fabs(old) > 0) || isnan(low) || isnan(high)) return;
  double change = f->stat.median / old - 1;
  bool apart = f->stat.low > high || f->stat.high < low, notable = fabs(change) > NOTABLE && apart;
  json_object_set_new(figure, "saved", json_real(old));
  json_object_set_new(figure, "change_percent", json_real(100 * change));
  const char *note = !notable ? "" : (change > 0) == f->more_is_better ? "better" : "worse";
  json_object_set_new(figure, "note", json_string(note));
}

static void compare_all(json_t *report, const orion_bench_report *r, const json_t *saved) {
  json_t *figures = json_object_get(report, "figures");
  for (size_t i = 0; i < r->n; i++) {
    const json_t *old = find_saved(saved, r->figures[i].name);
    if (old) compare(json_array_get(figures, i), &r->figures[i], old);
  }
  const char *keys[] = {"processor", "level"};
  for (int i = 0; i < 2; i++) {
    const json_t *now = json_object_get(json_object_get(report, "machine"), keys[i]);
    if (!json_equal(now, json_object_get(json_object_get(saved, "machine"), keys[i]))) {
      cli_warn("the saved figures are of another machine (%s)", keys[i]);
    }
  }
}

// ---- the table ------------------------------------------------------------------------------------------------------

static void print_value(double v) { printf(" %9.*f", v < 0.1 ? 5 : v < 10 ? 3 : v < 1000 ? 2 : 1, v); }

static void print_table(const json_t *report, const orion_bench_machine *m, const orion_bench_report *r) {
  printf("%s, %d processor%s, %s; %s with %d thread%s; load %.1f; orion " ORION_VERSION " %s\n\n",
         m->processor[0] ? m->processor : "unknown processor", m->processors, m->processors == 1 ? "" : "s", m->level,
         r->device, r->threads, r->threads == 1 ? "" : "s", m->load[0], cli_commit);
  printf("%-26s %9s %9s %9s %9s  unit\n", "figure", "median", "quarter", "3 quart.", "best");
  for (size_t i = 0; i < r->n; i++) {
    const orion_bench_figure *f = &r->figures[i];
    const json_t *json = json_array_get(json_object_get(report, "figures"), i), *saved = json_object_get(json, "saved");
    printf("%-26s", f->name);
    print_value(f->stat.median);
    if (f->stat.samples > 1) {
      print_value(f->stat.low);
      print_value(f->stat.high);
      print_value(f->stat.best);
    } else {
      printf("%30s", "");
    }
    printf("  %s", f->unit);
    if (f->ceiling) printf(", %.0f%% of %s (best %.0f%%)", 100 * f->fraction, f->ceiling, 100 * f->best_fraction);
    if (saved) {
      const char *note = json_string_value(json_object_get(json, "note"));
      printf("; was %.4g, %+.1f%%%s%s", json_number_value(saved), number(json, "change_percent"), *note ? ", " : "", note);
    }
    putchar('\n');
  }
}

static orion_status run(const cli_args *a, orion_error *err) {
  int kind;
  orion_bench_options o;
  orion_bench_machine machine;
  ORION_TRY(find_kind(a, &kind, err));
  ORION_TRY(read_options(a, kind, &o, err));
  json_t *saved, *report = NULL;
  ORION_TRY(read_saved(a, &saved, err));
  orion_bench_machine_describe(&machine);  // before, or the load would be our own
  orion_bench_report figures;
  orion_bench_report_init(&figures, NULL);
  orion_status status = kinds[kind].run(&o, &figures, err);
  if (status == ORION_OK && !(report = report_json(a, &machine, &figures))) status = ORION_OOM(err, "figures");
  if (status == ORION_OK && cli_flag(a, "save")) status = save(report, cli_text(a, "save", NULL), err);
  if (status == ORION_OK && saved) compare_all(report, &figures, saved);
  if (status == ORION_OK && a->json) {
    cli_print_json(json_incref(report));
  } else if (status == ORION_OK) {
    print_table(report, &machine, &figures);
  }
  json_decref(report);
  json_decref(saved);
  orion_bench_report_deinit(&figures);
  return status;
}

const cli_command cli_command_bench = {
    "bench", "infer|prefill|kernels|train|update|dispatch [-m MODEL]", "Measure speed beside what the machine could do at best.",
    "orion bench infer -m stories260K.bin --save before.json", options, 1, 1, run};
