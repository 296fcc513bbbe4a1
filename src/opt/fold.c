// fold: computes what depends on constants only.
//
// Small results (at most SMALL_BYTES) are computed at once: arithmetic in double and rounded once to the element type,
// which gives what an IEEE device of that type gives (a double has more than twice the digits, so that rounding twice
// cannot show); movements by copying elements. `shape` of a known shape is a constant too. Exact.
// Large constants are only described anew, as lazy data: a narrowing cast, another shape, a transposed matrix.
//
// Must not touch: a widening cast of a matrix or of anything large. `cast(fp16 const -> fp32)` is how a program says that
// it keeps its weights in fp16. Nor integer arithmetic that would overflow, nor division of integers, whose rounding
// devices disagree about; nor functions whose last bit differs between mathematical libraries.
#include <math.h>
#include <string.h>

#include "opt/passes.h"
#include "opt/rewrite.h"

enum {
  SMALL_BYTES = 65536,
  TINY_BYTES = 4096,  // a result may be larger than its argument up to here
};

// A small constant: elements with strides, row-major at first. Movements change only the view.
typedef struct view {
  const void *bytes;
  orion_dtype dtype;
  int rank;
  int64_t dims[ORION_MAX_RANK], strides[ORION_MAX_RANK];
  int64_t offset;
} view;

static bool take(orion_rewrite *r, orion_ref ref, view *out) {
  const orion_type *t;
  out->bytes = orion_rewrite_bytes(r, ref, SMALL_BYTES, &t);
  if (!out->bytes || orion_dtype_bits(t->dtype) < 8) return false;
  out->dtype = t->dtype;
  out->rank = t->rank;
  out->offset = 0;
  int64_t stride = 1;
  for (int i = t->rank - 1; i >= 0; i--) {
    out->dims[i] = t->dims[i];
    out->strides[i] = stride;
    stride *= t->dims[i];
  }
  return true;
}

// Element `at` (row-major) of the result shape `rank, dims`, to which the view is broadcast.
static size_t element(const view *v, int rank, const int64_t *dims, size_t at) {
  int64_t index = v->offset;
  for (int i = rank - 1, j = v->rank - 1; i >= 0; i--, j--) {
    int64_t here = (int64_t)(at % (size_t)dims[i]);
    at /= (size_t)dims[i];
    if (j >= 0 && v->dims[j] != 1) index += here * v->strides[j];
  }
  return (size_t)index;
}

static bool result_bytes(const orion_type *t, size_t *out) {
  return orion_type_is_static(t) && orion_type_bytes(t, out) && *out <= SMALL_BYTES && *out > 0;
}

// ---- arithmetic -----------------------------------------------------------------------------------------------------

static bool compute(orion_opcode code, double x, double y, bool is_float, double *out) {
  switch (code) {
    case ORION_OP_add: *out = x + y; break;
    case ORION_OP_sub: *out = x - y; break;
    case ORION_OP_mul: *out = x * y; break;
    case ORION_OP_real_div:
      if (!is_float) return false;
      *out = x / y;
      break;
    case ORION_OP_maximum: *out = x > y ? x : y; break;
    case ORION_OP_minimum: *out = x < y ? x : y; break;
    case ORION_OP_abs: *out = fabs(x); break;
    case ORION_OP_square: *out = x * x; break;
    case ORION_OP_sqrt: *out = sqrt(x); break;
    case ORION_OP_floor: *out = floor(x); break;
    case ORION_OP_ceil: *out = ceil(x); break;
    case ORION_OP_relu: *out = x > 0 ? x : 0; break;
    default: return false;
  }
  return is_float ? isfinite(*out) : fabs(*out) <= INT32_MAX;  // NaN, infinities, wrapping: devices differ
}

// Elementwise operations. fp64 is left alone: there the double is not the wider type.
static const orion_literal *fold_arithmetic(orion_rewrite *r, const orion_op *op, const orion_type *type) {
  view x, y = {0};
  size_t bytes, n;
  bool binary = orion_opcode_info(op->code)->cls == ORION_CLASS_BINARY;
  bool is_float = orion_dtype_is_float(type->dtype);
  if ((!is_float && type->dtype != ORION_INT32) || type->dtype == ORION_FP64) return NULL;
  if (!result_bytes(type, &bytes) || !orion_type_elements(type, &n)) return NULL;
  if (!take(r, orion_op_ref(op, "x"), &x) || (binary && !take(r, orion_op_ref(op, "y"), &y))) return NULL;
  if (x.dtype != type->dtype || (binary && y.dtype != type->dtype)) return NULL;
  double *v = ORION_ARENA_ARRAY(&r->scratch, double, n);
  if (!v) {
    orion_rewrite_out_of_memory(r);
    return NULL;
  }
  for (size_t i = 0; i < n; i++) {
    double a = orion_load_double(x.dtype, x.bytes, element(&x, type->rank, type->dims, i));
    double b = binary ? orion_load_double(y.dtype, y.bytes, element(&y, type->rank, type->dims, i)) : 0;
    if (!compute(op->code, a, b, is_float, &v[i])) return NULL;
  }
  const orion_literal *l = orion_literal_floats(r->f->program, type, n, v);
  if (!l) orion_rewrite_out_of_memory(r);
  return l;
}

// ---- movements of small constants -----------------------------------------------------------------------------------

static bool slice_view(const orion_rewrite *r, const orion_op *op, view *v) {
  int64_t begin[ORION_MAX_RANK];
  size_t n;
  if (!orion_op_ints(r->f, op, "begin", ORION_MAX_RANK, begin, &n) || (int)n != v->rank) return false;
  for (int i = 0; i < v->rank; i++) v->offset += (begin[i] < 0 ? begin[i] + v->dims[i] : begin[i]) * v->strides[i];
  return true;
}

static bool transpose_view(const orion_rewrite *r, const orion_op *op, view *v) {
  int64_t perm[ORION_MAX_RANK];
  size_t n;
  view from = *v;
  if (!orion_op_ints(r->f, op, "perm", ORION_MAX_RANK, perm, &n) || (int)n != v->rank) return false;
  for (int i = 0; i < v->rank; i++) {
    int64_t axis = perm[i] < 0 ? perm[i] + v->rank : perm[i];
    v->dims[i] = from.dims[axis];
    v->strides[i] = from.strides[axis];
  }
  return true;
}

// New data of `type` whose elements are the view's, in the result's order.
static const orion_literal *materialise(orion_rewrite *r, const view *v, const orion_type *type) {
  orion_program *p = r->f->program;
  size_t n, width = orion_dtype_bits(type->dtype) / 8;
  void *bytes;
  if (!orion_type_elements(type, &n)) return NULL;
  size_t rows = type->rank ? (size_t)type->dims[0] : 1;
  const orion_data *data = orion_data_new(p->data, type->dtype, rows, n / rows, &bytes);
  const orion_literal *l = data ? orion_literal_data(p, type, data) : NULL;
  if (!l) {
    orion_rewrite_out_of_memory(r);
    return NULL;
  }
  for (size_t i = 0; i < n; i++) {
    memcpy((char *)bytes + i * width, (const char *)v->bytes + element(v, type->rank, type->dims, i) * width, width);
  }
  return l;
}

static const orion_literal *fold_movement(orion_rewrite *r, const orion_op *op, const orion_type *type) {
  view v;
  size_t bytes;
  if (!result_bytes(type, &bytes) || !take(r, orion_op_ref(op, "x"), &v)) return NULL;
  bool known = op->code == ORION_OP_slice_by_size ? slice_view(r, op, &v) : transpose_view(r, op, &v);
  // A shape of rank and sizes of the result, so that no dimension is taken for one that broadcasts.
  if (!known || v.rank != type->rank) return NULL;
  memcpy(v.dims, type->dims, sizeof v.dims);
  return materialise(r, &v, type);
}

static const orion_literal *fold_concat(orion_rewrite *r, const orion_op *op, const orion_type *type) {
  const orion_arg *values = orion_op_arg(op, "values");
  orion_program *p = r->f->program;
  int64_t axis, at = 0;
  bool interleave;
  size_t total, width = orion_dtype_bits(type->dtype) / 8;
  void *bytes;
  if (!orion_op_int(r->f, op, "axis", &axis) || !orion_op_bool(r->f, op, "interleave", &interleave) || interleave) return NULL;
  if (!result_bytes(type, &total) || width == 0) return NULL;
  if (axis < 0) axis += type->rank;
  view v = {0};
  for (uint32_t i = 0; i < values->n_refs; i++) {
    if (!take(r, values->refs[i], &v) || v.dtype != type->dtype || v.rank > type->rank) return NULL;
  }
  size_t outer = 1, inner = 1;
  for (int i = 0; i < type->rank; i++) {
    if (i < axis) outer *= (size_t)type->dims[i];
    if (i > axis) inner *= (size_t)type->dims[i];
  }
  size_t line = (size_t)type->dims[axis] * inner * width, rows = (size_t)type->dims[0];
  const orion_data *data = orion_data_new(p->data, type->dtype, rows, total / width / rows, &bytes);
  const orion_literal *l = data ? orion_literal_data(p, type, data) : NULL;
  if (!l) {
    orion_rewrite_out_of_memory(r);
    return NULL;
  }
  for (uint32_t i = 0; i < values->n_refs; i++) {
    take(r, values->refs[i], &v);
    int64_t size = v.rank ? v.dims[axis] : 1;
    size_t run = (size_t)size * inner * width;
    for (size_t o = 0; o < outer; o++) {
      memcpy((char *)bytes + o * line + (size_t)at * inner * width, (const char *)v.bytes + o * run, run);
    }
    at += size;
  }
  return l;
}

// ---- constants of any size ------------------------------------------------------------------------------------------

// The same elements under another type. A constant in a blob file stays there.
static const orion_literal *retyped(orion_rewrite *r, const orion_literal *from, const orion_type *type,
                                    const orion_data *data) {
  orion_literal l = *from;
  l.type = type;
  l.data = data;
  if (data != from->data) l.kind = ORION_LIT_DATA;
  const orion_literal *made = orion_arena_copy(&r->f->program->arena, &l, 1, sizeof l);
  if (!made) orion_rewrite_out_of_memory(r);
  return made;
}

static const orion_literal *fold_cast(orion_rewrite *r, const orion_literal *from, const orion_type *type) {
  size_t before, after;
  orion_dtype a = from->type->dtype, b = type->dtype;
  if (!orion_type_bytes(from->type, &before) || !orion_type_bytes(type, &after)) return NULL;
  if (orion_dtype_bits(a) < 8 || orion_dtype_bits(b) < 8 || from->data->dtype != a) return NULL;
  if (after > before && (type->rank > 1 || after > TINY_BYTES)) return NULL;
  bool plain = (orion_dtype_is_float(a) || a == ORION_INT32 || a == ORION_BOOL) && orion_dtype_is_float(b);
  if (!plain) return NULL;  // to integers: truncation and saturation are the device's
  const orion_data *data = orion_data_cast(r->f->program->data, from->data, b);
  if (!data) {
    orion_rewrite_out_of_memory(r);
    return NULL;
  }
  return retyped(r, from, type, data);
}

static const orion_literal *fold_large(orion_rewrite *r, const orion_op *op, const orion_type *type) {
  const orion_type *t;
  orion_ref x = orion_op_ref(op, "x");
  const orion_data *data = orion_rewrite_data(r, x, &t);
  const orion_literal *from = orion_ref_literal(r->f, x);
  int64_t perm[ORION_MAX_RANK];
  size_t n;
  if (!data || !orion_type_is_static(type)) return NULL;
  switch (op->code) {
    case ORION_OP_reshape: case ORION_OP_expand_dims: case ORION_OP_squeeze: case ORION_OP_flatten2d:
      return retyped(r, from, type, data);
    case ORION_OP_cast: return fold_cast(r, from, type);
    case ORION_OP_transpose:
      if (t->rank != 2 || data->rows != (size_t)t->dims[0] || data->cols != (size_t)t->dims[1] ||
          !orion_op_ints(r->f, op, "perm", ORION_MAX_RANK, perm, &n) || n != 2 || perm[0] == 0 || perm[0] == -2) {
        return NULL;
      }
      data = orion_data_transpose(r->f->program->data, data);
      if (data) return retyped(r, from, type, data);
      orion_rewrite_out_of_memory(r);
      return NULL;
    default: return NULL;
  }
}

static const orion_literal *fold_shape(orion_rewrite *r, const orion_op *op, const orion_type *type) {
  const orion_type *x = orion_op_arg_type(r->f, op, "x");
  if (!orion_type_is_static(x) || type->dtype != ORION_INT32) return NULL;
  const orion_literal *l = orion_literal_ints(r->f->program, type, (size_t)x->rank, x->dims);
  if (!l) orion_rewrite_out_of_memory(r);
  return l;
}

static const orion_literal *folded(orion_rewrite *r, const orion_op *op, const orion_type *type) {
  const orion_literal *l;
  switch (op->code) {
    case ORION_OP_shape: return fold_shape(r, op, type);
    case ORION_OP_concat: return fold_concat(r, op, type);
    case ORION_OP_slice_by_size: return fold_movement(r, op, type);
    case ORION_OP_transpose:
      l = fold_movement(r, op, type);
      return l || r->b.status != ORION_OK ? l : fold_large(r, op, type);
    case ORION_OP_reshape: case ORION_OP_expand_dims: case ORION_OP_squeeze: case ORION_OP_flatten2d: case ORION_OP_cast:
      return fold_large(r, op, type);
    default: return orion_opcode_info(op->code)->flags & ORION_F_ELEMENTWISE ? fold_arithmetic(r, op, type) : NULL;
  }
}

static void visit(orion_rewrite *r, orion_op_id id) {
  const orion_op *op = orion_rewrite_op(r, id);
  if (op->n_results != 1) return;
  orion_value_id v = op->results[0];
  const orion_type *type = orion_value_type(r->f, v);
  if (!orion_type_is_tensor(type) || r->values[v].output) return;
  const orion_literal *l = folded(r, op, type);
  if (!l) return;
  orion_value_id c = orion_rewrite_const(r, r->f->values[v].name, l);
  if (c != ORION_NONE) orion_rewrite_replace(r, id, c);
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  return orion_rewrite_run(ctx, p, &(orion_visitor){.visit = visit}, err);
}

const orion_pass orion_pass_fold = {"fold", "computes what depends on constants only", run};
