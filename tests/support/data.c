// Test data: where it lies, and readers for golden files (JSON, .npy).
#include "support/support.h"

#include <math.h>
#include <unistd.h>

bool test_shared_path(char *out, size_t size, const char *relative) {
  const char *env = getenv("ORION_SHARED");
  const char *roots[] = {env && *env ? env : NULL, TEST_SOURCE_ROOT "/../shared", TEST_SOURCE_ROOT "/../../shared"};
  for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
    if (!roots[i]) continue;
    int n = snprintf(out, size, "%s/%s", roots[i], relative);
    if (n > 0 && (size_t)n < size && access(out, R_OK) == 0) return true;
    if (i == 0) return false;  // named by the user: look nowhere else
  }
  return false;
}

void test_source_path(char *out, size_t size, const char *relative) {
  test_path(out, size, TEST_SOURCE_ROOT, relative);
}

json_t *test_json_load(const char *path) {
  json_error_t error;
  json_t *root = json_load_file(path, 0, &error);
  if (!root) fail_msg("%s:%d: %s", path, error.line, error.text);
  return root;
}

static void flatten(const json_t *value, double *out, size_t *n) {
  if (json_is_array(value)) {
    for (size_t i = 0; i < json_array_size(value); i++) flatten(json_array_get(value, i), out, n);
    return;
  }
  if (!json_is_number(value)) fail_msg("golden: an entry is not a number");
  if (out) out[*n] = json_number_value(value);
  (*n)++;
}

double *test_json_doubles(const json_t *value, size_t *out_n) {
  size_t n = 0;
  flatten(value, NULL, &n);
  double *data = calloc(n ? n : 1, sizeof *data);
  if (!data) fail_msg("golden: out of memory");
  *out_n = 0;
  flatten(value, data, out_n);
  return data;
}

static double half_value(uint16_t h) {
  int exponent = h >> 10 & 31, fraction = h & 1023;
  double v = exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY)
                            : ldexp(exponent ? fraction + 1024 : fraction, (exponent ? exponent : 1) - 25);
  return h & 0x8000 ? -v : v;
}

static double element(const char *type, const unsigned char *p) {
  union {
    uint8_t u1;
    uint16_t u2;
    uint32_t u4;
    int32_t i4;
    int64_t i8;
    float f4;
    double f8;
  } v;
  memcpy(&v, p, (size_t)(type[1] - '0'));
  if (!strcmp(type, "f2")) return half_value(v.u2);
  if (!strcmp(type, "f4")) return v.f4;
  if (!strcmp(type, "f8")) return v.f8;
  if (!strcmp(type, "i4")) return v.i4;
  if (!strcmp(type, "i8")) return (double)v.i8;
  if (!strcmp(type, "u4")) return v.u4;
  if (!strcmp(type, "u2")) return v.u2;
  if (!strcmp(type, "u1") || !strcmp(type, "b1")) return v.u1;
  fail_msg("npy: element type %s is not read here", type);
  return 0;
}

void test_npy_load(test_npy *out, const char *path) {
  size_t size;
  char *bytes = test_read_file(path, &size);
  if (size < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0) fail_msg("%s: not an .npy file", path);
  size_t head = (unsigned char)bytes[8] | (size_t)(unsigned char)bytes[9] << 8, start = 10;
  if (bytes[6] >= 2) {
    head |= (size_t)(unsigned char)bytes[10] << 16 | (size_t)(unsigned char)bytes[11] << 24;
    start = 12;
  }
  if (start + head > size) fail_msg("%s: header is longer than the file", path);
  char *text = strndup(bytes + start, head), *descr = strstr(text, "'descr':"), *shape = strstr(text, "'shape':");
  if (!descr || !shape || strstr(text, "'fortran_order': True")) fail_msg("%s: header is not understood: %s", path, text);
  char type[3] = {0};
  descr = strchr(descr + 8, '\'');
  memcpy(type, descr + 2, 2);  // after the quote and the byte order mark
  *out = (test_npy){.count = 1};
  for (char *p = strchr(shape, '(') + 1; *p && *p != ')';) {
    char *end;
    unsigned long long d = strtoull(p, &end, 10);
    if (end == p) {
      p++;
      continue;
    }
    if (out->rank == 8) fail_msg("%s: more than 8 dimensions", path);
    out->shape[out->rank++] = (size_t)d;
    out->count *= (size_t)d;
    p = end;
  }
  size_t width = (size_t)(type[1] - '0');
  if (start + head + out->count * width > size) fail_msg("%s: shorter than its shape says", path);
  out->data = malloc((out->count ? out->count : 1) * sizeof *out->data);
  if (!out->data) fail_msg("%s: out of memory", path);
  for (size_t i = 0; i < out->count; i++) {
    out->data[i] = element(type, (unsigned char *)bytes + start + head + i * width);
  }
  free(text);
  free(bytes);
}
