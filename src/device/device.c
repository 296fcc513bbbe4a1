// The public calls on devices and surfaces: arguments are checked here, once for all devices, then the device's table
// of functions does the work. A device sees only programs that passed the verifier.
#include "device/device.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "device/layout.h"
#include "device/options.h"
#include "device/registry.h"

orion_status orion_device_open(const char *spec, int threads, const orion_allocator *a, orion_device **out,
                               orion_error *err) {
  orion_device_spec parsed;
  ORION_TRY(orion_device_spec_parse(spec ? spec : "auto", &parsed, err));
  const orion_device_vtable *vtable = orion_device_find(parsed.name);
  if (!vtable) {
    char known[256] = "";
    int used = 0;
    for (const char *const *name = orion_device_names(); *name && used < (int)sizeof known; name++) {
      used += snprintf(known + used, sizeof known - (size_t)used, "%s%s", used ? ", " : "", *name);
    }
    return ORION_FAIL(err, ORION_NOT_FOUND, "device '%s': this build has none of that name (it has %s)", parsed.name,
                      known);
  }
  if (threads < 0 || threads > 1024) {
    return ORION_FAIL(err, ORION_INVALID, "device %s: %d threads (want 0 to 1024)", vtable->name, threads);
  }
  return vtable->open(orion_allocator_or_default(a), &parsed.options, threads, out, err);
}

void orion_device_close(orion_device *device) {
  if (device) device->vtable->close(device);
}

void orion_device_describe(const orion_device *device, orion_device_info *out) {
  *out = (orion_device_info){
      .name = device->vtable->name, .family = "", .numerics = "", .description = "", .threads = 1};
  device->vtable->describe(device, out);
}

void orion_device_usage_get(const orion_device *device, orion_device_usage *out) {
  *out = (orion_device_usage){0};
  if (device->vtable->usage) device->vtable->usage(device, out);
}

void orion_device_on_exhausted(orion_device *device, orion_exhausted_fn fn, void *ctx) {
  if (device->vtable->on_exhausted) device->vtable->on_exhausted(device, fn, ctx);
}

orion_status orion_device_supports(orion_device *device, orion_program *program, orion_findings *out,
                                   orion_error *err) {
  ORION_TRY(orion_verify(program, out, err));
  if (orion_findings_fatal(out)) return ORION_OK;
  ORION_TRY(device->vtable->supports(device, program, out, err));
  return out->failed ? ORION_OOM(err, "findings") : ORION_OK;
}

static orion_status choose_function(orion_program *p, const char *wanted, orion_function **out, orion_error *err) {
  *out = wanted ? orion_program_function(p, wanted) : orion_program_function(p, "main");
  if (!*out && !wanted && p->n_functions == 1) *out = p->functions[0];
  if (*out) return ORION_OK;
  if (p->n_functions == 0) return ORION_FAIL(err, ORION_INVALID, "program: it has no function");
  return ORION_FAIL(err, ORION_NOT_FOUND, "program: no function '%s' (its first is '%s')", wanted ? wanted : "main",
                    p->functions[0]->name);
}

// The first fatal finding that concerns function `f` as an error.
static orion_status refuse(const orion_device *d, const orion_findings *l, const orion_function *f, orion_error *err) {
  for (size_t i = 0; i < l->n; i++) {
    const orion_finding *x = &l->items[i];
    if (!x->fatal || (x->function && strcmp(x->function, f->name) != 0)) continue;
    char place[64] = "";
    if (x->loc.line) snprintf(place, sizeof place, "line %u:%u: ", x->loc.line, x->loc.column);
    return ORION_FAIL(err, ORION_REFUSED, "%s%s: %s%s%s%s%s (rule %s)", place, d->vtable->name,
                      x->value ? x->value : "", x->value ? ": " : "", x->message, x->way_out ? "; " : "",
                      x->way_out ? x->way_out : "", x->rule);
  }
  return ORION_OK;
}

orion_status orion_device_compile(orion_device *device, orion_program *program, const orion_compile_options *options,
                                  orion_executable **out, orion_error *err) {
  double start = orion_now();
  orion_function *f;
  ORION_TRY(choose_function(program, options ? options->function : NULL, &f, err));
  orion_findings findings;
  orion_findings_init(&findings, device->allocator);
  orion_status status = orion_device_supports(device, program, &findings, err);
  if (status == ORION_OK) status = refuse(device, &findings, f, err);
  orion_findings_deinit(&findings);
  if (status != ORION_OK) return status;
  ORION_TRY(device->vtable->compile(device, program, f, out, err));
  (*out)->times.compile_seconds = orion_now() - start;
  return ORION_OK;
}

orion_status orion_device_count(orion_device *device, bool on, orion_error *err) {
  const orion_device_vtable *vtable = device->vtable;
  if (!vtable->count) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "device %s: it does not count what happens to numbers (sim does)", vtable->name);
  }
  return vtable->count(device, on, err);
}

const orion_tally *orion_device_tallies(const orion_device *device, size_t *out_n) {
  *out_n = 0;
  return device->vtable->tallies ? device->vtable->tallies(device, out_n) : NULL;
}

// ---- surfaces ----

orion_status orion_surface_create(orion_device *device, const orion_layout *layout, orion_surface **out,
                                  orion_error *err) {
  ORION_TRY(orion_layout_check(layout, err));
  if (device->vtable->surface_create) return device->vtable->surface_create(device, layout, out, err);
  orion_surface *s = orion_alloc_zero(device->allocator, 1, sizeof *s);
  if (!s) return ORION_OOM(err, "surface");
  s->device = device;
  s->layout = *layout;
  s->memory = orion_alloc_aligned(device->allocator, layout->bytes, ORION_ALIGN_CACHE);
  if (!s->memory) {
    orion_surface_destroy(s);
    return ORION_OOM(err, "surface");
  }
  memset(s->memory, 0, layout->bytes);
  *out = s;
  return ORION_OK;
}

void orion_surface_destroy(orion_surface *s) {
  if (!s) return;
  if (s->device->vtable->surface_destroy) {
    s->device->vtable->surface_destroy(s);
    return;
  }
  orion_free_aligned(s->device->allocator, s->memory, s->layout.bytes, ORION_ALIGN_CACHE);
  orion_free(s->device->allocator, s, 1, sizeof *s);
}

const orion_layout *orion_surface_layout(const orion_surface *s) { return &s->layout; }

// Memory of the host needs no handing over.
void *orion_surface_lock(orion_surface *s) {
  return s->device->vtable->surface_lock ? s->device->vtable->surface_lock(s) : s->memory;
}

void orion_surface_unlock(orion_surface *s) {
  if (s->device->vtable->surface_unlock) s->device->vtable->surface_unlock(s);
}
