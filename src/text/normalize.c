// Text to text before cutting, one step after another. Malformed bytes pass through every step unchanged.
//
// Unicode forms: utf8proc decomposes and composes, one code point at a time; putting marks in canonical order is done
// here, because utf8proc's way is quadratic in the number of marks on one letter and texts may come from an enemy.
#include <utf8proc.h>

#include "text/impl.h"
#include "text/utf8.h"

typedef struct points {
  const orion_allocator *allocator;
  int32_t *data;
  size_t count, cap;
} points;

static unsigned combining_class(int32_t c) { return (unsigned)utf8proc_get_property(c)->combining_class; }

// Stable sort of one run of marks by class: insertion for the ordinary few, counting for many.
static bool sort_marks(points *p, size_t begin, size_t end) {
  size_t n = end - begin;
  int32_t *marks = p->data + begin;
  if (n <= 32) {
    for (size_t i = 1; i < n; i++) {
      int32_t c = marks[i];
      size_t j = i;
      for (; j > 0 && combining_class(marks[j - 1]) > combining_class(c); j--) marks[j] = marks[j - 1];
      marks[j] = c;
    }
    return true;
  }
  size_t at[257] = {0};
  int32_t *sorted = orion_alloc(p->allocator, n, sizeof *sorted);
  if (!sorted) return false;
  for (size_t i = 0; i < n; i++) at[combining_class(marks[i]) + 1]++;
  for (size_t i = 0; i < 256; i++) at[i + 1] += at[i];
  for (size_t i = 0; i < n; i++) sorted[at[combining_class(marks[i])]++] = marks[i];
  memcpy(marks, sorted, n * sizeof *sorted);
  orion_free(p->allocator, sorted, n, sizeof *sorted);
  return true;
}

static bool sort_all_marks(points *p) {
  for (size_t i = 0; i < p->count;) {
    if (p->data[i] < 0x300 || combining_class(p->data[i]) == 0) {
      i++;
      continue;
    }
    size_t begin = i;
    while (i < p->count && combining_class(p->data[i]) != 0) i++;
    if (!sort_marks(p, begin, i)) return false;
  }
  return true;
}

// One well-formed stretch.
static bool unicode_form(points *p, const char *text, size_t n, utf8proc_option_t options, orion_strbuf *out) {
  p->count = 0;
  for (size_t i = 0; i < n;) {
    uint32_t c;
    i += orion_utf8_next((const uint8_t *)text + i, n - i, &c);
    if (!ORION_GROW(p->allocator, &p->data, &p->cap, p->count + 32)) return false;  // 18 is the longest there is
    int boundary = 0;
    utf8proc_ssize_t k = utf8proc_decompose_char((int32_t)c, p->data + p->count, 32, options, &boundary);
    if (k < 0 || k > 32) {
      p->data[p->count++] = (int32_t)c;
    } else {
      p->count += (size_t)k;
    }
  }
  if (!sort_all_marks(p)) return false;
  utf8proc_ssize_t count = (utf8proc_ssize_t)p->count;
  if (options & UTF8PROC_COMPOSE) count = utf8proc_normalize_utf32(p->data, count, options);
  for (utf8proc_ssize_t i = 0; i < count; i++) {
    uint8_t bytes[4];
    orion_strbuf_add(out, bytes, orion_utf8_put((uint32_t)p->data[i], bytes));
  }
  return true;
}

static bool all_below(const char *text, size_t n, uint8_t limit) {
  for (size_t i = 0; i < n; i++) {
    if ((uint8_t)text[i] >= limit) return false;
  }
  return true;
}

static orion_status unicode_forms(orion_normalize_kind kind, const char *text, size_t n, orion_strbuf *out,
                                  orion_error *err) {
  bool compose = kind == ORION_NORMALIZE_NFC || kind == ORION_NORMALIZE_NFKC;
  bool compat = kind == ORION_NORMALIZE_NFKC || kind == ORION_NORMALIZE_NFKD;
  if (all_below(text, n, 0x80)) {
    orion_strbuf_add(out, text, n);
    return orion_strbuf_status(out, err);
  }
  utf8proc_option_t options = UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
  if (compat) options |= UTF8PROC_COMPAT;
  points p = {.allocator = out->allocator};
  bool ok = true;
  for (size_t i = 0; i < n && ok;) {
    size_t end = i;
    uint32_t c;
    for (size_t k; end < n && (k = orion_utf8_next((const uint8_t *)text + end, n - end, &c)) != 0;) end += k;
    ok = unicode_form(&p, text + i, end - i, options, out);
    if (end < n) orion_strbuf_addc(out, text[end++]);
    i = end;
  }
  orion_free(p.allocator, p.data, p.cap, sizeof *p.data);
  if (!ok) return ORION_OOM(err, "tokenizer");
  return orion_strbuf_status(out, err);
}

// Character by character; malformed bytes stay.
static void map_chars(orion_normalize_kind kind, const char *text, size_t n, orion_strbuf *out) {
  for (size_t i = 0; i < n;) {
    uint32_t c;
    uint8_t bytes[4];
    size_t k = orion_utf8_next((const uint8_t *)text + i, n - i, &c);
    if (k == 0) {
      orion_strbuf_addc(out, text[i++]);
      continue;
    }
    if (kind == ORION_NORMALIZE_LOWERCASE && c == 0x130) {  // the one letter whose small form is two characters
      orion_strbuf_add(out, "i\xcc\x87", 3);
    } else if (kind == ORION_NORMALIZE_LOWERCASE) {
      orion_strbuf_add(out, bytes, orion_utf8_put((uint32_t)utf8proc_tolower((int32_t)c), bytes));
    } else if (utf8proc_category((int32_t)c) != UTF8PROC_CATEGORY_MN) {
      orion_strbuf_add(out, text + i, k);
    }
    i += k;
  }
}

static bool is_white(uint32_t c) {
  return c == ' ' || (c >= 9 && c <= 13) || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
         c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static void strip(const orion_normalize_step *step, const char *text, size_t n, orion_strbuf *out) {
  const uint8_t *p = (const uint8_t *)text;
  size_t begin = 0, end = n;
  uint32_t c;
  for (size_t k; step->left && begin < n && (k = orion_utf8_next(p + begin, n - begin, &c)) && is_white(c);) begin += k;
  while (step->right && end > begin) {
    size_t at = end - 1;
    while (at > begin && (p[at] & 0xc0) == 0x80) at--;
    if (orion_utf8_next(p + at, end - at, &c) != end - at || !is_white(c)) break;
    end = at;
  }
  orion_strbuf_add(out, text + begin, end - begin);
}

static void squeeze_spaces(const char *text, size_t n, orion_strbuf *out) {
  while (n && text[n - 1] == ' ') n--;
  for (size_t i = 0; i < n; i++) {
    bool repeated = text[i] == ' ' && (out->size == 0 || out->data[out->size - 1] == ' ');
    if (!repeated) orion_strbuf_addc(out, text[i]);
  }
}

// A pattern of plain text without special meaning would not need the regular expression; one way for both is simpler.
static orion_status replace(const orion_normalize_step *step, orion_regex_scratch *s, const char *text, size_t n,
                            orion_strbuf *out, orion_error *err) {
  const uint8_t *p = (const uint8_t *)text;
  for (size_t from = 0; from < n;) {
    size_t end = from;  // of this well-formed stretch
    uint32_t c;
    for (size_t k; end < n && (k = orion_utf8_next(p + end, n - end, &c)) != 0;) end += k;
    while (from < end) {
      size_t match, next;
      ORION_TRY(orion_regex_find(step->pattern, s, p + from, end - from, 0, &match, &next, err));
      orion_strbuf_add(out, text + from, match);
      if (match < end - from) orion_strbuf_adds(out, step->text);
      from += next;
    }
    if (end < n) orion_strbuf_addc(out, text[end++]);
    from = end;
  }
  return orion_strbuf_status(out, err);
}

orion_status orion_normalize_apply(const orion_normalize_step *step, orion_regex_scratch *s, const char *text, size_t n,
                                   orion_strbuf *out, orion_error *err) {
  orion_text_restart(out);
  switch (step->kind) {
    case ORION_NORMALIZE_NFC:
    case ORION_NORMALIZE_NFD:
    case ORION_NORMALIZE_NFKC:
    case ORION_NORMALIZE_NFKD:
      return unicode_forms(step->kind, text, n, out, err);
    case ORION_NORMALIZE_LOWERCASE:
    case ORION_NORMALIZE_STRIP_ACCENTS:
      map_chars(step->kind, text, n, out);
      break;
    case ORION_NORMALIZE_STRIP:
      strip(step, text, n, out);
      break;
    case ORION_NORMALIZE_PREPEND:
      if (n) orion_strbuf_adds(out, step->text);
      orion_strbuf_add(out, text, n);
      break;
    case ORION_NORMALIZE_REPLACE:
      return replace(step, s, text, n, out, err);
    case ORION_NORMALIZE_SPACES:
      squeeze_spaces(text, n, out);
      break;
  }
  return orion_strbuf_status(out, err);
}
