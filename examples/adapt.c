// A new style for a model: trains an adapter of rank 8 on a text, and writes with the model alone and with the adapter.
//
//   adapt MODEL STYLE.txt OUT "Once upon a time" [STEPS]
//
// OUT receives the run: its last checkpoint, OUT/step-N, is a PEFT directory that PyTorch's PEFT loads, and that
// `orion infer --lora OUT/step-N` applies. The model itself is only read.
#include <orion/orion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEW_TOKENS 60

typedef struct app {
  orion_model *model;
  orion_tokenizer *tokenizer;
  orion_token_encoder *encoder;
  orion_device *device;
  orion_trainer *trainer;
  orion_adapter *adapter;
  orion_session *session;
  orion_mix *mix;
  orion_sampler *sampler;
} app;

static orion_status open_all(app *a, const char *path, orion_error *err) {
  orion_model_info info;
  ORION_TRY(orion_model_open(NULL, path, &a->model, err));
  orion_model_describe(a->model, &info);
  ORION_TRY(orion_tokenizer_open(NULL, info.tokenizer, NULL, &a->tokenizer, err));
  ORION_TRY(orion_token_encoder_create(NULL, a->tokenizer, &a->encoder, err));
  ORION_TRY(orion_device_open("cpu", 0, NULL, &a->device, err));
  orion_session_options options;
  orion_session_options_init(&options);
  options.lora_rank = 8;  // slots are compiled in once; what runs in them changes at any time
  ORION_TRY(orion_session_create(a->model, a->device, &options, &a->session, err));
  orion_sampler_options greedy;
  orion_sampler_options_init(&greedy);
  return orion_sampler_create(NULL, &greedy, info.vocab, &a->sampler, err);
}

static void close_all(app *a) {
  orion_sampler_destroy(a->sampler);
  orion_mix_destroy(a->mix);
  orion_session_destroy(a->session);
  orion_adapter_close(a->adapter);
  orion_trainer_destroy(a->trainer);
  orion_device_close(a->device);
  orion_token_encoder_destroy(a->encoder);
  orion_tokenizer_close(a->tokenizer);
  orion_model_close(a->model);
}

// The prompt and what follows, on one line.
static orion_status write_text(app *a, const char *heading, const char *prompt, orion_error *err) {
  const int32_t *ids;
  size_t n, size;
  unsigned flags = orion_tokenizer_adds_bos(a->tokenizer) ? ORION_ENCODE_BOS : 0;
  ORION_TRY(orion_token_encode(a->encoder, prompt, strlen(prompt), flags, &ids, &n, err));
  if (n == 0) return ORION_OK;
  int32_t text[NEW_TOKENS];
  int made = 0;
  orion_session_truncate(a->session, 0);
  ORION_TRY(orion_session_feed(a->session, ids, n, err));
  while (made < NEW_TOKENS && orion_session_position(a->session) < orion_session_context(a->session)) {
    int32_t *next = &text[made++];
    ORION_TRY(orion_sampler_choose(a->sampler, orion_session_logits(a->session), next, err));
    ORION_TRY(orion_session_feed(a->session, next, 1, err));
  }
  char *words;
  ORION_TRY(orion_token_decode(NULL, a->tokenizer, text, (size_t)made, ORION_DECODE_SKIP_SPECIAL, &words, &size, err));
  printf("%s: %s%s\n", heading, prompt, words);
  orion_token_text_free(NULL, words, size);
  return ORION_OK;
}

static orion_status train(app *a, const char *style, const char *out, int64_t steps, orion_error *err) {
  orion_model_info info;
  orion_model_describe(a->model, &info);
  orion_train_options o;
  orion_train_options_init(&o);
  o.data = &style;
  o.n_data = 1;
  o.steps = steps;
  o.batch = 8;
  o.seq = info.context < 64 ? info.context : 64;
  o.lr = 5e-3;
  o.min_lr = 5e-4;
  o.warmup = steps / 10;
  o.weight_decay = 0.01;
  o.lora_rank = 8;
  o.lora_targets = "all";
  ORION_TRY(orion_trainer_create(a->model, a->device, a->tokenizer, &o, &a->trainer, err));
  for (int64_t i = 0; i < steps; i++) {
    orion_train_metrics m;
    ORION_TRY(orion_trainer_step(a->trainer, &m, err));
    if ((i + 1) % (steps < 5 ? 1 : steps / 5) == 0) printf("step %lld: loss %.3f\n", (long long)m.step, m.loss);
  }
  return orion_trainer_save(a->trainer, out, 1, err);
}

static orion_status adapt(app *a, char **argv, int64_t steps, orion_error *err) {
  ORION_TRY(open_all(a, argv[1], err));
  ORION_TRY(write_text(a, "before", argv[4], err));
  ORION_TRY(train(a, argv[2], argv[3], steps, err));
  char path[4096];
  snprintf(path, sizeof path, "%s/step-%08lld", argv[3], (long long)steps);
  ORION_TRY(orion_adapter_open(a->model, path, &a->adapter, err));
  const orion_mix_part part = {a->adapter, 1};
  ORION_TRY(orion_mix_create(a->session, &part, 1, &a->mix, err));
  orion_session_use(a->session, a->mix);
  ORION_TRY(write_text(a, "after", argv[4], err));
  orion_session_use(a->session, NULL);
  return write_text(a, "without", argv[4], err);
}

int main(int argc, char **argv) {
  int64_t steps = argc > 5 ? atoll(argv[5]) : 200;
  if (argc < 5 || argc > 6 || steps < 1) {
    fprintf(stderr, "usage: adapt MODEL STYLE.txt OUT PROMPT [STEPS]\n");
    return 2;
  }
  app a = {0};
  orion_error err;
  orion_status status = adapt(&a, argv, steps, &err);
  if (status != ORION_OK) fprintf(stderr, "adapt: %s\n", err.message);
  close_all(&a);
  return status == ORION_OK ? 0 : 1;
}
