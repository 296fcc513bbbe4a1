// Rows of logical values reach the right element of any arrangement and dtype, and nothing else.
#include <math.h>

#include "device/layout.h"
#include "runtime/runner.h"
#include "support/support.h"

typedef struct shape {
  orion_arrangement arrangement;
  orion_dtype dtype;
  int64_t rows, cols, heads;
  size_t row_align;
} shape;

// A tensor over a surface of its own, filled with a value that no test writes.
static void make(orion_device *d, const shape *s, orion_tensor *t) {
  int64_t n = s->cols / s->heads;
  int64_t rows[2] = {s->rows, s->cols}, channels[4] = {1, s->cols, 1, s->rows}, heads[4] = {1, s->heads, s->rows, n};
  int rank = s->arrangement == ORION_ROWS ? 2 : 4;
  const int64_t *dims = s->arrangement == ORION_ROWS ? rows : s->arrangement == ORION_HEADS ? heads : channels;
  orion_error err;
  *t = (orion_tensor){.logical = "x", .arrangement = s->arrangement, .rows = s->rows, .cols = s->cols, .heads = s->heads};
  assert_ok(orion_layout_make(s->dtype, rank, dims, s->row_align, &t->layout, &err), &err);
  assert_ok(orion_surface_create(d, &t->layout, &t->surface, &err), &err);
  memset(orion_surface_lock(t->surface), 0x3a, t->layout.bytes);
  orion_surface_unlock(t->surface);
}

// Index of element (t, c) by the definition of the arrangement, through the layout's own offsets.
static size_t offset(const orion_tensor *t, int64_t row, int64_t col) {
  int64_t n = t->cols / t->heads;
  int64_t rows[2] = {row, col}, channels[4] = {0, col, 0, row}, heads[4] = {0, col / n, row, col % n};
  return orion_layout_offset(&t->layout, t->arrangement == ORION_ROWS    ? rows
                                         : t->arrangement == ORION_HEADS ? heads
                                                                         : channels);
}

static double load(const orion_tensor *t, const unsigned char *memory, int64_t row, int64_t col) {
  return orion_load_double((orion_dtype)t->layout.dtype, memory + offset(t, row, col), 0);
}

static void store(const orion_tensor *t, unsigned char *memory, int64_t row, int64_t col, double v) {
  orion_store_double((orion_dtype)t->layout.dtype, memory + offset(t, row, col), 0, v);
}

static unsigned char *copy_of(orion_tensor *t) {  // free() it
  unsigned char *copy = malloc(t->layout.bytes);
  memcpy(copy, orion_surface_lock(t->surface), t->layout.bytes);
  orion_surface_unlock(t->surface);
  return copy;
}

static void check_bytes(orion_tensor *t, unsigned char *want, const char *what) {
  if (memcmp(orion_surface_lock(t->surface), want, t->layout.bytes) != 0) {
    fail_msg("%s: arrangement %d, dtype %s", what, (int)t->arrangement, orion_dtype_name((orion_dtype)t->layout.dtype));
  }
  orion_surface_unlock(t->surface);
  free(want);
}

static float value(int64_t row, int64_t col) { return (float)(row * 7 - col) * 0.3f; }

enum { ROWS = 5, COLS = 12 };

// All arrangements of [ROWS, COLS], in both dtypes, packed and with rows of 64 bytes.
static size_t all_shapes(shape *out) {
  static const struct { orion_arrangement a; int64_t heads; } kinds[] = {
      {ORION_ROWS, 1}, {ORION_CHANNELS, 1}, {ORION_HEADS, 1}, {ORION_HEADS, 3}, {ORION_HEADS, 12}};
  size_t n = 0;
  for (int k = 0; k < 5; k++) {
    for (int type = 0; type < 2; type++) {
      for (int packed = 0; packed < 2; packed++) {
        out[n++] = (shape){kinds[k].a, type ? ORION_FP16 : ORION_FP32, ROWS, COLS, kinds[k].heads, packed ? 1 : 64};
      }
    }
  }
  return n;
}

static orion_device *open_null(void) {
  orion_device *d;
  orion_error err;
  assert_ok(orion_device_open("null", 1, NULL, &d, &err), &err);
  return d;
}

static void rows_are_written_read_and_filled_where_they_belong(void **state) {
  (void)state;
  orion_device *d = open_null();
  shape shapes[20];
  size_t n = all_shapes(shapes);
  for (size_t i = 0; i < n; i++) {
    orion_tensor t;
    make(d, &shapes[i], &t);
    float in[COLS], out[COLS];
    for (int64_t row = 0; row < ROWS; row += 2) {
      unsigned char *want = copy_of(&t);
      for (int64_t c = 0; c < COLS; c++) store(&t, want, row, c, (double)(in[c] = value(row, c)));
      orion_tensor_put(&t, row, in);
      check_bytes(&t, want, "put");
      orion_tensor_get(&t, row, out);
      unsigned char *now = copy_of(&t);
      for (int64_t c = 0; c < COLS; c++) assert_true((double)out[c] == load(&t, now, row, c));
      free(now);
    }
    unsigned char *want = copy_of(&t);
    for (int64_t c = 3; c < 8; c++) store(&t, want, 1, c, -1e4);
    orion_tensor_fill(&t, 1, 3, 5, -1e4f);
    orion_tensor_fill(&t, 2, 3, 0, 7);  // nothing
    check_bytes(&t, want, "fill");
    orion_surface_destroy(t.surface);
  }
  orion_device_close(d);
}

static void rows_are_copied_between_all_arrangements(void **state) {
  (void)state;
  orion_device *d = open_null();
  shape shapes[20];
  size_t n = all_shapes(shapes);
  for (size_t i = 0; i < n; i++) {
    orion_tensor from;
    make(d, &shapes[i], &from);
    float row[COLS];
    for (int64_t r = 0; r < ROWS; r++) {
      for (int64_t c = 0; c < COLS; c++) row[c] = value(r, c);
      orion_tensor_put(&from, r, row);
    }
    for (size_t k = 0; k < n; k++) {
      shape s = shapes[k];
      s.rows = 9;
      orion_tensor to;
      make(d, &s, &to);
      unsigned char *want = copy_of(&to), *source = copy_of(&from);
      for (int64_t r = 0; r < 3; r++) {
        for (int64_t c = 0; c < COLS; c++) store(&to, want, 4 + r, c, load(&from, source, 1 + r, c));
      }
      free(source);
      orion_tensor_copy(&from, 1, 3, &to, 4);
      check_bytes(&to, want, "copy");
      orion_surface_destroy(to.surface);
    }
    orion_surface_destroy(from.surface);
  }
  orion_device_close(d);
}

static void the_first_value_that_is_no_number_is_found(void **state) {
  (void)state;
  orion_device *d = open_null();
  shape shapes[20];
  size_t n = all_shapes(shapes);
  for (size_t i = 0; i < n; i++) {
    orion_tensor t;
    int64_t row = -1, col = -1;
    make(d, &shapes[i], &t);
    assert_false(orion_tensor_find_nonfinite(&t, ROWS, &row, &col));
    orion_tensor_fill(&t, 3, 4, 1, INFINITY);
    orion_tensor_fill(&t, 2, 9, 1, NAN);
    assert_false(orion_tensor_find_nonfinite(&t, 2, &row, &col));
    assert_int_equal(row, -1);
    assert_true(orion_tensor_find_nonfinite(&t, ROWS, &row, &col));
    assert_int_equal(row, 2);
    assert_int_equal(col, 9);
    orion_tensor_fill(&t, 2, 9, 1, 0);
    assert_true(orion_tensor_find_nonfinite(&t, 4, &row, &col));
    assert_int_equal(row, 3);
    assert_int_equal(col, 4);
    orion_surface_destroy(t.surface);
  }
  orion_device_close(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_written_read_and_filled_where_they_belong),
      cmocka_unit_test(rows_are_copied_between_all_arrangements),
      cmocka_unit_test(the_first_value_that_is_no_number_is_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
