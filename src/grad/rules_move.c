// Rules of movement: a gradient goes back where its element came from, zeros go where nothing was taken.
#include "grad/backward.h"

void orion_grad_reshape(orion_backward *w, const orion_op *op, orion_ref dy) {
  const orion_type *x = orion_back_type(w, op, "x");
  if (x->rank == 0) {
    dy = orion_back_sum_to(w, dy, x);  // the one element
  } else {
    dy = orion_back_reshape(w, dy, x->rank, x->dims);
  }
  orion_back_give(w, op, "x", dy);
}

void orion_grad_transpose(orion_backward *w, const orion_op *op, orion_ref dy) {
  int rank = orion_back_type(w, op, "x")->rank;
  int64_t perm[ORION_MAX_RANK], inverse[ORION_MAX_RANK];
  size_t n = 0;
  if (!orion_op_ints(w->from, op, "perm", ORION_MAX_RANK, perm, &n) || (int)n != rank) {
    orion_back_refuse(w, op, "argument perm is no constant");
    return;
  }
  for (int i = 0; i < rank; i++) inverse[perm[i] < 0 ? perm[i] + rank : perm[i]] = i;
  orion_back_give(w, op, "x", orion_back_transpose(w, dy, rank, inverse));
}

// ---- slices ----

// dy with zeros around it: `begin` before, and after it up to the size of x.
static orion_ref pad(orion_backward *w, orion_ref dy, const orion_type *x, const int64_t *begin, const int64_t *size) {
  int64_t amounts[2 * ORION_MAX_RANK];
  bool any = false;
  for (int i = 0; i < x->rank; i++) {
    amounts[2 * i] = begin[i];
    amounts[2 * i + 1] = x->dims[i] - begin[i] - size[i];
    any = any || size[i] != x->dims[i];
  }
  if (!any) return dy;
  orion_builder *b = &w->b;
  return ORION_BUILD(
      b, NULL, ORION_OP_pad, {"x", dy}, {"pad", orion_build_ints(b, "pad", 2 * (size_t)x->rank, amounts)},
      {"mode", orion_build_string(b, "mode", "constant")}, {"constant_val", orion_back_number(w, x->dtype, 0)});
}

void orion_grad_slice_by_size(orion_backward *w, const orion_op *op, orion_ref dy) {
  const orion_type *x = orion_back_type(w, op, "x");
  int64_t begin[ORION_MAX_RANK];
  size_t n = 0;
  if (!orion_op_ints(w->from, op, "begin", ORION_MAX_RANK, begin, &n)) {
    orion_back_refuse(w, op, "argument begin is known at run time only");
    return;
  }
  for (int i = 0; i < x->rank; i++) begin[i] += begin[i] < 0 ? x->dims[i] : 0;
  orion_back_give(w, op, "x", pad(w, dy, x, begin, orion_back_result_type(w, op)->dims));
}

// Zeros that dy is written into, by the very arguments that read it.
void orion_grad_slice_by_index(orion_backward *w, const orion_op *op, orion_ref dy) {
  static const char *const names[] = {"begin", "end", "stride", "begin_mask", "end_mask", "squeeze_mask"};
  orion_in in[9] = {{"x", orion_back_fill(w, orion_back_type(w, op, "x"), 0)}, {"update", dy}};
  for (int i = 0; i < 6; i++) in[2 + i] = (orion_in){names[i], orion_back_arg(w, op, names[i])};
  orion_back_give(w, op, "x", orion_build_op(&w->b, NULL, ORION_OP_slice_update, in));
}

void orion_grad_concat(orion_backward *w, const orion_op *op, orion_ref dy) {
  const orion_arg *values = orion_op_arg(op, "values");
  const orion_type *y = orion_back_result_type(w, op);
  int axis = orion_back_axis(w, op, y->rank);
  bool interleave = false;
  orion_op_bool(w->from, op, "interleave", &interleave);
  orion_builder *b = &w->b;
  int64_t begin[ORION_MAX_RANK] = {0}, stride[ORION_MAX_RANK];
  for (int i = 0; i < y->rank; i++) stride[i] = 1;
  for (uint32_t i = 0; i < values->n_refs; i++) {
    const orion_type *t = orion_ref_type(w->from, values->refs[i]);
    if (!orion_type_is_static(t)) {
      orion_back_refuse(w, op, "the shapes of its values are known at run time only");
      return;
    }
    orion_ref d;
    size_t rank = (size_t)y->rank;
    if (interleave) {  // value i has every n-th slice from the i-th on
      stride[axis] = values->n_refs;
      begin[axis] = i;
      d = ORION_BUILD(b, NULL, ORION_OP_slice_by_index, {"x", dy}, {"begin", orion_build_ints(b, "begin", rank, begin)},
                      {"end", orion_build_ints(b, "end", rank, y->dims)},
                      {"stride", orion_build_ints(b, "stride", rank, stride)});
    } else {
      d = ORION_BUILD(b, NULL, ORION_OP_slice_by_size, {"x", dy}, {"begin", orion_build_ints(b, "begin", rank, begin)},
                      {"size", orion_build_ints(b, "size", rank, t->dims)});
      begin[axis] += t->dims[axis];
    }
    orion_back_give_ref(w, values->refs[i], d);
  }
}

// ---- by index ----

static orion_ref scatter(orion_backward *w, const orion_op *op, orion_ref data, orion_ref updates, int axis,
                         const char *mode) {
  orion_builder *b = &w->b;
  return ORION_BUILD(b, NULL, ORION_OP_scatter, {"data", data}, {"indices", orion_back_arg(w, op, "indices")},
                     {"updates", updates}, {"axis", orion_build_int(b, "axis", axis)},
                     {"mode", orion_build_string(b, "mode", mode)},
                     {"validate_indices", orion_build_bool(b, "validate", false)});
}

// Rows that were read several times add up.
void orion_grad_gather(orion_backward *w, const orion_op *op, orion_ref dy) {
  const orion_type *x = orion_back_type(w, op, "x");
  int64_t batch = 0;
  if (!orion_op_int(w->from, op, "batch_dims", &batch) || batch != 0) {
    orion_back_refuse(w, op, "gathering with batch dimensions has no gradient");
    return;
  }
  orion_back_give(w, op, "x", scatter(w, op, orion_back_fill(w, x, 0), dy, orion_back_axis(w, op, x->rank), "add"));
}

// Modes add, sub and update (of distinct places; what is overwritten gets nothing).
void orion_grad_scatter(orion_backward *w, const orion_op *op, orion_ref dy) {
  const orion_type *data = orion_back_type(w, op, "data"), *updates = orion_back_type(w, op, "updates");
  const char *mode = orion_op_string(w->from, op, "mode");
  bool update = mode && strcmp(mode, "update") == 0, minus = mode && strcmp(mode, "sub") == 0;
  if (!mode || (!update && !minus && strcmp(mode, "add") != 0)) {
    orion_back_refuse(w, op, "only modes add, sub and update have a gradient");
    return;
  }
  int axis = orion_back_axis(w, op, data->rank);
  if (orion_back_wants(w, op, "data")) {
    orion_back_give(w, op, "data", update ? scatter(w, op, dy, orion_back_fill(w, updates, 0), axis, "update") : dy);
  }
  if (!orion_back_wants(w, op, "updates")) return;
  orion_builder *b = &w->b;
  orion_ref d = ORION_BUILD(b, NULL, ORION_OP_gather, {"x", dy}, {"indices", orion_back_arg(w, op, "indices")},
                            {"axis", orion_build_int(b, "axis", axis)});
  orion_back_give(w, op, "updates", minus ? orion_back_times(w, d, -1) : d);
}
