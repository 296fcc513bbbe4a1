// The parser's own allocations are the C library's.
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static orion_status parse(const char *text, size_t n, const char *name, size_t flags, json_t **out, orion_error *err) {
  json_error_t error;
  json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES | flags, &error);
  if (!root) {
    if (json_error_code(&error) == json_error_out_of_memory) {
      return ORION_FAIL(err, ORION_NO_MEMORY, "%s: out of memory", name);
    }
    return ORION_FAIL(err, ORION_FORMAT, "%s:%d:%d: not valid JSON: %.160s", name, error.line > 0 ? error.line : 1,
                      error.column > 0 ? error.column : 1, error.text);
  }
  if (!json_is_object(root)) {
    json_decref(root);
    return ORION_FAIL(err, ORION_FORMAT, "%s:1:1: not a JSON object (want { ... })", name);
  }
  *out = root;
  return ORION_OK;
}

orion_status orion_json_parse(const char *text, size_t n, const char *name, json_t **out, orion_error *err) {
  return parse(text, n, name, 0, out, err);
}

orion_status orion_json_parse_loose(const char *text, size_t n, const char *name, bool any_number, json_t **out,
                                    orion_error *err) {
  return parse(text, n, name, JSON_ALLOW_NUL | (any_number ? JSON_DECODE_INT_AS_REAL : 0), out, err);
}

// ---- a reader ----

static const json_t *member(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  return json_is_null(value) ? NULL : value;
}

const json_t *orion_json_member(const orion_json_reader *r, const char *key) { return member(r->object, key); }

void orion_json_refuse(orion_json_reader *r, orion_status code, const char *key, const char *hint) {
  if (r->status != ORION_OK) return;
  const json_t *value = json_object_get(r->object, key);
  char text[64] = {0};  // what does not fit is left out, from some token on
  size_t n = value ? json_dumpb(value, text, sizeof text, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9)) : 0;
  if (!value || n == 0) {
    r->status = ORION_FAIL(r->err, code, "%s: '%s%s' is missing (%s)", r->name, r->path, key, hint);
  } else {
    r->status = ORION_FAIL(r->err, code, "%s: '%s%s' is %.64s%s (%s)", r->name, r->path, key, text,
                           n > sizeof text ? "..." : "", hint);
  }
}

int64_t orion_json_int(orion_json_reader *r, const char *key, int64_t fallback, int64_t min, int64_t max) {
  if (r->status != ORION_OK) return min;
  const json_t *value = orion_json_member(r, key);
  if (!value && fallback != ORION_JSON_REQUIRED) return fallback;
  int64_t v = json_integer_value(value);
  if (json_is_integer(value) && v >= min && v <= max) return v;
  char hint[96];
  snprintf(hint, sizeof hint, "want an integer from %lld to %lld", (long long)min, (long long)max);
  orion_json_refuse(r, ORION_FORMAT, key, hint);
  return min;
}

double orion_json_number(orion_json_reader *r, const char *key, double fallback, double min, double max) {
  if (r->status != ORION_OK) return max;
  const json_t *value = orion_json_member(r, key);
  if (!value && !isnan(fallback)) return fallback;
  double v = json_number_value(value);
  if (json_is_number(value) && v > min && v <= max) return v;
  char hint[96];
  snprintf(hint, sizeof hint, "want a number above %g, at most %g", min, max);
  orion_json_refuse(r, ORION_FORMAT, key, hint);
  return max;
}

bool orion_json_bool(orion_json_reader *r, const char *key, bool fallback) {
  const json_t *value = r->status == ORION_OK ? orion_json_member(r, key) : NULL;
  if (!value) return fallback;
  if (!json_is_boolean(value)) orion_json_refuse(r, ORION_FORMAT, key, "want true or false");
  return json_is_true(value);
}

const char *orion_json_string(orion_json_reader *r, const char *key, const char *fallback) {
  const json_t *value = r->status == ORION_OK ? orion_json_member(r, key) : NULL;
  if (json_is_string(value)) return json_string_value(value);
  if (value || !fallback) orion_json_refuse(r, ORION_FORMAT, key, "want a string");
  return fallback ? fallback : "";
}

// ---- one by one ----

static orion_status wrong(const json_t *v, const char *want, const char *key, const char *where, orion_error *err) {
  static const char *const types[] = {
      [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "an array",   [JSON_STRING] = "a string",     [JSON_INTEGER] = "an integer",
      [JSON_REAL] = "a number",      [JSON_TRUE] = "a truth value", [JSON_FALSE] = "a truth value", [JSON_NULL] = "null",
  };
  return ORION_FAIL(err, ORION_FORMAT, "%s.%s is %s (want %s)", where, key, types[json_typeof(v)], want);
}

orion_status orion_json_get_bool(const json_t *object, const char *key, bool *out, const char *where, orion_error *err) {
  const json_t *v = member(object, key);
  if (!v) return ORION_OK;
  if (!json_is_boolean(v)) return wrong(v, "true or false", key, where, err);
  *out = json_is_true(v);
  return ORION_OK;
}

orion_status orion_json_get_int(const json_t *object, const char *key, int64_t *out, const char *where, orion_error *err) {
  const json_t *v = member(object, key);
  if (!v) return ORION_OK;
  if (!json_is_integer(v)) return wrong(v, "an integer", key, where, err);
  *out = json_integer_value(v);
  return ORION_OK;
}

orion_status orion_json_get_string(const json_t *object, const char *key, const char **out, const char *where,
                                   orion_error *err) {
  const json_t *v = member(object, key);
  if (!v) return ORION_OK;
  if (!json_is_string(v)) return wrong(v, "a string", key, where, err);
  *out = json_string_value(v);
  if (strlen(*out) != json_string_length(v)) {
    return ORION_FAIL(err, ORION_FORMAT, "%s.%s: a zero character in the text", where, key);
  }
  return ORION_OK;
}

orion_status orion_json_get_array(const json_t *object, const char *key, const json_t **out, const char *where,
                                  orion_error *err) {
  const json_t *v = member(object, key);
  if (!v) return ORION_OK;
  if (!json_is_array(v)) return wrong(v, "an array", key, where, err);
  *out = v;
  return ORION_OK;
}

orion_status orion_json_get_object(const json_t *object, const char *key, const json_t **out, const char *where,
                                   orion_error *err) {
  const json_t *v = member(object, key);
  if (!v) return ORION_OK;
  if (!json_is_object(v)) return wrong(v, "an object", key, where, err);
  *out = v;
  return ORION_OK;
}

// ---- text ----

static int add_piece(const char *piece, size_t n, void *out) {
  orion_strbuf_add(out, piece, n);
  return 0;
}

orion_status orion_json_text(const json_t *value, orion_strbuf *out, orion_error *err) {
  if (json_dump_callback(value, add_piece, out, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) != 0) {
    return ORION_OOM(err, "JSON");
  }
  orion_strbuf_addc(out, '\n');
  return orion_strbuf_status(out, err);
}
