// Constants: lazy expressions read by rows give what a plain evaluation in double precision gives; nodes are shared.
#include <math.h>

#include "base/half.h"
#include "base/rng.h"
#include "base/thread.h"
#include "ir/data.h"
#include "support/support.h"

static size_t below(orion_rng *r, size_t n) { return (size_t)(orion_rng_u32(r) % n); }

// ---- the plain evaluation -------------------------------------------------------------------------------------------

static double rounded(orion_dtype d, double v) {
  char bytes[8] = {0};
  orion_store_double(d, bytes, 0, v);
  return orion_load_double(d, bytes, 0);
}

static double element(const orion_data *x, size_t r, size_t c) {
  const orion_data *s = x->n_sources ? x->sources[0] : NULL;
  switch (x->kind) {
    case ORION_DATA_BYTES: return orion_load_double(x->dtype, x->bytes, r * x->cols + c);
    case ORION_DATA_CAST: return rounded(x->dtype, element(s, r, c));
    case ORION_DATA_TRANSPOSE: return element(s, c, r);
    case ORION_DATA_SCALE: {
      double v = rounded(ORION_FP32, element(s, r, c)) * (double)x->scale[x->n_scale == 1 ? 0 : r];
      return rounded(x->dtype, rounded(ORION_FP32, v));
    }
    case ORION_DATA_ROWS: return element(s, x->index[r], c);
    case ORION_DATA_COLS: return element(s, r, x->index[c]);
    case ORION_DATA_JOIN:
      for (size_t i = 0;; i++) {
        if (r < x->sources[i]->rows) return element(x->sources[i], r, c);
        r -= x->sources[i]->rows;
      }
    case ORION_DATA_QUANTISE:
    case ORION_DATA_SCALES:
    case ORION_DATA_EXPAND:
    case ORION_DATA_WORDS:
    case ORION_DATA_NIBBLES: break;  // not by elements: tested on their own
  }
  return NAN;
}

// ---- random expressions ---------------------------------------------------------------------------------------------

static const orion_dtype dtypes[] = {ORION_FP16, ORION_FP32, ORION_FP64, ORION_BF16, ORION_INT4, ORION_INT8,
                                     ORION_INT16, ORION_INT32, ORION_INT64, ORION_UINT1, ORION_UINT2, ORION_UINT3,
                                     ORION_UINT4, ORION_UINT6, ORION_UINT8, ORION_UINT16, ORION_UINT32, ORION_BOOL};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

static const orion_data *leaf(orion_data_store *s, orion_rng *r, orion_dtype d, size_t rows, size_t cols) {
  void *bytes;
  const orion_data *x = orion_data_new(s, d, rows, cols, &bytes);
  for (size_t i = 0; i < rows * cols; i++) {
    double v = ((double)orion_rng_u32(r) / 0x1p32 - 0.5) * (below(r, 4) == 0 ? 1e5 : 20);
    orion_store_double(d, bytes, i, v);
  }
  return x;
}

static const orion_data *tree(orion_data_store *s, orion_rng *r, int depth) {
  if (depth == 0) return leaf(s, r, dtypes[below(r, N_DTYPES)], 1 + below(r, 90), 1 + below(r, 90));
  const orion_data *x = tree(s, r, depth - 1);
  uint32_t index[200];
  float scale[200];
  switch (below(r, 6)) {
    case 0: return orion_data_cast(s, x, dtypes[below(r, N_DTYPES)]);
    case 1: return orion_data_transpose(s, x);
    case 2: {
      size_t n = below(r, 2) || x->rows > 200 ? 1 : x->rows;
      for (size_t i = 0; i < n; i++) scale[i] = (float)below(r, 1000) / 256.0f - 1.0f;
      return orion_data_scale(s, x, n, scale);
    }
    case 3: case 4: {
      bool rows = below(r, 2);
      size_t n = 1 + below(r, 60), of = rows ? x->rows : x->cols;
      uint32_t at = (uint32_t)below(r, of);
      for (size_t i = 0; i < n; i++) index[i] = at = below(r, 3) ? (at + 1) % (uint32_t)of : (uint32_t)below(r, of);
      return rows ? orion_data_take_rows(s, x, n, index) : orion_data_take_cols(s, x, n, index);
    }
    default: {
      const orion_data *parts[3] = {x, leaf(s, r, x->dtype, 1 + below(r, 20), x->cols), x};
      return x->rows < 200 ? orion_data_join(s, 2 + below(r, 2), parts) : x;
    }
  }
}

static void check_read(const orion_data *x, orion_dtype d, size_t row, size_t n) {
  size_t elements = n * x->cols, bytes;
  assert_true(orion_dtype_bytes(d, elements, &bytes));
  void *out = malloc(bytes ? bytes : 1);
  orion_error err = {0};
  assert_ok(orion_data_read(x, d, row, n, out, &err), &err);
  for (size_t i = 0; i < elements; i++) {
    double got = orion_load_double(d, out, i), want = rounded(d, element(x, row + i / x->cols, i % x->cols));
    if (memcmp(&got, &want, sizeof got) != 0 && !(got == 0 && want == 0)) {
      fail_msg("kind %d of %s as %s at %zu,%zu: %.17g, expected %.17g", (int)x->kind, orion_dtype_name(x->dtype),
               orion_dtype_name(d), row + i / x->cols, i % x->cols, got, want);
    }
  }
  free(out);
}

static void test_random_expressions_read_as_evaluated_plainly(void **state) {
  orion_error err = {0};
  orion_rng r;
  orion_rng_seed(&r, 7, 0);
  for (int i = 0; i < 250; i++) {
    orion_data_store *s;
    assert_ok(orion_data_store_create(NULL, &s, &err), &err);
    const orion_data *x = tree(s, &r, (int)below(&r, 6));
    assert_non_null(x);
    orion_dtype d = below(&r, 2) ? x->dtype : dtypes[below(&r, N_DTYPES)];
    check_read(x, d, 0, x->rows);
    if (orion_dtype_bits(d) >= 8) {
      size_t row = below(&r, x->rows);
      check_read(x, d, row, 1 + below(&r, x->rows - row));
    }
    orion_data_store_release(s);
  }
}

static void test_equal_nodes_are_one(void **state) {
  orion_error err = {0};
  orion_data_store *s;
  assert_ok(orion_data_store_create(NULL, &s, &err), &err);
  static const float bytes[12];
  static const uint32_t index[] = {2, 0}, other[] = {2, 1};
  static const float scale[] = {1, 2, 3};
  const orion_data *x = orion_data_borrow(s, ORION_FP32, 3, 4, bytes, "x");
  assert_ptr_equal(x, orion_data_borrow(s, ORION_FP32, 3, 4, bytes, "x"));
  assert_ptr_not_equal(x, orion_data_borrow(s, ORION_FP32, 4, 3, bytes, "x"));
  assert_ptr_equal(orion_data_cast(s, x, ORION_FP16), orion_data_cast(s, x, ORION_FP16));
  assert_ptr_equal(orion_data_cast(s, x, ORION_FP32), x);
  assert_ptr_equal(orion_data_transpose(s, orion_data_transpose(s, x)), x);
  assert_ptr_equal(orion_data_take_rows(s, x, 2, index), orion_data_take_rows(s, x, 2, (uint32_t[]){2, 0}));
  assert_ptr_not_equal(orion_data_take_rows(s, x, 2, index), orion_data_take_rows(s, x, 2, other));
  assert_ptr_not_equal(orion_data_take_rows(s, x, 2, index), orion_data_take_cols(s, x, 2, index));
  assert_ptr_equal(orion_data_scale(s, x, 3, scale), orion_data_scale(s, x, 3, scale));
  assert_ptr_not_equal(orion_data_scale(s, x, 3, scale), orion_data_scale(s, x, 1, scale));
  assert_ptr_equal(orion_data_join(s, 2, (const orion_data *[]){x, x}), orion_data_join(s, 2, (const orion_data *[]){x, x}));
  for (uint32_t i = 0; i < 1000; i++) assert_non_null(orion_data_take_rows(s, x, 1, &(uint32_t){i % 3}));
  for (uint32_t i = 1; i < 1000; i++) assert_non_null(orion_data_scale(s, x, 1, &(float){(float)i}));  // the table grows
  assert_ptr_equal(orion_data_scale(s, x, 1, &(float){4}), orion_data_scale(s, x, 1, &(float){4}));
  orion_data_store_release(s);
}

typedef struct shared_read {
  const orion_data *x;
  const float *want;
  int failures;
} shared_read;

static void read_some(void *ctx, size_t begin, size_t end, int worker) {
  shared_read *t = ctx;
  float *out = malloc((end - begin) * t->x->cols * sizeof *out);
  if (orion_data_read(t->x, ORION_FP32, begin, end - begin, out, NULL) != ORION_OK ||
      memcmp(out, t->want + begin * t->x->cols, (end - begin) * t->x->cols * sizeof *out) != 0) {
    __atomic_add_fetch(&t->failures, 1, __ATOMIC_RELAXED);
  }
  free(out);
}

// What rounding a group to multiples of s loses, q within [lo, hi].
static double rounding_loss(const float *x, size_t n, double s, double lo, double hi) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    double q = s != 0 ? fmax(lo, fmin(hi, nearbyint(x[i] / s))) : 0, e = x[i] - q * s;
    sum += e * e;
  }
  return sum;
}

// Integers and scales that a file holds: what they stand for, in rows and in columns, and how they are found again.
static void test_stored_integers(void **state) {
  (void)state;
  enum { R = 3, C = 20, G = 2, W = 3 };
  orion_error err = {0};
  orion_data_store *s;
  assert_ok(orion_data_store_create(NULL, &s, &err), &err);
  orion_rng r = {0};
  orion_rng_seed(&r, 5, 1);
  static uint32_t words[R * W];
  int8_t want[R * C];
  for (int i = 0; i < R * C; i++) {
    want[i] = (int8_t)((int)(orion_rng_u32(&r) >> 28) - 8);
    words[i / C * W + i % C / 8] |= (uint32_t)(want[i] + 8) << 4 * (i % C % 8);
  }
  static const float by[R * G] = {0.5f, -2, 3, 0.125f, 1, 7};
  const orion_data *leaf = orion_data_borrow(s, ORION_INT32, R, W, words, "w"), *q = orion_data_nibbles(s, leaf, C);
  const orion_data *scales = orion_data_borrow(s, ORION_FP32, R, G, by, "s"), *x = orion_data_expand(s, q, scales);
  int8_t ints[R * C];
  uint32_t back[R * W];
  float rows[R * C], cols[R * C];
  assert_ok(orion_data_read(q, ORION_INT8, 0, R, ints, &err), &err);
  assert_memory_equal(ints, want, sizeof want);
  assert_ok(orion_data_read(orion_data_words(s, q), ORION_INT32, 0, R, back, &err), &err);
  assert_memory_equal(back, words, sizeof words);
  assert_ok(orion_data_read(x, ORION_FP32, 0, R, rows, &err), &err);
  assert_ok(orion_data_read(orion_data_transpose(s, x), ORION_FP32, 0, C, cols, &err), &err);
  for (int i = 0; i < R * C; i++) {
    float value = (float)want[i] * by[i / C * G + i % C / (C / G)];
    assert_true(rows[i] == value && cols[i % C * R + i / C] == value);
  }
  const orion_data *found, *factors;
  static const float twice[R] = {2, 4, 8};
  const orion_data *scaled = orion_data_scale(s, orion_data_cast(s, x, ORION_FP16), R, twice);
  const orion_data *both = orion_data_join(s, 2, (const orion_data *[]){scaled, scaled});
  assert_true(orion_data_integers(s, both, &found, &factors));
  int8_t ints2[2 * R * C];
  float by2[2 * R * G];
  assert_int_equal(found->rows, 2 * R);
  assert_ok(orion_data_read(found, ORION_INT8, 0, 2 * R, ints2, &err), &err);
  assert_ok(orion_data_read(factors, ORION_FP32, 0, 2 * R, by2, &err), &err);
  assert_memory_equal(ints2, want, sizeof want);
  assert_memory_equal(ints2 + R * C, want, sizeof want);
  for (int i = 0; i < 2 * R * G; i++) assert_true(by2[i] == by[i % (R * G)] * twice[i / G % R]);
  assert_false(orion_data_integers(s, orion_data_transpose(s, x), &found, &factors));
  assert_false(orion_data_integers(s, scales, &found, &factors));
  orion_data_store_release(s);
}

static void check_quantised(orion_data_store *s, orion_dtype d, size_t rows, size_t cols, size_t group, orion_rng *r) {
  orion_error err = {0};
  void *bytes;
  const orion_data *x = orion_data_new(s, ORION_FP32, rows, cols, &bytes), *scales, *again;
  float *v = bytes;
  for (size_t i = 0; i < rows * cols; i++) {
    double spread = (i / group) % 5 == 3 ? 0 : (i / group) % 5 == 4 ? 1e-6 : 3;  // groups of zeros, and of next to nothing
    v[i] = (float)(((double)orion_rng_u32(r) / 0x1p32 - 0.5) * spread);
  }
  const orion_data *q = orion_data_quantise(s, x, d, group, &scales);
  assert_non_null(q);
  assert_ptr_equal(q, orion_data_quantise(s, x, d, group, &again));
  assert_ptr_equal(scales, again);
  size_t groups = cols / group, n = rows * cols;
  int8_t *ints = malloc(n), *together = malloc(n), *turned = malloc(n), *packed = calloc(n, 1);
  float *s1 = malloc(rows * groups * sizeof *s1);
  uint16_t *s2 = malloc(rows * groups * sizeof *s2);
  assert_ok(orion_data_read(q, ORION_INT8, 0, rows, ints, &err), &err);
  assert_ok(orion_data_read(q, d, 0, rows, packed, &err), &err);
  assert_ok(orion_data_read(scales, ORION_FP32, 0, rows, s1, &err), &err);
  assert_ok(orion_data_read_quantised(q, scales, 0, rows, together, s2, &err), &err);
  assert_memory_equal(ints, together, n);
  assert_ok(orion_data_read(orion_data_transpose(s, q), ORION_INT8, 0, cols, turned, &err), &err);
  double lo = d == ORION_INT4 ? -8 : -127, hi = d == ORION_INT4 ? 7 : 127;
  for (size_t i = 0; i < n; i++) {
    assert_in_range(ints[i] + 128, 128 + (int)lo, 128 + (int)hi);
    assert_int_equal(orion_load_int(d, packed, i), ints[i]);
    assert_int_equal(turned[i % cols * rows + i / cols], ints[i]);
  }
  for (size_t g = 0; g < rows * groups; g++) {
    assert_true(s1[g] == orion_half_to_float(s2[g]));
    double got = 0, top = 0, extreme = 0;
    for (size_t i = g * group; i < (g + 1) * group; i++) {
      top = fmax(top, fabs((double)v[i]));
      if (fabs((double)v[i]) == top) extreme = v[i];
      double e = v[i] - (double)ints[i] * s1[g];
      got += e * e;
      if (d == ORION_INT8) assert_true(fabs(e) <= 0.502 * s1[g] + 127 * 0x1p-25);
    }
    if (d == ORION_INT4) {  // nor than the largest at -8 steps
      double q4_0 = orion_half_to_float(orion_float_to_half((float)(extreme / -8)));
      double lost = rounding_loss(v + g * group, group, q4_0, lo, hi);
      assert_true(got <= lost * 1.0001 + 1e-12);
    }
    double plain = orion_half_to_float(orion_float_to_half((float)(top / hi)));
    assert_true((s1[g] != 0) == (top > 0) && (s1[g] >= 0 || d == ORION_INT4));
    assert_true(got <= rounding_loss(v + g * group, group, plain, lo, hi) * 1.0001 + 1e-12);
  }
  free(ints), free(together), free(turned), free(packed), free(s1), free(s2);
}

static void test_quantised_matrices_are_near_and_never_worse_than_plain_rounding(void **state) {
  orion_error err = {0};
  orion_rng r;
  orion_rng_seed(&r, 11, 0);
  orion_data_store *s;
  assert_ok(orion_data_store_create(NULL, &s, &err), &err);
  static const size_t shapes[][3] = {{1, 1, 1}, {5, 32, 32}, {33, 172, 43}, {70, 96, 32}, {3, 1000, 1000}, {64, 64, 16}};
  for (size_t i = 0; i < 6; i++) {
    check_quantised(s, ORION_INT8, shapes[i][0], shapes[i][1], shapes[i][2], &r);
    check_quantised(s, ORION_INT4, shapes[i][0], shapes[i][1], shapes[i][2], &r);
  }
  static const float sick[4][4] = {{1, NAN, 2, 3}, {1, INFINITY, 2, 3}, {1, 2, 3, 4}, {0, 0, 0, 0}};
  for (int i = 0; i < 2; i++) {
    const orion_data *scales, *x = orion_data_borrow(s, ORION_FP32, 4, 4, sick, "sick");
    assert_non_null(orion_data_quantise(s, x, i ? ORION_INT8 : ORION_INT4, 4, &scales));
    float got[4];
    assert_ok(orion_data_read(scales, ORION_FP32, 0, 4, got, &err), &err);
    assert_true(isnan(got[0]) && isinf(got[1]) && isfinite(got[2]) && got[3] == 0);
  }
  orion_data_store_release(s);
}

static void test_threads_may_read_together(void **state) {
  orion_error err = {0};
  orion_data_store *s;
  orion_pool *pool;
  orion_rng r;
  orion_rng_seed(&r, 3, 0);
  assert_ok(orion_data_store_create(NULL, &s, &err), &err);
  assert_ok(orion_pool_create(NULL, 4, &pool, &err), &err);
  const orion_data *a = leaf(s, &r, ORION_FP32, 128, 300), *b = leaf(s, &r, ORION_FP32, 128, 30);
  a = orion_data_cast(s, orion_data_transpose(s, a), ORION_FP16);
  b = orion_data_cast(s, orion_data_transpose(s, b), ORION_FP16);
  const orion_data *x = orion_data_join(s, 2, (const orion_data *[]){a, b});
  float *want = malloc(x->rows * x->cols * sizeof *want);
  assert_ok(orion_data_read(x, ORION_FP32, 0, x->rows, want, &err), &err);
  shared_read t = {x, want, 0};
  for (int i = 0; i < 20; i++) orion_parallel_for(pool, x->rows, 7, read_some, &t);
  assert_int_equal(t.failures, 0);
  free(want);
  orion_pool_destroy(pool);
  orion_data_store_release(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_random_expressions_read_as_evaluated_plainly),
      cmocka_unit_test(test_stored_integers),
      cmocka_unit_test(test_equal_nodes_are_one),
      cmocka_unit_test(test_quantised_matrices_are_near_and_never_worse_than_plain_rounding),
      cmocka_unit_test(test_threads_may_read_together),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
