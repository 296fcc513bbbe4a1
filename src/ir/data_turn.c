// Tiles are turned in squares of 8 by 8 two-byte or 4 by 4 four-byte elements held in vectors; edges and other widths
// go element by element. The vectors are the compiler's own, so this is the same on every machine.
#include "ir/data_turn.h"

#include <stdint.h>
#include <string.h>

typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));

#if defined(__clang__)
#define LOW16(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH16(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define LOW32(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH32(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#else
#define LOW16(a, b) __builtin_shuffle(a, b, (u16x8){0, 8, 1, 9, 2, 10, 3, 11})
#define HIGH16(a, b) __builtin_shuffle(a, b, (u16x8){4, 12, 5, 13, 6, 14, 7, 15})
#define LOW32(a, b) __builtin_shuffle(a, b, (u32x4){0, 4, 1, 5})
#define HIGH32(a, b) __builtin_shuffle(a, b, (u32x4){2, 6, 3, 7})
#endif

// Three rounds of interleaving rows i and i + 4 turn a square of eight.
static void turn16(char *out, size_t stride, const char *in) {
  u16x8 a[8], b[8];
  for (int i = 0; i < 8; i++) memcpy(&a[i], in + (size_t)i * ORION_TURN_TILE * 2, 16);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 4; i++) {
      b[2 * i] = LOW16(a[i], a[i + 4]);
      b[2 * i + 1] = HIGH16(a[i], a[i + 4]);
    }
    memcpy(a, b, sizeof a);
  }
  for (int i = 0; i < 8; i++) memcpy(out + (size_t)i * stride * 2, &a[i], 16);
}

static void turn32(char *out, size_t stride, const char *in) {
  u32x4 a[4], b[4];
  for (int i = 0; i < 4; i++) memcpy(&a[i], in + (size_t)i * ORION_TURN_TILE * 4, 16);
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 2; i++) {
      b[2 * i] = LOW32(a[i], a[i + 2]);
      b[2 * i + 1] = HIGH32(a[i], a[i + 2]);
    }
    memcpy(a, b, sizeof a);
  }
  for (int i = 0; i < 4; i++) memcpy(out + (size_t)i * stride * 4, &a[i], 16);
}

static void turn_single(char *out, size_t stride, const char *tile, size_t r0, size_t r1, size_t c0, size_t c1, size_t w) {
  for (size_t r = r0; r < r1; r++) {
    for (size_t c = c0; c < c1; c++) memcpy(out + (r * stride + c) * w, tile + (c * ORION_TURN_TILE + r) * w, w);
  }
}

void orion_turn_tile(char *out, size_t stride, const char *tile, size_t rows, size_t cols, size_t w) {
  size_t square = w == 2 ? 8 : w == 4 ? 4 : 0, whole_rows = 0, whole_cols = 0;
  if (square) {
    whole_rows = rows - rows % square;
    whole_cols = cols - cols % square;
    for (size_t r = 0; r < whole_rows; r += square) {
      for (size_t c = 0; c < whole_cols; c += square) {
        char *to = out + (r * stride + c) * w;
        const char *from = tile + (c * ORION_TURN_TILE + r) * w;
        if (w == 2) {
          turn16(to, stride, from);
        } else {
          turn32(to, stride, from);
        }
      }
    }
  }
  turn_single(out, stride, tile, 0, whole_rows, whole_cols, cols, w);
  turn_single(out, stride, tile, whole_rows, rows, 0, cols, w);
}
