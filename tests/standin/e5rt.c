// Espresso's C functions. Each gives 0, or a code that e5rt_get_last_error_message explains. What is created comes through
// the first argument, what is compiled or retained through the last. The order is held to: prepare, encode, execute, reset.
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "standin.h"

enum { BAD_ARGUMENT = 1, COMPILE_FAILED = 2, OUT_OF_ORDER = 3, NO_SUCH_NAME = 4, NOT_BOUND = 5, RUN_FAILED = 6, NO_SLOT = 7 };

static char last_error[512];

static int32_t refuse(int32_t code, const char *text) {
  snprintf(last_error, sizeof last_error, "%s", text);
  return code;
}

typedef struct config { char cache[PATH]; } config;
typedef struct options { uint64_t mask; int force; char segmenter[32]; } options;
typedef struct library { program *program; long users; } library;
typedef struct function { library *of; size_t index; char name[128]; } function;
typedef struct buffer { char *memory; size_t bytes; } buffer;
typedef struct operation operation;
typedef struct io_port { operation *of; bool input; size_t index; } io_port;
struct operation {
  function of;
  buffer *inputs[512], *outputs[512];
  bool prepared;
};
typedef struct stream { operation *encoded; bool executed; } stream;

static void *make(size_t size) {
  counts[COUNT_OBJECTS]++;
  return calloc(1, size);
}

static int32_t discard(void **p) {
  if (!*p) return refuse(BAD_ARGUMENT, "release of nothing");
  free(*p);
  *p = NULL;
  counts[COUNT_OBJECTS]--;
  return 0;
}

static void release_library(library *l) {
  if (--l->users) return;
  engine_unload(l->program);
  void *p = l;
  discard(&p);
}

#define E5RT(name, ...)                 \
  EXPORT int32_t name(__VA_ARGS__);     \
  int32_t name(__VA_ARGS__)

EXPORT const char *e5rt_get_last_error_message(void);
const char *e5rt_get_last_error_message(void) { return last_error; }

// ---- compiling ----

E5RT(e5rt_e5_compiler_config_options_create, void **out) { return *out = make(sizeof(config)), 0; }
E5RT(e5rt_e5_compiler_config_options_release, void **c) { return discard(c); }
E5RT(e5rt_e5_compiler_config_options_set_cache_bundle_location, config *c, const char *path) {
  snprintf(c->cache, sizeof c->cache, "%s", path);
  return 0;
}
E5RT(e5rt_e5_compiler_create_with_config, void **out, const config *c) {
  config *copy = make(sizeof *copy);
  *copy = *c;
  *out = copy;
  return 0;
}
E5RT(e5rt_e5_compiler_release, void **c) { return discard(c); }
E5RT(e5rt_e5_compiler_options_create, void **out) { return *out = make(sizeof(options)), 0; }
E5RT(e5rt_e5_compiler_options_release, void **o) { return discard(o); }
E5RT(e5rt_e5_compiler_options_set_compute_device_types_mask, options *o, uint64_t mask) { return o->mask = mask, 0; }
E5RT(e5rt_e5_compiler_options_set_force_recompilation, options *o, int force) { return o->force = force, 0; }
E5RT(e5rt_e5_compiler_options_set_segmenter, options *o, const char *name) {
  snprintf(o->segmenter, sizeof o->segmenter, "%s", name);
  return 0;
}

E5RT(e5rt_e5_compiler_compile, const config *c, const char *path, const options *o, void **out) {
  char dir[PATH];
  snprintf(dir, sizeof dir, "%s", path);
  char *slash = strrchr(dir, '/');
  if (!slash || o->mask != 4 || strcmp(o->segmenter, "graph") != 0) return refuse(BAD_ARGUMENT, "options of another device");
  *slash = 0;
  bool slots, refused;
  if (o->force || !orion_dir_exists(c->cache)) counts[COUNT_COMPILES]++;
  program *p = engine_open(dir, 1, &slots, &refused);
  if (!slots) return refuse(NO_SLOT, "GetANEFModel: must re-compile");
  if (!p) return refuse(COMPILE_FAILED, refused ? "no backend of the mask takes the program" : "InvalidMILProgram");
  orion_dir_make(c->cache, NULL);
  library *l = make(sizeof *l);
  *l = (library){p, 1};
  *out = l;
  return 0;
}

E5RT(e5rt_program_library_release, void **l) {
  release_library(*l);
  *l = NULL;
  return 0;
}

// ---- operations ----

E5RT(e5rt_program_library_retain_program_function, library *l, const char *name, void **out) {
  for (size_t i = 0; i < l->program->n; i++) {
    if (strcmp(l->program->procedures[i].name, name) != 0) continue;
    function *f = make(sizeof *f);
    *f = (function){.of = l, .index = i};
    l->users++;
    *out = f;
    return 0;
  }
  return refuse(NO_SUCH_NAME, "no function of that name");
}

E5RT(e5rt_program_function_release, void **f) {
  release_library(((function *)*f)->of);
  return discard(f);
}

E5RT(e5rt_precompiled_compute_op_create_options_create_with_program_function, void **out, function *f) {
  function *copy = make(sizeof *copy);
  *copy = *f;
  copy->of->users++;
  *out = copy;
  return 0;
}

E5RT(e5rt_precompiled_compute_op_create_options_set_operation_name, function *o, const char *name) {
  snprintf(o->name, sizeof o->name, "%s", name);
  return 0;
}

E5RT(e5rt_precompiled_compute_op_create_options_set_allocate_intermediate_buffers, function *o, int yes) {
  return yes ? 0 : refuse(BAD_ARGUMENT, "intermediate buffers must come from somewhere");
}

E5RT(e5rt_precompiled_compute_op_create_options_release, void **o) {
  release_library(((function *)*o)->of);
  return discard(o);
}

E5RT(e5rt_execution_stream_operation_create_precompiled_compute_operation_with_options, void **out, function *o) {
  if (!*o->name) return refuse(BAD_ARGUMENT, "an operation without a name");
  operation *op = make(sizeof *op);
  op->of = *o;
  op->of.of->users++;
  *out = op;
  return 0;
}

E5RT(e5rt_execution_stream_operation_release, void **op) {
  release_library(((operation *)*op)->of.of);
  return discard(op);
}

static int32_t retain_port(operation *op, const char *name, bool input, void **out) {
  const procedure *f = &op->of.of->program->procedures[op->of.index];
  const port *ports = input ? f->inputs : f->outputs;
  for (size_t i = 0; i < (input ? f->n_inputs : f->n_outputs); i++) {
    if (strcmp(ports[i].name, name) != 0) continue;
    io_port *p = make(sizeof *p);
    *p = (io_port){op, input, i};
    *out = p;
    return 0;
  }
  return refuse(NO_SUCH_NAME, "no port of that name");
}

E5RT(e5rt_execution_stream_operation_retain_input_port, operation *op, const char *name, void **out) {
  return retain_port(op, name, true, out);
}
E5RT(e5rt_execution_stream_operation_retain_output_port, operation *op, const char *name, void **out) {
  return retain_port(op, name, false, out);
}
E5RT(e5rt_io_port_release, void **p) { return discard(p); }
E5RT(e5rt_io_port_bind_buffer_object, io_port *p, buffer *b) {
  (p->input ? p->of->inputs : p->of->outputs)[p->index] = b;
  p->of->prepared = false;
  return 0;
}

// ---- buffers ----

E5RT(e5rt_buffer_object_alloc, void **out, size_t bytes, int type) {
  if (!bytes || type != 0) return refuse(BAD_ARGUMENT, "a buffer of another type");
  buffer *b = make(sizeof *b);
  b->memory = malloc(bytes);
  b->bytes = bytes;
  memset(b->memory, 0xA5, bytes);
  *out = b;
  return 0;
}
E5RT(e5rt_buffer_object_get_data_ptr, buffer *b, void **out) { return *out = b->memory, 0; }
E5RT(e5rt_buffer_object_release, void **b) {
  free(((buffer *)*b)->memory);
  return discard(b);
}

// ---- the stream ----

E5RT(e5rt_execution_stream_create, void **out) { return *out = make(sizeof(stream)), 0; }
E5RT(e5rt_execution_stream_release, void **s) { return discard(s); }

E5RT(e5rt_execution_stream_operation_prepare_op_for_encode, operation *op) {
  const procedure *f = &op->of.of->program->procedures[op->of.index];
  for (size_t i = 0; i < f->n_inputs; i++) {
    if (!op->inputs[i]) return refuse(NOT_BOUND, "an input port without a buffer");
  }
  for (size_t i = 0; i < f->n_outputs; i++) {
    if (!op->outputs[i]) return refuse(NOT_BOUND, "an output port without a buffer");
  }
  op->prepared = true;
  return 0;
}

E5RT(e5rt_execution_stream_encode_operation, stream *s, operation *op) {
  if (!op->prepared || s->encoded) return refuse(OUT_OF_ORDER, "encoded before it was prepared, or twice");
  s->encoded = op;
  return 0;
}

E5RT(e5rt_execution_stream_execute_sync, stream *s) {
  if (!s->encoded || s->executed) return refuse(OUT_OF_ORDER, "executed before it was encoded, or twice");
  s->executed = true;
  operation *op = s->encoded;
  char *inputs[512], *outputs[512];
  size_t input_bytes[512], output_bytes[512];
  const procedure *f = &op->of.of->program->procedures[op->of.index];
  for (size_t i = 0; i < f->n_inputs; i++) {
    inputs[i] = op->inputs[i]->memory;
    input_bytes[i] = op->inputs[i]->bytes;
  }
  for (size_t i = 0; i < f->n_outputs; i++) {
    outputs[i] = op->outputs[i]->memory;
    output_bytes[i] = op->outputs[i]->bytes;
  }
  int status = engine_run(op->of.of->program, op->of.index, inputs, input_bytes, outputs, output_bytes);
  return status ? refuse(RUN_FAILED, "ANEProgramProcessRequestDirect() Failed") : 0;
}

E5RT(e5rt_execution_stream_reset, stream *s) {
  if (s->encoded) s->encoded->prepared = false;  // to be prepared again before the next encode
  *s = (stream){0};
  return 0;
}
