// Inputs, outputs and constants in the engine's layout.
//
// Surfaces have rows of a multiple of 64 bytes: a weight [O, I] is [1, 1, O, I'] with I' = I rounded up to 32 elements, a
// vector [C] one such row. Inside, the rows are as wide as they are: a slice that begins at 0 takes the rest off an input, a
// pad puts zeros on an output.
#include "lower/channels.h"

#include <stdio.h>

static int64_t padded(const lowering *l, int64_t n) {
  int64_t multiple = l->target->width_multiple;
  return (n + multiple - 1) / multiple * multiple;
}

// ---- what is a weight -----------------------------------------------------------------------------------------------

static void mark(lowering *l, const orion_op *op, const char *arg, channels_form form) {
  orion_value_id v = orion_op_value(op, arg);
  const orion_type *t = v == ORION_NONE ? NULL : orion_value_type(l->from, v);
  if (t && t->rank == 2) l->form[v] = (uint8_t)form;
}

// Uses say what a matrix is, so the walk goes backwards: through casts, and through the scaling of a table.
orion_status orion_channels_find_forms(lowering *l, orion_error *err) {
  const orion_function *f = l->from;
  l->form = ORION_ARENA_ARRAY(&l->scratch, uint8_t, f->n_values + 1);
  if (!l->form) return ORION_OOM(err, "lowering");
  for (orion_op_id id = f->last; id != ORION_NONE; id = f->ops[id].prev) {
    const orion_op *op = &f->ops[id];
    bool turned = false;
    if (op->code == ORION_OP_linear) mark(l, op, "weight", CHANNELS_MATRIX);
    if (op->code == ORION_OP_matmul && !(orion_op_bool(f, op, "transpose_x", &turned) && turned)) {
      mark(l, op, "y", CHANNELS_MATRIX);
    }
    if (op->code == ORION_OP_orion_rope) {
      mark(l, op, "cos", CHANNELS_TABLE);
      mark(l, op, "sin", CHANNELS_TABLE);
    }
    if (op->code == ORION_OP_orion_lora) {
      mark(l, op, "a", CHANNELS_TABLE);
      mark(l, op, "b", CHANNELS_TABLE);
      mark(l, op, "gate", CHANNELS_TABLE);
    }
    if (op->n_results && l->form[op->results[0]] && (op->code == ORION_OP_cast || op->code == ORION_OP_mul)) {
      mark(l, op, "x", (channels_form)l->form[op->results[0]]);
    }
  }
  for (size_t v = 0; v < f->n_values; v++) {
    const orion_type *t = f->values[v].type;
    if (orion_type_is_tensor(t) && t->rank == 1) l->form[v] = CHANNELS_VECTOR;
  }
  return ORION_OK;
}

// ---- inputs ---------------------------------------------------------------------------------------------------------

// [1, 1, O, I'] less what is beyond I.
static orion_ref narrowed(lowering *l, orion_ref x, const char *name, int64_t O, int64_t I) {
  char stem[80];
  if (padded(l, I) == I) return x;
  snprintf(stem, sizeof stem, "%.60s_narrow", name);
  return slice(l, stem, x, (int64_t[4]){0}, (int64_t[]){1, 1, O, I});
}

static orion_status open_weight(lowering *l, orion_value_id param, orion_error *err) {
  const orion_value *v = &l->from->values[param];
  bool vector = l->form[param] == CHANNELS_VECTOR;
  int64_t O = vector ? 1 : v->type->dims[0], I = v->type->dims[vector ? 0 : 1];
  orion_value_id p = orion_build_param(&l->b, v->name, ORION_FP16, 4, (int64_t[]){1, 1, O, padded(l, I)});
  orion_ref x = narrowed(l, p, v->name, O, I);
  char stem[80];
  snprintf(stem, sizeof stem, "%.60s_column", v->name);
  l->map[param] = vector ? reshape(l, stem, x, 1, I, 1, 1) : x;
  bool ok = p != ORION_NONE && orion_lowering_port(l, v->name, v->name, true, ORION_ROWS, O, I, 1, 0);
  return ok ? ORION_OK : ORION_OOM(err, "lowering");
}

static orion_status open_positions(lowering *l, orion_value_id param, orion_error *err) {
  const orion_value *v = &l->from->values[param];
  const orion_type *t = v->type;
  // A mask [1, S] is added along the last axis of the scores, so it keeps its order: [1, 1, 1, S].
  bool row = strcmp(v->name, "mask") == 0;
  int64_t C = row ? 1 : t->dims[1], T = row ? t->dims[1] : t->dims[0];
  if (T % l->target->width_multiple != 0) {
    return ORION_FAIL(err, ORION_INVALID, "%s: %lld positions; programs for %s want a multiple of %lld", v->name,
                      (long long)T, l->target->name, (long long)l->target->width_multiple);
  }
  int64_t dims[4] = {1, C, 1, T};
  if (l->form[param] == CHANNELS_TABLE) dims[1] = 1, dims[2] = C;  // the shape in which all layers use it
  orion_value_id p = orion_build_param(&l->b, v->name, ORION_FP16, 4, dims);
  l->map[param] = p;
  orion_arrangement arrangement = row ? ORION_ROWS : ORION_CHANNELS;
  bool ok = p != ORION_NONE && orion_lowering_port(l, v->name, v->name, true, arrangement, t->dims[0], t->dims[1], 1, 0);
  return ok ? ORION_OK : ORION_OOM(err, "lowering");
}

orion_status orion_channels_open_params(lowering *l, orion_error *err) {
  for (size_t i = 0; i < l->from->n_params; i++) {
    orion_value_id param = l->from->params[i];
    bool weight = l->form[param] == CHANNELS_MATRIX || l->form[param] == CHANNELS_VECTOR;
    if (!weight && l->from->values[param].type->rank != 2) {
      return ORION_FAIL(err, ORION_INTERNAL, "graph input %s is not [T, C]", l->from->values[param].name);
    }
    ORION_TRY(weight ? open_weight(l, param, err) : open_positions(l, param, err));
  }
  return ORION_OK;
}

// ---- constants ------------------------------------------------------------------------------------------------------

orion_ref orion_channels_open_const(lowering *l, const orion_op *op) {
  orion_value_id v = op->results[0];
  const char *name = l->from->values[v].name;
  const orion_literal *val = orion_op_attr(op, "val");
  const orion_type *t = val->type;
  double scalar;
  l->b.prefix[0] = 0;
  if (val->kind != ORION_LIT_DATA || !orion_dtype_is_float(t->dtype)) return ORION_NONE;
  if (t->rank == 0) return orion_ref_float(l->from, v, &scalar) ? constant(l, name, scalar) : ORION_NONE;
  const orion_data *data = orion_data_cast(l->program->data, val->data, ORION_FP16);
  bool matrix = l->form[v] == CHANNELS_MATRIX, vector = l->form[v] == CHANNELS_VECTOR;
  if (data && !matrix && !vector) data = orion_data_transpose(l->program->data, data);
  if (!data) {
    orion_builder_fail(&l->b, ORION_NO_MEMORY, "%s: out of memory", name);
    return ORION_NONE;
  }
  int64_t rows = (int64_t)data->rows, cols = (int64_t)data->cols;
  int64_t dims[4] = {1, vector ? rows : 1, vector ? 1 : rows, vector ? 1 : cols};
  return orion_build_weight(&l->b, name, data, 4, dims);
}

// ---- outputs --------------------------------------------------------------------------------------------------------

static orion_ref widened(lowering *l, orion_ref y, int64_t I) {
  orion_builder *b = &l->b;
  int64_t more = padded(l, I) - I;
  if (more == 0) return y;
  return ORION_BUILD(b, "wide", ORION_OP_pad, {"x", y},
                     {"pad", orion_build_ints(b, "pad", 8, (int64_t[]){0, 0, 0, 0, 0, 0, 0, more})},
                     {"mode", orion_build_string(b, "mode", "constant")}, {"constant_val", constant(l, "zero", 0)});
}

orion_ref orion_channels_output(lowering *l, orion_ref y, const char *logical, const char *name, channels_form form,
                                int64_t rows, int64_t cols, int64_t first_col) {
  bool weight = form == CHANNELS_MATRIX || form == CHANNELS_VECTOR;
  snprintf(l->b.prefix, sizeof l->b.prefix, "%.50s_", name);
  if (form == CHANNELS_VECTOR) y = reshape(l, "row", y, 1, 1, 1, cols);
  if (weight) y = widened(l, y, cols);
  orion_build_output(&l->b, y, name);
  if (!orion_lowering_port(l, logical, name, false, weight ? ORION_ROWS : ORION_CHANNELS, rows, cols, 1, first_col)) {
    orion_builder_fail(&l->b, ORION_NO_MEMORY, "lowering: out of memory");
  }
  return y;
}
