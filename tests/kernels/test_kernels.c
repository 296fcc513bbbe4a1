// The compute kernels, every level that this machine can run:
// - against references in fp64 written here, at sizes around every tail, on memory that ends at an unreadable page (so
//   that an access past an array, read or write, masked or not, stops the test) and starts after canaries;
// - to the bit against the portable code compiled with fused multiply-add, which all fused levels promise to equal.
// Built without cmocka (-DTEST_PLAIN, a main of its own that prints TAP) it also runs under an emulator.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cpu.h"
#include "device/cpu/kernels/kernels.h"

void orion_kernels_install_portable_fused(orion_kernels *k);  // level_portable.c compiled once more, with the flag

// ---- failures and levels ----

static int failures;
#define CHECK(ok, ...)                               \
  do {                                               \
    if (!(ok) && failures++ < 20) {                  \
      printf("# %s:%d %s: ", __FILE__, __LINE__, level->level); \
      printf(__VA_ARGS__);                           \
      printf("\n");                                  \
    }                                                \
  } while (0)

enum { LEVELS_MOST = 9 };
static orion_kernels levels[LEVELS_MOST];
static int level_count;
static const orion_kernels *fused;  // NULL where the machine cannot run it

// Adds a level, without some of its features, where the machine has it and all of `needs`.
static void find_level(const char *name, const char *shown, uint32_t without, uint32_t needs) {
  uint32_t mask = 0, here = orion_cpu_features();
  orion_kernels *level = &levels[level_count];
  if (!orion_cpu_level(name, &mask) || (here & needs) != needs) return;
  orion_kernels_init(level, here & mask & ~without);
  if (strcmp(level->level, name) != 0) return;
  level->level = shown;
  level_count++;
}
static void find_levels(void) {
  const uint32_t more_of_avx512 = ORION_CPU_AVX512_VNNI | ORION_CPU_AVX512_BF16;
  const uint32_t more_of_neon = ORION_CPU_NEON_DOTPROD | ORION_CPU_NEON_I8MM | ORION_CPU_NEON_BF16;
  level_count = 0;
  fused = NULL;
  find_level("portable", "portable", 0, 0);
  find_level("avx2", "avx2", ORION_CPU_AVX_VNNI, 0);
  find_level("avx2", "avx2 with vnni", 0, ORION_CPU_AVX_VNNI);
  find_level("avx512", "avx512", more_of_avx512, 0);
  find_level("avx512", "avx512 with vnni", ORION_CPU_AVX512_BF16, ORION_CPU_AVX512_VNNI);
  find_level("avx512", "avx512 with bf16", 0, ORION_CPU_AVX512_BF16);
  find_level("amx", "amx", 0, 0);
  find_level("neon", "neon", more_of_neon, 0);
  find_level("neon", "neon with dotprod", ORION_CPU_NEON_I8MM | ORION_CPU_NEON_BF16, ORION_CPU_NEON_DOTPROD);
  find_level("neon", "neon with i8mm", ORION_CPU_NEON_BF16, ORION_CPU_NEON_DOTPROD | ORION_CPU_NEON_I8MM);
  find_level("neon", "neon with bf16", 0, ORION_CPU_NEON_BF16);
  if (orion_cpu_features() & (ORION_CPU_AVX2 | ORION_CPU_NEON)) {
    orion_kernels_install_portable_fused(&levels[level_count]);
    levels[level_count].level = "portable, fused";
    fused = &levels[level_count++];
  }
}
// Whether a level promises the bits of the fused portable code. (On aarch64 plain portable code fuses as well.)
static bool same_bits_promised(const orion_kernels *level) {
  return fused && level != fused && strcmp(level->level, "portable") != 0;
}

// ---- memory that ends at an unreadable page ----

enum { CANARY = 64 };
typedef struct array {
  unsigned char *map, *data;
  size_t mapped, size;
} array;

static array array_make(size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + CANARY + page - 1) / page * page;
  array a = {.mapped = room + page, .size = size};
  void *map = mmap(NULL, a.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED || mprotect((char *)map + room, page, PROT_NONE)) {
    perror("mmap");
    exit(1);
  }
  a.map = map;
  a.data = a.map + room - size;
  memset(a.data - CANARY, 0xCA, CANARY);
  memset(a.data, 0xEE, size);
  return a;
}
static void array_free(const orion_kernels *level, array *a) {
  for (int i = 1; i <= CANARY; i++) {
    if (a->data[-i] == 0xCA) continue;
    CHECK(false, "canary %d bytes before an array of %zu was overwritten", i, a->size);
    break;
  }
  munmap(a->map, a->mapped);
}
static float *floats(const array *a) { return (float *)(void *)a->data; }
static uint16_t *halves(const array *a) { return (uint16_t *)(void *)a->data; }

static uint32_t noise_state = 1;
static uint32_t noise(void) {  // xorshift
  noise_state ^= noise_state << 13;
  noise_state ^= noise_state >> 17;
  return noise_state ^= noise_state << 5;
}
static float uniform(float lo, float hi) { return lo + (hi - lo) * (float)(noise() >> 8) * 0x1p-24f; }

static array random_floats(size_t n, float lo, float hi) {
  array a = array_make(n * 4);
  for (size_t i = 0; i < n; i++) floats(&a)[i] = uniform(lo, hi);
  return a;
}
// The same numbers as fp16 when half is asked for; `values` becomes what is stored.
static array stored(orion_kernel_type type, array *values) {
  size_t n = values->size / 4;
  array a = array_make(n * orion_kernel_type_size(type));
  for (size_t i = 0; i < n; i++) {
    if (type == ORION_KERNEL_F32) {
      floats(&a)[i] = floats(values)[i];
    } else {
      halves(&a)[i] = orion_float_to_half(floats(values)[i]);
      floats(values)[i] = orion_half_to_float(halves(&a)[i]);
    }
  }
  return a;
}

static bool same(float a, float b) { return orion_float_to_bits(a) == orion_float_to_bits(b) || (a != a && b != b); }
static void check_same_bits(const orion_kernels *level, const char *what, const float *got, const float *want, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (same(got[i], want[i])) continue;
    CHECK(false, "%s[%zu] of %zu: %a, the fused portable code gives %a", what, i, n, (double)got[i], (double)want[i]);
    return;
  }
}

static const size_t sizes[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 130, 1000, 4095, 4097, 9001};
enum { SIZES = sizeof sizes / sizeof *sizes, SIZE_MOST = 9001 };

// ---- elementwise ----

// What op means, in fp64; sums that MIL rounds before the function are rounded here too. Sets the tolerance in units of
// the last place of the result, and an absolute one.
static double map_meaning(orion_map_op op, float a, float b, float p, float q, double *ulps, double *absolute) {
  double x = (double)a, y = (double)b;
  *absolute = 0.0;
  *ulps = 0.5;
  switch (op) {
    case ORION_MAP_COPY: return x;
    case ORION_MAP_FILL: return (double)p;
    case ORION_MAP_ADD: return (double)(a + b);
    case ORION_MAP_SUB: return (double)(a - b);
    case ORION_MAP_MUL: return (double)(a * b);
    case ORION_MAP_DIV: return (double)(a / b);
    case ORION_MAP_MAX: return a != a || b != b ? NAN : fmax(x, y);
    case ORION_MAP_MIN: return a != a || b != b ? NAN : fmin(x, y);
    case ORION_MAP_MOD: { volatile float t = floorf(a / b) * b; return (double)(a - t); }
    case ORION_MAP_FLOOR_DIV: return (double)floorf(a / b);
    case ORION_MAP_PRELU: return (double)(a > 0 ? a : a * b);
    case ORION_MAP_EQUAL: return a == b;
    case ORION_MAP_NOT_EQUAL: return a != b;
    case ORION_MAP_LESS: return a < b;
    case ORION_MAP_LESS_EQUAL: return a <= b;
    case ORION_MAP_GREATER: return a > b;
    case ORION_MAP_GREATER_EQUAL: return a >= b;
    case ORION_MAP_LOGICAL_AND: return a != 0 && b != 0;
    case ORION_MAP_LOGICAL_OR: return a != 0 || b != 0;
    case ORION_MAP_LOGICAL_XOR: return (a != 0) != (b != 0);
    case ORION_MAP_LOGICAL_NOT: return a == 0;
    case ORION_MAP_MUL_ADD: *absolute = isinf(p * b) ? INFINITY : fabs((double)p * y) * 0x1p-23; return x + (double)p * y;
    case ORION_MAP_ADD_SCALAR: return (double)(a + p);
    case ORION_MAP_SUB_SCALAR: return (double)(a - p);
    case ORION_MAP_SCALAR_SUB: return (double)(p - a);
    case ORION_MAP_MUL_SCALAR: return (double)(a * p);
    case ORION_MAP_DIV_SCALAR: return (double)(a / p);
    case ORION_MAP_SCALAR_DIV: return (double)(p / a);
    case ORION_MAP_MAX_SCALAR: return a != a ? NAN : fmax(x, (double)p);
    case ORION_MAP_MIN_SCALAR: return a != a ? NAN : fmin(x, (double)p);
    case ORION_MAP_LINEAR: { volatile float t = a * p; return (double)(t + q); }
    case ORION_MAP_ABS: return fabs(x);
    case ORION_MAP_NEG: return -x;
    case ORION_MAP_SQUARE: return (double)(a * a);
    case ORION_MAP_SQRT: return (double)sqrtf(a);
    case ORION_MAP_RSQRT: *ulps = 1.5; return 1.0 / sqrt((double)(a + p));
    case ORION_MAP_INVERSE: return (double)(1.0f / (a + p));
    case ORION_MAP_CLIP: return a != a ? NAN : fmin((double)q, fmax((double)p, x));
    case ORION_MAP_SIGN: return a != a ? NAN : (a > 0) - (a < 0);
    case ORION_MAP_FLOOR: return floor(x);
    case ORION_MAP_CEIL: return ceil(x);
    case ORION_MAP_ROUND: return rint(x);
    case ORION_MAP_TRUNC: return trunc(x);
    case ORION_MAP_TO_HALF: return (double)orion_half_to_float(orion_float_to_half(a));
    case ORION_MAP_EXP: *ulps = 1.1; return exp(x);
    case ORION_MAP_EXP2: *ulps = 1.1; return exp2(x);
    case ORION_MAP_LOG: *ulps = 1.0; return log((double)(a + p));
    case ORION_MAP_SIN: *ulps = 2.0; return sin(x);
    case ORION_MAP_COS: *ulps = 2.0; return cos(x);
    case ORION_MAP_TANH: *ulps = 2.0; return tanh(x);
    case ORION_MAP_ERF: *ulps = 2.0; return erf(x);
    case ORION_MAP_SIGMOID: *ulps = 3.0; return 1.0 / (1.0 + exp(-x));
    case ORION_MAP_GELU: *absolute = fabs(x) * 0x1p-23; return 0.5 * x * (1.0 + erf(x * 0.70710678118654752440));
    case ORION_MAP_GELU_TANH: {  // the error of the exponential's argument grows with it
      double u = x * (1.5957691216057308 + 0.071354816272600248 * x * x);
      *ulps = 4.0 + 4.0 * fabs(u);
      *absolute = fabs(x) * 0x1p-149;
      return x / (1.0 + exp(-u));
    }
    case ORION_MAP_GELU_SIGMOID: *ulps = 4.0 + 2.0 * fabs(x); *absolute = fabs(x) * 0x1p-149; return x / (1.0 + exp(-1.702 * x));
    case ORION_MAP_SILU: *ulps = 4.0; *absolute = fabs(x) * 0x1p-149; return x / (1.0 + exp(-x));
    case ORION_MAP_RELU: return a < 0 ? 0.0 : x;
    case ORION_MAP_LEAKY_RELU: return (double)(a > 0 ? a : a * p);
    case ORION_MAP_THRESHOLDED_RELU: return a < p ? 0.0 : x;
    case ORION_MAP_ELU: *ulps = 4.0; return a > 0 ? x : (double)p * expm1(x);
    case ORION_MAP_SIGMOID_HARD: { volatile float t = a * p; t = t + q; return t < 0 ? 0.0 : t > 1 ? 1.0 : (double)t; }
    case ORION_MAP_SCALED_TANH: *ulps = 4.0; return (double)p * tanh((double)(q * a));
    case ORION_MAP_SOFTPLUS: *ulps = 3.0; return fmax(x, 0.0) + log1p(exp(-fabs(x)));
    case ORION_MAP_SOFTSIGN: *ulps = 1.5; return x / (1.0 + fabs(x));
    case ORION_MAP_POW: *ulps = 2.0; return pow(x, y);
    case ORION_MAP_POW_SCALAR: *ulps = 2.0; return pow(x, (double)p);
    case ORION_MAP_SCALAR_POW: *ulps = 2.0; return pow((double)p, x);
    case ORION_MAP_TAN: *ulps = 5.0; return tan(x);
    case ORION_MAP_ASIN: *ulps = 5.0; return asin(x);
    case ORION_MAP_ACOS: *ulps = 5.0; return acos(x);
    case ORION_MAP_ATAN: *ulps = 5.0; return atan(x);
    case ORION_MAP_SINH: *ulps = 5.0; return sinh(x);
    case ORION_MAP_COSH: *ulps = 5.0; return cosh(x);
    case ORION_MAP_ASINH: *ulps = 5.0; return asinh(x);
    case ORION_MAP_ACOSH: *ulps = 5.0; return acosh(x);
    case ORION_MAP_ATANH: *ulps = 5.0; return atanh(x);
    case ORION_MAP_COUNT: break;
  }
  return NAN;
}

static bool near(float got, double want, double ulps, double absolute) {
  if (absolute == INFINITY) return true;
  if (want != want) return got != got;
  if (got == (float)want) return true;
  if (isinf(got)) return fabs(want) > 0x1.fffffcp127 && (got > 0) == (want > 0);  // one unit below the largest
  if (!isfinite(want)) return false;
  int exponent = want == 0.0 ? -149 : ilogb(want) - 23;
  double unit = ldexp(1.0, exponent < -149 ? -149 : exponent);
  return fabs((double)got - want) <= ulps * unit + absolute;
}

static const float specials[] = {0.0f, -0.0f, 1.0f, -1.0f, 0.5f, -0.5f, 1.5f, 2.5f, -2.5f, INFINITY, -INFINITY, NAN, 0x1p-149f, -0x1p-149f,
                                 0x1p-126f, 0x1.fffffep127f, -0x1.fffffep127f, 88.72f, 88.73f, 89.5f, -87.4f, -103.9f, -104.5f, 127.9f,
                                 128.0f, -149.5f, 0.625f, -0.6249f, 0.9277f, 0.9276f, 4.0f, -4.1f, 65519.0f, 65520.0f, 8192.0f, 8193.0f,
                                 1e6f, -1e30f, 3.14159274f, 1.57079637f, 0x1p-25f, 5.9e-8f, 0.707106769f, 1.41421354f, 2.0f, 3.0f, -3.0f};
#ifdef TEST_PLAIN  // emulated, and slow
enum { WALK = 4000 };
#else
enum { WALK = 40000 };
#endif
enum { SPECIALS = sizeof specials / sizeof *specials };

// A signalling NaN is nobody's result; the C library treats it apart.
static float any_float(uint32_t bits) {
  float f = orion_bits_to_float(bits);
  return f != f ? NAN : f;
}

// Specials pairwise, then the whole range of bit patterns, then the ordinary range.
static void map_inputs(array *a, array *b) {
  size_t n = SPECIALS * SPECIALS + 2 * WALK, at = 0;
  *a = array_make(n * 4);
  *b = array_make(n * 4);
  for (size_t i = 0; i < SPECIALS; i++) {
    for (size_t j = 0; j < SPECIALS; j++, at++) floats(a)[at] = specials[i], floats(b)[at] = specials[j];
  }
  for (uint32_t i = 0; i < WALK; i++, at++) {
    floats(a)[at] = any_float(i * (UINT32_MAX / WALK) + noise() % 1000);
    floats(b)[at] = any_float(noise());
  }
  for (uint32_t i = 0; i < WALK; i++, at++) {
    float range = i % 3 == 0 ? 2.0f : i % 3 == 1 ? 12.0f : 110.0f;
    floats(a)[at] = uniform(-range, range);
    floats(b)[at] = uniform(-range, range);
  }
}

static void map_values(const orion_kernels *level) {
  array a, b;
  map_inputs(&a, &b);
  size_t n = a.size / 4;
  array out = array_make(a.size), want = array_make(a.size);
  static const float params[][2] = {{0.0f, 1.0f}, {0.25f, 0.75f}, {-2.0f, 3.0f}, {2.0f, 3.0f}, {0.5f, 1.0f}, {-0.5f, 1.0f}, {-1.0f, 0.5f},
                                    {3.0f, 6.0f}};
  for (int op = 0; op < ORION_MAP_COUNT; op++) {
    size_t sets = op == ORION_MAP_POW_SCALAR ? 8 : 3;
    for (size_t s = 0; s < sets; s++) {
      float p = params[s][0], q = params[s][1];
      level->map[op](floats(&out), floats(&a), floats(&b), n, p, q);
      for (size_t i = 0; i < n; i++) {
        double ulps, absolute, meant = map_meaning((orion_map_op)op, floats(&a)[i], floats(&b)[i], p, q, &ulps, &absolute);
        if (near(floats(&out)[i], meant, ulps, absolute)) continue;
        CHECK(false, "%s(%a, %a; %g, %g) = %a, should be %a", orion_map_name((orion_map_op)op), (double)floats(&a)[i],
              (double)floats(&b)[i], (double)p, (double)q, (double)floats(&out)[i], meant);
        break;
      }
      if (!same_bits_promised(level)) continue;
      fused->map[op](floats(&want), floats(&a), floats(&b), n, p, q);
      check_same_bits(level, orion_map_name((orion_map_op)op), floats(&out), floats(&want), n);
    }
  }
  array_free(level, &a);
  array_free(level, &b);
  array_free(level, &out);
  array_free(level, &want);
}

// Any length gives what the whole array gives, touches nothing else, and may run in place.
static void map_tails(const orion_kernels *level) {
  array a = random_floats(SIZE_MOST, -3.0f, 3.0f), b = random_floats(SIZE_MOST, -3.0f, 3.0f), whole = array_make(SIZE_MOST * 4);
  for (int op = 0; op < ORION_MAP_COUNT; op++) {
    level->map[op](floats(&whole), floats(&a), floats(&b), SIZE_MOST, 0.5f, 0.75f);
    for (size_t s = 0; s < SIZES - 3; s++) {
      size_t n = sizes[s];
      array x = array_make(n * 4), y = array_make(n * 4);
      memcpy(x.data, a.data, n * 4);
      memcpy(y.data, b.data, n * 4);
      int arity = orion_map_arity((orion_map_op)op);
      level->map[op](floats(&y), arity > 0 ? floats(&x) : NULL, arity > 1 ? floats(&y) : NULL, n, 0.5f, 0.75f);
      for (size_t i = 0; i < n; i++) {
        if (same(floats(&y)[i], floats(&whole)[i])) continue;
        CHECK(false, "%s of %zu differs at %zu", orion_map_name((orion_map_op)op), n, i);
        break;
      }
      array_free(level, &x);
      array_free(level, &y);
    }
  }
  for (size_t s = 0; s < SIZES; s++) {
    size_t n = sizes[s];
    array cond = random_floats(n, -1.0f, 1.0f), x = random_floats(n, -1.0f, 1.0f), y = random_floats(n, -1.0f, 1.0f);
    for (size_t i = 0; i < n; i++) floats(&cond)[i] = floats(&cond)[i] < 0 ? 0.0f : 1.0f;
    array out = array_make(n * 4);
    level->select(floats(&out), floats(&cond), floats(&x), floats(&y), n);
    for (size_t i = 0; i < n; i++)
      CHECK(same(floats(&out)[i], floats(&cond)[i] != 0 ? floats(&x)[i] : floats(&y)[i]), "select of %zu at %zu", n, i);
    array_free(level, &cond);
    array_free(level, &x);
    array_free(level, &y);
    array_free(level, &out);
  }
  array_free(level, &a);
  array_free(level, &b);
  array_free(level, &whole);
}

// ---- rows ----

static double reduce_meaning(int op, const float *x, size_t stride, size_t n, double *magnitude) {
  double r = op == ORION_REDUCE_PROD ? 1.0 : op == ORION_REDUCE_MAX ? -INFINITY : op == ORION_REDUCE_MIN ? INFINITY : 0.0;
  *magnitude = op == ORION_REDUCE_PROD ? 1.0 : 0.0;
  for (size_t i = 0; i < n; i++) {
    double v = (double)x[i * stride];
    switch (op) {
      case ORION_REDUCE_SUM: r += v, *magnitude += fabs(v); break;
      case ORION_REDUCE_SUM_SQUARE: r += v * v, *magnitude += v * v; break;
      case ORION_REDUCE_SUM_ABS: r += fabs(v), *magnitude += fabs(v); break;
      case ORION_REDUCE_PROD: r *= v, *magnitude = fabs(r) * (double)(i + 1); break;
      case ORION_REDUCE_MAX: r = v > r || v != v ? v : r; break;
      default: r = v < r || v != v ? v : r; break;
    }
  }
  return r;
}

static void reductions(const orion_kernels *level) {
  for (size_t s = 0; s < SIZES; s++) {
    size_t n = sizes[s];
    array x = random_floats(n, -1.0f, 1.0f), y = random_floats(n, -1.0f, 1.0f), z = array_make(n * 4);
    for (size_t i = 0; i < n; i++) floats(&z)[i] = 1.0f + floats(&x)[i] * 0.01f;
    for (int op = 0; op < ORION_REDUCE_COUNT; op++) {
      const float *in = floats(op == ORION_REDUCE_PROD ? &z : &x);
      double magnitude, want = reduce_meaning(op, in, 1, n, &magnitude);
      float got = level->reduce[op](in, n);
      CHECK((double)got == want || fabs((double)got - want) <= magnitude * 0x1p-21, "reduce %d of %zu: %.9g, should be %.9g", op, n,
            (double)got, want);
      if (same_bits_promised(level)) CHECK(same(got, fused->reduce[op](in, n)), "reduce %d of %zu: other bits", op, n);
    }
    double sum = 0.0, magnitude = 0.0;
    for (size_t i = 0; i < n; i++) {
      double v = (double)floats(&x)[i] * (double)floats(&y)[i];
      sum += v;
      magnitude += fabs(v);
    }
    float got = level->dot(floats(&x), floats(&y), n);
    CHECK(fabs((double)got - sum) <= magnitude * 0x1p-21, "dot of %zu", n);
    if (same_bits_promised(level)) CHECK(same(got, fused->dot(floats(&x), floats(&y), n)), "dot of %zu: other bits", n);
    if (n) {
      size_t place = noise() % n;
      floats(&x)[place] = 2.0f;
      CHECK(level->argmax(floats(&x), n) == place, "argmax of %zu", n);
      CHECK(level->reduce[ORION_REDUCE_MAX](floats(&x), n) == 2.0f, "max of %zu", n);
      floats(&x)[place] = NAN;
      CHECK(level->argmax(floats(&x), n) == place, "argmax of %zu finds NaN", n);
      float most = level->reduce[ORION_REDUCE_MAX](floats(&x), n), least = level->reduce[ORION_REDUCE_MIN](floats(&x), n);
      CHECK(most != most && least != least, "max and min of %zu keep NaN", n);
    }
    array_free(level, &x);
    array_free(level, &y);
    array_free(level, &z);
  }
}

static void reductions_down(const orion_kernels *level) {
  static const size_t widths[] = {1, 5, 16, 31, 64, 65, 100, 150};
  for (size_t w = 0; w < 8; w++) {
    for (size_t rows = 0; rows < 20; rows += rows < 3 ? 1 : 8) {
      size_t cols = widths[w], stride = cols + 3;
      array x = random_floats(rows ? (rows - 1) * stride + cols : 0, 0.5f, 1.5f), out = array_make(cols * 4), want = array_make(cols * 4);
      for (int op = 0; op < ORION_REDUCE_COUNT; op++) {
        level->reduce_rows[op](floats(&out), floats(&x), stride, rows, cols);
        for (size_t c = 0; c < cols; c++) {
          double magnitude, meant = reduce_meaning(op, floats(&x) + (rows ? c : 0), stride, rows, &magnitude);
          double got = (double)floats(&out)[c];
          CHECK(got == meant || fabs(got - meant) <= magnitude * 0x1p-21, "reduce_rows %d of %zu x %zu at %zu", op, rows, cols, c);
        }
        if (!same_bits_promised(level)) continue;
        fused->reduce_rows[op](floats(&want), floats(&x), stride, rows, cols);
        check_same_bits(level, "reduce_rows", floats(&out), floats(&want), cols);
      }
      array_free(level, &x);
      array_free(level, &out);
      array_free(level, &want);
    }
  }
}

static void softmax_rows(const orion_kernels *level) {
  for (size_t s = 1; s < SIZES; s++) {
    size_t n = sizes[s];
    array x = random_floats(n, -20.0f, 20.0f), out = array_make(n * 4), want = array_make(n * 4);
    if (n > 4) floats(&x)[2] = -INFINITY;
    double largest = -INFINITY, sum = 0.0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, (double)floats(&x)[i]);
    for (size_t i = 0; i < n; i++) sum += exp((double)floats(&x)[i] - largest);
    level->softmax(floats(&out), floats(&x), n);
    for (size_t i = 0; i < n; i++) {
      double meant = exp((double)floats(&x)[i] - largest) / sum;
      CHECK(fabs((double)floats(&out)[i] - meant) <= meant * 0x1p-18, "softmax of %zu at %zu", n, i);
    }
    if (same_bits_promised(level)) {
      fused->softmax(floats(&want), floats(&x), n);
      check_same_bits(level, "softmax", floats(&out), floats(&want), n);
    }
    level->softmax(floats(&x), floats(&x), n);
    CHECK(memcmp(x.data, out.data, n * 4) == 0, "softmax of %zu in place", n);
    array_free(level, &x);
    array_free(level, &out);
    array_free(level, &want);
  }
}

static void norms(const orion_kernels *level) {
  for (size_t s = 1; s < SIZES; s++) {
    for (int given = 0; given < 4; given++) {
      size_t n = sizes[s];
      array x = random_floats(n, 4.0f, 9.0f), gamma = random_floats(n, -2.0f, 2.0f), beta = random_floats(n, -2.0f, 2.0f);
      array out = array_make(n * 4), want = array_make(n * 4);
      const float *g = given & 1 ? floats(&gamma) : NULL, *b = given & 2 ? floats(&beta) : NULL;
      double mean = 0.0, square = 0.0, variance = 0.0;
      for (size_t i = 0; i < n; i++) mean += (double)floats(&x)[i] / (double)n;
      for (size_t i = 0; i < n; i++) {
        double v = (double)floats(&x)[i];
        square += v * v / (double)n;
        variance += (v - mean) * (v - mean) / (double)n;
      }
      level->layer_norm(floats(&out), floats(&x), g, b, 1e-3f, n);
      for (size_t i = 0; i < n; i++) {
        double meant = ((double)floats(&x)[i] - mean) / sqrt(variance + 1e-3) * (g ? (double)g[i] : 1.0) + (b ? (double)b[i] : 0.0);
        CHECK(fabs((double)floats(&out)[i] - meant) < 1e-4, "layer_norm of %zu at %zu: %.9g, should be %.9g", n, i,
              (double)floats(&out)[i], meant);
      }
      if (same_bits_promised(level)) {
        fused->layer_norm(floats(&want), floats(&x), g, b, 1e-3f, n);
        check_same_bits(level, "layer_norm", floats(&out), floats(&want), n);
      }
      level->rms_norm(floats(&out), floats(&x), g, 1e-3f, n);
      for (size_t i = 0; i < n; i++) {
        double meant = (double)floats(&x)[i] / sqrt(square + 1e-3) * (g ? (double)g[i] : 1.0);
        CHECK(fabs((double)floats(&out)[i] - meant) <= fabs(meant) * 1e-6, "rms_norm of %zu at %zu", n, i);
      }
      level->layer_norm(floats(&x), floats(&x), g, b, 1e-3f, n);  // in place
      if (same_bits_promised(level)) check_same_bits(level, "layer_norm in place", floats(&x), floats(&want), n);
      array_free(level, &x);
      array_free(level, &gamma);
      array_free(level, &beta);
      array_free(level, &out);
      array_free(level, &want);
    }
  }
}

// ---- conversions and copies ----

static void conversions(const orion_kernels *level) {
  array h = array_make(65536 * 2), f = array_make(65536 * 4), back = array_make(65536 * 2);
  for (uint32_t i = 0; i < 65536; i++) halves(&h)[i] = (uint16_t)i;
  level->half_to_float(floats(&f), halves(&h), 65536);
  for (uint32_t i = 0; i < 65536; i++) {
    CHECK(same(floats(&f)[i], orion_half_to_float((uint16_t)i)), "half_to_float of %04x", i);
  }
  level->float_to_half(halves(&back), floats(&f), 65536);
  for (uint32_t i = 0; i < 65536; i++) {
    CHECK(halves(&back)[i] == i || orion_half_to_float((uint16_t)i) != orion_half_to_float((uint16_t)i), "float_to_half of %04x", i);
  }
  level->bf16_to_float(floats(&f), halves(&h), 65536);
  for (uint32_t i = 0; i < 65536; i++) CHECK(same(floats(&f)[i], orion_bf16_to_float((uint16_t)i)), "bf16_to_float of %04x", i);
  array_free(level, &h);
  array_free(level, &f);
  array_free(level, &back);
  for (size_t s = 0; s < SIZES; s++) {  // every bit pattern's neighbourhood; ties; tails
    size_t n = sizes[s];
    array x = array_make(n * 4), y = array_make(n * 2), z = array_make(n * 4);
    for (size_t i = 0; i < n; i++) floats(&x)[i] = orion_bits_to_float(i % 2 ? noise() : (noise() & 0xbf7ff000u) + 0x1000u);
    level->float_to_half(halves(&y), floats(&x), n);
    for (size_t i = 0; i < n; i++) {
      uint16_t want = orion_float_to_half(floats(&x)[i]);
      CHECK(halves(&y)[i] == want || ((want & 0x7fff) > 0x7c00 && (halves(&y)[i] & 0x7fff) > 0x7c00), "float_to_half of %a: %04x, %04x",
            (double)floats(&x)[i], halves(&y)[i], want);
    }
    level->half_to_float(floats(&z), halves(&y), n);
    for (size_t i = 0; i < n; i++) CHECK(same(floats(&z)[i], orion_half_to_float(halves(&y)[i])), "half_to_float");
    int32_t *ints = (int32_t *)(void *)x.data;
    for (size_t i = 0; i < n; i++) ints[i] = (int32_t)noise();
    level->int_to_float(floats(&z), ints, n);
    for (size_t i = 0; i < n; i++) CHECK(floats(&z)[i] == (float)ints[i], "int_to_float of %d", ints[i]);
    for (size_t i = 0; i < n; i++) floats(&z)[i] = i < SPECIALS ? specials[i] : uniform(-1e3f, 1e3f);
    level->float_to_int(ints, floats(&z), n);
    for (size_t i = 0; i < n; i++) {
      double v = (double)floats(&z)[i];
      int32_t want = v != v ? 0 : v > 2147483647.0 ? INT32_MAX : v < -2147483648.0 ? INT32_MIN : (int32_t)v;
      CHECK(ints[i] == want, "float_to_int of %g", v);
    }
    array_free(level, &x);
    array_free(level, &y);
    array_free(level, &z);
  }
}

static void copies(const orion_kernels *level) {
  static const size_t shapes[][2] = {{0, 3}, {1, 1}, {1, 40}, {5, 7}, {16, 16}, {17, 33}, {70, 35}};
  for (size_t s = 0; s < 7; s++) {
    size_t rows = shapes[s][0], cols = shapes[s][1], ss = cols + 2, ds = rows + 1;
    size_t in = rows ? (rows - 1) * ss + cols : 0, out = rows ? (cols - 1) * ds + rows : 0;
    array x = random_floats(in, -1.0f, 1.0f), y = array_make(out * 4), h = stored(ORION_KERNEL_F16, &x), g = array_make(out * 2);
    level->transpose_f32(floats(&y), ds, floats(&x), ss, rows, cols);
    level->transpose_f16(halves(&g), ds, halves(&h), ss, rows, cols);
    for (size_t r = 0; r < rows; r++) {
      for (size_t c = 0; c < cols; c++) {
        CHECK(floats(&y)[c * ds + r] == floats(&x)[r * ss + c] && halves(&g)[c * ds + r] == halves(&h)[r * ss + c],
              "transpose of %zu x %zu at %zu, %zu", rows, cols, r, c);
      }
    }
    if (rows > 1 && cols > 0) CHECK(y.data[rows * 4] == 0xEE, "transpose writes between rows");
    array_free(level, &x);
    array_free(level, &y);
    array_free(level, &h);
    array_free(level, &g);
  }
  for (size_t n = 0; n < 20; n++) {
    array x = random_floats(n ? (n - 1) * 3 + 1 : 0, -1.0f, 1.0f), y = array_make(n ? ((n - 1) * 2 + 1) * 4 : 0);
    level->copy_f32(floats(&y), 2, floats(&x), 3, n);
    for (size_t i = 0; i < n; i++) CHECK(floats(&y)[i * 2] == floats(&x)[i * 3], "copy_f32");
    array h = stored(ORION_KERNEL_F16, &x), g = array_make(n ? ((n - 1) * 2 + 1) * 2 : 0);
    level->copy_f16(halves(&g), 2, halves(&h), 3, n);
    for (size_t i = 0; i < n; i++) CHECK(halves(&g)[i * 2] == halves(&h)[i * 3], "copy_f16");
    array_free(level, &x);
    array_free(level, &y);
    array_free(level, &h);
    array_free(level, &g);
  }
}

// ---- products ----

// Packs in the pieces a lazy source would give, from [N,K] or [K,N], and reads rows back.
static array packed(const orion_kernels *level, orion_kernel_type type, const array *values, size_t N, size_t K, bool transposed) {
  array p = array_make(orion_panels_size(type, N, K));
  array source = array_make(N * K * 4);
  for (size_t n = 0; n < N; n++) {
    for (size_t k = 0; k < K; k++) floats(&source)[transposed ? k * N + n : n * K + k] = floats(values)[n * K + k];
  }
  size_t row = transposed ? 1 : K, col = transposed ? N : 1, cut = N / 3 + 1, half = K / 2;
  for (size_t r = 0; r < N; r += cut) {
    for (int side = 0; side < 2; side++) {
      size_t c0 = side ? half : 0, c1 = side ? K : half, r1 = r + cut < N ? r + cut : N;
      level->pack(p.data, type, N, K, floats(&source) + r * row + c0 * col, ORION_KERNEL_F32, row, col, r, r1, c0, c1);
    }
  }
  orion_panels w = {.data = p.data, .type = type, .rows = N, .cols = K};
  array got = array_make(K * 4);
  for (size_t n = 0; n < N; n += 5) {
    level->unpack_row(floats(&got), &w, n);
    CHECK(memcmp(got.data, floats(values) + n * K, K * 4) == 0, "row %zu of %zu x %zu does not come back", n, N, K);
  }
  for (size_t k = 0; N % 16 && k < K; k++) {
    size_t at = ((N / 16) * K + k) * 16 + 15;
    CHECK((type == ORION_KERNEL_F32 ? floats(&p)[at] : orion_half_to_float(halves(&p)[at])) == 0.0f, "padding is not zero");
  }
  array_free(level, &got);
  array_free(level, &source);
  return p;
}

// Rows packed into strips, in pieces of rows and panels: y to the bit, and no byte beside it.
static void same_by_strips(const orion_kernels *level, const array *x, size_t xs, size_t T, const orion_panels *w, const float *bias,
                           const array *y, size_t ys) {
  array strips = array_make(orion_strips_size(T, w->cols) * 4), scratch = array_make(ORION_STRIPS_SCRATCH), got = array_make(y->size);
  size_t count = orion_panel_count(w->rows), cuts[] = {0, T / 2 / ORION_STRIPS_UNIT * ORION_STRIPS_UNIT, T}, middle = count / 2;
  for (int i = 1; i >= 0; i--) level->pack_rows(floats(&strips), floats(x), xs, T, w, cuts[i], cuts[i + 1]);
  for (int i = 0; i < 4; i++) {
    size_t t0 = cuts[i / 2], t1 = cuts[i / 2 + 1], p0 = i % 2 ? middle : 0, p1 = i % 2 ? count : middle;
    level->linear_strips(floats(&got) + t0 * ys, ys, floats(&strips), T, t0, t1, w, bias, p0, p1, scratch.data);
  }
  CHECK(memcmp(got.data, y->data, y->size) == 0, "strips of T %zu N %zu K %zu type %d group %zu: other bits", T, w->rows, w->cols, w->type,
        w->group);
  array *all[] = {&strips, &scratch, &got};
  for (size_t i = 0; i < 3; i++) array_free(level, all[i]);
}

static void linear_one(const orion_kernels *level, orion_kernel_type type, size_t T, size_t N, size_t K) {
  size_t xs = K + 3, ys = N + 5;
  array x = random_floats((T - 1) * xs + K, -1.0f, 1.0f), values = random_floats(N * K, -1.0f, 1.0f), bias = random_floats(N, -1.0f, 1.0f);
  array exact = stored(type, &values), w = packed(level, type, &values, N, K, (T + N) % 2);
  array y = array_make(((T - 1) * ys + N) * 4), one = array_make(N * 4), want = array_make(y.size);
  orion_panels panels = {.data = w.data, .type = type, .rows = N, .cols = K};
  const float *b = K % 2 ? floats(&bias) : NULL;
  size_t count = orion_panel_count(N), middle = count / 2;
  level->linear(floats(&y), ys, floats(&x), xs, T, &panels, b, middle, count);
  level->linear(floats(&y), ys, floats(&x), xs, T, &panels, b, 0, middle);
  for (size_t t = 0; t < T; t++) {
    for (size_t n = 0; n < N; n++) {
      double sum = 0.0, magnitude = 0.0;
      for (size_t k = 0; k < K; k++) {
        double v = (double)floats(&x)[t * xs + k] * (double)floats(&values)[n * K + k];
        sum += v;
        magnitude += fabs(v);
      }
      if (b) sum += (double)b[n], magnitude += 1.0;
      double got = (double)floats(&y)[t * ys + n];
      CHECK(fabs(got - sum) <= magnitude * 0x1p-20, "linear T %zu N %zu K %zu type %d at %zu, %zu: %.9g, should be %.9g", T, N, K, type, t,
            n, got, sum);
    }
    if (t + 1 < T) CHECK(*(y.data + (t * ys + N) * 4) == 0xEE, "linear writes between rows");
  }
  same_by_strips(level, &x, xs, T, &panels, b, &y, ys);
  level->linear(floats(&one), N, floats(&x) + (T - 1) * xs, xs, 1, &panels, b, 0, count);
  CHECK(memcmp(one.data, floats(&y) + (T - 1) * ys, N * 4) == 0, "linear T %zu N %zu K %zu: a row depends on the others", T, N, K);
  if (same_bits_promised(level)) {
    memset(want.data, 0xEE, want.size);
    fused->linear(floats(&want), ys, floats(&x), xs, T, &panels, b, 0, count);
    CHECK(memcmp(want.data, y.data, y.size) == 0, "linear T %zu N %zu K %zu type %d: other bits", T, N, K, type);
  }
  array *all[] = {&x, &values, &bias, &exact, &w, &y, &one, &want};
  for (size_t i = 0; i < 8; i++) array_free(level, all[i]);
}

static void linears(const orion_kernels *level) {
  static const size_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 24, 25, 29, 200}, widths[] = {1, 15, 16, 17, 48, 100};
  static const size_t depths[] = {1, 2, 31, 64, 255, 256, 257, 600};
  for (size_t t = 0; t < 17; t++) {
    for (size_t n = rows[t] > 30 ? 4 : 0; n < 6; n++) {
      for (int type = ORION_KERNEL_F32; type <= ORION_KERNEL_F16; type++) {
        for (size_t k = (t + n) % 2; k < 8; k += rows[t] > 30 ? 4 : 2)
          linear_one(level, (orion_kernel_type)type, rows[t], widths[n], depths[k]);
      }
    }
  }
}

// Integers with scales, [N,K] in groups. Every row alone must give the bits it has among T, whichever way those are done.
static void quantised_one(const orion_kernels *level, orion_kernel_type type, size_t group, size_t T, size_t N, size_t K) {
  size_t xs = K + 3, ys = N + 5, groups = K / group, count = orion_panel_count(N), middle = count / 2;
  array x = random_floats((T - 1) * xs + K, -1.0f, 1.0f), bias = random_floats(N, -1.0f, 1.0f);
  array q = array_make(N * K), scale = array_make(N * groups * 2);
  array data = array_make(count * orion_quantised_panel_bytes(type, K, group));
  array packed_scale = array_make(orion_panel_scales(N, K, group) * 2);
  array y = array_make(((T - 1) * ys + N) * 4), one = array_make(N * 4), want = array_make(y.size);
  int range = type == ORION_KERNEL_I8 ? 256 : 16;
  for (size_t i = 0; i < N * K; i++) q.data[i] = (unsigned char)((int)(noise() % (uint32_t)range) - range / 2);
  for (size_t i = 0; i < N * groups; i++) halves(&scale)[i] = orion_float_to_half(uniform(0.001f, 0.01f));
  orion_panels w = {data.data, type, N, K, halves(&packed_scale), group};
  size_t cut = N > 32 ? 32 : 0;
  orion_panels_pack_quantised(&w, (const int8_t *)q.data + cut * K, halves(&scale) + cut * groups, cut, N);
  if (cut) orion_panels_pack_quantised(&w, (const int8_t *)q.data, halves(&scale), 0, cut);
  const float *b = K % 2 ? floats(&bias) : NULL;
  level->linear(floats(&y), ys, floats(&x), xs, T, &w, b, middle, count);
  level->linear(floats(&y), ys, floats(&x), xs, T, &w, b, 0, middle);
  for (size_t t = 0; t < T; t++) {
    for (size_t n = 0; n < N; n++) {
      double sum = b ? (double)b[n] : 0.0, magnitude = b ? 1.0 : 0.0;
      for (size_t k = 0; k < K; k++) {
        double s = (double)orion_half_to_float(halves(&scale)[n * groups + k / group]);
        double v = (double)floats(&x)[t * xs + k] * (double)((const int8_t *)q.data)[n * K + k] * s;
        sum += v;
        magnitude += fabs(v);
      }
      double got = (double)floats(&y)[t * ys + n];
      CHECK(fabs(got - sum) <= magnitude * 0x1p-20, "int%d T %zu N %zu K %zu group %zu at %zu, %zu: %.9g, should be %.9g",
            type == ORION_KERNEL_I8 ? 8 : 4, T, N, K, group, t, n, got, sum);
    }
    if (t + 1 < T) CHECK(*(y.data + (t * ys + N) * 4) == 0xEE, "linear writes between rows");
    level->linear(floats(&one), N, floats(&x) + t * xs, xs, 1, &w, b, 0, count);
    CHECK(memcmp(one.data, floats(&y) + t * ys, N * 4) == 0, "quantised T %zu N %zu K %zu: row %zu depends on the others", T, N,
          K, t);
  }
  same_by_strips(level, &x, xs, T, &w, b, &y, ys);
  if (same_bits_promised(level)) {
    memset(want.data, 0xEE, want.size);
    fused->linear(floats(&want), ys, floats(&x), xs, T, &w, b, 0, count);
    CHECK(memcmp(want.data, y.data, y.size) == 0, "quantised T %zu N %zu K %zu group %zu: other bits", T, N, K, group);
  }
  array *all[] = {&x, &bias, &q, &scale, &data, &packed_scale, &y, &one, &want};
  for (size_t i = 0; i < 9; i++) array_free(level, all[i]);
}

static void quantised(const orion_kernels *level) {
  static const size_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 29, 200}, widths[] = {1, 15, 16, 17, 48, 100};
  static const size_t depths[][2] = {{1, 1}, {31, 31}, {64, 32}, {86, 43}, {96, 16}, {257, 257}, {600, 600}, {512, 256}, {600, 60}};
  for (size_t t = 0; t < 12; t++) {
    for (size_t n = rows[t] > 30 ? 5 : t % 2; n < 6; n += 2) {
      for (size_t k = 0; k < 9; k += rows[t] > 30 ? 2 : 1) {
        quantised_one(level, ORION_KERNEL_I8, depths[k][1], rows[t], widths[n], depths[k][0]);
        quantised_one(level, ORION_KERNEL_I4, depths[k][1], rows[t], widths[n], depths[k][0]);
      }
    }
  }
}

#include "rounded_rows.h"

// C and what it should be, whole and cut in four; flip: A, B transposed.
static void matmul_one(const orion_kernels *level, size_t M, size_t N, size_t K, int flip, bool add) {
  array a = random_floats(M * K, -1.0f, 1.0f), b = random_floats(K * N, -1.0f, 1.0f);
  array c = random_floats((M - 1) * (N + 2) + N, -1.0f, 1.0f);
  array before = array_make(c.size), want = array_make(c.size), scratch = array_make(ORION_MATMUL_SCRATCH);
  orion_matrix A = {floats(&a), flip & 1 ? 1 : K, flip & 1 ? M : 1}, B = {floats(&b), flip & 2 ? 1 : N, flip & 2 ? K : 1};
  memcpy(before.data, c.data, c.size);
  memcpy(want.data, c.data, c.size);
  level->matmul(floats(&c), N + 2, A, B, M, N, K, add, scratch.data);
  for (size_t i = 0; i < M; i++) {
    for (size_t j = 0; j < N + 2 && i * (N + 2) + j < c.size / 4; j++) {
      double old = (double)floats(&before)[i * (N + 2) + j], got = (double)floats(&c)[i * (N + 2) + j], sum = add ? old : 0.0;
      if (j >= N) {
        CHECK(got == old, "matmul %zu x %zu x %zu writes between rows", M, N, K);
        continue;
      }
      for (size_t k = 0; k < K; k++) sum += (double)A.data[i * A.row + k * A.col] * (double)B.data[k * B.row + j * B.col];
      CHECK(fabs(got - sum) <= (double)(K + 1) * 0x1p-21, "matmul %zu x %zu x %zu, flip %d, add %d, at %zu, %zu", M, N, K, flip,
            add, i, j);
    }
  }
  if (same_bits_promised(level)) {
    fused->matmul(floats(&want), N + 2, A, B, M, N, K, add, scratch.data);
    CHECK(memcmp(want.data, c.data, c.size) == 0, "matmul %zu x %zu x %zu, flip %d, add %d: other bits", M, N, K, flip, add);
  }
  memcpy(want.data, before.data, c.size);  // cut in two each way
  size_t m = M / 2, n = N / 3 * 2;
  bool few = m < 4 || M - m < 4;  // few rows along K are dot products, in another order
  for (int part = 0; part < 4; part++) {
    size_t i = part & 1 ? m : 0, j = part & 2 ? n : 0, rows = part & 1 ? M - m : m, cols = part & 2 ? N - n : n;
    orion_matrix left = {A.data + i * A.row, A.row, A.col}, right = {B.data + j * B.col, B.row, B.col};
    if (rows && cols) level->matmul(floats(&want) + i * (N + 2) + j, N + 2, left, right, rows, cols, K, add, scratch.data);
  }
  CHECK(few || memcmp(want.data, c.data, c.size) == 0, "matmul %zu x %zu x %zu, flip %d, add %d: bits depend on the cut", M, N,
        K, flip, add);
  array *all[] = {&a, &b, &c, &before, &want, &scratch};
  for (size_t i = 0; i < 6; i++) array_free(level, all[i]);
}

static void matmuls(const orion_kernels *level) {
  static const size_t shapes[][3] = {{1, 1, 1},     {1, 40, 70},   {3, 17, 64},  {4, 16, 5},    {5, 33, 300},    {13, 64, 257},
                                     {40, 20, 64},  {200, 18, 20}, {2, 3, 0},    {30, 16, 512}, {197, 530, 260}, {25, 513, 16},
                                     {270, 800, 20}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    for (int flip = 0; flip < 8; flip++) matmul_one(level, shapes[s][0], shapes[s][1], shapes[s][2], flip & 3, flip & 4);
  }
}

// ---- attention ----

typedef struct attention_case { size_t L, E, Ev, S1, S2; int mask; } attention_case;  // mask: none, causal, random shared
static const attention_case attention_cases[] = {
  {1, 64, 64, 1, 0, 0},    {1, 64, 64, 200, 1, 0}, {1, 20, 24, 65, 3, 2},     {2, 8, 8, 64, 0, 2},     {3, 33, 17, 100, 3, 1},
  {4, 64, 64, 0, 4, 1},    {7, 48, 40, 128, 7, 1}, {13, 130, 70, 64, 13, 1},  {64, 64, 64, 0, 64, 1},  {100, 64, 80, 30, 100, 1},
  {150, 16, 16, 0, 150, 1}, {5, 1, 1, 3, 2, 0},    {1, 64, 64, 1100, 1, 2}, {1, 64, 112, 511, 2, 0}, {2, 48, 48, 700, 2, 1},
  {3, 80, 40, 1023, 3, 1},  {9, 64, 64, 600, 9, 1},
};

static void attention_one(const orion_kernels *level, const attention_case *c, orion_kernel_type type) {
  size_t S = c->S1 + c->S2, ks = c->E + 2, vs = c->Ev + 1, qs = c->E + 3, os = c->Ev + 4, distinct = c->mask == 2 ? 1 : c->L;
  array q = random_floats((c->L - 1) * qs + c->E, -2.0f, 2.0f), out = array_make(((c->L - 1) * os + c->Ev) * 4);
  array want = array_make(out.size), kf = random_floats(S * ks, -2.0f, 2.0f), vf = random_floats(S * vs, -2.0f, 2.0f);
  array mask = random_floats(distinct * S, -3.0f, 0.0f);
  array k = stored(type, &kf), v = stored(type, &vf);
  for (size_t l = 0; c->mask == 1 && l < c->L; l++) {
    for (size_t s = 0; s < S; s++) floats(&mask)[l * S + s] = s <= c->S1 + l ? 0.0f : -INFINITY;
  }
  size_t size = orion_kernel_type_size(type), stride = c->mask == 2 ? 0 : S;
  const float *m1 = c->mask ? floats(&mask) : NULL, *m2 = c->mask ? floats(&mask) + c->S1 : NULL;
  orion_attention a = {.q = floats(&q), .q_stride = qs, .out = floats(&out), .out_stride = os, .rows = c->L, .key_size = c->E,
                       .value_size = c->Ev, .scale = 0.37f, .type = type,
                       .segment = {{k.data, v.data, ks, vs, c->S1, m1, stride},
                                   {k.data + c->S1 * ks * size, v.data + c->S1 * vs * size, ks, vs, c->S2, m2, stride}}};
  level->attention(&a);
  double weight[2048];
  for (size_t l = 0; l < c->L; l++) {
    double largest = -INFINITY, sum = 0.0;
    for (size_t s = 0; s < S; s++) {
      double score = 0.0;
      for (size_t e = 0; e < c->E; e++) score += (double)floats(&q)[l * qs + e] * (double)floats(&kf)[s * ks + e];
      weight[s] = score * (double)0.37f + (c->mask ? (double)floats(&mask)[l * stride + s] : 0.0);
      largest = fmax(largest, weight[s]);
    }
    for (size_t s = 0; s < S; s++) sum += weight[s] = exp(weight[s] - largest);
    for (size_t e = 0; e < c->Ev; e++) {
      double r = 0.0;
      for (size_t s = 0; s < S; s++) r += weight[s] * (double)floats(&vf)[s * vs + e];
      CHECK(fabs((double)floats(&out)[l * os + e] - r / sum) < 2e-5,
            "attention L %zu E %zu Ev %zu S %zu+%zu type %d at %zu, %zu: %g, should be %g",
            c->L, c->E, c->Ev, c->S1, c->S2, type, l, e, (double)floats(&out)[l * os + e], r / sum);
    }
    if (l + 1 < c->L) CHECK(*(out.data + (l * os + c->Ev) * 4) == 0xEE, "attention writes between rows");
  }
  if (same_bits_promised(level)) {
    memset(want.data, 0xEE, want.size);
    a.out = floats(&want);
    fused->attention(&a);
    CHECK(memcmp(want.data, out.data, out.size) == 0, "attention L %zu E %zu S %zu+%zu: other bits", c->L, c->E, c->S1, c->S2);
  }
  array *all[] = {&q, &out, &want, &kf, &vf, &mask, &k, &v};
  for (size_t i = 0; i < 8; i++) array_free(level, all[i]);
}

// A row's bits do not depend on the rows that go with it, on the keys that it does not see, nor on where the segments part.
static void attention_few(const orion_kernels *level, orion_kernel_type type, size_t rows, size_t past, size_t size) {
  const size_t keys = past + rows, bytes = orion_kernel_type_size(type);
  array q = random_floats(rows * size, -2.0f, 2.0f), kf = random_floats(keys * size, -2.0f, 2.0f);
  array vf = random_floats(keys * size, -2.0f, 2.0f), k = stored(type, &kf), v = stored(type, &vf);
  array mask = random_floats(rows * keys, -3.0f, 0.0f), out = array_make(rows * size * 4), want = array_make(out.size);
  for (size_t r = 0; r < rows; r++) {
    for (size_t s = past + r + 1; s < keys; s++) floats(&mask)[r * keys + s] = r % 2 ? -INFINITY : -10000.0f;
    for (size_t s = 0; r && s <= past + r; s++) floats(&mask)[r * keys + s] = floats(&mask)[s];
  }
  orion_attention a = {.q = floats(&q), .q_stride = size, .out = floats(&out), .out_stride = size, .rows = rows, .key_size = size,
                       .value_size = size, .scale = 0.2f, .type = type,
                       .segment = {{k.data, v.data, size, size, past, floats(&mask), keys},
                                   {k.data + past * size * bytes, v.data + past * size * bytes, size, size, rows,
                                    floats(&mask) + past, keys}}};
  level->attention(&a);
  for (size_t r = 0; r < rows; r++) {
    const size_t seen = past + r + 1, first = r % 3 == 0 ? seen : r % 3 == 1 ? seen / 2 : 0;
    orion_attention one = a;
    one.rows = 1;
    one.q += r * size;
    one.out = floats(&want) + r * size;
    one.segment[0].count = first;
    one.segment[1] = (orion_attention_segment){k.data + first * size * bytes, v.data + first * size * bytes, size, size, seen - first,
                                               floats(&mask) + r * keys + first, keys};
    one.segment[0].mask += r * keys;
    level->attention(&one);
  }
  CHECK(memcmp(out.data, want.data, out.size) == 0, "attention of %zu rows behind %zu keys of %zu: other bits than alone", rows, past,
        size);
  array *all[] = {&q, &kf, &vf, &k, &v, &mask, &out, &want};
  for (size_t i = 0; i < 8; i++) array_free(level, all[i]);
}

static void attentions(const orion_kernels *level) {
  for (int i = 0; i < 2; i++) {
    const orion_kernel_type type = i ? ORION_KERNEL_F16 : ORION_KERNEL_F32;
    attention_few(level, type, 1, 150, 64);
    attention_few(level, type, 8, 380, 64);
    attention_few(level, type, 7, 1021, 48);
    attention_few(level, type, 3, 125, 20);
    attention_few(level, type, ORION_ATTENTION_FEW, 500, 16);
  }
  for (size_t i = 0; i < sizeof attention_cases / sizeof *attention_cases; i++) {
    attention_one(level, &attention_cases[i], ORION_KERNEL_F32);
    attention_one(level, &attention_cases[i], ORION_KERNEL_F16);
  }
  float q[4] = {1, 1, 1, 1}, kv[8] = {1, 2, 3, 4, 5, 6, 7, 8}, mask[2] = {-INFINITY, -INFINITY}, out[4];
  orion_attention a = {.q = q, .q_stride = 4, .out = out, .out_stride = 4, .rows = 1, .key_size = 4,
                       .value_size = 4, .scale = 1.0f, .type = ORION_KERNEL_F32,
                       .segment = {{kv, kv, 4, 4, 2, mask, 0}}};
  level->attention(&a);
  CHECK(out[0] != out[0], "a row with every key masked is NaN");
  mask[1] = -1e30f;  // as good as masked, but the only one
  level->attention(&a);
  CHECK(out[0] == 5.0f && out[3] == 8.0f, "the least masked key wins");
}

#include "many_rows.h"

// Twice the rounds are twice the operations, and what they come to is a number.
static void ceilings(const orion_kernels *level) {
  float (*const multiply[])(size_t, double *) = {level->multiply_bf16, level->multiply_int8};
  for (int i = 0; i < 2; i++) {
    double once = 0, twice = 0;
    if (!multiply[i]) continue;
    float sum = multiply[i](1, &once);
    CHECK(sum == sum && once > 0, "ceiling %d: %g of %g operations", i, (double)sum, once);
    sum = multiply[i](2, &twice);
    CHECK(sum == sum && twice == 2 * once, "ceiling %d: %g of %g operations", i, (double)sum, twice);
  }
}

// ---- main ----

static const struct { const char *name; void (*run)(const orion_kernels *level); } tests[] = {
  {"elementwise values within their stated error", map_values},
  {"elementwise at every length, in place", map_tails},
  {"reductions of rows", reductions},
  {"reductions down the rows", reductions_down},
  {"softmax", softmax_rows},
  {"layer_norm and rms_norm", norms},
  {"conversions", conversions},
  {"transposes and strided copies", copies},
  {"linear over packed weights; rows do not depend on each other", linears},
  {"linear over quantised weights; rows do not depend on each other", quantised},
  {"linear over rounded rows: exact in integers, the same bits on every level", rounded},
  {"matmul with any operand transposed", matmuls},
  {"products of many rows by matrix instructions, where there are any", many_rows},
  {"attention", attentions},
  {"ceilings of instructions for bf16 and bytes, where there are any", ceilings},
};
enum { TESTS = sizeof tests / sizeof *tests };

#ifdef TEST_PLAIN
int main(int argc, char **argv) {  // [level [part of a test's name]]: all levels, all tests without
  int failed = 0, number = 0;
  find_levels();
  for (int l = 0; l < level_count; l++) {
    if (argc > 1 && strcmp(argv[1], levels[l].level) != 0) continue;
    for (int t = 0; t < TESTS; t++) {
      if (argc > 2 && !strstr(tests[t].name, argv[2])) continue;
      failures = 0;
      tests[t].run(&levels[l]);
      printf("%s %d - %s: %s\n", failures ? "not ok" : "ok", ++number, levels[l].level, tests[t].name);
      fflush(stdout);
      failed |= failures != 0;
    }
  }
  printf("1..%d\n", number);
  return failed || !number;
}
#else
#include <cmocka.h>

typedef struct test_case { int level, test; } test_case;

static void run_case(void **state) {
  const test_case *c = *state;
  failures = 0;
  tests[c->test].run(&levels[c->level]);
  assert_int_equal(failures, 0);
}

int main(void) {
  static test_case cases[LEVELS_MOST * TESTS];
  static struct CMUnitTest units[LEVELS_MOST * TESTS];
  static char names[LEVELS_MOST * TESTS][128];
  find_levels();
  for (int i = 0; i < level_count * TESTS; i++) {
    cases[i] = (test_case){i / TESTS, i % TESTS};
    snprintf(names[i], sizeof names[i], "%s: %s", levels[i / TESTS].level, tests[i % TESTS].name);
    units[i] = (struct CMUnitTest){names[i], run_case, NULL, NULL, &cases[i]};
  }
  return _cmocka_run_group_tests("kernels", units, (size_t)(level_count * TESTS), NULL, NULL);
}
#endif
