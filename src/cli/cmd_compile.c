// orion compile: a model to the programs that a target runs, as MIL text and blob files, with a plan.json that says
// where each logical value of the model lives. Programs of training take weights as inputs: on the engine one for all layers
// and so on (train/units.h), on cpu the whole step as one.
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/commands.h"
#include "grad/grad.h"
#include "lower/lower.h"
#include "mil/bind.h"
#include "model/graph.h"
#include "train/units.h"

static const cli_option options[] = {
    {"model", 'm', CLI_TEXT, "MODEL", "Hugging Face directory, or llama2.c FILE.bin", false},
    {"output", 'o', CLI_TEXT, "DIR", "where the programs go", false},
    {"program", 0, CLI_TEXT, "P", "prefill, decode (default) or train; the classifier comes with all", false},
    {"target", 0, CLI_TEXT, "T", "m1 to m6, cpu (default), or FILE.json of orion probe", false},
    {"tokens", 0, CLI_INT, "N", "positions at once; default 64 (prefill), 1 or the engine's 32 (decode), up to 256 (train)", false},
    {"batch", 0, CLI_INT, "N", "sequences at once in training; default 1", false},
    {"ctx", 0, CLI_INT, "N", "cached positions of decode; default: the model's context", false},
    {"weights", 0, CLI_TEXT, "T", "fp16 (default), int8, int4, or fp32 (cpu only)", false},
    {"passes", 0, CLI_TEXT, "LIST", "optimisation passes, comma-separated; default: the target's", false},
    {"dump-after", 0, CLI_TEXT, "PASS", "write the program after a pass (or all) to DIR/dump", false},
    {"stats", 0, CLI_FLAG, NULL, "what each pass changed", false},
    {"emit", 0, CLI_TEXT, "LIST", "mil (default), dot; comma-separated", false},
    {0},
};

typedef struct compilation {
  const cli_args *a;
  const char *dir, *stem;    // of the plan being made
  const orion_target *target;
  int dumps;
  json_t *stats, *parts, *training;  // training: NULL for other programs
  orion_status status;       // of the dumps, which cannot return one
  orion_error error;
} compilation;

static void dump(void *ctx, const char *pass, const orion_program *p) {
  compilation *c = ctx;
  if (c->status != ORION_OK) return;
  char *dir;
  c->status = cli_path(&dir, &c->error, "%s/dump/%s-%02d-%s", c->dir, c->stem, c->dumps++, pass);
  if (c->status == ORION_OK) c->status = orion_dir_make(dir, &c->error);
  if (c->status == ORION_OK) c->status = orion_mil_write_dir(p, dir, NULL, &c->error);
  orion_strfree(NULL, dir);
}

static void note_stats(void *ctx, const orion_pass_stats *s) {
  compilation *c = ctx;
  json_array_append_new(c->stats, json_pack("{s:s, s:s, s:I, s:I, s:I, s:f}", "program", c->stem, "pass", s->pass,
                                            "changes", (json_int_t)s->changes, "ops_before", (json_int_t)s->ops_before,
                                            "ops_after", (json_int_t)s->ops_after, "ms", 1e3 * s->seconds));
  if (!c->a->json && cli_flag(c->a, "stats")) {
    printf("%-6s %-16s %5zu changes, %5zu -> %5zu ops, %.2f ms\n", c->stem, s->pass, s->changes, s->ops_before,
           s->ops_after, 1e3 * s->seconds);
  }
}

static const char *arrangement_name(orion_arrangement a) {
  switch (a) {
    case ORION_ROWS: return "rows";
    case ORION_CHANNELS: return "channels";
    case ORION_HEADS: return "heads";
    case ORION_OPAQUE: return "opaque";
  }
  return "?";
}

static json_t *ports_json(const orion_part *part) {
  json_t *ports = json_array();
  for (size_t i = 0; i < part->n_ports; i++) {
    const orion_port *p = &part->ports[i];
    json_array_append_new(ports, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "logical", p->logical, "name", p->name,
                                           "direction", p->input ? "input" : "output", "arrangement",
                                           arrangement_name(p->arrangement), "rows", (json_int_t)p->rows, "cols",
                                           (json_int_t)p->cols, "heads", (json_int_t)p->heads, "first_col",
                                           (json_int_t)p->first_col));
  }
  return ports;
}

static bool emits(const cli_args *a, const char *what) {
  const char *list = cli_text(a, "emit", "mil");
  size_t n = strlen(what);
  for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',') {
    if (strncmp(at, what, n) == 0 && (at[n] == ',' || at[n] == 0)) return true;
  }
  return false;
}

static void note_part(compilation *c, const orion_part *part, size_t index, const char *dir) {
  size_t ops = 0;
  const orion_function *f = part->program->functions[0];
  ORION_EACH_OP(f, id) ops += f->ops[id].code != ORION_OP_const;
  char name[64];
  snprintf(name, sizeof name, "%s_%02zu", c->stem, index);
  json_array_append_new(c->parts, json_pack("{s:s, s:I, s:o}", "program", name, "ops", (json_int_t)ops, "ports", ports_json(part)));
  if (!c->a->json) printf("%s: %zu operations, %zu inputs, %zu outputs\n", dir, ops, f->n_params, f->n_outputs);
}

// Options that belong to another program, and names in lists that would otherwise ask for nothing.
static orion_status check_arguments(const cli_args *a, orion_error *err) {
  static const char *const decoding[] = {"ctx", NULL}, *const training[] = {"batch", NULL};
  const char *program = cli_text(a, "program", "decode");
  if (strcmp(program, "decode") != 0) ORION_TRY(cli_refuse(a, decoding, "is about --program decode", err));
  if (strcmp(program, "train") != 0) ORION_TRY(cli_refuse(a, training, "is about --program train", err));
  const char *after = cli_text(a, "dump-after", NULL), *list = cli_text(a, "emit", "mil");
  if (after && strcmp(after, "all") != 0 && !orion_pass_find(after)) {
    return CLI_USAGE(err, "--dump-after: there is no pass \"%s\" (docs/passes.md lists them; \"all\" is each)", after);
  }
  for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',') {
    int n = (int)strcspn(at, ",");
    if (n == 3 && (strncmp(at, "mil", 3) == 0 || strncmp(at, "dot", 3) == 0)) continue;
    return CLI_USAGE(err, "--emit: \"%.*s\" is neither mil nor dot", n, at);
  }
  return ORION_OK;
}

static orion_status write_dot(const orion_part *part, const char *dir, orion_error *err) {
  char *path;
  orion_strbuf dot;
  orion_strbuf_init(&dot, NULL);
  orion_status status = cli_path(&path, err, "%s/model.dot", dir);
  if (status == ORION_OK) status = orion_mil_print_dot(part->program, &dot, err);
  if (status == ORION_OK) status = orion_file_write(NULL, path, dot.data, dot.size, err);
  orion_strbuf_deinit(&dot);
  orion_strfree(NULL, path);
  return status;
}

static orion_status write_part(compilation *c, const orion_part *part, size_t index, orion_error *err) {
  char *dir;
  ORION_TRY(cli_path(&dir, err, "%s/%s_%02zu", c->dir, c->stem, index));
  orion_status status = orion_dir_make(dir, err);
  if (status == ORION_OK && emits(c->a, "mil")) status = orion_mil_write_dir(part->program, dir, NULL, err);
  if (status == ORION_OK && emits(c->a, "dot")) status = write_dot(part, dir, err);
  if (status == ORION_OK) note_part(c, part, index, dir);
  orion_strfree(NULL, dir);
  return status;
}

// What --weights asks matrices to be, if that is integers with scales.
static orion_dtype quantised(const cli_args *a) {
  const char *weights = cli_text(a, "weights", "fp16");
  return strcmp(weights, "int8") == 0 ? ORION_INT8 : strcmp(weights, "int4") == 0 ? ORION_INT4 : ORION_DTYPE_NONE;
}

static orion_opt_options pass_options(compilation *c) {
  return (orion_opt_options){.passes = cli_text(c->a, "passes", NULL), .dump_after = cli_text(c->a, "dump-after", NULL),
                             .dump = dump, .dump_ctx = c, .stats = note_stats, .stats_ctx = c};
}

// Writes the parts; a dump that failed before counts. Destroys the plan, also on failure.
static orion_status write_parts(compilation *c, orion_plan *plan, const char *stem, orion_error *err) {
  orion_status status = c->status;
  if (status != ORION_OK) *err = c->error;
  c->stem = stem;
  for (size_t i = 0; status == ORION_OK && i < plan->n_parts; i++) status = write_part(c, &plan->parts[i], i, err);
  orion_plan_destroy(plan);
  return status;
}

static orion_status compile_graph(compilation *c, const orion_model *m, const orion_graph_spec *spec, const char *stem,
                                  orion_error *err) {
  c->stem = stem;
  orion_program *graph;
  orion_plan *plan = NULL;
  ORION_TRY(orion_model_graph(m, spec, &graph, err));
  const orion_opt_options passes = pass_options(c);
  orion_lower_options lower = {.target = c->target, .passes = &passes, .quantise = quantised(c->a),
                               .keep_integers = !cli_flag(c->a, "weights") || quantised(c->a)};
  orion_status status = orion_lower(graph, &lower, &plan, err);
  if (status == ORION_OK) status = write_parts(c, plan, stem, err);
  orion_program_destroy(graph);
  return status;
}

// ---- training ----

static orion_status compile_units(compilation *c, const orion_model *m, int64_t batch, int64_t tokens, orion_error *err) {
  const orion_opt_options passes = pass_options(c);
  const orion_units_spec spec = {.batch = batch, .tokens = orion_units_tokens(c->target, batch, tokens), .inputs = true,
                                 .gradients = true, .passes = &passes};
  orion_units *u;
  ORION_TRY(orion_units_create(m, c->target, &spec, &u, err));
  orion_status status = ORION_OK;
  for (size_t i = 0; status == ORION_OK && i < u->n; i++) {
    orion_plan *plan = u->list[i].plan;
    u->list[i].plan = NULL;
    status = write_parts(c, plan, u->list[i].name, err);
  }
  c->training = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "batch", (json_int_t)batch, "tokens",
                          (json_int_t)spec.tokens, "layers", (json_int_t)u->layers, "class_parts", (json_int_t)u->parts,
                          "classes", (json_int_t)u->classes, "programs", (json_int_t)u->n, "tap_bytes_per_layer",
                          (json_int_t)u->tap_bytes, "recomputed_bytes_per_layer", (json_int_t)u->again_bytes);
  orion_units_destroy(u);
  return status;
}

// The whole step: loss and all gradients.
static orion_status compile_step(compilation *c, const orion_model *m, int64_t batch, int64_t tokens, orion_error *err) {
  size_t n = orion_model_weights(m, NULL, 0);
  orion_weight *weights = orion_alloc(m->allocator, n, sizeof *weights);
  const char **wrt = orion_alloc(m->allocator, n, sizeof *wrt);
  orion_program *forward = NULL, *both = NULL;
  orion_plan *plan = NULL;
  const orion_train_graph_spec graph = {.batch = batch, .tokens = tokens, .compute = ORION_FP32, .weights = ORION_FP32,
                                        .inputs = true};
  orion_status status = weights && wrt ? orion_model_train_graph(m, &graph, &forward, err) : ORION_OOM(err, "weights");
  if (status == ORION_OK) {
    orion_model_weights(m, weights, n);
    for (size_t i = 0; i < n; i++) wrt[i] = weights[i].name;
    const orion_grad_options grad = {.seeds = &(orion_grad_seed){"loss", "loss_scale"}, .n_seeds = 1, .wrt = wrt, .n_wrt = n};
    status = orion_grad(forward, &grad, &both, NULL, err);
  }
  const orion_opt_options passes = pass_options(c);
  const orion_lower_options lower = {.target = c->target, .passes = &passes};
  if (status == ORION_OK) status = orion_lower(both, &lower, &plan, err);
  if (status == ORION_OK) status = write_parts(c, plan, "train", err);
  orion_program_destroy(both);
  orion_program_destroy(forward);
  orion_free(m->allocator, wrt, n, sizeof *wrt);
  orion_free(m->allocator, weights, n, sizeof *weights);
  return status;
}

static orion_status compile_training(compilation *c, const orion_model *m, orion_error *err) {
  int64_t longest = m->config.context < 256 ? m->config.context : 256;
  int64_t batch = cli_int(c->a, "batch", 1), tokens = cli_int(c->a, "tokens", longest);
  if (batch < 1 || batch > 65536) return CLI_USAGE(err, "--batch: %lld is not within 1 to 65536", (long long)batch);
  if (tokens < 1 || tokens > m->config.context) {
    return CLI_USAGE(err, "--tokens: %lld is not within 1 to the model's context of %lld", (long long)tokens,
                     (long long)m->config.context);
  }
  const char *weights = cli_text(c->a, "weights", NULL);
  if (weights) return CLI_USAGE(err, "--weights: in training weights are inputs, of the target's type");
  c->stem = "train";
  return c->target->ane ? compile_units(c, m, batch, tokens, err) : compile_step(c, m, batch, tokens, err);
}

// ---- all ----

static orion_status write_plan(const compilation *c, const orion_model *m, orion_error *err) {
  char *path;
  ORION_TRY(cli_path(&path, err, "%s/plan.json", c->dir));
  json_t *plan = json_pack("{s:s, s:s, s:s, s:O}", "target", c->target->name, "model_type", m->config.model_type, "program",
                           cli_text(c->a, "program", "decode"), "parts", c->parts);
  if (c->training) json_object_set(plan, "training", c->training);
  char *text = json_dumps(plan, JSON_INDENT(1));
  json_decref(plan);
  orion_status status = text ? orion_file_write(NULL, path, text, strlen(text), err) : ORION_OOM(err, path);
  cli_free_json_text(text);
  orion_strfree(NULL, path);
  return status;
}

static orion_status make_specs(const cli_args *a, const orion_model *m, const orion_target *t, orion_graph_spec *body,
                               orion_graph_spec *head, orion_error *err) {
  const char *program = cli_text(a, "program", "decode"), *weights = cli_text(a, "weights", "fp16");
  bool decode = strcmp(program, "decode") == 0;
  if (!decode && strcmp(program, "prefill") != 0) {
    return CLI_USAGE(err, "--program: \"%s\" is none of prefill, decode and train", program);
  }
  bool fp32 = strcmp(weights, "fp32") == 0;
  bool known = fp32 ? !t->ane : strcmp(weights, "fp16") == 0 || quantised(a);
  if (!known) {
    return CLI_USAGE(err, "--weights: \"%s\" (fp16, int8%s)", weights, t->ane ? " or int4" : ", int4 or fp32");
  }
  int64_t width = t->width_multiple, tokens = cli_int(a, "tokens", decode ? width : 64);
  int64_t context = cli_int(a, "ctx", m->config.context);
  if (tokens < 1 || tokens > 65536 || tokens % width) {
    return CLI_USAGE(err, "--tokens: %lld is not a multiple of %lld within 1 to 65536", (long long)tokens, (long long)width);
  }
  if (context < 1 || context > m->config.context) {
    return CLI_USAGE(err, "--ctx: %lld is not within 1 to the model's %lld", (long long)context, (long long)m->config.context);
  }
  body->kind = ORION_GRAPH_BODY;
  body->tokens = tokens;
  body->past = decode ? (context + width - 1) / width * width : 0;
  body->compute = t->ane ? ORION_FP16 : ORION_FP32;
  body->weights = body->cache = fp32 ? ORION_FP32 : ORION_FP16;
  *head = *body;
  head->kind = ORION_GRAPH_HEAD;
  head->tokens = width;
  head->past = 0;
  return ORION_OK;
}

static orion_status run(const cli_args *a, orion_error *err) {
  const char *path = cli_text(a, "model", NULL), *target = cli_text(a, "target", "cpu");
  compilation c = {.a = a, .dir = cli_text(a, "output", NULL)};
  orion_target measured;
  if (!path) return CLI_USAGE(err, "compile: -m MODEL is missing");
  if (!c.dir) return CLI_USAGE(err, "compile: -o DIR is missing");
  ORION_TRY(check_arguments(a, err));
  ORION_TRY(orion_target_open(NULL, target, &measured, &c.target, err));
  orion_model *m;
  ORION_TRY(orion_model_open(NULL, path, &m, err));
  c.stats = json_array();
  c.parts = json_array();
  orion_graph_spec body = {0}, head = {0};
  bool training = strcmp(cli_text(a, "program", "decode"), "train") == 0;
  orion_status status = training ? ORION_OK : make_specs(a, m, c.target, &body, &head, err);
  if (status == ORION_OK) status = orion_dir_make(c.dir, err);
  if (status == ORION_OK && training) status = compile_training(&c, m, err);
  if (status == ORION_OK && !training) status = compile_graph(&c, m, &body, "body", err);
  if (status == ORION_OK && !training) status = compile_graph(&c, m, &head, "head", err);
  if (status == ORION_OK) status = write_plan(&c, m, err);
  if (status == ORION_OK && a->json) {
    cli_print_json(json_pack("{s:s, s:o, s:O, s:O}", "target", c.target->name, "dir", cli_json_text(c.dir), "parts", c.parts,
                             "passes", c.stats));
  }
  json_decref(c.stats);
  json_decref(c.parts);
  json_decref(c.training);
  orion_model_close(m);
  return status;
}

const cli_command cli_command_compile = {
    "compile", "-m MODEL -o DIR", "Compile a model to a target's programs.",
    "orion compile -m gpt2 -o programs --program decode --target m4 --stats", options, 0, 0, run};
