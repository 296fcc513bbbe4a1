// Attention of one head: keys are read block by block with a running maximum and sum per row (the "online" softmax),
// so no more than a 64 x 64 block of scores exists. When a block raises a row's maximum, what the row has gathered is
// scaled down by exp(old - new). Include after body_product.h.
//
// Blocks are counted over both segments together, and up to FEW_ROWS rows take their scores the same way. So a token's
// bits do not depend on how many tokens go with it, nor on which of the keys are in the cache yet; hidden keys weigh 0
// and add nothing.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_ATTENTION_H
#define ORION_DEVICE_CPU_KERNELS_BODY_ATTENTION_H

enum { ATTENTION_ROWS = ORION_ATTENTION_ROWS, ATTENTION_KEYS = 64, ATTENTION_DEPTH = 64, FEW_ROWS = 32 };
enum { FETCH_KEYS = 16, FETCH_AHEAD = 32 };

typedef struct attention_state {
  float max[ATTENTION_ROWS], sum[ATTENTION_ROWS];
  float largest[ATTENTION_ROWS];  // in the block under way
  _Alignas(64) float score[ATTENTION_ROWS * ATTENTION_KEYS];
  _Alignas(64) float packed[ATTENTION_DEPTH * ATTENTION_KEYS];  // keys as panels; then a ragged panel of values
} attention_state;

// Sums whose lanes are to be added up: q[r] . key[c] for R rows, which read a key once, and C keys, at r * C + c.
INLINE void dots(const int R, const int C, orion_kernel_type type, const float *q, size_t q_stride, const void *key,
                 size_t key_stride, size_t n, v16 *sum) {
  v16 even[4], odd[4];
UNROLL(4)
  for (int i = 0; i < R * C; i++) even[i] = odd[i] = v16_zero();
  size_t e = 0;
  for (; e + 32 <= n; e += 32) {
UNROLL(4)
    for (int i = 0; i < R * C; i++) {
      const float *x = q + (size_t)(i / C) * q_stride + e;
      const size_t k = (size_t)(i % C) * key_stride + e;
      even[i] = v16_fma(v16_load(x), v16_load_as(type, key, k), even[i]);
      odd[i] = v16_fma(v16_load(x + 16), v16_load_as(type, key, k + 16), odd[i]);
    }
  }
UNROLL(4)
  for (int i = 0; i < R * C; i++) {
    const float *x = q + (size_t)(i / C) * q_stride;
    const size_t k = (size_t)(i % C) * key_stride;
    size_t at = e;
    if (at + 16 <= n) {
      even[i] = v16_fma(v16_load(x + at), v16_load_as(type, key, k + at), even[i]);
      at += 16;
    }
    if (at < n) odd[i] = v16_fma(v16_load_n(x + at, n - at), v16_load_as_n(type, key, k + at, n - at), odd[i]);
    sum[i] = v16_add(even[i], odd[i]);
  }
}
// score[r][s] of few rows, four sums at a time: of four rows by one key, or of one row by four keys.
INLINE void dots_rows(orion_kernel_type type, const float *q, size_t q_stride, size_t rows, const void *k, size_t k_stride,
                      size_t keys, size_t n, float *score) {
  v16 sum[4];
  float four[4];
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    for (size_t s = 0; s < keys; s++) {
      dots(4, 1, type, q + r * q_stride, q_stride, element_at(type, k, s * k_stride), k_stride, n, sum);
      v16_sum_four(four, sum);
      for (size_t i = 0; i < 4; i++) score[(r + i) * ATTENTION_KEYS + s] = four[i];
    }
  }
  for (; r < rows; r++) {
    size_t s = 0;
    for (; s + 4 <= keys; s += 4) {
      for (int c = 0; c < 4; c += 2) {
        dots(1, 2, type, q + r * q_stride, q_stride, element_at(type, k, (s + (size_t)c) * k_stride), k_stride, n, sum + c);
      }
      v16_sum_four(score + r * ATTENTION_KEYS + s, sum);
    }
    for (; s < keys; s++) {
      dots(1, 1, type, q + r * q_stride, q_stride, element_at(type, k, s * k_stride), k_stride, n, sum);
      score[r * ATTENTION_KEYS + s] = v16_sum(sum[0]);
    }
  }
}

// Asks for `keys` rows from s on, if there are so many, of n elements. The rows of a head lie apart, so that the processor's own
// guesses do not help.
INLINE void fetch_rows(const orion_attention_segment *g, const void *rows, size_t stride, size_t s, size_t keys, size_t n) {
  const size_t line = 64, end = s + keys < g->count ? s + keys : g->count;
  for (; s < end; s++) {
    const char *row = element_at(g->type, rows, s * stride);
    for (size_t i = 0; i < n * orion_kernel_type_size(g->type); i += line) __builtin_prefetch(row + i);
  }
}

// score[r][s] = q[r] . k[s0 + s], for `keys` keys of a segment, of one head
static void attention_scores(attention_state *st, const orion_attention *a, const orion_attention_segment *g, size_t h,
                             size_t r0, size_t rows, size_t s0, size_t keys, float *score) {
  const float *q = a->q + h * a->q_head + r0 * a->q_stride;
  const void *head_k = element_at(g->type, g->k, h * g->k_head), *head_v = element_at(g->type, g->v, h * g->v_head);
  if (rows <= FEW_ROWS) {
    for (size_t s = 0; s < keys; s += FETCH_KEYS) {
      const size_t n = keys - s < FETCH_KEYS ? keys - s : FETCH_KEYS;
      const void *k = element_at(g->type, head_k, (s0 + s) * g->k_stride);
      if (s0 + s == 0) fetch_rows(g, head_k, g->k_stride, 0, FETCH_AHEAD, a->key_size);
      fetch_rows(g, head_k, g->k_stride, s0 + s + FETCH_AHEAD, FETCH_KEYS, a->key_size);
      fetch_rows(g, head_v, g->v_stride, s0 + s, n, a->value_size);
      if (g->type == ORION_KERNEL_F32) {
        dots_rows(ORION_KERNEL_F32, q, a->q_stride, rows, k, g->k_stride, n, a->key_size, score + s);
      } else {
        dots_rows(ORION_KERNEL_F16, q, a->q_stride, rows, k, g->k_stride, n, a->key_size, score + s);
      }
    }
    return;
  }
  for (size_t e = 0; e < a->key_size; e += ATTENTION_DEPTH) {
    size_t depth = a->key_size - e < ATTENTION_DEPTH ? a->key_size - e : ATTENTION_DEPTH;
    for (size_t s = 0; s < keys; s += 16) {
      size_t lanes = keys - s < 16 ? keys - s : 16;
      float *panel = st->packed + s * ATTENTION_DEPTH;
      const void *key = element_at(g->type, head_k, (s0 + s) * g->k_stride + e);
      widen_panel(panel, g->type, key, g->k_stride, 1, lanes, depth);
      tile_in in = {q + e, a->q_stride, 1, panel, 0, 16};
      tile_out out = {score + s, ATTENTION_KEYS, lanes, NULL, e > 0};
      product_block(rows, &in, depth, &out);
    }
  }
}

// Scales the scores of a part of a block, hides what the mask hides, and looks for the largest: of all rows before the
// weights of any, since the largest of a row is a long chain of steps that the next row need not wait for.
static void attention_mask(attention_state *st, const orion_attention *a, const orion_attention_segment *g, size_t r0,
                           size_t rows, size_t s0, size_t keys, float *score) {
  const v16 scale = v16_set(a->scale);
  const size_t whole = keys / 16 * 16, ragged = keys - whole;
  for (size_t r = 0; r < a->heads * rows; r++, score += ATTENTION_KEYS) {
    const float *mask = g->mask ? g->mask + (r0 + r % rows) * g->mask_stride + s0 : NULL;
    v16 largest = v16_set(st->largest[r]);
    for (size_t i = 0; i < whole; i += 16) {
      v16 x = v16_mul(v16_load(score + i), scale);
      if (mask) x = v16_add(x, v16_load(mask + i));
      v16_store(score + i, x);
      largest = max_or_nan(x, largest);
    }
    float one = pick_max(largest);
    if (ragged) {
      map_mul_scalar(score + whole, score + whole, NULL, ragged, a->scale, 0.0f);
      if (mask) map_add(score + whole, score + whole, mask + whole, ragged, 0.0f, 0.0f);
      float last = reduce_max(score + whole, ragged);
      one = one > last || one != one ? one : last;
    }
    st->largest[r] = one;
  }
}

// Where row r of the state goes: rows of the first head come first.
INLINE float *attention_row(const orion_attention *a, size_t r0, size_t rows, size_t r) {
  return a->out + r / rows * a->out_head + (r0 + r % rows) * a->out_stride;
}

// Turns scores into weights exp(score - max) and brings max, sum and the rows of out up to date.
static void attention_weights(attention_state *st, const orion_attention *a, size_t r0, size_t rows, size_t keys) {
  for (size_t r = 0; r < a->heads * rows; r++) {
    float *score = st->score + r * ATTENTION_KEYS;
    float largest = st->largest[r], old = st->max[r];
    float now = old > largest || old != old ? old : largest;
    float from = now == -INFINITY ? 0.0f : now;  // all masked so far: -inf - 0 keeps the weights at 0
    st->max[r] = now;
    float added = exp_and_sum(score, score, from, keys);
    if (now == old) {
      st->sum[r] += added;
      continue;
    }
    float factor = v16_first(v16_exp(v16_set(old - from))), *out = attention_row(a, r0, rows, r);
    st->sum[r] = st->sum[r] * factor + added;
    map_mul_scalar(out, out, NULL, a->value_size, factor, 0.0f);
  }
}

// out[r] += sum_s weight[r][s] v[s0 + s], for `keys` keys of a segment, of one head
static void attention_values(attention_state *st, const orion_attention *a, const orion_attention_segment *g, size_t h,
                             size_t r0, size_t rows, size_t s0, size_t keys, const float *weights) {
  size_t whole = a->value_size / 16 * 16, ragged = a->value_size - whole;
  const void *v = element_at(g->type, g->v, h * g->v_head + s0 * g->v_stride);
  tile_in in = {weights, ATTENTION_KEYS, 1, v, 16, g->v_stride};
  tile_out out = {attention_row(a, r0, rows, h * rows), a->out_stride, 16, NULL, true};
  if (rows <= 2 * TILE_ROWS) {
    if (g->type == ORION_KERNEL_F32) product_few(rows, whole, ORION_KERNEL_F32, &in, keys, &out);
    else product_few(rows, whole, ORION_KERNEL_F16, &in, keys, &out);
    out.y += whole;
    whole = 0;
  } else {
    for (size_t j = 0; j < whole; j += 16, out.y += 16) {
      widen_panel(st->packed, g->type, element_at(g->type, v, j), 1, g->v_stride, 16, keys);
      in.b = st->packed;
      in.step = 16;
      product_block(rows, &in, keys, &out);
    }
  }
  if (!ragged) return;
  widen_panel(st->packed, g->type, element_at(g->type, v, a->value_size - ragged), 1, g->v_stride, ragged, keys);
  in.b = st->packed;
  in.step = 16;
  out.last = ragged;
  product_block(rows, &in, keys, &out);
}

// Nothing of the block is seen by any row: a causal mask's upper triangle.
static bool attention_hidden(const orion_attention_segment *g, size_t r0, size_t rows, size_t s0, size_t keys) {
  if (!g->mask) return false;
  size_t different = g->mask_stride ? rows : 1;
  for (size_t r = different; r-- > 0;) {  // the last row of a causal block sees most
    if (reduce_max(g->mask + (r0 + r) * g->mask_stride + s0, keys) != -INFINITY) return false;
  }
  return true;
}

// Keys [s, s + keys) of both segments together.
static void attention_block(attention_state *st, const orion_attention *a, size_t r0, size_t rows, size_t s, size_t keys) {
  const size_t joint = a->segment[0].count;
  size_t begin[2] = {s, 0}, count[2] = {s >= joint ? 0 : joint - s < keys ? joint - s : keys, 0};
  begin[1] = s + count[0] - joint;
  count[1] = keys - count[0];
  bool hidden = true;
  for (int i = 0; i < 2 && hidden; i++) {
    hidden = !count[i] || attention_hidden(&a->segment[i], r0, rows, begin[i], count[i]);
  }
  if (hidden) return;
  for (size_t r = 0; r < a->heads * rows; r++) st->largest[r] = -INFINITY;
  for (int i = 0; i < 2; i++) {
    if (!count[i]) continue;
    float *score = st->score + (i ? count[0] : 0);
    for (size_t h = 0; h < a->heads; h++) {
      attention_scores(st, a, &a->segment[i], h, r0, rows, begin[i], count[i], score + h * rows * ATTENTION_KEYS);
    }
    attention_mask(st, a, &a->segment[i], r0, rows, begin[i], count[i], score);
  }
  attention_weights(st, a, r0, rows, keys);
  for (int i = 0; i < 2; i++) {
    for (size_t h = 0; h < a->heads && count[i]; h++) {
      const float *weights = st->score + (i ? count[0] : 0) + h * rows * ATTENTION_KEYS;
      attention_values(st, a, &a->segment[i], h, r0, rows, begin[i], count[i], weights);
    }
  }
}

static void attention(const orion_attention *a) {
  attention_state st;
  const size_t total = a->segment[0].count + a->segment[1].count;
  for (size_t r0 = 0; r0 < a->rows; r0 += ATTENTION_ROWS) {
    const size_t rows = a->rows - r0 < ATTENTION_ROWS ? a->rows - r0 : ATTENTION_ROWS;
    for (size_t r = 0; r < a->heads * rows; r++) {
      st.max[r] = -INFINITY;
      st.sum[r] = 0.0f;
      map_fill(attention_row(a, r0, rows, r), NULL, NULL, a->value_size, 0.0f, 0.0f);
    }
    for (size_t s = 0; s < total; s += ATTENTION_KEYS) {
      size_t keys = total - s < ATTENTION_KEYS ? total - s : ATTENTION_KEYS;
      attention_block(&st, a, r0, rows, s, keys);
    }
    for (size_t r = 0; r < a->heads * rows; r++) {
      float *out = attention_row(a, r0, rows, r);
      map_mul_scalar(out, out, NULL, a->value_size, 1.0f / st.sum[r], 0.0f);
    }
  }
}

static void install_attention(orion_kernels *k) { k->attention = attention; }

#endif
