// Opening: finds out what a path is, reads its files, hands them to a loader; and the small questions.
#include <stdio.h>

#include "base/file.h"
#include "text/impl.h"

static orion_tokenizer *new_tokenizer(const orion_allocator *a) {
  orion_tokenizer *t = orion_alloc_zero(a, 1, sizeof *t);
  if (!t) return NULL;
  t->allocator = a;
  t->kind = "";
  t->unknown = t->bos = t->eos = -1;
  orion_vocab_init(&t->vocab, a);
  orion_vocab_init(&t->loose, a);
  orion_merges_init(&t->merges, a);
  return t;
}

void orion_tokenizer_close(orion_tokenizer *t) {
  if (!t) return;
  const orion_allocator *a = t->allocator;
  orion_free(a, t->scores, t->vocab.size, sizeof *t->scores);
  orion_free(a, t->decoded_spans, t->vocab.size, sizeof *t->decoded_spans);
  orion_free(a, t->decoded, t->decoded_cap, 1);
  orion_free(a, t->added, t->added_cap, sizeof *t->added);
  orion_free(a, t->raw_trie.nodes, t->raw_trie.cap, sizeof *t->raw_trie.nodes);
  orion_free(a, t->normalized_trie.nodes, t->normalized_trie.cap, sizeof *t->normalized_trie.nodes);
  for (size_t i = 0; i < t->normalize_count; i++) {
    orion_regex_destroy(t->normalize[i].pattern);
    orion_strfree(a, t->normalize[i].text);
  }
  for (size_t i = 0; i < t->cut_count; i++) {
    orion_regex_destroy(t->cut[i].pattern);
    orion_strfree(a, t->cut[i].text);
  }
  for (size_t i = 0; i < t->decode_count; i++) {
    orion_strfree(a, t->decode[i].pattern);
    orion_strfree(a, t->decode[i].text);
  }
  orion_vocab_deinit(&t->vocab);
  orion_vocab_deinit(&t->loose);
  orion_merges_deinit(&t->merges);
  orion_free(a, t, 1, sizeof *t);
}

// JSON files are told apart by content later; by name only where content cannot decide.
static orion_tokenizer_format format_of(const char *name, const uint8_t *data, size_t size) {
  size_t i = 0;
  if (orion_path_ends(name, ".json")) return ORION_TOKENIZER_JSON;
  if (orion_path_ends(name, ".model")) return ORION_TOKENIZER_SENTENCEPIECE;
  if (orion_path_ends(name, ".bin")) return ORION_TOKENIZER_LLAMA2C;
  while (i < size && (data[i] == ' ' || data[i] == '\n' || data[i] == '\r' || data[i] == '\t')) i++;
  if (i < size && data[i] == '{') return ORION_TOKENIZER_JSON;
  return size && data[0] == 0x0a ? ORION_TOKENIZER_SENTENCEPIECE : ORION_TOKENIZER_LLAMA2C;
}

static orion_status check_options(const orion_tokenizer_options *in, orion_tokenizer_options *out, orion_error *err) {
  *out = (orion_tokenizer_options){.struct_size = sizeof *out};
  if (!in) return ORION_OK;
  if (in->struct_size < sizeof *out) {
    return ORION_FAIL(err, ORION_INVALID, "tokenizer options: struct_size is %zu (want %zu)", in->struct_size,
                      sizeof *out);
  }
  *out = *in;
  if (out->vocab_size < 0 || out->vocab_size > ORION_VOCAB_MAX) {
    return ORION_FAIL(err, ORION_INVALID, "tokenizer options: vocabulary of %d tokens (want 0 to %d)", out->vocab_size,
                      ORION_VOCAB_MAX);
  }
  return ORION_OK;
}

// One opened input; merges and config may be absent.
typedef struct input {
  const char *name, *merges_name, *config_name;
  orion_file_map main, merges, config;
} input;

static orion_status load(const orion_allocator *a, const input *in, const orion_tokenizer_options *o,
                         orion_tokenizer **out, orion_error *err) {
  orion_tokenizer_format format = o->format;
  const char *text = (const char *)in->main.data;
  if (in->main.size == 0) return ORION_FAIL(err, ORION_FORMAT, "%s: the file is empty (want a tokenizer)", in->name);
  if (format == ORION_TOKENIZER_AUTO) format = format_of(in->name, in->main.data, in->main.size);
  orion_tokenizer *t = new_tokenizer(a);
  if (!t) return ORION_OOM(err, in->name);
  orion_status status = ORION_OK;
  switch (format) {
    case ORION_TOKENIZER_AUTO:
    case ORION_TOKENIZER_JSON:
      status = orion_load_tokenizer_json(t, in->name, text, in->main.size, err);
      break;
    case ORION_TOKENIZER_VOCAB_MERGES:
      status = orion_load_vocab_merges(t, in->name, text, in->main.size, in->merges_name,
                                       (const char *)in->merges.data, in->merges.size, o->pattern, err);
      break;
    case ORION_TOKENIZER_SENTENCEPIECE:
      status = orion_load_sentencepiece(t, in->name, in->main.data, in->main.size, err);
      break;
    case ORION_TOKENIZER_LLAMA2C:
      status = orion_load_llama2c(t, in->name, in->main.data, in->main.size, o->vocab_size, err);
      break;
  }
  if (status == ORION_OK && in->config.size) {
    status = orion_load_tokenizer_config(t, in->config_name, (const char *)in->config.data, in->config.size, err);
  }
  if (status == ORION_OK) status = orion_tokenizer_finish(t, in->name, err);
  if (status == ORION_OK) {
    *out = t;
  } else {
    orion_tokenizer_close(t);
  }
  return status;
}

orion_status orion_tokenizer_open_memory(const orion_allocator *allocator, const char *name, const void *data,
                                         size_t size, const void *merges, size_t merges_size,
                                         const orion_tokenizer_options *options, orion_tokenizer **out,
                                         orion_error *err) {
  orion_tokenizer_options o;
  ORION_TRY(check_options(options, &o, err));
  if ((o.format == ORION_TOKENIZER_VOCAB_MERGES) != (merges != NULL)) {
    return ORION_FAIL(err, ORION_INVALID, "%s: merges go with the format of vocabulary and merges, and only there",
                      name);
  }
  input in = {.name = name, .merges_name = name};
  in.main = (orion_file_map){data, size, 0};
  in.merges = (orion_file_map){merges, merges_size, 0};
  return load(orion_allocator_or_default(allocator), &in, &o, out, err);
}

// Which of a directory's files is the tokenizer, in the order of how much they say.
static const struct {
  const char *main, *merges;
  orion_tokenizer_format format;
} candidates[] = {
    {"tokenizer.json", NULL, ORION_TOKENIZER_JSON},
    {"tokenizer.model", NULL, ORION_TOKENIZER_SENTENCEPIECE},
    {"vocab.json", "merges.txt", ORION_TOKENIZER_VOCAB_MERGES},
    {"encoder.json", "vocab.bpe", ORION_TOKENIZER_VOCAB_MERGES},
    {"tokenizer.bin", NULL, ORION_TOKENIZER_LLAMA2C},
};

// Paths of one input; owned.
typedef struct paths {
  char *main, *merges, *config;
} paths;

static orion_status find_in_directory(const orion_allocator *a, const char *dir, const orion_tokenizer_options *o,
                                      paths *p, orion_tokenizer_format *out_format, orion_error *err) {
  for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
    if (o->format != ORION_TOKENIZER_AUTO && o->format != candidates[i].format) continue;
    orion_strfree(a, p->main);
    p->main = orion_path_join(a, dir, candidates[i].main);
    if (!p->main) return ORION_OOM(err, dir);
    if (!orion_file_exists(p->main)) continue;
    *out_format = candidates[i].format;
    const char *merges = candidates[i].merges;
    if (merges && !(p->merges = orion_path_join(a, dir, merges))) return ORION_OOM(err, dir);
    p->config = orion_path_join(a, dir, "tokenizer_config.json");
    return p->config ? ORION_OK : ORION_OOM(err, dir);
  }
  return ORION_FAIL(err, ORION_NOT_FOUND, "%s: no tokenizer (want tokenizer.json, tokenizer.model, vocab.json with "
                    "merges.txt, encoder.json with vocab.bpe, or tokenizer.bin)", dir);
}

// The same directory, another file.
static char *beside(const orion_allocator *a, const char *path, const char *name) {
  const char *slash = strrchr(path, '/');
  if (!slash) return orion_strdup(a, name);
  char *dir = orion_strndup(a, path, (size_t)(slash - path) + 1);
  char *joined = dir ? orion_path_join(a, dir, name) : NULL;
  orion_strfree(a, dir);
  return joined;
}

// Whether a JSON file is a bare vocabulary: its first member's value is a number. Good enough to look for merges; the
// loader checks everything.
static bool is_bare_vocab(const uint8_t *data, size_t size) {
  size_t i = 0;
  while (i < size && data[i] != '"') i++;
  for (i++; i < size && data[i] != '"'; i++) i += data[i] == '\\';
  for (i++; i < size && memchr(": \n\r\t", data[i], 5);) i++;
  return i < size && data[i] >= '0' && data[i] <= '9';
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static orion_status find_by_file(const orion_allocator *a, const char *path, const orion_tokenizer_options *o, paths *p,
                                 orion_tokenizer_format *out_format, orion_error *err) {
  const char *name = base_name(path);
  bool merges = strcmp(name, "merges.txt") == 0, bpe = strcmp(name, "vocab.bpe") == 0;
  p->main = merges || bpe ? beside(a, path, merges ? "vocab.json" : "encoder.json") : orion_strdup(a, path);
  p->config = beside(a, path, "tokenizer_config.json");
  if (!p->main || !p->config) return ORION_OOM(err, path);
  bool pair = merges || bpe || o->format == ORION_TOKENIZER_VOCAB_MERGES;
  if (!pair && o->format == ORION_TOKENIZER_AUTO) {
    orion_file_map map;
    ORION_TRY(orion_file_open_map(p->main, &map, err));
    pair = orion_path_ends(path, ".json") && is_bare_vocab(map.data, map.size);
    *out_format = map.size ? format_of(path, map.data, map.size) : ORION_TOKENIZER_AUTO;
    orion_file_close_map(&map);
  }
  if (!pair) return ORION_OK;
  *out_format = ORION_TOKENIZER_VOCAB_MERGES;
  p->merges = merges || bpe ? orion_strdup(a, path) : beside(a, path, "merges.txt");
  if (p->merges && !orion_file_exists(p->merges) && !merges && !bpe) {
    char *other = beside(a, path, "vocab.bpe");
    if (other && orion_file_exists(other)) {
      orion_strfree(a, p->merges);
      p->merges = other;
    } else {
      orion_strfree(a, other);
    }
  }
  return p->merges ? ORION_OK : ORION_OOM(err, path);
}

orion_status orion_tokenizer_open(const orion_allocator *allocator, const char *path,
                                  const orion_tokenizer_options *options, orion_tokenizer **out, orion_error *err) {
  const orion_allocator *a = orion_allocator_or_default(allocator);
  orion_tokenizer_options o;
  ORION_TRY(check_options(options, &o, err));
  paths p = {0};
  input in = {0};
  orion_status status = orion_dir_exists(path) ? find_in_directory(a, path, &o, &p, &o.format, err)
                                               : find_by_file(a, path, &o, &p, &o.format, err);
  if (status != ORION_OK) goto done;
  in.name = p.main;
  in.merges_name = p.merges;
  in.config_name = p.config;
  status = orion_file_open_map(p.main, &in.main, err);
  if (status == ORION_OK && p.merges) status = orion_file_open_map(p.merges, &in.merges, err);
  if (status == ORION_OK && orion_file_exists(p.config)) status = orion_file_open_map(p.config, &in.config, err);
  if (status == ORION_OK) status = load(a, &in, &o, out, err);
done:
  orion_file_close_map(&in.main);
  orion_file_close_map(&in.merges);
  orion_file_close_map(&in.config);
  orion_strfree(a, p.main);
  orion_strfree(a, p.merges);
  orion_strfree(a, p.config);
  return status;
}

int32_t orion_tokenizer_vocab_size(const orion_tokenizer *t) { return (int32_t)t->vocab.size; }
const char *orion_tokenizer_kind(const orion_tokenizer *t) { return t->kind; }
int32_t orion_tokenizer_bos(const orion_tokenizer *t) { return t->bos; }
int32_t orion_tokenizer_eos(const orion_tokenizer *t) { return t->eos; }
bool orion_tokenizer_adds_bos(const orion_tokenizer *t) { return t->adds_bos; }
bool orion_tokenizer_adds_eos(const orion_tokenizer *t) { return t->adds_eos; }

bool orion_tokenizer_token(const orion_tokenizer *t, int32_t id, const char **out_text, size_t *out_size) {
  if (!orion_vocab_has(&t->vocab, id)) return false;
  *out_text = orion_vocab_text(&t->vocab, id, out_size);
  return true;
}

int32_t orion_tokenizer_token_id(const orion_tokenizer *t, const char *text, size_t size) {
  return orion_vocab_find(&t->vocab, text, size);
}

bool orion_tokenizer_token_bytes(const orion_tokenizer *t, int32_t id, const char **out_bytes, size_t *out_size) {
  if (!orion_vocab_has(&t->vocab, id)) return false;
  *out_bytes = t->decoded + t->decoded_spans[id].offset;
  *out_size = t->decoded_spans[id].size;
  return true;
}

bool orion_tokenizer_is_special(const orion_tokenizer *t, int32_t id) {
  return orion_vocab_has(&t->vocab, id) && (t->vocab.flags[id] & ORION_TOKEN_SPECIAL) != 0;
}
