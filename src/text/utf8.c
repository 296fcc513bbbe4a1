// See utf8.h. The strict table is Unicode's table 3-7 (well-formed byte sequences).
#include "text/utf8.h"

#include <string.h>

static size_t wanted(const uint8_t *p, uint8_t *out_low, uint8_t *out_high) {
  uint8_t b = p[0];
  *out_low = 0x80;
  *out_high = 0xbf;
  if (b < 0xc2) return 0;
  if (b < 0xe0) return 2;
  if (b < 0xf0) {
    if (b == 0xe0) *out_low = 0xa0;
    if (b == 0xed) *out_high = 0x9f;
    return 3;
  }
  if (b > 0xf4) return 0;
  if (b == 0xf0) *out_low = 0x90;
  if (b == 0xf4) *out_high = 0x8f;
  return 4;
}

size_t orion_utf8_next(const uint8_t *p, size_t n, uint32_t *out_char) {
  if (p[0] < 0x80) {
    *out_char = p[0];
    return 1;
  }
  uint8_t low, high;
  size_t k = wanted(p, &low, &high);
  if (k == 0 || k > n || p[1] < low || p[1] > high) return 0;
  uint32_t c = p[0] & (0x7fu >> k);
  for (size_t i = 1; i < k; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0;
    c = c << 6 | (p[i] & 0x3fu);
  }
  *out_char = c;
  return k;
}

size_t orion_utf8_put(uint32_t c, uint8_t out[4]) {
  if (c < 0x80) {
    out[0] = (uint8_t)c;
    return 1;
  }
  size_t k = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = k - 1; i > 0; i--, c >>= 6) out[i] = (uint8_t)(0x80 | (c & 0x3f));
  out[0] = (uint8_t)(c | (0xf00u >> k & 0xff));
  return k;
}

bool orion_utf8_is_prefix(const uint8_t *p, size_t n) {
  if (p[0] < 0x80) return false;
  uint8_t low, high;
  size_t k = wanted(p, &low, &high);
  if (k <= n) return false;
  for (size_t i = 1; i < n; i++) {
    if (p[i] < (i == 1 ? low : 0x80) || p[i] > (i == 1 ? high : 0xbf)) return false;
  }
  return true;
}

bool orion_utf8_valid(const uint8_t *p, size_t n) {
  size_t i = 0;
  while (i < n) {
    uint64_t word;
    if (n - i >= 8 && (memcpy(&word, p + i, 8), (word & 0x8080808080808080u) == 0)) {
      i += 8;
      continue;
    }
    uint32_t c;
    size_t k = orion_utf8_next(p + i, n - i, &c);
    if (k == 0) return false;
    i += k;
  }
  return true;
}

static bool stands_for_itself(uint32_t c) {
  return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

// The bytes that do not stand for themselves, in order, take U+0100, U+0101, ...: 00-20, 7f-a0, ad.
uint32_t orion_byte_char(uint8_t byte) {
  if (stands_for_itself(byte)) return byte;
  if (byte <= 0x20) return 0x100u + byte;
  if (byte <= 0xa0) return 0x121u + (byte - 0x7fu);
  return 0x143;
}

int orion_char_byte(uint32_t c) {
  if (stands_for_itself(c)) return (int)c;
  if (c >= 0x100 && c <= 0x120) return (int)(c - 0x100);
  if (c >= 0x121 && c <= 0x142) return (int)(c - 0x121 + 0x7f);
  return c == 0x143 ? 0xad : -1;
}

size_t orion_bytes_to_alphabet(const uint8_t *bytes, size_t n, uint8_t *out) {
  size_t k = 0;
  for (size_t i = 0; i < n; i++) k += orion_utf8_put(orion_byte_char(bytes[i]), out + k);
  return k;
}
