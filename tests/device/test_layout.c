// Layouts: sizes, offsets, and copies that respect the padding of rows.
#include "device/layout.h"

#include <math.h>

#include "support/support.h"

static void rows_are_padded_as_asked(void **state) {
  orion_error err;
  orion_layout l;
  const int64_t dims[] = {1, 8, 3, 5};
  assert_ok(orion_layout_make(ORION_FP16, 4, dims, 1, &l, &err), &err);
  assert_int_equal(l.row_bytes, 10);
  assert_int_equal(l.bytes, 240);
  assert_ok(orion_layout_make(ORION_FP16, 4, dims, 64, &l, &err), &err);
  assert_int_equal(l.row_bytes, 64);
  assert_int_equal(l.bytes, 24 * 64);
  assert_int_equal(orion_layout_rows(&l), 24);
  assert_int_equal(orion_layout_columns(&l), 5);
  assert_int_equal(orion_layout_offset(&l, (int64_t[]){0, 2, 1, 3}), (2 * 3 + 1) * 64 + 6);
  assert_ok(orion_layout_make(ORION_FP32, 0, NULL, 64, &l, &err), &err);
  assert_int_equal(l.bytes, 64);
  assert_int_equal(orion_layout_elements(&l), 1);
  assert_int_equal(orion_layout_offset(&l, NULL), 0);
}

static void sizes_that_overflow_are_refused(void **state) {
  orion_error err;
  orion_layout l;
  assert_error(orion_layout_make(ORION_FP16, 2, (int64_t[]){INT64_MAX / 2, 64}, 1, &l, &err), ORION_LIMIT, &err, "size");
  assert_error(orion_layout_make(ORION_FP16, 1, (int64_t[]){INT64_MAX}, 64, &l, &err), ORION_LIMIT, &err, "size");
  assert_error(orion_layout_make(ORION_FP16, 2, (int64_t[]){1, -1}, 1, &l, &err), ORION_INVALID, &err, "dimension 1");
  assert_error(orion_layout_make(ORION_INT4, 1, (int64_t[]){2}, 1, &l, &err), ORION_UNSUPPORTED, &err, "int4");
  assert_error(orion_layout_make(ORION_STRING, 0, NULL, 1, &l, &err), ORION_UNSUPPORTED, &err, "string");
}

static void packing_and_unpacking_skip_the_padding(void **state) {
  orion_error err;
  orion_layout l;
  assert_ok(orion_layout_make(ORION_INT8, 2, (int64_t[]){3, 4}, 8, &l, &err), &err);
  int8_t surface[24], packed[12], back[12];
  memset(surface, 0x7e, sizeof surface);
  for (int i = 0; i < 12; i++) packed[i] = (int8_t)(i - 6);
  orion_layout_unpack(&l, surface, packed);
  for (int r = 0; r < 3; r++) {
    for (int c = 0; c < 8; c++) assert_int_equal(surface[r * 8 + c], c < 4 ? r * 4 + c - 6 : 0x7e);
  }
  orion_layout_pack(&l, surface, back);
  assert_memory_equal(packed, back, sizeof back);
}

static void floats_round_to_the_surface_type(void **state) {
  orion_error err;
  orion_layout l;
  const float in[] = {1, 1.0004883f, 1.0014648f, 70000, -0.f, NAN, 3e-8f, 65519};  // ties go to even
  const float want[] = {1, 1, 1.0019531f, INFINITY, 0, NAN, 5.9604645e-8f, 65504};
  float out[8];
  uint16_t surface[8];
  assert_ok(orion_layout_make(ORION_FP16, 1, (int64_t[]){8}, 1, &l, &err), &err);
  orion_layout_from_floats(&l, surface, in);
  orion_layout_to_floats(&l, surface, out);
  for (int i = 0; i < 8; i++) assert_true(isnan(want[i]) ? isnan(out[i]) : out[i] == want[i]);
  assert_true(signbit(out[4]));
  int8_t bytes[3];
  assert_ok(orion_layout_make(ORION_INT8, 1, (int64_t[]){3}, 1, &l, &err), &err);
  orion_layout_from_floats(&l, bytes, (const float[]){200, -200, 2.5f});
  assert_int_equal(bytes[0], 127);
  assert_int_equal(bytes[1], -128);
  assert_int_equal(bytes[2], 2);
}

static void ints_saturate(void **state) {
  orion_error err;
  orion_layout l;
  uint8_t bytes[4];
  int32_t out[4];
  assert_ok(orion_layout_make(ORION_UINT8, 1, (int64_t[]){4}, 1, &l, &err), &err);
  orion_layout_from_ints(&l, bytes, (const int32_t[]){-1, 7, 255, 256});
  orion_layout_to_ints(&l, bytes, out);
  assert_int_equal(out[0], 0);
  assert_int_equal(out[1], 7);
  assert_int_equal(out[3], 255);
  const int64_t wide[] = {INT64_MAX, INT64_MIN};
  assert_ok(orion_layout_make(ORION_INT64, 1, (int64_t[]){2}, 1, &l, &err), &err);
  orion_layout_to_ints(&l, wide, out);
  assert_int_equal(out[0], INT32_MAX);
  assert_int_equal(out[1], INT32_MIN);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_padded_as_asked),          cmocka_unit_test(sizes_that_overflow_are_refused),
      cmocka_unit_test(packing_and_unpacking_skip_the_padding), cmocka_unit_test(floats_round_to_the_surface_type),
      cmocka_unit_test(ints_saturate),
  };
  return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
