// Forward values on the backward side, and the sums of gradients.
#include "grad/backward.h"

void orion_back_refuse(orion_backward *w, const orion_op *op, const char *why) {
  orion_builder_fail(&w->b, ORION_UNSUPPORTED, "gradient of %s %s: %s", op->spelling,
                     w->from->values[op->results[0]].name, why);
}

// A constant written in place of an argument becomes one of the new program.
static orion_ref literal(orion_backward *w, const orion_literal *l) {
  orion_program *p = w->b.f->program;
  if (l->kind == ORION_LIT_STRINGS && l->n_items == 1) return orion_build_string(&w->b, NULL, l->strings[0]);
  if (!l->data || !orion_type_is_tensor(l->type)) {
    orion_builder_fail(&w->b, ORION_UNSUPPORTED, "gradient: a constant that is neither a tensor nor a text");
    return ORION_NONE;
  }
  const orion_type *t = l->type->scalar ? orion_type_scalar(p, l->type->dtype)
                                        : orion_type_tensor(p, l->type->dtype, l->type->rank, l->type->dims);
  const orion_literal *copy = t ? orion_literal_data(p, t, l->data) : NULL;
  orion_ref ref = copy ? orion_function_literal_ref(w->b.f, copy) : ORION_NONE;
  if (ref == ORION_NONE) orion_builder_fail(&w->b, ORION_NO_MEMORY, "gradient: out of memory");
  return ref;
}

// What is computed again reads what is kept through a fence, so that no pass sees the same operation on the same arguments twice
// and keeps its result after all. Between two functions there is no need.
static orion_ref behind_fence(orion_backward *w, orion_ref source) {
  orion_ref x = orion_back_value(w, source);
  bool apart = w->forward != w->b.f || x == ORION_NONE || orion_ref_is_literal(source);
  if (apart || w->again[source] || w->held[source] != ORION_NONE || orion_ref_is_const(w->from, source)) return x;
  orion_ref *fence = &w->fence[source];
  if (*fence == ORION_NONE) {
    *fence = ORION_BUILD(&w->b, w->from->values[source].name, ORION_OP_orion_fence, {"x", x});
  }
  return *fence;
}

// The operation once more, on backward's side of its arguments.
static orion_ref compute_again(orion_backward *w, const orion_op *op) {
  orion_in in[17] = {{0}};
  orion_ref several[256];
  const orion_arg *tuple = NULL;
  size_t n = 0;
  char prefix[sizeof w->b.prefix];
  memcpy(prefix, w->b.prefix, sizeof prefix);
  memcpy(w->b.prefix, "again_", sizeof "again_");
  for (uint32_t i = 0; i < op->n_args; i++) {
    const orion_arg *arg = &op->args[i];
    if (arg->tuple || arg->n_refs != 1) {
      tuple = arg;
      for (uint32_t r = 0; r < arg->n_refs; r++) several[r] = behind_fence(w, arg->refs[r]);
    } else {
      in[n++] = (orion_in){arg->name, behind_fence(w, arg->refs[0])};
    }
  }
  const char *stem = w->from->values[op->results[0]].name;
  orion_ref y = tuple ? orion_build_tuple_op(&w->b, stem, op->code, tuple->name, tuple->n_refs, several, in)
                      : orion_build_op(&w->b, stem, op->code, in);
  memcpy(w->b.prefix, prefix, sizeof prefix);
  return y;
}

// Split: the backward function's own parameter for a parameter or result of the forward one.
static orion_ref handed_over(orion_backward *w, orion_value_id v) {
  const orion_type *t = w->from->values[v].type;
  const orion_type *copy = orion_type_tensor(w->b.f->program, t->dtype, t->rank, t->dims);
  if (t->scalar) copy = orion_type_scalar(w->b.f->program, t->dtype);
  orion_value_id p = copy ? orion_function_add_param(w->b.f, w->from->values[v].name, copy) : ORION_NONE;
  if (p == ORION_NONE) orion_builder_fail(&w->b, ORION_NO_MEMORY, "gradient: out of memory");
  return p;
}

static orion_ref value(orion_backward *w, orion_value_id v) {
  orion_op_id def = w->from->values[v].def;
  bool split = w->forward != w->b.f;
  if (w->again[v]) return compute_again(w, &w->from->ops[def]);
  if (w->held[v] != ORION_NONE) {
    return ORION_BUILD(&w->b, w->from->values[v].name, ORION_OP_cast, {"x", w->held[v]},
                       {"dtype", orion_build_string(&w->b, "dtype", orion_dtype_name(ORION_FP32))});
  }
  if (!split) return w->map[v];
  if (!orion_ref_is_const(w->from, v)) return handed_over(w, v);
  if (w->from->ops[def].code != ORION_OP_const) {  // packed weights: unpacked on this side too
    const orion_op *op = &w->from->ops[def];
    for (uint32_t i = 0; i < op->n_args; i++) {
      for (uint32_t r = 0; r < op->args[i].n_refs; r++) orion_back_value(w, op->args[i].refs[r]);
    }
  }
  if (!orion_copy_op(w->b.f, w->from, def, NULL, NULL, w->at)) {
    orion_builder_fail(&w->b, ORION_NO_MEMORY, "gradient: out of memory");
    return ORION_NONE;
  }
  return w->at[v];
}

orion_ref orion_back_value(orion_backward *w, orion_ref source) {
  if (source == ORION_NONE || w->b.status != ORION_OK) return ORION_NONE;
  if (orion_ref_is_literal(source)) return literal(w, orion_ref_literal(w->from, source));
  if (w->at[source] == ORION_NONE) {
    w->needed[source] = true;
    w->at[source] = value(w, source);
  }
  return w->at[source];
}

bool orion_back_wants(const orion_backward *w, const orion_op *op, const char *arg) {
  orion_value_id v = orion_op_value(op, arg);
  return v != ORION_NONE && w->active[v];
}

void orion_back_give_ref(orion_backward *w, orion_ref source, orion_ref d) {
  if (source == ORION_NONE || orion_ref_is_literal(source) || !w->active[source] || w->b.status != ORION_OK) return;
  const orion_type *t = orion_ref_type(w->from, source);
  if (!orion_type_is_static(t)) {
    orion_builder_fail(&w->b, ORION_UNSUPPORTED, "gradient of %s: %s is known at run time only",
                       w->from->values[source].name, orion_type_text(t).text);
    return;
  }
  d = orion_back_cast(w, orion_back_sum_to(w, d, t), t->dtype);
  orion_ref *sum = &w->gradient[source];
  *sum = *sum == ORION_NONE ? d : add(w, *sum, d);
}

void orion_back_give(orion_backward *w, const orion_op *op, const char *arg, orion_ref d) {
  orion_back_give_ref(w, orion_op_ref(op, arg), d);
}
