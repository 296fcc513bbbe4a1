// Weights as integers with scales: the matrices of `linear` and `conv` become constexpr_blockwise_shift_scale, which the
// cpu device multiplies by as they are and the engine's compiler expands.
//
// After the passes, so that scales are folded into weights before these are rounded, and a wide classifier has been cut
// already. Every user of a matrix sees the quantised one. The integers stay lazy (ir/data.h): programs that share a
// model's weights share these too, and nothing is computed before a device or a file asks for it.
//
// Matrices that the model's file holds as integers go in as they are, where that is wanted and the target takes their
// groups: nothing is rounded a second time.
//
//   int8  a scale for each output channel
//   int4  for cpu a scale for about 32 inputs of a channel; for the engine one for each channel, the form known to work
#include <stdio.h>

#include "ir/data_quantise.h"
#include "lower/lower_internal.h"

// The `const` of floats behind `ref`, through casts; ORION_NONE if there is none. Matrices of one column or row stay.
static orion_op_id matrix_const(const orion_function *f, orion_ref ref) {
  while (ref != ORION_NONE && !orion_ref_is_literal(ref)) {
    orion_op_id def = f->values[ref].def;
    if (def == ORION_NONE) return ORION_NONE;
    if (f->ops[def].code == ORION_OP_cast) {
      ref = orion_op_ref(&f->ops[def], "x");
      continue;
    }
    const orion_literal *val = f->ops[def].code == ORION_OP_const ? orion_op_attr(&f->ops[def], "val") : NULL;
    const orion_type *t = val ? val->type : NULL;
    bool matrix = val && val->data && orion_type_is_tensor(t) && orion_dtype_is_float(t->dtype) && t->rank >= 2 &&
                  val->data->rows == (size_t)t->dims[0] && val->data->rows > 1 && val->data->cols > 1;
    for (int i = 2; matrix && i < t->rank; i++) matrix = t->dims[i] == 1;
    return matrix ? def : ORION_NONE;
  }
  return ORION_NONE;
}

// Integers are made of the weights as the model has them, not of a copy rounded to fp16.
static const orion_data *before_rounding(const orion_data *x) {
  while (x->kind == ORION_DATA_CAST && orion_dtype_is_float(x->sources[0]->dtype)) x = x->sources[0];
  return x;
}

typedef struct integers {
  const orion_data *q, *scales;
} integers;

// The model's own: of the type that is asked for, if one is.
static bool stored_integers(const lowering *l, const orion_data *x, orion_dtype dtype, integers *out) {
  orion_data_store *s = l->program->data;
  if (!orion_data_integers(s, x, &out->q, &out->scales)) return false;
  if (dtype && out->q->dtype != dtype) return false;
  if (l->target->ane && out->scales->cols != 1) return false;
  return (out->scales = orion_data_cast(s, out->scales, ORION_FP16)) != NULL;
}

static bool fresh_integers(const lowering *l, const orion_data *x, orion_dtype dtype, integers *out) {
  size_t group = l->target->ane ? x->cols : orion_quantise_group(dtype, x->cols);
  out->q = orion_data_quantise(l->program->data, before_rounding(x), dtype, group, &out->scales);
  return out->q != NULL;
}

static orion_status quantise_const(lowering *l, orion_op_id id, orion_dtype dtype, bool keep, orion_error *err) {
  orion_function *f = l->to;
  orion_value_id v = f->ops[id].results[0];
  const orion_literal *val = orion_op_attr(&f->ops[id], "val");
  orion_dtype own = val->type->dtype;
  int rank = val->type->rank;
  int64_t dims[ORION_MAX_RANK] = {0}, blocks[ORION_MAX_RANK] = {0};
  for (int i = 0; i < rank; i++) dims[i] = blocks[i] = val->type->dims[i];
  integers in;
  if (!(keep && stored_integers(l, val->data, dtype, &in))) {
    if (!dtype) return ORION_OK;
    if (!fresh_integers(l, val->data, dtype, &in)) return ORION_OOM(err, "weights");
  }
  blocks[1] = (int64_t)in.scales->cols;
  const char *name = f->values[v].name;
  orion_builder *b = &l->b;
  char stem[128];
  b->prefix[0] = 0;
  b->before = id;
  snprintf(stem, sizeof stem, "%.100s_%s", name, orion_dtype_name(in.q->dtype));
  orion_ref data = orion_build_weight(b, stem, in.q, rank, dims);
  snprintf(stem, sizeof stem, "%.100s_scale", name);
  orion_ref scale = orion_build_weight(b, stem, in.scales, rank, blocks);
  snprintf(stem, sizeof stem, "%.100s_q", name);
  orion_ref y = ORION_BUILD(b, stem, ORION_OP_constexpr_blockwise_shift_scale, {"data", data}, {"scale", scale});
  if (own != ORION_FP16) {
    snprintf(stem, sizeof stem, "%.100s_wide", name);
    y = ORION_BUILD(b, stem, ORION_OP_cast, {"x", y},
                    {"dtype", orion_build_string(b, "dtype", orion_dtype_name(own))});
  }
  b->before = ORION_NONE;
  ORION_TRY(orion_builder_finish(b, err));
  orion_function_replace_uses(f, v, y);
  orion_function_remove_op(f, id);
  return ORION_OK;
}

orion_status orion_lowering_quantise(lowering *l, orion_dtype dtype, bool keep, orion_error *err) {
  orion_function *f = l->to;
  orion_builder_init(&l->b, f);
  ORION_EACH_OP(f, id) {
    orion_opcode code = f->ops[id].code;
    if (code != ORION_OP_linear && code != ORION_OP_conv) continue;
    orion_op_id def = matrix_const(f, orion_op_ref(&f->ops[id], "weight"));
    if (def != ORION_NONE) ORION_TRY(quantise_const(l, def, dtype, keep, err));
  }
  return ORION_OK;
}
