// Literals: TYPE(VALUE), where the value's spelling follows from the type:
//   tensor   a number, word or string; nested lists of them by dimension; one flat list is understood too
//   list     [a, b]      tuple  (a, b)      dict  {{key, value}, ...}
//   any tensor type may have BLOBFILE(path = ..., offset = ...) instead
// Inside lists, tuples and dictionaries values go without their types, or repeat them.
#include "mil/number.h"
#include "mil/parser.h"

typedef struct tensor_reader {
  const orion_type *type;
  size_t extents[ORION_MAX_RANK];  // counted ones of unknown dimensions; SIZE_MAX until the first list has ended
  size_t n;                        // elements read
  bool flat;                       // one list for all dimensions
} tensor_reader;

static orion_status parse_value(orion_mil_parser *p, const orion_type *type, int depth, const orion_literal **out);

// ---- elements of tensors ----

static orion_status parse_string(orion_mil_parser *p, const char **out) {
  if (p->token.kind != ORION_MIL_STRING) return orion_mil_expected(p, "a string");
  char *text = ORION_ARENA_ARRAY(&p->program->arena, char, p->token.n + 1);
  if (!text) return ORION_OOM(p->err, p->lexer.file);
  ORION_TRY(orion_mil_unescape(&p->lexer, &p->token, text, p->err));
  *out = text;
  return orion_mil_next(p);
}

// nan(0x1234): a NaN whose fraction bits are told. `token` is the '('.
static orion_status parse_payload(orion_mil_parser *p, orion_dtype d, bool negative, size_t i) {
  ORION_TRY(orion_mil_next(p));
  uint64_t payload;
  if (p->token.kind != ORION_MIL_NUMBER || !orion_mil_parse_u64(p->token.text, p->token.n, &payload) ||
      !orion_mil_store_nan(d, negative, payload, p->bytes, i)) {
    return orion_mil_expected(p, "the fraction bits of a NaN");
  }
  ORION_TRY(orion_mil_next(p));
  return orion_mil_eat(p, ')', "')'");
}

static bool room_for_element(orion_mil_parser *p, orion_dtype d, size_t i) {
  size_t need, used;
  if (!orion_dtype_bytes(d, i + 1, &need) || !orion_dtype_bytes(d, i, &used)) return false;
  if (!ORION_GROW(p->allocator, &p->bytes, &p->cap_bytes, need < 256 ? 256 : need)) return false;
  if (need > used) p->bytes[need - 1] = 0;  // a narrow element fills its byte only in part
  return true;
}

static orion_status parse_element(orion_mil_parser *p, tensor_reader *r) {
  orion_dtype d = r->type->dtype;
  orion_mil_token t = p->token;
  if (d == ORION_STRING) {
    const char *text;
    ORION_TRY(parse_string(p, &text));
    r->n++;
    return MIL_PUSH(p, strings, text);
  }
  if (t.kind != ORION_MIL_NUMBER && t.kind != ORION_MIL_NAME) return orion_mil_expected(p, "a value");
  if (!room_for_element(p, d, r->n)) return ORION_OOM(p->err, p->lexer.file);
  char found[64];
  orion_mil_describe(&t, found);
  switch (orion_mil_parse_number(d, t.text, t.n, p->bytes, r->n)) {
    case ORION_MIL_NUMBER_MALFORMED:
      return MIL_FAIL(p, t, "expected a value of type %s, found %s", orion_dtype_name(d), found);
    case ORION_MIL_NUMBER_RANGE:
      return MIL_FAIL(p, t, "expected a value of type %s, found %s, which it cannot hold", orion_dtype_name(d), found);
    default: break;
  }
  ORION_TRY(orion_mil_next(p));
  if (orion_mil_is(p, '(') && orion_dtype_is_float(d) && (t.text[t.n - 1] | 0x20) == 'n') {
    ORION_TRY(parse_payload(p, d, t.text[0] == '-', r->n));
  }
  r->n++;
  return ORION_OK;
}

static orion_status parse_elements(orion_mil_parser *p, tensor_reader *r, int axis) {
  if (axis == r->type->rank) return parse_element(p, r);
  orion_mil_token start = p->token;
  ORION_TRY(orion_mil_eat(p, '[', axis ? "'[' of a nested list" : "'[' of a list"));
  if (axis == 0) r->flat = r->type->rank > 1 && !orion_mil_is(p, '[') && !orion_mil_is(p, ']');
  size_t n = 0;
  for (bool more = !orion_mil_is(p, ']'); more; n++) {
    ORION_TRY(parse_elements(p, r, r->flat ? r->type->rank : axis + 1));
    more = orion_mil_is(p, ',');
    if (more) ORION_TRY(orion_mil_next(p));
  }
  ORION_TRY(orion_mil_eat(p, ']', "',' or ']' after a value"));
  if (r->flat) return ORION_OK;
  bool empty_whole = axis == 0 && n == 0;  // [] stands for a tensor without elements, whatever its rank
  if (r->extents[axis] == SIZE_MAX) r->extents[axis] = n;
  if (r->extents[axis] != n && !empty_whole) {
    return MIL_FAIL(p, start, "expected %zu values along axis %d, found %zu", r->extents[axis], axis, n);
  }
  return ORION_OK;
}

// Checks the elements read against the extents. An unknown dimension's is what the lists had, or, for a flat list,
// what the count leaves; with two of them the elements alone would not say the shape, which nothing needs.
static orion_status count_elements(orion_mil_parser *p, tensor_reader *r, orion_mil_token at) {
  const orion_type *t = r->type;
  size_t product = 1;
  int unknown = -1, n_unknown = 0;
  for (int i = 0; i < t->rank; i++) {
    n_unknown += t->dims[i] < 0;
    if (r->extents[i] == SIZE_MAX) {
      unknown = i;
    } else if (!orion_mul_ok(product, r->extents[i], &product)) {
      product = SIZE_MAX;
    }
  }
  if (n_unknown > 1 && r->n) {
    return MIL_FAIL(p, at, "expected at most one unknown dimension in the type of a literal, found %d", n_unknown);
  }
  if (unknown >= 0) {
    r->extents[unknown] = product ? r->n / product : 0;
    product *= r->extents[unknown];
  }
  if (product == r->n) return ORION_OK;
  return MIL_FAIL(p, at, "expected %zu values for the type, found %zu", product, r->n);
}

static orion_status parse_tensor(orion_mil_parser *p, const orion_type *type, const orion_literal **out) {
  tensor_reader r = {.type = type};
  size_t mark = p->n_strings;
  orion_mil_token at = p->token;
  for (int i = 0; i < type->rank; i++) r.extents[i] = type->dims[i] < 0 ? SIZE_MAX : (size_t)type->dims[i];
  ORION_TRY(parse_elements(p, &r, 0));
  ORION_TRY(count_elements(p, &r, at));
  if (type->dtype == ORION_STRING) {
    *out = orion_literal_strings(p->program, type, r.n, p->n_strings > mark ? p->strings + mark : NULL);
    p->n_strings = mark;
  } else {
    size_t rows = type->rank ? r.extents[0] : 1;
    *out = orion_literal_data(p->program, type,
                              orion_data_copy(p->program->data, type->dtype, rows, rows ? r.n / rows : 0, p->bytes));
  }
  return *out ? ORION_OK : ORION_OOM(p->err, p->lexer.file);
}

// ---- blobs ----

// An argument of BLOBFILE: string("...") or "...", uint64(64) or 64, with scalars in either spelling.
static orion_status parse_blob_argument(orion_mil_parser *p, orion_dtype dtype, const char **path, uint64_t *offset) {
  bool typed = p->token.kind == ORION_MIL_NAME;
  if (typed) {
    orion_mil_token at = p->token;
    const orion_type *type;
    ORION_TRY(orion_mil_parse_type(p, 0, &type));
    bool fits = orion_type_is_tensor(type) && type->rank == 0 &&
                (dtype == ORION_STRING ? type->dtype == dtype : orion_dtype_is_int(type->dtype));
    if (!fits) return MIL_FAIL(p, at, "expected a scalar of type %s, found another type", orion_dtype_name(dtype));
    ORION_TRY(orion_mil_eat(p, '(', "'('"));
  }
  if (dtype == ORION_STRING) {
    ORION_TRY(parse_string(p, path));
  } else {
    if (p->token.kind != ORION_MIL_NUMBER || !orion_mil_parse_u64(p->token.text, p->token.n, offset)) {
      return orion_mil_expected(p, "an offset in bytes");
    }
    ORION_TRY(orion_mil_next(p));
  }
  return typed ? orion_mil_eat(p, ')', "')'") : ORION_OK;
}

static orion_status parse_blob(orion_mil_parser *p, const orion_type *type, const orion_literal **out) {
  orion_mil_token at = p->token;
  if (!orion_type_is_tensor(type) || type->dtype == ORION_STRING) {
    return MIL_FAIL(p, at, "expected a value, found %s for what is no tensor of numbers", "BLOBFILE");
  }
  const char *path = NULL;
  uint64_t offset = 0;
  bool have_offset = false;
  ORION_TRY(orion_mil_next(p));
  ORION_TRY(orion_mil_eat(p, '(', "'('"));
  for (bool more = true; more;) {
    orion_mil_token where = p->token;
    orion_mil_name *name;
    ORION_TRY(orion_mil_eat_name(p, "'path' or 'offset'", &name));
    ORION_TRY(orion_mil_eat(p, '=', "'='"));
    if (strcmp(name->text, "path") == 0 && !path) {
      ORION_TRY(parse_blob_argument(p, ORION_STRING, &path, NULL));
    } else if (strcmp(name->text, "offset") == 0 && !have_offset) {
      ORION_TRY(parse_blob_argument(p, ORION_UINT64, NULL, &offset));
      have_offset = true;
    } else {
      return MIL_FAIL(p, where, "expected 'path' and 'offset', each once, found '%.40s'", name->text);
    }
    ORION_TRY(orion_mil_separator(p, ')', "',' or ')'", &more));
  }
  if (!path || !have_offset) {
    return MIL_FAIL(p, at, "expected BLOBFILE with path and offset, found no %s", path ? "offset" : "path");
  }
  *out = orion_literal_blob(p->program, type, path, offset);
  return *out ? ORION_OK : ORION_OOM(p->err, p->lexer.file);
}

// ---- lists, tuples, dictionaries ----

static orion_status push_item(orion_mil_parser *p, const orion_type *type, int depth) {
  const orion_literal *item;
  ORION_TRY(parse_value(p, type, depth + 1, &item));
  return MIL_PUSH(p, items, item);
}

static orion_status finish_items(orion_mil_parser *p, orion_literal_kind kind, const orion_type *type, size_t mark,
                                 const orion_literal **out) {
  size_t n = p->n_items - mark;
  *out = orion_literal_items(p->program, kind, type, n, n ? p->items + mark : NULL);
  p->n_items = mark;
  return *out ? ORION_OK : ORION_OOM(p->err, p->lexer.file);
}

static orion_status parse_list(orion_mil_parser *p, const orion_type *type, int depth, const orion_literal **out) {
  orion_mil_token at = p->token;
  size_t mark = p->n_items;
  ORION_TRY(orion_mil_eat(p, '[', "'[' of a list"));
  bool more = !orion_mil_is(p, ']');
  if (!more) ORION_TRY(orion_mil_next(p));
  while (more) {
    ORION_TRY(push_item(p, type->parts[0], depth));
    ORION_TRY(orion_mil_separator(p, ']', "',' or ']' after a value", &more));
  }
  size_t n = p->n_items - mark;
  if (type->length >= 0 && (uint64_t)type->length != n) {
    return MIL_FAIL(p, at, "expected a list of %lld values, found %zu", (long long)type->length, n);
  }
  return finish_items(p, ORION_LIT_LIST, type, mark, out);
}

static orion_status parse_tuple(orion_mil_parser *p, const orion_type *type, int depth, const orion_literal **out) {
  size_t mark = p->n_items;
  ORION_TRY(orion_mil_eat(p, '(', "'(' of a tuple"));
  for (uint32_t i = 0; i < type->n_parts; i++) {
    if (i) ORION_TRY(orion_mil_eat(p, ',', "',' before the tuple's next value"));
    ORION_TRY(push_item(p, type->parts[i], depth));
  }
  ORION_TRY(orion_mil_eat(p, ')', "')' after the tuple's last value"));
  return finish_items(p, ORION_LIT_TUPLE, type, mark, out);
}

static orion_status parse_dict(orion_mil_parser *p, const orion_type *type, int depth, const orion_literal **out) {
  size_t mark = p->n_items;
  ORION_TRY(orion_mil_eat(p, '{', "'{' of a dictionary"));
  bool more = !orion_mil_is(p, '}');
  if (!more) ORION_TRY(orion_mil_next(p));
  while (more) {
    ORION_TRY(orion_mil_eat(p, '{', "'{' of a key and value"));
    ORION_TRY(push_item(p, type->parts[0], depth));
    ORION_TRY(orion_mil_eat(p, ',', "',' between key and value"));
    ORION_TRY(push_item(p, type->parts[1], depth));
    ORION_TRY(orion_mil_eat(p, '}', "'}' after key and value"));
    ORION_TRY(orion_mil_separator(p, '}', "',' or '}'", &more));
  }
  return finish_items(p, ORION_LIT_DICT, type, mark, out);
}

static orion_status parse_value(orion_mil_parser *p, const orion_type *type, int depth, const orion_literal **out) {
  orion_mil_token at = p->token;
  if (depth > ORION_MIL_MAX_DEPTH) return MIL_FAIL(p, at, "literals nest deeper than %d", ORION_MIL_MAX_DEPTH);
  if (at.kind == ORION_MIL_NAME && at.n == 8 && memcmp(at.text, "BLOBFILE", 8) == 0) return parse_blob(p, type, out);
  if (orion_mil_at_typed_literal(p)) {
    ORION_TRY(orion_mil_parse_literal(p, depth, out));
    if (!orion_type_equal((*out)->type, type)) {
      return MIL_FAIL(p, at, "expected a value of the type that the enclosing %s says, found another type", "literal");
    }
    return ORION_OK;
  }
  switch (type->kind) {
    case ORION_TYPE_TENSOR: return parse_tensor(p, type, out);
    case ORION_TYPE_LIST: return parse_list(p, type, depth, out);
    case ORION_TYPE_TUPLE: return parse_tuple(p, type, depth, out);
    case ORION_TYPE_DICT: return parse_dict(p, type, depth, out);
    default: return MIL_FAIL(p, at, "expected a literal, found a value of %s type, which has none", "state");
  }
}

orion_status orion_mil_parse_literal(orion_mil_parser *p, int depth, const orion_literal **out) {
  const orion_type *type;
  ORION_TRY(orion_mil_parse_type(p, depth, &type));
  ORION_TRY(orion_mil_eat(p, '(', "'(' before a literal's value"));
  ORION_TRY(parse_value(p, type, depth + 1, out));
  return orion_mil_eat(p, ')', "')' after a literal's value");
}
