// Added tokens: cut out of the text before the model sees it, the longest at each place. One trie for those looked for
// in the raw text, one for those looked for after normalising.
//
// Hugging Face looks for every token marked `normalized` in the normalised text, in its normalised spelling; with a
// normalizer that prepends a space, "</s>" then matches only after a space. Special tokens are therefore always looked
// for in the raw text here.
#include "text/impl.h"

static orion_status insert(orion_tokenizer *t, orion_added_trie *trie, const char *text, size_t n, int32_t token,
                           const char *name, orion_error *err) {
  const orion_allocator *a = t->allocator;
  char quoted[180];
  if (n == 0 || n > ORION_TEXT_MAX_ADDED) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: added token \"%s\" has %zu bytes (want 1 to %d)", name,
                      orion_token_quote(text, n, quoted), n, ORION_TEXT_MAX_ADDED);
  }
  if (!ORION_GROW(a, &trie->nodes, &trie->cap, trie->count + n + 1)) return ORION_OOM(err, name);
  if (trie->count == 0) trie->nodes[trie->count++] = (orion_added_node){0, 0, -1, 0};
  uint32_t at = 0;
  for (size_t i = 0; i < n; i++) {
    uint8_t byte = (uint8_t)text[i];
    uint32_t child = trie->nodes[at].child;
    while (child && trie->nodes[child].byte != byte) child = trie->nodes[child].sibling;
    if (!child) {
      child = (uint32_t)trie->count++;
      trie->nodes[child] = (orion_added_node){0, trie->nodes[at].child, -1, byte};
      trie->nodes[at].child = child;
    }
    at = child;
  }
  if (trie->nodes[at].token < 0) trie->nodes[at].token = token;
  trie->first[(uint8_t)text[0]] = 1;
  return ORION_OK;
}

// The spelling after all normalizers, as the text will have it.
static orion_status normalised(const orion_tokenizer *t, orion_regex_scratch *s, const char *text, size_t n,
                               orion_strbuf buffers[2], const char **out, size_t *out_n, orion_error *err) {
  for (size_t i = 0; i < t->normalize_count; i++) {
    orion_strbuf *b = &buffers[i & 1];
    ORION_TRY(orion_normalize_apply(&t->normalize[i], s, text, n, b, err));
    text = orion_strbuf_text(b);
    n = b->size;
  }
  *out = text;
  *out_n = n;
  return ORION_OK;
}

orion_status orion_added_prepare(orion_tokenizer *t, const char *name, orion_error *err) {
  orion_regex_scratch *scratch = NULL;
  orion_strbuf buffers[2];
  orion_strbuf_init(&buffers[0], t->allocator);
  orion_strbuf_init(&buffers[1], t->allocator);
  orion_status status = orion_regex_scratch_create(t->allocator, &scratch, err);
  for (size_t i = 0; i < t->added_count && status == ORION_OK; i++) {
    const orion_added_token *token = &t->added[i];
    size_t n;
    const char *text = orion_vocab_text(&t->vocab, token->id, &n);
    bool late = token->normalized && !token->special && (token->verbatim || t->normalize_count > 0);
    if (late && !token->verbatim) status = normalised(t, scratch, text, n, buffers, &text, &n, err);
    if (status == ORION_OK && late && n == 0) continue;  // nothing is left of it: it can never match
    if (status == ORION_OK) {
      status = insert(t, late ? &t->normalized_trie : &t->raw_trie, text, n, (int32_t)i, name, err);
    }
  }
  orion_regex_scratch_destroy(scratch);
  orion_strbuf_deinit(&buffers[0]);
  orion_strbuf_deinit(&buffers[1]);
  return status;
}

int32_t orion_added_match(const orion_tokenizer *t, const orion_added_trie *trie, bool special, const uint8_t *p,
                          size_t n, size_t *out_n) {
  int32_t best = -1;
  uint32_t at = 0;
  for (size_t i = 0; i < n; i++) {
    uint32_t child = trie->nodes[at].child;
    while (child && trie->nodes[child].byte != p[i]) child = trie->nodes[child].sibling;
    if (!child) break;
    at = child;
    int32_t token = trie->nodes[at].token;
    if (token >= 0 && (special || !t->added[token].special)) {
      best = token;
      *out_n = i + 1;
    }
  }
  return best;
}
