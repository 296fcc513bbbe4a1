// See json.h.
#include "text/json.h"

orion_status orion_text_json_parse(const char *name, const char *data, size_t size, bool any_number, json_t **out,
                              orion_error *err) {
  json_error_t e;
  size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | (any_number ? JSON_DECODE_INT_AS_REAL : 0);
  if (size == 0) return ORION_FAIL(err, ORION_FORMAT, "%s: the file is empty (want JSON)", name);
  *out = json_loadb(data, size, flags, &e);
  if (*out) return ORION_OK;
  if (json_error_code(&e) == json_error_out_of_memory) return ORION_OOM(err, name);
  return ORION_FAIL(err, ORION_FORMAT, "%s:%d:%d: %s", name, e.line, e.column, e.text);
}

static const char *type_name(const json_t *v) {
  switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    default: return json_is_boolean(v) ? "a truth value" : "null";
  }
}

static orion_status wrong(const json_t *v, const char *want, const char *key, const char *where, orion_error *err) {
  return ORION_FAIL(err, ORION_FORMAT, "%s.%s is %s (want %s)", where, key, type_name(v), want);
}

static const json_t *member(const json_t *object, const char *key) {
  const json_t *v = json_object_get(object, key);
  return json_is_null(v) ? NULL : v;
}

orion_status orion_text_json_bool(const json_t *object, const char *key, bool *out, const char *where,
                                  orion_error *err) {
  const json_t *v = member(object, key);
  if (!v) return ORION_OK;
  if (!json_is_boolean(v)) return wrong(v, "true or false", key, where, err);
  *out = json_is_true(v);
  return ORION_OK;
}

orion_status orion_text_json_int(const json_t *object, const char *key, int64_t *out, const char *where,
                                 orion_error *err) {
  const json_t *v = member(object, key);
  if (!v) return ORION_OK;
  if (!json_is_integer(v)) return wrong(v, "an integer", key, where, err);
  *out = json_integer_value(v);
  return ORION_OK;
}

orion_status orion_text_json_string(const json_t *object, const char *key, const char **out, const char *where,
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

orion_status orion_text_json_array(const json_t *object, const char *key, const json_t **out, const char *where,
                              orion_error *err) {
  const json_t *v = member(object, key);
  if (!v) return ORION_OK;
  if (!json_is_array(v)) return wrong(v, "an array", key, where, err);
  *out = v;
  return ORION_OK;
}

orion_status orion_text_json_object(const json_t *object, const char *key, const json_t **out, const char *where,
                               orion_error *err) {
  const json_t *v = member(object, key);
  if (!v) return ORION_OK;
  if (!json_is_object(v)) return wrong(v, "an object", key, where, err);
  *out = v;
  return ORION_OK;
}
