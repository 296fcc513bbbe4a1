// Text from a model with liborion: the shortest whole program. Build it with the flags that pkg-config gives for orion.
//
//   generate MODEL "Once upon a time"
#include <orion/orion.h>
#include <stdio.h>
#include <string.h>

#define NEW_TOKENS 100

typedef struct app {
  orion_model *model;
  orion_tokenizer *tokenizer;
  orion_token_encoder *encoder;
  orion_token_decoder *decoder;
  orion_device *device;
  orion_session *session;
  orion_sampler *sampler;
} app;

static orion_status open_all(app *a, const char *path, orion_error *err) {
  orion_model_info info;
  orion_sampler_options sampling;
  orion_sampler_options_init(&sampling);
  sampling.temperature = 0.8f;
  ORION_TRY(orion_model_open(NULL, path, &a->model, err));
  orion_model_describe(a->model, &info);
  ORION_TRY(orion_tokenizer_open(NULL, info.tokenizer, NULL, &a->tokenizer, err));
  ORION_TRY(orion_token_encoder_create(NULL, a->tokenizer, &a->encoder, err));
  ORION_TRY(orion_token_decoder_create(NULL, a->tokenizer, ORION_DECODE_SKIP_SPECIAL, &a->decoder, err));
  ORION_TRY(orion_device_open("auto", 0, NULL, &a->device, err));
  ORION_TRY(orion_session_create(a->model, a->device, NULL, &a->session, err));
  return orion_sampler_create(NULL, &sampling, info.vocab, &a->sampler, err);
}

static void close_all(app *a) {
  orion_sampler_destroy(a->sampler);
  orion_session_destroy(a->session);
  orion_device_close(a->device);
  orion_token_decoder_destroy(a->decoder);
  orion_token_encoder_destroy(a->encoder);
  orion_tokenizer_close(a->tokenizer);
  orion_model_close(a->model);
}

static orion_status generate(app *a, const char *prompt, orion_error *err) {
  const int32_t *ids;
  const char *bytes;
  size_t n, size;
  unsigned flags = orion_tokenizer_adds_bos(a->tokenizer) ? ORION_ENCODE_BOS : 0;
  ORION_TRY(orion_token_encode(a->encoder, prompt, strlen(prompt), flags, &ids, &n, err));
  for (size_t i = 0; i < n; i++) ORION_TRY(orion_token_decoder_push(a->decoder, ids[i], &bytes, &size, err));
  ORION_TRY(orion_session_feed(a->session, ids, n, err));
  fputs(prompt, stdout);
  for (int i = 0; i < NEW_TOKENS; i++) {
    int32_t token;
    ORION_TRY(orion_sampler_choose(a->sampler, orion_session_logits(a->session), &token, err));
    if (token == orion_tokenizer_eos(a->tokenizer)) break;
    ORION_TRY(orion_token_decoder_push(a->decoder, token, &bytes, &size, err));
    fwrite(bytes, 1, size, stdout);
    fflush(stdout);
    if (orion_session_position(a->session) == orion_session_context(a->session)) break;
    ORION_TRY(orion_session_feed(a->session, &token, 1, err));
  }
  putchar('\n');
  return ORION_OK;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: generate MODEL PROMPT\n");
    return 2;
  }
  app a = {0};
  orion_error err;
  orion_status status = open_all(&a, argv[1], &err);
  if (status == ORION_OK) status = generate(&a, argv[2], &err);
  if (status != ORION_OK) fprintf(stderr, "generate: %s\n", err.message);
  close_all(&a);
  return status == ORION_OK ? 0 : 1;
}
