// Type rules of multiply-accumulate operations: convolution, pooling windows, products of matrices, attention.
#include <string.h>

#include "ir/infer_rules.h"

// ---- windows --------------------------------------------------------------------------------------------------------

// The window of a convolution or a pooling over n axes of space.
typedef struct window {
  int n;
  int64_t strides[3], pads[6], dilations[3];
  char pad_type;  // 'v'alid, 's'ame (either), 'c'ustom
} window;

static orion_status read_window(orion_infer *c, int n, window *w) {
  static const char *const types[] = {"valid", "same", "same_lower", "custom"};
  const char *type;
  ORION_TRY(orion_infer_need_string(c, "pad_type", &type));
  w->n = n;
  w->pad_type = 0;
  for (int i = 0; i < 4; i++) {
    if (strcmp(type, types[i]) == 0) w->pad_type = types[i][0];
  }
  if (!w->pad_type) {
    return ORION_RULE_FAIL(c, "argument pad_type: \"%s\" (want valid, same, same_lower or custom)", type);
  }
  int64_t v[2 * ORION_MAX_RANK];
  ORION_TRY(orion_infer_ints_n(c, "strides", (size_t)n, 1, v));
  memcpy(w->strides, v, (size_t)n * sizeof *v);
  ORION_TRY(orion_infer_ints_n(c, "dilations", (size_t)n, 1, v));
  memcpy(w->dilations, v, (size_t)n * sizeof *v);
  ORION_TRY(orion_infer_ints_n(c, "pad", (size_t)n * 2, 0, v));
  memcpy(w->pads, v, (size_t)n * 2 * sizeof *v);
  if (w->pad_type != 'c') memset(w->pads, 0, sizeof w->pads);  // counts only with custom
  for (int i = 0; i < n; i++) {
    if (w->strides[i] < 1 || w->dilations[i] < 1 || w->strides[i] > INT32_MAX || w->dilations[i] > INT32_MAX) {
      return ORION_RULE_FAIL(c, "arguments strides and dilations: %lld and %lld (want 1 or more)",
                             (long long)w->strides[i], (long long)w->dilations[i]);
    }
    if (w->pads[2 * i] < 0 || w->pads[2 * i + 1] < 0 || w->pads[2 * i] > INT32_MAX || w->pads[2 * i + 1] > INT32_MAX) {
      return ORION_RULE_FAIL(c, "argument pad: must not be negative");
    }
  }
  return ORION_OK;
}

static int64_t span(const window *w, int i, int64_t kernel) { return (kernel - 1) * w->dilations[i] + 1; }

// Size of spatial dimension i after the window moved over it. `ceil_mode` counts a last, partial window.
static orion_status window_size(orion_infer *c, const window *w, int i, int64_t in, int64_t kernel,
                                bool ceil_mode, int64_t *out) {
  *out = ORION_DIM_UNKNOWN;
  if (in < 0 || kernel < 0) return ORION_OK;
  if (kernel > INT32_MAX || in > INT64_MAX / 4) return ORION_RULE_FAIL(c, "the window is too large");
  int64_t stride = w->strides[i], before = w->pads[2 * i], room;
  if (w->pad_type == 's') {
    *out = (in + stride - 1) / stride;
    return ORION_OK;
  }
  room = in + before + w->pads[2 * i + 1] - span(w, i, kernel);
  if (room < 0 || kernel == 0) {
    return ORION_RULE_FAIL(c, "argument x: spatial size %lld is smaller than the window of %lld", (long long)in,
                           (long long)span(w, i, kernel));
  }
  *out = room / stride + 1;
  if (ceil_mode && room % stride) {
    if (*out * stride < in + before) ++*out;  // no window starts in the padding behind
  }
  return ORION_OK;
}

orion_status orion_rule_pool(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x");
  if (x->rank < 3 || x->rank > 5) {
    return ORION_RULE_FAIL(c, "argument x: has rank %d (want 3 to 5: batch, channels, space)", x->rank);
  }
  window w;
  int64_t kernel[2 * ORION_MAX_RANK], dims[ORION_MAX_RANK] = {x->dims[0], x->dims[1]};
  bool ceil_mode;
  int n = x->rank - 2;
  ORION_TRY(read_window(c, n, &w));
  ORION_TRY(orion_infer_ints_n(c, "kernel_sizes", (size_t)n, 1, kernel));
  ORION_TRY(orion_infer_bool(c, "ceil_mode", &ceil_mode));
  for (int i = 0; i < n; i++) {
    if (kernel[i] < 1) return ORION_RULE_FAIL(c, "argument kernel_sizes: must be positive");
    ORION_TRY(window_size(c, &w, i, x->dims[i + 2], kernel[i], ceil_mode, &dims[i + 2]));
  }
  return orion_infer_emit(c, x->dtype, x->rank, dims);
}

// ---- convolution ----------------------------------------------------------------------------------------------------

// Ranks, groups and bias, common to both directions. `out_axis` of the weight holds output channels.
static orion_status conv_channels(orion_infer *c, bool transposed, int64_t *out_channels) {
  const orion_type *x = orion_infer_arg(c, "x"), *weight = orion_infer_arg(c, "weight");
  const orion_type *bias = orion_infer_arg(c, "bias");
  int64_t groups, merged;
  if (x->rank < 3 || x->rank > 5) {
    return ORION_RULE_FAIL(c, "argument x: has rank %d (want 3 to 5: batch, channels, space)", x->rank);
  }
  if (weight->rank != x->rank) {
    return ORION_RULE_FAIL(c, "argument weight: has rank %d (x has %d)", weight->rank, x->rank);
  }
  ORION_TRY(orion_infer_need_int(c, "groups", &groups));
  if (groups < 1) return ORION_RULE_FAIL(c, "argument groups: is %lld (want 1 or more)", (long long)groups);
  int64_t in = transposed ? weight->dims[0] : orion_dim_mul(weight->dims[1], groups);
  *out_channels = transposed ? orion_dim_mul(weight->dims[1], groups) : weight->dims[0];
  if (!orion_dim_agree(in, x->dims[1], &merged)) {
    return ORION_RULE_FAIL(c, "argument weight: shape %s with %lld groups takes %lld channels, x has %lld",
                           orion_shape_text(weight->rank, weight->dims).text, (long long)groups, (long long)in,
                           (long long)x->dims[1]);
  }
  if (weight->dims[0] > 0 && weight->dims[0] % groups) {
    return ORION_RULE_FAIL(c, "argument groups: %lld does not divide the weight's %lld channels", (long long)groups,
                           (long long)weight->dims[0]);
  }
  bool bias_ok = !bias || (bias->rank == 1 && orion_dim_agree(bias->dims[0], *out_channels, &merged));
  if (bias_ok) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument bias: shape %s (want [%lld])", orion_shape_text(bias->rank, bias->dims).text,
                         (long long)*out_channels);
}

orion_status orion_rule_conv(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x"), *weight = orion_infer_arg(c, "weight");
  int64_t dims[ORION_MAX_RANK];
  window w;
  ORION_TRY(conv_channels(c, false, &dims[1]));
  ORION_TRY(read_window(c, x->rank - 2, &w));
  dims[0] = x->dims[0];
  for (int i = 0; i < w.n; i++) {
    ORION_TRY(window_size(c, &w, i, x->dims[i + 2], weight->dims[i + 2], false, &dims[i + 2]));
  }
  return orion_infer_emit(c, x->dtype, x->rank, dims);
}

orion_status orion_rule_conv_transpose(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x"), *weight = orion_infer_arg(c, "weight");
  int64_t dims[ORION_MAX_RANK], given[ORION_MAX_RANK];
  size_t n_given = 0;
  window w;
  ORION_TRY(conv_channels(c, true, &dims[1]));
  ORION_TRY(read_window(c, x->rank - 2, &w));
  dims[0] = x->dims[0];
  for (int i = 0; i < w.n; i++) {
    int64_t in = x->dims[i + 2], kernel = weight->dims[i + 2];
    dims[i + 2] = ORION_DIM_UNKNOWN;
    if (in < 0 || kernel < 0 || in > INT32_MAX || kernel > INT32_MAX) continue;
    dims[i + 2] = w.pad_type == 's'
                      ? in * w.strides[i]
                      : (in - 1) * w.strides[i] + span(&w, i, kernel) - w.pads[2 * i] - w.pads[2 * i + 1];
    if (dims[i + 2] < 0) return ORION_RULE_FAIL(c, "argument pad: is larger than the result");
  }
  // A given output shape settles what the strides leave open.
  if (orion_infer_ints(c, "output_shape", ORION_MAX_RANK, given, &n_given) == ORION_KNOWN) {
    if ((int)n_given != x->rank && (int)n_given != w.n) {
      return ORION_RULE_FAIL(c, "argument output_shape: has %zu elements (want %d)", n_given, x->rank);
    }
    memcpy(dims + x->rank - (int)n_given, given, n_given * sizeof *given);
  }
  return orion_infer_emit(c, x->dtype, x->rank, dims);
}

// ---- products -------------------------------------------------------------------------------------------------------

orion_status orion_rule_linear(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x"), *weight = orion_infer_arg(c, "weight");
  const orion_type *bias = orion_infer_arg(c, "bias");
  int64_t merged, dims[ORION_MAX_RANK];
  if (x->rank < 1 || weight->rank != 2 || !orion_dim_agree(x->dims[x->rank - 1], weight->dims[1], &merged)) {
    return ORION_RULE_FAIL(c, "argument weight: shape %s does not fit x of shape %s (want [out, last size of x])",
                           orion_shape_text(weight->rank, weight->dims).text,
                           orion_shape_text(x->rank, x->dims).text);
  }
  if (bias && (bias->rank != 1 || !orion_dim_agree(bias->dims[0], weight->dims[0], &merged))) {
    return ORION_RULE_FAIL(c, "argument bias: shape %s (want [%lld])", orion_shape_text(bias->rank, bias->dims).text,
                           (long long)weight->dims[0]);
  }
  memcpy(dims, x->dims, sizeof dims);
  dims[x->rank - 1] = weight->dims[0];
  return orion_infer_emit(c, x->dtype, x->rank, dims);
}

// A vector is a row on the left and a column on the right, and not transposed; the dimension added is dropped from the
// result. Element types may differ when one side is constant: the other's is the result's.
orion_status orion_rule_matmul(orion_infer *c) {
  const orion_type *x = orion_infer_arg(c, "x"), *y = orion_infer_arg(c, "y");
  bool tx, ty;
  ORION_TRY(orion_infer_bool(c, "transpose_x", &tx));
  ORION_TRY(orion_infer_bool(c, "transpose_y", &ty));
  if (x->rank == 0 || y->rank == 0) {
    return ORION_RULE_FAIL(c, "arguments x and y: ranks %d and %d (want 1 or more)", x->rank, y->rank);
  }
  tx = tx && x->rank > 1;
  ty = ty && y->rank > 1;
  bool const_x = orion_ref_is_const(c->f, orion_op_ref(c->op, "x"));
  bool const_y = orion_ref_is_const(c->f, orion_op_ref(c->op, "y"));
  if (x->dtype != y->dtype && const_x == const_y) {
    return ORION_RULE_FAIL(c, "arguments x and y: element types %s and %s (may differ only when one is constant)",
                           orion_dtype_name(x->dtype), orion_dtype_name(y->dtype));
  }
  int64_t inner_x = x->dims[x->rank - (x->rank > 1 && tx ? 2 : 1)];
  int64_t inner_y = y->dims[y->rank == 1 ? 0 : y->rank - (ty ? 1 : 2)], merged, dims[ORION_MAX_RANK + 2];
  int rank, batch_x = x->rank > 2 ? x->rank - 2 : 0, batch_y = y->rank > 2 ? y->rank - 2 : 0;
  if (!orion_dim_agree(inner_x, inner_y, &merged) ||
      !orion_dims_broadcast(batch_x, x->dims, batch_y, y->dims, &rank, dims)) {
    return ORION_RULE_FAIL(c, "arguments x and y: shapes %s%s and %s%s do not multiply",
                           orion_shape_text(x->rank, x->dims).text, tx ? " transposed" : "",
                           orion_shape_text(y->rank, y->dims).text, ty ? " transposed" : "");
  }
  if (x->rank > 1) dims[rank++] = x->dims[x->rank - (tx ? 1 : 2)];
  if (y->rank > 1) dims[rank++] = y->dims[y->rank - (ty ? 2 : 1)];
  return orion_infer_emit(c, const_x ? y->dtype : x->dtype, rank, dims);
}

// Reads one operand's letters off the equation and settles their sizes. Advances *text behind them.
static orion_status einsum_operand(orion_infer *c, const char **text, const orion_type *t, int64_t *sizes) {
  int axis = 0;
  for (; **text && **text != ',' && **text != '-'; ++*text) {
    unsigned char letter = (unsigned char)**text;
    if (letter == ' ') continue;
    if (letter >= 128 || !((letter | 32) >= 'a' && (letter | 32) <= 'z') || axis >= t->rank) break;
    int64_t d = t->dims[axis++];
    if (sizes[letter] != -2 && sizes[letter] != 1 && d != 1 && !orion_dim_agree(sizes[letter], d, &d)) break;
    if (sizes[letter] == -2 || sizes[letter] == 1 || d != 1) sizes[letter] = d;
  }
  if (axis == t->rank && (**text == ',' || **text == '-')) return ORION_OK;
  return ORION_RULE_FAIL(c, "argument equation: does not fit an operand of shape %s near \"%.20s\"",
                         orion_shape_text(t->rank, t->dims).text, *text);
}

orion_status orion_rule_einsum(orion_infer *c) {
  const orion_arg *values = orion_op_arg(c->op, "values");
  const char *text;
  ORION_TRY(orion_infer_need_string(c, "equation", &text));
  int64_t sizes[128], dims[ORION_MAX_RANK];
  for (int i = 0; i < 128; i++) sizes[i] = -2;  // letter not seen
  for (uint32_t i = 0; i < values->n_refs; i++) {
    ORION_TRY(einsum_operand(c, &text, orion_ref_type(c->f, values->refs[i]), sizes));
    bool last = i + 1 == values->n_refs;
    if (*text != (last ? '-' : ',')) return ORION_RULE_FAIL(c, "argument equation: has not %u operands", values->n_refs);
    if (!last) text++;
  }
  if (strncmp(text, "->", 2) != 0) return ORION_RULE_FAIL(c, "argument equation: lacks \"->\"");
  int rank = 0;
  for (text += 2; *text; text++) {
    unsigned char letter = (unsigned char)*text;
    if (letter == ' ') continue;
    if (letter >= 128 || sizes[letter] == -2 || rank == ORION_MAX_RANK) {
      return ORION_RULE_FAIL(c, "argument equation: no operand has result dimension '%.1s'", text);
    }
    dims[rank++] = sizes[letter];
  }
  return orion_infer_emit(c, orion_ref_type(c->f, values->refs[0])->dtype, rank, dims);
}

// query [..., L, E], key [..., S, E], value [..., S, V], mask to [..., L, S] -> [..., L, V]. Core ML wants the leading
// dimensions equal; here they also broadcast, so that grouped heads need no copies of keys and values.
orion_status orion_rule_sdpa(orion_infer *c) {
  const orion_type *q = orion_infer_arg(c, "query"), *k = orion_infer_arg(c, "key"), *v = orion_infer_arg(c, "value");
  const orion_type *mask = orion_infer_arg(c, "attn_mask");
  if (q->rank < 3 || k->rank < 3 || v->rank < 3) {
    return ORION_RULE_FAIL(c, "arguments query, key, value: ranks %d, %d, %d (want 3 or more)", q->rank, k->rank,
                           v->rank);
  }
  int64_t dims[ORION_MAX_RANK], scores[ORION_MAX_RANK], merged;
  int rank;
  bool ok = orion_dims_broadcast(q->rank - 2, q->dims, k->rank - 2, k->dims, &rank, dims) &&
            orion_dims_broadcast(rank, dims, v->rank - 2, v->dims, &rank, dims) &&
            orion_dim_agree(q->dims[q->rank - 1], k->dims[k->rank - 1], &merged) &&
            orion_dim_agree(k->dims[k->rank - 2], v->dims[v->rank - 2], &merged);
  if (!ok) {
    return ORION_RULE_FAIL(c, "arguments query %s, key %s, value %s: do not fit ([..., L, E], [..., S, E], [..., S, V])",
                           orion_shape_text(q->rank, q->dims).text, orion_shape_text(k->rank, k->dims).text,
                           orion_shape_text(v->rank, v->dims).text);
  }
  memcpy(scores, dims, sizeof scores);
  scores[rank] = dims[rank] = q->dims[q->rank - 2];
  scores[rank + 1] = merged;
  dims[rank + 1] = v->dims[v->rank - 1];
  rank += 2;
  if (mask) {
    int mask_rank;
    int64_t both[ORION_MAX_RANK];
    if (mask->dtype != ORION_BOOL && mask->dtype != q->dtype) {
      return ORION_RULE_FAIL(c, "argument attn_mask: is %s (want bool or %s)", orion_type_text(mask).text,
                             orion_dtype_name(q->dtype));
    }
    if (!orion_dims_broadcast(mask->rank, mask->dims, rank, scores, &mask_rank, both) || mask_rank != rank ||
        !orion_dim_agree(both[rank - 2], scores[rank - 2], &merged) ||
        !orion_dim_agree(both[rank - 1], scores[rank - 1], &merged)) {
      return ORION_RULE_FAIL(c, "argument attn_mask: shape %s does not broadcast to %s",
                             orion_shape_text(mask->rank, mask->dims).text, orion_shape_text(rank, scores).text);
    }
  }
  return orion_infer_emit(c, q->dtype, rank, dims);
}
