// Half floats against a slow reference that works on the value (ldexp, floor), not on the bits.
#include "base/half.h"

#include <math.h>

#include "base/rng.h"
#include "support/support.h"

static double value_of(orion_half h) {
  int exponent = h >> 10 & 31, fraction = h & 1023;
  double v = exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY)
                            : ldexp(exponent ? 1024 + fraction : fraction, (exponent ? exponent : 1) - 25);
  return h & 0x8000 ? -v : v;
}

// Nearest multiple of 2^step, ties to the even multiple. Exact in double: the inputs are floats.
static double round_to_step(double v, int step) {
  double scaled = ldexp(v, -step), low = floor(scaled), rest = scaled - low;
  if (rest > 0.5 || (rest == 0.5 && fmod(low, 2) != 0)) low += 1;
  return ldexp(low, step);
}

static double reference_half(float f) {
  double v = fabs((double)f);
  int exponent;
  if (isnan(f) || isinf(f) || v == 0) return f;
  frexp(v, &exponent);  // v = m * 2^exponent, m in [0.5, 1)
  int step = exponent - 11 < -24 ? -24 : exponent - 11;
  double r = round_to_step(v, step);
  if (r > 65504) r = (double)INFINITY;
  return copysign(r, f);
}

static double reference_bf16(float f) {
  double v = fabs((double)f);
  int exponent;
  if (isnan(f) || isinf(f) || v == 0) return f;
  frexp(v, &exponent);
  int step = exponent - 8 < -133 ? -133 : exponent - 8;
  double r = round_to_step(v, step);
  if (r >= ldexp(1, 128)) r = (double)INFINITY;
  return copysign(r, f);
}

static bool same(double a, double b) { return (isnan(a) && isnan(b)) || (a == b && signbit(a) == signbit(b)); }

static void every_half_has_its_value_and_comes_back(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 65536; h++) {
    float f = orion_half_to_float((orion_half)h);
    if (!same(f, value_of((orion_half)h))) fail_msg("half %04x reads as %a", h, (double)f);
    orion_half back = orion_float_to_half(f);
    bool ok = isnan(f) ? isnan(value_of(back)) && (back & 0x8000) == (h & 0x8000) : back == h;
    if (!ok) fail_msg("half %04x comes back as %04x", h, back);
  }
}

static void check_half(float f) {
  orion_half h = orion_float_to_half(f);
  double want = reference_half(f);
  if (!same(value_of(h), want)) fail_msg("%a becomes half %04x, expected %a", (double)f, h, want);
}

static void floats_round_to_the_nearest_half(void **state) {
  (void)state;
  orion_rng rng;
  orion_rng_seed(&rng, 1, 0);
  for (int i = 0; i < 2000000; i++) check_half(orion_bits_to_float(orion_rng_u32(&rng)));
  for (int i = 0; i < 1000000; i++) {  // the range where halves live
    uint32_t sign = orion_rng_u32(&rng) & 0x80000000u;
    check_half(orion_bits_to_float(sign | (0x32000000u + orion_rng_u32(&rng) % 0x16000000u)));
  }
}

static void ties_and_their_neighbours_round_right(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 0x7c00; h++) {
    double above = h + 1 == 0x7c00 ? 65536 : value_of((orion_half)(h + 1));
    float tie = (float)((value_of((orion_half)h) + above) / 2);  // exact
    for (int sign = -1; sign <= 1; sign += 2) {
      check_half((float)sign * tie);
      check_half((float)sign * nextafterf(tie, 0));
      check_half((float)sign * nextafterf(tie, INFINITY));
    }
  }
}

static void check_bf16(float f) {
  orion_bf16 b = orion_float_to_bf16(f);
  if (!same(orion_bf16_to_float(b), reference_bf16(f))) fail_msg("%a becomes bf16 %04x", (double)f, b);
}

static void bfloat16_rounds_to_nearest_even(void **state) {
  (void)state;
  for (uint32_t b = 0; b < 65536; b++) {
    float f = orion_bf16_to_float((orion_bf16)b);
    orion_bf16 back = orion_float_to_bf16(f);
    if (isnan(f) ? !isnan(orion_bf16_to_float(back)) : back != b) fail_msg("bf16 %04x comes back as %04x", b, back);
    if (isnan(f) || isinf(f)) continue;
    check_bf16(orion_bits_to_float(b << 16 | 0x8000u));  // the tie above
    check_bf16(orion_bits_to_float(b << 16 | 0x7fffu));
    check_bf16(orion_bits_to_float(b << 16 | 0x8001u));
  }
  orion_rng rng;
  orion_rng_seed(&rng, 2, 0);
  for (int i = 0; i < 1000000; i++) check_bf16(orion_bits_to_float(orion_rng_u32(&rng)));
}

// Every upper half of a binary32 with a few lower ones (so every exponent, ties and NaN payloads), at odd lengths and
// from unaligned memory.
static void bulk_conversions_give_the_same_bits(void **state) {
  static const uint32_t lows[] = {0, 1, 0xfff, 0x1000, 0x1001, 0x2000, 0x3000, 0xffff};
  enum { N = 65536 };
  char *in = malloc(N * 4 + 1);
  orion_half *fast = malloc(N * 2), *plain = malloc(N * 2);
  float *wide = malloc(N * 4), *wide_plain = malloc(N * 4);
  for (size_t k = 0; k < sizeof lows / sizeof *lows; k++) {
    for (uint32_t i = 0; i < N; i++) {
      uint32_t bits = i << 16 | lows[k];
      memcpy(in + 1 + i * 4, &bits, 4);
    }
    size_t n = N - k;
    orion_floats_to_half(fast, in + 1, n);
    orion_floats_to_half_portable(plain, in + 1, n);
    assert_memory_equal(fast, plain, n * 2);
    for (uint32_t i = 0; i < n; i++) assert_int_equal(fast[i], orion_float_to_half(orion_bits_to_float(i << 16 | lows[k])));
  }
  for (uint32_t i = 0; i < N; i++) memcpy(in + 1 + i * 2, &(uint16_t){(uint16_t)i}, 2);
  orion_half_to_floats(wide, in + 1, N - 3);
  orion_half_to_floats_portable(wide_plain, in + 1, N - 3);
  assert_memory_equal(wide, wide_plain, (N - 3) * 4);
  free(in);
  free(fast);
  free(plain);
  free(wide);
  free(wide_plain);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_half_has_its_value_and_comes_back),
      cmocka_unit_test(floats_round_to_the_nearest_half),
      cmocka_unit_test(ties_and_their_neighbours_round_right),
      cmocka_unit_test(bfloat16_rounds_to_nearest_even),
      cmocka_unit_test(bulk_conversions_give_the_same_bits),
  };
  return cmocka_run_group_tests_name("half", tests, NULL, NULL);
}
