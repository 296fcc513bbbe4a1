// Runs a small program on a family of the sim with fp16 bit patterns in and out, and reads tables of tab-separated text.
#ifndef TEST_ANEVEC_BITS_RUN_H
#define TEST_ANEVEC_BITS_RUN_H

#include "base/half.h"
#include "device/one_run.h"

static inline one_run bits_open(const char *family, const char *text) {
  char spec[32];
  one_run r;
  orion_error err;
  orion_program *p = one_run_parse(text);
  snprintf(spec, sizeof spec, "sim:%s,mode=numbers", family);
  assert_ok(one_run_open(&r, NULL, spec, 1, p, &err), &err);
  r.program = p;
  return r;
}

static inline void bits_put(one_run *r, size_t io, const uint16_t *v) {
  const orion_layout *l = orion_surface_layout(r->surfaces[io]);
  memcpy(orion_surface_lock(r->surfaces[io]), v, l->bytes);
}

static inline const uint16_t *bits_get(one_run *r, size_t io) { return orion_surface_lock(r->surfaces[io]); }

static inline void bits_run(one_run *r) {
  orion_error err;
  assert_ok(orion_run(r->b, &err), &err);
}

// "H16" -> "m4"
static inline const char *bits_family(const char *arch) {
  static const char *const names[] = {"m1", "m2", "m3", "m4", "m5", "m6"};
  int n = atoi(arch + 1);
  assert_in_range(n, 13, 18);
  return names[n - 13];
}

static inline uint16_t bits_hex(const char *text) { return (uint16_t)strtoul(text, NULL, 16); }

// ---- tables ---- the first line names the columns; `text` is cut in place.

typedef struct bits_table {
  char *text;
  char *cells[1024][16];
  size_t rows, columns;
} bits_table;

static inline void bits_table_load(bits_table *t, const char *path) {
  *t = (bits_table){.text = test_read_file(path, NULL)};
  char *line = t->text;
  for (size_t row = 0; line && *line; row++) {
    char *next = strchr(line, '\n');
    if (next) *next++ = 0;
    assert_true(row < 1024);
    size_t column = 0;
    for (char *cell = line; cell && column < 16; column++) {
      char *tab = strchr(cell, '\t');
      if (tab) *tab++ = 0;
      t->cells[row][column] = cell;
      cell = tab;
    }
    if (row == 0) t->columns = column;
    t->rows = row + 1;
    line = next;
  }
}

static inline const char *bits_cell(const bits_table *t, size_t row, const char *column) {
  for (size_t c = 0; c < t->columns; c++) {
    if (strcmp(t->cells[0][c], column) == 0) return t->cells[row][c] ? t->cells[row][c] : "";
  }
  fail_msg("no column %s", column);
  return "";
}

#endif
