// JSON files that others wrote: parsed with limits, and read by key with errors that name file, key and value. The parser
// is jansson.
//
// Two ways of reading members: a reader, for flat files of settings, whose first failure sticks; and orion_json_get_*, for
// files that nest, where each call says how it went.
#ifndef ORION_BASE_JSON_H
#define ORION_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "orion/status.h"

// Parses `n` bytes that must be one JSON object. Refused: duplicate keys, NUL, invalid UTF-8, more than 2048 levels (the
// parser's bound), anything after the object. `name` is for messages. json_decref the result.
orion_status orion_json_parse(const char *text, size_t n, const char *name, json_t **out, orion_error *err);
// The same, but texts may hold NUL, and with `any_number` all numbers become reals: for files with integers beyond 64 bits.
orion_status orion_json_parse_loose(const char *text, size_t n, const char *name, bool any_number, json_t **out,
                                    orion_error *err);

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

// Members with their types checked; `where` is the object's place, such as "file.json: model.merges[3]". A missing member,
// or null, leaves *out as it is and gives ORION_OK. A string with a NUL in it is refused.
orion_status orion_json_get_bool(const json_t *object, const char *key, bool *out, const char *where, orion_error *err);
orion_status orion_json_get_int(const json_t *object, const char *key, int64_t *out, const char *where, orion_error *err);
orion_status orion_json_get_string(const json_t *object, const char *key, const char **out, const char *where,
                                   orion_error *err);
orion_status orion_json_get_array(const json_t *object, const char *key, const json_t **out, const char *where,
                                  orion_error *err);
orion_status orion_json_get_object(const json_t *object, const char *key, const json_t **out, const char *where,
                                   orion_error *err);

// Appends the text of a value, indented, numbers to their last bit.
orion_status orion_json_text(const json_t *value, orion_strbuf *out, orion_error *err);

#endif
