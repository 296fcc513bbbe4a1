#include "cli/text_model.h"
#include "cli/sim_report.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/thread.h"
#include "device/cpu/cpu.h"

static orion_status open_tokenizer(const cli_args *a, bool need, text_model *out, orion_error *err) {
  const char *path = cli_text(a, "tokenizer", NULL);
  orion_tokenizer_options options = {.struct_size = sizeof options};
  // A llama2.c tokenizer does not say how many tokens it has. One that was asked for is cut to the model's vocabulary;
  // one that merely lies beside the model must fit by itself.
  if (path && out->model->config.vocab <= INT32_MAX) options.vocab_size = (int32_t)out->model->config.vocab;
  orion_status status = orion_tokenizer_open(NULL, path ? path : out->model->dir, &options, &out->tokenizer, err);
  if (status == ORION_NOT_FOUND && !path) {
    if (!need) return ORION_OK;
    return ORION_FAIL(err, ORION_NOT_FOUND, "%s: no tokenizer beside the model (give --tokenizer, or --tokens)",
                      out->model->dir);
  }
  if (status != ORION_OK) return status;
  int32_t tokens = orion_tokenizer_vocab_size(out->tokenizer);
  if (tokens > out->model->config.vocab && !path) {
    orion_tokenizer_close(out->tokenizer);
    out->tokenizer = NULL;
    if (!need) return ORION_OK;
    return ORION_FAIL(err, ORION_NOT_FOUND, "%s: the tokenizer beside the model has %d tokens, the model %lld (give --tokenizer)",
                      out->model->dir, tokens, (long long)out->model->config.vocab);
  }
  if (tokens > out->model->config.vocab) {
    cli_warn("the tokenizer has %d tokens, the model %lld", tokens, (long long)out->model->config.vocab);
  }
  return orion_token_encoder_create(NULL, out->tokenizer, &out->encoder, err);
}

// A session with slots just wide enough for the adapters, and these in use.
static orion_status open_session(orion_session_options *options, text_model *out, orion_error *err) {
  options->lora_rank = out->lora.rank;
  options->lora_targets = out->lora.targets;
  ORION_TRY(orion_session_create(out->model, out->device, options, &out->session, err));
  if (out->lora.n == 0) return ORION_OK;
  ORION_TRY(orion_mix_create(out->session, out->lora.parts, out->lora.n, &out->mix, err));
  orion_session_use(out->session, out->mix);
  return ORION_OK;
}

// The cpu device keeps packed weights for the next start, unless the specification says of the cache what it wants.
static orion_status open_device(const cli_args *a, text_model *out, orion_error *err) {
  const char *asked = cli_text(a, "device", NULL);
  ORION_TRY(cli_open_device(a, &out->device, err));
  return asked && strstr(asked, "cache=") ? ORION_OK : orion_cpu_keep_weights(out->device, err);
}

typedef struct opening {
  const cli_args *a;
  bool need_tokenizer;
  orion_session_options *options;
  text_model *out;
  orion_status status[2];
  orion_error errors[2];
} opening;

// Two things that take time and have nothing to do with each other: the tokenizer, and the session with its device.
static void open_one(void *ctx, size_t begin, size_t end, int worker) {
  opening *o = ctx;
  for (size_t i = begin; i < end; i++) {
    orion_error *err = &o->errors[i];
    if (i == 0) {
      o->status[0] = open_tokenizer(o->a, o->need_tokenizer, o->out, err);
      continue;
    }
    o->status[1] = open_device(o->a, o->out, err);
    if (o->status[1] == ORION_OK) o->status[1] = cli_sim_report_start(o->a, o->out->device, err);
    if (o->status[1] == ORION_OK) o->status[1] = open_session(o->options, o->out, err);
  }
}

static orion_status open_both(opening *o, orion_error *err) {
  orion_pool *pool;
  ORION_TRY(orion_pool_create(NULL, orion_cpu_count() > 1 ? 2 : 1, &pool, err));
  orion_parallel_for(pool, 2, 1, open_one, o);
  orion_pool_destroy(pool);
  for (int i = 0; i < 2; i++) {
    if (o->status[i] == ORION_OK) continue;
    if (err) *err = o->errors[i];
    return o->status[i];
  }
  return ORION_OK;
}

orion_status text_model_open(const cli_args *a, bool need_tokenizer, int64_t positions, text_model *out, orion_error *err) {
  *out = (text_model){0};
  double start = orion_now();
  const char *path = cli_text(a, "model", NULL);
  if (!path) return CLI_USAGE(err, "%s: -m MODEL is missing", a->command->name);
  int64_t context = cli_int(a, "ctx", 0);
  if (cli_flag(a, "ctx") && context < 1) return CLI_USAGE(err, "--ctx: %lld is not 1 or more", (long long)context);
  orion_session_options options;
  orion_session_options_init(&options);
  options.context = context;
  options.weights = cli_text(a, "weights", NULL);
  options.target = cli_text(a, "target", NULL);
  options.passes = cli_text(a, "passes", NULL);
  orion_status status = orion_model_open(NULL, path, &out->model, err);
  if (status == ORION_OK && !context && positions && positions < out->model->config.context) options.context = positions;
  if (status == ORION_OK) status = lora_args_open(a, "lora", out->model, &out->lora, err);
  opening both = {.a = a, .need_tokenizer = need_tokenizer, .options = &options, .out = out};
  if (status == ORION_OK) status = open_both(&both, err);
  if (status != ORION_OK) {
    text_model_close(out);
    return status;
  }
  out->load_ms = 1e3 * (orion_now() - start);
  return ORION_OK;
}

void text_model_close(text_model *t) {
  orion_mix_destroy(t->mix);
  orion_session_destroy(t->session);
  lora_args_close(&t->lora);
  orion_device_close(t->device);
  orion_token_encoder_destroy(t->encoder);
  orion_tokenizer_close(t->tokenizer);
  orion_model_close(t->model);
  *t = (text_model){0};
}

orion_status text_model_encode(text_model *t, const char *text, size_t size, const int32_t **out_ids, size_t *out_n,
                               orion_error *err) {
  unsigned flags = ORION_ENCODE_SPECIAL;
  if (orion_tokenizer_adds_bos(t->tokenizer)) flags |= ORION_ENCODE_BOS;
  return orion_token_encode(t->encoder, text, size, flags, out_ids, out_n, err);
}
