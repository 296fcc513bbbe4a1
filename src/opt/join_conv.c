// join_conv: convolutions (or linear layers) of one input become one, cut into slices behind it.
//
//   q = conv(x, wq); k = conv(x, wk); v = conv(x, wv)   ->   all = conv(x, [wq; wk; wv]); q, k, v = rows of all
//
// Query, key and value, gate and up: the engine then reads x once and fills its output channels in fewer passes, and a
// slice of channels is only an offset. Biases that are added behind each of them are joined along. On the cpu device it
// does not pay: a slice of columns of [T, C] is a strided copy where T > 1, and the kernels read x from cache anyway; so
// its pipeline goes without. Exact: each output channel is computed as before.
//
// Must not touch: weights with other users (they would be stored twice), linear layers on the engine (their slices would
// be along the last axis, which saturates on M1 and M2), sums of channels beyond what one convolution may have.
#include <string.h>

#include "opt/passes.h"
#include "opt/rewrite.h"

enum { MAX_MEMBERS = 16 };

typedef struct state {
  orion_op_id *next;  // per operation: the next layer of the same input
  orion_op_id *user;  // per value: an operation that uses it
} state;

typedef struct member {
  orion_op_id op;         // the convolution
  orion_op_id bias_add;   // the addition of a bias behind it, or ORION_NONE
  const orion_data *weight, *bias, *added;
  int64_t out;
} member;

static bool is_layer(const orion_op *op) { return op->code == ORION_OP_conv || op->code == ORION_OP_linear; }

static bool start(orion_rewrite *r) {
  const orion_function *f = r->f;
  state *s = ORION_ARENA_NEW(&r->scratch, state);
  orion_op_id *last = ORION_ARENA_ARRAY(&r->scratch, orion_op_id, f->n_values + 1);  // layer of each input, so far
  if (!s || !last) return false;
  s->next = ORION_ARENA_ARRAY(&r->scratch, orion_op_id, f->n_ops + 1);
  s->user = ORION_ARENA_ARRAY(&r->scratch, orion_op_id, f->n_values + 1);
  if (!s->next || !s->user) return false;
  for (size_t i = 0; i < f->n_values; i++) last[i] = s->user[i] = ORION_NONE;
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    for (uint32_t a = 0; a < op->n_args; a++) {
      for (uint32_t i = 0; i < op->args[a].n_refs; i++) {
        if (!orion_ref_is_literal(op->args[a].refs[i])) s->user[op->args[a].refs[i]] = id;
      }
    }
    orion_value_id x = is_layer(op) ? orion_op_value(op, "x") : ORION_NONE;
    s->next[id] = ORION_NONE;
    if (x == ORION_NONE) continue;
    if (last[x] != ORION_NONE) s->next[last[x]] = id;
    last[x] = id;
  }
  r->state = s;
  return true;
}

// The constant behind a ref if it has one row for each of `n` output channels.
static const orion_data *rows_of(orion_rewrite *r, orion_ref ref, int64_t n) {
  const orion_type *t;
  const orion_data *d = orion_rewrite_data(r, ref, &t);
  return d && d->rows == (size_t)n && d->dtype == t->dtype ? d : NULL;
}

// The bias [1, O, 1, ...] that is added to the result, which nothing else may use.
static void find_bias_add(orion_rewrite *r, member *m, const orion_op_id *user) {
  const orion_function *f = r->f;
  orion_value_id v = f->ops[m->op].results[0];
  m->bias_add = ORION_NONE;
  if (r->values[v].output || orion_rewrite_uses(r, v) != 1 || user[v] == ORION_NONE) return;
  const orion_op *op = &f->ops[user[v]];
  if (op->code != ORION_OP_add) return;
  orion_ref other = orion_op_value(op, "x") == v ? orion_op_ref(op, "y") : orion_op_ref(op, "x");
  const orion_type *t = orion_ref_type(f, other), *result = orion_value_type(f, v);
  int axis = f->ops[m->op].code == ORION_OP_conv ? 1 : result->rank - 1;
  const orion_data *d = rows_of(r, other, m->out);
  if (!d || d->cols != 1 || t->rank != result->rank || t->dims[axis] != m->out) return;
  if (!orion_type_equal(orion_value_type(f, op->results[0]), result)) return;
  m->bias_add = user[v];
  m->added = d;
}

static bool describe(orion_rewrite *r, orion_op_id id, member *m) {
  const orion_function *f = r->f;
  const orion_op *op = &f->ops[id];
  orion_ref weight = orion_op_ref(op, "weight"), bias = orion_op_ref(op, "bias");
  const orion_type *w = orion_ref_type(f, weight);
  *m = (member){.op = id, .bias_add = ORION_NONE};
  if (!op->linked || !orion_type_is_static(w) || !orion_type_is_static(orion_value_type(f, op->results[0]))) return false;
  if (orion_ref_is_literal(weight) || orion_rewrite_uses(r, weight) != 1) return false;
  m->out = w->dims[0];
  m->weight = rows_of(r, weight, m->out);
  if (bias != ORION_NONE && !(m->bias = rows_of(r, bias, m->out))) return false;
  return m->weight != NULL;
}

// Whether all arguments but weight and bias have equal values.
static bool same_geometry(const orion_function *f, const orion_op *a, const orion_op *b) {
  static const char *const vectors[] = {"strides", "pad", "dilations"};
  int64_t u[8], v[8], p = 1, q = 1;
  size_t n, k;
  if (a->code == ORION_OP_linear) return true;
  const char *s = orion_op_string(f, a, "pad_type"), *t = orion_op_string(f, b, "pad_type");
  if (!s || !t || strcmp(s, t) != 0) return false;
  if (!orion_op_int(f, a, "groups", &p) || !orion_op_int(f, b, "groups", &q) || p != 1 || q != 1) return false;
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
    bool given = orion_op_arg(a, vectors[i]), too = orion_op_arg(b, vectors[i]);
    if (given != too) return false;
    if (!given) continue;
    if (!orion_op_ints(f, a, vectors[i], 8, u, &n) || !orion_op_ints(f, b, vectors[i], 8, v, &k)) return false;
    if (n != k || memcmp(u, v, n * sizeof *u) != 0) return false;
  }
  return true;
}

static bool fits(const orion_rewrite *r, const member *a, const member *b) {
  const orion_function *f = r->f;
  const orion_op *p = &f->ops[a->op], *q = &f->ops[b->op];
  const orion_type *s = orion_ref_type(f, orion_op_ref(p, "weight")), *t = orion_ref_type(f, orion_op_ref(q, "weight"));
  if (p->code != q->code || s->dtype != t->dtype || s->rank != t->rank || a->weight->cols != b->weight->cols) return false;
  for (int i = 1; i < s->rank; i++) {
    if (s->dims[i] != t->dims[i]) return false;
  }
  if (!a->bias != !b->bias || (a->bias && (a->bias->dtype != b->bias->dtype || a->bias->cols != b->bias->cols))) return false;
  return same_geometry(f, p, q);
}

// ---- building -------------------------------------------------------------------------------------------------------

typedef enum part { WEIGHT, BIAS, ADDED } part;

static orion_ref joined_const(orion_rewrite *r, const char *stem, size_t n, const member *m, part which, int rank,
                              const int64_t *dims) {
  const orion_data *parts[MAX_MEMBERS];
  for (size_t i = 0; i < n; i++) parts[i] = which == WEIGHT ? m[i].weight : which == BIAS ? m[i].bias : m[i].added;
  return orion_build_weight(&r->b, stem, orion_data_join(r->f->program->data, n, parts), rank, dims);
}

// The joined layer, with the joined bias behind it where the members had one there.
static orion_value_id build_joined(orion_rewrite *r, size_t n, const member *m, int64_t out, bool adds) {
  static const char *const geometry[] = {"dilations", "groups", "pad", "pad_type", "strides"};
  const orion_function *f = r->f;
  const orion_op *first = &f->ops[m[0].op];
  const orion_type *w = orion_ref_type(f, orion_op_ref(first, "weight")), *y = orion_value_type(f, first->results[0]);
  orion_opcode code = first->code;
  orion_in in[9] = {{"x", orion_op_ref(first, "x")}};
  size_t at = 1;
  for (size_t i = 0; code == ORION_OP_conv && i < 5; i++) in[at++] = (orion_in){geometry[i], orion_op_ref(first, geometry[i])};
  int64_t dims[ORION_MAX_RANK];
  memcpy(dims, w->dims, sizeof dims);
  dims[0] = out;
  in[at++] = (orion_in){"weight", joined_const(r, "joined_weight", n, m, WEIGHT, w->rank, dims)};
  if (m[0].bias) in[at++] = (orion_in){"bias", joined_const(r, "joined_bias", n, m, BIAS, 1, &out)};
  orion_value_id all = orion_build_op(&r->b, "joined", code, in);
  if (!adds || all == ORION_NONE) return all;
  for (int i = 0; i < y->rank; i++) dims[i] = 1;
  dims[code == ORION_OP_conv ? 1 : y->rank - 1] = out;
  orion_ref bias = joined_const(r, "joined_bias", n, m, ADDED, y->rank, dims);
  return ORION_BUILD(&r->b, "joined_biased", ORION_OP_add, {"x", all}, {"y", bias});
}

static void join(orion_rewrite *r, size_t n, member *m, int64_t out) {
  orion_function *f = r->f;
  bool adds = true;
  for (size_t i = 0; i < n; i++) adds = adds && m[i].bias_add != ORION_NONE && m[i].added->dtype == m[0].added->dtype;
  const orion_type *y = orion_value_type(f, f->ops[m[0].op].results[0]);
  int axis = f->ops[m[0].op].code == ORION_OP_conv ? 1 : y->rank - 1;
  int64_t begin[ORION_MAX_RANK] = {0}, size[ORION_MAX_RANK];
  memcpy(size, y->dims, sizeof size);
  orion_value_id all = build_joined(r, n, m, out, adds), slices[MAX_MEMBERS];
  for (size_t i = 0; i < n; i++) {
    orion_value_id old = f->ops[adds ? m[i].bias_add : m[i].op].results[0];
    size[axis] = m[i].out;
    slices[i] = ORION_BUILD(&r->b, f->values[old].name, ORION_OP_slice_by_size, {"x", all},
                            {"begin", orion_build_ints(&r->b, "begin", (size_t)y->rank, begin)},
                            {"size", orion_build_ints(&r->b, "size", (size_t)y->rank, size)});
    begin[axis] += m[i].out;
  }
  for (size_t i = 0; i < n && r->b.status == ORION_OK; i++) {
    orion_rewrite_replace(r, adds ? m[i].bias_add : m[i].op, slices[i]);
  }
}

static void visit(orion_rewrite *r, orion_op_id id) {
  const orion_function *f = r->f;
  const state *s = r->state;
  const orion_op *op = &f->ops[id];
  if (!is_layer(op) || (r->ctx->limits->ane && op->code == ORION_OP_linear)) return;
  member m[MAX_MEMBERS];
  if (!describe(r, id, &m[0])) return;
  size_t n = 1;
  int64_t out = m[0].out;
  for (orion_op_id other = s->next[id]; other != ORION_NONE && n < MAX_MEMBERS; other = s->next[other]) {
    if (!describe(r, other, &m[n]) || !fits(r, &m[0], &m[n]) || m[n].out > r->ctx->limits->max_conv_out - out) continue;
    out += m[n++].out;
  }
  if (n < 2) return;
  for (size_t i = 0; i < n; i++) find_bias_add(r, &m[i], s->user);
  join(r, n, m, out);
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  return orion_rewrite_run(ctx, p, &(orion_visitor){start, visit}, err);
}

const orion_pass orion_pass_join_conv = {"join_conv", "makes one convolution of those that share their input", run};
