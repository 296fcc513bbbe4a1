// Payloads of entries.
#include <string.h>

#include "device/record/record.h"

const char *orion_record_kind_name(uint32_t kind) {
  static const char *const names[] = {"?", "open", "program", "run", "update", "release"};
  return names[kind < ORION_RECORD_KINDS ? kind : 0];
}

static void put(orion_record_buffer *b, uint64_t v, int n) {
  uint8_t bytes[8];
  for (int i = 0; i < n; i++) bytes[i] = (uint8_t)(v >> 8 * i);
  orion_strbuf_add(&b->bytes, bytes, (size_t)n);
}

void orion_record_u32(orion_record_buffer *b, uint32_t a, uint32_t c) {
  put(b, a, 4);
  put(b, c, 4);
}

void orion_record_u64(orion_record_buffer *b, uint64_t v) { put(b, v, 8); }

void orion_record_f64(orion_record_buffer *b, double v) {
  uint64_t bits;
  memcpy(&bits, &v, sizeof bits);
  put(b, bits, 8);
}

void orion_record_bytes(orion_record_buffer *b, const void *bytes, size_t n) {
  static const char zeros[8];
  put(b, n, 8);
  orion_strbuf_add(&b->bytes, bytes, n);
  orion_strbuf_add(&b->bytes, zeros, -n % 8);
}

void orion_record_text(orion_record_buffer *b, const char *text) { orion_record_bytes(b, text ? text : "", text ? strlen(text) : 0); }

uint64_t orion_record_hash(const void *bytes, size_t n) {
  const uint8_t *p = bytes;
  uint64_t h = UINT64_C(0xcbf29ce484222325) ^ n;
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v |= (uint64_t)p[i] << 8 * i;
    h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= h >> 32;
  }
  for (; n; n--, p++) h = (h ^ *p) * UINT64_C(0x100000001b3);
  return h;
}
