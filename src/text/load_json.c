// Hugging Face's tokenizer.json: normalizer, pretokenizer, model (BPE), decoder, added tokens and the template that
// puts begin and end tokens around a text. What is known but not built is refused by name, never passed over: a tokenizer
// that is nearly right is worse than none.
#include <stdio.h>

#include "text/load_bpe.h"

enum { MAX_NESTING = 8, WHERE_SIZE = 512 };

// A place in the file, and what reading it needs.
typedef struct place {
  orion_tokenizer *t;
  const char *where;
  int depth;
} place;

static orion_status unsupported(const place *p, const char *what, const char *type, orion_error *err) {
  return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: %s \"%s\" is not built", p->where, what, type);
}

static orion_status type_of(const place *p, const json_t *v, const char **out, orion_error *err) {
  *out = NULL;
  if (!json_is_object(v)) return ORION_FAIL(err, ORION_FORMAT, "%s: not an object", p->where);
  ORION_TRY(orion_json_get_string(v, "type", out, p->where, err));
  return *out ? ORION_OK : ORION_FAIL(err, ORION_FORMAT, "%s: no \"type\"", p->where);
}

// Runs `fn` over the members of a Sequence.
typedef orion_status (*part_fn)(place p, const json_t *v, orion_error *err);

static orion_status sequence(place p, const json_t *v, const char *key, part_fn fn, orion_error *err) {
  const json_t *list = NULL;
  ORION_TRY(orion_json_get_array(v, key, &list, p.where, err));
  if (!list) return ORION_FAIL(err, ORION_FORMAT, "%s: no \"%s\"", p.where, key);
  if (p.depth >= MAX_NESTING) return ORION_FAIL(err, ORION_LIMIT, "%s: nested deeper than %d", p.where, MAX_NESTING);
  for (size_t i = 0; i < json_array_size(list); i++) {
    char where[WHERE_SIZE];
    snprintf(where, sizeof where, "%.400s.%s[%zu]", p.where, key, i);
    ORION_TRY(fn((place){p.t, where, p.depth + 1}, json_array_get(list, i), err));
  }
  return ORION_OK;
}

// {"String": s} or {"Regex": s}.
static orion_status read_pattern(const place *p, const json_t *v, const char **out, bool *out_literal,
                                 orion_error *err) {
  const json_t *pattern = NULL;
  *out = NULL;
  ORION_TRY(orion_json_get_object(v, "pattern", &pattern, p->where, err));
  if (pattern) ORION_TRY(orion_json_get_string(pattern, "String", out, p->where, err));
  *out_literal = *out != NULL;
  if (pattern && !*out) ORION_TRY(orion_json_get_string(pattern, "Regex", out, p->where, err));
  if (!*out || !**out) return ORION_FAIL(err, ORION_FORMAT, "%s: no pattern (want String or Regex)", p->where);
  return ORION_OK;
}

static orion_status need_string(const place *p, const json_t *v, const char *key, const char **out, orion_error *err) {
  *out = NULL;
  ORION_TRY(orion_json_get_string(v, key, out, p->where, err));
  return *out ? ORION_OK : ORION_FAIL(err, ORION_FORMAT, "%s: no \"%s\"", p->where, key);
}

// ---- normalizer

static orion_status read_normalizer(place p, const json_t *v, orion_error *err) {
  static const struct {
    const char *name;
    orion_normalize_kind kind;
  } plain[] = {{"NFC", ORION_NORMALIZE_NFC},   {"NFD", ORION_NORMALIZE_NFD},
               {"NFKC", ORION_NORMALIZE_NFKC}, {"NFKD", ORION_NORMALIZE_NFKD},
               {"Lowercase", ORION_NORMALIZE_LOWERCASE}, {"StripAccents", ORION_NORMALIZE_STRIP_ACCENTS}};
  const char *type, *text;
  orion_normalize_step *step;
  ORION_TRY(type_of(&p, v, &type, err));
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
    if (strcmp(type, plain[i].name) == 0) return orion_add_normalize(p.t, plain[i].kind, NULL, p.where, NULL, err);
  }
  if (strcmp(type, "Sequence") == 0) return sequence(p, v, "normalizers", read_normalizer, err);
  if (strcmp(type, "Prepend") == 0) {
    ORION_TRY(need_string(&p, v, "prepend", &text, err));
    return orion_add_normalize(p.t, ORION_NORMALIZE_PREPEND, text, p.where, NULL, err);
  }
  if (strcmp(type, "Strip") == 0) {
    ORION_TRY(orion_add_normalize(p.t, ORION_NORMALIZE_STRIP, NULL, p.where, &step, err));
    step->left = step->right = true;
    ORION_TRY(orion_json_get_bool(v, "strip_left", &step->left, p.where, err));
    return orion_json_get_bool(v, "strip_right", &step->right, p.where, err);
  }
  if (strcmp(type, "Replace") == 0) {
    const char *pattern;
    bool literal;
    ORION_TRY(read_pattern(&p, v, &pattern, &literal, err));
    ORION_TRY(need_string(&p, v, "content", &text, err));
    ORION_TRY(orion_add_normalize(p.t, ORION_NORMALIZE_REPLACE, text, p.where, &step, err));
    return orion_regex_create(p.t->allocator, pattern, strlen(pattern), literal, p.where, &step->pattern, err);
  }
  return unsupported(&p, "normalizer", type, err);
}

// ---- pretokenizer

static orion_status read_behavior(const place *p, const json_t *v, orion_split_behavior *out, orion_error *err) {
  static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  const char *text = NULL;
  ORION_TRY(orion_json_get_string(v, "behavior", &text, p->where, err));
  for (int i = 0; text && i < 5; i++) {
    if (strcmp(text, names[i]) == 0) {
      *out = (orion_split_behavior)i;  // names stand in the order of the enum
      return ORION_OK;
    }
  }
  return text ? unsupported(p, "behavior", text, err) : ORION_OK;
}

static orion_status cut_by(const place *p, const char *pattern, orion_split_behavior behavior, bool invert,
                           orion_error *err) {
  return orion_add_cut_split(p->t, pattern, strlen(pattern), false, behavior, invert, p->where, err);
}

static orion_status read_byte_level(const place *p, const json_t *v, orion_error *err) {
  bool prefix = true, regex = true;
  ORION_TRY(orion_json_get_bool(v, "add_prefix_space", &prefix, p->where, err));
  ORION_TRY(orion_json_get_bool(v, "use_regex", &regex, p->where, err));
  if (prefix) ORION_TRY(orion_add_cut_text(p->t, ORION_CUT_PREFIX_SPACE, " ", ORION_PREPEND_ALWAYS, p->where, err));
  p->t->byte_level = true;
  return regex ? cut_by(p, orion_pattern_gpt2, ORION_SPLIT_ISOLATED, false, err) : ORION_OK;
}

static orion_status read_prepend(const place *p, const json_t *v, orion_prepend *out, orion_error *err) {
  bool old = true;
  const char *scheme = NULL;
  ORION_TRY(orion_json_get_bool(v, "add_prefix_space", &old, p->where, err));
  ORION_TRY(orion_json_get_string(v, "prepend_scheme", &scheme, p->where, err));
  *out = old ? ORION_PREPEND_ALWAYS : ORION_PREPEND_NEVER;
  if (!scheme) return ORION_OK;
  if (strcmp(scheme, "always") == 0) {
    *out = ORION_PREPEND_ALWAYS;
  } else if (strcmp(scheme, "first") == 0) {
    *out = ORION_PREPEND_FIRST;
  } else if (strcmp(scheme, "never") == 0) {
    *out = ORION_PREPEND_NEVER;
  } else {
    return unsupported(p, "prepend_scheme", scheme, err);
  }
  return ORION_OK;
}

static orion_status read_metaspace(const place *p, const json_t *v, orion_error *err) {
  const char *mark = "\xe2\x96\x81";
  bool split = true;
  orion_prepend prepend;
  ORION_TRY(orion_json_get_string(v, "replacement", &mark, p->where, err));
  ORION_TRY(orion_json_get_bool(v, "split", &split, p->where, err));
  ORION_TRY(read_prepend(p, v, &prepend, err));
  if (!*mark) return ORION_FAIL(err, ORION_FORMAT, "%s.replacement is empty", p->where);
  ORION_TRY(orion_add_cut_text(p->t, ORION_CUT_METASPACE, mark, prepend, p->where, err));
  if (!split) return ORION_OK;
  return orion_add_cut_split(p->t, mark, strlen(mark), true, ORION_SPLIT_MERGED_WITH_NEXT, false, p->where, err);
}

// Pretokenizers that are a pattern under a name. White space and words as Rust's regex has them.
static orion_status read_named(const place *p, const json_t *v, const char *type, orion_error *err) {
  static const char punctuation[] = "[!-/:-@\\[-`{-~\\p{P}]";
  orion_split_behavior behavior = ORION_SPLIT_ISOLATED;
  if (strcmp(type, "Digits") == 0) {
    bool individual = false;
    ORION_TRY(orion_json_get_bool(v, "individual_digits", &individual, p->where, err));
    return cut_by(p, "\\p{N}", individual ? ORION_SPLIT_ISOLATED : ORION_SPLIT_CONTIGUOUS, false, err);
  }
  if (strcmp(type, "Punctuation") == 0) {
    ORION_TRY(read_behavior(p, v, &behavior, err));
    return cut_by(p, punctuation, behavior, false, err);
  }
  if (strcmp(type, "Whitespace") == 0) {
    return cut_by(p, "\\w+|[^\\w\\s]+", ORION_SPLIT_REMOVED, true, err);
  }
  if (strcmp(type, "WhitespaceSplit") == 0) return cut_by(p, "\\s", ORION_SPLIT_REMOVED, false, err);
  if (strcmp(type, "BertPreTokenizer") == 0) {
    ORION_TRY(cut_by(p, "\\s", ORION_SPLIT_REMOVED, false, err));
    return cut_by(p, punctuation, ORION_SPLIT_ISOLATED, false, err);
  }
  if (strcmp(type, "CharDelimiterSplit") == 0) {
    const char *text;
    ORION_TRY(need_string(p, v, "delimiter", &text, err));
    if (!*text) return ORION_FAIL(err, ORION_FORMAT, "%s.delimiter is empty", p->where);
    return orion_add_cut_split(p->t, text, strlen(text), true, ORION_SPLIT_REMOVED, false, p->where, err);
  }
  return unsupported(p, "pretokenizer", type, err);
}

static orion_status read_pretokenizer(place p, const json_t *v, orion_error *err) {
  const char *type;
  ORION_TRY(type_of(&p, v, &type, err));
  if (p.t->byte_level) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: a pretokenizer after ByteLevel is not built", p.where);
  }
  if (strcmp(type, "Sequence") == 0) return sequence(p, v, "pretokenizers", read_pretokenizer, err);
  if (strcmp(type, "ByteLevel") == 0) return read_byte_level(&p, v, err);
  if (strcmp(type, "Metaspace") == 0) return read_metaspace(&p, v, err);
  if (strcmp(type, "Split") != 0) return read_named(&p, v, type, err);
  const char *pattern;
  bool literal, invert = false;
  orion_split_behavior behavior = ORION_SPLIT_ISOLATED;
  ORION_TRY(read_pattern(&p, v, &pattern, &literal, err));
  ORION_TRY(read_behavior(&p, v, &behavior, err));
  ORION_TRY(orion_json_get_bool(v, "invert", &invert, p.where, err));
  return orion_add_cut_split(p.t, pattern, strlen(pattern), literal, behavior, invert, p.where, err);
}

// ---- decoder

static orion_status set_strip(const place *p, const char *text, size_t count, orion_error *err) {
  orion_tokenizer *t = p->t;
  if (t->strip_count) return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: a second Strip of the whole text", p->where);
  if (!*text || strlen(text) >= sizeof t->strip || count > 1000) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: strips %zu times a text of %zu bytes (want one character)", p->where,
                      count, strlen(text));
  }
  memcpy(t->strip, text, strlen(text) + 1);
  t->strip_count = count;
  return ORION_OK;
}

// After Fuse (`fuse`) steps act on the whole text. Only stripping its beginning, and replacing single characters (the
// same token by token), can be done while a text is still growing.
static orion_status read_decoder_step(place p, const json_t *v, const char *type, bool fuse, orion_error *err) {
  const char *pattern, *text = " ";
  bool literal;
  int64_t start = 0, stop = 0;
  if (strcmp(type, "ByteLevel") == 0) {
    return orion_add_decode(p.t, ORION_DECODE_ALPHABET, NULL, NULL, 0, 0, p.where, err);
  }
  if (strcmp(type, "ByteFallback") == 0) {
    return orion_add_decode(p.t, ORION_DECODE_BYTE_FALLBACK, NULL, NULL, 0, 0, p.where, err);
  }
  if (strcmp(type, "Replace") == 0) {
    ORION_TRY(read_pattern(&p, v, &pattern, &literal, err));
    ORION_TRY(need_string(&p, v, "content", &text, err));
    if (!literal || (fuse && strlen(pattern) > 4)) {
      return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: only plain text is replaced in decoding, and after Fuse only one "
                        "character", p.where);
    }
    return orion_add_decode(p.t, ORION_DECODE_REPLACE, pattern, text, 0, 0, p.where, err);
  }
  if (strcmp(type, "Strip") == 0) {
    ORION_TRY(orion_json_get_string(v, "content", &text, p.where, err));
    ORION_TRY(orion_json_get_int(v, "start", &start, p.where, err));
    ORION_TRY(orion_json_get_int(v, "stop", &stop, p.where, err));
    if (start < 0 || stop < 0 || !*text) return ORION_FAIL(err, ORION_FORMAT, "%s: bad counts or no text", p.where);
    if (!fuse) {
      return orion_add_decode(p.t, ORION_DECODE_STRIP, text, NULL, (size_t)start, (size_t)stop, p.where, err);
    }
    if (stop) return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: a Strip of the whole text's end is not built", p.where);
    return start ? set_strip(&p, text, (size_t)start, err) : ORION_OK;
  }
  if (strcmp(type, "Metaspace") == 0) {
    const char *mark = "\xe2\x96\x81";
    orion_prepend prepend;
    ORION_TRY(orion_json_get_string(v, "replacement", &mark, p.where, err));
    ORION_TRY(read_prepend(&p, v, &prepend, err));
    if (!*mark) return ORION_FAIL(err, ORION_FORMAT, "%s.replacement is empty", p.where);
    ORION_TRY(orion_add_decode(p.t, ORION_DECODE_REPLACE, mark, " ", 0, 0, p.where, err));
    return prepend == ORION_PREPEND_NEVER ? ORION_OK : set_strip(&p, " ", 1, err);
  }
  return unsupported(&p, "decoder", type, err);
}

static orion_status read_decoder(const place *p, const json_t *v, orion_error *err) {
  const char *type;
  const json_t *list = NULL;
  bool fuse = false;
  ORION_TRY(type_of(p, v, &type, err));
  if (strcmp(type, "Fuse") == 0) return ORION_OK;
  if (strcmp(type, "Sequence") != 0) return read_decoder_step(*p, v, type, false, err);
  ORION_TRY(orion_json_get_array(v, "decoders", &list, p->where, err));
  for (size_t i = 0; i < json_array_size(list); i++) {
    char where[WHERE_SIZE];
    snprintf(where, sizeof where, "%.400s.decoders[%zu]", p->where, i);
    place part = {p->t, where, p->depth + 1};
    const json_t *step = json_array_get(list, i);
    ORION_TRY(type_of(&part, step, &type, err));
    if (strcmp(type, "Fuse") == 0) {
      fuse = true;
    } else {
      ORION_TRY(read_decoder_step(part, step, type, fuse, err));
    }
  }
  return ORION_OK;
}

// ---- model

static orion_status refuse_text(const place *p, const json_t *v, const char *key, orion_error *err) {
  const char *text = NULL;
  ORION_TRY(orion_json_get_string(v, key, &text, p->where, err));
  if (!text || !*text) return ORION_OK;
  return ORION_FAIL(err, ORION_UNSUPPORTED, "%s.%s is \"%.40s\", which is not built", p->where, key, text);
}

static orion_status read_merge(orion_tokenizer *t, const json_t *v, uint32_t rank, orion_error *err) {
  if (json_is_string(v)) return orion_load_merge_text(t, json_string_value(v), json_string_length(v), rank, err);
  const json_t *a = json_array_get(v, 0), *b = json_array_get(v, 1);
  if (json_array_size(v) != 2 || !json_is_string(a) || !json_is_string(b)) {
    return ORION_FAIL(err, ORION_FORMAT, "no merge (want \"a b\" or [\"a\", \"b\"])");
  }
  return orion_load_merge(t, json_string_value(a), json_string_length(a), json_string_value(b), json_string_length(b),
                          rank, err);
}

static orion_status read_model(const place *p, const json_t *v, orion_error *err) {
  orion_tokenizer *t = p->t;
  const char *type = "BPE", *unknown = NULL;  // old files leave the type out
  const json_t *vocab = NULL, *merges = NULL, *dropout = json_object_get(v, "dropout");
  char where[WHERE_SIZE];
  ORION_TRY(orion_json_get_string(v, "type", &type, p->where, err));
  if (strcmp(type, "BPE") != 0) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s.type is \"%.40s\" (only BPE is built)", p->where, type);
  }
  ORION_TRY(refuse_text(p, v, "continuing_subword_prefix", err));
  ORION_TRY(refuse_text(p, v, "end_of_word_suffix", err));
  if (json_is_number(dropout) && json_number_value(dropout) != 0) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s.dropout is not 0: encoding would be random", p->where);
  }
  ORION_TRY(orion_json_get_bool(v, "byte_fallback", &t->byte_fallback, p->where, err));
  ORION_TRY(orion_json_get_bool(v, "fuse_unk", &t->fuse_unknown, p->where, err));
  ORION_TRY(orion_json_get_bool(v, "ignore_merges", &t->ignore_merges, p->where, err));
  ORION_TRY(orion_json_get_object(v, "vocab", &vocab, p->where, err));
  ORION_TRY(orion_json_get_array(v, "merges", &merges, p->where, err));
  if (!vocab || !merges) return ORION_FAIL(err, ORION_FORMAT, "%s: no \"%s\"", p->where, vocab ? "merges" : "vocab");
  snprintf(where, sizeof where, "%.400s.vocab", p->where);
  ORION_TRY(orion_load_vocab_object(t, vocab, where, err));
  size_t count = json_array_size(merges);
  if (count >= UINT32_MAX) return ORION_FAIL(err, ORION_LIMIT, "%s: %zu merges", p->where, count);
  if (!orion_merges_reserve(&t->merges, count)) return ORION_OOM(err, p->where);
  for (size_t i = 0; i < count; i++) {
    orion_status status = read_merge(t, json_array_get(merges, i), (uint32_t)i, err);
    if (status == ORION_OK) continue;
    orion_error_prefix(err, "%s.merges[%zu]", p->where, i);
    return status;
  }
  ORION_TRY(orion_json_get_string(v, "unk_token", &unknown, p->where, err));
  if (unknown) t->unknown = orion_vocab_find(&t->vocab, unknown, strlen(unknown));
  if (unknown && *unknown && t->unknown < 0) {
    return ORION_FAIL(err, ORION_FORMAT, "%s.unk_token \"%.40s\" is not in the vocabulary", p->where, unknown);
  }
  return ORION_OK;
}

// ---- added tokens and template

static orion_status read_added(const place *p, const json_t *v, orion_error *err) {
  orion_tokenizer *t = p->t;
  const char *content = NULL;
  int64_t id = -1;
  orion_added_token token = {0};
  if (!json_is_object(v)) return ORION_FAIL(err, ORION_FORMAT, "%s: not an object", p->where);
  ORION_TRY(orion_json_get_string(v, "content", &content, p->where, err));
  ORION_TRY(orion_json_get_int(v, "id", &id, p->where, err));
  ORION_TRY(orion_json_get_bool(v, "special", &token.special, p->where, err));
  ORION_TRY(orion_json_get_bool(v, "lstrip", &token.lstrip, p->where, err));
  ORION_TRY(orion_json_get_bool(v, "rstrip", &token.rstrip, p->where, err));
  ORION_TRY(orion_json_get_bool(v, "single_word", &token.single_word, p->where, err));
  token.normalized = !token.special;
  ORION_TRY(orion_json_get_bool(v, "normalized", &token.normalized, p->where, err));
  if (!content || !*content) return ORION_FAIL(err, ORION_FORMAT, "%s: no \"content\"", p->where);
  unsigned flags = ORION_TOKEN_ADDED | (token.special ? ORION_TOKEN_SPECIAL : 0);
  int32_t known = orion_vocab_find(&t->vocab, content, strlen(content));
  if (known < 0) {
    ORION_TRY(orion_vocab_add(&t->vocab, id, content, strlen(content), flags, p->where, err));
    known = (int32_t)id;
  } else if (known != id) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: \"%.40s\" has id %lld, and %d in the vocabulary", p->where, content,
                      (long long)id, known);
  }
  t->vocab.flags[known] |= (uint8_t)flags;
  token.id = known;
  return orion_add_added(t, token, p->where, err);
}

static orion_status add_affix(const place *p, bool before, int64_t id, orion_error *err) {
  orion_tokenizer *t = p->t;
  size_t *count = before ? &t->prefix_count : &t->suffix_count;
  if (!orion_vocab_has(&t->vocab, id)) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: token id %lld is not in the vocabulary", p->where, (long long)id);
  }
  if (*count == ORION_TEXT_MAX_AFFIX) {
    return ORION_FAIL(err, ORION_LIMIT, "%s: more than %d tokens around the text", p->where, ORION_TEXT_MAX_AFFIX);
  }
  (before ? t->prefix : t->suffix)[(*count)++] = (int32_t)id;
  return ORION_OK;
}

static orion_status read_template(const place *p, const json_t *v, orion_error *err) {
  const json_t *single = NULL, *specials = NULL;
  bool before = true;
  ORION_TRY(orion_json_get_array(v, "single", &single, p->where, err));
  ORION_TRY(orion_json_get_object(v, "special_tokens", &specials, p->where, err));
  for (size_t i = 0; i < json_array_size(single); i++) {
    const json_t *part = json_array_get(single, i), *special = json_object_get(part, "SpecialToken");
    if (json_object_get(part, "Sequence")) before = false;
    if (!special) continue;
    const char *name = json_string_value(json_object_get(special, "id"));
    const json_t *ids = name ? json_object_get(json_object_get(specials, name), "ids") : NULL;
    if (!json_is_array(ids)) {
      return ORION_FAIL(err, ORION_FORMAT, "%s.single[%zu]: no ids in special_tokens", p->where, i);
    }
    for (size_t j = 0; j < json_array_size(ids); j++) {
      const json_t *id = json_array_get(ids, j);
      ORION_TRY(add_affix(p, before, json_is_integer(id) ? json_integer_value(id) : -1, err));
    }
  }
  return ORION_OK;
}

static orion_status read_post_processor(place p, const json_t *v, orion_error *err) {
  const char *type;
  ORION_TRY(type_of(&p, v, &type, err));
  if (strcmp(type, "Sequence") == 0) return sequence(p, v, "processors", read_post_processor, err);
  if (strcmp(type, "TemplateProcessing") == 0) return read_template(&p, v, err);
  if (strcmp(type, "ByteLevel") == 0) return ORION_OK;  // moves offsets only
  if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
    static const char *const keys[] = {"cls", "sep"};  // ["<s>", 0]: before and after the text
    for (int i = 0; i < 2; i++) {
      const json_t *id = json_array_get(json_object_get(v, keys[i]), 1);
      ORION_TRY(add_affix(&p, i == 0, json_is_integer(id) ? json_integer_value(id) : -1, err));
    }
    return ORION_OK;
  }
  return unsupported(&p, "post_processor", type, err);
}

// ---- the whole

static int32_t find_special(const orion_tokenizer *t, const char *const *names, size_t count) {
  for (size_t i = 0; i < count; i++) {
    int32_t id = orion_vocab_find(&t->vocab, names[i], strlen(names[i]));
    if (id >= 0 && (t->vocab.flags[id] & ORION_TOKEN_SPECIAL)) return id;
  }
  return -1;
}

// The file has no field for the begin and end tokens: the template names them, or their spelling does;
// tokenizer_config.json overrules both.
static void guess_ends(orion_tokenizer *t) {
  static const char *const bos[] = {"<s>", "<|begin_of_text|>", "<bos>"};
  static const char *const eos[] = {"</s>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>", "<eos>"};
  t->bos = t->prefix_count ? t->prefix[0] : find_special(t, bos, sizeof bos / sizeof *bos);
  t->eos = t->suffix_count ? t->suffix[0] : find_special(t, eos, sizeof eos / sizeof *eos);
  t->adds_bos = t->prefix_count > 0;
  t->adds_eos = t->suffix_count > 0;
}

static orion_status read_root(orion_tokenizer *t, const char *name, const json_t *root, orion_error *err) {
  const json_t *model = NULL, *part = NULL, *added = NULL;
  char where[WHERE_SIZE];
  place p = {t, where, 0};
  snprintf(where, sizeof where, "%.400s", name);
  ORION_TRY(orion_json_get_object(root, "model", &model, where, err));
  if (!model) return ORION_FAIL(err, ORION_FORMAT, "%s: no \"model\" (want a tokenizer.json)", name);
  ORION_TRY(orion_json_get_array(root, "added_tokens", &added, where, err));
  snprintf(where, sizeof where, "%.400s: model", name);
  ORION_TRY(read_model(&p, model, err));
  for (size_t i = 0; i < json_array_size(added); i++) {
    snprintf(where, sizeof where, "%.400s: added_tokens[%zu]", name, i);
    ORION_TRY(read_added(&p, json_array_get(added, i), err));
  }
  static const struct {
    const char *key;
    part_fn fn;
  } parts[] = {{"normalizer", read_normalizer}, {"pre_tokenizer", read_pretokenizer},
               {"post_processor", read_post_processor}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    snprintf(where, sizeof where, "%.400s: %s", name, parts[i].key);
    part = json_object_get(root, parts[i].key);
    if (part && !json_is_null(part)) ORION_TRY(parts[i].fn(p, part, err));
  }
  snprintf(where, sizeof where, "%.400s: decoder", name);
  part = json_object_get(root, "decoder");
  if (part && !json_is_null(part)) return read_decoder(&p, part, err);
  if (t->byte_level) return orion_add_decode(t, ORION_DECODE_ALPHABET, NULL, NULL, 0, 0, name, err);
  return ORION_OK;
}

orion_status orion_load_tokenizer_json(orion_tokenizer *t, const char *name, const char *data, size_t size,
                                       orion_error *err) {
  json_t *root = NULL;
  ORION_TRY(orion_json_parse_loose(data, size, name, false, &root, err));
  orion_status status = read_root(t, name, root, err);
  json_decref(root);
  guess_ends(t);
  t->kind = t->byte_level ? "byte-level BPE (tokenizer.json)" : "character BPE (tokenizer.json)";
  return status;
}

// "bos_token" is a string or {"content": string}.
static void read_end(const orion_tokenizer *t, const json_t *root, const char *key, int32_t *out) {
  const json_t *v = json_object_get(root, key);
  if (json_is_object(v)) v = json_object_get(v, "content");
  int32_t id = json_is_string(v) ? orion_vocab_find(&t->vocab, json_string_value(v), json_string_length(v)) : -1;
  if (id < 0) return;  // some configurations name tokens that the vocabulary lacks
  *out = id;
  t->vocab.flags[id] |= ORION_TOKEN_SPECIAL;
}

orion_status orion_load_tokenizer_config(orion_tokenizer *t, const char *name, const char *data, size_t size,
                                         orion_error *err) {
  json_t *root = NULL;
  ORION_TRY(orion_json_parse_loose(data, size, name, true, &root, err));
  read_end(t, root, "bos_token", &t->bos);
  read_end(t, root, "eos_token", &t->eos);
  orion_status status = orion_json_get_bool(root, "add_bos_token", &t->adds_bos, name, err);
  if (status == ORION_OK) status = orion_json_get_bool(root, "add_eos_token", &t->adds_eos, name, err);
  json_decref(root);
  return status;
}
