// What the files of the parser share: its state, and the steps that more than one of them takes.
//
// One token of lookahead (`token`), recursive descent. Whatever has an unknown number of parts is gathered in one of
// the growing stacks below and copied into the program once complete; the stacks nest because each user takes only what is
// above the mark it found. Nothing is released on failure: the parser's owner frees stacks, names and program at once.
#ifndef ORION_MIL_PARSER_H
#define ORION_MIL_PARSER_H

#include "mil/lex.h"
#include "mil/mil.h"
#include "mil/names.h"

typedef struct orion_mil_parser {
  const orion_allocator *allocator;
  orion_error *err;
  orion_mil_lexer lexer;
  orion_mil_token token;          // the next one, not yet consumed
  orion_mil_names names;
  orion_program *program;
  orion_function *function;       // being read
  uint32_t function_number;       // from 1
  const orion_literal **items;    // children of lists, tuples and dictionaries
  size_t n_items, cap_items;
  const orion_type **types;       // parts of composite types, then types of results
  size_t n_types, cap_types;
  const char **strings;           // elements of string tensors, then names of results
  size_t n_strings, cap_strings;
  orion_ref *refs;                // of the statement's arguments
  size_t n_refs, cap_refs;
  orion_arg *args;
  size_t n_args, cap_args;
  orion_attr *attrs;
  size_t n_attrs, cap_attrs;
  uint8_t *bytes;                 // elements of the tensor being read
  size_t cap_bytes;
} orion_mil_parser;

// "FILE:LINE:COL: ..." at the place of `at` (an orion_mil_token or orion_loc).
#define MIL_FAIL(p, where, format, ...)                                                                        \
  ORION_FAIL((p)->err, ORION_FORMAT, "%s:%u:%u: " format, (p)->lexer.file, (where).line, (where).column, __VA_ARGS__)

#define MIL_PUSH(p, stack, value)                                                                \
  (ORION_GROW((p)->allocator, &(p)->stack, &(p)->cap_##stack, (p)->n_##stack + 1)                 \
       ? ((p)->stack[(p)->n_##stack++] = (value), ORION_OK)                                       \
       : ORION_OOM((p)->err, (p)->lexer.file))

// parse.c
orion_status orion_mil_next(orion_mil_parser *p);                              // consumes `token`
orion_status orion_mil_expected(orion_mil_parser *p, const char *what);        // fails: "expected WHAT, found TOKEN"
static inline bool orion_mil_is(const orion_mil_parser *p, char punct) {
  return p->token.kind == ORION_MIL_PUNCT && p->token.punct == punct;
}
orion_status orion_mil_eat(orion_mil_parser *p, char punct, const char *what);  // expects and consumes
orion_status orion_mil_eat_name(orion_mil_parser *p, const char *what, orion_mil_name **out);
// After an element of a list: consumes "," or `close`, saying which.
orion_status orion_mil_separator(orion_mil_parser *p, char close, const char *what, bool *out_more);
// Whether the name at `token` begins a typed literal, that is, is followed by '(' or '<'.
bool orion_mil_at_typed_literal(const orion_mil_parser *p);

// parse_type.c
orion_status orion_mil_parse_type(orion_mil_parser *p, int depth, const orion_type **out);

// parse_literal.c
orion_status orion_mil_parse_literal(orion_mil_parser *p, int depth, const orion_literal **out);  // TYPE(VALUE)

#endif
