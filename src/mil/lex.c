#include "mil/lex.h"

#include <stdio.h>

#define FAIL_AT(l, at_line, at_column, format, ...) \
  ORION_FAIL(err, ORION_FORMAT, "%s:%u:%u: " format, (l)->file, (at_line), (at_column), __VA_ARGS__)

enum { SPACE = 1, ALPHA = 2, DIGIT = 4, PUNCT = 8, SIGN = 16 };

// The class of every byte. Bytes without one may occur inside strings and comments only.
static const uint8_t classes[256] = {
    [' '] = SPACE, ['\t'] = SPACE, ['\r'] = SPACE, ['\n'] = SPACE,
    ['('] = PUNCT, [')'] = PUNCT, ['['] = PUNCT, [']'] = PUNCT, ['{'] = PUNCT, ['}'] = PUNCT, ['<'] = PUNCT,
    ['>'] = PUNCT, ['='] = PUNCT, [','] = PUNCT, [';'] = PUNCT, ['?'] = PUNCT,
    ['+'] = SIGN, ['-'] = SIGN,
    ['0'] = DIGIT, ['1'] = DIGIT, ['2'] = DIGIT, ['3'] = DIGIT, ['4'] = DIGIT, ['5'] = DIGIT, ['6'] = DIGIT,
    ['7'] = DIGIT, ['8'] = DIGIT, ['9'] = DIGIT, ['.'] = DIGIT,
    ['_'] = ALPHA, ['a'] = ALPHA, ['b'] = ALPHA, ['c'] = ALPHA, ['d'] = ALPHA, ['e'] = ALPHA, ['f'] = ALPHA,
    ['g'] = ALPHA, ['h'] = ALPHA, ['i'] = ALPHA, ['j'] = ALPHA, ['k'] = ALPHA, ['l'] = ALPHA, ['m'] = ALPHA,
    ['n'] = ALPHA, ['o'] = ALPHA, ['p'] = ALPHA, ['q'] = ALPHA, ['r'] = ALPHA, ['s'] = ALPHA, ['t'] = ALPHA,
    ['u'] = ALPHA, ['v'] = ALPHA, ['w'] = ALPHA, ['x'] = ALPHA, ['y'] = ALPHA, ['z'] = ALPHA,
    ['A'] = ALPHA, ['B'] = ALPHA, ['C'] = ALPHA, ['D'] = ALPHA, ['E'] = ALPHA, ['F'] = ALPHA, ['G'] = ALPHA,
    ['H'] = ALPHA, ['I'] = ALPHA, ['J'] = ALPHA, ['K'] = ALPHA, ['L'] = ALPHA, ['M'] = ALPHA, ['N'] = ALPHA,
    ['O'] = ALPHA, ['P'] = ALPHA, ['Q'] = ALPHA, ['R'] = ALPHA, ['S'] = ALPHA, ['T'] = ALPHA, ['U'] = ALPHA,
    ['V'] = ALPHA, ['W'] = ALPHA, ['X'] = ALPHA, ['Y'] = ALPHA, ['Z'] = ALPHA,
};

static uint8_t class_of(char c) { return classes[(unsigned char)c]; }

void orion_mil_lexer_init(orion_mil_lexer *l, const char *file, const char *text, size_t n) {
  *l = (orion_mil_lexer){.file = file ? file : "text", .at = text, .end = text + n, .line_start = text, .line = 1};
  if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {  // a byte order mark is no part of the text
    l->at += 3;
    l->line_start += 3;
  }
}

static void skip_space(orion_mil_lexer *l) {
  while (l->at < l->end) {
    if (*l->at == '\n') {
      l->line++;
      l->line_start = l->at + 1;
    } else if (*l->at == '/' && l->end - l->at > 1 && l->at[1] == '/') {
      const char *newline = memchr(l->at, '\n', (size_t)(l->end - l->at));
      l->at = newline ? newline : l->end;
      continue;
    } else if (class_of(*l->at) != SPACE) {
      return;
    }
    l->at++;
  }
}

// The end of a number: letters, digits, points, and a sign after an exponent's letter (which is `p` in hexadecimal).
static const char *number_end(const char *p, const char *end) {
  if (class_of(*p) == SIGN) p++;
  bool hex = end - p > 1 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
  char exponent = hex ? 'p' : 'e';
  for (; p < end; p++) {
    if (class_of(*p) == SIGN && (p[-1] | 0x20) == exponent) continue;
    if (!(class_of(*p) & (ALPHA | DIGIT))) break;
  }
  return p;
}

static orion_status lex_string(orion_mil_lexer *l, orion_mil_token *t, orion_error *err) {
  const char *p = ++l->at;
  for (; p < l->end && *p != '"' && *p != '\n' && *p != 0; p++) {
    if (*p == '\\' && l->end - p > 1 && p[1] != '\n') p++;
  }
  if (p >= l->end || *p != '"') {
    return FAIL_AT(l, t->line, t->column, "string without its closing quote: expected '\"' before the end of the %s",
                   p >= l->end ? "file" : "line");
  }
  t->kind = ORION_MIL_STRING;
  t->text = l->at;
  t->n = (size_t)(p - l->at);
  l->at = p + 1;
  return ORION_OK;
}

orion_status orion_mil_lex(orion_mil_lexer *l, orion_mil_token *t, orion_error *err) {
  skip_space(l);
  const char *p = l->at;
  *t = (orion_mil_token){.kind = ORION_MIL_END, .text = p, .line = l->line,
                         .column = (uint32_t)(p - l->line_start) + 1};
  if (p == l->end) return ORION_OK;
  if (*p == '"') return lex_string(l, t, err);
  switch (class_of(*p)) {
    case ALPHA:
      t->kind = ORION_MIL_NAME;
      while (l->at < l->end && class_of(*l->at) & (ALPHA | DIGIT)) l->at++;
      break;
    case DIGIT: case SIGN:
      if (*p == '-' && l->end - p > 1 && p[1] == '>') {
        t->kind = ORION_MIL_PUNCT;
        t->punct = '-';
        l->at = p + 2;
      } else {
        t->kind = ORION_MIL_NUMBER;
        l->at = number_end(p, l->end);
      }
      break;
    case PUNCT:
      t->kind = ORION_MIL_PUNCT;
      t->punct = *p;
      l->at = p + 1;
      break;
    default:
      return FAIL_AT(l, t->line, t->column, "expected MIL text, found byte 0x%02x", (unsigned)(unsigned char)*p);
  }
  t->n = (size_t)(l->at - p);
  return ORION_OK;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// \xNN and \uNNNN: a byte, or a character of the basic plane in UTF-8. Returns how many source characters were used
// after the letter; 0 if malformed.
static size_t coded_character(const char *p, const char *end, char letter, char **out) {
  size_t digits = letter == 'x' ? 2 : 4;
  unsigned code = 0;
  if ((size_t)(end - p) < digits) return 0;
  for (size_t i = 0; i < digits; i++) {
    int d = hex_digit(p[i]);
    if (d < 0) return 0;
    code = code << 4 | (unsigned)d;
  }
  if (code == 0 || (letter == 'u' && code >= 0xd800 && code < 0xe000)) return 0;
  char *o = *out;
  if (letter == 'x' || code < 0x80) {
    *o++ = (char)code;
  } else if (code < 0x800) {
    *o++ = (char)(0xc0 | code >> 6);
    *o++ = (char)(0x80 | (code & 0x3f));
  } else {
    *o++ = (char)(0xe0 | code >> 12);
    *o++ = (char)(0x80 | (code >> 6 & 0x3f));
    *o++ = (char)(0x80 | (code & 0x3f));
  }
  *out = o;
  return digits;
}

orion_status orion_mil_unescape(const orion_mil_lexer *l, const orion_mil_token *t, char *out, orion_error *err) {
  static const char letters[] = "\"\\/'nrtbfav", meanings[] = "\"\\/'\n\r\t\b\f\a\v";
  const char *p = t->text, *end = t->text + t->n;
  while (p < end) {
    if (*p != '\\') {
      *out++ = *p++;
      continue;
    }
    // The lexer saw to it that something follows the backslash.
    char letter = p[1];
    const char *known = memchr(letters, letter, sizeof letters - 1);
    size_t used = 0;
    if (known) {
      *out++ = meanings[known - letters];
    } else if (letter == 'x' || letter == 'u') {
      used = coded_character(p + 2, end, letter, &out);
    }
    if (!known && !used) {
      return FAIL_AT(l, t->line, t->column + 1 + (uint32_t)(p - t->text),
                     "expected an escape of a string (\\\" \\\\ \\n \\r \\t \\xNN \\uNNNN), found '\\%c'",
                     letter >= ' ' && letter < 127 ? letter : '?');
    }
    p += 2 + used;
  }
  *out = 0;
  return ORION_OK;
}

void orion_mil_describe(const orion_mil_token *t, char out[64]) {
  if (t->kind == ORION_MIL_END) {
    snprintf(out, 64, "the end of the file");
    return;
  }
  const char *quote = t->kind == ORION_MIL_STRING ? "\"" : "'";
  size_t n = t->n < 40 ? t->n : 40;
  char shown[41];
  for (size_t i = 0; i < n; i++) shown[i] = t->text[i] >= ' ' && t->text[i] < 127 ? t->text[i] : '?';
  shown[n] = 0;
  snprintf(out, 64, "%s%s%s%s", quote, shown, t->n > n ? "..." : "", quote);
}
