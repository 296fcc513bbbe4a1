// Route A: where the inputs and outputs of a loaded program lie, and under which numbers a request names them. The model's
// attributes say it: tables of symbols for the whole program, indices into them by procedure, and strides by symbol. They are
// property lists of a private framework, so whatever is missing in them has a fallback, and what is odd is refused.
#include <stdio.h>
#include <string.h>

#include "device/ane/route_a.h"
#include "device/layout.h"

#define OUTPUT_MARK "@output"  // symbols of outputs are named NAME@output

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

orion_status orion_ane_a_describe(orion_ane_device *d, orion_ane_executable *e, const char *function,
                                  orion_error *err) {
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
