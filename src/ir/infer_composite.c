// Type rules of the composites of model graphs and of their gradients: every value is [T, C].
#include "ir/infer_rules.h"

static orion_status want_rank(orion_infer *c, const char *name, int rank) {
  const orion_type *t = orion_infer_arg(c, name);
  if (t->rank == rank) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: has rank %d (want %d)", name, t->rank, rank);
}

static orion_status want_same_shape(orion_infer *c, const char *name, const orion_type *like) {
  const orion_type *t = orion_infer_arg(c, name);
  int64_t merged;
  bool ok = t->rank == like->rank;
  for (int i = 0; ok && i < t->rank; i++) ok = orion_dim_agree(t->dims[i], like->dims[i], &merged);
  if (ok) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument %s: shape %s (want %s)", name, orion_shape_text(t->rank, t->dims).text,
                         orion_shape_text(like->rank, like->dims).text);
}

// ---- attention ------------------------------------------------------------------------------------------------------

// Heads, batch, and the shapes of q [T, heads*n], k and v [T, kv_heads*n]. *out_width: kv_heads*n.
static orion_status attention_shapes(orion_infer *c, int64_t *out_width) {
  const orion_type *q = orion_infer_arg(c, "q"), *k = orion_infer_arg(c, "k"), *v = orion_infer_arg(c, "v");
  int64_t heads, kv_heads, batch, merged;
  ORION_TRY(orion_infer_need_int(c, "heads", &heads));
  ORION_TRY(orion_infer_need_int(c, "kv_heads", &kv_heads));
  ORION_TRY(orion_infer_need_int(c, "batch", &batch));
  if (heads < 1 || kv_heads < 1 || heads % kv_heads) {
    return ORION_RULE_FAIL(c, "arguments heads and kv_heads: %lld and %lld (the second must divide the first)",
                           (long long)heads, (long long)kv_heads);
  }
  if (q->rank != 2 || k->rank != 2 || v->rank != 2) {
    return ORION_RULE_FAIL(c, "arguments q, k, v: must have rank 2 ([positions, features])");
  }
  if (batch < 1 || (q->dims[0] >= 0 && q->dims[0] % batch)) {
    return ORION_RULE_FAIL(c, "argument batch: %lld positions do not divide into %lld sequences", (long long)q->dims[0],
                           (long long)batch);
  }
  if (q->dims[1] >= 0 && q->dims[1] % heads) {
    return ORION_RULE_FAIL(c, "argument q: %lld features do not divide by %lld heads", (long long)q->dims[1],
                           (long long)heads);
  }
  int64_t width = q->dims[1] < 0 ? ORION_DIM_UNKNOWN : q->dims[1] / heads * kv_heads;
  if (!orion_dim_agree(k->dims[1], width, &merged) || !orion_dim_agree(v->dims[1], width, &merged) ||
      !orion_dim_agree(k->dims[0], q->dims[0], &merged) || !orion_dim_agree(v->dims[0], q->dims[0], &merged)) {
    return ORION_RULE_FAIL(c, "arguments k %s and v %s: want [%lld, %lld]", orion_shape_text(2, k->dims).text,
                           orion_shape_text(2, v->dims).text, (long long)q->dims[0], (long long)width);
  }
  *out_width = width;
  return ORION_OK;
}

// Caches [S, width] and their mask [1, S].
static orion_status attention_caches(orion_infer *c, int64_t width) {
  const orion_type *kc = orion_infer_arg(c, "k_cache"), *vc = orion_infer_arg(c, "v_cache");
  const orion_type *mask = orion_infer_arg(c, "mask");
  int64_t merged, s, batch;
  if (!kc != !vc) return ORION_RULE_FAIL(c, "arguments k_cache and v_cache: only one of them is given");
  if (!kc) return ORION_OK;
  if (orion_infer_int(c, "batch", &batch) == ORION_KNOWN && batch != 1) {
    return ORION_RULE_FAIL(c, "argument batch: is %lld (a cache is of one sequence)", (long long)batch);
  }
  ORION_TRY(want_rank(c, "k_cache", 2));
  ORION_TRY(want_rank(c, "v_cache", 2));
  if (!orion_dim_agree(kc->dims[1], width, &merged) || !orion_dim_agree(vc->dims[1], width, &merged) ||
      !orion_dim_agree(kc->dims[0], vc->dims[0], &s)) {
    return ORION_RULE_FAIL(c, "arguments k_cache %s and v_cache %s: want [S, %lld]", orion_shape_text(2, kc->dims).text,
                           orion_shape_text(2, vc->dims).text, (long long)width);
  }
  if (mask && (mask->rank != 2 || mask->dims[0] != 1 || !orion_dim_agree(mask->dims[1], s, &merged))) {
    return ORION_RULE_FAIL(c, "argument mask: shape %s (want [1, %lld])", orion_shape_text(mask->rank, mask->dims).text,
                           (long long)s);
  }
  return ORION_OK;
}

orion_status orion_rule_orion_attention(orion_infer *c) {
  const orion_type *q = orion_infer_arg(c, "q");
  int64_t width;
  ORION_TRY(attention_shapes(c, &width));
  ORION_TRY(attention_caches(c, width));
  return orion_infer_emit_like(c, q, q->dtype);
}

orion_status orion_rule_orion_attention_grad(orion_infer *c) {
  static const char *const names[] = {"q", "k", "v"};
  int64_t width;
  ORION_TRY(attention_shapes(c, &width));
  ORION_TRY(want_same_shape(c, "y", orion_infer_arg(c, "q")));
  ORION_TRY(want_same_shape(c, "dy", orion_infer_arg(c, "q")));
  for (int i = 0; i < 3; i++) {
    const orion_type *t = orion_infer_arg(c, names[i]);
    ORION_TRY(orion_infer_emit_like(c, t, t->dtype));
  }
  return ORION_OK;
}

// ---- adapters -------------------------------------------------------------------------------------------------------

// x [T, C], a [R, C], b [R, N], gate [T, R] -> [T, N].
orion_status orion_rule_orion_lora(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x"), *a = orion_infer_arg(c, "a"), *b = orion_infer_arg(c, "b");
  const orion_type *gate = orion_infer_arg(c, "gate");
  int64_t merged;
  ORION_TRY(want_rank(c, "x", 2));
  ORION_TRY(want_rank(c, "a", 2));
  ORION_TRY(want_rank(c, "b", 2));
  if (!orion_dim_agree(x->dims[1], a->dims[1], &merged) || !orion_dim_agree(a->dims[0], b->dims[0], &merged)) {
    return ORION_RULE_FAIL(c, "arguments a %s and b %s: want [R, %lld] and [R, N]", orion_shape_text(2, a->dims).text,
                           orion_shape_text(2, b->dims).text, (long long)x->dims[1]);
  }
  if (gate && (gate->rank != 2 || !orion_dim_agree(gate->dims[0], x->dims[0], &merged) ||
               !orion_dim_agree(gate->dims[1], a->dims[0], &merged))) {
    return ORION_RULE_FAIL(c, "argument gate: shape %s (want [%lld, %lld])", orion_shape_text(gate->rank, gate->dims).text,
                           (long long)x->dims[0], (long long)a->dims[0]);
  }
  return orion_infer_emit(c, x->dtype, 2, (int64_t[]){x->dims[0], b->dims[1]});
}

// ---- normalisation, loss --------------------------------------------------------------------------------------------

orion_status orion_rule_orion_rms_norm_grad(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x"), *gamma = orion_infer_arg(c, "gamma");
  ORION_TRY(want_rank(c, "x", 2));
  ORION_TRY(want_rank(c, "gamma", 1));
  ORION_TRY(want_same_shape(c, "dy", x));
  ORION_TRY(orion_infer_emit_like(c, x, x->dtype));
  return orion_infer_emit_like(c, gamma, gamma->dtype);
}

static orion_status loss_shapes(orion_infer *c) {
  const orion_type *logits = orion_infer_arg(c, "logits"), *targets = orion_infer_arg(c, "targets");
  int64_t merged;
  ORION_TRY(want_rank(c, "logits", 2));
  ORION_TRY(want_rank(c, "targets", 1));
  if (orion_dim_agree(targets->dims[0], logits->dims[0], &merged)) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument targets: shape %s (want [%lld])",
                         orion_shape_text(targets->rank, targets->dims).text, (long long)logits->dims[0]);
}

orion_status orion_rule_orion_cross_entropy(orion_infer *c) {
  int64_t one = 1;
  ORION_TRY(loss_shapes(c));
  return orion_infer_emit(c, ORION_FP32, 1, &one);
}

orion_status orion_rule_orion_cross_entropy_grad(orion_infer *c) {
  const orion_type *logits = orion_infer_arg(c, "logits"), *dloss = orion_infer_arg(c, "dloss");
  ORION_TRY(loss_shapes(c));
  if (dloss->dtype != ORION_FP32 || dloss->rank != 1 || (dloss->dims[0] >= 0 && dloss->dims[0] != 1)) {
    return ORION_RULE_FAIL(c, "argument dloss: is %s (want tensor<fp32, [1]>)", orion_type_text(dloss).text);
  }
  return orion_infer_emit_like(c, logits, logits->dtype);
}
