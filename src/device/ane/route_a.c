// Route A: the in-memory model of the private framework.
//
//   descriptor (text, weights) -> model -> identity -> files at TEMPORARY/IDENTITY -> compile -> load
//   surfaces -> wrappers -> request -> evaluate, evaluate, evaluate -> unload
//
// Each call that gives back objects it does not own runs in an autorelease pool of its own; without one they would pile up.
#include <stdio.h>
#include <string.h>

#include "device/ane/ane.h"
#include "device/layout.h"

#define OUTPUT_MARK "@output"  // symbols of outputs are named NAME@output

// ---- the object ----

static orion_status map_files(orion_ane_model *m, const char *dir, orion_error *err) {
  for (m->n_files = 0; m->n_files <= ORION_ANE_MAX_BLOBS; m->n_files++) {
    char path[ORION_ANE_PATH_MAX], name[64] = "model.mil";
    if (m->n_files == 1) snprintf(name, sizeof name, "weights/weight.bin");
    if (m->n_files > 1) snprintf(name, sizeof name, "weights/weight_%zu.bin", m->n_files - 1);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (m->n_files && !orion_file_exists(path)) return ORION_OK;
    ORION_TRY(orion_file_open_map(path, &m->files[m->n_files], err));
  }
  return ORION_FAIL(err, ORION_REFUSED, "ane: more than %d weight files (a program may have 16, rule C21)", ORION_ANE_MAX_BLOBS);
}

// {"@model_path/weights/weight.bin": {"offset": 0, "data": bytes of the whole file}}. Never NULL when there are no
// weights: the framework takes no descriptor without a dictionary (rule C11).
static orion_cf weights_dictionary(const orion_ane_system *s, const orion_ane_model *m) {
  orion_cf keys[ORION_ANE_MAX_BLOBS], values[ORION_ANE_MAX_BLOBS];
  size_t n = 0;
  orion_cf offset_key = orion_cf_string(s, "offset"), data_key = orion_cf_string(s, "data");
  orion_cf zero = orion_cf_integer(s, 0);
  bool ok = offset_key && data_key && zero;
  for (size_t i = 1; ok && i < m->n_files; i++) {
    char name[80];
    snprintf(name, sizeof name, i > 1 ? "@model_path/weights/weight_%zu.bin" : "@model_path/weights/weight.bin", i - 1);
    orion_cf data = orion_cf_bytes(s, m->files[i].data, m->files[i].size);
    keys[n] = orion_cf_string(s, name);
    values[n] = data ? orion_cf_dictionary(s, (const void *[]){offset_key, data_key}, (const void *[]){zero, data}, 2) : NULL;
    ok = keys[n] && values[n];
    n++;
    orion_cf_release(s, data);
  }
  orion_cf dictionary = ok ? orion_cf_dictionary(s, keys, values, n) : NULL;
  for (size_t i = 0; i < n; i++) {
    orion_cf_release(s, keys[i]);
    orion_cf_release(s, values[i]);
  }
  orion_cf_release(s, offset_key);
  orion_cf_release(s, data_key);
  orion_cf_release(s, zero);
  return dictionary;
}

static orion_status make_object(orion_ane_device *d, orion_ane_model *m, char *out_id, orion_error *err) {
  const orion_ane_system *s = &d->system;
  orion_cf text = orion_cf_bytes(s, m->files[0].data, m->files[0].size), weights = weights_dictionary(s, m);
  orion_status status = ORION_OK;
  if (!text || !weights) status = ORION_OOM(err, "ane: program");
  orion_id descriptor = NULL;
  if (status == ORION_OK) {
    descriptor = s->m.descriptor_with_text.call(s->m.descriptor_with_text.owner, s->m.descriptor_with_text.sel, text,
                                                weights, NULL);
    if (!descriptor) status = orion_ane_fail(s, ORION_ANE_DESCRIBE, "descriptor", NULL, NULL, err);
  }
  if (status == ORION_OK) {
    m->object = s->m.model_with_descriptor.call(s->m.model_with_descriptor.owner, s->m.model_with_descriptor.sel, descriptor);
    if (m->object) s->f.objc_retain(m->object);
    if (!m->object) status = orion_ane_fail(s, ORION_ANE_DESCRIBE, "model", NULL, NULL, err);
  }
  if (status == ORION_OK &&
      (!orion_cf_text(s, s->m.identifier.call(m->object, s->m.identifier.sel), out_id, ORION_ANE_ID_MAX) || !*out_id ||
       strchr(out_id, '/'))) {
    status = ORION_FAIL(err, ORION_DEVICE, "ane: the program's identity is not a name (%.32s)", out_id);
  }
  orion_cf_release(s, text);
  orion_cf_release(s, weights);
  return status;
}

static void forget(orion_ane_device *d, orion_ane_model *m) {
  if (m->object) d->system.f.objc_release(m->object);
  m->object = NULL;
  for (size_t i = 0; i < m->n_files; i++) orion_file_close_map(&m->files[i]);
  m->n_files = 0;
}

static orion_status identify(orion_ane_device *d, orion_ane_model *m, const char *dir, char *out_id, orion_error *err) {
  *out_id = 0;
  void *pool = d->system.f.objc_autoreleasePoolPush();
  orion_status status = map_files(m, dir, err);
  if (status == ORION_OK) status = make_object(d, m, out_id, err);
  d->system.f.objc_autoreleasePoolPop(pool);
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

// ---- where inputs and outputs lie ----

typedef struct description {      // of one procedure; borrowed from the model's attributes
  orion_cf symbols[2], indices[2], live[2];  // of inputs, outputs
} description;

static int64_t procedure_of(const orion_ane_system *s, orion_cf model, const char *function) {
  int64_t id = 0;
  orion_cf ids = orion_cf_get(s, model, "kANEFModelProcedureNameToIDMapKey");
  char qualified[300];
  snprintf(qualified, sizeof qualified, "0@%.256s", function);  // Core ML's spelling: segment, '@', name
  if (!orion_cf_get_integer(s, ids, function, &id)) orion_cf_get_integer(s, ids, qualified, &id);
  return id;
}

static void read_description(const orion_ane_system *s, orion_cf attributes, const char *function, description *out,
                             int64_t *out_procedure) {
  orion_cf model = orion_cf_get(s, attributes, "ANEFModelDescription");
  *out_procedure = procedure_of(s, model, function);
  orion_cf procedures = orion_cf_get(s, model, "ANEFModelProcedures"), procedure = NULL;
  for (size_t i = 0; i < orion_cf_count(s, procedures); i++) {
    int64_t id = -1;
    orion_cf candidate = orion_cf_at(s, procedures, i);
    if (orion_cf_get_integer(s, candidate, "ANEFModelProcedureID", &id) && id == *out_procedure) procedure = candidate;
  }
  orion_cf network = orion_cf_at(s, orion_cf_get(s, attributes, "NetworkStatusList"), (size_t)*out_procedure);
  out->symbols[0] = orion_cf_get(s, model, "kANEFModelInputSymbolsArrayKey");
  out->symbols[1] = orion_cf_get(s, model, "kANEFModelOutputSymbolsArrayKey");
  out->indices[0] = orion_cf_get(s, procedure, "ANEFModelInputSymbolIndexArray");
  out->indices[1] = orion_cf_get(s, procedure, "ANEFModelOutputSymbolIndexArray");
  out->live[0] = orion_cf_get(s, network, "LiveInputList");
  out->live[1] = orion_cf_get(s, network, "LiveOutputList");
}

// Whether a symbol of the system's is an io's name.
static bool names(const char *symbol, const char *io) {
  size_t n = strlen(io);
  return strncmp(symbol, io, n) == 0 && (symbol[n] == 0 || strcmp(symbol + n, OUTPUT_MARK) == 0);
}

// Index of a name in the symbol table, among the procedure's own symbols; -1 if it is not there.
static int64_t symbol_of(const orion_ane_system *s, const description *about, int side, const char *name) {
  for (size_t i = 0; i < orion_cf_count(s, about->indices[side]); i++) {
    int64_t index;
    char symbol[300];
    if (!orion_cf_integer_of(s, orion_cf_at(s, about->indices[side], i), &index) || index < 0) continue;
    if (!orion_cf_text(s, orion_cf_at(s, about->symbols[side], (size_t)index), symbol, sizeof symbol)) continue;
    if (names(symbol, name)) return index;
  }
  return -1;
}

static orion_cf live_entry(const orion_ane_system *s, const description *about, int side, const char *name) {
  for (size_t i = 0; i < orion_cf_count(s, about->live[side]); i++) {
    orion_cf entry = orion_cf_at(s, about->live[side], i);
    char symbol[300];
    bool named = orion_cf_get_text(s, entry, "Symbol", symbol, sizeof symbol) && names(symbol, name);
    if (!named) named = orion_cf_get_text(s, entry, "Name", symbol, sizeof symbol) && names(symbol, name);
    if (named) return entry;
  }
  return NULL;
}

// Rows must lie one after another: planes of height times row, channels times plane. Anything else (interleaved
// channels) has no layout of ours.
static orion_status read_strides(const orion_ane_system *s, orion_cf entry, const orion_io *io, orion_ane_port *port,
                                 orion_error *err) {
  int64_t row, plane = 0, height = 1, interleave = 1;
  if (!orion_cf_get_integer(s, entry, "RowStride", &row)) return ORION_OK;
  orion_cf_get_integer(s, entry, "Height", &height);
  orion_cf_get_integer(s, entry, "PlaneStride", &plane);
  orion_cf_get_integer(s, entry, "Interleave", &interleave);
  size_t packed = orion_layout_columns(&io->layout) * orion_dtype_bits((orion_dtype)io->layout.dtype) / 8;
  if (row < 0 || (size_t)row < packed || row > 1 << 30 || interleave > 1 || (plane && plane != row * height)) {
    return ORION_FAIL(err, ORION_UNSUPPORTED,
                      "ane: '%s' has rows of %lld bytes in planes of %lld, interleaved by %lld (want rows of %zu or more, one "
                      "after another)", io->name, (long long)row, (long long)plane, (long long)interleave, packed);
  }
  port->row_bytes = (size_t)row;
  return ORION_OK;
}

// Without a description, the order that most have found: symbols count in the order of their names, in bytes.
static int64_t sorted_position(const orion_executable *e, size_t io) {
  int64_t before = 0;
  for (size_t i = 0; i < e->n_ios; i++) {
    if (e->ios[i].direction == e->ios[io].direction && strcmp(e->ios[i].name, e->ios[io].name) < 0) before++;
  }
  return before;
}

static orion_status describe(orion_ane_device *d, orion_ane_executable *e, const char *function, orion_error *err) {
  const orion_ane_system *s = &d->system;
  void *pool = s->f.objc_autoreleasePoolPush();
  orion_cf attributes = s->m.attributes.call ? s->m.attributes.call(e->model->object, s->m.attributes.sel) : NULL;
  description about;
  read_description(s, attributes, function, &about, &e->procedure);
  bool described = orion_cf_count(s, about.indices[0]) + orion_cf_count(s, about.indices[1]) > 0;
  orion_status status = ORION_OK;
  for (size_t i = 0; status == ORION_OK && i < e->base.n_ios; i++) {
    const orion_io *io = &e->base.ios[i];
    int side = io->direction == ORION_OUTPUT;
    e->ports[i].row_bytes = io->layout.row_bytes;
    e->ports[i].symbol = described ? symbol_of(s, &about, side, io->name) : sorted_position(&e->base, i);
    status = read_strides(s, live_entry(s, &about, side, io->name), io, &e->ports[i], err);
    if (status == ORION_OK && side && e->ports[i].symbol < 0) {
      status = ORION_FAIL(err, ORION_DEVICE, "ane: the compiled program has no output '%s'", io->name);
    }
  }
  s->f.objc_autoreleasePoolPop(pool);
  return status;
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
  bool ok = fill_side(d, e, surfaces, ORION_INPUT, &inputs) & fill_side(d, e, surfaces, ORION_OUTPUT, &outputs);
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
    .open = open_route,
    .close = close_route,
    .identify = identify,
    .compile = compile,
    .load = load,
    .unload = unload,
    .forget = forget,
    .describe = describe,
    .make_surface = make_surface,
    .free_surface = free_surface,
    .make_request = make_request,
    .free_request = free_request,
    .evaluate = evaluate,
};
