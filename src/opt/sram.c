// sram: attention whose scores outgrow the on-chip memory is computed a few heads at a time.
//
//   scores [1, H, T, S] of more than sram_bytes: everything from the matrix product that makes them to the one that uses
//   them up (mask, maximum, exp, sum, ...) works on each head alone, so it is repeated for pieces of the heads, one piece
//   after the other, and the results are joined along the heads.
//
// How: from an operation with such a result the region grows over large values, then over what lies between its members,
// then over followers that need nothing else; every member must treat axis 1 as a batch. The number of pieces is what
// makes the largest working set of one operation (its operands and result) fit. Exact: the same sums in the same order.
//
// Must not touch: axes that are not a batch, values of unknown size; a region that something in its midst depends on is
// left whole. Values with one head are never cut again, so that a second run finds nothing.
#include <string.h>

#include "opt/live.h"
#include "opt/passes.h"
#include "opt/rewrite.h"

enum { MAX_OPS = 256, MAX_PIECES = 32, MAX_INPUTS = 64 };

typedef struct region {
  int64_t heads, piece;
  orion_op_id *ops;  // in order
  size_t n;
} region;

typedef struct state {
  region *at;             // per operation: the region that ends with it; heads 0: none
  size_t n_ops;
  // scratch of the search
  orion_live live;
  size_t *position;       // per operation: place in live.ops
  uint32_t *users_at;     // per value: its users are users[users_at[v] .. users_at[v+1])
  orion_op_id *users;
  bool *in;               // per position
  bool *tried;            // per position
  bool *taken;            // per position: belongs to a region already
  bool *output;           // per value
} state;

static size_t bytes_of(const orion_type *t) {
  size_t n;
  return t && orion_type_is_static(t) && orion_type_bytes(t, &n) ? n : 0;
}

static int64_t heads_of(const orion_type *t) {
  return t && orion_type_is_static(t) && t->rank == 4 && t->dims[0] == 1 ? t->dims[1] : 0;
}

// Whether each head of the result depends on the same head of the operands only.
static bool is_parallel(const orion_function *f, const orion_op *op, int64_t heads) {
  const orion_op_info *info = orion_opcode_info(op->code);
  int64_t axes[ORION_MAX_RANK];
  size_t n;
  bool keep;
  if (op->n_results != 1 || heads_of(orion_value_type(f, op->results[0])) != heads) return false;
  for (uint32_t a = 0; a < op->n_args; a++) {
    const orion_type *t = op->args[a].n_refs == 1 ? orion_ref_type(f, op->args[a].refs[0]) : NULL;
    if (!t) return false;
    if (orion_type_is_tensor(t) && t->rank > 2 && heads_of(t) != heads && heads_of(t) != 1) return false;
  }
  switch (info->cls) {
    case ORION_CLASS_UNARY: case ORION_CLASS_BINARY: case ORION_CLASS_SELECT: return info->flags & ORION_F_ELEMENTWISE;
    case ORION_CLASS_CAST: return true;
    case ORION_CLASS_REDUCE:
      if (!orion_op_arg(op, "axes") || !orion_op_ints(f, op, "axes", ORION_MAX_RANK, axes, &n)) return false;
      if (!orion_op_bool(f, op, "keep_dims", &keep) || !keep) return false;
      for (size_t i = 0; i < n; i++) {
        if ((axes[i] + 4) % 4 < 2) return false;
      }
      return true;
    case ORION_CLASS_NORM:
      return op->code == ORION_OP_softmax && orion_op_int(f, op, "axis", &axes[0]) && (axes[0] + 4) % 4 >= 2;
    case ORION_CLASS_MATMUL:
      return op->code == ORION_OP_matmul && heads_of(orion_op_arg_type(f, op, "x")) && heads_of(orion_op_arg_type(f, op, "y"));
    default: return false;
  }
}

// ---- finding regions ------------------------------------------------------------------------------------------------

static bool find_users(state *s, const orion_function *f, orion_arena *scratch) {
  s->users_at = ORION_ARENA_ARRAY(scratch, uint32_t, f->n_values + 2);
  s->position = ORION_ARENA_ARRAY(scratch, size_t, f->n_ops + 1);
  s->in = ORION_ARENA_ARRAY(scratch, bool, f->n_ops + 1);
  s->tried = ORION_ARENA_ARRAY(scratch, bool, f->n_ops + 1);
  s->taken = ORION_ARENA_ARRAY(scratch, bool, f->n_ops + 1);
  s->output = ORION_ARENA_ARRAY(scratch, bool, f->n_values + 1);
  if (!s->users_at || !s->position || !s->in || !s->tried || !s->taken || !s->output) return false;
  for (size_t i = 0; i < f->n_outputs; i++) s->output[f->outputs[i]] = true;
  for (int fill = 0; fill < 2; fill++) {
    for (size_t p = 0; p < s->live.n; p++) {
      const orion_op *op = &f->ops[s->live.ops[p]];
      s->position[s->live.ops[p]] = p;
      for (uint32_t a = 0; a < op->n_args; a++) {
        for (uint32_t i = 0; i < op->args[a].n_refs; i++) {
          orion_ref ref = op->args[a].refs[i];
          if (orion_ref_is_literal(ref)) continue;
          if (fill) s->users[--s->users_at[ref]] = s->live.ops[p];
          else s->users_at[ref]++;
        }
      }
    }
    if (fill) break;
    for (size_t v = 0; v < f->n_values; v++) s->users_at[v + 1] += s->users_at[v];
    s->users = ORION_ARENA_ARRAY(scratch, orion_op_id, s->users_at[f->n_values] + 1u);
    if (!s->users) return false;
  }
  return true;
}

// The operation behind a ref, constants apart.
static orion_op_id def_of(const orion_function *f, orion_ref ref) {
  if (orion_ref_is_literal(ref) || f->values[ref].def == ORION_NONE) return ORION_NONE;
  orion_op_class cls = orion_opcode_info(f->ops[f->values[ref].def].code)->cls;
  return cls == ORION_CLASS_CONST || cls == ORION_CLASS_CONSTEXPR ? ORION_NONE : f->values[ref].def;
}

// Adds an operation; false where it does not work head by head, or the region gets too large.
static bool add_op(state *s, const orion_function *f, region *g, orion_op_id id) {
  if (s->in[s->position[id]]) return true;
  if (g->n == MAX_OPS || s->taken[s->position[id]] || !is_parallel(f, &f->ops[id], g->heads)) return false;
  s->in[s->position[id]] = true;
  g->ops[g->n++] = id;
  return true;
}

// Over values too large for the memory: whoever makes or uses one belongs to the region.
static bool grow_over_large(state *s, const orion_function *f, region *g, size_t limit) {
  for (size_t k = 0; k < g->n; k++) {
    const orion_op *op = &f->ops[g->ops[k]];
    orion_value_id y = op->results[0];
    if (bytes_of(orion_value_type(f, y)) > limit) {
      for (uint32_t i = s->users_at[y]; i < s->users_at[y + 1]; i++) {
        if (!add_op(s, f, g, s->users[i])) return false;
      }
    }
    for (uint32_t a = 0; a < op->n_args; a++) {
      orion_ref ref = op->args[a].refs[0];
      orion_op_id def = def_of(f, ref);
      if (def != ORION_NONE && bytes_of(orion_ref_type(f, ref)) > limit && !add_op(s, f, g, def)) return false;
    }
  }
  return true;
}

static void span(const state *s, const region *g, size_t *first, size_t *last) {
  *first = SIZE_MAX;
  *last = 0;
  for (size_t i = 0; i < g->n; i++) {
    size_t p = s->position[g->ops[i]];
    if (p < *first) *first = p;
    if (p > *last) *last = p;
  }
}

// What lies on a way from one member to another must be a member: marks forward, then collects backward.
static bool grow_between(state *s, const orion_function *f, region *g, orion_arena *scratch) {
  size_t first, last;
  span(s, g, &first, &last);
  bool *below = ORION_ARENA_ARRAY(scratch, bool, last - first + 1), *above = ORION_ARENA_ARRAY(scratch, bool, last - first + 1);
  if (!below || !above) return false;
  for (size_t p = first; p <= last; p++) {
    const orion_op *op = &f->ops[s->live.ops[p]];
    below[p - first] = s->in[p];
    for (uint32_t a = 0; a < op->n_args; a++) {
      for (uint32_t i = 0; i < op->args[a].n_refs; i++) {
        orion_op_id def = def_of(f, op->args[a].refs[i]);
        if (def != ORION_NONE && s->position[def] >= first && below[s->position[def] - first]) below[p - first] = true;
      }
    }
  }
  for (size_t p = last + 1; p-- > first;) {
    const orion_op *op = &f->ops[s->live.ops[p]];
    above[p - first] = s->in[p];
    for (uint32_t i = 0; i < op->n_results; i++) {
      orion_value_id v = op->results[i];
      for (uint32_t u = s->users_at[v]; u < s->users_at[v + 1]; u++) {
        size_t q = s->position[s->users[u]];
        if (q <= last && above[q - first]) above[p - first] = true;
      }
    }
    if (above[p - first] && below[p - first] && !add_op(s, f, g, s->live.ops[p])) return false;
  }
  return true;
}

// Followers that need members, constants, and values from before the region only.
static void grow_over_followers(state *s, const orion_function *f, region *g) {
  size_t first, last;
  span(s, g, &first, &last);
  for (size_t k = 0; k < g->n; k++) {
    orion_value_id y = f->ops[g->ops[k]].results[0];
    for (uint32_t u = s->users_at[y]; u < s->users_at[y + 1]; u++) {
      const orion_op *op = &f->ops[s->users[u]];
      bool ready = true;
      for (uint32_t a = 0; ready && a < op->n_args; a++) {
        for (uint32_t i = 0; ready && i < op->args[a].n_refs; i++) {
          orion_op_id def = def_of(f, op->args[a].refs[i]);
          ready = def == ORION_NONE || s->in[s->position[def]] || s->position[def] < first;
        }
      }
      if (ready) add_op(s, f, g, s->users[u]);
    }
  }
}

// Nothing outside may use a member's result before the last member.
static bool is_free_until_end(const state *s, const orion_function *f, const region *g, size_t last) {
  for (size_t k = 0; k < g->n; k++) {
    orion_value_id y = f->ops[g->ops[k]].results[0];
    for (uint32_t u = s->users_at[y]; u < s->users_at[y + 1]; u++) {
      size_t p = s->position[s->users[u]];
      if (!s->in[p] && p < last) return false;
    }
  }
  return true;
}

// Bytes that one operation needs of tensors with heads.
static size_t working_set(const orion_function *f, const orion_op *op, int64_t heads) {
  size_t n = bytes_of(orion_value_type(f, op->results[0]));
  for (uint32_t a = 0; a < op->n_args; a++) {
    const orion_type *t = orion_ref_type(f, op->args[a].refs[0]);
    if (heads_of(t) == heads) n += bytes_of(t);
  }
  return n;
}

static bool search(orion_rewrite *r, state *s, size_t seed) {
  const orion_function *f = r->f;
  size_t limit = r->ctx->limits->sram_bytes, first, last, need = 0;
  orion_op_id id = s->live.ops[seed];
  region g = {.heads = heads_of(orion_value_type(f, f->ops[id].results[0])),
              .ops = ORION_ARENA_ARRAY(&r->scratch, orion_op_id, MAX_OPS)};
  if (!g.ops) return false;
  memset(s->in, 0, s->live.n * sizeof *s->in);
  bool ok = add_op(s, f, &g, id) && grow_over_large(s, f, &g, limit) && grow_between(s, f, &g, &r->scratch);
  for (size_t i = 0; i < g.n; i++) s->tried[s->position[g.ops[i]]] = true;
  if (!ok) return true;
  grow_over_followers(s, f, &g);
  span(s, &g, &first, &last);
  if (!is_free_until_end(s, f, &g, last)) return true;
  size_t n = 0;
  for (size_t p = first; p <= last; p++) {
    if (!s->in[p]) continue;
    s->tried[p] = true;
    g.ops[n++] = s->live.ops[p];
    size_t w = working_set(f, &f->ops[s->live.ops[p]], g.heads);
    if (w > need) need = w;
  }
  int64_t pieces = (int64_t)((need + limit - 1) / limit);
  if (pieces > g.heads) pieces = g.heads;
  if (pieces > MAX_PIECES) pieces = MAX_PIECES;
  g.piece = (g.heads + pieces - 1) / pieces;
  if (g.piece >= g.heads) return true;
  s->at[s->live.ops[last]] = g;
  for (size_t p = first; p <= last; p++) s->taken[p] = s->taken[p] || s->in[p];
  return true;
}

static bool start(orion_rewrite *r) {
  const orion_function *f = r->f;
  size_t limit = r->ctx->limits->sram_bytes;
  state *s = ORION_ARENA_NEW(&r->scratch, state);
  if (!s || !orion_live_analyse(f, &r->scratch, &s->live) || !find_users(s, f, &r->scratch)) return false;
  s->n_ops = f->n_ops;
  s->at = ORION_ARENA_ARRAY(&r->scratch, region, f->n_ops + 1);
  if (!s->at) return false;
  r->state = s;
  if (s->live.peak <= limit) return true;
  for (size_t p = 0; p < s->live.n; p++) {
    const orion_op *op = &f->ops[s->live.ops[p]];
    if (s->tried[p] || s->live.bytes[p] <= limit || op->code != ORION_OP_matmul) continue;
    const orion_type *t = orion_value_type(f, op->results[0]);
    if (heads_of(t) > 1 && bytes_of(t) > limit && !search(r, s, p)) return false;
  }
  return true;
}

// ---- repeating a region ---------------------------------------------------------------------------------------------

typedef struct copy {
  orion_rewrite *r;
  const region *g;
  orion_ref *map;              // per value: its piece; ORION_NONE: not made
  orion_value_id made[MAX_OPS + MAX_INPUTS];
  size_t n_made;
  int64_t begin, size;
} copy;

static void note(copy *c, orion_value_id v, orion_ref piece) {
  if (c->n_made == MAX_OPS + MAX_INPUTS) {
    orion_builder_fail(&c->r->b, ORION_INTERNAL, "sram: a region with more than %d inputs", MAX_INPUTS);
    return;
  }
  c->map[v] = piece;
  c->made[c->n_made++] = v;
}

// The piece of an argument: of a member, of a tensor with heads from outside (sliced), or the argument itself.
static orion_ref piece_of(copy *c, orion_ref ref) {
  const orion_type *t = orion_ref_type(c->r->f, ref);
  if (orion_ref_is_literal(ref)) return ref;
  if (c->map[ref] != ORION_NONE) return c->map[ref];
  if (heads_of(t) != c->g->heads) return ref;
  orion_builder *b = &c->r->b;
  int64_t begin[4] = {0, c->begin, 0, 0}, size[4] = {1, c->size, t->dims[2], t->dims[3]};
  orion_ref slice = ORION_BUILD(b, "heads", ORION_OP_slice_by_size, {"x", ref},
                                {"begin", orion_build_ints(b, "begin", 4, begin)}, {"size", orion_build_ints(b, "size", 4, size)});
  note(c, ref, slice);
  return slice;
}

static void copy_op(copy *c, orion_op_id id) {
  orion_function *f = c->r->f;
  orion_in in[16] = {{0}};
  uint32_t n = f->ops[id].n_args;
  if (n > 15) {
    orion_builder_fail(&c->r->b, ORION_INTERNAL, "sram: %s with %u arguments", f->ops[id].spelling, n);
    return;
  }
  for (uint32_t a = 0; a < n; a++) {
    in[a].name = f->ops[id].args[a].name;
    in[a].ref = piece_of(c, f->ops[id].args[a].refs[0]);
  }
  orion_value_id y = f->ops[id].results[0];
  note(c, y, orion_build_op(&c->r->b, f->values[y].name, f->ops[id].code, in));
}

// Whether something outside of the region uses a member's result.
static bool is_used_outside(const state *s, const region *g, orion_value_id y) {
  if (s->output[y]) return true;
  for (uint32_t u = s->users_at[y]; u < s->users_at[y + 1]; u++) {
    bool member = false;
    for (size_t j = 0; j < g->n; j++) member = member || g->ops[j] == s->users[u];
    if (!member) return true;
  }
  return false;
}

// Makes the pieces: pieces[i * n_pieces + k] is member i's result for piece k.
static void copy_members(copy *c, int64_t n_pieces, orion_ref *pieces) {
  const region *g = c->g;
  const orion_function *f = c->r->f;
  for (int64_t k = 0; k < n_pieces; k++) {
    c->begin = k * g->piece;
    c->size = g->heads - c->begin < g->piece ? g->heads - c->begin : g->piece;
    for (size_t i = 0; i < g->n && c->r->b.status == ORION_OK; i++) {
      copy_op(c, g->ops[i]);
      pieces[i * (size_t)n_pieces + (size_t)k] = c->map[f->ops[g->ops[i]].results[0]];
    }
    while (c->n_made) c->map[c->made[--c->n_made]] = ORION_NONE;
  }
}

static void repeat(orion_rewrite *r, const state *s, const region *g) {
  orion_function *f = r->f;
  size_t n_pieces = (size_t)((g->heads + g->piece - 1) / g->piece);
  copy c = {.r = r, .g = g, .map = ORION_ARENA_ARRAY(&r->scratch, orion_ref, f->n_values + 1)};
  orion_ref *pieces = ORION_ARENA_ARRAY(&r->scratch, orion_ref, g->n * n_pieces);
  orion_value_id *joined = ORION_ARENA_ARRAY(&r->scratch, orion_value_id, g->n);
  if (!c.map || !pieces || !joined) {
    orion_rewrite_out_of_memory(r);
    return;
  }
  for (size_t v = 0; v < f->n_values; v++) c.map[v] = ORION_NONE;
  copy_members(&c, (int64_t)n_pieces, pieces);
  const orion_in rest[] = {{"axis", orion_build_int(&r->b, "axis", 1)},
                           {"interleave", orion_build_bool(&r->b, "interleave", false)},
                           {0}};
  for (size_t i = 0; i < g->n; i++) {
    orion_value_id y = f->ops[g->ops[i]].results[0];
    joined[i] = ORION_NONE;
    if (!is_used_outside(s, g, y)) continue;
    joined[i] = orion_build_tuple_op(&r->b, f->values[y].name, ORION_OP_concat, "values", n_pieces, pieces + i * n_pieces, rest);
  }
  // In order: the last member, before which all this was built, goes last.
  for (size_t i = 0; i < g->n && r->b.status == ORION_OK; i++) {
    if (joined[i] != ORION_NONE) orion_rewrite_replace(r, g->ops[i], joined[i]);
  }
}

static void visit(orion_rewrite *r, orion_op_id id) {
  state *s = r->state;
  if (id < s->n_ops && s->at[id].heads) repeat(r, s, &s->at[id]);
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  return orion_rewrite_run(ctx, p, &(orion_visitor){start, visit}, err);
}

const orion_pass orion_pass_sram = {"sram", "computes attention in pieces of heads that fit the on-chip memory", run};
