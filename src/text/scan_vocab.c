#include "text/scan_vocab.h"

#include <string.h>

#include "text/utf8.h"

enum { MAX_TOKEN = 4096, MAX_DIGITS = 9 };

typedef struct scanner {
  const char *p, *end;
  uint8_t token[MAX_TOKEN];
  size_t size;
} scanner;

static void skip_space(scanner *s) {
  while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t')) s->p++;
}

static bool take(scanner *s, char c) {
  skip_space(s);
  if (s->p == s->end || *s->p != c) return false;
  s->p++;
  return true;
}

static bool hex4(scanner *s, uint32_t *out) {
  if (s->end - s->p < 4) return false;
  *out = 0;
  for (int i = 0; i < 4; i++) {
    char c = *s->p++;
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return false;
    *out = *out * 16 + (uint32_t)digit;
  }
  return true;
}

// What follows \u: one character, or the first half of a pair with the second behind it.
static bool escaped_char(scanner *s) {
  uint32_t c, low;
  if (!hex4(s, &c) || c == 0 || (c >= 0xdc00 && c < 0xe000)) return false;
  if (c >= 0xd800 && c < 0xdc00) {
    if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u') return false;
    s->p += 2;
    if (!hex4(s, &low) || low < 0xdc00 || low >= 0xe000) return false;
    c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
  }
  s->size += orion_utf8_put(c, s->token + s->size);
  return true;
}

static bool escape(scanner *s) {
  static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  if (s->p == s->end) return false;
  char c = *s->p++;
  if (c == 'u') return escaped_char(s);
  const char *at = c ? strchr(letters, c) : NULL;
  if (!at) return false;
  s->token[s->size++] = (uint8_t)meant[at - letters];
  return true;
}

// A character of several bytes, of which one was taken.
static bool wide_char(scanner *s) {
  uint32_t c;
  const uint8_t *first = (const uint8_t *)s->p - 1;
  size_t n = *first < 0x80 ? 0 : orion_utf8_next(first, (size_t)(s->end - s->p) + 1, &c);
  if (n < 2) return false;
  memcpy(s->token + s->size, first, n);
  s->size += n;
  s->p += n - 1;
  return true;
}

static bool text(scanner *s) {
  if (!take(s, '"')) return false;
  for (s->size = 0; s->p < s->end && s->size + 4 <= MAX_TOKEN;) {
    char c = *s->p++;
    if (c == '"') return true;
    if (c == '\\') {
      if (!escape(s)) return false;
    } else if (c >= 0x20 && (unsigned char)c < 0x80) {
      s->token[s->size++] = (uint8_t)c;
    } else if (!wide_char(s)) {
      return false;
    }
  }
  return false;
}

static bool number(scanner *s, int64_t *out) {
  skip_space(s);
  const char *first = s->p;
  *out = 0;
  while (s->p < s->end && s->p - first < MAX_DIGITS && *s->p >= '0' && *s->p <= '9') *out = *out * 10 + (*s->p++ - '0');
  bool leading_zero = s->p - first > 1 && *first == '0';
  return s->p > first && !leading_zero;  // what follows must be a comma or the end, so a fraction is refused there
}

bool orion_scan_vocab(orion_vocab *v, const char *json, size_t n) {
  scanner s = {.p = json, .end = json + n};
  if (!take(&s, '{')) return false;
  do {
    int64_t id;
    if (!text(&s) || !take(&s, ':') || !number(&s, &id)) return false;
    if (orion_vocab_add(v, id, (const char *)s.token, s.size, ORION_TOKEN_PLAIN, "vocabulary", NULL) != ORION_OK) return false;
  } while (take(&s, ','));
  if (!take(&s, '}')) return false;
  skip_space(&s);
  return s.p == s.end;
}
