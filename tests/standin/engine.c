// Programs as the system's daemon and engine hold them. Compiling leaves net.plist (the text) and data (the weights; of one
// blob file its very bytes) in the directory, and a copy in the daemon's own cache, under the program's identity.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/file.h"
#include "device/layout.h"
#include "ir/ir.h"
#include "standin.h"

#define ANE_DOMAIN "com.apple.appleneuralengine"
#define COMPILER_DOMAIN "com.apple.appleneuralengine.compiler"

// ---- files ----

static bool copy_file(const char *from, const char *to, const char *mode) {
  FILE *in = fopen(from, "rb"), *out = in ? fopen(to, mode) : NULL;
  char block[1 << 16];
  size_t n;
  bool ok = in && out;
  while (ok && (n = fread(block, 1, sizeof block, in)) > 0) ok = fwrite(block, 1, n, out) == n;
  if (in) fclose(in);
  if (out) ok = fclose(out) == 0 && ok;
  return ok;
}

static void daemon_dir(char *out, const char *id) {
  snprintf(out, PATH, "%s/com.apple.aned-%s/%s", temporary_directory(), world("build"), id);
}

// What compiling leaves, and what the bridge keeps for itself.
static bool is_result(const char *name) {
  return strcmp(name, "net.plist") == 0 || strcmp(name, "data") == 0 || strncmp(name, "orion.", 6) == 0;
}

// All of a program's files, with their folders, in another directory.
static bool copy_program(const char *from, const char *to) {
  DIR *dir = orion_dir_make(to, NULL) == ORION_OK ? opendir(from) : NULL;
  bool ok = dir != NULL;
  for (struct dirent *e; ok && (e = readdir(dir));) {
    char a[PATH], b[PATH];
    if (e->d_name[0] == '.' || is_result(e->d_name)) continue;
    ok = (size_t)snprintf(a, sizeof a, "%s/%s", from, e->d_name) < sizeof a &&
         (size_t)snprintf(b, sizeof b, "%s/%s", to, e->d_name) < sizeof b;
    if (ok) ok = orion_dir_exists(a) ? copy_program(a, b) : copy_file(a, b, "wb");
  }
  if (dir) closedir(dir);
  return ok;
}

// The only blob file of a program, whose bytes `data` repeats; false if there is none or more than one.
static bool only_blob(const char *root, char *out) {
  char weights[PATH];
  int n = 0;
  snprintf(weights, sizeof weights, "%s/weights", root);
  DIR *dir = opendir(weights);
  for (struct dirent *e; dir && (e = readdir(dir));) {
    if (e->d_name[0] != '.' && ++n == 1 && snprintf(out, PATH, "%s/%s", weights, e->d_name) >= PATH) n = 2;
  }
  if (dir) closedir(dir);
  return n == 1;
}

static bool leave_results(const char *dir) {
  char text[PATH + 64], net[PATH + 64], baked[PATH + 64], blob[PATH];
  snprintf(text, sizeof text, "%s/model.mil", dir);
  snprintf(net, sizeof net, "%s/net.plist", dir);
  snprintf(baked, sizeof baked, "%s/data", dir);
  return copy_file(text, net, "wb") && copy_file(only_blob(dir, blob) ? blob : "/dev/null", baked, "wb");
}

// ---- programs ----

static const char *family(void) {
  static char name[32];
  if (*world("arithmetic")) return world("arithmetic");
  snprintf(name, sizeof name, "m%ld", strtol(world("chip") + 1, NULL, 10) - 12);
  return name;
}

// One sim for all programs; made anew when the world has another chip.
static orion_device *sim;
static char sim_family[32];

static void close_sim(void) __attribute__((destructor));
static void close_sim(void) {
  orion_device_close(sim);
  sim = NULL;
}

static orion_device *the_sim(void) {
  if (sim && strcmp(sim_family, family()) != 0 && !counts[COUNT_LOADED]) close_sim();
  if (sim) return sim;
  // Its rules as on the engine, silent where that is silent; budgets are counted here.
  char spec[96];
  snprintf(sim_family, sizeof sim_family, "%s", family());
  snprintf(spec, sizeof spec, "sim:%s%s", sim_family, *sim_family == 'm' ? ",mode=faithful,off=C05+C40" : "");
  return orion_device_open(spec, 1, NULL, &sim, NULL) == ORION_OK ? sim : NULL;
}

static void close_program(program *p) {
  for (size_t i = 0; i < p->n; i++) {
    procedure *f = &p->procedures[i];
    size_t n;
    const orion_io *ios = f->executable ? orion_executable_ios(f->executable, &n) : NULL;
    for (size_t k = 0; ios && f->surfaces && k < n; k++) orion_surface_destroy(f->surfaces[k]);
    free(f->surfaces);
    orion_bindings_destroy(f->bindings);
    orion_executable_release(f->executable);
    free(f->inputs);
    free(f->outputs);
  }
  free(p->procedures);
  orion_program_destroy(p->mil);
  free(p);
}

static int by_name(const void *a, const void *b) { return strcmp(((const port *)a)->name, ((const port *)b)->name); }
static int by_size(const void *a, const void *b) {
  const port *x = a, *y = b;
  return x->bytes != y->bytes ? (x->bytes < y->bytes ? -1 : 1) : by_name(a, b);
}

static void order_ports(port *ports, size_t n) {
  if (world_is("order", "sorted")) qsort(ports, n, sizeof *ports, by_name);
  if (world_is("order", "size")) qsort(ports, n, sizeof *ports, by_size);
}

static size_t packed_row(const orion_layout *l) {
  return orion_layout_columns(l) * orion_dtype_bits((orion_dtype)l->dtype) / 8;
}

static void add_port(port *list, size_t *n, const orion_io *io, size_t row_align) {
  port *p = &list[(*n)++];
  const orion_layout *l = &io->layout;
  size_t align = row_align ? row_align : (size_t)world_number("rows"), packed = packed_row(l);
  p->io = io;
  snprintf(p->name, sizeof p->name, "%s", io->name);
  p->row_bytes = (packed + align - 1) / align * align;
  p->bytes = orion_layout_rows(l) * p->row_bytes;
}

static bool open_procedure(program *p, procedure *f, const char *name, size_t row_align, orion_error *err) {
  snprintf(f->name, sizeof f->name, "%s", name);
  orion_compile_options options = {.function = name};
  if (orion_device_compile(the_sim(), p->mil, &options, &f->executable, err) != ORION_OK) return false;
  if (orion_bindings_create(f->executable, &f->bindings, err) != ORION_OK) return false;
  size_t n;
  const orion_io *ios = orion_executable_ios(f->executable, &n);
  f->surfaces = calloc(n, sizeof *f->surfaces);
  f->inputs = calloc(n + 1, sizeof *f->inputs);
  f->outputs = calloc(n + 1, sizeof *f->outputs);
  for (size_t i = 0; i < n; i++) {
    if (orion_surface_create(sim, &ios[i].layout, &f->surfaces[i], err) != ORION_OK) return false;
    if (orion_bind(f->bindings, ios[i].name, f->surfaces[i], err) != ORION_OK) return false;
    if (ios[i].direction == ORION_INPUT) add_port(f->inputs, &f->n_inputs, &ios[i], row_align);
    if (ios[i].direction == ORION_OUTPUT) add_port(f->outputs, &f->n_outputs, &ios[i], row_align);
  }
  order_ports(f->inputs, f->n_inputs);
  order_ports(f->outputs, f->n_outputs);
  return true;
}

static program *open_program(const char *dir, size_t row_align, orion_error *err) {
  char path[PATH + 64];
  snprintf(path, sizeof path, "%s/model.mil", dir);
  program *p = calloc(1, sizeof *p);
  *err = (orion_error){0};
  bool ok = orion_mil_open(NULL, path, NULL, &p->mil, err) == ORION_OK;
  if (ok) {
    p->n = p->mil->n_functions;
    p->procedures = calloc(p->n + 1, sizeof *p->procedures);
  }
  size_t inputs = 0, outputs = 0;
  for (size_t i = 0; ok && i < p->n; i++) {
    procedure *f = &p->procedures[i];
    ok = open_procedure(p, f, p->mil->functions[i]->name, row_align, err);
    f->first_input = inputs;
    f->first_output = outputs;
    inputs += f->n_inputs;
    outputs += f->n_outputs;
  }
  if (ok) return p;
  close_program(p);
  return NULL;
}

// ---- compile, load, run ----

bool engine_compile(const char *dir, const char *id, error **out) {
  // Beyond the budget every compile fails, and does not say why.
  if (++counts[COUNT_COMPILES] > world_number("compiles")) {
    fail(out, error_new(COMPILER_DOMAIN, 1, "_ANECompiler : ANECCompile() FAILED"));
    return false;
  }
  char path[PATH + 64], copy[PATH];
  snprintf(path, sizeof path, "%s/model.mil", dir);
  orion_error err;
  program *p = orion_file_exists(path) ? open_program(dir, 0, &err) : NULL;
  daemon_dir(copy, id);
  bool ok = p && leave_results(dir) && copy_program(dir, copy);
  if (p) close_program(p);
  if (ok) return true;
  bool text = !p && orion_file_exists(path) && err.code != ORION_REFUSED;
  fail(out, error_new(COMPILER_DOMAIN, 1, text ? "_ANECompiler : InvalidMILProgram" : "_ANECompiler : ANECCompile() FAILED: err=()"));
  return false;
}

// The directory that a load reads, by what this world holds of patched files. Of `data` only the case of one blob file is
// known: its bytes.
static bool source_of(const char *dir, const char *id, char *out) {
  char a[PATH + 64], b[PATH + 64], blob[PATH];
  daemon_dir(out, id);
  snprintf(a, sizeof a, "%s/net.plist", dir);
  snprintf(b, sizeof b, "%s/data", dir);
  if (!orion_file_exists(a) || !orion_file_exists(b) || !orion_dir_exists(out)) return false;
  if (world_is("reload", "files")) snprintf(out, PATH, "%s", dir);
  return !world_is("reload", "data") || !only_blob(out, blob) || copy_file(b, blob, "wb");
}

program *engine_load(const char *dir, const char *id, size_t row_align, error **out) {
  static const char *const what = "ANEProgramCreate() Failed with status=0x%x : Program load failure";
  char source[PATH];
  counts[COUNT_LOADS]++;
  if (world_number("transient") > 0) {
    char less[32];
    snprintf(less, sizeof less, "%ld", world_number("transient") - 1);
    standin_set("transient", less);
    fail(out, error_new(ANE_DOMAIN, 6, what, 0x9));
    return NULL;
  }
  if (counts[COUNT_LOADED] >= world_number("slots")) {
    fail(out, error_new(ANE_DOMAIN, 6, what, 0x50004));
    return NULL;
  }
  orion_error err;
  program *p = source_of(dir, id, source) ? open_program(source, row_align, &err) : NULL;
  if (p) counts[COUNT_LOADED]++;
  if (!p) fail(out, error_new(ANE_DOMAIN, 6, "GetANEFModel: must re-compile"));
  return p;
}

program *engine_open(const char *dir, size_t row_align, bool *out_slots, bool *out_refused) {
  orion_error err;
  *out_refused = false;
  *out_slots = counts[COUNT_LOADED] < world_number("slots");
  if (!*out_slots) return NULL;
  program *p = open_program(dir, row_align, &err);
  *out_refused = !p && err.code == ORION_REFUSED;
  if (p) counts[COUNT_LOADED]++;
  return p;
}

void engine_unload(program *p) {
  counts[COUNT_LOADED]--;
  close_program(p);
}

static orion_surface *surface_of(procedure *f, const port *p) {
  size_t n;
  const orion_io *ios = orion_executable_ios(f->executable, &n);
  return f->surfaces[p->io - ios];
}

// Rows between a surface of the caller's and one of the sim's.
static void move_rows(procedure *f, const port *p, char *memory, bool in) {
  const orion_layout *l = &p->io->layout;
  orion_surface *s = surface_of(f, p);
  char *packed = orion_surface_lock(s);
  for (size_t r = 0; r < orion_layout_rows(l); r++) {
    char *theirs = memory + r * p->row_bytes, *ours = packed + r * l->row_bytes;
    memcpy(in ? ours : theirs, in ? theirs : ours, packed_row(l));
  }
  orion_surface_unlock(s);
}

static bool sizes_fit(const port *ports, size_t n, const size_t *bytes) {
  for (size_t i = 0; i < n; i++) {
    if (bytes[i] < ports[i].bytes || bytes[i] < (size_t)world_number("surface")) return false;
    if (world_is("uniform", "on") && bytes[i] != bytes[0]) return false;
  }
  return true;
}

int engine_run(program *p, size_t index, char *const *inputs, const size_t *input_bytes, char *const *outputs,
               const size_t *output_bytes) {
  procedure *f = &p->procedures[index];
  if (!sizes_fit(f->inputs, f->n_inputs, input_bytes) || !sizes_fit(f->outputs, f->n_outputs, output_bytes)) return 0x1d;
  for (size_t i = 0; i < f->n_inputs; i++) move_rows(f, &f->inputs[i], inputs[i], true);
  if (orion_run(f->bindings, NULL) != ORION_OK) return 0x9;
  for (size_t i = 0; i < f->n_outputs; i++) move_rows(f, &f->outputs[i], outputs[i], false);
  counts[COUNT_EVALUATIONS]++;
  return 0;
}

// Three parts, as the original's: of the text, of the weights, of the options.
void engine_text_id(const void *text, size_t n, const dictionary *weights, char *out, size_t size) {
  unsigned long long of_text = XXH3_64bits(text, n), of_weights = 0;
  for (size_t i = 0; i < weights->n; i++) {
    const string *name = (const string *)weights->keys[i];
    const data *bytes = (const data *)dictionary_get((dictionary *)weights->values[i], "data");
    of_weights = XXH3_64bits_withSeed(name->text, strlen(name->text), of_weights);
    if (world_is("identity", "all")) of_weights = XXH3_64bits_withSeed(bytes->bytes, bytes->n, of_weights);
  }
  snprintf(out, size, "%016llX_%016llX_%016llX", of_text, of_weights, 0xE3B0C44298FC1C14ULL);
}
