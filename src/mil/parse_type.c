// Types: fp16, tensor<fp16, [1, ?]>, list<T, n>, tuple<T, ...>, dict<K, V>, state<T>.
#include "mil/number.h"
#include "mil/parser.h"

static orion_status parse_dim(orion_mil_parser *p, int64_t *out) {
  if (orion_mil_is(p, '?')) {
    *out = ORION_DIM_UNKNOWN;
    return orion_mil_next(p);
  }
  uint64_t v;
  if (p->token.kind != ORION_MIL_NUMBER || !orion_mil_parse_u64(p->token.text, p->token.n, &v) || v > INT64_MAX) {
    return orion_mil_expected(p, "a dimension (0 to 2^63-1, or ?)");
  }
  *out = (int64_t)v;
  return orion_mil_next(p);
}

static orion_status parse_tensor(orion_mil_parser *p, const orion_type **out) {
  orion_mil_name *element;
  int64_t dims[ORION_MAX_RANK];
  int rank = 0;
  ORION_TRY(orion_mil_eat(p, '<', "'<'"));
  orion_mil_token at = p->token;
  ORION_TRY(orion_mil_eat_name(p, "an element type", &element));
  orion_dtype dtype = orion_mil_name_dtype(element);
  if (!dtype) return MIL_FAIL(p, at, "expected an element type, found '%.40s'", element->text);
  ORION_TRY(orion_mil_eat(p, ',', "','"));
  ORION_TRY(orion_mil_eat(p, '[', "'[' before the dimensions"));
  for (bool more = !orion_mil_is(p, ']'); more;) {
    if (rank == ORION_MAX_RANK) {
      return MIL_FAIL(p, p->token, "expected at most %d dimensions, found more", ORION_MAX_RANK);
    }
    ORION_TRY(parse_dim(p, &dims[rank++]));
    more = orion_mil_is(p, ',');
    if (more) ORION_TRY(orion_mil_next(p));
  }
  ORION_TRY(orion_mil_eat(p, ']', "',' or ']' after a dimension"));
  ORION_TRY(orion_mil_eat(p, '>', "'>' after the dimensions"));
  *out = orion_type_tensor(p->program, dtype, rank, dims);
  return *out ? ORION_OK : ORION_OOM(p->err, p->lexer.file);
}

// The parts of list, tuple, dict and state, `<` consumed, `>` left. A list's last part is its length.
static orion_status parse_parts(orion_mil_parser *p, orion_type_kind kind, int depth, int64_t *out_length) {
  size_t mark = p->n_types;
  size_t want = kind == ORION_TYPE_DICT ? 2 : kind == ORION_TYPE_TUPLE ? SIZE_MAX : 1;
  if (kind == ORION_TYPE_TUPLE && orion_mil_is(p, '>')) return ORION_OK;
  for (;;) {
    const orion_type *part;
    ORION_TRY(orion_mil_parse_type(p, depth + 1, &part));
    ORION_TRY(MIL_PUSH(p, types, part));
    if (p->n_types - mark == want) break;
    if (kind == ORION_TYPE_TUPLE && orion_mil_is(p, '>')) return ORION_OK;
    ORION_TRY(orion_mil_eat(p, ',', kind == ORION_TYPE_TUPLE ? "',' or '>'" : "','"));
  }
  if (kind != ORION_TYPE_LIST) return ORION_OK;
  ORION_TRY(orion_mil_eat(p, ',', "',' before the list's length"));
  return parse_dim(p, out_length);
}

static bool composite_kind(const char *name, orion_type_kind *out) {
  static const struct {
    const char *name;
    orion_type_kind kind;
  } kinds[] = {{"list", ORION_TYPE_LIST}, {"tuple", ORION_TYPE_TUPLE}, {"dict", ORION_TYPE_DICT},
               {"state", ORION_TYPE_STATE}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kinds[i].name, name) != 0) continue;
    *out = kinds[i].kind;
    return true;
  }
  return false;
}

orion_status orion_mil_parse_type(orion_mil_parser *p, int depth, const orion_type **out) {
  orion_mil_name *name;
  orion_mil_token at = p->token;
  if (depth > ORION_MIL_MAX_DEPTH) return MIL_FAIL(p, at, "types nest deeper than %d", ORION_MIL_MAX_DEPTH);
  ORION_TRY(orion_mil_eat_name(p, "a type", &name));
  orion_dtype dtype = orion_mil_name_dtype(name);
  if (dtype) {
    *out = orion_type_scalar(p->program, dtype);
    return *out ? ORION_OK : ORION_OOM(p->err, p->lexer.file);
  }
  if (strcmp(name->text, "tensor") == 0) return parse_tensor(p, out);
  orion_type_kind kind;
  if (!composite_kind(name->text, &kind)) return MIL_FAIL(p, at, "expected a type, found '%.40s'", name->text);
  ORION_TRY(orion_mil_eat(p, '<', "'<'"));
  size_t mark = p->n_types;
  int64_t length = 0;
  ORION_TRY(parse_parts(p, kind, depth, &length));
  ORION_TRY(orion_mil_eat(p, '>', "'>'"));
  *out = orion_type_composite(p->program, kind, length, (uint32_t)(p->n_types - mark),
                              p->n_types > mark ? p->types + mark : NULL);
  p->n_types = mark;
  return *out ? ORION_OK : ORION_OOM(p->err, p->lexer.file);
}
