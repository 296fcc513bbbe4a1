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
#include "source.h"
#include "target/target.h"

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

// One sim for all programs; made anew when the world has another chip or other rules.
static orion_device *sim;
static char sim_spec[320];

static void close_sim(void) __attribute__((destructor));
static void close_sim(void) {
  orion_device_close(sim);
  sim = NULL;
}

static orion_device *the_sim(void) {
  // Its rules as on the engine, silent where that is silent; budgets are counted here.
  char spec[sizeof sim_spec];
  const char *off = world("off");
  snprintf(spec, sizeof spec, "sim:%s", family());
  if (*family() == 'm') snprintf(spec, sizeof spec, "sim:%s,mode=faithful,off=C05+C40%s%s", family(), *off ? "+" : "", off);
  if (sim && strcmp(sim_spec, spec) != 0 && !counts[COUNT_LOADED]) close_sim();
  if (sim) return sim;
  snprintf(sim_spec, sizeof sim_spec, "%s", spec);
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

static void order_ports(port *ports, size_t n, bool input) {
  if (world_is("order", "sorted") && !rule_off(input ? "C19" : "C03")) qsort(ports, n, sizeof *ports, by_name);
  if (world_is("order", "size")) qsort(ports, n, sizeof *ports, by_size);
}

static size_t packed_row(const orion_layout *l) {
  return orion_layout_columns(l) * orion_dtype_bits((orion_dtype)l->dtype) / 8;
}

static void add_port(port *list, size_t *n, const orion_io *io, size_t row_align) {
  port *p = &list[(*n)++];
  const orion_layout *l = &io->layout;
  size_t align = row_align ? row_align : rule_off("S01") ? 1 : (size_t)world_number("rows"), packed = packed_row(l);
  p->io = io;
  snprintf(p->name, sizeof p->name, "%s", io->name);
  p->row_bytes = (packed + align - 1) / align * align;
  p->bytes = orion_layout_rows(l) * p->row_bytes;
}

// The program was checked when it was read; what a switched-off rule took back must not be checked again.
static bool open_procedure(procedure *f, orion_function *of, program *p, size_t row_align, orion_error *err) {
  snprintf(f->name, sizeof f->name, "%s", of->name);
  if (sim->vtable->compile(sim, p->mil, of, &f->executable, err) != ORION_OK) return false;
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
  order_ports(f->inputs, f->n_inputs, true);
  order_ports(f->outputs, f->n_outputs, false);
  return true;
}

static program *open_program(const char *dir, size_t row_align, orion_answer *answer) {
  program *p = calloc(1, sizeof *p);
  orion_error err;
  p->mil = source_open(the_sim(), dir, answer);
  bool ok = p->mil != NULL;
  if (ok) {
    p->n = p->mil->n_functions;
    p->procedures = calloc(p->n + 1, sizeof *p->procedures);
  }
  size_t inputs = 0, outputs = 0;
  for (size_t i = 0; ok && i < p->n; i++) {
    procedure *f = &p->procedures[i];
    ok = open_procedure(f, p->mil->functions[i], p, row_align, &err);
    if (!ok) *answer = (orion_answer){.symptom = ORION_SYMPTOM_COMPILE, .rule = ORION_RULE_C05};
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
  if (++counts[COUNT_COMPILES] > world_number("compiles") && !rule_off("C05")) {
    fail(out, error_new(COMPILER_DOMAIN, 1, "_ANECompiler : ANECCompile() FAILED"));
    return false;
  }
  char copy[PATH];
  orion_answer answer;
  program *p = open_program(dir, 0, &answer);
  daemon_dir(copy, id);
  bool taken = p || answer.symptom == ORION_SYMPTOM_LOAD;
  bool ok = taken && leave_results(dir) && copy_program(dir, copy);
  if (p) close_program(p);
  if (ok) return true;
  bool text = !taken && answer.rule == ORION_RULES;
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
  if (world_is("reload", "files") || rule_off("C07")) snprintf(out, PATH, "%s", dir);
  return !world_is("reload", "data") || !only_blob(out, blob) || copy_file(b, blob, "wb");
}

static bool free_slots(void) {
  return rule_off("C40") || counts[COUNT_LOADED] + counts[COUNT_LEAKED] < world_number("slots");
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
  if (!free_slots()) {
    fail(out, error_new(ANE_DOMAIN, 6, what, 0x50004));
    return NULL;
  }
  orion_answer answer = {0};
  program *p = source_of(dir, id, source) ? open_program(source, row_align, &answer) : NULL;
  if (p) counts[COUNT_LOADED]++;
  if (!p && answer.symptom == ORION_SYMPTOM_LOAD) {
    fail(out, error_new(ANE_DOMAIN, 6, what, answer.status));
  } else if (!p) fail(out, error_new(ANE_DOMAIN, 6, "GetANEFModel: must re-compile"));
  return p;
}

program *engine_open(const char *dir, size_t row_align, bool *out_slots, bool *out_refused) {
  orion_answer answer;
  *out_refused = false;
  *out_slots = free_slots();
  if (!*out_slots) return NULL;
  program *p = open_program(dir, row_align, &answer);
  *out_refused = !p && answer.rule != ORION_RULES;
  if (p) counts[COUNT_LOADED]++;
  return p;
}

void engine_drop(program *p) {
  if (!rule_off("C27")) counts[COUNT_LEAKED]++;
  engine_unload(p);
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

// Rows between a surface of the caller's and one of the sim's: at the tensor's own stride, or (C20 off) spread over the
// whole. What lies outside the caller's is not moved.
static void move_rows(procedure *f, const port *p, char *memory, size_t bytes, bool in) {
  const orion_layout *l = &p->io->layout;
  orion_surface *s = surface_of(f, p);
  char *packed = orion_surface_lock(s);
  size_t rows = orion_layout_rows(l), stride = rule_off("C20") && rows ? bytes / rows : p->row_bytes;
  for (size_t r = 0; r < rows && r * stride < bytes; r++) {
    char *theirs = memory + r * stride, *ours = packed + r * l->row_bytes;
    size_t n = packed_row(l), left = bytes - r * stride;
    memcpy(in ? ours : theirs, in ? theirs : ours, n < left ? n : left);
  }
  orion_surface_unlock(s);
}

// `same`: all must be of one size.
static bool sizes_fit(const port *ports, size_t n, const size_t *bytes, bool same) {
  for (size_t i = 0; i < n; i++) {
    if (bytes[i] < ports[i].bytes && !rule_off("C04")) return false;
    if (bytes[i] < (size_t)world_number("surface") || (same && bytes[i] != bytes[0])) return false;
  }
  return true;
}

static bool takes_request(const procedure *f, const size_t *input_bytes, const size_t *output_bytes) {
  bool uniform = world_is("uniform", "on");
  const orion_target *t = orion_target_find(family());
  if (t && t->ane && !rule_off("L09") && (f->n_inputs > (size_t)t->max_inputs || f->n_outputs > (size_t)t->max_outputs)) return false;
  if (rule_off("C35") && f->n_inputs > 1) return false;
  return sizes_fit(f->inputs, f->n_inputs, input_bytes, uniform || rule_off("C18")) &&
         sizes_fit(f->outputs, f->n_outputs, output_bytes, uniform || rule_off("C02"));
}

int engine_run(program *p, size_t index, char *const *inputs, const size_t *input_bytes, char *const *outputs,
               const size_t *output_bytes) {
  procedure *f = &p->procedures[index];
  if (!takes_request(f, input_bytes, output_bytes)) return 0x1d;
  for (size_t i = 0; i < f->n_inputs; i++) move_rows(f, &f->inputs[i], inputs[i], input_bytes[i], true);
  if (orion_run(f->bindings, NULL) != ORION_OK) return 0x9;
  for (size_t i = 0; i < f->n_outputs; i++) move_rows(f, &f->outputs[i], outputs[i], output_bytes[i], false);
  counts[COUNT_EVALUATIONS]++;
  return 0;
}

// Three parts, as the original's: of the text, of the weights, of the options.
void engine_text_id(const void *text, size_t n, const dictionary *weights, char *out, size_t size) {
  static unsigned long long asked;  // C41 off: no two are the same
  unsigned long long of_text = XXH3_64bits(text, n), of_weights = 0;
  for (size_t i = 0; i < weights->n; i++) {
    const string *name = (const string *)weights->keys[i];
    const data *bytes = (const data *)dictionary_get((dictionary *)weights->values[i], "data");
    of_weights = XXH3_64bits_withSeed(name->text, strlen(name->text), of_weights);
    if (world_is("identity", "all")) of_weights = XXH3_64bits_withSeed(bytes->bytes, bytes->n, of_weights);
  }
  if (rule_off("C41")) of_text += ++asked;
  snprintf(out, size, "%016llX_%016llX_%016llX", of_text, of_weights, 0xE3B0C44298FC1C14ULL);
}
