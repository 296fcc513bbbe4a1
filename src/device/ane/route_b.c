// Route B: Espresso's e5rt functions, which compile a MIL file for the engine alone and bind buffers to ports by name.
//
//   options -> compile(FILE) -> library -> function -> operation -> ports by name <- buffers
//   prepare, encode, execute, reset; prepare, encode, ...
//
// The program's identity is our own hash, for this route takes any directory. Buffers are packed: the runtime lays them out
// for the engine. A library is what is loaded; after unloading, the runtime's own cache compiles it again in milliseconds.
// All operations go through one stream: the runtime loses completions where two overlap.
#include <stdio.h>
#include <string.h>

#include "device/ane/ane.h"

enum { MASK_ANE = 4, BUFFER_HOST = 0 };  // nothing but the engine: what it does not take fails, and is not run elsewhere

// Runs one call: within a function that has `d`, `what` and `err`.
#define CALL(stage, call)                                                                                        \
  do {                                                                                                           \
    int32_t code_ = d->system.f.call;                                                                            \
    if (code_ != 0) return orion_ane_fail_status((stage), what, code_, last_message(d), err);                    \
  } while (0)

static const char *last_message(const orion_ane_device *d) {
  return d->system.f.e5rt_get_last_error_message ? d->system.f.e5rt_get_last_error_message() : NULL;
}

static orion_status open_route(orion_ane_device *d, orion_error *err) {
  const char *what = "stream";
  ORION_TRY(orion_ane_system_check_e5rt(&d->system, err));
  CALL(ORION_ANE_DESCRIBE, e5rt_execution_stream_create(&d->stream));
  return ORION_OK;
}

static void close_route(orion_ane_device *d) {
  if (d->stream) d->system.f.e5rt_execution_stream_release(&d->stream);
}

// ---- programs ----

static orion_status identify(orion_ane_device *d, orion_ane_model *m, const char *dir, char *out_id, orion_error *err) {
  snprintf(out_id, ORION_ANE_ID_MAX, "orion-e5rt-%.200s", m->content);
  return ORION_OK;
}

static void forget(orion_ane_device *d, orion_ane_model *m) {
  if (m->library) d->system.f.e5rt_program_library_release(&m->library);
  m->library = NULL;
}

typedef struct compiler {
  void *config, *compiler, *options;
} compiler;

static orion_status build(orion_ane_device *d, orion_ane_model *m, compiler *c, orion_error *err) {
  const char *what = m->dir.path;
  char text[ORION_ANE_PATH_MAX + 32], cache[ORION_ANE_PATH_MAX + 32];
  snprintf(text, sizeof text, "%s/model.mil", m->dir.path);
  snprintf(cache, sizeof cache, "%s/bundle", m->dir.path);
  CALL(ORION_ANE_COMPILE, e5rt_e5_compiler_config_options_create(&c->config));
  CALL(ORION_ANE_COMPILE, e5rt_e5_compiler_config_options_set_cache_bundle_location(c->config, cache));
  CALL(ORION_ANE_COMPILE, e5rt_e5_compiler_create_with_config(&c->compiler, c->config));
  CALL(ORION_ANE_COMPILE, e5rt_e5_compiler_options_create(&c->options));
  CALL(ORION_ANE_COMPILE, e5rt_e5_compiler_options_set_compute_device_types_mask(c->options, MASK_ANE));
  CALL(ORION_ANE_COMPILE, e5rt_e5_compiler_options_set_segmenter(c->options, "graph"));
  CALL(ORION_ANE_COMPILE, e5rt_e5_compiler_options_set_force_recompilation(c->options, 0));
  CALL(ORION_ANE_COMPILE, e5rt_e5_compiler_compile(c->compiler, text, c->options, &m->library));
  return ORION_OK;
}

// Compiling gives a library at once, which takes a slot: so it is left to loading.
static orion_status compile(orion_ane_device *d, orion_ane_model *m, orion_error *err) { return ORION_OK; }

static orion_status load(orion_ane_device *d, orion_ane_model *m, orion_error *err) {
  compiler c = {0};
  orion_status status = build(d, m, &c, err);
  if (c.options) d->system.f.e5rt_e5_compiler_options_release(&c.options);
  if (c.compiler) d->system.f.e5rt_e5_compiler_release(&c.compiler);
  if (c.config) d->system.f.e5rt_e5_compiler_config_options_release(&c.config);
  return status;
}

static void drop_operation(orion_ane_device *d, orion_ane_executable *e) {
  for (size_t i = 0; i < e->base.n_ios; i++) {
    if (e->port_handles[i]) d->system.f.e5rt_io_port_release(&e->port_handles[i]);
    e->port_handles[i] = NULL;
  }
  if (e->operation) d->system.f.e5rt_execution_stream_operation_release(&e->operation);
  e->operation = NULL;
  e->bound = NULL;
}

static void unload(orion_ane_device *d, orion_ane_model *m) {
  for (orion_ane_executable *e = d->executables; e; e = e->next) {
    if (e->model == m) drop_operation(d, e);
  }
  forget(d, m);
}

// ---- operations ----

typedef struct parts {
  void *function, *options;
} parts;

static orion_status make_operation(orion_ane_device *d, orion_ane_executable *e, const char *name, parts *p, orion_error *err) {
  const char *what = name;
  CALL(ORION_ANE_LOAD, e5rt_program_library_retain_program_function(e->model->library, name, &p->function));
  CALL(ORION_ANE_LOAD, e5rt_precompiled_compute_op_create_options_create_with_program_function(&p->options, p->function));
  CALL(ORION_ANE_LOAD, e5rt_precompiled_compute_op_create_options_set_operation_name(p->options, name));
  CALL(ORION_ANE_LOAD, e5rt_precompiled_compute_op_create_options_set_allocate_intermediate_buffers(p->options, 1));
  CALL(ORION_ANE_LOAD, e5rt_execution_stream_operation_create_precompiled_compute_operation_with_options(&e->operation, p->options));
  for (size_t i = 0; i < e->base.n_ios; i++) {
    what = e->base.ios[i].name;
    if (e->base.ios[i].direction == ORION_INPUT) {
      CALL(ORION_ANE_LOAD, e5rt_execution_stream_operation_retain_input_port(e->operation, what, &e->port_handles[i]));
    } else {
      CALL(ORION_ANE_LOAD, e5rt_execution_stream_operation_retain_output_port(e->operation, what, &e->port_handles[i]));
    }
  }
  return ORION_OK;
}

// The function's operation, made when it is first needed after a load.
static orion_status need_operation(orion_ane_device *d, orion_ane_executable *e, const char *name, orion_error *err) {
  if (e->operation) return ORION_OK;
  parts p = {0};
  orion_status status = make_operation(d, e, name, &p, err);
  if (p.options) d->system.f.e5rt_precompiled_compute_op_create_options_release(&p.options);
  if (p.function) d->system.f.e5rt_program_function_release(&p.function);
  if (status != ORION_OK) drop_operation(d, e);
  return status;
}

static orion_status describe(orion_ane_device *d, orion_ane_executable *e, const char *function, orion_error *err) {
  for (size_t i = 0; i < e->base.n_ios; i++) {
    e->ports[i] = (orion_ane_port){(int64_t)i, e->base.ios[i].layout.row_bytes};
  }
  return need_operation(d, e, function, err);
}

// ---- surfaces and requests ----

static orion_status make_surface(orion_ane_device *d, orion_ane_surface *x, orion_error *err) {
  const char *what = "buffer";
  CALL(ORION_ANE_LOAD, e5rt_buffer_object_alloc(&x->buffer, x->bytes, BUFFER_HOST));
  CALL(ORION_ANE_LOAD, e5rt_buffer_object_get_data_ptr(x->buffer, &x->base.memory));
  return ORION_OK;
}

static void free_surface(orion_ane_device *d, orion_ane_surface *x) {
  if (x->buffer) d->system.f.e5rt_buffer_object_release(&x->buffer);
}

typedef struct binding {  // a request: the buffers in the order of ios
  size_t n;
  void *buffers[];
} binding;

static size_t binding_bytes(size_t n) { return sizeof(binding) + n * sizeof(void *); }

static orion_status make_request(orion_ane_device *d, orion_ane_executable *e, orion_surface *const *surfaces, void **out,
                                 orion_error *err) {
  binding *b = orion_alloc(d->base.allocator, 1, binding_bytes(e->base.n_ios));
  if (!b) return ORION_OOM(err, "ane: request");
  b->n = e->base.n_ios;
  for (size_t i = 0; i < b->n; i++) b->buffers[i] = ((orion_ane_surface *)surfaces[i])->buffer;
  *out = b;
  return ORION_OK;
}

static void free_request(orion_ane_device *d, void *request) {
  for (orion_ane_executable *e = d->executables; e; e = e->next) {
    if (e->bound == request) e->bound = NULL;
  }
  orion_free(d->base.allocator, request, 1, binding_bytes(((binding *)request)->n));
}

static orion_status evaluate(orion_ane_device *d, orion_ane_executable *e, void *request, orion_error *err) {
  const binding *b = request;
  const char *what = e->function;
  ORION_TRY(need_operation(d, e, e->function, err));
  for (size_t i = 0; i < b->n && e->bound != request; i++) {
    CALL(ORION_ANE_EVALUATE, e5rt_io_port_bind_buffer_object(e->port_handles[i], b->buffers[i]));
  }
  e->bound = request;
  CALL(ORION_ANE_EVALUATE, e5rt_execution_stream_operation_prepare_op_for_encode(e->operation));
  CALL(ORION_ANE_EVALUATE, e5rt_execution_stream_encode_operation(d->stream, e->operation));
  int32_t code = d->system.f.e5rt_execution_stream_execute_sync(d->stream);
  orion_status status = code ? orion_ane_fail_status(ORION_ANE_EVALUATE, what, code, last_message(d), err) : ORION_OK;
  code = d->system.f.e5rt_execution_stream_reset(d->stream);  // also after a failure: the stream must be good again
  if (status == ORION_OK && code) status = orion_ane_fail_status(ORION_ANE_EVALUATE, what, code, last_message(d), err);
  return status;
}

const orion_ane_route orion_ane_route_b = {
    .name = "b",
    .text = "e5rt functions of Espresso",
    .row_align = 1,
    .no_slot = "must re-compile",
    .open = open_route,
    .close = close_route,
    .identify = identify,
    .compile = compile,
    .load = load,
    .unload = unload,
    .forget = forget,
    .describe = describe,
    .drop = drop_operation,
    .make_surface = make_surface,
    .free_surface = free_surface,
    .make_request = make_request,
    .free_request = free_request,
    .evaluate = evaluate,
};
