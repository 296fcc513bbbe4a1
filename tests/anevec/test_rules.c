// The main rules of the ANE's arithmetic on cases small enough to do by hand (rules.tsv), and that the fast paths give
// the bits of the definitions: random columns with and without overflow, dropped products, subnormals, infinities.
#include "bits_run.h"

#include <math.h>

#include "base/rng.h"
#include "device/sim/ane.h"
#include "device/sim/fixed.h"

static bits_table table;

// "16384 16384 -1" as fp16; numbers are decimal, hexadecimal floats, or x7e00 for a bit pattern
static size_t numbers(const char *text, float *out) {
  size_t n = 0;
  while (*text) {
    char *end;
    if (*text == 'x') {
      out[n++] = orion_half_to_float((uint16_t)strtoul(text + 1, &end, 16));
    } else {
      out[n] = strtof(text, &end);
      n++;
    }
    assert_true(end > text && n < 64);
    for (text = end; *text == ' '; text++) {}
  }
  return n;
}

static float by_hand(const orion_sim_arith *a, const char *op, const float *x, size_t n, const float *y) {
  static const struct {
    const char *name;
    orion_opcode code;
  } unary[] = {{"round", ORION_OP_round}, {"relu", ORION_OP_relu}, {"sigmoid", ORION_OP_sigmoid},
               {"tanh", ORION_OP_tanh}, {"exp", ORION_OP_exp}, {"log", ORION_OP_log}, {"sqrt", ORION_OP_sqrt},
               {"rsqrt", ORION_OP_rsqrt}, {"inverse", ORION_OP_inverse}, {"softplus", ORION_OP_softplus},
               {"square", ORION_OP_square}, {"erf", ORION_OP_erf}, {"softsign", ORION_OP_softsign}},
    binary[] = {{"add", ORION_OP_add}, {"sub", ORION_OP_sub}, {"mul", ORION_OP_mul}, {"maximum", ORION_OP_maximum}};
  if (strcmp(op, "mac") == 0) return orion_sim_ane_mac_column(n, x, y, 1, 0);
  if (strcmp(op, "mac_bias") == 0) return orion_sim_ane_mac_column(n - 1, x + 1, y, 1, x[0]);
  if (strcmp(op, "int8") == 0) return orion_sim_ane_int8(a, (int64_t)(x[0] * x[1] + x[2]), (double)y[0]);
  for (size_t i = 0; i < sizeof unary / sizeof *unary; i++) {
    if (strcmp(op, unary[i].name) == 0) return a->unary(unary[i].code, x[0], 0, 0);
  }
  for (size_t i = 0; i < sizeof binary / sizeof *binary; i++) {
    if (strcmp(op, binary[i].name) == 0) return a->binary(binary[i].code, x[0], y[0]);
  }
  fail_msg("no operation %s", op);
  return 0;
}

static void rules_done_by_hand(void **state) {
  char path[TEST_PATH_MAX];
  test_source_path(path, sizeof path, "tests/anevec/rules.tsv");
  bits_table_load(&table, path);
  size_t wrong = 0;
  for (size_t i = 1; i < table.rows; i++) {
    float x[64], y[64], want[64];
    size_t n = numbers(bits_cell(&table, i, "x"), x);
    numbers(bits_cell(&table, i, "y"), y);
    assert_int_equal(numbers(bits_cell(&table, i, "result"), want), 1);
    const orion_sim_arith *a = orion_sim_arith_find(bits_cell(&table, i, "family"));
    assert_non_null(a);
    float got = by_hand(a, bits_cell(&table, i, "op"), x, n, y);
    if (orion_float_to_bits(got) == orion_float_to_bits(want[0])) continue;
    print_message("line %zu, %s: %.9g, expected %.9g (%s)\n", i + 1, bits_cell(&table, i, "op"), (double)got,
                  (double)want[0], bits_cell(&table, i, "why"));
    wrong++;
  }
  assert_true(table.rows > 40);
  free(table.text);
  assert_int_equal(wrong, 0);
}

// ---- fast paths ----

static const orion_sim_ane_lanes *const levels[] = {
    &orion_sim_ane_lanes_portable,
#ifdef __x86_64__
    &orion_sim_ane_lanes_avx2, &orion_sim_ane_lanes_avx512,
#endif
};

static bool runs_here(size_t level) {
#ifdef __x86_64__
  if (level == 1) return __builtin_cpu_supports("avx2");
  if (level == 2) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
#endif
  return level == 0;
}

// Any finite fp16, or numbers around `spread` bits below 1.
static float random_half(orion_rng *r, int spread) {
  if (spread == 0) {
    uint16_t h = (uint16_t)orion_rng_u32(r);
    return orion_half_to_float((h & 0x7c00) == 0x7c00 ? h & 0x83ff : h);
  }
  double magnitude = ldexp(1 + (double)(orion_rng_u32(r) % 1024) / 1024, -(int)(orion_rng_u32(r) % (unsigned)spread));
  return orion_half_to_float(orion_float_to_half((float)(orion_rng_u32(r) % 2 ? magnitude : -magnitude)));
}

static void fast_sums_are_the_definition(void **state) {
  enum { K = 301, N = 77 };
  static float w[K], x[K * N], out[N];
  orion_rng r;
  orion_rng_seed(&r, 7, 0);
  for (int turn = 0; turn < 24; turn++) {
    int spread = turn % 4 == 3 ? 0 : 4 + 5 * (turn % 4);  // every fourth: all finite numbers, so mostly overflow
    for (size_t i = 0; i < K; i++) w[i] = random_half(&r, spread);
    for (size_t i = 0; i < K * N; i++) x[i] = random_half(&r, spread);
    if (turn % 6 == 5) x[5] = INFINITY;
    size_t n = turn % 2 ? N : 1;
    float bias = turn % 3 ? random_half(&r, 20) : 0;
    const orion_sim_product p = {.k = K, .n = n, .rows = w, .row_stride = K, .panel = x, .ldx = n, .bias = &bias, .out = out,
                                 .row_step = n, .column_step = 1};
    orion_sim_ane_product(&p, 0, 1);
    for (size_t j = 0; j < n; j++) {
      float want = orion_sim_ane_mac_column(K, w, x + j, n, bias);
      if (orion_float_to_bits(out[j]) != orion_float_to_bits(want)) {
        fail_msg("turn %d, column %zu: %.9g, expected %.9g", turn, j, (double)out[j], (double)want);
      }
    }
  }
}

static void sums_agree_at_every_level(void **state) {
  enum { K = 300, N = 96 };
  static float w[K], x[K * N];
  static int32_t sums[4][N];
  static float bounds[N];
  orion_rng r;
  orion_rng_seed(&r, 8, 0);
  for (size_t i = 0; i < K; i++) w[i] = random_half(&r, 17);
  for (size_t i = 0; i < K * N; i++) x[i] = random_half(&r, 17);
  for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
    if (!runs_here(l)) continue;
    float bound;
    memset(sums[l], 0, sizeof sums[l]);
    memset(bounds, 0, sizeof bounds);
    levels[l]->panel(K, w, x, N, N, sums[l], bounds);
    assert_memory_equal(sums[l], sums[0], sizeof sums[0]);
    assert_int_equal(levels[l]->dot(K, w, x, &bound), levels[0]->dot(K, w, x, &bound));
  }
}

// Every pair that a stride through all of them meets, against one number at a time.
static void rows_are_single_numbers(void **state) {
  enum { N = 4096 };
  static const orion_opcode codes[] = {ORION_OP_add, ORION_OP_sub, ORION_OP_mul};
  static float x[N], y[N], z[N];
  orion_rng r;
  orion_rng_seed(&r, 9, 0);
  for (int turn = 0; turn < 60; turn++) {
    for (size_t i = 0; i < N; i++) {
      x[i] = orion_half_to_float((uint16_t)orion_rng_u32(&r));
      y[i] = orion_half_to_float((uint16_t)(turn % 2 ? orion_rng_u32(&r) : orion_float_to_half(x[i]) ^ (orion_rng_u32(&r) & 0x8fff)));
    }
    size_t x_step = turn % 5 != 4, y_step = turn % 7 != 6;
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
      if (!runs_here(l)) continue;
      levels[l]->row(codes[turn % 3], x, x_step, y, y_step, z, N - 3);
      for (size_t i = 0; i < N - 3; i++) {
        float want = orion_sim_ane_binary(codes[turn % 3], x[i * x_step], y[i * y_step]);
        if (orion_float_to_bits(z[i]) != orion_float_to_bits(want)) {
          fail_msg("level %zu, operation %d of %.9g and %.9g: %.9g, expected %.9g", l, turn % 3,
                   (double)x[i * x_step], (double)y[i * y_step], (double)z[i], (double)want);
        }
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rules_done_by_hand),
      cmocka_unit_test(fast_sums_are_the_definition),
      cmocka_unit_test(sums_agree_at_every_level),
      cmocka_unit_test(rows_are_single_numbers),
  };
  return cmocka_run_group_tests_name("anevec rules", tests, NULL, NULL);
}
