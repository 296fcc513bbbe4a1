// Attention of few rows, as in decoding: every key and value is read once for up to four rows and hardly computed with,
// so what counts is how memory is read. Include after body_attention_weights.h.
//
// Keys and values of a head are each one long run. Read from end to end, a run is a single stream, which the processor
// follows too closely (a thread of Zen 3 gets 15 GB/s); so four parts of a block are read side by side, a row of each in
// turn, and while the last scores are made the first values are asked for. Scores may be made in any order. The sum of an
// output's weighted values takes rows s, s + 128, s + 256, s + 384 of its block for s from 0 up, whatever the number of
// keys: its bits must not depend on keys that come later.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_ATTENTION_FEW_H
#define ORION_DEVICE_CPU_KERNELS_BODY_ATTENTION_FEW_H

enum { FEW_STREAMS = 4, FEW_PART = 128, FEW_KEYS = FEW_STREAMS * FEW_PART };
enum { FEW_AHEAD = 16 };  // rows of each stream of values asked for
enum { FEW_TILE = 4 };  // sums of 16 lanes: rows by keys, or rows by panels of 16 values

// score[r * C + c] = q[r] . key[c] for R rows and C keys, R * C at most four. Each is one chain of 16 lanes, which are added
// up at last.
INLINE void few_dots(const int R, const int C, orion_kernel_type type, const float *q, size_t q_stride, const void *key,
                     size_t key_stride, size_t n, float *score) {
  v16 sum[FEW_TILE];
  size_t e = 0;
UNROLL(4)
  for (int i = 0; i < FEW_TILE; i++) sum[i] = v16_zero();
  for (; e + 16 <= n; e += 16) {
UNROLL(4)
    for (int i = 0; i < R * C; i++) {
      v16 k = v16_load_as(type, key, (size_t)(i % C) * key_stride + e);
      sum[i] = v16_fma(v16_load(q + (size_t)(i / C) * q_stride + e), k, sum[i]);
    }
  }
  if (e < n) {
UNROLL(4)
    for (int i = 0; i < R * C; i++) {
      v16 k = v16_load_as_n(type, key, (size_t)(i % C) * key_stride + e, n - e);
      sum[i] = v16_fma(v16_load_n(q + (size_t)(i / C) * q_stride + e, n - e), k, sum[i]);
    }
  }
  v16_sum_four(score, sum);
}

// Asks for the s-th row of each stream that `keys` values from v on are, or for four rows of a single one.
INLINE void few_fetch(orion_kernel_type type, const void *v, size_t stride, size_t keys, size_t s, size_t n) {
  const size_t line = 64, apart = keys > FEW_PART ? FEW_PART : 1;
  if (apart == 1) s *= FEW_STREAMS;
  for (size_t c = 0; c < FEW_STREAMS && s < keys; c++, s += apart) {
    const char *row = element_at(type, v, s * stride);
    for (size_t i = 0; i < n * orion_kernel_type_size(type); i += line) __builtin_prefetch(row + i);
  }
}

// Scores of R rows and `keys` keys from key `begin` of a segment, from score on. A quarter of the keys is a stream; what is
// left over then goes one by one, each as all the keys of its tile.
INLINE void few_scores_of(const int R, orion_kernel_type type, const attention_run *t, const orion_attention_segment *g,
                          size_t begin, size_t keys, float *score) {
  const int C = FEW_TILE / R;
  const orion_attention *a = t->a;
  const float *q = a->q + t->r0 * a->q_stride;
  const size_t k_stride = g->k_stride, v_stride = g->v_stride;
  const void *k = element_at(type, g->k, begin * k_stride), *v = element_at(type, g->v, begin * v_stride);
  const size_t part = keys / FEW_STREAMS, left = keys % FEW_STREAMS;
  const size_t near = part < FEW_AHEAD ? 0 : part - FEW_AHEAD;  // the end
  float dots[FEW_TILE];
  for (size_t s = 0; s < part + left; s++) {
    if (s >= near && s < part) few_fetch(type, v, v_stride, keys, s - near, a->value_size);
    const size_t first = s < part ? s : s + part * (FEW_STREAMS - 1), apart = s < part ? part : 0;
    for (size_t c = 0; c < FEW_STREAMS; c += (size_t)C) {
      const size_t at = first + c * apart;
      few_dots(R, C, type, q, a->q_stride, element_at(type, k, at * k_stride), apart * k_stride, a->key_size, dots);
UNROLL(4)
      for (int i = 0; i < R * C; i++) score[(size_t)(i / C) * FEW_KEYS + at + (size_t)(i % C) * apart] = dots[i];
      if (!apart) break;
    }
  }
}

INLINE void few_scores(const int R, orion_kernel_type type, const attention_run *t, const attention_span *span) {
  for (int i = 0; i < 2; i++) {
    const orion_attention_segment *g = &t->a->segment[i];
    float *score = t->score + (i ? span->count[0] : 0);
    if (span->count[i]) few_scores_of(R, type, t, g, span->begin[i], span->count[i], score);
  }
}

// What the sums of a block's values read: the first `old` of its `all` keys are in the first segment.
typedef struct few_input {
  const void *v[2];
  size_t stride[2], old, all;
  const float *weight;
} few_input;

// sum[r][c] += weight[r] * v[16 c ...], of one key; of `lanes` values where that is not 16.
INLINE void few_value(const int R, const int C, orion_kernel_type type, const void *v, size_t at, const float *weight,
                      size_t lanes, v16 *sum) {
  v16 w[FEW_TILE];
UNROLL(4)
  for (int c = 0; c < C; c++) {
    w[c] = lanes == 16 ? v16_load_as(type, v, at + (size_t)c * 16) : v16_load_as_n(type, v, at, lanes);
  }
UNROLL(4)
  for (int r = 0; r < R; r++) {
    v16 x = v16_set(weight[r * FEW_KEYS]);
UNROLL(4)
    for (int c = 0; c < C; c++) sum[r * C + c] = v16_fma(x, w[c], sum[r * C + c]);
  }
}

// C panels of 16 values from column j on, or one of fewer lanes, for R rows.
INLINE void few_panels(const int R, const int C, orion_kernel_type type, const few_input *in, size_t j, size_t lanes, float *out,
                       size_t out_stride) {
  const size_t old_part = in->old / FEW_PART, old_rest = in->old % FEW_PART;
  const size_t all_part = in->all / FEW_PART, all_rest = in->all % FEW_PART, longest = all_part ? FEW_PART : all_rest;
  const void *v0 = in->v[0], *v1 = in->v[1];
  const size_t stride0 = in->stride[0], stride1 = in->stride[1], old = in->old;
  v16 sum[FEW_TILE];
UNROLL(4)
  for (int i = 0; i < R * C; i++) sum[i] = load_lanes(out + (size_t)(i / C) * out_stride + j + (size_t)(i % C) * 16, lanes);
  for (size_t s = 0; s < longest; s++) {
    const size_t first = old_part + (s < old_rest), both = all_part + (s < all_rest);
    size_t at = s, c = 0;
    for (; c < first; c++, at += FEW_PART) few_value(R, C, type, v0, at * stride0 + j, in->weight + at, lanes, sum);
    for (; c < both; c++, at += FEW_PART) few_value(R, C, type, v1, (at - old) * stride1 + j, in->weight + at, lanes, sum);
  }
UNROLL(4)
  for (int i = 0; i < R * C; i++) store_lanes(out + (size_t)(i / C) * out_stride + j + (size_t)(i % C) * 16, sum[i], lanes);
}

// out[r] += sum_s weight[r][s] v[s] over the keys of a block
INLINE void few_values(const int R, orion_kernel_type type, const attention_run *t, const attention_span *span) {
  const orion_attention *a = t->a;
  float *out = attention_row(t, 0);
  few_input in = {.old = span->count[0], .all = span->count[0] + span->count[1], .weight = t->score};
  for (int i = 0; i < 2; i++) {
    in.stride[i] = a->segment[i].v_stride;
    in.v[i] = span->count[i] ? element_at(type, a->segment[i].v, span->begin[i] * in.stride[i]) : NULL;
  }
  size_t j = 0;
  for (; R == 1 && j + 64 <= a->value_size; j += 64) few_panels(R, 4, type, &in, j, 16, out, a->out_stride);
  for (; R <= 2 && j + 32 <= a->value_size; j += 32) few_panels(R, 2, type, &in, j, 16, out, a->out_stride);
  for (; j + 16 <= a->value_size; j += 16) few_panels(R, 1, type, &in, j, 16, out, a->out_stride);
  if (j < a->value_size) few_panels(R, 1, type, &in, j, a->value_size - j, out, a->out_stride);
}

// The two steps of a block for one to four rows, in floats and in halves.
typedef struct few_steps {
  void (*scores)(const attention_run *t, const attention_span *span);
  void (*values)(const attention_run *t, const attention_span *span);
} few_steps;

#define FEW_STEPS(type, R)                                                                  \
  static void few_scores_##type##_##R(const attention_run *t, const attention_span *span) { \
    few_scores(R, ORION_KERNEL_##type, t, span);                                            \
  }                                                                                         \
  static void few_values_##type##_##R(const attention_run *t, const attention_span *span) { \
    few_values(R, ORION_KERNEL_##type, t, span);                                            \
  }
FEW_STEPS(F32, 1) FEW_STEPS(F32, 2) FEW_STEPS(F32, 3) FEW_STEPS(F32, 4)
FEW_STEPS(F16, 1) FEW_STEPS(F16, 2) FEW_STEPS(F16, 3) FEW_STEPS(F16, 4)
#undef FEW_STEPS

static void attention_few(const orion_attention *a) {
#define ROW(type, R) {few_scores_##type##_##R, few_values_##type##_##R}
  static const few_steps floats[] = {ROW(F32, 1), ROW(F32, 2), ROW(F32, 3), ROW(F32, 4)};
  static const few_steps halves[] = {ROW(F16, 1), ROW(F16, 2), ROW(F16, 3), ROW(F16, 4)};
#undef ROW
  _Alignas(64) float score[FEW_TILE * FEW_KEYS];
  attention_run t;
  t.a = a;
  t.score = score;
  t.stride = FEW_KEYS;
  const size_t total = a->segment[0].count + a->segment[1].count;
  for (size_t r = 0; r < a->rows; r += FEW_TILE) {
    const size_t rows = a->rows - r < FEW_TILE ? a->rows - r : FEW_TILE;
    const few_steps *step = &(a->type == ORION_KERNEL_F32 ? floats : halves)[rows - 1];
    attention_start(&t, r, rows);
    for (size_t s = 0; s < total; s += FEW_KEYS) {
      const attention_span span = attention_span_of(a, s, total - s < FEW_KEYS ? total - s : FEW_KEYS);
      if (attention_hidden(&t, &span)) continue;
      step->scores(&t, &span);
      attention_weights(&t, &span);
      step->values(&t, &span);
    }
    attention_end(&t);
  }
}

#endif
