// A growing text. The first failed growth sticks: later appends do nothing, and `failed` (or orion_strbuf_status) says
// so once at the end.
#ifndef ORION_BASE_STRBUF_H
#define ORION_BASE_STRBUF_H

#include "base/alloc.h"

typedef struct orion_strbuf {
  const orion_allocator *allocator;
  char *data;  // terminated whenever not NULL
  size_t size;
  size_t cap;
  bool failed;
} orion_strbuf;

void orion_strbuf_init(orion_strbuf *b, const orion_allocator *allocator);
void orion_strbuf_deinit(orion_strbuf *b);
void orion_strbuf_clear(orion_strbuf *b);  // keeps the memory
void orion_strbuf_add(orion_strbuf *b, const void *bytes, size_t n);
void orion_strbuf_adds(orion_strbuf *b, const char *s);
void orion_strbuf_addc(orion_strbuf *b, char c);
void orion_strbuf_addf(orion_strbuf *b, const char *format, ...) ORION_PRINTF(2, 3);
const char *orion_strbuf_text(const orion_strbuf *b);  // "" when empty
orion_status orion_strbuf_status(const orion_strbuf *b, orion_error *err);

#endif
