// What attention of few rows and of many share: scores become weights under a running maximum and sum per row (the
// "online" softmax), so no more than a block of scores exists. When a block raises a row's maximum, what the row has
// gathered is scaled down by exp(old - new). Include after body_rows.h.
//
// Blocks are counted over both segments together. So a token's bits depend neither on which of the keys are in the cache
// yet nor on keys that it does not see, which weigh 0 and add nothing.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_ATTENTION_WEIGHTS_H
#define ORION_DEVICE_CPU_KERNELS_BODY_ATTENTION_WEIGHTS_H

enum { ATTENTION_ROWS = ORION_ATTENTION_ROWS };

// Some rows on their way through the blocks.
typedef struct attention_run {
  const orion_attention *a;
  size_t r0, rows;                // rows [r0, r0 + rows) of a
  float *score;                   // of the block under way: row r at r * stride
  size_t stride;
  float max[ATTENTION_ROWS], sum[ATTENTION_ROWS];
  float largest[ATTENTION_ROWS];  // in the block under way
} attention_run;

// A block: keys [begin[i], begin[i] + count[i]) of segment i.
typedef struct attention_span {
  size_t begin[2], count[2];
} attention_span;

static float *attention_row(const attention_run *t, size_t r) { return t->a->out + (t->r0 + r) * t->a->out_stride; }

static void attention_start(attention_run *t, size_t r0, size_t rows) {
  t->r0 = r0;
  t->rows = rows;
  for (size_t r = 0; r < t->rows; r++) {
    t->max[r] = -INFINITY;
    t->sum[r] = 0.0f;
    map_fill(attention_row(t, r), NULL, NULL, t->a->value_size, 0.0f, 0.0f);
  }
}

static void attention_end(attention_run *t) {
  for (size_t r = 0; r < t->rows; r++) {
    float *out = attention_row(t, r);
    map_mul_scalar(out, out, NULL, t->a->value_size, 1.0f / t->sum[r], 0.0f);
  }
}

// Keys [s, s + keys) of both segments together.
static attention_span attention_span_of(const orion_attention *a, size_t s, size_t keys) {
  const size_t joint = a->segment[0].count;
  const size_t first = s >= joint ? 0 : joint - s < keys ? joint - s : keys;
  return (attention_span){{s, s + first - joint}, {first, keys - first}};
}

static bool all_hidden(const float *mask, size_t n) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    if (m16_any(m16_not(v16_eq(v16_load(mask + i), v16_set(-INFINITY))))) return false;
  }
  while (i < n && mask[i] == -INFINITY) i++;
  return i == n;
}

// Nothing of the block is seen by any row: a causal mask's upper triangle.
static bool attention_hidden(const attention_run *t, const attention_span *span) {
  for (int i = 0; i < 2; i++) {
    const orion_attention_segment *g = &t->a->segment[i];
    if (!span->count[i]) continue;
    if (!g->mask) return false;
    size_t different = g->mask_stride ? t->rows : 1;
    for (size_t r = different; r-- > 0;) {  // the last row of a causal block sees most
      if (!all_hidden(g->mask + (t->r0 + r) * g->mask_stride + span->begin[i], span->count[i])) return false;
    }
  }
  return true;
}

// Scales the scores of one segment's part of a block, which begins `at` keys into it, hides what the mask hides, and looks
// for the largest: of all rows before the weights of any, since the largest of a row is a long chain of steps that the next
// row need not wait for.
static void attention_mask(attention_run *t, const orion_attention_segment *g, size_t begin, size_t keys, size_t at) {
  static const float ends[32] = {[16] = -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY,
                                 -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
  const v16 scale = v16_set(t->a->scale);
  const size_t whole = keys / 16 * 16, ragged = keys - whole;
  for (size_t r = 0; r < t->rows; r++) {
    float *score = t->score + r * t->stride + at;
    const float *mask = g->mask ? g->mask + (t->r0 + r) * g->mask_stride + begin : NULL;
    v16 largest = v16_set(t->largest[r]);
    for (size_t i = 0; i < whole; i += 16) {
      v16 x = v16_mul(v16_load(score + i), scale);
      if (mask) x = v16_add(x, v16_load(mask + i));
      v16_store(score + i, x);
      largest = max_or_nan(x, largest);
    }
    if (ragged) {
      v16 x = v16_mul(v16_load_n(score + whole, ragged), scale);
      if (mask) x = v16_add(x, v16_load_n(mask + whole, ragged));
      v16_store_n(score + whole, x, ragged);
      largest = max_or_nan(v16_add(x, v16_load(ends + 16 - ragged)), largest);
    }
    t->largest[r] = pick_max(largest);
  }
}

// Turns the block's scores into weights exp(score - max) and brings max, sum and the rows of out up to date.
static void attention_weights(attention_run *t, const attention_span *span) {
  const size_t keys = span->count[0] + span->count[1];
  for (size_t r = 0; r < t->rows; r++) t->largest[r] = -INFINITY;
  for (int i = 0; i < 2; i++) {
    if (span->count[i]) attention_mask(t, &t->a->segment[i], span->begin[i], span->count[i], i ? span->count[0] : 0);
  }
  for (size_t r = 0; r < t->rows; r++) {
    float *score = t->score + r * t->stride;
    float largest = t->largest[r], old = t->max[r];
    float now = old > largest || old != old ? old : largest;
    float from = now == -INFINITY ? 0.0f : now;  // all masked so far: -inf - 0 keeps the weights at 0
    t->max[r] = now;
    float added = exp_and_sum(score, score, from, keys);
    if (now == old || old == -INFINITY) {  // as before, or nothing yet
      t->sum[r] += added;
      continue;
    }
    float factor = v16_first(v16_exp(v16_set(old - from))), *out = attention_row(t, r);
    t->sum[r] = t->sum[r] * factor + added;
    map_mul_scalar(out, out, NULL, t->a->value_size, factor, 0.0f);
  }
}

#endif
