#include "train/gradient_sums.h"

#include "ir/builder.h"

const char *orion_gradient_name(orion_arena *a, const char *name) { return orion_arena_printf(a, "d_%s", name); }
const char *orion_gradient_sum_name(orion_arena *a, const char *name) { return orion_arena_printf(a, "sum_%s", name); }

static orion_status sum_output(orion_builder *b, const char *name, orion_error *err) {
  orion_function *f = b->f;
  orion_arena *a = &f->program->arena;
  const char *gradient = orion_gradient_name(a, name), *sum = orion_gradient_sum_name(a, name);
  const char *part = orion_arena_printf(a, "d_%s_own", name);
  if (!gradient || !sum || !part) return ORION_OOM(err, "training step");
  orion_value_id own = orion_function_find(f, gradient);
  size_t at = 0;
  while (at < f->n_outputs && f->outputs[at] != own) at++;
  if (own == ORION_NONE || at == f->n_outputs) {
    return ORION_FAIL(err, ORION_INTERNAL, "training step: the program has no output %s", gradient);
  }
  if (!orion_value_rename(f, own, part)) return ORION_OOM(err, "training step");
  const orion_type *t = orion_value_type(f, own);
  orion_ref before = orion_build_param(b, sum, ORION_FP32, t->rank, t->dims), gained = own;
  if (t->dtype != ORION_FP32) {
    gained = ORION_BUILD(b, NULL, ORION_OP_cast, {"x", own}, {"dtype", orion_build_string(b, NULL, "fp32")});
  }
  orion_value_id after = ORION_BUILD(b, NULL, ORION_OP_add, {"x", gained}, {"y", before});
  if (after == ORION_NONE) return orion_builder_finish(b, err);
  f->outputs[at] = after;
  return orion_value_rename(f, after, gradient) ? ORION_OK : ORION_OOM(err, "training step");
}

orion_status orion_gradient_sums(orion_program *p, const char *const *names, size_t n, orion_error *err) {
  orion_builder b;
  orion_builder_init(&b, p->functions[0]);
  for (size_t i = 0; i < n; i++) ORION_TRY(sum_output(&b, names[i], err));
  return orion_builder_finish(&b, err);
}
