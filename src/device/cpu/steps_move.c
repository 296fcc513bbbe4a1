// Movement. Reshapes, transposes, slices and splits are views of what exists; concat writes each part into its place;
// what must be copied is copied by runs, by tiles where rows become columns.
#include "device/cpu/build.h"

// ---- copying --------------------------------------------------------------------------------------------------------

typedef struct copy_step {
  int rank;  // >= 1, merged
  int64_t dims[ORION_MAX_RANK], from[ORION_MAX_RANK], to[ORION_MAX_RANK];
  size_t size;  // bytes of an element; 0: types differ, through floats
  int turn;     // dimension that is contiguous in the source where the inner one is in the result, or -1
} copy_step;

typedef struct copy_run {
  const orion_cpu_exec *x;
  const orion_cpu_step *s;
} copy_run;

#define COPY_RUN(type)                                                                             \
  for (int64_t i = 0; i < n; i++) ((type *)to)[i * to_step] = ((const type *)from)[i * from_step]; \
  break

static void copy_line(const orion_cpu_exec *x, const copy_step *d, uint8_t *to, int64_t to_step, const uint8_t *from,
                      int64_t from_step, int64_t n) {
  if (to_step == 1 && from_step == 1) {
    memcpy(to, from, (size_t)n * d->size);
    return;
  }
  switch (d->size) {
    case 1:
      COPY_RUN(uint8_t);
    case 2:
      COPY_RUN(uint16_t);
    case 4:
      COPY_RUN(uint32_t);
    default:
      COPY_RUN(uint64_t);
  }
}

static void convert_line(const orion_cpu_exec *x, const orion_cpu_step *s, int64_t to, int64_t to_step, int64_t from,
                         int64_t from_step, int64_t n, float *tile) {
  const orion_cpu_view *in = &s->in[0], *out = &s->out[0];
  for (int64_t i = 0; i < n; i += ORION_CPU_TILE) {
    size_t m = (size_t)(n - i < ORION_CPU_TILE ? n - i : ORION_CPU_TILE);
    orion_cpu_load(x->k, tile, in->dtype, x->base[in->buffer], in->offset + from + i * from_step, from_step, m);
    orion_cpu_store(x->k, out->dtype, x->base[out->buffer], out->offset + to + i * to_step, to_step, tile, m);
  }
}

// Rows of all dimensions but the last.
static void copy_rows(void *ctx, size_t begin, size_t end, int worker) {
  const copy_run *r = ctx;
  const copy_step *d = r->s->data;
  int last = d->rank - 1;
  uint8_t *to = orion_cpu_at(r->x, &r->s->out[0]);
  const uint8_t *from = orion_cpu_at(r->x, &r->s->in[0]);
  for (size_t i = begin; i < end; i++) {
    int64_t a = orion_cpu_row_offset(last, d->dims, d->from, i), b = orion_cpu_row_offset(last, d->dims, d->to, i);
    if (d->size) {
      int64_t w = (int64_t)d->size;
      copy_line(r->x, d, to + b * w, d->to[last], from + a * w, d->from[last], d->dims[last]);
    } else {
      convert_line(r->x, r->s, b, d->to[last], a, d->from[last], d->dims[last], orion_cpu_scratch(r->x, worker));
    }
  }
}

// Planes of the inner dimension and the one it changes places with.
static void copy_planes(void *ctx, size_t begin, size_t end, int worker) {
  const copy_run *r = ctx;
  const copy_step *d = r->s->data;
  int last = d->rank - 1;
  int64_t dims[ORION_MAX_RANK], w = (int64_t)d->size;
  for (int i = 0; i < last; i++) dims[i] = i == d->turn ? 1 : d->dims[i];
  uint8_t *to = orion_cpu_at(r->x, &r->s->out[0]);
  const uint8_t *from = orion_cpu_at(r->x, &r->s->in[0]);
  size_t rows = (size_t)d->dims[last], cols = (size_t)d->dims[d->turn];
  for (size_t i = begin; i < end; i++) {
    int64_t a = orion_cpu_row_offset(last, dims, d->from, i), b = orion_cpu_row_offset(last, dims, d->to, i);
    size_t src = (size_t)d->from[last], dst = (size_t)d->to[d->turn];
    if (d->size == 4) {
      r->x->k->transpose_f32((float *)(to + b * w), dst, (const float *)(from + a * w), src, rows, cols);
    } else {
      r->x->k->transpose_f16((orion_half *)(to + b * w), dst, (const orion_half *)(from + a * w), src, rows, cols);
    }
  }
}

static orion_status run_copy(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const copy_step *d = s->data;
  copy_run r = {x, s};
  size_t rows = 1, n = (size_t)d->dims[d->rank - 1];
  for (int i = 0; i < d->rank - 1; i++) rows *= (size_t)d->dims[i];
  if (rows * n == 0) return ORION_OK;
  if (d->turn >= 0) {
    orion_cpu_for(x, rows / (size_t)d->dims[d->turn], 1, rows * n / 2, copy_planes, &r);
  } else {
    orion_cpu_for(x, rows, ORION_CPU_SERIAL / (n + 16) + 1, rows * n / 2, copy_rows, &r);
  }
  return ORION_OK;
}

static void merge_copy(copy_step *d, const orion_cpu_view *from, const orion_cpu_view *to) {
  for (int i = 0; i < from->rank; i++) {
    if (from->dims[i] == 1) continue;
    int last = d->rank - 1;
    if (d->rank > 0 && d->from[last] == from->strides[i] * from->dims[i] &&
        d->to[last] == to->strides[i] * from->dims[i]) {
      d->dims[last] *= from->dims[i];
      d->from[last] = from->strides[i];
      d->to[last] = to->strides[i];
      continue;
    }
    d->dims[d->rank] = from->dims[i];
    d->from[d->rank] = from->strides[i];
    d->to[d->rank++] = to->strides[i];
  }
  if (d->rank == 0) {
    d->rank = 1;
    d->dims[0] = d->from[0] = d->to[0] = 1;
  }
}

orion_status orion_cpu_add_copy(orion_cpu_build *b, const orion_cpu_view *from, const orion_cpu_view *to,
                                orion_error *err) {
  unsigned bits = orion_dtype_bits(from->dtype);
  if (bits < 8 || orion_dtype_bits(to->dtype) < 8) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s elements are not moved", orion_dtype_name(from->dtype));
  }
  copy_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  merge_copy(d, from, to);
  d->size = from->dtype == to->dtype ? bits / 8 : 0;
  d->turn = -1;
  int last = d->rank - 1;
  bool kernel = (d->size == 4 || d->size == 2) && d->to[last] == 1 && d->from[last] > 1 && d->dims[last] > 1;
  for (int i = 0; kernel && i < last; i++) {
    if (d->from[i] == 1 && d->to[i] > 0) d->turn = i;
  }
  orion_cpu_step step = {.run = run_copy,
                         .kind = ORION_CPU_COPY,
                         .n_in = 1,
                         .in = from,
                         .n_out = 1,
                         .out = to,
                         .data = d,
                         .scratch = d->size ? 0 : ORION_CPU_TILE * sizeof(float)};
  return orion_cpu_add_step(b, &step, err);
}

// ---- views ----------------------------------------------------------------------------------------------------------

// The same elements in another shape, without moving them; false if that cannot be.
static bool reshape_view(const orion_cpu_view *v, int rank, const int64_t *dims, orion_cpu_view *out) {
  *out = *v;
  out->rank = rank;
  int i = 0, j = 0;
  for (int k = 0; k < rank; k++) {
    out->dims[k] = dims[k];
    out->strides[k] = 0;
  }
  if (orion_cpu_elements(v) == 0) return true;
  while (i < v->rank || j < rank) {  // groups of dimensions with equal products
    int i1 = i, j1 = j;
    int64_t a = i < v->rank ? v->dims[i1++] : 1, c = j < rank ? dims[j1++] : 1;
    while (a != c) {
      if (a < c && i1 < v->rank)
        a *= v->dims[i1++];
      else if (a > c && j1 < rank)
        c *= dims[j1++];
      else
        return false;
    }
    int64_t stride = 0, next = 0;  // the group in the source must be walked by one stride
    for (int k = i1 - 1; k >= i; k--) {
      if (v->dims[k] == 1) continue;
      if (next && v->strides[k] != next) return false;
      if (!next) stride = v->strides[k];
      next = v->strides[k] * v->dims[k];
      if (!next) return false;
    }
    for (int k = j1 - 1; k >= j; k--) {
      out->strides[k] = stride;
      stride *= dims[k];
    }
    i = i1;
    j = j1;
  }
  return true;
}

static orion_status emit_reshape(orion_cpu_build *b, const orion_op *op, orion_cpu_view *v, orion_error *err) {
  const orion_type *t = orion_cpu_result_type(b, op, 0);
  orion_cpu_view shaped;
  size_t n;
  if (!orion_type_elements(t, &n) || n != orion_cpu_elements(v)) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "the new shape is not known when compiling");
  }
  if (!reshape_view(v, t->rank, t->dims, &shaped)) {
    // Copied: straight to the result if the program wants this very value outside.
    orion_cpu_view out, as_source;
    ORION_TRY(orion_cpu_result(b, op, 0, &out, err));
    if (!reshape_view(&out, v->rank, v->dims, &as_source)) return ORION_FAIL(err, ORION_INTERNAL, "reshape");
    ORION_TRY(orion_cpu_add_copy(b, v, &as_source, err));
    return ORION_OK;
  }
  orion_cpu_alias(b, op, 0, &shaped);
  return ORION_OK;
}

static orion_status emit_transpose(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *v, orion_error *err) {
  int64_t perm[ORION_MAX_RANK];
  size_t n;
  if (!orion_op_ints(b->f, op, "perm", ORION_MAX_RANK, perm, &n) || (int)n != v->rank) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "perm must be a constant with an entry per dimension");
  }
  orion_cpu_view out = *v;
  for (int i = 0; i < v->rank; i++) {
    int64_t from = perm[i] < 0 ? perm[i] + v->rank : perm[i];
    if (from < 0 || from >= v->rank) return ORION_FAIL(err, ORION_FORMAT, "perm is out of range");
    out.dims[i] = v->dims[from];
    out.strides[i] = v->strides[from];
  }
  orion_cpu_alias(b, op, 0, &out);
  return ORION_OK;
}

// A constant list with an entry per dimension; `fallback` where the argument is absent.
static orion_status list(const orion_cpu_build *b, const orion_op *op, const char *name, int rank, int64_t fallback,
                         int64_t *out, orion_error *err) {
  size_t n = 0;
  for (int i = 0; i < rank; i++) out[i] = fallback;
  if (!orion_cpu_has(op, name)) return ORION_OK;
  if (!orion_op_ints(b->f, op, name, ORION_MAX_RANK, out, &n) || (int)n != rank) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s must be a constant with an entry per dimension", name);
  }
  return ORION_OK;
}

static int64_t clamp(int64_t v, int64_t lo, int64_t hi) { return v < lo ? lo : v > hi ? hi : v; }

static orion_status slice(const orion_cpu_build *b, const orion_op *op, const orion_cpu_view *v, orion_cpu_view *out,
                          orion_error *err) {
  int64_t begin[ORION_MAX_RANK], end[ORION_MAX_RANK], stride[ORION_MAX_RANK], bm[ORION_MAX_RANK], em[ORION_MAX_RANK],
      sm[ORION_MAX_RANK];
  ORION_TRY(list(b, op, "begin", v->rank, 0, begin, err));
  ORION_TRY(list(b, op, "end", v->rank, 0, end, err));
  ORION_TRY(list(b, op, "stride", v->rank, 1, stride, err));
  ORION_TRY(list(b, op, "begin_mask", v->rank, 0, bm, err));
  ORION_TRY(list(b, op, "end_mask", v->rank, 0, em, err));
  ORION_TRY(list(b, op, "squeeze_mask", v->rank, 0, sm, err));
  *out = *v;
  out->rank = 0;
  for (int i = 0; i < v->rank; i++) {
    int64_t n = v->dims[i], s = stride[i], from = begin[i] < 0 ? begin[i] + n : begin[i],
            to = end[i] < 0 ? end[i] + n : end[i];
    if (s == 0) return ORION_FAIL(err, ORION_FORMAT, "a stride is 0");
    if (sm[i]) {
      if (from < 0 || from >= n) return ORION_FAIL(err, ORION_FORMAT, "begin is out of range in dimension %d", i);
      out->offset += from * v->strides[i];
      continue;
    }
    from = bm[i] ? (s > 0 ? 0 : n - 1) : clamp(from, 0, s > 0 ? n : n - 1);
    to = em[i] ? (s > 0 ? n : -1) : clamp(to, s > 0 ? 0 : -1, n);
    int64_t count = s > 0 ? (to - from + s - 1) / s : (from - to - s - 1) / -s;
    out->dims[out->rank] = count > 0 ? count : 0;
    out->strides[out->rank++] = v->strides[i] * s;
    if (count > 0) out->offset += from * v->strides[i];
  }
  return ORION_OK;
}

static orion_status emit_slice_by_size(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *v,
                                       orion_error *err) {
  int64_t begin[ORION_MAX_RANK], size[ORION_MAX_RANK];
  if (!orion_cpu_ref_constant(b, orion_op_ref(op, "begin"))) return orion_cpu_emit_generic(b, op, err);
  ORION_TRY(list(b, op, "begin", v->rank, 0, begin, err));
  ORION_TRY(list(b, op, "size", v->rank, 0, size, err));
  orion_cpu_view out = *v;
  for (int i = 0; i < v->rank; i++) {
    if (begin[i] < 0) begin[i] += v->dims[i];
    if (size[i] == -1) size[i] = v->dims[i] - begin[i];
    if (begin[i] < 0 || size[i] < 0 || begin[i] + size[i] > v->dims[i]) {
      return ORION_FAIL(err, ORION_FORMAT, "the slice leaves dimension %d", i);
    }
    out.offset += begin[i] * v->strides[i];
    out.dims[i] = size[i];
  }
  orion_cpu_alias(b, op, 0, &out);
  return ORION_OK;
}

static orion_status emit_reverse(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *v, orion_error *err) {
  bool marked[ORION_MAX_RANK];
  ORION_TRY(orion_cpu_axes(b, op, "axes", v->rank, marked, err));
  orion_cpu_view out = *v;
  for (int i = 0; i < v->rank; i++) {
    if (!marked[i] || v->dims[i] == 0) continue;
    out.offset += (v->dims[i] - 1) * v->strides[i];
    out.strides[i] = -v->strides[i];
  }
  orion_cpu_alias(b, op, 0, &out);
  return ORION_OK;
}

orion_status orion_cpu_emit_view(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  orion_cpu_view v, out;
  ORION_TRY(orion_cpu_arg(b, op, "x", &v, err));
  const orion_type *t = orion_cpu_result_type(b, op, 0);
  if (orion_dtype_bits(v.dtype) < 8)
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s elements are not moved", orion_dtype_name(v.dtype));
  switch (op->code) {
    case ORION_OP_transpose:
      return emit_transpose(b, op, &v, err);
    case ORION_OP_slice_by_size:
      return emit_slice_by_size(b, op, &v, err);
    case ORION_OP_reverse:
      return emit_reverse(b, op, &v, err);
    case ORION_OP_slice_by_index:
      if (!orion_cpu_ref_constant(b, orion_op_ref(op, "begin")) ||
          !orion_cpu_ref_constant(b, orion_op_ref(op, "end"))) {
        return orion_cpu_emit_generic(b, op, err);
      }
      ORION_TRY(slice(b, op, &v, &out, err));
      for (int i = 0; i < t->rank; i++) {
        if (out.rank != t->rank || out.dims[i] != t->dims[i]) {
          return ORION_FAIL(err, ORION_FORMAT, "the slice has another shape than its result");
        }
      }
      orion_cpu_alias(b, op, 0, &out);
      return ORION_OK;
    default:
      return emit_reshape(b, op, &v, err);
  }
}

orion_status orion_cpu_emit_split(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  orion_cpu_view v;
  int64_t axis, at = 0;
  ORION_TRY(orion_cpu_arg(b, op, "x", &v, err));
  ORION_TRY(orion_cpu_axis(b, op, "axis", v.rank, &axis, err));
  for (uint32_t i = 0; i < op->n_results; i++) {
    const orion_type *t = orion_cpu_result_type(b, op, i);
    if (t->rank != v.rank || t->dims[axis] < 0 || at + t->dims[axis] > v.dims[axis]) {
      return ORION_FAIL(err, ORION_UNSUPPORTED, "the parts' sizes are not known or do not fit");
    }
    orion_cpu_view part = v;
    part.offset += at * v.strides[axis];
    part.dims[axis] = t->dims[axis];
    at += t->dims[axis];
    orion_cpu_alias(b, op, i, &part);
  }
  return ORION_OK;
}

// ---- joining --------------------------------------------------------------------------------------------------------

// Equal elements for certain, and after updates too: the same value or constant, or lists that no update changes within
// a plan.
static bool same_ref(const orion_cpu_build *b, orion_ref x, orion_ref y) {
  if (x == y) return true;
  const orion_literal *l = orion_ref_literal(b->f, x), *m = orion_ref_literal(b->f, y);
  if (!l || !m || !l->data || !m->data || !orion_type_equal(l->type, m->type)) return false;
  return l->data == m->data || (orion_cpu_taken_by_value(l) && orion_data_equal(l->data, m->data));
}

// Every layer of a model may join the same attention mask for itself; one is enough.
static const orion_op *joined_before(orion_cpu_build *b, const orion_op *op) {
  const orion_arg *values = orion_op_arg(op, "values");
  if (!b->fuse || !values || op->code != ORION_OP_concat || b->values[op->results[0]].io) return NULL;
  for (const orion_cpu_joined *j = b->joined; j; j = j->next) {
    const orion_arg *other = orion_op_arg(j->op, "values");
    bool same = other->n_refs == values->n_refs && same_ref(b, orion_op_ref(op, "axis"), orion_op_ref(j->op, "axis")) &&
                same_ref(b, orion_op_ref(op, "interleave"), orion_op_ref(j->op, "interleave"));
    for (uint32_t i = 0; same && i < values->n_refs; i++) same = same_ref(b, values->refs[i], other->refs[i]);
    if (same) return j->op;
  }
  return NULL;
}

orion_status orion_cpu_emit_concat(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  const orion_op *twin = joined_before(b, op);
  if (twin) {
    orion_cpu_alias(b, op, 0, &b->values[twin->results[0]].view);
    return ORION_OK;
  }
  const orion_type *t = orion_cpu_result_type(b, op, 0);
  const orion_arg *values = orion_op_arg(op, "values");
  bool stack = op->code == ORION_OP_stack, interleave = false;
  int64_t axis, at = 0;
  orion_cpu_view out;
  ORION_TRY(orion_cpu_axis(b, op, "axis", t->rank, &axis, err));
  if (!stack && !orion_op_bool(b->f, op, "interleave", &interleave)) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "interleave must be constant");
  }
  if (!values) return ORION_FAIL(err, ORION_FORMAT, "argument values is missing");
  ORION_TRY(orion_cpu_result(b, op, 0, &out, err));
  if (!stack) {
    orion_cpu_joined *j = ORION_ARENA_NEW(&b->scratch, orion_cpu_joined);
    if (!j) return ORION_OOM(err, "plan");
    *j = (orion_cpu_joined){b->joined, op};
    b->joined = j;
  }
  for (uint32_t i = 0; i < values->n_refs; i++) {
    orion_ref ref = values->refs[i];
    const orion_type *part = orion_ref_type(b->f, ref);
    orion_cpu_view to = out, from;
    int64_t size = stack ? 1 : part->dims[axis];
    to.dims[axis] = size;
    to.offset += (interleave ? i : at) * out.strides[axis];
    if (interleave) to.strides[axis] *= values->n_refs;
    at += size;
    if (at > out.dims[axis]) return ORION_FAIL(err, ORION_FORMAT, "the parts do not fit the result");
    const orion_cpu_value *v = orion_ref_is_literal(ref) ? NULL : &b->values[ref];
    if (!stack && v && v->state == ORION_CPU_PENDING && !v->lazy && part->dtype == t->dtype) {
      ORION_TRY(orion_cpu_force(b, ref, &to, err));
      continue;
    }
    ORION_TRY(orion_cpu_ref_view(b, ref, &from, err));
    if (stack) {
      for (int k = (int)axis; k + 1 < to.rank; k++) {
        to.dims[k] = to.dims[k + 1];
        to.strides[k] = to.strides[k + 1];
      }
      to.rank--;
    }
    if (from.rank != to.rank) return ORION_FAIL(err, ORION_FORMAT, "the parts have another rank than the result");
    ORION_TRY(orion_cpu_add_copy(b, &from, &to, err));
  }
  return ORION_OK;
}
