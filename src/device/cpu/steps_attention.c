// scaled_dot_product_attention: query [..., L, E], key [..., S, E], value [..., S, Ev], mask broadcast to [..., L, S].
//
// Keys and values that were joined from a cache and new ones are read as two segments, without joining. A float mask is
// looked at first, once per run whoever shares it: positions at a segment's end that no row of a block may see are left
// out, so that a decode step costs in proportion to the tokens so far, not to the cache's length. Scores of such
// positions would be exp(-10000 - max) = 0.
#include "device/cpu/build.h"

enum {
  ROWS = ORION_ATTENTION_ROWS,  // of the query, in one piece
  CALL = 1024,                  // element operations that a row costs beside those of its keys
};

typedef struct batch_view {
  int64_t strides[ORION_MAX_RANK];
} batch_view;

typedef struct attention_step {
  int batch_rank;
  int64_t batch[ORION_MAX_RANK];
  size_t batches, rows, blocks, keys[2], key_size, value_size;
  batch_view q, k[2], v[2], mask, lengths, out;
  int64_t q_row, out_row, mask_row, k_row[2], v_row[2];
  orion_kernel_type type;
  int segments;
  int mask_at, lengths_at;  // inputs, or -1
  bool convert;             // the result is not fp32
  float scale;
} attention_step;

typedef struct attention_run {
  const orion_cpu_exec *x;
  const orion_cpu_step *s;
} attention_run;

static int64_t offset_of(const attention_step *d, const batch_view *v, size_t batch) {
  return orion_cpu_row_offset(d->batch_rank, d->batch, v->strides, batch);
}

static const void *typed(const orion_cpu_exec *x, const orion_cpu_view *v, int64_t at) {
  return (const uint8_t *)orion_cpu_at(x, v) + at * (v->dtype == ORION_FP16 ? 2 : 4);
}

static orion_attention_segment segment_at(const attention_run *r, int i, size_t batch, size_t count) {
  const attention_step *d = r->s->data;
  const orion_cpu_view *k = &r->s->in[1 + 2 * i], *v = &r->s->in[2 + 2 * i];
  return (orion_attention_segment){.k = typed(r->x, k, offset_of(d, &d->k[i], batch)),
                                   .v = typed(r->x, v, offset_of(d, &d->v[i], batch)),
                                   .k_stride = (size_t)d->k_row[i], .v_stride = (size_t)d->v_row[i], .count = count};
}

// Rows [r0, r0 + rows) of a batch.
static void attend(const attention_run *r, size_t batch, size_t r0, size_t rows, int worker) {
  const orion_cpu_exec *x = r->x;
  const attention_step *d = r->s->data;
  const orion_cpu_view *in = r->s->in, *out = &r->s->out[0];
  orion_attention a = {.q_stride = (size_t)d->q_row, .rows = rows, .key_size = d->key_size, .value_size = d->value_size,
                       .scale = d->scale, .type = d->type};
  a.q = (const float *)orion_cpu_at(x, &in[0]) + offset_of(d, &d->q, batch) + (int64_t)r0 * d->q_row;
  const int64_t at = offset_of(d, &d->out, batch) + (int64_t)r0 * d->out_row;
  a.out = d->convert ? orion_cpu_scratch(x, worker) : (float *)orion_cpu_at(x, out) + at;
  a.out_stride = d->convert ? d->value_size : (size_t)d->out_row;
  const int32_t *lengths = NULL;
  if (d->lengths_at >= 0) {
    lengths = (const int32_t *)orion_cpu_at(x, &in[d->lengths_at]) + offset_of(d, &d->lengths, batch) + r0 / ROWS * 2;
  }
  size_t before = 0;
  for (int s = 0; s < d->segments; s++) {
    a.segment[s] = segment_at(r, s, batch, lengths ? (size_t)lengths[s] : d->keys[s]);
    if (d->mask_at >= 0) {
      a.segment[s].mask = (const float *)orion_cpu_at(x, &in[d->mask_at]) + offset_of(d, &d->mask, batch) +
                          (int64_t)r0 * d->mask_row + (int64_t)before;
      a.segment[s].mask_stride = (size_t)d->mask_row;
    }
    before += d->keys[s];
  }
  x->k->attention(&a);
  for (size_t i = 0; d->convert && i < rows; i++) {
    orion_cpu_store(x->k, out->dtype, x->base[out->buffer], out->offset + at + (int64_t)i * d->out_row, 1,
                    a.out + i * d->value_size, d->value_size);
  }
}

// Asks for the first key and value of a batch: each head's lie in pages of their own, which to find takes as long as reading a
// few dozen keys.
static void ask_for(const attention_run *r, size_t batch) {
  const attention_step *d = r->s->data;
  for (int i = 0; i < d->segments; i++) {
    __builtin_prefetch(typed(r->x, &r->s->in[1 + 2 * i], offset_of(d, &d->k[i], batch)));
    __builtin_prefetch(typed(r->x, &r->s->in[2 + 2 * i], offset_of(d, &d->v[i], batch)));
  }
}

static void attention_piece(void *ctx, size_t begin, size_t end, int worker) {
  const attention_run *r = ctx;
  const attention_step *d = r->s->data;
  for (size_t i = begin; i < end && d->rows <= ORION_ATTENTION_FEW; i++) ask_for(r, i);
  for (size_t i = begin; i < end; i++) {
    const size_t r0 = i % d->blocks * ROWS;
    attend(r, i / d->blocks, r0, d->rows - r0 < ROWS ? d->rows - r0 : ROWS, worker);
  }
}

// Pieces of batches or blocks that cost `work` each: as many for each thread, and none too small to be handed out.
static size_t grain_of(size_t n, size_t work, size_t threads) {
  const size_t share = (n + threads - 1) / threads, most = ORION_CPU_SERIAL / work + 1, parts = (share + most - 1) / most;
  return (share + parts - 1) / parts;
}

static orion_status run_attention(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const attention_step *d = s->data;
  attention_run r = {x, s};
  size_t keys = d->keys[0] + d->keys[1];
  if (d->lengths_at >= 0) {  // of the first batch: enough to tell whether the pool is worth waking
    const int32_t *lengths = orion_cpu_at(x, &s->in[d->lengths_at]);
    keys = (size_t)lengths[0] + (size_t)lengths[1];
  }
  const size_t n = d->batches * d->blocks, work = d->batches * d->rows * (CALL + keys * (d->key_size + d->value_size));
  if (n == 0) return ORION_OK;
  orion_cpu_for(x, n, grain_of(n, work / n, (size_t)orion_pool_threads(x->pool)), work, attention_piece, &r);
  return ORION_OK;
}

// ---- masks ----

// True and false become 0 and minus infinity.
static orion_status run_bool_mask(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const uint8_t *in = orion_cpu_at(x, &s->in[0]);
  float *out = orion_cpu_at(x, &s->out[0]);
  size_t n = orion_cpu_elements(&s->out[0]);
  for (size_t i = 0; i < n; i++) out[i] = in[i] ? 0.0f : -__builtin_inff();
  return ORION_OK;
}

typedef struct lengths_step {
  size_t rows, blocks, keys[2];
  int rank;  // batch dimensions of the mask
} lengths_step;

static orion_status run_lengths(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const lengths_step *d = s->data;
  const orion_cpu_view *m = &s->in[0];
  int32_t *out = orion_cpu_at(x, &s->out[0]);
  size_t batches = 1;
  for (int i = 0; i < d->rank; i++) batches *= (size_t)m->dims[i];
  for (size_t i = 0; i < batches * d->blocks; i++) {
    size_t r0 = i % d->blocks * ROWS, r1 = r0 + ROWS < d->rows ? r0 + ROWS : d->rows, most[2] = {0, 0};
    const float *mask =
        (const float *)orion_cpu_at(x, m) + orion_cpu_row_offset(d->rank, m->dims, m->strides, i / d->blocks);
    bool blind = false;  // a row that sees nothing: softmax of equal scores, or NaN; leave it to the kernel
    for (size_t r = r0; r < r1; r++) {
      const float *row = mask + (int64_t)r * (m->dims[d->rank] == 1 ? 0 : m->strides[d->rank]);
      size_t a = orion_cpu_visible(row, d->keys[0]), b = orion_cpu_visible(row + d->keys[0], d->keys[1]);
      blind = blind || a + b == 0;
      if (a > most[0]) most[0] = a;
      if (b > most[1]) most[1] = b;
    }
    for (int g = 0; g < 2; g++) out[2 * i + (size_t)g] = (int32_t)(blind ? d->keys[g] : most[g]);
  }
  return ORION_OK;
}

static bool same_view(const orion_cpu_view *a, const orion_cpu_view *b) {
  if (a->buffer != b->buffer || a->offset != b->offset || a->rank != b->rank || a->dtype != b->dtype) return false;
  for (int i = 0; i < a->rank; i++) {
    if (a->dims[i] != b->dims[i] || a->strides[i] != b->strides[i]) return false;
  }
  return true;
}

// The mask as floats whose rows run along the keys, and its lengths; both found again when another layer asks.
static orion_status mask_of(orion_cpu_build *b, const orion_op *op, const size_t keys[2], size_t rows,
                            orion_cpu_mask **out, orion_error *err) {
  orion_cpu_view raw;
  ORION_TRY(orion_cpu_arg(b, op, "attn_mask", &raw, err));
  if (raw.rank < 1 || raw.dims[raw.rank - 1] != (int64_t)(keys[0] + keys[1])) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "attn_mask must have a column per key");
  }
  for (orion_cpu_mask *m = b->masks; m; m = m->next) {
    if (m->keys[0] == keys[0] && m->rows == rows && same_view(&m->raw, &raw)) {
      *out = m;
      return ORION_OK;
    }
  }
  orion_cpu_mask *m = ORION_ARENA_NEW(&b->scratch, orion_cpu_mask);
  lengths_step *d = orion_cpu_data(b, sizeof *d);
  if (!m || !d) return ORION_OOM(err, "plan");
  *m = (orion_cpu_mask){.next = b->masks, .raw = raw, .keys = {keys[0], keys[1]}, .rows = rows};
  m->mask = raw;
  if (raw.rank == 1) {  // [S]: one row
    m->mask.rank = 2;
    m->mask.dims[1] = raw.dims[0];
    m->mask.strides[1] = raw.strides[0];
    m->mask.dims[0] = 1;
    m->mask.strides[0] = 0;
  }
  if (raw.dtype == ORION_BOOL) {
    orion_cpu_view floats;
    ORION_TRY(orion_cpu_to_packed(b, &m->mask, err));
    ORION_TRY(orion_cpu_new_view(b, ORION_FP32, m->mask.rank, m->mask.dims, &floats, err));
    orion_cpu_step step = {
        .run = run_bool_mask, .kind = ORION_CPU_ATTENTION, .n_in = 1, .in = &m->mask, .n_out = 1, .out = &floats};
    ORION_TRY(orion_cpu_add_step(b, &step, err));
    m->mask = floats;
  } else if (raw.dtype != ORION_FP32 || m->mask.strides[m->mask.rank - 1] != 1) {
    ORION_TRY(orion_cpu_to_f32(b, &m->mask, err));
  }
  *d = (lengths_step){
      .rows = rows, .blocks = (rows + ROWS - 1) / ROWS, .keys = {keys[0], keys[1]}, .rank = m->mask.rank - 2};
  int64_t dims[ORION_MAX_RANK];
  for (int i = 0; i < d->rank; i++) dims[i] = m->mask.dims[i];
  dims[d->rank] = (int64_t)d->blocks * 2;
  ORION_TRY(orion_cpu_new_view(b, ORION_INT32, d->rank + 1, dims, &m->lengths, err));
  orion_cpu_step step = {.run = run_lengths,
                         .kind = ORION_CPU_ATTENTION,
                         .n_in = 1,
                         .in = &m->mask,
                         .n_out = 1,
                         .out = &m->lengths,
                         .data = d};
  ORION_TRY(orion_cpu_add_step(b, &step, err));
  b->masks = m;
  *out = m;
  return ORION_OK;
}

// ---- building ----

// Strides of an operand's batch dimensions (all but its last `tail`) spread over those of the result.
static orion_status spread_batch(const attention_step *d, const orion_cpu_view *v, int tail, batch_view *out,
                                 orion_error *err) {
  if (orion_cpu_batch_strides(d->batch_rank, d->batch, v, v->rank - tail, out->strides)) return ORION_OK;
  return ORION_FAIL(err, ORION_FORMAT, "batch dimensions do not broadcast");
}

// Keys or values as the kernel reads them: all in halves, or floats, features in a row.
static orion_status readable(orion_cpu_build *b, bool halves, orion_cpu_view *v, orion_error *err) {
  if (!halves && v->dtype != ORION_FP32) return orion_cpu_to_f32(b, v, err);
  bool row = v->strides[v->rank - 1] == 1 && v->strides[v->rank - 2] >= 0;
  return row ? ORION_OK : orion_cpu_to_packed(b, v, err);
}

// One part of a join as the attention sees it: the join's result may have been reshaped by dimensions of one.
static orion_status segment_view(orion_cpu_build *b, const orion_op *join, int part, const orion_type *seen,
                                 orion_cpu_view *out, orion_error *err) {
  const orion_type *t = orion_cpu_result_type(b, join, 0);
  orion_cpu_view v, shaped = {0};
  ORION_TRY(orion_cpu_ref_view(b, orion_op_arg(join, "values")->refs[part], &v, err));
  shaped = v;
  shaped.rank = seen->rank;
  for (int i = seen->rank - 1, j = t->rank - 1; i >= 0; i--) {
    shaped.dims[i] = 1;
    shaped.strides[i] = 0;
    if (seen->dims[i] == 1) continue;
    while (t->dims[j] == 1) j--;
    shaped.dims[i] = v.dims[j];
    shaped.strides[i] = v.strides[j];
    j--;
  }
  *out = shaped;
  return ORION_OK;
}

// Inputs 1..4: keys and values, of one or two segments.
static orion_status segments_of(orion_cpu_build *b, const orion_op *op, attention_step *d, orion_cpu_view *in,
                                orion_error *err) {
  orion_ref k = orion_op_ref(op, "key"), v = orion_op_ref(op, "value");
  const orion_cpu_join *join = b->joins[b->op];
  d->segments = join ? 2 : 1;
  for (int i = 0; join && i < 2; i++) {
    ORION_TRY(segment_view(b, join->key, i, orion_ref_type(b->f, k), &in[1 + 2 * i], err));
    ORION_TRY(segment_view(b, join->value, i, orion_ref_type(b->f, v), &in[2 + 2 * i], err));
  }
  if (!join) {
    ORION_TRY(orion_cpu_ref_view(b, k, &in[1], err));
    ORION_TRY(orion_cpu_ref_view(b, v, &in[2], err));
  }
  bool halves = true;
  for (int i = 1; i <= 2 * d->segments; i++) halves = halves && in[i].dtype == ORION_FP16;
  d->type = halves ? ORION_KERNEL_F16 : ORION_KERNEL_F32;
  for (int i = 0; i < d->segments; i++) {
    orion_cpu_view *ki = &in[1 + 2 * i], *vi = &in[2 + 2 * i];
    if (ki->rank < 2 || vi->rank < 2 || ki->dims[ki->rank - 2] != vi->dims[vi->rank - 2]) {
      return ORION_FAIL(err, ORION_UNSUPPORTED, "keys and values are joined differently");
    }
    ORION_TRY(readable(b, halves, ki, err));
    ORION_TRY(readable(b, halves, vi, err));
    d->keys[i] = (size_t)ki->dims[ki->rank - 2];
    d->k_row[i] = ki->strides[ki->rank - 2];
    d->v_row[i] = vi->strides[vi->rank - 2];
    ORION_TRY(spread_batch(d, ki, 2, &d->k[i], err));
    ORION_TRY(spread_batch(d, vi, 2, &d->v[i], err));
  }
  return ORION_OK;
}

// One query row per head, several heads on the same keys: their queries are the rows of one call, as few as they are when more
// tokens go together and each head has its own.
static void merge_group(attention_step *d) {
  int g = d->batch_rank - 1;
  if (g < 0 || d->rows != 1 || d->batch[g] == 1) return;
  for (int i = 0; i < d->segments; i++) {
    if (d->k[i].strides[g] || d->v[i].strides[g]) return;
  }
  if (d->mask.strides[g] || d->lengths.strides[g] || d->batch[g] > ORION_ATTENTION_FEW || d->q.strides[g] < 0) return;
  d->rows = (size_t)d->batch[g];
  d->q_row = d->q.strides[g];
  d->out_row = d->out.strides[g];
  d->mask_row = 0;
  d->batches /= d->rows;
  d->batch_rank--;
}

orion_status orion_cpu_emit_attention(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  const orion_type *t = orion_cpu_result_type(b, op, 0);
  attention_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  orion_cpu_view in[7], out;
  ORION_TRY(orion_cpu_arg(b, op, "query", &in[0], err));
  ORION_TRY(orion_cpu_to_float_rows(b, &in[0], err));
  d->batch_rank = t->rank - 2;
  d->batches = 1;
  for (int i = 0; i < d->batch_rank; i++) {
    d->batch[i] = t->dims[i];
    d->batches *= (size_t)t->dims[i];
  }
  d->rows = (size_t)t->dims[t->rank - 2];
  d->value_size = (size_t)t->dims[t->rank - 1];
  d->key_size = (size_t)in[0].dims[in[0].rank - 1];
  d->q_row = in[0].strides[in[0].rank - 2];
  d->scale = 1.0f / __builtin_sqrtf((float)d->key_size);
  ORION_TRY(spread_batch(d, &in[0], 2, &d->q, err));
  ORION_TRY(segments_of(b, op, d, in, err));
  uint32_t n_in = 1 + 2 * (uint32_t)d->segments;
  d->mask_at = d->lengths_at = -1;
  if (orion_cpu_has(op, "attn_mask")) {
    orion_cpu_mask *m;
    ORION_TRY(mask_of(b, op, d->keys, d->rows, &m, err));
    d->mask_at = (int)n_in;
    d->mask_row = m->mask.dims[m->mask.rank - 2] == 1 ? 0 : m->mask.strides[m->mask.rank - 2];
    in[n_in++] = m->mask;
    d->lengths_at = (int)n_in;
    in[n_in++] = m->lengths;
    ORION_TRY(spread_batch(d, &m->mask, 2, &d->mask, err));
    ORION_TRY(spread_batch(d, &m->lengths, 1, &d->lengths, err));
  }
  ORION_TRY(orion_cpu_result(b, op, 0, &out, err));
  ORION_TRY(spread_batch(d, &out, 2, &d->out, err));
  d->out_row = out.strides[out.rank - 2];
  d->convert = out.dtype != ORION_FP32;
  merge_group(d);
  d->blocks = (d->rows + ROWS - 1) / ROWS;
  orion_cpu_step step = {.run = run_attention,
                         .kind = ORION_CPU_ATTENTION,
                         .n_in = n_in,
                         .in = in,
                         .n_out = 1,
                         .out = &out,
                         .data = d,
                         .scratch = d->convert ? ROWS * d->value_size * sizeof(float) : 0};
  return orion_cpu_add_step(b, &step, err);
}
