// The sim as a device: its table of functions, what it refuses, and the loop that runs a plan.
#include <stdlib.h>
#include <string.h>

#include "device/layout.h"
#include "device/options.h"
#include "device/sim/plan.h"

// "rows=64": rows of inputs and outputs start at multiples of so many bytes; without, as the chip family has them, or
// packed.
static orion_status parse_rows(const orion_device_options *options, const orion_sim_rules *rules, size_t *out,
                               orion_error *err) {
  long rows, usual = orion_sim_rules_play(rules, ORION_RULE_S01) ? (long)rules->target->row_bytes : 1;
  ORION_TRY(orion_device_option_number("sim", options, "rows", 1, 4096, usual, &rows, err));
  if (rows & (rows - 1)) return ORION_FAIL(err, ORION_INVALID, "device sim: rows=%ld (want a power of two)", rows);
  *out = (size_t)rows;
  return ORION_OK;
}

static orion_status sim_open(const orion_allocator *a, const orion_device_options *options, int threads,
                             orion_device **out, orion_error *err) {
  static const char *const known[] = {"rows", "mode", "off", "target", "compiles", NULL};
  size_t row_align;
  orion_sim_rules rules;
  ORION_TRY(orion_device_options_check("sim", options, known, err));
  const char *family = options->family ? options->family : "ideal";
  const orion_sim_arith *arith = orion_sim_arith_find(family);
  if (!arith) return ORION_FAIL(err, ORION_NOT_FOUND, "device sim: no family '%s' (it has ideal and m1 to m6)", family);
  ORION_TRY(orion_sim_rules_parse(a, options, family, &rules, err));
  ORION_TRY(parse_rows(options, &rules, &row_align, err));
  orion_sim_device *d = orion_alloc_zero(a, 1, sizeof *d);
  if (!d) return ORION_OOM(err, "device sim");
  d->base = (orion_device){&orion_device_sim, a};
  d->rules = rules;
  if (rules.target == &rules.measured) d->rules.target = &d->rules.measured;
  d->own_arith = *arith;
  d->arith = &d->own_arith;
  orion_sim_rules_bend(&d->rules, &d->own_arith);
  d->row_align = row_align;
  orion_status status = orion_pool_create(a, threads, &d->pool, err);
  if (status != ORION_OK) {
    orion_free(a, d, 1, sizeof *d);
    return status;
  }
  *out = &d->base;
  return ORION_OK;
}

static void sim_close(orion_device *device) {
  orion_sim_device *d = (orion_sim_device *)device;
  orion_pool_destroy(d->pool);
  orion_sim_curves_free(d);
  orion_sim_tallies_free(&d->tallies, device->allocator);
  orion_free(device->allocator, d, 1, sizeof *d);
}

static void sim_describe(const orion_device *device, orion_device_info *out) {
  const orion_sim_device *d = (const orion_sim_device *)device;
  out->family = d->arith->family;
  out->numerics = d->arith->numerics;
  out->description = d->arith->ane ? "interprets programs in the arithmetic of this chip family"
                                   : "interprets programs operation by operation; the oracle for other devices";
  out->unknown = d->arith->unknown;
  out->threads = orion_pool_threads(d->pool);
}

// ---- what it refuses ----

static bool storable(orion_dtype d) {  // in four bytes
  switch (d) {
    case ORION_FP64: case ORION_INT64: case ORION_UINT64: case ORION_UINT32: case ORION_STRING: case ORION_DTYPE_NONE:
      return false;
    default: return true;
  }
}

static const char *type_trouble(const orion_type *t) {
  if (!orion_type_is_tensor(t)) return "is not a tensor";
  if (!orion_type_is_static(t)) return "has a shape that only a run decides";
  size_t n;
  if (!orion_type_elements(t, &n) || n > PTRDIFF_MAX / 8) return "has more elements than memory";
  return storable(t->dtype) ? NULL : "has an element type that the sim does not hold";
}

static void check_value(const orion_function *f, orion_op_id op, orion_value_id v, orion_findings *out) {
  const char *trouble = type_trouble(f->values[v].type);
  if (trouble) orion_findings_add(out, "type", true, f, op, f->values[v].name, NULL, "the value %s", trouble);
}

static void check_op(const orion_function *f, orion_op_id id, orion_findings *out) {
  const orion_op *op = &f->ops[id];
  if (op->code == ORION_OP_const) return;
  const char *value = op->n_results ? f->values[op->results[0]].name : NULL;
  const orion_sim_kernel *kernel = orion_sim_kernel_of(op->code);
  if (!kernel->run) {
    orion_findings_add(out, "op", true, f, id, value, NULL, "the sim has no %s", op->spelling);
    return;
  }
  const char *lacks = kernel->lacks ? kernel->lacks(f, op) : NULL;
  if (lacks) orion_findings_add(out, "op", true, f, id, value, NULL, "%s: %s", op->spelling, lacks);
  for (uint32_t i = 0; i < op->n_results; i++) check_value(f, id, op->results[i], out);
}

static orion_status sim_supports(orion_device *d, orion_program *p, orion_findings *out, orion_error *err) {
  for (size_t i = 0; i < p->n_functions; i++) {
    const orion_function *f = p->functions[i];
    for (size_t v = 0; v < f->n_params; v++) check_value(f, ORION_NONE, f->params[v], out);
    ORION_EACH_OP(f, id) check_op(f, id, out);
  }
  return orion_sim_rules_check(&((orion_sim_device *)d)->rules, p, out, err);
}

// ---- compile, run ----

static void sim_usage(const orion_device *device, orion_device_usage *out) {
  const orion_sim_rules *r = &((const orion_sim_device *)device)->rules;
  *out = (orion_device_usage){.compiles = r->compiles, .max_compiles = orion_sim_rules_budget(r), .loaded = r->loaded};
  if (orion_sim_rules_play(r, ORION_RULE_C40)) out->max_loaded = r->target->load_slots;
}

static void sim_release(orion_executable *base) {
  ((orion_sim_device *)base->device)->rules.loaded--;
  orion_sim_executable *e = (orion_sim_executable *)base;
  const orion_allocator *a = base->device->allocator;
  orion_sim_unplan(e);
  orion_executable_deinit(base);
  orion_free(a, e, 1, sizeof *e);
}

static orion_status sim_compile(orion_device *device, orion_program *p, orion_function *f, orion_executable **out,
                                orion_error *err) {
  orion_sim_device *d = (orion_sim_device *)device;
  ORION_TRY(orion_sim_rules_compile(&d->rules, err));
  ORION_TRY(orion_sim_rules_load(&d->rules, err));
  orion_sim_executable *e = orion_alloc_zero(device->allocator, 1, sizeof *e);
  orion_status status = e ? orion_executable_init(&e->base, device, f, d->row_align, err) : ORION_OOM(err, "executable");
  if (status == ORION_OK) status = orion_sim_plan(e, d, f, err);
  if (status != ORION_OK) {
    if (e) {
      sim_release(&e->base);
    } else {
      d->rules.loaded--;
    }
    return status;
  }
  *out = &e->base;
  return ORION_OK;
}

// Movement copies values that their dtype holds already; everything else is rounded here, once.
static bool computes(orion_opcode code) {
  orion_op_class cls = orion_opcode_info(code)->cls;
  return cls != ORION_CLASS_SHAPE && (cls != ORION_CLASS_MOVE || code == ORION_OP_scatter ||
                                      code == ORION_OP_scatter_nd || code == ORION_OP_scatter_along_axis ||
                                      code == ORION_OP_pad);
}

// Chip families round inside these already.
static bool rounds_itself(const orion_sim_op *op) {
  if (!op->arith->ane) return false;
  orion_op_class cls = orion_opcode_info(op->code)->cls;
  return op->code == ORION_OP_conv || op->code == ORION_OP_linear || op->code == ORION_OP_matmul ||
         op->code == ORION_OP_softmax || cls == ORION_CLASS_UNARY || cls == ORION_CLASS_BINARY ||
         cls == ORION_CLASS_REDUCE;
}

static orion_status sim_run(orion_executable *base, orion_surface *const *surfaces, orion_error *err) {
  orion_sim_executable *e = (orion_sim_executable *)base;
  const orion_sim_device *d = (const orion_sim_device *)base->device;
  for (size_t i = 0; i < base->n_ios; i++) {  // only faithful mode takes other surfaces
    if (surfaces[i]->layout.bytes >= base->ios[i].layout.bytes) continue;
    orion_status status = orion_sim_rules_refuse(&d->rules, ORION_RULE_C04, err);
    orion_error_prefix(err, "run: '%s' has %zu bytes of %zu", base->ios[i].name, surfaces[i]->layout.bytes,
                       base->ios[i].layout.bytes);
    return status;
  }
  bool stale = base->times.runs && orion_sim_rules_off(&d->rules, ORION_RULE_X19);
  for (size_t i = 0; i < base->n_inputs && !stale; i++) {
    if (orion_dtype_is_float(e->ios[i]->dtype)) {
      orion_layout_to_floats(&base->ios[i].layout, surfaces[i]->memory, e->ios[i]->f);
      if (d->arith->accept) d->arith->accept(e->ios[i]->dtype, e->ios[i]->f, e->ios[i]->n);
    } else {
      orion_layout_to_ints(&base->ios[i].layout, surfaces[i]->memory, e->ios[i]->i);
    }
  }
  orion_sim_ctx ctx = {.arith = d->arith, .pool = d->pool, .scratch = e->scratch};
  for (size_t i = 0; i < e->n_ops; i++) {
    const orion_sim_op *op = &e->ops[i];
    ctx.tally = d->counting && op->tally != SIZE_MAX ? &d->tallies.rows[op->tally] : NULL;
    ORION_TRY(op->kernel->run(&ctx, op, err));
    for (size_t r = 0; r < op->n_out && computes(op->code) && !rounds_itself(op); r++) {
      if (orion_dtype_is_float(op->out[r]->dtype)) d->arith->round(op->out[r]->dtype, op->out[r]->f, op->out[r]->n);
    }
    if (ctx.tally) orion_sim_tally_op(ctx.tally, op);
  }
  orion_sim_rules_spoil(e);
  for (size_t i = base->n_inputs; i < base->n_ios; i++) {
    if (orion_dtype_is_float(e->ios[i]->dtype)) {
      orion_layout_from_floats(&base->ios[i].layout, surfaces[i]->memory, e->ios[i]->f);
    } else {
      orion_layout_from_ints(&base->ios[i].layout, surfaces[i]->memory, e->ios[i]->i);
    }
  }
  return ORION_OK;
}

// On hardware new bytes under a loaded program change nothing (C07). Strict mode has this convenience of the simulator all
// the same; faithful mode takes the bytes and ignores them.
static orion_status sim_update(orion_executable *base, const char *value, const void *bytes, size_t n,
                               orion_error *err) {
  const orion_sim_rules *rules = &((orion_sim_device *)base->device)->rules;
  if (rules->mode == ORION_SIM_FAITHFUL && orion_sim_rules_play(rules, ORION_RULE_C07)) return ORION_OK;
  return orion_sim_constants_update((orion_sim_executable *)base, value, bytes, n, err);
}

// The engine does not know layouts, only bytes: too few are its status 0x1d (C04), which strict mode says when binding and
// faithful mode when running; more than enough do no harm (C20).
static orion_status sim_bind_other(orion_executable *base, const orion_io *io, const orion_layout *given,
                                   orion_error *err) {
  const orion_sim_rules *rules = &((orion_sim_device *)base->device)->rules;
  char want[160], got[160];
  orion_layout_text(&io->layout, want, sizeof want);
  orion_layout_text(given, got, sizeof got);
  if (!rules->target || rules->mode == ORION_SIM_NUMBERS) {
    return ORION_FAIL(err, ORION_INVALID, "bind '%s': the surface is %s (want %s)", io->name, got, want);
  }
  if (rules->mode == ORION_SIM_FAITHFUL) return ORION_OK;
  orion_status status = orion_sim_rules_refuse(rules, given->bytes < io->layout.bytes ? ORION_RULE_C04 : ORION_RULE_S01, err);
  orion_error_prefix(err, "bind '%s': the surface is %s (want %s)", io->name, got, want);
  return status;
}

static orion_status sim_count(orion_device *device, bool on, orion_error *err) {
  ((orion_sim_device *)device)->counting = on;
  return ORION_OK;
}

static const orion_tally *sim_tallies(const orion_device *device, size_t *out_n) {
  const orion_sim_tallies *t = &((const orion_sim_device *)device)->tallies;
  *out_n = t->n;
  return t->rows;
}

const orion_device_vtable orion_device_sim = {
    .name = "sim",
    .open = sim_open,
    .sums_in_place = true,
    .close = sim_close,
    .describe = sim_describe,
    .supports = sim_supports,
    .compile = sim_compile,
    .release = sim_release,
    .run = sim_run,
    .update = sim_update,
    .usage = sim_usage,
    .count = sim_count,
    .tallies = sim_tallies,
    .bind_other = sim_bind_other,
    .raw = &orion_sim_raw,
};
