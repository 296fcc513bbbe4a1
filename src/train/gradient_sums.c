#include "train/gradient_sums.h"

#include <stdio.h>

#include "ir/builder.h"

enum { MAX_NAME = 256 };

static orion_status sum_output(orion_builder *b, const char *name, orion_error *err) {
  char gradient[MAX_NAME], sum[MAX_NAME];
  int length = snprintf(sum, sizeof sum, "sum_%s", name);
  snprintf(gradient, sizeof gradient, "d_%s", name);
  if (length < 0 || length >= MAX_NAME) return ORION_FAIL(err, ORION_LIMIT, "training step: the name %.60s... is too long", name);
  orion_function *f = b->f;
  orion_value_id own = orion_function_find(f, gradient);
  size_t at = 0;
  while (at < f->n_outputs && f->outputs[at] != own) at++;
  if (own == ORION_NONE || at == f->n_outputs) {
    return ORION_FAIL(err, ORION_INTERNAL, "training step: the program has no output %s", gradient);
  }
  char part[MAX_NAME + 8];
  snprintf(part, sizeof part, "%s_own", gradient);
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
