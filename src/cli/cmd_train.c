// orion train: from a configuration (random weights), from a model, or on from a checkpoint.
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "cli/commands.h"
#include "cli/sim_report.h"
#include "model/model.h"
#include "orion/train.h"
#include "train/comm.h"
#include "train/log.h"

#define MAX_FILES (2 * CLI_MAX_VALUES)  // options and operands

static const cli_option options[] = {
    {"config", 0, CLI_TEXT, "FILE.json", "train a new model of this configuration, from random weights", false},
    {"model", 'm', CLI_TEXT, "MODEL", "go on training a copy of this model", false},
    {"resume", 0, CLI_TEXT, "DIR", "continue a run (its directory, or one of its checkpoints)", false},
    {"data", 0, CLI_TEXT, "FILE", "text, or token ids in *.bin, *.u16, *.u32; operands are data too", true},
    {"eval-data", 0, CLI_TEXT, "FILE", "held-out data", true},
    {"tokenizer", 0, CLI_TEXT, "PATH", "tokenizer file or directory; default: beside the model", false},
    {"out", 'o', CLI_TEXT, "DIR", "where checkpoints and log go; with --resume: where they are", false},
    {"steps", 0, CLI_INT, "N", "of the whole run; default 1000", false},
    {"batch", 0, CLI_INT, "N", "sequences at once, in each process; default 8", false},
    {"seq", 0, CLI_INT, "N", "tokens of a sequence; default 256, or the model's context if shorter", false},
    {"accum", 0, CLI_INT, "N", "batches summed before each update; default 1", false},
    {"lr", 0, CLI_NUMBER, "X", "learning rate after the warm-up; default 3e-4", false},
    {"min-lr", 0, CLI_NUMBER, "X", "learning rate at the end; default a tenth of --lr", false},
    {"warmup", 0, CLI_INT, "N", "steps; default 100, or a tenth of --steps if fewer", false},
    {"schedule", 0, CLI_TEXT, "S", "cosine (default), linear or constant", false},
    {"weight-decay", 0, CLI_NUMBER, "X", "on matrices; default 0.1", false},
    {"beta1", 0, CLI_NUMBER, "X", "default 0.9", false},
    {"beta2", 0, CLI_NUMBER, "X", "default 0.95", false},
    {"clip", 0, CLI_NUMBER, "X", "largest norm of all gradients; default 1; 0: none", false},
    {"loss-scale", 0, CLI_TEXT, "S", "auto (default) or a number", false},
    {"eval-every", 0, CLI_INT, "N", "steps between evaluations; default 100", false},
    {"eval-windows", 0, CLI_INT, "N", "windows of an evaluation at most; default 0: all", false},
    {"save-every", 0, CLI_INT, "N", "steps between checkpoints; default 500; 0: only at the end", false},
    {"keep", 0, CLI_INT, "N", "checkpoints that stay; default 3; 0: all", false},
    {"update", 0, CLI_TEXT, "S", "how new weights get to the device: delta, input or recompile", false},
    {"log", 0, CLI_TEXT, "FILE", "log of JSON lines; default: log.jsonl in --out", false},
    {"seed", 0, CLI_INT, "N", "of random weights and of the order of data; default 1", false},
    {"token-width", 0, CLI_INT, "N", "bytes of an id in *.bin: 2 or 4; default by vocabulary", false},
    {"again", 0, CLI_FLAG, NULL, "given by a run that starts itself anew: without remarks at the start", false},
    {"documents", 0, CLI_FLAG, NULL, "windows begin where documents do", false},
    {"lora-rank", 0, CLI_INT, "R", "train an adapter of this rank; the model stays as it is", false},
    {"lora-alpha", 0, CLI_NUMBER, "X", "its scale times its rank; default twice the rank", false},
    {"lora-targets", 0, CLI_TEXT, "LIST", "projections, of q,k,v,o,gate,up,down, or all; default q,v", false},
    {"lora", 0, CLI_TEXT, "PATH", "go on training a copy of this PEFT adapter", false},
    {"weights", 0, CLI_TEXT, "T", "how the model under an adapter is kept: fp16 (default), fp32, int8 or int4", false},
    {"target", 0, CLI_TEXT, "T", "compile for cpu (default) or a chip family m1 to m6", false},
    {"compute", 0, CLI_TEXT, "T", "fp32 or fp16; default: what the target has", false},
    {"precision", 0, CLI_TEXT, "P", "exact (default), or fast: bf16 products where the processor has them; not kept by a run", false},
    {"activations", 0, CLI_TEXT, "T", "how what backward reads is kept: fp32 (default), or bf16 for half the memory", false},
    {"recompute", 0, CLI_TEXT, "R", "what backward computes again: none, cheap, most or auto (by memory, default)", false},
    {"memory", 0, CLI_TEXT, "SIZE", "for auto: of weights, gradients, moments and the step; 800M, 4G; default 7/8 of all", false},
    CLI_SIM_REPORT_OPTION,
    {0},
};

typedef struct run_state {
  const cli_args *args;
  orion_train_options o;
  const char *data[MAX_FILES], *eval_data[MAX_FILES];
  char *out, *log_path;      // owned
  char checkpoint[4096];
  const char *tokenizer_path, *lora_start;
  orion_train_saved *saved;
  orion_model *model;
  orion_adapter *adapter;    // to begin with
  orion_tokenizer *tokenizer;
  orion_device *device;
  orion_trainer *trainer;
  orion_train_log *log;
  int64_t eval_every, save_every, keep, saved_step;
  bool stops;                // a signal came, to one of the processes
  bool spent;                // the process must be replaced: see orion_trainer_spent
  double start, last_eval, last_shown, first_loss;
  orion_train_metrics m;
} run_state;

static volatile sig_atomic_t stop_wanted;  // a signal can reach nothing else

static void on_signal(int number) { stop_wanted = number; }

// ---- options ----------------------------------------------------------------------------------------------------------

static bool has_file(const char *dir, const char *name) {
  char *path = orion_path_join(NULL, dir, name);
  bool has = path && orion_file_exists(path);
  orion_strfree(NULL, path);
  return has;
}

static orion_status read_files(run_state *r, orion_error *err) {
  const cli_args *a = r->args;
  size_t n = 0, n_eval = 0;
  for (size_t i = 0; cli_nth(a, "data", i); i++) r->data[n++] = cli_nth(a, "data", i);
  for (size_t i = 0; i < a->n_rest; i++) r->data[n++] = a->rest[i];
  for (size_t i = 0; cli_nth(a, "eval-data", i); i++) r->eval_data[n_eval++] = cli_nth(a, "eval-data", i);
  if (n) {
    r->o.data = r->data;
    r->o.n_data = n;
  }
  if (n_eval) {
    r->o.eval_data = r->eval_data;
    r->o.n_eval_data = n_eval;
  }
  if (r->o.n_data == 0) return CLI_USAGE(err, "train: --data FILE is missing");
  return ORION_OK;
}

// A run goes on with the batch that it has, however many processes share it now.
static orion_status read_batch(run_state *r, orion_error *err) {
  int64_t processes = orion_comm_size(r->o.comm);
  if (r->saved && !cli_text(r->args, "batch", NULL)) {
    if (r->o.batch % processes) {
      return CLI_USAGE(err, "train: %lld processes cannot share the run's batch of %lld evenly (give --batch, for each process)",
                       (long long)processes, (long long)r->o.batch);
    }
    r->o.batch /= processes;
  }
  r->o.batch = cli_int(r->args, "batch", r->o.batch);
  return ORION_OK;
}

static orion_status read_loss_scale(run_state *r, orion_error *err) {
  const char *scale = cli_text(r->args, "loss-scale", NULL);
  double value;
  char rest;
  if (!scale) return ORION_OK;
  if (strcmp(scale, "auto") == 0) {
    r->o.loss_scale = 0;
    return ORION_OK;
  }
  if (sscanf(scale, "%lf%c", &value, &rest) != 1 || !(value >= 1)) {
    return CLI_USAGE(err, "--loss-scale: \"%s\" is neither auto nor a number of 1 or more", scale);
  }
  r->o.loss_scale = value;
  return ORION_OK;
}

static orion_status read_intervals(run_state *r, orion_error *err) {
  r->eval_every = cli_int(r->args, "eval-every", 100);
  r->save_every = cli_int(r->args, "save-every", 500);
  r->keep = cli_int(r->args, "keep", 3);
  if (r->eval_every < 1 || r->save_every < 0 || r->keep < 0 || cli_int(r->args, "eval-windows", 0) < 0) {
    return CLI_USAGE(err, "train: --eval-every is at least 1, --save-every, --keep and --eval-windows at least 0");
  }
  return ORION_OK;
}

// Several processes on one machine share its memory.
static orion_status read_memory(run_state *r, orion_error *err) {
  const char *text = cli_text(r->args, "memory", NULL);
  r->o.recompute = cli_text(r->args, "recompute", NULL);
  r->o.memory = orion_memory_limit() / 8 * 7 / (uint64_t)orion_comm_local_size(r->o.comm);
  if (!text) return ORION_OK;
  double size;
  char unit = 0, rest;
  int n = sscanf(text, "%lf%c%c", &size, &unit, &rest);
  double scale = unit == 'G' ? 1e9 : unit == 'M' ? 1e6 : n == 1 ? 1 : 0;
  if (n < 1 || n > 2 || !(size * scale >= 1 && size * scale < 1e18)) {
    return CLI_USAGE(err, "--memory: \"%s\" is no size (800M, 4G, or bytes)", text);
  }
  r->o.memory = (uint64_t)(size * scale);
  return ORION_OK;
}

// What has a default that the model or the saved run knows.
static orion_status read_numbers(run_state *r, orion_error *err) {
  const cli_args *a = r->args;
  orion_train_options *o = &r->o;
  bool fresh = !r->saved;
  o->steps = cli_int(a, "steps", o->steps);
  ORION_TRY(read_batch(r, err));
  if (fresh && o->seq > r->model->config.context) o->seq = r->model->config.context;
  o->seq = cli_int(a, "seq", o->seq);
  o->accum = cli_int(a, "accum", o->accum);
  o->lr = cli_number(a, "lr", o->lr);
  if (fresh || cli_text(a, "lr", NULL)) o->min_lr = o->lr / 10;
  o->min_lr = cli_number(a, "min-lr", o->min_lr);
  if (fresh) o->warmup = o->steps / 10 < 100 ? o->steps / 10 : 100;
  o->warmup = cli_int(a, "warmup", o->warmup);
  o->schedule = cli_text(a, "schedule", o->schedule);
  o->weight_decay = cli_number(a, "weight-decay", o->weight_decay);
  o->beta1 = cli_number(a, "beta1", o->beta1);
  o->beta2 = cli_number(a, "beta2", o->beta2);
  o->clip = cli_number(a, "clip", o->clip);
  o->eval_windows = cli_int(a, "eval-windows", o->eval_windows);
  o->seed = (uint64_t)cli_int(a, "seed", (int64_t)o->seed);
  int64_t width = cli_int(a, "token-width", o->token_width);
  if (width != 0 && width != 2 && width != 4) return CLI_USAGE(err, "--token-width: %lld is neither 2 nor 4", (long long)width);
  o->token_width = (int)width;
  o->documents = o->documents || cli_flag(a, "documents");
  o->update = cli_text(a, "update", o->update);
  o->target = cli_text(a, "target", o->target);
  o->compute = cli_text(a, "compute", o->compute);
  o->activations = cli_text(a, "activations", o->activations);
  o->tokenizer_path = r->tokenizer_path;
  return ORION_OK;
}

static orion_status choose_out(run_state *r, orion_error *err) {
  const char *out = cli_text(r->args, "out", NULL), *resume = cli_text(r->args, "resume", NULL);
  if (!out && !resume) return CLI_USAGE(err, "train: --out DIR is missing (where checkpoints go)");
  if (out) {
    r->out = orion_strdup(NULL, out);
  } else {
    const char *slash = strrchr(r->checkpoint, '/');
    bool itself = has_file(resume, "state.json");  // a checkpoint: its run is the folder around it
    r->out = slash ? orion_strndup(NULL, r->checkpoint, (size_t)(slash - r->checkpoint))
                   : orion_strdup(NULL, itself ? "." : r->checkpoint);
  }
  if (!r->out) return ORION_OOM(err, "--out");
  const char *log = cli_text(r->args, "log", NULL);
  r->log_path = log ? orion_strdup(NULL, log) : orion_path_join(NULL, r->out, "log.jsonl");
  if (!r->log_path) return ORION_OOM(err, "--log");
  if (!resume && has_file(r->out, "log.jsonl")) {
    return CLI_USAGE(err, "%s: holds another run (continue it with --resume, or give another --out)", r->out);
  }
  return ORION_OK;
}

static orion_status read_lora(run_state *r, orion_error *err) {
  const cli_args *a = r->args;
  bool shape = cli_flag(a, "lora-rank") || cli_flag(a, "lora-alpha") || cli_flag(a, "lora-targets");
  r->lora_start = cli_text(a, "lora", NULL);
  if ((shape || r->lora_start || cli_flag(a, "weights")) && cli_flag(a, "config")) {
    return CLI_USAGE(err, "train: adapters are for models that have learnt something (give -m MODEL instead of --config)");
  }
  if ((r->lora_start || shape) && (r->saved || (r->lora_start && shape))) {
    return CLI_USAGE(err, "train: rank, alpha and targets are those of the %s (leave the --lora options out)",
                     r->saved ? "run" : "adapter");
  }
  r->o.lora_rank = cli_int(a, "lora-rank", r->o.lora_rank);
  r->o.lora_alpha = cli_number(a, "lora-alpha", r->o.lora_alpha);
  r->o.lora_targets = cli_text(a, "lora-targets", r->o.lora_targets);
  r->o.lora_weights = cli_text(a, "weights", r->o.lora_weights);
  bool odd = (shape || cli_flag(a, "weights")) && r->o.lora_rank <= 0 && !r->lora_start;
  return odd ? CLI_USAGE(err, "train: --lora-rank R of 1 or more is missing (the other options are about adapters)") : ORION_OK;
}

// What the arguments say by themselves, and what the run that they continue says: before a model is opened, which may take long.
static orion_status read_arguments(run_state *r, orion_error *err) {
  const cli_args *a = r->args;
  const char *config = cli_text(a, "config", NULL), *model = cli_text(a, "model", NULL), *resume = cli_text(a, "resume", NULL);
  if (resume) ORION_TRY(orion_train_options_read(resume, &r->o, r->checkpoint, sizeof r->checkpoint, &r->saved, err));
  bool lora = r->o.lora_rank > 0;  // the run's checkpoints hold an adapter: the model is where it was, unless -m says where
  if ((config != NULL) + (model != NULL && !lora) + (resume != NULL) != 1) {
    return CLI_USAGE(err, "train: give one of --config FILE.json, -m MODEL and --resume DIR");
  }
  ORION_TRY(read_lora(r, err));
  ORION_TRY(read_files(r, err));
  ORION_TRY(read_loss_scale(r, err));
  ORION_TRY(read_intervals(r, err));
  ORION_TRY(read_memory(r, err));
  return choose_out(r, err);
}

// ---- opening ----------------------------------------------------------------------------------------------------------

static orion_status random_model(run_state *r, const char *path, orion_error *err) {
  char *text;
  size_t size;
  ORION_TRY(orion_file_read(NULL, path, (size_t)1 << 20, &text, &size, err));
  orion_config config;
  orion_status status = orion_config_parse(text, size, path, &config, err);
  orion_free(NULL, text, size + 1, 1);
  if (status != ORION_OK) return status;
  return orion_model_random(NULL, &config, (uint64_t)cli_int(r->args, "seed", 1), &r->model, err);
}

static orion_status open_model(run_state *r, orion_error *err) {
  const cli_args *a = r->args;
  const char *config = cli_text(a, "config", NULL), *model = cli_text(a, "model", NULL), *resume = cli_text(a, "resume", NULL);
  bool lora = r->o.lora_rank > 0 || r->lora_start;
  if (config) return random_model(r, config, err);
  if (resume && !lora) model = r->checkpoint;
  if (lora && !model) model = r->o.lora_base;
  if (!model) return CLI_USAGE(err, "train: the run in %s trains an adapter (give the model with -m)", resume);
  ORION_TRY(orion_model_open(NULL, model, &r->model, err));
  r->tokenizer_path = r->model->dir;
  if (lora) r->o.lora_base = model;
  if (r->lora_start) ORION_TRY(orion_adapter_open(r->model, r->lora_start, &r->adapter, err));
  r->o.lora_start = r->adapter;
  return ORION_OK;
}

static bool is_text(const char *path) {
  return !orion_path_ends(path, ".bin") && !orion_path_ends(path, ".u16") && !orion_path_ends(path, ".u32");
}

// A tokenizer is opened where one is named or a text is among the data.
static orion_status open_tokenizer(run_state *r, orion_error *err) {
  const char *named = cli_text(r->args, "tokenizer", NULL);
  bool need = named != NULL;
  for (size_t i = 0; i < r->o.n_data; i++) need = need || is_text(r->o.data[i]);
  for (size_t i = 0; i < r->o.n_eval_data; i++) need = need || is_text(r->o.eval_data[i]);
  if (named) r->tokenizer_path = named;
  if (!need || !r->tokenizer_path) return ORION_OK;
  orion_tokenizer_options how = {.struct_size = sizeof how, .vocab_size = (int32_t)r->model->config.vocab};
  return orion_tokenizer_open(NULL, r->tokenizer_path, &how, &r->tokenizer, err);
}

// Several processes on one machine share its processors.
static orion_status open_device(run_state *r, orion_error *err) {
  int local = orion_comm_local_size(r->o.comm), own = orion_cpu_count();
  if (local == 1 || cli_text(r->args, "threads", NULL)) return cli_open_device(r->args, &r->device, err);
  int share = (int)sysconf(_SC_NPROCESSORS_ONLN) / local;
  int threads = share < 1 ? 1 : share < own ? share : own;
  return cli_open_device_with(r->args, threads, &r->device, err);
}

static orion_status open_all(run_state *r, orion_error *err) {
  ORION_TRY(read_arguments(r, err));
  ORION_TRY(open_model(r, err));
  ORION_TRY(open_tokenizer(r, err));
  ORION_TRY(read_numbers(r, err));
  ORION_TRY(orion_dir_make(r->out, err));
  ORION_TRY(open_device(r, err));
  ORION_TRY(cli_sim_report_start(r->args, r->device, err));
  ORION_TRY(orion_trainer_create(r->model, r->device, r->tokenizer, &r->o, &r->trainer, err));
  orion_adapter_close(r->adapter);
  r->adapter = NULL;
  orion_model_close(r->model);
  r->model = NULL;
  const char *resume = cli_text(r->args, "resume", NULL);
  if (resume) ORION_TRY(orion_trainer_resume(r->trainer, r->checkpoint, err));
  orion_train_info info;
  orion_trainer_describe(r->trainer, &info);
  return cli_speaks() ? orion_train_log_open(NULL, r->log_path, info.step, &r->log, err) : ORION_OK;
}

static void close_all(run_state *r) {
  orion_train_log_close(r->log);
  orion_trainer_destroy(r->trainer);
  orion_device_close(r->device);
  orion_tokenizer_close(r->tokenizer);
  orion_adapter_close(r->adapter);
  orion_model_close(r->model);
  orion_train_options_free(r->saved);
  orion_comm_close(r->o.comm);
}

// ---- running ----------------------------------------------------------------------------------------------------------

static void say_notes(const run_state *r) {
  for (const char *line = orion_trainer_notes(r->trainer); *line;) {
    size_t n = strcspn(line, "\n");
    cli_warn("%.*s", (int)n, line);
    line += n + (line[n] == '\n');
  }
}

static void say_start(const run_state *r) {
  orion_train_info i;
  orion_trainer_describe(r->trainer, &i);
  if (r->args->json || r->args->quiet) return;
  printf("%" PRIu64 " weights, %" PRIu64 " windows of %lld tokens, %s on %s, %zu program%s, weights by %s, from step %lld\n",
         i.parameters, i.windows, (long long)r->o.seq, i.target, cli_text(r->args, "device", "auto"), i.programs,
         i.programs == 1 ? "" : "s", i.update, (long long)i.step);
}

// A line that is written over, at most four times a second.
static void show_progress(run_state *r) {
  if (!cli_progress_wanted(r->args) || (orion_now() - r->last_shown < 0.25 && r->m.step < r->o.steps)) return;
  r->last_shown = orion_now();
  double left = (double)(r->o.steps - r->m.step) * r->m.step_ms / 1e3;
  fprintf(stderr, "\rstep %lld of %lld  loss %.4f  %.0f tokens/s  %d:%02d left   ", (long long)r->m.step, (long long)r->o.steps,
          r->m.loss, r->m.tok_s, (int)left / 60, (int)left % 60);
  if (r->m.step == r->o.steps) fputc('\n', stderr);
}

static orion_status after_step(run_state *r, orion_error *err) {
  int64_t step = r->m.step;
  r->stops = orion_comm_any(r->o.comm, stop_wanted);
  bool last = step >= r->o.steps || r->stops;
  double eval, *taken = NULL;
  if (r->o.n_eval_data && (step % r->eval_every == 0 || last)) {
    ORION_TRY(orion_trainer_evaluate(r->trainer, &eval, err));
    r->last_eval = eval;
    taken = &eval;
  }
  if (r->log) ORION_TRY(orion_train_log_step(r->log, &r->m, orion_peak_rss_mb(), taken, err));
  bool best;
  if (taken) ORION_TRY(orion_trainer_save_best(r->trainer, r->out, &best, err));
  if (last || (r->save_every && step % r->save_every == 0)) {
    ORION_TRY(orion_trainer_save(r->trainer, r->out, r->keep, err));
    r->saved_step = step;
  }
  show_progress(r);
  if (r->m.skipped && cli_speaks()) {
    cli_warn("step %lld is skipped: the gradient of %s is not finite at a loss scale of %g", (long long)step,
             r->m.skipped_weight, r->m.loss_scale);
  }
  if (!r->args->json && !r->args->quiet && !cli_progress_wanted(r->args) && (taken || last || step % 100 == 0)) {
    printf("step %lld  loss %.4f", (long long)step, r->m.loss);
    if (taken) printf("  held-out %.4f", eval);
    printf("  lr %.3g  %.0f tokens/s  step %.1f ms  update %.2f ms\n", r->m.lr, r->m.tok_s, r->m.step_ms, r->m.update_ms);
    fflush(stdout);
  }
  return ORION_OK;
}

// What this process may compile is used up: all is saved, and the run goes on in the process's place.
static orion_status save_spent(run_state *r, orion_error *err) {
  if (!orion_trainer_spent(r->trainer) || r->m.step >= r->o.steps || r->stops) return ORION_OK;
  if (orion_comm_size(r->o.comm) > 1) {
    return ORION_FAIL(err, ORION_LIMIT, "train: step %lld: the process may compile no more programs, and one of several cannot "
                      "start anew (train with one process, or with --update input)", (long long)r->m.step);
  }
  r->spent = true;
  return r->saved_step == r->m.step ? ORION_OK : orion_trainer_save(r->trainer, r->out, r->keep, err);
}

static orion_status start_anew(const run_state *r, orion_error *err) {
  static const char *const without[] = {"config", "model", "resume", "out", "again", "lora", "lora-rank", "lora-alpha",
                                        "lora-targets", "weights", NULL};
  const char *const with[] = {"--again", "--resume", r->out, NULL};
  return cli_restart(r->args, without, with, err);
}

static orion_status train(run_state *r, orion_error *err) {
  orion_train_info info;
  orion_trainer_describe(r->trainer, &info);
  if (info.step >= r->o.steps) {
    return CLI_USAGE(err, "train: the run has made its %lld steps (give more with --steps)", (long long)info.step);
  }
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};  // a second one ends us at once
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  r->first_loss = NAN;
  do {
    ORION_TRY(orion_trainer_step(r->trainer, &r->m, err));
    if (isnan(r->first_loss)) r->first_loss = r->m.loss;
    ORION_TRY(after_step(r, err));
    ORION_TRY(save_spent(r, err));
  } while (r->m.step < r->o.steps && !r->stops && !r->spent);
  if (!r->stops) return ORION_OK;
  return ORION_FAIL(err, ORION_CANCELLED, "train: stopped after step %lld, which is saved (continue with --resume %s)",
                    (long long)r->m.step, r->out);
}

static void report(const run_state *r) {
  orion_train_info i;
  orion_trainer_describe(r->trainer, &i);
  json_t *o = json_pack("{s:o, s:I, s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:s, s:f}", "out", cli_json_text(r->out), "steps",
                        (json_int_t)i.step, "first_loss", r->first_loss, "loss", r->m.loss, "tokens", (json_int_t)i.tokens,
                        "tok_s", r->m.tok_s, "step_ms", r->m.step_ms, "update_ms", r->m.update_ms, "rss_mb", orion_peak_rss_mb(),
                        "update", i.update, "epoch", i.epoch);
  if (i.recompute) json_object_set_new(o, "recompute", json_string(i.recompute));
  if (isfinite(i.best_loss)) {
    json_object_set_new(o, "eval_loss", json_real(r->last_eval));
    json_object_set_new(o, "best_eval_loss", json_real(i.best_loss));
  }
  cli_sim_report_end(r->args, r->device, o);
  cli_print_json(o);
}

static orion_status run(const cli_args *a, orion_error *err) {
  cli_args args = *a;
  if (!cli_speaks()) {  // of several processes the first prints, and writes
    args.quiet = true;
    args.json = false;
  }
  run_state r = {.args = &args};
  orion_train_options_init(&r.o);
  orion_status status = orion_comm_open(&r.o.comm, err);
  if (status == ORION_OK) status = open_all(&r, err);
  if (status == ORION_OK) {
    if (cli_speaks() && !cli_flag(a, "again")) say_notes(&r);
    if (!cli_flag(a, "again")) say_start(&r);
    status = train(&r, err);
  }
  status = orion_comm_agree(r.o.comm, status, err);
  if (status == ORION_OK && args.json && !r.spent) report(&r);
  if (status == ORION_OK && !args.json && !r.spent && cli_speaks()) cli_sim_report_end(&args, r.device, NULL);
  close_all(&r);
  if (status == ORION_OK && r.spent) status = start_anew(&r, err);
  orion_strfree(NULL, r.out);
  orion_strfree(NULL, r.log_path);
  return cli_speaks() ? status : ORION_OK;  // the first one says it: mpirun ends all with the first that fails, perhaps unheard
}

const cli_command cli_command_train = {
    "train", "--config FILE.json|-m MODEL|--resume DIR --data FILE... --out DIR", "Train a model.",
    "orion train --config small.json --tokenizer gpt2 --data stories.txt --steps 2000 --out run", options, 0, CLI_MAX_VALUES, run};
