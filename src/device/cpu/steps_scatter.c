// Scattered sums: rows added to rows of a table (the gradient of an embedding), or one element added in each row (the one
// that cross-entropy takes from a probability). Where nobody else wants the data, they are added where it lies: a table
// of a vocabulary is then neither copied nor read. Indices are checked before anything is changed.
#include "device/cpu/build.h"

enum { PIECE_COLS = 64 };

typedef struct scatter_step {
  size_t n, width;   // indices, and elements added at each
  int64_t axis;      // dimension that they point into
  size_t each;       // along an axis: indices of one row; 0: rows of a table
} scatter_step;

typedef struct scatter_run {
  const orion_cpu_exec *x;
  const orion_cpu_step *s;
} scatter_run;

// Columns [64 begin, 64 end) of all rows, in the order of the indices: one of them may come twice.
static void scatter_columns(void *ctx, size_t begin, size_t end, int worker) {
  const scatter_run *r = ctx;
  const scatter_step *d = r->s->data;
  const orion_cpu_view *indices = &r->s->in[1];
  const void *list = orion_cpu_at(r->x, indices);
  const float *updates = orion_cpu_at(r->x, &r->s->in[2]);
  float *out = orion_cpu_at(r->x, &r->s->out[0]);
  size_t c = begin * PIECE_COLS, n = (end * PIECE_COLS < d->width ? end * PIECE_COLS : d->width) - c;
  for (size_t i = 0; i < d->n; i++) {
    int64_t index = orion_load_int(indices->dtype, list, i);
    float *to = out + (size_t)(index < 0 ? index + d->axis : index) * d->width + c;
    r->x->k->map[ORION_MAP_ADD](to, to, updates + i * d->width + c, n, 0, 0);
  }
}

static void scatter_along(const scatter_run *r) {
  const scatter_step *d = r->s->data;
  const orion_cpu_view *indices = &r->s->in[1];
  const void *list = orion_cpu_at(r->x, indices);
  const float *updates = orion_cpu_at(r->x, &r->s->in[2]);
  float *out = orion_cpu_at(r->x, &r->s->out[0]);
  for (size_t i = 0; i < d->n; i++) {
    int64_t index = orion_load_int(indices->dtype, list, i);
    out[i / d->each * (size_t)d->axis + (size_t)(index < 0 ? index + d->axis : index)] += updates[i];
  }
}

static void copy_piece(void *ctx, size_t begin, size_t end, int worker) {
  const scatter_run *r = ctx;
  const float *from = orion_cpu_at(r->x, &r->s->in[0]);
  memcpy((float *)orion_cpu_at(r->x, &r->s->out[0]) + begin, from + begin, (end - begin) * sizeof *from);
}

static orion_status run_scatter(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const scatter_step *d = s->data;
  scatter_run r = {x, s};
  const void *list = orion_cpu_at(x, &s->in[1]);
  for (size_t i = 0; i < d->n; i++) {
    int64_t index = orion_load_int(s->in[1].dtype, list, i);
    if (index < -d->axis || index >= d->axis) {
      return ORION_FAIL(err, ORION_DEVICE, "index %lld is outside a dimension of %lld", (long long)index,
                        (long long)d->axis);
    }
  }
  size_t elements = orion_cpu_elements(&s->out[0]);
  if (orion_cpu_at(x, &s->in[0]) != orion_cpu_at(x, &s->out[0])) {
    orion_cpu_for(x, elements, ORION_CPU_SERIAL, elements, copy_piece, &r);
  }
  if (d->each) {
    scatter_along(&r);
  } else {
    orion_cpu_for(x, (d->width + PIECE_COLS - 1) / PIECE_COLS, 1, d->n * d->width, scatter_columns, &r);
  }
  return ORION_OK;
}

static bool adds_floats(const orion_cpu_build *b, const orion_op *op) {
  const char *mode = orion_op_string(b->f, op, "mode");
  const orion_type *t = b->f->values[op->results[0]].type, *u = orion_op_arg_type(b->f, op, "updates");
  return mode && strcmp(mode, "add") == 0 && t->dtype == ORION_FP32 && u && u->dtype == ORION_FP32;
}

// Whether an operation's result is memory of its own, which its only user may change.
static bool makes_memory(const orion_op *op) {
  orion_op_class c = orion_opcode_info(op->code)->cls;
  return c == ORION_CLASS_UNARY || c == ORION_CLASS_BINARY || c == ORION_CLASS_SELECT || op->code == ORION_OP_matmul ||
         op->code == ORION_OP_linear || op->code == ORION_OP_fill || op->code == ORION_OP_scatter ||
         op->code == ORION_OP_scatter_along_axis || op->code == ORION_OP_softmax;
}

orion_value_id orion_cpu_scatter_source(const orion_cpu_build *b, const orion_op *op) {
  if (!b->fuse || (op->code != ORION_OP_scatter && op->code != ORION_OP_scatter_along_axis) || !adds_floats(b, op)) {
    return ORION_NONE;
  }
  orion_value_id data = orion_op_value(op, "data");
  for (orion_value_id v = data; v != ORION_NONE && b->uses[v] == 1;) {
    orion_op_id def = b->f->values[v].def;
    if (def == ORION_NONE) return ORION_NONE;
    if (b->f->ops[def].code != ORION_OP_reshape) return makes_memory(&b->f->ops[def]) ? data : ORION_NONE;
    v = orion_op_value(&b->f->ops[def], "x");
  }
  return ORION_NONE;
}

// Rows of a table along its first axis, or single elements along the last; false: neither.
static bool shape_of(const orion_op *op, int64_t axis, const orion_cpu_view *in, scatter_step *d) {
  d->axis = in[0].dims[axis];
  d->n = orion_cpu_elements(&in[1]);
  d->width = 1;
  if (op->code == ORION_OP_scatter) {
    for (int i = 1; i < in[0].rank; i++) d->width *= (size_t)in[0].dims[i];
    return axis == 0;
  }
  d->each = (size_t)in[1].dims[in[1].rank - 1];
  for (int i = 0; i + 1 < in[0].rank; i++) {
    if (in[1].dims[i] != in[0].dims[i]) return false;
  }
  return axis == in[0].rank - 1 && in[1].rank == in[0].rank && d->each > 0;
}

orion_status orion_cpu_emit_scatter(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  orion_cpu_view in[3], out;
  int64_t axis;
  if (!b->fuse || !adds_floats(b, op)) return orion_cpu_emit_generic(b, op, err);
  ORION_TRY(orion_cpu_arg(b, op, "data", &in[0], err));
  ORION_TRY(orion_cpu_arg(b, op, "indices", &in[1], err));
  ORION_TRY(orion_cpu_axis(b, op, "axis", in[0].rank, &axis, err));
  scatter_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  if (in[0].rank < 1 || in[1].rank < 1 || !shape_of(op, axis, in, d)) return orion_cpu_emit_generic(b, op, err);
  ORION_TRY(orion_cpu_arg_f32(b, op, "updates", &in[2], err));
  ORION_TRY(orion_cpu_to_packed(b, &in[1], err));
  orion_cpu_space space = b->plan->buffers[in[0].buffer].space;
  bool own = (space == ORION_CPU_ARENA || space == ORION_CPU_SURFACE) && in[0].dtype == ORION_FP32;
  if (own && orion_cpu_contiguous(&in[0]) && orion_cpu_scatter_source(b, op) != ORION_NONE) {
    out = in[0];
    orion_cpu_alias(b, op, 0, &out);
  } else {
    ORION_TRY(orion_cpu_to_f32(b, &in[0], err));
    ORION_TRY(orion_cpu_result(b, op, 0, &out, err));
  }
  orion_cpu_step step = {
      .run = run_scatter, .kind = ORION_CPU_GATHER, .n_in = 3, .in = in, .n_out = 1, .out = &out, .data = d};
  return orion_cpu_add_step(b, &step, err);
}
