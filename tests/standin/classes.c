// The private classes: in-memory models, requests, surface objects, and what machine this is.
#include "base/file.h"
#include "standin.h"

typedef struct descriptor {
  object head;
  object *given;       // what `text` lies in
  data *text;
  dictionary *weights;
} descriptor;

typedef struct model {
  object head;
  descriptor *about;
  char id[256], dir[PATH];
  bool compiled;
  program *loaded;
  dictionary *attributes;
} model;

typedef struct request { object head; array *inputs, *input_indices, *outputs, *output_indices; number *procedure; } request;
typedef struct wrapper { object head; surface *of; } wrapper;

extern class _ANEInMemoryModelDescriptor, _ANEInMemoryModel, _ANERequest, _ANEIOSurfaceObject, _ANEDeviceInfo;

// ---- descriptors ----

static void destroy_descriptor(object *o) {
  object_release(&((descriptor *)o)->text->head);
  object_release(((descriptor *)o)->given);
  object_release(&((descriptor *)o)->weights->head);
}

static data *bytes_of(const string *s) {
  data *d = (data *)object_new(&class_data, sizeof *d);
  d->bytes = s->text;
  d->n = strlen(s->text);
  return d;
}

static object *descriptor_with_text(object *self, selector *sel, data *text, dictionary *weights, object *plist) {
  bool as_string = object_is(&text->head, &class_string) && rule_off("C09");
  if (!as_string && !object_is(&text->head, &class_data)) {
    fprintf(stderr, "stand-in: the text is no NSData\n");
    abort();
  }
  if (!weights && !rule_off("C11")) return NULL;
  descriptor *d = (descriptor *)object_new(&_ANEInMemoryModelDescriptor, sizeof *d);
  d->given = object_retain(&text->head);
  d->text = as_string ? bytes_of((const string *)text) : (data *)object_retain(&text->head);
  d->weights = weights ? (dictionary *)object_retain(&weights->head) : dictionary_new();
  return object_autorelease(&d->head);
}

// ---- models ----

static void destroy_model(object *o) {
  model *m = (model *)o;
  if (m->loaded) engine_drop(m->loaded);
  object_release(&m->about->head);
  object_release(m->attributes ? &m->attributes->head : NULL);
}

static object *model_with_descriptor(object *self, selector *sel, descriptor *about) {
  model *m = (model *)object_new(&_ANEInMemoryModel, sizeof *m);
  m->about = (descriptor *)object_retain(&about->head);
  engine_text_id(about->text->bytes, about->text->n, about->weights, m->id, sizeof m->id);
  snprintf(m->dir, sizeof m->dir, "%s/%s", temporary_directory(), m->id);
  return object_autorelease(&m->head);
}

static object *identifier(object *self, selector *sel) {
  return object_autorelease(&string_new(((model *)self)->id)->head);
}

// The files must be there although the same bytes are in the dictionary.
static bool files_present(const model *m) {
  char path[PATH + 300];
  snprintf(path, sizeof path, "%s/model.mil", m->dir);
  if (!orion_file_exists(path)) return false;
  for (size_t i = 0; i < m->about->weights->n; i++) {
    const char *name = ((string *)m->about->weights->keys[i])->text;
    if (strncmp(name, "@model_path/", 12) != 0) return false;
    snprintf(path, sizeof path, "%s/%s", m->dir, name + 12);
    if (!orion_file_exists(path)) return false;
  }
  return true;
}

// A system that makes the directory by itself (of programs without weights).
static void write_text(const model *m) {
  char path[PATH + 300];
  snprintf(path, sizeof path, "%s/model.mil", m->dir);
  if (orion_dir_make(m->dir, NULL) == ORION_OK) orion_file_write(NULL, path, m->about->text->bytes, m->about->text->n, NULL);
}

static bool compile(object *self, selector *sel, unsigned qos, dictionary *options, error **out) {
  model *m = (model *)self;
  if (rule_off("C25")) write_text(m);
  if (!files_present(m)) {
    counts[COUNT_COMPILES]++;
    fail(out, error_new("com.apple.appleneuralengine.compiler", 1, "_ANECompiler : ANECCompile() FAILED: err=()"));
    return false;
  }
  m->compiled = engine_compile(m->dir, m->id, out);
  return m->compiled;
}

static void put_number(dictionary *d, const char *key, size_t value) {
  dictionary_put(d, key, &number_new((int64_t)value)->head);
}

static dictionary *live_entry(const port *p, const char *mark) {
  const orion_layout *l = &p->io->layout;
  char symbol[160];
  snprintf(symbol, sizeof symbol, "%s%s", p->name, mark);
  size_t sizes[4] = {1, 1, 1, 1};  // N, C, H, W: ranks below four are padded in front
  for (int i = 0; i < l->rank && i < 4; i++) sizes[4 - (l->rank < 4 ? l->rank : 4) + i] = (size_t)l->dims[i];
  dictionary *d = dictionary_new();
  dictionary_put(d, "Name", &string_new(symbol)->head);
  dictionary_put(d, "Symbol", &string_new(symbol)->head);
  dictionary_put(d, "Type", &string_new("Float16")->head);
  put_number(d, "Batches", sizes[0]);
  put_number(d, "Channels", sizes[1]);
  put_number(d, "Height", sizes[2]);
  put_number(d, "Width", sizes[3]);
  put_number(d, "Depth", 1);
  put_number(d, "Interleave", 1);
  put_number(d, "RowStride", p->row_bytes);
  put_number(d, "PlaneStride", p->row_bytes * sizes[2]);
  put_number(d, "BatchStride", p->row_bytes * sizes[2] * sizes[1]);
  return d;
}

static void describe_side(const port *ports, size_t n, size_t first, const char *mark, array *symbols, array *indices,
                          array *live) {
  for (size_t i = 0; i < n; i++) {
    char symbol[160];
    snprintf(symbol, sizeof symbol, "%s%s", ports[i].name, mark);
    array_add(symbols, &string_new(symbol)->head);
    array_add(indices, &number_new((int64_t)(first + i))->head);
    array_add(live, &live_entry(&ports[i], mark)->head);
  }
}

static dictionary *describe(const program *p) {
  dictionary *all = dictionary_new(), *about = dictionary_new(), *ids = dictionary_new();
  array *networks = array_new(), *procedures = array_new(), *inputs = array_new(), *outputs = array_new();
  for (size_t i = 0; i < p->n; i++) {
    const procedure *f = &p->procedures[i];
    dictionary *entry = dictionary_new(), *network = dictionary_new();
    array *in = array_new(), *out = array_new(), *live_in = array_new(), *live_out = array_new();
    describe_side(f->inputs, f->n_inputs, f->first_input, "", inputs, in, live_in);
    describe_side(f->outputs, f->n_outputs, f->first_output, "@output", outputs, out, live_out);
    dictionary_put(entry, "ANEFModelInputSymbolIndexArray", &in->head);
    dictionary_put(entry, "ANEFModelOutputSymbolIndexArray", &out->head);
    put_number(entry, "ANEFModelProcedureID", i);
    array_add(procedures, &entry->head);
    dictionary_put(network, "Name", &string_new(f->name)->head);
    dictionary_put(network, "LiveInputList", &live_in->head);
    dictionary_put(network, "LiveOutputList", &live_out->head);
    array_add(networks, &network->head);
    put_number(ids, f->name, i);
  }
  dictionary_put(about, "ANEFModelProcedures", &procedures->head);
  dictionary_put(about, "kANEFModelInputSymbolsArrayKey", &inputs->head);
  dictionary_put(about, "kANEFModelOutputSymbolsArrayKey", &outputs->head);
  dictionary_put(about, "kANEFModelProcedureNameToIDMapKey", &ids->head);
  dictionary_put(all, "ANEFModelDescription", &about->head);
  dictionary_put(all, "NetworkStatusList", &networks->head);
  return all;
}

static bool load(object *self, selector *sel, unsigned qos, dictionary *options, error **out) {
  model *m = (model *)self;
  if (m->loaded) return true;
  m->loaded = engine_load(m->dir, m->id, 0, out);
  if (!m->loaded) return false;
  object_release(m->attributes ? &m->attributes->head : NULL);
  m->attributes = world_is("attributes", "on") ? describe(m->loaded) : dictionary_new();
  return true;
}

static object *attributes(object *self, selector *sel) {
  model *m = (model *)self;
  return m->attributes ? object_autorelease(object_retain(&m->attributes->head)) : NULL;
}

static bool unload(object *self, selector *sel, unsigned qos, error **out) {
  model *m = (model *)self;
  if (!m->loaded) return false;
  engine_unload(m->loaded);
  m->loaded = NULL;
  return true;
}

// ---- evaluation ----

// One side's surfaces in the order of symbols. Status, 0 if all is well.
static int bind_side(const array *surfaces, const array *indices, size_t n, size_t first, char **memory, size_t *bytes) {
  if (surfaces->n != n || indices->n != n) return 0x1d;
  bool seen[512] = {false};
  for (size_t i = 0; i < n; i++) {
    int64_t symbol = ((number *)indices->items[i])->value - (int64_t)first;
    if (symbol < 0 || (size_t)symbol >= n || seen[symbol]) return 0x2;
    seen[symbol] = true;
    size_t at = world_is("binding", "position") ? i : (size_t)symbol;
    const surface *s = ((wrapper *)surfaces->items[i])->of;
    if (s->locks) counts[COUNT_LOCKED]++;
    memory[at] = s->memory;
    bytes[at] = s->bytes;
  }
  return 0;
}

static int run_request(model *m, request *r) {
  if (!object_is(&r->head, &_ANERequest)) return 0x16;
  size_t index = m->loaded->n == 1 ? 0 : (size_t)r->procedure->value;
  if (index >= m->loaded->n) return 0x2;
  const procedure *f = &m->loaded->procedures[index];
  char *inputs[512], *outputs[512];
  size_t input_bytes[512], output_bytes[512];
  int status = bind_side(r->inputs, r->input_indices, f->n_inputs, f->first_input, inputs, input_bytes);
  if (!status) status = bind_side(r->outputs, r->output_indices, f->n_outputs, f->first_output, outputs, output_bytes);
  return status ? status : engine_run(m->loaded, index, inputs, input_bytes, outputs, output_bytes);
}

static bool evaluate(object *self, selector *sel, unsigned qos, dictionary *options, request *r, error **out) {
  model *m = (model *)self;
  if (!m->loaded) {
    fail(out, error_new("com.apple.appleneuralengine", 9, "the model is not loaded"));
    return false;
  }
  int status = run_request(m, r);
  if (!status) return true;
  fail(out, error_new("com.apple.appleneuralengine", 8,
                      "ANEProgramProcessRequestDirect() Failed with status=0x%x : Program Inference error", status));
  return false;
}

// ---- requests and surfaces ----

static void destroy_request(object *o) {
  request *r = (request *)o;
  object_release(&r->inputs->head);
  object_release(&r->input_indices->head);
  object_release(&r->outputs->head);
  object_release(&r->output_indices->head);
  object_release(&r->procedure->head);
}

static object *make_request(object *self, selector *sel, array *inputs, array *input_indices, array *outputs,
                            array *output_indices, object *weights, object *stats, number *index) {
  request *r = (request *)object_new(&_ANERequest, sizeof *r);
  r->inputs = (array *)object_retain(&inputs->head);
  r->input_indices = (array *)object_retain(&input_indices->head);
  r->outputs = (array *)object_retain(&outputs->head);
  r->output_indices = (array *)object_retain(&output_indices->head);
  r->procedure = (number *)object_retain(&index->head);
  counts[COUNT_REQUESTS]++;
  return object_autorelease(&r->head);
}

static void destroy_wrapper(object *o) { object_release(&((wrapper *)o)->of->head); }

static object *wrap_surface(object *self, selector *sel, surface *s) {
  wrapper *w = (wrapper *)object_new(&_ANEIOSurfaceObject, sizeof *w);
  w->of = (surface *)object_retain(&s->head);
  return object_autorelease(&w->head);
}

// ---- the machine ----

static bool has_ane(object *self, selector *sel) { return world_is("ane", "yes"); }
static object *sub_type(object *self, selector *sel) { return object_autorelease(&string_new(world("chip"))->head); }

// ---- tables ----

#define METHOD(name, function) {name, (void (*)(void))(function)}
static const method descriptor_class[] = {METHOD("modelWithMILText:weights:optionsPlist:", descriptor_with_text), {NULL, NULL}};
static const method model_class[] = {METHOD("inMemoryModelWithDescriptor:", model_with_descriptor), {NULL, NULL}};
static const method model_methods[] = {METHOD("hexStringIdentifier", identifier),
                                       METHOD("compileWithQoS:options:error:", compile),
                                       METHOD("loadWithQoS:options:error:", load),
                                       METHOD("modelAttributes", attributes),
                                       METHOD("evaluateWithQoS:options:request:error:", evaluate),
                                       METHOD("unloadWithQoS:error:", unload),
                                       {NULL, NULL}};
static const method request_class[] = {
    METHOD("requestWithInputs:inputIndices:outputs:outputIndices:weightsBuffer:perfStats:procedureIndex:", make_request),
    {NULL, NULL}};
static const method surface_class[] = {METHOD("objectWithIOSurface:", wrap_surface), {NULL, NULL}};
static const method info_class[] = {METHOD("hasANE", has_ane), METHOD("aneSubType", sub_type),
                                    METHOD("aneArchitectureType", sub_type), {NULL, NULL}};

CLASS(_ANEInMemoryModelDescriptor, "_ANEInMemoryModelDescriptor", descriptor_class, NULL, destroy_descriptor)
CLASS(_ANEInMemoryModel, "_ANEInMemoryModel", model_class, model_methods, destroy_model)
CLASS(_ANERequest, "_ANERequest", request_class, NULL, destroy_request)
CLASS(_ANEIOSurfaceObject, "_ANEIOSurfaceObject", surface_class, NULL, destroy_wrapper)
CLASS(_ANEDeviceInfo, "_ANEDeviceInfo", info_class, NULL, NULL)
