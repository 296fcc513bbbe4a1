// Single elements: doubles round once, also where a float in between would make a false tie; integers saturate.
#include <math.h>

#include "ir/dtype.h"
#include "support/support.h"

static uint16_t stored(orion_dtype d, double v) {
  uint16_t bits;
  orion_store_double(d, &bits, 0, v);
  return bits;
}

static double loaded(orion_dtype d, uint16_t bits) { return orion_load_double(d, &bits, 0); }

// Between every two neighbours: the middle goes to the even one, a double's last bit beside it goes to the nearer one.
static void check_neighbours(orion_dtype d, uint16_t end) {
  for (uint16_t bits = 0; bits < end; bits++) {
    double low = loaded(d, bits), high = loaded(d, (uint16_t)(bits + 1)), middle = low + (high - low) / 2;
    uint16_t even = bits & 1 ? (uint16_t)(bits + 1) : bits;
    assert_int_equal(stored(d, middle), even);
    assert_int_equal(stored(d, nextafter(middle, 0)), bits);
    assert_int_equal(stored(d, nextafter(middle, INFINITY)), bits + 1);
    assert_int_equal(stored(d, -nextafter(middle, INFINITY)), 0x8000 | (bits + 1));
  }
}

static void test_doubles_round_once(void **state) {
  check_neighbours(ORION_FP16, 0x7bff);
  check_neighbours(ORION_BF16, 0x7f7f);
  assert_int_equal(stored(ORION_FP16, nextafter(65520, 0)), 0x7bff);
  assert_int_equal(stored(ORION_FP16, 65520), 0x7c00);
  assert_int_equal(stored(ORION_FP16, 1e300), 0x7c00);
}

static void test_integers_saturate(void **state) {
  int8_t small;
  uint64_t wide;
  float f;
  orion_store_double(ORION_INT8, &small, 0, 1e9);
  assert_int_equal(small, 127);
  orion_store_double(ORION_INT8, &small, 0, NAN);
  assert_int_equal(small, 0);
  orion_store_double(ORION_UINT64, &wide, 0, 0x1p63);
  assert_true(wide == 1ull << 63);
  orion_store_double(ORION_UINT64, &wide, 0, -1);
  assert_true(wide == 0);
  int64_t beside_tie = (1ll << 61) + (1ll << 37) + 1;  // a double would drop the 1 and leave a tie
  orion_store_int(ORION_FP32, &f, 0, beside_tie);
  assert_true(f == 0x1p61f + 0x1p38f);
}

static void test_packed_elements_straddle_bytes(void **state) {
  static const orion_dtype narrow[] = {ORION_INT4, ORION_UINT1, ORION_UINT2, ORION_UINT3, ORION_UINT4, ORION_UINT6};
  for (size_t k = 0; k < sizeof narrow / sizeof *narrow; k++) {
    unsigned bits = orion_dtype_bits(narrow[k]);
    uint8_t bytes[32] = {0};
    for (int i = 0; i < 40; i++) orion_store_int(narrow[k], bytes, (size_t)i, i * 7 % (1 << bits) - (narrow[k] == ORION_INT4 ? 8 : 0));
    for (int i = 0; i < 40; i++) {
      assert_int_equal(orion_load_int(narrow[k], bytes, (size_t)i), i * 7 % (1 << bits) - (narrow[k] == ORION_INT4 ? 8 : 0));
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_doubles_round_once),
      cmocka_unit_test(test_integers_saturate),
      cmocka_unit_test(test_packed_elements_straddle_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
