// Ids to bytes. A tokenizer's decoder steps act on each token alone, so they run once, at loading; what is left for
// later is a look-up, the stripping of a leading space, and holding back a character that is not whole yet.
#include "text/impl.h"
#include "text/utf8.h"

struct orion_token_decoder {
  const orion_allocator *allocator;
  const orion_tokenizer *tokenizer;
  unsigned flags;
  size_t strip_left;  // leading characters still to strip
  orion_strbuf out;   // [0, given) was handed out by the last call
  size_t given;
};

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The byte that "<0x0A>" names; -1 for any other spelling.
static int fallback_byte(const char *text, size_t n) {
  if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
  int high = hex_digit(text[3]), low = hex_digit(text[4]);
  return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static void replace(const orion_decode_step *d, const char *text, size_t n, orion_strbuf *out) {
  size_t width = strlen(d->pattern);
  for (size_t i = 0; i < n;) {
    if (n - i >= width && memcmp(text + i, d->pattern, width) == 0) {
      orion_strbuf_adds(out, d->text);
      i += width;
    } else {
      orion_strbuf_addc(out, text[i++]);
    }
  }
}

static void strip(const orion_decode_step *d, const char *text, size_t n, orion_strbuf *out) {
  size_t width = strlen(d->pattern);
  for (size_t k = 0; k < d->start && n >= width && memcmp(text, d->pattern, width) == 0; k++) text += width, n -= width;
  for (size_t k = 0; k < d->stop && n >= width && memcmp(text + n - width, d->pattern, width) == 0; k++) n -= width;
  orion_strbuf_add(out, text, n);
}

static void apply(const orion_decode_step *d, const char *text, size_t n, orion_strbuf *out) {
  orion_text_restart(out);
  int byte;
  switch (d->kind) {
    case ORION_DECODE_ALPHABET:
      for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t k = orion_utf8_next((const uint8_t *)text + i, n - i, &c);
        byte = k ? orion_char_byte(c) : -1;
        if (byte < 0) {  // a token from outside the alphabet is its own text
          orion_text_restart(out);
          orion_strbuf_add(out, text, n);
          return;
        }
        orion_strbuf_addc(out, (char)byte);
        i += k;
      }
      return;
    case ORION_DECODE_BYTE_FALLBACK:
      byte = fallback_byte(text, n);
      if (byte >= 0) {
        orion_strbuf_addc(out, (char)byte);
      } else {
        orion_strbuf_add(out, text, n);
      }
      return;
    case ORION_DECODE_REPLACE:
      replace(d, text, n, out);
      return;
    case ORION_DECODE_STRIP:
      strip(d, text, n, out);
      return;
  }
}

static orion_status keep(orion_tokenizer *t, size_t id, const char *text, size_t n, const char *name,
                         orion_error *err) {
  size_t size;
  if (!orion_add_ok(t->decoded_size, n, &size) || size >= UINT32_MAX) {
    return ORION_FAIL(err, ORION_LIMIT, "%s: more than 4 GiB of token text", name);
  }
  if (!ORION_GROW(t->allocator, &t->decoded, &t->decoded_cap, size + 1)) return ORION_OOM(err, name);
  memcpy(t->decoded + t->decoded_size, text, n);
  t->decoded_spans[id] = (orion_token_span){(uint32_t)t->decoded_size, (uint32_t)n};
  t->decoded_size = size;
  return ORION_OK;
}

orion_status orion_decode_prepare(orion_tokenizer *t, const char *name, orion_error *err) {
  orion_strbuf buffers[2];
  orion_strbuf_init(&buffers[0], t->allocator);
  orion_strbuf_init(&buffers[1], t->allocator);
  t->decoded_spans = orion_alloc_zero(t->allocator, t->vocab.size, sizeof *t->decoded_spans);
  orion_status status = t->decoded_spans ? ORION_OK : ORION_OOM(err, name);
  for (size_t id = 0; id < t->vocab.size && status == ORION_OK; id++) {
    unsigned flags = t->vocab.flags[id];
    size_t n;
    if (!(flags & ORION_TOKEN_USED)) continue;
    const char *text = orion_vocab_text(&t->vocab, (int32_t)id, &n);
    for (size_t i = 0; i < t->decode_count && !(flags & (ORION_TOKEN_SPECIAL | ORION_TOKEN_ADDED)); i++) {
      orion_strbuf *b = &buffers[i & 1];
      apply(&t->decode[i], text, n, b);
      status = orion_strbuf_status(b, err);
      if (status != ORION_OK) break;
      text = orion_strbuf_text(b);
      n = b->size;
    }
    if (status == ORION_OK) status = keep(t, id, text, n, name, err);
  }
  orion_strbuf_deinit(&buffers[0]);
  orion_strbuf_deinit(&buffers[1]);
  return status;
}

orion_status orion_token_decoder_create(const orion_allocator *allocator, const orion_tokenizer *tokenizer,
                                        unsigned flags, orion_token_decoder **out, orion_error *err) {
  const orion_allocator *a = orion_allocator_or_default(allocator);
  orion_token_decoder *d = orion_alloc_zero(a, 1, sizeof *d);
  if (!d) return ORION_OOM(err, "tokenizer");
  d->allocator = a;
  d->tokenizer = tokenizer;
  d->flags = flags;
  d->strip_left = tokenizer->strip_count;
  orion_strbuf_init(&d->out, a);
  *out = d;
  return ORION_OK;
}

void orion_token_decoder_destroy(orion_token_decoder *d) {
  if (!d) return;
  orion_strbuf_deinit(&d->out);
  orion_free(d->allocator, d, 1, sizeof *d);
}

// How many of the bytes may go out: all but a character at the end that only lacks bytes.
static size_t whole_chars(const uint8_t *p, size_t n) {
  for (size_t back = 1; back <= 3 && back <= n; back++) {
    if ((p[n - back] & 0xc0) == 0x80) continue;
    return orion_utf8_is_prefix(p + n - back, back) ? n - back : n;
  }
  return n;
}

static void forget_given(orion_token_decoder *d) {
  size_t rest = d->out.size - d->given;
  if (d->given) memmove(d->out.data, d->out.data + d->given, rest);
  d->out.size = rest;
  d->given = 0;
}

orion_status orion_token_decoder_push(orion_token_decoder *d, int32_t id, const char **out_bytes, size_t *out_size,
                                      orion_error *err) {
  const orion_tokenizer *t = d->tokenizer;
  *out_bytes = "";
  *out_size = 0;
  forget_given(d);
  if (!orion_vocab_has(&t->vocab, id)) {
    return ORION_FAIL(err, ORION_INVALID, "token %d: not in the vocabulary (ids go up to %zu)", id, t->vocab.size - 1);
  }
  bool special = (t->vocab.flags[id] & ORION_TOKEN_SPECIAL) != 0;
  if (special && (d->flags & ORION_DECODE_SKIP_SPECIAL)) return ORION_OK;
  const char *text = t->decoded + t->decoded_spans[id].offset;
  size_t n = t->decoded_spans[id].size, width = strlen(t->strip);
  if (special) d->strip_left = 0;
  size_t strip_left = d->strip_left;
  while (strip_left && n >= width && memcmp(text, t->strip, width) == 0) text += width, n -= width, strip_left--;
  size_t before = d->out.size;
  orion_strbuf_add(&d->out, text, n);
  if (d->out.failed) {  // nothing was added: the decoder can go on when there is memory again
    d->out.failed = false;
    d->out.size = before;
    return ORION_OOM(err, "tokenizer");
  }
  d->strip_left = n ? 0 : strip_left;
  if (d->out.size == 0) return ORION_OK;
  d->given = whole_chars((const uint8_t *)d->out.data, d->out.size);
  *out_bytes = d->out.data;
  *out_size = d->given;
  return ORION_OK;
}

void orion_token_decoder_finish(orion_token_decoder *d, const char **out_bytes, size_t *out_size) {
  forget_given(d);
  *out_bytes = orion_strbuf_text(&d->out);
  *out_size = d->given = d->out.size;
  d->strip_left = d->tokenizer->strip_count;
}

orion_status orion_token_decode(const orion_allocator *allocator, const orion_tokenizer *tokenizer, const int32_t *ids,
                                size_t count, unsigned flags, char **out_text, size_t *out_size, orion_error *err) {
  const orion_allocator *a = orion_allocator_or_default(allocator);
  orion_token_decoder *d = NULL;
  orion_strbuf all;
  orion_strbuf_init(&all, a);
  const char *bytes;
  size_t n;
  char *text = NULL;
  orion_status status = orion_token_decoder_create(a, tokenizer, flags, &d, err);
  if (status != ORION_OK) goto done;
  for (size_t i = 0; i < count; i++) {
    status = orion_token_decoder_push(d, ids[i], &bytes, &n, err);
    if (status != ORION_OK) goto done;
    orion_strbuf_add(&all, bytes, n);
  }
  orion_token_decoder_finish(d, &bytes, &n);
  orion_strbuf_add(&all, bytes, n);
  status = orion_strbuf_status(&all, err);
  if (status != ORION_OK) goto done;
  text = orion_strndup(a, orion_strbuf_text(&all), all.size);
  if (!text) {
    status = ORION_OOM(err, "tokenizer");
    goto done;
  }
  *out_text = text;
  *out_size = all.size;
done:
  orion_token_decoder_destroy(d);
  orion_strbuf_deinit(&all);
  return status;
}

void orion_token_text_free(const orion_allocator *allocator, char *text, size_t size) {
  orion_free(allocator, text, text ? size + 1 : 0, 1);
}
