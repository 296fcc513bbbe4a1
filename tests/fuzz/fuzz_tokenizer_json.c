// tokenizer.json, and encoding and decoding with whatever loads: the ids of any text must decode.
#include <stdlib.h>

#include "fuzz.h"
#include "orion/tokenizer.h"

static const char sample[] = "Hello  world, don't <s>\xc3\xa9\xe2\x96\x81\xff 123\n\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  orion_tokenizer_options options = {.struct_size = sizeof options, .format = ORION_TOKENIZER_JSON};
  orion_tokenizer *tokenizer = NULL;
  orion_token_encoder *encoder = NULL;
  orion_error err;
  if (orion_tokenizer_open_memory(NULL, "input", data, size, NULL, 0, &options, &tokenizer, &err) != ORION_OK) return 0;
  if (orion_token_encoder_create(NULL, tokenizer, &encoder, &err) == ORION_OK) {
    const int32_t *ids;
    size_t count, n;
    char *text;
    unsigned flags = ORION_ENCODE_BOS | ORION_ENCODE_EOS | ORION_ENCODE_SPECIAL;
    if (orion_token_encode(encoder, sample, sizeof sample - 1, flags, &ids, &count, &err) == ORION_OK) {
      if (orion_token_decode(NULL, tokenizer, ids, count, 0, &text, &n, &err) != ORION_OK) abort();
      orion_token_text_free(NULL, text, n);
    }
  }
  orion_token_encoder_destroy(encoder);
  orion_tokenizer_close(tokenizer);
  return 0;
}
