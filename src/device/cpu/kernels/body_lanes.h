// What all kernels over panels of 16 outputs share: where sums go, and lanes at the last panel's edge. Include after a v16
// header.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_LANES_H
#define ORION_DEVICE_CPU_KERNELS_BODY_LANES_H

// Where the sums live: panel c of row r at r * stride + 16 c; the last panel has `last` lanes (1..16).
typedef struct tile_out {
  float *y;
  size_t stride, last;
  const float *bias;  // added at the end, NULL for none
  bool resume;        // start from what y holds
} tile_out;

INLINE v16 load_lanes(const float *p, size_t n) { return n == 16 ? v16_load(p) : v16_load_n(p, n); }
INLINE void store_lanes(float *p, v16 x, size_t n) {
  if (n == 16) v16_store(p, x);
  else v16_store_n(p, x, n);
}
// Sixteen words of quantised weights.
INLINE v16i load_words(const uint8_t *p) { return i16_load((const int32_t *)(const void *)p); }
// Integers of four bits as q + 8, for instructions that take bytes without a sign.
INLINE v16i load_words_plus_8(const uint8_t *p) { return i16_xor(load_words(p), i16_set((int32_t)0x88888888)); }

// Of n panels, tiles take `wide` at once, one of each of as many parts that are so many panels long. What is left over goes
// one by one.
INLINE size_t panels_apart(size_t n, size_t wide) { return wide > 1 ? n / wide : 0; }
// Where the tile after that at panel p begins.
INLINE size_t next_panel(size_t p, size_t apart, size_t wide) { return p + 1 == apart ? apart * wide : p + 1; }

#endif
