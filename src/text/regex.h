// Regular expressions of tokenizers by PCRE2: Unicode properties, JIT where there is one, all memory from our
// allocator. The compiled expression is shared by threads; the scratch is per thread.
#ifndef ORION_TEXT_REGEX_H
#define ORION_TEXT_REGEX_H

#include "base/alloc.h"

typedef struct orion_regex orion_regex;
typedef struct orion_regex_scratch orion_regex_scratch;

// `literal`: the pattern is plain text. `name` stands in front of messages. ORION_FORMAT when it does not compile.
orion_status orion_regex_create(const orion_allocator *a, const char *pattern, size_t n, bool literal, const char *name,
                                orion_regex **out, orion_error *err);
void orion_regex_destroy(orion_regex *re);

orion_status orion_regex_scratch_create(const orion_allocator *a, orion_regex_scratch **out, orion_error *err);
void orion_regex_scratch_destroy(orion_regex_scratch *s);

// Next match that is not empty at or after `from` in well-formed UTF-8. No match: *out_begin = n.
orion_status orion_regex_find(const orion_regex *re, orion_regex_scratch *s, const uint8_t *text, size_t n, size_t from,
                              size_t *out_begin, size_t *out_end, orion_error *err);

#endif
