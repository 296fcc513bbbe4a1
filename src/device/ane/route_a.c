// Route A: the in-memory model of the private framework.
//
//   descriptor (text, weights) -> model -> identity -> files at TEMPORARY/IDENTITY -> compile -> load
//   surfaces -> wrappers -> request -> evaluate, evaluate, evaluate -> unload
//
// Each call that gives back objects it does not own runs in an autorelease pool of its own; without one they would pile up.
#include <stdio.h>
#include <string.h>

#include "device/ane/route_a.h"

// ---- the object ----

// {"@model_path/weights/weight.bin": {"offset": 0, "data": bytes of the whole file}}. Never NULL when there are no
// weights: the framework takes no descriptor without a dictionary (rule C11).
orion_cf orion_ane_a_weights(const orion_ane_system *s, const orion_raw_file *files, size_t n) {
  orion_cf keys[ORION_ANE_MAX_BLOBS] = {0}, values[ORION_ANE_MAX_BLOBS] = {0};
  orion_cf offset_key = orion_cf_string(s, "offset"), data_key = orion_cf_string(s, "data");
  orion_cf zero = orion_cf_integer(s, 0);
  bool ok = offset_key && data_key && zero && n <= ORION_ANE_MAX_BLOBS;
  for (size_t i = 0; ok && i < n; i++) {
    char name[ORION_ANE_PATH_MAX];
    snprintf(name, sizeof name, "@model_path/%s", files[i].path);
    orion_cf data = orion_cf_bytes(s, files[i].bytes, files[i].n);
    keys[i] = orion_cf_string(s, name);
    values[i] = data ? orion_cf_dictionary(s, (const void *[]){offset_key, data_key}, (const void *[]){zero, data}, 2) : NULL;
    ok = keys[i] && values[i];
    orion_cf_release(s, data);
  }
  orion_cf dictionary = ok ? orion_cf_dictionary(s, keys, values, n) : NULL;
  for (size_t i = 0; i < n && i < ORION_ANE_MAX_BLOBS; i++) {
    orion_cf_release(s, keys[i]);
    orion_cf_release(s, values[i]);
  }
  orion_cf_release(s, offset_key);
  orion_cf_release(s, data_key);
  orion_cf_release(s, zero);
  return dictionary;
}

orion_status orion_ane_a_object(const orion_ane_system *s, orion_cf text, orion_cf weights, orion_id *out, char *out_id,
                                orion_error *err) {
  orion_id descriptor = s->m.descriptor_with_text.call(s->m.descriptor_with_text.owner, s->m.descriptor_with_text.sel, text,
                                                       weights, NULL);
  if (!descriptor) return orion_ane_fail(s, ORION_ANE_DESCRIBE, "descriptor", NULL, NULL, err);
  orion_id model = s->m.model_with_descriptor.call(s->m.model_with_descriptor.owner, s->m.model_with_descriptor.sel, descriptor);
  if (!model) return orion_ane_fail(s, ORION_ANE_DESCRIBE, "model", NULL, NULL, err);
  *out_id = 0;
  if (!orion_cf_text(s, s->m.identifier.call(model, s->m.identifier.sel), out_id, ORION_ANE_ID_MAX) || !*out_id ||
      strchr(out_id, '/')) {
    return ORION_FAIL(err, ORION_DEVICE, "ane: the program's identity is not a name (%.32s)", out_id);
  }
  *out = s->f.objc_retain(model);
  return ORION_OK;
}

static orion_status map_files(orion_ane_model *m, const char *dir, orion_raw_file *out, char (*names)[32], orion_error *err) {
  for (m->n_files = 0; m->n_files <= ORION_ANE_MAX_BLOBS; m->n_files++) {
    char path[ORION_ANE_PATH_MAX + 32], *name = names[m->n_files];
    if (m->n_files) {
      orion_ane_weight_name(name, sizeof *names, m->n_files - 1);
    } else {
      snprintf(name, sizeof *names, "model.mil");
    }
    if (!orion_ane_below(path, sizeof path, dir, name)) return ORION_FAIL(err, ORION_LIMIT, "%s: its path is too long", dir);
    if (m->n_files && !orion_file_exists(path)) return ORION_OK;
    orion_file_map *map = &m->files[m->n_files];
    ORION_TRY(orion_file_open_map(path, map, err));
    out[m->n_files] = (orion_raw_file){name, map->data, map->size};
  }
  return ORION_FAIL(err, ORION_REFUSED, "ane: more than %d weight files (a program may have 16, rule C21)", ORION_ANE_MAX_BLOBS);
}

static void forget(orion_ane_device *d, orion_ane_model *m) {
  if (m->object) d->system.f.objc_release(m->object);
  m->object = NULL;
  for (size_t i = 0; i < m->n_files; i++) orion_file_close_map(&m->files[i]);
  m->n_files = 0;
}

static orion_status identify(orion_ane_device *d, orion_ane_model *m, const char *dir, char *out_id, orion_error *err) {
  const orion_ane_system *s = &d->system;
  orion_raw_file files[ORION_ANE_MAX_BLOBS + 1];
  char names[ORION_ANE_MAX_BLOBS + 1][32];
  void *pool = s->f.objc_autoreleasePoolPush();
  orion_cf text = NULL, weights = NULL;
  orion_status status = map_files(m, dir, files, names, err);
  if (status == ORION_OK) {
    text = orion_cf_bytes(s, files[0].bytes, files[0].n);
    weights = orion_ane_a_weights(s, files + 1, m->n_files - 1);
    status = text && weights ? orion_ane_a_object(s, text, weights, &m->object, out_id, err) : ORION_OOM(err, "ane: program");
  }
  orion_cf_release(s, text);
  orion_cf_release(s, weights);
  s->f.objc_autoreleasePoolPop(pool);
  if (status != ORION_OK) forget(d, m);
  return status;
}

static orion_status compile(orion_ane_device *d, orion_ane_model *m, orion_error *err) {
  const orion_ane_system *s = &d->system;
  void *pool = s->f.objc_autoreleasePoolPush();
  orion_cf error = NULL;
  bool done = s->m.compile.call(m->object, s->m.compile.sel, ORION_ANE_QOS, s->options, &error);
  orion_status status = done ? ORION_OK : orion_ane_fail(s, ORION_ANE_COMPILE, m->dir.path, error, NULL, err);
  s->f.objc_autoreleasePoolPop(pool);
  return status;
}

static orion_status load(orion_ane_device *d, orion_ane_model *m, orion_error *err) {
  const orion_ane_system *s = &d->system;
  void *pool = s->f.objc_autoreleasePoolPush();
  orion_cf error = NULL;
  bool done = s->m.load.call(m->object, s->m.load.sel, ORION_ANE_QOS, s->options, &error);
  orion_status status = done ? ORION_OK : orion_ane_fail(s, ORION_ANE_LOAD, m->dir.path, error, NULL, err);
  s->f.objc_autoreleasePoolPop(pool);
  return status;
}

static void unload(orion_ane_device *d, orion_ane_model *m) {
  const orion_ane_system *s = &d->system;
  void *pool = s->f.objc_autoreleasePoolPush();
  orion_cf error = NULL;
  s->m.unload.call(m->object, s->m.unload.sel, ORION_ANE_QOS, &error);  // nothing can be done about a failure
  s->f.objc_autoreleasePoolPop(pool);
}

// ---- surfaces ----

static orion_cf surface_properties(const orion_ane_system *s, size_t bytes) {
  const void *keys[] = {*(const orion_cf *)s->f.kIOSurfaceWidth,           *(const orion_cf *)s->f.kIOSurfaceHeight,
                        *(const orion_cf *)s->f.kIOSurfaceBytesPerElement, *(const orion_cf *)s->f.kIOSurfaceBytesPerRow,
                        *(const orion_cf *)s->f.kIOSurfaceAllocSize,       *(const orion_cf *)s->f.kIOSurfacePixelFormat};
  const int64_t numbers[] = {(int64_t)bytes, 1, 1, (int64_t)bytes, (int64_t)bytes, 0};
  enum { N = sizeof keys / sizeof *keys };
  const void *values[N];
  bool ok = true;
  for (int i = 0; i < N; i++) ok = (values[i] = orion_cf_integer(s, numbers[i])) && ok;
  orion_cf properties = ok ? orion_cf_dictionary(s, keys, values, N) : NULL;
  for (int i = 0; i < N; i++) orion_cf_release(s, values[i]);
  return properties;
}

static orion_status make_surface(orion_ane_device *d, orion_ane_surface *x, orion_error *err) {
  const orion_ane_system *s = &d->system;
  orion_cf properties = surface_properties(s, x->bytes);
  if (properties) x->surface = s->f.IOSurfaceCreate(properties);
  orion_cf_release(s, properties);
  if (!x->surface) return ORION_FAIL(err, ORION_NO_MEMORY, "ane: no surface of %zu bytes", x->bytes);
  void *pool = s->f.objc_autoreleasePoolPush();
  x->object = s->m.surface_object.call(s->m.surface_object.owner, s->m.surface_object.sel, x->surface);
  if (x->object) s->f.objc_retain(x->object);
  s->f.objc_autoreleasePoolPop(pool);
  x->base.memory = s->f.IOSurfaceGetBaseAddress(x->surface);
  if (x->object && x->base.memory) return ORION_OK;
  return ORION_FAIL(err, ORION_DEVICE, "ane: a surface of %zu bytes cannot be used", x->bytes);
}

static void free_surface(orion_ane_device *d, orion_ane_surface *x) {
  if (x->object) d->system.f.objc_release(x->object);
  orion_cf_release(&d->system, x->surface);
}

// ---- requests ----

typedef struct side {
  const void *objects[ORION_ANE_MAX_PORTS], *indices[ORION_ANE_MAX_PORTS];
  size_t n;
} side;

// The io whose symbol is the next after `symbol`; n_ios if there is none.
static size_t next_port(const orion_ane_executable *e, orion_direction direction, int64_t symbol) {
  size_t next = e->base.n_ios;
  for (size_t i = 0; i < e->base.n_ios; i++) {
    if (e->base.ios[i].direction != direction || e->ports[i].symbol <= symbol) continue;
    if (next == e->base.n_ios || e->ports[i].symbol < e->ports[next].symbol) next = i;
  }
  return next;
}

// In the order of symbols: so that it does not matter whether the engine goes by the indices or by the positions.
static bool fill_side(const orion_ane_device *d, const orion_ane_executable *e, orion_surface *const *surfaces,
                      orion_direction direction, side *out) {
  int64_t symbol = -1;
  for (size_t i; (i = next_port(e, direction, symbol)) < e->base.n_ios; out->n++) {
    symbol = e->ports[i].symbol;
    out->objects[out->n] = ((const orion_ane_surface *)surfaces[i])->object;
    out->indices[out->n] = orion_cf_integer(&d->system, symbol);
    if (!out->indices[out->n]) return false;
  }
  return true;
}

static void release_side(const orion_ane_system *s, side *x) {
  for (size_t i = 0; i < x->n; i++) orion_cf_release(s, x->indices[i]);
}

static orion_status make_request(orion_ane_device *d, orion_ane_executable *e, orion_surface *const *surfaces,
                                 void **out, orion_error *err) {
  const orion_ane_system *s = &d->system;
  side inputs = {.n = 0}, outputs = {.n = 0};
  bool ok = fill_side(d, e, surfaces, ORION_INPUT, &inputs) && fill_side(d, e, surfaces, ORION_OUTPUT, &outputs);
  orion_cf arrays[4] = {0}, procedure = orion_cf_integer(s, e->procedure);
  if (ok) {
    arrays[0] = orion_cf_array(s, inputs.objects, inputs.n);
    arrays[1] = orion_cf_array(s, inputs.indices, inputs.n);
    arrays[2] = orion_cf_array(s, outputs.objects, outputs.n);
    arrays[3] = orion_cf_array(s, outputs.indices, outputs.n);
  }
  ok = ok && arrays[0] && arrays[1] && arrays[2] && arrays[3] && procedure;
  orion_id request = NULL;
  if (ok) {
    void *pool = s->f.objc_autoreleasePoolPush();
    request = s->m.request.call(s->m.request.owner, s->m.request.sel, arrays[0], arrays[1], arrays[2], arrays[3], NULL,
                                NULL, procedure);
    if (request) s->f.objc_retain(request);
    s->f.objc_autoreleasePoolPop(pool);
  }
  for (int i = 0; i < 4; i++) orion_cf_release(s, arrays[i]);
  orion_cf_release(s, procedure);
  release_side(s, &inputs);
  release_side(s, &outputs);
  *out = request;
  if (request) return ORION_OK;
  return ok ? ORION_FAIL(err, ORION_DEVICE, "ane: %s: no request can be made", e->function) : ORION_OOM(err, "ane: request");
}

static void free_request(orion_ane_device *d, void *request) { d->system.f.objc_release(request); }

static orion_status evaluate(orion_ane_device *d, orion_ane_executable *e, void *request, orion_error *err) {
  const orion_ane_system *s = &d->system;
  void *pool = s->f.objc_autoreleasePoolPush();
  orion_cf error = NULL;
  bool done = s->m.evaluate.call(e->model->object, s->m.evaluate.sel, ORION_ANE_QOS, s->options, request, &error);
  orion_status status = done ? ORION_OK : orion_ane_fail(s, ORION_ANE_EVALUATE, e->function, error, NULL, err);
  s->f.objc_autoreleasePoolPop(pool);
  return status;
}

static orion_status open_route(orion_ane_device *d, orion_error *err) {
  return orion_ane_system_check_classes(&d->system, err);
}

static void close_route(orion_ane_device *d) { (void)d; }

const orion_ane_route orion_ane_route_a = {
    .name = "a",
    .text = "in-memory models of the private framework",
    .row_align = 64,
    .no_slot = "0x50004",
    .open = open_route,
    .close = close_route,
    .identify = identify,
    .compile = compile,
    .load = load,
    .unload = unload,
    .forget = forget,
    .describe = orion_ane_a_describe,
    .make_surface = make_surface,
    .free_surface = free_surface,
    .make_request = make_request,
    .free_request = free_request,
    .evaluate = evaluate,
};
