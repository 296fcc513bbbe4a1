// Reading JSON with messages that name the place. A path such as "model.merges[3]" is for people.
#ifndef ORION_TEXT_JSON_H
#define ORION_TEXT_JSON_H

#include <jansson.h>

#include "base/alloc.h"

// Parses `size` bytes; duplicate keys are refused. *out is owned by the caller (json_decref). `any_number`: all numbers
// become reals, because the file may hold integers beyond 64 bits (tokenizer_config.json's "no limit" is 10^30).
orion_status orion_text_json_parse(const char *name, const char *data, size_t size, bool any_number, json_t **out,
                              orion_error *err);

// Members with their types checked. A missing member, or null, leaves *out as it is and gives ORION_OK.
orion_status orion_text_json_bool(const json_t *object, const char *key, bool *out, const char *where,
                                  orion_error *err);
orion_status orion_text_json_int(const json_t *object, const char *key, int64_t *out, const char *where,
                                 orion_error *err);
orion_status orion_text_json_string(const json_t *object, const char *key, const char **out, const char *where,
                               orion_error *err);
orion_status orion_text_json_array(const json_t *object, const char *key, const json_t **out, const char *where,
                              orion_error *err);
orion_status orion_text_json_object(const json_t *object, const char *key, const json_t **out, const char *where,
                               orion_error *err);

#endif
