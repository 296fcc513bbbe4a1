// Error records: formatting, and keeping messages one clean line.
#include "orion/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

const char *orion_status_name(orion_status status) {
  switch (status) {
    case ORION_OK: return "ok";
    case ORION_INVALID: return "invalid";
    case ORION_NOT_FOUND: return "not found";
    case ORION_UNSUPPORTED: return "unsupported";
    case ORION_FORMAT: return "format";
    case ORION_REFUSED: return "refused";
    case ORION_LIMIT: return "limit";
    case ORION_NO_MEMORY: return "out of memory";
    case ORION_IO: return "i/o";
    case ORION_DEVICE: return "device";
    case ORION_NUMERIC: return "numeric";
    case ORION_CANCELLED: return "cancelled";
    case ORION_INTERNAL: return "internal";
  }
  return "unknown";
}

// Bytes of the UTF-8 character at p, 0 if there is no whole and valid one.
static size_t utf8_length(const unsigned char *p) {
  if (p[0] < 0x80) return 1;
  size_t n = p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
  for (size_t i = 1; i < n; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0;  // also the terminator
  }
  if (n == 3 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f))) return 0;  // overlong, surrogate
  if (n == 4 && ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))) return 0;  // overlong, past U+10FFFF
  return n;
}

// Messages are one line of valid UTF-8 without control characters, whatever the file that caused them held and wherever
// they were cut.
static void make_printable(char *text) {
  for (unsigned char *p = (unsigned char *)text; *p;) {
    size_t n = utf8_length(p);
    bool control = *p < 0x20 || *p == 0x7f || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
    if (control) memset(p, ' ', n);
    if (n == 0) *p = '?';
    p += n ? n : 1;
  }
}

// A text too long for a message keeps its end too: what is long is a path at its beginning, and the reason comes last.
static void write_message(char *out, size_t size, const char *format, va_list args) {
  static const char gap[] = " ... ";
  char whole[8192];
  int n = vsnprintf(whole, sizeof whole, format, args);
  size_t length = n < 0 ? 0 : (size_t)n < sizeof whole ? (size_t)n : sizeof whole - 1;
  size_t head = size / 2, tail = size - 1 - head - (sizeof gap - 1);
  if (length < size) {
    memcpy(out, whole, length);
    out[length] = 0;
    return;
  }
  memcpy(out, whole, head);
  memcpy(out + head, gap, sizeof gap - 1);
  memcpy(out + head + sizeof gap - 1, whole + length - tail, tail);
  out[size - 1] = 0;
}

orion_status orion_error_set(orion_error *err, orion_status code, const char *file, int line, const char *format,
                             ...) {
  if (!err) return code;
  err->code = code;
  err->file = file;
  err->line = line;
  va_list args;
  va_start(args, format);
  write_message(err->message, sizeof err->message, format, args);
  va_end(args);
  make_printable(err->message);
  return code;
}

void orion_error_prefix(orion_error *err, const char *format, ...) {
  if (!err) return;
  char old[sizeof err->message];
  memcpy(old, err->message, sizeof old);
  va_list args;
  va_start(args, format);
  int n = vsnprintf(err->message, sizeof err->message, format, args);
  va_end(args);
  if (n < 0) n = 0;
  size_t used = (size_t)n < sizeof err->message ? (size_t)n : sizeof err->message - 1;
  const char *parts[] = {": ", old};
  for (int i = 0; i < 2; i++) {  // cut at the end, as a first message is
    size_t want = strlen(parts[i]), room = sizeof err->message - 1 - used;
    if (want > room) want = room;
    memcpy(err->message + used, parts[i], want);
    used += want;
  }
  err->message[used] = 0;
  make_printable(err->message);
}
