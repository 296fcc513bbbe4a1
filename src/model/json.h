// JSON files that others wrote: parsed with limits, and read by key with errors that name file, key and value.
#ifndef ORION_MODEL_JSON_H
#define ORION_MODEL_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "orion/status.h"

// Parses `n` bytes that must be one JSON object. Refused: duplicate keys, NUL, invalid UTF-8, more than 2048 levels (the
// parser's bound), anything after the object. `name` is for messages. json_decref the result.
orion_status orion_json_parse(const char *text, size_t n, const char *name, json_t **out, orion_error *err);

// Reads members of one object. The first failure sticks, so that a caller reads everything and looks once at `status`;
// what is returned after a failure lies within the bounds asked for and means nothing. A member that is null is absent.
typedef struct orion_json_reader {
  const json_t *object;
  const char *name;     // of the file
  const char *path;     // what precedes keys in messages: "" or "rope_scaling."
  orion_status status;
  orion_error *err;
} orion_json_reader;

#define ORION_JSON_REQUIRED INT64_MIN

// An integer within [min, max]; `fallback` (not checked) if absent, an error if that is ORION_JSON_REQUIRED.
int64_t orion_json_int(orion_json_reader *r, const char *key, int64_t fallback, int64_t min, int64_t max);
// A finite number with min < value <= max; `fallback` if absent, an error if that is NaN.
double orion_json_number(orion_json_reader *r, const char *key, double fallback, double min, double max);
bool orion_json_bool(orion_json_reader *r, const char *key, bool fallback);
const char *orion_json_string(orion_json_reader *r, const char *key, const char *fallback);  // NULL: required
const json_t *orion_json_member(const orion_json_reader *r, const char *key);  // NULL if absent or null
// Fails with "NAME: 'key' is VALUE (hint)".
void orion_json_refuse(orion_json_reader *r, orion_status code, const char *key, const char *hint);

// Appends the text of a value, indented, numbers to their last bit.
orion_status orion_json_text(const json_t *value, orion_strbuf *out, orion_error *err);

#endif
