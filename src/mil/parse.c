// Programs, functions and statements:
//   program(1.3) [attributes] { function* }
//   func NAME<OPSET>(TYPE NAME, ...) [attributes] { statement* } -> (NAME, ...);
//   TYPE NAME, ... = OP(NAME = ARGUMENT, ...) [attributes];        an operation without results has no left side
// An argument is the name of a value, a literal, or several of these in parentheses.
#include "mil/parser.h"

// ---- steps ----

orion_status orion_mil_next(orion_mil_parser *p) { return orion_mil_lex(&p->lexer, &p->token, p->err); }

orion_status orion_mil_expected(orion_mil_parser *p, const char *what) {
  char found[64];
  orion_mil_describe(&p->token, found);
  return MIL_FAIL(p, p->token, "expected %s, found %s", what, found);
}

orion_status orion_mil_eat(orion_mil_parser *p, char punct, const char *what) {
  return orion_mil_is(p, punct) ? orion_mil_next(p) : orion_mil_expected(p, what);
}

orion_status orion_mil_eat_name(orion_mil_parser *p, const char *what, orion_mil_name **out) {
  if (p->token.kind != ORION_MIL_NAME) return orion_mil_expected(p, what);
  *out = orion_mil_names_get(&p->names, p->token.text, p->token.n);
  return *out ? orion_mil_next(p) : ORION_OOM(p->err, p->lexer.file);
}

orion_status orion_mil_separator(orion_mil_parser *p, char close, const char *what, bool *out_more) {
  *out_more = orion_mil_is(p, ',');
  return *out_more ? orion_mil_next(p) : orion_mil_eat(p, close, what);
}

static char punct_after(const orion_mil_parser *p) {
  orion_mil_lexer ahead = p->lexer;
  orion_mil_token t;
  return orion_mil_lex(&ahead, &t, NULL) == ORION_OK && t.kind == ORION_MIL_PUNCT ? t.punct : 0;
}

bool orion_mil_at_typed_literal(const orion_mil_parser *p) {
  static const char *const words[] = {"tensor", "list", "tuple", "dict", "state"};
  const orion_mil_token *t = &p->token;
  if (t->kind != ORION_MIL_NAME) return false;
  char after = punct_after(p);
  if (after != '(' && after != '<') return false;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (t->n == strlen(words[i]) && memcmp(t->text, words[i], t->n) == 0) return true;
  }
  return orion_dtype_parse(t->text, t->n) != ORION_DTYPE_NONE;
}

static bool at_word(const orion_mil_parser *p, const char *word) {
  return p->token.kind == ORION_MIL_NAME && p->token.n == strlen(word) && memcmp(p->token.text, word, p->token.n) == 0;
}

static orion_status eat_word(orion_mil_parser *p, const char *word, const char *what) {
  return at_word(p, word) ? orion_mil_next(p) : orion_mil_expected(p, what);
}

// ---- attributes ----

// `[name = literal, ...]` if there is one: to the stack p->attrs, which the caller empties.
static orion_status parse_attrs(orion_mil_parser *p) {
  p->n_attrs = 0;
  if (!orion_mil_is(p, '[')) return ORION_OK;
  ORION_TRY(orion_mil_next(p));
  for (bool more = true; more;) {
    orion_mil_name *name;
    orion_mil_token at = p->token;
    ORION_TRY(orion_mil_eat_name(p, "an attribute's name", &name));
    for (size_t i = 0; i < p->n_attrs; i++) {
      if (p->attrs[i].name == name->text) {
        return MIL_FAIL(p, at, "expected each attribute once, found '%.40s' again", name->text);
      }
    }
    if (p->n_attrs == ORION_MIL_MAX_ARGS) {
      return MIL_FAIL(p, at, "expected at most %d attributes, found more", ORION_MIL_MAX_ARGS);
    }
    ORION_TRY(orion_mil_eat(p, '=', "'=' after an attribute's name"));
    const orion_literal *value;
    ORION_TRY(orion_mil_parse_literal(p, 0, &value));
    orion_attr attr = {name->text, value};
    ORION_TRY(MIL_PUSH(p, attrs, attr));
    ORION_TRY(orion_mil_separator(p, ']', "',' or ']' after an attribute", &more));
  }
  return ORION_OK;
}

// The stack of attributes as an array of the program, sorted by name.
static orion_status keep_attrs(orion_mil_parser *p, orion_attr **out, size_t *out_n) {
  orion_attr *attrs = ORION_ARENA_ARRAY(&p->program->arena, orion_attr, p->n_attrs);
  if (!attrs) return ORION_OOM(p->err, p->lexer.file);
  for (size_t i = 0; i < p->n_attrs; i++) {
    size_t at = i;
    for (; at > 0 && strcmp(attrs[at - 1].name, p->attrs[i].name) > 0; at--) attrs[at] = attrs[at - 1];
    attrs[at] = (orion_attr){orion_arena_strdup(&p->program->arena, p->attrs[i].name), p->attrs[i].value};
    if (!attrs[at].name) return ORION_OOM(p->err, p->lexer.file);
  }
  *out = attrs;
  *out_n = p->n_attrs;
  return ORION_OK;
}

// ---- statements ----

// The value that a name stands for at this point; a name without one gets an undefined value, which the verifier finds.
static orion_status resolve(orion_mil_parser *p, orion_mil_name *name, orion_value_id *out) {
  if (name->function != p->function_number) {
    name->value = orion_function_add_undefined(p->function, name->text);
    if (name->value == ORION_NONE) return ORION_OOM(p->err, p->lexer.file);
    name->function = p->function_number;
  }
  *out = name->value;
  return ORION_OK;
}

static void define(orion_mil_parser *p, orion_mil_name *name, orion_value_id value) {
  name->function = p->function_number;
  name->value = value;
}

static orion_status parse_ref(orion_mil_parser *p) {
  orion_ref ref;
  char after = p->token.kind == ORION_MIL_NAME ? punct_after(p) : 0;
  if (after == '(' || after == '<') {
    const orion_literal *literal;
    ORION_TRY(orion_mil_parse_literal(p, 0, &literal));
    ref = orion_function_literal_ref(p->function, literal);
    if (ref == ORION_NONE) return ORION_OOM(p->err, p->lexer.file);
  } else {
    orion_mil_name *name;
    ORION_TRY(orion_mil_eat_name(p, "the name of a value or a literal with its type", &name));
    ORION_TRY(resolve(p, name, &ref));
  }
  return MIL_PUSH(p, refs, ref);
}

static orion_status parse_arg(orion_mil_parser *p) {
  orion_mil_name *name;
  orion_mil_token at = p->token;
  ORION_TRY(orion_mil_eat_name(p, "an argument's name", &name));
  for (size_t i = 0; i < p->n_args; i++) {
    if (p->args[i].name == name->text) {
      return MIL_FAIL(p, at, "expected each argument once, found '%.40s' again", name->text);
    }
  }
  if (p->n_args == ORION_MIL_MAX_ARGS) {
    return MIL_FAIL(p, at, "expected at most %d arguments, found more", ORION_MIL_MAX_ARGS);
  }
  ORION_TRY(orion_mil_eat(p, '=', "'=' after an argument's name"));
  size_t mark = p->n_refs;
  orion_arg arg = {.name = name->text, .tuple = orion_mil_is(p, '(')};
  if (arg.tuple) {
    ORION_TRY(orion_mil_next(p));
    bool more = !orion_mil_is(p, ')');
    if (!more) ORION_TRY(orion_mil_next(p));
    while (more) {
      ORION_TRY(parse_ref(p));
      ORION_TRY(orion_mil_separator(p, ')', "',' or ')' after a value", &more));
    }
  } else {
    ORION_TRY(parse_ref(p));
  }
  arg.n_refs = (uint32_t)(p->n_refs - mark);
  return MIL_PUSH(p, args, arg);
}

static orion_status parse_results(orion_mil_parser *p) {
  if (p->token.kind == ORION_MIL_NAME && punct_after(p) == '(') return ORION_OK;
  for (bool more = true; more;) {
    const orion_type *type;
    orion_mil_name *name;
    ORION_TRY(orion_mil_parse_type(p, 0, &type));
    ORION_TRY(orion_mil_eat_name(p, "the name of a result", &name));
    ORION_TRY(MIL_PUSH(p, types, type));
    ORION_TRY(MIL_PUSH(p, strings, name->text));
    ORION_TRY(orion_mil_separator(p, '=', "',' or '=' after a result", &more));
  }
  return ORION_OK;
}

// Makes the operation out of what the stacks hold.
static orion_status add_op(orion_mil_parser *p, orion_mil_name *op, orion_loc loc) {
  size_t ref = 0;
  for (size_t i = 0; i < p->n_args; i++) {  // only now does the stack of references stay where it is
    p->args[i].refs = p->refs + ref;
    ref += p->args[i].n_refs;
  }
  orion_opcode code = orion_mil_name_opcode(op);
  orion_op_spec spec = {.code = code, .spelling = code ? NULL : op->text, .args = p->args, .n_args = p->n_args,
                        .attrs = p->attrs, .n_attrs = p->n_attrs,
                        .result_names = p->strings, .result_types = p->types, .n_results = p->n_types,
                        .before = ORION_NONE, .loc = loc};
  orion_op_id id = orion_function_add_op(p->function, &spec);
  if (id == ORION_NONE) return ORION_OOM(p->err, p->lexer.file);
  for (size_t i = 0; i < p->n_types; i++) {
    orion_mil_name *name = orion_mil_names_get(&p->names, p->strings[i], strlen(p->strings[i]));
    if (!name) return ORION_OOM(p->err, p->lexer.file);
    define(p, name, p->function->ops[id].results[i]);
  }
  return ORION_OK;
}

static orion_status parse_statement(orion_mil_parser *p) {
  orion_loc loc = {p->token.line, p->token.column};
  orion_mil_name *op;
  p->n_types = p->n_strings = p->n_args = p->n_refs = 0;
  ORION_TRY(parse_results(p));
  ORION_TRY(orion_mil_eat_name(p, "the name of an operation", &op));
  ORION_TRY(orion_mil_eat(p, '(', "'(' before the arguments"));
  bool more = !orion_mil_is(p, ')');
  if (!more) ORION_TRY(orion_mil_next(p));
  while (more) {
    ORION_TRY(parse_arg(p));
    ORION_TRY(orion_mil_separator(p, ')', "',' or ')' after an argument", &more));
  }
  ORION_TRY(parse_attrs(p));
  ORION_TRY(orion_mil_eat(p, ';', "';' at the end of the statement"));
  return add_op(p, op, loc);
}

// ---- functions ----

static orion_status parse_params(orion_mil_parser *p) {
  ORION_TRY(orion_mil_eat(p, '(', "'(' before the parameters"));
  bool more = !orion_mil_is(p, ')');
  if (!more) ORION_TRY(orion_mil_next(p));
  while (more) {
    const orion_type *type;
    orion_mil_name *name;
    ORION_TRY(orion_mil_parse_type(p, 0, &type));
    ORION_TRY(orion_mil_eat_name(p, "the name of a parameter", &name));
    orion_value_id value = orion_function_add_param(p->function, name->text, type);
    if (value == ORION_NONE) return ORION_OOM(p->err, p->lexer.file);
    define(p, name, value);
    ORION_TRY(orion_mil_separator(p, ')', "',' or ')' after a parameter", &more));
  }
  return ORION_OK;
}

static orion_status parse_outputs(orion_mil_parser *p) {
  ORION_TRY(orion_mil_eat(p, '-', "'->' after the function's body"));
  ORION_TRY(orion_mil_eat(p, '(', "'(' before the outputs"));
  bool more = !orion_mil_is(p, ')');
  if (!more) ORION_TRY(orion_mil_next(p));
  while (more) {
    orion_mil_name *name;
    orion_value_id value;
    ORION_TRY(orion_mil_eat_name(p, "the name of an output", &name));
    ORION_TRY(resolve(p, name, &value));
    ORION_TRY(orion_function_add_output(p->function, value, p->err));
    ORION_TRY(orion_mil_separator(p, ')', "',' or ')' after an output", &more));
  }
  return orion_mil_eat(p, ';', "';' after the outputs");
}

static orion_status parse_function(orion_mil_parser *p) {
  orion_mil_name *name, *opset;
  orion_loc loc = {p->token.line, p->token.column};
  ORION_TRY(eat_word(p, "func", p->program->n_functions ? "'func' or '}'" : "'func'"));
  orion_mil_token at = p->token;
  ORION_TRY(orion_mil_eat_name(p, "the function's name", &name));
  if (name->is_function) return MIL_FAIL(p, at, "expected each function once, found '%.40s' again", name->text);
  name->is_function = true;
  ORION_TRY(orion_mil_eat(p, '<', "'<' before the operation set"));
  ORION_TRY(orion_mil_eat_name(p, "an operation set such as ios18", &opset));
  ORION_TRY(orion_mil_eat(p, '>', "'>' after the operation set"));
  ORION_TRY(orion_program_add_function(p->program, name->text, opset->text, &p->function, p->err));
  p->function->loc = loc;
  p->function_number++;
  ORION_TRY(parse_params(p));
  ORION_TRY(parse_attrs(p));
  ORION_TRY(keep_attrs(p, &p->function->attrs, &p->function->n_attrs));
  ORION_TRY(orion_mil_eat(p, '{', "'{' before the function's body"));
  while (!orion_mil_is(p, '}')) {
    if (p->token.kind != ORION_MIL_NAME) return orion_mil_expected(p, "a statement or '}'");
    ORION_TRY(parse_statement(p));
  }
  ORION_TRY(orion_mil_next(p));
  return parse_outputs(p);
}

// ---- programs ----

static orion_status parse_version(orion_mil_parser *p) {
  static const char *const known[] = {"1.0", "1.1", "1.2", "1.3"};
  ORION_TRY(eat_word(p, "program", "'program(VERSION)'"));
  ORION_TRY(orion_mil_eat(p, '(', "'('"));
  orion_mil_token t = p->token;
  if (t.kind != ORION_MIL_NUMBER) return orion_mil_expected(p, "the program's version");
  p->program->version = NULL;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (t.n == strlen(known[i]) && memcmp(t.text, known[i], t.n) == 0) p->program->version = known[i];
  }
  if (!p->program->version) {
    return ORION_FAIL(p->err, ORION_UNSUPPORTED, "%s:%u:%u: expected a program of version 1.0 to 1.3, found %.*s",
                      p->lexer.file, t.line, t.column, t.n < 20 ? (int)t.n : 20, t.text);
  }
  ORION_TRY(orion_mil_next(p));
  return orion_mil_eat(p, ')', "')'");
}

static orion_status parse_program(orion_mil_parser *p) {
  ORION_TRY(orion_mil_next(p));
  ORION_TRY(parse_version(p));
  ORION_TRY(parse_attrs(p));
  ORION_TRY(keep_attrs(p, &p->program->attrs, &p->program->n_attrs));
  ORION_TRY(orion_mil_eat(p, '{', "'{' before the functions"));
  do {
    ORION_TRY(parse_function(p));
  } while (!orion_mil_is(p, '}'));
  p->program->bare_end = p->lexer.at == p->lexer.end;
  ORION_TRY(orion_mil_next(p));
  return p->token.kind == ORION_MIL_END ? ORION_OK : orion_mil_expected(p, "the end of the file");
}

orion_status orion_mil_parse(const orion_allocator *a, const char *text, size_t n, const char *file,
                             orion_program **out, orion_error *err) {
  a = orion_allocator_or_default(a);
  orion_mil_parser p = {.allocator = a, .err = err};
  orion_mil_lexer_init(&p.lexer, file, text, n);
  ORION_TRY(orion_program_create(a, NULL, &p.program, err));
  orion_mil_names_init(&p.names, a);
  orion_status status = parse_program(&p);
  orion_mil_names_deinit(&p.names);
  orion_free(a, p.items, p.cap_items, sizeof *p.items);
  orion_free(a, p.types, p.cap_types, sizeof *p.types);
  orion_free(a, p.strings, p.cap_strings, sizeof *p.strings);
  orion_free(a, p.refs, p.cap_refs, sizeof *p.refs);
  orion_free(a, p.args, p.cap_args, sizeof *p.args);
  orion_free(a, p.attrs, p.cap_attrs, sizeof *p.attrs);
  orion_free(a, p.bytes, p.cap_bytes, 1);
  if (status != ORION_OK) {
    orion_program_destroy(p.program);
    return status;
  }
  *out = p.program;
  return ORION_OK;
}
