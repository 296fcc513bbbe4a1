// The pass table, the pipelines, and the loop that runs them with the verifier in between.
#include <string.h>

#include "base/clock.h"
#include "opt/opt.h"
#include "opt/passes.h"

static const orion_pass *const all_passes[] = {
#define ORION_PASS(id) &orion_pass_##id,
#include "opt/passes.inc"
#undef ORION_PASS
    NULL,
};

const orion_pass *const *orion_passes(void) { return all_passes; }

const orion_pass *orion_pass_find(const char *name) {
  for (size_t i = 0; all_passes[i]; i++) {
    if (strcmp(all_passes[i]->name, name) == 0) return all_passes[i];
  }
  return NULL;
}

// Small things first, so that the larger rewrites see constants and shapes in one form. Scales fold before the joining, for
// they belong to one of the joined only. Dead code last, for the count. On the cpu device joining does not pay, and
// nothing needs cutting.
const char *orion_default_pipeline(bool ane) {
  return ane ? "identity,cast_fuse,cse,fold,scale_fold,reshape_merge,transpose_merge,join_conv,split_conv,sram,dce"
             : "identity,cast_fuse,cse,fold,scale_fold,reshape_merge,transpose_merge,scatter_merge,dce";
}

static size_t count_ops(const orion_program *p) {
  size_t n = 0;
  for (size_t i = 0; i < p->n_functions; i++) {
    ORION_EACH_OP(p->functions[i], id) n++;
  }
  return n;
}

static orion_status run_pass(const orion_pass *pass, orion_program *p, const orion_opt_limits *limits,
                             const orion_opt_options *o, size_t *changes, orion_error *err) {
  orion_pass_context ctx = {.allocator = p->allocator, .limits = limits};
  size_t before = count_ops(p);
  double start = orion_now();
  ORION_TRY(pass->run(&ctx, p, err));
  double seconds = orion_now() - start;
  if (ctx.changes) {
    orion_status status = orion_verify_ok(p, err);
    if (status != ORION_OK) {
      orion_error_prefix(err, "pass %s", pass->name);
      return status == ORION_NO_MEMORY ? status : ORION_INTERNAL;
    }
  }
  if (o && o->dump && o->dump_after && (strcmp(o->dump_after, "all") == 0 || strcmp(o->dump_after, pass->name) == 0)) {
    o->dump(o->dump_ctx, pass->name, p);
  }
  if (o && o->stats) {
    o->stats(o->stats_ctx, &(orion_pass_stats){pass->name, ctx.changes, before, count_ops(p), seconds});
  }
  *changes += ctx.changes;
  return ORION_OK;
}

orion_status orion_optimize(orion_program *p, const orion_opt_limits *limits, const orion_opt_options *options,
                            orion_error *err) {
  const char *list = options && options->passes ? options->passes : orion_default_pipeline(limits->ane);
  for (int round = 0; round < 8; round++) {
    size_t changes = 0;
    for (const char *at = list; *at;) {
      size_t n = strcspn(at, ",");
      char name[64];
      if (n >= sizeof name) return ORION_FAIL(err, ORION_INVALID, "passes: name too long in \"%s\"", list);
      memcpy(name, at, n);
      name[n] = 0;
      const orion_pass *pass = orion_pass_find(name);
      if (!pass) return ORION_FAIL(err, ORION_INVALID, "passes: there is no pass \"%s\" (docs/passes.md lists them)", name);
      ORION_TRY(run_pass(pass, p, limits, options, &changes, err));
      at += n + (at[n] == ',');
    }
    if (!changes) break;
  }
  return ORION_OK;
}
