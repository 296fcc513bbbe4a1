// SentencePiece models, and llama2.c's tokenizer.bin (the same bytes are tried as both); then encoding and decoding
// with whatever loads: the ids of any text must decode.
#include <stdlib.h>

#include "fuzz.h"
#include "orion/tokenizer.h"

static const char sample[] = "Hello  world <s>\xc3\xa9\xe2\x96\x81\xff 123\n\n";

static void use(const orion_tokenizer *tokenizer) {
  orion_token_encoder *encoder = NULL;
  orion_error err;
  const int32_t *ids;
  size_t count, n;
  char *text;
  if (orion_token_encoder_create(NULL, tokenizer, &encoder, &err) != ORION_OK) return;
  unsigned flags = ORION_ENCODE_BOS | ORION_ENCODE_EOS | ORION_ENCODE_SPECIAL;
  if (orion_token_encode(encoder, sample, sizeof sample - 1, flags, &ids, &count, &err) == ORION_OK) {
    if (orion_token_decode(NULL, tokenizer, ids, count, 0, &text, &n, &err) != ORION_OK) abort();
    orion_token_text_free(NULL, text, n);
  }
  orion_token_encoder_destroy(encoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const orion_tokenizer_format formats[] = {ORION_TOKENIZER_SENTENCEPIECE, ORION_TOKENIZER_LLAMA2C};
  for (int i = 0; i < 2; i++) {
    orion_tokenizer_options options = {.struct_size = sizeof options, .format = formats[i]};
    orion_tokenizer *tokenizer = NULL;
    orion_error err;
    if (orion_tokenizer_open_memory(NULL, "input", data, size, NULL, 0, &options, &tokenizer, &err) == ORION_OK) {
      use(tokenizer);
      orion_tokenizer_close(tokenizer);
    }
  }
  return 0;
}
