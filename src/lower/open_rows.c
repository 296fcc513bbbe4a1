// Opening composites for the cpu device: values stay [T, C] row-major.
//
//   rms_norm   y = x * rsqrt(mean(x*x) + eps) * gamma, over groups of n features seen as [T, g, n]
//   rope       [T, H, n] split in halves a, b: a*cos - b*sin, b*cos + a*sin
//   lora       (x a^T) * gate, times b: linear by an input, then matmul
//   attention  scaled_dot_product_attention(query [1, KV, G, T, n], key and value [1, KV, 1, S+T, n], mask [T, S+T]);
//              without grouping ranks are 4: [1, H, T, n]. Cached keys and new keys are joined by a concat with no
//              other user, and dimensions of one are moved by reshape, so that the device need not copy either.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lower/lower_internal.h"

static orion_ref reshape(lowering *l, const char *stem, orion_ref x, int rank, const int64_t *dims) {
  orion_builder *b = &l->b;
  return ORION_BUILD(b, stem, ORION_OP_reshape, {"x", x}, {"shape", orion_build_ints(b, "shape", (size_t)rank, dims)});
}

static orion_ref transpose(lowering *l, const char *stem, orion_ref x, int rank, const int64_t *perm) {
  orion_builder *b = &l->b;
  return ORION_BUILD(b, stem, ORION_OP_transpose, {"x", x}, {"perm", orion_build_ints(b, "perm", (size_t)rank, perm)});
}

static orion_ref concat(lowering *l, const char *stem, orion_ref x, orion_ref y, int64_t axis) {
  orion_builder *b = &l->b;
  orion_in rest[] = {{"axis", orion_build_int(b, "axis", axis)}, {"interleave", orion_build_bool(b, "interleave", false)}, {0}};
  return orion_build_tuple_op(b, stem, ORION_OP_concat, "values", 2, (orion_ref[]){x, y}, rest);
}

static orion_ref open_rms_norm(lowering *l, const orion_op *op, const orion_type *type) {
  orion_builder *b = &l->b;
  double epsilon = 0;
  int64_t groups = 1, T = type->dims[0], C = type->dims[1];
  orion_op_float(l->from, op, "epsilon", &epsilon);
  orion_op_int(l->from, op, "groups", &groups);
  orion_ref x = mapped(l, op, "x");
  if (groups > 1) x = reshape(l, "norm_in", x, 3, (int64_t[]){T, groups, C / groups});
  orion_ref squares = ORION_BUILD(b, "norm_sq", ORION_OP_mul, {"x", x}, {"y", x});
  orion_ref mean = ORION_BUILD(b, "norm_ms", ORION_OP_reduce_mean, {"x", squares},
                               {"axes", orion_build_ints(b, "axes", 1, (int64_t[]){-1})},
                               {"keep_dims", orion_build_bool(b, "keep", true)});
  orion_ref scale = ORION_BUILD(b, "norm_r", ORION_OP_rsqrt, {"x", mean},
                                {"epsilon", orion_build_float(b, "eps", type->dtype, epsilon)});
  orion_ref y = ORION_BUILD(b, "norm_x", ORION_OP_mul, {"x", x}, {"y", scale});
  y = ORION_BUILD(b, "norm_y", ORION_OP_mul, {"x", y}, {"y", mapped(l, op, "gamma")});
  return groups > 1 ? reshape(l, "norm_out", y, 2, (int64_t[]){T, C}) : y;
}

static orion_ref half_product(lowering *l, const char *stem, orion_ref x, orion_ref y) {
  return ORION_BUILD(&l->b, stem, ORION_OP_mul, {"x", x}, {"y", y});
}

static orion_ref slice_last(lowering *l, const char *stem, orion_ref x, int64_t begin, int64_t size, const int64_t *dims) {
  orion_builder *b = &l->b;
  return ORION_BUILD(b, stem, ORION_OP_slice_by_size, {"x", x},
                     {"begin", orion_build_ints(b, "begin", 3, (int64_t[]){0, 0, begin})},
                     {"size", orion_build_ints(b, "size", 3, (int64_t[]){dims[0], dims[1], size})});
}

static orion_ref open_rope(lowering *l, const orion_op *op, const orion_type *type) {
  orion_builder *b = &l->b;
  int64_t heads = 1, T = type->dims[0], C = type->dims[1];
  orion_op_int(l->from, op, "heads", &heads);
  int64_t n = C / heads, half = n / 2, dims[] = {T, heads, n};
  orion_ref x = reshape(l, "rope_in", mapped(l, op, "x"), 3, dims);
  orion_ref cos = reshape(l, "rope_cos", mapped(l, op, "cos"), 3, (int64_t[]){T, 1, half});
  orion_ref sin = reshape(l, "rope_sin", mapped(l, op, "sin"), 3, (int64_t[]){T, 1, half});
  orion_ref lo = slice_last(l, "rope_a", x, 0, half, dims), hi = slice_last(l, "rope_b", x, half, half, dims);
  orion_ref first = ORION_BUILD(b, "rope_lo", ORION_OP_sub, {"x", half_product(l, "rope_ac", lo, cos)},
                                {"y", half_product(l, "rope_bs", hi, sin)});
  orion_ref second = ORION_BUILD(b, "rope_hi", ORION_OP_add, {"x", half_product(l, "rope_bc", hi, cos)},
                                 {"y", half_product(l, "rope_as", lo, sin)});
  return reshape(l, "rope_out", concat(l, "rope_y", first, second, 2), 2, (int64_t[]){T, C});
}

// [B*T, H*n] -> [B, H, T, n]; a reshape where T or H is 1.
static orion_ref to_heads(lowering *l, const char *stem, orion_ref x, int64_t B, int64_t T, int64_t H, int64_t n) {
  if (T == 1 || H == 1) return reshape(l, stem, x, 4, (int64_t[]){B, H, T, n});
  x = reshape(l, stem, x, 4, (int64_t[]){B, T, H, n});
  return transpose(l, stem, x, 4, (int64_t[]){0, 2, 1, 3});
}

// mask [T, S+T]: the caller's row for the cached positions, the causal triangle for the new ones. All layers share it.
static orion_ref full_mask(lowering *l, orion_ref mask, int64_t T, int64_t S, orion_dtype dtype) {
  orion_builder *b = &l->b;
  if (S == 0) return T == 1 ? ORION_NONE : orion_lowering_causal(l, dtype, T, 2);
  if (l->full_mask != ORION_NONE && l->full_mask_from == mask && l->causal_tokens == T) return l->full_mask;
  l->full_mask_from = mask;
  if (T > 1) {  // repeat the row T times
    void *bytes;
    const orion_data *zeros = orion_data_new(l->program->data, dtype, (size_t)T, 1, &bytes);
    if (!zeros) {
      orion_builder_fail(b, ORION_NO_MEMORY, "mask: out of memory");
      return ORION_NONE;
    }
    orion_ref column = orion_build_weight(b, "zeros", zeros, 2, (int64_t[]){T, 1});
    mask = ORION_BUILD(b, "mask_rows", ORION_OP_add, {"x", mask}, {"y", column});
  }
  l->full_mask = concat(l, "mask_all", mask, orion_lowering_causal(l, dtype, T, 2), 1);
  return l->full_mask;
}

// Both products stay in rows; the small factor in the middle takes gate and scale.
static orion_ref open_lora(lowering *l, const orion_op *op, const orion_type *type) {
  orion_builder *b = &l->b;
  double scale = 1;
  orion_op_float(l->from, op, "scale", &scale);
  orion_ref h = ORION_BUILD(b, "lora_h", ORION_OP_linear, {"x", mapped(l, op, "x")}, {"weight", mapped(l, op, "a")});
  if (orion_op_arg(op, "gate")) h = half_product(l, "lora_g", h, mapped(l, op, "gate"));
  if (scale != 1) h = half_product(l, "lora_s", h, orion_build_float(b, "lora_scale", type->dtype, scale));
  return ORION_BUILD(b, "lora_y", ORION_OP_matmul, {"x", h}, {"y", mapped(l, op, "b")},
                     {"transpose_x", orion_build_bool(b, "tx", false)}, {"transpose_y", orion_build_bool(b, "ty", false)});
}

typedef struct attention_shape {
  int64_t B, T, S, heads, kv_heads, n;  // B sequences of T positions
  orion_dtype compute;
} attention_shape;

// Cached and new keys (or values) as one tensor [1, KV, S+T, n]. The cache may be kept narrower than `compute`.
static orion_ref cached_and_new(lowering *l, const orion_op *op, const char *new_arg, const char *cache_arg,
                                const attention_shape *a) {
  orion_builder *b = &l->b;
  orion_ref fresh = to_heads(l, new_arg, mapped(l, op, new_arg), a->B, a->T, a->kv_heads, a->n);
  if (a->S == 0) return fresh;
  orion_ref cache = mapped(l, op, cache_arg);
  const orion_type *type = orion_ref_type(l->to, cache);
  if (!type) return ORION_NONE;
  bool narrow = type->dtype != a->compute;
  if (narrow) {
    fresh = ORION_BUILD(b, "kv_narrow", ORION_OP_cast, {"x", fresh},
                        {"dtype", orion_build_string(b, "dtype", orion_dtype_name(type->dtype))});
  }
  orion_ref all = concat(l, "kv_all", cache, fresh, 2);
  if (!narrow) return all;
  return ORION_BUILD(b, "kv_wide", ORION_OP_cast, {"x", all},
                     {"dtype", orion_build_string(b, "dtype", orion_dtype_name(a->compute))});
}

// [B*T, H*n] -> [B, KV, G, T, n]: the heads of a group side by side.
static orion_ref to_groups(lowering *l, const char *stem, orion_ref x, const attention_shape *a) {
  int64_t G = a->heads / a->kv_heads;
  if (a->T == 1) return reshape(l, stem, x, 5, (int64_t[]){a->B, a->kv_heads, G, 1, a->n});
  x = reshape(l, stem, x, 5, (int64_t[]){a->B, a->T, a->kv_heads, G, a->n});
  return transpose(l, stem, x, 5, (int64_t[]){0, 2, 3, 1, 4});
}

static attention_shape shape_of(const lowering *l, const orion_op *op) {
  const orion_type *q = orion_ref_type(l->from, orion_op_ref(op, "q"));
  const orion_type *cache = orion_ref_type(l->from, orion_op_ref(op, "k_cache"));
  attention_shape a = {.B = 1, .compute = q->dtype, .S = cache ? cache->dims[0] : 0};
  orion_op_int(l->from, op, "heads", &a.heads);
  orion_op_int(l->from, op, "kv_heads", &a.kv_heads);
  orion_op_int(l->from, op, "batch", &a.B);
  a.T = q->dims[0] / a.B;
  a.n = q->dims[1] / a.heads;
  return a;
}

// scaled_dot_product_attention divides by sqrt(n); a composite that wants another scale gets a scaled query.
static orion_ref scaled_query(lowering *l, const orion_op *op, const attention_shape *a) {
  double scale = 1;
  orion_ref q = mapped(l, op, "q");
  if (!orion_op_float(l->from, op, "scale", &scale)) return q;
  double factor = scale * sqrt((double)a->n);
  if (fabs(factor - 1) < 1e-3) return q;  // within the rounding of an fp16 constant
  return ORION_BUILD(&l->b, "query_scaled", ORION_OP_mul, {"x", q}, {"y", orion_build_float(&l->b, "factor", a->compute, factor)});
}

static orion_ref open_attention(lowering *l, const orion_op *op, const orion_type *type) {
  orion_builder *b = &l->b;
  attention_shape a = shape_of(l, op);
  int64_t G = a.heads / a.kv_heads;
  orion_ref key = cached_and_new(l, op, "k", "k_cache", &a), value = cached_and_new(l, op, "v", "v_cache", &a);
  orion_ref mask = full_mask(l, mapped(l, op, "mask"), a.T, a.S, a.compute);
  orion_ref query = scaled_query(l, op, &a);
  if (G == 1) {
    query = to_heads(l, "query", query, a.B, a.T, a.heads, a.n);
  } else {
    int64_t rows = a.S + a.T;
    key = reshape(l, "key_groups", key, 5, (int64_t[]){a.B, a.kv_heads, 1, rows, a.n});
    value = reshape(l, "value_groups", value, 5, (int64_t[]){a.B, a.kv_heads, 1, rows, a.n});
    query = to_groups(l, "query", query, &a);
  }
  orion_ref y = ORION_BUILD(b, "attention", ORION_OP_scaled_dot_product_attention, {"query", query}, {"key", key},
                            {"value", value}, {"attn_mask", mask});
  if (a.T > 1) {
    y = G == 1 ? transpose(l, "attention_t", y, 4, (int64_t[]){0, 2, 1, 3})
               : transpose(l, "attention_t", y, 5, (int64_t[]){0, 3, 1, 2, 4});
  }
  return reshape(l, "attention_out", y, 2, (int64_t[]){a.B * a.T, a.heads * a.n});
}

// Ops that stay as they are, constants among them. Results keep their types: [T, C] is this layout too.
static orion_ref map_ref(void *ctx, orion_ref ref) { return ((lowering *)ctx)->map[ref]; }

static orion_ref copy_op(lowering *l, orion_op_id id) {
  if (!orion_copy_op(l->to, l->from, id, map_ref, l, l->map)) {
    orion_builder_fail(&l->b, ORION_NO_MEMORY, "lowering: out of memory");
  }
  return l->map[l->from->ops[id].results[0]];
}

// A port is seen as [T, C]; vectors (tokens, targets, biases that are inputs) have one column.
static int64_t rows_of(const orion_type *t) { return t->rank > 0 ? t->dims[0] : 1; }
static int64_t cols_of(const orion_type *t) { return t->rank > 1 ? t->dims[1] : 1; }

// The number of heads if the value is a cache of an attention (directly or behind a cast); else 0.
static int64_t cache_heads(const orion_function *f, orion_value_id value) {
  for (orion_op_id id = f->first; id != ORION_NONE; id = f->ops[id].next) {
    const orion_op *op = &f->ops[id];
    if (op->code == ORION_OP_cast && orion_op_value(op, "x") == value) {
      int64_t heads = cache_heads(f, op->results[0]);
      if (heads) return heads;
    }
    if (op->code != ORION_OP_orion_attention) continue;
    int64_t heads;
    if ((orion_op_value(op, "k_cache") == value || orion_op_value(op, "v_cache") == value) &&
        orion_op_int(f, op, "kv_heads", &heads)) {
      return heads;
    }
  }
  return 0;
}

static orion_status open_params(lowering *l, orion_error *err) {
  for (size_t i = 0; i < l->from->n_params; i++) {
    const orion_value *v = &l->from->values[l->from->params[i]];
    const orion_type *t = v->type;
    // Caches lie by heads, [1, KV, S, n], so that attention reads rows of a head one after another.
    int64_t heads = cache_heads(l->from, l->from->params[i]);
    orion_value_id p;
    orion_arrangement arrangement = ORION_ROWS;
    if (heads > 0) {
      arrangement = ORION_HEADS;
      p = orion_build_param(&l->b, v->name, t->dtype, 4, (int64_t[]){1, heads, t->dims[0], t->dims[1] / heads});
    } else {
      p = orion_build_param(&l->b, v->name, t->dtype, t->rank, t->dims);
    }
    l->map[l->from->params[i]] = p;
    if (p == ORION_NONE ||
        !orion_lowering_port(l, v->name, v->name, true, arrangement, rows_of(t), cols_of(t), heads > 0 ? heads : 1, 0)) {
      return ORION_OOM(err, "lowering");
    }
  }
  return ORION_OK;
}

// A cast of a cache is left out: attention joins the cache with the new rows in the cache's own type first.
static bool is_cache_cast(const lowering *l, const orion_op *op) {
  return op->code == ORION_OP_cast && cache_heads(l->from, op->results[0]) > 0;
}

// Opens one operation and notes its results.
static void open_op(lowering *l, orion_op_id id) {
  const orion_op *op = &l->from->ops[id];
  const orion_type *type = orion_value_type(l->from, op->results[0]);
  orion_ref *y = &l->map[op->results[0]];
  if (orion_opcode_info(op->code)->cls != ORION_CLASS_COMPOSITE || op->code == ORION_OP_orion_fence) {
    *y = is_cache_cast(l, op) ? mapped(l, op, "x") : copy_op(l, id);
    return;
  }
  snprintf(l->b.prefix, sizeof l->b.prefix, "%.50s_", l->from->values[op->results[0]].name);
  switch (op->code) {
    case ORION_OP_orion_rms_norm: *y = open_rms_norm(l, op, type); break;
    case ORION_OP_orion_rope: *y = open_rope(l, op, type); break;
    case ORION_OP_orion_lora: *y = open_lora(l, op, type); break;
    case ORION_OP_orion_attention: *y = open_attention(l, op, type); break;
    default: orion_open_rows_training(l, op); break;
  }
  l->b.prefix[0] = 0;
}

orion_status orion_open_rows(lowering *l, orion_error *err) {
  ORION_TRY(open_params(l, err));
  for (orion_op_id id = l->from->first; id != ORION_NONE; id = l->from->ops[id].next) {
    open_op(l, id);
    if (l->b.status != ORION_OK) return orion_builder_finish(&l->b, err);
  }
  for (size_t i = 0; i < l->from->n_outputs; i++) {
    orion_value_id v = l->from->outputs[i];
    const orion_type *t = orion_value_type(l->from, v);
    const char *name = l->from->values[v].name;
    orion_build_output(&l->b, l->map[v], name);
    if (!orion_lowering_port(l, name, name, false, ORION_ROWS, rows_of(t), cols_of(t), 1, 0)) {
      return ORION_OOM(err, "lowering");
    }
  }
  return orion_builder_finish(&l->b, err);
}
