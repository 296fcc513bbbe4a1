// The limits of a target, checked on a program. Rule ids are those of docs/limits.md; each finding says which number was
// met, which is allowed, and the way out.
#include <string.h>

#include "target/target.h"

typedef struct checker {
  const orion_target *t;
  orion_program *p;
  orion_function *f;
  orion_findings *out;
} checker;

static void check_axes(checker *c, orion_value_id v, orion_op_id op) {
  const orion_type *type = orion_value_type(c->f, v);
  const char *name = c->f->values[v].name;
  if (!orion_type_is_tensor(type)) return;
  if (type->rank > c->t->max_rank) {
    orion_findings_add(c->out, "L01-rank", true, c->f, op, name, "reshape to rank 4 or less",
                       "rank %d; %s takes at most %d", type->rank, c->t->name, c->t->max_rank);
  }
  for (int i = 0; i < type->rank; i++) {
    int64_t n = type->dims[i];
    if (n == ORION_DIM_UNKNOWN) {
      orion_findings_add(c->out, "L02-unknown-dimension", true, c->f, op, name,
                         "compile one program for each shape (buckets)", "dimension %d is unknown; every shape is fixed on %s",
                         i, c->t->name);
      continue;
    }
    bool channel = type->rank >= 3 && i == type->rank - 3, batch = i < type->rank - 3;
    int64_t limit = channel ? c->t->max_channels : batch ? c->t->max_batch : c->t->max_axis;
    if (n > limit) {
      orion_findings_add(c->out, channel ? "L03-channels" : "L04-axis", true, c->f, op, name,
                         "split the tensor along this axis", "dimension %d is %lld; %s takes at most %lld", i,
                         (long long)n, c->t->name, (long long)limit);
    }
  }
}

static void check_io_type(checker *c, orion_value_id v, bool input) {
  const orion_type *type = orion_value_type(c->f, v);
  const char *name = c->f->values[v].name;
  if (!orion_type_is_tensor(type)) {
    orion_findings_add(c->out, "L05-io-type", true, c->f, ORION_NONE, name, "pass tensors only",
                       "%s is not a tensor", input ? "input" : "output");
    return;
  }
  if (type->dtype != ORION_FP16 && type->dtype != ORION_FP32) {
    orion_findings_add(c->out, "L05-io-type", true, c->f, ORION_NONE, name, "cast on the host, pass fp16",
                       "%s of type %s; the engine exchanges fp16 (or fp32, slower)", input ? "input" : "output",
                       orion_dtype_name(type->dtype));
  } else if (type->dtype == ORION_FP32) {
    orion_findings_add(c->out, "C24-fp32-io", strcmp(c->t->name, "m1") == 0, c->f, ORION_NONE, name,
                       "use fp16 inputs and outputs", "fp32 %s: refused on the M1 generation, slower elsewhere",
                       input ? "input" : "output");
  }
  size_t element = orion_dtype_bits(type->dtype) / 8;
  int64_t width = type->rank ? type->dims[type->rank - 1] : 1;
  if (element && width > 0 && (size_t)width * element % 64 != 0) {
    orion_findings_add(c->out, "C20-row-stride", false, c->f, ORION_NONE, name,
                       "make the last axis a multiple of 32 fp16 elements",
                       "rows of %lld bytes; the engine strides rows by multiples of 64, so the surface is not packed",
                       (long long)((size_t)width * element));
  }
}

static void check_conv(checker *c, const orion_op *op, orion_op_id id) {
  const orion_type *w = orion_ref_type(c->f, orion_op_ref(op, "weight"));
  if (!orion_type_is_tensor(w) || w->rank < 3) return;
  if (w->dims[1] > c->t->max_conv_in) {
    orion_findings_add(c->out, "C16-conv-input-channels", true, c->f, id, NULL,
                       "cut the input channels and add partial results, or use matmul",
                       "convolution over %lld input channels; at most %lld", (long long)w->dims[1],
                       (long long)c->t->max_conv_in);
  }
  if (w->dims[0] > c->t->max_conv_out) {
    orion_findings_add(c->out, "L12-conv-output-channels", true, c->f, id, NULL, "cut the output channels in pieces",
                       "convolution to %lld output channels; at most %lld", (long long)w->dims[0],
                       (long long)c->t->max_conv_out);
  }
}

// A slice along the last axis that does not begin at 0 goes through the part of M1 and M2 that multiplies by 16.
static void check_width_slice(checker *c, const orion_op *op, orion_op_id id) {
  int64_t begin[ORION_MAX_RANK];
  size_t n;
  if (orion_op_ints(c->f, op, "begin", ORION_MAX_RANK, begin, &n) && n > 0 && begin[n - 1] == 0) return;
  orion_findings_add(c->out, "L11-width-slice", false, c->f, id, NULL, "slice along another axis",
                     "a slice of the last axis that does not begin at 0: magnitudes above 4094 become infinite on %s",
                     c->t->name);
}

// Arguments that must be there, as constants of their own.
static void check_args(checker *c, const orion_op *op, orion_op_id id) {
  if (op->code == ORION_OP_scaled_dot_product_attention && orion_op_arg(op, "attn_mask")) {
    orion_findings_add(c->out, "C06-sdpa-mask", true, c->f, id, NULL,
                       "decompose: matmul, add the mask, softmax, matmul", "the engine ignores attn_mask");
  }
  if (op->code == ORION_OP_concat) {
    int64_t axis;
    bool interleave;
    if (!orion_op_int(c->f, op, "axis", &axis) || !orion_op_arg(op, "interleave") ||
        !orion_op_bool(c->f, op, "interleave", &interleave)) {
      orion_findings_add(c->out, "C01-concat", true, c->f, id, NULL, "give axis and interleave as named constants",
                         "concat without constant axis and interleave is rejected");
    }
  }
  if ((op->code == ORION_OP_rsqrt || op->code == ORION_OP_inverse || op->code == ORION_OP_log) &&
      !orion_op_arg(op, "epsilon")) {
    orion_findings_add(c->out, "C23-epsilon", true, c->f, id, NULL, "give epsilon as a named constant",
                       "%s without epsilon is rejected", op->spelling);
  }
  if (op->code == ORION_OP_gelu && !orion_op_arg(op, "mode")) {
    orion_findings_add(c->out, "C10-gelu-mode", true, c->f, id, NULL, "give mode as a named constant",
                       "gelu without mode is rejected");
  }
  for (uint32_t a = 0; a < op->n_args; a++) {
    bool in_place = false;
    for (uint32_t r = 0; r < op->args[a].n_refs; r++) in_place = in_place || orion_ref_is_literal(op->args[a].refs[r]);
    if (in_place) {
      orion_findings_add(c->out, "C12-named-constants", true, c->f, id, NULL, "give the value by a const operation",
                         "argument %s is written in place", op->args[a].name);
    }
  }
}

// Each operation's own limits. Constants, packed or not, are no tensors of the engine: only their bytes count.
static void check_op(checker *c, orion_op_id id) {
  const orion_op *op = &c->f->ops[id];
  orion_op_class cls = orion_opcode_info(op->code)->cls;
  bool constant = cls == ORION_CLASS_CONST || cls == ORION_CLASS_CONSTEXPR;
  for (uint32_t i = 0; i < op->n_results && !constant; i++) check_axes(c, op->results[i], id);
  if (op->code == ORION_OP_OTHER || cls == ORION_CLASS_COMPOSITE) {
    orion_findings_add(c->out, "L06-op", true, c->f, id, NULL, "lower the program first, or rewrite the operation",
                       "operation %s is not one that the engine is known to take", op->spelling);
    return;
  }
  if (cls == ORION_CLASS_STATE) {
    orion_findings_add(c->out, "L07-state", true, c->f, id, NULL, "pass the state in and out as a surface",
                       "%s: state operations run in Core ML only", op->spelling);
  }
  if (op->code == ORION_OP_conv) check_conv(c, op, id);
  bool slice = op->code == ORION_OP_slice_by_size || op->code == ORION_OP_slice_by_index;
  if (slice && orion_rule_holds(orion_rule_row(ORION_RULE_L11), c->t->name)) check_width_slice(c, op, id);
  check_args(c, op, id);
}

// ---- constants of a program: bytes in all, distinct blob files ----

static size_t add_saturating(size_t a, size_t b) { return orion_add_ok(a, b, &a) ? a : SIZE_MAX; }

static size_t literal_bytes(const orion_literal *l) {
  size_t n = 0;
  if (l->kind != ORION_LIT_DATA && l->kind != ORION_LIT_BLOB) return 0;
  return orion_type_bytes(l->type, &n) ? n : SIZE_MAX;  // unknown or overflowing: no engine takes it
}

static bool seen_before(const char *const *paths, size_t n, const char *path) {
  for (size_t i = 0; i < n; i++) {
    if (strcmp(paths[i], path) == 0) return true;
  }
  return false;
}

static orion_status check_weights(checker *c, orion_error *err) {
  size_t total = 0, files = 0, attrs = 0;
  ORION_EACH_OP(c->f, id) attrs += c->f->ops[id].n_attrs;
  orion_arena scratch;
  orion_arena_init(&scratch, c->p->allocator);
  const char **paths = ORION_ARENA_ARRAY(&scratch, const char *, attrs + 1);
  if (!paths) {
    orion_arena_deinit(&scratch);
    return ORION_OOM(err, "check");
  }
  ORION_EACH_OP(c->f, id) {
    const orion_op *op = &c->f->ops[id];
    for (uint32_t i = 0; i < op->n_attrs; i++) {
      const orion_literal *l = op->attrs[i].value;
      total = add_saturating(total, literal_bytes(l));
      if (l->kind == ORION_LIT_BLOB && !seen_before(paths, files, l->blob_path)) paths[files++] = l->blob_path;
    }
  }
  orion_arena_deinit(&scratch);
  if (total > c->t->max_weight_bytes) {
    orion_findings_add(c->out, "L08-weight-bytes", true, c->f, ORION_NONE, NULL, "split the layers over several programs",
                       "%zu bytes of constants; at most %zu in one program", total, c->t->max_weight_bytes);
  }
  if (files > (size_t)c->t->max_blob_files) {
    orion_findings_add(c->out, "C21-blob-files", true, c->f, ORION_NONE, NULL, "put several tensors into one blob file",
                       "%zu weight files; at most %d in one program", files, c->t->max_blob_files);
  }
  return ORION_OK;
}

static void check_io(checker *c) {
  orion_function *f = c->f;
  if (f->n_params > (size_t)c->t->max_inputs || f->n_outputs > (size_t)c->t->max_outputs) {
    orion_findings_add(c->out, "L09-surfaces", true, f, ORION_NONE, NULL, "split the program",
                       "%zu inputs and %zu outputs; one request holds %d and %d", f->n_params, f->n_outputs,
                       c->t->max_inputs, c->t->max_outputs);
  }
  for (size_t i = 0; i < f->n_params; i++) {
    check_io_type(c, f->params[i], true);
    check_axes(c, f->params[i], ORION_NONE);
    if (i && strcmp(f->values[f->params[i - 1]].name, f->values[f->params[i]].name) > 0) {
      orion_findings_add(c->out, "C19-input-order", false, f, ORION_NONE, f->values[f->params[i]].name,
                         "name inputs so that their sorted order is their order, or bind by name",
                         "inputs are bound in sorted order of their names, not as declared");
    }
  }
  for (size_t i = 0; i < f->n_outputs; i++) {
    check_io_type(c, f->outputs[i], false);
    const char *name = f->values[f->outputs[i]].name;
    if (i && strcmp(f->values[f->outputs[i - 1]].name, name) > 0) {
      orion_findings_add(c->out, "C03-output-order", false, f, ORION_NONE, name,
                         "name outputs so that their sorted order is their order, or bind by name",
                         "outputs are bound in sorted order of their names, not as returned");
    }
    if (f->values[f->outputs[i]].def == ORION_NONE) {
      orion_findings_add(c->out, "L10-input-returned", true, f, ORION_NONE, name, "return a computed value",
                         "an input is returned as it is");
    }
  }
}

orion_status orion_target_check(const orion_target *t, orion_program *p, orion_findings *out, orion_error *err) {
  if (!t->ane) return ORION_OK;
  for (size_t i = 0; i < p->n_functions; i++) {
    checker c = {t, p, p->functions[i], out};
    check_io(&c);
    for (orion_op_id id = c.f->first; id != ORION_NONE; id = c.f->ops[id].next) check_op(&c, id);
    ORION_TRY(check_weights(&c, err));
  }
  return out->failed ? ORION_OOM(err, "check") : ORION_OK;
}

orion_status orion_program_check(orion_program *p, const char *target, orion_findings *list, orion_error *err) {
  const orion_target *t = orion_target_find(target);
  if (!t) return ORION_FAIL(err, ORION_INVALID, "target: there is no \"%s\" (m1 to m6, or cpu)", target);
  ORION_TRY(orion_verify(p, list, err));
  return orion_findings_fatal(list) ? ORION_OK : orion_target_check(t, p, list, err);
}
