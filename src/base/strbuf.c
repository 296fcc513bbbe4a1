// Growing text: doubling, always terminated.
#include "base/strbuf.h"

#include <stdarg.h>
#include <stdio.h>

void orion_strbuf_init(orion_strbuf *b, const orion_allocator *allocator) {
  *b = (orion_strbuf){.allocator = orion_allocator_or_default(allocator)};
}

void orion_strbuf_deinit(orion_strbuf *b) {
  orion_free(b->allocator, b->data, b->cap, 1);
  *b = (orion_strbuf){.allocator = b->allocator};
}

void orion_strbuf_clear(orion_strbuf *b) {
  b->size = 0;
  if (b->data) b->data[0] = 0;
}

static bool reserve(orion_strbuf *b, size_t more) {
  size_t need;
  if (b->failed || !orion_add_ok(b->size, more, &need) || !orion_add_ok(need, 1, &need) ||
      !ORION_GROW(b->allocator, &b->data, &b->cap, need)) {
    b->failed = true;
    return false;
  }
  return true;
}

void orion_strbuf_add(orion_strbuf *b, const void *bytes, size_t n) {
  if (!reserve(b, n)) return;
  if (n) memcpy(b->data + b->size, bytes, n);
  b->size += n;
  b->data[b->size] = 0;
}

void orion_strbuf_adds(orion_strbuf *b, const char *s) { orion_strbuf_add(b, s, strlen(s)); }
void orion_strbuf_addc(orion_strbuf *b, char c) { orion_strbuf_add(b, &c, 1); }

void orion_strbuf_addf(orion_strbuf *b, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (n < 0 || !reserve(b, (size_t)n)) {
    b->failed = true;
    return;
  }
  va_start(args, format);
  vsnprintf(b->data + b->size, (size_t)n + 1, format, args);
  va_end(args);
  b->size += (size_t)n;
}

const char *orion_strbuf_text(const orion_strbuf *b) { return b->data ? b->data : ""; }

orion_status orion_strbuf_status(const orion_strbuf *b, orion_error *err) {
  return b->failed ? ORION_OOM(err, "text buffer") : ORION_OK;
}
