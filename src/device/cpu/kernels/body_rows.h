// Reductions and row normalisations of one level. Sums keep 64 partial sums (four vectors of lanes) over blocks of 4096
// elements and add the blocks' sums up, so that the error grows with the square root of a small count, in an order that
// depends on n alone. Include after body_map.h.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_ROWS_H
#define ORION_DEVICE_CPU_KERNELS_BODY_ROWS_H

enum { SUM_BLOCK = 4096 };

// What a sum adds up, of x, y and one scalar. Lanes past the end are cleared after the term is made.
INLINE v16 term_value(v16 x, v16 y, v16 s) { return x; }
INLINE v16 term_square(v16 x, v16 y, v16 s) { return v16_mul(x, x); }
INLINE v16 term_abs(v16 x, v16 y, v16 s) { return v16_abs(x); }
INLINE v16 term_deviation(v16 x, v16 y, v16 mean) {
  v16 d = v16_sub(x, mean);
  return v16_mul(d, d);
}
typedef v16 term_fn(v16 x, v16 y, v16 s);

INLINE v16 keep_first(v16 x, size_t n) {
  float r[16];
  v16_store(r, x);
  return v16_load_n(r, n);
}

INLINE float sum_terms(term_fn *term, const float *x, const float *y, float scalar, size_t n) {
  const v16 s = v16_set(scalar);
  v16 total = v16_zero();
  for (size_t start = 0; start < n; start += SUM_BLOCK) {
    size_t end = n - start < SUM_BLOCK ? n : start + SUM_BLOCK, i = start;
    v16 s0 = v16_zero(), s1 = s0, s2 = s0, s3 = s0;
    for (; i + 64 <= end; i += 64) {
      s0 = v16_add(s0, term(v16_load(x + i), v16_load(y + i), s));
      s1 = v16_add(s1, term(v16_load(x + i + 16), v16_load(y + i + 16), s));
      s2 = v16_add(s2, term(v16_load(x + i + 32), v16_load(y + i + 32), s));
      s3 = v16_add(s3, term(v16_load(x + i + 48), v16_load(y + i + 48), s));
    }
    for (; i + 16 <= end; i += 16) s0 = v16_add(s0, term(v16_load(x + i), v16_load(y + i), s));
    if (i < end) {
      v16 t = term(v16_load_n(x + i, end - i), v16_load_n(y + i, end - i), s);
      s1 = v16_add(s1, keep_first(t, end - i));
    }
    total = v16_add(total, v16_add(v16_add(s0, s2), v16_add(s1, s3)));
  }
  return v16_sum(total);
}

static float reduce_sum(const float *x, size_t n) { return sum_terms(term_value, x, x, 0.0f, n); }
static float reduce_sum_square(const float *x, size_t n) { return sum_terms(term_square, x, x, 0.0f, n); }
static float reduce_sum_abs(const float *x, size_t n) { return sum_terms(term_abs, x, x, 0.0f, n); }

// The same tree of four chains for products that fuse.
static float dot(const float *a, const float *b, size_t n) {
  v16 total = v16_zero();
  for (size_t start = 0; start < n; start += SUM_BLOCK) {
    size_t end = n - start < SUM_BLOCK ? n : start + SUM_BLOCK, i = start;
    v16 s0 = v16_zero(), s1 = s0, s2 = s0, s3 = s0;
    for (; i + 64 <= end; i += 64) {
      s0 = v16_fma(v16_load(a + i), v16_load(b + i), s0);
      s1 = v16_fma(v16_load(a + i + 16), v16_load(b + i + 16), s1);
      s2 = v16_fma(v16_load(a + i + 32), v16_load(b + i + 32), s2);
      s3 = v16_fma(v16_load(a + i + 48), v16_load(b + i + 48), s3);
    }
    for (; i + 16 <= end; i += 16) s0 = v16_fma(v16_load(a + i), v16_load(b + i), s0);
    if (i < end) s1 = v16_fma(v16_load_n(a + i, end - i), v16_load_n(b + i, end - i), s1);
    total = v16_add(total, v16_add(v16_add(s0, s2), v16_add(s1, s3)));
  }
  return v16_sum(total);
}

// Order does not matter to max and min, nor does repeating an element: the last vector may overlap the one before.
#define REDUCE_PICK(name, pick, identity)                                            \
  INLINE float pick_##name(v16 r) {                                                  \
    r = pick(v16_across(r, 8), r);                                                   \
    r = pick(v16_across(r, 4), r);                                                   \
    r = pick(v16_across(r, 2), r);                                                   \
    return v16_first(pick(v16_across(r, 1), r));                                     \
  }                                                                                  \
  static float reduce_##name(const float *x, size_t n) {                             \
    v16 r = v16_set(identity);                                                       \
    size_t i = 0;                                                                    \
    for (; i + 16 <= n; i += 16) r = pick(v16_load(x + i), r);                       \
    if (i < n) {                                                                     \
      float lanes[16];                                                               \
      v16_store(lanes, v16_set(identity));                                           \
      v16_store_n(lanes, v16_load_n(x + i, n - i), n - i);                           \
      r = pick(v16_load(lanes), r);                                                  \
    }                                                                                \
    return pick_##name(r);                                                           \
  }
REDUCE_PICK(max, max_or_nan, -INFINITY)
REDUCE_PICK(min, min_or_nan, INFINITY)
REDUCE_PICK(prod, v16_mul, 1.0f)
#undef REDUCE_PICK

// Down the rows, sixteen columns at a time; one chain per column, top to bottom.
#define REDUCE_ROWS(name, first, step)                                                                      \
  static void reduce_rows_##name(float *dst, const float *x, size_t stride, size_t rows, size_t cols) {     \
    size_t c = 0;                                                                                           \
    for (; c + 64 <= cols; c += 64) {                                                                       \
      v16 r0 = v16_set(first), r1 = r0, r2 = r0, r3 = r0;                                                   \
      for (size_t i = 0; i < rows; i++) {                                                                   \
        const float *row = x + i * stride + c;                                                              \
        r0 = step(v16_load(row), r0);                                                                       \
        r1 = step(v16_load(row + 16), r1);                                                                  \
        r2 = step(v16_load(row + 32), r2);                                                                  \
        r3 = step(v16_load(row + 48), r3);                                                                  \
      }                                                                                                     \
      v16_store(dst + c, r0);                                                                               \
      v16_store(dst + c + 16, r1);                                                                          \
      v16_store(dst + c + 32, r2);                                                                          \
      v16_store(dst + c + 48, r3);                                                                          \
    }                                                                                                       \
    for (; c < cols; c += 16) {                                                                             \
      size_t m = cols - c < 16 ? cols - c : 16;                                                             \
      v16 r = v16_set(first);                                                                               \
      for (size_t i = 0; i < rows; i++) {                                                                   \
        const float *row = x + i * stride + c;                                                              \
        r = step(m < 16 ? v16_load_n(row, m) : v16_load(row), r);                                           \
      }                                                                                                     \
      if (m < 16) v16_store_n(dst + c, r, m);                                                               \
      else v16_store(dst + c, r);                                                                           \
    }                                                                                                       \
  }
INLINE v16 step_sum(v16 x, v16 r) { return v16_add(r, x); }
INLINE v16 step_sum_square(v16 x, v16 r) { return v16_fma(x, x, r); }
INLINE v16 step_sum_abs(v16 x, v16 r) { return v16_add(r, v16_abs(x)); }
INLINE v16 step_prod(v16 x, v16 r) { return v16_mul(r, x); }
REDUCE_ROWS(sum, 0.0f, step_sum)
REDUCE_ROWS(sum_square, 0.0f, step_sum_square)
REDUCE_ROWS(sum_abs, 0.0f, step_sum_abs)
REDUCE_ROWS(prod, 1.0f, step_prod)
REDUCE_ROWS(max, -INFINITY, max_or_nan)
REDUCE_ROWS(min, INFINITY, min_or_nan)
#undef REDUCE_ROWS

// The largest value first (vectors), then its first place (early exit).
static size_t argmax(const float *x, size_t n) {
  float largest = reduce_max(x, n);
  for (size_t i = 0; i < n; i++) {
    if (x[i] == largest || x[i] != x[i]) return i;
  }
  return 0;
}

// dst = exp(x - shift), and the sum.
static float exp_and_sum(float *dst, const float *x, float shift, size_t n) {
  const v16 s = v16_set(shift);
  v16 sum = v16_zero();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    v16 e = v16_exp(v16_sub(v16_load(x + i), s));
    v16_store(dst + i, e);
    sum = v16_add(sum, e);
  }
  if (i < n) {
    v16 e = v16_exp(v16_sub(v16_load_n(x + i, n - i), s));
    v16_store_n(dst + i, e, n - i);
    sum = v16_add(sum, keep_first(e, n - i));
  }
  return v16_sum(sum);
}

static void row_softmax(float *dst, const float *x, size_t n) {
  float sum = exp_and_sum(dst, x, reduce_max(x, n), n);
  map_div_scalar(dst, dst, NULL, n, sum, 0.0f);
}

// dst = (x - mean) * scale * gamma + beta, one pass; gamma and beta where they are.
INLINE v16 normalise(v16 x, v16 mean, v16 scale, const float *gamma, const float *beta, size_t i, size_t n) {
  v16 r = v16_mul(v16_sub(x, mean), scale), g = v16_set(1.0f), b = v16_zero();
  if (gamma) g = n < 16 ? v16_load_n(gamma + i, n) : v16_load(gamma + i);
  if (beta) b = n < 16 ? v16_load_n(beta + i, n) : v16_load(beta + i);
  if (gamma) return beta ? v16_fma(r, g, b) : v16_mul(r, g);
  return beta ? v16_add(r, b) : r;
}

static void normalise_row(float *dst, const float *x, float mean, float scale, const float *gamma, const float *beta,
                          size_t n) {
  const v16 m = v16_set(mean), s = v16_set(scale);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) v16_store(dst + i, normalise(v16_load(x + i), m, s, gamma, beta, i, 16));
  if (i < n) v16_store_n(dst + i, normalise(v16_load_n(x + i, n - i), m, s, gamma, beta, i, n - i), n - i);
}

static void row_layer_norm(float *dst, const float *x, const float *gamma, const float *beta, float eps, size_t n) {
  float mean = reduce_sum(x, n) / (float)n;
  float variance = sum_terms(term_deviation, x, x, mean, n) / (float)n;
  normalise_row(dst, x, mean, 1.0f / sqrtf(variance + eps), gamma, beta, n);
}

static void row_rms_norm(float *dst, const float *x, const float *gamma, float eps, size_t n) {
  float mean_square = reduce_sum_square(x, n) / (float)n;
  normalise_row(dst, x, 0.0f, 1.0f / sqrtf(mean_square + eps), gamma, NULL, n);
}

static void install_rows(orion_kernels *k) {
  k->reduce[ORION_REDUCE_SUM] = reduce_sum;
  k->reduce[ORION_REDUCE_SUM_SQUARE] = reduce_sum_square;
  k->reduce[ORION_REDUCE_SUM_ABS] = reduce_sum_abs;
  k->reduce[ORION_REDUCE_PROD] = reduce_prod;
  k->reduce[ORION_REDUCE_MAX] = reduce_max;
  k->reduce[ORION_REDUCE_MIN] = reduce_min;
  k->reduce_rows[ORION_REDUCE_SUM] = reduce_rows_sum;
  k->reduce_rows[ORION_REDUCE_SUM_SQUARE] = reduce_rows_sum_square;
  k->reduce_rows[ORION_REDUCE_SUM_ABS] = reduce_rows_sum_abs;
  k->reduce_rows[ORION_REDUCE_PROD] = reduce_rows_prod;
  k->reduce_rows[ORION_REDUCE_MAX] = reduce_rows_max;
  k->reduce_rows[ORION_REDUCE_MIN] = reduce_rows_min;
  k->dot = dot;
  k->argmax = argmax;
  k->softmax = row_softmax;
  k->layer_norm = row_layer_norm;
  k->rms_norm = row_rms_norm;
}

#endif
