// What the loaders share: appending steps, and the last step of loading.
#include <stdio.h>

#include "text/impl.h"
#include "text/utf8.h"

const char orion_pattern_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char orion_pattern_llama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static orion_status check_room(size_t count, const char *what, const char *name, orion_error *err) {
  if (count < ORION_TEXT_MAX_STEPS) return ORION_OK;
  return ORION_FAIL(err, ORION_LIMIT, "%s: more than %d %s", name, ORION_TEXT_MAX_STEPS, what);
}

orion_status orion_add_normalize(orion_tokenizer *t, orion_normalize_kind kind, const char *text, const char *name,
                                 orion_normalize_step **out, orion_error *err) {
  ORION_TRY(check_room(t->normalize_count, "normalizers", name, err));
  orion_normalize_step *step = &t->normalize[t->normalize_count++];
  *step = (orion_normalize_step){.kind = kind};
  if (text && !(step->text = orion_strdup(t->allocator, text))) return ORION_OOM(err, name);
  if (out) *out = step;
  return ORION_OK;
}

orion_status orion_add_cut_split(orion_tokenizer *t, const char *pattern, size_t n, bool literal,
                                 orion_split_behavior behavior, bool invert, const char *name, orion_error *err) {
  ORION_TRY(check_room(t->cut_count, "pretokenizers", name, err));
  orion_cut_step *step = &t->cut[t->cut_count++];
  *step = (orion_cut_step){.kind = ORION_CUT_SPLIT, .behavior = behavior, .invert = invert};
  return orion_regex_create(t->allocator, pattern, n, literal, name, &step->pattern, err);
}

orion_status orion_add_cut_text(orion_tokenizer *t, orion_cut_kind kind, const char *text, orion_prepend prepend,
                                const char *name, orion_error *err) {
  ORION_TRY(check_room(t->cut_count, "pretokenizers", name, err));
  orion_cut_step *step = &t->cut[t->cut_count++];
  *step = (orion_cut_step){.kind = kind, .prepend = prepend};
  step->text = orion_strdup(t->allocator, text);
  return step->text ? ORION_OK : ORION_OOM(err, name);
}

orion_status orion_add_decode(orion_tokenizer *t, orion_decode_kind kind, const char *pattern, const char *text,
                              size_t start, size_t stop, const char *name, orion_error *err) {
  ORION_TRY(check_room(t->decode_count, "decoders", name, err));
  orion_decode_step *step = &t->decode[t->decode_count++];
  *step = (orion_decode_step){.kind = kind, .start = start, .stop = stop};
  if (pattern && !(step->pattern = orion_strdup(t->allocator, pattern))) return ORION_OOM(err, name);
  if (text && !(step->text = orion_strdup(t->allocator, text))) return ORION_OOM(err, name);
  return ORION_OK;
}

orion_status orion_add_added(orion_tokenizer *t, orion_added_token token, const char *name, orion_error *err) {
  if (!ORION_GROW(t->allocator, &t->added, &t->added_cap, t->added_count + 1)) return ORION_OOM(err, name);
  t->added[t->added_count++] = token;
  return ORION_OK;
}

// Marks which bytes stand side by side, at a border of two characters, within some token.
static void mark_joined(orion_tokenizer *t, const uint8_t *text, size_t n) {
  int last = -1;
  for (size_t i = 0, k; i < n; i += k) {
    k = orion_utf8_step(text + i, n - i);
    bool meta = k == 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0;
    uint8_t next = meta ? 0xff : text[i];
    if (last >= 0) t->joined[last][next >> 3] |= (uint8_t)(1u << (next & 7));
    last = meta ? 0xff : text[i + k - 1];
  }
}

static void find_byte_tokens(orion_tokenizer *t) {
  for (int b = 0; b < 256; b++) {
    uint8_t utf8[4];
    char spelling[8];
    if (t->byte_level) {
      t->byte_ids[b] = orion_vocab_find(&t->vocab, utf8, orion_utf8_put(orion_byte_char((uint8_t)b), utf8));
    } else {
      snprintf(spelling, sizeof spelling, "<0x%02X>", (unsigned)b);
      t->byte_ids[b] = orion_vocab_find(&t->vocab, spelling, 6);
    }
  }
}

orion_status orion_tokenizer_finish(orion_tokenizer *t, const char *name, orion_error *err) {
  if (t->vocab.size == 0) return ORION_FAIL(err, ORION_FORMAT, "%s: the vocabulary is empty", name);
  find_byte_tokens(t);
  for (size_t id = 0; id < t->vocab.size; id++) {
    size_t n;
    if (!(t->vocab.flags[id] & ORION_TOKEN_PLAIN)) continue;
    const char *text = orion_vocab_text(&t->vocab, (int32_t)id, &n);
    if (!t->byte_level) mark_joined(t, (const uint8_t *)text, n);
    if (n > t->longest) t->longest = n;
  }
  ORION_TRY(orion_added_prepare(t, name, err));
  return orion_decode_prepare(t, name, err);
}

static orion_status part_symbol(orion_tokenizer *t, const char *text, size_t n, int32_t *out, const char *name,
                                orion_error *err) {
  int32_t id = orion_vocab_find(&t->vocab, text, n);
  *out = -1;
  if (id >= 0 && (t->vocab.flags[id] & ORION_TOKEN_PLAIN)) {
    *out = id;
    return ORION_OK;
  }
  if (orion_utf8_step((const uint8_t *)text, n) != n) return ORION_OK;
  id = orion_vocab_find(&t->loose, text, n);
  if (id < 0) {
    id = (int32_t)t->loose.size;
    ORION_TRY(orion_vocab_add(&t->loose, id, text, n, 0, name, err));
  }
  *out = id + (int32_t)t->vocab.size;
  return ORION_OK;
}

static orion_status add_splits(orion_tokenizer *t, int32_t id, uint32_t rank, const char *name, orion_error *err) {
  size_t n;
  char copy[ORION_TEXT_MAX_PIECE];  // the pool may move while loose characters are added
  const char *text = orion_vocab_text(&t->vocab, id, &n);
  if (n > sizeof copy) {
    return ORION_FAIL(err, ORION_LIMIT, "%s: token %d has %zu bytes (at most %d)", name, id, n, ORION_TEXT_MAX_PIECE);
  }
  memcpy(copy, text, n);
  for (size_t i = 0; i < n;) {
    i += orion_utf8_step((const uint8_t *)copy + i, n - i);
    if (i >= n) break;
    int32_t left, right;
    ORION_TRY(part_symbol(t, copy, i, &left, name, err));
    if (left < 0) continue;
    ORION_TRY(part_symbol(t, copy + i, n - i, &right, name, err));
    if (right < 0) continue;
    if (!orion_merges_add(&t->merges, (orion_merge){left, right, rank, id})) return ORION_OOM(err, name);
  }
  return ORION_OK;
}

typedef struct scored {
  float score;
  int32_t id;
} scored;

// Descending scores; the stable part (by id) only makes the order the same everywhere.
static void sort_scores(scored *list, scored *temp, size_t n) {
  for (size_t width = 1; width < n; width *= 2) {
    for (size_t low = 0; low < n; low += 2 * width) {
      size_t mid = low + width < n ? low + width : n, high = mid + width < n ? mid + width : n;
      for (size_t i = low, j = mid, k = low; k < high; k++) {
        bool take_left = i < mid && (j >= high || list[i].score >= list[j].score);
        temp[k] = take_left ? list[i++] : list[j++];
      }
    }
    memcpy(list, temp, n * sizeof *list);
  }
}

orion_status orion_merges_from_scores(orion_tokenizer *t, const float *scores, const char *name, orion_error *err) {
  size_t size = t->vocab.size, count = 0;
  orion_status status = ORION_OK;
  scored *list = orion_alloc(t->allocator, size, 2 * sizeof *list);
  if (!list || !orion_merges_reserve(&t->merges, size * 2)) {
    status = ORION_OOM(err, name);
    goto done;
  }
  for (size_t id = 0; id < size; id++) {
    if (t->vocab.flags[id] & ORION_TOKEN_PLAIN) list[count++] = (scored){scores[id], (int32_t)id};
  }
  sort_scores(list, list + size, count);
  uint32_t rank = 0;
  for (size_t i = 0; i < count && status == ORION_OK; i++) {
    if (i && list[i].score != list[i - 1].score) rank++;  // equal scores: the leftmost pair first
    status = add_splits(t, list[i].id, rank, name, err);
  }
done:
  orion_free(t->allocator, list, size, 2 * sizeof *list);
  return status;
}
