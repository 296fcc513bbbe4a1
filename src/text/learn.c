// Learning a byte-level BPE vocabulary from a text (Gage 1994; Sennrich et al., arXiv 1508.07909): the commonest pair of
// neighbouring tokens becomes a token, again and again.
//
//   text ── cut at <|endoftext|> and by GPT-2's pattern ──> different pieces, counted
//        ── pairs, counted, each with the pieces it is in ──> merges
//
// A merge touches only the pieces that hold its pair, found by the pair's list; lists may name a piece that has lost the
// pair since, or name it twice: walking such a piece finds nothing and changes nothing. The heap is lazy likewise: what
// a pair has lost shows when it comes up. Among equal counts the pair of smaller ids wins, so a text has one vocabulary.
#include <assert.h>

#include "base/file.h"
#include "base/strbuf.h"
#include "text/impl.h"
#include "text/utf8.h"

static const char end_of_text[] = "<|endoftext|>";

enum { FIRST_BYTE = 1, FIRST_MERGED = FIRST_BYTE + 256 };  // id 0 is the end of text

typedef struct piece {
  size_t begin;     // in symbols
  uint32_t n;
  uint64_t count;   // in the text
} piece;

typedef struct pair {
  int32_t left, right;  // left -1: an empty slot
  uint64_t count;
  uint32_t *pieces;
  size_t n, cap;
} pair;

typedef struct candidate {
  uint64_t count;
  int32_t left, right;
} candidate;

typedef struct learner {
  const orion_allocator *a;
  orion_vocab texts;  // of the pieces; a text's id is its index in pieces
  piece *pieces;
  size_t pieces_cap;
  int32_t *symbols;
  size_t symbol_count, symbols_cap;
  pair *slots;
  size_t slot_count, used;
  candidate *heap;
  size_t heap_count, heap_cap;
  candidate *merges;
  size_t merge_count, merges_cap;
} learner;

static void learner_deinit(learner *l) {
  for (size_t i = 0; i < l->slot_count; i++) orion_free(l->a, l->slots[i].pieces, l->slots[i].cap, sizeof(uint32_t));
  orion_free(l->a, l->slots, l->slot_count, sizeof *l->slots);
  orion_free(l->a, l->pieces, l->pieces_cap, sizeof *l->pieces);
  orion_free(l->a, l->symbols, l->symbols_cap, sizeof *l->symbols);
  orion_free(l->a, l->heap, l->heap_cap, sizeof *l->heap);
  orion_free(l->a, l->merges, l->merges_cap, sizeof *l->merges);
  orion_vocab_deinit(&l->texts);
}

// ---- pieces

static orion_status count_piece(learner *l, const uint8_t *text, size_t n, orion_error *err) {
  int32_t id = orion_vocab_find(&l->texts, text, n);
  if (id < 0) {
    id = (int32_t)l->texts.size;
    ORION_TRY(orion_vocab_add(&l->texts, id, (const char *)text, n, ORION_TOKEN_PLAIN, "pieces of the text", err));
    if (n > UINT32_MAX || !ORION_GROW(l->a, &l->pieces, &l->pieces_cap, (size_t)id + 1) ||
        !ORION_GROW(l->a, &l->symbols, &l->symbols_cap, l->symbol_count + n)) {
      return ORION_OOM(err, "pieces of the text");
    }
    l->pieces[id] = (piece){l->symbol_count, (uint32_t)n, 0};
    for (size_t i = 0; i < n; i++) l->symbols[l->symbol_count++] = FIRST_BYTE + text[i];
  }
  l->pieces[id].count++;
  return ORION_OK;
}

static orion_status count_stretch(learner *l, const orion_regex *pattern, orion_regex_scratch *scratch,
                                  const uint8_t *text, size_t n, orion_error *err) {
  for (size_t at = 0, begin, end; at < n; at = end) {
    ORION_TRY(orion_regex_find(pattern, scratch, text, n, at, &begin, &end, err));
    if (begin > at) ORION_TRY(count_piece(l, text + at, begin - at, err));
    if (end > begin) ORION_TRY(count_piece(l, text + begin, end - begin, err));
  }
  return ORION_OK;
}

static orion_status count_pieces(learner *l, const char *text, size_t size, orion_error *err) {
  orion_regex *pattern = NULL;
  orion_regex_scratch *scratch = NULL;
  orion_status status = orion_regex_create(l->a, orion_pattern_gpt2, strlen(orion_pattern_gpt2), false, "GPT-2's pattern",
                                           &pattern, err);
  if (status == ORION_OK) status = orion_regex_scratch_create(l->a, &scratch, err);
  for (size_t at = 0, end; status == ORION_OK && at < size; at = end + strlen(end_of_text)) {
    const char *found = memmem(text + at, size - at, end_of_text, strlen(end_of_text));
    end = found ? (size_t)(found - text) : size;
    status = count_stretch(l, pattern, scratch, (const uint8_t *)text + at, end - at, err);
  }
  orion_regex_scratch_destroy(scratch);
  orion_regex_destroy(pattern);
  return status;
}

// ---- pairs

static pair *slot_of(pair *slots, size_t count, int32_t left, int32_t right) {
  const int32_t key[2] = {left, right};
  for (size_t i = (size_t)orion_text_hash(key, sizeof key) & (count - 1);; i = (i + 1) & (count - 1)) {
    if (slots[i].left < 0 || (slots[i].left == left && slots[i].right == right)) return &slots[i];
  }
}

static bool grow_slots(learner *l) {
  size_t count = l->slot_count ? 2 * l->slot_count : 1024;
  pair *slots = orion_alloc_zero(l->a, count, sizeof *slots);
  if (!slots) return false;
  for (size_t i = 0; i < count; i++) slots[i].left = -1;
  for (size_t i = 0; i < l->slot_count; i++) {
    if (l->slots[i].left >= 0) *slot_of(slots, count, l->slots[i].left, l->slots[i].right) = l->slots[i];
  }
  orion_free(l->a, l->slots, l->slot_count, sizeof *l->slots);
  l->slots = slots;
  l->slot_count = count;
  return true;
}

static bool is_before(candidate x, candidate y) {
  if (x.count != y.count) return x.count > y.count;
  return x.left != y.left ? x.left < y.left : x.right < y.right;
}

static bool push(learner *l, candidate c) {
  if (!ORION_GROW(l->a, &l->heap, &l->heap_cap, l->heap_count + 1)) return false;
  size_t i = l->heap_count++;
  for (; i > 0 && is_before(c, l->heap[(i - 1) / 2]); i = (i - 1) / 2) l->heap[i] = l->heap[(i - 1) / 2];
  l->heap[i] = c;
  return true;
}

static candidate pop(learner *l) {
  candidate top = l->heap[0], last = l->heap[--l->heap_count];
  size_t i = 0;
  for (size_t child; (child = 2 * i + 1) < l->heap_count; i = child) {
    if (child + 1 < l->heap_count && is_before(l->heap[child + 1], l->heap[child])) child++;
    if (!is_before(l->heap[child], last)) break;
    l->heap[i] = l->heap[child];
  }
  l->heap[i] = last;
  return top;
}

static bool add_pair(learner *l, int32_t left, int32_t right, uint32_t in, uint64_t count) {
  if (2 * (l->used + 1) > l->slot_count && !grow_slots(l)) return false;
  pair *p = slot_of(l->slots, l->slot_count, left, right);
  if (p->left < 0) {
    *p = (pair){.left = left, .right = right};
    l->used++;
  }
  p->count += count;
  if (p->n == 0 || p->pieces[p->n - 1] != in) {
    if (!ORION_GROW(l->a, &p->pieces, &p->cap, p->n + 1)) return false;
    p->pieces[p->n++] = in;
  }
  return true;
}

static void drop_pair(learner *l, int32_t left, int32_t right, uint64_t count) {
  pair *p = slot_of(l->slots, l->slot_count, left, right);
  assert(p->left >= 0 && p->count >= count);
  p->count -= count;
}

static bool count_pairs(learner *l) {
  for (size_t i = 0; i < l->texts.size; i++) {
    const piece *p = &l->pieces[i];
    for (size_t k = 0; k + 1 < p->n; k++) {
      const int32_t *s = &l->symbols[p->begin + k];
      if (!add_pair(l, s[0], s[1], (uint32_t)i, p->count)) return false;
    }
  }
  for (size_t i = 0; i < l->slot_count; i++) {
    const pair *p = &l->slots[i];
    if (p->left >= 0 && !push(l, (candidate){p->count, p->left, p->right})) return false;
  }
  return true;
}

// ---- merges

// One piece with the pair joined, leftmost first. Its pairs are taken off the counts before and put on them after.
static bool merge_in_piece(learner *l, uint32_t index, candidate c, int32_t result) {
  piece *p = &l->pieces[index];
  int32_t *s = l->symbols + p->begin;
  bool found = false;
  for (size_t i = 0; i + 1 < p->n && !found; i++) found = s[i] == c.left && s[i + 1] == c.right;
  if (!found) return true;
  for (size_t i = 0; i + 1 < p->n; i++) drop_pair(l, s[i], s[i + 1], p->count);
  uint32_t n = 0;
  for (size_t i = 0; i < p->n; i++) {
    bool here = i + 1 < p->n && s[i] == c.left && s[i + 1] == c.right;
    s[n++] = here ? result : s[i];
    i += here;
  }
  p->n = n;
  for (size_t i = 0; i + 1 < n; i++) {
    if (!add_pair(l, s[i], s[i + 1], index, p->count)) return false;
    bool fresh = s[i] == result || s[i + 1] == result;
    uint64_t count = fresh ? slot_of(l->slots, l->slot_count, s[i], s[i + 1])->count : 0;
    if (fresh && !push(l, (candidate){count, s[i], s[i + 1]})) return false;
  }
  return true;
}

static bool merge(learner *l, candidate c, int32_t result) {
  if (!ORION_GROW(l->a, &l->merges, &l->merges_cap, l->merge_count + 1)) return false;
  l->merges[l->merge_count++] = c;
  pair *p = slot_of(l->slots, l->slot_count, c.left, c.right);
  uint32_t *pieces = p->pieces;
  size_t n = p->n, cap = p->cap;
  p->pieces = NULL;  // joining takes it out of every piece, and the table may move meanwhile
  p->n = p->cap = 0;
  bool ok = true;
  for (size_t i = 0; ok && i < n; i++) ok = merge_in_piece(l, pieces[i], c, result);
  orion_free(l->a, pieces, cap, sizeof *pieces);
  return ok;
}

static bool learn(learner *l, int32_t vocab_size) {
  if (!count_pairs(l)) return false;
  for (int32_t next = FIRST_MERGED; next < vocab_size && l->heap_count;) {
    candidate c = pop(l);
    uint64_t now = slot_of(l->slots, l->slot_count, c.left, c.right)->count;
    if (now < 2) continue;  // what occurs once teaches nothing
    if (now != c.count) {
      if (now < c.count && !push(l, (candidate){now, c.left, c.right})) return false;
      continue;  // more than it says: a later entry of the heap says it
    }
    if (!merge(l, c, next++)) return false;
  }
  return true;
}

// ---- files

// The tokens' bytes in the alphabet, one after another.
typedef struct spellings {
  char *text;
  size_t size, cap;
  orion_token_span *spans;
  size_t count;
} spellings;

static orion_status spell(const learner *l, spellings *s, orion_error *err) {
  for (size_t id = 0; id < s->count; id++) {
    const candidate *m = id < FIRST_MERGED ? NULL : &l->merges[id - FIRST_MERGED];
    size_t n = m ? (size_t)s->spans[m->left].size + s->spans[m->right].size : sizeof end_of_text;  // at most
    if (s->size > UINT32_MAX - n) return ORION_FAIL(err, ORION_LIMIT, "vocabulary: over 4 GB of spellings");
    if (!ORION_GROW(l->a, &s->text, &s->cap, s->size + n)) return ORION_OOM(err, "vocabulary");
    char *to = s->text + s->size;
    if (m) {
      orion_token_span left = s->spans[m->left], right = s->spans[m->right];
      memcpy(to, s->text + left.offset, left.size);
      memcpy(to + left.size, s->text + right.offset, right.size);
    } else if (id == 0) {
      n = strlen(end_of_text);
      memcpy(to, end_of_text, n);
    } else {
      n = orion_bytes_to_alphabet(&(uint8_t){(uint8_t)(id - FIRST_BYTE)}, 1, (uint8_t *)to);
    }
    s->spans[id] = (orion_token_span){(uint32_t)s->size, (uint32_t)n};
    s->size += n;
  }
  return ORION_OK;
}

static void add_spelling(orion_strbuf *b, const spellings *s, int32_t id, bool json) {
  const char *text = s->text + s->spans[id].offset;
  for (size_t i = 0; i < s->spans[id].size; i++) {
    if (json && (text[i] == '"' || text[i] == '\\')) orion_strbuf_addc(b, '\\');
    orion_strbuf_addc(b, text[i]);
  }
}

static orion_status write_in(const orion_allocator *a, const char *dir, const char *name, const orion_strbuf *b,
                             orion_error *err) {
  ORION_TRY(orion_strbuf_status(b, err));
  char *path = orion_path_join(a, dir, name);
  if (!path) return ORION_OOM(err, dir);
  orion_status status = orion_file_write(a, path, b->data, b->size, err);
  orion_strfree(a, path);
  return status;
}

// The end of one text is the beginning of the next: so a text of nothing can be continued, too.
static orion_status write_config(const orion_allocator *a, const char *dir, orion_error *err) {
  orion_strbuf b;
  orion_strbuf_init(&b, a);
  orion_strbuf_addf(&b, "{\"tokenizer_class\": \"GPT2Tokenizer\", \"bos_token\": \"%s\", \"eos_token\": \"%s\",\n"
                    " \"add_bos_token\": true}\n", end_of_text, end_of_text);
  orion_status status = write_in(a, dir, "tokenizer_config.json", &b, err);
  orion_strbuf_deinit(&b);
  return status;
}

static orion_status write_files(const learner *l, const spellings *s, const char *dir, orion_error *err) {
  orion_strbuf vocab, merges;
  orion_strbuf_init(&vocab, l->a);
  orion_strbuf_init(&merges, l->a);
  for (size_t id = 0; id < s->count; id++) {
    orion_strbuf_adds(&vocab, id ? ",\n\"" : "{\"");
    add_spelling(&vocab, s, (int32_t)id, true);
    orion_strbuf_addf(&vocab, "\": %zu", id);
  }
  orion_strbuf_adds(&vocab, "}\n");
  orion_strbuf_adds(&merges, "#version: 0.2\n");
  for (size_t i = 0; i < l->merge_count; i++) {
    add_spelling(&merges, s, l->merges[i].left, false);
    orion_strbuf_addc(&merges, ' ');
    add_spelling(&merges, s, l->merges[i].right, false);
    orion_strbuf_addc(&merges, '\n');
  }
  orion_status status = orion_dir_make(dir, err);
  if (status == ORION_OK) status = write_in(l->a, dir, "vocab.json", &vocab, err);
  if (status == ORION_OK) status = write_in(l->a, dir, "merges.txt", &merges, err);
  if (status == ORION_OK) status = write_config(l->a, dir, err);
  orion_strbuf_deinit(&merges);
  orion_strbuf_deinit(&vocab);
  return status;
}

static orion_status write_learned(const learner *l, const char *dir, orion_error *err) {
  spellings s = {.count = FIRST_MERGED + l->merge_count};
  s.spans = orion_alloc(l->a, s.count, sizeof *s.spans);
  orion_status status = s.spans ? spell(l, &s, err) : ORION_OOM(err, "vocabulary");
  if (status == ORION_OK) status = write_files(l, &s, dir, err);
  orion_free(l->a, s.spans, s.count, sizeof *s.spans);
  orion_free(l->a, s.text, s.cap, 1);
  return status;
}

orion_status orion_tokenizer_learn(const orion_allocator *allocator, const char *text, size_t size, int32_t vocab_size,
                                   const char *dir, int32_t *out_vocab_size, orion_error *err) {
  if (vocab_size < FIRST_MERGED || vocab_size > ORION_VOCAB_MAX) {
    return ORION_FAIL(err, ORION_INVALID, "a vocabulary of %d tokens (want %d to %d: the end of text, 256 bytes, merges)",
                      vocab_size, FIRST_MERGED, ORION_VOCAB_MAX);
  }
  if (!orion_utf8_valid((const uint8_t *)text, size)) {
    return ORION_FAIL(err, ORION_FORMAT, "the text to learn from is not UTF-8 (convert it first)");
  }
  learner l = {.a = orion_allocator_or_default(allocator)};
  orion_vocab_init(&l.texts, l.a);
  orion_status status = count_pieces(&l, text, size, err);
  if (status == ORION_OK && !learn(&l, vocab_size)) status = ORION_OOM(err, "learning a vocabulary");
  if (status == ORION_OK) status = write_learned(&l, dir, err);
  if (status == ORION_OK && out_vocab_size) *out_vocab_size = (int32_t)(FIRST_MERGED + l.merge_count);
  learner_deinit(&l);
  return status;
}
