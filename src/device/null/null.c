// The device that runs nothing: every operation is lacking, every program is refused. It is the smallest thing that
// keeps the contract, and the place to start a new device from (docs/add-a-device.md).
#include "device/device.h"
#include "device/options.h"

static orion_status null_open(const orion_allocator *a, const orion_device_options *options, int threads,
                              orion_device **out, orion_error *err) {
  static const char *const known[] = {NULL};
  ORION_TRY(orion_device_options_check("null", options, known, err));
  if (options->family) return ORION_FAIL(err, ORION_INVALID, "device null: it has no family '%s'", options->family);
  orion_device *d = orion_alloc_zero(a, 1, sizeof *d);
  if (!d) return ORION_OOM(err, "device null");
  d->vtable = &orion_device_null;
  d->allocator = a;
  *out = d;
  return ORION_OK;
}

static void null_close(orion_device *d) { orion_free(d->allocator, d, 1, sizeof *d); }

static void null_describe(const orion_device *d, orion_device_info *out) {
  out->numerics = "none";
  out->description = "runs nothing; the template for new devices";
}

// Whether an operation of the same name came before: one finding for each kind is enough.
static bool seen_before(const orion_function *f, orion_op_id id) {
  for (orion_op_id i = f->first; i != id; i = f->ops[i].next) {
    if (strcmp(f->ops[i].spelling, f->ops[id].spelling) == 0) return true;
  }
  return false;
}

static orion_status null_supports(orion_device *d, orion_program *p, orion_findings *out, orion_error *err) {
  for (size_t i = 0; i < p->n_functions; i++) {
    const orion_function *f = p->functions[i];
    orion_findings_add(out, "op", true, f, ORION_NONE, NULL, NULL, "no function can run here");
    ORION_EACH_OP(f, id) {
      const orion_op *op = &f->ops[id];
      if (seen_before(f, id)) continue;
      orion_findings_add(out, "op", true, f, id, op->n_results ? f->values[op->results[0]].name : NULL, NULL,
                         "no %s here", op->spelling);
    }
  }
  return ORION_OK;
}

static orion_status null_compile(orion_device *d, orion_program *p, orion_function *f, orion_executable **out,
                                 orion_error *err) {
  return ORION_FAIL(err, ORION_REFUSED, "null: no function can run here");
}

// Never called, since nothing compiles.
static void null_release(orion_executable *e) { (void)e; }
static orion_status null_run(orion_executable *e, orion_surface *const *surfaces, orion_error *err) {
  return ORION_FAIL(err, ORION_REFUSED, "null: no function can run here");
}

const orion_device_vtable orion_device_null = {
    .name = "null",
    .open = null_open,
    .sums_in_place = true,
    .close = null_close,
    .describe = null_describe,
    .supports = null_supports,
    .compile = null_compile,
    .release = null_release,
    .run = null_run,
};
