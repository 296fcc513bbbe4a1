// vocab.json + merges.txt (encoder.json + vocab.bpe): GPT-2's files. Always byte-level.
//
// Only the first line of the merges may be a comment, "#version: ...": every other line is a merge, also one that begins
// with '#' (GPT-2 has eight such).
#include "text/load_bpe.h"
#include "text/scan_vocab.h"
#include "text/utf8.h"

orion_status orion_load_vocab_object(orion_tokenizer *t, const json_t *object, const char *where, orion_error *err) {
  const char *key;
  size_t n;
  json_t *value;
  json_object_keylen_foreach((json_t *)(uintptr_t)object, key, n, value) {
    char quoted[180];
    if (!json_is_integer(value)) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: the id of \"%s\" is no integer", where,
                        orion_token_quote(key, n, quoted));
    }
    ORION_TRY(orion_vocab_add(&t->vocab, json_integer_value(value), key, n, ORION_TOKEN_PLAIN, where, err));
  }
  if (t->vocab.size == 0) return ORION_FAIL(err, ORION_FORMAT, "%s: the vocabulary is empty", where);
  return ORION_OK;
}

orion_status orion_load_merge(orion_tokenizer *t, const char *left, size_t left_n, const char *right, size_t right_n,
                              uint32_t rank, orion_error *err) {
  char stack[256], quoted[180];
  size_t n, cap = sizeof stack;
  if (!orion_add_ok(left_n, right_n, &n)) return ORION_OOM(err, "merge");
  char *joined = stack;
  if (n > cap) {
    cap = n;
    joined = orion_alloc(t->allocator, cap, 1);
    if (!joined) return ORION_OOM(err, "merge");
  }
  memcpy(joined, left, left_n);
  memcpy(joined + left_n, right, right_n);
  int32_t a = orion_vocab_find(&t->vocab, left, left_n), b = orion_vocab_find(&t->vocab, right, right_n);
  int32_t result = orion_vocab_find(&t->vocab, joined, n);
  orion_status status = ORION_OK;
  if (a < 0 || b < 0 || result < 0) {
    const char *which = a < 0 ? left : b < 0 ? right : joined;
    size_t which_n = a < 0 ? left_n : b < 0 ? right_n : n;
    status = ORION_FAIL(err, ORION_FORMAT, "token \"%s\" is not in the vocabulary",
                        orion_token_quote(which, which_n, quoted));
  } else if (!orion_merges_add(&t->merges, (orion_merge){a, b, rank, result})) {
    status = ORION_OOM(err, "merge");
  }
  if (joined != stack) orion_free(t->allocator, joined, cap, 1);
  return status;
}

orion_status orion_load_merge_text(orion_tokenizer *t, const char *text, size_t n, uint32_t rank, orion_error *err) {
  const char *space = memchr(text, ' ', n);
  size_t left = space ? (size_t)(space - text) : 0;
  if (left && left + 1 < n && !memchr(space + 1, ' ', n - left - 1)) {
    return orion_load_merge(t, text, left, space + 1, n - left - 1, rank, err);
  }
  char quoted[180];
  return ORION_FAIL(err, ORION_FORMAT, "\"%s\" is no merge (want two tokens and a space between)",
                    orion_token_quote(text, n, quoted));
}

static orion_status read_merges(orion_tokenizer *t, const char *name, const char *text, size_t size,
                                orion_error *err) {
  uint32_t rank = 0;
  size_t line = 0;
  if (!orion_merges_reserve(&t->merges, size / 10)) return ORION_OOM(err, name);  // about what 10 bytes a line come to
  for (size_t at = 0; at < size;) {
    const char *p = text + at;
    const char *newline = memchr(p, '\n', size - at);
    size_t n = newline ? (size_t)(newline - p) : size - at;
    at += n + 1;
    line++;
    if (n && p[n - 1] == '\r') n--;
    if (n == 0 || (line == 1 && n >= 8 && memcmp(p, "#version", 8) == 0)) continue;
    orion_status status = orion_load_merge_text(t, p, n, rank, err);
    if (status != ORION_OK) {
      orion_error_prefix(err, "%s:%zu", name, line);
      return status;
    }
    rank++;
  }
  return ORION_OK;
}

// The Llama-3 pattern never makes a piece of a space and a digit; a vocabulary of the other kind has such tokens.
static orion_token_pattern guess_pattern(const orion_tokenizer *t) {
  if (t->vocab.used < 100000) return ORION_TOKEN_PATTERN_GPT2;
  for (char digit = '0'; digit <= '9'; digit++) {
    char token[] = {(char)0xc4, (char)0xa0, digit};  // U+0120, the space of the byte alphabet
    if (orion_vocab_find(&t->vocab, token, sizeof token) >= 0) return ORION_TOKEN_PATTERN_GPT2;
  }
  return ORION_TOKEN_PATTERN_LLAMA3;
}

// These files do not say which tokens are special; their spelling does.
static bool looks_special(const char *s, size_t n) {
  static const char *const known[] = {"<s>", "</s>", "<unk>", "<pad>", "<mask>"};
  if (n > 4 && memcmp(s, "<|", 2) == 0 && memcmp(s + n - 2, "|>", 2) == 0) return true;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strlen(known[i]) == n && memcmp(s, known[i], n) == 0) return true;
  }
  return false;
}

static orion_status find_special(orion_tokenizer *t, const char *name, orion_error *err) {
  for (size_t id = 0; id < t->vocab.size; id++) {
    size_t n;
    if (!orion_vocab_has(&t->vocab, (int64_t)id)) continue;
    const char *text = orion_vocab_text(&t->vocab, (int32_t)id, &n);
    if (!looks_special(text, n)) continue;
    t->vocab.flags[id] |= ORION_TOKEN_SPECIAL | ORION_TOKEN_ADDED;
    ORION_TRY(orion_add_added(t, (orion_added_token){.id = (int32_t)id, .special = true}, name, err));
  }
  t->bos = t->eos = orion_vocab_find(&t->vocab, "<|endoftext|>", 13);
  if (t->bos < 0) {
    t->bos = orion_vocab_find(&t->vocab, "<s>", 3);
    t->eos = orion_vocab_find(&t->vocab, "</s>", 4);
  }
  return ORION_OK;
}

static orion_status read_vocab(orion_tokenizer *t, const char *name, const char *text, size_t size, orion_error *err) {
  if (orion_scan_vocab(&t->vocab, text, size)) return ORION_OK;
  const orion_allocator *a = t->vocab.allocator;
  orion_vocab_deinit(&t->vocab);
  orion_vocab_init(&t->vocab, a);
  json_t *root = NULL;
  ORION_TRY(orion_json_parse_loose(text, size, name, false, &root, err));
  orion_status status = orion_load_vocab_object(t, root, name, err);
  json_decref(root);
  return status;
}

orion_status orion_load_vocab_merges(orion_tokenizer *t, const char *name, const char *vocab, size_t vocab_size,
                                     const char *merges_name, const char *merges, size_t merges_size,
                                     orion_token_pattern pattern, orion_error *err) {
  t->byte_level = true;
  orion_status status = read_vocab(t, name, vocab, vocab_size, err);
  if (status == ORION_OK) status = read_merges(t, merges_name, merges, merges_size, err);
  if (status == ORION_OK) status = find_special(t, name, err);
  if (status != ORION_OK) return status;
  if (pattern == ORION_TOKEN_PATTERN_AUTO) pattern = guess_pattern(t);
  bool llama3 = pattern == ORION_TOKEN_PATTERN_LLAMA3;
  const char *text = llama3 ? orion_pattern_llama3 : orion_pattern_gpt2;
  t->kind = llama3 ? "byte-level BPE (Llama-3 pattern)" : "byte-level BPE (GPT-2 pattern)";
  t->ignore_merges = llama3;
  ORION_TRY(orion_add_cut_split(t, text, strlen(text), false, ORION_SPLIT_ISOLATED, false, name, err));
  return orion_add_decode(t, ORION_DECODE_ALPHABET, NULL, NULL, 0, 0, name, err);
}
