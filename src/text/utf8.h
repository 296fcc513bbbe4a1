// UTF-8 one character at a time, and the byte alphabet of GPT-2 (every byte written as a visible character).
#ifndef ORION_TEXT_UTF8_H
#define ORION_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Length of the well-formed character at p (n >= 1 bytes left), or 0 when there is none: overlong forms, surrogates and
// what lies beyond U+10FFFF are malformed.
size_t orion_utf8_next(const uint8_t *p, size_t n, uint32_t *out_char);

// Bytes written (1 to 4) for a valid code point.
size_t orion_utf8_put(uint32_t c, uint8_t out[4]);

// Whether p[0..n) is the beginning of a well-formed character that only lacks bytes (n is 1 to 3).
bool orion_utf8_is_prefix(const uint8_t *p, size_t n);

bool orion_utf8_valid(const uint8_t *p, size_t n);

// Length of the character at p, 1 for a byte that belongs to none: how the room walks over any bytes.
static inline size_t orion_utf8_step(const uint8_t *p, size_t n) {
  uint32_t c;
  size_t k = p[0] < 0x80 ? 1 : orion_utf8_next(p, n, &c);
  return k ? k : 1;
}

// GPT-2's alphabet: printable Latin-1 stands for itself, the 68 other bytes for U+0100 and up.
uint32_t orion_byte_char(uint8_t byte);
int orion_char_byte(uint32_t c);  // -1 for a character outside the alphabet

// Writes n bytes in the alphabet (at most 2n bytes) and returns how many were written.
size_t orion_bytes_to_alphabet(const uint8_t *bytes, size_t n, uint8_t *out);

#endif
