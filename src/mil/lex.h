// Tokens of MIL text. The lexer works on a text of known length, may meet any byte, and keeps line and column.
#ifndef ORION_MIL_LEX_H
#define ORION_MIL_LEX_H

#include "base/alloc.h"

typedef enum orion_mil_token_kind {
  ORION_MIL_END,
  ORION_MIL_NAME,    // letters, digits, '_' and '.', not starting with a digit
  ORION_MIL_STRING,  // text without the quotes, escapes still in place
  ORION_MIL_NUMBER,  // starts with a digit or a sign: integers, decimal and hexadecimal floats, +inf, -nan
  ORION_MIL_PUNCT,   // one character, or "->"
} orion_mil_token_kind;

typedef struct orion_mil_token {
  orion_mil_token_kind kind;
  char punct;  // PUNCT: the character; '-' stands for "->"
  const char *text;
  size_t n;
  uint32_t line, column;  // from 1; columns count bytes
} orion_mil_token;

typedef struct orion_mil_lexer {
  const char *file;        // for messages
  const char *at, *end;
  const char *line_start;
  uint32_t line;
} orion_mil_lexer;

void orion_mil_lexer_init(orion_mil_lexer *l, const char *file, const char *text, size_t n);
orion_status orion_mil_lex(orion_mil_lexer *l, orion_mil_token *out, orion_error *err);

// A string token's text with its escapes resolved, written to `out` (at least token->n + 1 bytes), terminated.
orion_status orion_mil_unescape(const orion_mil_lexer *l, const orion_mil_token *token, char *out, orion_error *err);

// What a token looks like in a message, e.g. `'conv'` or `the end of the file`; at most 63 characters.
void orion_mil_describe(const orion_mil_token *token, char out[64]);

#endif
