// Text to ids, once, when a text file is opened.
#include "train/tokens_impl.h"

#define SEPARATOR "<|endoftext|>"
#define MAX_TEXT ((size_t)1 << 31)

typedef struct encoding {
  const orion_allocator *allocator;
  const orion_tokenizer *tokenizer;
  orion_token_encoder *encoder;
  orion_token_file *out;
} encoding;

static orion_status add(encoding *e, const char *text, size_t size, unsigned flags, orion_error *err) {
  const int32_t *ids;
  size_t n;
  ORION_TRY(orion_token_encode(e->encoder, text, size, flags, &ids, &n, err));
  orion_token_file *f = e->out;
  if (!ORION_GROW(e->allocator, &f->ids, &f->cap_ids, (size_t)f->n + n)) return ORION_OOM(err, "text");
  memcpy(f->ids + f->n, ids, n * sizeof *ids);
  f->n += n;
  return ORION_OK;
}

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static orion_status add_documents(encoding *e, const char *text, size_t size, orion_error *err) {
  for (const char *end = text + size; text < end;) {
    const char *separator = memmem(text, (size_t)(end - text), SEPARATOR, strlen(SEPARATOR));
    const char *next = separator ? separator + strlen(SEPARATOR) : end, *stop = separator ? separator : end;
    while (text < stop && is_blank(*text)) text++;
    while (text < stop && is_blank(stop[-1])) stop--;
    if (text < stop) ORION_TRY(add(e, text, (size_t)(stop - text), ORION_ENCODE_BOS, err));
    text = next;
  }
  return ORION_OK;
}

// In pieces that end after a separator: the encoder's memory stays small, and so does each stretch.
static orion_status add_whole(encoding *e, const char *text, size_t size, orion_error *err) {
  for (const char *end = text + size; text < end;) {
    const char *separator = memmem(text, (size_t)(end - text), SEPARATOR, strlen(SEPARATOR));
    const char *next = separator ? separator + strlen(SEPARATOR) : end;
    ORION_TRY(add(e, text, (size_t)(next - text), ORION_ENCODE_SPECIAL, err));
    text = next;
  }
  return ORION_OK;
}

orion_status orion_token_file_encode(const orion_allocator *a, const char *path, const orion_tokenizer *tokenizer,
                                     orion_token_file *out, orion_error *err) {
  if (!tokenizer) {
    return ORION_FAIL(err, ORION_INVALID, "%s: a text, and there is no tokenizer for it (give --tokenizer; ids are .bin)",
                      path);
  }
  encoding e = {a, tokenizer, NULL, out};
  orion_file_map map;
  ORION_TRY(orion_file_open_map(path, &map, err));
  orion_status status = orion_token_encoder_create(a, tokenizer, &e.encoder, err);
  if (status == ORION_OK && map.size > MAX_TEXT) {
    status = ORION_FAIL(err, ORION_LIMIT, "%s: %zu bytes of text (at most %zu; write ids with orion tokenize --to)", path,
                        map.size, MAX_TEXT);
  }
  if (status == ORION_OK) {
    int32_t id = orion_tokenizer_token_id(tokenizer, SEPARATOR, strlen(SEPARATOR));
    const char *text = (const char *)map.data;
    status = id >= 0 ? add_whole(&e, text, map.size, err) : add_documents(&e, text, map.size, err);
    if (status != ORION_OK) orion_error_prefix(err, "%s", path);
  }
  orion_token_encoder_destroy(e.encoder);
  orion_file_close_map(&map);
  out->bytes = (const uint8_t *)out->ids;
  out->width = 4;
  return status;
}
