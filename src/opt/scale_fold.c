// scale_fold: a multiplication by a constant goes into the weights that made what is multiplied.
//
//   y = mul(add(conv(x, w), b), s)   ->   y = add(conv(x, w*s), b*s)
//
// The scale travels up through whatever is linear: movements, sums (both sides), products (one side), matrix products
// (one side), until every path ends in a constant: weights and biases of conv and linear, gamma and beta of a norm, a
// constant operand. All values on the way must have no use outside of it. So attention's 1/sqrt(n) reaches the query's
// projection through bias, reshape and rotation. A scale for each output channel folds into a convolution or linear layer
// directly below, its bias in between.
//
// Exact where the scale is a power of two (underflow aside). Other scales fold where the constant is fp32, or a narrow
// copy of a wider one: the product is then rounded once, as the constant itself was, and the multiplication's own rounding
// goes. A constant that the program holds in fp16 only is left alone, for its rounding would come on top. In fp16
// programs scales beyond 2^6 or below 2^-6 stay: weights would leave the range where fp16 is precise.
#include <math.h>
#include <string.h>

#include "opt/passes.h"
#include "opt/rewrite.h"

enum { MAX_REGION = 64, SHARED_BYTES = 4096 };
#define MAX_SCALE 64.0  // in fp16

typedef struct leaf {
  orion_op_id op;
  const char *arg;
} leaf;

typedef struct region {
  orion_rewrite *r;
  bool any_scale;       // the scale is no power of two
  orion_op_id ops[MAX_REGION];
  size_t n_ops;
  orion_value_id edges[2 * MAX_REGION];  // values the scale went up through, once for each use
  size_t n_edges;
  leaf leaves[2 * MAX_REGION];
  size_t n_leaves;
} region;

static bool is_power_of_two(double s) {
  int exponent;
  return s != 0 && isfinite(s) && fabs(frexp(s, &exponent)) == 0.5;
}

static bool from_wider(const orion_data *d) {
  return d->dtype == ORION_FP32 ||
         (d->kind == ORION_DATA_CAST && (d->sources[0]->dtype == ORION_FP32 || d->sources[0]->dtype == ORION_BF16));
}

// Whether the constant may be replaced by a scaled copy.
static bool may_scale(orion_rewrite *r, orion_ref ref, bool any_scale) {
  const orion_type *t;
  const orion_data *d = orion_rewrite_data(r, ref, &t);
  size_t bytes;
  if (!d || orion_ref_is_literal(ref) || (t->dtype != ORION_FP16 && t->dtype != ORION_FP32) || d->dtype != t->dtype) return false;
  if (any_scale && !from_wider(d)) return false;
  bool shared = orion_rewrite_uses(r, ref) > 1;
  return !shared || (orion_type_bytes(t, &bytes) && bytes <= SHARED_BYTES);
}

static bool add_leaf(region *g, orion_op_id op, const char *arg) {
  if (g->n_leaves == 2 * MAX_REGION || !may_scale(g->r, orion_op_ref(&g->r->f->ops[op], arg), g->any_scale)) return false;
  g->leaves[g->n_leaves++] = (leaf){op, arg};
  return true;
}

static bool collect(region *g, orion_ref ref);

// An operand: a constant to scale, or more of the region.
static bool collect_operand(region *g, orion_op_id op, const char *arg) {
  orion_ref ref = orion_op_ref(&g->r->f->ops[op], arg);
  return orion_ref_is_const(g->r->f, ref) ? add_leaf(g, op, arg) : collect(g, ref);
}

// Either operand will do; a constant first, then x, then y.
static bool collect_factor(region *g, orion_op_id op) {
  const orion_function *f = g->r->f;
  const char *order[] = {"x", "y"};
  if (orion_ref_is_const(f, orion_op_ref(&f->ops[op], "y"))) order[0] = "y", order[1] = "x";
  for (int i = 0; i < 2; i++) {
    size_t ops = g->n_ops, edges = g->n_edges, leaves = g->n_leaves;
    if (collect_operand(g, op, order[i])) return true;
    g->n_ops = ops;
    g->n_edges = edges;
    g->n_leaves = leaves;
  }
  return false;
}

// Two arguments that are scaled together, the second optional; both constant.
static bool collect_pair(region *g, orion_op_id op, const char *first, const char *second) {
  if (!add_leaf(g, op, first)) return false;
  return !orion_op_arg(&g->r->f->ops[op], second) || add_leaf(g, op, second);
}

static bool collect_op(region *g, orion_op_id id) {
  const orion_op *op = &g->r->f->ops[id];
  switch (op->code) {
    case ORION_OP_reshape: case ORION_OP_expand_dims: case ORION_OP_squeeze: case ORION_OP_transpose:
    case ORION_OP_slice_by_size: case ORION_OP_slice_by_index: case ORION_OP_identity: case ORION_OP_real_div:
      return collect_operand(g, id, "x");
    case ORION_OP_add: case ORION_OP_sub: return collect_operand(g, id, "x") && collect_operand(g, id, "y");
    case ORION_OP_mul: case ORION_OP_matmul: return collect_factor(g, id);
    case ORION_OP_concat: {
      const orion_arg *values = orion_op_arg(op, "values");
      for (uint32_t i = 0; i < values->n_refs; i++) {
        if (!collect(g, values->refs[i])) return false;
      }
      return true;
    }
    case ORION_OP_conv: case ORION_OP_linear: return collect_pair(g, id, "weight", "bias");
    case ORION_OP_layer_norm: return collect_pair(g, id, "gamma", "beta");
    default: return false;
  }
}

static bool collect(region *g, orion_ref ref) {
  const orion_function *f = g->r->f;
  if (orion_ref_is_literal(ref) || f->values[ref].def == ORION_NONE || g->r->values[ref].output) return false;
  orion_op_id def = f->values[ref].def;
  if (g->n_edges == 2 * MAX_REGION || f->ops[def].n_results != 1) return false;
  g->edges[g->n_edges++] = ref;
  for (size_t i = 0; i < g->n_ops; i++) {
    if (g->ops[i] == def) return true;
  }
  if (g->n_ops == MAX_REGION) return false;
  g->ops[g->n_ops++] = def;
  return collect_op(g, def);
}

// Whether no value of the region is used outside of it.
static bool is_closed(const region *g) {
  for (size_t i = 0; i < g->n_edges; i++) {
    uint32_t inside = 0;
    for (size_t j = 0; j < g->n_edges; j++) inside += g->edges[j] == g->edges[i];
    if (orion_rewrite_uses(g->r, g->edges[i]) != inside) return false;
  }
  return true;
}

// The constant times the scale, rounded once.
static const orion_data *scaled_data(orion_data_store *s, const orion_data *d, size_t n, const float *scale) {
  if (d->kind != ORION_DATA_CAST || !from_wider(d)) return orion_data_scale(s, d, n, scale);
  const orion_data *wide = orion_data_cast(s, d->sources[0], ORION_FP32);
  return orion_data_cast(s, orion_data_scale(s, wide, n, scale), d->dtype);
}

static bool scale_leaf(orion_rewrite *r, const leaf *l, size_t n, const float *scale) {
  const orion_type *t;
  orion_ref ref = orion_op_ref(&r->f->ops[l->op], l->arg);
  const orion_data *d = orion_rewrite_data(r, ref, &t);
  const orion_data *product = scaled_data(r->f->program->data, d, n, scale);
  orion_literal literal = {.kind = ORION_LIT_DATA, .type = t, .data = product};
  const orion_literal *val = product ? orion_arena_copy(&r->f->program->arena, &literal, 1, sizeof literal) : NULL;
  if (!val) {
    orion_rewrite_out_of_memory(r);
    return false;
  }
  orion_op_id before = r->b.before;
  r->b.before = l->op;
  orion_value_id c = orion_rewrite_const(r, r->f->values[ref].name, val);
  r->b.before = before;
  if (c == ORION_NONE) return false;
  orion_rewrite_set_arg(r, l->op, l->arg, c);
  return r->b.status == ORION_OK;
}

// ---- a scale for all ------------------------------------------------------------------------------------------------

static bool fold_scalar(orion_rewrite *r, orion_op_id id, orion_ref x, double s) {
  region g = {.r = r, .any_scale = !is_power_of_two(s)};
  orion_value_id result = r->f->ops[id].results[0];
  double size = fabs(s);
  bool half = orion_value_type(r->f, result)->dtype == ORION_FP16;
  if (s == 0 || !isfinite(s) || (half && (size > MAX_SCALE || size < 1 / MAX_SCALE))) return false;
  if (!orion_rewrite_may_replace(r, result, x)) return false;
  if (!orion_type_equal(orion_value_type(r->f, result), orion_value_type(r->f, x))) return false;
  if (!collect(&g, x) || !is_closed(&g) || g.n_leaves == 0) return false;
  float scale = (float)s;
  for (size_t i = 0; i < g.n_leaves; i++) {
    if (!scale_leaf(r, &g.leaves[i], 1, &scale)) return false;
  }
  return orion_rewrite_replace(r, id, x);
}

// ---- a scale for each output channel --------------------------------------------------------------------------------

// Elements of `ref`, if it is a constant of one element for each of `n` channels along `axis` counted from the end.
static const float *channel_scales(orion_rewrite *r, orion_ref ref, int from_end, int64_t n, bool *any_scale) {
  const orion_type *t;
  const void *bytes = orion_rewrite_bytes(r, ref, 1 << 20, &t);
  if (!bytes || t->rank < from_end || t->dims[t->rank - from_end] != n || !orion_dtype_is_float(t->dtype)) return NULL;
  for (int i = 0; i < t->rank; i++) {
    if (i != t->rank - from_end && t->dims[i] != 1) return NULL;
  }
  float *scales = ORION_ARENA_ARRAY(&r->scratch, float, (size_t)n);
  if (!scales) {
    orion_rewrite_out_of_memory(r);
    return NULL;
  }
  for (int64_t i = 0; i < n; i++) {
    scales[i] = (float)orion_load_double(t->dtype, bytes, (size_t)i);
    if (!is_power_of_two(scales[i])) *any_scale = true;
    if (!isfinite(scales[i])) return NULL;
  }
  return scales;
}

static bool is_channel_vector(orion_rewrite *r, orion_ref ref, int from_end, int64_t n) {
  const orion_type *t;
  const orion_data *d = orion_rewrite_data(r, ref, &t);
  return d && d->rows == (size_t)n && d->cols == 1 && t->rank >= from_end && t->dims[t->rank - from_end] == n;
}

static void fold_channels(orion_rewrite *r, orion_op_id id, orion_ref x, orion_ref by) {
  const orion_function *f = r->f;
  leaf leaves[3];
  size_t n_leaves = 0;
  orion_value_id v = x;
  if (!orion_rewrite_may_replace(r, f->ops[id].results[0], x) || r->values[x].output || orion_rewrite_uses(r, x) != 1) return;
  orion_op_id add = orion_rewrite_def(r, x, ORION_OP_add);
  if (add != ORION_NONE) {
    v = orion_op_value(&f->ops[add], "x");
    if (v == ORION_NONE || r->values[v].output || orion_rewrite_uses(r, v) != 1) return;
    leaves[n_leaves++] = (leaf){add, "y"};
  }
  orion_op_id layer = f->values[v].def;
  if (layer == ORION_NONE || (f->ops[layer].code != ORION_OP_conv && f->ops[layer].code != ORION_OP_linear)) return;
  leaves[n_leaves++] = (leaf){layer, "weight"};
  if (orion_op_arg(&f->ops[layer], "bias")) leaves[n_leaves++] = (leaf){layer, "bias"};
  const orion_type *w, *out = orion_value_type(f, v);
  const orion_data *weight = orion_rewrite_data(r, orion_op_ref(&f->ops[layer], "weight"), &w);
  if (!weight || weight->rows != (size_t)w->dims[0]) return;
  int from_end = f->ops[layer].code == ORION_OP_conv ? out->rank - 1 : 1;
  bool any_scale = false;
  const float *scales = channel_scales(r, by, from_end, w->dims[0], &any_scale);
  if (!scales || !orion_type_equal(orion_value_type(f, f->ops[id].results[0]), out)) return;
  for (size_t i = 0; i < n_leaves; i++) {
    orion_ref c = orion_op_ref(&f->ops[leaves[i].op], leaves[i].arg);
    int at = leaves[i].op == layer ? 1 : from_end;
    bool vector = strcmp(leaves[i].arg, "weight") == 0 || is_channel_vector(r, c, at, w->dims[0]);
    if (!vector || !may_scale(r, c, any_scale)) return;
  }
  for (size_t i = 0; i < n_leaves; i++) {
    if (!scale_leaf(r, &leaves[i], (size_t)w->dims[0], scales)) return;
  }
  orion_rewrite_replace(r, id, x);
}

static void visit(orion_rewrite *r, orion_op_id id) {
  const orion_op *op = &r->f->ops[id];
  if (op->code != ORION_OP_mul || !orion_dtype_is_float(orion_value_type(r->f, op->results[0])->dtype)) return;
  orion_ref x = orion_op_ref(op, "x"), y = orion_op_ref(op, "y");
  if (orion_ref_is_const(r->f, x)) {
    orion_ref swap = x;
    x = y;
    y = swap;
  }
  double s;
  if (orion_ref_is_literal(x) || orion_ref_is_const(r->f, x) || !orion_ref_is_const(r->f, y)) return;
  if (orion_rewrite_splat(r, y, &s)) {
    fold_scalar(r, id, x, s);
  } else {
    fold_channels(r, id, x, y);
  }
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  return orion_rewrite_run(ctx, p, &(orion_visitor){.visit = visit}, err);
}

const orion_pass orion_pass_scale_fold = {"scale_fold", "folds multiplication by constants into weights", run};
