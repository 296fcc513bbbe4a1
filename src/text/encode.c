// Encoding: cuts the text along impl.h's picture and turns pieces into ids.
//
// Cutting is a walk in depth: each step hands its parts to the next one at once, so that no list of pieces is built
// and a text of any length needs little memory. A text that is not well-formed UTF-8 is walked together with a stand-in
// of the same length, in which every malformed byte is U+0001 (no letter, no digit, no space): patterns look at the
// stand-in, ids come from the bytes. So any bytes survive the way through a byte-level vocabulary.
//
// Without pretokenizer (SentencePiece and its kin) a piece is the whole text; it is still cut, at places that no token
// can span: where the last byte of a character and the first of the next stand side by side in no token. The result is
// the same, and short chunks repeat, which the cache likes.
#include "text/impl.h"
#include "text/utf8.h"

enum {
  CACHE_ENTRIES = 1 << 14,
  METASPACE_CLASS = 0xff,  // U+2581 counts as one byte of its own: it is the commonest place to cut
};

typedef struct view {
  const uint8_t *text;  // well-formed when the tokenizer has patterns
  const uint8_t *raw;   // the bytes that are meant; == text unless malformed
  size_t size;
  bool first;  // begins where the whole text begins
} view;

orion_status orion_encoder_emit(orion_token_encoder *e, int32_t id, orion_error *err) {
  if (!ORION_GROW(e->allocator, &e->ids, &e->cap, e->count + 1)) return ORION_OOM(err, "tokenizer");
  e->ids[e->count++] = id;
  e->last_unknown = false;
  return ORION_OK;
}

// A character that is no token: its bytes, or the unknown token.
orion_status orion_encoder_emit_unknown(orion_token_encoder *e, const uint8_t *text, size_t n, orion_error *err) {
  const orion_tokenizer *t = e->tokenizer;
  bool bytes = t->byte_fallback;
  for (size_t i = 0; i < n && bytes; i++) bytes = t->byte_ids[text[i]] >= 0;
  if (bytes) {
    for (size_t i = 0; i < n; i++) ORION_TRY(orion_encoder_emit(e, t->byte_ids[text[i]], err));
    return ORION_OK;
  }
  char quoted[180];
  if (t->unknown < 0) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "tokenizer: no token for \"%s\", and no token for the unknown",
                      orion_token_quote((const char *)text, n, quoted));
  }
  e->saw_unknown = true;
  if (e->last_unknown && t->fuse_unknown) return ORION_OK;
  ORION_TRY(orion_encoder_emit(e, t->unknown, err));
  e->last_unknown = true;
  return ORION_OK;
}

static int32_t symbol_of(const orion_tokenizer *t, const uint8_t *text, size_t n) {
  int32_t id = orion_vocab_find(&t->vocab, text, n);
  if (id >= 0 && (t->vocab.flags[id] & ORION_TOKEN_PLAIN)) return id;
  id = orion_vocab_find(&t->loose, text, n);
  return id >= 0 ? id + (int32_t)t->vocab.size : -1;
}

// Fallback bytes may merge only if the file lists such merges, so they enter as symbols; an unknown character enters as
// a symbol that never merges.
static orion_status fill_symbols(orion_token_encoder *e, const uint8_t *text, size_t n, orion_error *err) {
  const orion_tokenizer *t = e->tokenizer;
  orion_merge_work *w = &e->work;
  w->count = 0;
  if (!ORION_GROW(e->allocator, &w->symbols, &w->symbols_cap, n)) return ORION_OOM(err, "tokenizer");
  if (t->byte_level) {
    for (size_t i = 0; i < n; i++) w->symbols[w->count++] = (orion_symbol){t->byte_ids[text[i]], (uint32_t)i, 0, 0};
    return ORION_OK;
  }
  for (size_t i = 0; i < n;) {
    size_t k = orion_utf8_step(text + i, n - i);
    int32_t id = symbol_of(t, text + i, k);
    bool bytes = id < 0 && t->byte_fallback;
    for (size_t j = 0; j < k && bytes; j++) bytes = t->byte_ids[text[i + j]] >= 0;
    for (size_t j = 0; j < k && bytes; j++) {
      w->symbols[w->count++] = (orion_symbol){t->byte_ids[text[i + j]], (uint32_t)(i + j), 0, 0};
    }
    if (!bytes) w->symbols[w->count++] = (orion_symbol){id, (uint32_t)i, 0, 0};
    i += k;
  }
  return ORION_OK;
}

static orion_status merge_chunk(orion_token_encoder *e, const uint8_t *text, size_t n, orion_error *err) {
  const orion_tokenizer *t = e->tokenizer;
  orion_merge_work *w = &e->work;
  if (n >= INT32_MAX) return ORION_FAIL(err, ORION_LIMIT, "tokenizer: a piece of %zu bytes (want less than 2^31)", n);
  ORION_TRY(fill_symbols(e, text, n, err));
  if (!orion_merges_apply(&t->merges, w)) return ORION_OOM(err, "tokenizer");
  for (uint32_t i = 0; i != ORION_SYMBOL_END; i = w->symbols[i].next) {
    const orion_symbol *s = &w->symbols[i];
    if (s->id >= 0 && (size_t)s->id < t->vocab.size) {
      ORION_TRY(orion_encoder_emit(e, s->id, err));
    } else {
      size_t end = s->next == ORION_SYMBOL_END ? n : w->symbols[s->next].start;
      ORION_TRY(orion_encoder_emit_unknown(e, text + s->start, end - s->start, err));
    }
  }
  return ORION_OK;
}

static orion_status encode_chunk(orion_token_encoder *e, const uint8_t *text, size_t n, orion_error *err) {
  const orion_tokenizer *t = e->tokenizer;
  orion_piece_entry *entry = NULL;
  if (n <= sizeof entry->text) {
    entry = &e->cache[orion_text_hash(text, n) & (CACHE_ENTRIES - 1)];
    if (entry->size == n && memcmp(entry->text, text, n) == 0) {
      if (!ORION_GROW(e->allocator, &e->ids, &e->cap, e->count + entry->count)) return ORION_OOM(err, "tokenizer");
      memcpy(e->ids + e->count, entry->ids, entry->count * sizeof *e->ids);
      e->count += entry->count;
      e->last_unknown = false;
      return ORION_OK;
    }
  }
  size_t before = e->count;
  e->saw_unknown = false;
  ORION_TRY(t->unigram ? orion_unigram_encode(e, text, n, err) : merge_chunk(e, text, n, err));
  size_t count = e->count - before;
  if (entry && !e->saw_unknown && count <= sizeof entry->ids / sizeof *entry->ids) {
    entry->size = (uint8_t)n;
    entry->count = (uint8_t)count;
    memcpy(entry->text, text, n);
    memcpy(entry->ids, e->ids + before, count * sizeof *entry->ids);
  }
  return ORION_OK;
}

// The token that is spelled like the whole piece; -1: none.
static orion_status find_whole(orion_token_encoder *e, const uint8_t *text, size_t n, int32_t *out, orion_error *err) {
  const orion_tokenizer *t = e->tokenizer;
  uint8_t stack[128];
  const void *spelling = text;
  *out = -1;
  if (n > t->longest) return ORION_OK;
  if (t->byte_level && 2 * n <= sizeof stack) {
    n = orion_bytes_to_alphabet(text, n, stack);
    spelling = stack;
  } else if (t->byte_level) {
    if (!ORION_GROW(e->allocator, &e->spelling, &e->spelling_cap, 2 * n)) return ORION_OOM(err, "tokenizer");
    n = orion_bytes_to_alphabet(text, n, e->spelling);
    spelling = e->spelling;
  }
  int32_t id = orion_vocab_find(&t->vocab, spelling, n);
  if (id >= 0 && !(t->vocab.flags[id] & ORION_TOKEN_SPECIAL)) *out = id;
  return ORION_OK;
}

// The class of a character at a cut: its byte on that side.
static inline bool is_metaspace(const uint8_t *p, size_t n) {
  return n == 3 && p[0] == 0xe2 && p[1] == 0x96 && p[2] == 0x81;
}

static orion_status encode_piece(orion_token_encoder *e, const uint8_t *text, size_t n, orion_error *err) {
  const orion_tokenizer *t = e->tokenizer;
  e->last_unknown = false;
  if (t->ignore_merges) {
    int32_t id;
    ORION_TRY(find_whole(e, text, n, &id, err));
    if (id >= 0) return orion_encoder_emit(e, id, err);
  }
  if (t->byte_level) return encode_chunk(e, text, n, err);
  size_t begin = 0, k = orion_utf8_step(text, n);
  uint8_t last = is_metaspace(text, k) ? METASPACE_CLASS : text[k - 1];
  for (size_t i = k; i < n; i += k) {
    k = orion_utf8_step(text + i, n - i);
    bool meta = is_metaspace(text + i, k);
    uint8_t next = meta ? METASPACE_CLASS : text[i];
    if (!(t->joined[last][next >> 3] >> (next & 7) & 1)) {
      ORION_TRY(encode_chunk(e, text + begin, i - begin, err));
      begin = i;
    }
    last = meta ? METASPACE_CLASS : text[i + k - 1];
  }
  return encode_chunk(e, text + begin, n - begin, err);
}

static orion_status cut(orion_token_encoder *e, size_t step, view v, orion_error *err);

static orion_status cut_part(orion_token_encoder *e, size_t step, const view *v, size_t begin, size_t end,
                             orion_error *err) {
  if (begin == end) return ORION_OK;
  view part = {v->text + begin, v->raw + begin, end - begin, v->first && begin == 0};
  return cut(e, step + 1, part, err);
}

// Matches and what lies between them, joined as the behaviour says. A run under construction is [begin, end).
typedef struct run {
  size_t begin, end;
  bool any, match;
} run;

static orion_status add_segment(orion_token_encoder *e, size_t step, const view *v, run *r, size_t begin, size_t end,
                                bool match, orion_error *err) {
  bool join = false;
  if (begin == end) return ORION_OK;
  switch (e->tokenizer->cut[step].behavior) {
    case ORION_SPLIT_REMOVED:
      return match ? ORION_OK : cut_part(e, step, v, begin, end, err);
    case ORION_SPLIT_ISOLATED:
      return cut_part(e, step, v, begin, end, err);
    case ORION_SPLIT_MERGED_WITH_PREVIOUS:
      join = r->any && match && !r->match;
      break;
    case ORION_SPLIT_MERGED_WITH_NEXT:
      join = r->any && !match && r->match;
      break;
    case ORION_SPLIT_CONTIGUOUS:
      join = r->any && match == r->match;
      break;
  }
  if (!join) {
    if (r->any) ORION_TRY(cut_part(e, step, v, r->begin, r->end, err));
    r->begin = begin;
  }
  r->end = end;
  r->any = true;
  r->match = match;
  return ORION_OK;
}

static orion_status cut_split(orion_token_encoder *e, size_t step, const view *v, orion_error *err) {
  const orion_cut_step *c = &e->tokenizer->cut[step];
  run r = {0};
  for (size_t at = 0, begin, end; at < v->size; at = end) {
    ORION_TRY(orion_regex_find(c->pattern, e->regex, v->text, v->size, at, &begin, &end, err));
    ORION_TRY(add_segment(e, step, v, &r, at, begin, c->invert, err));
    ORION_TRY(add_segment(e, step, v, &r, begin, end, !c->invert, err));
  }
  return r.any ? cut_part(e, step, v, r.begin, r.end, err) : ORION_OK;
}

static void rewrite_spaces(const orion_cut_step *c, bool first, const uint8_t *text, size_t n, orion_strbuf *out) {
  size_t width = strlen(c->text);
  orion_text_restart(out);
  if (c->kind == ORION_CUT_PREFIX_SPACE) {
    if (text[0] != ' ') orion_strbuf_addc(out, ' ');
    orion_strbuf_add(out, text, n);
    return;
  }
  bool prepend = c->prepend == ORION_PREPEND_ALWAYS || (c->prepend == ORION_PREPEND_FIRST && first);
  bool there = text[0] == ' ' || (n >= width && memcmp(text, c->text, width) == 0);
  if (prepend && !there) orion_strbuf_add(out, c->text, width);
  for (size_t i = 0, from = 0; i <= n; i++) {
    if (i < n && text[i] != ' ') continue;
    orion_strbuf_add(out, text + from, i - from);
    if (i < n) orion_strbuf_add(out, c->text, width);
    from = i + 1;
  }
}

static orion_status cut(orion_token_encoder *e, size_t step, view v, orion_error *err) {
  const orion_tokenizer *t = e->tokenizer;
  if (step == t->cut_count) return encode_piece(e, v.raw, v.size, err);
  const orion_cut_step *c = &t->cut[step];
  if (c->kind == ORION_CUT_SPLIT) return cut_split(e, step, &v, err);
  orion_strbuf *text = &e->rewritten[step].text, *raw = &e->rewritten[step].raw;
  rewrite_spaces(c, v.first, v.text, v.size, text);
  ORION_TRY(orion_strbuf_status(text, err));
  view next = {(const uint8_t *)text->data, (const uint8_t *)text->data, text->size, v.first};
  if (v.raw != v.text) {
    rewrite_spaces(c, v.first, v.raw, v.size, raw);
    ORION_TRY(orion_strbuf_status(raw, err));
    next.raw = (const uint8_t *)raw->data;
  }
  return cut(e, step + 1, next, err);
}

static orion_status encode_normal(orion_token_encoder *e, const uint8_t *text, size_t n, bool first, orion_error *err) {
  if (n == 0) return ORION_OK;
  view v = {text, text, n, first};
  if (e->tokenizer->cut_count && !orion_utf8_valid(text, n)) {
    orion_text_restart(&e->shadow);
    orion_strbuf_add(&e->shadow, text, n);
    ORION_TRY(orion_strbuf_status(&e->shadow, err));
    for (size_t i = 0; i < n;) {
      uint32_t c;
      size_t k = orion_utf8_next(text + i, n - i, &c);
      if (k == 0) e->shadow.data[i] = 1;
      i += k ? k : 1;
    }
    v.text = (const uint8_t *)e->shadow.data;
  }
  return cut(e, 0, v, err);
}

// White space as added tokens strip it: ASCII's.
static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_word(uint8_t c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

typedef orion_status (*stretch_fn)(orion_token_encoder *e, const uint8_t *text, size_t n, bool first, bool lead,
                                   orion_error *err);

// Hands the stretches between added tokens to `fn`. `lead`: at the beginning of the text or after a special token.
static orion_status split_added(orion_token_encoder *e, const orion_added_trie *trie, bool special, const uint8_t *text,
                                size_t n, bool first, bool lead, stretch_fn fn, orion_error *err) {
  const orion_tokenizer *t = e->tokenizer;
  size_t from = 0;
  for (size_t i = 0; i < n && trie->count > 1;) {
    size_t size;
    int32_t k = trie->first[text[i]] ? orion_added_match(t, trie, special, text + i, n - i, &size) : -1;
    if (k >= 0 && t->added[k].single_word &&
        ((i > 0 && is_word(text[i - 1])) || (i + size < n && is_word(text[i + size])))) {
      k = -1;
    }
    if (k < 0) {
      i++;
      continue;
    }
    size_t end = i, next = i + size;
    while (t->added[k].lstrip && end > from && is_space(text[end - 1])) end--;
    while (t->added[k].rstrip && next < n && is_space(text[next])) next++;
    if (end > from) ORION_TRY(fn(e, text + from, end - from, first && from == 0, lead, err));
    ORION_TRY(orion_encoder_emit(e, t->added[k].id, err));
    lead = t->added[k].special;
    from = i = next;
  }
  return n > from ? fn(e, text + from, n - from, first && from == 0, lead, err) : ORION_OK;
}

static orion_status encode_normal_stretch(orion_token_encoder *e, const uint8_t *text, size_t n, bool first, bool lead,
                                          orion_error *err) {
  (void)lead;
  return encode_normal(e, text, n, first, err);
}

static orion_status encode_raw_stretch(orion_token_encoder *e, const uint8_t *text, size_t n, bool first, bool lead,
                                       orion_error *err) {
  const orion_tokenizer *t = e->tokenizer;
  for (size_t i = 0; i < t->normalize_count; i++) {
    const orion_normalize_step *step = &t->normalize[i];
    if (step->kind == ORION_NORMALIZE_PREPEND && step->left && !lead) continue;
    orion_strbuf *out = &e->normal[i & 1];
    ORION_TRY(orion_normalize_apply(step, e->regex, (const char *)text, n, out, err));
    text = (const uint8_t *)orion_strbuf_text(out);
    n = out->size;
  }
  return split_added(e, &t->normalized_trie, true, text, n, first, lead, encode_normal_stretch, err);
}

orion_status orion_token_encode(orion_token_encoder *e, const char *text, size_t size, unsigned flags,
                                const int32_t **out_ids, size_t *out_count, orion_error *err) {
  const orion_tokenizer *t = e->tokenizer;
  if (!(flags & ORION_ENCODE_APPEND)) e->count = 0;
  size_t before = e->count;
  orion_status status = ORION_OK;
  if (flags & ORION_ENCODE_BOS) {
    for (size_t i = 0; i < t->prefix_count && status == ORION_OK; i++) {
      status = orion_encoder_emit(e, t->prefix[i], err);
    }
    if (t->prefix_count == 0 && t->bos >= 0) status = orion_encoder_emit(e, t->bos, err);
  }
  if (status == ORION_OK) {
    status = split_added(e, &t->raw_trie, (flags & ORION_ENCODE_SPECIAL) != 0, (const uint8_t *)text, size, true, true,
                         encode_raw_stretch, err);
  }
  if (flags & ORION_ENCODE_EOS && status == ORION_OK) {
    for (size_t i = 0; i < t->suffix_count && status == ORION_OK; i++) {
      status = orion_encoder_emit(e, t->suffix[i], err);
    }
    if (t->suffix_count == 0 && t->eos >= 0) status = orion_encoder_emit(e, t->eos, err);
  }
  if (status != ORION_OK) e->count = before;
  *out_ids = e->ids;
  *out_count = e->count;
  return status;
}

orion_status orion_token_encoder_create(const orion_allocator *allocator, const orion_tokenizer *tokenizer,
                                        orion_token_encoder **out, orion_error *err) {
  const orion_allocator *a = orion_allocator_or_default(allocator);
  orion_token_encoder *e = orion_alloc_zero(a, 1, sizeof *e);
  if (!e) return ORION_OOM(err, "tokenizer");
  e->allocator = e->work.allocator = a;
  e->tokenizer = tokenizer;
  orion_strbuf_init(&e->normal[0], a);
  orion_strbuf_init(&e->normal[1], a);
  orion_strbuf_init(&e->shadow, a);
  for (size_t i = 0; i < ORION_TEXT_MAX_STEPS; i++) {
    orion_strbuf_init(&e->rewritten[i].text, a);
    orion_strbuf_init(&e->rewritten[i].raw, a);
  }
  size_t bytes = CACHE_ENTRIES * sizeof *e->cache;
  e->cache = orion_alloc_aligned(a, bytes, ORION_ALIGN_CACHE);
  orion_status status = e->cache ? orion_regex_scratch_create(a, &e->regex, err) : ORION_OOM(err, "tokenizer");
  if (status != ORION_OK) {
    orion_token_encoder_destroy(e);
    return status;
  }
  memset(e->cache, 0, bytes);
  *out = e;
  return ORION_OK;
}

void orion_token_encoder_destroy(orion_token_encoder *e) {
  if (!e) return;
  const orion_allocator *a = e->allocator;
  orion_free(a, e->ids, e->cap, sizeof *e->ids);
  orion_merge_work_deinit(&e->work);
  orion_free(a, e->nodes, e->nodes_cap, sizeof *e->nodes);
  orion_regex_scratch_destroy(e->regex);
  orion_free_aligned(a, e->cache, CACHE_ENTRIES * sizeof *e->cache, ORION_ALIGN_CACHE);
  orion_strbuf_deinit(&e->normal[0]);
  orion_strbuf_deinit(&e->normal[1]);
  orion_strbuf_deinit(&e->shadow);
  orion_free(a, e->spelling, e->spelling_cap, 1);
  for (size_t i = 0; i < ORION_TEXT_MAX_STEPS; i++) {
    orion_strbuf_deinit(&e->rewritten[i].text);
    orion_strbuf_deinit(&e->rewritten[i].raw);
  }
  orion_free(a, e, 1, sizeof *e);
}
