// Finding NaN and infinity: their exponent bits are all ones, so integers tell, many at a time.
#include "ir/data.h"

// Whether any of n words has all bits of `mask` set. No early way out inside, so that compilers vectorise it.
static bool any32(const uint32_t *x, size_t n, uint32_t mask) {
  uint32_t found = 0;
  for (size_t i = 0; i < n; i++) found |= (x[i] & mask) == mask;
  return found != 0;
}

static bool any16(const uint16_t *x, size_t n, uint16_t mask) {
  uint16_t found = 0;
  for (size_t i = 0; i < n; i++) found |= (uint16_t)((x[i] & mask) == mask);
  return found != 0;
}

static bool any(orion_dtype d, const void *array, size_t first, size_t n) {
  switch (d) {
    case ORION_FP32: return any32((const uint32_t *)array + first, n, 0x7f800000u);
    case ORION_FP16: return any16((const uint16_t *)array + first, n, 0x7c00u);
    case ORION_BF16: return any16((const uint16_t *)array + first, n, 0x7f80u);
    case ORION_FP64: {
      const uint64_t mask = 0x7ff0000000000000u, *x = (const uint64_t *)array + first;
      for (size_t i = 0; i < n; i++) {
        if ((x[i] & mask) == mask) return true;
      }
      return false;
    }
    default: return false;  // integers are always finite
  }
}

size_t orion_find_nonfinite(orion_dtype d, const void *array, size_t n) {
  enum { BLOCK = 4096 };
  for (size_t at = 0; at < n; at += BLOCK) {
    size_t m = n - at < BLOCK ? n - at : BLOCK;
    if (!any(d, array, at, m)) continue;
    while (!any(d, array, at, 1)) at++;
    return at;
  }
  return n;
}
