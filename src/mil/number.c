#include "mil/number.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct float_layout {  // of a dtype in memory
  unsigned bytes, fraction_bits;
} float_layout;

static float_layout layout_of(orion_dtype d) {
  switch (d) {
    case ORION_FP16: return (float_layout){2, 10};
    case ORION_BF16: return (float_layout){2, 7};
    case ORION_FP32: return (float_layout){4, 23};
    default: return (float_layout){8, 52};
  }
}

static uint64_t load_raw(const void *array, size_t i, unsigned bytes) {
  uint64_t v = 0;
  const uint8_t *p = (const uint8_t *)array + i * bytes;
  for (unsigned b = 0; b < bytes; b++) v |= (uint64_t)p[b] << (8 * b);
  return v;
}

static void store_raw(void *array, size_t i, unsigned bytes, uint64_t v) {
  uint8_t *p = (uint8_t *)array + i * bytes;
  for (unsigned b = 0; b < bytes; b++) p[b] = (uint8_t)(v >> (8 * b));
}

// ---- text to numbers ----

static int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static bool is_hex(const char *p, size_t n) { return n > 2 && p[0] == '0' && (p[1] | 0x20) == 'x'; }

bool orion_mil_parse_u64(const char *p, size_t n, uint64_t *out) {
  unsigned base = 10;
  if (is_hex(p, n)) {
    base = 16;
    p += 2;
    n -= 2;
  }
  uint64_t v = 0;
  for (size_t i = 0; i < n; i++) {
    unsigned digit = (unsigned)digit_value(p[i]);
    if (digit >= base || __builtin_mul_overflow(v, (uint64_t)base, &v)) return false;
    if (__builtin_add_overflow(v, (uint64_t)digit, &v)) return false;
  }
  *out = v;
  return n > 0;
}

static bool all_digits(const char *p, size_t n) {
  bool hex = is_hex(p, n);
  for (size_t i = hex ? 2 : 0; i < n; i++) {
    if (digit_value(p[i]) >= (hex ? 16 : 10)) return false;
  }
  return n > 0;
}

static orion_mil_number_fault parse_int(orion_dtype d, const char *p, size_t n, void *array, size_t i) {
  bool negative = n && *p == '-';
  if (n && (*p == '-' || *p == '+')) {
    p++;
    n--;
  }
  uint64_t magnitude;
  if (!all_digits(p, n)) return ORION_MIL_NUMBER_MALFORMED;
  if (!orion_mil_parse_u64(p, n, &magnitude)) return ORION_MIL_NUMBER_RANGE;
  unsigned bits = orion_dtype_bits(d);
  bool is_signed = orion_dtype_class(d) == 'i';
  uint64_t top = is_signed ? ((uint64_t)1 << (bits - 1)) - 1 : bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
  uint64_t bottom = is_signed ? top + 1 : 0;
  if (magnitude > (negative ? bottom : top)) return ORION_MIL_NUMBER_RANGE;
  if (bits == 64) {
    store_raw(array, i, 8, negative ? 0 - magnitude : magnitude);
  } else {
    orion_store_int(d, array, i, negative ? -(int64_t)magnitude : (int64_t)magnitude);
  }
  return ORION_MIL_NUMBER_OK;
}

// Hexadecimal floats: digits after "0x", binary exponent. Digits beyond 64 bits only leave a sticky last bit.
static bool parse_hex(const char *p, size_t n, double *out) {
  uint64_t mantissa = 0;
  int64_t exponent = 0;
  bool point = false, any = false;
  size_t i = 2;
  for (; i < n; i++) {
    if (p[i] == '.' && !point) {
      point = true;
      continue;
    }
    int digit = digit_value(p[i]);
    if (digit > 15) break;
    any = true;
    if (mantissa >> 60) {
      mantissa |= digit != 0;
      exponent += point ? 0 : 4;
    } else {
      mantissa = mantissa << 4 | (unsigned)digit;
      exponent -= point ? 4 : 0;
    }
  }
  if (!any) return false;
  if (i < n) {
    if ((p[i] | 0x20) != 'p') return false;
    bool negative = ++i < n && p[i] == '-';
    if (i < n && (p[i] == '-' || p[i] == '+')) i++;
    if (i >= n) return false;
    int64_t e = 0;
    for (; i < n; i++) {
      if (p[i] < '0' || p[i] > '9') return false;
      if (e < 100000) e = e * 10 + (p[i] - '0');
    }
    exponent += negative ? -e : e;
  }
  if (exponent > 1000000) exponent = 1000000;
  if (exponent < -1000000) exponent = -1000000;
  *out = ldexp((double)mantissa, (int)exponent);
  return true;
}

// Decimal floats, by the C library, whose decimal point follows the locale.
static bool parse_decimal(const char *p, size_t n, bool single, double *out) {
  char text[512];
  if (n >= sizeof text || n == 0 || *p == '-' || *p == '+') return false;
  for (size_t i = 0; i < n; i++) {
    if (!(p[i] >= '0' && p[i] <= '9') && p[i] != '.' && p[i] != 'e' && p[i] != 'E' && p[i] != '-' && p[i] != '+') {
      return false;
    }
    text[i] = p[i] == '.' ? *localeconv()->decimal_point : p[i];
  }
  text[n] = 0;
  char *end;
  *out = single ? (double)strtof(text, &end) : strtod(text, &end);
  return end == text + n;
}

static bool same_word(const char *p, size_t n, const char *word) {
  for (size_t i = 0; i < n; i++) {
    if (!word[i] || (p[i] | 0x20) != word[i]) return false;
  }
  return word[n] == 0;
}

static orion_mil_number_fault parse_float(orion_dtype d, const char *p, size_t n, void *array, size_t i) {
  bool negative = n && *p == '-';
  if (n && (*p == '-' || *p == '+')) {
    p++;
    n--;
  }
  if (same_word(p, n, "nan")) {
    float_layout l = layout_of(d);
    orion_mil_store_nan(d, negative, (uint64_t)1 << (l.fraction_bits - 1), array, i);
    return ORION_MIL_NUMBER_OK;
  }
  double v;
  bool infinite = same_word(p, n, "inf") || same_word(p, n, "infinity");
  if (infinite) {
    v = (double)INFINITY;
  } else if (is_hex(p, n) ? !parse_hex(p, n, &v) : !parse_decimal(p, n, d == ORION_FP32, &v)) {
    return ORION_MIL_NUMBER_MALFORMED;
  }
  orion_store_double(d, array, i, negative ? -v : v);
  if (!infinite && isinf(orion_load_double(d, array, i))) return ORION_MIL_NUMBER_RANGE;
  return ORION_MIL_NUMBER_OK;
}

orion_mil_number_fault orion_mil_parse_number(orion_dtype d, const char *text, size_t n, void *array, size_t i) {
  switch (orion_dtype_class(d)) {
    case 'f': return parse_float(d, text, n, array, i);
    case 'i': case 'u': return parse_int(d, text, n, array, i);
    case 'b': {
      bool yes = n == 4 && memcmp(text, "true", 4) == 0;
      if (!yes && !(n == 5 && memcmp(text, "false", 5) == 0)) return ORION_MIL_NUMBER_MALFORMED;
      orion_store_int(d, array, i, yes);
      return ORION_MIL_NUMBER_OK;
    }
    default: return ORION_MIL_NUMBER_MALFORMED;
  }
}

bool orion_mil_store_nan(orion_dtype d, bool negative, uint64_t payload, void *array, size_t i) {
  if (!orion_dtype_is_float(d)) return false;
  float_layout l = layout_of(d);
  if (payload == 0 || payload >> l.fraction_bits) return false;
  unsigned bits = l.bytes * 8;
  uint64_t exponent = (((uint64_t)1 << (bits - 1 - l.fraction_bits)) - 1) << l.fraction_bits;
  store_raw(array, i, l.bytes, (uint64_t)negative << (bits - 1) | exponent | payload);
  return true;
}

// ---- numbers to text ----

static size_t put_decimal(char *out, uint64_t v) {
  char digits[20];
  size_t n = 0;
  do {
    digits[n++] = (char)('0' + v % 10);
    v /= 10;
  } while (v);
  for (size_t i = 0; i < n; i++) out[i] = digits[n - 1 - i];
  return n;
}

static size_t put_hex(char *out, uint64_t v) {
  static const char hex[] = "0123456789abcdef";
  size_t n = 0;
  int shift = 60;
  while (shift && !(v >> shift)) shift -= 4;
  for (; shift >= 0; shift -= 4) out[n++] = hex[v >> shift & 15];
  return n;
}

// As C's %a prints a normal double: 0x1.8p+0; subnormals are normalised, trailing zeros dropped.
static size_t put_float(char *out, double v) {
  size_t n = 0;
  int exponent = 0;
  double m = frexp(v, &exponent);  // in [0.5, 1), or 0
  if (m == 0) {
    memcpy(out, "0x0p+0", 6);
    return 6;
  }
  uint64_t mantissa = (uint64_t)ldexp(m, 53), fraction = mantissa & (((uint64_t)1 << 52) - 1);
  exponent--;
  memcpy(out, "0x1", 3);
  n = 3;
  if (fraction) out[n++] = '.';
  for (; fraction; fraction = fraction << 4 & (((uint64_t)1 << 52) - 1)) {
    out[n++] = "0123456789abcdef"[fraction >> 48];
  }
  out[n++] = 'p';
  out[n++] = exponent < 0 ? '-' : '+';
  return n + put_decimal(out + n, (uint64_t)(exponent < 0 ? -exponent : exponent));
}

static size_t format_float(orion_dtype d, const void *array, size_t i, char *out) {
  float_layout l = layout_of(d);
  uint64_t raw = load_raw(array, i, l.bytes), fraction = raw & (((uint64_t)1 << l.fraction_bits) - 1);
  size_t n = 0;
  if (raw >> (l.bytes * 8 - 1)) out[n++] = '-';
  double v = fabs(orion_load_double(d, array, i));
  if (isinf(v)) {
    memcpy(out + n, "inf", 3);
    return n + 3;
  }
  if (!isnan(v)) return n + put_float(out + n, v);
  memcpy(out + n, "nan", 3);
  n += 3;
  if (fraction == (uint64_t)1 << (l.fraction_bits - 1)) return n;
  memcpy(out + n, "(0x", 3);
  n += 3;
  n += put_hex(out + n, fraction);
  out[n++] = ')';
  return n;
}

size_t orion_mil_format_number(orion_dtype d, const void *array, size_t i, char out[ORION_MIL_NUMBER_MAX]) {
  switch (orion_dtype_class(d)) {
    case 'f': return format_float(d, array, i, out);
    case 'b': {
      bool yes = orion_load_int(d, array, i) != 0;
      memcpy(out, yes ? "true" : "false", yes ? 4 : 5);
      return yes ? 4 : 5;
    }
    default: break;
  }
  if (d == ORION_UINT64) return put_decimal(out, load_raw(array, i, 8));
  int64_t v = orion_load_int(d, array, i);
  size_t n = 0;
  if (v < 0) out[n++] = '-';
  return n + put_decimal(out + n, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}
