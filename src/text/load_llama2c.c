// llama2.c's tokenizer.bin: int32 longest token; then for each token float32 score, int32 bytes, the bytes; all little
// endian. It is SentencePiece's vocabulary with U+2581 written as a space; ids 0, 1, 2 are unknown, begin, end, and
// the size of the vocabulary is not in the file.
#include "base/half.h"
#include "text/impl.h"

static uint32_t read_u32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool is_byte_token(const char *text, size_t n) {
  return n == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>';
}

// llama2.c's export puts newlines around the spelling of the begin and end tokens, for looks.
static void trim_newlines(const char **text, size_t *n) {
  while (*n > 2 && (*text)[0] == '\n') ++*text, --*n;
  while (*n > 2 && (*text)[*n - 1] == '\n') --*n;
}

static orion_status read_tokens(orion_tokenizer *t, float **scores, size_t *cap, const char *name, const uint8_t *data,
                                size_t size, int32_t vocab_size, orion_error *err) {
  if (size < 4) return ORION_FAIL(err, ORION_FORMAT, "%s: %zu bytes, too short for a tokenizer.bin", name, size);
  int32_t longest = (int32_t)read_u32(data), id = 0;
  if (longest < 1 || longest > ORION_TEXT_MAX_PIECE) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: longest token of %d bytes at offset 0 (want 1 to %d)", name, longest,
                      ORION_TEXT_MAX_PIECE);
  }
  for (size_t at = 4; vocab_size ? id < vocab_size : at < size; id++) {
    if (size - at < 8) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: ends at offset %zu within token %d", name, size, id);
    }
    float score = orion_bits_to_float(read_u32(data + at));
    int32_t n = (int32_t)read_u32(data + at + 4);
    if (n < 0 || n > longest || (size_t)n > size - at - 8) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: token %d at offset %zu has %d bytes (want 0 to %d, and %zu are left)",
                        name, id, at, n, longest, size - at - 8);
    }
    if (score != score) return ORION_FAIL(err, ORION_FORMAT, "%s: token %d at offset %zu: score is NaN", name, id, at);
    const char *text = (const char *)data + at + 8;
    size_t bytes = (size_t)n;
    unsigned flags = id < 3 ? ORION_TOKEN_SPECIAL : is_byte_token(text, bytes) ? ORION_TOKEN_BYTE : ORION_TOKEN_PLAIN;
    if (id < 3) trim_newlines(&text, &bytes);
    ORION_TRY(orion_vocab_add_shadowed(&t->vocab, id, text, bytes, flags, name, err));
    if (!ORION_GROW(t->allocator, scores, cap, (size_t)id + 1)) return ORION_OOM(err, name);
    (*scores)[id] = score;
    at += 8 + (size_t)n;
  }
  if (id < 4) return ORION_FAIL(err, ORION_FORMAT, "%s: %d tokens, too few for a tokenizer.bin", name, id);
  return ORION_OK;
}

orion_status orion_load_llama2c(orion_tokenizer *t, const char *name, const uint8_t *data, size_t size,
                                int32_t vocab_size, orion_error *err) {
  float *scores = NULL;
  size_t cap = 0;
  t->kind = "llama2.c SentencePiece BPE";
  t->unknown = 0;
  t->bos = 1;
  t->eos = 2;
  t->adds_bos = true;
  t->byte_fallback = t->fuse_unknown = true;
  t->strip[0] = ' ';
  t->strip_count = 1;
  orion_status status = read_tokens(t, &scores, &cap, name, data, size, vocab_size, err);
  if (status == ORION_OK) status = orion_merges_from_scores(t, scores, name, err);
  for (int32_t id = 0; id < 3 && status == ORION_OK; id++) {
    if (t->vocab.spans[id].size == 0) continue;
    status = orion_add_added(t, (orion_added_token){.id = id, .special = true}, name, err);
  }
  orion_normalize_step *step = NULL;
  if (status == ORION_OK) status = orion_add_normalize(t, ORION_NORMALIZE_PREPEND, " ", name, &step, err);
  if (status == ORION_OK) step->left = true;
  if (status == ORION_OK) status = orion_add_decode(t, ORION_DECODE_BYTE_FALLBACK, NULL, NULL, 0, 0, name, err);
  orion_free(t->allocator, scores, cap, sizeof *scores);
  return status;
}
