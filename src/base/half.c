// Bulk conversions between binary32 and the half formats: one portable loop and one with the machine's instructions, of
// the same bits (all round to nearest, ties to even, and keep a NaN's upper payload bits). Weights of hundreds of
// megabytes pass here, so the fast ones matter. Inputs need no alignment: they may lie anywhere in a mapped file.
#include "base/half.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

void orion_floats_to_half_portable(orion_half *out, const void *in, size_t n) {
  for (size_t i = 0; i < n; i++) {
    float x;
    memcpy(&x, (const char *)in + i * sizeof x, sizeof x);
    orion_half h = orion_float_to_half(x);
    memcpy((char *)out + i * sizeof h, &h, sizeof h);
  }
}

void orion_half_to_floats_portable(float *out, const void *in, size_t n) {
  for (size_t i = 0; i < n; i++) {
    orion_half h;
    memcpy(&h, (const char *)in + i * sizeof h, sizeof h);
    float x = orion_half_to_float(h);
    memcpy((char *)out + i * sizeof x, &x, sizeof x);
  }
}

#if defined(__x86_64__)

// Answered by the compiler's run-time library, which asked the processor at start. Older clangs cannot ask for F16C,
// but no processor has AVX2 and FMA without it.
static bool has_f16c(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

__attribute__((target("avx2,f16c"))) static void to_half_fast(orion_half *out, const void *in, size_t n) {
  const char *from = in;
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __m256 a = _mm256_loadu_ps((const float *)(from + i * 4)), b = _mm256_loadu_ps((const float *)(from + i * 4 + 32));
    _mm_storeu_si128((__m128i *)(out + i), _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(out + i + 8), _mm256_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT));
  }
  orion_floats_to_half_portable(out + i, from + i * 4, n - i);
}

__attribute__((target("avx2,f16c"))) static void to_float_fast(float *out, const void *in, size_t n) {
  const char *from = in;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i * 2))));
  }
  orion_half_to_floats_portable(out + i, from + i * 2, n - i);
}

#elif defined(__aarch64__)

static bool has_f16c(void) { return true; }

static void to_half_fast(orion_half *out, const void *in, size_t n) {
  const uint8_t *from = in;
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    float32x4_t x = vreinterpretq_f32_u8(vld1q_u8(from + i * 4));
    vst1_u8((uint8_t *)(out + i), vreinterpret_u8_f16(vcvt_f16_f32(x)));
  }
  orion_floats_to_half_portable(out + i, from + i * 4, n - i);
}

static void to_float_fast(float *out, const void *in, size_t n) {
  const uint8_t *from = in;
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    vst1q_u8((uint8_t *)(out + i), vreinterpretq_u8_f32(vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(from + i * 2)))));
  }
  orion_half_to_floats_portable(out + i, from + i * 2, n - i);
}

#else

static bool has_f16c(void) { return false; }
#define to_half_fast orion_floats_to_half_portable
#define to_float_fast orion_half_to_floats_portable

#endif

void orion_floats_to_half(orion_half *out, const void *in, size_t n) {
  if (has_f16c()) {
    to_half_fast(out, in, n);
  } else {
    orion_floats_to_half_portable(out, in, n);
  }
}

void orion_half_to_floats(float *out, const void *in, size_t n) {
  if (has_f16c()) {
    to_float_fast(out, in, n);
  } else {
    orion_half_to_floats_portable(out, in, n);
  }
}

// Compilers vectorise both of these.
void orion_floats_to_bf16(orion_bf16 *out, const void *in, size_t n) {
  for (size_t i = 0; i < n; i++) {
    float x;
    memcpy(&x, (const char *)in + i * sizeof x, sizeof x);
    out[i] = orion_float_to_bf16(x);
  }
}

void orion_bf16_to_floats(float *out, const void *in, size_t n) {
  for (size_t i = 0; i < n; i++) {
    orion_bf16 b;
    memcpy(&b, (const char *)in + i * sizeof b, sizeof b);
    out[i] = orion_bf16_to_float(b);
  }
}
