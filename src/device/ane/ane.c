// The device: options, what it is, what it refuses, surfaces. On a machine without the Neural Engine it does not open and
// says why.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/ane/route_a.h"
#include "device/options.h"

enum { KEEP_DAYS = 7, KEEP_PROGRAMS = 128 };

// ---- options ----

static orion_status read_limits(orion_ane_device *d, const orion_device_options *o, orion_error *err) {
  long compiles, loaded, rows;
  ORION_TRY(orion_device_option_number("ane", o, "compiles", 1, 1 << 20, d->target->max_compiles, &compiles, err));
  ORION_TRY(orion_device_option_number("ane", o, "slots", 1, 1 << 20, d->target->max_programs, &loaded, err));
  ORION_TRY(orion_device_option_number("ane", o, "rows", 1, 4096, 0, &rows, err));
  if (rows & (rows - 1)) return ORION_FAIL(err, ORION_INVALID, "device ane: rows=%ld (want a power of two)", rows);
  d->limits = (orion_ane_limits){(int)compiles, (int)loaded};
  d->row_align = (size_t)rows;
  const char *cache = orion_device_option(o, "cache");
  long keep = KEEP_PROGRAMS;
  if (cache && strcmp(cache, "off") == 0) {
    keep = 0;
  } else if (cache && strcmp(cache, "on") != 0) {
    ORION_TRY(orion_device_option_number("ane", o, "cache", 1, 1 << 20, 0, &keep, err));
  }
  d->keep = (int)keep;
  return ORION_OK;
}

// route=a, route=b, or the first that is there.
static orion_status choose_route(orion_ane_device *d, const orion_device_options *o, orion_error *err) {
  static const orion_ane_route *const routes[] = {&orion_ane_route_a, &orion_ane_route_b};
  const char *wanted = orion_device_option(o, "route");
  orion_status status = ORION_FAIL(err, ORION_INVALID, "device ane: route=%s (want a or b)", wanted ? wanted : "");
  for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
    if (wanted && strcmp(wanted, routes[i]->name) != 0) continue;
    status = routes[i]->open(d, err);
    if (status == ORION_OK) d->route = routes[i];
    if (status == ORION_OK || wanted) return status;
  }
  return status;
}

// ---- the machine ----

static void read_build(orion_ane_device *d) {
  size_t n = sizeof d->build - 1;
  if (d->system.f.sysctlbyname("kern.osversion", d->build, &n, NULL, 0) != 0 || !*d->build) {
    snprintf(d->build, sizeof d->build, "unknown");
  }
}

// "h16g" is an m4: the generation is twelve below the number.
static const orion_target *target_of_chip(const char *chip) {
  if (chip[0] != 'h' && chip[0] != 'H') return NULL;
  char name[32];
  snprintf(name, sizeof name, "m%ld", strtol(chip + 1, NULL, 10) - 12);
  return orion_target_find(name);
}

static orion_status read_chip(orion_ane_device *d, const char *family, orion_error *err) {
  const orion_ane_system *s = &d->system;
  void *pool = s->f.objc_autoreleasePoolPush();
  bool absent = s->m.has_ane.call && !s->m.has_ane.call(s->m.has_ane.owner, s->m.has_ane.sel);
  bool told = s->m.sub_type.call &&
              orion_cf_text(s, s->m.sub_type.call(s->m.sub_type.owner, s->m.sub_type.sel), d->chip, sizeof d->chip);
  if (!told && s->m.architecture.call) {
    told = orion_cf_text(s, s->m.architecture.call(s->m.architecture.owner, s->m.architecture.sel), d->chip, sizeof d->chip);
  }
  s->f.objc_autoreleasePoolPop(pool);
  if (absent) return ORION_FAIL(err, ORION_NOT_FOUND, "ane: this machine has no Neural Engine");
  if (!told) snprintf(d->chip, sizeof d->chip, "unknown");
  d->target = family ? orion_target_find(family) : target_of_chip(d->chip);
  if (family && (!d->target || !d->target->ane)) {
    return ORION_FAIL(err, ORION_NOT_FOUND, "device ane: no family '%s' (it has m1 to m6)", family);
  }
  // A chip that nobody knew when this was written gets programs for the oldest, which all later ones have taken.
  if (!d->target) d->target = orion_target_find("m1");
  return ORION_OK;
}

static orion_status read_temporary(orion_ane_device *d, orion_error *err) {
  void *pool = d->system.f.objc_autoreleasePoolPush();
  bool told = orion_cf_text(&d->system, d->system.f.NSTemporaryDirectory(), d->temporary, sizeof d->temporary);
  d->system.f.objc_autoreleasePoolPop(pool);
  if (!told || !*d->temporary) return ORION_FAIL(err, ORION_DEVICE, "ane: this system has no temporary directory");
  size_t n = strlen(d->temporary);
  while (n > 1 && d->temporary[n - 1] == '/') d->temporary[--n] = 0;
  return ORION_OK;
}

// ---- opening ----

static void ane_close(orion_device *device) {
  orion_ane_device *d = (orion_ane_device *)device;
  if (d->route) d->route->close(d);
  orion_ane_system_close(&d->system);
  orion_free(device->allocator, d, 1, sizeof *d);
}

static orion_status open_device(orion_ane_device *d, const orion_device_options *o, orion_error *err) {
  const char *stand_in = orion_device_option(o, "framework");
  if (!stand_in) stand_in = getenv("ORION_ANE_FRAMEWORK");
  d->stand_in = stand_in != NULL;
  ORION_TRY(orion_ane_system_open(&d->system, stand_in, err));
  ORION_TRY(read_chip(d, o->family, err));
  ORION_TRY(read_limits(d, o, err));
  ORION_TRY(choose_route(d, o, err));
  read_build(d);
  ORION_TRY(read_temporary(d, err));
  char key[256];
  orion_ane_cache_key(d, key, sizeof key);
  orion_ane_sweep(d->base.allocator, d->temporary, key, d->keep ? KEEP_DAYS : -1);
  snprintf(d->description, sizeof d->description, "%s: %s%.160s", d->chip, d->route->text,
           d->stand_in ? "; NOT Apple's but a stand-in for it" : "");
  return ORION_OK;
}

static orion_status ane_open(const orion_allocator *a, const orion_device_options *options, int threads,
                             orion_device **out, orion_error *err) {
  static const char *const known[] = {"framework", "route", "compiles", "slots", "rows", "cache", NULL};
  ORION_TRY(orion_device_options_check("ane", options, known, err));
  orion_ane_device *d = orion_alloc_zero(a, 1, sizeof *d);
  if (!d) return ORION_OOM(err, "device ane");
  d->base = (orion_device){&orion_device_ane, a};
  orion_status status = open_device(d, options, err);
  if (status != ORION_OK) {
    ane_close(&d->base);
    return status;
  }
  *out = &d->base;
  return ORION_OK;
}

static void ane_describe(const orion_device *device, orion_device_info *out) {
  const orion_ane_device *d = (const orion_ane_device *)device;
  out->family = d->target->name;
  out->numerics = "the engine's own: fp16, products summed in fixed point, tables for functions";
  out->description = d->description;
}

static void ane_usage(const orion_device *device, orion_device_usage *out) {
  const orion_ane_device *d = (const orion_ane_device *)device;
  *out = (orion_device_usage){.compiles = d->compiles, .max_compiles = d->limits.compiles, .loaded = d->loaded,
                              .max_loaded = d->limits.loaded};
}

static void ane_on_exhausted(orion_device *device, orion_exhausted_fn fn, void *ctx) {
  orion_ane_device *d = (orion_ane_device *)device;
  d->exhausted = fn;
  d->exhausted_ctx = ctx;
}

static orion_status ane_supports(orion_device *device, orion_program *p, orion_findings *out, orion_error *err) {
  return orion_target_check(((orion_ane_device *)device)->target, p, out, err);
}

// ---- surfaces ----

static orion_status ane_surface_create(orion_device *device, const orion_layout *layout, orion_surface **out,
                                       orion_error *err) {
  orion_ane_device *d = (orion_ane_device *)device;
  orion_ane_surface *s = orion_alloc_zero(device->allocator, 1, sizeof *s);
  if (!s) return ORION_OOM(err, "surface");
  s->base = (orion_surface){.device = device, .layout = *layout};
  s->bytes = layout->bytes ? layout->bytes : 1;
  s->serial = ++d->serial;
  orion_status status = d->route->make_surface(d, s, err);
  if (status != ORION_OK) {
    d->route->free_surface(d, s);
    orion_free(device->allocator, s, 1, sizeof *s);
    return status;
  }
  *out = &s->base;
  memset(orion_surface_lock(*out), 0, s->bytes);
  orion_surface_unlock(*out);
  return ORION_OK;
}

static void ane_surface_destroy(orion_surface *base) {
  orion_ane_surface *s = (orion_ane_surface *)base;
  orion_ane_device *d = (orion_ane_device *)base->device;
  for (orion_ane_executable *e = d->executables; e; e = e->next) orion_ane_drop_requests(d, e, s->serial);
  d->route->free_surface(d, s);
  orion_free(d->base.allocator, s, 1, sizeof *s);
}

static void *ane_surface_lock(orion_surface *base) {
  orion_ane_surface *s = (orion_ane_surface *)base;
  if (s->surface) ((orion_ane_device *)base->device)->system.f.IOSurfaceLock(s->surface, 0, NULL);
  return base->memory;
}

static void ane_surface_unlock(orion_surface *base) {
  orion_ane_surface *s = (orion_ane_surface *)base;
  if (s->surface) ((orion_ane_device *)base->device)->system.f.IOSurfaceUnlock(s->surface, 0, NULL);
}

const orion_device_vtable orion_device_ane = {
    .name = "ane",
    .open = ane_open,
    .close = ane_close,
    .describe = ane_describe,
    .supports = ane_supports,
    .compile = orion_ane_compile,
    .release = orion_ane_release,
    .run = orion_ane_run,
    .update = orion_ane_update,
    .raw = &orion_ane_raw,
    .usage = ane_usage,
    .on_exhausted = ane_on_exhausted,
    .surface_create = ane_surface_create,
    .surface_destroy = ane_surface_destroy,
    .surface_lock = ane_surface_lock,
    .surface_unlock = ane_surface_unlock,
};
