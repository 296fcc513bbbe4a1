// Limits by name: what reads, prints and replaces the numbers of a target without knowing each of them.
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "target/target.h"

static const orion_limit limits[] = {
#define ORION_LIMIT(name, kind, meaning, ...) {#name, meaning, offsetof(orion_target, name), ORION_KIND_##kind},
#include "target/limits.inc"
#undef ORION_LIMIT
};

enum { N_LIMITS = sizeof limits / sizeof *limits };

const orion_limit *orion_limits(size_t *out_n) {
  *out_n = N_LIMITS;
  return limits;
}

const orion_limit *orion_limit_at(size_t offset) {
  for (size_t i = 0; i < N_LIMITS; i++) {
    if (limits[i].offset == offset) return &limits[i];
  }
  return NULL;
}

const orion_limit *orion_limit_find(const char *name) {
  for (size_t i = 0; i < N_LIMITS; i++) {
    if (strcmp(limits[i].name, name) == 0) return &limits[i];
  }
  return NULL;
}

double orion_limit_get(const orion_limit *l, const orion_target *t) {
  const char *at = (const char *)t + l->offset;
  switch (l->kind) {
    case ORION_KIND_I64: return (double)*(const int64_t *)at;
    case ORION_KIND_INT: return *(const int *)at;
    case ORION_KIND_SIZE: return (double)*(const size_t *)at;
    default: return *(const double *)at;
  }
}

void orion_limit_set(const orion_limit *l, orion_target *t, double value) {
  char *at = (char *)t + l->offset;
  switch (l->kind) {
    case ORION_KIND_I64: *(int64_t *)at = value < 0x1p63 ? (int64_t)value : INT64_MAX; break;
    case ORION_KIND_INT: *(int *)at = value < 0x1p31 ? (int)value : INT32_MAX; break;
    case ORION_KIND_SIZE: *(size_t *)at = value < 0x1p64 ? (size_t)value : SIZE_MAX; break;
    default: *(double *)at = value;
  }
}

// 17408 as "17,408"
static void grouped(uint64_t value, const char *unit, char *out, size_t size) {
  char digits[24], text[40];
  int n = snprintf(digits, sizeof digits, "%" PRIu64, value), used = 0;
  for (int i = 0; i < n; i++) {
    if (i && (n - i) % 3 == 0) text[used++] = ',';
    text[used++] = digits[i];
  }
  snprintf(out, size, "%.*s%s", used, text, unit);
}

void orion_limit_text(const orion_limit *l, const orion_target *t, char *out, size_t size) {
  double value = orion_limit_get(l, t);
  uint64_t whole = value < 0x1p63 ? (uint64_t)value : UINT64_MAX;
  if (l->kind == ORION_KIND_REAL) {
    snprintf(out, size, "%.4g", value);
  } else if (l->kind == ORION_KIND_SIZE && whole >= 1 << 20 && whole % (1 << 20) == 0) {
    grouped(whole >> 20, " MiB", out, size);
  } else {
    grouped(whole, l->kind == ORION_KIND_SIZE ? " bytes" : "", out, size);
  }
}
