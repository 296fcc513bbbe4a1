// Attention of one head: of few rows as in body_attention_few.h, of many by tiles of products over blocks of 64 keys. The
// number of rows decides, and both ways round differently; so few are few up to a number that a token's bits must not
// depend on. Include after body_product.h and body_attention_few.h.
#ifndef ORION_DEVICE_CPU_KERNELS_BODY_ATTENTION_H
#define ORION_DEVICE_CPU_KERNELS_BODY_ATTENTION_H

enum { ATTENTION_KEYS = 64, ATTENTION_DEPTH = 64 };

typedef struct attention_state {
  attention_run run;
  _Alignas(64) float score[ATTENTION_ROWS * ATTENTION_KEYS];
  _Alignas(64) float packed[ATTENTION_DEPTH * ATTENTION_KEYS];  // keys as panels; then a panel of values
} attention_state;

// score[r][s] = q[r] . k[begin + s], for `keys` keys of a segment
static void attention_scores(attention_state *st, int segment, size_t begin, size_t keys, float *score) {
  const orion_attention *a = st->run.a;
  const orion_attention_segment *g = &a->segment[segment];
  const float *q = a->q + st->run.r0 * a->q_stride;
  for (size_t e = 0; e < a->key_size; e += ATTENTION_DEPTH) {
    size_t depth = a->key_size - e < ATTENTION_DEPTH ? a->key_size - e : ATTENTION_DEPTH;
    for (size_t s = 0; s < keys; s += 16) {
      size_t lanes = keys - s < 16 ? keys - s : 16;
      float *panel = st->packed + s * ATTENTION_DEPTH;
      const void *key = element_at(a->type, g->k, (begin + s) * g->k_stride + e);
      widen_panel(panel, a->type, key, g->k_stride, 1, lanes, depth);
      tile_in in = {q + e, a->q_stride, 1, panel, 0, 16};
      tile_out out = {score + s, ATTENTION_KEYS, lanes, NULL, e > 0};
      product_block(st->run.rows, &in, depth, &out);
    }
  }
}

// out[r] += sum_s weight[r][s] v[begin + s], for `keys` keys of a segment
static void attention_values(attention_state *st, int segment, size_t begin, size_t keys, const float *weights) {
  const orion_attention *a = st->run.a;
  const orion_attention_segment *g = &a->segment[segment];
  tile_in in = {weights, ATTENTION_KEYS, 1, st->packed, 0, 16};
  tile_out out = {attention_row(&st->run, 0), a->out_stride, 16, NULL, true};
  for (size_t j = 0; j < a->value_size; j += 16, out.y += 16) {
    if (a->value_size - j < 16) out.last = a->value_size - j;
    widen_panel(st->packed, a->type, element_at(a->type, g->v, begin * g->v_stride + j), 1, g->v_stride, out.last, keys);
    product_block(st->run.rows, &in, keys, &out);
  }
}

static void attention_many(const orion_attention *a) {
  attention_state st;
  attention_run *t = &st.run;
  t->a = a;
  t->score = st.score;
  t->stride = ATTENTION_KEYS;
  const size_t total = a->segment[0].count + a->segment[1].count;
  for (size_t r = 0; r < a->rows; r += ATTENTION_ROWS) {
    attention_start(t, r, a->rows - r < ATTENTION_ROWS ? a->rows - r : ATTENTION_ROWS);
    for (size_t s = 0; s < total; s += ATTENTION_KEYS) {
      const attention_span span = attention_span_of(a, s, total - s < ATTENTION_KEYS ? total - s : ATTENTION_KEYS);
      if (attention_hidden(t, &span)) continue;
      for (int i = 0; i < 2; i++) attention_scores(&st, i, span.begin[i], span.count[i], st.score + (i ? span.count[0] : 0));
      attention_weights(t, &span);
      for (int i = 0; i < 2; i++) {
        if (span.count[i]) attention_values(&st, i, span.begin[i], span.count[i], st.score + (i ? span.count[0] : 0));
      }
    }
    attention_end(t);
  }
}

static void attention(const orion_attention *a) {
  if (a->rows <= ORION_ATTENTION_FEW) attention_few(a);
  else attention_many(a);
}

static void install_attention(orion_kernels *k) { k->attention = attention; }

#endif
