// Constant matrices as panels. The constant may stand behind casts, reshapes and a transpose: "weights stored in fp16,
// computed in fp32" is a cast of a constant, and is packed as halves without a copy in floats.
#include "device/cpu/build.h"

typedef struct matrix_source {
  const orion_data *data;
  orion_dtype dtype;  // the narrowest on the way: fp16, else fp32
  bool transposed;    // of data
} matrix_source;

static bool narrow(orion_dtype d, orion_dtype *to) {
  if (d == ORION_FP16) *to = ORION_FP16;
  return d == ORION_FP16 || d == ORION_FP32 || d == ORION_BF16;
}

// perm of a transpose that swaps the last two of `rank` dimensions, all before being 1.
static bool swaps_matrix(const orion_cpu_build *b, const orion_op *op, const orion_type *t) {
  int64_t perm[ORION_MAX_RANK];
  size_t n;
  if (!orion_op_ints(b->f, op, "perm", ORION_MAX_RANK, perm, &n) || n < 2 || n != t->rank) return false;
  for (size_t i = 0; i + 2 < n; i++) {
    if (t->dims[i] != 1) return false;
  }
  int64_t last = perm[n - 1] < 0 ? perm[n - 1] + (int64_t)n : perm[n - 1];
  int64_t other = perm[n - 2] < 0 ? perm[n - 2] + (int64_t)n : perm[n - 2];
  return last == (int64_t)n - 2 && other == (int64_t)n - 1;
}

static bool find_matrix(const orion_cpu_build *b, orion_ref ref, matrix_source *out) {
  const orion_function *f = b->f;
  *out = (matrix_source){.dtype = ORION_FP32};
  for (int depth = 0; depth < 16; depth++) {
    const orion_type *t = orion_ref_type(f, ref);
    if (!t || !orion_type_is_tensor(t) || !narrow(t->dtype, &out->dtype)) return false;
    const orion_literal *l = orion_ref_literal(f, ref);
    if (l) {
      size_t n;
      out->data = l->data;
      return l->data && orion_type_elements(t, &n) && n == orion_data_elements(l->data);
    }
    orion_op_id def = f->values[ref].def;
    if (def == ORION_NONE) return false;
    const orion_op *op = &f->ops[def];
    bool view = op->code == ORION_OP_reshape || op->code == ORION_OP_expand_dims || op->code == ORION_OP_squeeze ||
                op->code == ORION_OP_identity;
    if (op->code == ORION_OP_transpose && !out->transposed && swaps_matrix(b, op, t)) {
      out->transposed = true;
    } else if (op->code != ORION_OP_cast && !(view && !out->transposed)) {
      return false;
    }
    ref = orion_op_ref(op, "x");
    if (ref == ORION_NONE) return false;
  }
  return false;
}

// Integers with scales that quantised panels can hold: int8 or int4 [N, K], halves for runs of columns of each row, no
// offset; behind casts and reshapes that change nothing but the type.
static bool find_quantised(const orion_cpu_build *b, orion_ref ref, size_t n, size_t k, orion_cpu_weight_key *key) {
  const orion_function *f = b->f;
  const orion_op *op = NULL;
  for (int depth = 0; depth < 16 && !op; depth++) {
    const orion_type *t = orion_ref_type(f, ref);
    orion_dtype ignored;
    orion_op_id def = orion_ref_is_literal(ref) ? ORION_NONE : f->values[ref].def;
    if (def == ORION_NONE || !t || !orion_type_is_tensor(t) || !narrow(t->dtype, &ignored)) return false;
    op = &f->ops[def];
    if (op->code == ORION_OP_constexpr_blockwise_shift_scale) break;
    bool view = op->code == ORION_OP_reshape || op->code == ORION_OP_expand_dims || op->code == ORION_OP_squeeze ||
                op->code == ORION_OP_identity || op->code == ORION_OP_cast;
    if (!view || (ref = orion_op_ref(op, "x")) == ORION_NONE) return false;
    op = NULL;
  }
  if (!op || orion_op_arg(op, "offset")) return false;
  const orion_literal *q = orion_op_const(f, op, "data"), *s = orion_op_const(f, op, "scale");
  if (!q || !s || !q->data || !s->data || s->type->dtype != ORION_FP16 || q->type->rank < 2 ||
      s->type->rank != q->type->rank || (q->type->dtype != ORION_INT8 && q->type->dtype != ORION_INT4)) {
    return false;
  }
  size_t elements, blocks, row_blocks = 1;
  bool spread = false;  // columns go over several dimensions
  for (int i = 1; i < q->type->rank; i++) {
    row_blocks *= (size_t)s->type->dims[i];
    spread = spread || (i > 1 && q->type->dims[i] != 1);
  }
  if (!orion_type_elements(q->type, &elements) || !orion_type_elements(s->type, &blocks) || elements != n * k ||
      elements != orion_data_elements(q->data) || blocks != orion_data_elements(s->data) || k == 0 ||
      q->type->dims[0] != (int64_t)n || s->type->dims[0] != (int64_t)n || row_blocks == 0 || k % row_blocks != 0) {
    return false;
  }
  if (row_blocks > 1 && (spread || k / row_blocks > ORION_PANEL_GROUP)) return false;
  *key = (orion_cpu_weight_key){.data = q->data, .format = ORION_CPU_QUANTISED, .dtype = q->type->dtype, .rows = n,
                                .cols = k, .scales = s->data, .block = k / row_blocks};
  return true;
}

typedef struct pack_step {
  orion_kernel_type type, src;
  size_t n, k, row, col;
} pack_step;

static orion_status run_pack(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const pack_step *d = s->data;
  x->k->pack(orion_cpu_at(x, &s->out[0]), d->type, d->n, d->k, orion_cpu_at(x, &s->in[0]), d->src, d->row, d->col, 0,
             d->n, 0, d->k);
  return ORION_OK;
}

// Weights computed from constants (constexpr_*, say): packed by a constant step.
static orion_status pack_computed(orion_cpu_build *b, orion_ref ref, bool transposed, size_t group, size_t n, size_t k,
                                  orion_cpu_panels_ref *out, orion_error *err) {
  orion_cpu_view v, packed;
  ORION_TRY(orion_cpu_ref_view(b, ref, &v, err));
  if (v.dtype != ORION_FP16) ORION_TRY(orion_cpu_to_f32(b, &v, err));
  ORION_TRY(orion_cpu_to_packed(b, &v, err));
  v.offset += (int64_t)(group * n * k);
  pack_step *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  out->type = v.dtype == ORION_FP16 ? ORION_KERNEL_F16 : ORION_KERNEL_F32;
  *d = (pack_step){out->type, out->type, n, k, transposed ? 1 : k, transposed ? n : 1};
  int64_t bytes = (int64_t)orion_panels_size(out->type, n, k);
  ORION_TRY(orion_cpu_new_view(b, ORION_UINT8, 1, &bytes, &packed, err));
  orion_cpu_step step = {
      .run = run_pack, .kind = ORION_CPU_COPY, .n_in = 1, .in = &v, .n_out = 1, .out = &packed, .data = d};
  ORION_TRY(orion_cpu_add_step(b, &step, err));
  out->buffer = packed.buffer;
  return ORION_OK;
}

orion_status orion_cpu_panels(orion_cpu_build *b, orion_ref ref, bool transposed, size_t groups, size_t group, size_t n,
                              size_t k, orion_cpu_panels_ref *out, bool *out_ok, orion_error *err) {
  matrix_source m;
  *out = (orion_cpu_panels_ref){.rows = n, .cols = k};
  *out_ok = true;
  size_t rows, bytes;
  if (!orion_add_ok(n, ORION_PANEL_ROWS, &rows) || !orion_mul_ok(rows, k, &bytes) || !orion_mul_ok(bytes, 4, &bytes)) {
    return ORION_FAIL(err, ORION_LIMIT, "a matrix of %zu x %zu is too large", n, k);
  }
  orion_cpu_weight_key quantised;
  if (groups == 1 && !transposed && find_quantised(b, ref, n, k, &quantised)) {
    out->type = quantised.dtype == ORION_INT8 ? ORION_KERNEL_I8 : ORION_KERNEL_I4;
    out->block = quantised.block;
    return orion_cpu_weight_buffer(b, &quantised, &out->buffer, err);
  }
  if (find_matrix(b, ref, &m) && !(groups > 1 && (transposed || m.transposed))) {
    orion_cpu_weight_key key = {.data = m.data,
                                .format = ORION_CPU_PANELS,
                                .dtype = m.dtype,
                                .transposed = transposed != m.transposed,
                                .rows = n,
                                .cols = k,
                                .first = group * n};
    out->type = m.dtype == ORION_FP16 ? ORION_KERNEL_F16 : ORION_KERNEL_F32;
    return orion_cpu_weight_buffer(b, &key, &out->buffer, err);
  }
  if (orion_cpu_is_lazy(b, ref)) {
    orion_cpu_view ignored;
    ORION_TRY(orion_cpu_ref_view(b, ref, &ignored, err));
  }
  if (orion_cpu_ref_constant(b, ref) && !(groups > 1 && transposed)) {
    return pack_computed(b, ref, transposed, group, n, k, out, err);
  }
  *out_ok = false;
  return ORION_OK;
}
