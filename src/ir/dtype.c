// Names and sizes of the element types.
#include "ir/dtype.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/half.h"

static const struct {
  const char *name;
  uint8_t bits;
  char cls;
} table[ORION_DTYPE_COUNT] = {
    {"?", 0, 0},
#define X(name, text, bits, cls) {text, bits, cls},
    ORION_DTYPES(X)
#undef X
};

const char *orion_dtype_name(orion_dtype d) { return table[d < ORION_DTYPE_COUNT ? d : 0].name; }

orion_dtype orion_dtype_parse(const char *s, size_t n) {
  for (int i = 1; i < ORION_DTYPE_COUNT; i++) {
    if (strncmp(table[i].name, s, n) == 0 && table[i].name[n] == 0) return (orion_dtype)i;
  }
  return ORION_DTYPE_NONE;
}

unsigned orion_dtype_bits(orion_dtype d) { return table[d < ORION_DTYPE_COUNT ? d : 0].bits; }
char orion_dtype_class(orion_dtype d) { return table[d < ORION_DTYPE_COUNT ? d : 0].cls; }
bool orion_dtype_is_float(orion_dtype d) { return orion_dtype_class(d) == 'f'; }
bool orion_dtype_is_int(orion_dtype d) { return orion_dtype_class(d) == 'i' || orion_dtype_class(d) == 'u'; }

bool orion_dtype_bytes(orion_dtype d, size_t n, size_t *out) {
  size_t bits = orion_dtype_bits(d);
  if (!bits) return false;
  if (bits >= 8) return !__builtin_mul_overflow(n, bits / 8, out);
  *out = n / 8 * bits + (n % 8 * bits + 7) / 8;
  return true;
}

// Elements narrower than a byte, packed least significant bit first; a 3- or 6-bit element may straddle two bytes.
static unsigned load_bits(const uint8_t *p, size_t i, unsigned bits) {
  unsigned value = 0;
  for (unsigned b = 0; b < bits; b++) {
    size_t at = i * bits + b;
    value |= (unsigned)(p[at / 8] >> (at % 8) & 1u) << b;
  }
  return value;
}

static void store_bits(uint8_t *p, size_t i, unsigned bits, unsigned value) {
  for (unsigned b = 0; b < bits; b++) {
    size_t at = i * bits + b;
    uint8_t mask = (uint8_t)(1u << (at % 8));
    p[at / 8] = (uint8_t)(value >> b & 1u ? p[at / 8] | mask : p[at / 8] & ~mask);
  }
}

#define LOAD(type)                                                     \
  type v;                                                              \
  memcpy(&v, (const char *)array + i * sizeof v, sizeof v)

int64_t orion_load_int(orion_dtype d, const void *array, size_t i) {
  switch (d) {
    case ORION_INT8: { LOAD(int8_t); return v; }
    case ORION_INT16: { LOAD(int16_t); return v; }
    case ORION_INT32: { LOAD(int32_t); return v; }
    case ORION_INT64: { LOAD(int64_t); return v; }
    case ORION_UINT8: { LOAD(uint8_t); return v; }
    case ORION_UINT16: { LOAD(uint16_t); return v; }
    case ORION_UINT32: { LOAD(uint32_t); return v; }
    case ORION_UINT64: { LOAD(uint64_t); return v > INT64_MAX ? INT64_MAX : (int64_t)v; }
    case ORION_BOOL: { LOAD(uint8_t); return v != 0; }
    case ORION_INT4: {
      unsigned v = load_bits(array, i, 4);
      return v < 8 ? (int64_t)v : (int64_t)v - 16;
    }
    case ORION_UINT1: case ORION_UINT2: case ORION_UINT3: case ORION_UINT4: case ORION_UINT6:
      return load_bits(array, i, orion_dtype_bits(d));
    case ORION_FP16: case ORION_FP32: case ORION_FP64: case ORION_BF16: {
      double v = orion_load_double(d, array, i);
      return isnan(v) ? 0 : v >= 0x1p63 ? INT64_MAX : v <= -0x1p63 ? INT64_MIN : (int64_t)v;
    }
    default: return 0;
  }
}

double orion_load_double(orion_dtype d, const void *array, size_t i) {
  switch (d) {
    case ORION_FP16: { LOAD(orion_half); return orion_half_to_float(v); }
    case ORION_BF16: { LOAD(orion_bf16); return orion_bf16_to_float(v); }
    case ORION_FP32: { LOAD(float); return v; }
    case ORION_FP64: { LOAD(double); return v; }
    case ORION_UINT64: { LOAD(uint64_t); return (double)v; }
    default: return (double)orion_load_int(d, array, i);
  }
}

#define STORE(type, value)  \
  type v_ = (type)(value);  \
  memcpy((char *)array + i * sizeof v_, &v_, sizeof v_)

void orion_store_int(orion_dtype d, void *array, size_t i, int64_t v) {
  unsigned bits = orion_dtype_bits(d);
  char cls = orion_dtype_class(d);
  if (cls == 'f') {
    // Beyond 2^53 the low bits shrink to one that only says whether they were zero: the double is exact enough to round
    // from once more.
    int64_t low = v & 2047, exact = v > 1LL << 53 || v < -(1LL << 53) ? (v - low) | (low ? 1024 : 0) : v;
    if (d == ORION_FP64) exact = v;
    orion_store_double(d, array, i, (double)exact);
    return;
  }
  if (cls == 'b') v = v != 0;
  if (cls == 'i' && bits < 64) {
    int64_t top = ((int64_t)1 << (bits - 1)) - 1;
    v = v > top ? top : v < -top - 1 ? -top - 1 : v;
  }
  if (cls == 'u') {
    if (v < 0) v = 0;
    if (bits < 64 && v > ((int64_t)1 << bits) - 1) v = ((int64_t)1 << bits) - 1;
  }
  switch (bits) {
    case 8: { STORE(uint8_t, v); break; }
    case 16: { STORE(uint16_t, v); break; }
    case 32: { STORE(uint32_t, v); break; }
    case 64: { STORE(uint64_t, v); break; }
    default:
      if (bits) store_bits(array, i, bits, (unsigned)v);
  }
}

// A float from which rounding on to 16 bits gives what rounding v would: inexact values are rounded to odd, so that the
// last bit says "and a little more" and no false tie arises.
static float to_odd_float(double v) {
  float f = (float)v;
  if (isnan(v) || isinf(f) || (double)f == v) return f;
  uint32_t bits = orion_float_to_bits(f);
  if (fabs((double)f) > fabs(v)) bits--;  // truncate towards zero
  return orion_bits_to_float(bits | 1);
}

void orion_store_double(orion_dtype d, void *array, size_t i, double v) {
  switch (d) {
    case ORION_FP16: { STORE(orion_half, orion_float_to_half(to_odd_float(v))); break; }
    case ORION_BF16: { STORE(orion_bf16, orion_float_to_bf16(to_odd_float(v))); break; }
    case ORION_FP32: { STORE(float, v); break; }
    case ORION_FP64: { STORE(double, v); break; }
    case ORION_BOOL: { STORE(uint8_t, v != 0); break; }
    case ORION_UINT64: {
      double r = nearbyint(v);
      STORE(uint64_t, !(r > 0) ? 0 : r >= 0x1p64 ? UINT64_MAX : (uint64_t)r);
      break;
    }
    default: {
      double r = nearbyint(v);  // ties to even in the default rounding mode
      orion_store_int(d, array, i, isnan(v) ? 0 : r >= 0x1p63 ? INT64_MAX : r <= -0x1p63 ? INT64_MIN : (int64_t)r);
    }
  }
}
